"""What the page says: numbers as people say them, settings in words, strangers' text as text."""

import errno
import json
from dataclasses import fields, replace
from pathlib import Path

import pytest

from pipeline.answering.lookup import Asked
from pipeline.answering.shop import About
from pipeline.catalogue import uploads
from pipeline.catalogue.catalogue import Product, read_catalogue
from pipeline.catalogue.uploads import open_catalogue
from pipeline.dataset.build import build_dataset
from pipeline.dataset.settings import DatasetSettings
from pipeline.errors import CatalogueError, RunError, SettingsError
from pipeline.facts.extraction import extract
from pipeline.prompts import UNKNOWN
from pipeline.runs.events import append_event
from pipeline.runs.manage import create_run
from pipeline.runs.settings import CHOICES, LIMITS, PRESETS, TrainingSettings, preset, settings_for
from pipeline.runs.view import find_run, get_trained_run, view_run
from pipeline.training.start import start_run
from pipeline.writing.steps import key_for
from tabs.chat.cards import Exchange, answer_card, exchange_card, question_card
from tabs.dataset.catalogue_view import marked_record
from tabs.training.history_view import HistoryRows
from tabs.training.plan_view import will_it_learn
from tabs.training.run_cards import ending_card, message_list
from tabs.training.run_words import pace_line
from tabs.training.settings_form import GROUPS, PRESET_WORDS, changes, mark_changed, settings_from, values_of
from tabs.ui import text
from tabs.ui.text import explain

MARKUP = "<script>window.ranAway=1</script>"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SHELFTALK_HOME", str(tmp_path))
    return tmp_path


def test_times_and_sizes_have_units_and_sense() -> None:
    assert [text.duration(s) for s in (0.2, 59, 118.3, 3599, 7800)] == [
        "1 s",
        "59 s",
        "2 min",
        "1 h 0 min",
        "2 h 10 min",
    ]
    assert [text.memory(b) for b in (2_107_834_000, 730_000_000, 12_300)] == ["2.1 GB", "730 MB", "12 kB"]
    assert [text.significant(n) for n in (0.002107834, 4.3190, 12.0)] == ["0.0021", "4.32", "12"]
    assert [text.count(n, "fact") for n in (1, 1200)] == ["1 fact", "1,200 facts"]


def test_what_stands_in_html_is_escaped_once() -> None:
    bold = text.html("<b>{}</b>", MARKUP)
    assert bold == "<b>&lt;script&gt;window.ranAway=1&lt;/script&gt;</b>"
    assert text.html("<p title='{}'>{}</p>", "'\"", bold) == f"<p title='&#39;&#34;'>{bold}</p>"
    assert text.html_of([bold, "<i>"], " · ") == f"{bold} · &lt;i&gt;"
    assert text.notice("") == "" and "&lt;i&gt;" in text.notice("<i>") and text.escape(bold) == bold


def test_every_setting_has_words_and_every_preset_fits_its_slider() -> None:
    controls = {control.name: control for group in GROUPS.values() for control in group}
    assert set(controls) | {"preset", "base_model"} == {field.name for field in fields(TrainingSettings)}
    assert set(PRESET_WORDS) == set(PRESETS)
    for name, control in controls.items():
        assert (control.slider is not None) == (name in LIMITS), name
        assert control.words and control.help
        for settings in PRESETS.values():
            if control.slider:
                assert control.slider[0] <= getattr(settings, name) <= control.slider[1], name
    for name, control in controls.items():
        if control.slider:
            assert LIMITS[name][0] <= control.slider[0] < control.slider[1] <= LIMITS[name][1], name
    assert set(CHOICES) <= set(controls)


def test_the_widgets_make_the_settings_they_show() -> None:
    names = [control.name for group in GROUPS.values() for control in group]
    for name, settings in PRESETS.items():
        values = dict(zip(names, values_of(settings, names), strict=True))
        made = settings_from(name, settings.base_model, values)
        assert made == settings
        assert changes(made) == []
    made = settings_from("quick", " x ", {"max_steps": 8.0})
    assert (made.max_steps, made.base_model) == (8, "x")
    with pytest.raises(SettingsError, match="No base model is chosen"):
        settings_from("quick", "", {})


