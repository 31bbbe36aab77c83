"""Catalogues that are being read, each in a thread of its own: a large one takes longer than a page should wait.

The threads belong to the app and not to a window: a page that is closed stops nothing, and every window that opens the
same catalogue meanwhile follows the same reading.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future, TimeoutError

from pipeline.catalogue.catalogue import Catalogue, Product, peek
from pipeline.catalogue.columns import Columns
from pipeline.catalogue.json_reader import OnProgress
from pipeline.catalogue.uploads import catalogue_path, chosen_columns, open_catalogue
from pipeline.errors import CatalogueError, PipelineError

PATIENCE = 1.0
"""Seconds that a page waits for a catalogue before it shows the first rows alone."""
FIRST_ROWS = 40


class Reading:
    """One catalogue on its way.

    Attributes:
        done: bytes of its file that are read.
        total: bytes of its file; 0 until that is known.
    """

    def __init__(self, name: str, columns: Columns | None) -> None:
        self.name, self.columns = name, columns
        self.done = self.total = 0
        self.result: Future[Catalogue] = Future()
        self._first: list[Product] | None = None

    def on_progress(self, done: int, total: int) -> None:
        self.done, self.total = done, total

    def wait(self, seconds: float) -> Catalogue | None:
        """The catalogue once it is read, or None if it is not by then.

        Raises:
            PipelineError: it cannot be.
        """
        try:
            return self.result.result(seconds)
        except TimeoutError:
            if self.result.done():  # then the file's own
                raise
            return None

    def first_rows(self) -> list[Product]:
        """Its first usable rows, as far as they are known by themselves."""
        if self._first is None:
            try:
                path = catalogue_path(self.name)
            except PipelineError:  # an upload that is not in its place yet
                return []
            try:
                self._first = peek(path, FIRST_ROWS, columns=self.columns)
            except PipelineError:  # the reading will say so
                self._first = []
        return self._first

    def run(self, work: Callable[[OnProgress], Catalogue]) -> None:
        try:
            self.result.set_result(work(self.on_progress))
        except BaseException as error:
            self.result.set_exception(error)


_lock = threading.Lock()
_readings: dict[str, Reading] = {}


def start(name: str, work: Callable[[OnProgress], Catalogue], columns: Columns | None = None) -> Reading:
    """Begin to read a catalogue.

    Raises:
        CatalogueError: it is being read already.
    """
    with _lock:
        if _under_way(name):
            raise CatalogueError(f"{name} is being read at the moment; wait until that is done.")
        return _begin(Reading(name, columns), work)


def follow(name: str) -> Reading:
    """The reading of a catalogue that is under way, or else one that begins now."""
    with _lock:
        if found := _under_way(name):
            return found
        return _begin(Reading(name, chosen_columns(name)), lambda tell: open_catalogue(name, tell))


def find(name: str) -> Reading | None:
    """The reading of that name that was begun last, under way or ended."""
    return _readings.get(name)


def under_way(name: str | None) -> Reading | None:
    return _under_way(name or "")


def latest() -> Reading | None:
    """One that is under way: what a fresh page goes on showing."""
    return next((r for r in reversed(list(_readings.values())) if not r.result.done()), None)


def _under_way(name: str) -> Reading | None:
    found = _readings.get(name)
    return found if found and not found.result.done() else None


def _begin(reading: Reading, work: Callable[[OnProgress], Catalogue]) -> Reading:
    _readings.pop(reading.name, None)  # so that the newest is the last
    _readings[reading.name] = reading
    threading.Thread(target=reading.run, args=(work,), name="catalogue", daemon=True).start()
    return reading
