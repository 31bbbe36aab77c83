"""What a page does with less work must be what Gradio itself does."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import gradio as gr
import pytest
from gradio.state_holder import SessionState

from tabs.server.blocks import LeanBlocks


class Page:
    """A page with one event, of Gradio's Blocks or of ours, and a session of it."""

    def __init__(self, kind: type[gr.Blocks]) -> None:
        with kind() as self.blocks:
            self.ticked, self.choice = gr.Checkbox(), gr.Dropdown(["a"])
            self.text, self.state = gr.Textbox(), gr.State(1)
            self.outputs = [self.ticked, self.choice, self.text, self.state]
            self.other = gr.HTML()
            self.blocks.load(lambda: None, None, self.outputs)
        self.session = SessionState(self.blocks)

    def told(self, predictions: Any) -> list[Any]:
        with ThreadPoolExecutor(1) as thread:  # the browser's loop has this one, once a test has opened a browser
            return thread.submit(
                asyncio.run, self.blocks.postprocess_data(self.blocks.fns[0], predictions, self.session)
            ).result()


UPDATES = {
    "one value": lambda page: {page.text: "new"},
    "one component": lambda page: {page.choice: gr.Dropdown(choices=["a", "b"], value="b")},
    "a state": lambda page: {page.state: 2},
    "all": lambda page: {page.state: 2, page.ticked: True, page.text: gr.Textbox(visible=False), page.choice: "a"},
    "a list": lambda page: [True, "a", "y", 2],
}


@pytest.mark.parametrize("update", UPDATES.values(), ids=UPDATES)
def test_an_update_comes_to_the_page_and_to_the_session_as_by_gradio(update: Any) -> None:
    plain, lean = Page(gr.Blocks), Page(LeanBlocks)
    assert lean.told(update(lean)) == plain.told(update(plain))
    assert lean.session[lean.state._id] == plain.session[plain.state._id]
    assert lean.session[lean.choice._id].choices == plain.session[plain.choice._id].choices


@pytest.mark.parametrize("nothing", [gr.skip(), {}])
def test_what_stays_as_it_is_is_not_made_anew(nothing: Any) -> None:
    page = Page(LeanBlocks)
    assert page.told(nothing) == [gr.skip(), gr.skip(), gr.skip(), None]
    page.told({page.text: "new"})
    assert page.session[page.ticked._id] is page.ticked
    assert page.session[page.choice._id] is page.choice
    assert page.session[page.state._id] == 1


def test_a_component_that_is_no_output_is_a_mistake() -> None:
    page = Page(LeanBlocks)
    with pytest.raises(ValueError, match="not specified as output"):
        page.told({page.text: "new", page.other: "new"})


def test_a_session_describes_nothing_and_the_page_everything() -> None:
    page = Page(LeanBlocks)
    page.told({page.choice: gr.Dropdown(choices=["a", "b"], value="b")})
    assert not any(page.session.config_values.values())
    kinds = {component["type"] for component in page.blocks.get_config_file()["components"]}
    assert kinds >= {"checkbox", "dropdown", "textbox", "state"}
