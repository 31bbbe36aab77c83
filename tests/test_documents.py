"""The documents are true where a test can tell: sizes, paths, and where things are found."""

import re

import pytest

from pipeline.commands.reference import with_tree
from pipeline.files import PROJECT

DOCUMENTS = [
    *("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/RESULTS.md"),
    *("docs/ARCHITECTURE.md", "docs/SPACE.md", "docs/CLI.md", "docs/API.md", "docs/BASES.md"),
]
LARGEST_README = 8_000
PATH = re.compile(r"`((?:pipeline|tabs|tests|docs|assets|benchmarks)/[\w./-]*)`|\]\(([\w./-]+)\)")


def text(name: str) -> str:
    return (PROJECT / name).read_text(encoding="utf-8")


def test_the_readme_is_short() -> None:
    assert len(text("README.md").encode()) <= LARGEST_README


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_path_that_a_document_names_is_there(name: str) -> None:
    folder = (PROJECT / name).parent
    named = [(PROJECT / path if path else folder / link) for path, link in PATH.findall(text(name))]
    assert [str(path) for path in named if not path.exists()] == []


def test_the_tree_has_every_module_and_no_other() -> None:
    document = text("docs/ARCHITECTURE.md")
    assert document == with_tree(document), "Modules or their first sentences have changed; run `make docs`."
    tree = document.partition("<!-- tree: begin -->")[2].partition("<!-- tree: end -->")[0]
    modules = [*(PROJECT / "pipeline").rglob("*.py"), *(PROJECT / "tabs").rglob("*.py")]
    names = sorted(path.name for path in modules if path.name != "__init__.py")
    assert sorted(re.findall(r"^ +(\w+\.py) ", tree, re.MULTILINE)) == names
    assert not re.findall(r"^ *\S+$", tree.replace("```", ""), re.MULTILINE), "a module that does not say what it owns"


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("tabs/training/settings_form.py", 'Control("lora_r"'),
        ("pipeline/runs/settings.py", "LIMITS"),
        ("pipeline/facts/patterns.py", 'Kind("weight"'),
        ("pipeline/facts/phrasings.py", "HELD_OUT"),
        ("pipeline/catalogue/shops.py", "def _shopify("),
        ("pipeline/runs/status.py", '"failed"'),
        ("tabs/server/gate.py", "def judge("),
        ("pipeline/runs/view.py", "def events_of("),
        ("tabs/training/plots.py", "def training_figure("),
    ],
)
def test_what_a_newcomer_looks_for_is_where_the_document_says(path: str, found: str) -> None:
    assert f"`{path}`" in text("docs/ARCHITECTURE.md")
    assert found in text(path)


def test_there_is_a_picture_of_each_tab() -> None:
    pictures = re.findall(r"!\[[^]]+\]\((assets/tab\d\.png)\)", text("README.md"))
    assert pictures == ["assets/tab1.png", "assets/tab2.png", "assets/tab3.png"]
    assert all((PROJECT / picture).is_file() for picture in pictures)
