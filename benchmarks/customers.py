"""Customers' questions, answered in every way: `python -m benchmarks.customers`.

    python -m benchmarks.customers sample [--run DIR]            questions about the sample, with typos, in other styles
    python -m benchmarks.customers file FILE [--run DIR]         products with their questions, one a line (not in the project)
    python -m benchmarks.customers fit FILE                      fit the weights of assets/finding.json, and cross-validate them
    python -m benchmarks.customers taught [FILE] --run DIR       what the tuned model knows by heart: the run's held-out rows by
                                                                 style, and the questions about products that it was taught
    python -m benchmarks.customers reader [FILE] --run DIR       a reader's run: its span and its sureness, alone and beside the
                                                                 finder's; products that it was trained on, and the others

A line of FILE: `uid`, `title`, `content` and `questions` (`question`, `answerable`, `answers`, `evidence`). With a run's folder
the ways that need its model are asked too.
"""

import argparse
import hashlib
import json
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.customers_scorer import harmonic, is_right, worth
from pipeline.answering.shop import Shop
from pipeline.answering.ways import AUTO, BASE_OPEN, BY_MODEL, OPEN, WAYS, answer_all
from pipeline.catalogue.catalogue import SAMPLE, read_catalogue
from pipeline.catalogue.finding.sentences import Found, SentenceFinder, shown
from pipeline.models.encoder import encoder_or_none
from pipeline.models.reader import Joined
from pipeline.runs.folder import run_dataset

SAMPLE_QUESTIONS = Path(__file__).parent / "customers_sample.json"
FOLDS = 5
L2 = 3.0


def halves_of(uid: str) -> tuple[str, str]:
    """Products with an even last digit in md5(uid) may choose weights and thresholds; the others grade. The digit before it
    halves them once more, to show how much of a number is luck."""
    digest = hashlib.md5(uid.encode()).hexdigest()
    return ("odd" if int(digest[-1], 16) % 2 else "even"), ("second half" if int(digest[-2], 16) % 2 else "first half")


