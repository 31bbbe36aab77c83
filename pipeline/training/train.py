"""Trains the run in a folder: from its settings and dataset, or from its last whole checkpoint, to its adapter.

Imported once the process is set up (`child.py`), since it brings torch, Transformers, PEFT and TRL.
"""

import logging
import os
import signal
import sys
import traceback
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer

from pipeline.answering.asker import RunModel
from pipeline.answering.baseline import ask_baseline, choose_questions
from pipeline.answering.comparison import compare
from pipeline.answering.renewed import as_taught
from pipeline.answering.report import write_report
from pipeline.answering.speaker import asker_of
from pipeline.dataset.build import Dataset
from pipeline.dataset.export import fingerprint_of
from pipeline.errors import ModelError, PipelineError, RunError, disk_full, disk_problem
from pipeline.files import read_json
from pipeline.machine import free_bytes
from pipeline.models.bases import find_base
from pipeline.models.config import base_shape
from pipeline.models.family import EXTRACTIVE, family_of_base
from pipeline.models.language_model import LanguageModel, device
from pipeline.models.loading import load_base
from pipeline.prompts import encode_prompt, end_of_answer
from pipeline.runs.checkpoints import drop_old, last_checkpoint, sealed_state, step_of
from pipeline.runs.events import ENDINGS, append_event, read_events
from pipeline.runs.folder import BASELINE, CHECKPOINTS, SETTINGS, read_settings, run_dataset
from pipeline.runs.settings import TrainingSettings
from pipeline.runs.status import last_lifecycle
from pipeline.runs.sweep import asks_at_its_end
from pipeline.runs.tracking import as_tracked, check_tracker
from pipeline.training import distributed, reader
from pipeline.training.distillation import Encoded, encode_rows, is_kept, notes_of
from pipeline.training.lora import add_lora, save_adapter
from pipeline.training.out_of_memory import (
    go_on_in_smaller_pieces,
    is_out_of_memory,
    memory_splits,
    split_as_before,
    splits_since_launch,
)
from pipeline.training.plan.plan import Plan, check_base, plan_run
from pipeline.training.threads import ThreadsToFit
from pipeline.training.trainers import make_trainer, trains_as_planned
from pipeline.training.watcher import Follower, Watcher, probe_rows, why_it_failed

NOTES = "base-notes.safetensors"
"""Under `checkpoints/`: what the base said to the general rows of this run (`base_notes.py`)."""

SLOWER_THAN_PLANNED = "This model cannot be trained in the fast way that was planned, so it will take longer"


def run(folder: Path) -> int:
    """Train the run, and write down its end, whatever that is.

    Returns:
        The process's exit code.
    """
    if distributed.starts() > splits_since_launch(folder):
        return 0  # not for want of memory: the run was stopped, or one of its processes failed or was killed
    splits = memory_splits(folder)
    logging.getLogger("trl").setLevel(logging.ERROR)  # it warns of what the trainers see to
    try:
        with as_tracked(read_settings(folder), folder):
            train(folder)
    except BaseException as error:  # whatever it is, the run's end must be written down
        if distributed.count() > 1 and memory_splits(folder) != splits:
            os._exit(1)  # another process ran out of memory: all go on in smaller pieces
        said = explain(error, folder)
        if distributed.is_first():
            drop_old(folder)  # a checkpoint that the disk had no room for makes room
        with suppress(OSError):  # on a disk that is still full, the run's status says so by itself
            # Of several processes the first to fail knows why; the others miss it.
            if distributed.count() == 1 or last_lifecycle(folder).get("type") not in ENDINGS:
                append_event(folder, "failed", message=said)
        if isinstance(error, PipelineError):
            print(error, file=sys.stderr)
        else:
            traceback.print_exc()
        return 1
    return 0


