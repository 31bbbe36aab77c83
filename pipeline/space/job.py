"""A job on Hugging Face Jobs: how its machine comes to the app's code, and what it does there with a run of the store.

It starts the very same child as the app does, and keeps the run with the same writer, oftener.
"""

import logging
import signal
import time
from functools import partial
from importlib.metadata import version

from pipeline.errors import HubError
from pipeline.files import PROJECT
from pipeline.publishing.hub import as_sentences
from pipeline.runs import launcher
from pipeline.runs.events import ENDINGS
from pipeline.runs.manage import check_name
from pipeline.runs.status import is_alive, last_lifecycle, status
from pipeline.space.committing import Writer, on_the_newest
from pipeline.space.files import differences, files_for_space
from pipeline.space.kept import Records
from pipeline.space.restoring import restore_run
from pipeline.space.settings import read_space
from pipeline.space.store import Store, store_name

logger = logging.getLogger(__name__)

IMAGE = "python:3.11"
"""Not the slim one: it lacks the compiler that the GPU's kernels are built with."""

KEEP_SECONDS = 40.0
"""Between two commits of a run that trains in a job; the Hub takes about two commits a minute."""

FAREWELL_TRIES = 8
"""To keep a run that has ended, with pauses of 1, 2, 4 … seconds between them."""

CODE = "code"
"""The folder of the store with the app's code, where no Space has it."""

SCRIPT = """
python -m pip install --quiet "huggingface_hub==$1"
python -c 'import sys, huggingface_hub as hub
hub.snapshot_download(sys.argv[1], repo_type=sys.argv[2], allow_patterns=sys.argv[3], local_dir="app")' "$2" "$3" "$4"
cd "app/$5"
python -m pip install --quiet -r requirements.txt
exec python -m pipeline train-kept "$6" --every "$7"
"""
"""What the machine does, in bash. What differs from job to job comes as words of their own, so no name is ever code."""


def command_for(name: str, code: tuple[str, str, str], seconds: float) -> list[str]:
    """The command of a job.

    Args:
        name: the run's, in the store.
        code: the repository that has the app's code, its kind, and the folder in it.
        seconds: between two commits.
    """
    repo, kind, folder = code
    what = f"{folder}/**" if folder else "**"
    words = [version("huggingface_hub"), repo, kind, what, folder or ".", name, f"{seconds:g}"]
    return ["bash", "-ec", SCRIPT, "job", *words]


def send_code(store: Store) -> None:
    """Put the app's code into the store, as far as it has other code.

    Raises:
        Exception: the project's files cannot be listed, or the Hub.
    """
    on_the_newest(partial(_send_code, store))


def _send_code(store: Store) -> None:
    files = {f"{CODE}/{name}": data for name, data in files_for_space(PROJECT, read_space()).items()}
    head = store.head()
    there = store.files(head, CODE)
    sent, _ = differences(files, there)
    gone = [file.path for file in there if file.path not in files]
    if sent or gone:
        store.commit(head, "Keep the code that trains", {name: files[name] for name in sent}, gone)


def train_kept(name: str, seconds: float = KEEP_SECONDS) -> bool:
    """Bring a run from the store, train it, and keep it there meanwhile and at the end.

    Args:
        seconds: between two commits.

    Returns:
        Whether it came to an end of its own: finished, or stopped by whoever ended the machine.

    Raises:
        PipelineError: it cannot be brought or kept, or it cannot train.
    """
    check_name(name)
    repo = store_name()
    if not repo:
        raise HubError("There is no store to take a run from; name it in SHELFTALK_STORE.")
    with as_sentences(repo):
        store, records = Store(repo), Records(repo)
        folder = restore_run(store, records, name)
    launcher.start(folder)
    signal.signal(signal.SIGTERM, lambda *_: launcher.stop(folder))  # a job that is cancelled may have seconds left
    writer = Writer(store, records)
    kept = 0.0
    while is_alive(folder):
        if time.monotonic() - kept > seconds or not kept:
            _try_to_keep(writer)
            kept = time.monotonic()
        time.sleep(0.5)
    until = time.monotonic() + 30
    while last_lifecycle(folder).get("type") not in ENDINGS and time.monotonic() < until:
        time.sleep(0.1)  # the end of a child that was killed is written down by whoever waits for it
    for attempt in range(FAREWELL_TRIES):
        if _try_to_keep(writer, hurry=True):
            break
        time.sleep(2**attempt)
    else:
        raise HubError(f"Run {name} ended, and the store could not be reached any more.")
    ended = status(folder)
    logger.info("Run %s %s. %s", name, ended.state, ended.message)
    return ended.state in ("finished", "stopped")


def _try_to_keep(writer: Writer, *, hurry: bool = False) -> bool:
    """Keep what there is; whether that went well. The next round may do better."""
    try:
        writer.keep(hurry=hurry)
    except Exception as error:
        logger.warning("Not kept yet (%s)", type(error).__name__)
        return False
    return True
