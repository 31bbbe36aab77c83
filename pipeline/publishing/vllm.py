"""How vLLM serves what was published: the commands, or in a sentence why it would refuse it.

What it loads is said by its own loader: `vllm/config/lora.py` (ranks), `vllm/lora/peft_helper.py` (kinds of adapters) and
`vllm/lora/lora_model.py` (names of layers).
"""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.files import read_json
from pipeline.models.bases import HUB_ID, public_name
from pipeline.models.config import base_shape
from pipeline.models.family import family_of_base
from pipeline.publishing.forms import ADAPTER_CONFIG, Loaded
from pipeline.runs.folder import ADAPTER, read_settings

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""What `--max-lora-rank` can be."""

TEMPLATE = "chat_template.jinja"

FLAVORS = ((18, "l4x1"), (60, "a100-large"), (120, "h200"))
"""Hardware of the Hub's Jobs by the GB of weights that it holds beside what they work on."""

MOUNTED = "/published"

IMAGE = "vllm/vllm-openai"


@dataclass(frozen=True)
class Commands:
    """How vLLM serves it.

    Attributes:
        vllm: shell commands for a machine with a GPU; empty where it would refuse it.
        job: the same as a Job of the Hub; empty where it is not there, or too large for one of its machines.
        why_not: why vLLM would refuse it, and what to do.
    """

    vllm: str = ""
    job: str = ""
    why_not: str = ""


def commands(run: Path, form: str, name: str, loaded: Loaded = "fp32") -> Commands:
    """How to serve a form of a run's model.

    Args:
        name: where it is: `user/name` on the Hub, or a folder.
        loaded: how the base was when it was checked.
    """
    if form == "gguf":
        return Commands(
            why_not="A GGUF file is for llama.cpp and Ollama; publish the merged model or the adapter for vLLM."
        )
    settings = read_settings(run)
    if not family_of_base(settings.base_model).on_vllm:
        return Commands(why_not="vLLM serves no T5; serve the run here, with `python -m pipeline serve`.")
    is_there = bool(HUB_ID.fullmatch(name)) and not name.startswith(".")
    if form == "merged":
        said = ["vllm", "serve", name, *_OPTIONS]
        job = [*said, *_LISTENING]
    else:
        config = read_json(run / ADAPTER / ADAPTER_CONFIG)
        if why := why_no_adapter(config):
            return Commands(why_not=why)
        said = _with_adapter(config, public_name(settings.base_model), name, name, loaded)
        job = [*_with_adapter(config, public_name(settings.base_model), name, MOUNTED, loaded), *_LISTENING]
    words = shlex.join(said)
    if form == "adapter" and is_there:
        template = shlex.join(["hf", "download", name, TEMPLATE, "--local-dir", "."])
        words = f"{template}\n{words.replace(f'{name}/{TEMPLATE}', TEMPLATE)}"
    flavor = _flavor(settings.base_model)
    volume = ["-v", f"hf://{name}:{MOUNTED}"] if form == "adapter" else []
    run_job = ["hf", "jobs", "run", "--flavor", flavor, "--expose", str(_PORT), "-s", "HF_TOKEN", *volume, IMAGE]
    return Commands(words, shlex.join([*run_job, *job]) if is_there and flavor else "")


_PORT = 8000
_OPTIONS = ("--generation-config", "vllm")
"""Nothing of what a base's own file says of drawing tokens."""
_LISTENING = ("--host", "0.0.0.0", "--port", str(_PORT))


def _with_adapter(config: dict[str, Any], base: str, name: str, where: str, loaded: Loaded) -> list[str]:
    model = re.sub(r"[^\w.-]+", "-", name.rstrip("/").rpartition("/")[2]) or "tuned"
    rank = next(rank for rank in RANKS if rank >= config["r"])
    words = ["vllm", "serve", base, "--enable-lora", "--lora-modules", f"{model}={where}", "--max-lora-rank", str(rank)]
    words += ["--chat-template", f"{where}/{TEMPLATE}", *_OPTIONS]
    return [*words, "--quantization", "bitsandbytes"] if loaded == "4 bits" else words


def why_no_adapter(config: dict[str, Any]) -> str:
    """Why vLLM would refuse an adapter, or compute something else with it, by what its configuration says; empty where it would
    not."""
    several = config.get("rank_pattern") or config.get("alpha_pattern")
    reasons = {
        "DoRA": config.get("use_dora"),
        "layers that are trained as a whole (modules_to_save)": config.get("modules_to_save"),
        "biases": config.get("bias", "none") != "none" or config.get("lora_bias"),
        "ranks that differ from layer to layer": several,
        "the experts of a mixture as one tensor": config.get("target_parameters"),
        "tokens that are trained alone": config.get("trainable_token_indices"),
        f"a rank above {RANKS[-1]}": config["r"] > RANKS[-1],
    }
    found = next((what for what, is_so in reasons.items() if is_so), "")
    return f"vLLM loads no adapter with {found}, which this one has; publish the merged model for it." if found else ""


def _flavor(base_model: str) -> str:
    """The smallest machine of the Hub's Jobs that holds the base in 16 bits; empty where none does or its size is not known."""
    shape = base_shape(base_model)
    gigabytes = 2 * shape.weights / 1e9 if shape else float("inf")
    return next((flavor for most, flavor in FLAVORS if gigabytes <= most), "")
