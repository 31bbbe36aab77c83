"""Attacks on the app's addresses: other spellings of closed ones, other people's events, names that are paths, foreign sites."""

import http.client
import re
import urllib.parse
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import httpx

from pipeline.models.bases import find_base
from tabs.server.gate import REFUSED
from tests.tabs.server.attack import MARKUP, Attack, World, refused, sentence
from tests.tabs.server.test_identity import API, OWNER, Endpoint, as_caller, by_call, by_queue, files_of

CLIMB = "../../../../../../etc/passwd"


def raw(world: World, method: str, path: str, body: bytes = b"", **headers: str) -> str:
    """A request whose path goes out as it is written here."""
    host, _, port = world.space.url.removeprefix("http://").partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=60)
    try:
        connection.putrequest(method, path, skip_accept_encoding=True)
        for name, value in {"content-length": str(len(body)), **headers}.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders(body)
        reply = connection.getresponse()
        return (
            f"{reply.status} {dict(reply.getheaders()).get('location', '')} {reply.read(3000).decode(errors='replace')}"
        )
    finally:
        connection.close()


def sent(method: str, *paths: str, **headers: str) -> Callable[[World], str]:
    """The first characters of each reply."""

    def attempt(world: World) -> str:
        upload = b'--x\r\ncontent-disposition: form-data; name="files"; filename="mine.csv"\r\n\r\na,b\r\n--x--\r\n'
        kind = {"content_type": "multipart/form-data; boundary=x"}
        replies = [raw(world, method, path, upload, **kind, **headers)[:60].strip() for path in paths]
        written = [*world.space.home.rglob("mine.csv")]
        return f"{', '.join(dict.fromkeys(replies))} ({len(written)} written)"

    return attempt


def named(*endpoints: str, inputs: Callable[[Endpoint], list[Any]]) -> Callable[[World], str]:
    """What the owner is told by endpoints that get a path in every parameter."""

    def attempt(world: World) -> str:
        before, said = files_of(world.space.home), []
        with as_caller(world.space, OWNER) as client:
            for endpoint in world.space.endpoints:
                if endpoint.name in endpoints:
                    said.append(sentence(by_call(client, endpoint.name, inputs(endpoint))))
        same = "nothing changed" if files_of(world.space.home) == before else "SOMETHING CHANGED"
        return f"{' '.join(dict.fromkeys(said))} ({same}, {len(said)} asked)"

    return attempt


def climbing(endpoint: Endpoint) -> list[Any]:
    return [CLIMB] * endpoint.inputs


def told(client: httpx.Client, path: str) -> str:
    """What a stream of events tells until it ends, or is ended."""
    said = ""
    with suppress(httpx.RemoteProtocolError), client.stream("GET", path) as reply:
        for line in reply.iter_lines():
            said += line
    return f"told: {said[:200]!r}"


def of_another_session(world: World) -> str:
    """Listens to a session whose name is guessed while its owner asks something."""
    with as_caller(world.space, {}) as client, as_caller(world.space, OWNER) as owner:
        owner.post(f"{API}/call/training_runs", json={"data": []})
        return told(client, f"{API}/queue/data?session_hash=0123456789a")


def of_another_event(world: World) -> str:
    with as_caller(world.space, {}) as client:
        return told(client, f"{API}/call/training_runs/{'0' * 32}")


def cancelled_by_guess(world: World) -> str:
    """Cancels an event of the owner's by what anybody can guess of it, while it is under way."""
    with as_caller(world.space, OWNER) as owner, as_caller(world.space, {}) as client:
        joined = owner.post(f"{API}/call/training_runs", json={"data": []}).json()["event_id"]
        client.post(f"{API}/cancel", json={"session_hash": "0123456789a", "fn_index": 0, "event_id": "0" * 32})
        client.post(f"{API}/reset", json={"event_id": "0" * 32})
        return owner.get(f"{API}/call/training_runs/{joined}").text[:200]


