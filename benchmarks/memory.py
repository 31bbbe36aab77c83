"""The memory that a run was expected to take against its measured peak: `python -m benchmarks.memory [--out DIR] [--work DIR]`.

Each case is a training of a few steps on the sample, in a process of its own, through the app's own training path: on a
GPU where there is one, else on the processor. The bases are the embedded model and others' shapes with random weights,
whose memory is the real models'. Cases that the time budget has no room for are left out and named.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measure import RESULTS, save
from pipeline.catalogue.catalogue import SAMPLE, read_catalogue
from pipeline.dataset.build import build_dataset
from pipeline.dataset.settings import DatasetSettings
from pipeline.files import PROJECT
from pipeline.models.embedded import EMBEDDED
from pipeline.models.offered import SEQ2SEQ_BASE, offered
from pipeline.runs.events import read_events
from pipeline.runs.manage import clear_run, create_run
from pipeline.runs.settings import gpu_name, preset
from pipeline.runs.status import log_tail
from pipeline.training.plan.plan import plan_run

STEPS = 4

LLAMA_3_8B = {
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 8192,
    "rope_parameters": {"rope_type": "default", "rope_theta": 500000.0},
    "tie_word_embeddings": False,
}
LLAMA_3_1B = {
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "vocab_size": 128256,
    "tie_word_embeddings": True,
}
SMALL = {
    "hidden_size": 384,
    "intermediate_size": 1024,
    "num_hidden_layers": 12,
    "num_attention_heads": 6,
    "num_key_value_heads": 6,
    "vocab_size": 49152,
    "tie_word_embeddings": False,
}
QWEN_SMALL = {
    "hidden_size": 448,
    "intermediate_size": 2432,
    "num_hidden_layers": 12,
    "num_attention_heads": 7,
    "num_key_value_heads": 1,
    "vocab_size": 151936,
    "tie_word_embeddings": True,
}
SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama-8b": ("LlamaForCausalLM", LLAMA_3_8B),
    "llama-1b": ("LlamaForCausalLM", LLAMA_3_1B),
    "small": ("LlamaForCausalLM", SMALL),
    "qwen-small": ("Qwen2ForCausalLM", QWEN_SMALL),
}
PUBLISHED = {
    "qwen3-8b": "Qwen/Qwen3-8B",
    "qwen3-4b": "Qwen/Qwen3-4B-Instruct-2507",
    "llama-3.2-3b": "meta-llama/Llama-3.2-3B-Instruct",
    "gemma-3-4b": "google/gemma-3-4b-it",
    "phi-4-mini": "microsoft/Phi-4-mini-instruct",
    "gemma-3-270m": "google/gemma-3-270m",
    "qwen3-0.6b": "Qwen/Qwen3-0.6B",
    "flan-t5-base": SEQ2SEQ_BASE,
}
"""Shapes that the app offers, by the names that it offers them by."""

ROPES: dict[str, dict[str, Any]] = {
    "phi-4-mini": {
        "original_max_position_embeddings": 4096,
        "rope_parameters": {
            "rope_type": "longrope",
            "rope_theta": 10000.0,
            "partial_rotary_factor": 0.75,
            "long_factor": [2.0] * 48,
            "short_factor": [1.0] * 48,
        },
    }
}
"""How positions are turned by those that look at how long a text is; the factors are made up."""


@dataclass(frozen=True)
class Case:
    """A base (the embedded one or one of `SHAPES`) with changes to the preset `recall`."""

    base: str
    changes: dict[str, Any]

    @property
    def name(self) -> str:
        return " ".join([self.base, *(f"{name}={value}" for name, value in self.changes.items())])


def case(base: str, batch: int = 8, **changes: Any) -> Case:
    return Case(base, {"per_device_train_batch_size": batch, **changes})


LLAMA_8B = case("llama-8b")

FOUR_BIT: dict[str, Any] = {"load_in_4bit": True, "lora_r": 16}
CHECKPOINTING: dict[str, Any] = {"gradient_checkpointing": True}

GPU_CASES = [
    case("llama-8b", 24, **FOUR_BIT),
    case("llama-8b", 24, **FOUR_BIT, **CHECKPOINTING),
    case("llama-8b", 3, **FOUR_BIT, **CHECKPOINTING, gradient_accumulation_steps=8),
    case("llama-8b", 8, load_in_4bit=True, lora_r=64),
    case(EMBEDDED, 24),
    case(EMBEDDED, 8, lora_r=16),
    case(EMBEDDED, 24, **CHECKPOINTING),
    case("llama-1b", 24, load_in_4bit=True, lora_r=64),
    case("llama-8b", 24, load_in_4bit=True, lora_r=64),
    case("llama-8b", 8, load_in_4bit=True, lora_r=64, **CHECKPOINTING),
    case("llama-8b", 3, **FOUR_BIT),
    case("llama-1b", 8, lora_r=16, **CHECKPOINTING),
    case("llama-8b", 8, lora_r=16),
    case(EMBEDDED, 24, packing=True, max_length=256),
    *(case(shape, 24, lora_r=16) for shape in PUBLISHED),
]
"""The most telling ones first."""

CPU_CASES = [
    case(EMBEDDED, 8, lora_r=32),
    case(EMBEDDED, 1),
    case(EMBEDDED, 4),
    case(EMBEDDED, 8),
    case(EMBEDDED, 8, lora_r=8),
    case(EMBEDDED, 8, lora_r=256),
    case(EMBEDDED, 8, **CHECKPOINTING),
    case(EMBEDDED, 8, lora_r=32, completion_only_loss=False),
    case(EMBEDDED, 3, gradient_accumulation_steps=8, lora_r=16, completion_only_loss=False, **CHECKPOINTING),
    case(EMBEDDED, 8, lora_r=32, precision="fp32"),
    case(EMBEDDED, 2, lora_r=32, precision="fp32"),
    case(EMBEDDED, 8, lora_r=32, target_modules=("q_proj", "v_proj")),
    case(EMBEDDED, 8, lora_r=32, optim="sgd"),
    case(EMBEDDED, 4, lora_r=32, packing=True),
    case("small", 8, lora_r=32),
    case("small", 8, lora_r=32, precision="fp32"),
    case("qwen-small", 8, lora_r=32),
    case("qwen-small", 2, lora_r=16, **CHECKPOINTING),
    case("llama-1b", 4, lora_r=16),
    case("qwen3-0.6b", 4, lora_r=16),
    case("qwen3-0.6b", 8, lora_r=32),
    case("flan-t5-base", 8, lora_r=32),
    case("flan-t5-base", 2, lora_r=16, **CHECKPOINTING),
]


def build(name: str, folder: Path) -> None:
    """Save a shape with random bf16 weights and the embedded model's tokenizer."""
    import torch
    import transformers

    from pipeline.models.embedded import converted_folder
    from pipeline.models.family import family_of

    tokenizer = transformers.AutoTokenizer.from_pretrained(converted_folder())
    tokenizer.save_pretrained(folder)
    ends = {f"{end}_token_id": getattr(tokenizer, f"{end}_token_id") for end in ("bos", "eos", "pad")}
    known = offered(PUBLISHED.get(name, ""))
    if known:
        own = known.config | ROPES.get(name, {}) | {"max_position_embeddings": 8192} | ends
        if known.config["vocab_size"] < len(tokenizer):
            own["vocab_size"] = len(tokenizer)
        config = transformers.AutoConfig.for_model(own.pop("model_type"), **own)
    else:
        kind, shape = SHAPES[name]
        config = getattr(transformers, kind).config_class(**shape, **ends)
    made = family_of(config).auto_class
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        made.from_config(config, dtype=torch.bfloat16).save_pretrained(folder)


