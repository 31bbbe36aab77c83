"""All that reaches into parts of Gradio that it does not promise to keep.

Each has a test in `tests/tabs/server/test_gradio_internals.py`, which says after an upgrade what is not as it was. Besides
these, the style sheet and `tabs.training.settings_form` name one attribute of Gradio's own elements, `LABEL`.
"""

import hashlib
import os
import re
import secrets
import shutil
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from copy import copy
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.blocks import BlocksConfig
from gradio.components.plot import PlotData
from gradio.routes import App
from gradio.utils import get_upload_folder
from starlette.responses import Response
from starlette.routing import Route

from pipeline.files import whole_file
from tabs.ui.events import open_to_all
from tabs.ui.files import stamp

LOOK_SECONDS = 0.005
"""Between two looks at whether an event waits. Gradio's millisecond costs a twelfth of a core while nobody is there."""

UNCOUNTED = {"GRADIO_ANALYTICS_MAX_EVENTS": "1", "GRADIO_ANALYTICS_CACHE_FREQUENCY": "1000000000"}
"""By this Gradio does not count, after each event, how the last 10,000 went: nobody may read that."""

MOST_SESSIONS = 2000
"""For which messages may wait, as Gradio has it; each call through the API is one."""

LABEL = '[data-testid="block-info"]'
"""A component's label, as a selector of the style sheet."""

NOTHING: dict[str, Any] = {}
"""The same for all components, of which a page has hundreds."""


# --- Less work for each event, less memory for each page ---


class PageConfig(BlocksConfig):
    """What a page is made of. The copies, of which every session has one, describe nothing.

    Gradio uses a session's descriptions for links to a state of the page alone, which the gate closes, and for parts that
    are rendered anew (`gr.render`), of which there are none.
    """

    def __copy__(self) -> BlocksConfig:
        own = super().__copy__()
        own.config_for_block = _nothing
        return own


def _nothing(_id: int, rendered_ids: list[int], block: Any, renderable: Any = None) -> dict[str, Any]:
    return NOTHING


class RecentSessions(OrderedDict[str, Any]):
    """The messages that wait for each session, of those that were used last.

    Gradio's own mapping drops the sessions that began first, which open pages are: after 2,000 calls through the API, of which
    each is a session, a page in whose event that falls never hears of its end.

    Args:
        most: sessions that are kept.
        events: Gradio's own of each session, which end with it.
    """

    def __init__(self, most: int, events: dict[str, set[str]]) -> None:
        super().__init__()
        self.most, self.events = most, events

    def __getitem__(self, session: str) -> Any:
        messages = super().__getitem__(session)
        self.move_to_end(session)
        return messages

    def __setitem__(self, session: str, messages: Any) -> None:
        super().__setitem__(session, messages)
        while len(self) > self.most:
            oldest = next(iter(self))
            del self[oldest]
            self.events.pop(oldest, None)


