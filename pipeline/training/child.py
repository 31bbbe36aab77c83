"""The child process that trains: `python -m pipeline.training.child RUN_DIR`, or `--wait WORD` to be told the run later.

It reads the run folder's settings and dataset and writes everything it has to say into the same folder: the base's
answers, events, checkpoints, and at the end the adapter. Where there is a whole checkpoint it goes on from there. Of
several such processes that share a run (`distributed`), the first one does all that is said here and the others train.
SIGTERM ends it after the step it is in, with a checkpoint and a usable adapter.
"""
# ruff: noqa: E402  (SIGTERM must be heard before the seconds that importing torch takes)

import logging
import os
import signal
import sys
import traceback
from contextlib import nullcontext, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pipeline.errors import ModelError, PipelineError, RunError, disk_full, disk_problem
from pipeline.machine import free_bytes
from pipeline.models.bases import want_unsloth
from pipeline.runs import standby
from pipeline.runs.events import ENDINGS, append_event, read_events
from pipeline.runs.folder import ADAPTER, ANSWERED, BASELINE, CHECKPOINTS, STOPPED_EARLY, read_settings, run_dataset
from pipeline.runs.processes import training_command
from pipeline.runs.settings import gpu_name
from pipeline.runs.status import last_lifecycle
from pipeline.training import distributed
from pipeline.training.plan.plan import Plan, plan_run


def stop_before_training(*_: Any) -> None:
    """SIGTERM while there is nothing to save yet."""
    append_event(Path(sys.argv[1]), "stopped", message=STOPPED_EARLY)
    os._exit(0 if distributed.count() == 1 else 1)  # an error, so that the others are ended too


def needs_unsloth(folder: Path) -> bool:
    """Whether this run trains through Unsloth's layers where it is installed: all that `LeanLlama` does not cover."""
    if find_spec("unsloth") is None:
        return False
    import torch  # not patched by Unsloth, so it may come before

    gpu = bool(gpu_name()) or torch.cuda.is_available()
    if not gpu:
        return False
    with suppress(PipelineError, OSError, ValueError, LookupError):  # said again, and written down, when it trains
        rows = run_dataset(folder).training()
        return not plan_run(read_settings(folder), rows, gpu=True, processes=distributed.count()).lean
    return False


if __name__ == "__main__" and sys.argv[1] == standby.WAIT:
    signal.signal(signal.SIGTERM, standby.stop_untold)
elif __name__ == "__main__":
    distributed.take_own_gpu()
    if distributed.is_first():
        signal.signal(signal.SIGTERM, stop_before_training)
    if needs_unsloth(Path(sys.argv[1])):
        want_unsloth()

from pipeline.models import language_model as models
from pipeline.models.loading import load_base

# isort: split
import torch
from peft import LoraConfig, get_peft_model
from peft.optimizers import create_loraplus_optimizer
from transformers import PrinterCallback
from trl import SFTConfig, SFTTrainer

from pipeline.answering.baseline import ask_baseline, choose_questions, taught_rows
from pipeline.files import read_json, whole_folder, write_json
from pipeline.models.language_model import LanguageModel
from pipeline.prompts import encode_prompt
from pipeline.runs.checkpoints import drop_old, last_checkpoint, sealed_state, step_of
from pipeline.runs.settings import TrainingSettings
from pipeline.training.adapter_strength import check_rows, soften
from pipeline.training.distillation import Encoded, encode_rows, is_kept
from pipeline.training.out_of_memory import (
    go_on_in_smaller_pieces,
    is_out_of_memory,
    memory_splits,
    split_as_before,
    splits_since_launch,
)
from pipeline.training.trainers import LeanTrainer, UnslothTrainer
from pipeline.training.watcher import CountingCollator, Follower, Watcher, probe_rows

PISSA_START = "pissa-start"
"""Under `checkpoints/`: PiSSA's adapter before its first step, which turns the trained one into a plain LoRA adapter."""


