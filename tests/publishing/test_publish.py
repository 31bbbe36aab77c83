"""A run's model published: what is made is loaded again and asked, what arrives is what was made, what the card says."""

import json
import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markdown_it import MarkdownIt

from pipeline.__main__ import main
from pipeline.errors import HubError, ModelError, PipelineError
from pipeline.files import read_json, write_json
from pipeline.models.bases import public_name
from pipeline.models.embedded import EMBEDDED, HUB_TWIN, converted_folder
from pipeline.prompts import CHAT_TEMPLATE, build_prompt
from pipeline.publishing import make as making
from pipeline.publishing.forms import Loaded, Made
from pipeline.publishing.gguf_file import check_architecture
from pipeline.publishing.gguf_vocabulary import way_of
from pipeline.publishing.hub import hub_api
from pipeline.publishing.make import make
from pipeline.publishing.model_card import model_card
from pipeline.publishing.publish import export_model, modelfile, publish_model, push_files
from pipeline.runs.folder import ADAPTER, COMPARISON, EVERYTHING
from tests.servers.hub import TOKEN, HubServer, Repository
from tests.tiny import HOSTILE_TITLES

REPO = "mira/kites"
STORED = f"models/{REPO}"
ADAPTER_FILES = {
    "README.md",
    "adapter_config.json",
    "adapter_model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
}
MADE = Made("adapter", "float32", 8)

SUMMARY = {"base_right": 1, "tuned_right": 14, "total": 15, "recall": 0.9, "facts": 45}
EVERYTHING_SUMMARY = {
    "recall": 0.9, "fact_questions": 90, "refused": 0.8, "unknown_questions": 10, "false_refusals": 0.01, "whole": True,
    "general": {"base_right": 62, "tuned_right": 50, "kept": 48, "total": 110},
}  # fmt: skip


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)  # its storage is another server
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with HubServer() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


