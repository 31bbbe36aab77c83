"""A Hub to keep things in, and disks to come back to."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.servers.hub import TOKEN
from tests.servers.hub_store import Hub


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)  # its storage is another server
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with Hub() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


@pytest.fixture
def on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Makes this process work on a machine's disk, by its name."""

    def at(name: str) -> Path:
        monkeypatch.setenv("SHELFTALK_HOME", str(tmp_path / name))
        return tmp_path / name

    return at
