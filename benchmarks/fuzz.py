"""Damaged files and replies, 20,000 and more: `python -m benchmarks.fuzz [--only NAME …] [--seed N] [--share 0.1]`.

Each input is a good one (a catalogue, a reply, an adapter's settings, a run's files, questions) that was changed at random, by
its bytes or as the JSON that it is. Whoever reads it must come to a result or to one sentence for the user (a PipelineError),
within two seconds of processor time; anything else is a fault. The same seed makes the same inputs.
"""

import argparse
import gzip
import json
import logging
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.damage import changed
from benchmarks.measure import RESULTS, save
from pipeline.answering.customers import read_questions
from pipeline.catalogue.catalogue import SAMPLE, read_catalogue
from pipeline.catalogue.uploads import samples_of
from pipeline.dataset.edits import read_edits
from pipeline.dataset.store import open_dataset
from pipeline.errors import PipelineError
from pipeline.files import PROJECT
from pipeline.runs.folder import read_settings
from pipeline.runs.recipes import read_recipe
from pipeline.runs.status import is_elsewhere, status
from pipeline.runs.view import RunView, events_of, forget, seconds_left
from pipeline.space.elsewhere import read_job
from pipeline.writing import generation
from pipeline.writing.api.batch_state import Batch, Line, Page, State
from pipeline.writing.api.limits import asked_wait, exhausted_for
from pipeline.writing.api.replies import Journal, UnusableReply, read_reply, reply_of
from pipeline.writing.prompts import FactsReply, JudgeReply, PairsReply

FORMATS = PROJECT / "tests" / "formats"
MOST_SECONDS = 2.0
"""Of processor time for one input."""
SHOWN = 10
"""Faults that are told of each sort."""

Read = Callable[[Path, bytes], Any]


@dataclass(frozen=True)
class Sort:
    """A sort of input.

    Attributes:
        examples: good ones.
        read: reads one in an empty folder.
        count: how many are tried.
    """

    examples: Callable[[], list[bytes]]
    read: Read
    count: int


@dataclass
class Outcome:
    """What came of a sort's inputs."""

    inputs: int = 0
    results: int = 0
    sentences: int = 0
    slowest: float = 0.0
    """Seconds of processor time."""
    faults: list[str] = field(default_factory=list)


# --- Examples and readers ---


def _file(*parts: str) -> Callable[[], list[bytes]]:
    return cache(lambda: [(FORMATS.joinpath(*parts)).read_bytes()])


@cache
def _products() -> list[dict[str, Any]]:
    return [json.loads(line) for line in SAMPLE.read_text(encoding="utf-8").splitlines()[:6]]


@cache
def _json_catalogues() -> list[bytes]:
    rows = _products()
    shopify = {"products": [{"title": r["title"], "body_html": r["content"], "id": n} for n, r in enumerate(rows)]}
    lines = "\n".join(json.dumps(row) for row in rows).encode()
    return [lines, json.dumps(rows).encode(), json.dumps(shopify).encode(), json.dumps(rows, indent=1).encode("utf-16")]


@cache
def _tables() -> list[bytes]:
    rows = [(str(n), r["title"], r["content"].replace('"', '""')) for n, r in enumerate(_products())]
    text = "uid,title,content\r\n" + "".join(f'{uid},"{title}","{content}"\r\n' for uid, title, content in rows)
    return [text.encode(), text.replace(",", ";").encode(), text.encode("latin-1", errors="replace")]


def _packed() -> list[bytes]:
    return [gzip.compress(data, mtime=0) for data in _json_catalogues()]


def _catalogue(name: str) -> Read:
    def read(folder: Path, data: bytes) -> Any:
        file = folder / name
        file.write_bytes(data)
        samples_of(file)
        return read_catalogue(file).page(0, 3)

    return read


