"""Transformers' and TRL's trainers with this project's loss (`distillation.py`), and without what adds nothing to the update."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from peft.optimizers import create_loraplus_optimizer
from torch import Tensor
from transformers import PrinterCallback, Trainer, TrainingArguments
from trl import SFTConfig, SFTTrainer

from pipeline.errors import SettingsError
from pipeline.models.family import IGNORED, SEQ2SEQ, padded
from pipeline.models.gpu import on_unsloth
from pipeline.models.language_model import LanguageModel, device, dtype_for
from pipeline.runs.folder import CHECKPOINTS
from pipeline.runs.settings import NO_TRACKER, TrainingSettings
from pipeline.runs.tracking import reported
from pipeline.training.distillation import Encoded, LinearDivergence, Targets, divergence
from pipeline.training.distributed import TIMEOUT, average_gradients
from pipeline.training.isolation import keeps_apart
from pipeline.training.llama.step import FastLlama, covers, rows_are_short
from pipeline.training.padded import PaddedStep, repeats
from pipeline.training.plan.plan import MIXES, Plan
from pipeline.training.plan.ways import FAST_LLAMA, REPEATED
from pipeline.training.watcher import CountingCollator, Follower


class Distilling(Trainer):
    """A trainer with this project's loss, which is divided by the whole update's tokens, an AdamW in one pass, and the gradients
    of several processes averaged in one piece.

    An adapted base has thousands of modules. Trainer goes through all of them several times a step, which takes a GPU's processor
    as long as the step of a small base: here that is left out where nothing comes of it.
    """

    targets: Targets

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        model: Any = self.model
        self.has_begun = False
        self.trained = [weight for weight in model.parameters() if weight.requires_grad]
        self.model_accepts_loss_kwargs = True
        # Without it, the model would be wrapped in DistributedDataParallel.
        self.accelerator.prepare_model = partial(self.accelerator.prepare_model, evaluation_mode=True)

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: Any) -> tuple[list[Any], Any]:
        """The micro-batches of an update, and its learned tokens: of several processes the mean, since their gradients, and
        the losses that are told, are averaged too."""
        batches, items = super().get_batch_samples(epoch_iterator, num_batches, device)
        if self.args.world_size > 1:  # Unsloth puts a count of its own in Transformers' place
            learned = [(batch["labels"] != IGNORED).sum() for batch in batches]
            items = torch.stack(learned).sum().to(device).float()
            torch.distributed.all_reduce(items)
            items /= self.args.world_size
        return batches, items

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        loss = (super().training_step if on_unsloth() else self._step)(model, inputs, num_items_in_batch)
        if self.args.world_size > 1 and self.accelerator.sync_gradients:
            average_gradients(self.trained, self.args.world_size)
        return loss

    def _step(self, model: Any, inputs: dict[str, Any], items: Any) -> Tensor:
        """As in Trainer, of which this is what applies here; but the model is told that it is trained only when that changes."""
        if not (self.has_begun and model.training):  # PEFT's part of it says so from the beginning
            model.train()
            self.has_begun = True
        with self.compute_loss_context_manager():
            loss: Any = self.compute_loss(model, self._prepare_inputs(inputs), num_items_in_batch=items)
        self.accelerator.backward(loss)
        return loss.detach()

    def floating_point_ops(self, inputs: Any) -> int:
        """Nobody asks for them."""
        return 0

    def _clip_grad_norm(self, model: Any) -> Any:
        return self.accelerator.clip_grad_norm_(self.trained, self.args.max_grad_norm)

    @staticmethod
    def get_optimizer_cls_and_kwargs(args: Any, model: Any = None) -> tuple[Any, Any]:
        """As in Trainer, but AdamW is one pass over each weight instead of ten: the same update."""
        kind, options = Trainer.get_optimizer_cls_and_kwargs(args, model)
        if kind is torch.optim.AdamW and args.device.type in ("cpu", "cuda"):
            options["fused"] = True
        return kind, options


class DistillationTrainer(Distilling, SFTTrainer):
    """SFTTrainer with this project's loss, where `FastLlama` computes it."""

    fast_llama: FastLlama | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # TRL asks a mixture's router for its logits, which this loss does not count, and with which no model can answer a probe.
        base: Any = self.model
        config = base.config.get_text_config()
        if getattr(config, "output_router_logits", False):
            config.output_router_logits = False

    def fast_loss(self, model: Any, ids: Tensor, positions: Tensor, following: Tensor, items: Any) -> Tensor | None:
        """The loss of a plain model's batch, laid out as for `FastLlama.loss`; None where its rows are too long for that.

        Args:
            items: learned tokens of the whole update; those of the batch when None.
        """
        if not rows_are_short(positions):
            return None
        self.fast_llama = self.fast_llama or FastLlama(model.get_base_model())
        items = (following != IGNORED).sum() if items is None else items
        return self.fast_llama.loss(ids, positions, following, self.targets) / items


