"""What a base is by its `config.json`, seen as it is built on `meta`: without its weights.

`python -m pipeline.models.described FOLDER` prints it as JSON, in a process of its own, since the page that asks
(`config.base_shape`) has no torch.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig

from pipeline.models.family import family_of
from pipeline.models.layers import kinds_of
from pipeline.models.static_cache import takes_static_cache

MOST_LAYERS = 1000
"""Of a base that is built to be looked at; more is a mistake, or meant badly."""


def on_meta(folder: Path) -> Any:
    """A base without its weights.

    Raises:
        ValueError: it has more layers than any.
    """
    config: Any = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    if config.get_text_config().num_hidden_layers > MOST_LAYERS:
        raise ValueError("too many layers")
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    with torch.device("meta"):
        return family_of(config).auto_class.from_config(config, trust_remote_code=False)


def described(folder: Path) -> dict[str, Any]:
    """`kinds` and `weights` (how many numbers) of a base, and whether it `repeats`: whether a GPU can repeat its steps."""
    model = on_meta(folder)
    weights = sum(weight.numel() for weight in model.parameters())  # what is tied is there once
    kinds = [asdict(kind) for kind in kinds_of(model)]
    return {"kinds": kinds, "weights": weights, "repeats": takes_static_cache(model)}


if __name__ == "__main__":
    print(json.dumps(described(Path(sys.argv[1]))))
