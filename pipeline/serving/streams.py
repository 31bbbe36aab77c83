"""Words on their way from the thread that answers to the streams of the loop that sends."""

import asyncio
import threading


class Stream:
    """What one request has to send: the words of its answers that nobody has taken yet. Used by the loop alone."""

    def __init__(self) -> None:
        self._words: dict[int, str] = {}
        self._woken = asyncio.Event()

    def put(self, answer: int, words: str) -> None:
        """More words of an answer of the request; what is not taken in time goes with what follows."""
        self._words[answer] = self._words.get(answer, "") + words
        self._woken.set()

    def wake(self) -> None:
        """There is something else than words to look at."""
        self._woken.set()

    async def take(self, seconds: float) -> dict[int, str]:
        """The words since the last time, by their answers' numbers; none where nothing happened for so long, or it was woken."""
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            pass
        self._woken.clear()
        words, self._words = self._words, {}
        return words


class Outbox:
    """What a thread says to streams, handed over to the loop together: once for each step of a batch and not for each of its
    rows, which would cost both more than the words do."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop, self._lock = loop, threading.Lock()
        self._news: list[tuple[Stream, int, str]] = []

    def put(self, stream: Stream, answer: int, words: str) -> None:
        """From any thread: words for a stream, in the order in which they are said."""
        with self._lock:
            self._news.append((stream, answer, words))
            is_first = len(self._news) == 1
        if is_first:
            self._loop.call_soon_threadsafe(self._hand_over)

    def _hand_over(self) -> None:
        with self._lock:
            news, self._news = self._news, []
        for stream, answer, words in news:
            stream.put(answer, words)
