"""Who may import whom: folders stand in the order of the way of the data, and an import points to the left or to the ground."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.files import PROJECT

GROUND = ("errors", "files", "logs", "machine", "prompts")
"""Modules at the root of `pipeline/`, which know only each other."""

PIPELINE = (
    "catalogue",
    "facts",
    "dataset",
    "writing",
    "models",
    "runs",
    "answering",
    "training",
    "publishing",
    "space",
    "serving",
    "commands",
)
TABS = ("ui", "server", "dataset", "training", "chat")
WITHOUT_TORCH = ("catalogue", "facts", "dataset", "writing", "runs", "serving", "commands")
"""What the page and a refusing command may import and stay quick. `datasets` is torch's companion, and as slow."""

HEAVY = ("torch", "transformers", "peft", "trl", "datasets", "unsloth")

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


def folder_of(module: str, top: str) -> str:
    """The folder, or the module of the ground, under `top` that a module belongs to; empty for the package itself."""
    parts = module.split(".")
    return parts[1] if parts[0] == top and len(parts) > 1 else ""


def module(file: Path) -> str:
    return ".".join(file.relative_to(PROJECT).with_suffix("").parts)


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PROJECT)))
def test_imports_point_left(file: Path) -> None:
    mine = module(file)
    for top, order in (("pipeline", PIPELINE), ("tabs", TABS)):
        here = folder_of(mine, top)
        for name, _ in imports(file):
            there = folder_of(name, top)
            if here in order and there in order:
                assert order.index(there) <= order.index(here), f"{mine} imports {name}, which is to its right"
            elif here in GROUND and top == "pipeline" and there:
                assert there in GROUND, f"{mine} is of the ground and imports {name}"


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PROJECT)))
def test_the_pipeline_knows_no_page_and_the_page_no_torch(file: Path) -> None:
    found = list(imports(file))
    if module(file).startswith("pipeline"):
        assert not [name for name, _ in found if name.split(".")[0] in ("gradio", "tabs", "app")]
    else:
        assert not [name for name, _ in found if name.split(".")[0] in HEAVY]
    if folder_of(module(file), "pipeline") in WITHOUT_TORCH:
        assert not [name for name, at_once in found if at_once and name.split(".")[0] in HEAVY]


KNOW_NO_FAMILY = (
    "prompts",
    *(f"answering.{name}" for name in ("answers", "baseline", "comparison", "customers", "everything", "report")),
    *(f"answering.{name}" for name in ("scoring", "ways", "which_way")),
)
"""What asks, scores and compares bases of any family, beside the page."""

FAMILIES = {f"models.family.{name}" for name in ("SEQ2SEQ", "EXTRACTIVE", "Seq2Seq", "Extractive", "Causal", "Generative")} | {
    "answering.speaker.Speaker", "answering.run_reader.RunReader", "answering.backend.Backend",
    "models.language_model.LanguageModel", "models.reader.Reader",
}  # fmt: skip


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PROJECT)))
def test_who_asks_and_shows_knows_no_family(file: Path) -> None:
    if module(file).startswith("tabs") or module(file).removeprefix("pipeline.") in KNOW_NO_FAMILY:
        assert not [name for name, _ in imports(file) if name.removeprefix("pipeline.") in FAMILIES]


def test_every_folder_has_its_place() -> None:
    for top, order in (("pipeline", PIPELINE), ("tabs", TABS)):
        folders = {path.parent.name for path in (PROJECT / top).glob("*/__init__.py")}
        assert folders == set(order)
    assert {path.stem for path in (PROJECT / "pipeline").glob("*.py")} - {"__init__", "__main__"} == set(GROUND)


def test_app_is_under_100_lines() -> None:
    assert len((PROJECT / "app.py").read_text(encoding="utf-8").splitlines()) < 100
