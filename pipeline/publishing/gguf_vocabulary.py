"""A tokenizer as a GGUF file has it: llama.cpp has to read the same tokens that were trained."""

import json
from typing import Any

from pipeline.errors import ModelError

_LETTERS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_LLAMA_3, _QWEN_2 = _LETTERS + "{1,3}" + _REST, _LETTERS + _REST

PIECES = "pieces"
"""Instead of a name for how a text is split before its merges: SentencePiece's way, which does not split it."""

ADDED_SCORE = -1000.0

SEEN = "  Two words, 12 ｆｕｌｌ e\u0301\n"
"""What a tokenizer that folds, splits or leaves anything out gives away by."""


def way_of(tokenizer: Any) -> str:
    """llama.cpp's name for the way in which a tokenizer splits a text before its merges, or `PIECES`.

    Raises:
        ModelError: it is none of those that are known here, so llama.cpp would read other tokens than were trained.
    """
    said = json.loads(tokenizer.backend_tokenizer.to_str()) if tokenizer.is_fast else {"model": {}}
    model, normalizer = said["model"], said.get("normalizer") or {}
    found = None
    if model.get("type") == "BPE" and model.get("byte_fallback") and "<0x00>" in model["vocab"]:
        found = PIECES if _keeps_spaces(tokenizer) else None
    elif model.get("type") == "BPE":
        outer = said.get("pre_tokenizer") or {}
        steps = tuple(_step(step) for step in outer.get("pretokenizers", [outer]))
        kinds = [one["type"] for one in normalizer.get("normalizers", [normalizer]) if one]
        known = {
            ("bytes after its regex",): "gpt-2",
            ("digits", "bytes after its regex"): "smollm",
            (_LLAMA_3, "bytes"): "llama-bpe",
            (_QWEN_2, "bytes"): "qwen2",
        }
        found = known.get(steps)
        found = found if not kinds or (kinds == ["NFC"] and found == "qwen2") else None
    if found is None:
        raise ModelError(
            "A GGUF file cannot be made of a base with such a tokenizer; publish the merged model instead, which "
            "llama.cpp's own converter may know."
        )
    return found


def _step(step: dict[str, Any]) -> str:
    if step.get("type") == "ByteLevel" and not step["add_prefix_space"]:
        return "bytes after its regex" if step["use_regex"] else "bytes"
    if step.get("type") == "Digits" and step["individual_digits"]:
        return "digits"
    if step.get("type") == "Split" and step["behavior"] == "Isolated" and not step["invert"]:
        return step["pattern"].get("Regex", "")
    return ""


def _tokens(tokenizer: Any, text: str) -> list[str]:
    return tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).tokens


def _keeps_spaces(tokenizer: Any) -> bool:
    """Whether a text is its pieces with ▁ for each space, and at most one before it: nothing is folded, split or left out."""
    tokens = _tokens(tokenizer, SEEN)
    pieces = [bytes([int(token[3:5], 16)]) if _is_byte(token) else token.encode() for token in tokens]
    text = SEEN.replace(" ", "▁")
    return b"".join(pieces).decode(errors="replace") in (text, f"▁{text}")


def _is_byte(token: str) -> bool:
    return len(token) == 6 and token.startswith("<0x") and token.endswith(">")


def add_vocabulary(writer: Any, tokenizer: Any, size: int) -> None:
    """The vocabulary, how it is put together, and what ends an answer: the token that training taught."""
    way = way_of(tokenizer)
    merges = [_pair(merge) for merge in json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]]
    if way == PIECES:
        writer.add_tokenizer_model("llama")
        writer.add_tokenizer_pre("default")
        writer.add_add_space_prefix(_tokens(tokenizer, "a")[0].startswith("▁"))
        writer.add_token_scores(_scores(tokenizer, merges, size))
    else:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(way)
        writer.add_add_space_prefix(False)
        writer.add_token_merges([" ".join(merge) for merge in merges])
    by_id = {number: token for token, number in tokenizer.get_vocab().items()}
    writer.add_token_list([by_id.get(number, f"[PAD{number}]") for number in range(size)])
    writer.add_token_types([_kind(tokenizer, by_id.get(number), number, way) for number in range(size)])
    specials = {"bos": writer.add_bos_token_id, "eos": writer.add_eos_token_id}
    specials |= {"unk": writer.add_unk_token_id, "pad": writer.add_pad_token_id}
    for name, add in specials.items():
        if (number := getattr(tokenizer, f"{name}_token_id")) is not None:
            add(number)
    first = tokenizer("a")["input_ids"][0]
    writer.add_add_bos_token(tokenizer.bos_token_id is not None and first == tokenizer.bos_token_id)
    writer.add_chat_template(tokenizer.chat_template)


def _pair(merge: Any) -> tuple[str, str]:
    first, second = merge.split(" ") if isinstance(merge, str) else merge
    return first, second


def _scores(tokenizer: Any, merges: list[tuple[str, str]], size: int) -> list[float]:
    """A score for each token, the higher the sooner it is put together: by its first merge's place, as SentencePiece has it."""
    place: dict[str, int] = {}
    for at, (first, second) in enumerate(merges):
        place.setdefault(first + second, at)
    by_id = {number: token for token, number in tokenizer.get_vocab().items()}
    added = tokenizer.added_tokens_decoder
    last = float(-len(merges))
    return [
        ADDED_SCORE if n in added else -float(place[by_id[n]]) if by_id.get(n) in place else last for n in range(size)
    ]


def _kind(tokenizer: Any, token: str | None, number: int, way: str) -> Any:
    import gguf

    kinds = gguf.TokenType
    if token is None:
        return kinds.UNUSED
    if way == PIECES and token == tokenizer.unk_token:
        return kinds.UNKNOWN
    if added := tokenizer.added_tokens_decoder.get(number):
        return kinds.CONTROL if added.special else kinds.USER_DEFINED
    return kinds.BYTE if way == PIECES and _is_byte(token) else kinds.NORMAL
