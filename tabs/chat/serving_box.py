"""The accordion that serves the chosen run to other programs: a switch, its state, and how to ask it."""

import json
import shlex

import gradio as gr
from markupsafe import Markup

from pipeline.answering.shop import missing_catalogue
from pipeline.machine import on_space
from pipeline.runs.folder import find_run, run_dataset
from pipeline.runs.view import get_trained_run
from pipeline.serving.asked import MOST_DAYS
from pipeline.serving.desk import SERVED_WAYS
from pipeline.serving.switch import (
    FAILED,
    OFF,
    ON,
    ON_SPACE,
    Served,
    has_key,
    new_key,
    served,
    switch_off,
    switch_on,
)
from tabs.ui.events import Update, on, open_to_all
from tabs.ui.text import html, notice
from tabs.ui.watcher import Refresh

PORT = 8000

QUESTION = "What does it weigh?"


class ServingBox:
    """The widgets of the switch.

    Args:
        run: the chosen run's name.
    """

    def __init__(self, run: gr.Dropdown) -> None:
        self.run = run
        is_here = not on_space()
        with gr.Accordion("Serve it to other programs", open=False, elem_id="serving"):
            gr.HTML(
                "<p>As an OpenAI API on its own port, for as long as this app runs. A key is shown once, when it is made.</p>"
                if is_here
                else notice(ON_SPACE, "hint", "space")
            )
            with gr.Row(visible=is_here):
                self.way = gr.Dropdown(
                    list(SERVED_WAYS), value=SERVED_WAYS[0], label="How it answers", elem_id="serving-way"
                )
                self.port = gr.Number(PORT, label="Port", precision=0, minimum=0, maximum=65535, elem_id="serving-port")
                self.for_others = gr.Checkbox(
                    label="Other machines can reach it (they need a key)", elem_id="serving-others"
                )
            with gr.Row(visible=is_here):
                self.origin = gr.Textbox(
                    label="Your shop's address, for a question box on its pages",
                    placeholder="https://shop.example",
                    elem_id="serving-origin",
                )
                self.days = gr.Number(
                    0,
                    label="Keep what is asked for so many days",
                    info="Never who asks. 0 keeps nothing; what is kept waits under “Your customers' own questions”.",
                    precision=0,
                    minimum=0,
                    maximum=MOST_DAYS,
                    elem_id="serving-days",
                )
            with gr.Row(visible=is_here):
                self.start = gr.Button("Start serving", elem_id="serving-start")
                self.stop = gr.Button("Stop serving", variant="stop", visible=False, elem_id="serving-stop")
                self.renew = gr.Button("Make a new key", elem_id="serving-key-new")
            self.said = gr.HTML(elem_id="serving-said", elem_classes="news")
            self.key = gr.HTML(elem_id="serving-key", elem_classes="news")
            self.state = gr.HTML(elem_id="serving-state", elem_classes="news")
        self.seen = gr.State("")
        self.outputs = [self.start, self.stop, self.state, self.seen]
        on(
            self.start.click,
            self.switch_on,
            [run, self.way, self.port, self.for_others, self.origin, self.days],
            [*self.outputs, self.key],
            problem=self.said,
        )
        on(self.stop.click, self.switch_off, None, self.outputs, problem=self.said)
        on(self.renew.click, self.renew_key, None, self.key, problem=self.said)

    def refreshes(self) -> list[Refresh]:
        """Notice what has become of the server."""
        return [Refresh(self.notice, [self.seen], self.outputs)]

    def switch_on(
        self, run: str, way: str, port: float | None, for_others: bool, origin: str | None, days: float | None
    ) -> Update:
        switch_on(
            get_trained_run(run),
            way,
            int(port or 0),
            for_others=for_others,
            origin=origin or "",
            keep_questions=int(days or 0),
        )
        return self.show(served()) | ({} if has_key() else self.renew_key())

    def switch_off(self) -> Update:
        switch_off()
        return self.show(served())

    def renew_key(self) -> Update:
        key = html("<p>The key, shown this once: <code data-key>{}</code></p>", new_key())
        return {self.key: key}

    @open_to_all
    def notice(self, seen: str) -> Update:
        now = served()
        return {} if seen == repr(now) or (not seen and now.state == OFF) else self.show(now)

    def show(self, now: Served) -> Update:
        """The state of the server, and how to ask it."""
        is_on = now.state not in (OFF, FAILED)
        return {
            self.start: gr.Button(visible=not is_on),
            self.stop: gr.Button(visible=is_on),
            self.state: state_words(now),
            self.seen: repr(now),
        }


def state_words(now: Served) -> Markup:
    """What is served, and where; or why not."""
    if now.state == OFF:
        return Markup()
    if now.state == FAILED:
        return notice(now.message, "problem", FAILED)
    if now.state != ON:
        return notice(f"Run {now.run} is being made ready.", "hint", now.state)
    folder = find_run(now.run)
    dataset = run_dataset(folder) if folder else None
    title = dataset.manifest["products"][0]["title"] if dataset else ""
    return html(
        '<div data-state="on">{}<p>Run {} answers at <code data-address>{}</code>{}.</p>{}'
        "<pre data-example=curl>{}</pre><pre data-example=openai>{}</pre></div>",
        notice(missing_catalogue(dataset) if dataset else ""),
        now.run,
        now.address,
        "; from another machine write this one’s number for 127.0.0.1" if now.for_others else "",
        box_words(now) if now.origin else "",
        curl_example(now, title),
        openai_example(now, title),
    )


def box_words(now: Served) -> Markup:
    """How the shop's pages get their question box."""
    script = f'<script src="{now.address.removesuffix("/v1")}/embed.js" defer></script>'
    secure = " Pages with https need a proxy with https before it: docs/API.md says how."
    return html(
        "<p>This line gives the pages of {} a question box.{}</p><pre data-example=box>{}</pre>",
        now.origin,
        secure if now.origin.startswith("https:") else "",
        script,
    )


def curl_example(now: Served, title: str) -> str:
    """A shell command that asks about a product."""
    asked = {"model": now.run, "messages": [{"role": "user", "content": QUESTION}], "product": title}
    lines = (
        f"curl {now.address}/chat/completions",
        '-H "Authorization: Bearer $SHELFTALK_KEY"',
        "-H 'Content-Type: application/json'",
        f"-d {shlex.quote(json.dumps(asked))}",
    )
    return " \\\n  ".join(lines)


def openai_example(now: Served, title: str) -> str:
    """The same with OpenAI's Python package."""
    return (
        "import os\n\nfrom openai import OpenAI\n\n"
        f'client = OpenAI(base_url="{now.address}", api_key=os.environ["SHELFTALK_KEY"])\n'
        f'asked = [{{"role": "user", "content": "{QUESTION}"}}]\n'
        f"about = {{'product': {title!r}}}\n"
        f"reply = client.chat.completions.create(model={now.run!r}, messages=asked, extra_body=about)\n"
        "print(reply.choices[0].message.content)"
    )
