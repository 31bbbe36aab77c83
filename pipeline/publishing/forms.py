"""The forms in which a run's model can be published, and what the child that makes one leaves in its folder."""

from dataclasses import dataclass
from typing import Literal, get_args

Form = Literal["adapter", "merged", "gguf"]
FORMS: tuple[Form, ...] = get_args(Form)

ADAPTER_CONFIG, GGUF, GGUF_8 = "adapter_config.json", "model.gguf", "model-q8_0.gguf"

Loaded = Literal["fp32", "unpacked", "4 bits", "its 4 bits"]
"""How a base was loaded when what was made of it was checked: in fp32; so, of 4 bits; in 4 bits, of whole numbers or as its own
files have it, computing in bf16."""

MARKS: dict[Form, str] = {"adapter": ADAPTER_CONFIG, "merged": "config.json", "gguf": GGUF}
"""The file by which a form is known in a repository: two in one would be taken for each other."""

MADE, PROGRESS, FILES = "made.json", "progress.jsonl", "files"
"""In the child's folder: what was made and checked, the way there, and the folder with what is published."""


@dataclass(frozen=True)
class Made:
    """What a form of the model is, as the process that made it tells.

    Attributes:
        form: one of `FORMS`.
        dtype: the number format of its weights.
        checked: questions that the reloaded files were asked.
        loaded: how the base was loaded for that, as `Loaded` has it.
        same_in_8_bits: of those questions, how many the GGUF file in 8 bits answers token for token as well.
        seq2seq: whether it reads the prompt in an encoder and answers in a decoder.
    """

    form: str
    dtype: str
    checked: int
    loaded: Loaded = "fp32"
    same_in_8_bits: int = 0
    seq2seq: bool = False
