"""A local HTTP server that speaks the OpenAI chat completions, files and batches APIs: real sockets, canned replies.

It refuses what the API would refuse (a missing key, an unknown model, a schema that strict mode does not take, more
requests than it allows) and writes its replies by `reply_to`, by default from the record that it finds in the prompt, as
a model would. A test scripts other replies, or makes the server slow, unreliable or busy.
"""

import json
import re
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from tests.servers.api_batches import Batches
from tests.servers.local import HttpReply, LocalServer
from tests.servers.rate_limits import Limiter

KEY = "sk-test-5f1c9ab2e77d4c03"
MODEL = "canned-1"

FACTS = {
    "size": r"\b\d+ inches\b",
    "material": r"\b(?:solid beech|stainless steel|cotton)\b",
    "pieces": r"\b\d+ pieces\b",
    "author": r"(?<=[Ww]ritten by )[A-Z]\w+ [A-Z]\w+",
}


DROP = HttpReply(0, b"")
"""No reply: the connection ends."""

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


def record_of(request: dict[str, Any]) -> dict[str, Any]:
    """The product's record, and what is asked about it, from the user's message."""
    return json.loads(next(m["content"] for m in request["messages"] if m["role"] == "user"))


OPENERS = (
    "Please tell me", "Might I ask for", "We would love to learn", "Quickly now:", "My aunt wonders about",
    "Could anyone here give", "For our little shop, state", "Honestly, I forgot", "Kindly confirm", "Any chance to hear",
    "Before paying, we need", "An expert asks for", "Just curious about", "Doubtful, but what would be", "Hey, look up",
    "Regarding your advert:", "Under which heading stands", "To settle a bet, name", "Our club demands", "Hm, remind me of",
)  # fmt: skip
CLOSERS = ("?", ", thanks a million.", " if you do not mind.")


def question(about: str, title: str, number: int) -> str:
    """One of sixty questions, all in different words."""
    opener, closer = OPENERS[number % len(OPENERS)], CLOSERS[number // len(OPENERS) % len(CLOSERS)]
    return f"{opener} the {about} of {title if number % 2 else 'it'}{closer}"


def good_facts(request: dict[str, Any]) -> dict[str, Any]:
    """The facts of `FACTS` that the record states, with their sentence."""
    found: dict[str, dict[str, str]] = {}
    for sentence in re.split(r"(?<=\.) ", record_of(request)["content"]):
        for kind, pattern in FACTS.items():
            if match := re.search(pattern, sentence):
                found.setdefault(kind, {"kind": kind, "quote": sentence, "value": match.group()})
    return {"facts": [found[kind] for kind in FACTS if kind in found]}


def good_pairs(request: dict[str, Any]) -> dict[str, Any]:
    """One row a slot, in different words, and a reverse question where one is asked for."""
    asked = record_of(request)
    return {"facts": [_rows_of(fact, asked["title"]) for fact in asked["facts"]]}


def _rows_of(fact: dict[str, Any], title: str) -> dict[str, Any]:
    pairs = []
    for place in fact["slots"]:
        number, style = place.split(": ", 1)
        about = "description" if fact["kind"] == "description" else fact["kind"]
        answer = f"Its {about} is {fact['value']}." if style.startswith("statement") else fact["value"]
        pairs.append({"slot": int(number), "question": question(about, title, int(number)), "answer": answer})
    reverse = f"Which of your goods has {fact['value']} as its {fact['kind']}?" if fact["reverse"] else ""
    return {"fact": fact["fact"], "pairs": pairs, "reverse": reverse}


def good_judge(request: dict[str, Any]) -> dict[str, Any]:
    pairs = record_of(request)["pairs"]
    return {"verdicts": [{"pair": pair["pair"], "good": True, "problem": ""} for pair in pairs]}


GOOD = {"FactsReply": good_facts, "PairsReply": good_pairs, "JudgeReply": good_judge}


def good_reply(request: dict[str, Any]) -> dict[str, Any]:
    """What a careful model would reply, by the form that is asked for."""
    return GOOD[request["response_format"]["json_schema"]["name"]](request)


class ApiServer(LocalServer):
    """`with ApiServer() as api:` serves on a free port of 127.0.0.1. `script` holds replies that go before the good ones."""

    def __init__(self, reply_to: Callable[[dict[str, Any]], Any] = good_reply) -> None:
        self.reply_to = reply_to
        """What a good reply says, from the request."""
        self.script: deque[Script] = deque()
        self.requests: list[dict[str, Any]] = []
        """Bodies of the chat requests, in the order of their arrival."""
        self.seconds = 0.0
        """That a good reply takes."""
        self.limiter: Limiter | None = None
        """Requests beyond it are refused with 429 and `refusal_headers`."""
        self.refusal_headers = {"retry-after": "1"}
        self.at_once = 0
        """Chat requests under way, and the most that ever were."""
        self.most_at_once = 0
        self.batches = Batches(lambda request: self._chat(request).body)
        self._lock = threading.Lock()
        super().__init__()

    @property
    def url(self) -> str:
        return f"{self.origin}/v1"

    def answer(self, method: str, path: str, authorization: str, body: bytes) -> HttpReply:
        if authorization != f"Bearer {KEY}":
            return failure(401, f"Incorrect API key provided: {authorization}", "invalid_api_key")
        if (method, path) == ("GET", "/v1/models"):
            listed = [{"id": name, "object": "model", "created": 1, "owned_by": "us"} for name in (MODEL, "another")]
            return HttpReply(200, json.dumps({"object": "list", "data": listed}).encode())
        if path.startswith(("/v1/files", "/v1/batches")):
            status, answer = self.batches.answer(method, path, body)
            return HttpReply(status, answer)
        if (method, path) != ("POST", "/v1/chat/completions"):
            return failure(404, f"Invalid URL ({method} {path})")
        request = json.loads(body)
        with self._lock:
            self.requests.append(request)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            return self._scripted(request) or self._refused() or self._slowly(request)
        finally:
            with self._lock:
                self.at_once -= 1

    def _scripted(self, request: dict[str, Any]) -> HttpReply | None:
        try:
            scripted = self.script.popleft()
        except IndexError:
            return None
        return scripted if isinstance(scripted, HttpReply) else scripted(request)

    def _refused(self) -> HttpReply | None:
        with self._lock:
            if self.limiter is None or self.limiter.allows(time.monotonic()):
                return None
        refusal = failure(429, "slow down", "rate_limit_exceeded")
        return HttpReply(429, refusal.body, {"content-type": "application/json", **self.refusal_headers})

    def _slowly(self, request: dict[str, Any]) -> HttpReply:
        time.sleep(self.seconds)
        return self._chat(request)

    def _chat(self, request: dict[str, Any]) -> HttpReply:
        if request["model"] != MODEL:
            return failure(404, f"The model `{request['model']}` does not exist", "model_not_found")
        if problem := _schema_problem(request.get("response_format")):
            return failure(400, f"Invalid response_format: {problem}")
        return completion(self.reply_to(request))


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
