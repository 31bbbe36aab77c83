"""The part of a record that answers a question, and how likely it does.

Each word of the question looks for the word of a sentence that means the most nearly the same (late interaction, as in
ColBERT, arXiv 2004.12832), words weighing by how telling they are. The weights of the few features that turn this into a
likelihood are data, with where they come from: `assets/finding.json`.
"""

import math
import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np

from pipeline.catalogue.finding.measures import EXACT, tells, wanted
from pipeline.catalogue.finding.names import QUESTIONS_WORDS
from pipeline.catalogue.finding.spelling import mended
from pipeline.catalogue.finding.units import MAX_WORDS, Unit, units
from pipeline.catalogue.finding.words import STOP, WORD, Weights, plain_words, stem, stems
from pipeline.files import ASSETS, read_json

WEIGHTS = ASSETS / "finding.json"

STOP_WEIGHT, TITLE_WEIGHT = 0.15, 0.1
"""What a word counts of its weight where it is in every question, and where the title has it anyway."""

WHOLE_WEIGHT = 0.25
"""What the nearness of the sentences as wholes adds to that of their words, for the choice among a record's sentences."""

TOLD_WEIGHT = 0.05
"""What it adds that a part can tell what is wanted."""

KEPT_RECORDS = 512
"""Records of which is remembered what was found in them."""


class Encoded(Protocol):
    """See `pipeline.models.encoder.Encoded`."""

    spans: np.ndarray
    tokens: np.ndarray
    whole: np.ndarray


class Encoder(Protocol):
    def encode(self, texts: Sequence[str]) -> "list[Any]": ...


@dataclass(frozen=True)
class Found:
    """The part of a record that fits a question best.

    Attributes:
        likely: how likely it answers the question, from 0 to 1; 0 where nothing in the record tells what is wanted.
        features: what the likelihood is made of.
        others: the next best parts.
    """

    unit: Unit
    likely: float
    features: dict[str, float]
    others: tuple[Unit, ...] = ()


