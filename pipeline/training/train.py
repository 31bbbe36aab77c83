"""The child process that trains: `python -m pipeline.training.train RUN_DIR`.

It reads the run folder's settings and dataset and writes everything it has to say into the same folder: the base's
answers, events, and at the end the adapter. SIGTERM ends it after the step it is in, with a usable adapter.
"""
# ruff: noqa: E402  (SIGTERM must be heard before the seconds that importing torch takes)

import math
import os
import re
import resource
import signal
import sys
import time
import traceback
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipeline.training.runs import ADAPTER, BASELINE, CHECKPOINTS, append_event, read_settings, run_dataset


def stop_before_training(*_: Any) -> None:
    """SIGTERM while there is nothing to save yet."""
    append_event(Path(sys.argv[1]), "stopped", message="Stopped before the first step, so there is no adapter.")
    os._exit(0)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, stop_before_training)

from pipeline.answering import models  # before TRL and PEFT, which Unsloth must patch first

# isort: split
import torch
from datasets import Dataset as HuggingFaceDataset
from peft import LoraConfig, get_peft_model
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from trl import SFTConfig, SFTTrainer

from pipeline.answering.answers import ask_rows
from pipeline.answering.baseline import ask_baseline, choose_questions, taught_rows
from pipeline.answering.models import LanguageModel
from pipeline.answering.prompts import UNKNOWN, encode_example, encode_prompt
from pipeline.answering.scoring import RIGHT
from pipeline.data.examples import PROBE
from pipeline.errors import ModelError, PipelineError, SettingsError, disk_problem
from pipeline.files import whole_folder, write_json
from pipeline.training.lean import IGNORED, LeanTrainer
from pipeline.training.plan import Plan, plan_run
from pipeline.training.settings import TrainingSettings

PROBE_QUESTIONS = 32
"""Held-out questions a probe asks at most: enough to see recall grow, few enough to take seconds."""

PROBE_SPARE_TOKENS = 16


class LossNotANumber(PipelineError):
    """The loss became NaN or infinite."""


def train(folder: Path) -> None:
    """Train the run in `folder` from its settings to its adapter.

    Raises:
        PipelineError: something the user can do something about; the caller writes it down as the run's end.
    """
    settings = read_settings(folder)
    dataset = run_dataset(folder)
    rows = dataset.training()
    plan = plan_run(settings, rows, gpu=torch.cuda.is_available())
    append_event(folder, "started", steps=plan.steps, micro_batch=plan.micro_batch, accumulation=plan.accumulation)
    for warning in plan.warnings:
        append_event(folder, "message", text=warning)

    append_event(folder, "message", text=f"Loading {settings.base_model}")
    language_model = models.load_base(
        settings.base_model,
        load_in_4bit=settings.load_in_4bit,
        precision=settings.precision,
        max_length=settings.max_length,
    )
    smoke_answer(language_model, rows[0]["prompt"])
    encoded = encode_rows(language_model, rows, settings, folder)
    held_out = taught_rows(language_model.tokenizer, rows, dataset.held_out(), settings.max_length)
    questions = choose_questions(held_out, settings.questions, settings.seed)
    append_event(folder, "message", text=f"Asking the base model {len(questions)} questions")
    ask_baseline(language_model, questions, folder / BASELINE)

    add_lora(language_model, settings)
    watcher = Watcher(folder, language_model, probe_rows(held_out), plan, settings)
    trainer = make_trainer(language_model, encoded, settings, plan, folder, watcher)
    watcher.collator = trainer.data_collator = CountingCollator(trainer.data_collator)
    signal.signal(signal.SIGTERM, watcher.on_sigterm)
    append_event(folder, "message", text=f"Training {plan.steps} steps")
    trainer.train()
    save_adapter(language_model, settings, folder)
    append_event(folder, "stopped" if watcher.stopping else "finished", **watcher.summary())


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


def encode_rows(
    language_model: LanguageModel, rows: list[dict[str, Any]], settings: TrainingSettings, folder: Path
) -> HuggingFaceDataset:
    """Tokens and labels of the training rows; rows over `max_length` are left out and counted, never cut.

    Raises:
        SettingsError: no row is short enough.
    """
    encoded = []
    for row in rows:
        example = encode_example(language_model.tokenizer, row["prompt"], row["response"])
        if len(example["input_ids"]) > settings.max_length:
            continue
        mask = example["completion_mask"] if settings.completion_only_loss else [1] * len(example["input_ids"])
        labels = [t if m else IGNORED for t, m in zip(example["input_ids"], mask, strict=True)]
        encoded.append({"input_ids": example["input_ids"], "labels": labels})
    if not encoded:
        raise SettingsError(f"Every row is longer than max_length ({settings.max_length} tokens); raise max_length.")
    if len(encoded) < len(rows):
        left_out = len(rows) - len(encoded)
        text = f"{left_out} of {len(rows)} rows are longer than {settings.max_length} tokens and were left out"
        append_event(folder, "message", text=text)
    return HuggingFaceDataset.from_list(encoded)


