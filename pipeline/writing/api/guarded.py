"""The HTTP clients under an API's: they follow nobody to another address, unpack nothing, and read no more than a reply may have.

A server may be anybody's. One that sends on would get the records to an address that nobody typed; a body that never ends,
or unpacks to gigabytes, would fill the memory while it is read, an error's as well as a reply's.
"""

import time
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any, cast

from pipeline.writing.api.replies import MAX_REPLY_BYTES

if TYPE_CHECKING:  # the client takes a second to import, and the page must open before
    import openai

MOST_BYTES = 4 * MAX_REPLY_BYTES
"""Of anything but a file: more than a reply may have, so that one that is cut off here is known to be too large."""
MOST_FILE_BYTES = 4_000_000_000
"""Of a batch's output, which is read line by line."""
MOST_SECONDS = 300.0
"""For anything but a file, from its first byte to its last."""

OPTIONS: dict[str, Any] = {"follow_redirects": False, "headers": {"accept-encoding": "identity"}}


class _Cut:
    """The body of a response, which ends where it has gone on for too long."""

    def __init__(self, response: Any) -> None:
        self._stream, self._begun = response.stream, time.monotonic()
        is_file = response.request.url.path.endswith("/content")
        self._left = MOST_FILE_BYTES if is_file else MOST_BYTES
        self._seconds = float("inf") if is_file else MOST_SECONDS

    def _goes_on(self, chunk: bytes) -> bool:
        self._left -= len(chunk)
        return self._left > 0 and time.monotonic() - self._begun < self._seconds


def client(timeout: float) -> "openai.DefaultHttpxClient":
    import httpx2
    import openai

    class Body(_Cut, httpx2.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            for chunk in self._stream:
                yield chunk
                if not self._goes_on(chunk):
                    return

        def close(self) -> None:
            self._stream.close()

    def guard(response: Any) -> None:
        response.headers.pop("content-encoding", None)
        response.stream = Body(response)

    return openai.DefaultHttpxClient(timeout=timeout, event_hooks={"response": [guard]}, **OPTIONS)


def async_client(timeout: "openai.Timeout") -> "openai.DefaultAsyncHttpxClient":
    import httpx2
    import openai

    class Body(_Cut, httpx2.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            async for chunk in self._stream:
                yield chunk
                if not self._goes_on(chunk):
                    return

        async def aclose(self) -> None:
            await self._stream.aclose()

    async def guard(response: Any) -> None:
        response.headers.pop("content-encoding", None)
        response.stream = Body(response)

    hooks = cast(Any, {"response": [guard]})
    return openai.DefaultAsyncHttpxClient(timeout=timeout, event_hooks=hooks, **OPTIONS)
