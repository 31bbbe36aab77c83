"""ZeroGPU: a Space without a GPU of its own, to which Hugging Face lends one for the length of a call.

What is decorated with `on_gpu` runs there in a worker process, forked for the call and kept for the next ones; what it is
given and what it yields are pickled. The app's own process never touches CUDA: the package `spaces` sees to that, and
must be imported before torch. Everywhere else the decorator does nothing and `spaces` is not imported.
"""

from collections.abc import Callable, Generator
from contextlib import closing
from functools import wraps
from typing import ParamSpec, TypeVar

import gradio as gr

from pipeline.errors import ModelError, PipelineError
from pipeline.machine import on_zero_gpu

Params = ParamSpec("Params")
Value = TypeVar("Value")

Task = Callable[Params, Generator[Value, None, None]]


def on_gpu(seconds: int) -> Callable[[Task[Params, Value]], Task[Params, Value]]:
    """Let a generator function run where the GPU is.

    A `PipelineError` that it raises in the worker is raised here with its own sentence.

    Args:
        seconds: how long it may take at most: what a visitor's quota is asked for.
    """

    def decorate(task: Task[Params, Value]) -> Task[Params, Value]:
        return _lent(task, seconds) if on_zero_gpu() else task

    return decorate


def _lent(task: Task[Params, Value], seconds: int) -> Task[Params, Value]:
    import spaces

    # Loaded once before any worker is forked, so that none of them spends its seconds on it.
    import pipeline.models.language_model  # noqa: F401

    @wraps(task)
    def in_worker(*args: Params.args, **kwargs: Params.kwargs) -> Generator[Value | PipelineError, None, None]:
        try:
            yield from task(*args, **kwargs)
        except PipelineError as problem:  # of any error that is raised, `spaces` tells the app only the class's name
            yield problem

    lent = spaces.GPU(duration=seconds)(in_worker)

    @wraps(task)
    def call(*args: Params.args, **kwargs: Params.kwargs) -> Generator[Value, None, None]:
        try:
            with closing(lent(*args, **kwargs)) as growing:
                for value in growing:
                    if isinstance(value, PipelineError):
                        raise value
                    yield value
        except gr.Error as error:  # no GPU is free, the quota is used up, or the worker has died
            raise ModelError(f"ZeroGPU gave no answer ({error.message}); try again in a minute.") from error

    return call