class TransformersTrainer(DistillationTrainer):
    """The trainer on Transformers.

    Where the model keeps them apart, the examples of a batch are one row with borders where a position is 0 (padding-free);
    else each is a row that is filled up, as it is for a `PaddedStep`. The output matrix, a fifth of a small model, is multiplied
    only where a token is learned. A Llama with plain LoRA goes through `FastLlama`, what a GPU can repeat through `PaddedStep`,
    everything else through Transformers and PEFT.

    Attributes:
        padded_step: of a run that is planned so.
    """

    padded_step: PaddedStep | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        model: Any = self.model
        for weight in model.parameters():
            if weight.requires_grad:  # beside weights in 4 bits TRL trains in bf16, in which a small step is lost
                weight.data = weight.data.float()

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        labels = inputs.pop("labels")
        following = labels.flatten().roll(-1)  # an example's first token has no label
        learned = (following != IGNORED).view(labels.shape)
        items = learned.sum() if num_items_in_batch is None else num_items_in_batch
        if self.padded_step and not return_outputs:
            return self.padded_step.loss(inputs["input_ids"], labels, self.targets) / items
        if covers(model) and "position_ids" in inputs and not return_outputs:
            ids, positions = inputs["input_ids"][0], inputs["position_ids"][0]
            loss = self.fast_loss(model, ids, positions, following, items)
            if loss is not None:
                return loss
        places = learned.any(0).nonzero()[:, 0]  # where any of the rows has something to learn
        outputs = model(**inputs, use_cache=False, logits_to_keep=places)
        # Choosing would copy all of them, and their gradient again; of one row they are chosen already.
        logits = outputs.logits[0] if len(labels) == 1 else outputs.logits[learned[:, places]]
        loss = divergence(logits, *self.targets.of(following[learned.flatten()])) / items
        return (loss, outputs) if return_outputs else loss


class UnslothTrainer(DistillationTrainer):
    """The trainer on Unsloth, whose layers it keeps and whose loss it does not: that one knows no targets but tokens, and
    computes the logits of every token, learned or not. A Llama with plain LoRA whose weights are not in 4 bits goes through
    `FastLlama` here too."""

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        from unsloth.models.llama import (  # pyright: ignore[reportMissingImports]
            apply_logit_transforms,
            resolve_logit_scaling,
        )

        labels = inputs.pop("labels")
        if covers(model) and not return_outputs and not getattr(self.args, "packing", False):
            told = inputs["attention_mask"].bool()
            ids, positions, following = inputs["input_ids"][told], (told.cumsum(1) - 1)[told], labels[told].roll(-1)
            loss = self.fast_loss(model, ids, positions, following, num_items_in_batch)
            if loss is not None:
                return loss
        following = labels.flatten().roll(-1)  # a row's first token has no label
        learned = (following != IGNORED).nonzero()[:, 0]
        items = len(learned) if num_items_in_batch is None else num_items_in_batch
        with _hidden_states():
            outputs = model(**inputs)
        x = outputs.logits.flatten(0, 1)[learned]
        base, targets = model.get_base_model(), self.targets.of(following[learned])
        transforms = resolve_logit_scaling(base.config)
        if any(transforms):  # Gemma 2's
            loss = divergence(apply_logit_transforms(base.lm_head(x), *transforms), *targets)
        else:
            loss = LinearDivergence.apply(x.to(base.lm_head.weight.dtype), base.lm_head.weight, *targets)
        loss = loss / items
        return (loss, outputs) if return_outputs else loss


