"""Who may do what on a Space: the real app as a Space runs it, called in every way that Gradio has, by everybody.

The endpoints are taken from the app itself, so a new one is tried by itself: it is the owner's unless it stands here.
"""

import asyncio
import base64
import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import time
import urllib.parse
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import itsdangerous
import pytest
from gradio_client import Client
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client
from playwright.sync_api import Browser, expect

from pipeline.catalogue.catalogue import read_catalogue
from pipeline.dataset.build import build_dataset
from pipeline.dataset.settings import DatasetSettings
from pipeline.files import PROJECT
from pipeline.serving.callers import Rate, is_own_host
from tabs.server.gate import LARGEST_BODY, QUESTIONS_A_MINUTE, REFUSED
from tests.children import running
from tests.servers.hub import HubServer
from tests.tabs.conftest import PATIENCE, App, open_page, open_tab, start_app
from tests.tabs.test_app import ENDPOINTS as NAMED
from tests.tiny import write_catalogue

SECRET = "the-secret-of-this-space"
OWNERS_TOKEN, READING_TOKEN, SMALL_TOKEN, ELSEWHERE_TOKEN, FINE_TOKEN, OTHERS_TOKEN, APPS_TOKEN = (
    "hf_owner1a2b3c4d",
    "hf_reads1a2b3c4d",
    "hf_small1a2b3c4d",
    "hf_elsewhere1a2b",
    "hf_fine1a2b3c4d",
    "hf_other1a2b3c4d",
    "hf_apps1a2b3c4d",
)
API = "/gradio_api"

OPEN = {
    *("CatalogueBox.look", "CatalogueBox.open", "CatalogueBox.show_record", "ChatTab.refresh"),
    *(
        "ChatTab.get_ready",
        "ChatTab.stop_answering",
        "AnswersBox.clear_past",
        "AnswersBox.come_back",
        "AnswersBox.try_pattern",
        "ComparePanel.open",
        "ComparePanel.open_picked",
        "ComparePanel.show_cards",
        "ComparePanel.show_chosen",
        "CustomersPanel.idle",
        "CustomersPanel.open",
        "CustomersPanel.show_wordings",
        "CustomersPanel.stop_answering",
        "DatasetTab.refresh",
    ),
    *(
        "GenerateBox.follow_source",
        "HistoryPanel.close_boxes",
        "HistoryPanel.pick",
    ),
    *(
        "HistoryPanel.show",
        "HistoryPanel.show_compared",
        "HistoryPanel.show_details",
        "HistoryPanel.use_settings",
        "LoginButton._check_login_status",
    ),
    *("MappingForm.close", "PagedTable.wire.<locals>.first", "PagedTable.wire.<locals>.go", "PublishBox.preview"),
    *("PagedTable.wire.<locals>.turn.<locals>.<lambda>", "RowsBox.by_reason", "RowsBox.by_state", "RowsBox.choose"),
    *("RowPanel.pick_phrasing", "RowsBox.measure", "RowsBox.pick", "RunPanel.redraw", "SweepPanel.count"),
    *("SweepPanel.pick", "SweepPanel.show", "SweepPanel.show_results", "TrainingTab.refresh"),
    *(
        "TrainingTab.show_plan",
        "TrainingTab.get_ready",
        "SettingsPanel.use_base",
        "SettingsPanel.use_preset",
        "price_words",
        "StatusLine.load",
        "together.<locals>.tick",
        "who_line",
    ),
    *("about", "sweep_status", "training_runs", "training_status", "go_to.<locals>.<lambda>"),
    # What only a page's own buttons do, without a name: opening and closing boxes, putting an example in.
    *(
        "CatalogueBox._wire_removal.<locals>.<lambda>",
        "AnswersBox.wire.<locals>.<lambda>",
        "ChatTab._wire.<locals>.<lambda>",
        "QuestionForm.wire.<locals>.<lambda>",
        "RunPanel.wire.<locals>.<lambda>",
    ),
    *("SweepPanel.wire.<locals>.<lambda>",),
}
"""The handlers that visitors may call: they show what there is."""
IN_MEASURE = {"ask", "ChatTab.ask_both", "AnswersBox.wire.<locals>.<lambda>"}
"""… a few times a minute: they ask the model, or keep a vote."""


