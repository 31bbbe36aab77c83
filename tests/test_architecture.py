"""Who may import whom: the folders are the tabs, and imports point to the left on the way of the data."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.files import PROJECT

LINE = ("data", "training", "answering")
SHARED = ("pipeline.errors", "pipeline.files", "pipeline.machine")
ASKING = {"embedded", "bases", "decoding", "models", "prompts", "answers", "scoring", "quantities"}
LOWER = {f"pipeline.answering.{name}" for name in ASKING | {"baseline", "lookup"}}
"""What of answering serves training too: a shared lower layer."""
RUN_FOLDER = {"pipeline.training.runs", "pipeline.training.settings"}
"""What the lower layer may know of training: the folder that a run is in, and its settings."""

FILES = sorted([PROJECT / "app.py", *(PROJECT / "pipeline").rglob("*.py"), *(PROJECT / "tabs").rglob("*.py")])


def imports(file: Path) -> Iterator[tuple[str, bool]]:
    """Every module that a file imports, and whether it does so at once (not inside a function or for types alone)."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    late = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        or (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) not in late) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module, id(node) not in late
            yield from ((f"{node.module}.{alias.name}", id(node) not in late) for alias in node.names)


def module(file: Path) -> str:
    return ".".join(file.relative_to(PROJECT).with_suffix("").parts)


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PROJECT)))
def test_imports_point_left(file: Path) -> None:
    mine = module(file)
    found = list(imports(file))
    if mine.startswith("pipeline"):
        assert not [name for name, _ in found if name.split(".")[0] in ("gradio", "tabs", "app")], (
            "pipeline knows Gradio"
        )
    else:
        heavy = ("torch", "transformers", "peft", "trl", "datasets", "unsloth")
        assert not [name for name, _ in found if name.split(".")[0] in heavy], "the page knows torch"
    if not mine.startswith(tuple(f"pipeline.{part}." for part in LINE)):
        return
    place = LINE.index(mine.split(".")[1])
    for name, _ in found:
        if not name.startswith(tuple(f"pipeline.{part}." for part in LINE)):
            continue
        target = ".".join(name.split(".")[:3])
        if mine in LOWER:
            allowed = target in LOWER | RUN_FOLDER or target.startswith("pipeline.data.")
        else:
            allowed = LINE.index(name.split(".")[1]) <= place or target in LOWER
        assert allowed, f"{mine} imports {target}, which is to its right"


def test_app_is_under_100_lines() -> None:
    assert len((PROJECT / "app.py").read_text(encoding="utf-8").splitlines()) < 100
