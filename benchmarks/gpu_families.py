"""Answers of any causal base on a GPU: `python -m benchmarks.gpu_families [SHAPE …] [--cases …] [--out DIR]`.

The shapes of Qwen3-8B, Gemma 3 4B and Llama-3-8B with random weights in bf16, whose speed is the real model's, and an adapter of
rank 16 on all linear layers. Each is asked 15 questions on both sides, 30 rows of 64 new tokens, and one question on the tuned
side, as the app asks it and by Transformers' `generate` with its cache that grows; those that are built as a Llama also without
their own decoding (general). In fp32, four rows of each way are held against `generate` token by token, with how near each other
the two likeliest tokens are where they part. And 50 times one or fifteen are asked (growth), after each of which the memory is
looked at that is left in use, while Python collects nothing.
"""

import argparse
import gc
import multiprocessing
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from benchmarks.measure import RESULTS, save, spread
from pipeline.files import read_json, write_json
from pipeline.models import language_model
from pipeline.models.bases import GPU_BASE
from pipeline.models.config import ALL_LINEAR, is_plain_llama
from pipeline.models.language_model import BASE, TUNED, LanguageModel
from pipeline.models.layers import targets
from pipeline.models.offered import offered
from pipeline.models.static_cache import mixes, takes_static_cache

CASES = ("app", "transformers", "general", "same", "growth")
NEW_TOKENS, FEWER_TOKENS, PROMPT, QUESTIONS = 64, 24, 60, 15
"""An answer's tokens, those of Transformers', which are as fast and take minutes, and a prompt's."""

PICTURES = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
PICTURES |= {"image_size": 28, "patch_size": 14}

SHAPES = {"Qwen3-8B": "Qwen/Qwen3-8B", "Gemma 3 4B": "google/gemma-3-4b-it", "Llama-3-8B": GPU_BASE}
"""Each by the name that the app offers it by."""

SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "head_dim": 8}
SMALL |= {"num_key_value_heads": 2, "vocab_size": 300}


