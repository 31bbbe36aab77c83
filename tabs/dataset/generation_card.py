"""What a generation job looks like: progress, speed, cost, estimate and ending, as safe HTML."""

from typing import Any

from markupsafe import Markup

from pipeline.writing import generation
from pipeline.writing.api import PRICES_READ, Price, price_of
from pipeline.writing.generation import Look
from pipeline.writing.steps import PILOT_PRODUCTS
from tabs.ui.events import open_to_all
from tabs.ui.text import count, duration, html, html_of, notice, progress_bar

UNKNOWN = "unknown"
PRICES = f"as published in {PRICES_READ}"


def money(usd: float | None) -> str:
    """`$0.0042`, `$1.30`, `unknown`: never 0 for what is not known."""
    if usd is None:
        return UNKNOWN
    if 0 < usd < 0.00005:
        return "under $0.0001"
    return f"${usd:.2f}" if usd >= 1 or usd == 0 else f"${usd:.2g}" if usd >= 0.01 else f"${usd:.4f}".rstrip("0")


@open_to_all
def price_words(
    model: str | None, url: str | None, price_in: float | None = None, price_out: float | None = None
) -> str:
    """What the model costs, and where that is known from."""
    if price_in and price_out:  # an empty number box becomes 0 once it has been shown
        return f"Price: {money(price_in)} for a million input tokens, {money(price_out)} output, as you gave it."
    price: Price | None = price_of((model or "").strip(), url or "")
    if price is None:
        return "Price: unknown for this model and address; give it below to see what it costs."
    return f"Price: {money(price.input)} for a million input tokens, {money(price.output)} output, {PRICES}."


def estimate_words(estimate: dict[str, Any], *, batch: bool = False) -> str:
    """The words of a button that goes on."""
    rest = count(estimate.get("products", 0), "more product")
    if batch:
        return f"… as a batch: {money(estimate.get('batch_cost'))}, within a day"
    cost = money(estimate.get("cost"))
    return f"Go on: {rest}, {'cost ' * (cost == UNKNOWN)}{cost}, about {duration(estimate.get('seconds', 0))}"


def job_card(now: Look) -> str:
    """The job as it stands; nothing when there is none, or when it is done and its dataset is shown."""
    if now.state in ("", generation.DONE):
        return ""
    if now.state == generation.STOPPED:
        return _figures(now) + notice(now.text, "hint", now.state)
    if now.state == generation.FAILED:
        return _figures(now) + notice(now.text, state=now.state)
    if now.state == generation.ESTIMATED:
        return _figures(now) + notice(_estimated(now), "done", now.state)
    head = {
        generation.PILOT: f"Trying the first {PILOT_PRODUCTS} products",
        generation.RUNNING: "Writing questions",
        generation.WAITING: "The API works on the batch",
    }[now.state]
    said = "Stopping: what is under way is still awaited and kept." if now.stopping else now.text
    api = now.job.get("api", {})
    who = html("<p class='small'>{} at {}</p>", api.get("model", ""), api.get("base_url", "")) if api else ""
    more = f" · {said}" if said else ""
    line = "<p class='pace' data-state='{}'><b>{}</b>{}</p>{}{}"
    return html(line, now.state, head, more, who, _figures(now))


def _estimated(now: Look) -> str:
    tried, rest = min(PILOT_PRODUCTS, now.progress.get("total", PILOT_PRODUCTS)), now.estimate
    worth, cost = money(now.progress.get("worth")), money(rest.get("cost"))
    return (
        f"{count(tried, 'product')} written{'' if worth == UNKNOWN else f' for {worth}'}. The other "
        f"{rest.get('products', 0):,} will take about {count(rest.get('requests', 0), 'request')} and "
        f"{duration(rest.get('seconds', 0))}; the cost is {'unknown' if cost == UNKNOWN else f'about {cost}'}."
    )


def _figures(now: Look) -> Markup:
    """A bar and the numbers, as far as the job came."""
    if now.state == generation.WAITING and now.batch:
        b = now.batch
        bar = progress_bar(b["completed"], b["requests"])
        told = f"{b['completed']:,} of {count(b['requests'], 'request')} · {money(b['spent'])} spent"
        return html("{}<p class='small'>{}</p>", bar, told)
    p = now.progress
    if not p:
        return Markup()
    parts = [
        html("<b>{:,}</b> of {}", p["done"], count(p["total"], "product")),
        f"{p['asked']:,} replies" + (f", {p['reused']:,} reused" if p["reused"] else ""),
        f"{p['per_second']:.1f} a second" if p["asked"] else "",
        f"{money(p['spent'])} spent" + (f" of about {money(p['projected'])}" if p["projected"] else "")
        if p["spent"] is not None
        else "cost unknown",
        f"{duration(p['seconds_left'])} left" if p["seconds_left"] and now.state in generation.UNDER_WAY else "",
        f"{p['refused'] + p['failed']:,} sent again" if p["refused"] + p["failed"] else "",
        html("<b>{}</b>", p["waiting"]) if p["waiting"] else "",
    ]
    return html("{}<p class='small'>{}</p>", progress_bar(p["done"], p["total"]), html_of(filter(None, parts), " · "))
