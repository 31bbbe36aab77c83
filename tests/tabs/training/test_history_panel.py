"""The runs there have been, compared, renamed, deleted and handed on by clicking, and several settings tried in a row."""

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from pipeline.catalogue.uploads import open_catalogue
from pipeline.dataset.build import build_dataset
from pipeline.dataset.settings import DatasetSettings
from pipeline.files import write_json
from pipeline.runs.events import append_event
from pipeline.runs.folder import PROCESS, read_settings
from pipeline.runs.manage import create_run
from pipeline.runs.queue import enqueue
from pipeline.runs.recipes import read_recipe
from pipeline.runs.settings import preset
from pipeline.runs.status import status
from pipeline.runs.view import RunView, forget, view_run
from tabs.training import history_view
from tabs.training.history_view import HistoryRows, differing, pulse
from tabs.training.plots import runs_figure, sweep_figure
from tabs.training.run_words import STATE_WORDS
from tabs.training.settings_form import TERMS
from tabs.training.sweep_panel import trial_rows
from tabs.ui.plots import MOST_POINTS
from tests.tabs.conftest import (
    PATIENCE,
    STEPPED,
    App,
    changed,
    click_row,
    end_trainings,
    make_trained,
    open_page,
    open_tab,
    option,
    run_row,
    start_app,
    tells,
    text_box,
    unfold,
    until_told,
)
from tests.tiny import tiny_settings

MARKUP = "<img src=x onerror=window.ranAway=1>"


# --- What the panel says, without a browser ---


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SHELFTALK_HOME", str(tmp_path))
    return tmp_path


def make_run(name: str, steps: int = 0, **changes: object) -> Path:
    dataset = build_dataset(open_catalogue(None), DatasetSettings(products=2))
    folder = create_run(dataset, preset("quick", **changes))
    folder = folder.rename(folder.with_name(name))
    for step in range(1, steps + 1):
        append_event(
            folder, "step", step=step, total=steps, loss=4.123456789 / step, tokens_per_second=250.0, memory_bytes=1
        )
    append_event(folder, "probe", step=steps, right=1, total=3, answers=[])
    return folder


def seen(*names: str) -> list[RunView]:
    return [view for name in names if (view := view_run(name))]


def test_a_run_that_begins_and_fails_between_two_looks_is_news(home: Path) -> None:
    """It trains at neither of them; the table that was filled between them says that it does."""
    folder = make_run("quick")
    before = pulse()
    write_json(folder / PROCESS, {"pid": 0, "started": 0.0})
    append_event(folder, "failed", message="There is no such base.")
    assert status(folder).state == "failed"
    assert pulse() != before


