"""The transport under generation: requests to an OpenAI-compatible API that are paid for once, whatever happens.

    requests.py   settings, a request and its key, what servers understand of it
    client.py     a request sent once, errors as sentences, list of models
    limits.py     what headers say about a server's limits
    replies.py    what is kept of a reply, how it is read, the journal
    pool.py       how many requests at once, and how fast
    spending.py   prices, cap, estimate
    asking.py     one request until there is a reply
    run.py        many products at once
    batches.py    the same through the Batch API; batch_state.py is what it remembers

Knows nothing of prompts and facts. `openai` is imported when the first request is sent.
"""

from pipeline.writing.api.asking import Interrupted
from pipeline.writing.api.batch_state import BatchStatus
from pipeline.writing.api.batches import advance, cancel
from pipeline.writing.api.client import list_models
from pipeline.writing.api.progress import WritingProgress
from pipeline.writing.api.replies import (
    CUT_OFF,
    INVALID,
    NO_REPLY,
    REFUSED,
    TOO_LARGE,
    TOO_LONG,
    UnusableReply,
    address_of,
)
from pipeline.writing.api.requests import MAX_WORKERS, ApiSettings, Request
from pipeline.writing.api.run import Ask, Write, needed, work_through
from pipeline.writing.api.spending import (
    BATCH_FACTOR,
    DEFAULT_MODEL,
    OPENAI_URL,
    PRICES_READ,
    Estimate,
    Price,
    estimate,
    price_of,
)

__all__ = [
    "BATCH_FACTOR",
    "CUT_OFF",
    "DEFAULT_MODEL",
    "INVALID",
    "MAX_WORKERS",
    "NO_REPLY",
    "OPENAI_URL",
    "PRICES_READ",
    "REFUSED",
    "TOO_LARGE",
    "TOO_LONG",
    "ApiSettings",
    "Ask",
    "BatchStatus",
    "Estimate",
    "Interrupted",
    "Price",
    "Request",
    "UnusableReply",
    "Write",
    "WritingProgress",
    "address_of",
    "advance",
    "cancel",
    "estimate",
    "list_models",
    "needed",
    "price_of",
    "work_through",
]
