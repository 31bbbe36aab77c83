"""The third tab: one question to both sides, and the questions before and after."""

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from pipeline.answering.shop import About
from pipeline.answering.ways import AUTO, Said
from pipeline.answering.which_way import LABELS, best_way, counted_of
from pipeline.catalogue.catalogue import Product
from pipeline.facts.patterns import DESCRIPTION
from pipeline.facts.phrasings import kind_label
from pipeline.prompts import UNKNOWN, UNKNOWN_TITLE
from pipeline.serving.asked import asked_questions, keep
from pipeline.serving.desk import Reply
from tabs.chat.comparison_panel import CHANGES
from tests.tabs.conftest import (
    App,
    cell,
    choose,
    has_controls,
    make_trained,
    open_tab,
    option,
    tells,
    text_box,
    unfold,
    until_told,
)


def ask(page: Page, question: str) -> None:
    text_box(page, "question").fill(question)
    page.locator("#ask").click()


def ask_after_unfolding(page: Page, question: str) -> None:
    """Ask until it is heard: in the moment in which a part unfolds, Gradio passes over a click."""

    def ask_if_idle() -> None:
        if page.locator("#ask").is_visible():
            ask(page, question)

    until_told(page.locator("#answers h3").filter(has_text=question), ask_if_idle)


def answered(page: Page, question: str) -> Locator:
    """Ask, wait until the tuned side has answered this question wholly, and return what it said.

    An earlier answer, and the first words of this one, stand in the same place.
    """
    ask(page, question)
    expect(page.locator("#answers h3")).to_have_text(question)
    expect(page.locator("#ask")).to_be_visible()  # once it stands under its question, Stop is there until the end
    said = page.locator("#answers .answer[data-side=tuned] .said")
    expect(said).to_be_visible()
    return said


def run_folder(app: App, page: Page) -> Path:
    chosen = page.locator("#run input")
    expect(chosen).not_to_have_value("")
    return app.home / "runs" / chosen.input_value().split(" · ")[0]


def manifest(app: App, page: Page) -> dict:
    return json.loads((run_folder(app, page) / "dataset" / "manifest.json").read_text(encoding="utf-8"))


SIDES = ".answer:is([data-side=base], [data-side=tuned], [data-side=other])"


def figure(page: Page, name: str, right: int, total: int) -> None:
    """Wait until a figure of the summary is so many of so many."""
    expect(page.locator(f"#summary [data-figure={name}] b")).to_have_text(re.compile(rf"^{right}\D+{total}$"))


def open_chat(page: Page) -> None:
    open_tab(page, "chat")
    expect(page.locator("#question")).to_be_visible()


def test_both_sides_answer_a_question_with_the_extracted_part_marked(trained: App, same_page: Page) -> None:
    page = same_page
    open_chat(page)
    title = manifest(trained, page)["products"][0]["title"]
    ask(page, f"What is {title}?")
    for side in ("base", "tuned"):
        answer = page.locator(f"#answers .answer[data-side={side}]")
        expect(answer.locator(".said mark")).not_to_be_empty()
        expect(answer.locator(f".badge.{side}")).to_be_visible()
        expect(answer.locator(".verdict")).to_be_visible()
    tells(page, "answers", about=title, kind=DESCRIPTION)

    answered(page, "What colour is the Zorblax 3000?")
    tells(page, "answers", about=UNKNOWN_TITLE)
    unfold(page, "earlier")
    expect(page.locator("#asked-before")).to_contain_text(f"What is {title}?")


def test_the_main_controls_have_roles_and_names(trained: App, same_page: Page) -> None:
    open_chat(same_page)
    controls = (
        ("tab", "3 Chat and compare"),
        ("textbox", "Question"),
        ("checkbox", LABELS[AUTO]),
        ("combobox", "Trained run"),
        ("combobox", "Find a question"),
        ("button", "Advanced"),
        ("button", "Ask the"),
    )
    has_controls(same_page, controls)
    expect(same_page.get_by_role("button", name="Ask", exact=True)).to_be_visible()


def test_a_question_stands_ready_and_another_example_takes_its_place(trained: App, same_page: Page) -> None:
    page = same_page
    open_chat(page)
    box, examples = text_box(page, "question"), page.locator("#examples .gallery-item:visible")
    expect(box).not_to_have_value("")
    first = box.input_value()
    examples.last.click()
    expect(box).not_to_have_value(first)
    question = box.input_value()
    page.locator("#ask").click()
    expect(page.locator("#answers h3")).to_have_text(question)
    expect(page.locator("#answers .answer[data-side=tuned] .verdict")).to_be_visible()


