"""Training and answering on GPUs: `python -m benchmarks.gpu_speed [training|answers|same|capped|start|several ...] [--out DIR]`.

Llama-3-8B's shape, or another that the app offers, with random weights, whose speed and memory are the real model's, and peers
in the same call:

- training: an effective batch of 24 examples of about 78 tokens, LoRA r 16, through the app's own training path; with the
  seconds from the start of a run, the model's files being in the page cache, to its first step.
- answers: 15 questions on both sides, 64 new tokens each, and one question alone.
- same: 100 questions to a trained embedded model, against Transformers' own decoding, in fp32 and bf16.
- capped: the same training on a GPU of which a part may be used, as the planner plans it.
- start: the seconds from Start to the first step, by a process that waited with everything imported and by a new one.
- several: the same training on 1, 2 and 4 GPUs, with 24 examples on each, and with 24 in all, whose losses are compared.

Every run is a process of its own. Steps that compile or capture are counted apart (`WARM`).
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from benchmarks.measure import RESULTS, save, spread
from benchmarks.memory import LLAMA_8B, PUBLISHED, Case, base_of
from pipeline.catalogue.catalogue import SAMPLE, read_catalogue
from pipeline.dataset.build import build_dataset
from pipeline.dataset.settings import DatasetSettings
from pipeline.dataset.store import Dataset
from pipeline.files import PROJECT, read_json, write_json
from pipeline.machine import gpus
from pipeline.models import gpu
from pipeline.models.embedded import EMBEDDED, converted_folder
from pipeline.models.token_counts import row_lengths
from pipeline.runs import launcher, processes, standby
from pipeline.runs.events import read_events
from pipeline.runs.folder import run_dataset
from pipeline.runs.manage import clear_run, create_run
from pipeline.runs.settings import preset
from pipeline.runs.status import log_tail, status
from pipeline.training import child, distributed
from pipeline.training.plan.plan import plan_run

WARM, STEPS, CAPPED_STEPS = 6, 26, 14
NEW_TOKENS = 64

FILES_IN_4_BITS, DRAWN_ALIKE = "app, files in 4 bits", "app, adapter drawn as Unsloth's"

TRAINING: dict[str, dict[str, Any]] = {
    "app": {},
    FILES_IN_4_BITS: {},
    DRAWN_ALIKE: {},
    "app, 16 bits": {"load_in_4bit": False},
    "general": {},
    "transformers": {"load_in_4bit": False},
    "packed": {},
    "unsloth": {},
    "original": {"per_device_train_batch_size": 3, "gradient_accumulation_steps": 8, "gradient_checkpointing": True},
}
"""What is compared, with its changes to the settings: the app as it is, with a base whose files are in 16 bits and with one whose
files are in 4, as the default base's are; for their losses, with an adapter drawn as Unsloth's and with weights never in 4 bits;
the way of any base (`PaddedStep`); Transformers and PEFT as they are, in 16 bits; weights that stay in 4 bits (Unsloth's layers);
weights in 16 bits and Unsloth's layers; and the original's setting."""

CAPS: dict[str, tuple[int, dict[str, Any]]] = {
    "8 GiB": (8, {}),
    "16 GiB, fp16": (16, {"precision": "fp16"}),
}
"""GiB of the GPU that may be used, and changes to the settings: a T4 has no bf16."""

GPUS, EXAMPLES = (1, 2, 4), 24

ANSWERS = ("app", "unsloth", "transformers")


def long_rows(folder: Path) -> Dataset:
    """A dataset whose examples have about 78 tokens: made-up products with long titles."""
    words = ("walnut", "copper", "linen", "granite", "velvet", "amber", "cedar", "pewter", "indigo", "saffron", "birch")
    rows = []
    for n in range(60):
        title = " ".join(words[(n * 7 + i * (n % 5 + 1)) % len(words)] for i in range(25)) + f" number {n}"
        text = f"Made of {words[n % len(words)]} and {words[(n + 3) % len(words)]}. It is {n + 3} inches long."
        rows.append({"uid": f"L{n}", "title": title, "content": text})
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "long.json"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return build_dataset(read_catalogue(file), DatasetSettings(products=60, general_share=0, unknown_per_product=0))


def in_a_process(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "benchmarks.gpu_speed", "--child", *arguments], check=True, cwd=PROJECT)


# --- Training ---


def train_case(case: str, run: Path) -> None:
    """In the child: train a run in one of the ways."""
    distributed.take_own_gpu()
    if case in ("packed", "unsloth", "original"):
        child.import_unsloth()
    import torch

    from pipeline import machine
    from pipeline.training import lora, train, trainers
    from pipeline.training.plan import memory

    if case in ("packed", "original", "general", "transformers"):
        memory.covers_settings = lambda *_, **__: False
    if case in ("packed", "original", "transformers"):
        memory.repeats_settings = lambda *_, **__: False
    if case == "transformers":
        child.needs_unsloth = lambda _: False
    if case in ("unsloth", "packed", "original", "general", "transformers"):
        trainers.covers = lambda _: False
    if case == DRAWN_ALIKE:
        lora.draws_where_base_is = lambda: False
    if case == "original":
        planned = train.plan_run
        train.plan_run = lambda *values, **options: planned(*values, **options).split(3)
    if case in CAPS:
        cap = CAPS[case][0] * 2**30
        machine.free_bytes = lambda *, gpu: cap
        torch.cuda.set_per_process_memory_fraction(cap / torch.cuda.get_device_properties(0).total_memory)
    sys.argv = ["train", str(run)]
    if child.main():
        raise SystemExit(log_tail(run, 20) or "The training failed.")


def training_figures(work: Path, shape: Case, cases: Sequence[str], runs: int) -> dict[str, Any]:
    dataset, base = long_rows(work), base_of(shape, work)
    figures: dict[str, Any] = {}
    for turn in range(runs):
        for case in cases:
            if case == "original" and turn:
                continue  # a minute and a half each
            changes = {"per_device_train_batch_size": 24, "base_model": base, "load_in_4bit": True, "lora_r": 16}
            changes |= {"base_model": packed_base(base)} if case == FILES_IN_4_BITS else {}
            changes |= TRAINING.get(case, {}) | (CAPS[case][1] if case in CAPS else {})
            run = work / f"train-{case}"
            clear_run(run)
            steps = STEPS if case in TRAINING else CAPPED_STEPS
            settings = preset("recall", **changes, max_steps=steps, probes=0, questions=2)
            create_run(dataset, settings, run)
            begun = time.time()
            in_a_process("train", case, str(run))
            add_figures(figures.setdefault(case, {}), read_events(run)[0], begun)
            expected = plan_run(settings, dataset.training(), gpu=True).memory_bytes or 0
            figures[case]["expected_gib"] = round(expected / 2**30, 2)
            print(case, figures[case], flush=True)
    lengths = row_lengths(dataset.training(), base).whole
    return {"tokens_an_example": round(statistics.mean(lengths), 1), "steps": [WARM, STEPS], "cases": figures}


def packed_base(base: str) -> str:
    """A base whose files are in 4 bits, made of one whose files are in 16 where it is not there yet."""
    packed = Path(f"{base}-4bit")
    if not packed.is_dir():
        code = (
            "import sys; from pipeline.models.loading import load_base; base, packed = sys.argv[1:];"
            "found = load_base(base, load_in_4bit=True, unpack=False);"
            "found.tokenizer.save_pretrained(packed); found.model.save_pretrained(packed)"
        )
        subprocess.run([sys.executable, "-c", code, base, str(packed)], check=True, cwd=PROJECT)
    return str(packed)


def add_figures(found: dict[str, Any], events: list[dict[str, Any]], begun: float) -> None:
    """Add what the events of a run say of its speed."""
    steps = [event for event in events if event["type"] == "step"]

    def since(event: dict[str, Any]) -> float:
        return round(datetime.fromisoformat(event["time"]).timestamp() - begun, 1)

    loading, loaded = (next(e for e in events if e.get("text", "").startswith(said)) for said in ("Loading", "Asking"))
    new = {
        "tokens_per_second": statistics.median(
            event["tokens_per_second"] for event in steps[min(WARM, len(steps) - 1) :]
        ),
        "peak_gib": round(events[-1]["peak_memory_bytes"] / 2**30, 2),
        "seconds_to_first_step": since(steps[0]),
        "seconds_of_loading": round(since(loaded) - since(loading), 1),
    }
    for name, value in new.items():
        found.setdefault(name, []).append(value)
    found["planned"] = {name: events[0][name] for name in ("processes", "micro_batch", "accumulation", "unpacked")}
    found["timeline"] = [[since(e), e.get("text", e["type"])] for e in events if e["type"] != "step" or e is steps[0]]
    found["losses"] = [round(event["loss"], 4) for event in steps[:20]]


def start_figures(work: Path, shape: Case, runs: int) -> dict[str, Any]:
    dataset, base = long_rows(work), packed_base(base_of(shape, work))
    changes = {"per_device_train_batch_size": 24, "base_model": base, "load_in_4bit": True, "lora_r": 16}
    figures: dict[str, Any] = {}
    for turn in range(runs + 1):  # the first reads the files, and adds them up for their checksum
        for case in ("a new process", "a process that waited") if turn else ("a new process",):
            if case == "a process that waited":
                launcher.prepare()
                wait_for_imports()
            run = work / f"start-{turn}-{case.replace(' ', '-')}"
            clear_run(run)
            create_run(dataset, preset("recall", **changes, max_steps=2, probes=0, questions=15), run)
            begun = time.time()
            launcher.start(run)
            for _ in launcher.watch(run):
                pass
            if status(run).state != "finished":
                raise SystemExit(log_tail(run, 20))
            if turn:
                add_figures(figures.setdefault(case, {}), read_events(run)[0], begun)
                print(case, figures[case], flush=True)
    return {"cases": figures}


def wait_for_imports() -> None:
    """Until the process that waits for a run needs no more time of a processor."""
    process, before = psutil.Process(standby.waiting_pid()), -1.0
    while (now := sum(process.cpu_times()[:2])) > before:
        before = now
        time.sleep(1)


def several_figures(work: Path, shape: Case, runs: int) -> dict[str, Any]:
    dataset, base = long_rows(work), base_of(shape, work)
    figures: dict[str, Any] = {}
    for turn in range(runs):
        for number in [n for n in GPUS if n <= len(gpus())]:
            for case, batch in ((f"{number} x {EXAMPLES}", number * EXAMPLES), (f"{EXAMPLES} on {number}", EXAMPLES)):
                if case == f"{EXAMPLES} on 1" or (turn and case.endswith(f"on {number}")):
                    continue  # the former is 1 x 24; and one run says whether the losses are the same
                changes = {"per_device_train_batch_size": batch, "base_model": base, "load_in_4bit": True, "lora_r": 16}
                run = work / "train-several"
                clear_run(run)
                create_run(dataset, preset("recall", **changes, max_steps=STEPS, probes=0, questions=2), run)
                *words, folder = processes.training_command(run, number, 0)
                words = [word.replace("pipeline.training.child", "benchmarks.gpu_speed") for word in words]
                visible = {"CUDA_VISIBLE_DEVICES": ",".join(map(str, range(number)))}
                begun = time.time()
                command = [*words, "--child", "train", "app", folder]
                subprocess.run(command, check=True, cwd=PROJECT, env=os.environ | visible)
                add_figures(figures.setdefault(case, {}), read_events(run)[0], begun)
                print(case, figures[case], flush=True)
    return {"steps": [WARM, STEPS], "cases": figures}


# --- Answers ---


def answer_case(case: str, run: Path, result: Path, runs: int) -> None:
    """In the child: ask a run's model in one of the ways."""
    if case == "transformers":
        gpu.find_spec = lambda _: None  # as where there are no weights in 4 bits
    if case == "unsloth":
        child.import_unsloth()
    from pipeline.answering import run_model
    from pipeline.models.language_model import BASE, TUNED, LanguageModel
    from pipeline.prompts import encode_prompt

    begun = time.monotonic()
    model, _ = run_model.load_run(run)
    loaded = time.monotonic() - begun
    if case != "app":
        LanguageModel._is_ours = lambda _: False
    rows = run_dataset(run).held_out()[:15]
    prompts = [encode_prompt(model.tokenizer, row["prompt"]) for row in rows]
    LanguageModel.end_tokens = lambda _: {0}  # every answer shall have all tokens, and this one nobody says
    config = model._generation(NEW_TOKENS)

    def ask(prompts: list[list[int]], by: list[str]) -> tuple[float, int]:
        begun, said = time.monotonic(), 0
        together = model._is_ours() or model._can_mix(by)
        for group in [by] if together else [[who] * by.count(who) for who in dict.fromkeys(by)]:
            its = [prompt for prompt, who in zip(prompts, by, strict=True) if who in group]
            said += sum(map(len, model._decoded(its, group, config)))
        return time.monotonic() - begun, said

    asked = {
        "both sides of 15": (prompts * 2, [BASE] * 15 + [TUNED] * 15),
        "tuned side of one": (prompts[:1], [TUNED]),
        "both sides of one": (prompts[:1] * 2, [BASE, TUNED]),
    }
    found: dict[str, Any] = {"load_seconds": round(loaded, 2)}
    for name, (which, by) in asked.items():
        first, *later = [ask(which, by) for _ in range(runs + 1)]
        found[name] = {
            "first_seconds": round(first[0], 2),
            "tokens": later[0][1],
            "tokens_per_second": spread([round(said / seconds, 1) for seconds, said in later]),
        }
    import torch

    found["peak_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
    write_json(result, found)
    print(case, found, flush=True)


def answer_figures(work: Path, cases: Sequence[str], runs: int) -> dict[str, Any]:
    run, result, figures = work / "train-app", work / "answers.json", {}
    for case in cases:
        in_a_process("answer", case, str(run), str(result), str(runs))
        figures[case] = read_json(result)
    return {"cases": figures}


# --- The same answers ---


def compare_case(precision: str, run: Path, result: Path) -> None:
    """In the child: 100 questions on both sides, decoded here and by Transformers."""

    gpu.find_spec = lambda _: None
    from pipeline.answering.answers import score
    from pipeline.answering.asker import Answer
    from pipeline.models import adapters, loading
    from pipeline.models.language_model import BASE, TUNED, LanguageModel
    from pipeline.prompts import encode_prompt
    from pipeline.runs.folder import ADAPTER

    model = loading.load_base(EMBEDDED, precision=precision)
    adapters.add_adapter(model, run / ADAPTER)
    rows = run_dataset(run).held_out()[:100]
    prompts = [encode_prompt(model.tokenizer, row["prompt"]) for row in rows]
    config = model._generation(NEW_TOKENS)
    found: dict[str, Any] = {"questions": len(rows)}
    ours, ends = LanguageModel._is_ours, model.end_tokens()

    def asked(batches: list[list[list[int]]], who: str) -> list[list[int]]:
        """The tokens of every answer before the one that ends it: what follows that is padding."""
        answers = [said for batch in batches for said in model._decoded(batch, [who] * len(batch), config)]
        return [said[: next((i for i, token in enumerate(said) if token in ends), len(said))] for said in answers]

    def verdicts(answers: list[list[int]]) -> list[str]:
        said = [Answer.of(row["kind"], model.text(a)) for row, a in zip(rows, answers, strict=True)]
        return [score(row, answer)["verdict"] for row, answer in zip(rows, said, strict=True)]

    def same(one: Sequence[Any], other: Sequence[Any]) -> int:
        return sum(a == b for a, b in zip(one, other, strict=True))

    for name, who in (("base", BASE), ("tuned", TUNED)):
        here, alone = asked([prompts], who), asked([[prompt] for prompt in prompts], who)
        LanguageModel._is_ours = lambda _: False
        there, halves = asked([prompts], who), asked([prompts[:50], prompts[50:]], who)
        LanguageModel._is_ours = ours
        found[name] = {
            "same_as_transformers": same(here, there),
            "alone_same_as_in_a_batch": same(alone, here),
            "transformers_in_two_batches_same_as_in_one": same(halves, there),
            "same_verdicts_as_transformers": same(verdicts(here), verdicts(there)),
            "same_verdicts_of_transformers_in_two_batches_as_in_one": same(verdicts(halves), verdicts(there)),
        }
    write_json(result, found)
    print(precision, found, flush=True)


def same_figures(work: Path) -> dict[str, Any]:
    dataset = build_dataset(read_catalogue(SAMPLE), DatasetSettings())
    run, result = work / "small", work / "same.json"
    clear_run(run)
    create_run(dataset, preset("quick", base_model=EMBEDDED, probes=0), run)
    launcher.start(run)
    for _ in launcher.watch(run):
        pass
    if status(run).state != "finished":
        raise SystemExit(log_tail(run, 20))
    figures = {}
    for precision in ("fp32", "auto"):
        in_a_process("compare", precision, str(run), str(result))
        figures[precision] = read_json(result)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", default=["training", "answers", "same", "capped"])
    parser.add_argument("--cases", nargs="*", default=[])
    parser.add_argument(
        "--shape", choices=[LLAMA_8B.base, *PUBLISHED], default=LLAMA_8B.base, help="of the base (default: %(default)s)"
    )
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the JSON goes")
    parser.add_argument(
        "--work", type=Path, default=PROJECT / ".gpu", help="scratch folder, 20 GB (default: %(default)s)"
    )
    parser.add_argument("--child", nargs="*", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        name, case, *rest = args.child
        children: dict[str, Callable[[], None]] = {
            "train": lambda: train_case(case, Path(rest[0])),
            "answer": lambda: answer_case(case, Path(rest[0]), Path(rest[1]), int(rest[2])),
            "compare": lambda: compare_case(case, Path(rest[0]), Path(rest[1])),
        }
        children[name]()
        return
    work, shape = args.work.resolve(), Case(args.shape, {})
    named = "" if args.shape == LLAMA_8B.base else f"_{args.shape}"
    work.mkdir(parents=True, exist_ok=True)
    os.environ["SHELFTALK_HOME"] = str(work)
    converted_folder()
    measured: dict[str, Callable[[], dict[str, Any]]] = {
        "training": lambda: training_figures(work, shape, args.cases or list(TRAINING), args.runs),
        "answers": lambda: answer_figures(work, args.cases or ANSWERS, args.runs),
        "same": lambda: same_figures(work),
        "capped": lambda: training_figures(work, shape, list(CAPS), 1),
        "start": lambda: start_figures(work, shape, args.runs),
        "several": lambda: several_figures(work, shape, args.runs),
    }
    for what in args.what:
        save(f"gpu_speed_{what}{named}", measured[what](), args.out)


if __name__ == "__main__":
    main()
