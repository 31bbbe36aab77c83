"""The child process that makes what can be published of a run's model: `python -m pipeline.publishing.make RUN FORM DIR`.

Three forms: the adapter, the model with the adapter merged into it, and that as GGUF files for llama.cpp and Ollama.
Whatever is made is loaded again from its files alone and asked held-out questions: it must answer token for token as the
run's own model does, greedily: in fp32, or in bf16 beside a base in 4 bits. Only then is `made.json` written, beside
`progress.jsonl`, which tells the way there.

It uses plain Transformers and PEFT, never Unsloth: those who load what is published mostly have no other.
"""

import gc
import math
import shutil
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from pipeline.errors import ModelError, PipelineError, disk_problem
from pipeline.files import append_jsonl, check_room, read_json, write_json
from pipeline.models.bases import SAFELY, find_base, public_name
from pipeline.models.chat import chat_of
from pipeline.models.config import base_shape, merging_bytes
from pipeline.models.family import SEQ2SEQ, Generative, family_of
from pipeline.models.gpu import has_gpu, in_4_bits, is_in_4bit, is_quantised
from pipeline.models.language_model import end_tokens
from pipeline.prompts import CHAT, Chat, ask_in, chat_of_tokenizer, chat_template, encode_prompt, end_of_answer
from pipeline.publishing.forms import ADAPTER_CONFIG, FILES, FORMS, GGUF, GGUF_8, MADE, PROGRESS, Form, Loaded
from pipeline.publishing.gguf_file import check_architecture, write_gguf
from pipeline.runs.folder import ADAPTER, read_settings, run_dataset

CHECKED, CHECKED_TOKENS = 8, 32
"""Questions that the reload must answer as the run's model does, and as many tokens of each."""

STEPS: dict[Form, int] = {"adapter": 4, "merged": 5, "gguf": 7}

_WEIGHTS = "adapter_model.safetensors"

Tell = Callable[[str], None]


@dataclass(frozen=True)
class _Source:
    """A run's model: what it is made of, and what it says to the questions of the check.

    Attributes:
        whole: whether a base in 4 bits is needed in full numbers.
    """

    adapter: Path
    base: Path
    family: Generative
    base_model: str
    four_bit: bool
    whole: bool
    tokenizer: Any
    prompts: list[str]

    def load(self, adapter: Path | None = None) -> Any:
        """The base with the run's adapter on it, or with that of another folder."""
        return _tuned(self.base, adapter or self.adapter, self.four_bit, self.whole)

    def answers(self, model: Any, files: Path | None = None) -> list[list[int]]:
        """What a model says, read by the tokenizer that lies in `files` or else by the run's."""
        chat = chat_of_tokenizer(self.tokenizer)
        tokenizer = ask_in(AutoTokenizer.from_pretrained(files), chat) if files else self.tokenizer
        return said(model, tokenizer, self.prompts)


def make(run: Path, form: Form, folder: Path, tell: Tell) -> dict[str, Any]:
    """Make one form of a run's model in an empty folder, and check it.

    Returns:
        `dtype` (the weights' number format), `checked` (questions that the reload was asked), `loaded` (how the base was),
        `seq2seq` (whether it has an encoder) and, of GGUF files, `same_in_8_bits`.

    Raises:
        PipelineError: the adapter is broken, there is no room, or what was made answers differently.
    """
    settings, adapter = read_settings(run), run / ADAPTER
    _check_adapter(adapter)
    base = find_base(settings.base_model)
    if form == "gguf":
        check_architecture(base)
    _check_room(settings.base_model, base, form, folder)
    tell("Loading the base model and the adapter")
    chat = chat_of(base) if settings.prompt_format == CHAT else None
    tokenizer = ask_in(AutoTokenizer.from_pretrained(adapter), chat)
    if chat and chat.end:
        tokenizer.eos_token = chat.end  # what training taught, for those who know no other
    prompts = check_prompts(run, tokenizer, settings.max_length)
    config = read_json(base / "config.json")
    family, quantised = family_of(config), is_quantised(config)
    asked = settings.load_in_4bit and family.in_4_bits
    four_bit = is_in_4bit(quantised=quantised, asked=asked, gpu=has_gpu())
    source = _Source(adapter, base, family, settings.base_model, four_bit, form != "adapter", tokenizer, prompts)
    model = source.load()
    tell(f"Asking the run's model {len(prompts)} questions")
    wanted = source.answers(model)
    del model  # one at a time is in memory
    same_in_8_bits = 0
    if form == "gguf":
        dtype, same_in_8_bits = _make_gguf(source, wanted, folder, tell)
    else:
        dtype = {"adapter": _make_adapter, "merged": _make_merged}[form](source, wanted, folder, tell)
    if form != "gguf" and family.has_template:  # a file's template was that of the merged model
        check_template(folder, prompts, chat)
    loaded = _loaded(four_bit, quantised, form)
    told = {"dtype": dtype, "checked": len(prompts), "loaded": loaded, "seq2seq": family is SEQ2SEQ}
    return told | ({"same_in_8_bits": same_in_8_bits} if form == "gguf" else {})


