"""How the page's events are wired: quietly, with problems shown as sentences, and marked by who may call them."""

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import gradio as gr

from tabs.ui.text import explain, notice

QUIET: dict[str, Any] = {"show_progress": "hidden", "show_progress_on": [], "api_visibility": "private"}
"""For events of the page's own: nothing spins, and no other program sees an endpoint.

Progress is shown on no component, not only hidden: else the browser would tell every output, and all outputs of earlier events,
of every state that the event goes through."""

Handler = TypeVar("Handler", bound=Callable[..., Any])

Update = dict[Any, Any]
"""Components and what becomes of them; what is not named stays as it is."""

Event = Callable[..., Any]
"""`button.click`, `box.input`, …, or (never among several) the `then` of what `on` gave back."""


def on(
    event: Event | Sequence[Event],
    handler: Callable[..., Any] | None,
    inputs: Any = None,
    outputs: Any = None,
    *,
    problem: gr.HTML | None = None,
    clears: bool = True,
    picked: bool = False,
    progress_on: Any = None,
    **options: Any,
) -> Any:
    """Call a handler at an event, quietly: nothing spins, and no other program sees an endpoint.

    Who may call it, only its own mark says: `open_to_all`, `open_in_measure`, or none, which means the owner alone.

    Args:
        event: or several, any of which calls it.
        handler: None for what the browser does alone (see the option `js`).
        problem: where its problems are shown as a sentence (see `guarded`); it is one of the outputs by itself. Of a box's
            `blur` it is no place of a button's: the press of the button leaves the box, and either may be answered first.
        clears: off for what happens by itself: on a busy machine it may come after a button's sentence and wipe it away.
        picked: for what a person picks or types: what comes while the answer to an earlier one is under way is answered after it.
            By Gradio's default it would be dropped, and the page would show something else than what is picked.
        progress_on: the components on which it shows how far it is.
        options: Gradio's own of an event, such as `js`, `queue` and `concurrency_id`.

    Returns:
        Gradio's dependency, whose `then` is an event.
    """
    if handler is not None and problem is not None:
        handler = guarded(problem, handler, clears=clears)
        outputs = list(dict.fromkeys([problem, *_listed(outputs)]))
    how: dict[str, Any] = QUIET | ({"trigger_mode": "always_last"} if picked else {})
    if progress_on is not None:
        how |= {"show_progress": "full", "show_progress_on": progress_on}
    how |= options
    if isinstance(event, Sequence):
        return gr.on(event, handler, inputs, outputs, **how)
    return event(handler, inputs, outputs, **how)


def _listed(components: Any) -> list[Any]:
    if components is None:
        return []
    return list(components) if isinstance(components, Sequence) else [components]


def guarded(place: gr.HTML, handler: Callable[..., Any], *, clears: bool = True) -> Callable[..., Any]:
    """Make a handler show its problems in `place` as a sentence, and clear `place` when there is none.

    The handler returns (or yields) an `Update`, so that after a problem everything else stays as it was.

    Args:
        clears: off for what happens by itself: on a busy machine it may come after a button's sentence and wipe it away.
    """
    fine = {place: ""} if clears else {}

    @functools.wraps(handler)
    def once(*args: Any, **kwargs: Any) -> Update:
        try:
            return fine | handler(*args, **kwargs)
        except Exception as error:
            return {place: notice(explain(error))}

    @functools.wraps(handler)
    def several(*args: Any, **kwargs: Any) -> Iterator[Update]:
        try:
            for update in handler(*args, **kwargs):
                yield fine | update
        except Exception as error:
            yield {place: notice(explain(error))}

    return several if inspect.isgeneratorfunction(handler) else once


def for_callers(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make an API endpoint answer a problem with its sentence."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            raise gr.Error(explain(error), print_exception=False) from error

    return call


def open_to_all(handler: Handler) -> Handler:
    """Mark a handler that a Space's visitors may call, since it only shows what there is; all others are the owner's.

    `tabs.server.gate` looks for the mark, and `functools.wraps` keeps it.
    """
    handler.open_to_all = True  # pyright: ignore[reportFunctionMemberAccess]
    return handler


def open_in_measure(handler: Handler) -> Handler:
    """Mark one that visitors may call a few times a minute: it asks the model, or keeps something."""
    handler.in_measure = True  # pyright: ignore[reportFunctionMemberAccess]
    return open_to_all(handler)


def go_to(button: gr.Button, tabs: gr.Tabs, tab: str) -> None:
    """Make a button open another tab."""
    on(button.click, open_to_all(lambda: gr.Tabs(selected=tab)), None, tabs, queue=False)


def reveal(event: Any, name: str) -> None:
    """After an event, bring the element of that id into view."""
    script = f"() => document.getElementById('{name}')?.scrollIntoView({{behavior: 'smooth', block: 'nearest'}})"
    event.then(None, None, None, js=script)
