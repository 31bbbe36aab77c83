"""What keeps a model's general knowledge while it learns products: `python -m benchmarks.keeping CATALOGUE VARIANT …`.

A variant is a name of `VARIANTS`. Each trains the embedded model with a preset's numbers in a plain loop, without checks on
the way, and is asked at several strengths of its adapter: every fact in the report's phrasings, real titles that training
never had, and the general questions. The app's own path is measured by `benchmarks.catalogue`.
"""

import argparse
import json
import math
import os
import random
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import get_cosine_schedule_with_warmup

from benchmarks.catalogue import other_titles
from benchmarks.measure import RESULTS, save
from pipeline.answering.answers import ask_rows
from pipeline.answering.baseline import taught_rows
from pipeline.answering.general import ask_general, forgetting
from pipeline.answering.scoring import RIGHT
from pipeline.catalogue.catalogue import Catalogue, read_catalogue
from pipeline.dataset.build import build_dataset
from pipeline.dataset.examples import GENERAL_EDITED, REPORT_1, REPORT_2, unknown_held_out
from pipeline.dataset.settings import DatasetSettings
from pipeline.facts.extraction import is_refusal
from pipeline.facts.patterns import DESCRIPTION
from pipeline.models import loading
from pipeline.models.embedded import EMBEDDED, converted_folder
from pipeline.models.language_model import LanguageModel
from pipeline.prompts import GENERAL, UNKNOWN
from pipeline.runs.settings import TrainingSettings, preset
from pipeline.training import distillation as targets
from pipeline.training.adapter_strength import scale
from pipeline.training.child import add_lora
from pipeline.training.distillation import IGNORED, Encoded, LinearDivergence, encode_rows

VARIANTS: dict[str, dict[str, Any]] = {
    f"{name}-{share}": {"share": share, **options}
    for share in (0.1, 0.2, 0.3)
    for name, options in (
        ("taught", {"teach": True}),
        ("base", {"sureness": 0.0}),
        ("surer", {"sureness": 0.5}),
        ("surest", {"sureness": 1.0}),
    )
}
"""General rows: taught like any other, or held to the base's distribution, drawn by half or wholly to its own choice."""

STRENGTHS = (1.0, 0.9, 0.8, 0.7)


def train(language_model: LanguageModel, encoded: Encoded, settings: TrainingSettings) -> float:
    """One pass of the preset over the rows; returns its seconds."""
    model, device = language_model.model, language_model.model.device
    base = model.get_base_model()
    weights = [p for p in model.parameters() if p.requires_grad]
    rows, batch_size = encoded.rows.to_list(), settings.effective_batch_size
    steps = max(settings.min_steps, math.ceil(len(rows) * settings.num_train_epochs / batch_size))
    optimizer = torch.optim.AdamW(weights, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = get_cosine_schedule_with_warmup(optimizer, round(settings.warmup_ratio * steps), steps)
    rng, order, begun = random.Random(settings.seed), list[int](), time.monotonic()
    model.train()
    for _ in range(steps):
        if len(order) < batch_size:
            order += rng.sample(range(len(rows)), len(rows))
        batch, order = [rows[i] for i in order[:batch_size]], order[batch_size:]
        ids = [torch.tensor(row["input_ids"], device=device) for row in batch]
        labels = pad_sequence([torch.tensor(row["labels"], device=device) for row in batch], True, IGNORED)
        mask = pad_sequence([torch.ones_like(i) for i in ids], batch_first=True)
        with torch.autocast(device.type, dtype=torch.bfloat16):
            hidden = base.model(input_ids=pad_sequence(ids, batch_first=True), attention_mask=mask).last_hidden_state
        following = labels.flatten().roll(-1)
        learned = (following != IGNORED).nonzero()[:, 0]
        x, head = hidden.flatten(0, 1)[learned], base.lm_head.weight
        loss = LinearDivergence.apply(x.to(head.dtype), head, *encoded.targets.of(following[learned])) / len(learned)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, settings.max_grad_norm)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
    model.eval()
    return time.monotonic() - begun


def one(catalogue: Catalogue, name: str, args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    variant = VARIANTS[name]
    settings = preset(args.preset, base_model=EMBEDDED, seed=args.seed)
    dataset = build_dataset(
        catalogue, DatasetSettings(products=args.products, general_share=variant["share"], seed=args.seed)
    )
    rows = dataset.training()
    if variant.get("teach"):
        rows = [row | {"template": GENERAL_EDITED} if row["kind"] == GENERAL else row for row in rows]
    targets.SURENESS = variant.get("sureness", targets.SURENESS)
    language_model = loading.load_base(EMBEDDED)
    base = ask_general(language_model, tuned=False)
    encoded = encode_rows(language_model, rows, settings)
    add_lora(language_model, settings, folder)
    seconds = train(language_model, encoded, settings)
    held_out = taught_rows(language_model.tokenizer, rows, dataset.held_out(), settings.max_length)
    facts = [r for r in held_out if r["kind"] != UNKNOWN and r["template"].split(":")[-1] in (REPORT_1, REPORT_2)]
    kinds = [kind for kind in dataset.counts["kinds"] if kind != DESCRIPTION]
    asked = unknown_held_out(other_titles(catalogue, dataset), [DESCRIPTION, *kinds], args.seed)
    unknown = [vars(row) for row in asked if not row.template.endswith("probe")]
    found: dict[str, Any] = {"variant": name, **variant, "seconds": round(seconds, 1), "strengths": {}}
    for strength in STRENGTHS:
        scale(language_model.model, strength / found.get("now", 1.0))
        found["now"] = strength
        answers, refused = (ask_rows(language_model, r, tuned=True) for r in (facts, unknown))
        exact = [a["answer"] == r["response"] for a, r in zip(answers, facts, strict=True)]
        general = ask_general(language_model, tuned=True)
        found["strengths"][strength] = {
            "exact": sum(exact) / len(exact),
            "refused": sum(a["verdict"] == RIGHT for a in refused) / max(1, len(refused)),
            "false_refusals": sum(is_refusal(a["answer"]) for a in answers) / len(answers),
            "general": forgetting(base, general),
            "general_refused": sum(is_refusal(a["raw"]) for a in general),
        }
        print(name, strength, json.dumps(found["strengths"][strength]), flush=True)
    del found["now"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("catalogue", type=Path)
    parser.add_argument("variants", nargs="+", choices=VARIANTS, metavar="VARIANT", help=", ".join(VARIANTS))
    parser.add_argument("--products", type=int, default=15)
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", default="keeping")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the JSON goes")
    args = parser.parse_args()
    converted_folder()
    with tempfile.TemporaryDirectory() as home:
        os.environ["SHELFTALK_HOME"] = home
        catalogue = read_catalogue(args.catalogue)
        runs = [one(catalogue, name, args, Path(home)) for name in args.variants]
    told = {name: getattr(args, name) for name in ("products", "preset", "seed")}
    save(args.name, {"catalogue": args.catalogue.name, **told, "runs": runs}, args.out)


if __name__ == "__main__":
    main()
