"""Replies: what is kept of one, how it is read, and the journal that keeps them.

A reply is appended before it is used, and read by the same code whether it has just arrived or was paid for last month.
The journal is one file an endpoint and model, append-only: a line is there or not there, and the last one counts.
"""

import errno
import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, Field, ValidationError

from pipeline.files import home, parse_json

MAX_REPLY_BYTES = 1_000_000

REFUSED = "reply refused by the model"
CUT_OFF = "reply cut off"
INVALID = "reply not in the form asked for"
TOO_LARGE = f"reply over {MAX_REPLY_BYTES // 1_000_000} MB"
TOO_LONG = "request too long for the model"
NO_REPLY = "no reply after several tries"

_MOST_TOKENS = 10_000_000
_CHUNK = 1 << 20
_FENCE = re.compile(r"```(?:json)?\s*\n")

Schema = TypeVar("Schema", bound=BaseModel)


class UnusableReply(Exception):
    """A reply that arrived and is of no use; `problem` can be told to the model that wrote it."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.problem = f"{reason}: {detail}" if detail else reason


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Completion(BaseModel):
    """The part of a chat completion that is used; compatible servers often leave out the rest."""

    choices: list[_Choice] = Field(min_length=1)
    usage: Any = None


class Reply(BaseModel):
    """What is kept of a reply: the model's own text, not what was made of it."""

    content: str | None = None
    refusal: str | None = None
    finish_reason: str | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    """As the server counted them, if it did."""
    unreadable: str = ""
    """Why the body is no chat completion, if it is none."""
    seconds: float = 0.0


def reply_of(body: bytes, api_key: str, seconds: float = 0.0) -> Reply:
    """What is kept of a response's body."""
    if len(body) > MAX_REPLY_BYTES:
        return Reply(unreadable=TOO_LARGE, seconds=seconds)
    try:
        completion = _Completion.model_validate_json(without_key(body, api_key))
    except ValidationError as error:
        return Reply(unreadable=_first(error), seconds=seconds)
    choice = completion.choices[0]
    return Reply(
        content=choice.message.content,
        refusal=choice.message.refusal,
        finish_reason=choice.finish_reason,
        tokens_in=_count(completion.usage, "prompt_tokens"),
        tokens_out=_count(completion.usage, "completion_tokens"),
        seconds=seconds,
    )


def without_key(body: bytes, api_key: str) -> bytes:
    """The body without the key, which some servers echo. A word like "none", for a server that needs no key, stays."""
    return body.replace(api_key.encode(), "…".encode()) if len(api_key) >= 12 else body


def read_reply(reply: Reply, schema: type[Schema]) -> Schema:
    """What a reply says.

    Raises:
        UnusableReply: it is refused, cut off, too large, or not in the schema's form.
    """
    if reply.unreadable:
        raise UnusableReply(TOO_LARGE) if reply.unreadable == TOO_LARGE else UnusableReply(INVALID, reply.unreadable)
    if reply.refusal or reply.finish_reason == "content_filter":
        raise UnusableReply(REFUSED)
    if reply.finish_reason == "length":
        raise UnusableReply(CUT_OFF, "write less")
    text = (reply.content or "").strip()
    if (fence := _FENCE.match(text)) and text.endswith("```"):  # models without a grammar wrap their JSON like this
        text = text[fence.end() : -3]
    try:
        return schema.model_validate_json(text)
    except ValidationError as error:
        raise UnusableReply(INVALID, _first(error)) from error


def _first(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    return f"{'.'.join(map(str, first['loc']))} {first['msg']}".strip()[:200]


def _count(usage: Any, name: str) -> int | None:
    value = usage.get(name) if isinstance(usage, dict) else None
    return value if type(value) is int and 0 <= value <= _MOST_TOKENS else None


@dataclass(frozen=True)
class _Place:
    offset: int
    length: int


class Journal:
    """The replies of one model at one address: `key in journal`, `journal.get(key)`, `journal.append(key, reply)`.

    Only the places of the replies are in memory. Several processes may append to one file at once, and each finds what
    the others wrote. Not for several threads at once.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._places: dict[str, _Place] = {}
        self._seen = 0

    def close(self) -> None:
        os.close(self._file)

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __contains__(self, key: str) -> bool:
        return self._place(key) is not None

    def get(self, key: str) -> Reply | None:
        place = self._place(key)
        row = _row(os.pread(self._file, place.length, place.offset)) if place else None
        return row[1] if row else None

    def append(self, key: str, reply: Reply) -> None:
        """Keep a reply, with one write.

        Raises:
            OSError: the disk has no room for it.
        """
        line = json.dumps({"key": key, "reply": reply.model_dump(exclude_defaults=True)}, ensure_ascii=False)
        data = (line + "\n").encode(errors="backslashreplace")
        if self._torn():
            data = b"\n" + data
        if os.write(self._file, data) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))

    def _place(self, key: str) -> _Place | None:
        if key not in self._places:
            self._read_on()
        return self._places.get(key)

    def _torn(self) -> bool:
        size = os.fstat(self._file).st_size
        return size > 0 and os.pread(self._file, 1, size - 1) != b"\n"

    def _read_on(self) -> None:
        """Note the whole lines that were added since. A torn one in the middle, ended by the next, is no row."""
        while os.fstat(self._file).st_size > self._seen:
            data = os.pread(self._file, _CHUNK, self._seen)
            while b"\n" not in data:
                more = os.pread(self._file, _CHUNK, self._seen + len(data))
                if not more:
                    return  # a last line that is not whole yet, or never will be
                data += more
            for line in data[: data.rindex(b"\n") + 1].splitlines(keepends=True):
                if row := _row(line):
                    self._places[row[0]] = _Place(self._seen, len(line))
                self._seen += len(line)


def _row(line: bytes) -> tuple[str, Reply] | None:
    try:
        row = parse_json(line)
        return str(row["key"]), Reply.model_validate(row["reply"])
    except (ValueError, TypeError, KeyError):  # torn, or edited by hand
        return None


def address_of(base_url: str) -> str:
    """An API's address without what makes no other of it."""
    return base_url.strip().rstrip("/")


def journal(model: str, base_url: str) -> Journal:
    """The journal of a model. Its file has a hashed name, since a model's name can be anything, a path too."""
    name = hashlib.sha256(json.dumps([address_of(base_url), model]).encode()).hexdigest()[:24]
    return Journal(home() / "replies" / f"{name}.jsonl")
