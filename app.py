"""The page: three tabs and a status line. `python app.py` serves it on http://localhost:7860 (`PORT` overrides)."""

import os

# Before Gradio and the Hub's client are imported: neither tells anyone what is done here.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import signal
import sys

import tabs  # noqa: F401  # isort: skip  (which imports Gradio more quickly)
import gradio as gr

from pipeline import logs
from pipeline.files import ASSETS, datasets_dir, runs_dir
from pipeline.machine import is_taken, on_space, port_to_serve_on
from pipeline.runs import queue
from pipeline.space import awake, keeping
from pipeline.training.start import room
from tabs.about import add_about
from tabs.chat import after_training
from tabs.chat.tab import ChatTab
from tabs.dataset.tab import DatasetTab
from tabs.server import gradio_internals, health
from tabs.server.gate import LARGEST_UPLOAD, MOST_EVENTS, MOST_PAGES, GuardedBlocks, middleware
from tabs.server.sign_in import WhoLine
from tabs.status_line import StatusLine
from tabs.training.tab import TrainingTab
from tabs.ui.events import on
from tabs.ui.theme import theme
from tabs.ui.watcher import together

TICK_SECONDS = 2
"""Between two looks at what is new: drawing a run's plot oftener would take time from a training on the same processor."""


def build() -> gr.Blocks:
    with GuardedBlocks(title="Shelftalk", analytics_enabled=False) as page:
        gr.HTML("<h1>Shelftalk <small>Teach a model your catalogue, and see what it learned.</small></h1>")
        who = WhoLine()
        status = StatusLine()
        with gr.Tabs(elem_id="tabs", overflow_behavior="wrap") as pages:
            with gr.Tab("1 Dataset", id="dataset"):
                dataset = DatasetTab(pages)
            with gr.Tab("2 Training", id="training") as training_tab:
                training = TrainingTab(pages)
            with gr.Tab("3 Chat and compare", id="chat") as chat_tab:
                chat = ChatTab(pages)
        add_about()
        who.wire(page.load)
        status.wire(page.load)
        dataset.wire_refresh([page.load])
        training.wire_refresh([page.load, training_tab.select, dataset.generated.then])
        on(training_tab.select, training.get_ready)
        chat.wire_refresh(page.load, [chat_tab.select])
        chat.wire_get_ready(chat_tab.select)
        whole = together([*status.refreshes(), *dataset.refreshes(), *training.refreshes(), *chat.refreshes()])
        on(gr.Timer(TICK_SECONDS).tick, whole.handler, whole.inputs, whole.outputs)
    gradio_internals.open_sign_in(page)
    return page.queue(max_size=MOST_EVENTS)


def main() -> None:
    logs.set_up()
    port = port_to_serve_on()
    for folder in (runs_dir(), datasets_dir()):
        folder.mkdir(parents=True, exist_ok=True)
    keeping.attend()
    queue.attend(room)
    awake.attend()
    after_training.attend()
    if on_space():
        signal.signal(signal.SIGTERM, keeping.take_the_run_along)
    page = build()
    try:
        page.launch(
            server_name="0.0.0.0" if on_space() else "127.0.0.1",
            server_port=port,
            theme=theme(),
            css_paths=ASSETS / "style.css",
            footer_links=["api", "settings"],
            max_file_size=LARGEST_UPLOAD,
            state_session_capacity=MOST_PAGES,
            mcp_server=True,
            run_history=False,
            enable_monitoring=False,
            share=False,
            ssr_mode=False,
            app_kwargs={"middleware": middleware(), "routes": [*health.routes(), *gradio_internals.routes()]},
        )
    except OSError as error:
        if not is_taken(port):  # then it is another fault, and its traceback says which
            raise
        sys.exit(f"Port {port} cannot be used ({error}); stop what is running there, or choose another with PORT=8080.")


if __name__ == "__main__":
    main()
