"""What an open page asks for by itself: one event a tick, and an answer that names only what is new."""

import json
from collections import Counter
from typing import Any

import gradio as gr
import pytest
from playwright.sync_api import Page, Request

from pipeline.errors import RunError
from tabs.ui import watcher
from tabs.ui.events import Update, open_in_measure, open_to_all
from tabs.ui.watcher import Refresh, done_by_owner, recently, together
from tests.tabs.conftest import PATIENCE


def part(said: Any, inputs: list[Any], outputs: list[Any]) -> Refresh:
    return Refresh(open_to_all(said), inputs, outputs)


def test_one_tick_asks_every_part_and_one_that_fails_stops_no_other(caplog: pytest.LogCaptureFixture) -> None:
    with gr.Blocks():
        first, second, third = gr.HTML(), gr.HTML(), gr.State()

        def fails(value: str) -> Update:
            raise RunError(f"{value} is lost")

        whole = together(
            [
                part(lambda a, b: {first: a + b}, [first, second], [first, second]),
                part(fails, [third], [third]),
                part(lambda: {}, [], [second]),
                part(lambda value: {second: value}, [third], [second, third]),
            ]
        )
        assert (whole.inputs, whole.outputs) == ([first, second, third, third], [first, second, third])
        assert whole.handler("a", "b", "c", "d") == {first: "ab", second: "d"}
        assert "c is lost" in caplog.text
        assert together([part(lambda: {}, [], [first])]).handler() == gr.skip()


def test_what_is_not_for_everybody_at_any_time_is_no_part_of_a_tick() -> None:
    for handler in (lambda: {}, open_in_measure(lambda: {})):
        with pytest.raises(ValueError, match="not for everybody"):
            together([Refresh(handler, [], [])])


def test_an_answer_is_found_once_for_all_pages_until_the_owner_does_something(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Counter[str]()
    now = 0.0
    monkeypatch.setattr(watcher.time, "monotonic", lambda: now)

    @recently
    def answer(name: str) -> int | None:
        asked[name] += 1
        return asked[name] if name != "none" else None

    for _ in range(3):
        assert (answer("a"), answer("b"), answer("none")) == (1, 1, None)
    assert asked == {"a": 1, "b": 1, "none": 1}
    done_by_owner()
    assert answer("a") == 2
    now = watcher.RECENT_SECONDS
    assert answer("a") == 3


WATCH = """() => {
    window.changes = [];
    new MutationObserver(found => window.changes.push(...found.map(one => one.target.outerHTML || one.target.data)))
        .observe(document.body, {subtree: true, childList: true, attributes: true, characterData: true});
}"""


def test_an_idle_page_sends_one_event_a_tick_which_changes_nothing(page: Page) -> None:
    sent = Counter[int]()

    def note(request: Request) -> None:
        if "/queue/join" in request.url:
            sent[json.loads(request.post_data or "")["fn_index"]] += 1

    def wait_for_ticks(number: int) -> None:
        before = sent.copy()
        for _ in range(PATIENCE):
            if max((sent - before).values(), default=0) > number:
                return
            page.wait_for_timeout(500)
        raise AssertionError(f"The page sent only {sent - before}.")

    page.on("request", note)
    wait_for_ticks(2)
    beginning = sent.copy()
    page.evaluate(WATCH)
    wait_for_ticks(3)
    assert len(sent - beginning) == 1
    assert page.evaluate("window.changes") == []