def train(folder: Path) -> None:
    """Train the run in `folder` from its settings, or from its last whole checkpoint, to its adapter.

    Raises:
        PipelineError: something the user can do something about; the caller writes it down as the run's end.
    """
    settings = read_settings(folder)
    dataset = run_dataset(folder)
    rows = dataset.training()
    team = distributed.Team(cpu=models.device() == "cpu")
    gpu = torch.cuda.is_available()
    free = free_bytes(gpu=gpu)
    free = free if free is None else team.least(free)  # another GPU may have less
    plan = team.from_first(split_as_before(folder, plan_run(settings, rows, gpu=gpu, free=free, processes=team.count)))
    if team.is_first:
        begin(folder, plan)
        append_event(folder, "message", text=f"Loading {settings.base_model}")
    language_model = load_base(
        settings.base_model,
        load_in_4bit=settings.load_in_4bit,
        precision=settings.precision,
        max_length=settings.max_length,
        unpack=plan.unpacked,
    )
    if not team.is_first:
        encoded = encode_rows(language_model, rows, settings)
        add_lora(language_model, settings, folder)
        trainer = make_trainer(language_model, encoded, settings, plan, folder, Follower(team))
        run_trainer(trainer, None, plan, folder)
        return
    smoke_answer(language_model, rows[0]["prompt"])
    if any(map(is_kept, rows)):
        append_event(folder, "message", text="Noting what the base says to general questions")
    encoded = encode_rows(language_model, rows, settings)
    tell_left_out(encoded, settings, folder)
    held_out = taught_rows(language_model.tokenizer, rows, dataset.held_out(), settings.max_length)
    freeze_baseline(language_model, held_out, settings, folder)

    add_lora(language_model, settings, folder)
    watcher = Watcher(folder, language_model, probe_rows(held_out), plan, settings, team)
    trainer = make_trainer(language_model, encoded, settings, plan, folder, watcher)
    signal.signal(signal.SIGTERM, watcher.on_sigterm)
    run_trainer(trainer, watcher, plan, folder)

    strength = soften_adapter(language_model, held_out, settings, watcher)
    save_adapter(language_model, settings, folder)
    if watcher.stopping and watcher.steps < plan.steps:
        append_event(folder, "stopped", **watcher.summary())
        return
    drop_old(folder, keep=0)  # the adapter is what a finished run leaves; its checkpoints are many times as large
    learned = {"message": watcher.learned} if watcher.learned else {}
    append_event(folder, "finished", **watcher.summary(), strength=strength, **learned)


def begin(folder: Path, plan: Plan) -> None:
    """Tell what will be done: at the first start everything, after that where it goes on."""
    if any(event["type"] == "started" for event in read_events(folder)[0]):
        return
    how = {name: getattr(plan, name) for name in ("processes", "micro_batch", "accumulation", "unpacked")}
    append_event(folder, "started", steps=plan.steps, **how)
    for warning in plan.warnings:
        append_event(folder, "message", text=warning)


def freeze_baseline(
    language_model: LanguageModel, held_out: list[dict[str, Any]], settings: TrainingSettings, folder: Path
) -> None:
    """Ask the base before training; a run that goes on keeps the answers it has.

    Raises:
        RunError: they are those of other weights than are there now.
    """
    with suppress(OSError, ValueError):
        frozen = read_json(folder / BASELINE)
        if frozen["base_sha256"] != language_model.base_sha256:
            raise RunError(
                f"{settings.base_model} has other weights now than when this run began, so it cannot go on; "
                "duplicate the run and start that."
            )
        return
    questions = choose_questions(held_out, settings.questions, settings.seed)
    append_event(folder, "message", text=f"Asking the base model {len(questions)} questions")
    ask_baseline(language_model, questions, folder / BASELINE, settings.as_dict())


