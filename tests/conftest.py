"""What several test files need. Models and runs are made once a session; nothing outside the temporary folders is read."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.catalogue.catalogue import read_catalogue
from pipeline.dataset.build import build_dataset
from pipeline.dataset.settings import DatasetSettings
from pipeline.dataset.store import Dataset
from pipeline.runs.manage import create_run
from tests.tiny import as_an_api_writes, build_model, tiny_settings, train_here, write_catalogue


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home for `runs/` and `datasets/`."""
    folder = tmp_path / "home"
    monkeypatch.setenv("SHELFTALK_HOME", str(folder))
    return folder


@pytest.fixture
def catalogue_file(tmp_path: Path) -> Path:
    """The small catalogue of `tests/tiny.py` as a file."""
    return write_catalogue(tmp_path / "catalogue.json")


@pytest.fixture
def dataset(home: Path, catalogue_file: Path) -> Dataset:
    """A dataset of four products."""
    return build_dataset(read_catalogue(catalogue_file), DatasetSettings(products=4))


@pytest.fixture
def written_dataset(home: Path, catalogue_file: Path) -> Dataset:
    """One of the same products with every sort of row that an API writes."""
    settings = DatasetSettings(products=4, generator="a test")
    return build_dataset(read_catalogue(catalogue_file), settings, generate=as_an_api_writes)


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the tiny random base model."""
    return build_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def finished_run(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A finished run of the tiny model; tests read it and leave it as it is."""
    home = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHELFTALK_HOME", str(home))
        catalogue = read_catalogue(write_catalogue(home / "catalogue.json"))
        folder = create_run(build_dataset(catalogue, DatasetSettings(products=4)), tiny_settings(tiny_base))
        assert train_here(folder) == 0
    yield folder


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI a skipped test is a missing piece, so it fails the run."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter and reporter.stats.get("skipped")
    if os.environ.get("CI") and skipped and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
