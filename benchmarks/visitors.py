"""A crowd on a Space: `python -m benchmarks.visitors [--visitors 50] [--seconds 300] [--out FOLDER]`.

The real app in a process of its own, as a Space runs it, with a small random model that can be asked and one that trains
meanwhile. Every visitor has an address, a page and a product of its own: it sends what an open page sends at each tick,
follows the plot, and meanwhile asks about its product. An answer is right when it is the one that the same question got
alone (fp32, greedy); one that is another visitor's is a crossed answer. Visitors run in this process, on the same cores
as the app.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks.measure import RESULTS, save, spread
from pipeline.catalogue.catalogue import read_catalogue
from pipeline.dataset.build import build_dataset
from pipeline.dataset.settings import DatasetSettings
from pipeline.files import PROJECT
from pipeline.runs import launcher
from pipeline.runs.events import read_events
from pipeline.runs.manage import create_run
from tabs.server.gate import QUESTIONS_A_MINUTE
from tests.tiny import build_model, row, tiny_settings, write_catalogue

API = "/gradio_api"
TICK_SECONDS = 2
MINUTE = 60
PATIENCE = 300


@dataclass
class Seen:
    """What the crowd has seen; times in seconds."""

    ticks: list[float] = field(default_factory=list)
    answers: list[float] = field(default_factory=list)
    lags: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    crossed: list[str] = field(default_factory=list)
    refused: int = 0


def prepare(home: Path, products: int) -> tuple[Path, dict[str, str]]:
    """A trained run, another that trains until it is stopped, and a question about every product."""
    names = [f"{first} {second}" for first in WORDS for second in WORDS if first != second][:products]
    rows = [
        row(f"V{n}", f"{name} Lamp", f"A lamp for {name}. It is {n + 3} inches wide.") for n, name in enumerate(names)
    ]
    dataset = build_dataset(
        read_catalogue(write_catalogue(home / "catalogue.json", rows)), DatasetSettings(products=products)
    )
    base = build_model(home / "base")
    trained = create_run(dataset, tiny_settings(base, max_steps=20, probes=0))
    launcher.start(trained)
    list(launcher.watch(trained))
    # Large updates, so that a step takes about as long as one of a real model.
    slow = {"max_steps": 10_000, "probes": 0, "per_device_train_batch_size": 32, "gradient_accumulation_steps": 4}
    training = create_run(dataset, tiny_settings(base, **slow, save_steps=10_000))
    launcher.start(training)
    return training, {f"{name} Lamp": f"How wide is the {name} Lamp?" for name in names}


WORDS = ("Ash", "Birch", "Cedar", "Elm", "Fir", "Hazel", "Juniper", "Larch", "Maple", "Oak", "Pine", "Rowan", "Spruce")
"""Two of them name a lamp."""


@contextmanager
def served(home: Path) -> Iterator[tuple[str, psutil.Process]]:
    """The app as a Space runs it, without sign-in: everybody is a visitor."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"SHELFTALK_HOME": str(home), "PORT": str(port), "SPACE_ID": "bench/crowd", "SYSTEM": ""}
    with (home / "app.log").open("wb") as log:
        app = subprocess.Popen([sys.executable, "app.py"], cwd=PROJECT, env=environment, stdout=log, stderr=log)
    try:
        for _ in range(PATIENCE * 4):
            with_page = [c for c in psutil.Process(app.pid).net_connections() if c.status == psutil.CONN_LISTEN]
            if with_page:
                break
            time.sleep(0.25)
        yield f"http://127.0.0.1:{port}", psutil.Process(app.pid)
    finally:
        app.terminate()
        app.wait(PATIENCE)


