"""`GET /health`: whether the app is up, what it is doing, and whether the disk has room; for whoever watches a Space.

It is answered to everybody, so it says nothing that is anybody's, and without a model, a browser or torch.
"""

import time
from typing import Any

from starlette.responses import JSONResponse
from starlette.routing import Route

from pipeline.files import home
from pipeline.machine import NEARLY_FULL, VERSION, free_disk
from pipeline.runs.status import running_run
from pipeline.writing import generation
from tabs.ui.activity import is_busy

_begun = time.monotonic()


def health() -> dict[str, Any]:
    """`status` (`ok`, or `disk nearly full`), `version`, `uptime_seconds`, `state` (`idle`, or what is done), `run`
    (the one that trains, or null) and `disk_nearly_full`.
    """
    full = free_disk(home()) < NEARLY_FULL
    running = running_run()
    return {
        "status": "disk nearly full" if full else "ok",
        "version": VERSION,
        "uptime_seconds": round(time.monotonic() - _begun),
        "state": "training" if running else _state(),
        "run": running.name if running else None,
        "disk_nearly_full": full,
    }


def _state() -> str:
    if is_busy():
        return "answering"
    return "generating" if generation.look().state in (generation.PILOT, generation.RUNNING) else "idle"


def routes() -> list[Route]:
    """For the server, before its own: those of the page take every path."""
    return [Route("/health", lambda _: JSONResponse(health(), headers={"cache-control": "no-store"}))]