def _loaded(four_bit: bool, quantised: bool, form: Form) -> Loaded:
    if not four_bit:
        return "fp32"
    if form != "adapter":
        return "unpacked"
    return "its 4 bits" if quantised else "4 bits"


def _make_adapter(source: _Source, wanted: list[list[int]], folder: Path, tell: Tell) -> str:
    tell("Writing the adapter")
    config = read_json(source.adapter / ADAPTER_CONFIG) | {"base_model_name_or_path": public_name(source.base_model)}
    write_json(folder / ADAPTER_CONFIG, config)
    shutil.copyfile(source.adapter / _WEIGHTS, folder / _WEIGHTS)
    _save_tokenizer(source.tokenizer, source.family, folder)
    tell("Loading it again and asking the same")
    _check_same(source.answers(source.load(folder), folder) == wanted)
    return _name(next(iter(load_file(folder / _WEIGHTS).values())).dtype)


def _make_merged(source: _Source, wanted: list[list[int]], folder: Path, tell: Tell) -> str:
    """In the base's own number format where it answers the same there, else in fp32: rounding may undo a small change."""
    dtype = stored_dtype(source.base)
    while True:
        tell("Merging the adapter into the base")
        _save(source.load().merge_and_unload(safe_merge=True).to(dtype), source.tokenizer, source.family, folder)
        gc.collect()
        tell("Loading it again and asking the same")
        reloaded = source.family.load(folder, dtype=torch.float32, **SAFELY)
        same = source.answers(reloaded, folder) == wanted
        if same or dtype == torch.float32:
            _check_same(same)
            return _name(dtype)
        del reloaded
        dtype = torch.float32


def _make_gguf(source: _Source, wanted: list[list[int]], folder: Path, tell: Tell) -> tuple[str, int]:
    """Also in 8 bits; returns the number format of the other file, and how many answers are the same in 8 bits."""
    with TemporaryDirectory(dir=folder.parent) as aside:
        dtype = _make_merged(source, wanted, Path(aside), tell)
        gc.collect()
        tell("Writing the GGUF file, and reading it again")
        write_gguf(Path(aside), folder / GGUF, "Shelftalk")
        _check_same(source.answers(_of_gguf(folder, GGUF, Path(aside)), Path(aside)) == wanted)
        gc.collect()
        tell("Writing it in 8 bits, and reading that again")
        write_gguf(Path(aside), folder / GGUF_8, "Shelftalk", in_8_bits=True)
        small = source.answers(_of_gguf(folder, GGUF_8, Path(aside)), Path(aside))
    return dtype, sum(one == other for one, other in zip(small, wanted, strict=True))


def _of_gguf(folder: Path, name: str, merged: Path) -> Any:
    """The model out of a GGUF file. What Transformers does not read of one, such as scaled positions, it has from the merged
    model's configuration; a Mistral is a Llama to it, as it is to llama.cpp."""
    config = AutoConfig.from_pretrained(merged)
    told = {} if config.model_type == "mistral" else {"config": config}
    return AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32, **told)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _check_same(same: bool) -> None:
    if not same:
        raise ModelError(
            "What was made answers differently from the run's own model, so it is not published; train the run again, or "
            "publish the adapter."
        )


def check_template(folder: Path, prompts: list[str], chat: Chat | None = None) -> None:
    """Refuse files that ask through their chat template in other tokens than the run does, so that it would answer otherwise.

    Args:
        chat: what the run's questions stand in.

    Raises:
        ModelError: they do.
    """
    tokenizer = ask_in(AutoTokenizer.from_pretrained(folder), chat)
    for prompt in prompts:
        if any(token in prompt for token in tokenizer.all_special_tokens):
            continue  # spelled out in a title it stays text in the run alone
        context, instruction, _ = prompt.split("\n")
        messages = [
            {"role": "system", "content": context.removeprefix("Context: ")},
            {"role": "user", "content": instruction.removeprefix("Instruction: ")},
        ]
        asked = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
        if asked != encode_prompt(tokenizer, prompt):
            raise ModelError(
                "Asked through its chat template the model would read other tokens than it was taught, so it is not published; "
                "choose another base model."
            )


def _check_adapter(adapter: Path) -> None:
    """Refuse an adapter that is not whole, or that is no numbers any more, as after a training that went astray."""
    try:
        read_json(adapter / ADAPTER_CONFIG)
        weights = load_file(adapter / _WEIGHTS)
    except Exception as error:  # safetensors, JSON and the disk each raise their own
        raise ModelError("The run's adapter is broken or missing; train the run again.") from error
    if not weights or not all(torch.isfinite(tensor).all() for tensor in weights.values()):
        raise ModelError("The run's adapter holds values that are no numbers, so it is not published; train it again.")


def _save(model: Any, tokenizer: Any, family: Generative, folder: Path) -> None:
    model.config._name_or_path = ""
    # Greedy and without penalties, as the run was asked: what the base's file says would hold for chats in its own format.
    ends = sorted(end_tokens(model, tokenizer))
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=ends,
        pad_token_id=tokenizer.pad_token_id,
        decoder_start_token_id=family.start(model),
    )
    model.config.eos_token_id = tokenizer.eos_token_id
    if (
        family is SEQ2SEQ
    ):  # Transformers writes that every T5 ties them, and by that whoever reads it may scale what is said
        model.config.tie_word_embeddings = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    model.save_pretrained(folder)
    _save_tokenizer(tokenizer, family, folder)