class LeanBlocks(gr.Blocks):
    """Blocks for many visitors, whose calls can be judged.

    Gradio makes every output of an event anew, also one that stays as it is, and keeps a description of the whole page for
    every session, which each call through the API is, too. Both are most of what a crowd would cost
    (`benchmarks/visitors.py`).
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.default_config = PageConfig(self)

    # What a subclass may say of a call: here, that everybody may do everything.

    async def before_call(self, handler: Any, requests: list[Any], *, begins: bool) -> None:
        """Called before a handler is, from the page, the API or MCP, and before each further step of one that goes on.

        Args:
            begins: whether it is the first step.

        Raises:
            gr.Error: it may not be called.
        """

    def after_call(self, handler: Any) -> None:
        """Called after that, also when it failed."""

    async def refusal_to_wait(self, line: str, waiting: list[Any], request: Any) -> str:
        """Why one more request may not wait in the line of that name behind those; empty where it may."""
        return ""

    # How Gradio is made to ask.

    async def process_api(
        self, block_fn: Any, inputs: list[Any], state: Any = None, request: Any = None, iterator: Any = None,
        *others: Any, **options: Any,
    ) -> dict[str, Any]:  # fmt: skip
        handler = (self.fns[block_fn] if isinstance(block_fn, int) else block_fn).fn
        requests = request if isinstance(request, list) else [request]
        await self.before_call(handler, requests, begins=iterator is None)
        try:
            return await super().process_api(block_fn, inputs, state, request, iterator, *others, **options)
        finally:
            self.after_call(handler)

    async def postprocess_data(self, block_fn: Any, predictions: Any, state: Any) -> list[Any]:
        """As Gradio's, which here sees only the outputs that an update names; the others stay as they are."""
        outputs = block_fn.outputs
        if not isinstance(predictions, dict) or len(outputs) < 2:
            return await super().postprocess_data(block_fn, predictions, state)
        named = [output for output in outputs if output in predictions]
        if predictions != gr.skip() and len(named) < len(predictions):  # something else is named
            return await super().postprocess_data(block_fn, predictions, state)
        part = copy(block_fn)
        part.outputs = named
        told = iter(await super().postprocess_data(part, predictions, state) if named else [])
        return [next(told) if output in predictions else None if output.stateful else gr.skip() for output in outputs]

    def __exit__(self, *error: Any) -> None:
        with serving_nobody():
            super().__exit__(*error)

    def queue(self, *values: Any, **options: Any) -> gr.Blocks:
        os.environ.update(UNCOUNTED)
        with serving_nobody():
            super().queue(*values, **options)
        self._queue.sleep_when_free = LOOK_SECONDS
        sessions: Any = RecentSessions(MOST_SESSIONS, self._queue.pending_event_ids_session)
        self._queue.pending_messages_per_session = sessions
        push = self._queue.push

        async def push_in_turn(body: Any, request: Any, username: str | None) -> Any:
            called = self.fns.get(body.fn_index)
            line = called.concurrency_id if called else ""
            queue = self._queue.event_queue_per_concurrency_id.get(line)
            waiting = [event.request for event in queue.queue] if queue else []
            said = await self.refusal_to_wait(line, waiting, request)
            return (False, said, "error") if said else await push(body, request, username)

        self._queue.push = push_in_turn
        return self


@contextmanager
def serving_nobody() -> Iterator[None]:
    """While a page is built. Gradio makes a server of it three times before `launch` makes the one that serves, which takes a
    quarter of the time that the app needs to start."""
    make = App.create_app
    App.create_app = staticmethod(lambda *_, **__: None)  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield
    finally:
        App.create_app = staticmethod(make)


def open_sign_in(page: gr.Blocks) -> None:
    """Let Gradio's own handler write the sign-in button's words for everybody who opens the page, and be no endpoint of the
    API.

    Args:
        page: built, since Gradio adds the handler at the end.
    """
    check = open_to_all(gr.LoginButton._check_login_status)
    for function in page.fns.values():
        if getattr(function.fn, "__func__", None) is check:
            function.api_visibility = "private"


# --- The page's script ---

SCRIPTS = Path(gr.__file__).parent / "templates" / "frontend" / "assets"

SEARCH = re.compile(
    r"function (?P<find>\w+)\((?P<node>\w+),(?P<id>\w+)\)\{if\((?P=node)\.id===(?P=id)\)return (?P=node);"
    r"if\((?P=node)\.children\)for\(let (?P<child>\w+) of (?P=node)\.children\)"
    r"\{let (?P=node)=(?P=find)\((?P=child),(?P=id)\);if\((?P=node)\)return (?P=node)\}return null\}"
)
"""How Gradio's script finds a component: through the whole page, several times for each output and input of every event.
With hundreds of components that is a third of what it takes to open the page."""

