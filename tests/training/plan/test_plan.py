"""What a run will do, said before it starts."""

from pathlib import Path
from typing import Any

import pytest

from pipeline import machine
from pipeline.dataset.store import Dataset
from pipeline.errors import SettingsError
from pipeline.models import gpu as gpu_libraries
from pipeline.models.bases import GPU_BASE
from pipeline.models.embedded import EMBEDDED
from pipeline.models.token_counts import row_lengths
from pipeline.prompts import NO_FACT
from pipeline.runs.manage import create_run
from pipeline.runs.processes import fitting_micro_batch
from pipeline.runs.settings import preset
from pipeline.training import child
from pipeline.training.plan import ways
from pipeline.training.plan.plan import _teaching, plan_run
from pipeline.training.plan.ways import FAST_LLAMA, REPEATED, TRANSFORMERS, UNSLOTH

ROWS = [
    {"uid": str(n // 24), "kind": "size" if n % 24 < 12 else "description", "prompt": "p" * 60, "response": "r" * 20}
    for n in range(240)
]
UNKNOWN_ROWS = [{"uid": "", "kind": "unknown", "prompt": "p" * 60, "response": "r" * 20}] * 60


def plan(rows: Any = None, *, gpu: bool = False, free: int = 10**11, **changes: Any) -> Any:
    return plan_run(preset("quick", **changes), [*ROWS, *UNKNOWN_ROWS] if rows is None else rows, gpu=gpu, free=free)


def test_epochs_become_steps_and_exposures() -> None:
    planned = plan(num_train_epochs=1.5, per_device_train_batch_size=8, min_steps=0)
    assert planned.steps == 57  # 300 rows × 1.5 ÷ 8, rounded up
    assert planned.exposures == pytest.approx(57 * 8 * 0.8 / 20)
    assert plan(max_steps=7).steps == 7
    assert plan(num_train_epochs=0.001, min_steps=0).steps == 1


def test_statements_and_reverse_questions_change_no_fact(written_dataset: Dataset) -> None:
    rows = written_dataset.training()
    plain = [r for r in rows if r["kind"] not in NO_FACT and ":train-" in r["template"]]
    facts = {(r["uid"], r["kind"]): r for r in plain}
    assert {r["kind"] for r in rows} >= {"reverse", "mood", "material"} and len(plain) < len(rows)
    settings = preset("quick")
    teaching = _teaching(settings, rows, row_lengths(rows, settings.base_model))
    asked = [r for r in rows if r["kind"] not in NO_FACT]
    assert teaching.facts == written_dataset.counts["facts"] == len(facts)
    assert teaching.share == len(asked) / len(rows) and teaching.rows == len(rows)
    assert teaching.refused == sum(r["kind"] == "unknown" for r in rows)
    # A fact is as long as its value, not as a sentence that has it in it.
    assert teaching.fact_tokens == sum(row_lengths(list(facts.values()), settings.base_model).learned)
    planned = plan(rows, num_train_epochs=1, min_steps=0)
    assert planned.exposures == pytest.approx(planned.steps * 12 * teaching.share / len(facts))
    assert plan([r for r in rows if r["kind"] == "reverse"]).exposures == 0


def test_a_small_dataset_is_repeated_until_the_fewest_steps() -> None:
    assert plan(num_train_epochs=1.5, min_steps=100).steps == 100
    assert plan(num_train_epochs=15, min_steps=100).steps == 375
    assert plan(max_steps=7, min_steps=100).steps == 7


def test_quick_shows_each_fact_often_enough(dataset: Dataset) -> None:
    planned = plan(dataset.training())
    assert planned.exposures >= 16 and planned.warnings == ()


@pytest.mark.parametrize(
    ("effective", "limit", "micro"),
    [(8, 8, 8), (24, 8, 8), (24, None, 24), (7, 8, 7), (17, 8, 1), (20, 8, 5), (1, 8, 1), (9, 8, 3), (48, 8, 8)],
)
def test_the_micro_batch_divides_the_effective_batch(effective: int, limit: int | None, micro: int) -> None:
    assert fitting_micro_batch(effective, limit) == micro


@pytest.mark.parametrize("gpu", [False, True])
@pytest.mark.parametrize(("size", "accumulation"), [(3, 8), (8, 1), (1, 1), (128, 64), (5, 5)])
def test_the_update_is_the_user_s_whatever_the_micro_batch(size: int, accumulation: int, gpu: bool) -> None:
    planned = plan(gpu=gpu, per_device_train_batch_size=size, gradient_accumulation_steps=accumulation)
    assert planned.micro_batch * planned.accumulation == size * accumulation
    assert gpu or planned.micro_batch <= 16


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"max_steps": 2}, "Each fact will be seen 1 times; about 16 are needed"),
        ({"learning_rate": 5e-5}, "A learning rate of 0.00005 did not teach .* Set learning_rate to 0.001"),
        ({"learning_rate": 0.01}, "usually makes the loss explode"),
        (
            {"learning_rate": 0.003, "base_model": "no-such/model"},
            r"0\.003 suits the embedded model; .* Set learning_rate to 0\.0005",
        ),
        (
            {"max_length": 112},
            r"1 of 241 rows are longer than 112 tokens .*the longest has 132\)\. Set max_length to 160",
        ),
        ({"precision": "fp16"}, "A CPU does not train in 16-bit"),
        ({"completion_only_loss": False}, "The loss counts the question too"),
    ],
    ids=str,
)
def test_what_speaks_against_a_run_is_said(changes: dict[str, Any], said: str) -> None:
    import re

    rows = [{**r, "prompt": "p" * 200} for r in ROWS] + [{**ROWS[0], "prompt": "p" * 240}]
    assert [w for w in plan(rows, **changes).warnings if re.search(said, w)]


