"""The card of a dataset: what it states, what it leaves out when nobody said it, and text that stays text."""

from dataclasses import replace
from typing import Any

import pytest
import yaml
from markdown_it import MarkdownIt

from pipeline.dataset.card import LICENSES, code, dataset_card, public_manifest
from pipeline.dataset.store import TRAIN_FILE, Dataset
from pipeline.errors import HubError
from pipeline.files import write_jsonl
from pipeline.prompts import build_prompt
from tests.tiny import HOSTILE_TITLES

HOSTILE = [
    *HOSTILE_TITLES,
    "``` \n# Heading\n[click](https://evil.example)",
    "`` ` `` <b>bold</b> https://evil.example www.evil.example",
    "---\nlicense: mit\n---",
    "| a | b |\n|---|---|",
    "x`",
    "`",
    "&lt;script&gt; &#96;",
    "",
]


def with_manifest(dataset: Dataset, **changes: Any) -> Dataset:
    """The dataset with parts of its manifest changed; a table is merged into the one there is."""
    manifest = dict(dataset.manifest)
    for key, value in changes.items():
        manifest[key] = manifest.get(key, {}) | value if isinstance(value, dict) else value
    return replace(dataset, manifest=manifest)


def parts(card: str) -> tuple[dict[str, Any], str]:
    _, matter, text = card.split("---\n", 2)
    return yaml.safe_load(matter), text


def test_the_front_matter_is_what_the_hub_reads(dataset: Dataset) -> None:
    matter, _ = parts(dataset_card(dataset, "cc0-1.0"))
    assert matter == {
        "license": "cc0-1.0",
        "task_categories": ["question-answering"],
        "language": ["en"],
        "size_categories": ["n<1K"],
        "configs": [
            {
                "config_name": "default",
                "data_files": [
                    {"split": "train", "path": "data/train.parquet"},
                    {"split": "test", "path": "data/test.parquet"},
                ],
            }
        ],
    }


@pytest.mark.parametrize(
    ("content", "languages"),
    [
        ("Ein Stuhl für den Garten, aus Teak.", ["en", "de"]),
        ("柚木制成的花园椅，可以折叠。", ["en", "zh"]),
        ("Teak, 40 cm", ["en"]),
    ],
)
def test_the_languages_are_those_of_questions_and_records(dataset: Dataset, content: str, languages: list[str]) -> None:
    products = [product | {"content": content} for product in dataset.manifest["products"]]
    matter, _ = parts(dataset_card(with_manifest(dataset, products=products), "mit"))
    assert matter["language"] == languages


def test_the_card_states_what_the_manifest_states(dataset: Dataset) -> None:
    _, text = parts(dataset_card(dataset, "mit", source_url="https://example.org/a-catalogue?x=1"))
    catalogue, counts = dataset.manifest["catalogue"], dataset.manifest["counts"]
    for said in (
        "- Address: <https://example.org/a-catalogue?x=1>",
        "- File: `catalogue.json`",
        f"- SHA-256: `{catalogue['sha256']}`",
        f"- Rows: {catalogue['rows']}\n- Usable: {catalogue['usable']}",
        "- Skipped: 2 × `one title with different contents`, 1 × `no content`",
        "The license is `mit`, as its publisher says.",
        "written by templates",
        "title alone: the model must know",
        f"{counts['unknown_titles']} titles of products held back",
        "Context: {title}\nInstruction: {question}\nResponse: {response}",
        f"- `train`: {len(dataset.training())} rows",
        f"- `test`: {len(dataset.held_out())} rows",
        f"{counts['facts']} facts of 4 products",
        "- Filters rejected: nothing",
        dataset.training()[0]["prompt"],
    ):
        assert said in text, said
    assert all(f"- `{kind}`: {number}" in text for kind, number in counts["kinds"].items())


def test_a_model_s_dataset_tells_model_host_prompts_filters_and_leakage(dataset: Dataset) -> None:
    made = with_manifest(
        dataset,
        settings={"generator": "gpt-x at https://user:pass@api.example.org/v1", "reading": True},
        counts={"rejected": {"quote not in the record": 12}},
        generation={"prompt_version": "3b"},
        leakage={"questions": 3},
    )
    _, text = parts(dataset_card(made, "other"))
    assert "by the model `gpt-x` at `api.example.org`, asked with the prompts of version `3b`." in text
    assert "- Filters rejected: 12 × `quote not in the record`" in text
    assert "Check for leakage: " in text and "`questions` 3" in text
    assert "the model reads the answer" in text and "pass" not in text


