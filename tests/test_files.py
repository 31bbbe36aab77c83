"""Files that are appended to, whatever a crash left of them."""

import json
import os
import random
import threading
from pathlib import Path

import pytest

from pipeline.files import append_jsonl, read_log, whole_folder


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


def test_a_folder_that_gives_way_is_never_missing(tmp_path: Path) -> None:
    """A process that is killed between two renames would leave neither the old nor the new one under the name."""
    path, missing, over = tmp_path / "adapter", [], threading.Event()

    def watch() -> None:
        while not over.is_set():
            if not (path / "weights").is_file():
                missing.append(True)

    with whole_folder(path) as aside:
        (aside / "weights").write_text("0")
    watcher = threading.Thread(target=watch)
    watcher.start()
    for number in range(400):
        with whole_folder(path) as aside:
            (aside / "weights").write_text(str(number))
    over.set()
    watcher.join()
    assert (path / "weights").read_text() == "399" and not missing
    assert [file.name for file in tmp_path.iterdir()] == ["adapter"]
