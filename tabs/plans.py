"""Will it learn? What a run with these settings would do, in words, before it is started."""

from typing import Any

from pipeline.answering.embedded import EMBEDDED
from pipeline.data.dataset import Dataset
from pipeline.training.evidence import ENOUGH_EXPOSURES
from pipeline.training.plan import Plan, plan_run
from pipeline.training.runs import list_runs
from pipeline.training.settings import TrainingSettings, gpu_name
from tabs.controls import (
    changes,
)
from tabs.pairs import pairs_of
from tabs.runview import look
from tabs.shared import (
    count,
    duration,
    escape,
    memory,
)

CPU_TOKENS_PER_SECOND = 230
"""What two CPU cores train of the embedded model, until a run on this machine has shown its own pace."""


def default_preset() -> str:
    return "recall" if gpu_name() else "quick"


def will_it_learn(settings: TrainingSettings, dataset: Dataset) -> str:
    """The plan of a run in a line, and what speaks against it, as HTML.

    Raises:
        SettingsError: nothing would be trained.
    """
    rows = training_rows(dataset)
    plan = plan_run(settings, rows, gpu=bool(gpu_name()))
    enough = plan.exposures >= ENOUGH_EXPOSURES
    facts = [
        f"<b class='{'right' if enough else 'wrong'}'>{'✔' if enough else '✘'} each fact {plan.exposures:.0f} times</b>",
        f"{count(plan.steps, 'update')} of {settings.effective_batch_size} examples",
        *time_and_memory(settings, plan, rows),
    ]
    warnings = "".join(f"<li>{escape(warning)}</li>" for warning in plan.warnings)
    changed = changes(settings)
    different = f"<p class='small'>Changed from the preset: {escape(', '.join(changed))}</p>" if changed else ""
    return f"<p><b>Will it learn?</b> {' · '.join(facts)}</p>{f'<ul>{warnings}</ul>' if warnings else ''}{different}"


def training_rows(dataset: Dataset) -> list[dict[str, Any]]:
    return [row for row in pairs_of(dataset) if row["split"] == "train"]


def time_and_memory(settings: TrainingSettings, plan: Plan, rows: list[dict[str, Any]]) -> list[str]:
    """How long it will take and what it will need: as the last run of this base did, else roughly on a CPU."""
    last = last_pace(settings.base_model)
    speed = last.get("tokens_per_second") or (CPU_TOKENS_PER_SECOND if _embedded_on_cpu(settings) else 0)
    if not speed:
        return []
    seconds = plan.tokens / speed
    told = [f"about {duration(seconds)} of training" + (" at the last run's pace" if last else "")]
    return [*told, f"{memory(last['peak_memory_bytes'])} last time"] if last.get("peak_memory_bytes") else told


def _embedded_on_cpu(settings: TrainingSettings) -> bool:
    return settings.base_model == EMBEDDED and not gpu_name()


def last_pace(base_model: str) -> dict[str, Any]:
    """The figures of the last run that ended with this base, empty when there is none."""
    views = (look(folder.name) for folder in list_runs()[:10])
    endings = (v.ending for v in views if v and v.settings.base_model == base_model)
    return next((e for e in endings if e.get("tokens_per_second")), {})
