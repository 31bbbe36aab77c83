"""Bases with an encoder: a tiny T5 is trained till it knows three products of the sample catalogue, asked and published."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, BartConfig, BartForConditionalGeneration

from pipeline.__main__ import main
from pipeline.answering.answers import ask_expecting, ask_rows
from pipeline.answering.comparison import compare
from pipeline.answering.everything import report_rows
from pipeline.answering.report import write_report
from pipeline.answering.run_model import load_run, unload
from pipeline.answering.speaker import asker_of
from pipeline.catalogue.catalogue import read_catalogue
from pipeline.dataset.build import build_dataset
from pipeline.dataset.settings import DatasetSettings
from pipeline.dataset.store import Dataset
from pipeline.errors import ModelError, RunError, SettingsError
from pipeline.files import ASSETS, read_json
from pipeline.models.config import ALL_LINEAR, base_shape
from pipeline.models.family import CAUSAL, IGNORED, SEQ2SEQ, family_of_base
from pipeline.models.language_model import BASE, TUNED, LanguageModel
from pipeline.models.layers import layers_of
from pipeline.models.loading import load_base
from pipeline.prompts import GENERAL, encode_answer, encode_prompt
from pipeline.publishing.make import make
from pipeline.publishing.publish import export_model
from pipeline.publishing.vllm import commands
from pipeline.runs.checkpoints import last_checkpoint, step_of
from pipeline.runs.events import append_event, read_events
from pipeline.runs.folder import run_dataset
from pipeline.runs.manage import create_run
from pipeline.runs.settings import is_squeezed
from pipeline.runs.status import status
from pipeline.runs.view import view_run
from pipeline.training import watcher
from pipeline.training.distillation import FIRST_KEPT, encode_rows
from pipeline.training.lora import add_lora
from pipeline.training.plan.memory import lora_parameters
from pipeline.training.plan.plan import plan_run
from pipeline.training.plan.ways import TRANSFORMERS
from tabs.training.history_view import HistoryRows, differing
from tests.t5 import save_t5, texts_of
from tests.tiny import adapted_trainer, tiny_settings, train_here

ENOUGH: dict[str, Any] = {
    "max_steps": 450,
    "learning_rate": 5e-3,
    "lr_scheduler_type": "cosine",
    "lora_r": 32,
    "lora_alpha": 32,
    "probes": 1,
}
ENOUGH |= {"questions": 10, "per_device_train_batch_size": 16, "save_steps": 10_000, "target_modules": ALL_LINEAR}
"""A random model has to learn to read and to write, too."""

WIDE: dict[str, Any] = {
    "d_model": 96,
    "d_kv": 24,
    "d_ff": 192,
    "num_layers": 2,
    "num_decoder_layers": 2,
    "num_heads": 4,
}


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A finished run of three products; tests read it."""
    home = tmp_path_factory.mktemp("t5")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHELFTALK_HOME", str(home))
        dataset = build_dataset(
            read_catalogue(ASSETS / "catalogue.json"), DatasetSettings(products=3, general_share=0.05)
        )
        base = save_t5(home / "base", texts_of(dataset), **WIDE, dropout_rate=0.0)
        folder = create_run(dataset, tiny_settings(base, **ENOUGH))
        assert train_here(folder) == 0, status(folder).message
        yield folder
    unload()


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_t5(tmp_path_factory.mktemp("bases") / "t5")


@pytest.fixture
def model(base: Path) -> LanguageModel:
    return load_base(str(base), precision="fp32")


def answered(folder: Path, rows: list[dict[str, Any]]) -> list[str]:
    return [answer["raw"] for answer in ask_rows(load_run(folder)[0], rows, tuned=True)]


# --- A run ---


def test_it_learns_what_it_is_taught_and_the_base_does_not_know_it(taught: Path) -> None:
    model, warnings = load_run(taught)
    assert isinstance(model, LanguageModel) and model.family is SEQ2SEQ and not warnings
    comparison = compare(model, taught)
    summary = comparison["summary"]
    assert summary["recall"] >= 0.9 and summary["facts"] >= 6, summary
    probe = [event for event in read_events(taught)[0] if event["type"] == "probe"][-1]
    assert probe["total"] >= 10 and probe["right"] >= 0.75 * probe["total"]
    assert summary["base_right"] == 0 and summary["tuned_right"] >= summary["total"] // 2
    assert read_json(taught / "everything.json")["summary"]["general"]["total"] > 100
    write_report(taught, comparison)
    assert read_json(taught / "adapter" / "adapter_config.json")["task_type"] == "SEQ_2_SEQ_LM"


