"""Whether a model keeps the examples of one row apart, if its positions alone say where each begins.

A model that does not would learn an example's answer from the example that happens to stand before it. Recurrent and
convolutional layers do not look at positions, and some attention does not either.
"""

from typing import Any

import torch
from torch import Tensor

from pipeline.models.config import KEEPS_APART

LENGTHS = (9, 7)
"""Tokens of the two examples that are tried; more than a short convolution sees."""


def keeps_apart(model: Any) -> bool:
    """Whether the loss of one example has no gradient at all in the other, of two that stand in one row; tried only where the
    model's family is known for it."""
    return model.config.get_text_config().model_type in KEEPS_APART and not _reached(model).any()


def _reached(model: Any) -> Tensor:
    """[tokens of the first example] how far each is reached by the second one's loss."""
    first, second = LENGTHS
    read: list[Tensor] = []

    def note(_: Any, __: Any, embedded: Tensor) -> Tensor:
        read.append(embedded.detach().requires_grad_())
        return read[-1]

    embedding = model.get_input_embeddings()
    ids = torch.arange(first + second, device=model.device)[None] % embedding.num_embeddings
    positions = torch.tensor([[*range(first), *range(second)]], device=model.device)
    hook = embedding.register_forward_hook(note)
    try:
        with torch.enable_grad():
            logits = model(input_ids=ids, position_ids=positions, use_cache=False).logits[0, first:]
            gradient = torch.autograd.grad(logits.float().logsumexp(-1).sum(), read[-1])[0]
    finally:
        hook.remove()
    return gradient[0, :first].abs().amax(-1)
