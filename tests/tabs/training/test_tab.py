"""The second tab: a real, small training, started, watched, reloaded and stopped by clicking."""

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from pipeline.models.embedded import EMBEDDED
from pipeline.models.family import CAUSAL
from pipeline.runs.settings import QUICK
from tabs.training.run_words import STATE_WORDS
from tests.tabs.conftest import (
    FEW_STEPS,
    GROUP_OF,
    App,
    cell,
    change_setting,
    choose_base,
    click_row,
    has_controls,
    open_page,
    open_tab,
    run_row,
    set_slider,
    tells,
    train_small,
    unfold,
    until_told,
)


def shown_run(page: Page) -> str:
    return page.locator("#run-headline [data-run]").get_attribute("data-run") or ""


def wait_for_points(page: Page, number: int) -> None:
    """Until the loss curve that is on the page has so many."""
    page.wait_for_function(
        "n => (document.querySelector('#training-plot .js-plotly-plot')?.data?.[0]?.x?.length ?? 0) >= n", arg=number
    )


def test_a_preset_fills_the_sliders_and_the_plan_answers(same_page: Page) -> None:
    page = same_page
    open_tab(page, "dataset")
    page.locator("#generate").click()
    expect(page.locator("#dataset-counts [data-products]")).to_be_visible()
    open_tab(page, "training")
    expect(page.locator("#plan [data-state]")).to_be_visible()
    advised = page.locator("#plan [data-advised=learning_rate]")
    page.locator("#preset input[value=original]").check()
    expect(page.locator("#set-max_steps input[type=number]")).to_have_value("250")
    tells(page, "plan", state="wrong")
    expect(advised).to_be_visible()
    page.locator("#preset input[value=quick]").check()
    expect(page.locator("#set-max_steps input[type=number]")).to_have_value("0")
    expect(advised).to_have_count(0)
    unfold(page, GROUP_OF["set-learning_rate"])
    rate = page.locator("#set-learning_rate input[type=number]")
    choose_base(page, "google/gemma-3-270m")  # its rate comes along, and goes
    expect(rate).to_have_value(str(CAUSAL.quick_rate))
    choose_base(page, EMBEDDED)
    expect(rate).to_have_value(str(QUICK.learning_rate))


def test_the_main_controls_have_roles_and_names(same_page: Page) -> None:
    open_tab(same_page, "training")
    controls = (
        ("tab", "2 Training"),
        ("radio", "Quick demo"),
        ("combobox", "Base model"),
        ("spinbutton", "Fixed number of updates"),
        ("button", "Start training"),
        ("button", "Stop and keep"),
        ("button", "Try several settings"),
    )
    has_controls(same_page, controls)


def test_settings_that_cannot_work_get_a_sentence(same_page: Page, trained: App) -> None:
    page = same_page
    open_tab(page, "training")
    expect(page.locator("#plan [data-state]")).to_be_visible()
    page.locator("#preset input[value=quick]").check()
    both = page.locator("#training-problem .problem", has_text="both 0")
    until_told(both, lambda: set_slider(page, "set-num_train_epochs", 0))
    set_slider(page, "set-num_train_epochs", 1)
    expect(page.locator("#training-problem .problem")).to_have_count(0)


def test_without_a_store_no_run_goes_elsewhere_and_it_says_what_to_set(same_page: Page) -> None:
    page = same_page
    open_tab(page, "training")
    unfold(page, "elsewhere")
    expect(page.locator("#elsewhere-problem")).to_contain_text(re.compile("SHELFTALK_STORE.*HF_TOKEN"))
    expect(page.locator("#elsewhere-cancel")).to_be_disabled()


def test_a_failed_run_says_why(same_page: Page, trained: App) -> None:
    page = same_page
    open_tab(page, "training")
    expect(page.locator("#plan [data-state]")).to_be_visible()
    choose_base(page, "/no/such/folder")
    page.locator("#start").click()
    tells(page, "ending", state="failed")
    expect(page.locator("#ending [data-state]")).to_contain_text("/no/such/folder")
    unfold(page, "history")
    expect(page.locator("#runs")).to_contain_text(STATE_WORDS["failed"])
    finished = run_row(page, STATE_WORDS["finished"])
    until_told(page.locator("#ending [data-state=finished]"), lambda: click_row(finished))


