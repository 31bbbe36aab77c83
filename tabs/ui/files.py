"""What changes when a file does."""

from pathlib import Path


def stamp(path: Path) -> tuple[str, int, int]:
    """The key for keeping what was read from a file: its place, time and size."""
    found = path.stat()
    return str(path), found.st_mtime_ns, found.st_size
