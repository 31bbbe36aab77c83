"""Decoding by Transformers' own forward at fixed places against its `generate`: the same tokens, whatever the family."""

import gc
import weakref
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.utils._python_dispatch import TorchDispatchMode

from pipeline.models.batch import CapturedStep
from pipeline.models.config import ALL_LINEAR
from pipeline.models.decoding import decode
from pipeline.models.family import padded
from pipeline.models.layers import targets
from pipeline.models.static_cache import FITS, StaticBatch, mixes, takes_static_cache
from tests.families import FAMILIES, build_family

KEEPS_OTHERWISE = {"qwen3.5", "granite-4", "lfm2", "falcon-h1"}
"""Some of their layers keep something else than keys and values."""

LOOKS = {"gpt-oss", "qwen3-moe"}
"""They choose experts by what is to be seen."""

TAKES = sorted(set(FAMILIES) - KEEPS_OTHERWISE - LOOKS)
WINDOW = {"gemma-2", "gemma-3"}
MOST = 12


def adapted(name: str, **options: Any) -> Any:
    """A family's random model with an adapter strong enough to change what it says; a window shorter than the text."""
    model = build_family(name, **({"sliding_window": 8} if name in WINDOW else {}))
    if hasattr(model.config, "image_token_id"):
        model.config.image_token_id = 95  # one that there is, as in the published ones
    torch.manual_seed(3)
    with torch.no_grad():
        for weight in model.parameters():  # so that every layer has a say
            if weight.dim() > 1:
                weight.normal_(0, 0.3)
    config = LoraConfig(**{"r": 4, "lora_alpha": 8, **targets(model, ALL_LINEAR, experts=True), **options})
    model = get_peft_model(model, config).eval()
    for weight_name, weight in model.named_parameters():
        if "lora_B" in weight_name:
            torch.nn.init.normal_(weight, 0, 0.3)
    return model


def prompts_for(count: int = 4) -> list[list[int]]:
    torch.manual_seed(1)
    return [torch.randint(3, 96, (3 + 5 * n,)).tolist() for n in range(count)]