@as_taught()
def train(folder: Path) -> None:
    """Train the run in `folder` from its settings, or from its last whole checkpoint, to its adapter.

    Raises:
        PipelineError: something the user can do something about; the caller writes it down as the run's end.
    """
    settings = read_settings(folder)
    check_tracker(settings)
    dataset = run_dataset(folder)
    fingerprint = fingerprint_of(dataset)
    check_same_dataset(folder, fingerprint)
    rows = dataset.training()
    team = distributed.Team(cpu=device() == "cpu")
    gpu = torch.cuda.is_available()
    free = free_bytes(gpu=gpu)
    free = free if free is None else team.least(free)  # another GPU may have less
    plan = team.from_first(split_as_before(folder, plan_run(settings, rows, gpu=gpu, free=free, processes=team.count)))
    if team.is_first:
        begin(folder, plan, fingerprint)
        append_event(folder, "message", text=f"Loading {settings.base_model}")
    if family_of_base(settings.base_model) is EXTRACTIVE:
        train_reader(folder, settings, dataset, plan, team)
        return
    find_base(settings.base_model)
    check_base(settings, base_shape(settings.base_model))  # once more: it may have been fetched only now
    language_model = load_base(
        settings.base_model,
        load_in_4bit=settings.load_in_4bit,
        precision=settings.precision,
        max_length=settings.max_length,
        prompt_format=settings.prompt_format,
        unpack=plan.unpacked,
    )
    if not team.is_first:
        team.wait()  # all are taught what the first process has noted
        notes = notes_of(language_model, folder / CHECKPOINTS / NOTES)
        encoded = encode_rows(language_model, rows, settings, notes)
        add_lora(language_model, settings, folder)
        trainer = make_trainer(language_model, encoded, settings, plan, folder, Follower(team))
        run_trainer(trainer, None, plan, folder)
        return
    smoke_answer(language_model, rows[0]["prompt"])
    if any(map(is_kept, rows)):
        append_event(folder, "message", text="Noting what the base says to general questions")
    notes = notes_of(language_model, folder / CHECKPOINTS / NOTES)
    encoded = encode_rows(language_model, rows, settings, notes)
    team.wait()
    tell_left_out(encoded, settings, folder)
    held_out = asker_of(language_model).graded(rows, dataset.held_out(), settings.max_length)
    ask_base = partial(freeze_baseline, language_model, held_out, settings, folder)
    # PiSSA takes its part out of the base, which can be asked only before; and who goes on may have been asked already.
    if settings.lora_variant == "pissa" or last_checkpoint(folder):
        ask_base()
        ask_base = None

    add_lora(language_model, settings, folder)
    if not trains_as_planned(language_model.model, plan):
        append_event(folder, "message", text=SLOWER_THAN_PLANNED)
    watcher = Watcher(folder, language_model, probe_rows(held_out), plan, settings, team, ask_base)
    trainer = make_trainer(language_model, encoded, settings, plan, folder, watcher)
    signal.signal(signal.SIGTERM, watcher.on_sigterm)
    run_trainer(trainer, watcher, plan, folder)

    save_adapter(language_model, settings, folder)
    tell_end(folder, watcher, plan)
    ask_at_its_end(language_model, settings, folder, watcher)


def ask_at_its_end(language_model: RunModel, settings: TrainingSettings, folder: Path, watcher: Watcher) -> None:
    """Ask base and tuned all that can be measured, where the run is one of several bases that are tried.

    PiSSA trains beside a base that it changed, so its runs are asked by whoever opens them.
    """
    if not asks_at_its_end(folder) or settings.lora_variant == "pissa" or watcher.stopping:
        return
    append_event(folder, "message", text="Asking base and tuned what they know")
    try:
        write_report(folder, compare(language_model, folder, stopped=lambda: watcher.stopping))
    except (PipelineError, OSError) as error:  # the adapter is there, and can be asked at any time
        append_event(folder, "message", text=f"It could not be asked: {explain(error, folder)}")


def train_reader(
    folder: Path, settings: TrainingSettings, dataset: Dataset, plan: Plan, team: distributed.Team
) -> None:
    """The same for a run whose base is the encoder."""
    run = reader.prepare_reader(dataset, settings)
    held_out = run.graded([], dataset.held_out(), settings.max_length)
    freeze_baseline(run, held_out, settings, folder)
    watcher = Watcher(folder, run, probe_rows(held_out), plan, settings, team)
    trainer = reader.make_reader_trainer(run, settings, plan, folder, watcher)
    signal.signal(signal.SIGTERM, watcher.on_sigterm)
    run_trainer(trainer, watcher, plan, folder)
    reader.choose_threshold(run, dataset.held_out())
    reader.save(run, folder)
    tell_end(folder, watcher, plan)
    ask_at_its_end(run, settings, folder, watcher)


def tell_end(folder: Path, watcher: Watcher, plan: Plan) -> None:
    """Write down how the run ended, once its adapter is there."""
    if watcher.stopping and watcher.steps < plan.steps:
        append_event(folder, "stopped", **watcher.summary())
        return
    (folder / CHECKPOINTS / NOTES).unlink(missing_ok=True)
    drop_old(folder, keep=0)  # the adapter is what a finished run leaves; its checkpoints are many times as large
    rose = why_it_failed(watcher.first_loss, watcher.last_loss)
    said = {"message": watcher.learned or rose, "rose": bool(rose)} if watcher.learned or rose else {}
    append_event(folder, "finished", **watcher.summary(), **said)


