"""How sure the base is of the general questions that a tuned model loses: `python -m benchmarks.leads`.

Of each question that the base answers right: by how much the likeliest token leads the next one, in probability, where it
leads by the least; and in how many of the committed runs of whole catalogues (`results/gpu_catalogue_*.json`) it was lost.
"""

from collections import Counter
from typing import Any

import torch

from benchmarks.measure import RESULTS, save
from pipeline.answering.general import ask_general
from pipeline.answering.scoring import RIGHT
from pipeline.files import read_json
from pipeline.models.embedded import EMBEDDED
from pipeline.models.language_model import LanguageModel
from pipeline.models.loading import load_base
from pipeline.prompts import UNKNOWN_TITLE, build_prompt, encode_answer, encode_prompt

RUNS = ("gpu_catalogue_100", "gpu_catalogue_250")

SURE = 0.1
"""A lead from which the base is called sure."""


def lead(language_model: LanguageModel, question: str, answer: str) -> float:
    """The least lead over the answer's tokens, in probability."""
    prompt = encode_prompt(language_model.tokenizer, build_prompt(UNKNOWN_TITLE, question))
    said = encode_answer(language_model.tokenizer, answer)
    with torch.no_grad():
        logits = language_model.model(torch.tensor([prompt + said])).logits[0, len(prompt) - 1 : -1]
    first, second = logits.softmax(-1).topk(2).values.unbind(-1)
    return round(float((first - second).min()), 3)


def main() -> None:
    runs: list[dict[str, Any]] = [run for name in RUNS for run in read_json(RESULTS / f"{name}.json")["runs"]]
    lost = Counter(row["question"] for run in runs for row in run["forgotten"])
    model = load_base(EMBEDDED, precision="fp32")
    known = [row for row in ask_general(model, tuned=False) if row["verdict"] == RIGHT]
    found = [
        {"question": r["question"], "lead": lead(model, r["question"], r["answer"]), "lost": lost[r["question"]]}
        for r in known
    ]
    found.sort(key=lambda row: row["lead"])
    groups = {"sure": [r for r in found if r["lead"] > SURE], "unsure": [r for r in found if r["lead"] <= SURE]}
    shares = {
        name: {"questions": len(rows), "asked": len(rows) * len(runs), "lost": sum(r["lost"] for r in rows)}
        for name, rows in groups.items()
    }
    print(shares)
    save("cpu_general_leads", {"runs": len(runs), "sure_from": SURE, "groups": shares, "questions": found})


if __name__ == "__main__":
    main()