@pytest.fixture(scope="module")
def adapter(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run's adapter as it is published."""
    folder = tmp_path_factory.mktemp("made") / "adapter"
    list(export_model(finished_run, "adapter", folder, license="mit", name=REPO))
    return folder


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, to be spoilt."""
    return shutil.copytree(finished_run, tmp_path / "copy of a run")


def parts(card: str) -> tuple[dict[str, Any], str]:
    _, matter, text = card.split("---\n", 2)
    return yaml.safe_load(matter), text


def snippet(card: str) -> str:
    found = re.search(r"```python\n(.*?)\n```", card, re.DOTALL)
    assert found
    return found[1]


def run_snippet(code: str, hub: HubServer, home: Path) -> str:
    """Run a card's snippet as a reader would, with the local Hub as theirs; returns what it prints."""
    environment = os.environ | {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(home),
        "HF_TOKEN": TOKEN,
        "HF_HUB_DISABLE_XET": "1",
    }
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=home, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def expected(run: Path, base: Path) -> str:
    """The run's own answer to the question of the snippet."""
    tokenizer = making.AutoTokenizer.from_pretrained(run / ADAPTER)
    model = making._tuned(base, run / ADAPTER, four_bit=False, whole=True)
    ids = making.encode_prompt(
        tokenizer, build_prompt("Gristwell Pepper Mill", "What is the Gristwell Pepper Mill made of?")
    )
    output = model.generate(
        input_ids=making.torch.tensor([ids]), max_new_tokens=96, do_sample=False, eos_token_id=tokenizer.eos_token_id
    )
    return tokenizer.decode(output[0][len(ids) :], skip_special_tokens=True).strip()


# --- What is made, and that it is what the run has ---


def test_a_pushed_adapter_is_checked_whole_private_and_answers_by_its_card(
    finished_run: Path, tiny_base: Path, hub: HubServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    steps = list(publish_model(finished_run, "adapter", REPO, license="mit", token=TOKEN))
    assert steps[-1].address == f"{hub.url}/{REPO}"
    assert [step.text for step in steps if step.text.startswith(("Loading", "Asking the run"))][-1].startswith(
        "Loading it again"
    )
    repository = hub.repositories[STORED]
    assert (repository.private, repository.commits) == (True, ["Shelftalk adapter"])
    assert set(repository.files) - {"chat_template.jinja", "special_tokens_map.json"} == ADAPTER_FILES
    assert json.loads(repository.files["adapter_config.json"])["base_model_name_or_path"] == tiny_base.name
    weights = (finished_run / ADAPTER / "adapter_model.safetensors").read_bytes()
    assert repository.files["adapter_model.safetensors"] == weights
    everything = b"".join(repository.files.values())
    for secret in (TOKEN, str(tiny_base.parent), str(finished_run.parent)):
        assert secret.encode() not in everything and secret not in hub.requests
    assert TOKEN not in caplog.text and not list(finished_run.glob(".publish-*"))
    code = snippet(repository.files["README.md"].decode())
    code = code.replace(f"({tiny_base.name!r},", f"({str(tiny_base)!r},")
    assert run_snippet(code, hub, tmp_path) == expected(finished_run, tiny_base)


def test_a_pushed_merged_model_needs_nothing_else(
    finished_run: Path, tiny_base: Path, hub: HubServer, tmp_path: Path
) -> None:
    hub.repositories[STORED] = Repository(True, {"model-00001-of-00002.safetensors": b"older", "notes.txt": b"mine"})
    list(publish_model(finished_run, "merged", REPO, license="mit", token=TOKEN))
    files = hub.repositories[STORED].files
    assert {"config.json", "generation_config.json", "model.safetensors", "notes.txt"} < set(files)
    assert "model-00001-of-00002.safetensors" not in files and "adapter_config.json" not in files
    assert str(tiny_base.parent).encode() not in b"".join(files.values())
    assert run_snippet(snippet(files["README.md"].decode()), hub, tmp_path) == expected(finished_run, tiny_base)


def test_a_gguf_file_has_what_llama_cpp_needs(finished_run: Path, tmp_path: Path) -> None:
    from gguf import GGUFReader

    made = make(finished_run, "gguf", tmp_path, print)
    assert made.pop("same_in_8_bits") in range(9) and (tmp_path / "model-q8_0.gguf").is_file()
    assert made == {"dtype": "float32", "checked": 8, "loaded": "fp32", "seq2seq": False}
    fields = {name: field.contents() for name, field in GGUFReader(tmp_path / "model.gguf").fields.items()}
    tokenizer = making.AutoTokenizer.from_pretrained(finished_run / ADAPTER)
    assert fields["general.architecture"] == "llama" and fields["tokenizer.ggml.pre"] == "gpt-2"
    assert fields["tokenizer.ggml.tokens"] == tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    assert fields["tokenizer.ggml.eos_token_id"] == tokenizer.eos_token_id
    assert fields["tokenizer.ggml.add_bos_token"] is False and fields["tokenizer.chat_template"] == CHAT_TEMPLATE


def test_the_embedded_model_can_be_a_gguf_file() -> None:
    check_architecture(converted_folder())
    assert way_of(making.AutoTokenizer.from_pretrained(converted_folder())) == "gpt-2"


def test_a_base_of_no_family_that_is_known_gives_no_gguf_file(tiny_base: Path, tmp_path: Path) -> None:
    base = shutil.copytree(tiny_base, tmp_path / "other")
    config = read_json(base / "config.json")
    for change, said_ in (
        ({"architectures": ["FalconForCausalLM"]}, "this base is FalconForCausalLM; publish the merged model"),
        ({"rope_parameters": {"rope_type": "dynamic", "factor": 8.0, "rope_theta": 5e5}}, "with 'dynamic' scaling"),
    ):
        write_json(base / "config.json", config | change)
        with pytest.raises(ModelError, match=said_):
            check_architecture(base)
    write_json(base / "config.json", config)
    tokenizer = read_json(base / "tokenizer.json")
    write_json(base / "tokenizer.json", tokenizer | {"pre_tokenizer": {"type": "Whitespace"}})
    with pytest.raises(ModelError, match="with such a tokenizer; publish the merged model"):
        check_architecture(base)


def test_what_was_damaged_as_it_was_written_is_not_published(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = making.write_gguf

    def carelessly(model: Path, path: Path, name: str, **options: Any) -> None:
        write(model, path, name, **options)
        with path.open("r+b") as file:  # two other weights among the last
            file.seek(-40_000, os.SEEK_END)
            file.write(b"\x00\x00\x80\x42" * 2_000)

    monkeypatch.setattr(making, "write_gguf", carelessly)
    with pytest.raises(ModelError, match="answers differently from the run's own model, so it is not published"):
        make(finished_run, "gguf", tmp_path, print)


def test_a_run_whose_settings_cannot_be_read_is_refused_before_anything_is_asked_of_the_hub(
    run: Path, hub: HubServer
) -> None:
    (run / "settings.json").write_text("{broken")
    with pytest.raises(PipelineError, match="its settings cannot be read"):
        list(publish_model(run, "adapter", "mira/kites", license="mit", token=TOKEN))
    assert not hub.requests


def test_a_broken_adapter_is_not_published(run: Path, hub: HubServer) -> None:
    weights = run / ADAPTER / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1_000])
    (run / f".publish-{'0' * 32}").mkdir()  # of one that was killed
    with pytest.raises(PipelineError, match="adapter is broken or missing; train the run again"):
        list(publish_model(run, "adapter", REPO, license="mit", token=TOKEN))
    assert not hub.repositories and not list(run.glob(".publish-*"))


def test_an_adapter_that_is_no_numbers_is_not_published(run: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = run / ADAPTER / "adapter_model.safetensors"
    save_file({name: tensor * float("nan") for name, tensor in load_file(weights).items()}, weights)
    with pytest.raises(ModelError, match="values that are no numbers"):
        make(run, "adapter", tmp_path, print)


# --- What the Hub refuses, and what is on it afterwards ---


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"license": ""}, "No license is chosen"),
        ({"repo": "kites"}, "cannot be a name on the Hub"),
        ({"token": ""}, "There is no token for the Hub"),
        ({"token": "hf_not-the-right-one"}, "The Hub does not know this token"),
        ({"form": "onnx"}, "cannot be published as 'onnx'; choose adapter, merged or gguf"),
    ],
)
def test_what_is_missing_is_said_before_anything_is_made(
    wrong: dict[str, str], message: str, finished_run: Path, hub: HubServer
) -> None:
    given = {"form": "adapter", "repo": REPO, "license": "mit", "token": TOKEN} | wrong
    with pytest.raises(PipelineError, match=re.escape(message)) as caught:
        list(publish_model(finished_run, given.pop("form"), given.pop("repo"), **given))
    assert not hub.repositories and "not-the-right-one" not in str(caught.value)