def _replies() -> list[bytes]:
    said = [
        {"facts": [{"kind": "size", "quote": "It is 48 inches wide.", "value": "48 inches"}]},
        {
            "facts": [
                {"fact": 1, "pairs": [{"slot": 1, "question": "How wide?", "answer": "48 inches"}], "reverse": "Which?"}
            ]
        },
        {"verdicts": [{"pair": 1, "good": True, "problem": ""}]},
    ]
    told = [
        {"message": {"role": "assistant", "content": json.dumps(one), "refusal": None}, "finish_reason": "stop"}
        for one in said
    ]
    usage = {"prompt_tokens": 12, "completion_tokens": 3}
    return [json.dumps({"id": "x", "choices": [choice], "usage": usage}).encode() for choice in told]


def _reply(_: Path, data: bytes) -> Any:
    reply = reply_of(data, "sk-a-key-of-some-kind")
    for schema in (FactsReply, PairsReply, JudgeReply):
        try:
            read_reply(reply, schema)
        except UnusableReply as error:
            assert error.problem
    text = data.decode("latin-1").replace("\n", " ")[:100]
    return reply, asked_wait({"retry-after": text}), exhausted_for({"x-ratelimit-remaining-tokens": text}, 1)


def _contents() -> list[bytes]:
    """What models say, without the reply around it."""
    return [json.loads(reply)["choices"][0]["message"]["content"].encode() for reply in _replies()]


def _content(folder: Path, data: bytes) -> Any:
    return _reply(folder, json.dumps({"choices": [{"message": {"content": data.decode(errors="replace")}}]}).encode())


def _batches() -> list[bytes]:
    batch = {
        "id": "b",
        "status": "completed",
        "output_file_id": "f",
        "metadata": {"shelftalk": "n"},
        "request_counts": {"completed": 1},
    }
    part = {"name": "n", "keys": ["k"], "id": "b", "status": "x"}
    line = {"custom_id": "k", "response": {"status_code": 200, "body": json.loads(_replies()[0])}}
    state = {"model": "m", "base_url": "http://x", "parts": [part], "tries": {"k": 1}}
    return [json.dumps(one).encode() for one in (batch, {"data": [batch], "has_more": False}, line, state)]


def _batch(_: Path, data: bytes) -> Any:
    from pydantic import ValidationError

    found = []
    for schema in (Batch, Page, Line, State):
        try:
            found.append(schema.model_validate_json(data))
        except ValidationError:
            continue
    return [getattr(one, "name", "") for one in found]


def _journal(folder: Path, data: bytes) -> Any:
    (folder / "j.jsonl").write_bytes(data)
    with Journal(folder / "j.jsonl") as replies:
        return [replies.get(key) for key in ("k", *list(replies._places)[:3])]


def _adapter(folder: Path, data: bytes) -> Any:
    from pipeline.models.adapters import check_adapter

    (folder / "adapter_config.json").write_bytes(data)
    (folder / "base.json").write_bytes(data)
    (folder / "adapter_model.safetensors").touch()
    return check_adapter(folder)


@cache
def _base() -> Any:
    from pipeline.models.loading import load_base

    copied = shutil.copytree(
        FORMATS / "tiny", Path(os.environ["SHELFTALK_HOME"]) / "tiny"
    )  # a checksum is noted beside it
    return load_base(str(copied))


def _weights() -> list[bytes]:
    """An adapter's weights whose header comes first, as text that is changed like any other."""
    return [(FORMATS / "run" / "adapter" / "adapter_model.safetensors").read_bytes()]


def _loaded(folder: Path, data: bytes) -> Any:
    from pipeline.models.adapters import add_adapter

    shutil.copy(FORMATS / "run" / "adapter" / "adapter_config.json", folder)
    (folder / "adapter_model.safetensors").write_bytes(data)
    base = _base()
    plain = base.model
    try:
        return add_adapter(base, folder)
    finally:
        unload = getattr(base.model, "unload", None)
        base.model, base.adapter = (unload() if unload else plain), None


def _base_config(folder: Path, data: bytes) -> Any:
    from pipeline.models.config import base_shape

    (folder / "config.json").write_bytes(data)
    (folder / "model.safetensors").touch()
    shape = base_shape(str(folder))
    return shape and (shape.weights, shape.weight_bytes(2, four_bit=True), shape.lora_parameters(8, ("q_proj",)))


