"""How handlers are called: quietly, by those who may, and with their problems said where the page shows them."""

from typing import Any

import gradio as gr

from pipeline.errors import RunError
from tabs.ui.events import Update, guarded, on, open_in_measure, open_to_all

MARKUP = "<script>window.ranAway=1</script>"


def fails(sentence: str) -> Update:
    raise RunError(sentence)


def wired(handler: Any, *, says_problems: bool = False, picked: bool = False) -> Any:
    """What Gradio is told of an event that `on` wires."""
    with gr.Blocks() as page:
        button, place = gr.Button(), gr.HTML()
        on(button.click, handler, outputs=place, problem=place if says_problems else None, picked=picked)
    (function,) = page.fns.values()
    return function


def test_a_problem_becomes_its_sentence_and_nothing_else_changes() -> None:
    with gr.Blocks():
        place = gr.HTML()

        def breaks() -> Update:
            raise ZeroDivisionError("division by zero")

        said = guarded(place, fails)(MARKUP)
        assert list(said) == [place]
        assert "&lt;script&gt;" in said[place] and "<script>" not in said[place]
        assert "ZeroDivisionError" in guarded(place, breaks)()[place]
        assert guarded(place, lambda: {})() == {place: ""}
        assert guarded(place, lambda: {}, clears=False)() == {}


def test_a_handler_that_goes_on_keeps_what_it_showed_before_its_problem() -> None:
    with gr.Blocks():
        place, box = gr.HTML(), gr.Textbox()

        def goes_on() -> Any:
            yield {box: "begun"}
            raise RunError("No room.")

        first, second = guarded(place, goes_on)()
        assert first == {place: "", box: "begun"}
        assert list(second) == [place] and "No room." in second[place]


def test_an_event_is_quiet_and_the_owner_s_unless_it_says_otherwise() -> None:
    function = wired(lambda: {})
    assert (function.show_progress, function.show_progress_on, function.api_visibility) == ("hidden", [], "private")
    assert function.trigger_mode == "once"
    assert not hasattr(function.fn, "open_to_all")


def test_what_a_person_picks_is_answered_after_what_is_under_way() -> None:
    assert wired(lambda: {}, picked=True).trigger_mode == "always_last"


def test_the_marks_are_seen_through_what_shows_problems() -> None:
    def seen() -> Update:
        return {}

    assert not hasattr(wired(seen, says_problems=True).fn, "open_to_all")
    assert wired(open_to_all(seen), says_problems=True).fn.open_to_all is True
    asked = wired(open_in_measure(lambda: {}), says_problems=True).fn
    assert asked.open_to_all is True and asked.in_measure is True


def test_the_place_of_problems_is_an_output_once() -> None:
    with gr.Blocks() as page:
        button, place, box = gr.Button(), gr.HTML(), gr.Textbox()
        one = on(button.click, fails, box, [box, place], problem=place)
        on([box.submit, button.click], fails, box, box, problem=place, progress_on=box)
        on(one.then, fails, box, problem=place)
    first, second, third = page.fns.values()
    assert first.outputs == second.outputs == [place, box]
    assert third.outputs == [place]
    assert (second.show_progress, second.show_progress_on) == ("full", [box])
    assert len(second.targets) == 2
