"""The words for every training setting, and the widgets that set them.

The user's words come first; the field's own name stands small below, with a sentence of help.
"""

from dataclasses import dataclass, fields
from typing import Any

import gradio as gr
from markupsafe import Markup

from pipeline.models.embedded import EMBEDDED
from pipeline.models.encoder import ENCODER
from pipeline.models.offered import OFFERED, offered
from pipeline.runs.settings import (
    ALL_LINEAR,
    CHOICES,
    PRESETS,
    TrainingSettings,
    default_base,
    gpu_name,
    settings_for,
)
from pipeline.training.plan.advice import plain
from pipeline.training.plan.plan import least_bytes
from tabs.ui.text import memory

PRESET_WORDS = {
    "quick": ("Quick demo", "Each fact about 17 times with a small adapter: enough on a CPU, in minutes."),
    "recall": ("Recall", "Every training pair four times with a larger adapter: what makes facts stick on a GPU."),
    "original": ("The original experiment", "The settings this project began with. They do not learn: see why."),
}


BASE_WORDS = {
    ENCODER: f"{ENCODER} (23M weights) · reads: finds the sentence and the span in the record; says nothing of its own"
}


@dataclass(frozen=True)
class Control:
    """A setting's words; `slider` is (least, most, step) where it is a number."""

    name: str
    words: str
    help: str
    slider: tuple[float, float, float] | None = None


GROUPS: dict[str, tuple[Control, ...]] = {
    "Length: how long it trains": (
        Control("num_train_epochs", "Times through the data", "How often every pair is seen.", (0, 30, 0.1)),
        Control("min_steps", "Minimum updates", "A small dataset is repeated until then.", (0, 1000, 1)),
        Control("max_steps", "Fixed number of updates", "Instead of the two above; 0 leaves it to them.", (0, 3000, 1)),
        Control(
            "per_device_train_batch_size",
            "Examples at once",
            "The batch size. It is split where memory is short.",
            (1, 128, 1),
        ),
        Control(
            "gradient_accumulation_steps",
            "Batches per update",
            "Gradient accumulation: examples at once × batches per update = examples an update.",
            (1, 64, 1),
        ),
    ),
    "Learning: how strongly it learns": (
        Control(
            "learning_rate", "How strongly it learns", "0.001 teaches facts; 0.00005 hardly any.", (1e-5, 1e-2, 1e-5)
        ),
        Control(
            "lr_scheduler_type",
            "How that changes over time",
            "The schedule. cosine: strong first, then fading out.",
        ),
        Control("warmup_ratio", "Gentle start", "Share of the updates in which the strength rises.", (0, 0.5, 0.01)),
        Control("weight_decay", "Pull towards zero", "Holds the weights small; 0 remembers best.", (0, 1, 0.01)),
        Control(
            "max_grad_norm",
            "Largest single correction",
            "Longer ones are shortened to this; 0 is no limit.",
            (0, 10, 0.1),
        ),
        Control("optim", "Update rule", "The optimizer. adamw_torch works everywhere, adamw_8bit needs a GPU."),
        Control(
            "prompt_format",
            "How the question is put",
            "plain: Context, Instruction, Response. chat: that in the base's own chat template, if it has one.",
        ),
        Control(
            "completion_only_loss", "Learn the answers only", "Off: the questions are learned too, which dilutes it."
        ),
    ),
    "LoRA: the small adapter that is trained": (
        Control("lora_r", "Size of the adapter", "Its rank. More room for facts, a larger file.", (1, 256, 1)),
        Control(
            "lora_alpha", "Weight of the adapter", "It counts alpha ÷ rank; equal to the rank is usual.", (1, 512, 1)
        ),
        Control(
            "lora_dropout",
            "Dropout",
            "Share of the adapter switched off a step; 0 remembers best.",
            (0, 0.9, 0.05),
        ),
        Control("target_modules", "Layers to adapt", "All seven learn facts; attention alone (q, k, v, o) hardly."),
        Control(
            "lora_variant",
            "Kind of adapter",
            "lora is the plain one; the others suit large ranks (rslora) or small ones.",
        ),
        Control(
            "loraplus_lr_ratio",
            "Faster second half",
            "LoRA+: its B matrices learn this many times faster; 1 is plain.",
            (1, 64, 1),
        ),
    ),
    "Memory and speed": (
        Control("max_length", "Longest example", "In tokens. Longer pairs are left out and counted.", (32, 4096, 32)),
        Control("precision", "Number format", "auto takes bf16 where the processor has it."),
        Control("load_in_4bit", "Squeeze the base to 4 bits", "Quarter of the memory; on a GPU only."),
        Control("gradient_checkpointing", "Save memory by computing twice", "Less memory, about a third slower."),
        Control("packing", "Several examples in a row", "Fills up short examples: faster on a GPU."),
        Control("dataset_num_proc", "Processes that prepare the data", "Only used above 10,000 pairs.", (1, 16, 1)),
    ),
    "Measuring": (
        Control("questions", "Questions before and after", "Asked of base and tuned in the third tab.", (1, 100, 1)),
        Control("probes", "Recall checks while it trains", "Each asks up to 32 questions it never saw.", (0, 20, 1)),
        Control(
            "stop_when_learned",
            "Stop when learned",
            "Ends early once two recall checks in a row are at 95% or more, or three gain nothing.",
        ),
        Control(
            "save_steps", "Checkpoint every … updates", "At most these are lost if the computer goes down.", (5, 500, 5)
        ),
        Control("logging_steps", "Plot every … updates", "1 draws every update.", (1, 50, 1)),
        Control(
            "tracker",
            "Tell a tracker",
            "Loss, recall and trust also go to this package, which has to be installed; none tells nobody.",
        ),
        Control("seed", "Seed", "The same seed and settings give the same run.", (0, 9999, 1)),
    ),
}

