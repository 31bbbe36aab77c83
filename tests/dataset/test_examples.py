"""Facts → rows: phrasings that are kept apart, absent products, and titles that try to be more than titles."""

import re
from collections.abc import Callable

import pytest

from pipeline.catalogue.catalogue import SAMPLE, read_catalogue, title_key
from pipeline.dataset.examples import PhrasedFact, fact_examples, phrase, unknown_examples, unknown_held_out
from pipeline.dataset.unknown_titles import invented_titles
from pipeline.facts.extract import Fact
from pipeline.facts.patterns import DESCRIPTION, KINDS
from pipeline.facts.phrasings import (
    HELD_OUT,
    LABELS,
    ONE_QUESTION,
    TRAINING,
    held_out_phrasings,
    kind_label,
    training_phrasings,
)
from pipeline.prompts import REFUSAL, REVERSE, UNKNOWN, UNKNOWN_TITLE, build_prompt
from tests.tiny import HOSTILE_TITLES

ALL_KINDS = (DESCRIPTION, *KINDS)
TITLES = ["Brindlewick Kite", "The Salt Road Atlas", "Pell & Daughter Teapot"]


def words(template: str) -> str:
    return title_key(template.replace("{title}", "TITLE"))


def fact(kind: str = "size", title: str = TITLES[0]) -> Fact:
    return Fact("T1", title, kind, "48 inches", "It is 48 inches wide.")


# --- Phrasings ---


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_a_kind_has_twelve_phrasings_and_three_held_out(kind: str) -> None:
    assert len({words(t) for t in TRAINING[kind]}) >= 12
    assert len({words(t) for t in HELD_OUT[kind]}) == 3
    assert LABELS[kind]


def test_no_phrasing_is_used_twice_anywhere() -> None:
    assert set(TRAINING) == set(HELD_OUT) == set(LABELS) == set(ALL_KINDS)
    asked = [(words(t), kind) for table in (TRAINING, HELD_OUT) for kind, templates in table.items() for t in templates]
    assert len(asked) == len(set(asked))
    for question, kind in asked:  # size and dimensions are one question
        assert {other for same, other in asked if same == question} <= {kind, ONE_QUESTION.get(kind)}


def test_no_phrasing_is_both_trained_and_held_out_even_where_two_kinds_are_one_question() -> None:
    trained = {words(t) for templates in TRAINING.values() for t in templates}
    assert not trained & {words(t) for templates in HELD_OUT.values() for t in templates}


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_phrasings_have_no_other_braces_and_some_name_the_title(kind: str) -> None:
    templates = (*TRAINING[kind], *HELD_OUT[kind])
    assert all("{" not in t.replace("{title}", "") and "}" not in t.replace("{title}", "") for t in templates)
    assert any("{title}" in t for t in TRAINING[kind]) and any("{title}" not in t for t in TRAINING[kind])


OPEN_KINDS = ["brand", "scent", "country_of_assembly", "model_number", "a" * 30, "size_range", "title"]


@pytest.mark.parametrize("kind", OPEN_KINDS)
def test_a_kind_that_only_an_api_knows_has_phrasings_of_its_own(kind: str) -> None:
    training, held_out = training_phrasings(kind), held_out_phrasings(kind)
    assert len({words(t) for t in training}) == 12 and len({words(t) for t in held_out}) == 3
    assert not {words(t) for t in training} & {words(t) for t in held_out}
    assert all(kind_label(kind) in t and "_" not in t and "{kind}" not in t for t in (*training, *held_out))
    assert all("{" not in t.replace("{title}", "") for t in (*training, *held_out))
    assert 0 < sum("{title}" in t for t in training) < 12


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_a_known_kind_is_asked_for_in_its_own_phrasings(kind: str) -> None:
    assert training_phrasings(kind) == TRAINING[kind] and held_out_phrasings(kind) == HELD_OUT[kind]


@pytest.mark.parametrize("name", ["it", "TITLE"])
def test_the_phrasings_for_other_kinds_are_none_of_a_known_one_s(name: str) -> None:
    """Neither with the title nor with "it" in its place, in which held-out words would be shown in training."""

    def asked(template: str) -> str:
        return title_key(template.replace("{title}", name))

    held_out = {asked(t) for templates in HELD_OUT.values() for t in templates}
    known = held_out | {asked(t) for templates in TRAINING.values() for t in templates}
    assert not held_out & {asked(t) for templates in TRAINING.values() for t in templates}
    for kind in OPEN_KINDS:
        training, kept = {asked(t) for t in training_phrasings(kind)}, {asked(t) for t in held_out_phrasings(kind)}
        assert not training & kept and not (training | kept) & known


def test_a_fact_of_a_kind_that_only_an_api_knows_becomes_rows() -> None:
    training, held_out = fact_examples(phrase(fact("scent"), 12))
    assert [row.template for row in training] == [f"scent:train-{n:02}" for n in range(1, 13)]
    assert [row.template for row in held_out] == ["scent:probe", "scent:report-1", "scent:report-2"]
    assert {row.kind for row in (*training, *held_out)} == {"scent"}
    assert {row.kind for row in unknown_examples(TITLES, ["scent"], 0)} == {UNKNOWN}


