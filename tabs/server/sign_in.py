"""The line on top of a Space's page: who you are there, what you may do, and how to have a Space of your own."""

import os
from typing import Any

import gradio as gr

from pipeline.machine import on_space
from tabs.server.identity import caller_now, can_sign_in
from tabs.ui.events import on, open_to_all
from tabs.ui.text import html

ASK = "Ask the model anything in 3 Chat and compare; training, generating and publishing are the owner's."
NO_SIGN_IN = html(
    " Nobody can sign in here, not even its owner: the Space's README.md has no <code>hf_oauth: true</code>."
)


@open_to_all
def who_line() -> str:
    """Who the page is shown to, as HTML."""
    caller, space = caller_now(), os.environ.get("SPACE_ID", "")
    if caller and caller.is_owner:
        return html(
            "<p class='small'>Signed in as {}: this Space is yours, and you may do everything.</p>", caller.name
        )
    return html(
        "<div class='notice hint visitor' role='status'>→ You are looking at {owner}'s Space. {name}{ask}{more} "
        "<a href='https://huggingface.co/spaces/{space}?duplicate=true' target='_blank' rel='noopener noreferrer'>"
        "Duplicate this Space</a> to teach your own catalogue.</div>",
        owner=space.partition("/")[0],
        name=f"Signed in as {caller.name}, who is not one of its owners. " if caller and caller.name else "",
        ask=ASK,
        more="" if can_sign_in() else NO_SIGN_IN,
        space=space,
    )


class WhoLine:
    """The line, and the button to sign in with; nothing of it where the app is no Space."""

    def __init__(self) -> None:
        with gr.Row(visible=on_space(), equal_height=True, elem_id="who"):
            self.line = gr.HTML(elem_classes="news", min_width=260)
            if can_sign_in():  # elsewhere the button would keep the app from starting
                gr.LoginButton(size="sm", scale=0, min_width=230, elem_id="sign-in")

    def wire(self, load: Any) -> None:
        """Args:
        load: the event of a page that is opened.
        """
        if on_space():
            on(load, who_line, None, self.line)
