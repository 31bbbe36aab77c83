"""Memory that a model's files take: weights are pages of them until something else stands in their place."""

import ctypes
import mmap
from collections.abc import Iterable
from pathlib import Path

from torch import Tensor

MAPS = Path("/proc/self/maps")
"""Where Linux tells which parts of this process' memory are a file's."""

DONT_NEED = 4
"""What `madvise` calls it in Linux."""


def give_back(tensors: Iterable[Tensor]) -> None:
    """Take what some tensors were read from a file out of this process' memory: nobody needs them any more.

    Whoever looks there all the same has the file read again. Elsewhere than on Linux, and of what is no file's, nothing happens.
    """
    here = [tensor for tensor in tensors if tensor.device.type == "cpu"]
    files = _of_files() if here and MAPS.is_file() else []
    for tensor in here:
        begin, end = tensor.data_ptr(), tensor.data_ptr() + tensor.nbytes
        begin, end = -(-begin // mmap.PAGESIZE) * mmap.PAGESIZE, end // mmap.PAGESIZE * mmap.PAGESIZE
        if begin < end and any(first <= begin and end <= last for first, last in files):
            ctypes.CDLL(None).madvise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), DONT_NEED)


def _of_files() -> list[tuple[int, int]]:
    """The parts of this process' memory that are files', by their first address and the one behind the last."""
    found = []
    for line in MAPS.read_text().splitlines():
        addresses, _, _, _, inode, *_ = line.split()
        if inode != "0":
            first, last = addresses.split("-")
            found.append((int(first, 16), int(last, 16)))
    return found
