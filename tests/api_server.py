"""A local HTTP server that speaks the OpenAI chat completions API: real sockets, canned replies.

It refuses what the API would refuse (a missing key, an unknown model, a schema that strict mode does not take) and
writes its replies from the record that it finds in the prompt, as a model would. A test scripts other replies.
"""

import json
import re
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk-test-5f1c9ab2e77d4c03"
MODEL = "canned-1"

FACTS = {
    "size": r"\b\d+ inches\b",
    "material": r"\b(?:solid beech|stainless steel|cotton)\b",
    "pieces": r"\b\d+ pieces\b",
    "author": r"(?<=[Ww]ritten by )[A-Z]\w+ [A-Z]\w+",
}


@dataclass(frozen=True)
class HttpReply:
    """Bytes on the wire. `retry-after-ms` keeps the client's own pauses short."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=lambda: {"content-type": "application/json", "retry-after-ms": "1"})


Script = HttpReply | Callable[[dict[str, Any]], HttpReply]


def completion(content: Any, finish_reason: str = "stop", refusal: str | None = None) -> HttpReply:
    """A chat completion; a `content` that is no text becomes JSON."""
    text = content if isinstance(content, str | None) else json.dumps(content)
    message = {"role": "assistant", "content": text, "refusal": refusal}
    choice = {"index": 0, "message": message, "finish_reason": finish_reason, "logprobs": None}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": MODEL}
    return HttpReply(200, json.dumps({**head, "choices": [choice], "usage": usage}).encode())


def failure(status: int, message: str, code: str | None = None, kind: str = "invalid_request_error") -> HttpReply:
    body = {"error": {"message": message, "type": kind, "param": None, "code": code}}
    return HttpReply(status, json.dumps(body).encode())


def record_of(request: dict[str, Any]) -> dict[str, str]:
    """The product's record, from the user's message."""
    return json.loads(next(m["content"] for m in request["messages"] if m["role"] == "user"))


def questions(about: str, title: str, training: int = 12) -> dict[str, list[str]]:
    return {
        "training": [f"Customer {n} asks about the {about} of {title}, what is it?" for n in range(1, training + 1)],
        "held_out": [f"Visitor {n} wonders about the {about} of {title}, what is it?" for n in range(1, 4)],
    }


def good_reply(request: dict[str, Any]) -> dict[str, Any]:
    """What a careful model would reply: the facts of `FACTS` that the record states, with their sentence."""
    record = record_of(request)
    facts = []
    for kind, pattern in FACTS.items():
        for sentence in re.split(r"(?<=\.) ", record["content"]):
            if found := re.search(pattern, sentence):
                asked = questions(kind, record["title"])
                facts.append({"kind": kind, "quote": sentence, "value": found.group(), "questions": asked})
                break
    return {"description_questions": questions("description", record["title"]), "facts": facts}


class ApiServer:
    """`with ApiServer() as api:` serves on a free port of 127.0.0.1. `script` holds replies that go before the good ones."""

    def __init__(self) -> None:
        self.script: deque[Script] = deque()
        self.requests: list[dict[str, Any]] = []
        """Bodies of the chat requests, in the order of their arrival."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> "ApiServer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def reply(self, method: str, path: str, authorization: str, body: bytes) -> HttpReply:
        if authorization != f"Bearer {KEY}":
            return failure(401, f"Incorrect API key provided: {authorization}", "invalid_api_key")
        if (method, path) == ("GET", "/v1/models"):
            listed = [{"id": name, "object": "model", "created": 1, "owned_by": "us"} for name in (MODEL, "another")]
            return HttpReply(200, json.dumps({"object": "list", "data": listed}).encode())
        if (method, path) != ("POST", "/v1/chat/completions"):
            return failure(404, f"Invalid URL ({method} {path})")
        request = json.loads(body)
        self.requests.append(request)
        if self.script:
            scripted = self.script.popleft()
            return scripted if isinstance(scripted, HttpReply) else scripted(request)
        if request["model"] != MODEL:
            return failure(404, f"The model `{request['model']}` does not exist", "model_not_found")
        if problem := _schema_problem(request.get("response_format")):
            return failure(400, f"Invalid response_format: {problem}")
        return completion(good_reply(request))


def _schema_problem(response_format: Any) -> str:
    """What strict mode would not take: every object closed, and all its properties required."""
    if not isinstance(response_format, dict) or response_format.get("type") != "json_schema":
        return "type is not json_schema"
    named = response_format["json_schema"]
    if not named.get("name") or named.get("strict") is not True:
        return "a strict schema needs a name"

    def objects(node: Any) -> list[dict[str, Any]]:
        inner = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
        found = [o for child in inner for o in objects(child)]
        return [*found, node] if isinstance(node, dict) and node.get("type") == "object" else found

    for node in objects(named["schema"]):
        if node.get("additionalProperties") is not False or set(node.get("required", ())) != set(node["properties"]):
            return f"{node.get('title')} is not closed, or has optional properties"
    return "" if objects(named["schema"]) else "no object in the schema"


def _handler(api: ApiServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._serve()

        def do_POST(self) -> None:
            self._serve()

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            reply = api.reply(self.command, self.path, self.headers.get("authorization", ""), body)
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    return Handler