def check_same_dataset(folder: Path, fingerprint: str) -> None:
    """Refuse to go on with another dataset than the run began with.

    Raises:
        RunError: its `dataset` folder holds another one now.
    """
    for event in read_events(folder)[0]:
        if event["type"] == "started" and event.get("dataset", fingerprint) != fingerprint:
            raise RunError(
                f"Run {folder.name} began with the dataset {event['dataset']} and has {fingerprint} in its folder now, so it "
                "cannot go on; put that one back, or duplicate the run to train on this one."
            )


def begin(folder: Path, plan: Plan, fingerprint: str) -> None:
    """Tell what will be done: at the first start everything, after that where it goes on."""
    if any(event["type"] == "started" for event in read_events(folder)[0]):
        return
    how = {name: getattr(plan, name) for name in ("processes", "micro_batch", "accumulation", "unpacked")}
    append_event(folder, "started", steps=plan.steps, dataset=fingerprint, **how)
    if plan.adapted:
        append_event(folder, "message", text=f"LoRA on {plan.adapted}")
    for warning in plan.warnings:
        append_event(folder, "message", text=warning)


def freeze_baseline(
    language_model: RunModel, held_out: list[dict[str, Any]], settings: TrainingSettings, folder: Path
) -> None:
    """Ask the base before training; a run that goes on keeps the answers it has.

    Raises:
        RunError: they are those of other weights than are there now.
    """
    with suppress(OSError, ValueError):
        frozen = read_json(folder / BASELINE)
        if frozen["base_sha256"] != asker_of(language_model).origin()["base_sha256"]:
            raise RunError(
                f"{settings.base_model} has other weights now than when this run began, so it cannot go on; "
                "duplicate the run and start that."
            )
        return
    questions = choose_questions(held_out, settings.questions, settings.seed)
    append_event(folder, "message", text=f"Asking the base model {len(questions)} questions")
    ask_baseline(language_model, questions, folder / BASELINE, read_json(folder / SETTINGS))


def run_trainer(trainer: Trainer, watcher: Watcher | None, plan: Plan, folder: Path) -> None:
    """Train to the end, from the last whole checkpoint if there is one; without enough memory, in smaller pieces.

    Args:
        watcher: the first process's, which tells where it begins.
    """
    trainer.add_callback(ThreadsToFit())
    checkpoint = last_checkpoint(folder)
    if watcher and checkpoint:
        watcher.restore(sealed_state(checkpoint) or {})
        append_event(folder, "message", text=f"Going on after step {step_of(checkpoint)} of {plan.steps}")
    elif watcher:
        append_event(folder, "message", text=f"Training {plan.steps} steps")
    try:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except Exception as error:
        if not is_out_of_memory(error) or plan.micro_batch == 1:
            raise
        traceback.print_exc()
        go_on_in_smaller_pieces(plan, folder)
        raise


def smoke_answer(language_model: LanguageModel, prompt: str) -> None:
    """Ask one question, so that a broken model fails before hours are spent on it.

    Raises:
        ModelError: the model computes no finite numbers.
    """
    tokens = encode_prompt(language_model.tokenizer, prompt)
    with torch.no_grad():
        logits = language_model.logits([tokens], [[end_of_answer(language_model.tokenizer)]])[0]
    if not torch.isfinite(logits).all():
        raise ModelError(f"{language_model.base_model} is broken: it answers with no numbers at all; choose another.")
    answer = language_model.generate([tokens], tuned=False, max_new_tokens=4)[0]
    print(f"Smoke answer to {prompt!r}: {answer!r}", flush=True)


def tell_left_out(encoded: Encoded, settings: TrainingSettings, folder: Path) -> None:
    if encoded.left_out:
        of = encoded.left_out + len(encoded.rows)
        text = f"{encoded.left_out} of {of} rows are longer than {settings.max_length} tokens and were left out"
        append_event(folder, "message", text=text)
    if encoded.unsayable:
        said = f"{encoded.unsayable} rows' answers have characters that {settings.base_model} has no token for"
        text = f"{said}, so it cannot say them right"
        append_event(folder, "message", text=text)


def explain(error: BaseException, folder: Path) -> str:
    """What went wrong, in a sentence that says what to do."""
    if isinstance(error, PipelineError):
        return str(error)
    if is_out_of_memory(error):
        return "The memory is not enough; lower the batch size or max_length, or choose a smaller base model."
    # PyTorch and safetensors have errors of their own for a disk that is full.
    if said := disk_problem(error) or disk_full(folder):
        return said
    first_line = (str(error).strip().splitlines() or [""])[0][:200]
    return f"Training failed ({type(error).__name__}: {first_line}); the log has the details."
