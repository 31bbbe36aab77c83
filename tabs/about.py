"""About: versions, hardware and places, as text that can be copied into a report of a problem."""

import platform

import gradio as gr
import psutil

from pipeline.files import home
from pipeline.machine import cores, free_disk, gpus, on_space, on_zero_gpu, versions
from pipeline.models.embedded import EMBEDDED, HUB_TWIN
from pipeline.runs.settings import default_base
from tabs.ui.events import on, open_to_all
from tabs.ui.text import count, memory


@open_to_all
def about() -> str:
    """What there is to know of this installation, a line each; nothing that is secret, and on a Space no path."""
    base = default_base()
    hub_name = HUB_TWIN if base == EMBEDDED else base
    lines = {
        "Versions": ", ".join(f"{name} {number}" for name, number in versions().items()),
        "System": platform.platform(terse=True),
        "Processor": f"{count(cores(), 'core')}, {memory(psutil.virtual_memory().total)} of memory",
        "GPU": _gpu_words(),
        "Disk": f"{memory(free_disk(home()))} free",
        "Kept in": f"{_place()} (runs, datasets, uploads, cache, replies)",
        "Base model": f"{base} (https://huggingface.co/{hub_name})",
        "License": "Apache-2.0; base models and catalogues have their own",
        "Health": "GET /health says what the app is doing, as JSON",
    }
    return "\n".join(f"{name}: {value}" for name, value in lines.items())


def _gpu_words() -> str:
    if on_zero_gpu():
        return "ZeroGPU, lent for each answer"
    found = (f"{gpu['name']}, {gpu['memory']}, driver {gpu['driver']}" for gpu in gpus())
    return "; ".join(found) or "none; everything runs on the processor"


def _place() -> str:
    return "the Space's own disk" if on_space() else str(home())


def add_about() -> None:
    """The folded panel at the page's end; what it says is looked up when it is opened."""
    with gr.Accordion("About", open=False, elem_id="about") as panel:
        text = gr.Code(  # a text box that takes no input cannot be selected from in every browser
            label="Versions, hardware and places",
            language=None,
            interactive=False,
            wrap_lines=True,
            show_line_numbers=False,
            buttons=["copy"],
            elem_id="about-text",
        )
    on(panel.expand, about, None, text)
