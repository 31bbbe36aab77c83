"""The app on a ZeroGPU Space: the real package `spaces`, its forked workers, and a local server that lends the GPU."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Browser, expect

from pipeline.runs.folder import run_dataset
from tests.servers.zero_gpu import ZeroServer
from tests.tabs.conftest import PATIENCE, App, client_of, open_page, open_tab, start_app, tells
from tests.tabs.test_app import run


@dataclass
class Zero:
    """The app, the server that lends it a GPU, and the app's process."""

    app: App
    server: ZeroServer
    process: int
    run: Path


@pytest.fixture(scope="module")
def zero(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zero]:
    home = tmp_path_factory.mktemp("zero")
    for kind, folder in (("runs", finished_run), ("datasets", finished_run / "dataset")):
        shutil.copytree(folder, home / kind / "tiny")
    (home / "cgroup").write_text("0::/zero\n")
    with ZeroServer() as server:
        process, url = start_app(
            home,
            "-m",
            "tests.servers.zero_gpu_app",
            SPACES_ZERO_GPU="true",
            SPACES_ZERO_DEVICE_API_URL=server.origin,
            ZEROGPU_PROC_SELF_CGROUP_PATH=str(home / "cgroup"),
        )
        yield Zero(App(url, home), server, process.pid, home / "runs" / "tiny")
        process.terminate()
        process.wait(PATIENCE)


def test_both_sides_answer_from_a_worker_process(zero: Zero) -> None:
    client = client_of(zero.app.url)
    product = run_dataset(zero.run).manifest["products"][0]
    found = client.predict(question=f"What is {product['title']}?", api_name="/ask")
    assert found["title"] == product["title"]
    assert all(isinstance(found[side]["raw"], str) for side in ("base", "tuned"))
    assert zero.server.named("startup-report"), "The Space has told nobody that it borrows a GPU."
    lent = zero.server.named("schedule")[-1]
    assert int(lent["durationSeconds"]) == 60
    worker = int(zero.server.named("allow")[-1]["pid"])
    assert worker != zero.process and worker != os.getpid()
    assert zero.server.named("release")[-1]["fail"] == "false"


def test_the_answers_of_a_worker_are_those_of_any_other_machine(zero: Zero, home: Path) -> None:
    from tabs.chat import asking

    (home / "runs").mkdir(parents=True)
    (home / "runs" / "tiny").symlink_to(zero.run.resolve())
    question = "How large is the Brindlewick Kite?"
    there = client_of(zero.app.url).predict(question=question, api_name="/ask")
    here = asking.ask(question)
    assert {side: there[side] for side in ("base", "tuned")} == {side: here[side] for side in ("base", "tuned")}


def test_the_questions_before_and_after_are_asked_there_too(zero: Zero) -> None:
    comparison = client_of(zero.app.url).predict(api_name="/compare")
    assert comparison["summary"]["total"] == len(comparison["questions"]) > 0
    assert int(zero.server.named("schedule")[-1]["durationSeconds"]) == 120
    assert (zero.run / "report.html").is_file()


def test_a_problem_in_the_worker_is_told_with_its_own_sentence(zero: Zero) -> None:
    weights = zero.run.resolve() / "adapter" / "adapter_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:100])
    os.utime(weights.parent)  # another adapter than the one that the worker keeps
    try:
        with pytest.raises(Exception, match="is broken or does not fit"):
            client_of(zero.app.url).predict(question="What is it?", api_name="/ask")
    finally:
        weights.write_bytes(whole)
        os.utime(weights.parent)


def test_where_no_gpu_is_to_be_had_a_sentence_says_so(zero: Zero) -> None:
    zero.server.free = False
    try:
        with pytest.raises(Exception, match=r"ZeroGPU gave no answer \(No GPU was available\); try again in a minute"):
            client_of(zero.app.url).predict(question="What is it?", api_name="/ask")
    finally:
        zero.server.free = True


def test_the_page_answers_and_says_that_it_cannot_train(zero: Zero, browser: Browser) -> None:
    page = open_page(zero.app, browser)
    expect(page.locator("#status")).to_contain_text("ZeroGPU")
    open_tab(page, "training")
    tells(page, "plan", state="not-here")
    expect(page.locator("#plan")).to_contain_text("l4x1")
    expect(page.locator("#start")).to_be_disabled()
    open_tab(page, "chat")
    page.locator("#question textarea").fill("How large is the Brindlewick Kite?")
    page.locator("#ask").click()
    expect(page.locator("#answers .answer")).to_have_count(
        3
    )  # the base, the tuned model, and auto, which needs neither
    expect(page.locator("#ask")).to_be_visible()
    page.close()


@pytest.mark.parametrize("endpoint", ["/start_training", "/start_sweep", "/resume_training"])
def test_nothing_can_be_trained_through_the_api(endpoint: str, zero: Zero) -> None:
    arguments = {"setting": "seed", "values": "1, 2"} if endpoint == "/start_sweep" else {}
    with pytest.raises(Exception, match="lends a GPU for seconds"):
        client_of(zero.app.url).predict(**arguments, api_name=endpoint)
    assert [child for child in psutil.Process(zero.process).children() if "train" in " ".join(child.cmdline())] == []


def test_the_command_line_does_not_train_there_either(tmp_path: Path) -> None:
    done = run(
        ["-m", "pipeline", "demo", "--out", str(tmp_path / "run")], SPACES_ZERO_GPU="true", SHELFTALK_HOME=str(tmp_path)
    )
    assert done.returncode == 2 and "lends a GPU for seconds" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()
