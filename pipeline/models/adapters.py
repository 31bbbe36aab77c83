"""Adapters: checked, put on a loaded base, and one more beside it."""

import re
from pathlib import Path
from typing import Any

from peft import PeftModel

from pipeline.errors import ModelError
from pipeline.files import read_json
from pipeline.models.language_model import ADAPTER_ORIGIN, LARGEST_RANK, OTHER, TUNED, LanguageModel


def check_adapter(folder: Path) -> dict[str, Any]:
    """Where an adapter comes from.

    Returns:
        `{"base_model", "base_sha256"}`.

    Raises:
        ModelError: the folder is missing or is not a whole adapter.
    """
    needed = ("adapter_config.json", "adapter_model.safetensors")
    if not folder.is_dir():
        raise ModelError(f"There is no adapter in {folder.parent.name}; finish a training run first.")
    missing = [n for n in needed if not (folder / n).is_file()]
    if missing:
        raise ModelError(f"The adapter in {folder} is broken ({missing[0]} is missing); train it again.")
    try:
        config = read_json(folder / needed[0])
        origin = read_json(folder / ADAPTER_ORIGIN) if (folder / ADAPTER_ORIGIN).is_file() else {}
        if asked := _asks_for_more(config):
            raise ModelError(f"The adapter in {folder} asks for {asked}, which no run here makes; train it again.")
        return {
            "base_model": origin.get("base_model") or config.get("base_model_name_or_path") or "",
            "base_sha256": origin.get("base_sha256") or "",
        }
    except (ValueError, AttributeError) as error:
        raise ModelError(f"The adapter in {folder} is broken (its settings cannot be read); train it again.") from error


_NOT_OURS = (
    *("exclude_modules", "layers_to_transform", "layers_pattern", "rank_pattern", "alpha_pattern", "modules_to_save"),
    *(
        "layer_replication",
        "megatron_config",
        "trainable_token_indices",
        "loftq_config",
        "corda_config",
    ),
    *("eva_config", "arrow_config", "alora_invocation_tokens"),
)
"""What PEFT's settings can ask for besides a LoRA on some layers: patterns that take for ever, layers a million times over."""
MOST_EXPERTS = 16
"""Parameters of experts, by the ends of their names, that an adapter may sit on."""
_SIMPLE, _REPEATS = re.compile(r"\[\\d\]\{1,\}|\.\*\??"), re.compile(r"[*+{]")
"""A pattern of layers is Unsloth's and has a few plain repeats; PEFT tries it on every layer, and one of many never ends."""


def _asks_for_more(config: dict[str, Any]) -> str:
    """What an adapter's settings ask for that no adapter of this project has; empty where there is nothing."""
    if config.get("peft_type", "LORA") != "LORA":
        return f"the method {str(config['peft_type'])[:40]!r}"
    if more := next((name for name in _NOT_OURS if config.get(name)), ""):
        return more
    layers, rank = config.get("target_modules"), config.get("r", 8)
    experts = config.get("target_parameters") or []
    if (
        not isinstance(experts, list)
        or len(experts) > MOST_EXPERTS
        or not all(isinstance(name, str) for name in experts)
    ):
        return "target_parameters"
    if isinstance(layers, str) and _REPEATS.search(_SIMPLE.sub("", layers, count=4)):
        return "layers by a pattern with many repeats"
    return "" if type(rank) is int and 0 < rank <= LARGEST_RANK else "a rank that none can have"


def add_adapter(language_model: LanguageModel, folder: Path) -> list[str]:
    """Put a saved adapter on a loaded base model.

    Returns:
        Warnings, in sentences: the adapter was trained on other weights than these.

    Raises:
        ModelError: the adapter is broken or does not fit this base model.
    """
    origin = check_adapter(folder)
    warnings = []
    if origin["base_sha256"] and origin["base_sha256"] != language_model.base_sha256:
        warnings.append(
            f"This adapter was trained on {origin['base_model']} with other weights than those of "
            f"{language_model.base_model} loaded here; its answers may be worse than they were."
        )
    try:
        with language_model.model.device:  # made there, and not moved in a thousand pieces
            language_model.model = PeftModel.from_pretrained(language_model.model, folder).eval()
    except Exception as error:  # safetensors, PEFT and torch each raise their own for a broken or foreign adapter
        belongs = f" (it was trained on {origin['base_model']})" if origin["base_model"] else ""
        raise ModelError(
            f"The adapter in {folder} is broken or does not fit {language_model.base_model}{belongs}; "
            "choose its own base model or train it again."
        ) from error
    language_model.adapter = str(folder)
    return warnings


def add_other(language_model: LanguageModel, folder: Path) -> None:
    """Put another run's adapter beside the one that is there; it takes the place of an earlier other one.

    Raises:
        ModelError: the adapter is broken, or was trained on another base than this.
    """
    origin = check_adapter(folder)
    key = _adapter_key(folder)
    if language_model.other == key:
        return
    name, base = folder.parent.name, language_model.base_model
    if origin["base_sha256"] != language_model.base_sha256:
        trained_on = origin["base_model"] or "another base"
        raise ModelError(f"Run {name} was trained on {trained_on}, not on {base}; both sides need the same base model.")
    with language_model.lock:
        if language_model.other:
            language_model.other = None
            language_model.model.delete_adapter(OTHER)
        try:
            with language_model.model.device:
                language_model.model.load_adapter(str(folder), adapter_name=OTHER)
        except Exception as error:  # as in `add_adapter`
            raise ModelError(f"The adapter of run {name} is broken or does not fit {base}; train it again.") from error
        finally:
            language_model.model.set_adapter(TUNED)
            language_model.model.eval()
        language_model.other = key


def _adapter_key(folder: Path) -> tuple[str, int]:
    return str(folder.resolve()), folder.stat().st_mtime_ns