def add_lora(language_model: LanguageModel, settings: TrainingSettings) -> None:
    """Wrap the base in a fresh LoRA adapter."""
    options: dict[str, Any] = {
        "r": settings.lora_r,
        "lora_alpha": settings.lora_alpha,
        "lora_dropout": settings.lora_dropout,
        "target_modules": list(settings.target_modules),
        "bias": "none",
    }
    torch.manual_seed(settings.seed)
    if models.on_unsloth():
        from unsloth import FastLanguageModel  # pyright: ignore[reportMissingImports]

        checkpointing = "unsloth" if settings.gradient_checkpointing else False
        language_model.model = FastLanguageModel.get_peft_model(
            language_model.model, **options, use_gradient_checkpointing=checkpointing, random_state=settings.seed
        )
    else:
        config = LoraConfig(**options, task_type="CAUSAL_LM")
        language_model.model = get_peft_model(language_model.model, config)
    language_model.adapter = "in training"


def probe_rows(held_out: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The held-out rows that probes ask: the facts' probe phrasings, evenly thinned where there are many."""
    rows = [r for r in held_out if r["template"].endswith(PROBE) and r["kind"] != UNKNOWN]
    return rows[:: math.ceil(len(rows) / PROBE_QUESTIONS)] if rows else []


def make_trainer(
    language_model: LanguageModel,
    encoded: HuggingFaceDataset,
    settings: TrainingSettings,
    plan: Plan,
    folder: Path,
    watcher: "Watcher",
) -> SFTTrainer:
    dtype = models.dtype_for(settings.precision)
    # Unsloth has its own way to all that LeanTrainer does.
    trainer, padding_free = (SFTTrainer, False) if models.on_unsloth() else (LeanTrainer, True)
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
        loss_type="nll"
        if padding_free
        else None,  # TRL's own way to skip ignored positions is what LeanTrainer replaces
        bf16=dtype == torch.bfloat16,
        fp16=dtype == torch.float16,
        use_cpu=models.device() == "cpu",
        gradient_checkpointing=settings.gradient_checkpointing,
        logging_steps=settings.logging_steps,
        logging_nan_inf_filter=False,  # it would log 0 where the loss is not a number
        dataset_num_proc=None if len(encoded) < 10_000 else settings.dataset_num_proc,
        seed=settings.seed,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=torch.cuda.is_available(),
    )
    return trainer(
        model=language_model.model,
        args=config,
        train_dataset=encoded,
        processing_class=language_model.tokenizer,
        callbacks=[watcher],
    )


class CountingCollator:
    """A data collator that notes the tokens of each micro-batch, padding apart.

    The trainer takes a batch ahead, so each note is taken out when its batch has been trained on.
    """

    def __init__(self, collate: Any) -> None:
        self.collate = collate
        self.sizes: deque[int] = deque()

    def __call__(self, features: list[dict[str, Any]], *args: Any) -> Any:
        self.sizes.append(sum(len(f["input_ids"]) for f in features))
        return self.collate(features, *args)

    def taken(self) -> int:
        """The tokens of the oldest micro-batch that is noted; 0 where a trainer of its own kind has noted none."""
        return self.sizes.popleft() if self.sizes else 0


