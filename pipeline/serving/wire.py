"""The shapes of the OpenAI API: what a request may ask for, what a reply, a stream and an error look like."""

import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from pipeline.answering.lookup import check_question, check_title, plain_text
from pipeline.errors import QuestionError
from pipeline.files import parse_json
from pipeline.serving.desk import Reply

EXTRA = "shelftalk"
"""The field of a message or choice that says where its answer is from."""

SHOP = "shop"
"""How an answer came about that the owner gave."""

MOST_MESSAGES = 256
MOST_PROMPTS = 16
"""Of one request."""

ROLES = ("system", "developer", "user", "assistant", "tool", "function")

REFUSED = {
    "tools": "No tools are called here",
    "functions": "No functions are called here",
    "response_format": "Answers are plain text",
    "modalities": "Answers are plain text",
    "audio": "Answers are plain text",
    "logprobs": "Nothing tells how likely an answer's words are",
    "top_logprobs": "Nothing tells how likely an answer's words are",
    "logit_bias": "Nothing is drawn, so nothing can be made likelier",
    "web_search_options": "Answers come from the catalogue alone",
    "suffix": "Only what follows a prompt is written",
    "echo": "Only what follows a prompt is written",
}
"""What would change an answer and is not there; everything else that is not known (temperature, seed, …) changes nothing, since
answers are greedy and short, and is passed over."""

FINE = {"response_format": [{"type": "text"}], "modalities": [["text"]]}

_WORDS = re.compile(r"\S+\s*")


class ApiError(Exception):
    """A refusal in OpenAI's shape.

    Args:
        status: of HTTP.
        message: a sentence for the person who reads it.
        code, param: for programs.
        retry_after: seconds.
    """

    def __init__(
        self, status: int, message: str, code: str | None = None, param: str | None = None, retry_after: int = 0
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param, self.retry_after = status, message, code, param, retry_after

    @property
    def body(self) -> dict[str, Any]:
        kind = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}.get(
            self.status, "server_error" if self.status >= 500 else "invalid_request_error"
        )
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


@dataclass(frozen=True)
class Request:
    """What is asked.

    Attributes:
        questions: one of a chat, one or more of a completion.
        product: the title or uid of the product that the customer stands on; may be empty.
        has_usage: whether a stream ends with its usage.
    """

    model: str
    questions: tuple[str, ...]
    product: str
    is_chat: bool
    is_stream: bool
    has_usage: bool


def read_request(body: bytes, *, is_chat: bool) -> Request:
    """The request in a body.

    Raises:
        ApiError: it is none, or asks for what is not there.
    """
    try:
        asked = parse_json(body)
    except ValueError:
        raise ApiError(400, "The body is no JSON; send the request as a JSON object.") from None
    if not isinstance(asked, dict):
        raise ApiError(400, "The body is no JSON object; send `model` and what is asked in one.")
    model = asked.get("model")
    if not isinstance(model, str) or not model:
        raise ApiError(400, "`model` is missing; name a run, or `base`.", param="model")
    _refuse(asked)
    options = asked.get("stream_options")
    has_usage = isinstance(options, dict) and options.get("include_usage") is True
    questions = [_last_question(asked.get("messages"))] if is_chat else _prompts(asked.get("prompt"))
    field = "messages" if is_chat else "prompt"
    checked = tuple(_checked(check_question, question, field) for question in questions)
    product = asked.get("product") or ""
    if not isinstance(product, str):
        raise ApiError(400, "`product` is the title or uid of a product: a text.", param="product")
    product = _checked(check_title, product, "product")
    return Request(model, checked, product, is_chat, asked.get("stream") is True, has_usage)


def _checked(check: Callable[[str], str], text: str, param: str) -> str:
    try:
        return check(text)
    except QuestionError as error:
        raise ApiError(400, str(error), "context_length_exceeded" if "most is" in str(error) else None, param) from None


def _refuse(asked: dict[str, Any]) -> None:
    for name in ("n", "best_of"):
        if asked.get(name) not in (None, 1):
            raise ApiError(400, f"There is one answer to a question, so `{name}` is 1.", "unsupported_value", name)
    for name, why in REFUSED.items():
        if asked.get(name) and asked[name] not in FINE.get(name, ()):
            raise ApiError(400, f"{why}; leave `{name}` out.", "unsupported_parameter", name)
    if asked.get("stream") not in (None, True, False):
        raise ApiError(400, "`stream` is true or false.", param="stream")


def _last_question(messages: Any) -> str:
    """The text of the last message that a user wrote; no other is read."""
    if not isinstance(messages, list) or not messages:
        raise ApiError(400, "`messages` is missing; send a list with the customer's question.", param="messages")
    if len(messages) > MOST_MESSAGES:
        raise ApiError(
            400,
            f"There are {len(messages):,} messages and the most is {MOST_MESSAGES}; send the last ones alone.",
            "array_above_max_length",
            "messages",
        )
    texts = [_text(message, f"messages[{at}]") for at, message in enumerate(messages)]
    asked = [text for text, message in zip(texts, messages, strict=True) if message["role"] == "user"]
    if not asked:
        raise ApiError(400, "No message is a user's; send the customer's question as one.", param="messages")
    return asked[-1]