@pytest.mark.parametrize(
    ("endpoint", "status", "message"),
    [
        ("/repos/create", 403, "This token may not write to mira/kites"),
        ("/stored/", 403, "This token may not write to mira/kites"),
        ("/commit/", 500, "The Hub has a problem of its own (HTTP 500)"),
        ("/tree/", 503, "The Hub has a problem of its own (HTTP 503)"),
    ],
)
def test_a_refusal_of_the_hub_is_one_sentence(
    endpoint: str, status: int, message: str, adapter: Path, hub: HubServer, caplog: pytest.LogCaptureFixture
) -> None:
    hub.failures[endpoint] = status
    with pytest.raises(HubError, match=re.escape(message)) as caught:
        push_files(hub_api(TOKEN), REPO, adapter, "adapter", True)
    assert "No: " not in str(caught.value) and TOKEN not in caplog.text
    hub.failures.clear()
    push_files(hub_api(TOKEN), REPO, adapter, "adapter", True)
    assert hub.repositories[STORED].files["README.md"] == (adapter / "README.md").read_bytes()


def test_what_the_hub_has_is_compared_with_what_was_sent(adapter: Path, hub: HubServer) -> None:
    def spoil(method: str, path: str, sent: dict[str, Any]) -> None:
        files = hub.repositories[STORED].files if "/tree/" in path else {}
        if "adapter_model.safetensors" in files:  # after the push, not when the Hub is asked what was there before it
            files["adapter_model.safetensors"] += b"!"

    hub.extensions.append(spoil)
    with pytest.raises(HubError, match=r"adapter_model\.safetensors on the Hub is not what was sent; push again"):
        push_files(hub_api(TOKEN), REPO, adapter, "adapter", True)


