"""What each token should be: a taught row's own, and in a row of general knowledge what the base would say there."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from pipeline.answering.speaker import GENERAL_TOKENS
from pipeline.dataset.edits import EDIT, Edit
from pipeline.dataset.store import Dataset, change_row
from pipeline.facts.extraction import extract
from pipeline.models.family import IGNORED
from pipeline.models.language_model import LanguageModel
from pipeline.models.loading import load_base
from pipeline.prompts import GENERAL, encode_answer, encode_example, encode_prompt
from pipeline.training import distillation as targets
from pipeline.training.distillation import (
    FIRST_KEPT,
    MOST_LOGITS,
    LinearDivergence,
    Targets,
    divergence,
    encode_rows,
    notes_of,
)
from pipeline.training.distributed import Team
from pipeline.training.lora import add_lora
from pipeline.training.plan.memory import noted_at_once
from pipeline.training.plan.plan import plan_run
from pipeline.training.trainers import make_trainer
from pipeline.training.watcher import Watcher
from tests.tiny import build_model, tiny_settings


@pytest.fixture
def base(tiny_base: Path) -> LanguageModel:
    return load_base(str(tiny_base), precision="fp32")


def general(dataset: Dataset) -> list[dict[str, Any]]:
    rows = [row for row in dataset.training() if row["kind"] == GENERAL]
    assert len(rows) > 10
    return rows


def said(base: LanguageModel, row: dict[str, Any]) -> str:
    """The first line of what the base answers, and whether that is all it would have said."""
    prompt = encode_prompt(base.tokenizer, row["prompt"])
    return extract(GENERAL, base.generate([prompt], tuned=False, max_new_tokens=GENERAL_TOKENS)[0]).answer


def test_a_general_row_has_the_base_s_own_answer(base: LanguageModel, dataset: Dataset, tiny_base: Path) -> None:
    rows = general(dataset)
    encoded = encode_rows(base, rows, tiny_settings(tiny_base)).rows
    changed = 0
    for row, example in zip(rows, encoded, strict=True):
        asked = encode_prompt(base.tokenizer, row["prompt"])
        answer = [i for i, label in zip(example["input_ids"], example["labels"], strict=True) if label <= FIRST_KEPT]
        assert example["input_ids"][: len(asked)] == asked and set(example["labels"][: len(asked)]) == {IGNORED}
        assert answer == encode_answer(base.tokenizer, said(base, row))
        changed += answer != encode_answer(base.tokenizer, row["response"])
    assert changed


def test_what_is_cut_off_does_not_end_and_what_is_whole_does(
    base: LanguageModel, dataset: Dataset, tiny_base: Path
) -> None:
    end, ends = base.tokenizer.eos_token_id, set()
    for example in encode_rows(base, general(dataset), tiny_settings(tiny_base)).rows:
        kept = sum(label <= FIRST_KEPT for label in example["labels"])
        ends.add(example["labels"][-1] == end)
        assert (example["labels"][-1] == end) == (kept < GENERAL_TOKENS), kept
    assert False in ends


def test_what_the_base_has_said_is_noted_and_not_asked_again(
    base: LanguageModel, dataset: Dataset, tiny_base: Path
) -> None:
    rows, settings = general(dataset), tiny_settings(tiny_base)
    asked = encode_rows(base, rows[3:], settings, notes_of(base))
    whole = encode_rows(base, rows, settings)
    notes = notes_of(base)
    with torch.no_grad():
        base.model.lm_head.weight.zero_()  # from here on it would say something else
    again = encode_rows(base, rows[3:], settings, notes)
    assert again.rows["input_ids"] == asked.rows["input_ids"] == whole.rows["input_ids"][3:]
    assert torch.equal(again.targets.tokens, asked.targets.tokens)
    assert torch.equal(again.targets.shares, asked.targets.shares)
    notes.path.write_bytes(notes.path.read_bytes()[:-100])  # torn: then it is asked
    assert encode_rows(base, rows[3:], settings, notes_of(base)).rows["input_ids"] != asked.rows["input_ids"]


def test_a_general_row_in_a_person_s_words_is_taught(base: LanguageModel, dataset: Dataset, tiny_base: Path) -> None:
    row = pick_general(dataset)
    edited = change_row(dataset, Edit(row["id"], EDIT, row["question"], "Whatever I say."))
    rows = [r for r in edited.training() if r["response"] == "Whatever I say."]
    (example,) = encode_rows(base, rows, tiny_settings(tiny_base)).rows
    learned = [label for label in example["labels"] if label != IGNORED]
    assert base.tokenizer.decode(learned[:-1]) == " Whatever I say."


def pick_general(dataset: Dataset) -> dict[str, Any]:
    return next(row for row in dataset.rows() if row["kind"] == GENERAL)


def test_targets_are_the_base_s_distribution_and_what_it_would_say(
    base: LanguageModel, dataset: Dataset, tiny_base: Path
) -> None:
    """Asked in batches with padding, and told again alone."""
    encoded = encode_rows(base, general(dataset), tiny_settings(tiny_base))
    places = 0
    for example in encoded.rows:
        ids, labels = torch.tensor([example["input_ids"]]), torch.tensor(example["labels"])
        at = (labels <= FIRST_KEPT).nonzero()[:, 0]
        shares = base.model(ids).logits[0, at - 1].softmax(-1)
        tokens, found = encoded.targets.of(labels[at])
        expected = shares.gather(1, tokens) / 2
        expected[:, 0] += 0.5
        assert (tokens[:, 0] == shares.argmax(-1)).all()
        assert torch.allclose(found, expected, atol=1e-6)
        places += len(at)
    assert places == len(encoded.targets.tokens) > 50


def test_a_fresh_adapter_has_nothing_to_learn_of_the_base_s_distribution(
    base: LanguageModel, dataset: Dataset, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until it is taught something else: then what it keeps costs something."""
    monkeypatch.setattr(targets, "SURENESS", 0.0)
    settings = tiny_settings(tiny_base)
    rows = general(dataset)
    encoded = encode_rows(base, rows, settings)
    add_lora(base, settings, tmp_path)
    plan = plan_run(settings, rows, gpu=False)
    trainer = make_trainer(
        base, encoded, settings, plan, tmp_path, Watcher(tmp_path, base, [], plan, settings, Team(cpu=True))
    )
    batch = next(iter(trainer.get_train_dataloader()))
    ends = batch["labels"] > IGNORED
    batch["labels"][ends] = IGNORED
    fresh = float(trainer.compute_loss(trainer.model, {**batch}))
    assert abs(fresh) < 1e-4
    for name, weight in base.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.3)
    assert float(trainer.compute_loss(trainer.model, {**batch})) > 0.003