def a_file_as_value(path: str, **more: Any) -> Callable[[World], str]:
    """Every handler of the owner's gets a file of the server, or of another one, as each of its values."""

    def attempt(world: World) -> str:
        value = {"path": path, "meta": {"_type": "gradio.FileData"}, **more}
        with as_caller(world.space, OWNER) as client:
            upload = next(e for e in world.space.endpoints if "take_upload" in e.handler or "Box.upload" in e.handler)
            said = by_queue(client, upload, [value] * upload.inputs)
        found = re.search(r'"error": ?"[^"]*"|"success": ?\w+', said)
        return f"{found[0] if found else said[:100]} (read: {'root:' in said}, kept: {[*world.space.home.rglob('passwd*')]})"

    return attempt


def a_websocket(world: World) -> str:
    handshake = {"upgrade": "websocket", "connection": "Upgrade", "sec_websocket_version": "13"}
    paths = (f"{API}/queue/join", f"{API}/upload", "/", f"{API}/stream/x")
    replies = [raw(world, "GET", p, **handshake, sec_websocket_key="AAAAAAAAAAAAAAAAAAAAAA==")[:3] for p in paths]
    return f"101 {replies.count('101')} times: {' '.join(replies)}"


def by_mcp(tool: str) -> Callable[[World], str]:
    def attempt(world: World) -> str:
        order = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": {}}}
        accept = {"accept": "application/json, text/event-stream"}
        with as_caller(world.space, accept) as client:
            reply = client.post(f"{API}/mcp/", json=order)
        return f"{reply.status_code} {reply.text[:400]}"

    return attempt


def a_deep_body(world: World) -> str:
    with as_caller(world.space, {"content-type": "application/json"}) as client:
        reply = client.post(f"{API}/call/ask", content=b'{"data":' + b"[" * 200_000)
        return f"{reply.status_code}, then {client.get('/health').status_code}"


def odd_bodies(world: World) -> str:
    """What is no call: each is turned away, and the app goes on."""
    bodies: list[Any] = [
        None, [], {}, {"data": None}, {"data": "x"}, {"data": [], "fn_index": -1, "session_hash": "x"},
        {"data": [], "fn_index": 10**30, "session_hash": "x"}, {"data": [], "fn_index": "0; ls", "session_hash": ["x"]},
        {"data": [{"__type__": "state"}], "fn_index": 0, "session_hash": "../../x", "trigger_id": "x" * 1000},
    ]  # fmt: skip
    with as_caller(world.space, {}) as client:
        seen = []
        for body in bodies:
            with suppress(httpx.TransportError):  # a number that Gradio cannot write back ends the connection
                seen.append(client.post(f"{API}/queue/join", json=body).status_code)
        told = client.get("/health").status_code
    return f"{sorted({*seen})}, then {told}"


def sent_back_to(target: str) -> Callable[[World], str]:
    return lambda world: "to " + raw(world, "GET", f"/logout?_target_url={urllib.parse.quote(target)}").split()[1]


def read_by_another_site(world: World) -> str:
    """Whether a page of another site may read, in the owner's browser, what only the owner is told."""
    headers = {**OWNER, "origin": "https://evil.example", "sec-fetch-site": "cross-site"}
    with as_caller(world.space, headers) as client:
        return sentence(by_call(client, "generate_dataset", [2, 12, 3, False, 0]))


def an_uploaded_page(world: World) -> str:
    """The owner uploads a page with a script; whoever opens its address must not run it as the app's."""
    with as_caller(world.space, OWNER) as client:
        kept = client.post(f"{API}/upload", files={"files": ("x.html", b"<script>a()</script>")}).json()[0]
        reply = client.get(f"{API}/file={urllib.parse.quote(kept)}")
        return f"{reply.status_code} {reply.headers.get('content-disposition', 'inline').split(';')[0]}"


def an_uploaded_picture(world: World) -> str:
    """The same in a picture that can hold scripts."""
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"><script>a()</script></svg>'
    with as_caller(world.space, OWNER) as client:
        kept = client.post(f"{API}/upload", files={"files": ("x.svg", svg)}).json()[0]
        reply = client.get(f"{API}/file={urllib.parse.quote(kept)}")
        return f"{reply.status_code} {reply.headers.get('content-disposition', 'inline').split(';')[0]}"


def in_an_error(world: World) -> str:
    """Markup in an address comes back as JSON, which no browser runs."""
    with as_caller(world.space, {}) as client:
        reply = client.get(f"/{MARKUP}")
        return f"{reply.status_code} {reply.headers['content-type']}"


