"""What is published, held to what vLLM's own loader asks of it, and the command that is shown."""

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from pipeline.__main__ import main
from pipeline.files import read_json, write_json
from pipeline.models.embedded import HUB_TWIN
from pipeline.prompts import build_prompt
from pipeline.publishing.publish import export_model
from pipeline.publishing.vllm import RANKS, commands, why_no_adapter
from pipeline.runs.folder import ADAPTER, SETTINGS

REPO = "mira/kites"

LINEAR = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
"""The layers of a Llama that vLLM lets an adapter change, by the names that they have before it packs some of them together."""

WEIGHT = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_[AB]\.weight")


def loads_adapter(folder: Path, max_lora_rank: int) -> None:
    """What vLLM looks at before it takes an adapter: its configuration, then every weight's name and shape."""
    config = read_json(folder / "adapter_config.json")
    assert {"r", "lora_alpha", "target_modules"} <= config.keys()
    assert max_lora_rank in RANKS and 0 < config["r"] <= max_lora_rank
    assert config["bias"] == "none" and not config["modules_to_save"] and not config["use_dora"]
    assert not config["rank_pattern"] and not config["alpha_pattern"]  # it scales all layers by the one rank
    with safe_open(folder / "adapter_model.safetensors", framework="pt") as weights:
        names = list(weights.keys())
        assert names
        for name in names:
            found = WEIGHT.fullmatch(name)
            assert found and found["module"].rpartition(".")[2] in LINEAR, name
            shape = weights.get_slice(name).get_shape()
            assert shape[0 if ".lora_A." in name else 1] == config["r"]


def option(command: str, name: str) -> str:
    words = shlex.split(command)
    return words[words.index(name) + 1]


def test_a_published_adapter_is_one_that_vllm_loads(
    finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "adapter"
    assert main(["publish", str(finished_run), "--out", str(folder), "--license", "mit"]) == 0
    said = capsys.readouterr()
    assert said.out.strip() == str(folder)
    command = next(line for line in said.err.splitlines() if line.startswith("vllm serve"))
    loads_adapter(folder, int(option(command, "--max-lora-rank")))
    assert option(command, "--lora-modules") == f"adapter={folder}"
    template = Path(option(command, "--chat-template"))
    assert template.parent == folder and "Instruction: " in template.read_text()
    assert "hf jobs" not in said.err  # a folder is on no machine of the Hub
    card = (folder / "README.md").read_text()
    assert command.replace(str(folder), "./adapter") in card and str(folder) not in card


def test_a_published_merged_model_is_one_that_vllm_loads(finished_run: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    folder = tmp_path / "merged"
    *_, last = export_model(finished_run, "merged", folder)
    config = read_json(folder / "config.json")
    assert config["architectures"] == ["LlamaForCausalLM"] and not (folder / "adapter_config.json").exists()
    assert list(folder.glob("*.safetensors")) and last.served
    assert shlex.split(last.served.vllm)[:3] == ["vllm", "serve", str(folder)] and not last.served.job
    tokenizer = AutoTokenizer.from_pretrained(folder)  # whose template vLLM takes where no other is named
    messages = [{"role": "system", "content": "Kite"}, {"role": "user", "content": "What is it?"}]
    asked = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    assert asked == build_prompt("Kite", "What is it?")


def test_on_the_hub_it_is_also_a_job(finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Path(shutil.copytree(finished_run, tmp_path / "run"))
    adapter, merged = (commands(run, form, REPO) for form in ("adapter", "merged"))
    download, serve = adapter.vllm.splitlines()
    assert shlex.split(download) == ["hf", "download", REPO, "chat_template.jinja", "--local-dir", "."]
    assert (
        option(serve, "--lora-modules") == f"kites={REPO}" and option(serve, "--chat-template") == "chat_template.jinja"
    )
    assert option(adapter.job, "-v") == f"hf://{REPO}:/published"
    assert option(adapter.job, "--lora-modules") == "kites=/published"
    assert option(adapter.job, "--chat-template") == "/published/chat_template.jinja"
    assert option(merged.job, "serve") == REPO and option(merged.job, "--flavor") == "l4x1"
    for job in (adapter.job, merged.job):
        assert option(job, "--host") == "0.0.0.0" and option(job, "--expose") == option(job, "--port")
    settings = read_json(run / SETTINGS)
    write_json(run / SETTINGS, settings | {"base_model": "SmolLM2-135M-Instruct"})
    assert option(commands(run, "adapter", REPO).vllm.splitlines()[1], "serve") == HUB_TWIN
    assert option(commands(run, "adapter", REPO, "4 bits").vllm.splitlines()[1], "--quantization") == "bitsandbytes"


@pytest.mark.parametrize(
    ("rank", "wanted"), [(1, 1), (2, 8), (8, 8), (9, 16), (64, 64), (65, 128), (300, 320), (512, 512)]
)
def test_the_rank_is_rounded_up_to_what_vllm_allows(finished_run: Path, tmp_path: Path, rank: int, wanted: int) -> None:
    run = changed(finished_run, tmp_path, r=rank)
    assert option(commands(run, "adapter", "kites").vllm, "--max-lora-rank") == str(wanted)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"use_dora": True}, "DoRA"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"bias": "all"}, "biases"),
        ({"rank_pattern": {"q_proj": 4}}, "ranks that differ"),
        ({"target_parameters": ["experts.gate_up_proj"]}, "experts"),
        ({"r": 600}, "rank above 512"),
    ],
)
def test_what_vllm_would_refuse_is_said_in_a_sentence(
    finished_run: Path, tmp_path: Path, change: dict[str, Any], says: str
) -> None:
    run = changed(finished_run, tmp_path, **change)
    told = commands(run, "adapter", REPO)
    assert (
        not told.vllm
        and not told.job
        and says in told.why_not
        and told.why_not.endswith("publish the merged model for it.")
    )
    assert commands(run, "merged", REPO).vllm


def test_what_a_run_itself_writes_is_never_refused(finished_run: Path) -> None:
    assert not why_no_adapter(read_json(finished_run / ADAPTER / "adapter_config.json"))
    assert "GGUF" in commands(finished_run, "gguf", REPO).why_not


def changed(finished_run: Path, tmp_path: Path, **changes: Any) -> Path:
    """A copy of the run with another adapter's configuration."""
    run = Path(shutil.copytree(finished_run, tmp_path / "run"))
    file = run / ADAPTER / "adapter_config.json"
    file.write_text(json.dumps(read_json(file) | changes))
    return run
