"""Watches the trainer from inside the child process: the run's events, recall while it trains, checkpoints, early ends."""

import math
import re
import resource
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from pipeline.answering.answers import ask_expecting, thinned
from pipeline.answering.asker import RunModel
from pipeline.answering.scoring import RIGHT
from pipeline.dataset.examples import PROBE
from pipeline.errors import PipelineError
from pipeline.prompts import UNKNOWN
from pipeline.runs.checkpoints import drop_old, seal
from pipeline.runs.events import append_event
from pipeline.runs.folder import CHECKPOINTS
from pipeline.runs.settings import TrainingSettings
from pipeline.runs.tracking import told_settings
from pipeline.training.distributed import Team
from pipeline.training.plan.plan import Plan

PROBE_QUESTIONS = 32
"""Held-out questions a probe asks at most: enough to see recall grow, few enough to take seconds."""

PROBE_SPARE_TOKENS = 16

LEARNED = 0.95
"""Recall from which on a run counts as learned, when two probes in a row reach it."""

PATIENCE = 3
"""Probes in a row that may gain nothing before a run counts as stuck."""

ROSE = 1.5
"""Of its first loss, the last one of a run that has gone wrong."""
NEARLY = 0.8
"""Recall from which on a run that may end itself is checked twice as often: it has soon learned."""

FIRST_SHARE = 0.25
"""Share of the steps in which nothing need be gained yet: recall stays at zero while the loss already falls."""


class LossNotANumber(PipelineError):
    """The loss became NaN or infinite."""


class StopAsked(Exception):
    """SIGTERM arrived in the middle of a probe, whose answers nobody waits for any more."""


