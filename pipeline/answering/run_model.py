"""The model of a run, kept while it is asked: its base with its adapter, and another run's beside it."""

import gc
import threading
from pathlib import Path

import psutil
import torch

from pipeline.models.adapters import _adapter_key, add_adapter, add_other, check_adapter
from pipeline.models.decoding import decodes, prepack
from pipeline.models.language_model import MAX_ASKED_TOKENS, ROOM_TO_PREPACK, LanguageModel
from pipeline.models.loading import load_base
from pipeline.runs.folder import ADAPTER, read_settings

_loading = threading.RLock()

_loaded: dict[tuple[str, int], tuple["LanguageModel", list[str]]] = {}
"""The one model that is kept in memory, with its warnings."""


def load_run(folder: Path, other: Path | None = None) -> tuple[LanguageModel, list[str]]:
    """The base model of a run with the run's adapter on it; the last one loaded is kept.

    Args:
        folder: the run folder.
        other: another run's folder, whose adapter answers as `OTHER`.

    Returns:
        The model, and warnings in sentences.

    Raises:
        PipelineError: a run has no whole adapter, its base cannot be loaded, or the two bases are not the same.
    """
    adapter = folder / ADAPTER
    check_adapter(adapter)
    key = _adapter_key(adapter)
    with _loading:
        if key not in _loaded:
            unload()
            settings = read_settings(folder)
            language_model = load_base(
                settings.base_model,
                load_in_4bit=settings.load_in_4bit,
                precision=settings.precision,
                max_length=max(settings.max_length, MAX_ASKED_TOKENS),
            )
            _loaded[key] = (language_model, add_adapter(language_model, adapter))
            weights = language_model.model.get_memory_footprint()
            if decodes(language_model.model) and ROOM_TO_PREPACK * weights < psutil.virtual_memory().available:
                prepack(language_model.model)
        if other:
            add_other(_loaded[key][0], other / ADAPTER)
        return _loaded[key]


def is_loaded() -> bool:
    """Whether `load_run` keeps a model in memory."""
    return bool(_loaded)


def unload() -> None:
    """Give the memory of the model kept by `load_run` back."""
    with _loading:
        _loaded.clear()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
