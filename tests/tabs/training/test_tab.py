"""The second tab: a real, small training, started, watched, reloaded and stopped by clicking."""

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.tabs.conftest import FEW_STEPS, App, change_setting, open_page, open_tab, set_slider, train_small


def wait_for_points(page: Page, number: int) -> None:
    """Until the loss curve that is on the page has so many."""
    page.wait_for_function(
        "n => (document.querySelector('#training-plot .js-plotly-plot')?.data?.[0]?.x?.length ?? 0) >= n", arg=number
    )


def test_a_preset_fills_the_sliders_and_the_plan_answers(same_page: Page) -> None:
    page = same_page
    open_tab(page, "1 Dataset")
    page.locator("#generate").click()
    expect(page.locator("#dataset-counts")).to_contain_text("products")
    open_tab(page, "2 Training")
    expect(page.locator("#plan")).to_contain_text("Will it learn?")
    page.get_by_label("The original experiment").check()
    expect(page.locator("#set-max_steps input[type=number]")).to_have_value("250")
    expect(page.locator("#plan")).to_contain_text("did not teach the small model any fact")
    page.get_by_label("Quick demo").check()
    expect(page.locator("#set-max_steps input[type=number]")).to_have_value("0")
    expect(page.locator("#plan")).not_to_contain_text("did not teach the small model any fact")


def test_settings_that_cannot_work_get_a_sentence(same_page: Page, trained: App) -> None:
    page = same_page
    open_tab(page, "2 Training")
    expect(page.locator("#plan")).to_contain_text("Will it learn?")
    page.get_by_label("Quick demo").check()
    set_slider(page, "set-num_train_epochs", 0)
    expect(page.locator("#training-problem")).to_contain_text("Steps and epochs are both 0")
    set_slider(page, "set-num_train_epochs", 1)
    expect(page.locator("#training-problem")).not_to_contain_text("Steps and epochs")


def test_without_a_store_no_run_goes_elsewhere_and_it_says_what_to_set(same_page: Page) -> None:
    page = same_page
    open_tab(page, "2 Training")
    page.get_by_role("button", name="Run elsewhere (Hugging Face Jobs)").click()
    expect(page.locator("#elsewhere-problem")).to_contain_text("set SHELFTALK_STORE to user/name, and HF_TOKEN")
    expect(page.locator("#elsewhere-cancel")).to_be_disabled()


def test_a_failed_run_says_why(same_page: Page, trained: App) -> None:
    page = same_page
    open_tab(page, "2 Training")
    expect(page.locator("#plan")).to_contain_text("Will it learn?")
    page.get_by_label("Base model").fill("/no/such/folder")
    page.get_by_label("Base model").press("Enter")
    page.locator("#start").click()
    expect(page.locator("#ending")).to_contain_text("There is no folder /no/such/folder")
    page.get_by_role("button", name=re.compile(r"^Runs \(")).click()
    expect(page.locator("#runs")).to_contain_text("✘ failed")
    page.locator("#runs").get_by_role("row").filter(has_text="✔ finished").last.get_by_role("gridcell").nth(2).click()
    expect(page.locator("#ending")).to_contain_text("Finished")


def test_a_run_is_watched_stopped_resumed_and_finishes_and_another_is_discarded(
    page: Page, app: App, browser: Browser, small_base: Path
) -> None:
    train_small(page, small_base)
    expect(page.locator("#stop")).to_be_enabled()
    expect(page.locator("#status")).to_contain_text("training")
    page.locator("#start").click()
    expect(page.locator("#training-problem")).to_contain_text("is still training; wait for it or stop it first")
    wait_for_points(page, 1)
    axes = page.evaluate("document.querySelector('#training-plot .js-plotly-plot').layout.xaxis.range")
    assert axes == pytest.approx([0, FEW_STEPS * 1.03])
    page.locator("#stop").click()
    expect(page.locator("#ending")).to_contain_text("Stopped as you asked")
    name = page.locator("#run-headline h3").inner_text().split()[1]
    folder = app.home / "runs" / name
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    assert events[-1]["type"] == "stopped" and 0 < events[-1]["steps"] < FEW_STEPS
    assert (folder / "adapter" / "adapter_model.safetensors").is_file()

    page.reload()
    open_tab(page, "2 Training")
    expect(page.locator("#ending")).to_contain_text("Stopped as you asked")
    wait_for_points(page, events[-1]["steps"])
    page.locator("#resume").click()
    expect(page.locator("#run-headline")).to_contain_text("training")
    second = open_page(app, browser)  # somebody else's window, which watches the same run
    open_tab(second, "2 Training")
    for window in (page, second):
        expect(window.locator("#ending")).to_contain_text("Finished")
        expect(window.locator("#pace")).to_contain_text(f"step {FEW_STEPS} of {FEW_STEPS}")
        wait_for_points(window, FEW_STEPS)
        steps = window.evaluate("document.querySelector('#training-plot .js-plotly-plot').data[0].x")
        assert list(steps) == list(range(1, FEW_STEPS + 1))  # no step is missing, none is there twice
        expect(window.locator("#stop")).to_be_disabled()
    expect(page.locator("#status")).to_contain_text("idle")
    page.get_by_label("Logarithmic loss axis").check()
    page.wait_for_function("document.querySelector('#training-plot .js-plotly-plot')?.layout?.yaxis?.type === 'log'")
    page.get_by_role("button", name="Learning rate, gradient norm, speed and memory").click()
    page.wait_for_function(
        "document.querySelectorAll('#details-plot .js-plotly-plot .scatterlayer .trace').length === 4"
    )
    page.get_by_role("button", name=re.compile("Last recall check")).click()
    expect(page.locator("#probe-answers")).to_contain_text("question")
    page.locator("#go-chat").click()
    expect(page.locator("#question")).to_be_visible()

    open_tab(page, "2 Training")
    change_setting(page, "set-max_steps", 500, "Fixed number of updates 500")
    page.locator("#start").click()
    expect(page.locator("#run-headline")).not_to_contain_text(name)
    expect(page.locator("#run-headline")).to_contain_text("training")
    name = page.locator("#run-headline h3").inner_text().split()[1]
    expect(second.locator("#run-headline")).to_contain_text(f"{name} ▶ training")
    page.locator("#discard").click()
    expect(page.locator("#discard-question")).to_contain_text(f"Discard run {name}? It is training now")
    page.locator("#discard-no").click()
    expect(page.locator("#discard-question")).to_be_hidden()
    page.locator("#discard").click()
    page.locator("#discard-yes").click()
    expect(page.locator("#run-headline")).not_to_contain_text(name)
    assert not (app.home / "runs" / name).exists()
    expect(page.locator("#status")).to_contain_text("idle")
    expect(second.locator("#run-headline")).not_to_contain_text(name)
    second.close()


def test_without_a_dataset_the_tab_says_where_to_make_one(browser: Browser, empty_app: App) -> None:
    page = open_page(empty_app, browser)
    open_tab(page, "2 Training")
    expect(page.get_by_text("There is no dataset yet. The first tab makes it")).to_be_visible()
    expect(page.locator("#start")).to_be_disabled()
    page.locator("#go-dataset").click()
    expect(page.locator("#generate")).to_be_visible()
    open_tab(page, "3 Chat and compare")
    expect(page.get_by_text("There is no trained model yet")).to_be_visible()
    page.locator("#back-to-training").click()
    expect(page.locator("#start")).to_be_visible()
    page.close()
