"""What the Hub has for Jobs: it really runs a job's command, as a process in an empty folder with the job's environment.

Only what `pip install` does is left out, as it would bring gigabytes: the machine's `python` notes what it is asked for. The
project's own command, in the copy that the job has brought, is a fork that has the libraries already (`tests/forks.py`).
"""

import json
import os
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from pipeline.files import PROJECT
from tests import forks
from tests.servers.hub import HubServer
from tests.servers.hub_store import Hub
from tests.servers.local import HttpReply

HARDWARE = {"cpu-basic": 0.01 / 60, "t4-small": 0.4 / 60}
"""Name → dollars a minute."""

PYTHON = """#!{python}
import os, signal, subprocess, sys
words = sys.argv[1:]
if words[:2] == ["-m", "pip"]:
    print(*words[1:], flush=True)
    sys.exit({code})
if not {forked} or words[:2] != ["-m", "pipeline"]:
    os.execv({python!r}, [{python!r}, *words])
sys.path.insert(0, {project!r})
from tests import forks
forks.install()
child = subprocess.Popen([{python!r}, *words])
signal.signal(signal.SIGTERM, lambda *_: child.terminate())
sys.exit(child.wait())
"""


@dataclass
class RunningJob:
    """Attributes:
    sent: what was asked for, as the client sent it.
    folder: the machine's disk.
    """

    id: str
    sent: dict[str, Any]
    folder: Path
    process: subprocess.Popen[bytes]
    cancelled: bool = False
    since: str = field(default_factory=lambda: f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}")

    @property
    def stage(self) -> str:
        code = self.process.poll()
        if code is None:
            return "RUNNING"
        return "CANCELED" if self.cancelled else "ERROR" if code else "COMPLETED"

    @property
    def log(self) -> str:
        return (self.folder.parent / f"{self.id}.log").read_text()

    def info(self, user: str) -> dict[str, Any]:
        return {
            "id": self.id,
            "createdAt": self.since,
            "startedAt": self.since,
            "owner": {"id": "1", "name": user, "type": "user"},
            "command": self.sent["command"],
            "environment": self.sent["environment"],
            "flavor": self.sent["flavor"],
            "labels": self.sent.get("labels", {}),
            "status": {"stage": self.stage, "message": None},
        }

    def end(self) -> None:
        """Take the machine away, with all that runs on it."""
        self.process.kill()
        for process in psutil.process_iter(["environ"]):
            if (process.info["environ"] or {}).get("HOME") == str(self.folder):
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        self.process.wait()


class JobsHub(Hub):
    """A Hub with Jobs.

    Attributes:
        machines: where the machines' disks are.
        jobs: by id, the oldest first.
        pip_fails: whether nothing can be installed.
        silent: whether the answer to the start of a job gets lost.
    """

    def __init__(self, machines: Path) -> None:
        super().__init__()
        self.machines, self.jobs = machines, dict[str, RunningJob]()
        self.pip_fails = self.silent = False
        self._starting = threading.Lock()
        self.extensions.append(self._jobs)

    def __exit__(self, *_: object) -> None:
        for job in self.jobs.values():
            job.end()
        HubServer.__exit__(self, *_)

    def _jobs(self, method: str, path: str, sent: dict[str, Any]) -> tuple[int, Any] | None:
        if path == "/api/jobs/hardware":
            return 200, [_machine(name, price) for name, price in HARDWARE.items()]
        if not path.startswith("/api/jobs/"):
            return None
        user, _, rest = path.removeprefix("/api/jobs/").partition("/")
        if not rest:
            if method == "POST":
                job = self._run(sent)
                return 200, HttpReply(0, b"") if self.silent else job.info(user)
            return 200, [job.info(user) for job in self.jobs.values()]
        job_id, _, what = rest.partition("/")
        job = self.jobs.get(job_id)
        if job is None:
            return 404, {"error": "Not found", "code": "EntryNotFound"}
        if what == "logs":
            lines = "".join(f"data: {json.dumps({'data': line})}\n\n" for line in job.log.splitlines())
            return 200, HttpReply(200, lines.encode(), {"content-type": "text/event-stream"})
        if what == "cancel":
            job.cancelled = True
            job.process.terminate()
        return 200, job.info(user)

    def _run(self, sent: dict[str, Any]) -> RunningJob:
        with self._starting:
            name = f"job{len(self.jobs) + 1}"
            folder, python = self.machines / name, self.machines / f"{name}-bin" / "python"
            folder.mkdir(parents=True)
            python.parent.mkdir()
            told = {"python": sys.executable, "project": str(PROJECT), "forked": forks.enabled}
            python.write_text(PYTHON.format(code=int(self.pip_fails), **told))
            python.chmod(0o755)
            machine = {
                "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",
                "HOME": str(folder),
                "HF_ENDPOINT": self.url,
                "HF_HUB_DISABLE_XET": "1",
            }
            if forks.enabled:
                machine[forks.ADDRESS] = forks.ready()
                machine |= {n: value for n, value in os.environ.items() if n.startswith(("OMP_", "PYTHON"))}
            with (self.machines / f"{name}.log").open("wb") as log:
                process = subprocess.Popen(
                    sent["command"],
                    cwd=folder,
                    env=machine | sent["environment"] | sent.get("secrets", {}),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
            self.jobs[name] = RunningJob(name, sent, folder, process)
            return self.jobs[name]


def _machine(name: str, price: float) -> dict[str, Any]:
    costs = {"unitCostMicroUSD": round(price * 1e6), "unitCostUSD": price, "unitLabel": "minute"}
    return {"name": name, "prettyName": name, "cpu": "2 vCPU", "ram": "16 GB", "accelerator": None, **costs}