def test_a_run_is_watched_stopped_resumed_and_finishes_and_another_is_discarded(
    page: Page, app: App, browser: Browser, small_base: Path
) -> None:
    train_small(page, small_base)
    expect(page.locator("#stop")).to_be_enabled()
    tells(page, "status", state="training")
    page.locator("#start").click()
    expect(page.locator("#training-problem")).to_contain_text("still training")
    wait_for_points(page, 1)
    axes = page.evaluate("document.querySelector('#training-plot .js-plotly-plot').layout.xaxis.range")
    assert axes == pytest.approx([0, FEW_STEPS * 1.03])
    page.locator("#stop").click()
    tells(page, "ending", state="stopped")
    name = shown_run(page)
    folder = app.home / "runs" / name
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    assert events[-1]["type"] == "stopped" and 0 < events[-1]["steps"] < FEW_STEPS
    assert (folder / "adapter" / "adapter_model.safetensors").is_file()

    page.reload()
    open_tab(page, "training")
    tells(page, "ending", state="stopped")
    wait_for_points(page, events[-1]["steps"])
    page.locator("#resume").click()
    tells(page, "run-headline", state="running")
    second = open_page(app, browser)  # somebody else's window, which watches the same run
    open_tab(second, "training")
    for window in (page, second):
        tells(window, "ending", state="finished")
        tells(window, "pace", step=FEW_STEPS, total=FEW_STEPS)
        wait_for_points(window, FEW_STEPS)
        steps = window.evaluate("document.querySelector('#training-plot .js-plotly-plot').data[0].x")
        assert list(steps) == list(range(1, FEW_STEPS + 1))  # no step is missing, none is there twice
        expect(window.locator("#stop")).to_be_disabled()
    tells(page, "status", state="idle")
    page.locator("#log-axis input").check()
    page.wait_for_function("document.querySelector('#training-plot .js-plotly-plot')?.layout?.yaxis?.type === 'log'")
    unfold(page, "run-details")
    page.wait_for_function(
        "document.querySelectorAll('#details-plot .js-plotly-plot .scatterlayer .trace').length === 4"
    )
    unfold(page, "last-check")
    expect(cell(page, "probe-answers", 0, 2)).not_to_be_empty()
    page.locator("#go-chat").click()
    expect(page.locator("#question")).to_be_visible()

    open_tab(page, "training")
    change_setting(page, "max_steps", 500)
    page.locator("#start").click()
    expect(page.locator("#run-headline")).not_to_contain_text(name)
    tells(page, "run-headline", state="running")
    name = shown_run(page)
    tells(second, "run-headline", run=name, state="running")
    page.locator("#discard").click()
    tells(page, "discard-question", state="running")
    expect(page.locator("#discard-question")).to_contain_text(name)
    page.locator("#discard-no").click()
    expect(page.locator("#discard-question")).to_be_hidden()
    page.locator("#discard").click()
    page.locator("#discard-yes").click()
    expect(page.locator("#run-headline")).not_to_contain_text(name)
    assert not (app.home / "runs" / name).exists()
    tells(page, "status", state="idle")
    expect(second.locator("#run-headline")).not_to_contain_text(name)
    second.close()


def test_without_a_dataset_the_tab_says_where_to_make_one(browser: Browser, empty_app: App) -> None:
    page = open_page(empty_app, browser)
    open_tab(page, "training")
    expect(page.locator("#training-missing")).to_be_visible()
    expect(page.locator("#start")).to_be_disabled()
    page.locator("#go-dataset").click()
    expect(page.locator("#generate")).to_be_visible()
    open_tab(page, "chat")
    expect(page.locator("#why-no-chat")).to_be_visible()
    page.locator("#back-to-training").click()
    expect(page.locator("#start")).to_be_visible()
    page.close()