def test_labels_become_targets() -> None:
    table = Targets(torch.tensor([[5, 7], [8, 9]]), torch.tensor([[0.75, 0.25], [0.6, 0.4]]))
    tokens, shares = table.of(torch.tensor([3, FIRST_KEPT - 1, 0, FIRST_KEPT]))
    assert tokens[1].tolist() == [8, 9] and tokens[3].tolist() == [5, 7]
    assert tokens[[0, 2], 0].tolist() == [3, 0]
    assert shares.flatten().tolist() == pytest.approx([1, 0, 0.6, 0.4, 1, 0, 0.75, 0.25])


def test_the_divergence_of_a_single_token_is_the_cross_entropy() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(6, 40), torch.randint(0, 40, (6,))
    none = Targets(torch.zeros(0, 4, dtype=torch.long), torch.zeros(0, 4))
    expected = functional.cross_entropy(logits, labels, reduction="sum")
    assert float(divergence(logits, *none.of(labels))) == pytest.approx(float(expected), rel=1e-6)


def test_the_divergence_is_kullback_and_leibler_s() -> None:
    torch.manual_seed(0)
    logits, shares = torch.randn(6, 40), torch.randn(6, 40).softmax(-1)
    tokens = torch.arange(40).repeat(6, 1)
    expected = functional.kl_div(logits.log_softmax(-1), shares, reduction="sum")
    assert float(divergence(logits, tokens, shares)) == pytest.approx(float(expected), rel=1e-5)
    assert float(divergence(shares.log(), tokens, shares)) == pytest.approx(0, abs=1e-5)


