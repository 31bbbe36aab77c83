"""Own decoding against Transformers': the same tokens, whoever answers, and only what it covers."""

import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, PromptTuningConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from pipeline.catalogue.catalogue import SAMPLE, read_catalogue
from pipeline.models import prefixes
from pipeline.models.batch import CapturedStep
from pipeline.models.config import is_plain_llama
from pipeline.models.decoding import (
    TOP_K,
    DecodingBatch,
    decode,
    decodes,
    has_prepacked,
    plain_matrix,
    prepack,
    projections,
    side_by_side,
    turning_speeds,
)
from pipeline.models.embedded import converted_folder
from pipeline.models.family import CAUSAL
from pipeline.models.language_model import LanguageModel
from pipeline.models.prefixes import answer_logits
from pipeline.prompts import build_prompt, encode_prompt
from tests.families import BUILT_AS_LLAMAS, FAMILIES, build_family, outspoken

ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
NOBODY_ENDS: frozenset[int] = frozenset()
Make = Callable[..., Any]


@pytest.fixture
def make(tiny_base: Path) -> Make:
    """The random tiny model in fp32, with adapters strong enough to change what it says."""

    def made(*adapters: dict[str, Any]) -> Any:
        model: Any = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32).eval()
        torch.manual_seed(0)
        for name, options in zip(("default", "other"), adapters, strict=False):
            config = LoraConfig(**{"target_modules": ALL, "r": 4, "lora_alpha": 8, **options})
            if name == "default":
                model = get_peft_model(model, config).eval()
            else:
                model.add_adapter(name, config)
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight)
        return model

    return made


def prompts_for(model: Any, count: int = 7) -> list[list[int]]:
    torch.manual_seed(1)
    return [torch.randint(10, model.config.vocab_size, (3 + 5 * n,)).tolist() for n in range(count)]


def plainly(model: Any, prompts: list[list[int]], by: list[str | None], most: int, ends: Any = ()) -> list[list[int]]:
    """Greedy answers of Transformers and PEFT: one prompt after the other, every token of it read anew."""
    found = []
    for prompt, who in zip(prompts, by, strict=True):
        said: list[int] = []
        if isinstance(model, PeftModel):
            model.set_adapter(who or "default")
        with torch.no_grad(), model.disable_adapter() if isinstance(model, PeftModel) and not who else torch.no_grad():
            while len(said) < most and (not said or said[-1] not in ends):
                said.append(int(model(torch.tensor([prompt + said]), use_cache=False).logits[0, -1].argmax()))
        found.append(said)
    return found


@pytest.mark.parametrize(
    "adapters",
    [
        [],
        [{}],
        [{"use_rslora": True, "lora_alpha": 3}],
        [{"rank_pattern": {"k_proj": 2, "up_proj": 7}, "alpha_pattern": {"v_proj": 3}}],
        [{"target_modules": ["v_proj", "down_proj"]}],
        [{}, {"r": 2, "target_modules": ["q_proj", "o_proj", "up_proj"]}],
    ],
    ids=str,
)
def test_every_row_says_what_transformers_says(adapters: list[dict[str, Any]], make: Make) -> None:
    model = make(*adapters)
    prompts = prompts_for(model)
    names = [None, "default", "other"][: len(adapters) + 1]
    by = [names[n % len(names)] for n in range(len(prompts))]
    assert decodes(model)
    expected = plainly(model, prompts, by, most=9)
    assert decode(model, prompts, by, max_new_tokens=9, ends=NOBODY_ENDS) == expected
    if adapters:
        assert decode(model, prompts, [None] * len(prompts), max_new_tokens=9, ends=NOBODY_ENDS) != expected


@pytest.fixture
def kin(request: pytest.FixtureRequest) -> Any:
    """A random model that is built as a Llama, with an adapter that changes what it says."""
    model: Any = get_peft_model(outspoken(build_family(request.param)), LoraConfig(target_modules=ALL, r=4)).eval()
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, 0, 0.3)
    return model


def test_which_families_are_built_as_llamas() -> None:
    assert [name for name in FAMILIES if decodes(build_family(name))] == list(BUILT_AS_LLAMAS)