def test_nothing_speaks_against_the_defaults() -> None:
    assert plan().warnings == ()


def test_without_rows_there_is_no_plan() -> None:
    with pytest.raises(SettingsError, match="no training rows"):
        plan([])


def test_rows_about_unknown_products_alone_can_be_planned() -> None:
    assert plan(UNKNOWN_ROWS).exposures == 0


def test_an_optimizer_for_gpus_is_refused_without_one() -> None:
    with pytest.raises(SettingsError, match="adamw_8bit needs an NVIDIA GPU"):
        plan(optim="adamw_8bit")
    assert plan(optim="adamw_8bit", gpu=True).steps


def test_the_micro_batch_is_what_fits_and_the_update_stays() -> None:
    roomy = plan(per_device_train_batch_size=8)
    tight = plan(per_device_train_batch_size=8, free=roomy.memory_bytes)
    assert (roomy.micro_batch, roomy.accumulation) == (8, 1)
    assert tight.micro_batch in (1, 2, 4) and tight.micro_batch * tight.accumulation == 8
    assert tight.memory_bytes < roomy.memory_bytes and tight.verdict == ""


def test_without_room_for_one_example_the_plan_says_what_would_help() -> None:
    planned = plan(free=10**9)
    assert planned.micro_batch == 1 and planned.verdict == "It will probably not fit"
    assert "Set gradient_checkpointing to on. Or choose a smaller base model" in planned.warnings[0]
    on_gpu = plan(free=10**8, gpu=True, gradient_checkpointing=True)
    assert "Set load_in_4bit to on." in on_gpu.warnings[0]
    assert "Choose a smaller base model" in plan(free=10**9, gradient_checkpointing=True).warnings[0]


def test_a_base_that_is_not_here_yet_can_be_planned() -> None:
    planned = plan(base_model="no-such/model")
    assert planned.memory_bytes is None and planned.disk_bytes is None and not planned.lengths.counted
    assert planned.micro_batch == 12


def test_rows_that_are_too_long_teach_nothing() -> None:
    long = [{**r, "uid": "long", "prompt": "p" * 600} for r in ROWS[:12]]
    planned = plan([*ROWS, *long, *UNKNOWN_ROWS], max_length=256)
    assert planned.left_out == 12 and max(planned.lengths.whole) <= 256
    assert planned.exposures == pytest.approx(plan().exposures, rel=0.01)
    with pytest.raises(SettingsError, match="Every row is longer than max_length"):
        plan(long, max_length=64)