def test_each_of_the_three_answers_names_its_way_and_its_source(trained: App, same_page: Page) -> None:
    page = same_page
    open_chat(page)
    page.locator("#ways input[name=extractive]").check()
    for question, says, sources in (
        ("is the palm sander red?", "value", 1),
        ("what does the torvald palm sander cost", "silent", 0),
        ("how much is the torvald belt sander", "unknown", 0),
    ):
        answered(page, question)
        for way in ("auto", "extractive"):
            told = page.locator(f"#answers .answer[data-side={way}]")
            expect(told).to_have_attribute("data-says", says)
            expect(told.locator(".source")).to_have_count(sources)
    page.locator("#ways input[name=extractive]").uncheck()


def test_a_pattern_is_tried_on_the_answers_as_it_is_typed(trained: App, same_page: Page) -> None:
    page = same_page
    open_chat(page)
    last = answered(page, f"What is {manifest(trained, page)['products'][0]['title']}?").inner_text().split()[-1]
    unfold(page, "pattern-panel")
    expect(page.locator("#built-in-pattern textarea")).not_to_have_value("")
    own = text_box(page, "own-pattern")
    own.fill(r"\S+$")
    own.blur()
    marked = page.locator("#answers .answer[data-side=tuned] mark")
    expect(marked).to_have_text(last)
    expect(page.locator("#finds")).to_contain_text(re.compile(r"\b2\b.*\b2\b"))
    own.fill("(")
    own.blur()
    expect(page.locator("#finds .problem")).to_be_visible()
    own.fill("")
    own.blur()
    expect(page.locator("#finds")).to_be_hidden()
    expect(marked).not_to_have_text(last)
    # An answer to the typing may come late, and puts the kind back.
    until_told(page.locator(f"#answers [data-kind='{UNKNOWN}']"), lambda: choose(page, "kind", kind_label(UNKNOWN)))


def test_a_question_is_found_by_a_part_of_its_product_s_title(trained: App, same_page: Page) -> None:
    page = same_page
    open_chat(page)
    product = manifest(trained, page)["products"][1]
    find = page.locator("#find input")
    find.click()
    find.press_sequentially(product["title"][:12])
    found = option(page, "find", product["title"])
    question = found.inner_text().split(" · ")[-1].strip()
    found.click()
    expect(page.locator("#about-product input")).to_have_value(product["title"])
    expect(text_box(page, "question")).to_have_value(question)


def test_a_question_too_long_or_empty_gets_a_sentence(trained: App, same_page: Page) -> None:
    page = same_page
    open_chat(page)
    ask(page, "why " * 2500)
    expect(page.locator("#chat-problem")).to_contain_text("ask it shorter")
    until_told(page.locator("#chat-problem", has_text="The question is empty"), lambda: ask(page, " "))


def test_the_newest_run_is_chosen_once_and_then_the_one_the_user_wants(trained: App, same_page: Page) -> None:
    page = same_page
    open_chat(page)
    old = run_folder(trained, page)
    new = Path(shutil.copytree(old, trained.home / "runs" / "29991231-235959"))
    try:
        (new / "settings.json").touch()
        open_tab(page, "training")
        open_chat(page)
        chosen = page.locator("#run input")
        expect(chosen).to_have_value(re.compile(new.name))
        choose(page, "run", old.name)
        expect(chosen).to_have_value(re.compile(old.name))
        open_tab(page, "training")
        open_chat(page)
        page.wait_for_timeout(2000)  # the refresh that must not choose again
        expect(chosen).to_have_value(re.compile(old.name))
    finally:
        shutil.rmtree(new)


def test_markup_in_a_question_and_in_a_title_is_text(trained: App, same_page: Page) -> None:
    page = same_page
    open_chat(page)
    markup = "<img src=x onerror=window.ranAway=1> ![x](http://192.0.2.1/x.png)"
    page.locator("#about-product input").fill("<script>window.ranAway=2</script>")
    page.locator("#about-product input").press("Enter")
    answered(page, f"What is {markup}?")
    expect(page.locator("#answers")).to_contain_text("<script>window.ranAway=2</script>")
    assert page.locator("#answers img, #answers script").count() == 0


