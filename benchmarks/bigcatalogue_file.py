"""A catalogue of 2,248,619 invented products, with the size and the warts of AmazonTitles-1.3MM's `trn.json`."""

import gzip
import json
import shutil
from pathlib import Path

import numpy as np

ROWS = 2_248_619
EMPTY_SHARE = 0.38
BATCH = 20_000

LETTERS = np.array(list("abcdefghijklmnopqrstuvwxyz"))
ACCENTED = [
    "café",
    "naïve",
    "“quoted”",
    "–",
    "Señor",
    "Zürich",
    "it’s",
    "fiancée",
    "…",
    "garçon®",
    "Ångström",
    "Москва",
]
ENTITIES = ["Tom &amp; Ada", "it&#8217;s", "&quot;yes&quot;", "caf&eacute;", "it&amp;#8217;s", "&#x2014;", "5&nbsp;cm"]
TAGS = ["<p>", "</p>", "<br/>", "<b>bold</b>", "<li class='a'>"]
GLUED = ["--This text refers to the Paperback edition.", " --This edition refers to an out of print one."]


def write_catalogue(path: Path, rows: int = ROWS) -> None:
    """Write `path` and, beside it, `path`.gz, unless both are there."""
    packed = path.with_name(path.name + ".gz")
    if path.exists() and packed.exists():
        return
    rng = np.random.default_rng(0)
    words = vocabulary(rng)
    aside = path.with_name(path.name + ".part")
    with aside.open("w", encoding="utf-8") as file:
        for first in range(0, rows, BATCH):
            file.writelines(batch(rng, words, first, min(BATCH, rows - first)))
    with aside.open("rb") as plain, gzip.open(packed, "wb", compresslevel=6) as out:
        shutil.copyfileobj(plain, out, 1 << 20)
    aside.replace(path)


def vocabulary(rng: np.random.Generator) -> np.ndarray:
    """Words of any letters, so that they pack as badly as the real texts; the first ones are short and common."""
    common = [
        f"{a}{b}" for a in ["th", "an", "of", "to", "wi", "fo", "is"] for b in ["e", "d", "r", "s", "n", "th", "a"]
    ]
    made = ["".join(rng.choice(LETTERS, size)) for size in rng.integers(4, 10, 150_000)]
    return np.array(common + made, dtype=object)


def batch(rng: np.random.Generator, words: np.ndarray, first: int, count: int) -> list[str]:
    empty = rng.random(count) < EMPTY_SHARE
    lengths = np.clip(rng.lognormal(4.595, 0.75, count), 1, 1500).astype(int)
    title_lengths = rng.integers(2, 9, count)
    warts = rng.random((count, 7))
    lines = []
    for n in range(count):
        title = text(rng, words, title_lengths[n]).title()
        content = "" if empty[n] else text(rng, words, lengths[n]).capitalize() + "."
        title, content = with_warts(title, content, warts[n], first + n)
        targets = rng.integers(0, 1_300_000, rng.integers(0, 12)).tolist()
        row = {"uid": f"{first + n:010}", "title": title, "content": content, "target_ind": targets}
        lines.append(json.dumps(row | {"target_rel": [1.0] * len(targets)}, ensure_ascii=False) + "\n")
    return lines


def text(rng: np.random.Generator, words: np.ndarray, count: int) -> str:
    """One word in five is a common one."""
    common = rng.random(count) < 0.2
    return " ".join(words[np.where(common, rng.integers(0, 49, count), rng.integers(0, len(words), count))])


def with_warts(title: str, content: str, chance: np.ndarray, number: int) -> tuple[str, str]:
    def put(text: str, wart: str) -> str:
        middle = text.find(" ", len(text) // 2)
        return f"{text[:middle]} {wart}{text[middle:]}" if middle > 0 else text

    if chance[0] < 0.04:
        title = f"Title {int(chance[0] * 1e6)} that comes again" if number % 2 else title
    if chance[1] < 0.03:
        title = put(title, ENTITIES[number % 2])
    if chance[1] > 0.98:
        title = put(title, ACCENTED[number % len(ACCENTED)])
    if chance[2] < 0.17:
        content = put(content, ENTITIES[number % len(ENTITIES)])
    if chance[3] < 0.52:
        content = put(content, ACCENTED[number % len(ACCENTED)])
    if chance[4] < 0.2:
        content = put(content, "  ") if number % 4 else content + " "
    if content and chance[5] < 0.2:
        content += GLUED[number % len(GLUED)]
    if chance[6] < 0.02:
        content = put(content, TAGS[number % len(TAGS)])
    return title, content
