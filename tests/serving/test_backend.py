"""Words from another server: they are found, checked and withheld here as ever; what is wrong with it is a sentence in the API's
own shape."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from pipeline.__main__ import main
from pipeline.answering import backend, run_model
from pipeline.answering.asker import Question
from pipeline.answering.backend import Backend
from pipeline.errors import ServingError
from pipeline.models.language_model import LanguageModel
from pipeline.prompts import REFUSAL, SILENCE, encode_prompt
from pipeline.serving.desk import Desk
from tests.servers.local import HttpReply, LocalServer
from tests.serving.conftest import copied_run, serving_here
from tests.tiny import ROWS

KEY, MODEL = "backend-key-7f", "shelf"


class Completions(LocalServer):
    """Completes prompts as vLLM would, by a real model or by what a test says."""

    def __init__(self, say: Callable[[str, int], str]) -> None:
        super().__init__()
        self.say, self.key = say, ""
        self.models = [MODEL]
        self.status, self.raw = 200, b""
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.asked: list[dict[str, Any]] = []

    def answer(self, method: str, path: str, authorization: str, body: bytes) -> HttpReply:
        if self.key and authorization != f"Bearer {self.key}":
            return HttpReply(401, b"{}")
        if path == "/v1/models":
            return HttpReply(200, json.dumps({"data": [{"id": name} for name in self.models]}).encode())
        request = json.loads(body)
        self.asked.append(request)
        self.may_answer.wait(60)
        if request["model"] not in self.models:
            return HttpReply(404, b"{}")
        if self.status != 200 or self.raw:
            return HttpReply(self.status, self.raw)
        choice = {"index": 0, "text": self.say(request["prompt"], request["max_tokens"])}
        return HttpReply(200, json.dumps({"choices": [choice]}).encode())


@pytest.fixture
def run(finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    home = tmp_path / "home"
    monkeypatch.setenv("SHELFTALK_HOME", str(home))
    yield copied_run(finished_run, home)
    run_model.unload()


def said(client: openai.OpenAI, run: Path, question: str) -> Any:
    messages: Any = [{"role": "user", "content": question}]
    return client.chat.completions.create(model=run.name, messages=messages).choices[0].message


@pytest.mark.parametrize("way", ["closed", "open"])
def test_a_backend_with_the_run_s_model_answers_as_the_run_does(way: str, run: Path) -> None:
    model, _ = run_model.load_run(run)
    assert isinstance(model, LanguageModel)

    def complete(prompt: str, most: int) -> str:
        return model.generate([encode_prompt(model.tokenizer, prompt)], tuned=True, max_new_tokens=most)[0]

    questions = [f"What is the {row['title']}?" for row in ROWS] + ["how heavy is the iphone"]
    with serving_here(Desk(run, way)) as (_, client):
        here = [said(client, run, question).content for question in questions]
    with Completions(complete) as server:
        desk = Desk(run, way, backend=Backend(server.origin))
        desk.get_ready(pytest.fail)
        with serving_here(desk) as (_, client):
            assert [model.id for model in client.models.list()] == [run.name]
            assert [said(client, run, question).content for question in questions] == here
            with pytest.raises(openai.NotFoundError):
                client.completions.create(model="base", prompt="What is it?")
    assert {request["temperature"] for request in server.asked} == {0}


def test_its_words_are_checked_against_the_record(run: Path) -> None:
    words = ["It weighs 7 pounds."]
    with Completions(lambda *_: words[0]) as server:
        with serving_here(Desk(run, "open", backend=Backend(server.origin, MODEL))) as (_, client):
            question = "what does the Harrow Lane Lamp weigh"
            assert "2 pounds" in said(client, run, question).content
            words[0] = "2 pounds."
            assert said(client, run, question).content == "2 pounds"
            before = len(server.asked)
            for asked, answer in (
                ("what does the Brindlewick Kite cost", SILENCE),
                ("how heavy is the iphone", REFUSAL),
            ):
                assert said(client, run, asked).content == answer
            assert len(server.asked) == before  # what the record cannot answer is asked of nobody


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        ({"models": ["another"]}, "no model shelf"),
        ({"status": 500}, "refused to answer (500)"),
        ({"raw": b"<html>"}, "does not speak OpenAI's API"),
        ({"raw": b'{"choices": []}'}, "does not speak OpenAI's API"),
        ({"raw": b'{"choices": [{"text": 7}]}'}, "does not speak OpenAI's API"),
        ({"key": KEY}, "wants a key"),
    ],
)
def test_what_is_wrong_with_it_is_an_error_of_the_api(run: Path, spoil: dict[str, Any], says: str) -> None:
    with Completions(lambda *_: "2 pounds.") as server:
        with serving_here(Desk(run, "closed", backend=Backend(server.origin, MODEL))) as (_, client):
            vars(server).update(spoil)
            with pytest.raises(openai.InternalServerError) as refused:
                said(client, run, "What is the Brindlewick Kite?")
            assert refused.value.status_code == 503 and refused.value.code == "not_available"
            assert says in str(refused.value) and int(refused.value.response.headers["retry-after"]) > 0


def test_one_that_is_down_or_slow_is_an_error_and_comes_back(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "ANSWER_SECONDS", 0.3)
    with Completions(lambda *_: "A kite.") as server:
        with serving_here(Desk(run, "closed", backend=Backend(server.origin, MODEL))) as (_, client):
            server.may_answer.clear()
            with pytest.raises(openai.InternalServerError, match="did not answer in time"):
                said(client, run, "What is the Brindlewick Kite?")
            server.may_answer.set()
    down = server.origin
    with pytest.raises(ServingError, match="cannot be reached"):
        Backend(down).check()


def test_a_key_and_a_model_are_found(run: Path) -> None:
    with Completions(lambda *_: "A kite.") as server:
        server.key = KEY
        words = Backend(f"{server.origin}/v1/", key=KEY)
        words.check()
        assert (
            words.model == MODEL
            and words.ask([Question("Context: kite", max_new_tokens=5)], tuned=True)[0].raw == "A kite."
        )
        server.models.append("base")
        with pytest.raises(ServingError, match="several models; name one of shelf, base"):
            Backend(server.origin, key=KEY).check()


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://host/v1", "http://", "http://host/v1?x=1"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ServingError, match="no address of a backend"):
        Backend(url)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--way", "auto", "--backend", "http://127.0.0.1:1"], "--way open or closed"),
        (["--way", "closed", "--backend", "http://127.0.0.1:1"], "cannot be reached"),
        (["--way", "closed", "--backend", "nothing"], "no address of a backend"),
    ],
)
def test_what_cannot_be_served_so_is_told_in_a_sentence(
    run: Path, words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", run.name, "--port", "0", *words]) == 2
    assert says in capsys.readouterr().err
