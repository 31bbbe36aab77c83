"""A run that is served by a process of its own, as the command serves it."""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import openai
import pytest

from pipeline.files import PROJECT
from pipeline.serving.desk import Desk
from pipeline.serving.process import Server, address_of, listening
from pipeline.serving.server import Api, Settings

PATIENCE = 240
"""Seconds that something may take before a test gives up on it: the machine may be busy."""


@dataclass
class Served:
    """A server: the API's address, its run and its home."""

    url: str
    run: Path
    home: Path
    process: "subprocess.Popen[str]"

    @property
    def origin(self) -> str:
        return self.url.removesuffix("/v1")

    def client(self, key: str = "none") -> openai.OpenAI:
        return openai.OpenAI(base_url=self.url, api_key=key, max_retries=0, timeout=PATIENCE)


@contextmanager
def serving(run: Path, *words: str) -> Iterator[Served]:
    """`python -m pipeline serve RUN …` on a free port; what still runs when the block ends is killed."""
    home = run.parent.parent
    command = [sys.executable, "-m", "pipeline", "serve", run.name, "--port", "0", *words]
    with (home / "serve.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=PROJECT,
            env=os.environ | {"SHELFTALK_HOME": str(home), "SPACE_ID": ""},
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    assert process.stdout
    url = process.stdout.readline().strip()
    try:
        assert url, (home / "serve.log").read_text()
        yield Served(url, run, home, process)
    finally:
        process.kill()
        process.wait(PATIENCE)
        process.stdout.close()


@contextmanager
def serving_here(desk: Desk) -> Iterator[tuple[Api, openai.OpenAI]]:
    """A real server of this process, on a free port, with a client."""
    api, settings = Api(desk, Settings(port=0)), Settings(port=0)
    with listening(settings) as found:
        found.listen()
        client = openai.OpenAI(base_url=address_of(found), api_key="none", max_retries=0, timeout=PATIENCE)
        thread = threading.Thread(target=Server(api).run, kwargs={"sockets": [found]})
        thread.start()
        try:
            yield api, client
        finally:
            client.close()
            api.close()
            thread.join(PATIENCE)


def copied_run(finished_run: Path, home: Path) -> Path:
    """A copy of the finished run with all of its home, so that a test may change it."""
    shutil.copytree(finished_run.parent.parent, home)
    return home / "runs" / finished_run.name


@pytest.fixture(scope="module")
def served(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The tiny run, served by `auto`; `base` is asked beside it."""
    with serving(copied_run(finished_run, tmp_path_factory.mktemp("served") / "home")) as started:
        yield started
