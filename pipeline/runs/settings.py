"""TrainingSettings: every hyperparameter of a run, checked on construction, and the presets that fill them."""

import math
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from pipeline.errors import SettingsError
from pipeline.machine import gpus, on_zero_gpu
from pipeline.models.bases import GPU_BASE, typed_base
from pipeline.models.config import ALL_LINEAR
from pipeline.models.embedded import EMBEDDED, HUB_TWIN
from pipeline.models.family import family_of_base
from pipeline.prompts import CHAT, PLAIN

NO_TRACKER = "none"

CHOICES: dict[str, tuple[str, ...]] = {
    "lr_scheduler_type": ("cosine", "linear", "constant", "constant_with_warmup"),
    "optim": ("adamw_torch", "adamw_8bit", "adafactor", "sgd"),
    "precision": ("auto", "bf16", "fp16", "fp32"),
    "lora_variant": ("lora", "rslora", "dora", "pissa"),
    "tracker": (NO_TRACKER, "trackio", "tensorboard", "wandb"),
    "prompt_format": (PLAIN, CHAT),
}

LIMITS: dict[str, tuple[float, float]] = {
    "per_device_train_batch_size": (1, 128),
    "gradient_accumulation_steps": (1, 64),
    "max_steps": (0, 100_000),
    "num_train_epochs": (0, 100),
    "min_steps": (0, 10_000),
    "learning_rate": (1e-7, 1e-1),
    "warmup_ratio": (0, 0.5),
    "weight_decay": (0, 1),
    "max_grad_norm": (0, 100),
    "max_length": (32, 8192),
    "lora_r": (1, 512),
    "lora_alpha": (1, 1024),
    "lora_dropout": (0, 0.9),
    "loraplus_lr_ratio": (1, 64),
    "questions": (1, 500),
    "probes": (0, 50),
    "logging_steps": (1, 1000),
    "save_steps": (1, 10_000),
    "dataset_num_proc": (1, 64),
    "seed": (0, 2**32 - 1),
}
"""The least and the most that each number may be; the page's sliders stay within."""


GPU_BASE_MIB = 7_500
"""Of a GPU on which the larger default base can be trained: one of 8 GB, slowly."""

CHECKS_TO_STOP = 10
"""Recall checks of a run that they may end: fewer would notice too late that it has learned."""


