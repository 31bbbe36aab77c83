"""Jobs through the Batch API: real HTTP, steps that are cut off anywhere, and batches that end in every way."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.catalogue.catalogue import Product
from pipeline.errors import GenerationError
from pipeline.writing.api import (
    ApiSettings,
    Ask,
    BatchStatus,
    Price,
    UnusableReply,
    advance,
    batches,
    cancel,
    work_through,
)
from tests.servers.api import KEY, MODEL, ApiServer
from tests.writing.api.test_run import echo, expected, once, products, twice

CREATE = "POST /batches"


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.fixture
def api(home: Path) -> Iterator[ApiServer]:
    with ApiServer(echo) as server:
        yield server


@pytest.fixture
def state(home: Path) -> Path:
    return home / "jobs" / "batches.json"


def settings(api: ApiServer, **changed: Any) -> ApiSettings:
    return ApiSettings(**{"model": MODEL, "base_url": api.url, "api_key": KEY, **changed})


def step(api: ApiServer, state: Path, count: int = 4, paid: float = 0.0, **changed: Any) -> BatchStatus:
    return advance(products(count), twice, settings(api, **changed), state, paid)


def results(api: ApiServer, count: int = 4) -> list[list[str]]:
    """From the journal alone."""
    before = len(api.requests)
    found = work_through(products(count), twice, settings(api, api_key=""))
    assert len(api.requests) == before
    return found


def test_a_job_goes_through_its_rounds(api: ApiServer, state: Path) -> None:
    first = step(api, state, price=Price(1_000_000, 1_000_000))
    assert (first.state, first.requests, first.batches, first.message) == ("open", 4, 1, "the API says: validating")
    assert step(api, state).state == "open"
    api.batches.finish("batch_0")
    ended = step(api, state, price=Price(1_000_000, 1_000_000))
    assert (ended.state, ended.completed, ended.batches) == ("open", 4, 0)
    assert ended.spent == pytest.approx(4 * 2 * 0.5)  # a token in and one out, at half the price
    second = step(api, state)
    assert (second.requests, second.batches, second.spent) == (8, 1, None)
    api.batches.finish("batch_1")
    step(api, state)
    done = step(api, state)
    assert (done.state, done.completed, done.failed) == ("done", 8, 0)
    assert results(api) == expected(4)
    assert api.requests == []
    assert len(set(api.batches.answered)) == len(api.batches.answered) == 8
    assert KEY not in state.read_text()
    body = json.loads(api.batches.files["file-0"].splitlines()[0])
    assert (body["method"], body["url"], body["body"]["model"]) == ("POST", "/v1/chat/completions", MODEL)


def test_what_the_journal_has_is_not_sent(api: ApiServer, state: Path) -> None:
    work_through(products(2), twice, settings(api))
    assert step(api, state, count=4).requests == 2
    assert step(api, state.with_name("other.json"), count=2).state == "done"


def test_a_large_job_is_several_files(api: ApiServer, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "MAX_REQUESTS", 3)
    assert step(api, state, count=8).batches == 3
    monkeypatch.setattr(batches, "MAX_FILE_BYTES", 1500)
    assert step(api, state.with_name("other.json"), count=8).batches == 4
    sizes = [len(data) for data in api.batches.files.values()]
    assert max(sizes[3:]) <= 1500
    for name in ("batch_0", "batch_1", "batch_2"):
        api.batches.finish(name)
    assert step(api, state, count=8).completed == 8


CALLS = ["POST /files", CREATE, "GET /batches", "GET /batches/batch_0", "GET /files/file-1/content"]


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("call", CALLS)
def test_killed_around_any_call_nothing_is_paid_twice(
    api: ApiServer, state: Path, call: str, late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before a call has its effect, or after it and before it can be noted."""
    api.batches.at_once = True
    fatal = [call]

    def die(now: str) -> None:
        if now in fatal:
            fatal.remove(now)
            monkeypatch.setattr(batches._Job, "_note", dead)
            raise ConnectionError

    def dead(job: object) -> None:
        raise Killed

    note = batches._Job._note
    if late:
        api.batches.after = die
    else:
        api.batches.before = die
    for _ in range(6):
        try:
            done = step(api, state)
        except (Killed, GenerationError):
            pass
        else:
            if done.state == "done":
                break
        monkeypatch.setattr(batches._Job, "_note", note)
    assert fatal == []
    assert done.state == "done"
    assert results(api) == expected(4)
    assert len(set(api.batches.answered)) == len(api.batches.answered) == 8


def test_a_batch_that_was_made_and_not_noted_is_found_on_any_page(api: ApiServer, state: Path) -> None:
    for _ in range(230):  # other people's batches
        api.batches.batches[f"other_{len(api.batches.batches)}"] = {
            "id": f"other_{len(api.batches.batches)}",
            "status": "completed",
        }

    def lose(call: str) -> None:
        api.batches.after = lambda call: None
        raise ConnectionError

    api.batches.after = lambda call: lose(call) if call == CREATE else None
    with pytest.raises(GenerationError, match="cannot be reached"):
        step(api, state)
    made = len(api.batches.batches)
    for _ in range(230):
        api.batches.batches[f"later_{len(api.batches.batches)}"] = {
            "id": f"later_{len(api.batches.batches)}",
            "status": "failed",
        }
    assert step(api, state).batches == 1
    assert api.batches.calls.count(CREATE) == 1
    assert len(api.batches.batches) == made + 230


