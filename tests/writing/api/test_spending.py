"""Prices, the cap's arithmetic, and what the rest will cost."""

from dataclasses import replace

import pytest

from pipeline.writing.api import BATCH_FACTOR, DEFAULT_MODEL, OPENAI_URL, Price, WritingProgress, estimate, price_of
from pipeline.writing.api.spending import Ledger

PILOT = WritingProgress(
    done=5,
    total=5,
    workers=8,
    asked=6,
    reused=4,
    refused=0,
    failed=0,
    in_flight=0,
    limit=8,
    per_second=1,
    reply_seconds=2.0,
    seconds=3.0,
    seconds_left=0.0,
    spent=0.06,
    projected=0.06,
    worth=0.10,
    tokens_in=0,
    tokens_out=0,
    estimated=0,
    waiting="",
)


def test_a_price_is_known_for_openai_s_own_models_alone() -> None:
    assert price_of(DEFAULT_MODEL, OPENAI_URL) == Price(0.10, 0.50)
    assert price_of("gpt-4.1-mini-2025-04-14", OPENAI_URL + "/") == price_of("gpt-4.1-mini", OPENAI_URL)
    assert price_of("gpt-4o-2024-05-13", OPENAI_URL) == Price(5, 15) != price_of("gpt-4o", OPENAI_URL)
    for model, url in [
        ("gpt-3.5-turbo", OPENAI_URL),
        ("ft:gpt-4.1-mini:me", OPENAI_URL),
        (DEFAULT_MODEL, "http://localhost:8080/v1"),
        (DEFAULT_MODEL, "https://router.huggingface.co/v1"),
        (DEFAULT_MODEL, "https://api.openai.com.evil.example/v1"),
        (DEFAULT_MODEL, "https://evil.example/api.openai.com"),
        ("", ""),
    ]:
        assert price_of(model, url) is None


def test_the_ledger_reserves_before_it_spends() -> None:
    ledger = Ledger(Price(1, 10), cap=1.0)
    worst = ledger.worst(100_000, 40_000)
    assert worst == pytest.approx(0.5)
    assert ledger.fits(worst)
    ledger.reserved += worst
    assert ledger.fits(0.5)
    assert not ledger.fits(0.51)
    ledger.reserved -= worst
    ledger.pay(100_000, 10_000, False)
    assert ledger.spent == pytest.approx(0.2)
    ledger.perhaps += 0.3
    assert ledger.fits(0.5)
    assert not ledger.fits(0.51)
    assert Ledger(None).spent is None


def test_the_rest_is_estimated_by_the_pilot_s_replies() -> None:
    rest = estimate(PILOT, 100)
    assert rest.requests == 200
    assert rest.seconds == pytest.approx(200 * 2 / 8)
    assert rest.cost == pytest.approx(2.0)
    assert rest.batch_cost == pytest.approx(2.0 * BATCH_FACTOR)
    unknown = estimate(replace(PILOT, worth=None, spent=None), 100)
    assert unknown.cost is None
    assert unknown.batch_cost is None
    assert estimate(PILOT, 0).seconds == 0
