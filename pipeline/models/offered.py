"""The base models that the page and the docs offer by name: how large each is, and under which licence.

Sizes are those of each model's `config.json`, and licences those of its card, both as the Hugging Face Hub has them; so a run is
planned before anything is downloaded. Once a base is on this machine, its own files count (`config.base_shape`). Any other base
can be typed.
"""

from dataclasses import dataclass
from typing import Any

from pipeline.models.bases import GPU_BASE
from pipeline.models.embedded import EMBEDDED
from pipeline.models.gpu import is_quantised

SEQ2SEQ_BASE = "google/flan-t5-base"
"""The base with an encoder that is offered; `google/flan-t5-small`, `-large` and `-xl` are its other sizes."""


@dataclass(frozen=True)
class Offered:
    """A base model of the list.

    Attributes:
        weights: how many numbers it has, in billions, as its card says.
        gated: whether its terms must be accepted on the Hub, and HF_TOKEN be set, before it can be downloaded.
        config: what of its `config.json` decides how much memory it takes.
        beside: weights of a part that reads pictures, which is loaded and not trained.
    """

    name: str
    weights: float
    license: str
    config: dict[str, Any]
    gated: bool = False
    beside: int = 0

    @property
    def needs_gpu(self) -> bool:
        """Whether its files hold the weights in 4 bits, which nothing but an NVIDIA GPU computes in."""
        return is_quantised(self.config)

    @property
    def size(self) -> str:
        """Its weights in words."""
        return f"{self.weights * 1000:.0f}M" if self.weights < 1 else f"{self.weights:.1f}B"


def _decoder(
    kind: str, hidden: int, intermediate: int, layers: int, heads: int, keys: int, **more: Any
) -> dict[str, Any]:
    sizes = {"hidden_size": hidden, "intermediate_size": intermediate, "num_hidden_layers": layers}
    return {"model_type": kind, **sizes, "num_attention_heads": heads, "num_key_value_heads": keys, **more}


def _tied(vocabulary: int) -> dict[str, Any]:
    return {"vocab_size": vocabulary, "tie_word_embeddings": True}


_LLAMA_8B = _decoder("llama", 4096, 14336, 32, 32, 8, vocab_size=128256, quantization_config={})
_FLAN = {"d_model": 768, "d_ff": 2048, "num_layers": 12, "num_heads": 12, "d_kv": 64, "vocab_size": 32128}
_FLAN |= {"model_type": "t5", "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}

OFFERED: tuple[Offered, ...] = (
    Offered(EMBEDDED, 0.135, "Apache-2.0", _decoder("llama", 576, 1536, 30, 9, 3, **_tied(49152))),
    Offered(SEQ2SEQ_BASE, 0.248, "Apache-2.0", _FLAN),
    Offered(
        "google/gemma-3-270m",
        0.268,
        "Gemma Terms of Use",
        _decoder("gemma3_text", 640, 2048, 18, 4, 1, head_dim=256, **_tied(262144)),
        gated=True,
    ),
    Offered(
        "Qwen/Qwen3-0.6B", 0.6, "Apache-2.0", _decoder("qwen3", 1024, 3072, 28, 16, 8, head_dim=128, **_tied(151936))
    ),
    Offered(
        "Qwen/Qwen3-1.7B", 1.72, "Apache-2.0", _decoder("qwen3", 2048, 6144, 28, 16, 8, head_dim=128, **_tied(151936))
    ),
    Offered(
        "HuggingFaceTB/SmolLM3-3B", 3.08, "Apache-2.0", _decoder("smollm3", 2048, 11008, 36, 16, 4, **_tied(128256))
    ),
    Offered(
        "meta-llama/Llama-3.2-3B-Instruct",
        3.21,
        "Llama 3.2 Community License",
        _decoder("llama", 3072, 8192, 28, 24, 8, head_dim=128, **_tied(128256)),
        gated=True,
    ),
    Offered(
        "ibm-granite/granite-4.0-micro",
        3.4,
        "Apache-2.0",
        _decoder("granitemoehybrid", 2560, 8192, 40, 40, 8, **_tied(100352)),
    ),
    Offered("microsoft/Phi-4-mini-instruct", 3.84, "MIT", _decoder("phi3", 3072, 8192, 32, 24, 8, **_tied(200064))),
    Offered(
        "Qwen/Qwen3-4B-Instruct-2507",
        4.02,
        "Apache-2.0",
        _decoder("qwen3", 2560, 9728, 36, 32, 8, head_dim=128, **_tied(151936)),
    ),
    Offered(
        "google/gemma-3-4b-it",
        4.3,
        "Gemma Terms of Use",
        _decoder("gemma3_text", 2560, 10240, 34, 8, 4, head_dim=256, **_tied(262208)),
        gated=True,
        beside=420_000_000,
    ),
    Offered(GPU_BASE, 8.03, "Llama 3 Community License", _LLAMA_8B),
    Offered(
        "Qwen/Qwen3-8B", 8.19, "Apache-2.0", _decoder("qwen3", 4096, 12288, 36, 32, 8, head_dim=128, vocab_size=151936)
    ),
)
"""The smallest first."""


def offered(name: str) -> Offered | None:
    return next((one for one in OFFERED if one.name == name), None)