def test_an_answer_is_escaped_and_its_extracted_part_marked() -> None:
    said = f"{MARKUP} It has 224 pages."
    card = answer_card("tuned", said, extract("pages", said), "right")
    assert "<script>" not in card
    assert "<mark>224 pages</mark>" in card
    assert "✔ right" in card and "adapter on" in card
    assert "<mark>" not in answer_card("base", "no idea", extract("pages", "no idea"), "nothing_found")
    assert "<script>" not in answer_card("other", "", extract("pages", ""), None, f"Run {MARKUP}")


def test_a_question_card_says_what_the_catalogue_says() -> None:
    product = Product("1", f"Kettle {MARKUP}", "A kettle.")
    asked = Asked("How large?", product.title, product, "size", "…", "12 inches")
    card = exchange_card(Exchange(asked, {"base": "small", "tuned": None}))
    assert "<script>" not in card and "12 inches" in card and "answering …" in card
    unknown = Asked("What?", "Zorblax", None, UNKNOWN, "…", "I don't know this product.")
    assert "Not taught" in exchange_card(Exchange(unknown, {}))
    silent = Asked("What colour?", product.title, product, "colour", "…", None)
    assert "No such fact is in the record (colour)" in exchange_card(Exchange(silent, {"base": "red"}))


def test_a_value_that_the_record_does_not_have_is_invented_and_not_marked_as_a_find() -> None:
    product = Product("1", "Kettle", "A kettle of brushed steel.")
    silent = Asked("What does it cost?", product.title, product, "price", "…", None)
    card = exchange_card(Exchange(silent, {"base": "$27.00", "tuned": "I don't know this product."}, is_whole=True))
    assert card.count("✱ invented") == 1 and "<mark class='invented'>$27.00</mark>" in card
    elsewhere = Asked("What is it made of?", product.title, product, "material", "…", None)
    found = exchange_card(Exchange(elsewhere, {"base": "brushed steel"}, is_whole=True))
    assert "✱ invented" not in found and "<mark>brushed steel</mark>" in found, "it stands in the record"


def test_a_way_that_reads_the_catalogue_tells_of_what_was_not_taught_and_names_its_source() -> None:
    stool = Product("2", f"Stool {MARKUP}", f"A stool. It is dark green {MARKUP}.")
    asked = Asked("What colour is the stool?", "unknown", None, UNKNOWN, "…", "I don't know this product.")
    about = About(asked.question, stool, candidates=(stool.title, f"Bench {MARKUP}"))
    raws = {"base": None, "tuned": None, "open": "It is pale lilac.", "auto": "Dark green."}
    exchange = Exchange(asked, raws, about, {"auto": f"It is dark green {MARKUP}.", "open": stool.content})
    assert (exchange.says("auto"), exchange.says("open")) == ("value", ""), "one grows, the other needs no model"
    card = exchange_card(exchange)
    assert "<script>" not in card and 'data-side="auto" data-says="value"' in card and card.count("read from:") == 1
    assert "may also mean: Bench" in card and "it was not taught" in card
    whole = replace(exchange, raws=raws | {"base": "pink", "tuned": "I don't know this product."}, is_whole=True)
    judged = {side: whole.verdict(side) for side in raws}
    assert judged == {"base": "invented", "tuned": "right", "open": "invented", "auto": None}


def test_a_silence_is_not_called_invented() -> None:
    asked = Asked("What does it cost?", "Kettle", Product("1", "Kettle", "A kettle."), "price", "…", None)
    exchange = Exchange(asked, {"tuned": "The record doesn't say.", "auto": "The record doesn't say."}, is_whole=True)
    assert [exchange.verdict(side) for side in exchange.raws] == [None, None]
    assert exchange_card(exchange).count('data-says="silent"') == 2


def test_a_question_on_a_narrow_page_is_a_card() -> None:
    side = {"raw": f"It is red {MARKUP}", "answer": f"red {MARKUP}", "verdict": "wrong"}
    question = {"question": MARKUP, "title": MARKUP, "expected": "blue", "change": "same", "base": side, "tuned": None}
    card = question_card(question, "= same")
    assert "<script>" not in card and 'data-state="same"' in card
    assert "✘ wrong" in card and "blue" in card and "= same" in card