def base_of(wanted: Case, work: Path) -> str:
    """The case's base by the name that settings know it by.

    It is built where it is not there, in a process of its own, which gives the GPU's memory back when it ends.
    """
    if wanted.base == EMBEDDED:
        return EMBEDDED
    folder = work / wanted.base
    if not folder.is_dir():
        code = f"from benchmarks.memory import *; build({wanted.base!r}, Path({str(folder)!r}))"
        subprocess.run([sys.executable, "-c", code], check=True, cwd=PROJECT)
    return str(folder)


def measure(wanted: Case, base: str, work: Path, until: float) -> dict[str, Any]:
    """Estimate and measured peak of a case, in bytes; without the latter where the time was over or it failed."""
    dataset = build_dataset(read_catalogue(SAMPLE), DatasetSettings())
    settings = preset("recall", **wanted.changes, base_model=base, max_steps=STEPS, probes=0, questions=4)
    plan = plan_run(settings, dataset.training(), gpu=bool(gpu_name()))
    found: dict[str, Any] = {"case": wanted.name, "micro_batch": plan.micro_batch, "estimated": plan.memory_bytes}
    if time.monotonic() > until:
        return found | {"failed": "no time left"}
    run = work / "runs" / "".join(c if c.isalnum() else "-" for c in wanted.name)
    clear_run(run)
    create_run(dataset, settings, run)
    begun = time.monotonic()
    ended = train(run, until)
    events = read_events(run)[0]
    last = events[-1] if events else {}
    found["seconds"] = round(time.monotonic() - begun, 1)
    if last.get("type") != "finished":
        return found | {"failed": ended or last.get("message") or log_tail(run, 3)}
    found["steps"] = [e["memory_bytes"] for e in events if e["type"] == "step"]
    found["measured"] = last["peak_memory_bytes"]
    return found | {"off_by": round(found["estimated"] / found["measured"] - 1, 3)}


def train(run: Path, until: float) -> str:
    """Run the training process; says so when it had to be ended because the time was over."""
    # Unsloth writes the code that it compiles into one folder; several cases run beside each other.
    environment = os.environ | {"UNSLOTH_COMPILE_LOCATION": str(run / "compiled")}
    with (run / "train.log").open("wb") as log:
        command = [sys.executable, "-m", "pipeline.training.child", str(run)]
        child = subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        child.wait(max(1.0, until - time.monotonic()))
        return ""
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        return "no time left"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the JSON goes")
    parser.add_argument("--name", default="", help="of the JSON (default: memory_gpu or memory_cpu)")
    parser.add_argument("--work", type=Path, default=PROJECT / ".gpu", help="scratch folder (default: %(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=340 if gpu_name() else 3600, help="time for all cases together"
    )
    parser.add_argument("--jobs", type=int, default=4 if gpu_name() else 1, help="cases beside each other")
    parser.add_argument("--only", nargs="+", default=[""], help="cases whose name holds one of these")
    args = parser.parse_args()
    until = time.monotonic() + args.seconds
    cases = [c for c in (GPU_CASES if gpu_name() else CPU_CASES) if any(word in c.name for word in args.only)]
    name, figures = args.name or ("memory_gpu" if gpu_name() else "memory_cpu"), []
    args.work.mkdir(parents=True, exist_ok=True)
    os.environ["SHELFTALK_HOME"] = str(args.work.resolve())
    bases = {c.base: base_of(c, args.work.resolve()) for c in cases}
    build_dataset(read_catalogue(SAMPLE), DatasetSettings())  # once, before several would make it at the same time
    with ThreadPoolExecutor(args.jobs) as pool:
        for found in pool.map(lambda c: measure(c, bases[c.base], args.work.resolve(), until), cases):
            figures.append(found)
            save(name, {"cases": figures}, args.out)


if __name__ == "__main__":
    main()
