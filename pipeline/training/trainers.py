"""TRL's trainer with this project's loss (`targets.py`), and without what adds nothing to the update."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from trl import SFTTrainer

from pipeline.training.lean import LeanLlama, has_short_rows, is_plain
from pipeline.training.targets import IGNORED, LinearDivergence, Targets, divergence


class LeanTrainer(SFTTrainer):
    """SFTTrainer on Transformers.

    A batch is one row with borders where a position is 0 (padding-free), and the output matrix, a fifth of a small
    model, is multiplied only where a token is learned. A Llama with plain LoRA goes through `LeanLlama`, everything else
    through Transformers and PEFT, which make a mask with the borders.
    """

    targets: Targets
    lean: LeanLlama | None = None

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        following = inputs.pop("labels")[0].roll(-1)  # padding-free: an example's first token has no label
        learned = (following != IGNORED).nonzero()[:, 0]
        items = len(learned) if num_items_in_batch is None else num_items_in_batch
        ids, positions = inputs["input_ids"][0], inputs["position_ids"][0]
        if is_plain(model) and has_short_rows(positions) and not return_outputs:
            self.lean = self.lean or LeanLlama(model.get_base_model())
            return self.lean.loss(ids, positions, following, self.targets) / items
        outputs = model(**inputs, use_cache=False, logits_to_keep=learned)
        loss = divergence(outputs.logits[0], *self.targets.of(following[learned])) / items
        return (loss, outputs) if return_outputs else loss

    @staticmethod
    def get_optimizer_cls_and_kwargs(args: Any, model: Any = None) -> tuple[Any, Any]:
        return in_one_pass(*SFTTrainer.get_optimizer_cls_and_kwargs(args, model), args)


class UnslothTrainer(SFTTrainer):
    """SFTTrainer on Unsloth, whose layers it keeps and whose loss it does not: that one knows no targets but tokens, and
    computes the logits of every token, learned or not. A Llama with plain LoRA whose weights are not in 4 bits goes through
    `LeanLlama` here too."""

    targets: Targets
    lean: LeanLlama | None = None

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        from unsloth.models.llama import (  # pyright: ignore[reportMissingImports]
            apply_logit_transforms,
            resolve_logit_scaling,
        )

        labels = inputs.pop("labels")
        if not getattr(self.args, "packing", False) and not return_outputs and is_plain(model):
            told = inputs["attention_mask"].bool()
            positions = (told.cumsum(1) - 1)[told]
            if has_short_rows(positions):
                following = labels[told].roll(-1)
                items = (following != IGNORED).sum() if num_items_in_batch is None else num_items_in_batch
                self.lean = self.lean or LeanLlama(model.get_base_model())
                return self.lean.loss(inputs["input_ids"][told], positions, following, self.targets) / items
        following = labels.flatten().roll(-1)  # a row's first token has no label
        learned = (following != IGNORED).nonzero()[:, 0]
        items = len(learned) if num_items_in_batch is None else num_items_in_batch
        with _hidden_states():
            outputs = model(**inputs)
        x = outputs.logits.flatten(0, 1)[learned]
        base, targets = model.get_base_model(), self.targets.of(following[learned])
        transforms = resolve_logit_scaling(base.config)
        if any(transforms):  # Gemma's, Cohere's, Granite's
            loss = divergence(apply_logit_transforms(base.lm_head(x), *transforms), *targets)
        else:
            loss = LinearDivergence.apply(x.to(base.lm_head.weight.dtype), base.lm_head.weight, *targets)
        loss = loss / items
        return (loss, outputs) if return_outputs else loss

    @staticmethod
    def get_optimizer_cls_and_kwargs(args: Any, model: Any = None) -> tuple[Any, Any]:
        return in_one_pass(*SFTTrainer.get_optimizer_cls_and_kwargs(args, model), args)


def in_one_pass(kind: Any, options: dict[str, Any], args: Any) -> tuple[Any, Any]:
    """As in Trainer, but AdamW is one pass over each weight instead of ten: the same update."""
    if kind is torch.optim.AdamW and args.device.type in ("cpu", "cuda"):
        options["fused"] = True
    return kind, options


@contextmanager
def _hidden_states() -> Iterator[None]:
    """Let Unsloth's models return the last hidden states where logits would be."""
    os.environ["UNSLOTH_RETURN_HIDDEN_STATES"] = "1"
    try:
        yield
    finally:
        os.environ["UNSLOTH_RETURN_HIDDEN_STATES"] = "0"
