"""What a model's file takes of a process' memory, and that it takes none once something else stands in its place."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pipeline.models import pages
from pipeline.models.decoding import side_by_side

SIZE = 1000


@pytest.fixture
def file(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_file({name: torch.randn(SIZE, SIZE) for name in ("a", "b")}, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def resident(file: Path) -> int:
    """Bytes of the file in this process' memory."""
    found, is_its = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split()[0]:
            is_its = line.endswith(str(file))
        elif is_its and line.startswith("Rss:"):
            found += 1024 * int(line.split()[1])
    return found


def of_file(file: Path) -> tuple[Tensor, Tensor]:
    """Its tensors, which have been looked at, and with them copies."""
    weights = load_file(file)
    assert all(float(weight.sum()) for weight in weights.values())
    assert resident(file) >= 8 * SIZE**2
    return weights["a"], weights["b"]


def test_what_is_given_back_is_read_again_by_whoever_looks(file: Path) -> None:
    a, b = of_file(file)
    copies = a.clone(), b.clone()
    pages.give_back([a])
    assert 4 * SIZE**2 <= resident(file) < 4.1 * SIZE**2  # the other stays
    assert torch.equal(a, copies[0]) and torch.equal(b, copies[1])
    assert resident(file) >= 8 * SIZE**2


def test_memory_that_is_no_file_s_is_left_alone() -> None:
    made = torch.randn(SIZE, SIZE)
    copy = made.clone()
    pages.give_back([made, made[:10], torch.empty(0)])
    assert torch.equal(made, copy)


def test_elsewhere_nothing_happens(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a, _ = of_file(file)
    monkeypatch.setattr(pages, "MAPS", file.with_name("maps"))
    pages.give_back([a])
    assert resident(file) >= 8 * SIZE**2


def test_layers_that_are_joined_are_in_memory_once(file: Path) -> None:
    layers = [nn.Linear(SIZE, SIZE, bias=False) for _ in range(2)]
    weights = of_file(file)
    for layer, weight in zip(layers, weights, strict=True):
        layer.weight = nn.Parameter(weight, requires_grad=False)
    wanted = torch.cat(weights)
    whole = side_by_side(layers)
    assert torch.equal(whole, wanted) and resident(file) < 0.1 * SIZE**2
    assert torch.equal(torch.cat([layer.weight for layer in layers]), wanted)