class SentenceFinder:
    """Finds in records; without an encoder by equal words alone.

    Args:
        is_word: whether a string is a word of the language, so no misspelling.
    """

    def __init__(
        self, weights: Weights, encoder: Encoder | None, is_word: Callable[[str], bool] = lambda word: True
    ) -> None:
        self.weights, self.encoder, self.is_word = weights, encoder, is_word
        self._correct: Callable[[str], str] = getattr(encoder, "correct", lambda word: "")
        self._model = read_json(WEIGHTS)["encoder" if encoder else "words"]
        self._kept: OrderedDict[str, tuple[list[Unit], list[Any]]] = OrderedDict()
        self._ahead: dict[str, Any] = {}

    @property
    def threshold(self) -> float:
        """The likelihood from which on a found part is given as the answer."""
        return self._model["threshold"]

    def find(self, question: str, title: str, content: str) -> Found | None:
        """The part that fits best; None where the record has none."""
        parts, encoded = self._record(content)
        if not parts:
            return None
        question = self.mended(question, title, content)
        near, whole = (
            self._by_meaning(question, title, encoded) if self.encoder else self._by_words(question, title, parts)
        )
        asked = wanted(question)
        told = np.array([any(tells(kind, part.text) for kind in asked) for part in parts])
        order = [int(i) for i in np.argsort(-(near + WHOLE_WEIGHT * whole + TOLD_WEIGHT * told), kind="stable")]
        best = order[0]
        features = {
            "near": float(near[best]),
            "whole": float(whole[best]),
            "units": math.log(len(parts)),
            "wanted": float(bool(asked)),
            "told": float(told[best]),
        }
        is_told = told[best] if EXACT.intersection(asked) else told.any()
        likely = 0.0 if asked and not is_told else self._likely(features)
        return Found(parts[best], likely, features, tuple(parts[i] for i in order[1:4]))

    def read_ahead(self, questions: Sequence[str]) -> None:
        """Encode together what will be asked next: of an answer's time most goes into its question, and many take a third of the
        time that they take one by one. A question that is mended is read again."""
        if self.encoder and len(questions) > 1:
            self._ahead = dict(zip(questions, self.encoder.encode(questions), strict=True))

    def mended(self, question: str, title: str, content: str) -> str:
        """The question with its misspelled words as they were meant, about this product."""
        known = dict.fromkeys((*plain_words(title), *QUESTIONS_WORDS, *plain_words(content)))
        return mended(question, known, plain_words(title), self.is_word, self._correct)

    def _likely(self, features: dict[str, float]) -> float:
        model = self._model
        logit = model["bias"] + sum(weight * features[name] for name, weight in model["weights"].items())
        return 1 / (1 + math.exp(-logit))

    def _record(self, content: str) -> tuple[list[Unit], list[Any]]:
        if content in self._kept:
            self._kept.move_to_end(content)
            return self._kept[content]
        parts = units(content)
        encoded = self.encoder.encode([part.text for part in parts]) if self.encoder else []
        self._kept[content] = parts, encoded
        if len(self._kept) > KEPT_RECORDS:
            self._kept.popitem(last=False)
        return parts, encoded

    def _by_meaning(self, question: str, title: str, encoded: list[Any]) -> tuple[np.ndarray, np.ndarray]:
        assert self.encoder
        asked = self._ahead.get(question) or self.encoder.encode([question])[0]
        weights = self._token_weights(question, title, asked.spans)
        whole = np.array([float(one.whole @ asked.whole) for one in encoded])
        if not weights.sum():
            return whole, whole
        near = [
            float((weights * (asked.tokens @ one.tokens.T).max(1)).sum() / weights.sum()) if len(one.tokens) else 0.0
            for one in encoded
        ]
        return np.array(near), whole

    def _token_weights(self, question: str, title: str, spans: np.ndarray) -> np.ndarray:
        """How much each token of the question counts: its word's weight, shared among the word's tokens; marks nothing."""
        named = set(stems(title))
        weights = np.zeros(len(spans))
        for word in WORD.finditer(question):
            mine = [i for i, (start, end) in enumerate(spans) if start >= word.start() and end <= word.end()]
            for i in mine:
                weights[i] = self._weight(word[0].casefold(), named) / len(mine)
        return weights

    def _weight(self, word: str, named: set[str]) -> float:
        root = stem(word)
        known = STOP_WEIGHT if word in STOP else 1.0
        return self.weights[root] * known * (TITLE_WEIGHT if root in named else 1.0)

    def _by_words(self, question: str, title: str, parts: list[Unit]) -> tuple[np.ndarray, np.ndarray]:
        named = set(stems(title))
        asked = {stem(w): self._weight(w, named) for w in map(str.casefold, WORD.findall(question))}
        total = sum(asked.values()) or 1.0
        near = np.array([sum(asked[w] for w in set(stems(p.text)) & asked.keys()) / total for p in parts])
        size = np.array([1 / math.sqrt(1 + len(stems(p.text))) for p in parts])
        return near, near * size


def shown(unit: Unit, question: str) -> str:
    """A unit as it is shown: whole, or of a long one the stretch of words that has most of the question's."""
    words = unit.text.split()
    if len(words) <= MAX_WORDS:
        return unit.text
    asked = set(_telling(question))
    hits = [sum(1 for s in stems(word) if s in asked) for word in words]
    held = [sum(hits[i : i + MAX_WORDS]) for i in range(len(words) - MAX_WORDS + 1)]
    most = max(held)
    best = [i for i, count in enumerate(held) if count == most]
    middle = best[len(best) // 2] if most else 0
    return " ".join(words[middle : middle + MAX_WORDS])


@lru_cache(maxsize=256)
def _telling(question: str) -> tuple[str, ...]:
    return tuple(stem(w) for w in re.findall(r"\w+", question.casefold()) if w not in STOP)