def _settings(folder: Path, data: bytes) -> Any:
    (folder / "settings.json").write_bytes(data)
    return read_settings(folder).as_dict()


def _recipes() -> list[bytes]:
    text = "# Settings\npreset: quick\nbase_model: x/y\ndataset: 0f\nlora_r: 32\nlearning_rate: 1e-3\n"
    text += "target_modules: [q_proj, v_proj]\n"
    return [text.encode(), (text + "packing: true\nlora_variant: dora\n").encode()]


def _recipe(folder: Path, data: bytes) -> Any:
    (folder / "r.yaml").write_bytes(data)
    return read_recipe(folder / "r.yaml")


def _run_with(name: str) -> Read:
    """A run's folder with one file of these bytes, looked at as the page does at every tick."""

    def read(folder: Path, data: bytes) -> Any:
        from tabs.training.run_cards import ending_card, message_list, probe_cells, run_headline
        from tabs.training.run_words import pace_line

        if name != "settings.json":
            shutil.copy(FORMATS / "run" / "settings.json", folder)
        (folder / name).write_bytes(data)
        forget(folder)
        view = RunView(folder, read_settings(folder), status(folder), events_of(folder))
        cards = (ending_card(view), message_list(view), probe_cells(view), run_headline(view), pace_line(view))
        return cards, view.steps, view.total, view.ending, seconds_left(view), read_job(folder), is_elsewhere(folder)

    return read


def _jobs() -> list[bytes]:
    job = {
        "label": "l",
        "hardware": "a10g-small",
        "asked": 1.0,
        "id": "0f",
        "owner": "mira",
        "price": 1.5,
        "told": 3,
        "began": 1.0,
    }
    return [json.dumps(job).encode(), json.dumps(job | {"ended": 2.0, "kept": "run", "stage": "COMPLETED"}).encode()]


def _generation(_: Path, data: bytes) -> Any:
    from tabs.dataset.generation_card import job_card

    generation.job_file().write_bytes(data)
    return job_card(generation.look())


def _edits(folder: Path, data: bytes) -> Any:
    (Path(os.environ["SHELFTALK_HOME"]) / "edits.jsonl").write_bytes(data)
    edits = read_edits()
    try:
        return len(edits), len(open_dataset(FORMATS / "dataset" / "ffdcfca3a6dc574e").rows())
    finally:
        (Path(os.environ["SHELFTALK_HOME"]) / "edits.jsonl").unlink()


def _manifest(folder: Path, data: bytes) -> Any:
    for name in ("train.jsonl", "heldout.jsonl", "dataset.json"):
        (folder / name).touch()
    (folder / "manifest.json").write_bytes(data)
    dataset = open_dataset(folder)
    return dataset.counts, dataset.kinds, dataset.rows()


def _questions() -> list[bytes]:
    rows = [
        {"question": "How wide is it?", "title": "Kite", "answers": ["48 inches"]},
        {"question": "Is it red?", "answerable": False},
    ]
    table = "question;title;answer\nHow wide is it?;Kite;48 inches\n"
    return [
        json.dumps(rows).encode(),
        "\n".join(map(json.dumps, rows)).encode(),
        table.encode(),
        b"How wide?\nIs it red?\n",
    ]


def _asked(name: str) -> Read:
    def read(folder: Path, data: bytes) -> Any:
        (folder / name).write_bytes(data)
        return read_questions(folder / name)

    return read


