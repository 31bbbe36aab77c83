"""What the app tells its operator: lines that parse, with runs and figures, and without secrets."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.files import PROJECT
from pipeline.logs import MASK, LoggedText, mask

VARIABLE = "topsecret-of-a-variable"
TOKENS = ["hf_abcdEFGH12345678", "sk-proj-abcdEFGH12345678", "ghp_abcdEFGH12345678"]
SECRETS = [VARIABLE, *TOKENS]

SCRIPT = """
import logging, sys, threading, traceback, warnings
from pipeline import logs
logs.set_up()
import uvicorn
uvicorn.Config(app=None, log_level="warning")
secrets = " ".join(sys.argv[1:])

def fail():
    raise RuntimeError("refused: " + secrets)

try:
    fail()
except RuntimeError as error:
    logging.getLogger("mine").error("It failed: %s", error, exc_info=error, extra={"run": "r1", "seconds": 1.5, "key": secrets})
    logging.getLogger("uvicorn.error").error("Exception in the server", exc_info=error)
    logging.getLogger("httpx").warning("GET https://x.test/?token=%s", secrets)
    traceback.print_exc()
warnings.warn(secrets)
print("printed", secrets)
thread = threading.Thread(target=fail, name="worker")
thread.start()
thread.join()
print("half a line and an end", secrets, end="", file=sys.stderr)
print()
fail()
"""


def logged(**variables: str) -> str:
    """Everything that the script writes, as a process of its own."""
    environment = os.environ | {"SHOP_API_TOKEN": VARIABLE, "SPACE_ID": "", **variables}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *SECRETS], cwd=PROJECT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 1
    return done.stderr + done.stdout


def parsed(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_on_a_space_every_line_parses_and_none_has_a_secret() -> None:
    text = logged(SPACE_ID="someone/space")
    lines = parsed(text)
    assert not [secret for secret in SECRETS if secret in text]
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in lines)
    mine = next(line for line in lines if line["logger"] == "mine")
    assert (mine["level"], mine["run"], mine["seconds"]) == ("ERROR", "r1", 1.5)
    assert mine["exception"].startswith("Traceback") and MASK in mine["exception"] and MASK in mine["message"]
    assert {"uvicorn.error", "httpx", "py.warnings", "stdout", "stderr", "app"} <= {line["logger"] for line in lines}
    assert [line["message"] for line in lines if line["logger"] == "app"] == [
        "Thread worker ended: RuntimeError",
        "The app ended: RuntimeError",
    ]


def test_on_a_person_s_machine_lines_are_short_and_hold_no_secret_either() -> None:
    text = logged()
    logged_lines = [line for line in text.splitlines() if "It failed" in line]
    assert len(logged_lines) == 1 and " ERROR It failed: refused: [secret]" in logged_lines[0]
    told = "\n".join(line for line in text.splitlines() if "printed" not in line and "half a line" not in line)
    shown_by_python = told.count("RuntimeError: refused: topsecret")
    assert shown_by_python == 1, "Only what the script itself prints, past the log, may hold what it prints."


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_is_masked_wherever_it_stands(secret: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_API_TOKEN", VARIABLE)
    for text in (
        secret,
        f"x{secret}" if secret == VARIABLE else f"({secret})",
        f"Bearer {secret}\n",
        f"a={secret}&b=1",
    ):
        assert secret not in mask(text) and MASK in mask(text)


def test_ordinary_words_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USES_TOKEN", "true")
    monkeypatch.setenv("EMPTY_SECRET", "")
    text = "It is true: run task-2, hf_hub, the key and the token of a risk-free sk-8 board."
    assert mask(text) == text


def test_the_child_that_trains_and_the_page_s_tests_have_their_own_logs() -> None:
    """Setting logs up is the app's; importing the module changes nothing."""
    script = "import logging, pipeline.logs; print(logging.getLogRecordFactory() is logging.LogRecord, logging.root.handlers)"
    done = subprocess.run([sys.executable, "-c", script], cwd=Path(PROJECT), capture_output=True, text=True)
    assert done.stdout.strip() == "True []"


def test_a_bar_that_draws_itself_anew_is_a_line_at_its_end_and_does_not_grow(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    stream = LoggedText("bars")
    for number in range(10_000):
        stream.write(f"\r{number:6} of 10000 [{'#' * 40}]")
    assert len(stream._unfinished.text) < 200
    stream.write("\nnext\n")
    assert [record.getMessage().split(" [")[0].strip() for record in caplog.records] == ["9999 of 10000", "next"]
