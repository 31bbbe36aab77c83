"""The store: a private dataset repository on the Hub, read and written as files and commits.

What the Hub's client raises comes out as it is; whoever keeps or restores makes one sentence of it.
"""

import hashlib
import logging
import os
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.files import KEEPING, home, on_volume, work_folder
from pipeline.publishing.hub import TIMEOUT_SECONDS, check_repo, http_status, hub_api, open_repository
from pipeline.space.kept import LIST, File, Listing, sha256_of

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoFile

MOST_LIST_BYTES = 5_000_000

FOREIGN = Listing("", -1, {})
"""A list that this app did not write: what it stands for is neither restored nor written over."""

SMALL = 10_000_000
"""Bytes up to which a file is read into memory, so that what is sent of it is what its checksum says, though it grows."""

SILENCE_SECONDS = 120
"""After so long without a byte a request counts as lost; the client by itself would wait for ever."""

_CALMING = threading.Lock()

GROWING = (".jsonl", ".log")


def store_name() -> str:
    """The repository that things are kept in, as `user/name`; empty where nothing is sent.

    `SHELFTALK_STORE` names it. A Space that has a token and no storage of its own uses its own name and `-data`.
    """
    named = os.environ.get("SHELFTALK_STORE", "").strip()
    space = os.environ.get("SPACE_ID", "")
    if named or not space or on_volume() or not os.environ.get("HF_TOKEN"):
        return named
    return f"{space}-data"


class Moved(Exception):
    """Somebody else committed since the store was last read: read it again."""


class Damaged(ValueError):
    """What was downloaded is not what its list says."""


@dataclass(frozen=True)
class Pinned:
    """A file as it was at one moment: its bytes, or another name for it that stays when the first one goes."""

    file: File
    content: bytes | Path


class Store:
    """Attributes:
    repo: `user/name`.
    """

    def __init__(self, repo: str) -> None:
        """Raises:
        HubError: there is no token, or the name cannot be one.
        """
        check_repo(repo)
        self.repo = repo
        self.api = hub_api()
        with _CALMING:  # it closes the client that there was, which another thread must not have begun to use
            _calm_client()

    def open(self) -> None:
        """Make the repository where it is not there.

        Raises:
            HubError: it is public.
        """
        open_repository(self.api, self.repo, True, kind="dataset")

    def head(self) -> str:
        """The newest commit, which the reads below are told as `head`, so that they all see the same."""
        return self.api.repo_info(self.repo, repo_type="dataset", timeout=TIMEOUT_SECONDS).sha or ""

    def sizes(self, head: str, folder: str = "") -> dict[str, int]:
        """Every file under a folder, with its size in bytes."""
        return {file.path: file.size for file in self.files(head, folder)}

    def files(self, head: str, folder: str = "") -> "list[RepoFile]":
        """Every file under a folder, as the Hub describes it."""
        from huggingface_hub.errors import RemoteEntryNotFoundError
        from huggingface_hub.hf_api import RepoFile

        listed = self.api.list_repo_tree(self.repo, folder or None, recursive=True, revision=head, repo_type="dataset")
        try:
            return [entry for entry in listed if isinstance(entry, RepoFile)]
        except RemoteEntryNotFoundError:
            return []

    def listing(self, head: str, folder: str, kind: str) -> Listing | None:
        """The list of what is kept in a folder; nothing where there is none, and only then."""
        from huggingface_hub.errors import RemoteEntryNotFoundError

        with staging() as aside:
            try:
                found = self._download(head, f"{folder}/{LIST}", aside)
            except RemoteEntryNotFoundError:
                return None
            try:
                return Listing.read(found.read_bytes()[: MOST_LIST_BYTES + 1], kind)
            except ValueError:
                return FOREIGN

    def fetch(self, head: str, path: str, file: File, to: Path) -> None:
        """Download a file to a place on this home's disk, with its time.

        Raises:
            Damaged: it is not there, or its size or checksum is another than its list says.
        """
        from huggingface_hub.errors import RemoteEntryNotFoundError

        with staging() as aside:
            try:
                found = self._download(head, path, aside)
            except RemoteEntryNotFoundError:
                raise Damaged(path) from None
            if found.is_symlink() or found.stat().st_size != file.size or sha256_of(found) != file.sha256:
                raise Damaged(path)
            to.parent.mkdir(parents=True, exist_ok=True)
            found.replace(to)
        set_time(to, file.time)

    def _download(self, head: str, path: str, to: Path) -> Path:
        return Path(self.api.hf_hub_download(self.repo, path, repo_type="dataset", revision=head, local_dir=to))

    def commit(self, head: str, message: str, added: Mapping[str, bytes | Path], deleted: Sequence[str] = ()) -> str:
        """Commit on top of `head`. Large files that the store has had are not sent again.

        Returns:
            The new commit.

        Raises:
            Moved: `head` is not the newest commit any more.
        """
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete
        from huggingface_hub.errors import HfHubHTTPError

        operations = [CommitOperationDelete(path_in_repo=path) for path in deleted]
        operations += [CommitOperationAdd(path_in_repo=path, path_or_fileobj=what) for path, what in added.items()]
        try:
            done = self.api.create_commit(
                self.repo,
                operations,
                repo_type="dataset",
                commit_message=message,
                parent_commit=head,
                num_threads=2,
            )
        except HfHubHTTPError as error:
            if http_status(error) in (409, 412):
                raise Moved from None
            raise
        return done.oid


@cache
def _calm_client() -> None:
    """Once in a process: the Hub's client waits no longer than it must, and draws no bars into the log.

    It tells every retry, too; what counts of a Hub that is away is told in one sentence.
    """
    from huggingface_hub import set_client_factory
    from huggingface_hub.utils import disable_progress_bars
    from huggingface_hub.utils._http import default_client_factory

    def with_timeout() -> Any:
        client = default_client_factory()
        client.timeout = SILENCE_SECONDS
        return client

    set_client_factory(with_timeout)
    disable_progress_bars()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)


def staging() -> AbstractContextManager[Path]:
    """A hidden folder on this home's disk, from which a rename puts things in their place."""
    return work_folder(home() / KEEPING)


@contextmanager
def pinned(files: Mapping[str, Path]) -> Iterator[dict[str, Pinned]]:
    """Files as they are now, for as long as the block runs.

    Raises:
        OSError: one has just gone.
    """
    with staging() as folder:
        yield {name: _pin(path, folder / f"{number}") for number, (name, path) in enumerate(files.items())}


def _pin(path: Path, aside: Path) -> Pinned:
    stat = path.stat()
    if stat.st_size <= SMALL:
        data = path.read_bytes()
        return Pinned(File(len(data), hashlib.sha256(data).hexdigest(), stat.st_mtime), data)
    try:
        if path.suffix in GROWING:
            raise OSError
        aside.hardlink_to(path)  # large files are written once
    except OSError:
        shutil.copyfile(path, aside)
    return Pinned(File(aside.stat().st_size, sha256_of(aside), stat.st_mtime), aside)


def set_time(path: Path, time: float) -> None:
    """Set when a file was last changed, as far as the disk can say it."""
    with suppress(OSError, OverflowError, ValueError):
        os.utime(path, (time, time))