NEEDED = {
    "shelf_start_sweep_of": {"setting": "lora_r", "values": "8"},
    "shelf_judge": {"questions": "What is it?"},
}
"""What a tool of MCP must be given, that it is called at all."""


@dataclass(frozen=True)
class Endpoint:
    number: int
    name: str
    handler: str
    inputs: int
    queued: bool
    mark: bool
    in_measure: bool


@dataclass
class Space(App):
    """The app as a Space, and the Hub that it knows."""

    hub: HubServer = field(kw_only=True)
    endpoints: list[Endpoint] = field(kw_only=True)

    @property
    def owners(self) -> list[Endpoint]:
        return [endpoint for endpoint in self.endpoints if not endpoint.mark]


SPACE = {
    "SPACE_ID": "lab/shelf",
    "SPACE_AUTHOR_NAME": "lab",
    "SHELFTALK_OWNERS": "second, Guild",
    "SYSTEM": "spaces",
    "OAUTH_CLIENT_ID": "this-space",
    "OAUTH_CLIENT_SECRET": SECRET,
    "OAUTH_SCOPES": "openid profile",
    "OPENID_PROVIDER_URL": "http://127.0.0.1:9",
}


def user(name: str, kind: str = "access_token", role: str = "write", **more: Any) -> dict[str, Any]:
    return {"type": "user", "name": name, "orgs": [], "auth": {"type": kind, "accessToken": {"role": role, **more}}}


def fine_grained(name: str, entity: str, *permissions: str) -> dict[str, Any]:
    """A user whose token has permissions for one entity's repositories."""
    scope = {"entity": {"_id": "1", "type": "user", "name": entity}, "permissions": list(permissions)}
    return user(name, role="fineGrained", fineGrained={"global": [], "scoped": [scope]})


@pytest.fixture(scope="module")
def space(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Space]:
    home = tmp_path_factory.mktemp("space")
    shutil.copytree(finished_run, home / "runs" / "tiny")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHELFTALK_HOME", str(home))
        build_dataset(read_catalogue(write_catalogue(home / "catalogue.json")), DatasetSettings(products=3))
    with HubServer() as hub:
        hub.users = {
            OWNERS_TOKEN: user("lab"),
            READING_TOKEN: user("lab", role="read"),
            SMALL_TOKEN: fine_grained("lab", "lab", "repo.content.read", "inference.serverless.write"),
            ELSEWHERE_TOKEN: fine_grained("lab", "somebody", "repo.write"),
            FINE_TOKEN: fine_grained("lab", "Lab", "repo.content.read", "repo.write"),
            OTHERS_TOKEN: user("somebody"),
            APPS_TOKEN: user("lab", kind="oauth"),
        }
        process, url = start_app(home, **SPACE, HF_ENDPOINT=hub.url)
        yield Space(url, home, hub=hub, endpoints=endpoints(SPACE | {"SHELFTALK_HOME": str(home)}))
        process.terminate()
        process.wait(PATIENCE)


LIST = """
import json, app
print(json.dumps([
    [number, str(f.api_name), getattr(f.fn, "__qualname__", ""), len(f.inputs), f.queue, getattr(f.fn, "open_to_all", False),
     getattr(f.fn, "in_measure", False)] for number, f in app.build().fns.items() if f.fn
]))
"""


def endpoints(environment: dict[str, str]) -> list[Endpoint]:
    """Every handler of the page and the API, as the app itself has them."""
    done = subprocess.run(
        running(LIST), cwd=PROJECT, env=os.environ | environment, capture_output=True, text=True, check=True
    )
    return [Endpoint(*told) for told in json.loads(done.stdout.splitlines()[-1])]


def cookie(name: str, *organisations: str, secret: str = SECRET, expires: float = 3600) -> dict[str, str]:
    """The cookie of somebody who signed in, as Gradio and Starlette make it."""
    told = {"preferred_username": name, "orgs": [{"preferred_username": o} for o in organisations]}
    session = {"oauth_info": {"access_token": "x", "expires_at": time.time() + expires, "userinfo": told}}
    signer = itsdangerous.TimestampSigner(hashlib.sha256(f"{secret}-v4".encode()).hexdigest())
    signed = signer.sign(base64.b64encode(json.dumps(session).encode())).decode()
    return {"cookie": f"session={signed}"}