class Seq2SeqTrainer(Distilling):
    """The trainer of a base with an encoder: rows are filled up, and the decoder says the answers alone."""

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        labels = inputs.pop("labels")
        learned = labels != IGNORED
        items = learned.sum() if num_items_in_batch is None else num_items_in_batch
        outputs = model(**inputs, use_cache=False)
        loss = divergence(outputs.logits[learned], *self.targets.of(labels[learned])) / items
        return (loss, outputs) if return_outputs else loss


class Seq2SeqCollator:
    """Rows of `Seq2Seq.row` → a batch, filled up.

    Attributes:
        pad, start: the tokens that fill up, and that the decoder starts from.
    """

    def __init__(self, pad: int, start: int) -> None:
        self.pad, self.start = pad, start

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, Tensor]:
        prompts, answers = ([row[name] for row in features] for name in ("input_ids", "answer"))
        labels = padded([row["labels"] for row in features], IGNORED, None)["input_ids"]
        return SEQ2SEQ.inputs(prompts, answers, pad=self.pad, start=self.start) | {"labels": labels}


@contextmanager
def _hidden_states() -> Iterator[None]:
    """Let Unsloth's models return the last hidden states where logits would be."""
    os.environ["UNSLOTH_RETURN_HIDDEN_STATES"] = "1"
    try:
        yield
    finally:
        os.environ["UNSLOTH_RETURN_HIDDEN_STATES"] = "0"


def arguments_of(settings: TrainingSettings, plan: Plan, folder: Path) -> dict[str, Any]:
    """What every trainer of a run is told, by the names of Transformers."""
    dtype = dtype_for(settings.precision)
    return {
        "output_dir": str(folder / CHECKPOINTS),
        "max_steps": plan.steps,
        "per_device_train_batch_size": plan.micro_batch,
        "gradient_accumulation_steps": plan.accumulation,
        "learning_rate": settings.learning_rate,
        "lr_scheduler_type": settings.lr_scheduler_type,
        "warmup_steps": settings.warmup_ratio,
        "weight_decay": settings.weight_decay,
        "optim": settings.optim,
        "max_grad_norm": settings.max_grad_norm,
        "bf16": dtype == torch.bfloat16,
        "fp16": dtype == torch.float16,
        "use_cpu": device() == "cpu",
        "logging_steps": settings.logging_steps,
        "logging_nan_inf_filter": False,  # it would log 0 where the loss is not a number
        "seed": settings.seed,
        "save_strategy": "no",
        **reported(settings, folder),
        "disable_tqdm": True,
        "dataloader_pin_memory": torch.cuda.is_available(),
    }


def make_trainer(
    language_model: LanguageModel,
    encoded: Encoded,
    settings: TrainingSettings,
    plan: Plan,
    folder: Path,
    watcher: Follower,
) -> Distilling:
    """The trainer of a run, of the kind that its base needs.

    Raises:
        SettingsError: examples would be packed that the base does not keep apart.
    """
    if settings.packing and language_model.family is SEQ2SEQ:
        raise SettingsError(MIXES.format(name=settings.base_model))
    make = _seq2seq_trainer if language_model.family is SEQ2SEQ else _causal_trainer
    made = make(language_model, encoded, settings, plan, folder, watcher)
    made.targets = encoded.targets
    watcher.collator = made.data_collator = CountingCollator(made.data_collator)
    follow(made, watcher, settings)
    return made