def _text(message: Any, where: str) -> str:
    if not isinstance(message, dict) or message.get("role") not in ROLES:
        raise ApiError(400, f"A message has a `role` of {', '.join(ROLES)}.", param=where)
    content = message.get("content")
    if isinstance(content, str) or (content is None and message["role"] != "user"):
        return content or ""
    parts: list[Any] = content if isinstance(content, list) else [None]
    for part in parts:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind in ("image_url", "input_image", "input_audio", "file"):
            raise ApiError(
                400, "Only text is read, no images, sound or files.", "unsupported_value", f"{where}.content"
            )
        if kind not in ("text", "refusal") or not isinstance(part.get(kind), str):
            raise ApiError(
                400, "A message's `content` is a text, or a list of parts with one.", param=f"{where}.content"
            )
    return "\n".join(part[part["type"]] for part in parts)


def _prompts(prompt: Any) -> list[str]:
    prompts = prompt if isinstance(prompt, list) else [prompt]
    if not prompts or not all(isinstance(one, str) for one in prompts):
        raise ApiError(400, "`prompt` is a question as text, or a list of them; tokens are not read.", param="prompt")
    if len(prompts) > MOST_PROMPTS:
        message = f"There are {len(prompts):,} prompts and the most is {MOST_PROMPTS}; send fewer at once."
        raise ApiError(400, message, "array_above_max_length", "prompt")
    return prompts


# --- Replies ---


def said(reply: Reply) -> str:
    """What a customer reads: the answer, or where no answer is found in what a model says, all that it says."""
    return reply.said.answer or reply.said.raw


def extra(reply: Reply) -> dict[str, Any]:
    """Where an answer is from: the field `EXTRA`."""
    product = reply.about.product
    return {
        "says": reply.said.says,
        "source": reply.said.source,
        "product": {"title": product.title, "uid": product.uid} if product else None,
        "candidates": list(reply.about.candidates),
        "way": SHOP if reply.said.by_shop else reply.way,
        "seconds": round(reply.said.seconds, 4),
    }


def whole(request: Request, replies: Sequence[Reply]) -> dict[str, Any]:
    """The reply to a request that wants no stream."""
    choices = []
    for at, reply in enumerate(replies):
        message = {"role": "assistant", "content": said(reply), "refusal": None, EXTRA: extra(reply)}
        told = {"message": message} if request.is_chat else {"text": said(reply), EXTRA: extra(reply)}
        choices.append({"index": at, **told, "logprobs": None, "finish_reason": "stop"})
    kind = "chat.completion" if request.is_chat else "text_completion"
    return {**_head(request, kind, _new_id(request)), "choices": choices, "usage": usage(request, replies)}


class Chunks:
    """A stream's objects."""

    def __init__(self, request: Request) -> None:
        self._request = request
        kind = "chat.completion.chunk" if request.is_chat else "text_completion"
        self._head = _head(request, kind, _new_id(request)) | ({"usage": None} if request.has_usage else {})
        self._begun: set[int] = set()

    def words(self, at: int, text: str) -> dict[str, Any]:
        """More of the answer of that number."""
        begin: dict[str, str] = {} if at in self._begun else {"role": "assistant"}
        self._begun.add(at)
        told = {"delta": {**begin, "content": text}} if self._request.is_chat else {"text": text}
        return {**self._head, "choices": [{"index": at, **told, "logprobs": None, "finish_reason": None}]}

    def ending(self, replies: Sequence[Reply]) -> Iterator[dict[str, Any]]:
        """What follows once all is answered: answers of which nothing was sent, a word each, and where each is from."""
        for at, reply in enumerate(replies):
            if at not in self._begun:
                for word in _WORDS.findall(said(reply)) or [said(reply)]:
                    yield self.words(at, word)
            last = {EXTRA: extra(reply)}
            told = {"delta": last} if self._request.is_chat else {"text": "", **last}
            yield {**self._head, "choices": [{"index": at, **told, "logprobs": None, "finish_reason": "stop"}]}
        if self._request.has_usage:
            yield {**self._head, "choices": [], "usage": usage(self._request, replies)}


def _head(request: Request, kind: str, name: str) -> dict[str, Any]:
    return {"id": name, "object": kind, "created": int(time.time()), "model": request.model}


def _new_id(request: Request) -> str:
    return f"{'chatcmpl' if request.is_chat else 'cmpl'}-{uuid4().hex}"


def usage(request: Request, replies: Sequence[Reply]) -> dict[str, int]:
    """What was asked and answered, in words, since most ways have no tokens; what a model decoded, in tokens."""
    asked = sum(len(question.split()) for question in request.questions)
    answered = sum(reply.tokens or len(said(reply).split()) for reply in replies)
    return {"prompt_tokens": asked, "completion_tokens": answered, "total_tokens": asked + answered}


def model_entry(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": EXTRA}


def as_json(value: Any) -> bytes:
    """As it goes over the wire; half characters, which no UTF-8 has, go as JSON's escapes."""
    return json.dumps(value, separators=(",", ":")).encode()


def shown_name(text: str) -> str:
    """A name that somebody sent, as it stands in a sentence."""
    return plain_text(text)[:80]
