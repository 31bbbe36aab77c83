"""The files that install and publish the app agree with each other and with the code."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import SpaceCard, SpaceHardware
from huggingface_hub.constants import SPACES_SDK_TYPES

from pipeline.machine import VERSION
from pipeline.models.bases import GPU_BASE
from pipeline.space.settings import SCOPES, read_space, with_front_matter

ROOT = Path(__file__).parent.parent
REQUIREMENTS = ["requirements.txt", "requirements-cpu.txt", "requirements-dev.txt"]
GPU_ONLY = {"bitsandbytes", "torchvision", "unsloth", "unsloth-zoo", "xformers"}
OWN_CODE = {"app", "pipeline", "tabs"}
PACKAGE_OF_IMPORT = {"PIL": "pillow", "yaml": "pyyaml"}


def normalized(name: str) -> str:
    """The package name as PEP 503 compares it, without extras."""
    return re.sub(r"[-_.]+", "-", name.partition("[")[0]).lower()


def pins(file: str) -> dict[str, str]:
    """Package → version; any line that is not `name==version` is an error."""
    lines = [line.partition("#")[0].strip() for line in (ROOT / file).read_text().splitlines()]
    pairs = [line.split("==") for line in lines if line]
    return {normalized(name): version for name, version in pairs}


def imported_modules(file: Path) -> Iterator[str]:
    """Top-level names of every absolute import, those inside functions too."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module.partition(".")[0]


def front_matter() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "README.md").read_text(encoding="utf-8").split("---\n")[1])


@pytest.mark.parametrize("file", REQUIREMENTS)
def test_every_requirement_is_an_exact_pin(file: str):
    assert all(re.fullmatch(r"\d[\w.]*", version) for version in pins(file).values())


def test_cpu_set_is_the_gpu_set_without_what_needs_a_gpu():
    gpu, cpu = pins("requirements.txt"), pins("requirements-cpu.txt")
    assert gpu.keys() - cpu.keys() == GPU_ONLY
    assert gpu.keys() >= cpu.keys()
    assert {name: gpu[name] for name in cpu if name != "torch"} == {n: v for n, v in cpu.items() if n != "torch"}


def test_the_lock_holds_every_pin_with_its_hash():
    lines = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if not line.startswith("#")]
    locked = {line.partition("==")[0]: line.partition("==")[2] for line in lines}
    for name, version in pins("requirements.txt").items():
        assert re.fullmatch(re.escape(version) + r"( --hash=sha256:[0-9a-f]{64})+", locked[name]), (
            f"requirements.lock has another {name} than requirements.txt; run `make lock`."
        )
    assert all(re.fullmatch(r"[\w.!+-]+( --hash=sha256:[0-9a-f]{64})+", rest) for rest in locked.values())
    assert len(locked) == len(lines) > len(pins("requirements.txt"))


def test_every_imported_package_is_pinned():
    files = [ROOT / "app.py", *(ROOT / "pipeline").rglob("*.py"), *(ROOT / "tabs").rglob("*.py")]
    imported = {module for file in files for module in imported_modules(file)}
    third_party = imported - OWN_CODE - sys.stdlib_module_names
    assert third_party
    packages = {normalized(PACKAGE_OF_IMPORT.get(module, module)) for module in third_party}
    assert packages - pins("requirements.txt").keys() == set()


def test_readme_front_matter_is_what_space_yaml_says():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert with_front_matter(readme, read_space()) == readme
    assert front_matter() == read_space().matter


def test_the_hub_s_client_reads_the_front_matter_and_loses_nothing():
    card = SpaceCard.load(ROOT / "README.md", ignore_metadata_errors=False)
    assert card.data.to_dict() == front_matter()


def test_the_space_s_settings_are_those_that_the_hub_knows():
    settings, matter = read_space(), front_matter()
    hardware = {flavor.value for flavor in SpaceHardware}
    assert {settings.hardware, matter["suggested_hardware"]} <= hardware
    assert matter["sdk"] in SPACES_SDK_TYPES and len(matter["short_description"]) <= 60
    assert set(matter.get("hf_oauth_scopes", [])) <= set(SCOPES)
    assert not settings.variables.keys() & settings.secrets.keys()


def test_the_version_is_the_same_everywhere():
    assert tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"] == VERSION


def test_space_runs_this_app():
    matter = front_matter()
    assert (ROOT / matter["app_file"]).is_file()
    assert matter["sdk_version"] == pins("requirements.txt")["gradio"]
    assert GPU_BASE in matter["preload_from_hub"] and GPU_BASE in matter["models"]