def test_what_an_older_manifest_does_not_say_the_card_does_not_say(dataset: Dataset) -> None:
    for manifest in ({}, {"settings": {}, "counts": {}, "catalogue": {}}):
        matter, text = parts(dataset_card(replace(dataset, manifest=manifest), "unknown"))
        assert matter["license"] == "unknown" and "The license is not known" in text
        for unsaid in ("templates", "model `", "rejected", "leakage", "SHA-256", "Unknown", "Skipped", "context is"):
            assert unsaid not in text, unsaid


@pytest.mark.parametrize("license", ["", "MIT", "my own", "apache-2.0\nlicense: mit"])
def test_the_license_is_asked_for(dataset: Dataset, license: str) -> None:
    with pytest.raises(HubError, match=r"choose one of apache-2\.0, mit"):
        dataset_card(dataset, license)
    assert {"other", "unknown"} < set(LICENSES)


@pytest.mark.parametrize("url", ["javascript:alert(1)", "example.org", "https://a b", "https://a>\n# x", "file:///etc"])
def test_an_address_that_is_none_is_refused(dataset: Dataset, url: str) -> None:
    with pytest.raises(HubError, match="is not a web address"):
        dataset_card(dataset, "mit", source_url=url)


def rendered_marks(card: str) -> list[str]:
    """Everything in a rendered card that is neither plain text, code, a list nor a heading of ours."""
    plain = {"text", "code_inline", "softbreak", "inline", "fence"}
    structure = {"paragraph", "bullet_list", "list_item", "heading"}
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(parts(card)[1])
    flat = [inner for token in tokens for inner in (token, *(token.children or []))]
    return [t.type for t in flat if t.type not in plain and t.type.rpartition("_")[0] not in structure]


@pytest.mark.parametrize("text", HOSTILE)
def test_text_of_a_catalogue_or_a_model_stays_text(dataset: Dataset, text: str) -> None:
    hostile = with_manifest(
        dataset,
        catalogue={"name": text, "sha256": text, "rows": text, "skipped": {text: 3}},
        settings={"generator": f"{text} at {text}"},
        counts={"kinds": {text: 1}, "rejected": {text: text}, "facts": text},
        generation={"prompt_version": text},
        leakage={text: [text]},
    )
    card = dataset_card(hostile, "mit")
    assert rendered_marks(card) == []
    assert parts(card)[0] == parts(dataset_card(dataset, "mit"))[0]
    headings = [line for line in card.splitlines() if line.startswith("#")]
    assert headings == [line for line in dataset_card(dataset, "mit").splitlines() if line.startswith("#")]
    assert not any(mark in card for mark in ("\u202e", "\u2028", "\x85", "\r"))


@pytest.mark.parametrize("text", [*HOSTILE, "Kite ``` # Heading", "~~~~ Kite ````` end"])
def test_a_hostile_example_stays_inside_its_block(dataset: Dataset, text: str) -> None:
    first, *others = dataset.training()
    hostile = first | {"prompt": build_prompt(text, text, text), "response": text}
    write_jsonl(dataset.folder / TRAIN_FILE, [hostile, *others])
    card = dataset_card(dataset, "mit")
    assert rendered_marks(card) == []
    _, example = [token for token in MarkdownIt().parse(parts(card)[1]) if token.type == "fence"]
    assert example.content.startswith("Context: ") and parts(card)[1].rstrip().endswith("would be answered.")


def test_code_is_short_and_on_one_line() -> None:
    assert code("a\nb") == "`a b`" and code("") == "` `"
    assert code("a`b``c") == "``` a`b``c ```"
    assert len(code("x" * 10_000)) < 250


def test_addresses_leave_the_manifest_but_not_the_catalogue_s_text() -> None:
    manifest = {
        "products": [{"content": "See https://shop.example/kite"}],
        "settings": {"generator": "m at http://10.0.0.7:8080/v1", "seed": 0},
        "generation": [{"base_url": "https://user:secret@api.example/v1?k=1"}, None],
    }
    assert public_manifest(manifest) == {
        "products": [{"content": "See https://shop.example/kite"}],
        "settings": {"generator": "m at 10.0.0.7", "seed": 0},
        "generation": [{"base_url": "api.example"}, None],
    }