@pytest.mark.parametrize("kin", BUILT_AS_LLAMAS, indirect=True)
def test_families_that_are_built_as_llamas_say_what_transformers_says(kin: Any) -> None:
    prompts, by = prompts_for(kin), [None, "default"] * 3 + [None]
    expected = plainly(kin, prompts, by, most=9)
    assert decode(kin, prompts, by, max_new_tokens=9, ends=NOBODY_ENDS) == expected
    assert decode(kin, prompts, [None] * 7, max_new_tokens=9, ends=NOBODY_ENDS) != expected
    prepack(kin)
    assert decode(kin, prompts, by, max_new_tokens=9, ends=NOBODY_ENDS) == expected
    for who in (None, "default"):
        rows = [n for n, each in enumerate(by) if each == who]
        answers = [expected[n] for n in rows]
        for at, logits in answer_logits(kin, [prompts[n] for n in rows], answers, who):
            assert logits.argmax(-1).tolist() == answers[at]


@pytest.mark.parametrize("bound", ["AT_ONCE", "MOST_SCORES", "MOST_LOGITS"])
def test_texts_are_read_fewer_at_once_where_they_would_take_too_much(
    bound: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = outspoken(build_family("qwen3"))
    prompts = prompts_for(model)
    answers = [prompt[:3] for prompt in prompts]
    passes: list[int] = []
    model.model.embed_tokens.register_forward_hook(lambda *_: passes.append(1))
    together = dict(answer_logits(model, prompts, answers, None))
    assert len(passes) == 1
    monkeypatch.setattr(prefixes, bound, {"AT_ONCE": 2, "MOST_SCORES": 2 * 8**2, "MOST_LOGITS": 2 * 3 * 96}[bound])
    apart = dict(answer_logits(model, prompts, answers, None))
    assert len(passes) >= 1 + len(prompts) / 2 and together.keys() == apart.keys()
    for at, logits in together.items():
        assert torch.allclose(apart[at], logits, atol=1e-5)


@torch.no_grad()
def test_keys_with_a_large_bias_are_told_apart_in_bf16_too() -> None:
    """Qwen2's make scores of hundreds, between which bf16 has steps of one and two."""
    model = outspoken(build_family("qwen2.5", rope_parameters={"rope_type": "default", "rope_theta": 1e12}))
    for layer in model.model.layers:  # where the positions hardly turn, so that all places' scores are alike as high
        layer.self_attn.q_proj.bias.copy_(torch.tensor([0.0, 1.0, 0.0, 1.0] * 4))
        layer.self_attn.k_proj.bias.copy_(torch.tensor([0.0, 60.0, 0.0, 60.0] * 2))
    prompts = [torch.randint(3, 96, (40,), generator=torch.Generator().manual_seed(n)).tolist() for n in range(6)]
    answers = [prompt[:12] for prompt in prompts]

    def said() -> torch.Tensor:
        return torch.cat([found for _, found in sorted(answer_logits(model, prompts, answers, None))]).float()

    exact = said()
    model.to(torch.bfloat16)
    batch = torch.tensor([prompt + answer[:-1] for prompt, answer in zip(prompts, answers, strict=True)])
    usual = model(batch).logits[:, 39:].flatten(0, 1).float()
    assert (said() - exact).norm() < 1.3 * (usual - exact).norm()


@torch.no_grad()
def test_a_step_of_fixed_shape_says_the_same(make: Make) -> None:
    model = make({})
    prompts, by = prompts_for(model), [None] * 3 + ["default"] * 4
    growing, fixed = DecodingBatch(model, prompts, by, 12), DecodingBatch(model, prompts, by, 12)
    logits = growing.read(growing.prompts)
    assert torch.equal(logits, fixed.read(fixed.prompts))
    step = CapturedStep(fixed, fixed.read_so_far)
    for _ in range(12):
        tokens = logits.argmax(-1)[:, None]
        logits = growing.read(tokens)
        torch.testing.assert_close(step.read(fixed, tokens), logits, rtol=1e-4, atol=1e-4)
    assert growing.captured is None


@torch.no_grad()
def test_a_batch_is_gone_as_soon_as_nobody_needs_it(make: Make) -> None:
    """Its keys and values are gigabytes on a GPU, where each step is a graph that works on them."""
    model = make({})
    batch = DecodingBatch(model, prompts_for(model), [None] * 7, 12)
    batch.captured = CapturedStep(batch, batch.read_so_far)
    batch.captured.read(batch, batch.prompts[:, :1])
    cache = weakref.ref(batch.cache[0])
    gc.disable()
    try:
        del batch
        assert cache() is None
    finally:
        gc.enable()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 0.02)], ids=str)
