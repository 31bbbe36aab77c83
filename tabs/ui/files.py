"""Files that the page hands out, and what changes when a file does."""

import hashlib
import shutil
from pathlib import Path

from gradio.utils import get_upload_folder

from pipeline.files import whole_file


def served(path: Path) -> str:
    """A copy of a file among Gradio's own, which are all that the page may hand out: what else is in a run's folder or a
    dataset's (logs, checkpoints) has no address."""
    copy = Path(get_upload_folder()) / "served" / hashlib.sha256(str(path).encode()).hexdigest()[:16] / path.name
    if not copy.is_file() or stamp(copy)[1:] != stamp(path)[1:]:
        with whole_file(copy) as aside:
            shutil.copy2(path, aside)
    return str(copy)


def stamp(path: Path) -> tuple[str, int, int]:
    """What changes when a file does: the key for keeping what was read from it."""
    found = path.stat()
    return str(path), found.st_mtime_ns, found.st_size
