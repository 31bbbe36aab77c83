"""Another server that says the words: any that speaks OpenAI's completions, such as vLLM with what was published of a run."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import httpx

from pipeline.answering.asker import Answer, Asker, Progress, Question
from pipeline.errors import ServingError
from pipeline.prompts import FIELDS

CONNECT_SECONDS, ANSWER_SECONDS = 5, 60
"""Until it must be reached, and until an answer must be there."""

AT_ONCE = 64
"""Questions that are asked together: what serves a model well takes them into one batch."""

STOP = tuple(f"\n{field}" for field in FIELDS[:2])
"""Where a model goes on to write the next prompt itself."""


class Backend(Asker):
    """A server that completes prompts.

    Args:
        url: its API, such as `http://127.0.0.1:8000/v1`; without a path `/v1` is meant.
        model: the name of the tuned model there; the only one that it has when empty.
        key: what it wants as a bearer token; may be empty.

    Raises:
        ServingError: the address is none.
    """

    def __init__(self, url: str, model: str = "", key: str = "") -> None:
        parts = urlsplit(url.strip())
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ServingError(f"“{url[:80]}” is no address of a backend; give one such as http://127.0.0.1:8000/v1.")
        self.url = parts.geturl().rstrip("/") + ("" if parts.path.strip("/") else "/v1")
        self.model = model
        self._client = httpx.Client(
            headers={"authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
            limits=httpx.Limits(max_connections=AT_ONCE, max_keepalive_connections=AT_ONCE),
            follow_redirects=False,
        )
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="backend")

    def check(self) -> None:
        """Look whether it is there and has the model.

        Raises:
            ServingError: either is not so.
        """
        told = self._asked("GET", "/models")
        names = [one["id"] for one in _rows(told, "data") if isinstance(one.get("id"), str)]
        if not self.model and len(names) == 1:
            self.model = names[0]
        if self.model not in names:
            which = f"no model {self.model}" if self.model else "several models"
            raise ServingError(
                f"The backend {self.url} has {which}; name one of {', '.join(names[:5])} with --backend-model."
            )

    def ask(self, questions: Sequence[Question], *, tuned: bool, on_progress: Progress | None = None) -> list[Answer]:
        """What the tuned model says, all at once.

        Raises:
            ServingError: it is not there, too slow, or says something that is no completion.
        """
        assert tuned, "it has no base to ask"
        said = self._pool.map(self._complete, questions)
        return [Answer.of(q.kind, raw, q.expected) for q, raw in zip(questions, said, strict=True)]

    def _complete(self, question: Question) -> str:
        body = {
            "model": self.model,
            "prompt": question.prompt,
            "max_tokens": question.max_new_tokens,
            "temperature": 0,
            "stop": list(STOP),
        }
        found = _rows(self._asked("POST", "/completions", body), "choices")
        said = found[0].get("text") if found else None
        if not isinstance(said, str):
            raise self._strange()
        return said.strip()

    def _asked(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        try:
            reply = self._client.request(method, self.url + path, json=body)
        except httpx.TimeoutException as error:
            raise ServingError(
                f"The backend {self.url} did not answer in time; see what it is busy with, and ask again."
            ) from error
        except httpx.HTTPError as error:
            raise ServingError(f"The backend {self.url} cannot be reached; start it, and ask again.") from error
        if reply.status_code == 404:
            raise ServingError(
                f"The backend {self.url} has no model {self.model} or no such address; name its model with --backend-model."
            )
        if reply.status_code in (401, 403):
            raise ServingError(f"The backend {self.url} wants a key; set SHELFTALK_BACKEND_KEY to it, and start again.")
        if reply.status_code != 200:
            raise ServingError(f"The backend {self.url} refused to answer ({reply.status_code}); its log says why.")
        try:
            return reply.json()
        except ValueError:
            raise self._strange() from None

    def _strange(self) -> ServingError:
        return ServingError(f"The backend {self.url} does not speak OpenAI's API; give the address of one that does.")


def _rows(told: Any, name: str) -> list[dict[str, Any]]:
    rows = told.get(name) if isinstance(told, dict) else None
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