@pytest.mark.parametrize("status", ["expired", "completed"])
def test_what_a_partial_batch_has_is_kept_and_the_rest_sent_again(api: ApiServer, state: Path, status: str) -> None:
    step(api, state)
    api.batches.finish("batch_0", status, count=3)
    step(api, state)
    again = step(api, state)
    # The missing one, and the second calls of those that have arrived.
    assert again.requests == 4 + 4
    api.batches.finish("batch_1")
    step(api, state)
    api.batches.at_once = True
    for _ in range(3):
        last = step(api, state)
    assert last.state == "done"
    assert results(api) == expected(4)


def test_a_request_that_fails_is_sent_in_three_batches_at_most(api: ApiServer, state: Path) -> None:
    for round in range(3):
        advance(products(2), once, settings(api), state)
        place = 1 if round == 0 else 0
        api.batches.finish(f"batch_{round}", errors={place: 500})
        advance(products(2), once, settings(api), state)
    with pytest.raises(GenerationError, match="gave no reply to 1 requests in 3 batches each"):
        advance(products(2), once, settings(api), state)
    assert len(api.batches.batches) == 3


def test_a_refused_batch_is_a_sentence_without_the_key(api: ApiServer, state: Path) -> None:
    step(api, state)
    api.batches.refuse("batch_0", f"Enqueued token limit reached\nfor {KEY}.")
    with pytest.raises(GenerationError, match=r"refuses the batch: Enqueued token limit reached for …; what") as caught:
        step(api, state)
    assert KEY not in str(caught.value)
    assert step(api, state).batches == 1
    assert api.batches.calls.count(CREATE) == 2


def test_cancelling_keeps_what_has_arrived(api: ApiServer, state: Path) -> None:
    step(api, state)
    assert cancel(settings(api), state).state == "open"
    assert api.batches.batches["batch_0"]["status"] == "cancelling"
    assert step(api, state).state == "open"
    api.batches.finish("batch_0", "cancelled", count=2)
    for _ in range(2):
        ended = step(api, state)
        assert (ended.state, ended.completed) == ("cancelled", 2)
    state.unlink()
    assert step(api, state).requests == 4  # two missing, and two second calls


def test_cancelling_before_anything_is_sent(api: ApiServer, state: Path) -> None:
    assert cancel(settings(api), state).state == "cancelled"
    assert step(api, state).state == "cancelled"
    assert api.batches.batches == {}


def test_the_cap_holds_for_batches(api: ApiServer, state: Path) -> None:
    price = Price(0, 10_000)  # 100 tokens at most cost 1 USD, and half of it in a batch
    with pytest.raises(GenerationError, match=r"4 requests can cost up to 2\.00 USD .* the cap is 1\.90 USD"):
        step(api, state, price=price, cap=1.9)
    assert api.batches.batches == {}
    assert step(api, state, price=price, cap=2.1).batches == 1
    with pytest.raises(GenerationError, match="is unknown"):
        step(api, state, cap=1.0)


def test_what_was_paid_before_the_first_batch_counts_against_the_cap_of_every_round(
    api: ApiServer, state: Path
) -> None:
    price = Price(0, 10_000)  # at most 2 USD a round
    with pytest.raises(GenerationError, match=r"1\.00 USD are spent, and the cap is 2\.90 USD"):
        step(api, state, paid=1.0, price=price, cap=2.9)
    assert step(api, state, paid=1.0, price=price, cap=3.1).paid == 1.0
    api.batches.finish("batch_0")
    step(api, state, price=price, cap=2.9)  # a later call, which does not know of it
    with pytest.raises(GenerationError, match=r"are spent, and the cap is 2\.90 USD"):
        step(api, state, price=price, cap=2.9)


def test_hostile_lines_cost_no_other_request_its_reply(api: ApiServer, state: Path) -> None:
    step(api, state)
    api.batches.finish("batch_0")
    output = api.batches.batches["batch_0"]["output_file_id"]
    strange = [
        b"",
        b"no JSON",
        b"[]",
        b'{"custom_id": "of nobody", "response": {"status_code": 200, "body": {}}}',
        b"\xff",
    ]
    api.batches.files[output] = b"\n".join(strange) + b"\n" + api.batches.files[output]
    step(api, state)
    api.batches.at_once = True
    step(api, state)
    assert step(api, state).state == "done"
    assert results(api) == expected(4)


def test_useless_replies_count_as_replies(api: ApiServer, state: Path) -> None:
    async def write(product: Product, ask: Ask) -> str:
        try:
            return " ".join(await once(product, ask))
        except UnusableReply as unusable:
            return unusable.reason

    api.reply_to = lambda request: "no JSON"
    api.batches.at_once = True
    advance(products(2), write, settings(api), state)
    assert advance(products(2), write, settings(api), state).state == "done"
    assert len(api.batches.batches) == 1


def test_a_state_of_another_job_is_not_mixed_in(api: ApiServer, state: Path) -> None:
    step(api, state)
    with pytest.raises(GenerationError, match=f"is the state of a batch job of {MODEL}"):
        step(api, state, model="another")
    state.write_text("{")
    with pytest.raises(GenerationError, match="cannot be read as the state of a batch job"):
        step(api, state)


def test_a_server_without_batches_says_so(api: ApiServer, state: Path) -> None:
    with pytest.raises(GenerationError, match="has no Batch API"):
        advance(products(1), once, settings(api, base_url=api.url + "/deeper"), state)
