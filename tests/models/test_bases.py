"""A base's files: of its weights one format is counted, fetched and read."""

from pathlib import Path

from huggingface_hub.utils import filter_repo_objects

from pipeline.models.bases import _FILES, checksum, weight_files

REPOSITORY = [
    *("config.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "tokenizer.json"),
    *("consolidated.safetensors", "consolidated-00001-of-00002.safetensors", "original/model.safetensors"),
    *("original/params.json", "original/tokenizer.model", "onnx/model.safetensors", "tokenizer.model.v3", "README.md"),
]


def test_weights_that_are_there_twice_are_fetched_and_counted_once(tmp_path: Path) -> None:
    fetched = list(filter_repo_objects(REPOSITORY, **_FILES))
    assert fetched == [*REPOSITORY[:4]]
    for name in ("model.safetensors", "consolidated.safetensors"):
        (tmp_path / name).write_bytes(name.encode())
    assert [file.name for file in weight_files(tmp_path)] == ["model.safetensors"]
    before = checksum(tmp_path)
    (tmp_path / "consolidated.safetensors").unlink()
    (tmp_path / "checksum.json").unlink()
    assert checksum(tmp_path) == before
