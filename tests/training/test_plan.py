"""What a run will do, said before it starts."""

from typing import Any

import pytest

from pipeline.data.dataset import Dataset
from pipeline.errors import SettingsError
from pipeline.training.plan import fitting_micro_batch, plan_run
from pipeline.training.settings import preset

ROWS = [
    {"uid": str(n // 24), "kind": "size" if n % 24 < 12 else "description", "prompt": "p" * 60, "response": "r" * 20}
    for n in range(240)
]
UNKNOWN_ROWS = [{"uid": "", "kind": "unknown", "prompt": "p" * 60, "response": "r" * 20}] * 60


def plan(rows: Any = None, *, gpu: bool = False, **changes: Any) -> Any:
    return plan_run(preset("quick", **changes), [*ROWS, *UNKNOWN_ROWS] if rows is None else rows, gpu=gpu)


def test_epochs_become_steps_and_exposures() -> None:
    planned = plan(num_train_epochs=1.5, per_device_train_batch_size=8, min_steps=0)
    assert planned.steps == 57  # 300 rows × 1.5 ÷ 8, rounded up
    assert planned.exposures == pytest.approx(57 * 8 * 0.8 / 20)
    assert plan(max_steps=7).steps == 7
    assert plan(num_train_epochs=0.001, min_steps=0).steps == 1


def test_a_small_dataset_is_repeated_until_the_fewest_steps() -> None:
    assert plan(num_train_epochs=1.5, min_steps=100).steps == 100
    assert plan(num_train_epochs=15, min_steps=100).steps == 563
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
    assert gpu or planned.micro_batch <= 8


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"max_steps": 3}, "Each fact will be seen 1 times; about 16 are needed"),
        ({"learning_rate": 5e-5}, "A learning rate of 0.00005 did not teach .* Set learning_rate to 0.001"),
        ({"learning_rate": 0.01}, "usually makes the loss explode"),
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
