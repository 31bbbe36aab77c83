"""The files and batches endpoints of the local API server. A test decides what becomes of a batch."""

import json
import threading
from collections.abc import Callable
from email import message_from_bytes
from typing import Any
from urllib.parse import parse_qs, urlsplit


class Batches:
    """Holds files and batches. A batch stays in progress until `finish` is called, or is finished at its first poll."""

    def __init__(self, chat: Callable[[dict[str, Any]], bytes]) -> None:
        self.chat = chat
        """Writes the completion for a chat request."""
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.at_once = False
        """Whether batches are finished when they are first polled."""
        self.answered: list[str] = []
        """Custom ids of the requests that were answered, and so paid for, in order."""
        self.calls: list[str] = []
        """Method and path of every call."""
        self.before: Callable[[str], None] = lambda call: None
        """Called with each call before it is answered; what it raises ends the connection."""
        self.after: Callable[[str], None] = lambda call: None
        """The same, when the call has had its effect."""
        self._lock = threading.Lock()

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        parts = urlsplit(path)
        call = f"{method} {parts.path.removeprefix('/v1')}"
        with self._lock:
            self.calls.append(call)
            self.before(call)
            status, answer = self._answer(call, parse_qs(parts.query), body)
            self.after(call)
        return status, answer if isinstance(answer, bytes) else json.dumps(answer).encode()

    def finish(
        self, batch: str, status: str = "completed", count: int | None = None, errors: dict[int, int] | None = None
    ) -> None:
        """End a batch.

        Args:
            count: the requests that get a reply before it ends; all if left out.
            errors: HTTP status by the place of the request, for those that get an error instead.
        """
        made = self.batches[batch]
        rows = [json.loads(line) for line in self.files[made["input_file_id"]].splitlines()]
        output, failed = [], []
        for place, row in enumerate(rows):
            line: dict[str, Any] = {"id": f"r{place}", "custom_id": row["custom_id"], "response": None, "error": None}
            if count is not None and place >= count:
                failed.append({**line, "error": {"code": f"batch_{status}", "message": "not in time"}})
            elif errors and place in errors:
                problem = {"error": {"message": "no", "type": "server_error"}}
                failed.append({**line, "response": {"status_code": errors[place], "body": problem}})
            else:
                self.answered.append(row["custom_id"])
                output.append({**line, "response": {"status_code": 200, "body": json.loads(self.chat(row["body"]))}})
        made["status"] = status
        for name, lines in (("output_file_id", output), ("error_file_id", failed)):
            if lines:
                made[name] = self._keep(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
        made["request_counts"] |= {"completed": len(output), "failed": len(failed)}

    def refuse(self, batch: str, message: str) -> None:
        """Let a batch fail its validation."""
        errors = {"object": "list", "data": [{"code": "invalid", "message": message, "line": 1}]}
        self.batches[batch] |= {"status": "failed", "errors": errors}

    def _answer(self, call: str, query: dict[str, list[str]], body: bytes) -> tuple[int, Any]:
        match call.split("/"):
            case ["POST ", "files"]:
                name = self._keep(_uploaded(body))
                return 200, {
                    "id": name,
                    "object": "file",
                    "purpose": "batch",
                    "filename": "b",
                    "bytes": 1,
                    "created_at": 1,
                }
            case ["GET ", "files", name, "content"] if name in self.files:
                return 200, self.files[name]
            case ["POST ", "batches"]:
                return 200, self._create(json.loads(body))
            case ["GET ", "batches"]:
                return 200, self._list(query)
            case ["GET ", "batches", name] if name in self.batches:
                if self.at_once and self.batches[name]["status"] == "validating":
                    self.finish(name)
                return 200, self.batches[name]
            case ["POST ", "batches", name, "cancel"] if name in self.batches:
                self.batches[name]["status"] = "cancelling"
                return 200, self.batches[name]
        return 404, {"error": {"message": "not found", "type": "invalid_request_error"}}

    def _keep(self, data: bytes) -> str:
        name = f"file-{len(self.files)}"
        self.files[name] = data
        return name

    def _create(self, asked: dict[str, Any]) -> dict[str, Any]:
        name = f"batch_{len(self.batches)}"
        total = len(self.files[asked["input_file_id"]].splitlines())
        counts = {"total": total, "completed": 0, "failed": 0}
        head = {"id": name, "object": "batch", "status": "validating", "created_at": 1, "request_counts": counts}
        self.batches[name] = {**head, "output_file_id": None, "error_file_id": None, "errors": None, **asked}
        return self.batches[name]

    def _list(self, query: dict[str, list[str]]) -> dict[str, Any]:
        newest = list(self.batches.values())[::-1]
        if after := query.get("after"):
            newest = newest[[b["id"] for b in newest].index(after[0]) + 1 :]
        page = newest[: int(query.get("limit", ["20"])[0])]
        return {"object": "list", "data": page, "has_more": len(page) < len(newest)}


def _uploaded(body: bytes) -> bytes:
    boundary = body.split(b"\r\n", 1)[0][2:]
    message = message_from_bytes(b"Content-Type: multipart/form-data; boundary=" + boundary + b"\r\n\r\n" + body)
    parts: Any = message.get_payload()
    return next(part.get_payload(decode=True) for part in parts if part.get_filename())