def test_both_sides_answer_in_one_batch_as_each_alone(taught: Path) -> None:
    model = load_run(taught)[0]
    assert isinstance(model, LanguageModel)
    row = report_rows(model, taught)["facts"][0]
    prompt = encode_prompt(model.tokenizer, row["prompt"])
    grown = [*model.stream([prompt] * 2, by=[BASE, TUNED], max_new_tokens=32)]
    assert grown[-1] == [model.generate([prompt], tuned=tuned, max_new_tokens=32)[0] for tuned in (False, True)]
    assert grown[-1][1] == row["response"] != grown[-1][0] and len(grown) > 2
    alone = load_base(model.base_model, precision="fp32")
    assert alone.generate([prompt], tuned=False, max_new_tokens=32)[0] == grown[-1][0]


def test_what_it_would_say_is_what_it_says(taught: Path) -> None:
    model = load_run(taught)[0]
    assert isinstance(model, LanguageModel)
    rows = report_rows(model, taught)["facts"]
    known = asker_of(model).knows(rows, tuned=True)
    said = [
        answer["raw"] == row["response"] for answer, row in zip(ask_rows(model, rows, tuned=True), rows, strict=True)
    ]
    assert known == said and any(known)
    verdicts = [answer["verdict"] for answer in ask_expecting(model, rows, tuned=True, spare_tokens=16)]
    assert verdicts == [answer["verdict"] for answer in ask_rows(model, rows, tuned=True)]