LOOKUP = r"""const \g<find>_seen=new WeakMap;
function \g<find>(root,id){
  const note=(node,seen)=>{
    seen.has(node.id)||seen.set(node.id,node);
    for(const child of node.children??[])note(child,seen);
    return seen};
  if(!\g<find>_seen.get(root)?.has(id))\g<find>_seen.set(root,note(root,new Map));
  return \g<find>_seen.get(root).get(id)??null}
"""
"""The same from a table, which is made anew where it lacks one. It keeps what has gone: no part of this page is rendered anew."""


EVENTS_OF = re.compile(
    r"(?P<name>find_attached_events)\((?P<node>\w+),(?P<all>\w+)\)\{let (?P<own>\w+)=(?P=all)\.filter\((?P<one>\w+)=>"
    r"(?P=one)\.targets\.find\(\(\[(?P=one)\]\)=>(?P=one)===(?P=node)\.id\)\)\.map\((?P=one)=>\{let (?P=own)="
    r"(?P=one)\.targets\.find\(\(\[(?P=one)\]\)=>(?P=one)===(?P=node)\.id\);return (?P=own)\?(?P=own)\[1\]:null\}\)"
    r"\.filter\(Boolean\);return (?P=node)\.props\.shared_props\.attached_events=(?P=own),(?P=node)\}"
)
"""How it finds what a component has to tell: through all events of the page, for each component."""

TABLE_OF = r"""find_attached_events(node,all){
  if(this.told_by_all!==all){
    this.told_by_all=all;this.told_by=new Map;
    for(const event of all){
      const seen=new Set;
      for(const [id,name] of event.targets){
        if(seen.has(id))continue;
        seen.add(id);
        if(name)this.told_by.has(id)?this.told_by.get(id).push(name):this.told_by.set(id,[name])}}}
  return node.props.shared_props.attached_events=this.told_by.get(node.id)??[],node}"""
"""The same from a table."""


def quick_script() -> tuple[str, str]:
    """The name and the text of the script that finds components and their events, which here finds them at once; both empty
    where Gradio's is another than is known here."""
    for script in SCRIPTS.glob("core-*.js"):
        text, found = SEARCH.subn(LOOKUP, script.read_text(encoding="utf-8"))
        text, told = EVENTS_OF.subn(TABLE_OF, text)
        if found == told == 1:
            return script.name, text
    return "", ""


def routes() -> list[Route]:
    """For the server, before Gradio's own."""
    name, text = quick_script()
    headers = {"cache-control": "max-age=3600"}
    return (
        [Route(f"/assets/{name}", lambda _: Response(text, media_type="text/javascript", headers=headers))]
        if name
        else []
    )


# --- Plots and files ---

Drawn = PlotData
"""A figure as the browser gets it."""


def written(figure: Any) -> Drawn:
    """A Plotly figure, written out once: Gradio would do it anew for every window, while all others wait."""
    return PlotData(type="plotly", plot=figure.to_json())


def upload_folder() -> Path:
    """Gradio's own folder: what lies in it, and nothing else, the page may hand out."""
    return Path(get_upload_folder())


DAY = 86_400
_UNKNOWN = secrets.token_hex(16)
"""A part of the address of what is served, which nobody can guess: Gradio gives its files to whoever names them."""


def served(path: Path) -> str:
    """A copy of a file among Gradio's own: what else is in a run's folder or a dataset's (logs, checkpoints) has no
    address, and whoever is not told this one cannot know it."""
    served_now = upload_folder() / "served" / _UNKNOWN
    if not served_now.is_dir():  # the first: what processes of other days served may go
        for old in served_now.parent.glob("*"):
            with suppress(OSError):  # another process clears them, too
                if old.stat().st_mtime < time.time() - DAY:
                    shutil.rmtree(old, ignore_errors=True)
    copied = served_now / hashlib.sha256(str(path).encode()).hexdigest()[:16] / path.name
    if not copied.is_file() or stamp(copied)[1:] != stamp(path)[1:]:
        with whole_file(copied) as aside:
            shutil.copy2(path, aside)
    return str(copied)
