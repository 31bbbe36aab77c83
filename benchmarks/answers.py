"""Answers of the embedded model on this machine: `python -m benchmarks.answers [--runs N] [--run DIR] [--only-decoding]`.

A run is trained for a few steps (what it knows does not matter here), loaded, and asked: seconds to the first token of a chat
question with both sides streaming, tokens a second of such a stream, tokens a second of one question and of fifteen, of base
and tuned model, with prepacked matrices, without and by Transformers, and fifteen questions on both sides: in batches, one by
one, and in batches by Transformers' own decoding, alternating, three times each.
"""

import argparse
import itertools
import os
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks.measure import save, spread
from pipeline.answering.answers import ask_rows
from pipeline.answering.baseline import read_baseline
from pipeline.answering.run_model import load_run
from pipeline.catalogue.catalogue import SAMPLE, read_catalogue
from pipeline.dataset.build import build_dataset
from pipeline.dataset.settings import DatasetSettings
from pipeline.models.embedded import EMBEDDED, converted_folder
from pipeline.models.language_model import BASE, TUNED, LanguageModel
from pipeline.prompts import encode_prompt
from pipeline.runs import launcher
from pipeline.runs.manage import create_run
from pipeline.runs.settings import preset

STEPS = 60
"""Enough that the tuned side answers shortly, as it does in use."""

NEW_TOKENS = 64


def stream_figures(language_model: LanguageModel, prompt: str) -> dict[str, float]:
    tokens = encode_prompt(language_model.tokenizer, prompt)
    begun = time.monotonic()
    first, looks, said = 0.0, 0, 0
    for texts in language_model.stream([tokens, tokens], by=[BASE, TUNED], max_new_tokens=64):
        first = first or time.monotonic() - begun
        looks += 1
        said = sum(len(encode_prompt(language_model.tokenizer, text)) for text in texts)
    seconds = time.monotonic() - begun
    return {"first_token_seconds": first, "seconds": seconds, "tokens_per_second": said / seconds, "steps": looks}


def both_sides(language_model: LanguageModel, rows: list[dict[str, Any]]) -> float:
    begun = time.monotonic()
    for tuned in (False, True):
        ask_rows(language_model, rows, tuned=tuned)
    return time.monotonic() - begun


def decoded_figures(language_model: LanguageModel, prompts: list[list[int]], runs: int, tokens: int) -> dict[str, Any]:
    """Tokens a second of greedy answers of so many tokens each, base and tuned: one question and all, with prepacked matrices,
    without, and by Transformers."""
    llama, found = language_model.model.get_base_model(), {}
    prepacked = getattr(llama, "prepacked", {})
    ways = {"prepacked": (prepacked, True), "plain": ({}, True), "transformers": ({}, False)}
    speeds: dict[str, list[float]] = {}
    # Answers of that length: their end is a token that nobody says.
    with mock.patch.object(LanguageModel, "end_tokens", lambda self: {0}):
        config = language_model._generation(tokens)
        config.min_new_tokens = tokens
        for _, count, who in itertools.product(range(runs + 1), (1, len(prompts)), (BASE, TUNED)):
            for way, (matrices, ours) in ways.items():
                with (
                    mock.patch.object(llama, "prepacked", matrices, create=True),
                    mock.patch.object(LanguageModel, "_is_ours", lambda self, ours=ours: ours),
                ):
                    begun = time.monotonic()
                    said = language_model._decoded(prompts[:count], [who] * count, config)
                    speed = sum(map(len, said)) / (time.monotonic() - begun)
                side = "base" if who == BASE else "tuned"
                speeds.setdefault(f"{way}_{side}_tokens_per_second_of_{count}", []).append(speed)
    for name, values in speeds.items():
        found[name] = spread(values[1:])  # the first call of all makes buffers and kernels
    return found


def trained(home: str) -> Path:
    """A run of a few steps."""
    os.environ["SHELFTALK_HOME"] = home
    dataset = build_dataset(read_catalogue(SAMPLE), DatasetSettings())
    run = create_run(dataset, preset("quick", base_model=EMBEDDED, max_steps=STEPS, probes=0))
    launcher.start(run)
    for _ in launcher.watch(run):
        pass
    return run


def asked_figures(language_model: LanguageModel, rows: list[dict[str, Any]], runs: int) -> dict[str, Any]:
    """The first token and the speed of a chat question, and seconds for fifteen questions in each way."""
    stream_figures(language_model, rows[0]["prompt"])  # the first call of all makes buffers and kernels
    streams = [stream_figures(language_model, rows[n]["prompt"]) for n in range(runs)]
    batched, single, transformers = [], [], []
    for _ in range(runs):
        batched.append(both_sides(language_model, rows))
        single.append(sum(both_sides(language_model, [row]) for row in rows))
        with mock.patch("pipeline.models.language_model.decodes", lambda _: False):
            transformers.append(both_sides(language_model, rows))
    return {
        **{name: spread([s[name] for s in streams]) for name in streams[0]},
        "fifteen_both_sides_seconds": spread(batched),
        "one_by_one_seconds": spread(single),
        "fifteen_both_sides_by_transformers_seconds": spread(transformers),
        "faster": spread([one / many for many, one in zip(batched, single, strict=True)]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=NEW_TOKENS, help="of a decoded answer (default: %(default)s)")
    parser.add_argument("--only-decoding", action="store_true", help="tokens a second, and nothing else")
    parser.add_argument("--run", type=Path, help="a finished run, instead of one that is trained first")
    parser.add_argument("--name", default="cpu_answers", help="of the file in results/ (default: %(default)s)")
    args = parser.parse_args()
    converted_folder()
    with tempfile.TemporaryDirectory() as home:
        run = args.run or trained(home)
        language_model, _ = load_run(run)
        rows = read_baseline(run)["questions"]
        prompts = [encode_prompt(language_model.tokenizer, row["prompt"]) for row in rows]
        figures = {} if args.only_decoding else asked_figures(language_model, rows, args.runs)
        figures |= decoded_figures(language_model, prompts, args.runs, args.tokens)
    save(args.name, figures)


if __name__ == "__main__":
    main()
