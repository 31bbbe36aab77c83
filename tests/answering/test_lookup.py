"""Which product a question means, what it asks for, and questions that cannot be asked."""

from collections.abc import Callable
from typing import Any

import pytest

from pipeline.answering.lookup import TaughtProducts, check_question, kind_asked, recognise
from pipeline.dataset.store import Dataset
from pipeline.errors import QuestionError
from pipeline.facts.patterns import DESCRIPTION
from pipeline.facts.phrasings import HELD_OUT, LABELS, ONE_QUESTION, TRAINING, held_out_phrasings, training_phrasings
from pipeline.facts.styles import Words, graded_words, trained_words
from pipeline.prompts import GENERAL, MAX_QUESTION_CHARACTERS, REFUSAL, SILENT, UNKNOWN, build_prompt
from tests.tiny import HOSTILE_TITLES, PHRASING

TITLES = ["Brindlewick Kite", "Brindlewick Kite Tail", "The Salt Road Atlas", "Harrow Lane Lamp", "Harrow Lane Chair"]


@pytest.mark.parametrize(
    ("question", "title"),
    [
        ("How big is the Brindlewick Kite?", "Brindlewick Kite"),
        ("how big is the brindlewick kite", "Brindlewick Kite"),
        ("How long is the Brindlewick Kite Tail?", "Brindlewick Kite Tail"),
        ("Who wrote Salt Road Atlas?", "The Salt Road Atlas"),
        ("Who wrote the Sallt Road Atlas?", "The Salt Road Atlas"),
        ("Is the Harrow Lane lamp bright?", "Harrow Lane Lamp"),
        ("What is at Harrow Lane?", None),
        ("How big is it?", None),
        ("What does the Vesper Row Mug hold?", None),
        ("", None),
        ("?!", None),
    ],
)
def test_the_title_in_a_question(question: str, title: str | None) -> None:
    assert recognise(question, TITLES) == title


def test_nothing_is_recognised_on_an_empty_shelf() -> None:
    assert recognise("How big is the kite?", []) is None
    assert recognise("How big is the kite?", ["!!!", ""]) is None


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("How big is it?", "size"),
        ("how heavy is Brindlewick Kite", "weight"),
        ("Who's the author?", "author"),
        ("What's it made of?", "material"),
        ("How many pages are in Brindlewick Kite?", "pages"),
        ("Tell me about Brindlewick Kite", DESCRIPTION),
        ("qqq zzz", DESCRIPTION),
    ],
)
def test_the_kind_that_a_question_asks_for(question: str, kind: str) -> None:
    assert kind_asked(question, "Brindlewick Kite") == kind


@pytest.mark.parametrize("kind", TRAINING)
def test_every_phrasing_asks_for_its_own_kind(kind: str) -> None:
    for template in (*TRAINING[kind], *HELD_OUT[kind]):
        asked = kind_asked(template.replace("{title}", "The Salt Road Atlas"), "The Salt Road Atlas")
        assert asked in (kind, ONE_QUESTION.get(kind))


# --- Kinds that only a dataset has ---

OTHERS = ["brand", "country_of_assembly", "name", "scent", "scent_strength"]


@pytest.mark.parametrize("kind", OTHERS)
def test_every_phrasing_of_a_kind_that_only_a_dataset_has_asks_for_it(kind: str) -> None:
    for template in (*training_phrasings(kind), *held_out_phrasings(kind)):
        question = template.replace("{title}", "The Salt Road Atlas")
        assert kind_asked(question, "The Salt Road Atlas", OTHERS) == kind
        assert kind_asked(question, "The Salt Road Atlas") in (DESCRIPTION, *TRAINING)


@pytest.mark.parametrize("kind", TRAINING)
def test_other_kinds_take_no_phrasing_from_a_known_one(kind: str) -> None:
    for template in (*TRAINING[kind], *HELD_OUT[kind]):
        question = template.replace("{title}", "The Salt Road Atlas")
        assert kind_asked(question, "The Salt Road Atlas", OTHERS) in (kind, ONE_QUESTION.get(kind))


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("What's the scent?", "scent"),
        ("So which scent can I expect when I open the tin of Brindlewick Kite?", "scent"),
        ("How is its scent strength?", "scent_strength"),
        ("brand?", "brand"),
        ("What is the author's name?", "author"),
        ("How big is it?", "size"),
        ("Is it strong?", DESCRIPTION),
    ],
)
def test_the_name_of_another_kind_tells_what_is_asked(question: str, kind: str) -> None:
    assert kind_asked(question, "Brindlewick Kite", OTHERS) == kind


def test_a_word_that_begins_like_another_kind_s_name_is_not_its_name() -> None:
    assert kind_asked("Does the scented one come in red?", "Brindlewick Kite", ["scent"]) != "scent"


def test_a_shelf_knows_the_kinds_of_its_dataset(dataset: Dataset) -> None:
    product = dataset.manifest["products"][0]
    scent = {"uid": product["uid"], "title": product["title"], "kind": "scent", "value": "cedar", "quote": "cedar"}
    taught = TaughtProducts(dataset.manifest | {"facts": [*dataset.manifest["facts"], scent]})
    assert taught.other_kinds == ["scent"] and TaughtProducts(dataset.manifest).other_kinds == []
    for question in (f"What is the scent of {product['title']}?", f"Tell me what scent {product['title']} has"):
        asked = taught.ask(question)
        assert (asked.title, asked.kind, asked.expected) == (product["title"], "scent", "cedar")
        assert TaughtProducts(dataset.manifest).ask(question).kind != "scent"
    other = dataset.manifest["products"][1]["title"]
    assert (taught.ask("What is its scent?", other).kind, taught.ask("What is its scent?", other).expected) == (
        "scent",
        None,
    )


