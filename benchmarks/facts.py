"""How true and how whole the facts are: `python -m benchmarks.facts --titles FILE --customers FILE`.

The two files are other people's texts and no part of the project: the first 600 rows of AmazonTitles-1.3MM, and products with
customers' questions from ePQA's development split. What a reader thought of them is: `facts_marks.json` has, by uid and by the
beginning of the value's SHA-256, good or bad and why; `facts_awkward.json` has sentences of our own with the right values.
A value that nobody has read yet is counted as unread and named, never as good.
"""

import argparse
import hashlib
import json
import re
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.measure import RESULTS, save
from pipeline.catalogue.catalogue import Product, read_catalogue
from pipeline.catalogue.cleaning import clean
from pipeline.facts.extract import extract_facts
from pipeline.facts.patterns import DESCRIPTION
from pipeline.files import read_json

HERE = Path(__file__).parent
MARKS, AWKWARD = HERE / "facts_marks.json", HERE / "facts_awkward.json"
ONE_QUESTION = {"dimensions": "size"}
NAMED = re.compile(r"(?:^|(?<=[.!?] ))[A-Z][^.:!?]{1,60}: ")
NAMED_ENDS = re.compile(r"[.!?]{1,3}(?= [A-Z0-9*(-]|$)")


def sha(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()[:12]


def judged(found: list[tuple[str, str, str]], marks: dict[str, Any]) -> dict[str, Any]:
    """What the reader thought of values: (uid, kind, value)."""
    verdicts = [
        (uid, kind, value, marks.get(f"{uid} {kind} {sha(value)}", ["unread", ""])) for uid, kind, value in found
    ]
    counts = Counter(mark[0] for *_, mark in verdicts)
    return {
        "good": counts["good"],
        "of": len(found),
        "share": round(counts["good"] / max(1, len(found)), 3),
        "unread": [f"{uid} {kind} {sha(value)}" for uid, kind, value, mark in verdicts if mark[0] == "unread"],
        "bad": [f"{uid} {kind}: {mark[1]}" for uid, kind, _, mark in verdicts if mark[0] == "bad"],
    }


def titles(path: Path) -> dict[str, Any]:
    marks = read_json(MARKS)
    products = read_catalogue(path).page()
    read = {record["uid"]: record for record in marks["records"]}
    facts = {p.uid: facts_of(p) for p in products}
    described = [(uid, f.kind, f.value) for uid in read for f in facts[uid] if f.kind == DESCRIPTION]
    descriptions = judged(described, marks["verdicts"])
    good = {
        uid for uid, kind, value in described if marks["verdicts"].get(f"{uid} {kind} {sha(value)}", [""])[0] == "good"
    }
    tellable = [uid for uid, record in read.items() if record["finds"]]
    attributes = [
        (uid, f.kind, f.value) for uid, all_facts in facts.items() for f in all_facts if f.kind != DESCRIPTION
    ]
    authors = {uid: sha(f.value) for uid, all_facts in facts.items() for f in all_facts if f.kind == "author"}
    told = [authors.get(one["uid"]) in one["values"] for one in marks["authors"]]
    return {
        "descriptions": descriptions,
        "descriptions_found": [len(good & set(tellable)), len(tellable)],
        "attributes": judged(attributes, marks["verdicts"]),
        "kinds": dict(Counter(kind for _, kind, _ in attributes).most_common()),
        "products_with_attributes": [len({uid for uid, *_ in attributes}), len(products)],
        "authors_found": [sum(told), len(told)],
    }


def facts_of(product: Product) -> list[Any]:
    return extract_facts(product.uid, product.title, product.content)


def customers(path: Path) -> dict[str, Any]:
    """How many "Name: value." lines become facts with the whole value."""
    whole, part, missed, kinds = 0, 0, 0, set[str]()
    for product in map(read_row, path.read_text(encoding="utf-8").splitlines()):
        facts = facts_of(product)
        values = {f.value for f in facts}
        kinds |= {f.kind for f in facts}
        for name in NAMED.finditer(product.content):
            end = NAMED_ENDS.search(product.content, name.end())
            value = product.content[name.end() : end.start() if end else len(product.content)].rstrip(" .;,!")
            if value in values:
                whole += 1
            else:
                part += any(v and v in value for v in values if len(v) > 2)
                missed += 1
    total = whole + missed
    return {"whole": whole, "of": total, "share": round(whole / total, 3), "kinds": len(kinds), "part": part}


def read_row(line: str) -> Product:
    row = json.loads(line)
    return Product(row["uid"], clean(row["title"]), clean(row["content"]))


def awkward() -> dict[str, Any]:
    rows, wrong, found = read_json(AWKWARD), [], 0
    for row in rows:
        facts = {ONE_QUESTION.get(f.kind, f.kind): f.value for f in extract_facts("1", "Wrenfold", row["record"])}
        value = facts.get(row["kind"])
        found += value is not None and value == row["right"]
        if value not in (None, row["right"]):
            wrong.append(f"{row['record']} → {value}")
    answerable = sum(row["right"] is not None for row in rows)
    right = len(rows) - len(wrong)
    return {"right_or_not_taught": [right, len(rows)], "found": [found, answerable], "wrong": wrong}


def speed(path: Path) -> dict[str, float]:
    """Seconds of one core for a megabyte of records as they come, and for one record of a megabyte."""
    products = read_catalogue(path).page()
    size = sum(len(p.content) for p in products) / 1e6
    text = " ".join(p.content for p in products)
    long = (text * (1_000_000 // len(text) + 1))[:1_000_000]
    facts_of(products[0])
    started = time.process_time()
    for product in products:
        facts_of(product)
    usual = (time.process_time() - started) / size
    started = time.process_time()
    extract_facts("1", "Wrenfold", long)
    return {"seconds_per_mb": round(usual, 2), "one_record_of_a_mb": round(time.process_time() - started, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--titles", type=Path, help="the head of AmazonTitles-1.3MM's trn.json")
    parser.add_argument("--customers", type=Path, help="products with customers' questions, JSON lines")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the JSON goes")
    args = parser.parse_args()
    figures: dict[str, Any] = {"awkward": awkward()}
    if args.titles:
        figures |= {"titles": titles(args.titles), "speed": speed(args.titles)}
    if args.customers:
        figures["customers"] = customers(args.customers)
    for name, value in figures.items():
        print(name)
        for key, figure in value.items():
            print(f"  {key}: {figure}")
    save("facts", figures, args.out)


if __name__ == "__main__":
    main()