@torch.no_grad()
def test_prepacked_matrices_give_the_same_answers(make: Make, dtype: torch.dtype, tolerance: float) -> None:
    model = make({}, {"r": 2}).to(dtype)
    prompts, by = prompts_for(model), [None, "default", "other", None, "default", "other", None]
    plain = DecodingBatch(model, prompts, by, 8)
    logits = plain.read(plain.prompts)
    prepack(model)
    fast = DecodingBatch(model, prompts, by, 8)
    assert bool(fast.prepacked) == has_prepacked(dtype)
    assert all((g.prepacked is not None) == has_prepacked(dtype) for _, groups in fast.layers for g in groups)
    assert torch.equal(fast.read(fast.prompts), logits)  # many tokens at once: the plain ones
    for _ in range(8):
        tokens = logits.argmax(-1)[:, None]
        logits = plain.read(tokens)
        torch.testing.assert_close(fast.read(tokens), logits, rtol=tolerance, atol=tolerance)


def test_what_has_no_such_product_is_not_prepacked(make: Make) -> None:
    model = make({}).to(torch.float16)
    prepack(model)
    assert not hasattr(model.get_base_model(), "prepacked")


LLAMA_3 = {"factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}


@pytest.mark.parametrize("rope", [{"rope_type": "default"}, {"rope_type": "llama3", **LLAMA_3}], ids=str)
def test_positions_turn_as_in_transformers(rope: dict[str, Any]) -> None:
    config = LlamaConfig(
        hidden_size=64, intermediate_size=96, num_hidden_layers=1, num_attention_heads=4, vocab_size=50,
        rope_parameters={"rope_theta": 500000.0, **rope},
    )  # fmt: skip
    model: Any = LlamaForCausalLM(config)
    assert torch.equal(turning_speeds(model), model.model.rotary_emb.inv_freq)
    growing = LlamaConfig(rope_parameters={"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0})
    assert is_plain_llama(config.to_dict()) and not is_plain_llama(growing.to_dict())


def test_answers_end_one_after_another_and_the_others_go_on(make: Make) -> None:
    model = make({})
    prompts = prompts_for(model, 12)
    by = [None, "default"] * 6
    whole = plainly(model, prompts, by, most=12)
    ends = {said[2 + n] for n, said in enumerate(whole[:8])}  # each is somebody's token, and not at the same step
    expected = plainly(model, prompts, by, most=12, ends=ends)
    assert len({len(said) for said in expected}) > 3
    told: list[list[int]] = []
    rows: list[int] = []
    model.get_base_model().model.embed_tokens.register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0])))
    found = decode(
        model, prompts, by, max_new_tokens=12, ends=ends, on_step=lambda s: told.append(list(map(len, s))) or ()
    )
    assert found == expected
    assert rows[0] == 12 and rows[-1] < 12 and rows == sorted(rows, reverse=True)  # who has ended is computed no more
    assert told[0] == [1] * 12 and told[-1] == list(map(len, expected))


def test_it_stops_when_it_is_told_to(make: Make) -> None:
    model = make()
    everybody = range(7)
    found = decode(
        model,
        prompts_for(model),
        [None] * 7,
        max_new_tokens=50,
        ends=(),
        on_step=lambda said: everybody if len(said[0]) == 3 else (),
    )
    assert list(map(len, found)) == [3] * 7


def test_an_answer_that_nobody_wants_ends_and_the_others_go_on(make: Make) -> None:
    model = make({})
    prompts, by = prompts_for(model), [None, "default"] * 3 + [None]
    whole = decode(model, prompts, by, max_new_tokens=12, ends=NOBODY_ENDS)
    rows: list[int] = []
    model.get_base_model().model.embed_tokens.register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0])))
    unwanted = {1: 4, 6: 4, 3: 9}  # by the tokens after which nobody wants it
    found = decode(
        model,
        prompts,
        by,
        max_new_tokens=12,
        ends=NOBODY_ENDS,
        on_step=lambda said: [at for at, most in unwanted.items() if len(said[at]) >= most],
    )
    assert found == [said[: unwanted.get(at, 12)] for at, said in enumerate(whole)]
    assert rows[0] == 7 and rows[-1] == 5