TERMS = {control.name: control.words for group in GROUPS.values() for control in group} | {"base_model": "Base model"}


def preset_choices() -> list[tuple[str, str]]:
    return [(PRESET_WORDS[name][0], name) for name in PRESETS]


def preset_sentence(name: str) -> str:
    return PRESET_WORDS[name][1]


def base_choices() -> list[tuple[str, str]]:
    """The bases that are offered, each with its words: this machine's own first, then the smallest first."""
    names = dict.fromkeys([default_base(), EMBEDDED, ENCODER, *(one.name for one in OFFERED)])
    return [(BASE_WORDS.get(name) or base_words(name), name) for name in names]


def base_words(name: str) -> str:
    """An offered base with its size and licence, and what a run of it takes at least on this machine."""
    one = offered(name)
    if one is None:
        return name
    gpu = bool(gpu_name())
    needed = least_bytes(settings_for("recall" if gpu else "quick", name), gpu=gpu)
    told = [
        f"{one.size} weights",
        one.license,
        *(["gated: accept its terms on the Hub, set HF_TOKEN"] if one.gated else []),
    ]
    trains = "trains on an NVIDIA GPU" if one.needs_gpu and not gpu else f"trains in {memory(needed or 0)}"
    return " · ".join([name, *told, trains])


def make_controls(settings: TrainingSettings) -> dict[str, Any]:
    """All groups as accordions; returns each setting's widget by its field's name."""
    made: dict[str, Any] = {}
    for number, (title, group) in enumerate(GROUPS.items()):
        with gr.Accordion(title, open=number == 0, elem_id=f"group-{number}"):
            for control in group:
                made[control.name] = _widget(control, getattr(settings, control.name))
    return made


def _widget(control: Control, value: Any) -> Any:
    words: dict[str, Any] = {"label": control.words, "info": f"{control.name} · {control.help}", "interactive": True}
    words["elem_id"] = f"set-{control.name}"
    if control.name in CHOICES:
        return gr.Dropdown(list(CHOICES[control.name]), value=value, filterable=False, **words)
    if control.name == "target_modules":
        return gr.CheckboxGroup(list(ALL_LINEAR), value=list(value), **words)
    if control.slider is None:
        return gr.Checkbox(value=value, **words)
    least, most, step = control.slider
    return gr.Slider(least, most, value=value, step=step, buttons=[], **words)


def values_of(settings: TrainingSettings, names: list[str]) -> list[Any]:
    """The settings as the widgets show them, in the order of `names`."""
    values = settings.as_dict()
    return [values[name] for name in names]


def settings_from(preset: str, base_model: str, values: dict[str, Any]) -> TrainingSettings:
    """The settings of the widgets.

    Raises:
        SettingsError: a value, or a combination of them, cannot work.
    """
    whole = {f.name for f in fields(TrainingSettings) if f.type in (int, "int")}
    numbers = {n: int(v) if n in whole and isinstance(v, float) and v.is_integer() else v for n, v in values.items()}
    return TrainingSettings.from_dict({**numbers, "preset": preset, "base_model": (base_model or "").strip()})


def changed(settings: TrainingSettings) -> dict[str, Any]:
    """The settings that differ from their preset, with the preset's values."""
    if settings.preset not in PRESETS:
        return {}
    values, preset = settings.as_dict(), settings_for(settings.preset, settings.base_model).as_dict()
    # The base model brings its own 4 bits along.
    return {n: preset[n] for n in TERMS if n not in ("base_model", "load_in_4bit") and preset[n] != values[n]}


def changes(settings: TrainingSettings) -> list[str]:
    """What the user changed from the preset, in words."""
    values = settings.as_dict()
    return [f"{TERMS[name]} {plain(values[name])}" for name in changed(settings)]


def mark_changed(settings: TrainingSettings) -> Markup:
    """A style sheet that marks the settings which differ from the preset, and the groups that they are in.

    A style sheet leaves the widgets alone: to send 29 of them at every move of a slider would fight with the hand on it.
    """
    different = changed(settings)
    marks = [
        f'#set-{name} [data-testid="block-info"]::after {{ content: " changed from {_within_css(value)}"; }}'
        for name, value in different.items()
    ]
    for number, group in enumerate(GROUPS.values()):
        if inside := sum(control.name in different for control in group):
            marks.append(
                f'#group-{number} > .label-wrap > span:first-child::after {{ content: " · {inside} changed"; }}'
            )
    # A style sheet knows no escapes of HTML; all words in it are the presets'.
    return Markup(f"<style>{' '.join(marks)}</style>") if marks else Markup()


def _within_css(value: Any) -> str:
    short = "all" if value == list(ALL_LINEAR) else plain(value)
    return short.replace("\\", "").replace('"', "")
