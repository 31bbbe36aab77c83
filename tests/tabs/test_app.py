"""The page as a whole: what it loads, what it refuses, and what it offers to other programs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from gradio_client import Client

from pipeline.files import PROJECT
from tests.children import running
from tests.tabs.conftest import PATIENCE, App

ENDPOINTS = {
    *("/generate_dataset", "/start_training", "/training_status", "/stop_training", "/resume_training"),
    *("/training_runs", "/start_sweep", "/sweep_status", "/cancel_sweep", "/ask", "/compare", "/judge"),
}


def run(arguments: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=PROJECT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


def test_the_page_is_built_without_torch_and_off_zerogpu_without_its_package(tmp_path: Path) -> None:
    script = (
        "import sys, app; app.build(); print([m for m in ('torch', 'transformers', 'datasets') if m in sys.modules]"
        " + [name for name in sys.modules if name.startswith('spaces.')])"
    )
    done = run(["-c", script], SHELFTALK_HOME=str(tmp_path))
    assert done.stdout.strip() == "[]", done.stderr


SHARED = """
import app
events = [({which for _, which in f.targets}, f) for f in app.build().fns.values()]
leaving = [f for which, f in events if "blur" in which and f.fn.__name__ != "try_pattern"]  # it and Ask show the answers
assert leaving
print({c.elem_id for f in leaving for which, g in events if "click" in which for c in f.outputs if c in g.outputs})
"""


def test_what_a_button_says_is_not_overwritten_by_the_box_that_its_press_leaves(tmp_path: Path) -> None:
    done = run(["-c", SHARED], SHELFTALK_HOME=str(tmp_path))
    assert done.stdout.strip() == "set()", done.stderr


@pytest.mark.parametrize("port", ["none", "0", "70000"])
def test_a_port_that_is_none_gets_a_sentence(port: str, tmp_path: Path) -> None:
    done = run(["app.py"], PORT=port, SHELFTALK_HOME=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.strip() == f"PORT is '{port}'; it must be a number between 1 and 65535."


def test_a_port_in_use_gets_a_sentence(app: App, real_processes: None) -> None:
    done = run(["app.py"], PORT=app.url.rsplit(":", 1)[1], SHELFTALK_HOME=str(app.home))
    assert done.returncode == 1
    assert "cannot be used" in done.stderr and "Traceback" not in done.stderr


def test_another_fault_of_the_system_is_not_called_the_port_s(tmp_path: Path) -> None:
    failing = "import app; app.GuardedBlocks.launch = lambda *_, **__: open('/nowhere/at all'); app.main()"
    done = run(running(failing)[1:], PORT="7999", SHELFTALK_HOME=str(tmp_path))
    assert done.returncode == 1
    assert "cannot be used" not in done.stderr and "/nowhere/at all" in done.stderr


def test_other_programs_find_well_named_endpoints(app: App) -> None:
    client = Client(app.url, verbose=False)
    assert set(client.view_api(return_format="dict")["named_endpoints"]) == ENDPOINTS
    made = client.predict(products=2, api_name="/generate_dataset")
    assert made["counts"]["products"] == 2
    with pytest.raises(Exception, match="There is no such run"):
        client.predict(run="../../etc", api_name="/training_status")
