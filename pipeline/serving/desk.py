"""Who answers: the runs by name, `base`, and the way that the owner chose, on the ways to answer that there are."""

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.answering.backend import Backend
from pipeline.answering.customers import doubt_of
from pipeline.answering.page import about_of
from pipeline.answering.put_right import with_put_right
from pipeline.answering.shop import About, missing_catalogue, shop_of
from pipeline.answering.ways import (
    AUTO,
    BASE,
    BASE_OPEN,
    BY_MODEL,
    BY_RECORD,
    CLOSED,
    EXTRACTIVE,
    OPEN,
    PUT_RIGHT,
    Said,
    answer_all,
)
from pipeline.errors import PipelineError, RunError, ServingError
from pipeline.files import runs_dir
from pipeline.prompts import CHAT
from pipeline.runs.folder import SETTINGS, find_run, has_adapter, read_settings, run_dataset, run_family
from pipeline.runs.view import trained_runs
from pipeline.serving.line import Job

logger = logging.getLogger(__name__)

SERVED_WAYS = (AUTO, OPEN, CLOSED, EXTRACTIVE)

BASE_MODEL = "base"
"""The name under which the base of the served run answers."""

TUNED_NAME = re.compile(r"ft:[^:]*:(?P<name>.+)")


@dataclass(frozen=True)
class Reply:
    """An answer with what it is about and how it came about.

    Attributes:
        question: as it was asked.
        doubt: how little sure it is, from 0 to 1; 0 where nobody wants to know.
        tokens: how many a model decoded for it; 0 where none did.
    """

    question: str
    about: About
    said: Said
    way: str
    doubt: float = 0.0
    tokens: int = 0


class Desk:
    """The models that are served.

    Args:
        run: the run whose name the shop's pages ask, and whose base is `base`.
        way: one of `SERVED_WAYS`, for all runs.
        tells_doubt: whether the doubt of answers is wanted also where no record is read.
        backend: who says the run's words where that is not this machine; then no other run is served, and no base.

    Raises:
        PipelineError: it is no run, or the way needs something that it does not have.
    """

    def __init__(self, run: Path, way: str, *, tells_doubt: bool = False, backend: Backend | None = None) -> None:
        settings = read_settings(run)
        self.run, self.way, self.tells_doubt, self.backend = run, way, tells_doubt, backend
        if way not in SERVED_WAYS:
            raise ServingError(f"There is no way {way[:40]} to serve; choose of {', '.join(SERVED_WAYS)}.")
        if way == CLOSED and not run_family(run).by_heart:
            raise ServingError("A reader knows nothing by heart, so there is no closed book; choose another way.")
        if backend and (way not in BY_MODEL or not run_family(run).by_heart):
            raise ServingError(
                "A backend says a language model's words; serve a run that trained one, with --way open or closed."
            )
        if backend and settings.prompt_format == CHAT:
            raise ServingError(
                f"Run {run.name} is asked in its base's chat template, which a backend is not; serve it without --backend."
            )
        if way in BY_MODEL and not (backend or has_adapter(run)):
            raise RunError(f"{run} has no adapter, which the way {way} needs; train it first, or serve it with auto.")

    def get_ready(self, say: Callable[[str], object]) -> None:
        """Open the catalogue, and load the model where the way needs one, before anybody asks.

        Args:
            say: told what the owner should know, in sentences.

        Raises:
            PipelineError: either cannot be had.
        """
        dataset = run_dataset(self.run)
        if missing := missing_catalogue(dataset):
            say(missing)
        if shop_of(dataset).sentences.encoder is None:
            say(
                "The sentence encoder is not at hand, so words alone decide which sentence answers; `make run` installs it."
            )
        if self.backend:
            self.backend.check()
        elif self.way in BY_MODEL:
            from pipeline.answering.run_model import load_run

            for warning in load_run(self.run)[1]:
                say(warning)
        title = dataset.manifest["products"][0][
            "title"
        ]  # its libraries set themselves up by an answer that nobody sees
        self.answer([Job(self.run, self.way, f"What is {title}?", "", "")])

    def models(self) -> list[str]:
        """The names that can be asked now: the served run, `base`, and every other trained run, the newest first."""
        own = [self.run.name] if (self.run / SETTINGS).is_file() else []
        if self.backend:
            return own
        base = [BASE_MODEL] if has_adapter(self.run) else []
        others = [folder.name for folder in trained_runs()]
        return list(dict.fromkeys([*own, *base, *others]))

    def asked(self, model: str) -> tuple[Path, str] | None:
        """The run folder and the way behind a model's name; None where there is none (any more).

        Args:
            model: as `models` has it, or `ft:ANYTHING:NAME`: by such names LlamaIndex, which knows OpenAI's models alone, takes
                one that was tuned.
        """
        if found := TUNED_NAME.fullmatch(model):
            model = found["name"]
        if self.backend:
            return (self.run, self.way) if model in self.models() else None
        if model == BASE_MODEL:
            with_record = self.way == OPEN
            return (self.run, BASE_OPEN if with_record else BASE) if has_adapter(self.run) else None
        folder = self.run if model == self.run.name else find_run(model)
        if folder is None or not (folder / SETTINGS).is_file():
            return None
        if folder != self.run and not has_adapter(folder):
            return None
        return folder, OPEN if self.way == CLOSED and not run_family(folder).by_heart else self.way

    def answer(self, jobs: Sequence[Job]) -> list[Reply]:
        """Answer questions to one run by one way, together where a model answers; the jobs hear it meanwhile.

        Raises:
            PipelineError: the run cannot be asked, or is gone.
        """
        folder, way = jobs[0].folder, jobs[0].way
        try:
            dataset = run_dataset(folder)
            shop = shop_of(dataset)
            finds = way in BY_RECORD or self.tells_doubt
            if finds:
                shop.read_ahead([job.question for job in jobs])
            asked = [about_of(shop, job.question, job.product, finds=finds) for job in jobs]
            if way in PUT_RIGHT:
                asked = [
                    with_put_right(shop, job.question, about, is_given=bool(job.product))
                    for job, about in zip(jobs, asked, strict=True)
                ]
            language_model = self.backend
            if way in BY_MODEL and not self.backend:
                from pipeline.answering.run_model import load_run

                language_model, _ = load_run(folder)
            said = answer_all(shop, asked, [way], language_model, dataset.kinds, listeners=jobs)
        except (PipelineError, OSError) as error:
            if (folder / SETTINGS).is_file():
                raise
            raise RunError(
                f"The run {folder.name} was deleted or renamed; `/v1/models` lists those that there are."
            ) from error
        return [
            Reply(job.question, about, one[way], way, doubt_of(shop, about, one) if finds else 0.0, job.tokens)
            for job, about, one in zip(jobs, asked, said, strict=True)
        ]


def run_named(run: Path) -> Path:
    """The folder of a run that was given by its folder or by its name."""
    return run if run.is_dir() else runs_dir() / run.name