class Visitor(threading.Thread):
    """One open page."""

    def __init__(self, number: int, url: str, page: dict[str, Any], question: tuple[str, str], crowd: "Crowd") -> None:
        super().__init__(daemon=True)
        self.session, self.crowd, self.page = f"visitor{number:04d}{time.monotonic_ns()}", crowd, page
        self.title, self.question = question
        address = {"x-forwarded-for": f"9.{number // 250}.{number % 250}.1"}
        self.client = httpx.Client(base_url=url, headers=address, timeout=PATIENCE)
        self.step = 0

    def run(self) -> None:
        self.call(self.page["load"])
        asking = threading.Thread(target=self.go_on, args=(self.ask, self.crowd.pause), daemon=True)
        asking.start()
        self.go_on(self.tick, TICK_SECONDS)
        asking.join(PATIENCE)

    def go_on(self, act: Callable[[], None], every: float) -> None:
        """Do something every so many seconds until the end, or as soon as it is done where it takes longer."""
        while (before := time.monotonic()) < self.crowd.until:
            try:
                act()
            except Exception as error:
                self.crowd.seen.errors.append(f"{type(error).__name__}: {error}"[:200])
            time.sleep(max(0.0, min(before + every, self.crowd.until) - time.monotonic()))

    def tick(self) -> None:
        before = time.monotonic()
        self.call(self.page["tick"])
        self.crowd.seen.ticks.append(time.monotonic() - before)

    def call(self, functions: list[tuple[int, list[Any]]]) -> None:
        """Send events as the page does, and read what comes until the last one is over. What is never answered is an error."""
        left = len(functions)
        for number, data in functions:
            body = {"data": data, "fn_index": number, "session_hash": self.session}
            self.client.post(f"{API}/queue/join", json=body).raise_for_status()
        with self.client.stream("GET", f"{API}/queue/data", params={"session_hash": self.session}) as events:
            for line in events.iter_lines():
                if '"unexpected_error"' in line:
                    raise RuntimeError(line)
                if '"process_completed"' in line:
                    self.told(json.loads(line.removeprefix("data: ")))
                    left -= 1
                if not left:
                    return
        raise RuntimeError(f"{left} events were not answered")

    def told(self, message: dict[str, Any]) -> None:
        if not message["success"]:
            self.crowd.seen.errors.append(str(message["output"])[:200])
        for value in message["output"].get("data") or []:
            plot = value.get("value") if isinstance(value, dict) else None
            if isinstance(plot, dict) and plot.get("type") == "plotly":
                self.see(json.loads(plot["plot"]))

    def see(self, figure: dict[str, Any]) -> None:
        """Note how old each step was when its point came."""
        now, steps = time.time(), next((t["x"] for t in figure["data"] if isinstance(t.get("x"), list) and t["x"]), [])
        last, times = max(steps, default=0), self.crowd.step_times(int(max(steps, default=0)))
        if self.step:
            self.crowd.seen.lags += [now - times[n] for n in range(self.step + 1, int(last) + 1) if n in times]
        self.step = max(self.step, int(last))

    def ask(self) -> None:
        before = time.monotonic()
        said = answer(self.client, self.question)
        if said == self.crowd.alone[self.question]:
            self.crowd.seen.answers.append(time.monotonic() - before)
        elif "Limit: 10 a minute" in said:
            self.crowd.seen.refused += 1
        elif said in self.crowd.alone.values() or f'"{self.title}"' not in said:
            (self.crowd.seen.crossed if '"raw"' in said else self.crowd.seen.errors).append(said[:200])
        else:
            self.crowd.seen.crossed.append(f"other than alone: {said[:200]}")


class Crowd:
    """What all visitors share."""

    def __init__(self, training: Path, alone: dict[str, str], seconds: float, pause: float) -> None:
        self.training, self.alone, self.pause = training, alone, pause
        self.until, self.seen = time.monotonic() + seconds, Seen()
        self._times: dict[int, float] = {}
        self._position, self._lock = 0, threading.Lock()

    def step_times(self, up_to: int) -> dict[int, float]:
        """When each step was written, as its event says."""
        with self._lock:
            if up_to not in self._times:
                new, self._position = read_events(self.training, self._position)
                stamps = {e["step"]: datetime.fromisoformat(e["time"]).timestamp() for e in new if e["type"] == "step"}
                self._times |= stamps
            return self._times


