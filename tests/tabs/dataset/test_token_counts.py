"""A dataset's tokens: counted with the base's tokenizer, counted again when it changes, sampled when there are many."""

from pathlib import Path

import pytest
from transformers import AutoTokenizer

from pipeline.dataset.store import TRAIN_FILE, Dataset, open_dataset
from pipeline.files import write_jsonl
from pipeline.prompts import encode_example
from tabs.dataset import token_counts as tokens
from tabs.dataset.token_counts import token_counts


def test_every_row_is_counted_as_training_will(dataset: Dataset, tiny_base: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_base)
    rows = dataset.training()
    counted = token_counts(dataset, str(tiny_base))
    whole = [len(encode_example(tokenizer, r["prompt"], r["response"])["input_ids"]) for r in rows]
    assert list(counted.lengths) == whole and (counted.rows, counted.counted) == (len(rows), True)
    assert not token_counts(dataset, "no-such/model").counted


def test_a_changed_dataset_is_counted_again(dataset: Dataset, tiny_base: Path) -> None:
    before = token_counts(dataset, str(tiny_base))
    assert token_counts(dataset, str(tiny_base)) is before
    write_jsonl(dataset.folder / TRAIN_FILE, dataset.training()[:5])
    assert token_counts(dataset, str(tiny_base)).lengths == before.lengths[:5]


def test_many_rows_are_sampled_always_the_same(
    dataset: Dataset, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "MANY_ROWS", 50)
    monkeypatch.setattr(tokens, "SAMPLED_ROWS", 20)
    first = token_counts(dataset, str(tiny_base))
    assert (len(first.lengths), first.rows) == (20, len(open_dataset(dataset.folder).training()))
    tokens._token_counts.cache_clear()
    assert token_counts(dataset, str(tiny_base)) == first
