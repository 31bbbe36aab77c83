"""What stands in for a model's modules during a batch's pass: the same outcome, fewer operations, and nothing of it stays."""

from collections import Counter
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.models.gemma3.modeling_gemma3 import Gemma3RMSNorm
from transformers.models.qwen3.modeling_qwen3 import Qwen3RMSNorm
from transformers.pytorch_utils import Conv1D

from pipeline.models.decoding import decode
from pipeline.models.fused import (
    FusedLora,
    FusedModules,
    Inputs,
    TunedRows,
    fused_norm,
    grouped_attention,
    is_plain_lora,
)
from pipeline.models.static_cache import StaticBatch
from tests.models.test_static_cache import MOST, adapted, generated, prompts_for, said

MIXED = [None, None, "default", "default"]


class Counted(TorchDispatchMode):
    """How often each operation is called that is more than another view of the same memory."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls[str(func).split(".")[1]] += not func.is_view and "view" not in str(func)
        return func(*args, **(kwargs or {}))


class Norms(TorchFunctionMode):
    """How often PyTorch's RMS norm is called: on a CPU it is several operations, on a GPU one."""

    calls = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls += func is functional.rms_norm
        return func(*args, **(kwargs or {}))


@torch.no_grad()
def step_of(model: Any, by: list[str | None]) -> tuple[Tensor, Counter[str]]:
    """A step's logits and operations."""
    batch = StaticBatch(model, prompts_for(), by, MOST)
    batch.read(batch.prompts)
    ids, place = batch.prompts[:, -1:], torch.tensor([batch.read_so_far])
    with Norms() as norms, Counted() as counted:
        logits = batch.step(ids, place)
    return logits, counted.calls + Counter(fused_norms=norms.calls)


def replaced(model: Any) -> tuple[Any, ...]:
    """What a pass may replace: forwards, hooks, and the attention of every part."""
    configs = [module.config for module in model.modules() if hasattr(module, "config")]
    return (
        [name for name, module in model.named_modules() if "forward" in vars(module) or module._forward_hooks],
        [config._attn_implementation for config in configs if not isinstance(config, dict)],
    )