def run_trainer(trainer: SFTTrainer, watcher: Watcher | None, plan: Plan, folder: Path) -> None:
    """Train to the end, from the last whole checkpoint if there is one; without enough memory, in smaller pieces.

    Args:
        watcher: the first process's, which tells where it begins.
    """
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
        logits = language_model.model(torch.tensor([tokens], device=language_model.model.device)).logits
    if not torch.isfinite(logits[:, -1]).all():
        raise ModelError(f"{language_model.base_model} is broken: it answers with no numbers at all; choose another.")
    answer = language_model.generate([tokens], tuned=False, max_new_tokens=16)[0]
    print(f"Smoke answer to {prompt!r}: {answer!r}", flush=True)


def tell_left_out(encoded: Encoded, settings: TrainingSettings, folder: Path) -> None:
    if encoded.left_out:
        of = encoded.left_out + len(encoded.rows)
        text = f"{encoded.left_out} of {of} rows are longer than {settings.max_length} tokens and were left out"
        append_event(folder, "message", text=text)


def add_lora(language_model: LanguageModel, settings: TrainingSettings, folder: Path) -> None:
    """Wrap the base in a fresh LoRA adapter."""
    options: dict[str, Any] = {
        "r": settings.lora_r,
        "lora_alpha": settings.lora_alpha,
        "lora_dropout": settings.lora_dropout,
        "target_modules": list(settings.target_modules),
        "bias": "none",
        "use_rslora": settings.lora_variant == "rslora",
        "use_dora": settings.lora_variant == "dora",
    }
    torch.manual_seed(settings.seed)
    if models.on_unsloth():
        from unsloth import FastLanguageModel  # pyright: ignore[reportMissingImports]

        checkpointing = "unsloth" if settings.gradient_checkpointing else False
        language_model.model = FastLanguageModel.get_peft_model(
            language_model.model, **options, use_gradient_checkpointing=checkpointing, random_state=settings.seed
        )
    else:
        start = "pissa" if settings.lora_variant == "pissa" else True
        config = LoraConfig(**options, init_lora_weights=start, task_type="CAUSAL_LM")
        # Made there, and not moved in 1,300 pieces. Several processes must draw the same, which unlike GPUs would not.
        with language_model.model.device if distributed.count() == 1 else nullcontext():
            language_model.model = get_peft_model(language_model.model, config)
        if settings.lora_variant == "pissa":
            language_model.model.save_pretrained(folder / CHECKPOINTS / PISSA_START)
    language_model.adapter = "in training"


def make_trainer(
    language_model: LanguageModel,
    encoded: Encoded,
    settings: TrainingSettings,
    plan: Plan,
    folder: Path,
    watcher: Follower,
) -> SFTTrainer:
    dtype = models.dtype_for(settings.precision)
    trainer, padding_free = (UnslothTrainer, False) if models.on_unsloth() else (LeanTrainer, True)
    config = SFTConfig(
        output_dir=str(folder / CHECKPOINTS),
        max_steps=plan.steps,
        per_device_train_batch_size=plan.micro_batch,
        gradient_accumulation_steps=plan.accumulation,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.lr_scheduler_type,
        warmup_steps=settings.warmup_ratio,
        weight_decay=settings.weight_decay,
        optim=settings.optim,
        max_grad_norm=settings.max_grad_norm,
        max_length=settings.max_length if settings.packing or not padding_free else None,  # encode_rows saw to it
        packing=settings.packing,
        padding_free=padding_free,
        loss_type="nll",  # TRL's own way to skip ignored positions is what these trainers replace
        bf16=dtype == torch.bfloat16,
        fp16=dtype == torch.float16,
        use_cpu=models.device() == "cpu",
        gradient_checkpointing=settings.gradient_checkpointing,
        logging_steps=settings.logging_steps,
        logging_nan_inf_filter=False,  # it would log 0 where the loss is not a number
        dataset_num_proc=None if len(encoded.rows) < 10_000 else settings.dataset_num_proc,
        seed=settings.seed,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=torch.cuda.is_available(),
        ddp_timeout=int(distributed.PATIENCE.total_seconds()),
    )
    made = trainer(
        model=language_model.model,
        args=config,
        train_dataset=encoded.rows,
        processing_class=language_model.tokenizer,
        callbacks=[watcher],
        optimizers=(loraplus_optimizer(language_model, config, settings), None),
    )
    made.targets = encoded.targets
    watcher.collator = made.data_collator = CountingCollator(made.data_collator)
    made.remove_callback(PrinterCallback)  # the events tell each step; the log is for what goes wrong
    return made


