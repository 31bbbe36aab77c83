"""Waiting for a Space to run, and what to say when it does not."""

import re
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from pipeline.errors import HubError
from pipeline.publishing.hub import http_status

if TYPE_CHECKING:
    from huggingface_hub import HfApi, SpaceRuntime

FREE = ("cpu-basic", "zero-a10g")
"""Hardware that costs nothing, whose sleep time cannot be set."""

ASLEEP = ("PAUSED", "STOPPED", "SLEEPING")

WORDS = {
    "NO_APP_FILE": "The Hub looks at the files",
    "BUILDING": "The image is being built",
    "RUNNING_BUILDING": "The image is being built; the version before runs meanwhile",
    "APP_STARTING": "The app is starting",
    "RUNNING_APP_STARTING": "The app is starting; the version before runs meanwhile",
}

FAILED = {
    "BUILD_ERROR": "The image could not be built; its last lines stand above. Correct what they say, then deploy again.",
    "RUNTIME_ERROR": "The app ended; its last lines stand above. Correct what they say, then deploy again.",
    "CONFIG_ERROR": "The Hub refused the Space's settings; correct space.yaml, then deploy again.",
    "NO_APP_FILE": "The Hub finds no app in the Space; deploy again.",
    "DELETING": "The Space is being deleted; choose another name.",
}

LOG_LINES = 20

SETTLE_SECONDS = 30
"""After a commit or a setting the Hub may say for some seconds more what was before."""

TRIES = 5

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[^\x20-\x7e\xa0-\U0010ffff]")


def hardware_of(runtime: "SpaceRuntime | None") -> str:
    """The hardware that a Space has or will have; what nobody asked for is the free one."""
    return str((runtime and (runtime.requested_hardware or runtime.hardware)) or FREE[0])


def never_sleeps(runtime: "SpaceRuntime") -> bool:
    return runtime.sleep_time is None or runtime.sleep_time < 0


def wait_until_running(
    api: "HfApi",
    space: str,
    commit: str | None,
    say: Callable[[str], None],
    *,
    changed: bool,
    hidden: Sequence[str] = (),
    pause: float = 3.0,
) -> None:
    """Wait, however long it takes, until the Space runs what was deployed, and tell each stage that it comes to.

    Args:
        commit: the commit that shall run, if one was sent.
        changed: whether there was a change that the Space has to take up.
        hidden: what no line of its log may show.
        pause: seconds between two looks.

    Raises:
        HubError: it cannot run; the last lines of its log have been told.
    """
    told, begun = "", time.monotonic()
    moved = not changed  # whether what the Hub says is about the new state
    while True:
        runtime = _look(api, space, pause)
        stage = str(getattr(runtime.stage, "value", runtime.stage))
        taken_up = runtime.raw.get("sha") == commit if commit else False
        begins = stage in WORDS and stage != "NO_APP_FILE"
        moved = moved or taken_up or begins or time.monotonic() - begun > SETTLE_SECONDS
        if stage == "RUNNING" and moved and _is_as_asked(runtime, commit):
            return
        if moved and stage != "RUNNING" and (stage in FAILED or stage not in WORDS):
            _tell_log(api, space, runtime, say, hidden)
            raise HubError(FAILED.get(stage, f"The Space is {stage.lower()}; look at its page on the Hub."))
        minutes = int((time.monotonic() - begun) / 60)
        words = WORDS.get(stage, "Waiting for the Hub") + (f" ({minutes} min)" if minutes else "")
        if words != told:
            told = words
            say(f"{words} …")
        time.sleep(pause)


def _look(api: "HfApi", space: str, pause: float) -> "SpaceRuntime":
    """What the Hub says of a Space; in a wait of many minutes it may be out of reach for a moment."""
    for left in reversed(range(TRIES)):
        try:
            return api.get_space_runtime(space)
        except Exception as error:
            if not left or (http_status(error) or 500) < 500:
                raise
            time.sleep(pause)
    raise AssertionError


def _is_as_asked(runtime: "SpaceRuntime", commit: str | None) -> bool:
    """Whether what runs is the new commit on the new hardware, as far as the Hub says so."""
    return runtime.raw.get("sha") in (None, commit or runtime.raw.get("sha")) and (
        runtime.hardware is None or runtime.requested_hardware in (None, runtime.hardware)
    )


def _tell_log(
    api: "HfApi", space: str, runtime: "SpaceRuntime", say: Callable[[str], None], hidden: Sequence[str]
) -> None:
    """The last lines of a Space's log. They are a program's: nothing in them moves the terminal or shows a secret."""
    lines = [str(runtime.raw.get("errorMessage") or "")]
    with suppress(Exception):  # a log that cannot be read changes nothing about the sentence that follows
        read = api.fetch_space_logs(space, build=runtime.stage == "BUILD_ERROR")
        lines += [line for text in read for line in text.splitlines()]
    for line in [line for line in lines if line.strip()][-LOG_LINES:]:
        for secret in filter(None, hidden):
            line = line.replace(secret, "…")
        say("  " + _ESCAPES.sub("", line)[:500])
