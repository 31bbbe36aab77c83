"""Generating with an API as a job that can be left alone: a pilot and its estimate, then the rest, at once or as a batch.

One job at a time. What it is and where it stands is in `generation.json`, so that a reload, another window and a restarted
app tell the same; every reply is in the journal, so that going on asks only for what is missing. The key is in neither:
it is typed again, or comes from the environment.
"""

import dataclasses
import fcntl
import json
import logging
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

from pydantic import TypeAdapter, ValidationError

from pipeline.dataset.build import build_dataset
from pipeline.dataset.choosing import ChosenProduct, choose_products
from pipeline.dataset.store import Dataset
from pipeline.errors import GenerationError, PipelineError, Unreachable, disk_problem, unexpected
from pipeline.files import home, read_json, write_json
from pipeline.writing.api import ApiSettings, Interrupted, WritingProgress, cancel
from pipeline.writing.api.batch_state import BatchStatus
from pipeline.writing.api.run import check_cap
from pipeline.writing.api.spending import Estimate
from pipeline.writing.steps import PILOT_PRODUCTS, Job, advance_batch, batch_file, pilot, writer

log = logging.getLogger(__name__)

BATCH_SECONDS = 30
"""Between two looks at a batch, which takes minutes to a day."""
MANY_TIMES = 120
"""Looks in a row at an API that cannot be reached, until a job says so: an hour."""
WRITE_SECONDS = 2.0
"""Between two notes of the progress, for a restarted app to tell how far a job came."""

PILOT, ESTIMATED, RUNNING, WAITING = "pilot", "estimated", "running", "waiting"
"""Under way, or asking to go on; `WAITING` is a batch that the API works on."""
DONE, STOPPED, FAILED = "done", "stopped", "failed"
UNDER_WAY = (PILOT, RUNNING, WAITING)
_MOST = 1e15
"""No figure of a job is larger; nan is not smaller either."""


@dataclass(frozen=True)
class Look:
    """Where the job stands: what a page needs to show it."""

    state: str = ""
    """One of the states above; empty when there never was a job."""
    text: str = ""
    """What ended it, or what it waits for."""
    job: dict[str, Any] = field(default_factory=dict)
    progress: dict[str, Any] = field(default_factory=dict)
    """The fields of `api.WritingProgress`."""
    estimate: dict[str, Any] = field(default_factory=dict)
    """The fields of `api.Estimate`, and for how many `products`."""
    batch: dict[str, Any] = field(default_factory=dict)
    """The fields of `api.batches.BatchStatus`."""
    dataset: str = ""
    """The name of the dataset's folder, once it is done."""
    begun: str = ""
    """Names the job, so that a window which shows another one cannot go on with this."""
    catalogue: str = ""
    """The catalogue's checksum at the pilot."""
    sure: bool = False
    """Whether somebody wanted all of it, having seen an estimate or not."""
    stopping: bool = False


_lock = threading.RLock()
_stop = threading.Event()
_thread: threading.Thread | None = None
_look: Look | None = None
_written = 0.0
_paid = 0.0
"""USD that this job had cost before the step that is under way."""


def job_file() -> Path:
    return home() / "generation.json"


def look() -> Look:
    """Where the job stands now; one whose process is gone has stopped, whatever it was about to do."""
    with _lock:
        if _thread and _thread.is_alive() and _look:
            return _look
        kept = _kept()
        if kept.state in UNDER_WAY and not _taken():
            batch = "The app was closed; go on to look at the batch." if kept.state == WAITING else ""
            text = batch or "The app was closed; going on asks only for what is missing."
            return dataclasses.replace(kept, state=STOPPED, text=text)
        return kept


def _kept() -> Look:
    """What the file says; what of it another version or a store wrote in another form is as if it were not there."""
    try:
        kept = _form(Look).validate_json(json.dumps(read_json(job_file())), strict=True)
    except (OSError, ValueError, TypeError):  # pydantic's error is a ValueError
        return Look()
    if kept.state not in ("", *UNDER_WAY, ESTIMATED, DONE, STOPPED, FAILED) or not isinstance(
        kept.job.get("api", {}), dict
    ):
        return Look()
    forms = {"progress": WritingProgress, "estimate": Estimate, "batch": BatchStatus}
    return dataclasses.replace(kept, **{name: _of_form(getattr(kept, name), form) for name, form in forms.items()})


@cache
def _form(of: type) -> TypeAdapter[Any]:
    """Made once: every page looks at the job at every tick."""
    return TypeAdapter(of)