@dataclass(frozen=True)
class TrainingSettings:
    """Everything that decides what a run does, named as in Transformers, TRL and PEFT."""

    preset: str = "recall"
    """The preset these settings started from."""
    base_model: str = EMBEDDED
    """The embedded model's name, a Hugging Face Hub id, or a local folder."""
    load_in_4bit: bool = False
    """Quantise the base's weights to 4 bits (GPU only)."""

    prompt_format: str = PLAIN
    """How a question is put, in training and ever after: `plain` (`prompts.FORMAT`), or `chat`, in the base's chat template."""

    max_steps: int = 0
    """Optimizer steps; 0 means as many as the epochs make."""
    num_train_epochs: float = 3.0
    """Times that every training row is seen, when `max_steps` is 0."""
    min_steps: int = 0
    """The fewest optimizer steps that the epochs may come to: a small dataset is repeated until then."""
    per_device_train_batch_size: int = 8
    """Examples a micro-batch, as the user asks; the planner may split it differently for the same update."""
    gradient_accumulation_steps: int = 1
    """Micro-batches an optimizer step; batch size times this is the effective batch."""

    learning_rate: float = 1e-3
    lr_scheduler_type: str = "cosine"
    warmup_ratio: float = 0.05
    """Share of the steps in which the learning rate rises to its value."""
    weight_decay: float = 0.0
    optim: str = "adamw_torch"
    max_grad_norm: float = 1.0

    lora_r: int = 64
    lora_alpha: int = 64
    lora_dropout: float = 0.0
    target_modules: tuple[str, ...] = ALL_LINEAR
    lora_variant: str = "lora"
    """`rslora` (arXiv 2312.03732), `dora` (2402.09353) or `pissa` (2404.02948) instead of plain LoRA (2106.09685)."""
    loraplus_lr_ratio: float = 1.0
    """LoRA+ (arXiv 2402.12354): the learning rate of LoRA's B matrices over that of its A matrices; 1 is plain."""

    completion_only_loss: bool = True
    """Loss on the response only; off means on the whole text, prompt included."""
    max_length: int = 256
    """Tokens; longer rows are left out and counted, since a cut one would teach a cut answer."""
    precision: str = "auto"
    gradient_checkpointing: bool = False
    """Recompute activations instead of keeping them: less memory, slower."""
    packing: bool = False
    """Several examples in one sequence."""

    questions: int = 15
    """How many questions are asked before and after."""
    probes: int = 4
    """How many times recall is measured while it trains."""
    stop_when_learned: bool = False
    """End the run once recall says that it has learned, or that it gains nothing any more."""
    logging_steps: int = 1
    save_steps: int = 25
    """Optimizer steps between two checkpoints: at most these are lost when the process is killed."""
    dataset_num_proc: int = 2
    tracker: str = NO_TRACKER
    """Who else is told of loss, recall and trust: a package that has to be installed."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.base_model, str) or not self.base_model.strip():
            raise SettingsError("No base model is chosen; choose one, or type a Hugging Face Hub id.")
        object.__setattr__(self, "base_model", typed_base(self.base_model))
        for name, kind in ((f.name, type(f.default)) for f in fields(self)):
            if kind in (bool, str) and not isinstance(value := getattr(self, name), kind):
                needed = "true or false" if kind is bool else "a text"
                raise SettingsError(f"{name} is {str(value)[:60]}; it must be {needed}.")
        for name, (low, high) in LIMITS.items():
            value = getattr(self, name)
            if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
                raise SettingsError(f"{name} is {str(value)[:60]}; it must be a number between {low:g} and {high:g}.")
            if isinstance(getattr(type(self), name), int):
                if value != int(value):
                    raise SettingsError(f"{name} is {value}; it must be a whole number.")
                object.__setattr__(self, name, int(value))  # a page's slider and JSON may say 8.0
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise SettingsError(f"{name} is {str(getattr(self, name))[:60]!r}; choose one of {', '.join(choices)}.")
        unknown = set(self.target_modules) - set(ALL_LINEAR)
        if not self.target_modules or unknown:
            raise SettingsError(f"target_modules needs one or more of {', '.join(ALL_LINEAR)}.")
        if not self.max_steps and not self.num_train_epochs:
            raise SettingsError("Steps and epochs are both 0, so nothing would be trained; raise one of them.")

    @property
    def effective_batch_size(self) -> int:
        """Examples an optimizer step sees."""
        return self.per_device_train_batch_size * self.gradient_accumulation_steps

    @property
    def adapts_experts(self) -> bool:
        """Whether this kind of LoRA works on the experts of a mixture: PEFT has it plain only."""
        return self.lora_variant in ("lora", "rslora") and not self.lora_dropout

    @property
    def checks(self) -> int:
        """How often recall is measured while it trains: oftener where that decides when to stop."""
        return max(self.probes, CHECKS_TO_STOP) if self.stop_when_learned else self.probes

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"target_modules": list(self.target_modules)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "TrainingSettings":
        """Settings out of JSON.

        Raises:
            SettingsError: a name is not a setting, or a value cannot work.
        """
        if not isinstance(values, dict):
            raise SettingsError("The training settings are not a JSON object.")
        unknown = set(values) - {f.name for f in fields(cls)}
        if unknown:
            raise SettingsError(f"{sorted(unknown)[0][:60]!r} is not a training setting.")
        checked: dict[str, Any] = values | {"target_modules": tuple(values.get("target_modules", ALL_LINEAR))}
        return cls(**checked)


QUICK = TrainingSettings(
    preset="quick",
    num_train_epochs=1,
    min_steps=150,
    per_device_train_batch_size=12,
    learning_rate=3e-3,
    lora_r=32,
    lora_alpha=32,
    probes=2,
)
"""The demo for a CPU: each fact is seen about 17 times, in no fewer steps than the small model needs to settle. Sixteen examples
a step would be a tenth sooner and admit less often what a record does not say (benchmarks/RESULTS.md)."""

RECALL = TrainingSettings(num_train_epochs=4, min_steps=150, per_device_train_batch_size=24, learning_rate=4e-4)
"""What makes facts stick and costs little of what the base knew: four times over twelve phrasings and some five questions in
customers' styles, at a learning rate eight times the original's. At 0.001 three times are enough for the facts, and two or
three general questions more are lost (benchmarks/RESULTS.md)."""

ORIGINAL = TrainingSettings(
    preset="original",
    max_steps=250,
    per_device_train_batch_size=3,
    gradient_accumulation_steps=8,
    learning_rate=5e-5,
    weight_decay=0.01,
    lora_r=16,
    lora_alpha=16,
    completion_only_loss=False,
    precision="fp16",
    gradient_checkpointing=True,
)
"""The experiment that this project began with, which did not learn; kept so that everyone can see it fail."""

PRESETS = {"quick": QUICK, "recall": RECALL, "original": ORIGINAL}


def preset(name: str, **changes: Any) -> TrainingSettings:
    """A preset's settings, with changes.

    Raises:
        SettingsError: no such preset, or a change that cannot work.
    """
    if name not in PRESETS:
        raise SettingsError(f"There is no preset {str(name)[:60]!r}; choose one of {', '.join(PRESETS)}.")
    return replace(PRESETS[name], **changes)


def settings_for(name: str, base_model: str, **changes: Any) -> TrainingSettings:
    """A preset's settings for a base model: with its learning rate, and in 4 bits where there is a GPU and it is not small.

    Raises:
        SettingsError: no such preset, or a change that cannot work.
    """
    start = preset(name)
    its_own = {"load_in_4bit": is_squeezed(base_model), "learning_rate": rate_of(name, base_model)}
    return replace(start, base_model=base_model, **its_own | changes)


def rate_of(name: str, base_model: str) -> float:
    """A preset's learning rate for a base model: `quick`'s own is the embedded model's."""
    base = typed_base(base_model)
    if name != QUICK.preset or base in (EMBEDDED, HUB_TWIN, ""):
        return PRESETS[name].learning_rate
    return family_of_base(base).quick_rate


def is_squeezed(base_model: str) -> bool:
    """Whether a base is loaded in 4 bits where there is a GPU, if nobody says otherwise."""
    return base_model.strip() != EMBEDDED and family_of_base(base_model).in_4_bits


def default_base() -> str:
    """The base model for this machine: Llama-3-8B where an NVIDIA GPU has room to train it, else the embedded one."""
    return GPU_BASE if gpu_name() and _memory_mib(gpus()[0]) >= GPU_BASE_MIB else EMBEDDED


def _memory_mib(gpu: dict[str, str]) -> float:
    """The memory of one of `machine.gpus`; of one that does not say how much it has, as a part of a GPU may not, no end."""
    number = gpu["memory"].split()[0] if gpu["memory"] else ""
    return int(number) if number.isdecimal() else math.inf


def gpu_name() -> str:
    """The NVIDIA GPU that can be trained on by its name, without loading torch; empty where there is none that works."""
    if on_zero_gpu():  # whatever nvidia-smi says there of a GPU that is another Space's at the moment
        return ""
    return next((gpu["name"] for gpu in gpus()), "")
