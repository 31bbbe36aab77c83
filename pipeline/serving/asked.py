"""What people asked: questions, never who asked them, kept for a stated time where the owner wants that, and then gone."""

import logging
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from pipeline.answering.lookup import plain_text
from pipeline.dataset.contact import has_contact
from pipeline.errors import ServingError
from pipeline.files import home
from pipeline.serving.desk import Reply

logger = logging.getLogger(__name__)

MOST_DAYS = 365
MOST_KEPT = 50_000
"""Different questions of a day: one that is asked of a page can be anything, and shall not fill the disk."""

TABLE = """CREATE TABLE IF NOT EXISTS questions (
    day TEXT NOT NULL, until TEXT NOT NULL, question TEXT NOT NULL, title TEXT NOT NULL, says TEXT NOT NULL,
    doubt REAL NOT NULL, times INTEGER NOT NULL, PRIMARY KEY (day, question, title)
) WITHOUT ROWID"""


@dataclass(frozen=True)
class Asked:
    """A question that was asked.

    Attributes:
        title: of the product that it was about; empty where the catalogue has none.
        says: which of the three answers it got last.
        doubt: how little sure that was, from 0 to 1.
        times: how often it was asked.
    """

    question: str
    title: str
    says: str
    doubt: float
    times: int


def file_of_questions() -> Path:
    return home() / "serving" / "questions.sqlite"


def check_days(days: int) -> int:
    """The days for which questions are kept; 0 is not at all.

    Raises:
        ServingError: so many it cannot be.
    """
    if not 0 <= days <= MOST_DAYS:
        raise ServingError(f"Questions cannot be kept for {days} days; give 1 to {MOST_DAYS}, or 0 to keep none.")
    return days


def keep(replies: Sequence[Reply], days: int) -> None:
    """Keep the questions of these answers, but for those with an e-mail address or a phone number; and let go of those whose time
    has come. What cannot be kept costs nobody an answer."""
    today = _today()
    rows = [
        (
            str(today),
            str(today + timedelta(days=days)),
            " ".join(plain_text(reply.question).split()),
            plain_text(reply.about.product.title) if reply.about.product else "",
            reply.said.says,
            reply.doubt,
        )
        for reply in replies
        if not has_contact(reply.question)
    ]
    try:
        with _opened() as store:
            _let_go(store)
            (kept,) = store.execute("SELECT count(*) FROM questions WHERE day = ?", (str(today),)).fetchone()
            if kept < MOST_KEPT:
                store.execute("BEGIN")
                store.executemany(
                    "INSERT INTO questions VALUES (?, ?, ?, ?, ?, ?, 1) ON CONFLICT DO UPDATE SET times = times + 1, "
                    "says = excluded.says, doubt = excluded.doubt, until = excluded.until",
                    rows,
                )
                store.execute("COMMIT")
    except (sqlite3.Error, OSError) as error:
        logger.warning("%d questions are not kept (%s).", len(rows), error)


def asked_questions() -> list[Asked]:
    """What is kept, the most doubtful first, of those alike what was asked most often.

    Raises:
        ServingError: the file cannot be read.
    """
    if not file_of_questions().is_file():
        return []
    with _told(), _opened() as store:
        _let_go(store)
        rows = store.execute(
            "SELECT question, title, says, max(doubt) AS doubt, sum(times) AS times FROM questions GROUP BY question, title "
            "ORDER BY doubt DESC, times DESC, question"
        )
        return [Asked(*row) for row in rows]


def count_questions() -> int:
    """How many are kept: the length of `asked_questions`, without reading them.

    Raises:
        ServingError: the file cannot be read.
    """
    if not file_of_questions().is_file():
        return 0
    with _told(), _opened() as store:
        _let_go(store)
        return _count(store)


def forget_questions() -> int:
    """Delete all that is kept: the file has no trace of it afterwards.

    Returns:
        How many there were.

    Raises:
        ServingError: the file cannot be written.
    """
    if not file_of_questions().is_file():
        return 0
    with _told(), _opened() as store:
        count = _count(store)
        _delete(store, "9999")
        return count


def _today() -> date:
    return datetime.now(UTC).date()


@contextmanager
def _opened() -> Iterator[sqlite3.Connection]:
    """The store, for its owner's eyes alone; what is deleted in it is written over, and its journal is never on the disk."""
    file = file_of_questions()
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    file.touch(mode=0o600)
    with closing(sqlite3.connect(file, timeout=30, isolation_level=None)) as store:
        for pragma in ("secure_delete = ON", "journal_mode = MEMORY", "temp_store = MEMORY"):
            store.execute(f"PRAGMA {pragma}")
        store.execute(TABLE)
        yield store


def _count(store: sqlite3.Connection) -> int:
    (count,) = store.execute("SELECT count(*) FROM (SELECT 1 FROM questions GROUP BY question, title)").fetchone()
    return count


def _let_go(store: sqlite3.Connection) -> None:
    """Delete what was to be kept until yesterday."""
    if store.execute("SELECT 1 FROM questions WHERE until < ? LIMIT 1", (str(_today()),)).fetchone():
        _delete(store, str(_today()))


def _delete(store: sqlite3.Connection, until: str) -> None:
    store.execute("DELETE FROM questions WHERE until < ?", (until,))
    store.execute("VACUUM")  # not even empty pages tell how much there was


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise ServingError(f"{file_of_questions()} cannot be used ({error}); delete it to begin anew.") from error