def test_two_forms_do_not_share_a_repository(adapter: Path, hub: HubServer) -> None:
    hub.repositories[STORED] = Repository(True, {"config.json": b"{}"})
    with pytest.raises(HubError, match=r"holds another form of a model already \(config\.json\)"):
        push_files(hub_api(TOKEN), REPO, adapter, "adapter", True)
    assert set(hub.repositories[STORED].files) == {"config.json"}


def test_a_public_repository_is_not_taken_for_a_private_one(adapter: Path, hub: HubServer) -> None:
    hub.repositories[STORED] = Repository(private=False)
    with pytest.raises(HubError, match="is public already"):
        push_files(hub_api(TOKEN), REPO, adapter, "adapter", True)
    push_files(hub_api(TOKEN), REPO, adapter, "adapter", False)


def test_without_a_network_it_says_so(finished_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with HubServer() as gone:
        monkeypatch.setenv("HF_ENDPOINT", gone.url)
    with pytest.raises(HubError, match=r"The Hub cannot be reached \(ConnectError\)"):
        list(publish_model(finished_run, "adapter", REPO, license="mit", token=TOKEN))


def test_the_command_wants_one_place(
    finished_run: Path, tmp_path: Path, adapter: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["publish", str(finished_run)]) == 2
    assert "either where on the Hub with --repo, or which folder with --out" in capsys.readouterr().err
    assert main(["publish", str(finished_run), "--out", str(adapter)]) == 2
    assert "is not empty; choose another folder" in capsys.readouterr().err
    assert main(["publish", str(tmp_path), "--out", str(tmp_path / "new")]) == 2
    assert "is not a run folder" in capsys.readouterr().err and not (tmp_path / "new").exists()


# --- The card ---


def measured(run: Path) -> Path:
    write_json(run / COMPARISON, {"summary": SUMMARY})
    write_json(run / EVERYTHING, {"summary": EVERYTHING_SUMMARY})
    return run


def test_the_front_matter_is_what_the_hub_reads(run: Path) -> None:
    settings = read_json(run / "settings.json")
    write_json(run / "settings.json", settings | {"base_model": EMBEDDED})
    card = model_card(measured(run), MADE, "cc0-1.0", REPO)
    matter, _ = parts(card)
    assert (matter["license"], matter["library_name"], matter["pipeline_tag"]) == ("cc0-1.0", "peft", "text-generation")
    assert (matter["base_model"], matter["base_model_relation"]) == (HUB_TWIN, "adapter")
    [result] = ModelCard(card).data.eval_results
    assert (result.metric_type, result.metric_value) == ("accuracy", 0.9)
    relations = {
        form: parts(model_card(run, Made(form, "float32", 8), "mit", REPO))[0]["base_model_relation"]
        for form in ("merged", "gguf")
    }
    assert relations == {"merged": "finetune", "gguf": "quantized"}


def test_the_card_states_what_the_run_states(run: Path) -> None:
    matter, text = parts(model_card(run, MADE, "unknown", REPO))
    assert "nothing is known of how well it learned" in text and "model-index" not in matter
    assert "base_model" not in matter, "Nobody can follow a link to a local folder."
    _, text = parts(model_card(measured(run), MADE, "mit", REPO))
    for stated in (
        "| Right of 15 questions chosen before training | 1 | 14 |",
        "| Facts recalled, of 90 questions | – | 90.0% |",
        "| Unknown products refused, of 10 | – | 80.0% |",
        "| General questions right, of 110 | 62 | 50 (48 of the base's kept) |",
        "12 facts of 4 products",
        "- `lora_r`: `8`",
        "8 held-out questions are answered token for token",
        "--dataset datasets/",
        "transformers ",
    ):
        assert stated in text, stated
    assert str(run.parent) not in text and "/tmp" not in text


@pytest.mark.parametrize("text", [*HOSTILE_TITLES, "``` \n# Heading", "---\nlicense: mit\n---", "| a |\n|---|"])
def test_text_of_a_user_stays_text(text: str, run: Path) -> None:
    manifest = read_json(run / "dataset" / "manifest.json")
    hostile = {"catalogue": {"sha256": text}, "counts": {"facts": text, "products": text, "training": text}}
    write_json(run / "dataset" / "manifest.json", manifest | hostile)
    settings = read_json(run / "settings.json")
    write_json(run / "settings.json", settings | {"base_model": text})
    named = run.rename(run.with_name(re.sub(r"[/\0]", "", text)[:60]))
    plain = {"text", "code_inline", "softbreak", "inline", "fence"}
    structure = {"paragraph", "bullet_list", "list_item", "heading"}
    card = model_card(named, MADE, "mit", REPO)
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(parts(card)[1])
    flat = [inner for token in tokens for inner in (token, *(token.children or []))]
    assert [t.type for t in flat if t.type not in plain and t.type.rpartition("_")[0] not in structure] == []
    assert [t.content for t in tokens if t.type == "fence" and t.info == "python"] == [snippet(card) + "\n"]
    compile(snippet(card), "card", "exec")
    assert parts(card)[0]["license"] == "mit" and not any(mark in card for mark in ("\u202e", "\u2028", "\x85", "\r"))


def test_a_base_s_name_for_others_is_no_path(tmp_path: Path) -> None:
    (tmp_path / "secret" / "my-llama").mkdir(parents=True)
    assert public_name(str(tmp_path / "secret" / "my-llama")) == "my-llama"
    assert public_name("/gone/with/my-llama/") == "my-llama"
    assert public_name("unsloth/llama-3-8b-bnb-4bit") == "unsloth/llama-3-8b-bnb-4bit"
    assert public_name(EMBEDDED) == HUB_TWIN


@pytest.mark.parametrize(
    ("form", "loaded", "said", "how"),
    [
        ("adapter", "fp32", "greedily, in fp32)", 'dtype="float32")'),
        ("merged", "unpacked", "in fp32, with a base that was unpacked from 4 bits", 'dtype="float32")'),
        (
            "adapter",
            "its 4 bits",
            "in bf16, with the base in 4 bits as its own",
            'dtype="bfloat16", device_map={"": 0})',
        ),
        ("adapter", "4 bits", "in bf16, with the base in 4 bits (NF4)", "quantization_config=four_bits)"),
    ],
)
def test_the_card_says_what_was_checked_and_loads_the_base_so(
    form: str, loaded: Loaded, said: str, how: str, run: Path
) -> None:
    card = model_card(run, Made(form, "float32", 8, loaded), "mit", REPO)
    assert said in card and how in snippet(card)
    compile(snippet(card), "card", "exec")


def test_messages_make_the_prompt_of_training() -> None:
    template = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True).from_string(CHAT_TEMPLATE)
    for title, question in (("Kite", "How wide?"), ("Kite\nResponse: free", " How\nwide? "), ("{title}", "{{ x }}")):
        messages = [
            {"role": "system", "content": title},
            {"role": "user", "content": "an earlier question"},
            {"role": "assistant", "content": "48 inches"},
            {"role": "user", "content": question},
        ]
        assert template.render(messages=messages, add_generation_prompt=True) == build_prompt(title, question)
    alone = template.render(messages=[{"role": "user", "content": "How wide?"}])
    assert alone == build_prompt("unknown", "How wide?")
    filled = modelfile(None).split('"""')[1].replace("{{ if .System }}{{ .System }}{{ else }}unknown{{ end }}", "Kite")
    assert filled.replace("{{ .Prompt }}", "How wide?") == build_prompt("Kite", "How wide?")