def probe_rows(held_out: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The held-out rows that probes ask: the facts' probe phrasings, evenly thinned where there are many."""
    rows = [r for r in held_out if r["template"].endswith(PROBE) and r["kind"] != UNKNOWN]
    return list(thinned(rows, PROBE_QUESTIONS))


def why_it_failed(first: float | None, last: float | None) -> str:
    """That the loss rose far, in a sentence; empty where it did not. One update's loss may well be above another's."""
    if first is None or last is None or last <= ROSE * first:
        return ""
    return f"The loss rose from {first:.3g} to {last:.3g}, so it has learned nothing: lower the learning rate."


def why_to_stop(probes: Sequence[tuple[int, float]], total: int, every: int) -> str:
    """Why a run should end now by its probes, in a sentence; empty when it should go on.

    Args:
        probes: (optimizer step, recall from 0 to 1) of each probe so far, in order.
        total: the steps that are planned.
        every: the steps between two probes; those that come between count with the one before them.
    """
    last_two = [recall for _, recall in probes[-2:]]
    if len(last_two) == 2 and min(last_two) >= LEARNED:
        return f"It has learned: recall was {last_two[0]:.0%} and {last_two[1]:.0%} in the last two checks."
    best: dict[int, float] = {}
    for step, recall in probes:
        best[step // every] = max(recall, best.get(step // every, 0.0))
    recalls, late = list(best.values()), sum(n * every >= FIRST_SHARE * total for n in best)
    if late >= PATIENCE and max(recalls[-PATIENCE:]) <= max(recalls[:-PATIENCE]):
        return (
            f"It learns nothing more: the last {PATIENCE} checks did not get beyond {max(recalls):.0%} recall. "
            "A higher learning rate, a larger rank or fewer products may help."
        )
    return ""


class CountingCollator:
    """A data collator that notes the tokens of each micro-batch, padding apart.

    The trainer takes a batch ahead, so each note is taken out when its batch has been trained on.
    """

    def __init__(self, collate: Any) -> None:
        self.collate = collate
        self.sizes: deque[int] = deque()

    def __call__(self, features: list[dict[str, Any]], *args: Any) -> Any:
        self.sizes.append(sum(len(f["input_ids"]) + len(f.get("answer", ())) for f in features))
        return self.collate(features, *args)

    def taken(self) -> int:
        """The tokens of the oldest micro-batch that is noted; 0 where a trainer of its own kind has noted none."""
        return self.sizes.popleft() if self.sizes else 0


class Follower(TrainerCallback):
    """Does in the other processes of a run what the first one decides, and tells it of the tokens that were trained."""

    collator: CountingCollator
    report: Callable[[dict[str, Any]], object] = staticmethod(lambda _: None)
    """Told what a tracker shall know."""

    def __init__(self, team: Team) -> None:
        self.team = team
        self.own_tokens = 0
        self.tokens = 0
        """Of all processes."""

    def on_substep_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.own_tokens += self.collator.taken()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.own_tokens += self.collator.taken()
        own = (control.should_training_stop, control.should_save, control.should_log)
        decided = own if self.team.is_first else (False, False, False)
        tokens, *flags = self.team.sum([self.own_tokens, *map(int, decided)])
        control.should_training_stop, control.should_save, control.should_log = map(bool, flags)
        self.tokens += tokens
        self.own_tokens = 0

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if "loss" in kwargs["logs"]:
            control.should_training_stop = self.team.from_first(control.should_training_stop)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.team.wait()  # each writes a file of its own into the checkpoint


class Watcher(Follower):
    """Writes the run's events: each logged step, recall at intervals, and the numbers for its end.

    Attributes:
        stopping: SIGTERM was heard; the step that is on is the last one.
        learned: why the run ended before its last step, in a sentence.
    """

    def __init__(
        self,
        folder: Path,
        language_model: RunModel,
        probe: list[dict[str, Any]],
        plan: Plan,
        settings: TrainingSettings,
        team: Team,
        ask_base: Callable[[], None] | None = None,
    ) -> None:
        """
        Args:
            ask_base: asks the base what is frozen. Where it is given, that and the first probe wait until the first step is
                told, so that a plot begins some twenty seconds earlier: with its adapter off the model is the base still.
        """
        super().__init__(team)
        self.folder = folder
        self.ask_base = ask_base
        self.language_model = language_model
        self.probe = probe
        self.settings = settings
        self.probe_every = math.ceil(plan.steps / settings.checks) if settings.checks and probe else 0
        self.stopping = False
        self.learned = ""
        self.last_time, self.last_tokens = time.monotonic(), 0
        # From here on: what a checkpoint takes along, so that a resumed run's figures are those of the whole run.
        self.first_loss: float | None = None
        self.last_loss: float | None = None
        self.steps = 0
        self.seconds = 0.0
        self.probe_seconds = 0.0
        self.probes: list[tuple[int, float]] = []
        self.earlier_peak = 0

    STATE = ("first_loss", "last_loss", "steps", "tokens", "seconds", "probe_seconds", "probes", "earlier_peak")

    def peak_memory(self) -> int:
        """The most memory, in bytes, that any process of this run has used."""
        return max(self.earlier_peak, peak_memory())

    def state(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.STATE} | {"earlier_peak": self.peak_memory()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on with the figures of a checkpoint."""
        for name in self.STATE:
            setattr(self, name, state[name])
        self.last_tokens = self.tokens

    def on_sigterm(self, *_: Any) -> None:
        self.stopping = True

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.report(told_settings(self.settings))
        self.last_time = time.monotonic()
        if not self.ask_base:
            self._probe_before()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.steps = step = state.global_step
        last = step >= state.max_steps
        if self.stopping:
            control.should_training_stop = True
        if not last and (step % self.settings.save_steps == 0 or self.stopping):
            control.should_save = True
        # The last step is told even where `logging_steps` passes over it, and so is one that is saved: its loss is
        # looked at first, so that no checkpoint holds weights that are no numbers.
        if last or control.should_save:
            control.should_log = True
        super().on_step_end(args, state, control)

    def _probe_before(self) -> None:
        if self.probe_every and not self.probes:
            self._ask_probe(0)

    def _probe_is_due(self, step: int) -> bool:
        asked, recall = self.probes[-1] if self.probes else (0, 0.0)
        every = self.probe_every
        if self.settings.stop_when_learned and recall >= NEARLY:
            every = math.ceil(every / 2)
        return bool(every) and step // every > asked // every

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        logs: dict[str, Any] = kwargs["logs"]
        if "loss" not in logs:
            return
        self._tell_step(logs, state)
        if self.ask_base:
            self.ask_base()
            self.ask_base = None
            self._probe_before()
            self.last_time = time.monotonic()
        # After the step's own event, so that a plot never shows a probe of a step that it has not drawn yet.
        last = state.global_step >= state.max_steps
        if self.probe_every and (last or self._probe_is_due(state.global_step)):
            self._ask_probe(state.global_step)
            if self.settings.stop_when_learned and not last:
                self.learned = why_to_stop(self.probes, state.max_steps, self.probe_every)
                control.should_training_stop = control.should_training_stop or bool(self.learned)
        super().on_log(args, state, control, **kwargs)

    def _tell_step(self, logs: dict[str, Any], state: TrainerState) -> None:
        loss = float(logs["loss"])
        if not math.isfinite(loss):
            raise LossNotANumber(
                f"The loss is not a number any more at step {state.global_step}; lower the learning rate and start again."
            )
        self.first_loss = loss if self.first_loss is None else self.first_loss
        self.last_loss = loss
        grad_norm = float(logs.get("grad_norm") or 0.0)
        now = time.monotonic()
        took = now - self.last_time
        self.seconds += took
        append_event(
            self.folder,
            "step",
            step=state.global_step,
            total=state.max_steps,
            loss=loss,
            learning_rate=float(logs["learning_rate"]),
            grad_norm=grad_norm if math.isfinite(grad_norm) else None,  # JSON has no NaN
            tokens_per_second=round((self.tokens - self.last_tokens) / took, 1),
            memory_bytes=peak_memory(),
        )
        self.last_time, self.last_tokens = now, self.tokens

    def _ask_probe(self, step: int) -> None:
        begun = time.monotonic()

        def give_up(*_: Any) -> None:
            if self.stopping:
                raise StopAsked

        with suppress(StopAsked):
            # At step 0 the adapter changes nothing: switched off, it gives the same answers in less time. Not PiSSA's, which
            # began by taking its part out of the base.
            answers = ask_expecting(
                self.language_model,
                self.probe,
                tuned=step > 0 or self.settings.lora_variant == "pissa",
                spare_tokens=PROBE_SPARE_TOKENS,
                on_progress=give_up,
            )
            shown = [
                {"title": r["title"], "question": r["question"], "expected": r["response"], **a}
                for r, a in zip(self.probe, answers, strict=True)
            ]
            right = sum(a["verdict"] == RIGHT for a in answers)
            append_event(self.folder, "probe", step=step, right=right, total=len(answers), answers=shown)
            self.probes.append((step, right / len(answers)))
            self.report({"recall": right / len(answers)})
        self.last_time = time.monotonic()
        self.probe_seconds += self.last_time - begun

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        super().on_save(args, state, control)
        seal(self.folder / CHECKPOINTS / f"checkpoint-{state.global_step}", self.state())
        drop_old(self.folder)

    def summary(self) -> dict[str, Any]:
        """The numbers of `comparison.json`'s `training`: seconds and tokens a second leave the probes out."""
        return {
            "steps": self.steps,
            "first_loss": self.first_loss,
            "last_loss": self.last_loss,
            "seconds": round(self.seconds, 1),
            "probe_seconds": round(self.probe_seconds, 1),
            "tokens_per_second": round(self.tokens / self.seconds, 1) if self.seconds else 0.0,
            "peak_memory_bytes": self.peak_memory(),
        }


def peak_memory() -> int:
    """The most memory used so far: allocated on a GPU, else resident in this process. In bytes."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    with suppress(OSError):  # Linux: there the other figure begins with the most that the parent process ever had
        if peak := re.search(r"^VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE):
            return int(peak[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
