"""Hyperparameters: their limits, their JSON, and the presets."""

import json
from typing import Any

import pytest

from pipeline.errors import SettingsError
from pipeline.models.bases import GPU_BASE
from pipeline.models.embedded import EMBEDDED, HUB_TWIN
from pipeline.models.encoder import ENCODER
from pipeline.models.family import CAUSAL, SEQ2SEQ
from pipeline.runs import settings
from pipeline.runs.settings import (
    ALL_LINEAR,
    CHOICES,
    LIMITS,
    PRESETS,
    QUICK,
    TrainingSettings,
    default_base,
    preset,
    rate_of,
    settings_for,
)
from tabs.training.settings_panel import brought_along

WHOLE = [name for name in LIMITS if isinstance(getattr(TrainingSettings, name), int)]


def test_original_is_the_experiment_that_did_not_learn() -> None:
    evidence = {
        "max_steps": 250,
        "per_device_train_batch_size": 3,
        "gradient_accumulation_steps": 8,
        "learning_rate": 5e-5,
        "lr_scheduler_type": "cosine",
        "warmup_ratio": 0.05,
        "weight_decay": 0.01,
        "optim": "adamw_torch",
        "lora_r": 16,
        "target_modules": list(ALL_LINEAR),
        "completion_only_loss": False,
        "max_length": 256,
        "precision": "fp16",
        "gradient_checkpointing": True,
        "packing": False,
        "questions": 15,
        "logging_steps": 1,
        "dataset_num_proc": 2,
    }
    assert {k: v for k, v in PRESETS["original"].as_dict().items() if k in evidence} == evidence


@pytest.mark.parametrize("name", ["recall", "quick"])
def test_the_other_presets_are_what_was_seen_to_work(name: str) -> None:
    chosen = PRESETS[name]
    assert chosen.preset == name
    assert chosen.learning_rate == {"recall": 4e-4, "quick": 3e-3}[name]
    assert chosen.completion_only_loss and chosen.questions == 15
    assert chosen.lora_r == chosen.lora_alpha == {"recall": 64, "quick": 32}[name]
    assert chosen.probes >= 2 and set(chosen.target_modules) == set(ALL_LINEAR)


@pytest.mark.parametrize(
    ("memory", "base"), [("8188 MiB", GPU_BASE), ("6144 MiB", EMBEDDED), ("[N/A]", GPU_BASE), ("", GPU_BASE)]
)
def test_the_larger_default_base_is_for_gpus_that_it_fits_on(
    memory: str, base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "gpus", lambda: [{"name": "A GPU", "memory": memory}])
    assert default_base() == base
    monkeypatch.setattr(settings, "gpus", list)
    assert default_base() == EMBEDDED


def test_another_base_has_another_rate_than_the_embedded_one_in_quick() -> None:
    its_address = f"https://huggingface.co/{HUB_TWIN}"
    for own in (EMBEDDED, HUB_TWIN, its_address, ""):
        assert rate_of("quick", own) == QUICK.learning_rate
    assert rate_of("quick", ENCODER) == rate_of("quick", "google/flan-t5-base") == SEQ2SEQ.quick_rate
    assert rate_of("quick", "google/gemma-3-270m") == CAUSAL.quick_rate < QUICK.learning_rate
    assert settings_for("quick", "google/gemma-3-270m").learning_rate == CAUSAL.quick_rate
    assert settings_for("quick", "google/gemma-3-270m", learning_rate=1e-3).learning_rate == 1e-3
    for name in ("recall", "original"):
        assert rate_of(name, "google/gemma-3-270m") == rate_of(name, EMBEDDED) == PRESETS[name].learning_rate


def test_a_base_that_is_chosen_brings_its_rate_and_leaves_a_person_s() -> None:
    def chosen(base: str, preset_name: str, rate: float) -> float:
        return brought_along(base, preset_name, rate)[1]

    rate = QUICK.learning_rate
    for base, its in (
        ("a/b", CAUSAL.quick_rate),
        ("google/flan-t5-base", SEQ2SEQ.quick_rate),
        ("a/b", CAUSAL.quick_rate),
        (EMBEDDED, rate),
    ):
        rate = chosen(base, "quick", rate)
        assert rate == its
    assert chosen("a/b", "quick", 1e-3) == 1e-3
    assert chosen(EMBEDDED, "recall", CAUSAL.quick_rate) == CAUSAL.quick_rate
    assert chosen("a/b", "recall", QUICK.learning_rate) == QUICK.learning_rate


@pytest.mark.parametrize("name", PRESETS)
def test_settings_go_through_json_unchanged(name: str) -> None:
    settings = preset(name, base_model="x", seed=3)
    assert TrainingSettings.from_dict(json.loads(json.dumps(settings.as_dict()))) == settings


@pytest.mark.parametrize("name", LIMITS)
def test_every_number_has_limits(name: str) -> None:
    low, high = LIMITS[name]
    for value in (low, high):
        if name not in ("max_steps", "num_train_epochs") or value:
            assert getattr(TrainingSettings(**{name: value}), name) == value
    for value in (low - 1, high + 1, float("nan"), float("inf"), -float("inf"), None, "8", True, [8], {}):
        with pytest.raises(SettingsError, match=f"{name} is .*; it must be a number between"):
            TrainingSettings(**{name: value})


@pytest.mark.parametrize("name", WHOLE)
def test_whole_numbers_are_whole(name: str) -> None:
    with pytest.raises(SettingsError, match=f"{name} is 33.5; it must be a whole number"):
        TrainingSettings(**{name: 33.5})
    value = getattr(TrainingSettings(**{name: 33.0}), name)
    assert value == 33 and isinstance(value, int)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        *[({name: "no such"}, f"{name} is 'no such'; choose one of") for name in CHOICES],
        *[({name: ["cosine"]}, f"{name} is") for name in CHOICES],
        ({"base_model": ""}, "No base model"),
        ({"base_model": "  "}, "No base model"),
        ({"base_model": 5}, "No base model"),
        ({"base_model": None}, "No base model"),
        ({"target_modules": ()}, "target_modules needs"),
        ({"target_modules": ("q_proj", "lm_head")}, "target_modules needs"),
        ({"max_steps": 0, "num_train_epochs": 0}, "nothing would be trained"),
    ],
    ids=str,
)
def test_what_cannot_work_is_refused_in_one_sentence(bad: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        TrainingSettings(**bad)


@pytest.mark.parametrize("values", [[], [1], None, 5, "", "text", {"no_such_setting": 1}, {"seed": 0, "__class__": 1}])
def test_json_that_is_no_settings_is_refused(values: Any) -> None:
    with pytest.raises(SettingsError):
        TrainingSettings.from_dict(values)


def test_unknown_presets_and_bad_changes_are_refused() -> None:
    with pytest.raises(SettingsError, match="There is no preset 'best'"):
        preset("best")
    with pytest.raises(SettingsError, match="lora_r is 0"):
        preset("quick", lora_r=0)


def test_the_effective_batch_is_the_user_s() -> None:
    assert PRESETS["original"].effective_batch_size == 24
    assert preset("quick", per_device_train_batch_size=5, gradient_accumulation_steps=3).effective_batch_size == 15


def test_large_models_are_loaded_in_4_bits_where_that_is_possible() -> None:
    assert settings_for("quick", "some/llama").load_in_4bit
    assert not settings_for("quick", EMBEDDED).load_in_4bit
