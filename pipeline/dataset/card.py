"""Dataset → its card for the Hugging Face Hub: a README.md that says where the rows come from and how they were made.

It says what the manifest says and nothing else. Text of a catalogue or a model stands in code spans and code blocks
alone, where neither markup nor a link can come of it, and in no YAML.
"""

import re
import unicodedata
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import yaml

from pipeline.dataset.store import Dataset
from pipeline.errors import HubError
from pipeline.facts.languages import languages_of
from pipeline.prompts import NO_FACT, REFUSAL

LICENSES = (
    "apache-2.0", "mit", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0",
    "cc-by-nd-4.0", "cdla-permissive-2.0", "cdla-sharing-1.0", "odc-by", "odbl", "pddl", "openrail", "gpl-3.0", "other",
    "unknown",
)  # fmt: skip
"""License ids of the Hub that a dataset may have; `other` and `unknown` are answers too, but nobody's default."""

TRAIN_FILE, TEST_FILE = "data/train.parquet", "data/test.parquet"

LONGEST_NAME = 200
LONGEST_EXAMPLE = 2_000

_UNSEEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
"""Unicode's categories of what is no visible character, or begins a line of its own."""

_ADDRESS = re.compile(r"https?://[\w.~:/?#@!$&*+,;=%-]{1,500}", re.ASCII)
_URL = re.compile(r"\b\w+://\S+")


def check_license(license: str) -> None:
    """Refuse a license that is none.

    Raises:
        HubError: it is empty, or not an id of the Hub.
    """
    if license not in LICENSES:
        chosen = f"{license!r} is no license id that is known here" if license else "No license is chosen"
        raise HubError(f"{chosen}; choose one of {', '.join(LICENSES)}.")


def dataset_card(dataset: Dataset, license: str, *, source_url: str = "") -> str:
    """The card, with its YAML front matter.

    Args:
        license: one of `LICENSES`.
        source_url: where the catalogue comes from, if its publisher wants to say so.

    Raises:
        HubError: the license or the address is none.
    """
    check_license(license)
    if source_url and not _ADDRESS.fullmatch(source_url):
        raise HubError(f"{source_url!r} is not a web address; type one that begins with https://, or leave it empty.")
    sections = [
        _heading(dataset),
        *_source(dataset.manifest, license, source_url),
        *_making(dataset.manifest),
        *_splits(dataset),
        *_kinds(dataset.manifest),
        *_example(dataset),
        _LIMITS,
    ]
    return f"---\n{_front_matter(dataset, license)}---\n\n" + "\n\n".join(sections) + "\n"


def public_manifest(manifest: dict[str, Any]) -> dict[str, Any]:
    """The manifest without the addresses of servers: of each its host is left, as the card says it."""
    ours = ("catalogue", "products", "facts", "unknown")  # text of the catalogue, in which an address is no server's
    return {key: value if key in ours else _without_addresses(value) for key, value in manifest.items()}


def code(text: object, longest: int = LONGEST_NAME) -> str:
    """Foreign text as a Markdown code span on one line: it stands there as it is and can do nothing."""
    line = " ".join("".join(c if unicodedata.category(c)[0] != "C" else " " for c in str(text)).split())
    line = line if len(line) <= longest else line[:longest] + " …"
    fence = "`" * (_longest_run(line) + 1)
    return f"{fence} {line} {fence}" if "`" in line else f"`{line or ' '}`"