def token(value: str) -> dict[str, str]:
    return {"authorization": f"Bearer {value}"}


OWNER = cookie("lab")
NO_OWNERS = {
    "a visitor": {},
    "another user": cookie("somebody", "another-guild"),
    "a forged cookie": cookie("lab", secret="a guess"),
    "a cookie signed with no secret": cookie("lab", secret=""),
    "a sign-in that has ended": cookie("lab", expires=-1),
    "an owner's browser on another site": OWNER | {"sec-fetch-site": "cross-site"},
    "another user's token": token(OTHERS_TOKEN),
    "a token that may only read": token(READING_TOKEN),
    "a token with other permissions": token(SMALL_TOKEN),
    "a token for somebody else's repositories": token(ELSEWHERE_TOKEN),
    "an older browser on another site": OWNER | {"origin": "https://example.com"},
    "a token of another app": token(APPS_TOKEN),
    "a token of nobody": token("hf_guess1a2b3c4d"),
    "a name in every header": {
        n: "lab" for n in ("x-user", "x-forwarded-user", "x-gradio-user", "remote-user", "x-hf-user")
    },
}
OWNER_WAYS = {
    "the Space's owner": OWNER,
    "a listed user": cookie("Second"),
    "a member of a listed organisation": cookie("third", "other", "guild"),
    "the owner's token": token(OWNERS_TOKEN),
    "the owner's token that may write": token(FINE_TOKEN),
    "the owner's token, as Gradio's client sends it": {"x-hf-authorization": f"Bearer {OWNERS_TOKEN}"},
}


def by_queue(client: httpx.Client, endpoint: Endpoint, data: list[Any]) -> str:
    """As the page calls: everything that is said until the event is over."""
    session = f"s{time.monotonic_ns()}"
    body = {"data": data, "fn_index": endpoint.number, "session_hash": session, "trigger_id": None}
    joined = client.post(f"{API}/queue/join", json=body)
    if joined.status_code != 200:
        return joined.text
    with client.stream("GET", f"{API}/queue/data", params={"session_hash": session}) as events:
        return "\n".join(line for line in events.iter_lines() if "process_" in line)


def by_call(client: httpx.Client, name: str, data: list[Any]) -> str:
    joined = client.post(f"{API}/call/{name}", json={"data": data})
    if joined.status_code != 200:
        return joined.text
    return client.get(f"{API}/call/{name}/{joined.json()['event_id']}").text


def by_run(client: httpx.Client, endpoint: Endpoint, data: list[Any], way: str = "run") -> str:
    """Without the queue, which a Space lets be passed by only where the handler has none."""
    return client.post(f"{API}/{way}/{endpoint.name}", json={"data": data}).text


def by_api(client: httpx.Client, endpoint: Endpoint, data: list[Any]) -> str:
    return by_run(client, endpoint, data, "api")


def as_caller(space: Space, headers: dict[str, str]) -> httpx.Client:
    return httpx.Client(base_url=space.url, headers=headers, timeout=PATIENCE)


def files_of(home: Path) -> dict[str, tuple[int, int]]:
    """What there is on the disk, without the log, what Gradio keeps for itself, and what reading a catalogue prepares."""
    found = (
        p for p in home.rglob("*") if p.is_file() and p.name != "app.log" and not {"temporary", "cache"} & {*p.parts}
    )
    return {str(p): (p.stat().st_mtime_ns, p.stat().st_size) for p in found}


@pytest.mark.parametrize("host", ["example.com", "127.0.0.1.example.com", "localhost.example.com:7860", "8.8.8.8"])
def test_a_name_that_only_leads_here_is_not_served(app: App, host: str) -> None:
    """A page of that name could do whatever the app's own can (DNS rebinding)."""
    for path in ("/", "/config", f"{API}/info", f"{API}/upload"):
        reply = httpx.get(app.url + path, headers={"host": host}, timeout=PATIENCE)
        assert reply.status_code == 403 and "SHELFTALK_HOSTS" in reply.json()["error"]
    assert "Traceback" not in (app.home / "app.log").read_text()