SORTS: dict[str, Sort] = {
    "catalogue, JSON": Sort(_json_catalogues, _catalogue("c.json"), 900),
    "catalogue, table": Sort(_tables, _catalogue("c.csv"), 900),
    "catalogue, packed": Sort(_packed, _catalogue("c.json.gz"), 900),
    "API reply": Sort(_replies, _reply, 2000),
    "what a model says": Sort(_contents, _content, 2000),
    "API batches": Sort(_batches, _batch, 2000),
    "journal of replies": Sort(_file("store", "shelf", "replies", "c6ec138531c3bb0c98ba4456.jsonl"), _journal, 1000),
    "adapter's settings": Sort(_file("run", "adapter", "adapter_config.json"), _adapter, 2000),
    "adapter's weights": Sort(_weights, _loaded, 600),
    "base's config.json": Sort(_file("tiny", "config.json"), _base_config, 1500),
    "settings.json": Sort(_file("run", "settings.json"), _settings, 2000),
    "settings file (YAML)": Sort(_recipes, _recipe, 1500),
    "events.jsonl": Sort(_file("run", "events.jsonl"), _run_with("events.jsonl"), 1500),
    "job.json": Sort(_jobs, _run_with("job.json"), 800),
    "process.json": Sort(_file("run", "process.json"), _run_with("process.json"), 600),
    "generation.json": Sort(_file("store", "shelf", "generation.json"), _generation, 1500),
    "edits.jsonl": Sort(_file("edits.jsonl"), _edits, 600),
    "manifest.json": Sort(_file("run", "dataset", "manifest.json"), _manifest, 1500),
    "questions, JSON": Sort(_questions, _asked("q.json"), 1000),
    "questions, table": Sort(_questions, _asked("q.csv"), 800),
    "questions, text": Sort(_questions, _asked("q.txt"), 500),
}


def inputs(name: str, seed: int, count: int) -> Iterator[bytes]:
    """The same for the same seed."""
    chance = random.Random(f"{name} {seed}")
    examples = SORTS[name].examples()
    for _ in range(count):
        yield changed(chance.choice(examples), chance)


def tried(name: str, seed: int, count: int) -> Outcome:
    """Read so many inputs of a sort."""
    outcome = Outcome()
    with tempfile.TemporaryDirectory() as place:
        for number, data in enumerate(
            SORTS[name].examples()
        ):  # as they are: each has a result, and imports what is needed
            (folder := Path(place) / f"good {number}").mkdir()
            with suppress(PipelineError):  # of questions each form is read as each
                SORTS[name].read(folder, data)
        for number, data in enumerate(inputs(name, seed, count)):
            folder = Path(place) / str(number)
            folder.mkdir()
            _try(SORTS[name].read, folder, data, outcome, f"input {number} of seed {seed}")
            shutil.rmtree(folder)
    return outcome


def _try(read: Read, folder: Path, data: bytes, outcome: Outcome, which: str) -> None:
    outcome.inputs += 1
    begun = time.process_time()
    try:
        read(folder, data)
        outcome.results += 1
    except PipelineError as error:
        outcome.sentences += 1
        if not str(error).strip() or len(str(error)) > 3000:
            outcome.faults.append(f"{which}: a sentence of {len(str(error))} characters")
    except Exception as error:
        at = traceback.extract_tb(error.__traceback__)[-1]
        ours = [
            f for f in traceback.extract_tb(error.__traceback__) if "/pipeline/" in f.filename or "/tabs/" in f.filename
        ]
        at = ours[-1] if ours else at
        outcome.faults.append(
            f"{which}: {type(error).__name__} {str(error)[:80]!r},  {at.name}, {Path(at.filename).name}:{at.lineno}"
        )
    seconds = time.process_time() - begun
    outcome.slowest = max(outcome.slowest, seconds)
    if seconds > MOST_SECONDS:
        outcome.faults.append(f"{which}: {seconds:.1f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=SORTS, default=list(SORTS), metavar="NAME")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--share", type=float, default=1.0, help="of each sort's inputs")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the JSON goes")
    args = parser.parse_args()
    logging.disable(logging.ERROR)
    warnings.simplefilter("ignore")
    told: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as home:
        os.environ["SHELFTALK_HOME"] = home
        for name in args.only:
            outcome = tried(name, args.seed, max(1, int(SORTS[name].count * args.share)))
            told[name] = vars(outcome) | {"faults": len(outcome.faults), "first_faults": outcome.faults[:SHOWN]}
            print(f"{name}: {json.dumps(told[name])}", flush=True)
    total = sum(one["inputs"] for one in told.values())
    faults = sum(one["faults"] for one in told.values())
    print(f"{total:,} inputs, {faults} faults")
    if args.only == list(SORTS):
        save("fuzz", {"seed": args.seed, "inputs": total, "faults": faults, "sorts": told}, args.out)
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