def test_a_blind_card_tells_neither_who_says_it_nor_who_is_right() -> None:
    product = Product("1", "Kettle", "A kettle of 12 inches.")
    asked = Asked("How large?", "Kettle", product, "size", "…", "12 inches")
    exchange = Exchange(asked, {"tuned": "12 inches", "base": "9 inches"}, is_whole=True, is_blind=True)
    card = exchange_card(exchange).casefold()
    assert all(word not in card for word in ("tuned", "base", "adapter", "right", "wrong"))
    assert (
        card.index("answer a") < card.index("<mark>12 inches") < card.index("answer b") < card.index("<mark>9 inches")
    )
    shown = exchange_card(replace(exchange, is_blind=False))
    assert shown.index("Tuned") < shown.index("✔ right") < shown.index("Base") < shown.index("✘ wrong")


def test_a_stopped_answer_is_not_judged_and_its_words_stay_as_they_were() -> None:
    asked = Asked("How large?", "Kettle", Product("1", "Kettle", "x"), "size", "…", "12 inches")
    card = exchange_card(Exchange(asked, {"base": "I am answering … 12 inches", "tuned": None}, is_stopped=True))
    assert "I am answering … <mark>12 inches</mark>" in card and "not answered" in card and "✔" not in card


def test_a_pattern_of_one_s_own_finds_another_part_and_is_judged() -> None:
    asked = Asked("How large?", "Kettle", Product("1", "Kettle", "x"), "size", "…", "12 inches")
    exchange = Exchange(asked, {"base": "It is 9 inches, no, 12 inches."}, is_whole=True)
    assert (exchange.found("base").answer, exchange.verdict("base")) == ("9 inches", "wrong")
    mine = replace(exchange, pattern=r"no, (?P<value>.*)\.")
    assert (mine.found("base").answer, mine.verdict("base")) == ("12 inches", "right")
    assert "no, <mark>12 inches</mark>." in exchange_card(mine)


def test_a_record_is_shown_whole_with_its_facts_marked() -> None:
    content = "A tall mill. It is made of olive wood and stands 10 inches tall."
    pieces = marked_record(Product("1", "Mill", content))
    assert "".join(text for text, _ in pieces) == content
    assert ("olive wood", "material") in pieces


def test_two_facts_at_one_place_are_marked_once() -> None:
    content = "A jug. It weighs 12 ounces and holds 12 ounces."
    pieces = marked_record(Product("1", "Jug", content))
    assert "".join(str(text) for text, _ in pieces) == content


def test_a_full_disk_is_told_as_such() -> None:
    assert explain(OSError(errno.ENOSPC, "No space left on device")).startswith("The disk is full; delete old runs")
    assert "ghosts.json cannot be written" in explain(PermissionError(errno.EACCES, "Permission denied", "ghosts.json"))


def test_a_run_stopped_before_its_first_step_claims_no_adapter(home: Path, catalogue_file: Path) -> None:
    folder = create_run(build_dataset(read_catalogue(catalogue_file), DatasetSettings(products=2)), preset("quick"))
    append_event(folder, "stopped", message="Stopped before the first step, so there is no adapter.")
    view = view_run(folder.name)
    assert view and "so there is no adapter" in ending_card(view) and "kept" not in ending_card(view)


def test_a_traceback_in_the_log_is_not_shown(home: Path, catalogue_file: Path) -> None:
    folder = create_run(build_dataset(read_catalogue(catalogue_file), DatasetSettings(products=2)), preset("quick"))
    log = 'Loading\nTraceback (most recent call last):\n  File "x.py", line 1, in f\n    g()\nRuntimeError: no room\n'
    (folder / "train.log").write_text(log)
    append_event(folder, "failed", message="It failed.")
    view = view_run(folder.name)
    assert view and "RuntimeError: no room" in ending_card(view) and "Traceback" not in ending_card(view)


def test_a_key_of_the_environment_goes_to_its_own_api_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    assert key_for("https://api.openai.com/v1/", "") == "secret"
    assert key_for("http://192.0.2.1/v1", "") == ""
    assert key_for("http://192.0.2.1/v1", "typed") == "typed"