@pytest.mark.parametrize("name", ["qwen3", "gemma-3", "gemma-3-4b", "phi-3"])
def test_a_step_is_fewer_operations_with_the_same_outcome(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, by = adapted(name), ["default"] * 4
    for part, weight in model.named_parameters():
        if "norm" in part:
            weight.data += 0.3 * torch.randn(weight.shape)
    lora = sum(map(is_plain_lora, model.modules()))
    logits, fewer = step_of(model, by)
    monkeypatch.setattr(FusedModules, "in_place", lambda _: nullcontext())
    same, more = step_of(model, by)
    torch.testing.assert_close(logits, same, rtol=1e-4, atol=1e-4)
    # The last product of an adapter and the sum are one, and so are queries, keys and values, and the gate and what it opens.
    inputs = 4 * model.config.get_text_config().num_hidden_layers
    assert fewer["addmm_"] == inputs <= lora and more["addmm_"] == 0
    assert fewer["mm"] == more["mm"] - 3 * lora + 2 * inputs
    # Keys and values are copied where they are repeated, and a mask is made into numbers in every layer.
    assert more["clone"] > 0 == fewer["clone"] and more["where"] > 0 == fewer["where"]
    assert fewer["fused_norms"] == more["rsqrt"] > 0 == more["fused_norms"]
    on_cpu = 6  # operations of a norm that is one on a GPU
    assert fewer.total() - on_cpu * fewer["fused_norms"] < 0.7 * more.total()


@pytest.mark.parametrize("name", ["qwen3", "gemma-3"])
def test_a_base_in_bf16_with_an_adapter_in_fp32(name: str) -> None:
    model = adapted(name)
    logits, _ = step_of(model, MIXED)
    for part, weight in model.named_parameters():
        weight.data = weight.data if "lora_" in part else weight.data.bfloat16()
    rounded, calls = step_of(model, MIXED)
    assert rounded.dtype == torch.bfloat16 and calls["addmm_"] == 8 and calls["fused_norms"] == calls["rsqrt"] > 0
    assert (rounded - logits).norm() < 0.03 * logits.norm()


def test_rows_of_the_base_cost_nothing_and_an_adapter_that_is_off_neither() -> None:
    model = adapted("qwen3")
    (_, mixed), (_, tuned), (_, base) = (step_of(model, by) for by in (MIXED, ["default"] * 4, [None] * 4))
    assert mixed == tuned and not base["addmm_"]
    with model.disable_adapter():
        off = step_of(model, [None] * 4)[1]
    assert off.pop("mm") == base.pop("mm") + 6 and off == base  # where nothing has an adapter, no layers are joined


@pytest.mark.parametrize("name", ["qwen3", "gemma-3-4b"])
@pytest.mark.parametrize("options", [{}, {"target_modules": ["q_proj", "lm_head", "embed_tokens"]}])
def test_nothing_stays_in_place_of_the_models_own(name: str, options: dict[str, Any]) -> None:
    model = adapted(name, **options)
    before = replaced(model)
    step_of(model, ["default"] * 4 if options else MIXED)
    assert replaced(model) == before and before[0] == []
    prompts = prompts_for()
    tuned = generated(model, prompts)
    assert said(model, prompts, ["default"] * 4) == tuned and generated(model, prompts) == tuned


def test_nothing_stays_after_an_error_inside_either(monkeypatch: pytest.MonkeyPatch) -> None:
    model, during = adapted("gemma-3-4b"), []
    batch, before = StaticBatch(model, prompts_for(), MIXED, MOST), replaced(model)

    def fails(*_: Any, **__: Any) -> Any:
        during.append(replaced(model))
        raise RuntimeError("out of memory")

    monkeypatch.setattr(type(model.get_base_model().lm_head), "forward", fails)
    with torch.no_grad(), pytest.raises(RuntimeError, match="out of memory"):
        batch.read(batch.prompts)
    assert during and during[0] != before and replaced(model) == before


def test_an_adapter_on_some_layers_changes_those_alone() -> None:
    model, prompts = (
        adapted("qwen3", target_modules=["layers.1.self_attn.q_proj", "layers.0.mlp.down_proj"]),
        prompts_for(),
    )
    tuned = generated(model, prompts)
    with model.disable_adapter():
        base = generated(model, prompts)
    assert tuned != base and step_of(model, MIXED)[1]["addmm_"] == 2
    assert said(model, prompts * 2, ["default"] * 4 + [None] * 4) == tuned + base


def test_layers_that_are_not_fused_leave_the_bases_rows_as_they_are_too() -> None:
    model, prompts = adapted("qwen3"), prompts_for()
    tuned = generated(model, prompts)
    with model.disable_adapter():
        base = generated(model, prompts)
    for name, module in model.named_modules():
        if name.endswith(("q_proj", "down_proj")):
            module.forward = module.forward  # as accelerate sets its own
    assert step_of(model, MIXED)[1]["addmm_"] == 6
    assert said(model, prompts * 2, ["default"] * 4 + [None] * 4) == tuned + base
    assert len(replaced(model)[0]) == 4  # which are those of before


class Same(nn.Linear):
    """Gives back what it gets."""

    def forward(self, x: Tensor) -> Tensor:
        return x


class Kept(nn.Module):
    """Gives the same piece of memory each time."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.kept = nn.Linear(8, 8), torch.zeros(4, 3, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.kept.view(x.shape).copy_(self.layer(x))


def test_lora_of_some_rows_also_where_a_layer_sees_all_tokens_as_one_row() -> None:
    model = nn.ModuleDict({"plain": nn.Linear(8, 6), "turned": Conv1D(6, 8)})
    tuned = get_peft_model(
        nn.Sequential(model), LoraConfig(r=2, target_modules=["plain", "turned"], init_lora_weights=False)
    )
    x, rows = torch.randn(4, 3, 8), TunedRows([None, "default", "default", None])
    with torch.no_grad():
        for layer in filter(is_plain_lora, tuned.modules()):
            whole, base, fused = layer(x), layer.base_layer(x), FusedLora(layer, rows, Inputs())
            wanted = torch.stack([base[0], *whole[1:3], base[3]])
            torch.testing.assert_close(fused(x), wanted)
            torch.testing.assert_close(fused(x.flatten(0, 1)), wanted.flatten(0, 1))
            rows.keep([1, 3])
            torch.testing.assert_close(fused(x[[1, 3]]), wanted[[1, 3]])
            rows.keep([1])
            torch.testing.assert_close(fused(x[[3]]), wanted[[3]])
            rows = TunedRows([None, "default", "default", None])
    with pytest.raises(ValueError, match="side by side"):
        TunedRows(["default", None, "default"])


@torch.no_grad()
def test_layers_with_one_input_are_one_from_the_second_pass_on() -> None:
    model = adapted("qwen2.5")  # of which some have a bias
    for part, weight in model.named_parameters():
        if part.endswith("bias"):
            weight.normal_()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    batch = StaticBatch(model, prompts_for(), MIXED, MOST)
    batch.read(batch.prompts)
    lora = lora_of(batch)
    groups = [
        [each.layer for each in lora if each.joined is joined] for joined in dict.fromkeys(e.joined for e in lora)
    ]
    attention, mlp = model.get_base_model().model.layers[0].self_attn, model.get_base_model().model.layers[0].mlp
    assert [attention.q_proj, attention.k_proj, attention.v_proj] in groups and [mlp.gate_proj, mlp.up_proj] in groups
    assert sum(each.joined is None for each in lora) == 4  # output and down, in two layers
    ids = batch.prompts[:, -1:]
    for rows in (range(4), [1, 3], [1]):  # from all down to one of each side, and to the base's alone
        other = StaticBatch(model, prompts_for(), MIXED, MOST)
        other.read(other.prompts)
        for each in lora_of(other):
            each.joined = None
        joined = StaticBatch(model, prompts_for(), MIXED, MOST)
        joined.read(joined.prompts)
        for one in (other, joined):
            one.keep(rows)
        torch.testing.assert_close(joined.read(ids[list(rows)]), other.read(ids[list(rows)]), rtol=1e-4, atol=1e-4)
        assert all(each.joined is None or each.joined.x is None for each in lora_of(joined))  # nothing is held
        assert joined.fused.inputs.last is None
    after = model.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(after[name], weight) for name, weight in before.items())


def test_adapters_on_different_layers_do_not_move_the_weights_to_and_fro() -> None:
    model = adapted("qwen3")
    config = LoraConfig(r=2, target_modules=["q_proj", "v_proj", "gate_proj", "up_proj"], init_lora_weights=False)
    model.add_adapter("other", config)
    prompts, places = prompts_for(), []
    wanted = {}
    for name in ("default", "other"):
        model.set_adapter(name)
        wanted[name] = generated(model, prompts)
    for name in ("default", "other", "default"):
        model.set_adapter(name)
        assert decode(model, prompts, [name] * 4, max_new_tokens=MOST, ends=(), batch=StaticBatch) == wanted[name]
        places.append([weight.data_ptr() for weight in model.parameters()])
    assert places[0] == places[1] == places[2] and wanted["default"] != wanted["other"]


def lora_of(batch: StaticBatch) -> list[FusedLora]:
    return [forward for _, forward in batch.fused.forwards if isinstance(forward, FusedLora)]


def test_memory_that_a_layer_shares_is_not_added_to() -> None:
    x, rows = torch.randn(4, 3, 8), TunedRows(["default"] * 4)
    config = LoraConfig(r=2, target_modules=["0"], init_lora_weights=False)
    layer = get_peft_model(nn.Sequential(nn.Linear(8, 8)), config).base_model.model[0]
    for base in (Same(8, 8), Kept()):
        layer.base_layer = base
        with torch.no_grad():
            before, wanted = x.clone(), layer(x)
            torch.testing.assert_close(FusedLora(layer, rows, Inputs())(x), wanted)
            torch.testing.assert_close(x, before, rtol=0, atol=0)
            if isinstance(base, Kept):
                torch.testing.assert_close(base.kept, base.layer(x), rtol=0, atol=0)


def test_lora_that_is_more_than_a_product_is_left_alone() -> None:
    def layer(**options: Any) -> Any:
        config = LoraConfig(**{"r": 2, "target_modules": ["0"], **options})
        return get_peft_model(nn.Sequential(nn.Linear(8, 8)), config).base_model.model[0]

    assert is_plain_lora(layer()) and not is_plain_lora(nn.Linear(8, 8))
    assert not is_plain_lora(layer(use_dora=True)) and not is_plain_lora(layer(lora_bias=True))
    merged, off = layer(), layer()
    merged.merge()
    off.enable_adapters(False)
    assert not is_plain_lora(merged) and not is_plain_lora(off)


class Outside(Qwen3RMSNorm):
    """Adds to the root instead of to what stands under it."""

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * x / (x.pow(2).mean(-1, keepdim=True).sqrt() + self.variance_epsilon)


class Gated(Qwen3RMSNorm):
    def forward(self, x: Tensor, gate: Tensor | None = None) -> Tensor:
        return super().forward(x)


class Heads(Qwen3RMSNorm):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.view(x.shape[0], 2, 3, -1))


@pytest.mark.parametrize("kind", [Qwen3RMSNorm, Gemma3RMSNorm])
def test_an_rms_norm_is_known_by_what_it_computes(kind: Any) -> None:
    norm, x = kind(16, eps=1e-5), torch.randn(4, 3, 16) / 100
    nn.init.normal_(norm.weight)
    weight, state = norm.weight.detach().clone(), torch.get_rng_state()
    forward = fused_norm(norm)
    assert forward
    torch.testing.assert_close(forward(x), norm(x))
    half = norm.bfloat16()
    torch.testing.assert_close(forward(x.bfloat16()), half(x.bfloat16()))  # of another format than it was made for
    fused = fused_norm(half)
    assert fused
    torch.testing.assert_close(fused(x.bfloat16()), half(x.bfloat16()), rtol=2e-2, atol=1e-2)
    assert torch.equal(half.weight, weight.bfloat16()) and torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(
    "norm",
    [
        nn.LayerNorm(16),
        nn.LayerNorm(16, bias=False),
        Outside(16),
        Gated(16),
        Heads(16),
        nn.BatchNorm1d(16),
        nn.Linear(4, 4),
    ],
    ids=lambda norm: type(norm).__name__,
)
def test_what_is_no_rms_norm_is_left_alone(norm: nn.Module) -> None:
    assert fused_norm(norm) is None
    assert fused_norm(norm) is None  # also when it is known


@pytest.mark.parametrize(("heads", "keys", "length"), [(4, 2, 1), (4, 1, 1), (4, 4, 1), (4, 2, 3)])
@pytest.mark.parametrize("mask", [None, "seen", "numbers", "heads"])
def test_attention_of_grouped_heads_is_transformers(heads: int, keys: int, length: int, mask: str | None) -> None:
    module = nn.Module()
    module.num_key_value_groups, module.is_causal = heads // keys, False
    query = torch.randn(2, length, heads, 8).transpose(1, 2)
    key, value = torch.randn(2, 2, keys, 5, 8)
    seen = torch.rand(2, heads if mask == "heads" else 1, length, 5) > 0.3
    seen[..., 0] = True
    given = torch.zeros(seen.shape).masked_fill(~seen, -torch.inf) if mask == "numbers" else seen if mask else None
    with Counted() as counted:
        found, _ = grouped_attention(module, query, key, value, given, scaling=0.3, sliding_window=None)
    wanted, _ = sdpa_attention_forward(module, query, key, value, given, scaling=0.3)
    torch.testing.assert_close(found, wanted)
    assert found.shape == (2, length, heads, 8) and found.is_contiguous()
    if length == 1 and mask != "heads":
        assert not counted.calls["clone"]
    bias = torch.randn(1, heads, length, 5)
    found, _ = grouped_attention(module, query, key, value, given, scaling=0.3, position_bias=bias)
    wanted, _ = sdpa_attention_forward(module, query, key, value, given, scaling=0.3, position_bias=bias)
    torch.testing.assert_close(found, wanted)
