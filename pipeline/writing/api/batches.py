"""The same requests through the Batch API, for half the price and within a day.

`advance` is one step that can be repeated at any time, from a process that was started since, too. What is under way is
in a state file, written before each step on the server and after it, and each batch carries a name of ours:

    killed before a batch is made     its name is not on the server's list; it is made then
    … between that and the note       its name is on the list; it is taken up, not paid for again
    … while its replies are kept      they are read once more; what the journal has is passed over
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from pydantic import ValidationError

from pipeline.errors import GenerationError
from pipeline.files import locked, write_text
from pipeline.writing.api.batch_state import OUR_NAME, Batch, BatchStatus, Line, Page, Part, State, Uploaded
from pipeline.writing.api.client import connection, host_of, repeatable
from pipeline.writing.api.replies import MAX_REPLY_BYTES, Journal, Reply, journal, reply_of
from pipeline.writing.api.requests import ApiSettings, Dialect, Request
from pipeline.writing.api.run import P, Write, check_cap, needed
from pipeline.writing.api.spending import BATCH_FACTOR, Price

if TYPE_CHECKING:
    import openai

MAX_REQUESTS = 50_000
MAX_FILE_BYTES = 190_000_000
"""OpenAI takes 50,000 requests and 200 MB a file."""
MAX_TRIES = 3
"""Of a request whose batch ends with an error for it."""

_MOST_PAGES = 1000
"""Of a server's list of batches: one that never ends is no reason to ask for ever."""
_LONGEST_LINE = 4 * MAX_REPLY_BYTES

_ENDED = ("completed", "expired", "cancelled")
_OUT_OF_TIME = ("batch_expired", "batch_cancelled")
"""Errors that say nothing about a request."""


def advance(
    products: Sequence[P], write: Write[P, Any], api: ApiSettings, state: Path, paid: float = 0.0
) -> BatchStatus:
    """Do the next thing: send what is missing, look at what is under way, keep what has arrived.

    When a round has ended and calls that depend on its replies are missing, the next step sends those.

    Args:
        state: the file that remembers what is under way. Without it a job starts anew, with what the journal has.
        paid: USD that the job has cost before its first batch, which count against the cap; they are remembered.

    Raises:
        GenerationError: the server cannot be reached, refused a batch or gives no replies, or it could all cost more than
            the cap. Nothing is lost by it, and the next call goes on.
    """
    check_cap(api)
    with locked(state.with_suffix(".lock")):
        return _Job(api, state).advance(products, write, paid)


def cancel(api: ApiSettings, state: Path) -> BatchStatus:
    """Ask the server to end what is under way. What has been written by then is paid for, so `advance` still keeps it."""
    with locked(state.with_suffix(".lock")):
        return _Job(api, state).cancel()