def generated(model: Any, prompts: list[list[int]]) -> list[list[int]]:
    batch = padded(prompts, 0, "cpu", left=True)
    options = {"max_new_tokens": MOST, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    return model.generate(**batch, **options)[:, batch["input_ids"].shape[1] :].tolist()


def said(model: Any, prompts: list[list[int]], by: list[str | None]) -> list[list[int]]:
    return decode(model, prompts, by, max_new_tokens=MOST, ends=(), batch=StaticBatch)


def test_which_families_are_decoded_so() -> None:
    assert [name for name in FAMILIES if takes_static_cache(build_family(name))] == [n for n in FAMILIES if n in TAKES]


@pytest.mark.parametrize("name", TAKES)
def test_every_row_says_what_transformers_says(name: str) -> None:
    model, prompts = adapted(name), prompts_for()
    assert takes_static_cache(model)
    tuned = generated(model, prompts)
    assert said(model, prompts, ["default"] * 4) == tuned
    with model.disable_adapter():
        base = generated(model, prompts)
        assert said(model, prompts, [None] * 4) == base
    assert base != tuned
    if mixes(model):
        assert said(model, prompts * 2, ["default"] * 4 + [None] * 4) == tuned + base
        assert said(model, prompts, ["default"] * 4) == tuned  # nothing stays


def test_a_short_text_is_turned_as_one_after_a_long_one() -> None:
    """Phi-4-mini turns positions otherwise in long texts, and keeps how until the next short one."""
    model, prompts = adapted("phi-4-mini"), prompts_for()
    tuned = generated(model, prompts)
    with torch.no_grad():
        model(torch.arange(200)[None] % 96)
    rope = model.get_base_model().model.rotary_emb
    assert not torch.equal(rope.inv_freq, rope.original_inv_freq)
    assert said(model, prompts, ["default"] * 4) == tuned
    assert takes_static_cache(model, 128) and not takes_static_cache(model, 129)


def test_rows_that_have_ended_leave_the_others_as_they_are() -> None:
    model, prompts = adapted("gemma-3"), prompts_for()
    tuned = generated(model, prompts)
    ends = {tuned[0][1], tuned[2][3]}
    by = ["default", "default", "default", None]
    found = decode(model, prompts, by, max_new_tokens=MOST, ends=ends, batch=StaticBatch)
    with model.disable_adapter():
        base = generated(model, prompts)
    for row, whole in zip(found, [*tuned[:3], base[3]], strict=True):
        cut = next((i + 1 for i, token in enumerate(whole) if token in ends), MOST)
        assert row == whole[:cut]
    assert {len(row) for row in found} != {MOST}


class LooksAtNothing(TorchDispatchMode):
    """Refuses what a CUDA graph cannot hold: a look at a value, also by a mask as an index, and a number from Python."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        refused = (
            "_local_scalar_dense",
            "nonzero",
            "is_nonzero",
            "lift_fresh",
            "equal.default",
            "_unique",
            "masked_select",
        )
        indices = args[1] if str(func).startswith(("aten.index.", "aten.index_put")) else ()
        by_mask = any(index is not None and index.dtype == torch.bool for index in indices)
        if by_mask or any(name in str(func) for name in refused):
            raise AssertionError(f"a step calls {func}")
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", TAKES)
@torch.no_grad()
def test_a_step_looks_at_no_value_and_says_the_same(name: str) -> None:
    model, prompts, by = adapted(name), prompts_for(), ["default", "default", None, None]
    by = by if mixes(model) else ["default"] * 4
    growing, fixed = StaticBatch(model, prompts, by, MOST), StaticBatch(model, prompts, by, MOST)
    logits = growing.read(growing.prompts)
    assert torch.equal(logits, fixed.read(fixed.prompts))
    step = CapturedStep(fixed, fixed.read_so_far)
    for _ in range(MOST):
        tokens = logits.argmax(-1)[:, None]
        logits = growing.read(tokens)
        with LooksAtNothing():
            again = step.read(fixed, tokens)
        torch.testing.assert_close(again, logits, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_a_batch_is_gone_as_soon_as_nobody_needs_it() -> None:
    model, prompts = adapted("qwen3"), prompts_for()
    batch = StaticBatch(model, prompts, ["default", "default", None, None], MOST)
    batch.captured = CapturedStep(batch, batch.read_so_far)
    batch.read(batch.prompts)
    batch.captured.read(batch, batch.prompts[:, :1])
    keys = weakref.ref(batch.kept[0].keys)
    gc.disable()
    try:
        del batch
        assert keys() is None
    finally:
        gc.enable()


def test_a_capture_that_fails_leaves_the_answer_whole_and_the_next_to_transformers(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: Any, **__: Any) -> Any:
        raise RuntimeError("operation not permitted when stream is capturing")

    for name, value in (("CUDAGraph", object), ("graph", fails), ("current_stream", object)):
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(torch.cuda, "stream", lambda _: nullcontext())
    model, prompts, by = adapted("qwen3"), prompts_for(), ["default"] * 4
    growing, fixed = StaticBatch(model, prompts, by, MOST), StaticBatch(model, prompts, by, MOST)
    with torch.no_grad():
        logits = growing.read(growing.prompts)
        fixed.read(fixed.prompts)
        step = CapturedStep(fixed, fixed.read_so_far)
        step.is_tried = False  # as on a GPU
        for _ in range(MOST):
            tokens = logits.argmax(-1)[:, None]
            logits = growing.read(tokens)
            torch.testing.assert_close(step.read(fixed, tokens), logits, rtol=1e-4, atol=1e-4)
    assert getattr(model.get_base_model(), FITS) is False and not takes_static_cache(model)
    assert caplog.text.count("not permitted") == 1


def test_a_lack_of_memory_says_nothing_about_the_next_time() -> None:
    model = adapted("qwen3")
    StaticBatch(model, prompts_for(), ["default"] * 4, MOST).capture_failed(torch.OutOfMemoryError("no room"))
    assert takes_static_cache(model)


def test_adapters_that_cannot_share_a_batch_with_the_base() -> None:
    assert mixes(adapted("qwen3"))
    assert not mixes(adapted("qwen3", use_dora=True))
    assert not mixes(adapted("qwen3", target_modules=["embed_tokens", "q_proj"]))
    assert not mixes(adapted("qwen3", modules_to_save=["lm_head"]))
    assert not mixes(adapted("qwen3", lora_bias=True))
    assert not mixes(build_family("qwen3"))
