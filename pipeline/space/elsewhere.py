"""A run that outgrew this machine trains on Hugging Face Jobs: started there, and cancelled.

The run goes into the store, the job takes it from there and keeps it there while it trains, and whoever keeps this home
brings it back into the same folder (`watching`). `job.json` in that folder says that the run lives elsewhere; nothing else
here writes to it until the job has ended.
"""

import logging
import os
import re
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from pipeline.errors import HubError, RunError
from pipeline.files import locked_folder, read_json, runs_dir, write_json
from pipeline.publishing.hub import TIMEOUT_SECONDS, as_sentences, http_status, hub_api
from pipeline.runs.folder import EVENTS, JOB, JOB_LABEL, run_family
from pipeline.runs.manage import alone, check_name
from pipeline.runs.status import check_whole, is_elsewhere, status
from pipeline.space.committing import Writer, starter
from pipeline.space.deploy import BILLING, HOURS
from pipeline.space.job import CODE, IMAGE, KEEP_SECONDS, command_for, send_code
from pipeline.space.kept import RUNS, Records, Thing
from pipeline.space.store import Store, store_name

if TYPE_CHECKING:
    from huggingface_hub import JobInfo

logger = logging.getLogger(__name__)

LONGEST = "24h"
"""After which the Hub ends a job, whatever it does: nobody pays for one that hangs. The Hub's own default is half an hour."""

LABEL = "shelftalk-run"
"""Names the label on the Hub by which a job is found, though the answer to its start was lost."""

_ID = re.compile(r"\w[\w.-]{0,99}", re.ASCII)
_AGAIN = "try again in some minutes"


@dataclass(frozen=True)
class Job:
    """The job that trains a run.

    Attributes:
        label: by which it is found on the Hub.
        id: the Hub's; empty until that is known.
        owner: whose job it is on the Hub.
        hardware: the Hub's name of it.
        price: dollars an hour; None where the Hub does not say it.
        asked: when it was asked for, in seconds since 1970.
        told: bytes of events that the run had then.
        kept: the run's name in the store.
        stage: what the Hub said last, as RUNNING.
        began: when the machine was there, in seconds since 1970; 0 before.
        ended: when it was gone; 0 before.
    """

    label: str
    hardware: str
    asked: float
    id: str = ""
    owner: str = ""
    price: float | None = None
    told: int = 0
    kept: str = ""
    stage: str = ""
    began: float = 0.0
    ended: float = 0.0

    @property
    def cost(self) -> float | None:
        """Dollars so far: the Hub counts from when the machine is there."""
        if self.price is None:
            return None
        return self.price * ((self.ended or time.time()) - self.began) / 3600 if self.began else 0.0


def read_job(folder: Path) -> Job | None:
    """The job of a run, the last one where there were several; None where it has none.

    The file may come from the store, so what becomes part of an address is checked.
    """
    try:
        value: dict[str, Any] = read_json(folder / JOB)
        job = Job(**value)
        numbers = (job.asked, job.told, job.began, job.ended, job.price or 0.0)
        words = (job.label, job.hardware, job.kept, job.stage)
        sound = all(type(n) in (int, float) for n in numbers) and all(type(w) is str for w in words)
        names = all(not name or _ID.fullmatch(name) for name in (job.id, job.owner))
        if job.kept:
            check_name(job.kept)
        return job if sound and names else None
    except (OSError, ValueError, TypeError, RunError):
        return None


def write_job(folder: Path, job: Job) -> None:
    write_json(folder / JOB, asdict(job))


def check_store() -> str:
    """The store that runs go through.

    Raises:
        HubError: there is none.
    """
    if repo := store_name():
        return repo
    raise HubError("Runs go elsewhere through a store on the Hub; set SHELFTALK_STORE to user/name, and HF_TOKEN.")


def machines() -> dict[str, float | None]:
    """The hardware that jobs can have, with its price in dollars an hour, None where the Hub does not say it.

    Raises:
        HubError: there is no token or store, or the Hub cannot be reached.
    """
    repo = check_store()
    api = Store(repo).api
    with as_sentences(repo, _special("")):
        found = api.list_jobs_hardware()
    times = {machine.name: HOURS.get(machine.unit_label) for machine in found}
    return {m.name: m.unit_cost_usd * hours if (hours := times[m.name]) else None for m in found}


def _special(hardware: str) -> dict[int, str]:
    """What the Hub's refusals mean where a job is asked for; 0 is no answer at all."""
    refused = f"The Hub does not take a job on {hardware or 'its hardware'}; choose other hardware."
    return {
        0: "The Hub cannot be reached; check the connection, then try again.",
        400: refused,
        402: f"The Hub asks for payment for a job on {hardware}; see {BILLING}.",
        403: "HF_TOKEN may not run jobs or write to the store; make one that may, then try again.",
        404: "The Hub knows no such job or store for HF_TOKEN; look whether it is the right account's.",
        422: refused,
        429: f"The Hub has had too many requests; {_AGAIN}.",
        **dict.fromkeys(range(500, 505), f"The Hub has a problem of its own; {_AGAIN}."),
    }


class _Borrowed(Records):
    """The records as they are on the disk, which only whoever keeps this home may write: what a run on its way to a job is
    called in the store is noted in its job, before it is there."""

    def __init__(self, repo: str, folder: Path, job: Job) -> None:
        super().__init__(repo)
        self.folder, self.job = folder, job

    def save(self) -> None:
        record = self.get(Thing(RUNS, self.folder.name).key)
        if record and record.name != self.job.kept:
            self.job = replace(self.job, kept=record.name)
            write_job(self.folder, self.job)