def test_customers_questions_come_in_doubtful_first_and_one_is_put_right_and_taught(
    trained: App, same_page: Page
) -> None:
    page = same_page
    open_chat(page)
    page.locator("#customers > button").click()

    def upload(text: str) -> None:
        with page.expect_file_chooser() as chooser:
            page.locator("#customers-file").click()
        chooser.value.set_files([{"name": "asked.csv", "mimeType": "text/csv", "buffer": text.encode()}])

    upload("frage\nwie schwer ist es\n")
    expect(page.locator("#chat-problem")).to_contain_text("has no `question`, only frage")
    title = manifest(trained, page)["products"][0]["title"]
    markup = "<img src=x onerror=window.ranAway=5>"
    upload(f'question,title,answer\nis it {markup} loud?,"{title}",\nis it warm,"{title}",very warm\n')
    counted = page.locator("#customers-counts tr[data-way=auto] td")
    expect(counted.first).to_be_visible()
    expect(page.locator("#chat-problem")).to_be_hidden()
    expect(cell(page, "customer-questions", 0, 1)).to_contain_text("is it warm")  # known, and not answered so
    expect(cell(page, "customer-questions", 1, 1)).to_contain_text("<img src=x")
    detail = page.locator("#customer-detail")
    until_told(detail.locator("h3", has_text="loud?"), lambda: cell(page, "customer-questions", 1, 1).click())
    expect(detail.locator(".answer[data-side=auto]")).to_have_attribute("data-says", re.compile("."))
    answer = text_box(page, "teach-answer")

    def type_the_answer() -> None:
        answer.fill("Hardly.")
        answer.blur()

    page.locator("#teach-it").click()
    expect(page.locator("#teach-said .problem")).to_be_visible()  # without an answer
    until_told(page.locator("#teach-preview li").first, type_the_answer)
    page.locator("#teach-it").click()
    expect(page.locator("#teach-said .done")).to_contain_text("is answered “Hardly.” from now on. It trains in")
    expect(page.locator("#taught")).to_be_visible()
    upload(f'question,title\nIs it {markup} LOUD,"{title}"\n')
    expect(page.locator("#customers-counts")).to_contain_text("Of 1 you put the answer right")
    by_shop = detail.locator(".answer[data-side=auto] .by-shop")
    until_told(by_shop, lambda: cell(page, "customer-questions", 0, 1).click())
    expect(by_shop).to_have_text("answered by the shop")
    expect(detail.locator(".answer[data-side=auto] .said")).to_have_text("Hardly.")
    (kept,) = map(json.loads, (trained.home / "edits.jsonl").read_text(encoding="utf-8").splitlines())
    assert (kept["action"], kept["title"], kept["response"]) == ("teach", title, "Hardly.")
    assert "is it warm" not in (trained.home / "edits.jsonl").read_text(encoding="utf-8"), "nothing else is kept"
    assert not list((trained.home / "temporary").rglob("asked.csv"))
    (trained.home / "edits.jsonl").unlink()