def _of_form(told: dict[str, Any], form: type) -> dict[str, Any]:
    """Figures as this version writes them; nothing where they are others."""
    numbers = [value for value in told.values() if isinstance(value, int | float)]
    try:
        _form(form).validate_json(json.dumps(told), strict=True)
        sound = isinstance(told.get("products", 0), int) and all(-_MOST < number < _MOST for number in numbers)
        return told if sound else {}
    except ValidationError:
        return {}


def _take() -> IO[bytes] | None:
    """The lock of the one who works; nothing when somebody has it. It ends with the process, whatever happens to that."""
    home().mkdir(parents=True, exist_ok=True)
    file = (home() / "generation.lock").open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def _taken() -> bool:
    """Whether somebody, in whatever process, works on the job."""
    file = _take()
    if file is None:
        return True
    file.close()
    return False


def start(job: Job, *, sure: bool = False) -> None:
    """Begin with the pilot, or, when `sure`, with all of it.

    Raises:
        GenerationError: another job is under way, or this one cannot be: no address, or a cap without a price.
    """
    global _thread, _paid
    check_cap(job.api)
    if _thread and look().state not in UNDER_WAY:
        _thread.join()  # it has told how it ended, and is about to let go of the lock
    with _lock:
        kept = look()
        if not job.batch:
            _refuse_while_batch(job, kept)
        lock = None if kept.state in UNDER_WAY else _take()
        if lock is None:
            raise GenerationError("Questions are being written already; wait until that is done, or stop it.")
        _stop.clear()
        same = kept.state != DONE and _wants_the_same(kept.job, job)
        # What the pilot or an earlier try has cost counts against the cap, and is shown.
        _paid = (kept.progress.get("spent") or 0.0) if same else 0.0
        begun = Look(
            state=RUNNING if sure else PILOT,
            job=job.as_dict(),
            estimate=kept.estimate if sure and same else {},
            catalogue=kept.catalogue if sure and same else "",
            sure=sure,
            begun=uuid4().hex,
        )
        try:
            _tell(begun)
        except OSError:
            lock.close()
            raise
        log.info("Generation started", extra={"products": job.settings.products, "model": job.api.model})
        _thread = threading.Thread(target=_work, args=(job, sure, lock), name="generation", daemon=True)
        _thread.start()


def _wants_the_same(kept: dict[str, Any], job: Job) -> bool:
    """Whether a kept job is to make the same rows: what that has cost counts for this one, too."""
    with suppress(GenerationError):
        return Job.of(kept, "").name == job.name
    return False


def _refuse_while_batch(job: Job, kept: Look) -> None:
    """What a batch writes is not to be paid for a second time.

    Raises:
        GenerationError: a batch of this job, or the one that the page shows, is at the API.
    """
    shown = kept.job.get("batch") and kept.state in (STOPPED, FAILED) and batch_file(Job.of(kept.job, "")).exists()
    if shown or batch_file(job).exists():
        raise GenerationError("A batch is at the API already; go on with it, or cancel it first.")


def go_on(api: ApiSettings, *, batch: bool = False, begun: str = "") -> None:
    """Do the rest of the job that was estimated, or of one that stopped or failed; without an estimate, the pilot first.

    Args:
        api: with the key, and with a cap, price and number of workers that may be others than before.
        batch: as a batch, where the job was at its estimate; one that was under way goes on as it was.
        begun: the job that the asking window shows.

    Raises:
        GenerationError: there is none, it is under way or not the one that was shown, or it is at another address.
    """
    kept = look()
    if kept.state not in (ESTIMATED, STOPPED, FAILED):
        raise GenerationError("There is nothing to go on with; press Generate.")
    if begun and begun != kept.begun:
        raise GenerationError("Another window has begun another job meanwhile; look at what it is before you go on.")
    job = _with_api(kept, api)
    if kept.state == ESTIMATED:
        job = dataclasses.replace(job, batch=batch)
    start(job, sure=kept.sure or bool(kept.estimate))


def _with_api(kept: Look, api: ApiSettings) -> Job:
    """The kept job with these settings: a key goes to the address that it was typed for, and to no other.

    Raises:
        GenerationError: the job is another model's, or at another address.
    """
    job = Job.of(kept.job, api.api_key)
    if (job.api.model, job.api.address) != (api.model, api.address):
        raise GenerationError(
            f"This job is {job.api.model}'s at {job.api.address}; choose that model and address, and give its key."
        )
    return dataclasses.replace(job, api=api)


