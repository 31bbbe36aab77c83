"""What can go wrong, said in sentences for the user.

Every message states the problem with its value and then what to do. Only the front ends (the page, the command line)
show them; nothing here knows either.
"""

import errno
import logging
import secrets
import shutil
import socket
import ssl
from collections.abc import Sequence
from pathlib import Path

logger = logging.getLogger(__name__)

_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)

DISK_FULL = "The disk is full; delete old runs or free some room, then try again."

_NEXT_TO_NOTHING = 1_000_000
"""Bytes: a disk with less is called full."""


class PipelineError(Exception):
    """A problem the user can do something about; `str(error)` is one sentence or two, ready to be shown."""


class CatalogueError(PipelineError):
    """The catalogue cannot be read, or nothing in it is usable."""


class ColumnsError(CatalogueError):
    """Which columns are title and content must be chosen; `headers` are those that there are."""

    def __init__(self, message: str, headers: Sequence[str] = ()) -> None:
        super().__init__(message, tuple(headers))
        self.headers = tuple(headers)

    def __str__(self) -> str:
        return str(self.args[0])


class SettingsError(PipelineError):
    """A setting, or a combination of settings, cannot work."""


class ModelError(PipelineError):
    """A base model or an adapter cannot be loaded."""


class GenerationError(PipelineError):
    """The API that writes questions and answers refused or replied with something unusable."""


class Unreachable(GenerationError):
    """The API cannot be reached or fails for now: what may pass by itself."""


class RunError(PipelineError):
    """A run cannot be started, found or read."""


class QuestionError(PipelineError):
    """A question that cannot be asked."""


class HubError(PipelineError):
    """Something cannot be pushed to the Hugging Face Hub, or the Hub refused it."""


class ServingError(PipelineError):
    """Something cannot be served, or a key or an origin cannot be one."""


class PatternError(PipelineError):
    """A pattern for the answer that cannot be used."""


def disk_problem(error: BaseException) -> str:
    """What to say about an error of the disk; nothing about any other."""
    if not isinstance(error, OSError) or error.errno not in _DISK:
        return ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DISK_FULL
    return f"{error.filename or 'A file'} cannot be written or read ({error.strerror}); choose another place."


_CLIENTS = ("httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3", "hf_xet")


def is_unreached(error: BaseException | None) -> bool:
    """Whether an error, or what it was raised for, is one of the network's: no other says that a server cannot be reached."""
    while error is not None:
        if isinstance(error, ConnectionError | TimeoutError | socket.gaierror | ssl.SSLError):
            return True
        if type(error).__module__.partition(".")[0] in _CLIENTS or type(error).__name__ == "OfflineModeIsEnabled":
            return True
        error = error.__cause__ or error.__context__
    return False


def unexpected(error: BaseException) -> str:
    """What to say about a mistake of ours: its name, and the number under which the log has the rest."""
    number = secrets.token_hex(3)
    logger.error("Unexpected error %s", number, exc_info=error)
    return f"Unexpected error ({type(error).__name__}). Try again; details are in the log under {number}."


def disk_full(folder: Path) -> str:
    """What to say where the disk of `folder` has no room left; nothing where it has."""
    try:
        return DISK_FULL if shutil.disk_usage(folder).free < _NEXT_TO_NOTHING else ""
    except OSError:
        return ""
