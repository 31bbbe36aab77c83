"""Will it learn? What a run with these settings would do, in words, before it is started."""

from typing import Any, NamedTuple

from markupsafe import Markup

from pipeline.dataset.examples import TRAINED
from pipeline.dataset.store import Dataset
from pipeline.files import home
from pipeline.machine import ZERO_GPU_TRAINING, free_disk, on_zero_gpu
from pipeline.models.bases import GPU_BASE, local_folder
from pipeline.models.embedded import EMBEDDED
from pipeline.models.encoder import ENCODER
from pipeline.runs.folder import list_runs
from pipeline.runs.settings import TrainingSettings, gpu_name
from pipeline.runs.view import view_run
from pipeline.training.plan.advice import ENOUGH_EXPOSURES, Finding, plain
from pipeline.training.plan.memory import weight_width
from pipeline.training.plan.plan import Plan, plan_run
from tabs.dataset.rows_view import pairs_of
from tabs.training.settings_form import TERMS, changed, changes, mark_changed
from tabs.ui.text import count, duration, html, html_of, memory


class Pace(NamedTuple):
    """How fast a machine is on which that was measured, until a run on this one has shown its own pace (benchmarks/RESULTS.md).

    Attributes:
        tokens: trained a second, by the base.
        check_seconds: what a recall check of the embedded model takes.
        whose: in words.
    """

    tokens: dict[str, int]
    check_seconds: int
    whose: str


CPU_PACE = Pace({EMBEDDED: 430, ENCODER: 1000}, 5, "two cores' pace")
FP32_PACE = Pace({EMBEDDED: 135}, 15, "two cores' pace without bf16")
# An H200 is faster than most.
GPU_PACE = Pace({EMBEDDED: 9000, GPU_BASE: 12000, "Qwen/Qwen3-8B": 11000}, 0, "an H200's pace")


def default_preset() -> str:
    return "recall" if gpu_name() else "quick"


def training_rows(dataset: Dataset) -> list[dict[str, Any]]:
    return [row for row in pairs_of(dataset) if row["split"] == TRAINED]


def will_it_learn(settings: TrainingSettings, dataset: Dataset) -> Markup:
    """The verdict, the figures, what to change, and marks on the settings that differ from the preset, as HTML.

    Raises:
        SettingsError: nothing would be trained.
    """
    if on_zero_gpu():
        not_here = "<h4>Will it learn?</h4><p class='big wrong' data-state='not-here'><b>✘ Not here.</b> {}</p>"
        return html(not_here, ZERO_GPU_TRAINING)
    plan = plan_run(settings, training_rows(dataset), gpu=bool(gpu_name()))
    figures = html_of(html("<dt>{}</dt><dd>{}</dd>", *figure) for figure in plan_figures(settings, plan))
    # The headline tells the worst one in full.
    told = plan.findings[1:] if plan.verdict else plan.findings
    found = html_of(html("<li>{}<br>{}</li>", finding.said, change_words(finding)) for finding in told)
    return html(
        "<h4>Will it learn?</h4>{}<dl>{}</dl>{}{}{}",
        verdict(plan), figures, html("<ul>{}</ul>", found) if found else "", changed_words(settings),
        mark_changed(settings),
    )  # fmt: skip


def verdict(plan: Plan) -> Markup:
    """The headline, and the change that would help most, as HTML."""
    if plan.verdict:
        worst = plan.findings[0]
        words = (plan.verdict, worst.said, change_words(worst))
        return html("<p class='big wrong' data-state='wrong'><b>✘ {}.</b> {}</p><p>{}</p>", *words)
    if not plan.measured:
        unknown = "<p class='big' data-state='unknown'><b>Not known for this base.</b> {}</p>"
        return html(unknown, "How fast a model learns was measured with 135 million weights; recall checks will tell.")
    but = f"; {count(len(plan.findings), 'remark')} below" if plan.findings else ""
    fine = "<p class='big right' data-state='right'><b>✔ It should learn.</b> Each fact is seen often enough{}.</p>"
    return html(fine, but)


