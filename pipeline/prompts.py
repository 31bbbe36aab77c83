"""The one prompt format, used for the training row and for asking, and the extraction of the answer.

Nothing else in the project may build a prompt or put tokens together: the surest way to spoil a fine-tuned model is to
ask it in another format than it was taught in.
"""

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

FORMAT = "Context: {title}\nInstruction: {question}\nResponse:"
"""The prompt, as a template of `str.format`."""

CHAT_TEMPLATE = (
    "{%- set ns = namespace(title='" + UNKNOWN_TITLE + "', question='') -%}"
    "{%- for message in messages -%}"
    "{%- set text = message['content'].split('\\n') | join(' ') | trim -%}"
    "{%- if message['role'] == 'system' -%}{%- set ns.title = text -%}{%- endif -%}"
    "{%- if message['role'] == 'user' -%}{%- set ns.question = text -%}{%- endif -%}"
    "{%- endfor -%}"
    "{{ 'Context: ' + ns.title + '\\nInstruction: ' + ns.question + '\\nResponse:' }}"
)
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


def encode_prompt(tokenizer: Any, prompt: str) -> list[int]:
    """Token ids of a prompt, with the model's start token where it has one: used for training and for asking.

    A special token spelled out in a title or a question stays text: it can end or begin nothing.
    """
    return tokenizer(prompt, split_special_tokens=True)["input_ids"]


def chat_template(tokenizer: Any) -> str:
    """`CHAT_TEMPLATE` for a tokenizer: where that puts a start token before a prompt, a template has to say it itself."""
    first = encode_prompt(tokenizer, "Context:")[0]
    return ("{{- bos_token -}}" if first == tokenizer.bos_token_id else "") + CHAT_TEMPLATE


def encode_example(tokenizer: Any, prompt: str, response: str) -> dict[str, list[int]]:
    """A training row: the asking prompt's tokens, then the response's and the end token.

    Returns:
        `input_ids` and `completion_mask` (1 on the response and the end token), both of the same length.
    """
    asked = encode_prompt(tokenizer, prompt)
    answered = [*encode_answer(tokenizer, response), tokenizer.eos_token_id]
    return {"input_ids": asked + answered, "completion_mask": [0] * len(asked) + [1] * len(answered)}


def encode_answer(tokenizer: Any, response: str) -> list[int]:
    """Token ids of a response as they follow its prompt, without the end token."""
    return tokenizer(f" {response}", add_special_tokens=False, split_special_tokens=True)["input_ids"]
