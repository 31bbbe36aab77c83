"""Which files of the project a Space gets, and how they differ from those that it has.

Only what is on the list below goes, and of that only what git tracks, so that no data, no weights and no secret can go along.
"""

import hashlib
import subprocess
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from pipeline.errors import HubError
from pipeline.space.settings import README, SPACE_FILE, SpaceSettings, with_front_matter

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoFile

FILES = ("app.py", "requirements.txt", README.name, SPACE_FILE.name, "LICENSE")
FOLDERS = ("pipeline", "tabs", "assets")
"""What the app is made of, and all that its Space needs."""

WEIGHTS = {".safetensors", ".gguf", ".bin", ".pt", ".pth", ".ckpt", ".onnx", ".h5"}
"""No such file goes along, wherever it lies: models come from the Hub."""


def files_for_space(root: Path, settings: SpaceSettings) -> dict[str, bytes]:
    """The files that belong on the Space, by their paths there; README.md with the settings at its top.

    Raises:
        HubError: git cannot say which files there are, or the app is not among them.
    """
    files = {name: (root / name).read_bytes() for name in sorted(_names(root)) if _belongs(root, name)}
    if missing := [name for name in ("app.py", "requirements.txt", README.name) if name not in files]:
        raise HubError(f"{missing[0]} is not among the project's files, and no Space runs without it; bring it back.")
    files[README.name] = with_front_matter(files[README.name].decode(), settings).encode()
    return files


def _names(root: Path) -> list[str]:
    """Every file of the project that may belong: what git tracks, or what lies there where there is no git (a zip)."""
    if not (root / ".git").exists():
        inside = (path for folder in FOLDERS for path in (root / folder).rglob("*"))
        return [*FILES, *(path.relative_to(root).as_posix() for path in inside)]
    try:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise HubError(
            f"git cannot list the project's files ({type(error).__name__}); "
            "make `git ls-files` work here, or deploy from a copy without the folder .git."
        ) from None
    return [name for name in listed.decode(errors="surrogateescape").split("\0") if name]


def _belongs(root: Path, name: str) -> bool:
    path, file = PurePosixPath(name), root / name
    listed = name in FILES or path.parts[0] in FOLDERS
    hidden = any(part.startswith((".", "__pycache__")) for part in path.parts)
    linked = any(parent.is_symlink() for parent in (file, *file.parents) if parent != root and root in parent.parents)
    return listed and not hidden and not linked and path.suffix.lower() not in WEIGHTS and file.is_file()


def differences(files: dict[str, bytes], stored: Iterable["RepoFile"]) -> tuple[list[str], list[str]]:
    """What a commit must do.

    Args:
        stored: what the Space has.

    Returns:
        The files to send, and those that are the app's no more. What is not the app's own on the Space stays there.
    """
    there = {file.path: file for file in stored}
    sent = [name for name, data in files.items() if name not in there or not _same(data, there[name])]
    gone = [path for path in there if path not in files and (path in FILES or path.split("/")[0] in FOLDERS)]
    return sent, gone


def _same(data: bytes, stored: "RepoFile") -> bool:
    """Whether the Hub has this content: it says git's id of a file, or the checksum where it keeps it apart from git."""
    if stored.lfs is not None:
        return stored.lfs.sha256 == hashlib.sha256(data).hexdigest()
    return stored.blob_id == hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
