"""Tab 2's left side: preset, base model and every setting, and what they hold."""

from pathlib import Path
from typing import Any

import gradio as gr

from pipeline.errors import SettingsError
from pipeline.models.bases import GPU_BASE
from pipeline.models.embedded import EMBEDDED
from pipeline.models.encoder import ENCODER
from pipeline.runs.folder import list_runs
from pipeline.runs.recipes import read_recipe
from pipeline.runs.settings import TrainingSettings, default_base, gpu_name, is_squeezed, rate_of, settings_for
from pipeline.runs.view import view_run
from tabs.server.identity import serves_owner
from tabs.training.plan_view import default_preset
from tabs.training.settings_form import (
    base_choices,
    make_controls,
    preset_choices,
    preset_sentence,
    settings_from,
    values_of,
)
from tabs.ui.events import Update, on, open_to_all


class SettingsPanel:
    """The widgets of the settings.

    Attributes:
        widgets: all of them; `read` takes their values, and `fill` changes them.
    """

    def __init__(self) -> None:
        settings = settings_for(default_preset(), default_base())
        self.preset = gr.Radio(
            preset_choices(),
            value=settings.preset,
            label="Preset",
            info=preset_sentence(settings.preset),
            elem_id="preset",
        )
        self.base = gr.Dropdown(
            base_choices(),
            value=settings.base_model,
            allow_custom_value=True,
            label="Base model",
            elem_id="base-model",
            info="base_model · Or type a Hugging Face Hub id, or a folder on this machine.",
        )
        self.controls = make_controls(settings)
        self.names = list(self.controls)
        self.load = gr.UploadButton("Load settings …", file_types=[".yaml", ".yml"], size="md", elem_id="load-settings")
        self.widgets = [self.preset, self.base, *self.controls.values()]

    def wire(self, problem: gr.HTML) -> list[Any]:
        """Make a preset, a base and a file set the widgets.

        Returns:
            The events after which the settings are others.
        """
        rate = self.controls["learning_rate"]
        filled = [
            on(
                self.preset.input, self.use_preset, [self.preset, self.base], self.widgets, problem=problem, picked=True
            ),
            on(
                self.base.input,
                self.use_base,
                [self.base, self.preset, rate],
                [self.controls["load_in_4bit"], rate, self.base],
                problem=problem,
                picked=True,
            ),
            on(self.load.upload, self.use_file, self.load, self.widgets, problem=problem),
        ]
        return [event.then for event in filled]

    @open_to_all
    def use_preset(self, preset: str, base: str) -> Update:
        return self.fill(settings_for(preset, base or default_base()))

    @open_to_all
    def use_base(self, base: str, preset: str, rate: float) -> Update:
        in_4_bits, its = brought_along(base or "", preset, rate)
        return {self.controls["load_in_4bit"]: in_4_bits, self.controls["learning_rate"]: its, self.base: base}

    def use_file(self, path: str) -> Update:
        return self.fill(read_recipe(Path(path)))

    def read(self, preset: str, base: str, *values: Any) -> TrainingSettings:
        """The settings of the widgets' values.

        Raises:
            SettingsError: a value, or a combination of them, cannot work, or a visitor names a base of their own.
        """
        check_base_named(base)
        return settings_from(preset, base, dict(zip(self.names, values, strict=True)))

    def fill(self, settings: TrainingSettings) -> Update:
        """Show settings in the widgets; a slider makes room for a value beyond its ends."""
        update: Update = {
            self.preset: gr.Radio(value=settings.preset, info=preset_sentence(settings.preset)),
            self.base: settings.base_model,
        }
        for widget, value in zip(self.controls.values(), values_of(settings, self.names), strict=True):
            update[widget] = value
            if isinstance(widget, gr.Slider):
                least, most = min(widget.minimum, value), max(widget.maximum, value)
                update[widget] = gr.Slider(value=value, minimum=least, maximum=most)
        return update


def brought_along(base: str, preset: str, rate: float) -> tuple[bool, float]:
    """What a base brings along: whether it is in 4 bits, and its rate in the place of the preset's for another base."""
    is_presets = rate in {rate_of(preset, kind) for kind in (EMBEDDED, ENCODER, GPU_BASE)}
    return is_squeezed(base) and bool(gpu_name()), rate_of(preset, base) if is_presets else rate


def check_base_named(base: str) -> None:
    """Refuse a base that a visitor names of their own.

    Raises:
        SettingsError: one does.
    """
    if not serves_owner() and base not in known_bases():
        raise SettingsError("Only this Space's owner can name another base model; choose one of the list.")


def known_bases() -> set[str]:
    """The base models of the list and those of the runs there are: a visitor's page asks for no other, which could be a
    folder of this machine."""
    return {
        *(name for _, name in base_choices()),
        *(view.settings.base_model for folder in list_runs() if (view := view_run(folder.name))),
    }