class Watcher(TrainerCallback):
    """Writes the run's events: each logged step, recall at intervals, and the numbers for its end."""

    collator: CountingCollator

    def __init__(
        self,
        folder: Path,
        language_model: LanguageModel,
        probe: list[dict[str, Any]],
        plan: Plan,
        settings: TrainingSettings,
    ) -> None:
        self.folder = folder
        self.language_model = language_model
        self.probe = probe
        self.probe_every = math.ceil(plan.steps / settings.probes) if settings.probes and probe else 0
        self.next_probe = self.probe_every
        self.stopping = False
        self.losses: list[float] = []
        self.steps = 0
        self.probe_seconds = 0.0
        self.started = self.last_time = time.monotonic()
        self.tokens = self.last_tokens = 0

    def on_sigterm(self, *_: Any) -> None:
        self.stopping = True

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.started = self.last_time = time.monotonic()
        if self.probe_every:
            self._ask_probe(0)

    def on_substep_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.tokens += self.collator.taken()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.tokens += self.collator.taken()
        self.steps = state.global_step
        if self.stopping:
            control.should_training_stop = control.should_log = True
        if state.global_step == state.max_steps:  # the last step is told even where `logging_steps` passes over it
            control.should_log = True

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        logs: dict[str, Any] = kwargs["logs"]
        if "loss" not in logs:
            return
        loss = float(logs["loss"])
        if not math.isfinite(loss):
            raise LossNotANumber(
                f"The loss is not a number any more at step {state.global_step}; lower the learning rate and start again."
            )
        self.losses.append(loss)
        grad_norm = float(logs.get("grad_norm") or 0.0)
        now = time.monotonic()
        append_event(
            self.folder,
            "step",
            step=state.global_step,
            total=state.max_steps,
            loss=loss,
            learning_rate=float(logs["learning_rate"]),
            grad_norm=grad_norm if math.isfinite(grad_norm) else None,  # JSON has no NaN
            tokens_per_second=round((self.tokens - self.last_tokens) / (now - self.last_time), 1),
            memory_bytes=peak_memory(),
        )
        self.last_time, self.last_tokens = now, self.tokens
        # After the step's own event, so that a plot never shows a probe of a step that it has not drawn yet.
        if self.probe_every and (state.global_step >= self.next_probe or state.global_step == state.max_steps):
            self.next_probe = (state.global_step // self.probe_every + 1) * self.probe_every
            self._ask_probe(state.global_step)

    def _ask_probe(self, step: int) -> None:
        begun = time.monotonic()
        # At step 0 the adapter changes nothing: switched off, it gives the same answers in less time.
        answers = ask_rows(self.language_model, self.probe, tuned=step > 0, spare_tokens=PROBE_SPARE_TOKENS)
        shown = [
            {"title": r["title"], "question": r["question"], "expected": r["response"], **a}
            for r, a in zip(self.probe, answers, strict=True)
        ]
        right = sum(a["verdict"] == RIGHT for a in answers)
        append_event(self.folder, "probe", step=step, right=right, total=len(answers), answers=shown)
        self.last_time = time.monotonic()
        self.probe_seconds += self.last_time - begun

    def summary(self) -> dict[str, Any]:
        """The numbers of `comparison.json`'s `training`: seconds and tokens a second leave the probes out."""
        seconds = self.last_time - self.started - self.probe_seconds
        return {
            "steps": self.steps,
            "first_loss": self.losses[0] if self.losses else None,
            "last_loss": self.losses[-1] if self.losses else None,
            "seconds": round(seconds, 1),
            "probe_seconds": round(self.probe_seconds, 1),
            "tokens_per_second": round(self.tokens / seconds, 1) if seconds else 0.0,
            "peak_memory_bytes": peak_memory(),
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


def save_adapter(language_model: LanguageModel, settings: TrainingSettings, folder: Path) -> None:
    """Save adapter, tokenizer and the base's checksum; the folder appears only when it is whole."""
    with whole_folder(folder / ADAPTER) as aside:
        # The name the user chose, not the folder that it was loaded from on this machine.
        language_model.model.peft_config["default"].base_model_name_or_path = settings.base_model
        language_model.model.save_pretrained(aside)
        language_model.tokenizer.save_pretrained(aside)
        origin = {"base_model": language_model.base_model, "base_sha256": language_model.base_sha256}
        write_json(aside / models.ADAPTER_ORIGIN, origin)


def explain(error: BaseException) -> str:
    """What went wrong, in a sentence that says what to do."""
    if isinstance(error, PipelineError):
        return str(error)
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or "out of memory" in str(error).lower():
        return "The memory is not enough; lower the batch size or max_length, or choose a smaller base model."
    if said := disk_problem(error):
        return said
    first_line = (str(error).strip().splitlines() or [""])[0][:200]
    return f"Training failed ({type(error).__name__}: {first_line}); the log has the details."


def main() -> int:
    folder = Path(sys.argv[1])
    try:
        train(folder)
    except BaseException as error:  # whatever it is, the run's end must be written down
        if isinstance(error, PipelineError):
            print(error, file=sys.stderr)
        else:
            traceback.print_exc()
        append_event(folder, "failed", message=explain(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