def build(shape: str, dtype: torch.dtype, small: bool) -> LanguageModel:
    """A shape's model with random weights, on the GPU where there is one, with an adapter that says something else."""
    one = offered(SHAPES[shape])
    assert one
    own = {name: value for name, value in one.config.items() if name != "quantization_config"}
    own |= {"max_position_embeddings": 8192, **(SMALL if small else {})}
    kind = own.pop("model_type")
    if kind == "gemma3_text":  # published with a part that reads pictures
        kind = "gemma3"
        own = {"text_config": own, "vision_config": PICTURES}
        own |= {"image_token_index": 2, "boi_token_index": 3, "eoi_token_index": 4}
    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **own), dtype=dtype).eval()
    config = LoraConfig(**targets(model, ALL_LINEAR, experts=False), r=16, lora_alpha=16)
    model = get_peft_model(model, config, autocast_adapter_dtype=False).eval()
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, 0, 0.05)
    words = Tokenizer(WordLevel({"<nothing>": 0, "<end>": 1}, unk_token="<nothing>"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<end>", pad_token="<nothing>")
    return LanguageModel(model, tokenizer, shape, "", adapter="default")


def measured(shape: str, case: str, runs: int, small: bool) -> dict[str, Any]:
    """Tokens a second of a shape that is asked in one of the ways."""
    found = build(shape, torch.bfloat16, small)
    if case != "app":
        language_model.decodes = lambda _: False
    if case == "transformers":
        language_model.takes_static_cache = lambda _: False
    way = "own decoding" if found._is_ours() else "graph" if found._repeats() else "generate"
    prompts = torch.randint(5, 250, (QUESTIONS, PROMPT)).tolist()
    prompts = [prompt[: PROMPT - n] for n, prompt in enumerate(prompts)]
    LanguageModel.end_tokens = lambda _: {10**6}  # every answer shall have all tokens
    most = FEWER_TOKENS if case == "transformers" else NEW_TOKENS
    config = found._generation(most)
    asked = {
        "both sides of 15": (prompts * 2, [BASE] * QUESTIONS + [TUNED] * QUESTIONS),
        "tuned side of one": (prompts[:1], [TUNED]),
    }
    figures: dict[str, Any] = {"way": way, "new_tokens": most}
    for name, (which, by) in asked.items():
        seconds, said = [], []
        for _ in range(runs + 1):
            begun = time.monotonic()
            said = found._decoded(which, by, config)
            seconds.append(time.monotonic() - begun)
        tokens = sum(map(len, said))
        assert tokens == most * len(which)
        figures[name] = {
            "first_seconds": round(seconds[0], 2),
            "tokens_per_second": spread([round(tokens / s, 1) for s in seconds[1:]]),
        }
        print(shape, case, name, figures[name], flush=True)
    if torch.cuda.is_available():
        figures["peak_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
    return figures


def same(shape: str, small: bool) -> dict[str, Any]:
    """How many tokens of four rows in fp32 are those of `generate`, up to the first that differs, and by how little it does."""
    torch.backends.cuda.matmul.allow_tf32 = False
    found = build(shape, torch.float32, small)
    prompts = [prompt[n * 3 :] for n, prompt in enumerate(torch.randint(5, 250, (4, PROMPT)).tolist())]
    LanguageModel.end_tokens = lambda _: {10**6}
    config = found._generation(NEW_TOKENS)
    by = [BASE, TUNED, BASE, TUNED]
    assert mixes(found.model) and takes_static_cache(found.model)
    said = {}
    if found._is_ours():
        said["own decoding"] = found._decoded(prompts, by, config)
        language_model.decodes = lambda _: False
    said["graph"] = found._decoded(prompts, by, config)
    language_model.takes_static_cache = lambda _: False
    there = found._decoded(prompts, by, config)
    figures: dict[str, Any] = {"of": NEW_TOKENS}
    for way, here in said.items():
        alike = [
            next((i for i, (a, b) in enumerate(zip(x, y, strict=True)) if a != b), NEW_TOKENS)
            for x, y in zip(here, there, strict=True)
        ]
        close = [gap(found, prompts[n], there[n][:at], by[n]) for n, at in enumerate(alike) if at < NEW_TOKENS]
        figures[way] = {"same_tokens": alike, "logits_apart_where_they_part": close}
    return figures


def growth(shape: str, small: bool) -> dict[str, Any]:
    """The memory that is left in use after each of 50 times that one or fifteen are asked, in MiB."""
    found = build(shape, torch.bfloat16, small)
    LanguageModel.end_tokens = lambda _: {10**6}
    config = found._generation(FEWER_TOKENS)
    gc.collect()
    gc.disable()
    left = []
    for turn in range(50):
        count = 1 if turn % 2 else QUESTIONS
        prompts = torch.randint(5, 250, (count, PROMPT - turn)).tolist()
        found._decoded(prompts, [TUNED] * count, config)
        left.append(round(torch.cuda.memory_allocated() / 2**20, 1) if torch.cuda.is_available() else 0.0)
    return {"mib_after_each": left, "peak_gib": round(torch.cuda.max_memory_allocated() / 2**30, 2)}


def gap(found: LanguageModel, prompt: list[int], said: list[int], who: str) -> float:
    """By how much the likeliest next token is likelier than the second, in logits."""
    with found.side(who == TUNED), torch.no_grad():
        logits = found.model(torch.tensor([prompt + said], device=found.model.device)).logits[0, -1]
    best = logits.topk(2).values
    return float(best[0] - best[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shapes", nargs="*", default=list(SHAPES), help=f"of {', '.join(SHAPES)}")
    parser.add_argument("--cases", nargs="*", default=CASES, help=f"of {', '.join(CASES)}")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the JSON goes; what is there is added to")
    parser.add_argument("--small", action="store_true", help="a few numbers wide, to try the script")
    args = parser.parse_args()
    done = args.out / "gpu_families.json"
    figures: dict[str, Any] = read_json(done)["shapes"] if done.is_file() else {}
    for case in args.cases:
        for shape in args.shapes:
            if case == "general" and not is_plain_llama(one.config if (one := offered(SHAPES[shape])) else {}):
                continue
            figures.setdefault(shape, {})[case] = in_a_process(shape, case, args.runs, args.small)
            save("gpu_families", {"shapes": figures}, args.out)


def in_a_process(shape: str, case: str, runs: int, small: bool) -> dict[str, Any]:
    """A case by a process of its own, which gives the GPU's memory back when it ends."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        process = multiprocessing.get_context("spawn").Process(target=work, args=(result, shape, case, runs, small))
        process.start()
        process.join()
        return read_json(result) if process.exitcode == 0 else {"failed": process.exitcode}


def work(result: Path, shape: str, case: str, runs: int, small: bool) -> None:
    """In the process: what a case has to say, as a file."""
    own = {"same": same, "growth": growth}.get(case)
    write_json(result, own(shape, small) if own else measured(shape, case, runs, small))


if __name__ == "__main__":
    main()