def read_file(file: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The products of a file, and their questions with `uid` and `title`."""
    products = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    questions = [q | {"uid": p["uid"], "title": p["title"]} for p in products for q in p["questions"]]
    return products, questions


def shop_for(products: list[dict[str, Any]]) -> Shop:
    file = Path(tempfile.mkdtemp()) / "products.jsonl"
    file.write_text("".join(json.dumps({k: p[k] for k in ("uid", "title", "content")}) + "\n" for p in products))
    return Shop(read_catalogue(file), encoder_or_none())


def judged(shop: Shop, questions: Sequence[dict[str, Any]], run: Path | None) -> dict[str, Any]:
    begun = time.perf_counter()
    asked = [shop.about(q["question"], q.get("title") or "", q.get("uid") or "") for q in questions]
    found = time.perf_counter() - begun
    ways = WAYS if run else tuple(way for way in WAYS if way not in BY_MODEL)
    answers = answer_all(shop, asked, ways, _model(run), _kinds(run))
    results: dict[str, Any] = {"seconds_to_find_one": round(found / len(questions), 4)}
    for way in ways:
        mine = [a[way].as_dict() for a in answers]
        results[way] = worth(questions, mine)
        for half in ("even", "odd", "first half", "second half"):
            some = [i for i, q in enumerate(questions) if q.get("uid") and half in halves_of(q["uid"])]
            if some:
                results[f"{way}, {half}"] = worth([questions[i] for i in some], [mine[i] for i in some])
    if run:
        seen = {row["uid"] for row in run_dataset(run).training()}
        new = [i for i, q in enumerate(questions) if q.get("uid") and q["uid"] not in seen]
        for way in (BASE_OPEN, OPEN):
            mine = [answers[i][way].as_dict() for i in new]
            results[f"{way}, products in no row of training"] = worth([questions[i] for i in new], mine) if new else {}
        values = [a[OPEN] for a in answers if a[OPEN].says == "value"]
        own = sum(said.answer.casefold().strip(" .") in said.raw.casefold() for said in values)
        results["values of the open book that the model itself said"] = [own, len(values)]
    named = [(q, about) for q, about in zip(questions, asked, strict=True) if not q.get("title") and "about" in q]
    if named:
        right = [(about.product.title if about.product else None) == q["about"] for q, about in named]
        results["product found"] = round(sum(right) / len(right), 4)
    results["misses"] = [
        {"question": q["question"], "expected": q["answers"] or q.get("says", "silent"), "said": a[AUTO].answer}
        for q, a in zip(questions, answers, strict=True)
        if (
            q["answerable"]
            and not (a[AUTO].says == "value" and is_right(a[AUTO].answer, q["answers"], q.get("evidence", ())))
        )
        or (not q["answerable"] and a[AUTO].says != q.get("says", "silent"))
    ]
    return results


def taught(run: Path, questions: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Closed book, on what a run was taught.

    Args:
        questions: with `about` or `title`, `answerable`, `answers`; those about other products are left out.

    Returns:
        `held out`: verdicts by split and style. `customers`: answers to questions that a taught fact answers, to others that
        the record answers, and to those that it does not.
    """
    from pipeline.answering.answers import ask, ask_rows
    from pipeline.answering.asker import Question
    from pipeline.answering.lookup import kind_asked
    from pipeline.facts.extraction import says
    from pipeline.prompts import NO_FACT, build_prompt

    language_model, dataset = _model(run), run_dataset(run)
    held_out, verdicts = dataset.held_out(), defaultdict(Counter)
    for row, answer in zip(held_out, ask_rows(language_model, held_out, tuned=True), strict=True):
        use = row["template"].split(":")[-1]
        sort = row["kind"] if row["kind"] in NO_FACT else "facts"
        verdicts[f"{sort}, {use if use.startswith('style-') else 'phrasings'}"][answer["verdict"]] += 1
    facts = defaultdict(list)
    for fact in dataset.manifest["facts"]:
        facts[fact["title"]].append(fact["value"])
    asked = [q | {"about": title} for q in questions if (title := q.get("about") or q.get("title")) in facts]
    answers = ask(
        language_model,
        [
            Question(build_prompt(q["about"], q["question"]), kind_asked(q["question"], q["about"], _kinds(run)))
            for q in asked
        ],
        tuned=True,
    )
    counted: Counter[str] = Counter()
    for q, answer in zip(asked, answers, strict=True):
        said = says(answer.raw)
        if q["answerable"]:
            right = said == "value" and is_right(answer.raw, q["answers"], q.get("evidence", ()))
            fact = any(is_right(value, q["answers"], q.get("evidence", ())) for value in facts[q["about"]])
            counted[f"{'a taught fact answers it' if fact else 'answerable'}: {'right' if right else said}"] += 1
        else:
            wanted = q.get("says", "silent")
            counted[f"{wanted}: {'admitted' if said == wanted else 'invented' if said == 'value' else said}"] += 1
    return {"held out": verdicts, "customers": dict(sorted(counted.items()))}


def read_by(run: Path, shop: Shop, questions: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What a reader's run is worth, alone and beside the finder; of products it was trained on and of others apart."""
    from pipeline.answering.run_reader import answer_of, is_told, sureness, to_read
    from pipeline.models.reader import load_reader
    from pipeline.runs.folder import ADAPTER

    reader = load_reader(run / ADAPTER)[0]
    asked = [shop.about(q["question"], q.get("title") or "", q.get("uid") or "") for q in questions]
    read = reader.read([to_read(about) for about in asked])
    free = reader.read([(*to_read(about)[:2], Joined(to_read(about)[1]).text) for about in asked])
    taught = {product["title"] for product in run_dataset(run).manifest["products"]}
    ways: dict[str, list[dict[str, str]]] = defaultdict(list)
    for about, own, anywhere in zip(asked, read, free, strict=True):
        sentence = shop.extract(about)
        is_sure = sureness(about, own.margin) >= reader.threshold
        is_found = sentence.says == "value"
        for way, said in {
            "extractive, untrained": sentence.answer if is_found else "",
            "reader": answer_of(about, own) if is_told(about, own, reader.threshold, shop.sentences.threshold) else "",
            "reader, its span alone": own.span if is_sure else "",
            "reader, without the finder": anywhere.span if anywhere.margin >= 0 else "",
            "finder decides, reader says": own.span if is_found else "",
            "reader decides, finder says": to_read(about)[2] if is_sure else "",
        }.items():
            if about.product is None:
                ways[way].append({"answer": "", "says": "unknown"})
            else:
                ways[way].append({"answer": said, "says": "value" if said else "silent"})
    report: dict[str, Any] = {"threshold": reader.threshold}
    parts = {"trained": [q.get("title") in taught for q in questions]}
    parts["never trained"] = [
        bool(q.get("title")) and not known for q, known in zip(questions, parts["trained"], strict=True)
    ]
    for way, answers in ways.items():
        report[way] = worth(questions, answers)
        for name, is_part in parts.items():
            if any(is_part):
                some = [i for i, mine in enumerate(is_part) if mine]
                report[f"{way}, {name}"] = worth([questions[i] for i in some], [answers[i] for i in some])
    return report


def _model(run: Path | None) -> Any:
    if run is None:
        return None
    from pipeline.answering.run_model import load_run

    return load_run(run)[0]


def _kinds(run: Path | None) -> list[str]:
    return run_dataset(run).kinds if run else []


def fit(products: list[dict[str, Any]], questions: list[dict[str, Any]]) -> dict[str, Any]:
    """Logistic weights over the features of `SentenceFinder`, with what five-fold cross-validation by product says of them."""
    shop = shop_for(products)
    records = {p["uid"]: p["content"] for p in products}
    report = {}
    for name, encoder in (("encoder", shop.sentences.encoder), ("words", None)):
        finder = SentenceFinder(shop.index.weights, encoder, shop.sentences.is_word)
        found = [finder.find(q["question"], q["title"], records[q["uid"]]) for q in questions]
        kept = [(q, f) for q, f in zip(questions, found, strict=True) if f]
        names = list(kept[0][1].features)
        x = np.array([list(f.features.values()) for _, f in kept])
        y = np.array([q["answerable"] for q, _ in kept])
        right = np.array([_is_found(q, f) for q, f in kept])
        vetoed = np.array([f.likely == 0 for _, f in kept])
        groups = np.array([int(hashlib.md5(q["uid"].encode()).hexdigest()[:6], 16) % FOLDS for q, _ in kept])
        decided, thresholds = np.zeros(len(y), bool), []
        for fold in range(FOLDS):
            train = groups != fold
            weights = _logistic(x[train], y[train])
            thresholds.append(_best_threshold(_likely(weights, x[train], vetoed[train]), y[train], right[train]))
            decided[~train] = _likely(weights, x[~train], vetoed[~train]) >= thresholds[-1]
        share, admitted = (decided & right).sum() / y.sum(), (~decided & ~y).sum() / (~y).sum()
        weights = _logistic(x, y)
        report[name] = {
            "weights": dict(zip(names, np.round(weights[:-1], 4).tolist(), strict=True)),
            "bias": round(float(weights[-1]), 4),
            "threshold": round(float(np.median(thresholds)), 2),
            "cross_validated": {"right": share, "admitted": admitted, "h": harmonic(share, admitted)},
        }
    return report


def _is_found(question: dict[str, Any], found: Found) -> bool:
    said = shown(found.unit, question["question"])
    return question["answerable"] and is_right(said, question["answers"], question["evidence"])


def _logistic(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Newton's method on standardised features with an L2 penalty; returns weights of the plain features, the bias last."""
    mean, spread = x.mean(0), x.std(0) + 1e-9
    z = np.c_[(x - mean) / spread, np.ones(len(x))]
    penalty = np.diag([L2] * x.shape[1] + [0.0])
    w = np.zeros(z.shape[1])
    for _ in range(50):
        p = 1 / (1 + np.exp(-z @ w))
        w -= np.linalg.solve((z * (p * (1 - p))[:, None]).T @ z + penalty, z.T @ (p - y) + penalty @ w)
    plain = w[:-1] / spread
    return np.r_[plain, w[-1] - plain @ mean]


def _likely(weights: np.ndarray, x: np.ndarray, vetoed: np.ndarray) -> np.ndarray:
    return np.where(vetoed, 0.0, 1 / (1 + np.exp(-(x @ weights[:-1] + weights[-1]))))


def _best_threshold(likely: np.ndarray, y: np.ndarray, right: np.ndarray) -> float:
    def h(threshold: float) -> float:
        return harmonic((right & (likely >= threshold)).sum() / y.sum(), ((likely < threshold) & ~y).sum() / (~y).sum())

    return max(np.unique(likely), key=h)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.customers")
    parser.add_argument("what", choices=("sample", "file", "fit", "taught", "reader"))
    parser.add_argument("file", type=Path, nargs="?")
    parser.add_argument("--run", type=Path)
    args = parser.parse_args()
    if args.what == "taught":
        written = json.loads(SAMPLE_QUESTIONS.read_text(encoding="utf-8"))
        questions = read_file(args.file)[1] if args.file else [*written["written"], *written["other styles"]]
        report: Any = taught(args.run, questions)
    elif args.what == "reader" and args.file:
        products, questions = read_file(args.file)
        report = read_by(args.run, shop_for(products), questions)
    elif args.what == "reader":
        shop = Shop(read_catalogue(SAMPLE), encoder_or_none())
        written = json.loads(SAMPLE_QUESTIONS.read_text(encoding="utf-8"))
        report = {name: read_by(args.run, shop, questions) for name, questions in written.items()}
    elif args.what == "sample":
        shop = Shop(read_catalogue(SAMPLE), encoder_or_none())
        written = json.loads(SAMPLE_QUESTIONS.read_text(encoding="utf-8"))
        report = {name: judged(shop, questions, args.run) for name, questions in written.items()}
    else:
        products, questions = read_file(args.file)
        report = fit(products, questions) if args.what == "fit" else judged(shop_for(products), questions, args.run)
    json.dump(report, sys.stdout, indent=1, ensure_ascii=False)


if __name__ == "__main__":
    main()