def stop() -> None:
    """Send nothing more; what is under way is awaited and kept. A batch goes on at the API and can be collected later.

    Raises:
        GenerationError: another process works on the job.
    """
    if not (_thread and _thread.is_alive()):
        if look().state in UNDER_WAY:
            raise GenerationError("Another Shelftalk writes these questions; stop it there.")
        return
    _stop.set()
    _change(stopping=True)


def call_off(api: ApiSettings) -> None:
    """Call a batch off at the API; what it has written by then is paid for and kept.

    Raises:
        GenerationError: there is none, or the API cannot be reached.
    """
    kept = look()
    if not kept.job.get("batch") or kept.state not in (WAITING, STOPPED, FAILED):
        raise GenerationError("There is no batch to call off.")
    job = _with_api(kept, api)
    cancel(job.api, batch_file(job))
    if kept.state != WAITING:
        start(job, sure=True)  # collects what there is


def _tell(state: Look, *, write: bool = True) -> None:
    global _look, _written
    with _lock:
        _look = state
        if write or time.monotonic() - _written > WRITE_SECONDS:
            write_json(job_file(), asdict(state))
            _written = time.monotonic()


def _change(*, write: bool = True, **changes: Any) -> None:
    """Tell what is new; a disk that is full must not end the work, nor keep a window from hearing how it ended."""
    with _lock, suppress(OSError):
        _tell(dataclasses.replace(_look or Look(), **changes), write=write)


def _work(job: Job, sure: bool, lock: IO[bytes]) -> None:
    """The thread: whatever happens ends in a sentence."""
    with lock:
        try:
            if not sure and _pilot(job):
                return
            dataset = _rest(job)
            _end(DONE, "", dataset=dataset.folder.name)
        except Interrupted as stopped:
            _end(STOPPED, str(stopped))
        except PipelineError as error:
            _end(FAILED, str(error))
        except Exception as error:
            _end(FAILED, disk_problem(error) or f"{unexpected(error)} Every reply that arrived is kept.")


def _end(state: str, text: str, **more: Any) -> None:
    log.info("Generation ended: %s. %s", state, text)
    _change(state=state, text=text, stopping=False, **more)


def _pilot(job: Job) -> bool:
    """Write the first products and estimate the rest; tells whether there is a rest to be asked about."""
    catalogue = job.open_catalogue()
    chosen = choose_products(catalogue, job.settings.products, job.settings.seed)
    found = pilot(chosen, job.api.less(_paid), job.settings, on_progress=_progress, stop=_stop)
    if len(chosen) <= PILOT_PRODUCTS:
        return False
    rest = {"products": len(chosen) - PILOT_PRODUCTS}
    _end(ESTIMATED, "", estimate=asdict(found) | rest, catalogue=catalogue.sha256)
    return True


def _rest(job: Job) -> Dataset:
    _change(state=RUNNING)
    catalogue = job.open_catalogue()
    if _look and _look.catalogue not in ("", catalogue.sha256):
        raise GenerationError("The catalogue has changed since the estimate; press Generate again.")
    api = job.api.less(_paid)
    if job.batch:
        chosen = choose_products(catalogue, job.settings.products, job.settings.seed)
        _batches(chosen, dataclasses.replace(job, api=api))
    return build_dataset(catalogue, job.settings, generate=writer(api, job.settings, _progress, _stop))


def _batches(chosen: list[ChosenProduct], job: Job) -> None:
    """Send what is missing as batches until nothing is, however long that takes."""
    unreachable = 0
    while True:
        try:
            status = advance_batch(chosen, job)
        except Unreachable as error:
            # A batch takes a day, and in a day a network is gone for a while.
            unreachable += 1
            if unreachable == MANY_TIMES:
                raise
            _change(state=WAITING, text=str(error))
        else:
            unreachable = 0
            if status.state == "done":
                _change(state=RUNNING, text="", batch=asdict(status))
                return
            _change(state=WAITING, text=status.message, batch=asdict(status))
        if _stop.wait(BATCH_SECONDS):
            raise Interrupted("Left alone; the API goes on with the batch. Go on later to collect what it has written.")


def _progress(progress: WritingProgress) -> None:
    told = asdict(progress)
    for name in ("spent", "projected"):
        if told[name] is not None:
            told[name] += _paid
    _change(write=False, progress=told)