def a_header_too_long(world: World) -> str:
    with as_caller(world.space, {"x-long": "x" * 200_000, "cookie": "session=" + "x" * 100_000}) as client:
        try:
            first = str(client.get("/health").status_code)
        except Exception as error:
            first = type(error).__name__
    with as_caller(world.space, {}) as client:
        return f"{first}, then {client.get('/health').status_code}"


def a_thousand_addresses(world: World) -> str:
    """A visitor's questions, each with another made-up address before the one that the Space's proxy puts last."""
    for number in range(11):
        last = world.call("ask", "", "", "", x_forwarded_for=f"7.7.{number}.1, 9.8.7.6")
    return last


def in_a_tools_own_words(world: World) -> str:
    """What the app says of itself to programs holds nothing of the server."""
    with as_caller(world.space, {}) as client:
        told = client.get(f"{API}/info").text + client.get("/config").text + client.get(f"{API}/openapi.json").text
    places = [str(world.space.home / "runs"), "the-secret-of-this-space", "hf_owner"]
    return f"{sum(place in told for place in places)} of {len(places)} secrets in {len(told) > 1000}"


UPLOADS = (
    f"//{API[1:]}/upload", f"{API}//upload", f"{API}/./upload", f"{API}/x/../upload", f"{API}/Upload",
    "/GRADIO_API/UPLOAD", f"{API}/upload/.", f"{API}/upload;x", "/%67radio_api/upload", f"{API}/%75pload",
    f"{API}/upload%2f", f"{API}%2fupload", f"{API}/upload?x=1", f"{API}\\upload", f"{API}/upload%00", f"{API}/upload%0a",
)  # fmt: skip
"""An owner's address as a clumsy gate would not know it."""

PASSED = r"\(0 written\)$"