class _Job:
    def __init__(self, api: ApiSettings, path: Path) -> None:
        self.api, self.path = api, path
        self.price = api.known_price
        self.state = self._read()

    def advance(self, products: Sequence[P], write: Write[P, Any], paid: float) -> BatchStatus:
        self.state.paid = max(self.state.paid, paid)
        with self._connection() as client:
            if self.state.cancelled:
                self._end_all(client)
            missing = None
            if not self.state.open and not self.state.cancelled:
                missing = needed(products, write, self.api)
                if not missing:
                    return self._status("done")
                self._plan(missing)
            if not self.state.cancelled and any(not part.id for part in self.state.open):
                self._create(client, needed(products, write, self.api) if missing is None else missing)
            for part in self.state.open:
                self._look(client, part)
        return self._status("cancelled" if self.state.cancelled and not self.state.open else "open")

    def cancel(self) -> BatchStatus:
        self.state.cancelled = True
        self._note()
        with self._connection() as client:
            self._end_all(client)
        return self._status("open" if self.state.open else "cancelled")

    def _end_all(self, client: "openai.OpenAI") -> None:
        """Call off what is at the server, and forget what was never sent."""
        self._adopt(client)
        self.state.parts = [part for part in self.state.parts if part.id]
        for part in self.state.open:
            if part.status not in (*_ENDED, "cancelling", "failed"):
                client.batches.with_raw_response.cancel(part.id)
                part.status = "cancelling"
        self._note()

    @contextmanager
    def _connection(self) -> "Iterator[openai.OpenAI]":
        host = host_of(self.api.base_url)
        with connection(self.api.base_url, self.api.api_key, self.api.model) as client:
            import openai

            try:
                yield client
            except openai.NotFoundError:
                raise GenerationError(
                    f"{host} has no Batch API, or no such batch (404); ask without batches."
                ) from None

    def _plan(self, missing: list[Request[Any]]) -> None:
        """Divide the requests into files, and note that before anything is sent."""
        keys = {self._key(request): request for request in missing}
        for key in keys:
            if self.state.tries.get(key, 0) >= MAX_TRIES:
                count = sum(tries >= MAX_TRIES for tries in self.state.tries.values())
                raise GenerationError(
                    f"{host_of(self.api.base_url)} gave no reply to {count:,} requests in {MAX_TRIES} batches each; "
                    "ask for them without batches, or choose another model."
                )
        self._check_cap(missing)
        part, size = Part(name="", keys=[]), 0
        for key, request in keys.items():
            length = len(self._line(key, request))
            if not part.name or len(part.keys) == MAX_REQUESTS or size + length > MAX_FILE_BYTES:
                part, size = Part(name=uuid4().hex, keys=[]), 0
                self.state.parts.append(part)
            part.keys.append(key)
            size += length
        self._note()

    def _check_cap(self, missing: list[Request[Any]]) -> None:
        if self.api.cap is None or self.price is None:
            return
        worst = BATCH_FACTOR * sum(self.price.of(each.most_tokens(), each.max_tokens) for each in missing)
        spent = self.state.spent + self.state.paid
        if spent + worst > self.api.cap:
            raise GenerationError(
                f"{len(missing):,} requests can cost up to {worst:.2f} USD as batches, {spent:.2f} USD are spent, "
                f"and the cap is {self.api.cap:.2f} USD; raise it or take fewer products."
            )

    def _create(self, client: "openai.OpenAI", missing: list[Request[Any]]) -> None:
        """Make the batches that are planned and not made."""
        self._adopt(client)
        requests = {self._key(request): request for request in missing}
        for part in self.state.open:
            if part.id:
                continue
            lines = [self._line(key, requests[key]) for key in part.keys if key in requests]
            if not lines:  # paid for in another way meanwhile
                part.collected = True
                continue
            file = _read(
                Uploaded,
                client.files.with_raw_response.create(
                    file=(f"{part.name}.jsonl", b"".join(lines), "application/jsonl"), purpose="batch"
                ).content,
                self.api,
            )
            # One try: a second one could make and pay the same twice. If no answer comes, the next step looks for its name.
            made = client.with_options(max_retries=0).batches.with_raw_response.create(
                input_file_id=file.id,
                endpoint="/v1/chat/completions",
                completion_window="24h",
                metadata={OUR_NAME: part.name},
            )
            part.id = _read(Batch, made.content, self.api).id
            self._note()
        self._note()

    def _adopt(self, client: "openai.OpenAI") -> None:
        """Find the batches that were made and not noted."""
        wanted = {part.name: part for part in self.state.open if not part.id}
        after, more, pages = "", bool(wanted), 0
        while more and (pages := pages + 1) <= _MOST_PAGES:
            listed = client.batches.with_raw_response.list(limit=100, **({"after": after} if after else {}))
            page = _read(Page, listed.content, self.api)
            for batch in page.data:
                if part := wanted.pop(batch.name, None):
                    part.id = batch.id
            more = bool(wanted) and page.has_more and bool(page.data)
            after = page.data[-1].id if page.data else ""
        self._note()

    def _look(self, client: "openai.OpenAI", part: Part) -> None:
        batch = _read(Batch, client.batches.with_raw_response.retrieve(part.id).content, self.api)
        part.status = batch.status
        if batch.request_counts:
            part.completed, part.failed = batch.request_counts.completed, batch.request_counts.failed
        if batch.status == "failed":
            part.collected = True
            self._note()
            raise GenerationError(
                f"{host_of(self.api.base_url)} refuses the batch: {_said(batch.errors, self.api.api_key)}; what it asks for "
                "is sent again with the next step."
            )
        if batch.status in _ENDED:
            self._collect(client, part, batch)
        self._note()

    def _collect(self, client: "openai.OpenAI", part: Part, batch: Batch) -> None:
        """Keep the replies of a batch that has ended, however it did, and count the errors."""
        keys, errors = set(part.keys), set()
        spent = 0.0
        with journal(self.api.model, self.api.base_url) as replies:
            for file in filter(None, (batch.output_file_id, batch.error_file_id)):
                for line in self._lines(client, file):
                    if line.custom_id not in keys:
                        continue
                    if reply := self._reply(line):
                        spent += self._keep(replies, line.custom_id, reply)
                    elif not _out_of_time(line.error):
                        errors.add(line.custom_id)
        for key in errors:
            self.state.tries[key] = self.state.tries.get(key, 0) + 1
        self.state.spent += spent
        part.collected = True

    def _keep(self, replies: Journal, key: str, reply: Reply) -> float:
        """USD that the reply cost."""
        if key not in replies:
            replies.append(key, reply)
        price = self.price or Price(0, 0)
        written = len(reply.content or "") // 4 if reply.tokens_out is None else reply.tokens_out
        return BATCH_FACTOR * price.of(reply.tokens_in or 0, written)

    def _reply(self, line: Line) -> Reply | None:
        if line.response is None or line.response.status_code != 200:
            return None
        return reply_of(json.dumps(line.response.body).encode(), self.api.api_key.strip())

    def _lines(self, client: "openai.OpenAI", file: str) -> Iterator[Line]:
        """The lines of a file, which may be too large to hold."""
        import openai

        with client.files.with_streaming_response.content(file) as response:
            lines = _split(response.iter_bytes())
            while True:
                try:
                    yield Line.model_validate_json(next(lines))
                except StopIteration:
                    return
                except ValidationError:
                    continue  # one line that is none costs a request its reply, not the others theirs
                except Exception as error:  # the HTTP library's own kinds of broken bodies
                    raise openai.APIConnectionError(request=response.http_request) from error

    def _line(self, key: str, request: Request[Any]) -> bytes:
        body = Dialect.of(self.api).body(request, self.api.model)
        row = {"custom_id": key, "method": "POST", "url": "/v1/chat/completions", "body": body}
        return json.dumps(row, ensure_ascii=False).encode(errors="backslashreplace") + b"\n"

    def _key(self, request: Request[Any]) -> str:
        return request.key(self.api.model, self.api.base_url)

    def _read(self) -> State:
        new = State(model=self.api.model, base_url=self.api.base_url.strip())
        try:
            found = State.model_validate_json(self.path.read_bytes())
        except FileNotFoundError:
            return new
        except ValidationError as error:
            raise GenerationError(
                f"{self.path} cannot be read as the state of a batch job; delete it to start anew."
            ) from error
        if (found.model, found.base_url) != (new.model, new.base_url):
            raise GenerationError(
                f"{self.path} is the state of a batch job of {found.model} at {found.base_url}; finish or delete it first."
            )
        return found

    def _note(self) -> None:
        write_text(self.path, self.state.model_dump_json() + "\n")

    def _status(self, state: str) -> BatchStatus:
        parts = self.state.parts
        completed, failed = sum(part.completed for part in parts), sum(part.failed for part in parts)
        said = ", ".join(sorted({part.status or "to be sent" for part in self.state.open})) or "next round"
        message = {
            "done": "all replies have arrived",
            "cancelled": "cancelled; what had arrived is kept",
            "open": f"the API says: {said}",
        }[state]
        return BatchStatus(
            state=state,
            requests=sum(len(part.keys) for part in parts),
            completed=completed,
            failed=failed,
            batches=len(self.state.open),
            spent=self.state.spent if self.price else None,
            paid=self.state.paid,
            message=message,
        )


def _split(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of a file; of one that never ends no more than shows that."""
    tail = b""
    for chunk in chunks:
        *lines, tail = (tail + chunk).split(b"\n")
        yield from lines
        tail = tail[:_LONGEST_LINE]
    yield tail


def _read(schema: type[Any], body: bytes, api: ApiSettings) -> Any:
    try:
        return schema.model_validate_json(body)
    except ValidationError:
        raise GenerationError(
            f"{host_of(api.base_url)} gives an answer about batches that cannot be read; ask without batches."
        ) from None


def _said(errors: Any, api_key: str) -> str:
    """The server's first sentence about a batch that it refuses."""
    listed = errors.get("data") if isinstance(errors, dict) else None
    first = listed[0] if isinstance(listed, list) and listed else None
    message = str(first.get("message") or "") if isinstance(first, dict) else ""
    return repeatable(message, api_key).rstrip(".") or "no reason given"


def _out_of_time(error: Any) -> bool:
    return isinstance(error, dict) and error.get("code") in _OUT_OF_TIME
