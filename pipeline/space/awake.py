"""A run outlives a closed laptop: while one trains or waits for its turn, the Space that it is on does not fall asleep.

A Space sleeps some time after the last visit. That time is lifted when a run begins and set again after it, and what it
was is on the disk before it is lifted, so that it is set again after a crash too.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from pipeline.errors import HubError, disk_problem
from pipeline.files import home, read_json, write_json
from pipeline.runs.queue import queued_runs
from pipeline.runs.status import running_run
from pipeline.space.settings import read_space
from pipeline.space.waiting import FREE, hardware_of, never_sleeps

if TYPE_CHECKING:
    from huggingface_hub import HfApi

logger = logging.getLogger(__name__)

REMEMBERED = "sleep_time.json"
"""In the home: the Space, and the sleep time in seconds that it had before it was lifted."""

NEVER = -1

LOOK_SECONDS = 5.0

GRACE_SECONDS = 600.0
"""Between a run's end and the Space's sleep: the last visit may be long ago, and what the run made may be on its way to
where it is kept."""

RETRY_SECONDS = 60.0

_warned = ""


def warning() -> str:
    """What to say beside a run on a Space that may fall asleep while it trains; nothing where all is well."""
    return _warned


def attend(seconds: float = LOOK_SECONDS, grace: float = GRACE_SECONDS) -> threading.Thread | None:
    """Keep this Space awake while runs are on, for as long as this process lives, in a thread of its own.

    Args:
        seconds: between two looks at the runs.
        grace: seconds between the last run's end and the sleep time being set again.

    Returns:
        The thread; none where this is no Space.
    """
    space = os.environ.get("SPACE_ID")
    if not space:
        return None

    def work() -> None:
        attendant = Attendant(space, grace)
        while True:
            try:
                attendant.attend()
            except Exception:  # a full disk, for one, must not end this for good
                logger.exception("The Space's sleep time could not be looked after")
            time.sleep(seconds)

    thread = threading.Thread(target=work, name="awake", daemon=True)
    thread.start()
    return thread


class Attendant:
    """Looks at the runs again and again, and asks the Hub only when one begins or the last has ended."""

    def __init__(self, space: str, grace: float = GRACE_SECONDS) -> None:
        self._space, self._grace = space, grace
        self._lifted = self._restored = False
        self._ended: float | None = None
        self._retry = 0.0
        self._first = True
        self._told = ""

    def attend(self) -> None:
        """See whether a run is on, and do what is due."""
        busy = running_run() is not None or bool(queued_runs())
        now = time.monotonic()
        if busy:
            self._restored, self._ended = False, None
        elif self._ended is None:
            self._lifted, self._ended = False, now if self._lifted else now - self._grace
            warn("")
        if now < self._retry:
            return
        if busy and not self._lifted:
            self._lifted = self._tried(self._lift, warn)
        elif self._ended is not None and not self._restored and now - self._ended >= self._grace:
            self._restored = self._tried(self._restore, self._tell)

    def _tried(self, change: Callable[["HfApi"], None], tell: Callable[[str], None]) -> bool:
        """Make a change; what is in its way is told, and it is tried again later."""
        try:
            change(_api())
        except Exception as error:
            self._retry = time.monotonic() + RETRY_SECONDS
            tell(_why(error))
            return False
        tell("")
        return True

    def _tell(self, why: str) -> None:
        if why and why != self._told:
            logger.warning(
                "The Space never sleeps, since %s; set its sleep time in its settings on the Hub, or wait.", why
            )
        self._told = why

    def _lift(self, api: "HfApi") -> None:
        runtime = api.get_space_runtime(self._space)
        if hardware_of(runtime) in FREE or never_sleeps(runtime):
            return
        write_json(home() / REMEMBERED, {"space": self._space, "sleep_time": runtime.sleep_time})
        api.set_space_sleep_time(self._space, NEVER)
        logger.info("The Space stays awake while a run is on")

    def _restore(self, api: "HfApi") -> None:
        """Set the sleep time again that was lifted, unless somebody has set another since.

        A Space's disk may be gone after a crash, and what was on it. Then one that never sleeps gets the time that
        `space.yaml` says, which is the one source of its settings, so that nobody pays for a GPU that idles.
        """
        before = self._remembered()
        if before is None and self._first and os.environ.get("HF_TOKEN"):
            before = read_space().sleep_time
        if before is not None and before != NEVER:
            runtime = api.get_space_runtime(self._space)
            if hardware_of(runtime) not in FREE and never_sleeps(runtime):
                api.set_space_sleep_time(self._space, before)
                logger.info("The Space sleeps again after %d minutes without a visitor", before / 60)
        (home() / REMEMBERED).unlink(missing_ok=True)
        self._first = False

    def _remembered(self) -> int | None:
        """The sleep time that this Space had; what another Space left on a disk says nothing about this one."""
        with suppress(OSError, ValueError, LookupError, TypeError):
            record = read_json(home() / REMEMBERED)
            if record["space"] == self._space and int(record["sleep_time"]) > 0:
                return int(record["sleep_time"])
        return None


def warn(why: str) -> None:
    """Tell why the Space may fall asleep, once, and have it shown beside the run; nothing to say that it will not."""
    global _warned
    text = why and (
        f"This Space may fall asleep while it trains, since {why}; keep this page open, "
        "or give the Space a secret HF_TOKEN with write access."
    )
    if text and text != _warned:
        logger.warning(text)
    _warned = text


def _api() -> "HfApi":
    """The Hub's client; without a token it can at least look at a public Space."""
    from huggingface_hub import HfApi

    from pipeline.publishing.hub import hub_api

    endpoint = os.environ.get("HF_ENDPOINT") or None
    return hub_api() if os.environ.get("HF_TOKEN") else HfApi(endpoint=endpoint, token=False)


def _why(error: Exception) -> str:
    """Why the sleep time stays as it is. What a server says is not repeated."""
    from pipeline.publishing.hub import http_status

    if not os.environ.get("HF_TOKEN"):
        return "it has no HF_TOKEN to change its sleep time with"
    if isinstance(error, HubError) or http_status(error) in (401, 403, 404):
        return "its HF_TOKEN may not change its sleep time"
    if disk_problem(error):
        return "its disk cannot be written, and so its sleep time not be remembered"
    return "the Hub cannot be asked now to change its sleep time"