def test_the_command_asks_both_sides(taught: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = next(row for row in run_dataset(taught).held_out() if row["kind"] not in ("unknown", GENERAL, "silent"))
    file = tmp_path / "questions.json"
    file.write_text(json.dumps([{"title": row["title"], "question": row["question"]}]))
    assert main(["ask", str(taught), "--file", str(file)]) == 0
    (said,) = json.loads(capsys.readouterr().out)
    assert said["tuned"]["raw"] == row["response"] and said["base"]["raw"] != row["response"]


def test_it_stands_beside_a_llama_s_run(taught: Path, finished_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELFTALK_HOME", str(taught.parent.parent))
    shutil.copytree(finished_run, taught.parent / "a-llama", dirs_exist_ok=True)
    rows = {row[0]: row for row in HistoryRows()[0:9]}
    assert rows.keys() == {taught.name, "a-llama"} and rows[taught.name][2].endswith("/base")
    views = [view for name in rows if (view := view_run(name))]
    assert any(line[0].endswith("(base_model)") for line in differing(views))
    shutil.rmtree(taught.parent / "a-llama")


@pytest.mark.parametrize("form", ["adapter", "merged"])
def test_what_is_published_answers_the_same_in_plain_transformers(form: str, taught: Path, tmp_path: Path) -> None:
    folder = tmp_path / form
    list(export_model(taught, form, folder, license="mit", name="mira/t5"))
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    whole = str(tmp_path / "merged") if form == "merged" else read_json(taught / "settings.json")["base_model"]
    loaded: Any = AutoModelForSeq2SeqLM.from_pretrained(whole)
    loaded = PeftModel.from_pretrained(loaded, str(folder)) if form == "adapter" else loaded
    rows = [row for row in run_dataset(taught).held_out()][:12]
    said = []
    for row in rows:
        output = loaded.generate(**tokenizer(row["prompt"], return_tensors="pt"), max_new_tokens=96, do_sample=False)
        said.append(tokenizer.decode(output[0], skip_special_tokens=True).strip())
    assert said == answered(taught, rows) and len(set(said)) > 3
    card = (folder / "README.md").read_text()
    assert "AutoModelForSeq2SeqLM" in card and "AutoModelForCausalLM" not in card and "chat template" not in card
    assert not (folder / "chat_template.jinja").exists() and tokenizer.chat_template is None
    assert "With vLLM" not in card and "no T5" in commands(taught, form, "mira/t5").why_not
    if form == "merged":  # another library's T5 scales what it says where this says so
        assert read_json(folder / "config.json")["tie_word_embeddings"] is False


def test_a_gguf_file_is_refused_in_a_sentence(taught: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="this base is T5ForConditionalGeneration; publish the merged"):
        list(export_model(taught, "gguf", tmp_path / "out"))


def test_a_resumed_run_ends_as_an_uninterrupted_one(
    base: Path, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a T5's own dropout, which is drawn anew each time."""
    few = {"max_steps": 6, "save_steps": 2, "probes": 0, "questions": 1, "learning_rate": 1e-2}
    whole, broken = (create_run(dataset, tiny_settings(base, **few), tmp_path / name) for name in ("whole", "broken"))
    assert train_here(whole) == 0
    real = watcher.seal

    def fail_after(folder: Path, state: Any) -> None:
        real(folder, state)
        if step_of(folder) == 4:
            raise RuntimeError("The power is gone")

    with monkeypatch.context() as patch:
        patch.setattr(watcher, "seal", fail_after)
        train_here(broken)
    assert status(broken).state == "failed" and step_of(last_checkpoint(broken) or Path()) == 4
    append_event(broken, "resumed", step=4)
    assert train_here(broken) == 0
    losses = [{e["step"]: e["loss"] for e in read_events(run)[0] if e["type"] == "step"} for run in (whole, broken)]
    assert losses[0] == losses[1] and len(losses[0]) == 6
    files = [(run / "adapter" / "adapter_model.safetensors").read_bytes() for run in (whole, broken)]
    assert files[0] == files[1]


# --- What is trained ---


def test_a_batch_has_the_loss_of_its_rows_and_every_token_of_an_answer_counts(
    model: LanguageModel, base: Path, dataset: Dataset, tmp_path: Path
) -> None:
    trainer = adapted_trainer(model, dataset.training()[:6], tmp_path, tiny_settings(base))
    trainer.model.eval()
    rows = [dict(row) for row in trainer.train_dataset]

    def loss_of(some: list[Any]) -> float:
        return trainer.compute_loss(
            trainer.model, trainer.data_collator(some), num_items_in_batch=torch.tensor(1)
        ).item()

    assert loss_of(rows) == pytest.approx(sum(loss_of([row]) for row in rows), rel=1e-5)
    batch = trainer.data_collator(rows)
    _, items = trainer.get_batch_samples(iter([batch]), 1, torch.device("cpu"))
    assert int(items) == sum(len(row["answer"]) for row in rows)
    end = model.tokenizer.eos_token_id
    for row, source in zip(rows, dataset.training(), strict=False):
        assert row["input_ids"] == encode_prompt(model.tokenizer, source["prompt"]) and row["input_ids"][-1] == end
        assert row["labels"] == row["answer"] == [*encode_answer(model.tokenizer, source["response"]), end]


def test_activations_that_are_computed_again_have_the_same_gradients(
    base: Path, dataset: Dataset, tmp_path: Path
) -> None:
    gradients = []
    for again in (False, True):
        model = load_base(str(base), precision="fp32")
        trainer = adapted_trainer(
            model, dataset.training()[:4], tmp_path, tiny_settings(base, gradient_checkpointing=again)
        )
        for module in trainer.model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        if again:
            trainer.model.gradient_checkpointing_enable(trainer.args.gradient_checkpointing_kwargs)
        trainer.model.train()
        batch = trainer.data_collator([dict(row) for row in trainer.train_dataset])
        trainer.compute_loss(trainer.model, batch).backward()
        gradients.append({name: p.grad for name, p in trainer.model.named_parameters() if p.requires_grad})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name])


def test_general_rows_are_held_to_what_the_base_says(model: LanguageModel, base: Path, dataset: Dataset) -> None:
    rows = [row for row in dataset.training() if row["kind"] == GENERAL][:8]
    encoded = encode_rows(model, rows, tiny_settings(base))
    places = 0
    for row, example in zip(rows, encoded.rows, strict=True):
        prompt = encode_prompt(model.tokenizer, row["prompt"])
        kept = [label <= FIRST_KEPT for label in example["labels"]]
        answer = example["answer"][: sum(kept)]
        assert example["input_ids"] == prompt and IGNORED not in example["labels"]
        with torch.no_grad():
            before = torch.tensor([[0, *answer[:-1]]])
            shares = model.model(input_ids=torch.tensor([prompt]), decoder_input_ids=before).logits[0].softmax(-1)
        tokens, found = encoded.targets.of(torch.tensor(example["labels"][: len(answer)]))
        expected = shares.gather(1, tokens) / 2
        expected[:, 0] += 0.5
        assert torch.allclose(found, expected, atol=1e-5)
        places += len(answer)
    assert places == len(encoded.targets.tokens) > 20


# --- What is known before, and what is refused ---


@pytest.mark.parametrize(("flan", "kind"), [(True, "t5"), (False, "t5"), (True, "mt5")])
def test_the_plan_knows_a_t5_s_layers_and_size(flan: bool, kind: str, dataset: Dataset, tmp_path: Path) -> None:
    base = save_t5(tmp_path / "base", flan=flan, kind=kind)
    shape, settings = base_shape(str(base)), tiny_settings(base)
    model = load_base(str(base), precision="fp32")
    layers = layers_of(model.model)
    assert shape and shape.seq2seq and (shape.layers, shape.decoder_layers) == (3, 1)
    assert shape.weights == sum(p.numel() for p in model.model.parameters())
    assert shape.linear_weights == sum(layer.inputs * layer.outputs for layer in layers)
    plan = plan_run(settings, dataset.training(), gpu=False)
    assert "100% of the linear weights" in plan.adapted and plan.memory_bytes and plan.way == TRANSFORMERS
    add_lora(model, settings, tmp_path)
    trained = [p for p in model.model.parameters() if p.requires_grad]
    assert sum(p.numel() for p in trained) == lora_parameters(shape, settings)
    assert {"encoder", "decoder"} == {n.split(".")[2] for n, p in model.model.named_parameters() if p.requires_grad}


def test_the_same_kinds_of_layers_can_be_chosen_as_of_a_llama(base: Path, dataset: Dataset) -> None:
    plan = plan_run(tiny_settings(base, target_modules=("q_proj", "v_proj")), dataset.training(), gpu=False)
    assert plan.adapted.endswith("(q, v)")


def test_settings_that_mean_nothing_are_told_and_packing_is_refused(
    base: Path, model: LanguageModel, dataset: Dataset, tmp_path: Path
) -> None:
    rows = dataset.training()
    told = plan_run(tiny_settings(base, completion_only_loss=False, load_in_4bit=True), rows, gpu=False).warnings
    assert any("learns the answers alone" in said for said in told) and any("4 bits" in said for said in told)
    with pytest.raises(SettingsError, match="turn packing off"):
        plan_run(tiny_settings(base, packing=True), rows, gpu=False)


def test_which_bases_are_t5s(base: Path, tiny_base: Path) -> None:
    names = ["google/flan-t5-small", "google/flan-t5-xl", "google-t5/t5-base", "google/mt5-base", str(base)]
    assert all(family_of_base(name) is SEQ2SEQ for name in names) and not any(map(is_squeezed, names))
    others = ["Qwen/Qwen3-8B", "google/gemma-3-4b-it", "google/t5gemma-2b-2b", str(tiny_base)]
    assert all(family_of_base(name) is CAUSAL for name in others)
    assert load_base(str(tiny_base)).family is CAUSAL


def test_another_kind_of_encoder_is_refused_in_a_sentence(base: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(base, tmp_path / "bart"))
    (folder / "model.safetensors").unlink()
    sizes = {"encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 8, "decoder_ffn_dim": 8}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    BartForConditionalGeneration(BartConfig(vocab_size=50, d_model=8, **sizes, **heads)).save_pretrained(folder)
    with pytest.raises(ModelError, match="T5s alone are trained here"):
        load_base(str(folder))


def test_answers_that_have_no_tokens_are_counted(base: Path, model: LanguageModel, dataset: Dataset) -> None:
    rows = [dict(row) for row in dataset.training() if row["kind"] != GENERAL][:6]
    rows[2]["response"] += " {☃}"
    assert encode_rows(model, rows, tiny_settings(base)).unsayable == 1


def test_a_merged_t5_that_ties_its_matrices_answers_the_same(dataset: Dataset, tmp_path: Path) -> None:
    base = save_t5(tmp_path / "base", flan=False)
    run = create_run(dataset, tiny_settings(base, max_steps=2, probes=0, questions=1))
    assert train_here(run) == 0
    (tmp_path / "merged").mkdir()
    made = make(run, "merged", tmp_path / "merged", print)
    assert made["seq2seq"] and made["checked"] == 8
    assert read_json(tmp_path / "merged" / "config.json")["tie_word_embeddings"] is True