def plan_figures(settings: TrainingSettings, plan: Plan) -> list[tuple[str, str]]:
    """What the run will do, as (name, figure in words); one is HTML."""
    enough = plan.exposures >= ENOUGH_EXPOSURES
    mark = html("<span class='{}'>{}</span>", *(("right", "✔") if enough else ("wrong", "✘")))
    mark = mark if enough or plan.measured else Markup()
    needed = "are needed" if plan.measured else "are what a small model needs"
    repeated = f"each fact {plan.exposures:.0f} times (about {ENOUGH_EXPOSURES} {needed})"
    batches = "all at once"
    if (plan.processes, plan.accumulation) != (1, 1):
        on_each = f" on each of {plan.processes} GPUs" if plan.processes > 1 else ""
        batches = f"{plan.micro_batch} at once{on_each}, batches per update: {plan.accumulation}"
    rows = [
        ("Repetition", html("{} {}", mark, repeated)),
        ("Length", f"{count(plan.steps, 'update')} of {settings.effective_batch_size} examples ({batches})"),
        ("Left out", left_out_words(settings, plan)),
        *([("Adapted", plan.adapted)] if plan.adapted else []),
        ("Memory", memory_words(plan)),
        ("Time", time_words(settings, plan)),
    ]
    if plan.disk_bytes is not None:
        kept = f"about {memory(plan.disk_bytes)} for two checkpoints and the adapter, {memory(free_disk(home()))} free"
        rows.append(("Disk", kept))
    return rows


def left_out_words(settings: TrainingSettings, plan: Plan) -> str:
    about = "" if plan.lengths.counted else "about "
    longest = f"the longest pair has {about}{max(plan.lengths.whole)} of {settings.max_length} tokens"
    return f"{about}{count(plan.left_out, 'pair')} too long; {longest}" if plan.left_out else f"nothing; {longest}"


def memory_words(plan: Plan) -> str:
    if plan.memory_bytes is None:
        return "not known before this base model is on this machine"
    free = f" of {memory(plan.free_bytes)} free" if plan.free_bytes is not None else ""
    each = " on each GPU" if plan.processes > 1 else ""
    unpacked = "; 4-bit weights are unpacked, which is faster" if plan.unpacked else ""
    return f"about {memory(plan.memory_bytes)} at most{free}{each}{unpacked}"


def time_words(settings: TrainingSettings, plan: Plan) -> str:
    """How long it will take: at the pace of the last run of this base, else of a machine where it was measured."""
    last = last_pace(settings.base_model)
    in_fp32 = weight_width(settings.precision, gpu=False) == 4
    usual = GPU_PACE if gpu_name() else FP32_PACE if in_fp32 else CPU_PACE
    speed = last.get("tokens_per_second") or usual.tokens.get(settings.base_model)
    if not speed:
        return "not known before the first run of this base model on this machine"
    source = "the last run's pace" if last else usual.whose
    checks = settings.checks + 1  # one before the first step
    check_seconds = last.get("check_seconds") or usual.check_seconds
    told = f"about {duration(plan.tokens / speed)} of training"
    if settings.checks and check_seconds:
        told += f" and {duration(checks * check_seconds)} of recall checks"
    download = "" if local_folder(settings.base_model) else "; its base model is fetched first"
    return f"{told}, at {source}{download}"


def last_pace(base_model: str) -> dict[str, Any]:
    """The figures of the last run that ended with this base, with what a recall check took; empty when there is none."""
    views = (view_run(folder.name) for folder in list_runs()[:10])
    ended = ((v, v.ending) for v in views if v and v.settings.base_model == base_model)
    view, last = next(((v, e) for v, e in ended if e.get("tokens_per_second")), (None, {}))
    if view is None or not view.probes or not last.get("probe_seconds"):
        return last
    return last | {"check_seconds": last["probe_seconds"] / len(view.probes)}


def change_words(finding: Finding) -> Markup:
    """The change that would help, as HTML."""
    if not finding.setting:
        return html("→ {}", finding.advice) if finding.advice else Markup()
    words = f"Set “{TERMS[finding.setting]}” ({finding.setting}) to {plain(finding.value)}."
    return html("<b data-advised='{}'>→ {}</b> {}", finding.setting, words, finding.advice).strip()


def changed_words(settings: TrainingSettings) -> Markup:
    told = html_of(
        (
            html("<span data-setting='{}' data-value='{}'>{}</span>", name, plain(getattr(settings, name)), words)
            for name, words in zip(changed(settings), changes(settings), strict=True)
        ),
        ", ",
    )
    return html("<p class='small'>Changed from the preset: {}</p>", told) if told else Markup()