def test_what_people_asked_is_answered_with_a_click_and_deleted_with_another(
    trained: App, same_page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHELFTALK_HOME", str(trained.home))
    page = same_page
    open_chat(page)
    title = manifest(trained, page)["products"][0]["title"]
    product = Product("1", title, "")
    for question, about in ((f"is the {title} loud", product), ("is it <b>warm</b>", None)):
        keep([Reply(question, About(question, about), Said("", "", "silent"), "auto", 0.5)], 7)
    page.reload()
    open_chat(page)
    page.locator("#customers > button").click()
    page.locator("#customers-asked").click()
    asked = page.locator("#customer-questions")
    expect(asked).to_contain_text(f"is the {title} loud")
    expect(asked).to_contain_text("is it <b>warm</b>")
    page.locator("#forget-asked").click()
    expect(page.locator("#customers-asked")).to_be_hidden()
    assert asked_questions() == []


def test_the_questions_before_and_after_are_counted_filtered_and_reported(trained: App, same_page: Page) -> None:
    page = same_page
    open_chat(page)
    page.locator("#run-questions").click()
    expect(page.locator("#summary [data-figure=tuned]")).to_be_visible(timeout=400_000)  # some 250 questions
    comparison = json.loads((run_folder(trained, page) / "comparison.json").read_text(encoding="utf-8"))
    summary = comparison["summary"]
    figure(page, "base", summary["base_right"], summary["total"])
    figure(page, "tuned", summary["tuned_right"], summary["total"])
    counted = counted_of(comparison, "questions")
    best = best_way(counted)
    expect(page.locator("#summary .which-way")).to_have_attribute("data-way", best.way if best else "")
    expect(page.locator("#comparison-plot .barlayer .trace")).to_have_count(4)
    expect(page.locator("#comparison-plot .ytick")).to_have_count(len(counted))
    tells(page, "questions-where", rows=summary["total"])
    detail = page.locator("#detail")
    first = page.locator("#detail", has_text=comparison["questions"][0]["question"])
    pick_first = cell(page, "questions", 0, 1).click
    until_told(first, pick_first)
    expect(detail.locator(".answer")).to_have_count(2)
    page.locator("#filter input[value=broken]").check()
    broken = sum(question["change"] == "broken" for question in comparison["questions"])
    tells(page, "questions-where", rows=broken)
    for name in ("report-html", "report-md"):
        with page.expect_download() as download:
            page.locator(f"#{name}").click()
        assert comparison["questions"][0]["title"] in Path(download.value.path()).read_text(encoding="utf-8")
    everything = json.loads((run_folder(trained, page) / "everything.json").read_text(encoding="utf-8"))["summary"]
    figure(page, "general", everything["general"]["kept"], everything["general"]["base_right"])
    expect(page.locator("#summary [data-figure=refused] b")).to_have_text(f"{everything['refused']:.0%}")
    unfold(page, "failures")
    expect(page.locator("#failures td").first).to_be_visible()
    page.reload()
    open_chat(page)
    figure(page, "tuned", summary["tuned_right"], summary["total"])

    # A question that is changed takes its old answers along, and what was frozen can be had back.
    until_told(first, pick_first)
    unfold(page, "editing")
    for name in ("question", "expected"):  # what the answer to the click fills, it may fill late
        expect(text_box(page, f"new-{name}")).to_have_value(comparison["questions"][0][name])
    text_box(page, "new-question").fill("Does it <img src=x onerror=window.ranAway=3> float?")
    text_box(page, "new-title").fill("Something that nobody sells")
    text_box(page, "new-expected").fill("Like a cork.")
    page.locator("#save-question").click()
    tells(page, "summary", state="changed")
    expect(cell(page, "questions", 0, 1)).to_contain_text("float?")
    expect(cell(page, "questions", 0, 6)).to_have_text(CHANGES["unasked"])
    until_told(detail.locator(".changed"), pick_first)
    page.locator("#restore-question").click()
    expect(cell(page, "questions", 0, 1)).to_contain_text(comparison["questions"][0]["question"])
    expect(page.locator("#summary [data-state=changed]")).to_have_count(0)


def test_hidden_sides_are_shown_once_there_is_a_vote_which_is_counted(trained: App, page: Page) -> None:
    open_chat(page)
    file = run_folder(trained, page) / "votes.jsonl"
    unfold(page, "advanced")
    page.locator("#blind input").check()
    ask(page, f"What is {manifest(trained, page)['products'][0]['title']}?")
    better = page.locator("#better-a")
    expect(better).to_be_visible()
    expect(page.locator("#answers .answer")).to_have_count(2)
    assert page.locator(f"#answers .verdict, #answers {SIDES}").count() == 0 and not file.exists()
    better.click()
    expect(page.locator(f"#answers {SIDES} .verdict")).to_have_count(2)
    expect(better).to_be_hidden()
    first = page.locator("#answers .answer").first.get_attribute("data-side")
    votes = page.locator(f"#score [data-votes-of={first}]")
    expect(votes).to_contain_text("1")
    (kept,) = map(json.loads, file.read_text(encoding="utf-8").splitlines())
    assert (kept["better"], kept["against"]) == (first, "base")
    page.reload()
    open_chat(page)
    expect(votes).to_contain_text("1")


@pytest.fixture
def another(trained: App) -> Iterator[Path]:
    """A copy of the run that the page shows, older, so that it is not the one that is chosen."""
    run = max((trained.home / "runs").glob("*/settings.json"), key=lambda file: file.stat().st_mtime).parent
    folder = Path(shutil.copytree(run, trained.home / "runs" / "20000101-000000"))
    os.utime(folder / "settings.json", (0, 0))
    yield folder
    shutil.rmtree(folder)


def test_another_run_answers_beside_this_one(trained: App, another: Path, page: Page) -> None:
    open_chat(page)
    unfold(page, "advanced")
    title = manifest(trained, page)["products"][0]["title"]

    def ask_beside_it() -> None:
        choose(page, "against", another.name)
        ask(page, f"What is {title}?")

    # What looks for new runs may come late, and puts the other side back.
    until_told(page.locator("#answers .answer[data-side=other]"), ask_beside_it)
    expect(page.locator(f"#answers {SIDES} .verdict")).to_have_count(2)
    expect(page.locator("#answers .answer[data-side=other]")).to_contain_text(another.name)
    sides = [page.locator(f"#answers .answer[data-side={side}] .said").inner_text() for side in ("other", "tuned")]
    assert sides[0] == sides[1]  # it is a copy


WATCH = """() => {
    window.seen = new Set();
    const look = () => {
        for (const said of document.querySelectorAll('#answers .answer[data-side=tuned] .said')) window.seen.add(said.innerText);
        const stop = document.querySelector('#stop-answer');  // may come after the first word
        if (window.stopSoon && window.seen.size && stop) { window.stopSoon = false; stop.click(); }
    };
    new MutationObserver(look).observe(document.body, {childList: true, subtree: true, characterData: true});
}"""


@pytest.fixture(scope="module")
def slow_run(slow_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that is slow to answer."""
    home = tmp_path_factory.mktemp("slow")
    return make_trained(App("", home), slow_base, general_share=0, max_steps=1, probes=0, per_device_train_batch_size=1)


@pytest.fixture
def slow(app: App, slow_run: Path) -> Iterator[App]:
    """The app whose newest run is slow to answer."""
    folder = Path(shutil.copytree(slow_run, app.home / "runs" / slow_run.name))
    (folder / "settings.json").touch()
    yield app
    shutil.rmtree(folder)


def test_answers_grow_before_the_eyes_and_those_without_a_model_are_there_first(slow: App, page: Page) -> None:
    open_chat(page)
    page.evaluate(WATCH)
    title = manifest(slow, page)["products"][0]["title"]
    page.locator("#ways input[name=base_open]").check()
    unfold(page, "advanced")
    page.locator("#longest-answer input[type=number]").fill("256")
    ask_after_unfolding(page, f"What is {title}?")
    expect(page.locator("#answers .answer[data-side=auto]")).to_have_attribute("data-says", re.compile("."))
    record = page.locator("#answers .answer[data-side=base_open]")
    assert record.locator(".verdict").count() == 0, "auto waits for no model"
    expect(page.locator("#answers .answer")).to_have_count(4)
    expect(record.locator(".verdict")).to_be_visible()
    expect(page.locator("#stop-answer")).to_be_hidden()
    assert page.evaluate("window.seen.size") >= 3


def test_a_page_whose_connection_is_cut_in_an_answer_comes_back_with_what_was_said(slow: App, page: Page) -> None:
    open_chat(page)
    titles = [product["title"] for product in manifest(slow, page)["products"][:2]]
    ask(page, f"What is {titles[0]}?")
    expect(page.locator("#answers .answer[data-side=tuned] .verdict")).to_be_visible()
    unfold(page, "advanced")
    page.locator("#longest-answer input[type=number]").fill("256")
    ask_after_unfolding(page, f"What is {titles[1]}?")
    expect(page.locator("#answers h3")).to_have_text(f"What is {titles[1]}?")
    expect(page.locator("#answers .answer[data-side=tuned] .said")).not_to_be_empty()
    page.evaluate("window.isOld = true")
    page.context.set_offline(True)
    page.wait_for_timeout(3000)  # more than one tick fails
    page.context.set_offline(False)
    page.wait_for_function("!window.isOld")  # Gradio opens the page anew
    open_chat(page)
    expect(page.locator("#answers h3")).to_have_text(f"What is {titles[1]}?")
    expect(page.locator("#answers .answer[data-side=tuned] .said")).not_to_be_empty()
    unfold(page, "earlier")
    expect(page.locator("#asked-before")).to_contain_text(f"What is {titles[0]}?")
    page.locator("#clear-asked").click()
    expect(page.locator("#asked-before")).to_be_hidden()
    page.reload()
    open_chat(page)
    expect(page.locator("#answers .answer")).to_have_count(0)


def test_an_answer_that_is_stopped_stays_and_the_next_one_comes(slow: App, page: Page) -> None:
    open_chat(page)
    page.evaluate(WATCH)
    unfold(page, "advanced")
    page.locator("#longest-answer input[type=number]").fill("256")
    page.evaluate("window.stopSoon = true")
    title = manifest(slow, page)["products"][0]["title"]
    ask_after_unfolding(page, f"What is {title}?")
    page.wait_for_function("window.stopSoon === false")
    expect(page.locator("#ask")).to_be_visible()
    tells(page, "answers", state="stopped")
    assert page.locator(f"#answers {SIDES} .verdict").count() == 0
    page.locator("#longest-answer input[type=number]").fill("8")
    ask(page, f"What is {title}?")
    expect(page.locator(f"#answers {SIDES} .verdict")).to_have_count(2)
