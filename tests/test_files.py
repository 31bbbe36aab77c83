"""Files that are appended to, whatever a crash left of them."""

import json
import os
import random
from pathlib import Path

import pytest

from pipeline.files import append_jsonl, read_log


def test_a_process_killed_within_any_write_costs_that_row_alone(tmp_path: Path) -> None:
    """Cut anywhere in its last row, written on, and cut again: a thousand times."""
    path, drawn = tmp_path / "log.jsonl", random.Random(0)
    whole: list[int] = []
    for number in range(1000):
        before = path.stat().st_size if path.exists() else 0
        append_jsonl(path, {"number": number, "text": "Ein Käse {\n🧀" * drawn.randrange(3)})
        if drawn.random() < 0.5:
            whole.append(number)
        else:
            # One byte less costs nothing but the line's end: the row is whole as soon as the next line begins.
            os.truncate(path, drawn.randrange(before, path.stat().st_size - 1))
    append_jsonl(path, {"number": -1})
    assert [row["number"] for row in read_log(path)] == [*whole, -1]


@pytest.mark.parametrize("line", ['{"number": 1', "[1]", "null", '"\\ud800', "\x00\x00\x00"])
def test_a_line_that_is_no_row_is_passed_over(tmp_path: Path, line: str) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(f"{line}\n{json.dumps({'number': 2})}\n", encoding="utf-8")
    assert list(read_log(path)) == [{"number": 2}]
