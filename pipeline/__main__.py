"""Every step of the tabs as a command: `python -m pipeline demo`, `… train`, `… ask`."""

import argparse
import json
import logging
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NoReturn

from pipeline.answering.lookup import Shelf
from pipeline.catalogue.catalogue import SAMPLE, UNREADABLE_LINE, Catalogue, Columns, read_catalogue
from pipeline.commands.generate import add_command
from pipeline.commands.generate import generate as generate_dataset
from pipeline.commands.space import add_commands
from pipeline.dataset.build import build_dataset
from pipeline.dataset.export import FORMS, export_dataset, export_to
from pipeline.dataset.settings import DatasetSettings
from pipeline.dataset.store import Dataset, latest_dataset, open_dataset, with_every_edit
from pipeline.errors import PipelineError, QuestionError, RunError, SettingsError, disk_problem
from pipeline.files import datasets_dir
from pipeline.models.bases import find_base
from pipeline.runs import launcher
from pipeline.runs.events import read_events
from pipeline.runs.folder import ADAPTER, has_adapter, read_settings, run_dataset
from pipeline.runs.manage import check_new, clear_run, create_run
from pipeline.runs.recipes import read_recipe, with_set
from pipeline.runs.settings import PRESETS, TrainingSettings, default_base, settings_for
from pipeline.runs.status import status

BAD_INPUT = 2
INTERRUPTED = 130


def say(text: str) -> None:
    """Progress for the person who waits; stdout is for results."""
    print(text, file=sys.stderr, flush=True)


def demo(args: argparse.Namespace) -> None:
    """The whole loop: catalogue → dataset → training → comparison → report."""
    begun = time.monotonic()
    settings = settings_for(
        args.preset, default_base() if args.base is None else args.base, seed=args.seed, questions=args.questions
    )
    chosen = DatasetSettings(products=args.products, seed=args.seed)
    if args.out:
        check_new(args.out, overwrite=args.overwrite)
    launcher.check_idle()
    dataset = _make_dataset(args.catalogue, chosen, _columns(args))
    find_base(settings.base_model)  # converted or downloaded now, with its progress; a wrong name has cost nothing yet
    if args.out and args.overwrite:
        clear_run(args.out)
    folder = create_run(dataset, settings, args.out)
    say(f"Run folder: {folder}")
    _train(folder)
    comparison = _compare(folder)
    from pipeline.answering.report import headline

    say(headline(comparison))
    say(f"Report: {folder / 'report.html'} (whole loop {time.monotonic() - begun:.0f} s)")


def resume(args: argparse.Namespace) -> None:
    """Go on with a run that was stopped or failed, then ask and report as `demo` does."""
    read_settings(args.run)
    _train(args.run)
    comparison = _compare(args.run)
    from pipeline.answering.report import headline

    say(headline(comparison))


def generate(args: argparse.Namespace) -> None:
    """Only the dataset."""
    dataset = generate_dataset(args, _open(args.catalogue, args.products, _columns(args)), say)
    if dataset:
        _tell_dataset(dataset)
        say(f"Dataset folder: {dataset.folder}")


def _columns(args: argparse.Namespace) -> Columns | None:
    """The columns that the command line names, if it does.

    Raises:
        SettingsError: it names only the title or only the content.
    """
    if not args.title_column and not args.content_column:
        return None
    if not args.title_column or not args.content_column:
        raise SettingsError("Only one of --title-column and --content-column is given; name both.")
    return Columns(args.title_column, tuple(args.content_column))


def _make_dataset(path: Path, settings: DatasetSettings, columns: Columns | None) -> Dataset:
    dataset = build_dataset(_open(path, settings.products, columns), settings)
    _tell_dataset(dataset)
    return dataset


def _open(path: Path, products: int, columns: Columns | None) -> Catalogue:
    """The catalogue, after saying what can be used of it."""
    catalogue = read_catalogue(path, columns=columns)
    skipped = ", ".join(f"{n} {reason}" for reason, n in catalogue.skipped_counts().items())
    usable = f"{path.name}: {catalogue.rows} rows, {catalogue.usable} usable"
    say(usable + (f"; skipped: {skipped}" if skipped else ""))
    if unreadable := [str(s.line) for s in catalogue.skipped(count=11, reasons=UNREADABLE_LINE)]:
        say(f"Lines that cannot be read: {', '.join(unreadable[:10])}{' …' if len(unreadable) > 10 else ''}")
    if catalogue.usable < products:
        say(f"You asked for {products} products; going on with the {catalogue.usable} there are.")
    return catalogue