def answer(client: httpx.Client, question: str) -> str:
    """What the API says to a question, as it says it."""
    joined = client.post(f"{API}/call/ask", json={"data": [question, "", ""]})
    if joined.status_code != 200:
        return joined.text
    told = client.get(f"{API}/call/ask/{joined.json()['event_id']}").text
    return told.split("event: complete\ndata: ")[-1].strip()


def page_of(url: str) -> dict[str, list[tuple[int, list[Any]]]]:
    """What a page sends when it is opened and at each tick, with the values that its widgets have at first."""
    config = httpx.get(f"{url}/config", timeout=PATIENCE).json()
    widgets = {c["id"]: c for c in config["components"]}
    # Timers that go by themselves.
    ticking = {number for number, c in widgets.items() if c["type"] == "timer" and c["props"].get("active", True)}

    def value(widget: int) -> Any:
        return None if widgets[widget]["type"] == "state" else widgets[widget]["props"].get("value")

    def sent(event: str) -> list[tuple[int, list[Any]]]:
        found = [
            d for d in config["dependencies"] if d["backend_fn"] and any(name == event for _, name in d["targets"])
        ]
        goes = [d for d in found if event != "tick" or ticking & {t for t, _ in d["targets"]}]
        waits = {"look"}  # a catalogue that is being read, of which there is none here
        return [(d["id"], [value(i) for i in d["inputs"]]) for d in goes if d["api_name"] not in waits]

    return {"load": sent("load"), "tick": sent("tick")}


def measure(home: Path, visitors: int, seconds: float, pause: float) -> dict[str, Any]:
    training, questions = prepare(home, visitors)
    try:
        with served(home) as (url, app):
            client = httpx.Client(base_url=url, timeout=PATIENCE)
            alone = {}
            for number, question in enumerate(questions.values()):
                client.headers["x-forwarded-for"] = f"8.8.{number // QUESTIONS_A_MINUTE}.8"
                alone[question] = answer(client, question)
            page, crowd = page_of(url), Crowd(training, alone, seconds, pause)
            crowd_of = [Visitor(n, url, page, q, crowd) for n, q in enumerate(questions.items())]
            before, resident = app.memory_info().rss, list[int]()
            for visitor in crowd_of:
                visitor.start()
            while time.monotonic() < crowd.until:
                time.sleep(min(MINUTE, max(0.0, crowd.until - time.monotonic())))
                resident.append(app.memory_info().rss)
            settled = resident[len(resident) // 3 :]
            for visitor in crowd_of:
                visitor.join(PATIENCE)
            seen, cpu = crowd.seen, app.cpu_times()
            return {
                "visitors": visitors, "seconds": seconds, "pause": pause, "errors": len(seen.errors),
                "first_errors": seen.errors[:5], "crossed": len(seen.crossed), "first_crossed": seen.crossed[:3],
                "refused_by_rate": seen.refused, "different_answers": len(set(alone.values())),
                "answers_seconds": spread(seen.answers or [-1.0]), "plot_lag_seconds": spread(seen.lags or [-1.0]),
                "tick_seconds": spread(seen.ticks or [-1.0]), "steps": len(crowd.step_times(10**9)),
                "resident_mb_before": round(before / 1e6), "resident_mb_by_minute": [round(n / 1e6) for n in resident],
                "resident_spread_of_the_last_two_thirds": round(max(settled) / min(settled) - 1, 4),
                "app_cpu_seconds": round(cpu.user + cpu.system),
                "visitors_cpu_seconds": round(sum(psutil.Process().cpu_times()[:2])),
                "load_average": os.getloadavg(),
            }  # fmt: skip
    finally:
        launcher.stop(training)
        list(launcher.watch(training))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--visitors", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--pause", type=float, default=15, help="seconds from a visitor's question to the next")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SHELFTALK_HOME"] = folder
        found = measure(Path(folder), options.visitors, options.seconds, options.pause)
    save("visitors", found, options.out)


if __name__ == "__main__":
    main()