@pytest.mark.parametrize("host", ["localhost:7860", "LOCALHOST", "127.0.0.1:1", "[::1]:7860"])
def test_this_machine_s_own_names_are_served(app: App, host: str) -> None:
    assert httpx.get(f"{app.url}/config", headers={"host": host}, timeout=PATIENCE).status_code == 200


def test_another_name_is_served_where_the_owner_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELFTALK_HOSTS", "shelf.lan, Proxy.example.com")
    assert is_own_host("shelf.lan:7860") and is_own_host("proxy.example.com") and not is_own_host("example.com")


def test_these_are_open_and_no_others(space: Space) -> None:
    assert {e.handler for e in space.endpoints if e.mark} == OPEN | IN_MEASURE
    assert {e.handler for e in space.endpoints if e.in_measure} == IN_MEASURE
    config = httpx.get(f"{space.url}/config", timeout=PATIENCE).json()
    served = {d["id"]: d["api_name"] for d in config["dependencies"] if d["backend_fn"]}
    assert {e.number: e.name for e in space.endpoints} == served, (
        "The app that runs has other endpoints than those tried here."
    )


@pytest.mark.parametrize("who", NO_OWNERS)
def test_who_is_not_the_owner_is_refused_everything_else(who: str, space: Space) -> None:
    before = files_of(space.home)
    turn = list(NO_OWNERS).index(who)  # a visitor tries all of them, and the others each some: together all again
    with as_caller(space, NO_OWNERS[who]) as client:
        for endpoint in space.owners[turn % 12 :: 12] if turn else space.owners:
            assert REFUSED in by_queue(client, endpoint, [None] * endpoint.inputs), endpoint
    assert files_of(space.home) == before


def test_no_way_leads_a_visitor_around(space: Space) -> None:
    before = files_of(space.home)
    with as_caller(space, {}) as client:
        for endpoint in space.owners:
            data = [None] * endpoint.inputs
            assert REFUSED in by_call(client, endpoint.name, data), endpoint
            for direct in (by_run, by_api):
                said = direct(client, endpoint, data)
                assert REFUSED in said or (endpoint.queued and "does not accept direct HTTP POST" in said), endpoint
    assert files_of(space.home) == before


def test_a_visitor_may_look_at_everything_and_changes_nothing(space: Space) -> None:
    before = files_of(space.home)
    with as_caller(space, {}) as client:
        for endpoint in space.endpoints:
            if endpoint.mark and not endpoint.in_measure:
                assert REFUSED not in by_queue(client, endpoint, [None] * endpoint.inputs), endpoint
        assert '"tiny"' in by_call(client, "training_runs", [])
    assert files_of(space.home) == before


@pytest.mark.parametrize("who", OWNER_WAYS)
def test_the_owner_is_let_in(who: str, space: Space) -> None:
    with as_caller(space, OWNER_WAYS[who]) as client:
        turn = list(OWNER_WAYS).index(who)
        for endpoint in space.owners[turn::12] if turn else space.owners:
            if endpoint.inputs:  # too few values: past the gate, and nothing is done
                assert REFUSED not in by_queue(client, endpoint, []), endpoint
        assert '"products": 2' in by_call(client, "generate_dataset", [2, 12, 3, False, 0])


def test_gradios_own_client_brings_the_owners_token(space: Space) -> None:
    client = Client(space.url, token=OWNERS_TOKEN, verbose=False)
    assert client.predict(products=2, api_name="/generate_dataset")["counts"]["products"] == 2
    with pytest.raises(Exception, match="Only this Space's owner"):
        Client(space.url, token=OTHERS_TOKEN, verbose=False).predict(products=2, api_name="/generate_dataset")
    assert space.hub.requests.count("GET /api/whoami-v2") <= len(space.hub.users) + 1, "asked once a token"
    log = (space.home / "app.log").read_text()
    assert not any(word in log for word in (OWNERS_TOKEN, OTHERS_TOKEN, SECRET))