def _tell_dataset(dataset: Dataset) -> None:
    c = dataset.counts
    say(
        f"Dataset {dataset.folder.name}: {c['products']} products, {c['facts']} facts, {c['training']} training pairs, "
        f"{c['held_out']} held out, {c['unknown_titles']} unknown titles"
    )
    if c["rejected"]:
        say("Rejected: " + ", ".join(f"{n} × {reason}" for reason, n in c["rejected"].items()))


def _train(folder: Path) -> None:
    """Train in the child process, and tell what it says.

    Raises:
        RunError: it failed.
    """
    _, told = read_events(folder)  # a resumed run's earlier steps have been told
    launcher.start(folder)
    begun = None
    try:
        for event in launcher.watch(folder, told):
            if event["type"] == "message":
                say(event["text"])
            elif event["type"] == "step":
                begun = begun or time.monotonic()
                _say_step(event, begun)
            elif event["type"] == "probe":
                say(f"Recall on held-out questions at step {event['step']}: {event['right']} of {event['total']}")
    except KeyboardInterrupt:
        say("Stopping after this step; the adapter is kept.")
        launcher.stop(folder)
        for _ in launcher.watch(folder):
            pass
    ended = status(folder)
    if ended.state not in ("finished", "stopped"):
        raise RunError(ended.message)


