"""What several test files need. Models, runs and datasets are made once a session; nothing outside the temporary folders is
read, and a test that changes something has a copy of its own."""

import functools
import gc
import os
import re
import shutil
from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch: two workers with a thread each do more than one with two

import pytest

from pipeline.catalogue.catalogue import read_catalogue
from pipeline.dataset.build import build_dataset
from pipeline.dataset.settings import DatasetSettings
from pipeline.dataset.store import Dataset, open_dataset
from pipeline.files import datasets_dir
from pipeline.runs.manage import create_run
from tests import forks
from tests.tiny import FEW_ROWS, as_an_api_writes, build_model, tiny_settings, train_here, write_catalogue


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


@pytest.fixture(scope="session")
def made_datasets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folders of the datasets that follow, of which tests have copies."""
    home = tmp_path_factory.mktemp("datasets")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHELFTALK_HOME", str(home))
        catalogue = read_catalogue(write_catalogue(home / "catalogue.json"))
        plain = build_dataset(catalogue, FEW_ROWS)
        settings = replace(FEW_ROWS, generator="a test")
        written = build_dataset(catalogue, settings, generate=as_an_api_writes)
    return {"plain": plain.folder, "written": written.folder}


def copied(folder: Path) -> Dataset:
    return open_dataset(Path(shutil.copytree(folder, datasets_dir() / folder.name)))


@pytest.fixture
def dataset(home: Path, catalogue_file: Path, made_datasets: dict[str, Path]) -> Dataset:
    """A dataset of four products."""
    return copied(made_datasets["plain"])


@pytest.fixture
def written_dataset(home: Path, catalogue_file: Path, made_datasets: dict[str, Path]) -> Dataset:
    """One of the same products with every sort of row that an API writes."""
    return copied(made_datasets["written"])


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


@pytest.fixture
def real_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Children are started as anywhere else, and not forked (`tests/forks.py`)."""
    monkeypatch.setattr(forks, "enabled", False)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="only what needs no browser, no model and no process")


def pytest_configure() -> None:
    forks.install()


PAGE = {"browser", "app", "empty_app", "space", "zero"}
"""Fixtures of the tests that look at the page or ask the app."""

MODEL = {"tiny_base", "finished_run", "base", "tuned", "demo"}
"""Fixtures that have a model."""

SLOW = re.compile(
    r"^(import (torch|subprocess)|from transformers|from .* import .*\b(launcher|load_run|start_app|train_here|starting)\b)",
    re.M,
)
"""What files import that have a model, or processes of their own."""


THOROUGH = {"test_linear.py", "test_fuzz.py", "test_interleavings.py"}
"""Files that try thousands of inputs."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """For `--quick` the slow files are not even imported: torch alone takes longer than many a test."""
    return (config.getoption("quick") and collection_path.suffix == ".py" and is_slow(collection_path)) or None


@functools.cache
def is_slow(path: Path) -> bool:
    return path.name in THOROUGH or bool(SLOW.search(path.read_text(encoding="utf-8")))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The files that look at the page come first, and then those with models and processes: with `--dist loadfile` short ones
    fill up the end."""
    if config.getoption("quick"):
        slow = [item for item in items if (PAGE | MODEL) & fixtures(item)]
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in slow]
    pages = {item.path for item in items if PAGE & fixtures(item)}
    models = {item.path for item in items if MODEL & fixtures(item) or is_slow(item.path)}
    items.sort(key=lambda item: (item.path not in pages, item.path not in models))


def pytest_collection_finish() -> None:
    """What is imported now stays: whoever looks for garbage after a test, as each training does, need not look there."""
    gc.collect()
    gc.freeze()


def fixtures(item: pytest.Item) -> set[str]:
    return set(getattr(item, "fixturenames", ()))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """A test that changes the finished run fails itself, and not another one after it."""
    run: Path | None = getattr(item, "funcargs", {}).get("finished_run")
    before = run and changed_at(run)
    result = yield
    assert not run or changed_at(run) == before, "The test changed the finished run that all tests share."
    return result


def changed_at(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI a skipped test is a missing piece, so it fails the run."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter and reporter.stats.get("skipped")
    if os.environ.get("CI") and skipped and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