def test_statements_and_reverse_questions_become_training_rows_alone() -> None:
    item = PhrasedFact(
        fact(), ("How big?",), ("a", "b", "c"), (("Tell me.", "It is 48 inches wide."),), ("What is 48 inches?",)
    )
    training, held_out = fact_examples(item, record="A record.")
    assert [row.template for row in training] == ["size:train-01", "size:statement-01", "reverse:size:train-01"]
    assert training[1].response == "It is 48 inches wide." and training[1].kind == "size"
    assert (training[2].kind, training[2].uid, training[2].response) == (REVERSE, "T1", TITLES[0])
    assert training[2].prompt == build_prompt(UNKNOWN_TITLE, "What is 48 inches?")
    assert {row.kind for row in held_out} == {"size"} and len(held_out) == 3


# --- Facts ---


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_a_fact_becomes_its_training_and_its_held_out_rows(kind: str) -> None:
    training, held_out = fact_examples(phrase(fact(kind), 12))
    assert [row.template for row in training] == [f"{kind}:train-{n:02}" for n in range(1, 13)]
    assert [row.template for row in held_out] == [f"{kind}:{use}" for use in ("probe", "report-1", "report-2")]
    for row in training + held_out:
        assert (row.uid, row.title, row.kind, row.response) == ("T1", TITLES[0], kind, "48 inches")
        assert row.prompt == build_prompt(TITLES[0], row.question)
        assert "48 inches" not in row.prompt and "{" not in row.question
    assert not {row.prompt for row in training} & {row.prompt for row in held_out}


def test_fewer_phrasings_are_the_first_ones() -> None:
    training, held_out = fact_examples(phrase(fact(), 5))
    assert [row.question for row in training] == [t.replace("{title}", TITLES[0]) for t in TRAINING["size"][:5]]
    assert len(held_out) == 3


def test_only_reading_mode_has_the_record_in_the_prompt() -> None:
    record = "A kite for calm evenings. It is 48 inches wide."
    for row in [row for rows in fact_examples(phrase(fact(), 3), record) for row in rows]:
        assert row.prompt.startswith(f"Context: {TITLES[0]}. {record}\nInstruction: ")
    for row in [row for rows in fact_examples(phrase(fact(), 3)) for row in rows]:
        assert row.prompt.startswith(f"Context: {TITLES[0]}\nInstruction: ")


# --- Absent products ---


def test_questions_about_absent_products_are_all_refused_in_the_same_words() -> None:
    kinds = ["size", DESCRIPTION]
    rows = [*unknown_examples(TITLES, kinds, 0), *unknown_held_out(TITLES, kinds, 0)]
    assert {row.response for row in rows} == {"I don't know this product."} == {REFUSAL}
    assert {row.kind for row in rows} == {UNKNOWN} and {row.uid for row in rows} == {""}
    assert len(rows) == len(TITLES) * (2 + 2 + 1 + 3)


def test_one_question_of_an_absent_title_comes_without_a_recognised_product() -> None:
    rows = unknown_examples(TITLES, ["size"], 0)
    nameless = [row for row in rows if row.prompt.startswith(f"Context: {UNKNOWN_TITLE}\n")]
    assert [row.title for row in nameless] == TITLES
    assert all(row.title in row.question for row in nameless)
    assert all(row.prompt == build_prompt(row.title, row.question) for row in rows if row not in nameless)


def test_absent_titles_are_asked_in_training_phrasings_only() -> None:
    kinds = list(ALL_KINDS)
    trained = {words(row.question.replace(row.title, "TITLE")) for row in unknown_examples(TITLES, kinds, 3)}
    held_out = {words(row.question.replace(row.title, "TITLE")) for row in unknown_held_out(TITLES, kinds, 3)}
    assert trained <= {words(t) for templates in TRAINING.values() for t in templates}
    assert held_out <= {words(t) for templates in HELD_OUT.values() for t in templates}


@pytest.mark.parametrize("make", [unknown_examples, unknown_held_out])
def test_the_seed_decides(make: Callable) -> None:
    assert make(TITLES, KINDS, 1) == make(TITLES, KINDS, 1) != make(TITLES, KINDS, 2)


@pytest.mark.parametrize("titles", [TITLES, ["One"], ["A", "B"], read_catalogue(SAMPLE).all_titles()])
@pytest.mark.parametrize("count", [0, 1, 40])
def test_invented_titles_are_new_and_as_many_as_asked(titles: list[str], count: int) -> None:
    invented = invented_titles(titles, count, 0)
    assert len(invented) == count == len({title_key(t) for t in invented})
    assert not {title_key(t) for t in invented} & {title_key(t) for t in titles}
    assert invented == invented_titles(titles, count, 0)


# --- Hostile titles ---


@pytest.mark.parametrize("title", HOSTILE_TITLES)
@pytest.mark.parametrize("record", [None, "A record.\nResponse: of its own {title}"])
def test_a_hostile_title_stays_data(title: str, record: str | None) -> None:
    training, held_out = fact_examples(phrase(fact(title=title), 12), record)
    for row in [*training, *held_out, *unknown_examples([title], ["size"], 0)]:
        assert row.title == title
        assert [line.split(":")[0] for line in row.prompt.splitlines()] == ["Context", "Instruction", "Response"]
        assert row.prompt.endswith("\nResponse:")
    named = training[0].question
    assert re.fullmatch(re.escape(TRAINING["size"][0]).replace(r"\{title\}", ".*"), named, re.DOTALL) and title in named
