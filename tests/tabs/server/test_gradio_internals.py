"""What the app takes from Gradio's private parts is there and does what it is taken for.

After an upgrade of Gradio, a test that fails here names the part that is not as it was.
"""

import asyncio
import inspect
import json
import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import gradio as gr
import httpx
import pytest
from gradio import component_meta
from gradio.routes import App as Server
from gradio.state_holder import SessionState
from gradio_client import Client
from playwright.sync_api import Browser

from pipeline.files import PROJECT
from tabs.server.gradio_internals import (
    EVENTS_OF,
    LABEL,
    LOOK_SECONDS,
    LOOKUP,
    SCRIPTS,
    SEARCH,
    TABLE_OF,
    LeanBlocks,
    open_sign_in,
    quick_script,
    served,
    upload_folder,
    written,
)
from tests.children import running
from tests.tabs.conftest import App


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


class Judged(LeanBlocks):
    """Blocks that note what they are asked, and refuse what is called `refused`, or waits in a line of that name."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        super().__init__()

    async def before_call(self, handler: Any, requests: list[Any], *, begins: bool) -> None:
        self.calls.append((handler.__name__, begins, [type(request).__name__ for request in requests]))
        if handler.__name__ == "refused":
            raise gr.Error("You may not.", print_exception=False)

    def after_call(self, handler: Any) -> None:
        self.calls.append(f"after {handler.__name__}")

    async def refusal_to_wait(self, line: str, waiting: list[Any], request: Any) -> str:
        assert request.headers["user-agent"] and not waiting
        return "The line is full." if line == "full" else ""


@pytest.fixture(scope="module")
def served_page() -> Iterator[tuple[Judged, Client]]:
    def several(text: str) -> Iterator[str]:
        yield text
        yield text + "!"

    def refused() -> None: ...

    def waits() -> None: ...

    with Judged() as page:
        gr.api(several, api_name="several")
        gr.api(refused, api_name="refused")
        gr.api(waits, api_name="waits", concurrency_id="full")
    page.queue()
    _, url, _ = page.launch(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1", ssr_mode=False)
    try:
        yield page, Client(url, verbose=False)
    finally:
        page.close(verbose=False)


def test_every_step_of_a_call_is_judged_before_and_told_after(served_page: tuple[Judged, Client]) -> None:
    page, client = served_page
    page.calls.clear()
    assert client.predict("a", api_name="/several") == "a!"
    first, told, *more = page.calls
    assert first == ("several", True, ["Request"]) and told == "after several"
    assert more and all(step == ("several", False, ["Request"]) for step in more[::2])


def test_what_is_refused_is_not_called(served_page: tuple[Judged, Client]) -> None:
    page, client = served_page
    page.calls.clear()
    with pytest.raises(Exception, match="You may not"):
        client.predict(api_name="/refused")
    assert [call[0] for call in page.calls] == ["refused"]


def test_what_may_not_wait_in_line_is_told_why(served_page: tuple[Judged, Client]) -> None:
    with pytest.raises(httpx.HTTPStatusError) as refused:
        served_page[1].predict(api_name="/waits")
    assert "The line is full" in refused.value.response.text


def test_the_queue_looks_seldom_and_counts_nothing(served_page: tuple[Judged, Client]) -> None:
    page, client = served_page
    for _ in range(3):
        client.predict("a", api_name="/several")
    queue = page._queue
    assert len(queue.event_analytics) <= 1
    assert "sleep_when_free" in vars(queue) and queue.sleep_when_free == LOOK_SECONDS
    assert set(queue.event_queue_per_concurrency_id) <= {str(fn.concurrency_id) for fn in page.fns.values()}


def test_a_page_that_is_used_outlives_any_number_of_calls(
    served_page: tuple[Judged, Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    page, _ = served_page
    queue = page._queue
    sessions = queue.pending_messages_per_session
    monkeypatch.setattr(sessions, "most", 3)
    number = next(number for number, f in page.fns.items() if f.api_name == "several")
    body = {"data": ["a"], "fn_index": number, "session_hash": "page"}
    seen = set()
    for _ in range(6):
        httpx.post(f"{page.local_api_url}queue/join", json=body).raise_for_status()
        told = httpx.get(f"{page.local_api_url}queue/data", params={"session_hash": "page"}, timeout=60).text
        assert "process_completed" in told and "close_stream" in told
        seen.add(id(sessions["page"]))
        httpx.post(f"{page.local_api_url}call/several", json={"data": ["a"]}).raise_for_status()
    assert len(seen) == 1 and len(sessions) == 3
    assert set(queue.pending_event_ids_session) <= set(sessions), "what went with its session leaves nothing"


def test_the_sign_in_button_s_own_handler_is_for_everybody_and_no_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gradio.oauth._get_mocked_oauth_info", dict)  # it would ask the Hub, as this is no Space
    with LeanBlocks() as page:
        gr.LoginButton()
    found = [
        f for f in page.fns.values() if getattr(f.fn, "__name__", "") == gr.LoginButton._check_login_status.__name__
    ]
    open_sign_in(page)
    (function,) = found
    assert function.api_visibility == "private"
    assert function.fn is not None and getattr(function.fn, "open_to_all", False) is True


def test_a_figure_is_sent_as_it_was_written() -> None:
    from plotly.graph_objects import Figure, Scatter

    figure = Figure(Scatter(y=[1, 2]))
    told = gr.Plot().postprocess(written(figure))
    assert told is not None and (told.type, json.loads(told.plot)) == ("plotly", json.loads(figure.to_json()))


def test_a_served_file_is_a_copy_among_gradio_s_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "own"))
    assert upload_folder() == tmp_path / "own" == Path(gr.Blocks().GRADIO_CACHE)
    path = tmp_path / "report.html"
    for words in ("one", "two, longer"):
        path.write_text(words)
        copied = Path(served(path))
        assert copied.read_text() == words and copied.is_relative_to(tmp_path / "own")


def test_a_label_still_has_the_attribute_that_the_style_sheet_names() -> None:
    name = LABEL.removeprefix('[data-testid="').removesuffix('"]')
    scripts = (Path(gr.__file__).parent / "templates" / "frontend" / "assets").rglob("*.js")
    assert any(name in script.read_text(encoding="utf-8", errors="replace") for script in scripts)


def test_a_page_is_no_server_before_it_is_launched() -> None:
    with LeanBlocks() as page:
        gr.HTML()
    assert page.queue().app is None
    served_by = Server.create_app(page)
    assert served_by.get_blocks() is page and isinstance(vars(Server)["create_app"], staticmethod)


def test_a_component_without_a_source_is_described_to_no_editor(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_file(_: Any) -> str:
        raise OSError

    described = []
    monkeypatch.setattr(component_meta, "extract_class_source_code", lambda *of: described.append(of) or (None, None))
    monkeypatch.setattr(inspect, "getfile", no_file)
    component_meta.create_or_modify_pyi(gr.Textbox, "Textbox", [])
    assert not described
    monkeypatch.undo()
    assert Path(inspect.getfile(gr.Textbox)).is_file(), "what stands for it while Gradio is imported is gone"


def test_what_is_served_has_an_address_that_nobody_can_compute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))
    file = tmp_path / "model.zip"
    file.write_bytes(b"weights")
    script = (
        "import sys; from pathlib import Path; sys.modules.pop('tabs.server.gradio_internals', None);"
        f"from tabs.server.gradio_internals import served; print(served(Path({str(file)!r})))"
    )

    def serve() -> Path:
        done = subprocess.run(running(script), cwd=PROJECT, capture_output=True, text=True, check=True)
        return Path(done.stdout.strip())

    first, second = serve(), serve()
    assert first != second and first.read_bytes() == second.read_bytes() == b"weights"
    os.utime(first.parent.parent, (0, 0))
    assert serve().is_file() and second.is_file() and not first.exists()


def test_the_page_s_script_finds_what_gradio_s_own_finds(browser: Browser) -> None:
    name, quick = quick_script()
    text = (SCRIPTS / name).read_text(encoding="utf-8")
    own, told = SEARCH.search(text), EVENTS_OF.search(text)
    assert own and told
    assert quick == text.replace(own[0], own.expand(LOOKUP)).replace(told[0], TABLE_OF)
    page = browser.new_page()
    found = page.evaluate(
        """([own, quick, name]) => {
            const find = source => new Function(`${source}; return ${name}`)()
            const [slow, fast] = [find(own), find(quick)]
            const tree = {id: 0, children: [{id: 1}, {id: 2, children: [{id: 3, children: []}, {id: 1}]}]}
            const same = id => slow(tree, id) === fast(tree, id)
            const before = [0, 1, 2, 3, 4].map(same)
            tree.children[1].children.push({id: 4})
            return [...before, same(4), fast(tree, 4).id === 4, fast({id: 5}, 3) === null]
        }""",
        [own[0], own.expand(LOOKUP), own["find"]],
    )
    assert all(found) and len(found) == 8
    same = page.evaluate(
        """sources => {
            const all = [
                {targets: [[1, "click"], [2, "change"]]}, {targets: [[1, "blur"], [1, "again"]]}, {targets: [[3, ""]]},
                {targets: []}, {targets: [[2, null], [1, "click"]]},
            ]
            const told = sources.map(source => {
                const page = new Function(`return new (class {${source}})`)()
                const ask = (id, all) => {
                    const node = {id, props: {shared_props: {}}}
                    return [page.find_attached_events(node, all) === node, node.props.shared_props.attached_events]
                }
                return JSON.stringify([...[0, 1, 2, 3].map(id => ask(id, all)), ask(1, all.slice(1))])
            })
            return told[0] === told[1] && told[0]
        }""",
        [told[0], TABLE_OF],
    )
    assert same and '["click","blur","click"]' in same
    page.close()


def test_the_app_serves_that_script(app: App) -> None:
    name, quick = quick_script()
    assert httpx.get(f"{app.url}/assets/{name}").text == quick
    other = next(path for path in SCRIPTS.glob("Index-*.js"))
    assert httpx.get(f"{app.url}/assets/{other.name}").text == other.read_text(encoding="utf-8")
