"""The one prompt format, used for the training row and for asking, and the extraction of the answer.

Nothing else in the project may build a prompt or put tokens together: the surest way to spoil a fine-tuned model is to
ask it in another format than it was taught in.
"""

import json
from dataclasses import dataclass
from typing import Any

UNKNOWN_TITLE = "unknown"
"""The context when nobody can tell which product a question is about."""

REFUSAL = "I don't know this product."
"""The only right answer about a product that the model was not taught."""

SILENCE = "The record doesn't say."
"""The only right answer to a question that the record of a known product does not answer."""

SILENT = "silent"
"""The kind of a question whose right answer is the silence."""

UNKNOWN = "unknown"
"""The kind of a question whose right answer is the refusal."""

GENERAL = "general"
"""The kind of a question that has nothing to do with the catalogue."""

REVERSE = "reverse"
"""The kind of a question that states a fact and asks which product it is about; its answer is the title."""

OPEN = "open book"
"""The kind of a question with a part of a record in the prompt, which says the answer or does not."""

NO_FACT = (UNKNOWN, SILENT, GENERAL, REVERSE, OPEN)
"""The kinds of rows that ask for no fact of a product."""

FIELDS = ("Context:", "Instruction:", "Response:")
"""What the lines of a prompt begin with."""

FORMAT = "Context: {title}\nInstruction: {question}\nResponse:"
"""The prompt, as a template of `str.format`."""

PLAIN, CHAT = "plain", "chat"
"""How a question is put: in `FORMAT` alone, or that in the base's own chat template, as what a user says."""


@dataclass(frozen=True)
class Chat:
    """What a base's chat template puts before and after what is asked, and the token that ends an answer there."""

    head: str
    tail: str
    end: str


_MESSAGES = (
    "{%- set ns = namespace(title='" + UNKNOWN_TITLE + "', question='') -%}"
    "{%- for message in messages -%}"
    "{%- set text = message['content'].split('\\n') | join(' ') | trim -%}"
    "{%- if message['role'] == 'system' -%}{%- set ns.title = text -%}{%- endif -%}"
    "{%- if message['role'] == 'user' -%}{%- set ns.question = text -%}{%- endif -%}"
    "{%- endfor -%}"
)

CHAT_TEMPLATE = _MESSAGES + "{{ 'Context: ' + ns.title + '\\nInstruction: ' + ns.question + '\\nResponse:' }}"
"""The same prompt for programs that speak in messages (Jinja): the system message is the product's title, the last
question is asked alone. It goes with what is published (`chat_template`), since the base's own one asks otherwise."""

MAX_QUESTION_CHARACTERS = 1000


def build_prompt(title: str, question: str, record: str | None = None) -> str:
    """The text a model reads before it answers.

    Args:
        title: the product's title, or `UNKNOWN_TITLE`.
        question: the customer's question.
        record: the product's content, given only in reading mode (the model then reads the answer, it need not know it).
    """
    context = title if record is None else f"{title}. {record}"
    return FORMAT.format(title=_one_line(context), question=_one_line(question))


def with_question(prompt: str, question: str) -> str:
    """A prompt of `build_prompt` with another question in the same context."""
    context, _, response = prompt.split("\n")
    return f"{context}\nInstruction: {_one_line(question)}\n{response}"


def _one_line(text: str) -> str:
    """Folded to one line, so that no title or question can imitate the next field of the prompt."""
    return " ".join(text.split())


_AS_IT_STANDS = {"add_special_tokens": False}
_AS_TEXT = _AS_IT_STANDS | {"split_special_tokens": True}
"""How what stands in the middle of a prompt becomes tokens: what is a special token's name stays text."""


def ask_in(tokenizer: Any, chat: Chat | None) -> Any:
    """Let a tokenizer put questions in a base's chat template, or plainly where there is None; returns it.

    Whoever encodes a prompt with it then does so as the run that it belongs to was taught.
    """
    tokenizer.asked_in = chat
    return tokenizer


def chat_of_tokenizer(tokenizer: Any) -> Chat | None:
    """The chat template that a tokenizer puts questions in."""
    return getattr(tokenizer, "asked_in", None)


def end_of_answer(tokenizer: Any) -> int:
    """The token that ends an answer in training."""
    chat = chat_of_tokenizer(tokenizer)
    return tokenizer.convert_tokens_to_ids(chat.end) if chat and chat.end else tokenizer.eos_token_id


def encode_prompt(tokenizer: Any, prompt: str) -> list[int]:
    """Token ids of a prompt, with the model's start token where it has one: used for training and for asking.

    A special token spelled out in a title or a question stays text: it can end or begin nothing.
    """
    chat = chat_of_tokenizer(tokenizer)
    if chat is None:
        return tokenizer(prompt, split_special_tokens=True)["input_ids"]
    asked = without_cue(prompt)
    as_text = tokenizer(asked, **_AS_TEXT)["input_ids"]
    if tokenizer(asked, **_AS_IT_STANDS)["input_ids"] == as_text:
        # One text, as the template makes it: its pieces have other tokens where no special token parts them.
        return tokenizer(chat.head + asked + chat.tail, **_AS_IT_STANDS)["input_ids"]
    head, tail = (tokenizer(text, **_AS_IT_STANDS)["input_ids"] for text in (chat.head, chat.tail))
    return [*head, *as_text, *tail]


def without_cue(prompt: str) -> str:
    """A prompt as it stands in a chat template, which itself says where the answer begins."""
    return prompt.removesuffix("\nResponse:")


def chat_template(tokenizer: Any) -> str:
    """`CHAT_TEMPLATE` for a tokenizer: where that puts a start token before a prompt, a template has to say it itself, and so it
    does with what the base's own template puts around, where a run is asked in that."""
    if chat := chat_of_tokenizer(tokenizer):
        head, tail = json.dumps(chat.head), json.dumps(chat.tail)
        return f"{_MESSAGES}{{{{ {head} + 'Context: ' + ns.title + '\\nInstruction: ' + ns.question + {tail} }}}}"
    asked, start = encode_prompt(tokenizer, "Context:"), tokenizer.bos_token
    if asked[0] != tokenizer.bos_token_id:
        return CHAT_TEMPLATE
    # SentencePiece begins a text with a space of its own, and behind a start token some of its tokenizers do not.
    spaced = tokenizer(f"{start} Context:", **_AS_IT_STANDS)["input_ids"] == asked
    plain = tokenizer(f"{start}Context:", **_AS_IT_STANDS)["input_ids"] == asked
    return "{{- bos_token" + (" + ' '" if spaced and not plain else "") + " -}}" + CHAT_TEMPLATE


def encode_example(tokenizer: Any, prompt: str, response: str) -> dict[str, list[int]]:
    """A training row: the asking prompt's tokens, then the response's and the end token.

    Returns:
        `input_ids` and `completion_mask` (1 on the response and the end token), both of the same length.
    """
    asked = encode_prompt(tokenizer, prompt)
    answered = [*encode_answer(tokenizer, response), end_of_answer(tokenizer)]
    return {"input_ids": asked + answered, "completion_mask": [0] * len(asked) + [1] * len(answered)}


def encode_answer(tokenizer: Any, response: str) -> list[int]:
    """Token ids of a response as they follow its prompt, without the end token."""
    return tokenizer(answer_text(response, chat_of_tokenizer(tokenizer)), **_AS_TEXT)["input_ids"]


def answer_text(response: str, chat: Chat | None) -> str:
    """A response as it follows its prompt: `Response:` wants a space, and a chat template ends as it should."""
    return response if chat else f" {response}"