def _say_step(event: dict[str, Any], begun: float) -> None:
    step, total = event["step"], event["total"]
    if step % max(1, total // 20) and step != total:
        return
    left = (time.monotonic() - begun) / max(1, step - 1) * (total - step) if step > 1 else 0
    say(
        f"Step {step} of {total}, loss {event['loss']:.3g}, {event['tokens_per_second']:.0f} tokens/s, {left:.0f} s left"
    )


def _compare(folder: Path) -> dict[str, Any]:
    from pipeline.answering.comparison import compare
    from pipeline.answering.report import write_report
    from pipeline.answering.run_model import load_run

    say("Asking the tuned model the same questions, and every fact it was taught")
    language_model, warnings = load_run(folder)
    for warning in warnings:
        say(warning)
    comparison = compare(language_model, folder)
    write_report(folder, comparison)
    return comparison


def train(args: argparse.Namespace) -> None:
    """Train on a dataset that there is, with settings from a preset or a file."""
    settings = _settings(args)
    dataset = _dataset(args)
    if args.out:
        check_new(args.out, overwrite=args.overwrite)
        if dataset.folder.resolve().is_relative_to(args.out.resolve()):
            raise RunError(f"The dataset is inside {args.out}, which would be replaced; choose another folder.")
    launcher.check_idle()
    find_base(settings.base_model)
    if args.out and args.overwrite:
        clear_run(args.out)
    folder = create_run(dataset, settings, args.out)
    say(f"Run folder: {folder}")
    _train(folder)
    say(f"Adapter: {folder / ADAPTER}" if has_adapter(folder) else "Stopped before there was an adapter.")


def _settings(args: argparse.Namespace) -> TrainingSettings:
    """The settings of the command line.

    Raises:
        SettingsError: the file or an assignment is wrong, or two options speak against each other.
    """
    if args.settings and (args.preset or args.base):
        raise SettingsError("--settings brings a preset and a base model along; leave out --preset and --base.")
    if args.settings:
        return with_set(read_recipe(args.settings), args.set)
    base = default_base() if args.base is None else args.base
    return with_set(settings_for(args.preset or "quick", base), args.set)


def _dataset_of(folder: Path) -> Dataset:
    """The dataset in a folder, with what was changed of its rows since; a run's copy stays as it was trained on."""
    dataset = open_dataset(folder)
    return with_every_edit(dataset) if folder.resolve().parent == datasets_dir().resolve() else dataset


def _dataset(args: argparse.Namespace) -> Dataset:
    dataset = _dataset_of(args.dataset) if args.dataset else latest_dataset()
    if dataset is None:
        raise SettingsError(
            "There is no dataset yet; generate one in the first tab, or name its folder with --dataset."
        )
    return dataset


def ask(args: argparse.Namespace) -> None:
    """Ask both sides one question, or a file of them."""
    check_finished(args.run)
    items = _questions(args)
    shelf = Shelf(run_dataset(args.run).manifest)
    asked = [shelf.ask(item["question"], item.get("title")) for item in items]
    with redirect_stdout(sys.stderr):  # what libraries print; stdout is for the answers alone
        from pipeline.answering.answers import Question
        from pipeline.answering.answers import ask as ask_all
        from pipeline.answering.run_model import load_run

        language_model, warnings = load_run(args.run)
        for warning in warnings:
            say(warning)
        questions = [Question(a.prompt, a.kind) for a in asked]
        sides = [ask_all(language_model, questions, tuned=tuned) for tuned in (False, True)]
    results = [
        {"title": a.title, "question": a.question, "base": base.as_dict(), "tuned": tuned.as_dict()}
        for a, base, tuned in zip(asked, *sides, strict=True)
    ]
    if args.file:
        print(json.dumps(results, ensure_ascii=False, indent=1))
    else:
        say(f"About: {results[0]['title']}")
        print(f"Base:  {results[0]['base']['raw']}\nTuned: {results[0]['tuned']['raw']}")


def _questions(args: argparse.Namespace) -> list[dict[str, Any]]:
    """The questions of the command line.

    Raises:
        QuestionError: the file is missing or not a list of questions.
    """
    if not args.file:
        return [{"question": args.question or "", "title": args.title}]
    try:
        items = json.loads(args.file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise QuestionError(f"{args.file} cannot be read as JSON; it needs a list of questions.") from error
    fine = isinstance(items, list) and all(
        isinstance(i, dict) and isinstance(i.get("question"), str) and isinstance(i.get("title") or "", str)
        for i in items
    )
    if not fine or not items:
        raise QuestionError(
            f'{args.file} needs a list as [{{"title": "…", "question": "…"}}] (the title may be missing).'
        )
    return items


def check_finished(folder: Path) -> None:
    """Refuse a run that has no adapter, before a model is loaded for it.

    Raises:
        RunError: there is none, or it is not a run.
    """
    read_settings(folder)
    if not has_adapter(folder):
        raise RunError(f"{folder} has no adapter; train it first with `python -m pipeline demo`.")


def export(args: argparse.Namespace) -> None:
    """Write a dataset as one file, and print where."""
    dataset = _dataset_of(args.dataset)
    print(export_to(dataset, args.form, args.out) if args.out else export_dataset(dataset, args.form))


def push(args: argparse.Namespace) -> None:
    """Push a dataset to the Hub, and print its address."""
    from pipeline.publishing.hub import push_dataset

    logging.getLogger("httpx").setLevel(logging.WARNING)  # it would tell every request
    dataset = _dataset_of(args.dataset)
    print(push_dataset(dataset, args.repo, license=args.license, private=not args.public, source_url=args.source_url))


def publish(args: argparse.Namespace) -> None:
    """Make, check and push a run's model, or only write it into a folder; prints where it is."""
    from pipeline.publishing.publish import export_model, publish_model

    logging.getLogger("httpx").setLevel(logging.WARNING)
    if bool(args.repo) == bool(args.out):
        raise SettingsError("Say either where on the Hub with --repo, or which folder with --out.")
    check_finished(args.run)
    if args.out:
        steps = export_model(args.run, args.form, args.out, license=args.license or "unknown")
    else:
        steps = publish_model(args.run, args.form, args.repo, license=args.license, private=not args.public)
    where = args.out
    for step in steps:
        say(step.text)
        where = step.address or where
    print(where)


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence, without the whole usage before it."""

    def error(self, message: str) -> NoReturn:
        say(f"{message[:1].upper()}{message[1:]}; `{self.prog} --help` shows what there is.")
        sys.exit(BAD_INPUT)


def parser() -> argparse.ArgumentParser:
    top = Parser(prog="python -m pipeline", description=__doc__)
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    loop = commands.add_parser("demo", help="the whole loop on a catalogue, without the page")
    loop.add_argument("catalogue", nargs="?", type=Path, default=SAMPLE, help="default: the sample catalogue")
    loop.add_argument("--products", type=int, default=15, help="products to teach (default: %(default)s)")
    loop.add_argument("--questions", type=int, default=15, help="questions before and after (default: %(default)s)")
    loop.add_argument("--preset", choices=PRESETS, default="quick", help="training settings (default: %(default)s)")
    loop.add_argument("--base", help="base model: a Hugging Face Hub id or a local folder (default: by the hardware)")
    loop.add_argument("--out", type=Path, metavar="DIR", help="run folder (default: a new one under runs/)")
    loop.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    loop.add_argument("--overwrite", action="store_true", help="replace the run in DIR")
    loop.set_defaults(function=demo)
    made = add_command(commands)
    made.set_defaults(function=generate)
    for command in (loop, made):
        command.add_argument("--title-column", metavar="NAME", help="column of the titles (default: recognised)")
        command.add_argument(
            "--content-column",
            action="append",
            default=[],
            metavar="NAME",
            help="column of the descriptions; can be repeated",
        )
    alone = commands.add_parser("train", help="train on a dataset that there is; a run's page shows such a line")
    alone.add_argument("--dataset", type=Path, metavar="DIR", help="dataset folder, or a run's (default: the newest)")
    alone.add_argument("--preset", choices=PRESETS, help="training settings (default: quick)")
    alone.add_argument("--base", help="base model: a Hugging Face Hub id or a local folder (default: by the hardware)")
    alone.add_argument("--settings", type=Path, metavar="FILE", help="settings exported as YAML, instead of a preset")
    alone.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="one setting; can be repeated")
    alone.add_argument("--out", type=Path, metavar="DIR", help="run folder (default: a new one under runs/)")
    alone.add_argument("--overwrite", action="store_true", help="replace the run in DIR")
    alone.set_defaults(function=train)
    on = commands.add_parser("resume", help="go on with a run after its last checkpoint")
    on.add_argument("run", type=Path, metavar="DIR", help="run folder")
    on.set_defaults(function=resume)
    question = commands.add_parser("ask", help="ask the base and the tuned model of a run")
    question.add_argument("run", type=Path, metavar="DIR", help="run folder")
    question.add_argument("question", nargs="?", help="the question")
    question.add_argument("--title", help="the product it is about (default: recognised in the question)")
    question.add_argument("--file", type=Path, help='JSON list of {"title", "question"}; prints only JSON')
    question.set_defaults(function=ask)
    file = commands.add_parser("export", help="write a dataset as one file")
    file.add_argument("dataset", type=Path, metavar="DATASET_DIR", help="dataset folder, or a run's")
    file.add_argument("--form", choices=FORMS, default="parquet", help="default: %(default)s")
    file.add_argument("--out", type=Path, metavar="FILE", help="default: a file in the dataset's folder, under export/")
    file.set_defaults(function=export)
    away = commands.add_parser("push", help="push a dataset to the Hugging Face Hub, with the token in HF_TOKEN")
    away.add_argument("dataset", type=Path, metavar="DATASET_DIR", help="dataset folder, or a run's")
    away.add_argument(
        "--repo", required=True, metavar="USER/NAME", help="dataset on the Hub; made when it is not there"
    )
    away.add_argument("--license", default="", metavar="ID", help="the license that you give it, such as apache-2.0")
    away.add_argument("--source-url", default="", metavar="URL", help="where the catalogue comes from, for the card")
    away.add_argument("--public", action="store_true", help="for everybody to see (default: private)")
    away.set_defaults(function=push)
    model = commands.add_parser("publish", help="a run's model to the Hugging Face Hub, or into a folder")
    model.add_argument("run", type=Path, metavar="DIR", help="run folder")
    model.add_argument("--form", choices=("adapter", "merged", "gguf"), default="adapter", help="default: %(default)s")
    model.add_argument("--repo", default="", metavar="USER/NAME", help="model on the Hub; made when it is not there")
    model.add_argument("--license", default="", metavar="ID", help="the license that you give it, such as apache-2.0")
    model.add_argument("--public", action="store_true", help="for everybody to see (default: private)")
    model.add_argument("--out", type=Path, metavar="DIR", help="only write it into this new folder; needs no token")
    model.set_defaults(function=publish)
    add_commands(commands, say)
    return top


def main(arguments: list[str] | None = None) -> int:
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it tells every request
    args = parser().parse_args(arguments)
    try:
        args.function(args)
    except PipelineError as error:
        say(str(error))
        return BAD_INPUT
    except KeyboardInterrupt:
        say("Stopped; what was written and every reply that arrived is kept.")
        return INTERRUPTED
    except OSError as error:
        say(
            disk_problem(error)
            or f"{error.filename or 'A file'} cannot be used ({error.strerror or error}); choose another."
        )
        return BAD_INPUT
    return 0


if __name__ == "__main__":
    sys.exit(main())