def test_a_question_put_like_no_phrasing_asks_for_what_it_names(dataset: Dataset) -> None:
    product = dataset.manifest["products"][0]
    facts = [
        {"uid": product["uid"], "title": product["title"], "kind": kind, "value": value, "quote": value}
        for kind, value in ((DESCRIPTION, "A sander for one hand."), ("colour", "dark green"), ("country", "Japan"))
    ]
    taught = TaughtProducts(dataset.manifest | {"facts": facts})
    for question, kind in (
        ("so is this red then?", "colour"),
        ("are these japanese made?", "country"),
        ("Tell me about it.", DESCRIPTION),
    ):
        assert taught.ask(question, product["title"]).kind == kind, question


# --- The shelf ---


@pytest.fixture
def taught(dataset: Dataset) -> TaughtProducts:
    return TaughtProducts(dataset.manifest)


def test_every_trained_question_is_asked_in_the_prompt_it_was_taught_in(
    taught: TaughtProducts, dataset: Dataset
) -> None:
    for row in dataset.training() + dataset.held_out():
        if row["kind"] == GENERAL:
            asked = taught.ask(row["question"])
            assert (asked.prompt, asked.kind, asked.expected) == (row["prompt"], GENERAL, None)
        elif row["kind"] != UNKNOWN:
            asked = taught.ask(row["question"], row["title"])
            assert asked.prompt == row["prompt"]
            if PHRASING.search(row["template"]) and row["kind"] != SILENT:
                assert (asked.kind, asked.expected) == (row["kind"], row["response"])
        elif "Context: unknown\n" not in row["prompt"]:
            asked = taught.ask(row["question"], row["title"])
            assert (asked.prompt, asked.kind, asked.expected) == (row["prompt"], UNKNOWN, REFUSAL)
        else:  # the title stands in the question alone
            asked = taught.ask(row["question"])
            assert (asked.prompt, asked.kind, asked.expected) == (row["prompt"], UNKNOWN, REFUSAL)


@pytest.mark.parametrize("kind", LABELS)
@pytest.mark.parametrize("words", [trained_words, graded_words])
def test_what_customers_ask_for_in_a_few_words_is_recognised(kind: str, words: Callable[[str], Words]) -> None:
    for form in words(kind).short:
        assert kind_asked(form.replace("{it}", "Torvald Palm Sander"), "Torvald Palm Sander") in (
            kind,
            ONE_QUESTION.get(kind),
        )


def test_a_title_is_found_however_it_is_spelled(taught: TaughtProducts) -> None:
    title = next(iter(taught.products))
    for spelled in (
        title,
        title.upper(),
        f"  {title} ",
        title.replace(" ", "\u00a0"),
        f"{title}!",
        title.replace("&", "&amp;"),
    ):
        asked = taught.ask("What is it?", spelled)
        assert asked.title == title and asked.product and asked.prompt == build_prompt(title, "What is it?")


def test_without_a_title_the_question_s_own_words_decide(taught: TaughtProducts) -> None:
    title = next(iter(taught.products))
    assert taught.ask(f"What is {title}?").title == title
    for nameless in ("What is it?", "Who made the Gorbals Trumpet?"):
        asked = taught.ask(nameless)
        assert (asked.title, asked.kind, asked.expected, asked.product) == ("unknown", GENERAL, None, None)


def test_what_the_catalogue_does_not_say_has_no_expected_answer(taught: TaughtProducts) -> None:
    title = next(t for t in taught.products if (t, "warranty") not in taught.values)
    asked = taught.ask("What is its warranty?", title)
    assert (asked.kind, asked.expected) == ("warranty", None)


@pytest.mark.parametrize("reading", [False, True])
def test_the_record_is_in_the_prompt_in_reading_mode_alone(reading: bool, dataset: Dataset) -> None:
    manifest: dict[str, Any] = dataset.manifest | {"settings": {"reading": reading}}
    product = manifest["products"][0]
    prompt = TaughtProducts(manifest).ask("What is it?", product["title"]).prompt
    assert (product["content"] in prompt) == reading
    assert prompt == build_prompt(product["title"], "What is it?", product["content"] if reading else None)


@pytest.mark.parametrize("title", HOSTILE_TITLES)
def test_hostile_titles_and_questions_are_asked_as_data(title: str, taught: TaughtProducts) -> None:
    for asked in (taught.ask("What is it?", title), taught.ask(title)):
        assert [line.split(":")[0] for line in asked.prompt.splitlines()] == ["Context", "Instruction", "Response"]


# --- Questions that cannot be asked ---


@pytest.mark.parametrize("question", ["", "   ", "\n\t\u00a0", "\ud800"])
def test_an_empty_question_is_refused(question: str, taught: TaughtProducts) -> None:
    with pytest.raises(QuestionError, match="is empty"):
        taught.ask(question, "Kite")


def test_a_question_of_10_000_characters_is_refused_with_its_length(taught: TaughtProducts) -> None:
    with pytest.raises(QuestionError, match=r"10,000 characters and the most is 1,000"):
        taught.ask("w" * 10_000)
    assert check_question("w" * MAX_QUESTION_CHARACTERS + "  ")


def test_a_title_longer_than_any_product_s_is_refused(taught: TaughtProducts) -> None:
    with pytest.raises(QuestionError, match=r"10,000 characters and the most is 300"):
        taught.ask("What is it?", "t" * 10_000)


def test_half_characters_are_left_out(taught: TaughtProducts) -> None:
    asked = taught.ask("What \udcff is it?\ud83d", "Gorbals \udc00Trumpet")
    assert (asked.question, asked.title) == ("What  is it?", "Gorbals Trumpet")