def loraplus_optimizer(language_model: LanguageModel, config: SFTConfig, settings: TrainingSettings) -> Any:
    """LoRA+'s optimizer, or None where the trainer's own is wanted."""
    if settings.loraplus_lr_ratio == 1:
        return None
    optimizer, options = SFTTrainer.get_optimizer_cls_and_kwargs(config, language_model.model)
    return create_loraplus_optimizer(
        language_model.model,
        optimizer,
        loraplus_lr_ratio=settings.loraplus_lr_ratio,
        loraplus_weight_decay=settings.weight_decay,
        **options,
    )


def soften_adapter(
    language_model: LanguageModel, held_out: list[dict[str, Any]], settings: TrainingSettings, watcher: Watcher
) -> float:
    """Weaken an adapter that has learned everything as far as it may be; returns its strength."""
    if watcher.stopping:
        return 1.0
    append_event(watcher.folder, "message", text="Looking for the weakest adapter that still knows everything")
    strength = soften(language_model, check_rows(held_out), settings, stopped=lambda: watcher.stopping)
    if strength < 1:
        text = f"The adapter is kept at {strength:.0%} of its strength: it knows as much, and less of what the base knew is lost"
        append_event(watcher.folder, "message", text=text)
    return strength


def save_adapter(language_model: LanguageModel, settings: TrainingSettings, folder: Path) -> None:
    """Save adapter, tokenizer and the base's checksum; the folder appears only when it is whole."""
    start = folder / CHECKPOINTS / PISSA_START
    # PiSSA trains beside a base that it changed; what is saved is a plain adapter of twice the rank for the real base.
    convert = {"path_initial_model_for_weight_conversion": str(start)} if settings.lora_variant == "pissa" else {}
    with whole_folder(folder / ADAPTER) as aside:
        # The name the user chose, not the folder that it was loaded from on this machine.
        language_model.model.peft_config["default"].base_model_name_or_path = settings.base_model
        language_model.model.save_pretrained(aside, **convert)
        language_model.tokenizer.save_pretrained(aside)
        origin = {"base_model": language_model.base_model, "base_sha256": language_model.base_sha256}
        write_json(aside / models.ADAPTER_ORIGIN, origin)
    for name in ANSWERED:  # by the adapter that was there before
        (folder / name).unlink(missing_ok=True)


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


def main() -> int:
    folder = Path(sys.argv[1])
    if distributed.starts() > splits_since_launch(folder):
        return 0  # not for want of memory: the run was stopped, or one of its processes failed or was killed
    splits = memory_splits(folder)
    logging.getLogger("trl").setLevel(logging.ERROR)  # it warns of what the trainers see to
    try:
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


def wait_for_a_run() -> None:
    """Become the training process of the run that is told; where Unsloth must be imported first, a new one."""
    folder = standby.be_told()
    sys.argv[1:] = [str(folder)]
    signal.signal(signal.SIGTERM, stop_before_training)
    sys.orig_argv = training_command(folder, count=1, restarts=0)  # with what it begins anew, if it has to
    if needs_unsloth(folder):
        os.execv(sys.executable, sys.orig_argv)


if __name__ == "__main__":
    if sys.argv[1] == standby.WAIT:
        wait_for_a_run()
    sys.exit(main())
