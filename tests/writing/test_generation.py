"""The job that writes with an API: pilot, estimate, the rest; stopped, killed, resumed; at once or as a batch."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.catalogue.catalogue import SAMPLE
from pipeline.dataset.settings import DatasetSettings
from pipeline.dataset.store import open_dataset
from pipeline.errors import GenerationError
from pipeline.files import PROJECT, datasets_dir
from pipeline.writing import generation
from pipeline.writing import steps as writing
from pipeline.writing.api import ApiSettings, Price
from pipeline.writing.generation import DONE, ESTIMATED, FAILED, RUNNING, STOPPED, WAITING, Look
from pipeline.writing.steps import Job
from tests.servers.api import KEY, MODEL, ApiServer, completion, failure

PATIENCE = 60


@pytest.fixture
def api(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiServer]:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setattr(generation, "BATCH_SECONDS", 0.05)
    with ApiServer() as server:
        yield server
        generation.stop()
        until(lambda: generation.look().state not in generation.UNDER_WAY)


def job(api: ApiServer, products: int = 9, **changes: Any) -> Job:
    name = writing.generator_name(MODEL, api.url)
    settings = DatasetSettings(products=products, generator=name)
    return Job(SAMPLE, settings, asking(api, **changes))


def asking(api: ApiServer, **changes: Any) -> ApiSettings:
    return ApiSettings(**{"model": MODEL, "base_url": api.url, "api_key": KEY} | changes)


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, generation.look()
        time.sleep(0.01)


def ended(*states: str) -> Look:
    until(lambda: generation.look().state in states)
    return generation.look()


def bodies(api: ApiServer) -> Counter[str]:
    return Counter(json.dumps(request["messages"]) for request in api.requests)


def test_a_pilot_estimates_and_the_rest_asks_only_for_what_is_missing(api: ApiServer) -> None:
    generation.start(job(api, price=Price(1.0, 2.0)))
    look = ended(ESTIMATED)
    assert look.progress["done"] == look.progress["total"] == 5 and len(api.requests) == 10
    assert look.estimate["products"] == 4 and look.estimate["requests"] == 8
    assert look.estimate["cost"] == pytest.approx(8 * 3e-6) and look.estimate["batch_cost"] == pytest.approx(4 * 3e-6)
    generation.go_on(asking(api))
    look = ended(DONE)
    assert max(bodies(api).values()) == 1 and len(api.requests) == 18
    assert open_dataset(datasets_dir() / look.dataset).counts["products"] == 9


def test_few_products_need_no_estimate_and_an_unknown_price_is_not_0(api: ApiServer) -> None:
    generation.start(job(api, products=3))
    assert ended(DONE).progress["spent"] is None


def test_a_stopped_job_goes_on_with_nothing_asked_twice(api: ApiServer) -> None:
    api.seconds = 0.05
    generation.start(job(api, products=30, workers=2), sure=True)
    until(lambda: len(api.requests) > 8)
    generation.stop()
    look = ended(STOPPED)
    assert "going on later asks only for the rest" in look.text
    generation.go_on(asking(api))
    ended(DONE)
    assert max(bodies(api).values()) == 1


def test_one_job_at_a_time(api: ApiServer) -> None:
    api.seconds = 0.2
    generation.start(job(api))
    with pytest.raises(GenerationError, match="being written already"):
        generation.start(job(api, products=3))
    generation.stop()
    ended(STOPPED, ESTIMATED)


def test_a_failure_is_a_sentence_and_can_be_gone_on_from(api: ApiServer) -> None:
    api.script.append(failure(401, f"Incorrect API key provided: {KEY}", "invalid_api_key"))
    generation.start(job(api, products=3))
    look = ended(FAILED)
    assert "does not accept the API key" in look.text and KEY not in look.text
    generation.go_on(asking(api))
    ended(DONE)


def test_a_cap_stops_cleanly_and_a_higher_one_goes_on(api: ApiServer) -> None:
    with pytest.raises(GenerationError, match=r"so a cap of 1\.00 USD cannot be kept"):
        generation.start(job(api, cap=1.0))
    generation.start(job(api, cap=0.0, price=Price(1.0, 1.0)))
    assert "cap" in ended(STOPPED).text and not api.requests
    generation.go_on(asking(api, cap=5.0, price=Price(1.0, 1.0)))
    assert ended(ESTIMATED).progress["spent"] > 0, "Without an estimate the pilot comes first."


def test_what_the_pilot_cost_counts_against_the_cap(api: ApiServer) -> None:
    price = Price(1_000.0, 1_000.0)
    generation.start(job(api, price=price))
    pilot = ended(ESTIMATED).progress["spent"]
    assert pilot == pytest.approx(10 * 2e-3)
    generation.go_on(asking(api, price=price, cap=pilot))
    look = ended(STOPPED)
    assert "cap" in look.text and len(api.requests) == 10
    generation.go_on(asking(api, price=price))
    assert ended(DONE).progress["spent"] == pytest.approx(18 * 2e-3)


def test_a_pilot_of_no_use_ends_before_the_rest_is_paid_for(api: ApiServer) -> None:
    api.script += [completion("Sure!")] * 20
    generation.start(job(api))
    assert "wrote nothing usable" in ended(FAILED, ESTIMATED).text


def test_a_key_goes_to_the_job_s_own_address_and_from_the_window_that_shows_it(api: ApiServer) -> None:
    generation.start(job(api))
    look = ended(ESTIMATED)
    with ApiServer() as other, pytest.raises(GenerationError, match="choose that model and address"):
        generation.go_on(asking(other))
    with pytest.raises(GenerationError, match="Another window has begun another job"):
        generation.go_on(asking(api), begun="another")
    generation.go_on(asking(api), begun=look.begun)
    ended(DONE)


def test_another_catalogue_of_that_name_is_not_paid_for_by_the_old_estimate(api: ApiServer, tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    file.write_bytes(SAMPLE.read_bytes())
    generation.start(dataclasses.replace(job(api), catalogue=file))
    ended(ESTIMATED)
    file.write_text(SAMPLE.read_text(encoding="utf-8").replace("lamp", "torch"), encoding="utf-8")
    generation.go_on(asking(api))
    assert "catalogue has changed since the estimate" in ended(FAILED, DONE).text


def test_what_another_catalogue_s_pilot_cost_does_not_count_against_the_cap(api: ApiServer, tmp_path: Path) -> None:
    price = Price(1000.0, 1000.0)
    generation.start(job(api, price=price))
    spent = ended(ESTIMATED).progress["spent"]
    file = tmp_path / "mine.json"
    file.write_text(SAMPLE.read_text(encoding="utf-8").replace("lamp", "torch"), encoding="utf-8")
    generation.start(dataclasses.replace(job(api, price=price, cap=1.2 * spent), catalogue=file))
    assert ended(ESTIMATED, STOPPED).state == ESTIMATED
    generation.start(job(api, price=price, cap=1.2 * spent))  # of the first again: its replies are there
    assert ended(ESTIMATED, STOPPED).state == ESTIMATED


def test_a_batch_is_sent_collected_and_built_from(api: ApiServer) -> None:
    generation.start(job(api, price=Price(1.0, 2.0)))
    ended(ESTIMATED)
    asked = len(api.requests)
    generation.go_on(asking(api), batch=True)
    look = ended(WAITING)
    assert look.job["batch"] and look.batch["requests"] == 4
    api.batches.at_once = True
    ended(DONE, FAILED)
    assert len(api.requests) == asked, "Nothing of a batch is asked for at once."
    dataset = open_dataset(datasets_dir() / generation.look().dataset)
    assert dataset.counts["products"] == 9 and dataset.counts["written_by_model"] > 9 * 15


def test_a_batch_can_be_left_alone_and_collected_later(api: ApiServer) -> None:
    generation.start(job(api), sure=False)
    ended(ESTIMATED)
    generation.go_on(asking(api), batch=True)
    ended(WAITING)
    with pytest.raises(GenerationError, match="A batch is at the API already"):
        generation.start(job(api), sure=True)
    generation.stop()
    assert "Left alone" in ended(STOPPED).text
    with pytest.raises(GenerationError, match="A batch is at the API already"):
        generation.start(job(api, products=12))
    sent = dict(api.batches.batches)
    api.batches.at_once = True
    generation.go_on(asking(api))
    assert ended(DONE, FAILED).state == DONE
    first = [generation.look().batch["requests"], len(api.batches.answered)]
    assert len(sent) == 1 and first == [8, 8], "The batch that was left alone is not sent again."


def test_a_batch_that_is_called_off_keeps_what_it_had_written(api: ApiServer) -> None:
    generation.start(job(api))
    ended(ESTIMATED)
    generation.go_on(asking(api), batch=True)
    ended(WAITING)
    generation.call_off(asking(api))
    api.batches.finish(next(iter(api.batches.batches)), "cancelled", count=2)
    assert "cancelled" in ended(STOPPED, FAILED, DONE).text
    assert not writing.batch_file(job(api)).exists()


CHILD = """
import sys
from tests.writing.test_generation import *
from pipeline.writing import generation
class At: url = sys.argv[1]
generation.start(job(At, products=40, workers=4), sure=True)
generation._thread.join()
"""


def test_a_killed_process_s_job_is_gone_on_with_by_another(api: ApiServer, home: Path) -> None:
    api.seconds = 0.1
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, api.url], cwd=PROJECT, env={**os.environ, "SHELFTALK_HOME": str(home)}
    )
    until(lambda: len(api.requests) > 20)
    assert generation.look().state == RUNNING, "Another process's job is seen."
    with pytest.raises(GenerationError, match="being written already"):
        generation.start(job(api, products=3))
    child.send_signal(signal.SIGKILL)
    child.wait(PATIENCE)
    look = generation.look()
    assert look.state == STOPPED and "asks only for what is missing" in look.text
    generation.go_on(asking(api))
    ended(DONE)
    again = [n for n in bodies(api).values() if n > 1]
    assert len(again) <= 4, "Only what was under way when it was killed is asked for again."


def test_the_key_is_in_no_file_and_a_damaged_note_is_no_job(api: ApiServer, home: Path) -> None:
    generation.start(job(api))
    ended(ESTIMATED)
    assert not [p for p in home.rglob("*") if p.is_file() and KEY.encode() in p.read_bytes()]
    generation._thread.join()  # type: ignore[union-attr]
    generation.job_file().write_text('{"state": "runn')
    assert generation.look() == Look()
    with pytest.raises(GenerationError, match="nothing to go on with"):
        generation.go_on(asking(api))


@pytest.mark.parametrize(
    ("url", "typed", "key"),
    [
        ("https://api.openai.com/v1/", "", "sk-env"),
        ("https://api.openai.com.evil.example/v1", "", ""),
        ("https://router.huggingface.co/v1", " hf_typed ", "hf_typed"),
        ("http://localhost:8080/v1", "", writing.NO_KEY),
        ("http://localhost.evil.example/v1", "", ""),
    ],
)
def test_the_environment_s_key_goes_to_its_own_api_alone(
    url: str, typed: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-env")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    assert writing.key_for(url, typed) == key
