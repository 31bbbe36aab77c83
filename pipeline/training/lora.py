"""A run's adapter: put on the base before training, and saved after it."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model

from pipeline.errors import ModelError
from pipeline.files import whole_folder, write_json
from pipeline.models.gpu import on_unsloth
from pipeline.models.language_model import ADAPTER_ORIGIN, LanguageModel
from pipeline.models.layers import targets
from pipeline.runs.folder import ADAPTER, ANSWERED, CHECKPOINTS
from pipeline.runs.settings import TrainingSettings
from pipeline.training import distributed
from pipeline.training.plan.plan import NOTHING_TO_ADAPT

PISSA_START = "pissa-start"
"""Under `checkpoints/`: PiSSA's adapter before its first step, which turns the trained one into a plain LoRA adapter."""


def add_lora(language_model: LanguageModel, settings: TrainingSettings, folder: Path) -> None:
    """Wrap the base in a fresh LoRA adapter.

    Raises:
        ModelError: it has none of the layers that shall be adapted.
    """
    options: dict[str, Any] = {
        "r": settings.lora_r,
        "lora_alpha": settings.lora_alpha,
        "lora_dropout": settings.lora_dropout,
        **targets(language_model.model, settings.target_modules, experts=settings.adapts_experts),
        "bias": "none",
        "use_rslora": settings.lora_variant == "rslora",
        "use_dora": settings.lora_variant == "dora",
    }
    if not options["target_modules"] and not options["target_parameters"]:
        raise ModelError(
            NOTHING_TO_ADAPT.format(name=language_model.base_model, layers=", ".join(settings.target_modules))
        )
    torch.manual_seed(settings.seed)
    if on_unsloth():
        from unsloth import FastLanguageModel  # pyright: ignore[reportMissingImports]

        checkpointing = "unsloth" if settings.gradient_checkpointing else False
        options.pop("target_parameters")  # a base with experts is not trained on Unsloth
        language_model.model = FastLanguageModel.get_peft_model(
            language_model.model, **options, use_gradient_checkpointing=checkpointing, random_state=settings.seed
        )
    else:
        start = "pissa" if settings.lora_variant == "pissa" else True
        config = LoraConfig(**options, init_lora_weights=start, task_type=language_model.family.task_type)
        with language_model.model.device if draws_where_base_is() else nullcontext():
            language_model.model = get_peft_model(language_model.model, config)
        if settings.lora_variant == "pissa":
            language_model.model.save_pretrained(folder / CHECKPOINTS / PISSA_START)
    language_model.adapter = "in training"


def draws_where_base_is() -> bool:
    """Whether the start of an adapter is drawn where its base is, and need not be moved there in 1,300 pieces; else by the
    processor, since several processes must draw the same, which unlike GPUs would not."""
    return distributed.count() == 1


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
        write_json(aside / ADAPTER_ORIGIN, origin)
    for name in ANSWERED:  # by the adapter that was there before
        (folder / name).unlink(missing_ok=True)