def test_what_is_drawn_follows_the_temperature(make: Make) -> None:
    model = make()
    prompt = prompts_for(model, 1)[0]
    with torch.no_grad():
        logits = model(torch.tensor([prompt])).logits[0, -1].float()
    logits[logits < logits.topk(TOP_K).values[-1]] = -torch.inf
    shares = (logits / 0.5).softmax(-1)
    torch.manual_seed(3)
    drawn = [a[0] for a in decode(model, [prompt] * 4000, [None] * 4000, max_new_tokens=1, ends=(), temperature=0.5)]
    found = torch.bincount(torch.tensor(drawn), minlength=len(shares)) / len(drawn)
    assert float((found - shares).abs().max()) < 0.03
    assert len(set(drawn)) > 5


def test_an_adapter_that_is_not_there_is_refused(make: Make) -> None:
    for model in (make(), make({})):
        with pytest.raises(ValueError, match="no adapter"):
            decode(model, prompts_for(model, 1), ["other"], max_new_tokens=2, ends=())


@pytest.mark.parametrize(
    "adapter",
    [
        {"use_dora": True},
        {"lora_bias": True},
        {"modules_to_save": ["lm_head"]},
        {"target_modules": ["q_proj", "lm_head"]},
        {"target_modules": ["q_proj", "embed_tokens"]},
        {"trainable_token_indices": [5]},
    ],
    ids=str,
)
def test_what_it_does_not_cover_it_says(adapter: dict[str, Any], make: Make) -> None:
    assert not decodes(make(adapter))
    soft = get_peft_model(make(), PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2))
    assert not decodes(soft)
    merged = make({})
    assert decodes(merged)
    merged.merge_adapter()
    assert not decodes(merged)
    config = LlamaConfig(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, vocab_size=9)
    assert decodes(LlamaForCausalLM(config))
    odd = LlamaConfig(**{**config.to_dict(), "hidden_act": "gelu"})
    assert not decodes(LlamaForCausalLM(odd))


def test_the_base_s_matrices_stay_as_they_are_and_are_there_once(make: Make) -> None:
    model = make({})
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    for _ in range(2):
        decode(model, prompts_for(model, 2), [None, "default"], max_new_tokens=2, ends=())
    after = model.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(after[name], weight) for name, weight in before.items())
    for layer in model.get_base_model().model.layers:
        for group in projections(layer):
            matrices = [matrix for each in group if (matrix := plain_matrix(each))]
            whole = side_by_side(matrices)
            assert whole.data_ptr() == matrices[0].weight.data_ptr()  # nothing is copied a second time
            assert torch.equal(whole, torch.cat([matrix.weight for matrix in matrices]))


def test_questions_to_the_embedded_model_are_answered_as_by_transformers() -> None:
    """Token for token in fp32 with real weights, by the base and through an adapter."""
    folder = converted_folder()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    torch.manual_seed(0)
    model = get_peft_model(model, LoraConfig(target_modules=ALL, r=8, lora_alpha=8)).eval()
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.06)
    titles = [product.title for product in read_catalogue(SAMPLE).sample(6, seed=0)]
    prompts = [
        encode_prompt(tokenizer, build_prompt(title, question))
        for title in titles
        for question in ("What is this product?", "What size is it?")
    ]
    language_model = LanguageModel(model, tokenizer, "embedded", "", adapter="strong")
    ends = language_model.end_tokens()
    said: dict[bool, list[list[int]]] = {True: [], False: []}
    for start in range(0, len(prompts), 6):
        batch = prompts[start : start + 6]
        both = decode(model, batch * 2, [None] * 6 + ["default"] * 6, max_new_tokens=16, ends=ends)
        said[False] += both[:6]
        said[True] += both[6:]
    assert sum(a != b for a, b in zip(said[False], said[True], strict=True)) > 6
    for tuned in (False, True):
        expected = []
        for start in range(0, len(prompts), 6):
            padded = CAUSAL.asked(prompts[start : start + 6], tokenizer.pad_token_id, model.device)
            with language_model.side(tuned), torch.no_grad():
                output = model.generate(**padded, generation_config=language_model._generation(16))
            expected += [
                [*row, *ends][: next((i + 1 for i, t in enumerate(row) if t in ends), len(row))]
                for row in output[:, padded["input_ids"].shape[1] :].tolist()
            ]
        assert said[tuned] == expected