def in_a_loop_of_its_own(task: Coroutine[Any, Any, Any]) -> Any:
    """The browser's has this thread, once a test has opened one."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, task).result()


def test_mcp_obeys_the_same_rules(space: Space) -> None:
    async def tools(headers: dict[str, str]) -> dict[str, str]:
        async with (
            httpx.AsyncClient(headers=headers, timeout=PATIENCE) as client,
            streamable_http_client(f"{space.url}{API}/mcp/", http_client=client) as (read, write, _),
            ClientSession(read, write) as session,
        ):
            await session.initialize()
            names = [tool.name for tool in (await session.list_tools()).tools]
            said = {}
            for name in names:
                if name != "shelf_ask" and (not headers or name == "shelf_generate_dataset"):
                    said[name.removeprefix("shelf_")] = str(
                        (await session.call_tool(name, NEEDED.get(name, {}))).content
                    )
            return said

    visitor = in_a_loop_of_its_own(tools({}))
    assert set(visitor) == {name.removeprefix("/") for name in NAMED} - {"ask", "start_sweep"} | {"start_sweep_of"}
    for name, said in visitor.items():
        assert (REFUSED in said) == (name not in ("training_runs", "training_status", "sweep_status")), name
    assert "counts" in in_a_loop_of_its_own(tools(token(OWNERS_TOKEN)))["generate_dataset"]


def test_an_upload_is_the_owners_and_other_addresses_are_closed(space: Space) -> None:
    sent = {"files": ("mine.csv", b"title,content\n")}
    with as_caller(space, {}) as client, as_caller(space, OWNER) as owner:
        refused = client.post(f"{API}/upload", files=sent)
        assert (refused.status_code, refused.json()["detail"]) == (403, REFUSED)
        assert not list(space.home.rglob("mine.csv"))
        assert owner.post(f"{API}/upload", files=sent).status_code == 200
        for method, path in [
            *(
                ("GET", f"{API}/{p}")
                for p in ("deep_link?session_hash=x", "dev/reload", "runs", "run-history/records", "vibe-code")
            ),
            *(
                ("GET", f"{API}/{p}")
                for p in ("proxy=https://lab-shelf.hf.space/", "file=https://example.com/x", "file/x")
            ),
            *(
                ("POST", f"{API}/{p}")
                for p in ("component_server", "process_recording", "stream/x", "stream/x/close", "vibe-edit")
            ),
            *(
                ("GET", p)
                for p in ("/monitoring", "/monitoring/summary", "/monitoring/x", "/docs", f"{API}/profiling/traces")
            ),
            ("POST", f"{API}//upload"),
        ]:
            assert owner.request(method, path).status_code == client.request(method, path).status_code == 404, path


def test_files_of_the_machine_have_no_address(space: Space) -> None:
    run, dataset = space.home / "runs" / "tiny", next((space.home / "datasets").iterdir())
    with as_caller(space, OWNER) as client:
        for path in (
            run / "train.log",
            run / "events.jsonl",
            dataset / "train.jsonl",
            Path("/etc/passwd"),
            Path("app.py"),
        ):
            assert client.get(f"{API}/file={urllib.parse.quote(str(path))}").status_code == 403, path


def test_what_is_too_long_is_cut_off(space: Space) -> None:
    with as_caller(space, {}) as client:
        told = client.post(
            f"{API}/call/ask", content=b"x" * (LARGEST_BODY + 1), headers={"content-type": "application/json"}
        )
        assert told.status_code == 413

        def endless() -> Iterator[bytes]:
            yield b'{"data": ["'
            for _ in range(40):
                yield b"x" * 100_000

        with contextlib.suppress(httpx.TransportError):  # the connection was ended
            assert client.post(f"{API}/call/ask", content=endless()).status_code >= 400


def test_questions_are_counted_for_each_visitor(space: Space) -> None:
    def asks(**headers: str) -> str:
        with as_caller(space, {name.replace("_", "-"): value for name, value in headers.items()}) as client:
            return by_call(client, "ask", ["", "", ""])

    for _ in range(QUESTIONS_A_MINUTE):
        assert "The question is empty" in asks(x_forwarded_for="9.9.9.9")
    assert "Limit: 10 a minute. Try again in" in asks(x_forwarded_for="9.9.9.9")
    assert "Limit: 10 a minute" in asks(x_forwarded_for="7.7.7.7, 9.9.9.9"), "the client's own word for its address"
    assert "Limit: 10 a minute" in asks(x_forwarded_for="9.9.9.9, 10.0.0.3"), "a proxy of the Space's network"
    assert "The question is empty" in asks(x_forwarded_for="9.9.9.8")
    assert "The question is empty" in asks(x_forwarded_for="9.9.9.9", **cookie("somebody"))
    assert "The question is empty" in asks(x_forwarded_for="9.9.9.9", **OWNER)


def test_one_visitor_does_not_fill_the_line(space: Space) -> None:
    body = {"data": ["What is the Brindlewick Kite?", "", "tiny"]}
    with as_caller(space, {"x-forwarded-for": "9.9.8.8"}) as client:
        with ThreadPoolExecutor(
            QUESTIONS_A_MINUTE
        ) as threads:  # one after another, each might be answered before the next
            sent = [threads.submit(client.post, f"{API}/call/ask", json=body) for _ in range(QUESTIONS_A_MINUTE)]
        joined = [one.result() for one in sent]
        turned_away = [r.json()["detail"] for r in joined if r.status_code != 200]
        assert turned_away and all("of your questions are waiting" in said for said in turned_away)
        for reply in joined:
            if reply.status_code == 200:
                said = client.get(f"{API}/call/ask/{reply.json()['event_id']}").text
                assert '"tuned"' in said and "Brindlewick" in said


def test_a_rate_forgets_nobody_too_early() -> None:
    rate = Rate(2, 3600)
    assert [rate.wait("a") > 0 for _ in range(3)] == [False, False, True] and rate.wait("b") == 0
    assert 3500 < rate.wait("a") <= 3600


def test_a_visitors_page_says_what_it_may(space: Space, browser: Browser) -> None:
    page = open_page(space, browser)
    expect(page.locator("#who .visitor")).to_contain_text("lab")
    expect(page.locator("#who a")).to_have_attribute("href", "https://huggingface.co/spaces/lab/shelf?duplicate=true")
    expect(page.locator("#sign-in")).to_contain_text("Sign in with Hugging Face")
    page.locator("#generate").click()
    expect(page.locator(".toast-body")).to_contain_text(REFUSED)
    open_tab(page, "chat")
    expect(page.locator("#question textarea, #question input").first).not_to_have_value("")
    page.locator("#ask").click()
    expect(page.locator("#answers .answer[data-side=tuned] .said")).to_be_visible()
    # Gradio's own header of a Space asks the Hub about it, and for its fonts.
    hosts = {urllib.parse.urlsplit(address).hostname for address in space.strangers}
    assert hosts <= {"huggingface.co", "fonts.googleapis.com"}
    page.close()


def test_the_owners_page_says_so(space: Space, browser: Browser) -> None:
    context = browser.new_context(extra_http_headers=OWNER)
    page = context.new_page()
    page.goto(space.url)
    expect(page.locator("#who p")).to_contain_text("lab")
    expect(page.locator("#who .visitor")).to_have_count(0)
    expect(page.locator("#sign-in")).to_contain_text("(lab)")
    context.close()


def test_a_space_without_sign_in_has_no_owner_and_starts(tmp_path: Path, browser: Browser) -> None:
    without = {name: value for name, value in SPACE.items() if not name.startswith("OAUTH")}
    process, url = start_app(tmp_path, **without)
    try:
        page = open_page(App(url, tmp_path), browser)
        expect(page.locator("#who")).to_contain_text("hf_oauth: true")
        page.close()
        with httpx.Client(base_url=url, headers=cookie("lab", secret=""), timeout=PATIENCE) as client:
            assert REFUSED in by_call(client, "generate_dataset", [2, 12, 3, False, 0])
    finally:
        process.terminate()
        process.wait(PATIENCE)


def test_off_a_space_everything_is_allowed_but_from_another_website(app: App) -> None:
    with httpx.Client(base_url=app.url, timeout=PATIENCE) as client:
        assert '"products": 2' in by_call(client, "generate_dataset", [2, 12, 3, False, 0])
        assert client.post(f"{API}/upload", files={"files": ("a.csv", b"x")}).status_code == 200
        client.headers["sec-fetch-site"] = "cross-site"
        assert "Another website asked for this" in by_call(client, "generate_dataset", [2, 12, 3, False, 0])
        assert client.post(f"{API}/upload", files={"files": ("a.csv", b"x")}).status_code == 403
