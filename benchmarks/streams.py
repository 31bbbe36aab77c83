"""Tokens a second that `serve` streams to many callers at once: `python -m benchmarks.serving --streams 64 [RUN | --base BASE]`.

BASE is a model's folder or name, or a shape of `benchmarks.memory` with random weights such as `llama-8b`; a run of it is trained
for two steps first. The server is a process of its own, and so is every few callers: what reads the streams shall not be what is
measured. Each caller asks one question after the other for a description by `closed`, whose words go out as they are decoded; no
question is asked twice, as long as the run has enough products.
"""

import asyncio
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from benchmarks.memory import SHAPES, base_of, case
from pipeline.answering.asker import MAX_NEW_TOKENS
from pipeline.catalogue.catalogue import SAMPLE, read_catalogue
from pipeline.dataset.build import build_dataset
from pipeline.dataset.settings import DatasetSettings
from pipeline.facts.patterns import DESCRIPTION
from pipeline.facts.phrasings import training_phrasings
from pipeline.files import PROJECT, read_json
from pipeline.runs import launcher
from pipeline.runs.folder import run_dataset
from pipeline.runs.manage import clear_run, create_run
from pipeline.runs.settings import preset
from pipeline.runs.status import log_tail, status

PATIENCE = 600
PRODUCTS = 44
"""Of the sample: in all phrasings enough questions that none is asked twice."""


@dataclass(frozen=True)
class Streamed:
    """An answer as its caller got it; times in seconds since the epoch."""

    begun: float
    first: float
    ended: float
    tokens: int
    chunks: int


def run_of(base: str, work: Path) -> Path:
    """A finished run of a base under `work`, which becomes the home of runs."""
    os.environ["SHELFTALK_HOME"] = str(work)
    name = base_of(case(base), work) if base in SHAPES else base
    if base in SHAPES:
        fill_vocabulary(Path(name))
    dataset = build_dataset(read_catalogue(SAMPLE), DatasetSettings(products=PRODUCTS, general_share=0))
    run = work / "runs" / f"streams-{Path(base).name}"
    clear_run(run)
    changes: dict[str, Any] = {"base_model": name, "load_in_4bit": False, "lora_r": 16, "max_steps": 2, "probes": 0}
    create_run(dataset, preset("recall", **changes, questions=2), run)
    launcher.start(run)
    for _ in launcher.watch(run):
        pass
    if status(run).state != "finished":
        raise SystemExit(log_tail(run, 20))
    return run


def fill_vocabulary(base: Path) -> None:
    """Give each number that a random model can say a word: it says all of them, and a tokenizer of another model has fewer."""
    file, size = base / "tokenizer.json", read_json(base / "config.json")["vocab_size"]
    tokenizer = read_json(file)
    known = tokenizer["model"]["vocab"]
    taken = {*known.values(), *(token["id"] for token in tokenizer["added_tokens"])}
    known |= {f"Ġword{number}": number for number in range(size) if number not in taken}
    file.write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")


def stream_all(asked: tuple[str, str, list[list[str]]]) -> list[Streamed]:
    """In a process of its own: callers that each ask one question after the other.

    Args:
        asked: the API's address, the model, and each caller's questions.
    """
    url, model, questions = asked

    async def ask(client: httpx.AsyncClient, question: str) -> Streamed:
        body = {
            "model": model,
            "messages": [{"role": "user", "content": question}],
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        begun, first, chunks, tokens = time.time(), 0.0, 0, 0
        async with client.stream("POST", "/chat/completions", json=body) as reply:
            reply.raise_for_status()
            async for line in reply.aiter_lines():
                if '"content":' in line:
                    first, chunks = first or time.time(), chunks + 1
                elif '"usage":{' in line:
                    tokens = json.loads(line.removeprefix("data: "))["usage"]["completion_tokens"]
                elif '{"error":' in line:
                    raise SystemExit(line)
        return Streamed(begun, first, time.time(), tokens, chunks)

    async def one_after_another(client: httpx.AsyncClient, questions: list[str]) -> list[Streamed]:
        return [await ask(client, question) for question in questions]

    async def together() -> list[Streamed]:
        limits = httpx.Limits(max_connections=len(questions))
        async with httpx.AsyncClient(base_url=url, timeout=PATIENCE, limits=limits) as client:
            found = await asyncio.gather(*(one_after_another(client, own) for own in questions))
        return [one for own in found for one in own]

    return asyncio.run(together())


def streamed(run: Path, model: str, callers: int, rounds: int, processes: int) -> list[Streamed]:
    """What so many callers get who ask so many questions each; the server and its callers are started, and asked once, before."""
    titles = [product["title"] for product in run_dataset(run).manifest["products"]]
    questions = [how.replace("{title}", title) for how in training_phrasings(DESCRIPTION) for title in titles]
    asks = [[questions[(at + turn * callers) % len(questions)] for turn in range(rounds)] for at in range(callers)]
    command = [sys.executable, "-m", "pipeline", "serve", str(run), "--way", "closed", "--port", "0"]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        try:
            url = server.stdout.readline().strip()
            with multiprocessing.get_context("spawn").Pool(processes) as pool:
                shares = [(url, model, asks[at::processes]) for at in range(processes)]
                pool.map(stream_all, [(url, model, [own[:1] for own in mine]) for _, _, mine in shares], chunksize=1)
                found = pool.map(stream_all, shares, chunksize=1)
        finally:
            server.terminate()
    return [one for own in found for one in own]


def stream_figures(run: Path, model: str, callers: int, rounds: int) -> dict[str, Any]:
    """Tokens a second of all callers together, over the whole time from the first question to the last word."""
    processes = max(1, min(callers, (os.cpu_count() or 1) // 2, 8))
    found = streamed(run, model, callers, rounds, processes)
    seconds = max(one.ended for one in found) - min(one.begun for one in found)
    tokens, settings = sum(one.tokens for one in found), read_json(run / "settings.json")
    return {
        "base": settings["base_model"],
        "model": model,
        "callers": callers,
        "answers": len(found),
        "most_tokens_an_answer": MAX_NEW_TOKENS,
        "tokens_an_answer": round(tokens / len(found), 1),
        "tokens_a_second": round(tokens / seconds, 1),
        "seconds": round(seconds, 2),
        "median_seconds_to_first_word": round(statistics.median(one.first - one.begun for one in found), 3),
        "median_seconds_an_answer": round(statistics.median(one.ended - one.begun for one in found), 3),
        "tokens_a_chunk": round(tokens / sum(one.chunks for one in found), 2),
    }
