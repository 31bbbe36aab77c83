"""The model of a run, kept while it is asked: its base with its adapter, and another run's beside it."""

import gc
from pathlib import Path

import psutil
import torch

from pipeline.answering.kept_model import memory
from pipeline.answering.run_reader import RunReader
from pipeline.errors import ModelError
from pipeline.models.adapters import _adapter_key, add_adapter, add_other, check_adapter
from pipeline.models.bases import checksum, find_base
from pipeline.models.decoding import decodes, prepack
from pipeline.models.encoder import ENCODER
from pipeline.models.family import EXTRACTIVE
from pipeline.models.language_model import MAX_ASKED_TOKENS, ROOM_TO_PREPACK, LanguageModel
from pipeline.models.loading import load_base
from pipeline.models.reader import load_reader
from pipeline.runs.folder import ADAPTER, read_settings, run_dataset, run_family

_loaded: dict[tuple[str, int], tuple[LanguageModel | RunReader, list[str]]] = {}
"""The one model that is kept in memory, with its warnings."""


def load_run(folder: Path, other: Path | None = None) -> tuple[LanguageModel | RunReader, list[str]]:
    """The base model of a run with the run's adapter on it, or its trained reader; the last one loaded is kept.

    Args:
        folder: the run folder.
        other: another run's folder, whose adapter answers as `OTHER`.

    Returns:
        The model, and warnings in sentences.

    Raises:
        PipelineError: a run has no whole adapter, its base cannot be loaded, or the two bases are not the same.
    """
    if run_family(folder) is EXTRACTIVE:
        return _load_reader_run(folder, other)
    adapter = folder / ADAPTER
    check_adapter(adapter)
    key = _adapter_key(adapter)
    with memory:
        if key not in _loaded:
            unload()
            settings = read_settings(folder)
            language_model = load_base(
                settings.base_model,
                load_in_4bit=settings.load_in_4bit,
                precision=settings.precision,
                max_length=max(settings.max_length, MAX_ASKED_TOKENS),
                prompt_format=settings.prompt_format,
            )
            _loaded[key] = (language_model, add_adapter(language_model, adapter))
            weights = language_model.model.get_memory_footprint()
            if decodes(language_model.model) and ROOM_TO_PREPACK * weights < psutil.virtual_memory().available:
                prepack(language_model.model)
        language_model, warnings = _loaded[key]
        assert isinstance(language_model, LanguageModel)
        if other:
            its = read_settings(other).prompt_format
            if its != language_model.prompt_format:
                raise ModelError(
                    f"Run {other.name} is asked in another prompt format ({its}) than run {folder.name} "
                    f"({language_model.prompt_format}); compare them in the second tab's table of runs."
                )
            add_other(language_model, other / ADAPTER)
        return language_model, warnings


def _load_reader_run(folder: Path, other: Path | None) -> tuple[RunReader, list[str]]:
    adapter = folder / ADAPTER
    with memory:
        key = _adapter_key(adapter) if adapter.is_dir() else None
        if key is None or key not in _loaded:
            unload()
            reader, warnings = load_reader(adapter)
            run = RunReader(run_dataset(folder), checksum(find_base(ENCODER)), reader)
            key = _adapter_key(adapter)
            _loaded[key] = run, warnings
        run, warnings = _loaded[key]
        assert isinstance(run, RunReader)
        if other:
            if run_family(other) is not EXTRACTIVE:
                raise ModelError(f"Run {other.name} is no reader; both sides need the same base model.")
            run.other = load_reader(other / ADAPTER)[0]
        return run, warnings


def is_loaded() -> bool:
    """Whether `load_run` keeps a model in memory."""
    return bool(_loaded)


def unload() -> None:
    """Give the memory of the model kept by `load_run` back."""
    with memory:
        _loaded.clear()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
