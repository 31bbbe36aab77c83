"""Runs that train elsewhere, looked at in the thread that keeps this home, whose records these are: their newest files come back
from the store into their folders, and the end of each job is noted.
"""

import logging
import os
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from pipeline.files import write_text
from pipeline.publishing.hub import hub_api
from pipeline.runs.events import ENDINGS, append_event, read_events
from pipeline.runs.folder import JOB, list_runs
from pipeline.runs.status import is_elsewhere
from pipeline.space.committing import Writer
from pipeline.space.elsewhere import Job, ask_job, read_job, write_job
from pipeline.space.kept import RUNS, Listing, Record, Thing, is_here, part_of
from pipeline.space.restoring import place_part
from pipeline.space.store import FOREIGN, staging

logger = logging.getLogger(__name__)

WATCH_SECONDS = 15.0
"""Between two looks at a job."""

LATE_SECONDS = 600
"""So long after it was asked for, a job that the Hub does not know never was."""

JOB_LOG = "job.log"
"""In the run folder: the end of what the job's machine said while there was no training yet, or when it failed."""

LOG_LINES = 40

_ENDED = {"COMPLETED", "CANCELED", "ERROR", "DELETED"}


def is_on() -> bool:
    """Whether a run is elsewhere."""
    return any(map(is_elsewhere, list_runs()))


def watch(writer: Writer) -> None:
    """Look at every job once: bring its run's newest files back, and note its end.

    Raises:
        Exception: the Hub, the network or the disk; the others have been looked at.
    """
    failed: Exception | None = None
    for folder in filter(is_elsewhere, list_runs()):
        try:
            _watch(writer, folder)
        except Exception as error:
            failed = error
    if failed:
        raise failed


def _watch(writer: Writer, folder: Path) -> None:
    job = read_job(folder)
    record = writer.records.get(Thing(RUNS, folder.name).key)
    if job is None or (record and not record.whole):  # a damaged file, or a run that is on its way back itself
        return
    now = ask_job(job)
    if now is None and time.time() - job.asked < LATE_SECONDS:
        return
    now = now or replace(job, stage="DELETED")
    over = now.stage in _ENDED
    _bring(writer, folder, now, over)
    events, _ = read_events(folder, now.told)
    if now.stage == "RUNNING" and not events:
        _read_log(folder, now)
    if over:
        # A training that is told to end before it has quite begun dies of it: that is no failure of its own.
        own = {"finished", "stopped"} if now.stage == "CANCELED" else ENDINGS
        if not any(event["type"] in own for event in events):
            _write_end(folder, now)
        now = replace(now, ended=time.time())
        logger.info("The job of run %s is over: %s", folder.name, now.stage, extra={"run": folder.name})
    if now != job:
        write_job(folder, now)


def _bring(writer: Writer, folder: Path, job: Job, over: bool) -> None:
    """Bring back what the job has kept since the last look; the adapter and a checkpoint when it is over."""
    store, thing = writer.store, Thing(RUNS, folder.name)
    name = job.kept or folder.name
    head = store.head()
    listing = store.listing(head, thing.there(name), RUNS)
    record = writer.records.get(thing.key) or Record(name)
    if listing is None or listing is FOREIGN or listing.deleted or (listing == record.seen and not over):
        return
    wanted = [
        n for n, f in listing.files.items() if n != JOB and (over or not part_of(n)) and not is_here(folder / n, f)
    ]
    parts = {part_of(n) for n in wanted} - {""}
    names = [n for n in listing.files if n in wanted or part_of(n) in parts]  # a part is whole or not at all
    with staging() as aside:
        for n in names:
            store.fetch(head, f"{thing.there(name)}/{n}", listing.files[n], aside / n)
        for n in (n for n in names if not part_of(n)):
            (folder / n).parent.mkdir(parents=True, exist_ok=True)
            (aside / n).replace(folder / n)
        for part in sorted(parts):
            place_part(aside, folder, part)
    _adopt(writer, thing, name, listing)


def _adopt(writer: Writer, thing: Thing, name: str, listing: Listing) -> None:
    """Go on from what the job has written: once it is over, this machine writes over that, as it has `job.json` to add."""
    writer.records[thing.key] = Record(name, listing)
    writer.records.save()


def _write_end(folder: Path, job: Job) -> None:
    """Write down the end of a run whose job could not do so itself."""
    if job.stage == "CANCELED":
        append_event(folder, "stopped", message="Its job was cancelled.")
        return
    said = _read_log(folder, job)
    how = {"COMPLETED": "ended", "ERROR": "ended in an error"}.get(job.stage, "is not known to the Hub any more")
    last = " ".join(said.splitlines()[-3:])
    text = f"The job on {job.hardware} {how} before the training did; look at its log, then start it again. {last}"
    append_event(folder, "failed", message=text.strip())


def _read_log(folder: Path, job: Job) -> str:
    """The end of the job's log, also put into the run folder; empty where the Hub has none."""
    if not job.id:
        return ""
    token = os.environ.get("HF_TOKEN", "").strip()
    with suppress(Exception):  # it only explains
        lines = hub_api().fetch_job_logs(job_id=job.id, namespace=job.owner, tail=LOG_LINES)
        said = "\n".join(line.rstrip() for line in lines)
        said = (said.replace(token, "…") if token else said)[-8000:]
        write_text(folder / JOB_LOG, f"{said}\n")
        return said
    return ""
