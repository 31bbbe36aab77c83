"""The switch: a server as a child that ends with its parent, and whose end is told in a sentence."""

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest

from pipeline.errors import ServingError
from pipeline.files import PROJECT
from pipeline.serving import switch
from pipeline.serving.asked import asked_questions
from pipeline.serving.switch import FAILED, OFF, ON, has_key, new_key, served, switch_off, switch_on
from tests.children import running, wait_for
from tests.serving.conftest import PATIENCE, copied_run


@pytest.fixture
def run(finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    home = tmp_path / "home"
    monkeypatch.setenv("SHELFTALK_HOME", str(home))
    yield copied_run(finished_run, home)
    switch_off()


def ask(address: str, model: str, key: str) -> str | None:
    client = openai.OpenAI(base_url=address, api_key=key, max_retries=0, timeout=PATIENCE)
    question: openai.types.chat.ChatCompletionUserMessageParam = {
        "role": "user",
        "content": "what does the Harrow Lane Lamp weigh",
    }
    return client.chat.completions.create(model=model, messages=[question]).choices[0].message.content


def test_it_is_switched_on_asked_with_its_key_and_switched_off(run: Path) -> None:
    assert served().state == OFF and not has_key()
    key = new_key()
    switch_on(run, "auto", 0, for_others=True)
    with pytest.raises(ServingError, match="is served already"):
        switch_on(run, "auto", 0)
    wait_for(lambda: served().state == ON)
    now = served()
    assert now.run == run.name and ask(now.address, run.name, key) == "2 pounds."
    assert has_key() and new_key() != key
    with pytest.raises(openai.AuthenticationError):
        ask(now.address, run.name, key)
    switch_off()
    assert served().state == OFF
    with pytest.raises(openai.APIConnectionError):
        ask(now.address, run.name, "none")


def test_a_shop_s_pages_may_ask_and_what_is_asked_is_kept(run: Path) -> None:
    for wrong in ({"origin": "shop.example/tools"}, {"keep_questions": 366}):
        with pytest.raises(ServingError, match=r"is no origin|cannot be kept"):
            switch_on(run, "auto", 0, **wrong)
    assert served().state == OFF
    switch_on(run, "auto", 0, origin=" https://Shop.example/ ", keep_questions=1)
    wait_for(lambda: served().state == ON)
    now = served()
    assert now.origin == "https://shop.example"
    for origin, allowed in ((now.origin, now.origin), ("https://other.example", None)):
        headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        reply = httpx.options(f"{now.address}/chat/completions", headers=headers, timeout=PATIENCE)
        assert reply.headers.get("access-control-allow-origin") == allowed
    assert ask(now.address, run.name, "none") == "2 pounds."
    switch_off()
    assert [one.question for one in asked_questions()] == ["what does the Harrow Lane Lamp weigh"]


def test_a_taken_port_is_one_sentence(run: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        switch_on(run, "auto", port)
        wait_for(lambda: served().state == FAILED)
    assert f"port {port}, cannot be served on" in served().message and "\n" not in served().message
    switch_on(run, "auto", 0)  # what has failed is in nobody's way
    wait_for(lambda: served().state == ON)


def test_a_crash_is_one_sentence(run: Path) -> None:
    switch_on(run, "auto", 0)
    wait_for(lambda: served().state == ON)
    assert switch._child
    os.kill(switch._child.process.pid, signal.SIGKILL)
    wait_for(lambda: served().state == FAILED)
    assert "was killed" in served().message
    (run / "dataset" / "manifest.json").write_text("{}")
    switch_on(run, "auto", 0)
    wait_for(lambda: served().state == FAILED)
    assert served().message.endswith(".") and "\n" not in served().message and "Traceback" not in served().message


def test_on_a_space_it_says_what_to_do_instead(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPACE_ID", "lab/shelf")
    with pytest.raises(ServingError, match="one port"):
        switch_on(run, "auto", 0)


PARENT = """
import sys, time
from pathlib import Path
from pipeline.serving.switch import served, switch_on
switch_on(Path(sys.argv[1]), "auto", 0)
while served().state == "starting":
    time.sleep(0.05)
print(served().address, flush=True)
time.sleep(1000)
"""


def test_it_ends_with_its_parent_however_that_ends(run: Path, real_processes: None) -> None:
    parent = subprocess.Popen(running(PARENT, run), cwd=PROJECT, stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    try:
        address = parent.stdout.readline().strip()
        assert ask(address, run.name, "none") == "2 pounds."
    finally:
        parent.kill()
        parent.wait(PATIENCE)
        parent.stdout.close()

    def is_gone() -> bool:
        try:
            ask(address, run.name, "none")
        except openai.APIConnectionError:
            return True
        except openai.InternalServerError:  # being stopped
            return False
        return False

    wait_for(is_gone)
