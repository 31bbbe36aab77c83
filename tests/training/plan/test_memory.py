"""The memory that a run is expected to take, against what was measured; `tests/runs/test_launcher.py` measures one here."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline import machine
from pipeline.dataset.store import Dataset
from pipeline.models import gpu as gpu_libraries
from pipeline.models.bases import GPU_BASE
from pipeline.models.config import LLAMA_3_8B, base_shape
from pipeline.models.embedded import EMBEDDED
from pipeline.models.token_counts import Lengths, row_lengths
from pipeline.runs.settings import preset
from pipeline.training.plan import memory, ways

GIB = 2**30


def test_a_shape_is_read_from_the_base_s_own_files(tiny_base: Path) -> None:
    shape = base_shape(str(tiny_base))
    assert shape and (shape.hidden, shape.layers, shape.attention, shape.keys) == (64, 2, 64, 32)
    assert shape.file_width == 4 and not shape.tied and shape.llama
    weights = shape.weight_bytes(4, four_bit=False)
    assert weights == pytest.approx(shape.file_bytes, rel=0.02)
    embedded = base_shape(EMBEDDED)
    assert embedded and embedded.weight_bytes(2, four_bit=False) == pytest.approx(269_060_552, rel=0.001)


def test_a_base_that_is_not_here_has_no_shape_unless_it_is_the_default(tmp_path: Path) -> None:
    assert base_shape("no-such/model") is None
    assert base_shape("not a name at all!") is None
    assert base_shape(str(tmp_path)) is None
    assert base_shape(GPU_BASE) == LLAMA_3_8B
    assert LLAMA_3_8B.weight_bytes(2, four_bit=True) == pytest.approx(5.7e9, rel=0.01)
    assert LLAMA_3_8B.lora_parameters(16, preset("quick").target_modules) == 41_943_040


@pytest.mark.parametrize("config", ["{}", "[]", "nothing", '{"hidden_size": "wide", "num_attention_heads": 0}'])
def test_a_config_of_another_kind_of_model_has_no_shape(config: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(config)
    (tmp_path / "model.safetensors").touch()
    assert base_shape(str(tmp_path)) is None


@pytest.mark.parametrize(
    ("batch", "rounds", "checkpointing", "four_bit", "measured"),
    [(3, 8, True, True, 6.3), (24, 1, True, True, 7.4), (24, 1, False, True, 13.5), (24, 1, False, False, 23.1)],
)
def test_llama_3_8b_through_unsloth_takes_what_was_measured(
    batch: int, rounds: int, checkpointing: bool, four_bit: bool, measured: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Peak GiB on an H100, LoRA r 16, examples of 78 tokens."""
    monkeypatch.setattr(
        gpu_libraries, "find_spec", lambda name: name
    )  # Unsloth is on the machines that have such a GPU
    sizes: dict[str, Any] = {"per_device_train_batch_size": batch, "gradient_accumulation_steps": rounds, "lora_r": 16}
    settings = preset("recall", **sizes, gradient_checkpointing=checkpointing, load_in_4bit=four_bit, precision="bf16")
    lengths = Lengths((78,) * 100, (30,) * 100, counted=True)
    expected = memory.peak_bytes(replace(LLAMA_3_8B, quantised=False), settings, lengths, batch, 250, gpu=True)
    assert expected / GIB == pytest.approx(measured, rel=0.15)


@pytest.mark.parametrize(("batch", "measured"), [(24, 27.32), (12, 21.67)])
def test_llama_3_8b_through_fastllama_takes_what_was_measured(
    batch: int, measured: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Peak GiB on an H200, LoRA r 16, weights unpacked, examples of 45 to 101 tokens (benchmarks.gpu_speed several)."""
    monkeypatch.setattr(gpu_libraries, "find_spec", lambda name: name)
    monkeypatch.setattr(ways, "_gpu_has_bf16", lambda: True)
    settings = preset("recall", per_device_train_batch_size=batch, lora_r=16, load_in_4bit=True)
    lengths = Lengths(tuple(range(45, 102)), (9,) * 57, counted=True)
    expected = memory.peak_bytes(LLAMA_3_8B, settings, lengths, batch, 26, gpu=True, unpacked=True)
    assert expected / GIB == pytest.approx(measured, rel=0.05)


def test_more_of_anything_takes_more(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_computes_in_16_bits", lambda: True)  # else all is fp32, which is most
    shape, lengths = base_shape(EMBEDDED), row_lengths(dataset.training(), EMBEDDED)
    assert shape

    def peak(batch: int = 8, **changes: Any) -> int:
        settings = preset("quick", **{"per_device_train_batch_size": batch, **changes})
        return memory.peak_bytes(shape, settings, lengths, batch, 100, gpu=False)

    assert peak(1) < peak(4) < peak(8)
    assert peak(lora_r=8) < peak(lora_r=64)
    assert peak(gradient_checkpointing=True) < peak()
    assert peak(optim="sgd") < peak(optim="adamw_torch") < peak(precision="fp32")
    assert peak(target_modules=("q_proj", "v_proj"), lora_dropout=0.1) < peak(lora_dropout=0.1)
    assert peak() < peak(completion_only_loss=False)


def test_the_largest_batch_lies_between_the_mean_and_the_longest_rows() -> None:
    lengths = Lengths((10, 20, 30, 40), (5, 5, 5, 5), counted=True)
    assert lengths.largest(8, 1, read=1, learned=0) == 8 * 25
    assert 8 * 25 < lengths.largest(8, 100, read=1, learned=0) < 8 * 40
    assert lengths.largest(1, 10**6, read=1, learned=2) == 40 + 2 * 5
    assert (lengths.longest_of(1), lengths.longest_of(1000)) == (30, 40)


def test_rows_are_counted_as_they_are_encoded_for_training(dataset: Dataset, tiny_base: Path) -> None:
    from transformers import AutoTokenizer

    from pipeline.prompts import encode_example

    rows = [*dataset.training(), {"prompt": "Context: <|im_end|>", "response": "<|endoftext|>"}]
    tokenizer = AutoTokenizer.from_pretrained(tiny_base)
    encoded = [encode_example(tokenizer, row["prompt"], row["response"]) for row in rows]
    counted = row_lengths(rows, str(tiny_base))
    assert counted.counted
    assert list(counted.whole) == [len(example["input_ids"]) for example in encoded]
    assert list(counted.learned) == [sum(example["completion_mask"]) for example in encoded]
    assert not row_lengths(rows, "no-such/model").counted


def test_there_is_some_free_memory_and_it_is_not_more_than_the_machine_has() -> None:
    import psutil

    free = machine.free_bytes(gpu=False)
    assert free and 0 < free <= psutil.virtual_memory().total