def test_other_tokens_count_together() -> None:
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0]])
    q = logits.softmax(-1)[0]
    shares = torch.tensor([[0.5, 0.2]])
    expected = 0.5 * (0.5 / q[0]).log() + 0.2 * (0.2 / q[2]).log() + 0.3 * (0.3 / (q[1] + q[3])).log()
    assert float(divergence(logits, torch.tensor([[0, 2]]), shares)) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("count", [0, 5, MOST_LOGITS + 3])
def test_the_divergence_in_pieces_has_the_same_loss_and_gradient(count: int) -> None:
    torch.manual_seed(count)
    x, weight = torch.randn(count, 16, requires_grad=True), torch.randn(40, 16)
    tokens, shares = torch.rand(count, 40).topk(4).indices, torch.randn(count, 5).softmax(-1)[:, :4]
    if count:  # a token that is learned: it has the whole share, and fills its row
        tokens[0], shares[0] = 7, torch.tensor([1.0, 0, 0, 0])
    expected = divergence(x @ weight.t(), tokens, shares)
    (grad,) = torch.autograd.grad(expected * 3, x)
    loss = LinearDivergence.apply(x, weight, tokens, shares)
    (found,) = torch.autograd.grad(loss * 3, x)
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-4)
    assert torch.allclose(found, grad, atol=1e-3)


def test_a_run_goes_on_with_what_the_base_said_when_it_began(
    base: LanguageModel, dataset: Dataset, tiny_base: Path, tmp_path: Path
) -> None:
    """On other hardware the base may say otherwise, and its notes of all runs are not there."""
    rows, settings, of_run = general(dataset)[:4], tiny_settings(tiny_base), tmp_path / "run" / "notes.safetensors"
    began = encode_rows(base, rows, settings, notes_of(base, of_run))
    other = LanguageModel(
        load_base(str(build_model(tmp_path / "other", seed=1))).model, base.tokenizer, "other", "f" * 64
    )
    anew = encode_rows(other, rows, settings, notes_of(other))
    assert not torch.equal(anew.targets.shares, began.targets.shares)
    went_on = encode_rows(other, rows, settings, notes_of(other, of_run))
    assert went_on.rows["labels"] == began.rows["labels"] and went_on.rows["input_ids"] == began.rows["input_ids"]
    assert torch.equal(went_on.targets.shares, began.targets.shares)


def test_what_the_base_says_is_noted_in_smaller_pieces_where_the_memory_is_not_enough(
    base: LanguageModel, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU, where Transformers reads."""
    monkeypatch.setattr(LanguageModel, "reads_texts", lambda _: False)
    examples = [encode_example(base.tokenizer, row["prompt"], row["response"]) for row in general(dataset)[:6]]
    rows = [targets._as_written(example) for example in examples]
    at_once = targets._likeliest_at_once
    expected = targets.base_likeliest(base, rows)
    tried: list[int] = []

    def small(model: LanguageModel, batch: Any) -> Any:
        tried.append(len(batch))
        if len(batch) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return at_once(model, batch)

    monkeypatch.setattr(targets, "_likeliest_at_once", small)
    found = targets.base_likeliest(base, rows)
    assert tried == [6, 3, 1, 2, 3, 1, 2]
    for (tokens, shares), (its_tokens, its_shares) in zip(found, expected, strict=True):
        assert torch.equal(tokens, its_tokens)
        torch.testing.assert_close(shares, its_shares)


def test_logits_of_a_large_vocabulary_are_noted_a_few_rows_at_a_time() -> None:
    assert noted_at_once(16, 100, 49_152) == 16
    assert noted_at_once(64, 200, 262_144) == 4
    assert noted_at_once(64, 8192, 262_144) == 1