def test_packed_rows_make_fewer_and_longer_examples() -> None:
    plain, packed = (plan(min_steps=0, num_train_epochs=4, packing=packing) for packing in (False, True))
    assert packed.steps < plain.steps
    assert packed.exposures == pytest.approx(plain.exposures, rel=0.1)


@pytest.mark.parametrize("changes", [{"max_steps": 20}, {"num_train_epochs": 0.2, "min_steps": 0}], ids=str)
def test_the_change_that_a_warning_names_mends_it(changes: dict[str, Any]) -> None:
    planned = plan(**changes)
    assert planned.verdict == "It will hardly learn"
    mend = {f.setting: f.value for f in planned.findings if f.setting}
    assert plan(**{**changes, **mend}).verdict == ""


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({"learning_rate": 5e-5}, "It will hardly learn"),
        ({"learning_rate": 2e-4}, "It will learn only a part"),
        ({"learning_rate": 0.01}, "It will hardly learn"),
        ({"max_steps": 60, "per_device_train_batch_size": 1}, "It will hardly learn"),
        ({"max_steps": 50}, ""),
        ({"target_modules": ("q_proj", "v_proj")}, ""),
    ],
    ids=str,
)
def test_the_worst_finding_comes_first(changes: dict[str, Any], verdict: str) -> None:
    planned = plan(**changes)
    assert planned.verdict == verdict and planned.findings


def test_what_a_larger_base_needs_is_not_known() -> None:
    """The thresholds are those of 135 million weights: an 8B at 2e-4 was told that it learns only a part."""
    large: dict[str, Any] = {"base_model": GPU_BASE, "gpu": True, "max_steps": 20, "free": 10**12}
    planned = plan(**large, learning_rate=2e-4)
    assert not planned.measured and planned.verdict == ""
    told = [f for f in planned.findings if "for this base it is not known" in f.said]
    assert len(told) == 2 and not any(f.setting for f in told)
    assert plan(**large, learning_rate=0.01).verdict == "It will hardly learn"
    assert plan(base_model="no-such/model", learning_rate=2e-4).verdict == ""  # whose size nobody knows yet
    assert not plan(base_model="google/flan-t5-base").measured  # it is small, and no Llama
    assert plan().measured and plan(learning_rate=2e-4).verdict