def start_elsewhere(folder: Path, hardware: str) -> Job:
    """Put a run into the store and start a job that trains it.

    Args:
        folder: under `runs/`.
        hardware: one of `machines`.

    Raises:
        PipelineError: the run cannot begin or go on, there is no store or such hardware, or the Hub refused; then nothing
            runs and the run is as it was.
    """
    repo, prices = check_store(), machines()
    if hardware not in prices:
        raise HubError(f"There is no hardware {hardware!r} for jobs; choose one of {', '.join(prices)}.")
    with alone():
        _check_can_go(folder)
        before = (folder / JOB).read_bytes() if (folder / JOB).is_file() else None
        told = (folder / EVENTS).stat().st_size if (folder / EVENTS).is_file() else 0
        job = Job(uuid4().hex, hardware, time.time(), price=prices[hardware], told=told)
        write_job(folder, job)
    try:
        with as_sentences(repo, _special(hardware)):
            store = Store(repo)
            store.open()
            job = _send(store, folder, job)
            code = _code(store)
        job = _ask(repo, job, code)
    except BaseException:
        (folder / JOB).unlink(missing_ok=True)
        if before:
            (folder / JOB).write_bytes(before)
        raise
    write_job(folder, job)
    logger.info("Run %s goes to a job on %s", folder.name, hardware, extra={"run": folder.name})
    return job


def _check_can_go(folder: Path) -> None:
    if folder.resolve().parent != runs_dir().resolve():
        raise RunError(f"{folder} is not a run under {runs_dir()}, and only those go elsewhere; choose one of them.")
    if not run_family(folder).needs_gpu:
        raise RunError(f"Run {folder.name} trains a reader, which takes minutes on two cores; start it here.")
    state = status(folder).state
    if state not in ("new", "stopped", "failed"):
        words = {"running": "is training already", "queued": "waits for its turn here"}.get(state, "has finished")
        raise RunError(f"Run {folder.name} {words}; duplicate it to train it elsewhere.")
    check_whole(folder)


def _send(store: Store, folder: Path, job: Job) -> Job:
    """Put the run into the store; returns the job with the run's name there."""
    thing = Thing(RUNS, folder.name)
    with locked_folder(folder):
        records = _Borrowed(store.repo, folder, job)
        writer = Writer(store, records, starter())
        writer.hurry = True
        writer.keep_thing(thing)
    return replace(job, kept=records[thing.key].name)


def _code(store: Store) -> tuple[str, str, str]:
    """Where the job finds the app's code: the repository, its kind and the folder in it."""
    if space := os.environ.get("SPACE_ID"):
        return space, "space", ""
    send_code(store)
    return store.repo, "dataset", CODE


def _ask(repo: str, job: Job, code: tuple[str, str, str]) -> Job:
    """Ask for the job. Where no answer comes it may have begun all the same: then it is looked for by its label.

    Raises:
        HubError: the Hub refused it.
    """
    api = Store(repo).api
    env = {"SHELFTALK_STORE": repo, JOB_LABEL: job.label, "HF_HUB_DISABLE_TELEMETRY": "1"}
    if endpoint := os.environ.get("HF_ENDPOINT"):
        env["HF_ENDPOINT"] = endpoint
    with as_sentences(repo, _special(job.hardware)):
        try:
            info = api.run_job(
                image=IMAGE,
                command=command_for(job.kept, code, KEEP_SECONDS),
                env=env,
                secrets={"HF_TOKEN": api.token},
                flavor=job.hardware,
                timeout=LONGEST,
                name="shelftalk",
                labels={LABEL: job.label},
            )
        except Exception as error:
            if http_status(error) is not None:
                raise
            logger.warning("The Hub's answer did not come (%s); the job is looked for", type(error).__name__)
            return job
    return _with(job, info)


def _with(job: Job, info: "JobInfo") -> Job:
    began = info.started_at.timestamp() if info.started_at else job.began
    return replace(
        job,
        id=info.id,
        owner=info.owner.name,
        stage=str(getattr(info.status.stage, "value", info.status.stage)),
        began=began,
    )


def cancel_elsewhere(folder: Path) -> None:
    """End a run's job; what it has kept until then comes back at the next look.

    Raises:
        PipelineError: the run is not elsewhere, or the Hub refused.
    """
    job = read_job(folder)
    if job is None or not is_elsewhere(folder):
        raise RunError(f"Run {folder.name} is not training elsewhere, so there is nothing to cancel.")
    with as_sentences(check_store(), _special(job.hardware)):
        found = job if job.id else ask_job(job)
        if found is None:
            raise HubError(f"The Hub does not know the job of run {folder.name} yet; try again in a minute.")
        Store(check_store()).api.cancel_job(job_id=found.id, namespace=found.owner)
    logger.info("The job of run %s is cancelled", folder.name, extra={"run": folder.name})


def ask_job(job: Job) -> Job | None:
    """The job as the Hub knows it; None where it does not."""
    api = hub_api()
    if not job.id:
        owner = api.whoami()["name"]  # the client itself would ask the public Hub for it, whichever this is
        listed = api.list_jobs(namespace=owner, labels={LABEL: job.label}, timeout=TIMEOUT_SECONDS)
        return next((_with(job, one) for one in listed if (one.labels or {}).get(LABEL) == job.label), None)
    try:
        return _with(job, api.inspect_job(job_id=job.id, namespace=job.owner))
    except Exception as error:
        if http_status(error) == 404:
            return None
        raise