def _seq2seq_trainer(
    language_model: LanguageModel,
    encoded: Encoded,
    settings: TrainingSettings,
    plan: Plan,
    folder: Path,
    watcher: Follower,
) -> Seq2SeqTrainer:
    model: Any = language_model.model
    arguments: dict[str, Any] = arguments_of(settings, plan, folder) | {"fp16": False}  # `Seq2Seq.dtype`
    config = TrainingArguments(
        **arguments,
        gradient_checkpointing=settings.gradient_checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False},  # else what is frozen would need gradients
        remove_unused_columns=False,
        ddp_timeout=int(TIMEOUT.total_seconds()),
    )
    return Seq2SeqTrainer(
        model=model,
        args=config,
        train_dataset=encoded.rows,  # pyright: ignore[reportArgumentType]
        data_collator=Seq2SeqCollator(language_model.tokenizer.pad_token_id, SEQ2SEQ.start(model)),
        processing_class=language_model.tokenizer,
        callbacks=[watcher],
        optimizers=(loraplus_optimizer(language_model, config, settings), None),  # pyright: ignore[reportArgumentType]
    )


def _causal_trainer(
    language_model: LanguageModel,
    encoded: Encoded,
    settings: TrainingSettings,
    plan: Plan,
    folder: Path,
    watcher: Follower,
) -> DistillationTrainer:
    trainer = UnslothTrainer if on_unsloth() else TransformersTrainer
    padded_step = None
    if plan.way == REPEATED and trains_as_planned(language_model.model, plan):
        padded_step = PaddedStep(language_model.model.get_base_model())
    padding_free = not on_unsloth() and not padded_step and keeps_apart(language_model.model.get_base_model())
    if settings.packing and not on_unsloth() and not padding_free:
        raise SettingsError(MIXES.format(name=settings.base_model))
    config = SFTConfig(
        **arguments_of(settings, plan, folder),
        max_length=settings.max_length if settings.packing or not padding_free else None,  # encode_rows saw to it
        packing=settings.packing,
        padding_free=padding_free,
        loss_type="nll",  # TRL's own way to skip ignored positions is what these trainers replace
        gradient_checkpointing=settings.gradient_checkpointing,
        dataset_num_proc=None if len(encoded.rows) < 10_000 else settings.dataset_num_proc,
        ddp_timeout=int(TIMEOUT.total_seconds()),
    )
    made = trainer(
        model=language_model.model,
        args=config,
        train_dataset=encoded.rows,
        processing_class=language_model.tokenizer,
        callbacks=[watcher],
        optimizers=(loraplus_optimizer(language_model, config, settings), None),
    )
    if isinstance(made, TransformersTrainer):
        made.padded_step = padded_step
    return made


def trains_as_planned(model: Any, plan: Plan) -> bool:
    """Whether a model can be trained in the fast way that was planned."""
    if plan.way == FAST_LLAMA:
        return covers(model)
    return plan.way != REPEATED or (not on_unsloth() and repeats(model, max(plan.lengths.whole)))


def follow(trainer: Trainer, watcher: Follower, settings: TrainingSettings) -> None:
    """Let the watcher tell each step, and the tracker, where there is one, all that the watcher knows."""
    trainer.remove_callback(PrinterCallback)  # the events tell each step; the log is for what goes wrong
    if settings.tracker != NO_TRACKER:
        watcher.report = trainer.log


def loraplus_optimizer(language_model: LanguageModel, config: TrainingArguments, settings: TrainingSettings) -> Any:
    """LoRA+'s optimizer, or None where the trainer's own is wanted."""
    if settings.loraplus_lr_ratio == 1:
        return None
    optimizer, options = Trainer.get_optimizer_cls_and_kwargs(config, language_model.model)
    return create_loraplus_optimizer(
        language_model.model,
        optimizer,
        loraplus_lr_ratio=settings.loraplus_lr_ratio,
        loraplus_weight_decay=settings.weight_decay,
        **options,
    )
