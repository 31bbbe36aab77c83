"""What requests cost: prices, what has been spent, the cap that may not be passed, and what the rest will cost.

An unknown price stays unknown: it is `None` here and "unknown" where it is shown, never 0.
"""

import math
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from pipeline.errors import SettingsError
from pipeline.writing.api.progress import WritingProgress

OPENAI_HOST = "api.openai.com"
OPENAI_URL = f"https://{OPENAI_HOST}/v1"

DEFAULT_MODEL = "gpt-6-luna"
"""OpenAI's smallest current model, made for focused work in large amounts such as extraction, with structured outputs
and the Batch API; the replacement that OpenAI names for GPT-4.1 mini and GPT-4o mini, which leave in January 2027."""

PRICES_READ = "November 2026"
"""When the published prices were as in `_PRICES` (standard tier, prompts under 272,000 tokens), by several public accounts."""

_PRICES = {
    "gpt-6-luna": (0.10, 0.50),
    "gpt-6-sol": (2.00, 10.00),
    "gpt-6-astra": (10.00, 50.00),
    "gpt-6.1-terra": (1.00, 5.00),
    "gpt-6.1-sol": (2.00, 10.00),
    "gpt-5.6-luna": (0.20, 1.20),
    "gpt-5.6-terra": (2.00, 12.00),
    "gpt-5.6-sol": (4.00, 20.00),
    "gpt-5.5": (5.00, 30.00),
    "gpt-5.4": (2.50, 15.00),
    "gpt-5.4-mini": (0.75, 4.50),
    "gpt-5.4-nano": (0.20, 1.25),
    "gpt-4.1": (2.00, 8.00),
    "gpt-4.1-mini": (0.40, 1.60),
    "gpt-4o": (2.50, 10.00),
    "gpt-4o-2024-05-13": (5.00, 15.00),  # the first of its name kept its first price
    "gpt-4o-mini": (0.15, 0.60),
}
"""USD for a million tokens, input and output. A model that is not here has no known price."""

_DATED = re.compile(r"-\d{4}-\d\d-\d\d")

BATCH_FACTOR = 0.5
"""What a request costs in the Batch API, of its price at once."""


@dataclass(frozen=True)
class Price:
    """USD for a million tokens."""

    input: float
    output: float

    def __post_init__(self) -> None:
        for value in (self.input, self.output):
            if not math.isfinite(value) or value < 0:
                raise SettingsError(f"The price is {value} USD for a million tokens; it must be 0 or more.")

    def of(self, tokens_in: int, tokens_out: int) -> float:
        """USD."""
        return (self.input * tokens_in + self.output * tokens_out) / 1_000_000


def price_of(model: str, base_url: str) -> Price | None:
    """The published price, or nothing where it is not known: every server but OpenAI's own has prices of its own."""
    if urlsplit(base_url.strip()).hostname != OPENAI_HOST:
        return None
    listed = _PRICES.get(model) or _PRICES.get(_DATED.sub("", model))
    return Price(*listed) if listed else None


@dataclass
class Ledger:
    """Spent and reserved. What a request may cost at most is reserved before it is sent, so the cap holds for all at once."""

    price: Price | None
    cap: float | None = None
    tokens_in: int = 0
    tokens_out: int = 0
    estimated: int = 0
    """Replies without a usage that can be true, whose tokens are estimated by their length."""
    reserved: float = 0.0
    perhaps: float = 0.0
    """For requests that were sent and whose reply never came: the server may count them."""

    @property
    def spent(self) -> float | None:
        """USD, or nothing if the price is unknown."""
        return self.price.of(self.tokens_in, self.tokens_out) if self.price else None

    def fits(self, worst: float) -> bool:
        """Whether a request that costs at most `worst` can be sent beside those that are under way."""
        return self.cap is None or (self.spent or 0.0) + self.perhaps + self.reserved + worst <= self.cap

    def worst(self, tokens_in: int, tokens_out: int) -> float:
        return self.price.of(tokens_in, tokens_out) if self.price else 0.0

    def pay(self, tokens_in: int, tokens_out: int, estimated: bool) -> None:
        self.tokens_in += tokens_in
        self.tokens_out += tokens_out
        self.estimated += estimated


@dataclass(frozen=True)
class Estimate:
    """What the products that are left will take."""

    requests: int
    seconds: float
    """At the full number of workers, without waiting for a server at its limit."""
    cost: float | None
    """USD; nothing if the price is unknown."""
    batch_cost: float | None
    """The same through the Batch API."""


def estimate(pilot: WritingProgress, products: int) -> Estimate:
    """What `products` more will take, by the replies of a pilot.

    Replies that the pilot had in its journal count like those it paid for: the rest will have to be paid.
    """
    finished = max(1, pilot.done)
    requests = math.ceil(products * (pilot.asked + pilot.reused) / finished)
    cost = None if pilot.worth is None else products * pilot.worth / finished
    seconds = requests * pilot.reply_seconds / max(1, min(pilot.workers, requests))
    return Estimate(requests, seconds, cost, None if cost is None else cost * BATCH_FACTOR)