def code_block(text: str, language: str) -> str:
    """Foreign text as a Markdown code block, which no text in it can end."""
    text = "".join(c if c == "\n" or unicodedata.category(c) not in _UNSEEN else " " for c in text)
    fence = "`" * max(3, _longest_run(text) + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def _longest_run(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)


def _front_matter(dataset: Dataset, license: str) -> str:
    files = [{"split": "train", "path": TRAIN_FILE}, {"split": "test", "path": TEST_FILE}]
    matter = {
        "license": license,
        "task_categories": ["question-answering"],
        **({"language": spoken} if (spoken := languages(dataset)) else {}),
        "size_categories": [_size(len(dataset.training()) + len(dataset.held_out()))],
        "configs": [{"config_name": "default", "data_files": files}],
    }
    return yaml.safe_dump(matter, sort_keys=False)


def languages(dataset: Dataset) -> list[str]:
    """The codes of the languages that the questions and the catalogue's texts are in, as far as they tell."""
    asked = languages_of(row["question"] for row in dataset.training() if row["kind"] not in NO_FACT)
    said = languages_of(product["content"] for product in dataset.manifest.get("products", ()))
    return list(dict.fromkeys([*asked, *said]))


def _size(rows: int) -> str:
    steps = [(1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M")]
    return next((name for limit, name in steps if rows < limit), "1M<n<10M")


def _heading(dataset: Dataset) -> str:
    counts = dataset.manifest.get("counts", {})
    about = [f"{_number(counts[key])} {key}" for key in ("facts", "products") if key in counts]
    of = f" about {' of '.join(about)}" if about else ""
    return (
        f"# Questions and answers about a product catalogue\n\nPairs{of} that teach a language model to answer "
        "customers' questions, and that test whether it learned. Made with Shelftalk."
    )


def _source(manifest: dict[str, Any], license: str, source_url: str) -> Iterator[str]:
    catalogue = manifest.get("catalogue", {})
    lines = [f"- Address: <{source_url}>"] if source_url else []
    for key, name in (("name", "File"), ("sha256", "SHA-256")):
        lines += [f"- {name}: {code(catalogue[key])}"] if key in catalogue else []
    for key, name in (("rows", "Rows"), ("usable", "Usable")):
        lines += [f"- {name}: {_number(catalogue[key])}"] if key in catalogue else []
    if "skipped" in catalogue:
        lines.append(f"- Skipped: {_counts(catalogue['skipped'])}")
    yield "\n".join(["## The catalogue", "", *lines] if lines else ["## The catalogue", "", "Nothing is noted of it."])
    known = "is not known" if license == "unknown" else f"is {code(license)}"
    yield f"The license {known}, as its publisher says. Titles and answers are words of the catalogue."


def _making(manifest: dict[str, Any]) -> Iterator[str]:
    settings, counts = manifest.get("settings", {}), manifest.get("counts", {})
    lines = [_author(manifest)] if "generator" in settings else []
    if "reading" in settings:
        lines.append(
            "- The context is the product's title with its record: the model reads the answer."
            if settings["reading"]
            else "- The context is the product's title alone: the model must know the answer."
        )
    if "unknown_titles" in counts:
        lines.append(
            f"- Unknown products: {_number(counts['unknown_titles'])} titles of products held back, of rows without "
            f"content, and invented ones; the response is {code(REFUSAL)}"
        )
    if counts.get("general_training"):
        lines.append(
            f"- General knowledge: {_number(counts['general_training'])} rows that have nothing to do with the catalogue; "
            "training keeps the base model's own answers to them."
        )
    if "rejected" in counts:
        lines.append(f"- Filters rejected: {_counts(counts['rejected'])}")
    prompt = "```text\nContext: {title}\nInstruction: {question}\nResponse: {response}\n```"
    yield "\n".join(["## How it was made", "", *lines, "", "A row is one text in this form:", "", prompt])


def _author(manifest: dict[str, Any]) -> str:
    said = str(manifest["settings"]["generator"])
    version = _prompt_version(manifest)
    if said == "templates":
        return "- The questions were written by templates, and the facts found by patterns."
    model, _, address = said.rpartition(" at ")
    at = f" at {code(_host(address))}" if model else ""
    return f"- Questions and facts were written by the model {code(model or said)}{at}{version}."


def _prompt_version(manifest: dict[str, Any]) -> str:
    found = [t["prompt_version"] for t in manifest.values() if isinstance(t, dict) and "prompt_version" in t]
    return f", asked with the prompts of version {code(found[0])}" if found else ""


def _splits(dataset: Dataset) -> Iterator[str]:
    lines = [
        "## Splits",
        "",
        f"- `train`: {len(dataset.training()):,} rows",
        f"- `test`: {len(dataset.held_out()):,} rows; the column `template` tells those for checks during a training "
        "(`probe`) from those for its report",
        "",
        "The split is by phrasing within a fact: both sides ask for the same facts, in different words. "
        + ("Unknown products are split by title: none is in both. " if "unknown" in dataset.manifest else "")
        + "`dataset.json` has the training rows as texts, and `manifest.json` what went into them.",
    ]
    if "leakage" in dataset.manifest:
        lines += ["", f"Check for leakage: {_in_words(dataset.manifest['leakage'])}"]
    yield "\n".join(lines)


def _kinds(manifest: dict[str, Any]) -> Iterator[str]:
    kinds = manifest.get("counts", {}).get("kinds")
    if isinstance(kinds, dict) and kinds:
        lines = [f"- {code(kind)}: {_number(number)}" for kind, number in kinds.items()]
        yield "\n".join(["## Facts of each kind", "", *lines])


def _example(dataset: Dataset) -> Iterator[str]:
    row = next(iter(dataset.training()), None)
    if row:
        yield "## An example\n\n" + code_block(f"{row['prompt']} {row['response']}"[:LONGEST_EXAMPLE], "text")


_LIMITS = """## Limits

- The answers say what the catalogue says. Where that is wrong or old, so are they.
- A product has the facts that were found in its record, not all that the record states.
- A high score on `test` shows that the facts were learned, not that other questions would be answered."""


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int | float) else code(value)


def _counts(counts: Any) -> str:
    if not isinstance(counts, dict):
        return _in_words(counts)
    return ", ".join(f"{_number(number)} × {code(reason)}" for reason, number in counts.items()) or "nothing"


def _in_words(value: Any) -> str:
    """A value of the manifest whose form is not fixed."""
    if isinstance(value, dict):
        return ", ".join(f"{code(key)} {_in_words(inner)}" for key, inner in value.items()) or "nothing"
    return _number(value) if isinstance(value, int | float) and not isinstance(value, bool) else code(value)


def _without_addresses(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_addresses(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without_addresses(inner) for inner in value]
    return _URL.sub(lambda found: _host(found.group()), value) if isinstance(value, str) else value


def _host(address: str) -> str:
    try:
        return urlsplit(address).hostname or "a server"
    except ValueError:
        return "a server"
