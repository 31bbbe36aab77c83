"""The linear layers of any base: which LoRA can sit on, how PEFT is told of them, and what they come to."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D

from pipeline.models.config import Kind, is_adapted
from pipeline.models.family import family_of


@dataclass(frozen=True)
class Layer:
    """A linear layer, or a matrix for each of several experts.

    Attributes:
        name: its path in the model; of experts the parameter's.
        experts: matrices in it; 0 where it is a layer and no parameter.
        adaptable: whether LoRA on it would change what is computed.
    """

    name: str
    inputs: int
    outputs: int
    experts: int = 0
    adaptable: bool = True

    @property
    def kind(self) -> str:
        """What such layers are called, whatever their number: `q_proj`."""
        own, _, last = self.name.rpartition(".")
        return own.rpartition(".")[2] if last == "weight" else last


def layers_of(model: Any) -> list[Layer]:
    """The linear layers of the parts that read and write text: not the output matrix, not a tower of pictures, no router."""
    found = []
    for part in family_of(model.config).parts(model):
        prefix = next(name for name, module in model.named_modules() if module is part)
        for name, module in part.named_modules():
            inside = part.get_submodule(name.rpartition(".")[0])
            found += _layers(f"{prefix}.{name}".strip("."), module, inside)
    return found


def _layers(path: str, module: nn.Module, inside: nn.Module) -> Iterator[Layer]:
    if isinstance(module, nn.Linear):
        # A Mamba's kernels take this layer's weight by itself, past whatever sits on it.
        bypassed = path.endswith(".out_proj") and hasattr(inside, "A_log") and hasattr(inside, "in_proj")
        yield Layer(path, module.in_features, module.out_features, adaptable=not bypassed)
    elif isinstance(module, Conv1D):
        inputs, outputs = module.weight.shape
        yield Layer(path, inputs, outputs)
    elif not isinstance(module, nn.Conv1d):
        for name, weight in module.named_parameters(recurse=False):
            if weight.ndim == 3:
                inputs, outputs = weight.shape[1:] if getattr(module, "is_transposed", False) else weight.shape[:0:-1]
                yield Layer(f"{path}.{name}", inputs, outputs, len(weight), adaptable=weight.is_floating_point())


def targets(model: Any, modules: Collection[str], *, experts: bool) -> dict[str, list[str]]:
    """What PEFT is told to adapt: `target_modules` and `target_parameters`.

    Args:
        modules: the kinds of layers that the user chose; all of a Llama's mean all that there are.
        experts: whether the kind of LoRA works on experts.
    """
    chosen = [layer for layer in layers_of(model) if is_adapted(layer.kind, layer.adaptable, modules)]
    linear = {layer.name for layer in chosen if not layer.experts}
    others = {end for name, _ in model.named_modules() if name not in linear for end in _ends(name)}
    # By the shortest name that is no other layer's: `q_proj`, and where a tower of pictures has one too, its whole path.
    told = {next((end for end in _ends(name) if end not in others), name) for name in linear}
    parameters = {".".join(layer.name.split(".")[-2:]) for layer in chosen if layer.experts and experts}
    return {"target_modules": sorted(told), "target_parameters": sorted(parameters)}


def _ends(name: str) -> list[str]:
    """A path's ends, the shortest first."""
    parts = name.split(".")
    return [".".join(parts[at:]) for at in range(len(parts) - 1, -1, -1)]


def kinds_of(model: Any) -> list[Kind]:
    """The layers by kind."""
    counts: dict[tuple[str, int, int, bool, bool], int] = {}
    for layer in layers_of(model):
        key = layer.kind, layer.inputs, layer.outputs, bool(layer.experts), layer.adaptable
        counts[key] = counts.get(key, 0) + max(1, layer.experts)
    return [Kind(*key[:3], count, *key[3:]) for key, count in counts.items()]
