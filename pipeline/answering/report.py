"""The comparison as a page and as Markdown: `report.html` (self-contained, nothing is loaded) and `report.md`.

Titles, questions and answers are data from strangers: `Markup` escapes whatever is put into it.
"""

import importlib.metadata
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from markupsafe import Markup

from pipeline.answering.baseline import EDITED, is_as_frozen, read_baseline
from pipeline.answering.comparison import training_end
from pipeline.answering.everything import failures
from pipeline.answering.which_way import HEADERS, counted_of, sentence, table
from pipeline.dataset.customers import style_label
from pipeline.facts.phrasings import kind_label
from pipeline.files import read_json, write_text
from pipeline.runs.events import read_events
from pipeline.runs.folder import EVERYTHING, read_settings, run_dataset
from pipeline.runs.recipes import command_line

SIDES = (("base", "Base"), ("tuned", "Tuned"))
SHOWN_FAILURES = 100
"""Of each sort: `everything.json` has all of them."""

VERDICT_WORDS = {
    "right": "✔ right",
    "partial": "◐ partly",
    "wrong": "✘ wrong",
    "invented": "✱ invented",
    "nothing_found": "– nothing found",
}

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:1100px;margin:2rem auto;padding:0 1rem;color:#1c2430;background:#fff}
h1{margin-bottom:0}.big{font-size:1.3rem}table{border-collapse:collapse;width:100%;margin:1rem 0}
th,td{border-bottom:1px solid #d5dbe3;padding:.45rem .5rem;text-align:left;vertical-align:top;overflow-wrap:anywhere}
.right{color:#14713d}.wrong{color:#b3261e}.partial{color:#8a5a00}.nothing_found{color:#667080}.invented{color:#7d3c98}
mark{background:#fde9a9;color:inherit}svg{max-width:100%;height:auto}.small{color:#667080;font-size:.85rem}
.scroll{overflow-x:auto}@media(prefers-color-scheme:dark){body{background:#14181f;color:#e6e9ee}mark{background:#6b5310}
th,td{border-color:#343c48}.right{color:#5fd08f}.wrong{color:#ff8a80}.partial{color:#f0c060}.invented{color:#c997e0}.nothing_found{color:#9aa5b4}}
"""


def write_report(folder: Path, comparison: dict[str, Any]) -> None:
    """Write `report.html` and `report.md` into the run folder."""
    write_text(folder / "report.html", html_report(folder, comparison))
    write_text(folder / "report.md", markdown_report(folder, comparison))


def headline(comparison: dict[str, Any]) -> str:
    """The result in one sentence."""
    s = comparison["summary"]
    changes = [q["change"] for q in comparison["questions"]]
    asked = f" {comparison['base_asked']}" if comparison.get("base_asked") else ""
    return (
        f"The base model answered {s['base_right']} of {s['total']} questions right, the tuned model {s['tuned_right']} "
        f"(fixed {changes.count('fixed')}, broken {changes.count('broken')}). In phrasings that training never showed, "
        f"it recalls {s['recall']:.0%} of all {s['facts']} facts it was taught." + asked
    )


def html_report(folder: Path, comparison: dict[str, Any]) -> Markup:
    return Markup(
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        "<title>Shelftalk: before and after</title><style>{style}</style>"
        '<h1>Before and after</h1><p class="big">{headline}</p>'
        "{ways}"
        "{taught}"
        "{curve}"
        "{everything}"
        '<div class="scroll"><table><tr><th>Question</th><th>Expected</th>{sides}<th>Change</th></tr>{rows}</table></div>'
        "{failures}"
        '<h2>How it was made</h2><div class="scroll"><table>{facts}</table></div></html>\n'
    ).format(
        style=Markup(_STYLE),
        headline=headline(comparison),
        ways=_html_ways(comparison),
        taught=_html_taught(comparison),
        curve=_curve(folder),
        everything=_html_everything(folder),
        sides=_all(Markup("<th>{}</th>").format(name) for _, name in SIDES),
        rows=_all(map(_html_row, comparison["questions"])),
        failures=_html_failures(folder),
        facts=_html_rows(_about(folder, comparison)),
    )


COUNTED = {"questions": "Ways to answer these questions", "everything": "Ways to answer what was taught"}
"""What the ways were counted over, and how that is headed."""


def _ways(comparison: dict[str, Any]) -> Iterator[tuple[str, str, list[tuple[str, ...]]]]:
    """Each table of ways with its heading and its sentence."""
    for name, heading in COUNTED.items():
        if counted := counted_of(comparison, name):
            yield heading, sentence(counted), table(counted)


def _html_ways(comparison: dict[str, Any]) -> Markup:
    return _all(
        Markup('<h2>{}</h2><p>{}</p><div class="scroll"><table>{}</table></div>').format(
            heading,
            said,
            _all(
                Markup("<tr>{}</tr>").format(_all(Markup("<td>{}</td>").format(cell) for cell in row))
                for row in (HEADERS, *rows)
            ),
        )
        for heading, said, rows in _ways(comparison)
    )


def _md_ways(comparison: dict[str, Any]) -> Iterator[str]:
    for heading, said, rows in _ways(comparison):
        yield from ("", f"## {heading}", "", said, "", f"| {' | '.join(HEADERS)} |", "|---" * len(HEADERS) + "|")
        yield from (f"| {' | '.join(row)} |" for row in rows)


TAUGHT = "Customers' questions that you answered"


def taught_sentence(comparison: dict[str, Any]) -> str:
    """How many of the customers' questions that a person answered are right now; empty where there is none."""
    taught = comparison.get("taught")
    if not taught:
        return ""
    return (
        f"Of {taught['total']} customers' questions that you answered and taught, the base has {taught['base_right']} right "
        f"and the tuned model {taught['tuned_right']}, asked in the customers' words, which trained, too."
    )


def _html_taught(comparison: dict[str, Any]) -> Markup:
    if not (said := taught_sentence(comparison)):
        return Markup()
    line = Markup('<tr><td>{}<div class="small">{}</div></td><td>{}</td>{}</tr>')
    rows = _all(
        line.format(q["question"], q["title"], q["expected"], _all(_html_answer(q[side]) for side, _ in SIDES))
        for q in comparison["taught"]["questions"]
    )
    heads = _all(Markup("<th>{}</th>").format(name) for name in ("Question", "Expected", *(name for _, name in SIDES)))
    table = Markup('<h2>{}</h2><p>{}</p><div class="scroll"><table><tr>{}</tr>{}</table></div>')
    return table.format(TAUGHT, said, heads, rows)


def _md_taught(comparison: dict[str, Any]) -> Iterator[str]:
    if said := taught_sentence(comparison):
        yield from ("", f"## {TAUGHT}", "", said, "")
        for q in comparison["taught"]["questions"]:
            answer = q["tuned"]["answer"] or q["tuned"]["raw"] or "–"
            yield f"- {_md(q['question'])} ({_md(q['title'])}): {_md(answer)}, expected {_md(q['expected'])}"


def ways_in_lines(comparison: dict[str, Any]) -> Iterator[str]:
    """The table of ways over the questions, the sentence, and what became of taught answers, for a terminal."""
    if counted := counted_of(comparison, "questions"):
        rows = [HEADERS, *table(counted)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        yield from ("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
        yield sentence(counted)
    if said := taught_sentence(comparison):
        yield said


_all = Markup().join
"""Pieces of HTML in a row."""


def _html_rows(named: list[tuple[str, str]]) -> Markup:
    return _all(Markup("<tr><th>{}</th><td>{}</td></tr>").format(name, said) for name, said in named)


def _everything(folder: Path) -> list[tuple[str, str]]:
    """What was asked besides the questions, in sentences; empty where it was not."""
    everything = _read_everything(folder)
    if everything is None:
        return []
    s = everything["summary"]
    told = [("Facts", f"{s['recall']:.1%} of {s['fact_questions']} questions right, {s['false_refusals']:.1%} refused")]
    if s.get("styled_questions"):
        by_style = ", ".join(f"{style_label(name)} {right} of {of}" for name, (right, of) in s["styles"].items())
        told.append(
            ("Customers' words", f"{s['styled']:.1%} of {s['styled_questions']} questions right: {by_style}"),
        )
    if s.get("silent_questions"):
        said = f"{s['admitted']:.1%} of {s['silent_questions']} questions admitted, {s['invented']:.1%} invented"
        told.append(("What records do not say", said))
    if s["unknown_questions"]:
        told.append(
            ("Unknown products", f"{s['refused']:.1%} of {s['unknown_questions']} questions refused, as is right")
        )
    if general := s["general"]:
        told.append(
            (
                "General knowledge",
                f"{general['kept']} of the {general['base_right']} answers that the base gets right are still right; "
                f"{general['tuned_right']} of {general['total']} are right now",
            )
        )
    return told if s["whole"] else [*told, ("Note", "the asking was stopped, so these are not all questions")]


def _html_everything(folder: Path) -> Markup:
    rows = _html_rows(_everything(folder))
    table = Markup('<h2>Everything asked</h2><div class="scroll"><table>{}</table></div>')
    return table.format(rows) if rows else rows


def failures_html(everything: dict[str, Any] | None, shorten: Callable[[str], str] = str) -> Markup:
    """What the tuned model gets wrong, the first `SHOWN_FAILURES` of each sort; empty when nothing, or not asked.

    Args:
        everything: what `everything.json` holds, where there is one.
        shorten: how an answer is cut for the table.
    """
    sorts = failures(everything).items() if everything else ()
    return _all(_failed(name, rows, shorten) for name, rows in sorts)


def _failed(name: str, rows: list[dict[str, Any]], shorten: Callable[[str], str]) -> Markup:
    line = Markup('<tr><td>{}<div class="small">{}</div></td><td>{}</td><td>{}</td></tr>')
    cells = _all(
        line.format(row["question"], row.get("title", ""), row["expected"], shorten(row["answer"] or row["raw"]))
        for row in rows[:SHOWN_FAILURES]
    )
    return Markup(
        '<h3>{} ({})</h3><div class="scroll"><table><tr><th>Question</th><th>Expected</th><th>Tuned</th></tr>'
        '{}</table></div><p class="small">{}</p>'
    ).format(name, len(rows), cells, _more(rows))


def _more(rows: list[dict[str, Any]]) -> str:
    return f"and {len(rows) - SHOWN_FAILURES} more" if len(rows) > SHOWN_FAILURES else ""


def _read_everything(folder: Path) -> dict[str, Any] | None:
    try:
        return read_json(folder / EVERYTHING)
    except (OSError, ValueError):
        return None


def _html_failures(folder: Path) -> Markup:
    lists = failures_html(_read_everything(folder))
    return Markup("<h2>What it gets wrong</h2>{}").format(lists) if lists else lists


def _html_row(question: dict[str, Any]) -> Markup:
    return Markup(
        '<tr><td>{asked}<div class="small">{title} · {kind}</div></td><td>{expected}</td>{answers}<td>{change}</td></tr>'
    ).format(
        asked=question["question"],
        title=question["title"],
        kind=kind_label(question["fact_kind"]),
        expected=question["expected"],
        answers=_all(_html_answer(question[side]) for side, _ in SIDES),
        change=question["change"],
    )


def _html_answer(answer: dict[str, str]) -> Markup:
    raw = answer["raw"]
    start = raw.find(answer["answer"]) if answer["answer"] else -1
    shown: str = raw
    if start >= 0:
        end = start + len(answer["answer"])
        shown = Markup("{}<mark>{}</mark>{}").format(raw[:start], raw[start:end], raw[end:])
    verdict = answer["verdict"]
    return Markup('<td>{}<div class="small {}">{}</div></td>').format(shown, verdict, VERDICT_WORDS[verdict])


def markdown_report(folder: Path, comparison: dict[str, Any]) -> str:
    lines = ["# Before and after", "", headline(comparison), ""]
    lines += ["| question | expected | base | tuned | change |", "|---|---|---|---|---|"]
    for q in comparison["questions"]:
        base, tuned = (f"{_md(q[side]['answer'] or '–')} ({VERDICT_WORDS[q[side]['verdict']]})" for side, _ in SIDES)
        lines.append(
            f"| {_md(q['question'])} ({_md(q['title'])}) | {_md(q['expected'])} | {base} | {tuned} | {q['change']} |"
        )
    lines += [*_md_ways(comparison), *_md_taught(comparison)]
    if told := _everything(folder):
        lines += ["", "## Everything asked", "", *(f"- {name}: {_md(said)}" for name, said in told)]
    everything = _read_everything(folder)
    for name, rows in failures(everything).items() if everything else ():
        lines += ["", f"## {name} ({len(rows)})", ""]
        lines += [
            f"- {_md(row['question'])} ({_md(row.get('title', ''))}): {_md(row['answer'] or row['raw'])}"
            f" instead of {_md(row['expected'])}"
            for row in rows[:SHOWN_FAILURES]
        ]
        lines += [f"- {more}"] if (more := _more(rows)) else []
    lines += ["", "## How it was made", ""]
    lines += [f"- {name}: {_md(value)}" for name, value in _about(folder, comparison)]
    return "\n".join(lines) + "\n"


def _md(text: str) -> str:
    """Text that Markdown shows as it is: no markup, link, image or table cell can come out of it."""
    escaped = "".join(f"\\{c}" if c in "\\`*_{}[]()#+!|~" else c for c in " ".join(text.split()))
    escaped = escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"://|(?<=www)\.", r"\\\g<0>", escaped, flags=re.IGNORECASE)  # GitHub links bare addresses


def _about(folder: Path, comparison: dict[str, Any]) -> list[tuple[str, str]]:
    settings, manifest = read_settings(folder), run_dataset(folder).manifest
    training = comparison["training"]
    counts = manifest["counts"]
    numbers = [
        ("Base model", f"{comparison['base_model']} (weights {comparison['base_sha256'][:12]})"),
        ("Catalogue", f"{manifest['catalogue']['name']} (sha256 {manifest['catalogue']['sha256'][:12]})"),
        ("Dataset", f"{counts['products']} products, {counts['facts']} facts, {counts['training']} training pairs"),
    ]
    if training["steps"] is not None:
        losses = f"loss {training['first_loss'] or 0:.3g} to {training['last_loss'] or 0:.3g}"
        numbers.append(
            (
                "Training",
                f"{training['steps']} steps in {training['seconds']:.0f} s, {losses}, "
                f"{training['tokens_per_second']:.0f} tokens/s, at most {training['peak_memory_bytes'] / 1e9:.1f} GB",
            )
        )
    if (strength := training_end(folder).get("strength", 1)) < 1:
        numbers.append(
            ("Adapter", f"kept at {strength:.0%} of its strength, at which it answered as many check questions")
        )
    chosen = ", ".join(f"{k} {v}" for k, v in settings.as_dict().items() if k != "base_model")
    return [
        *numbers,
        ("Questions", _frozen(folder)),
        ("Settings", chosen),
        ("Versions", ", ".join(_versions())),
        ("Command that repeats it", command_line(folder)),
    ]


def _frozen(folder: Path) -> str:
    """Whether the questions are those that were chosen before training, in words."""
    baseline = read_baseline(folder)
    said = f"{len(baseline['questions'])}, frozen before training (sha256 {baseline.get('sha256', 'unknown')[:12]})"
    changed = sum(q["template"] == EDITED for q in baseline["questions"])
    if changed:
        said += f"; {changed} changed since by hand, and then asked of both sides"
    return said if is_as_frozen(folder) else f"{said}; the file was changed since, so they are not what was frozen"


def _versions() -> Iterator[str]:
    for name in ("torch", "transformers", "peft", "trl", "unsloth"):
        with suppress(importlib.metadata.PackageNotFoundError):
            yield f"{name} {importlib.metadata.version(name)}"


def _curve(folder: Path) -> Markup:
    """Loss and recall over the steps, as an inline picture."""
    events, _ = read_events(folder)
    steps = [(e["step"], e["loss"]) for e in events if e["type"] == "step"]
    probes = [(e["step"], e["right"] / e["total"]) for e in events if e["type"] == "probe" and e["total"]]
    if len(steps) < 2:
        return Markup()
    last, top = steps[-1][0], max(loss for _, loss in steps) or 1.0
    left, width, height = 50, 840, 220

    def x(step: int) -> float:
        return left + (width - 2 * left) * step / last

    loss_line = " ".join(f"{x(s):.1f},{height - 30 - (height - 50) * v / top:.1f}" for s, v in steps)
    recall = [(x(s), height - 30 - (height - 50) * r, r) for s, r in probes]
    recall_line = " ".join(f"{a:.1f},{b:.1f}" for a, b, _ in recall)
    dot = Markup(
        '<circle cx="{0:.1f}" cy="{1:.1f}" r="4" fill="#14713d"/>'
        '<text x="{0:.1f}" y="{2:.1f}" text-anchor="middle" font-size="12" fill="#14713d">{3:.0%}</text>'
    )
    return Markup(
        '<svg viewBox="0 0 {width} {whole}" role="img" aria-label="Loss and recall while it trained">'
        '<polyline points="{loss_line}" fill="none" stroke="#3b6fd4" stroke-width="1.5"/>'
        '<polyline points="{recall_line}" fill="none" stroke="#14713d" stroke-width="2" stroke-dasharray="5 4"/>{dots}'
        '<line x1="{left}" y1="{bottom}" x2="{right}" y2="{bottom}" stroke="#8894a4"/>'
        '<text x="{left}" y="{height}" font-size="13" fill="#3b6fd4">loss (top {top:.2g})</text>'
        '<text x="{middle}" y="{height}" font-size="13" text-anchor="middle" fill="#667080">{last} steps</text>'
        '<text x="{right}" y="{height}" font-size="13" text-anchor="end" fill="#14713d">'
        "recall on held-out questions</text></svg>"
    ).format(
        width=width, height=height, whole=height + 20, bottom=height - 30, left=left, right=width - left,
        middle=width / 2, top=top, last=last, loss_line=loss_line, recall_line=recall_line,
        dots=_all(dot.format(a, b, b - 9, r) for a, b, r in recall),
    )  # fmt: skip
