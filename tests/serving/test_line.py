"""The line: what waits for the same is answered together, in turn; who leaves is not; a fault is borne by its question alone."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from pathlib import Path

import pytest

from pipeline.answering.shop import About
from pipeline.answering.ways import Said
from pipeline.errors import QuestionError, ServingError
from pipeline.serving.desk import Reply
from pipeline.serving.line import Job, Line

PATIENCE = 120


class Worker:
    """Answers a question with itself, once it is let."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.begun, self.may_go = threading.Event(), threading.Event()

    def work(self, jobs: Sequence[Job]) -> list[Reply]:
        self.batches.append([job.question for job in jobs])
        self.begun.set()
        assert self.may_go.wait(PATIENCE)
        if any(job.question == "fault" for job in jobs):
            raise ZeroDivisionError
        if any(job.question == "problem" for job in jobs):
            raise QuestionError("No.")
        return [
            Reply(job.question, About(job.question, None), Said(job.question, job.question, "value"), job.way)
            for job in jobs
        ]


@pytest.fixture
def worker() -> Worker:
    return Worker()


@pytest.fixture
def line(worker: Worker) -> Iterator[Line]:
    made = Line(worker.work, at_once=3)
    yield made
    worker.may_go.set()
    made.close()


def job(question: str, way: str = "auto", caller: str = "") -> Job:
    return Job(Path("run"), way, question, "", caller)


def answer(one: Job) -> str:
    return one.reply.result(PATIENCE).said.answer


def test_those_that_wait_for_the_same_are_answered_together(line: Line, worker: Worker) -> None:
    first = job("first")
    assert line.join([first]) == 0
    assert worker.begun.wait(PATIENCE)
    others = [job("a"), job("b", "open"), job("c"), job("d"), job("e")]
    assert line.join(others) == 1
    assert line.place(others[-1]) == 5 and line.waiting() == 6
    worker.may_go.set()
    assert [answer(one) for one in [first, *others]] == ["first", "a", "b", "c", "d", "e"]
    assert worker.batches == [["first"], ["a", "c", "d"], ["b"], ["e"]]


def test_who_leaves_is_not_answered_and_no_longer_counted(line: Line, worker: Worker) -> None:
    first, gone, last = job("first"), job("gone", caller="x"), job("last")
    line.join([first])
    assert worker.begun.wait(PATIENCE)
    line.join([gone, last])
    assert line.waiting("x") == 1 and line.place(last) == 2
    line.leave([gone, first])  # the first is under way, and goes on
    assert line.waiting("x") == 0 and line.place(last) == 1
    worker.may_go.set()
    assert answer(last) == "last" and worker.batches == [["first"], ["last"]]
    with pytest.raises(CancelledError):
        gone.reply.result()


def test_a_fault_is_borne_by_its_question_and_a_problem_by_all(line: Line, worker: Worker) -> None:
    first = job("first")
    line.join([first])
    assert worker.begun.wait(PATIENCE)
    good, bad, told = job("good"), job("fault"), [job("problem", "open"), job("other", "open")]
    line.join([good, bad, *told])
    worker.may_go.set()
    assert answer(good) == "good"
    with pytest.raises(ZeroDivisionError):
        answer(bad)
    for one in told:
        with pytest.raises(QuestionError):
            answer(one)


def test_a_closed_line_answers_what_it_took_and_takes_no_more(line: Line, worker: Worker) -> None:
    taken = [job(str(number)) for number in range(5)]
    line.join(taken)
    assert worker.begun.wait(PATIENCE)
    line.close()
    with pytest.raises(ServingError, match="being stopped"):
        line.join([job("late")])
    assert not line.is_done
    worker.may_go.set()
    assert [answer(one) for one in taken] == ["0", "1", "2", "3", "4"]
    line._thread.join(PATIENCE)
    assert line.is_done
