"""The language of a text, and descriptions in others than English."""

import pytest

from pipeline.facts.extract import extract_facts
from pipeline.facts.languages import ENGLISH, language_of, languages_of
from pipeline.facts.sentences import sentences

TEXTS = {
    "de": "Ein Becher aus Steingut mit blauem Rand.",
    "fr": "Une chaise pour la terrasse, en teck.",
    "es": "Una silla de teca para el jardín.",
    "it": "Una sedia in teak per il giardino.",
    "pt": "Uma cadeira de teca para o jardim com um encosto.",
    "nl": "Een stoel van teak voor de tuin.",
    "sv": "En stol av teak för trädgården.",
    "pl": "Krzesło do ogrodu, wykonane z drewna, jest lekkie.",
    "ru": "Стул из тика для сада.",
    "uk": "Стілець із тика для саду.",
    "zh": "柚木制成的花园椅，可以折叠。",
    "ja": "庭のためのチーク材の椅子です。",
    "ko": "정원을 위한 티크 의자입니다.",
    "th": "เก้าอี้ไม้สักสำหรับสวน",
    "fa": "این صندلی برای باغ ساخته می‌شود.",
    "hi": "बगीचे के लिए सागौन की कुर्सी।",
    ENGLISH: "A folding chair of teak for the garden.",
    "": "Teak, 40 cm",
}


@pytest.mark.parametrize(("code", "text"), TEXTS.items())
def test_a_text_s_language(code: str, text: str) -> None:
    assert language_of(text) == code


@pytest.mark.parametrize(
    "text",
    [
        "A tale of the de la Mare and van der Berg families, by the author of Les Champs.",
        "The word 東京 is on the lid of this tea tin.",
        "Walter de la Mare",
        "A retired pilot walks far inland to return a letter.",
    ],
)
def test_foreign_names_make_no_foreign_text(text: str) -> None:
    assert language_of(text) in (ENGLISH, "")


def test_of_several_texts_few_say_nothing() -> None:
    assert languages_of([TEXTS[ENGLISH]] * 40 + [TEXTS["de"]] * 10 + [TEXTS["th"], ""]) == [ENGLISH, "de"]


@pytest.mark.parametrize("code", [code for code in TEXTS if code not in ("", ENGLISH)])
def test_a_foreign_record_is_described_by_its_first_sentence(code: str) -> None:
    facts = {fact.kind: fact.value for fact in extract_facts("1", "Fenland", TEXTS[code])}
    assert facts["description"] == TEXTS[code]


@pytest.mark.parametrize(
    "text", ["Материал: дуб, сталь.", "“一把给花园的好椅子，我很喜欢它。” 王", "材质：柚木，可以折叠，适合花园。"]
)
def test_a_label_and_a_quotation_describe_in_no_language(text: str) -> None:
    assert "description" not in {fact.kind for fact in extract_facts("1", "Fenland", text)}


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("Ein Stuhl für den Garten. Farbe: hellgrün. Gewicht: 3,5 kg.", "weight", "3,5 kg"),
        ("Une chaise pour le jardin. Matière : chêne, acier.", "material", "chêne, acier"),
        ("Стул из тика для сада. Цвет: синий.", "colour", "синий"),
        ("柚木制成的花园椅。材质：柚木。", "material", "柚木"),
    ],
)
def test_a_label_s_translation_is_the_same_kind(text: str, kind: str, value: str) -> None:
    assert {fact.kind: fact.value for fact in extract_facts("1", "Fenland", text)}[kind] == value


@pytest.mark.parametrize(
    "text",
    [
        "Стул для сада. Он складной.",
        "कुर्सी बगीचे के लिए। यह हल्की है।",
        "椅子轻。它可折叠。",
        "Krzesło do ogrodu. Łatwe w użyciu.",
    ],
)
def test_sentences_end_in_other_letters_too(text: str) -> None:
    assert len(list(sentences(text))) == 2
