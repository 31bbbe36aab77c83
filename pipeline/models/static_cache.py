"""Decoding any causal model by Transformers' own forward pass, keys and values at fixed places.

Transformers' `generate` launches thousands of small operations a token from Python, and a GPU waits for them. Where keys and
values have their places from the beginning, a step is the same operations on the same memory: a GPU repeats them as one CUDA
graph, and `fused` makes them fewer. Rows of the base and of an adapter share a batch.
"""

import inspect
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper
from torch import Tensor
from transformers import StaticCache
from transformers.cache_utils import Cache, StaticLayer, StaticSlidingWindowLayer

from pipeline.models.batch import Batch
from pipeline.models.config import LOOKING, short_places
from pipeline.models.decoding import without_peft
from pipeline.models.family import CAUSAL, family_of
from pipeline.models.fused import FusedModules
from pipeline.models.layers import layers_of

logger = logging.getLogger(__name__)

FITS = "fits_static_cache"
"""The mark of a model: whether it is decoded so, found out once and taken back where a GPU refuses to repeat a step."""


def takes_static_cache(model: Any, places: int = 0) -> bool:
    """Whether `StaticBatch` computes this model: a causal one whose layers attend to what stands before, and keep nothing else
    of it (as Mamba's and other linear attention do).

    Mixtures of experts have not been tried on a GPU, where some choose theirs by a look at values. Other attention than
    PyTorch's makes its masks of numbers that come from the processor.

    Args:
        places: of the longest text and its answer.
    """
    inner = without_peft(model)
    if not hasattr(inner, FITS):
        setattr(inner, FITS, _takes_static_cache(inner))
    return getattr(inner, FITS) and places <= short_places(inner.config.get_text_config().to_dict())


def _takes_static_cache(inner: Any) -> bool:
    config = inner.config.get_text_config()
    told = inspect.signature(inner.forward).parameters
    if (
        family_of(inner.config) is not CAUSAL
        or not getattr(inner, "_can_compile_fullgraph", False)  # Transformers' own word for it
        or not {"position_ids", "past_key_values", "logits_to_keep"} <= set(told)
    ):
        return False
    ropes = getattr(config, "rope_parameters", None) or {}
    kinds = {str(rope.get("rope_type")) for rope in ropes.values() if isinstance(rope, dict)}  # of some layers each
    layers = {type(layer) for layer in StaticCache(config, 1).layers}
    return (
        layers <= {StaticLayer, StaticSlidingWindowLayer}
        and not kinds & set(LOOKING)
        and config._attn_implementation == "sdpa"
        and not any(layer.experts for layer in layers_of(inner))
    )


def mixes(model: Any) -> bool:
    """Whether rows of the base and of one adapter may share a `StaticBatch`: plain LoRA on layers that see every row."""
    configs = getattr(model, "peft_config", {}).values()
    adapted = [m for m in model.modules() if isinstance(m, BaseTunerLayer | AuxiliaryTrainingWrapper)]
    return (
        bool(adapted)
        and all(isinstance(layer, LoraLayer) and not layer.lora_embedding_A for layer in adapted)
        and not any(config.use_dora or config.target_parameters or config.lora_bias for config in configs)
    )


class StaticBatch(Batch):
    """A batch of a model that takes a static cache. Whose adapter is on is the caller's business; where rows of the base are
    among its rows, they get nothing of it."""

    def __init__(self, model: Any, prompts: Sequence[list[int]], by: Sequence[str | None], room: int) -> None:
        self.inner = without_peft(model)
        super().__init__(prompts, room, self.inner.device)
        config = self.inner.config.get_text_config()
        # Transformers' own layers with a window count in Python, which a graph would not repeat; and answers are short.
        self.kept: list[Any] = [StaticLayer(self.places) for _ in StaticCache(config, 1).layers]
        self.cache = Cache(layers=self.kept)
        self.seen = torch.arange(self.places, device=self.first.device) >= self.first
        self.fused = FusedModules(self.inner, by)
        is_mixed = any(by) and not all(by)
        self.shared = [a for layer in self.fused.others for a in layer.lora_A.values()] if is_mixed else []

    def keep(self, going: Sequence[int]) -> None:
        chosen = torch.tensor(going, device=self.first.device)
        self.first, self.seen = self.first[chosen], self.seen[chosen]
        self.fused.rows.keep(going)
        for layer in self.kept:
            layer.keys, layer.values = layer.keys.index_select(0, chosen), layer.values.index_select(0, chosen)

    def pass_over(self, ids: Tensor, begin: int) -> Tensor:
        return self._logits(ids, torch.arange(begin, begin + ids.shape[1], device=ids.device))

    def step(self, ids: Tensor, place: Tensor) -> Tensor:
        return self._logits(ids, place)

    def _logits(self, ids: Tensor, places: Tensor) -> Tensor:
        with self.fused.in_place(), self._only_tuned():
            said = self.inner(
                input_ids=ids,
                attention_mask=self.seen,
                position_ids=(places - self.first).clamp(min=0),
                past_key_values=self.cache,
                use_cache=True,
                logits_to_keep=1,
            )
        return said.logits[:, -1]

    @contextmanager
    def _only_tuned(self) -> Iterator[None]:
        """Where rows of the base are computed beside the adapter's: layers that are not fused add something to all of them."""
        rows = self.fused.rows

        def only_tuned(_: Any, __: Any, added: Tensor) -> Tensor:
            flat = added.flatten(0, -2)
            tuned, kept = rows.tokens(len(flat)), torch.zeros_like(flat)
            kept[tuned] = flat[tuned]
            return kept.view_as(added)

        hooks = [a.register_forward_hook(only_tuned) for a in self.shared]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def capture_failed(self, error: Exception) -> None:
        cause = error.__context__ or error  # the end of a capture says only that something went wrong in it
        logger.warning("A step of %s was not captured as a graph (%s)", type(self.inner).__name__, cause)
        if not isinstance(cause, torch.OutOfMemoryError):  # the next time there may be room
            setattr(self.inner, FITS, False)
