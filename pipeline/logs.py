"""What the app tells its operator: short lines on a person's machine, JSON lines on a Space; no secret in either.

A record of importance carries its run (`extra={"run": …}`) and figures, which become fields of the JSON line. Everything
that a library logs, warns of or prints goes the same way, on a Space even what it prints as plain text.
"""

import io
import json
import logging
import os
import re
import sys
import threading
from datetime import UTC, datetime
from functools import partial
from types import TracebackType
from typing import Any

from pipeline.machine import on_space

_TOKEN = re.compile(r"\b(?:hf_|sk-|gh[pousr]_)[\w-]{8,}|(?<=Bearer )[\w.~+/=-]{8,}")
_SECRET_NAME = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD)$", re.IGNORECASE)
_SHORTEST = 6
"""Characters: a shorter value of such a variable is a word like `true`, and masking it would garble the log."""

MASK = "[secret]"
_OWN = {*vars(logging.makeLogRecord({})), "message", "asctime", "color_message"}
"""What every record has; whatever else is there was given to it."""


def mask(text: str) -> str:
    """A text without tokens, and without the values of environment variables that are named as secrets are."""
    for name, value in os.environ.items():
        if len(value) >= _SHORTEST and _SECRET_NAME.search(name):
            text = text.replace(value, MASK)
    return _TOKEN.sub(MASK, text)


class MaskedRecord(logging.LogRecord):
    """A record whose message and exception hold no secret, whichever handler writes it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.exc_info:
            self.exc_text = mask(logging.Formatter().formatException(self.exc_info))

    def getMessage(self) -> str:
        return mask(super().getMessage())


class JsonLine(logging.Formatter):
    """One JSON object a record: `time`, `level`, `logger`, `message`, what was given as `extra`, and `exception`."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **{name: value for name, value in vars(record).items() if name not in _OWN},
        }
        if record.exc_info:
            line["exception"] = record.exc_text or self.formatException(record.exc_info)
        return mask(json.dumps(line, ensure_ascii=False, default=str))


class LoggedText(io.TextIOBase):
    """A stream that logs what is printed to it, a line a record."""

    encoding = "utf-8"

    def __init__(self, name: str) -> None:
        self._logger, self._unfinished = logging.getLogger(name), threading.local()

    def write(self, text: str) -> int:
        *lines, self._unfinished.text = (getattr(self._unfinished, "text", "") + text).split("\n")
        # A bar that draws itself anew for hours has no line's end: only its last two states can matter.
        self._unfinished.text = "\r".join(self._unfinished.text.split("\r")[-2:])
        for line in lines:
            if said := line.rpartition("\r")[2].rstrip():  # of a bar that draws itself anew, what it ends as
                self._logger.info("%s", said)
        return len(text)


def set_up() -> None:
    """Log to stderr from here on, with everything that libraries log; to be called once, as the app starts."""
    logging.setLogRecordFactory(MaskedRecord)
    logging.captureWarnings(True)
    logging.raiseExceptions = not on_space()  # a log that cannot be written is not told to that log
    handler = logging.StreamHandler(sys.__stderr__)
    handler.setFormatter(
        JsonLine() if on_space() else logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S")
    )
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it tells every request
    if on_space():
        _take_over_uvicorn()
        sys.stdout, sys.stderr = LoggedText("stdout"), LoggedText("stderr")
    sys.excepthook = partial(_log_uncaught, "The app ended")
    threading.excepthook = lambda args: _log_uncaught(
        f"Thread {args.thread.name if args.thread else '?'} ended", args.exc_type, args.exc_value, args.exc_traceback
    )


def _take_over_uvicorn() -> None:
    """Let the server's messages go the way of all others: it would set up handlers of its own as it starts."""
    from uvicorn.config import LOGGING_CONFIG

    LOGGING_CONFIG["handlers"].clear()
    LOGGING_CONFIG["loggers"].clear()


def _log_uncaught(
    what: str, kind: type[BaseException], error: BaseException | None, traceback: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt | SystemExit):
        return
    logging.getLogger("app").critical("%s: %s", what, kind.__name__, exc_info=(kind, error or kind(), traceback))