def test_only_a_shown_row_is_read_and_a_damaged_run_is_a_row_too(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        make_run(f"run {number}")
    (home / "runs" / "run 0" / "settings.json").write_text("{")
    read: list[str] = []
    monkeypatch.setattr(history_view, "view_run", lambda name: read.append(name) or view_run(name))
    rows = HistoryRows()
    assert len(rows) == 5 and read == []
    shown = rows[0:2]
    assert len(read) == 2 and [len(row) for row in shown] == [len(history_view.COLUMNS)] * 2
    assert next(row for row in rows[0:5] if row[0] == "run 0")[-1] == "✘ damaged"


def test_only_the_settings_that_differ_are_compared(home: Path) -> None:
    make_run("a", lora_r=8, packing=True)
    make_run("b", lora_r=32, base_model=MARKUP)
    rows = {row[0]: row[1:] for row in differing(seen("a", "b"))}
    assert rows["Size of the adapter (lora_r)"] == ["8", "32"]
    assert rows["Several examples in a row (packing)"] == ["yes", "no"]
    assert rows["Last recall check"] == ["33%", "33%"]
    assert "Seed (seed)" not in rows and set(rows) >= {"Base model (base_model)", "State"}


def test_six_long_runs_are_compared_in_less_than_50_kb(home: Path) -> None:
    names = [f"a run with a rather long name, number {n}".replace(",", "") for n in range(6)]
    for name in names:
        make_run(name, 10_000)
    figure = runs_figure(seen(*names))
    assert len(figure.to_json()) < 50_000
    assert [trace.name for trace in figure.data if trace.showlegend is not False] == names
    assert len({trace.line.color for trace in figure.data}) == 6
    assert all(len(trace.x) <= MOST_POINTS for trace in figure.data)
    assert figure.data[0].x[-1] == 10_000


def test_a_run_s_name_is_text_in_the_plot(home: Path) -> None:
    view = RunView(Path(MARKUP), preset("quick"), status(make_run("a")), [])
    assert "<img" not in str(runs_figure([view, view]).to_json())


def test_a_name_that_is_free_again_shows_the_run_that_has_it_now(home: Path) -> None:
    old = make_run("old", 3)
    assert len(seen("old")[0].steps) == 3
    old.rename(home / "runs" / "older")
    forget(old)
    make_run("new", 5).rename(old)
    assert len(seen("old")[0].steps) == 5


def test_a_sweep_s_cells_say_recall_or_state(home: Path) -> None:
    from pipeline.runs.sweep import start_sweep, sweeps

    dataset = build_dataset(open_catalogue(None), DatasetSettings(products=2))
    name = start_sweep(dataset, preset("quick"), {"learning_rate": [1e-3, 1e-4], "lora_r": [8]})
    first, second = sweeps()[name]
    append_event(first.folder, "probe", step=1, right=2, total=3, answers=[])
    append_event(first.folder, "finished")
    (second.folder / "settings.json").write_text("{")
    views = [view_run(trial.folder.name) for trial in (first, second)]
    heat = sweep_figure([first, second], views).data[0]
    assert (list(heat.x), list(heat.y)) == (["0.001", "0.0001"], ["8"])
    assert [list(row) for row in heat.z] == [[66.67, None]]
    assert heat.text[0][0] == "<b>67 %</b><br>2 of 3" and heat.text[0][1] == "✘ damaged"
    assert [row[-1] for row in trial_rows([first, second])] == ["✔ finished", "✘ damaged"]


# --- By clicking ---


@pytest.fixture(scope="module")
def finished(app: App, tiny_base: Path) -> Path:
    """A finished run of the tiny model in the app's home, and the dataset that it was trained on."""
    return make_trained(app, tiny_base, max_steps=4, probes=1)


@pytest.fixture
def training(finished: Path, same_page: Page) -> Page:
    """The training tab with the runs unfolded, where the last test left it."""
    open_training(same_page)
    return same_page


def open_training(page: Page) -> None:
    open_tab(page, "training")
    expect(page.locator("#plan [data-state]")).to_be_visible()
    if not page.locator("#runs").is_visible():
        unfold(page, "history")


def pick(page: Page, name: str) -> None:
    until_told(page.locator("#picked-about", has_text=name), lambda: click_row(run_row(page, name)))


def duplicate_as(page: Page, name: str, finished: Path) -> None:
    """Duplicate the run that has finished, and give the duplicate a name."""
    pick(page, finished.name)
    page.locator("#duplicate").click()
    tells(page, "ending", state="new")
    twin = page.locator("#run-headline [data-run]").get_attribute("data-run") or ""
    expect(page.locator("#picked-about")).to_contain_text(twin)
    rename(page, twin, name)
    expect(page.locator("#picked-about")).to_contain_text(name)


def rename(page: Page, old: str, name: str) -> None:
    page.locator("#rename").click()
    box = text_box(page, "new-name")
    expect(box).to_have_value(old)
    box.fill(name)
    page.locator("#rename-now").click()


def load(page: Page, file: Path) -> None:
    """Load settings from a file by the button."""
    with page.expect_file_chooser() as chooser:
        page.locator("#load-settings").click()
    chooser.value.set_files(file)


def test_a_run_is_duplicated_renamed_and_deleted_after_a_second_question(
    training: Page, app: App, finished: Path
) -> None:
    duplicate_as(training, "A twin of mine", finished)
    runs = app.home / "runs"
    twin = runs / "A twin of mine"
    assert not (twin / "events.jsonl").exists() and (twin / "dataset" / "train.jsonl").is_file()
    for name in ("../x", MARKUP):
        rename(training, "A twin of mine", name)
        expect(training.locator("#history-problem")).to_contain_text("only letters")
    assert twin.is_dir()
    training.locator("#delete").click()
    expect(training.locator("#what-is-lost")).to_contain_text(re.compile("A twin of mine.* (kB|MB)"))
    training.locator("#keep").click()
    expect(training.locator("#delete-now")).to_be_hidden()
    assert twin.is_dir()
    training.locator("#delete").click()
    training.locator("#delete-now").click()
    expect(run_row(training, "A twin of mine")).to_have_count(0)
    expect(training.locator("#picked-run")).to_be_hidden()
    assert not twin.exists() and not list(runs.glob(".*deleted*"))


def test_a_duplicate_put_into_the_queue_is_trained(training: Page, app: App, finished: Path) -> None:
    duplicate_as(training, "Started later", finished)
    training.locator("#enqueue").click()
    expect(run_row(training, "Started later")).to_contain_text(STATE_WORDS["finished"])
    assert (app.home / "runs" / "Started later" / "adapter").is_dir()


def test_two_runs_are_compared(training: Page, app: App, finished: Path) -> None:
    duplicate_as(training, "To be compared", finished)
    settings = app.home / "runs" / "To be compared" / "settings.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"lora_r": 24}))
    training.locator("#compare-runs input").click()
    for name in ("To be compared", finished.name):
        option(training, "compare-runs", name).click()
    expect(training.locator("#differences")).to_contain_text("(lora_r)")
    expect(training.locator("#differences")).not_to_contain_text("(seed)")
    expect(training.locator("#compare-plot")).to_contain_text("To be compared")
    pick(training, "To be compared")
    training.locator("#delete").click()
    training.locator("#delete-now").click()
    expect(training.locator("#compare-plot")).to_be_hidden()


def test_settings_are_exported_and_loaded_again(training: Page, finished: Path, tmp_path: Path) -> None:
    pick(training, finished.name)
    expect(training.locator("#command-line textarea")).to_have_value(
        re.compile(r"^python -m pipeline train --dataset ")
    )
    with training.expect_download() as download:
        training.locator("#export-settings").click()
    exported = tmp_path / download.value.suggested_filename
    download.value.save_as(exported)
    settings = read_settings(finished)
    assert exported.name == f"{finished.name}.yaml" and read_recipe(exported) == settings
    training.locator("#preset input[value=original]").check()
    expect(training.locator("#set-max_steps input[type=number]")).to_have_value("250")
    exported.write_text(exported.read_text() + "lora_alpha: 900\n")
    load(training, exported)
    expect(changed(training, "lora_alpha", 900)).to_be_visible()
    expect(training.locator("#set-max_steps input[type=number]")).to_have_value(str(settings.max_steps))
    expect(training.locator("#preset input[value=quick]")).to_be_checked()
    training.locator("#use-settings").click()
    expect(changed(training, "lora_alpha", 900)).to_have_count(0)
    exported.write_text(f"{MARKUP}: 1\n")
    load(training, exported)
    refused = training.locator("#training-problem")
    expect(refused).to_contain_text("is not a training setting")
    training.wait_for_timeout(1000)  # the plan is shown again, and says nothing of it
    expect(refused).to_contain_text("is not a training setting")


def test_a_sweep_goes_on_without_the_page_and_is_compared(
    training: Page, app: App, browser: Browser, tiny_base: Path
) -> None:
    file = app.home / "tiny.yaml"
    file.write_text(f"preset: quick\nbase_model: {tiny_base}\nmax_steps: 2\nprobes: 1\nquestions: 1\nprecision: fp32\n")
    load(training, file)
    expect(changed(training, "max_steps", 2)).to_be_visible()
    unfold(training, "sweep")
    values, others = text_box(training, "sweep-first-values"), text_box(training, "sweep-second-values")

    def type_a_word() -> None:
        values.fill("many")
        values.blur()

    until_told(training.locator("#sweep-problem .problem"), type_a_word)
    expect(training.locator("#sweep-problem")).to_contain_text("learning_rate is 'many'")
    values.fill("0.001, 0.01")
    others.fill("4")
    others.blur()
    expect(training.locator("#start-sweep")).to_contain_text(re.compile(r"\b2\b"))
    training.locator("#start-sweep").click()
    expect(run_row(training, "0.001", "sweep-runs")).to_be_visible()
    training.goto("about:blank")
    second = open_page(app, browser)
    open_training(second)
    unfold(second, "sweep")
    for value in ("0.001", "0.01"):
        tried = run_row(second, f"{TERMS['learning_rate']} {value}, {TERMS['lora_r']} 4", "sweep-runs")
        expect(tried).to_contain_text(STATE_WORDS["finished"])
    tells(second, "sweep-said", finished=2)
    expect(second.locator("#sweep-plot")).to_contain_text("%")
    expect(second.locator("#cancel-sweep")).to_be_disabled()
    click_row(run_row(second, f"{TERMS['lora_r']} 4", "sweep-runs"))
    expect(second.locator("#run-headline")).to_contain_text("learning_rate 0.01 lora_r 4")
    second.close()


def test_the_app_goes_on_with_its_queue_when_it_comes_up_and_a_cancelled_run_stays_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, browser: Browser, tiny_base: Path
) -> None:
    monkeypatch.setenv("SHELFTALK_HOME", str(tmp_path))
    dataset = build_dataset(open_catalogue(None), DatasetSettings(products=2))
    endless, waits = (
        create_run(dataset, tiny_settings(tiny_base, max_steps=n, probes=0), tmp_path / "runs" / name)
        for name, n in (("endless", 100_000), ("waiting", 2))
    )
    enqueue(endless)
    enqueue(waits)
    process, url = start_app(tmp_path)
    try:
        page = open_page(App(url, tmp_path), browser)
        open_tab(page, "training")
        unfold(page, "history")
        expect(run_row(page, waits.name)).to_contain_text(STATE_WORDS["queued"])
        expect(page.locator(STEPPED)).to_be_visible()
        tells(page, "pace", total=100_000)
        unfold(page, "sweep")
        page.locator("#cancel-sweep").click()
        expect(run_row(page, waits.name)).to_contain_text(STATE_WORDS["new"])
        page.locator("#stop").click()
        expect(run_row(page, endless.name)).to_contain_text(STATE_WORDS["stopped"])
        assert status(waits).state == "new"
        page.close()
    finally:
        process.terminate()
        process.wait(PATIENCE)
        end_trainings(tmp_path)
