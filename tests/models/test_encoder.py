"""The encoder from its wheel: found without importing, checked, and near where the meaning is near."""

import subprocess
import sys

import numpy as np
import pytest

from pipeline.errors import ModelError
from pipeline.files import PROJECT
from pipeline.models import encoder
from pipeline.models.encoder import encoder_or_none, load_encoder, wheel_folder

needs_wheel = pytest.mark.skipif(wheel_folder() is None, reason="the encoder's wheel is not installed")


@needs_wheel
def test_the_wheel_is_found_and_never_imported() -> None:
    load_encoder()
    assert not [name for name in sys.modules if name.startswith("gt_all")]


@needs_wheel
def test_tokens_stand_where_they_say_and_have_length_one() -> None:
    text = "It weighs 2.9 pounds."
    found = load_encoder().encode([text])[0]
    assert [text[a:b] for a, b in found.spans] == ["It", "weighs", "2", ".", "9", "pounds", "."]
    assert np.allclose(np.linalg.norm(found.tokens, axis=1), 1, atol=1e-5)
    assert np.isclose(np.linalg.norm(found.whole), 1, atol=1e-5)


@needs_wheel
def test_meaning_is_nearer_than_words() -> None:
    asked, near, far = load_encoder().encode(["how heavy is it", "It weighs 3 pounds.", "It is a heavy metal album."])
    assert asked.whole @ near.whole > asked.whole @ far.whole


@needs_wheel
def test_a_batch_says_what_each_text_says_alone() -> None:
    texts = ["short", "a somewhat longer text about a garden hose", ""]
    together = load_encoder().encode(texts)
    for text, one in zip(texts, together, strict=True):
        alone = load_encoder().encode([text])[0]
        assert np.allclose(alone.whole, one.whole, atol=1e-4)
        assert alone.tokens.shape == one.tokens.shape


def test_without_the_wheel_words_alone_decide(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(encoder, "_WHEEL", "no-such-wheel")
    with pytest.raises(ModelError, match="not installed"):
        load_encoder()
    assert encoder_or_none() is None
    assert "words alone" in caplog.text


@needs_wheel
def test_a_damaged_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "_SHA256", "0" * 64)
    with pytest.raises(ModelError, match="damaged"):
        load_encoder()


@needs_wheel
def test_it_is_loaded_without_a_word() -> None:
    """What Transformers says of it is nothing that a person could use, and stands in the way on a terminal."""
    code = "from pipeline.models.encoder import load_encoder; load_encoder()"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PROJECT)
    assert loaded.returncode == 0 and not loaded.stdout + loaded.stderr, loaded.stderr