ON_ADDRESSES = [
    Attack(
        "The address of uploads in 16 other spellings (case, dots, double and coded slashes)",
        "refused, nothing written",
        sent("POST", *UPLOADS),
        rf"^(?!.*\b200\b).*{PASSED}",
    ),
    Attack(
        "… by PUT, with a word that it is a POST",
        "refused, nothing written",
        sent("PUT", f"{API}/upload", x_http_method_override="POST"),
        rf"^(?!200).*{PASSED}",
    ),
    Attack(
        "… by OPTIONS, from another site",
        "refused, nothing written",
        sent("OPTIONS", f"{API}/upload", origin="https://evil.example", access_control_request_method="POST"),
        rf"^(?!.*Set-Cookie).*{PASSED}",
    ),
    Attack("… by HEAD", "refused, nothing written", sent("HEAD", f"{API}/upload"), rf"^(?!200).*{PASSED}"),
    Attack("A web socket past the gate, at four addresses", "none is opened", a_websocket, "^101 0 times"),
    Attack("A visitor starts a training by MCP", "refused", by_mcp("shelf_start_training"), re.escape(REFUSED)),
    Attack(
        "… calls a handler that is no tool",
        "no such tool",
        by_mcp("shelf_begin"),
        "(?i)not found|unknown|no such|invalid|error",
    ),
    Attack("A visitor listens to a session by a guess", "nothing", of_another_session, r"^told: (?!.*tiny)"),
    Attack("… to an event by a guess", "nothing", of_another_event, r"^told: (?!.*tiny)"),
    Attack("… cancels an owner's event by a guess", "it ends as it would", cancelled_by_guess, '"tiny"'),
    Attack(
        "training_status of a run named as a path",
        "no such run",
        named("training_status", inputs=climbing),
        r"There is no such run.*nothing changed, 1 asked",
    ),
    Attack(
        "stop_training, resume_training",
        "no such run",
        named("stop_training", "resume_training", inputs=climbing),
        r"There is no such run.*nothing changed, 2 asked",
    ),
    Attack(
        "compare", "no such run", named("compare", inputs=climbing), r"(is gone|no such run).*nothing changed, 1 asked"
    ),
    Attack(
        "sweep_status",
        "no such sweep",
        named("sweep_status", inputs=climbing),
        "There is no such sweep.*nothing changed, 1 asked",
    ),
    Attack(
        "start_sweep",
        "a sentence",
        named("start_sweep", inputs=climbing),
        "(is no|not|no preset).*nothing changed, 1 asked",
    ),
    Attack(
        "start_training with a preset that is a path",
        "no such preset",
        named("start_training", inputs=climbing),
        "There is no preset.*nothing changed, 1 asked",
    ),
    Attack(
        "… with a base that is a path", "a sentence", lambda _: refused(lambda: find_base(CLIMB)), "There is no folder"
    ),
    Attack(
        "generate_dataset with texts for numbers",
        "a sentence",
        named("generate_dataset", inputs=climbing),
        "must be a number.*nothing changed, 1 asked",
    ),
    Attack(
        "ask with a title that is a path",
        "it is a title",
        lambda world: world.call("ask", "What is it?", CLIMB, "tiny", x_forwarded_for="9.4.4.9"),
        "^(?!.*root:)",
    ),
    Attack(
        "A file of the server as an upload (path=/etc/passwd)",
        "refused",
        a_file_as_value("/etc/passwd"),
        r"(error|false).*read: False, kept: \[\]",
    ),
    Attack(
        "… with an address of another server",
        "refused",
        a_file_as_value("http://169.254.169.254/latest/passwd", url="http://169.254.169.254/latest/passwd"),
        r"(error|false).*read: False, kept: \[\]",
    ),
    Attack("… a file of the app itself", "refused", a_file_as_value("app.py"), r"(error|false).*read: False"),
    Attack(
        "GET file= with coded dots and slashes",
        "refused",
        lambda world: " ".join(
            raw(world, "GET", f"{API}/file={p}")[:3]
            for p in (
                "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
                "..%5c..%5capp.py",
                "%2fetc%2fpasswd",
                "/proc/self/environ",
                "%252e%252e/x",
                "/etc/passwd%00.png",
                "//etc/passwd",
                "app.py",
                "./app.py",
                "file:///etc/passwd",
                "/dev/zero",
                "",
            )
        ),
        r"^(40[0345] ?){12}$",
    ),
    Attack(
        "GET static/ and assets/ that climb",
        "refused",
        lambda world: " ".join(
            raw(world, "GET", p)[:3]
            for p in (
                "/static/../../../../etc/passwd",
                "/static/%2e%2e/%2e%2e/app.py",
                "/assets/..%2f..%2f..%2fapp.py",
                "/svelte/../../../x.py",
                "/assets//etc/passwd",
                "/static//etc/passwd",
            )
        ),
        r"^(40[034] ?){6}$",
    ),
    Attack("200,000 brackets as a request", "turned away; the app goes on", a_deep_body, r"^(4\d\d|500), then 200"),
    Attack("Nine calls that are none", "turned away; the app goes on", odd_bodies, r"^\[(?!.*200.*\]).*then 200"),
    Attack("Headers of 300,000 characters", "turned away; the app goes on", a_header_too_long, "then 200$"),
    Attack(
        "Sent on to another site after signing out", "stays at home", sent_back_to("https://evil.example/x"), "^to /x$"
    ),
    Attack(
        "… by slashes that a browser reads as a site",
        "stays at home",
        sent_back_to("////evil.example"),
        r"^to /(?![/\\])",
    ),
    Attack("… by a backslash", "stays at home", sent_back_to("/\\evil.example"), r"^to /(?![/\\])"),
    Attack("Another site reads in the owner's browser", "refused", read_by_another_site, re.escape(REFUSED)),
    Attack(
        "A page with a script is uploaded and opened",
        "downloaded, not run",
        an_uploaded_page,
        "^(200 attachment|40[34])",
    ),
    Attack("A picture with a script", "downloaded, not run", an_uploaded_picture, "^(200 attachment|40[34])"),
    Attack("Markup in an address", "comes back as JSON", in_an_error, "^404 application/json"),
    Attack(
        "Eleven made-up addresses before one's own", "counted as one", a_thousand_addresses, "a minute. Try again in"
    ),
    Attack("Places and secrets in what programs are told", "none", in_a_tools_own_words, "^0 of 3 secrets in True"),
]