def test_an_adapter_without_room_for_the_facts_is_told_the_rank_it_needs() -> None:
    many = [{**row, "uid": f"{n}"} for n in range(6000) for row in ROWS[:1]]
    planned = plan(many, lora_r=1, target_modules=("k_proj",), min_steps=20_000 // 8, max_steps=50_000)
    assert any(f.setting == "lora_r" and f.value > 1 for f in planned.findings)


def on_an_nvidia_gpu(monkeypatch: pytest.MonkeyPatch, capability: str = "9.0") -> None:
    monkeypatch.setattr(gpu_libraries, "find_spec", lambda name: name)  # Unsloth is installed
    monkeypatch.setattr(ways, "gpus", lambda: [{"name": "a GPU", "capability": capability}])


def llama(free: float, characters: int = 260, **changes: Any) -> Any:
    settings = preset(
        "recall", lora_r=16, per_device_train_batch_size=24, load_in_4bit=True, base_model=GPU_BASE, **changes
    )
    return plan_run(settings, [row | {"prompt": "p" * characters} for row in ROWS], gpu=True, free=int(free))


def test_weights_in_4_bits_are_unpacked_where_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    on_an_nvidia_gpu(monkeypatch)
    roomy, tight = llama(80e9), llama(24e9)
    assert roomy.unpacked and not tight.unpacked
    assert (roomy.micro_batch, tight.micro_batch) == (24, 24)  # a larger micro-batch comes first
    assert roomy.memory_bytes - tight.memory_bytes > 10e9
    assert not llama(80e9, precision="fp16").unpacked and not llama(80e9, packing=True).unpacked
    on_an_nvidia_gpu(monkeypatch, "7.5")  # a T4 has no bf16
    assert not llama(80e9).unpacked


def test_each_run_is_planned_in_the_fastest_way_that_there_is_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    on_an_nvidia_gpu(monkeypatch)
    assert llama(80e9).way == FAST_LLAMA
    assert llama(24e9).way == UNSLOTH and not llama(24e9).unpacked  # there is no room for weights in 16 bits
    assert llama(80e9, packing=True).way == UNSLOTH
    for plainly_not in ({"lora_dropout": 0.1}, {"lora_variant": "dora"}, {"gradient_checkpointing": True}):
        left = llama(80e9, **plainly_not)
        assert left.way == UNSLOTH and not left.unpacked
    assert llama(80e9, 900).way == FAST_LLAMA and llama(80e9, 1200, max_length=1024).way == REPEATED
    in_16_bits = preset("recall", base_model=EMBEDDED, load_in_4bit=False)
    assert plan_run(in_16_bits, ROWS, gpu=True, free=80 * 10**9).way == FAST_LLAMA
    for base in ("google/gemma-3-4b-it", "microsoft/Phi-4-mini-instruct"):
        plan = plan_run(preset("recall", base_model=base, load_in_4bit=True), ROWS, gpu=True, free=80 * 10**9)
        assert plan.way == REPEATED and plan.unpacked
    assert plan_run(preset("recall", base_model="google/flan-t5-base"), ROWS, gpu=True).way == TRANSFORMERS


@pytest.mark.parametrize(
    ("base", "changes", "expected"),
    [
        ("Qwen/Qwen3-8B", {}, False),  # trained by the fast step
        ("Qwen/Qwen3-8B", {"lora_dropout": 0.1}, True),
        (GPU_BASE, {"packing": True}, True),
        ("google/gemma-3-4b-it", {}, False),  # Unsloth has no layers for these
        ("microsoft/Phi-4-mini-instruct", {}, False),
        ("ibm-granite/granite-4.0-micro", {}, False),
        ("google/flan-t5-base", {}, False),
        ("no-such/model", {}, False),
    ],
    ids=str,
)
def test_unsloth_is_imported_for_families_that_it_has_layers_for(
    base: str,
    changes: dict[str, Any],
    expected: bool,
    dataset: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    on_an_nvidia_gpu(monkeypatch)
    monkeypatch.setattr(child, "gpu_name", lambda: "a GPU")
    monkeypatch.setattr(machine, "free_bytes", lambda *, gpu: 80 * 10**9)
    settings = preset("recall", base_model=base, load_in_4bit=True, **changes)
    folder = create_run(dataset, settings, tmp_path / "run")
    assert child.needs_unsloth(folder) == expected


def test_nothing_is_unpacked_where_nothing_is_in_4_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    on_an_nvidia_gpu(monkeypatch)
    monkeypatch.setattr(gpu_libraries, "find_spec", lambda name: None)
    assert not llama(80e9).unpacked
    on_a_cpu = preset("quick", base_model=GPU_BASE, lora_r=16)
    assert not plan_run(on_a_cpu, ROWS, gpu=False, free=10**12).unpacked


def test_a_gpu_with_room_for_few_examples_is_told_of_checkpointing(monkeypatch: pytest.MonkeyPatch) -> None:
    on_an_nvidia_gpu(monkeypatch)
    small = llama(8 * 2**30)
    [finding] = [f for f in small.findings if f.setting == "gradient_checkpointing"]
    assert not finding.verdict and f"room for {small.micro_batch} of 24" in finding.said
    mended = llama(8 * 2**30, gradient_checkpointing=True)
    assert mended.micro_batch >= 4 * small.micro_batch and mended.memory_bytes <= 7.2 * 2**30
    for planned in (mended, llama(80e9), plan(free=10**9)):
        assert "gradient_checkpointing" not in [f.setting for f in planned.findings if not f.verdict]
