"""Streams: an answer's words are sent while the model decodes the next ones, to whom they are for and to nobody who has gone."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest

from pipeline.answering import run_model
from pipeline.answering.shop import shop_of
from pipeline.runs.folder import run_dataset
from pipeline.serving.desk import Desk, Reply
from pipeline.serving.line import Job
from tests.children import wait_for
from tests.serving.conftest import PATIENCE, copied_run, serving_here
from tests.tiny import ROWS

DESCRIBED = [f"What is the {row['title']}?" for row in ROWS]


class WatchedDesk(Desk):
    """Keeps the jobs that it answers."""

    def __init__(self, run: Path, way: str) -> None:
        super().__init__(run, way)
        self.batches: list[Sequence[Job]] = []

    def answer(self, jobs: Sequence[Job]) -> list[Reply]:
        self.batches.append(jobs)
        return super().answer(jobs)


class Here:
    """A server in this process, whose model waits where a test wants it to.

    Attributes:
        may_read: has to become true before each pass of the model.
        passes: how often it has read.
    """

    def __init__(self, run: Path, way: str) -> None:
        self.run, self.desk = run, WatchedDesk(run, way)
        self.desk.get_ready(lambda _: None)
        self.desk.batches.clear()
        self.may_read: Callable[[], object] = lambda: True
        self.passes = 0
        model: Any = run_model.load_run(run)[0]
        model.model.get_base_model().model.embed_tokens.register_forward_pre_hook(self._before_a_pass)

    def _before_a_pass(self, *_: Any) -> None:
        wait_for(self.may_read)
        self.passes += 1

    def job(self, question: str) -> Job:
        """The last job that asks a question."""
        return next(job for jobs in reversed(self.desk.batches) for job in jobs if job.question == question)

    @contextmanager
    def served(self) -> Iterator["Here"]:
        with serving_here(self.desk) as (self.api, self.client):
            yield self

    def stream(self, question: str, model: str = "") -> Any:
        messages: Any = [{"role": "user", "content": question}]
        options: Any = {"stream_options": {"include_usage": True}}
        name = model or self.run.name
        return self.client.chat.completions.create(model=name, messages=messages, stream=True, **options)

    def whole(self, question: str, model: str = "") -> Any:
        messages: Any = [{"role": "user", "content": question}]
        return self.client.chat.completions.create(model=model or self.run.name, messages=messages)


@pytest.fixture
def serve_here(finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    home = tmp_path / "home"
    monkeypatch.setenv("SHELFTALK_HOME", str(home))
    run = copied_run(finished_run, home)
    yield lambda way: Here(run, way).served()
    run_model.unload()


class NoEncoder:
    """Says when it is asked for what nobody needs."""

    def encode(self, texts: Sequence[str]) -> list[Any]:
        raise AssertionError(f"{texts} were encoded for nobody.")


def test_where_no_record_is_read_nothing_is_looked_for_in_one(
    serve_here: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve_here("closed") as here:
        before = here.whole(DESCRIBED[0]).choices[0].message.content
        shop = shop_of(run_dataset(here.run))
        monkeypatch.setattr(shop.sentences, "encoder", NoEncoder())
        message = here.whole(DESCRIBED[0]).choices[0].message
        assert message.content == before
        assert message.model_dump()["shelftalk"]["product"]["title"] == ROWS[0]["title"]


def content(chunk: Any) -> str:
    return chunk.choices[0].delta.content or "" if chunk.choices else ""


def test_words_come_while_the_model_still_decodes(serve_here: Callable[[str], Any]) -> None:
    with serve_here("closed") as here:
        whole = here.whole(DESCRIBED[0])
        begun = threading.Event()
        # The model goes on only when words of what it said before have come.
        here.may_read = lambda: here.job(DESCRIBED[0]).tokens < 8 or begun.is_set()
        chunks: list[Any] = []
        for chunk in here.stream(DESCRIBED[0]):
            chunks.append(chunk)
            if content(chunk):
                begun.set()
        said = [text for chunk in chunks if (text := content(chunk))]
        assert "".join(said) == whole.choices[0].message.content and len(said) > 10
        assert chunks[0].choices[0].delta.role == "assistant"
        assert chunks[-2].choices[0].delta.model_dump()["shelftalk"]["way"] == "closed"
        assert chunks[-1].usage == whole.usage
        assert chunks[-1].usage.completion_tokens == here.job(DESCRIBED[0]).tokens >= len(said)


@pytest.mark.parametrize("way", ["closed", "open"])
def test_streams_of_one_batch_never_cross(way: str, serve_here: Callable[[str], Any]) -> None:
    with serve_here(way) as here:
        asked = [(question, model) for model in ("", "base") for question in DESCRIBED]
        asked += [("what does the Harrow Lane Lamp weigh", ""), ("how heavy is the iphone", "base")]
        alone = [here.whole(*one).choices[0].message.content for one in asked]
        assert len(set(alone)) > 8
        here.desk.batches.clear()
        here.may_read = lambda: len(here.desk.batches) > 1 or here.api.line.waiting() == len(asked)

        def said(one: tuple[str, str]) -> str:
            return "".join(map(content, here.stream(*one)))

        with ThreadPoolExecutor(len(asked)) as callers:
            first = callers.submit(said, asked[0])
            wait_for(lambda: here.api.line.waiting() == 1)
            others = callers.map(said, asked[1:])
            assert [first.result(PATIENCE), *others] == alone
        assert max(map(len, here.desk.batches)) >= len(DESCRIBED)


def test_who_hangs_up_costs_no_more_and_the_others_go_on(serve_here: Callable[[str], Any]) -> None:
    with serve_here("closed") as here:
        expected = here.whole(DESCRIBED[1]).choices[0].message.content
        here.desk.batches.clear()

        def may_read() -> bool:
            if len(here.desk.batches) < 2:
                return here.api.line.waiting() == 3
            leaves = here.job(DESCRIBED[0])
            return leaves.tokens < 6 or leaves.is_gone

        here.may_read = may_read
        with ThreadPoolExecutor(2) as callers:
            first = callers.submit(here.whole, DESCRIBED[2])
            wait_for(lambda: here.api.line.waiting() == 1)
            stays = callers.submit(lambda: "".join(map(content, here.stream(DESCRIBED[1]))))
            leaving = here.stream(DESCRIBED[0])
            assert first.result(PATIENCE)
            next(chunk for chunk in leaving if content(chunk))
            leaving.close()
            assert stays.result(PATIENCE) == expected
        assert [len(jobs) for jobs in here.desk.batches] == [1, 2]
        assert here.job(DESCRIBED[0]).tokens <= 6 < here.job(DESCRIBED[1]).tokens


def test_where_all_have_hung_up_the_batch_ends(serve_here: Callable[[str], Any]) -> None:
    with serve_here("closed") as here:
        here.may_read = lambda: here.job(DESCRIBED[0]).tokens < 6 or here.job(DESCRIBED[0]).is_gone
        leaving = here.stream(DESCRIBED[0])
        next(chunk for chunk in leaving if content(chunk))
        leaving.close()
        wait_for(lambda: here.api.line.waiting() == 0)
        assert here.passes <= 7  # the prompt, at most five tokens, and the one that nobody heard


def test_a_fault_in_the_middle_is_an_error_and_nothing_is_said_twice(serve_here: Callable[[str], Any]) -> None:
    def may_read() -> bool:
        if here.passes < 12:
            return True
        here.may_read, here.passes = lambda: True, 0
        raise ZeroDivisionError

    with serve_here("closed") as here:
        here.may_read = may_read
        stream = here.client.completions.create(model=here.run.name, prompt=DESCRIBED[:2], stream=True)
        with pytest.raises(openai.APIError):
            list(stream)
        assert here.passes == 0  # they were not asked again
        assert here.whole(DESCRIBED[0]).choices[0].message.content
