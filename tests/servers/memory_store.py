"""A store in this process, for tests that need thousands of commits: the real `Store` but for what goes over the network."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
from huggingface_hub.errors import RemoteEntryNotFoundError

from pipeline.space.store import Moved, Store

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoFile


@dataclass
class Commits:
    """What a repository has held, by its commits."""

    all: list[dict[str, bytes]] = field(default_factory=lambda: [{}])

    @property
    def newest(self) -> dict[str, bytes]:
        return self.all[-1]


class Lost(Exception):
    """The connection was cut."""


class MemoryStore(Store):
    """Attributes:
    cut: how many requests are still answered; None where nothing is cut.
    lose: how many commits are still answered; the one after takes effect without an answer, and cuts the connection.
    meanwhile: what happens, once, before a request is answered, by the number of requests until then.
    """

    def __init__(self, commits: Commits) -> None:
        self.repo = "mira/shop-data"
        self.commits = commits
        self.cut: int | None = None
        self.lose: int | None = None
        self.meanwhile: tuple[int, Callable[[], None]] | None = None

    def make_whole(self) -> None:
        """From now on everything is answered."""
        self.cut = self.lose = self.meanwhile = None

    def _request(self) -> None:
        if self.meanwhile:
            left, happens = self.meanwhile
            self.meanwhile = (left - 1, happens) if left else None
            if not left:
                happens()
        if self.cut is not None:
            self.cut -= 1
            if self.cut < 0:
                raise Lost

    def _read(self, head: str) -> dict[str, bytes]:
        self._request()
        return self.commits.all[int(head)]

    def head(self) -> str:
        self._read("0")
        return str(len(self.commits.all) - 1)

    def sizes(self, head: str, folder: str = "") -> dict[str, int]:
        found = self._read(head).items()
        return {path: len(data) for path, data in found if not folder or path.startswith(f"{folder}/")}

    def files(self, head: str, folder: str = "") -> "list[RepoFile]":
        raise NotImplementedError

    def _download(self, head: str, path: str, to: Path) -> Path:
        data = self._read(head).get(path)
        if data is None:
            gone = httpx.Response(404, request=httpx.Request("GET", f"http://store/{path}"))
            raise RemoteEntryNotFoundError(path, response=gone)
        found = to / "found"
        found.write_bytes(data)
        return found

    def commit(self, head: str, message: str, added: Mapping[str, bytes | Path], deleted: Sequence[str] = ()) -> str:
        self._request()
        if int(head) != len(self.commits.all) - 1:
            raise Moved
        files: dict[str, Any] = dict(self.commits.newest)
        for path in deleted:
            if path.endswith("/"):
                files = {name: data for name, data in files.items() if not name.startswith(path)}
            else:
                del files[path]
        self.commits.all.append(files | {p: d if isinstance(d, bytes) else d.read_bytes() for p, d in added.items()})
        if self.lose is not None:
            self.lose -= 1
            if self.lose < 0:
                self.cut = 0
                raise Lost
        return str(len(self.commits.all) - 1)
