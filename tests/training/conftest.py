"""Tiny models train faster on one core than on several that wait for each other, and without disturbing other tests."""

import os
from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True, scope="package")
def one_core() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"  # for the children
    yield
    os.environ.pop("OMP_NUM_THREADS")
    torch.set_num_threads(before)