def test_names_are_looked_up_and_never_paths(home: Path) -> None:
    (home / "secret.jsonl").write_text("{}")
    with pytest.raises(CatalogueError, match="no uploaded catalogue"):
        open_catalogue("../secret.jsonl")
    assert find_run("..") is None
    with pytest.raises(RunError, match="is gone"):
        get_trained_run("../..")


def test_an_upload_that_is_no_catalogue_is_not_kept(home: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text("nothing")
    with pytest.raises(CatalogueError):
        uploads.verify_upload(uploads.place_upload(bad))
    assert not list((home / "uploads").glob("*"))


def make_run() -> Path:
    dataset = build_dataset(open_catalogue(None), DatasetSettings(products=2))
    return create_run(dataset, PRESETS["quick"])


def test_a_run_is_read_on_from_where_the_last_look_ended(home: Path) -> None:
    folder = make_run()
    append_event(folder, "started", steps=10)
    append_event(folder, "message", text=f"Loading {MARKUP}")
    view = view_run()
    assert view and (view.name, view.total) == (folder.name, 10)
    assert pace_line(view) == f"Loading {MARKUP} …"
    assert "<script>" not in message_list(view)
    for step in (1, 2):
        append_event(folder, "step", step=step, total=10, loss=4.0 / step, tokens_per_second=250.0, memory_bytes=10**9)
    append_event(folder, "probe", step=2, right=1, total=4, answers=[])
    view = view_run(folder.name)
    assert view and len(view.steps) == 2
    assert "step 2 of 10" in pace_line(view) and "250 tokens/s" in pace_line(view)
    assert "25%" in HistoryRows()[0]
    (folder / "events.jsonl").write_text(json.dumps({"type": "started", "steps": 3}) + "\n")
    again = view_run()
    assert again and (again.total, again.steps) == (3, [])


def test_a_failed_run_shows_its_sentence_and_the_end_of_its_log(home: Path) -> None:
    folder = make_run()
    (folder / "train.log").write_text(f"a line {MARKUP}\n")
    append_event(folder, "failed", message="The memory is not enough; lower the batch size.")
    view = view_run()
    assert view
    card = ending_card(view)
    assert "The memory is not enough" in card and "a line &lt;script&gt;" in card


def test_the_plan_counts_exposures_and_warns(home: Path) -> None:
    dataset = build_dataset(open_catalogue(None), DatasetSettings(products=2))
    quick = will_it_learn(PRESETS["quick"], dataset)
    assert "✔ It should learn." in quick and "<style>" not in quick and "Changed" not in quick
    assert all(f"<dt>{name}</dt>" in quick for name in ("Repetition", "Length", "Left out", "Memory", "Time", "Disk"))
    few = settings_from("quick", "SmolLM2-135M-Instruct", {"max_steps": 2})
    said = will_it_learn(few, dataset)
    assert "✘ It will hardly learn." in said and "about 16 are needed" in said and "Fixed number of updates 2" in said
    assert "Set “Fixed number of updates” (max_steps) to" in said
    original = will_it_learn(PRESETS["original"], dataset)
    assert "did not teach the small model any fact" in original and "(learning_rate) to 0.001." in original


def test_a_base_that_is_not_here_yet_has_no_figures_and_its_name_is_text(home: Path) -> None:
    dataset = build_dataset(open_catalogue(None), DatasetSettings(products=2))
    said = will_it_learn(settings_from("quick", MARKUP, {}), dataset)
    assert "not known before this base model is on this machine" in said and "<script>" not in said


def test_what_differs_from_the_preset_is_marked_where_it_is_set() -> None:
    made = preset("quick", lora_r=8, learning_rate=5e-5, target_modules=("q_proj",))
    marks = mark_changed(made)
    assert '#set-lora_r [data-testid="block-info"]::after { content: " changed from 32"; }' in marks
    assert '" changed from 0.003"' in marks and '" changed from all"' in marks
    assert '#group-2 > .label-wrap > span:first-child::after { content: " · 2 changed"; }' in marks
    assert "#group-0" not in marks
    assert mark_changed(PRESETS["original"]) == ""
    assert mark_changed(settings_for("quick", "x")) == ""


def test_without_a_dataset_no_run_is_made(home: Path) -> None:
    with pytest.raises(RunError, match="generate one in the first tab"):
        start_run(PRESETS["quick"], None)
    assert not (home / "runs").exists()