def _save_tokenizer(tokenizer: Any, family: Generative, folder: Path) -> None:
    if family.has_template:
        tokenizer.chat_template = chat_template(tokenizer)
    tokenizer.save_pretrained(folder)


def stored_dtype(base: Path) -> torch.dtype:
    """The number format of a base's own files; what is in 4 bits counts as the 16 bits that it was made of."""
    config = read_json(base / "config.json")
    name = config.get("dtype") or config.get("torch_dtype") or "float32"
    return getattr(torch, name) if name in ("float32", "float16", "bfloat16") else torch.bfloat16


def _tuned(base: Path, adapter: Path, four_bit: bool, whole: bool) -> Any:
    """The base with the adapter on it, in fp32 on the CPU.

    Args:
        four_bit: whether the run's base is in 4 bits once it is loaded.
        whole: whether a quantised base is needed in full numbers: an adapter cannot be merged into 4 bits without loss.
    """
    model: Any
    if four_bit:
        model = _quantised(base)
        if whole:
            model = model.dequantize(dtype=torch.float32).to("cpu", torch.float32)
            model.hf_quantizer = None
            if hasattr(model.config, "quantization_config"):
                del model.config.quantization_config
    else:
        model = family_of(read_json(base / "config.json")).load(base, dtype=torch.float32, **SAFELY)
    try:
        return PeftModel.from_pretrained(model, str(adapter)).eval()
    except Exception as error:  # safetensors, PEFT and torch each raise their own for a broken or foreign adapter
        raise ModelError("The run's adapter is broken or does not fit its base; train the run again.") from error


def _quantised(base: Path) -> Any:
    if not torch.cuda.is_available():
        raise ModelError(
            "This run's base is in 4 bits, which needs an NVIDIA GPU; publish it on the machine that trained it."
        )
    family = family_of(read_json(base / "config.json"))
    return family.load(base, dtype=torch.bfloat16, **in_4_bits(base, torch.bfloat16), **SAFELY)


def _check_room(base_model: str, base: Path, form: Form, folder: Path) -> None:
    """Refuse what neither the memory nor the disk has room for."""
    shape = base_shape(base_model)
    files = sum(file.stat().st_size for file in base.glob("*.safetensors"))
    weights = shape.weights if shape else files // 2
    if form == "adapter":
        check_room(folder, 2 * files // 100 + 50_000_000, "the adapter")
        return
    check_room(folder, (10 if form == "gguf" else 4) * weights, "the merged model")
    needed, free = merging_bytes(weights, form), psutil.virtual_memory().available
    if needed > free:
        raise ModelError(
            f"Merging needs about {needed / 1e9:.1f} GB of memory and {free / 1e9:.1f} GB are free; publish the adapter, or "
            "merge on a machine with more."
        )


def check_prompts(run: Path, tokenizer: Any, max_length: int) -> list[str]:
    """Some of the run's held-out questions, spread over all of them.

    Raises:
        ModelError: the dataset has none.
    """
    prompts = [row["prompt"] for row in run_dataset(run).held_out()]
    fitting = [prompt for prompt in prompts if len(encode_prompt(tokenizer, prompt)) <= max_length]
    if not fitting:
        raise ModelError("The run's dataset has no held-out questions to check the model with; train a run on another.")
    return fitting[:: math.ceil(len(fitting) / CHECKED)]


def said(model: Any, tokenizer: Any, prompts: list[str]) -> list[list[int]]:
    """The tokens of each greedy answer."""
    family = family_of(model.config)
    config = GenerationConfig(
        max_new_tokens=CHECKED_TOKENS,
        do_sample=False,
        eos_token_id=end_of_answer(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        decoder_start_token_id=family.start(model),
    )
    answers = []
    for prompt in prompts:
        batch = family.asked([encode_prompt(tokenizer, prompt)], tokenizer.pad_token_id, model.device)
        with torch.no_grad():
            output = model.generate(**batch, generation_config=config)
        answers.append(output[0, family.begin(batch) :].tolist())
    return answers


def main() -> int:
    run, form, folder = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    assert form in FORMS
    done = 0

    def tell(text: str) -> None:
        nonlocal done
        append_jsonl(folder / PROGRESS, {"text": text, "done": done, "total": max(STEPS[form], done + 1)})
        done += 1

    try:
        (folder / FILES).mkdir()
        made = make(run, form, folder / FILES, tell)
    except BaseException as error:  # whatever it is, whoever waits must be told
        traceback.print_exc()
        told = str(error) if isinstance(error, PipelineError) else disk_problem(error)
        told = told or f"The model could not be made ({type(error).__name__}); the log has the details."
        append_jsonl(folder / PROGRESS, {"error": told})
        return 1
    write_json(folder / MADE, made)
    return 0


if __name__ == "__main__":
    sys.exit(main())
