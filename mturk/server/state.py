"""The local MTurk's state: one SQLite file, one connection, one transaction at a time."""

import secrets
import sqlite3
import string
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from mturk.server.tables import TABLES, VERSION
from study.errors import InputError
from study.votes import disk_errors

OPENING_CENTS = 1_000_000  # 10,000.00, as in MTurk's sandbox

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LETTERS = string.ascii_uppercase + string.digits


def utc_now() -> datetime:
    """The time, with its zone."""
    return datetime.now(UTC)


class State:
    """The requesters, HITs, workers and money of one local MTurk. `open_state` makes it; `close` ends it."""

    def __init__(self, path: Path, connection: sqlite3.Connection, clock: Callable[[], datetime], opening_cents: int):
        self.path = path
        self.clock = clock
        self.opening_cents = opening_cents  # what a requester who is new here starts with
        self._connection = connection
        self._lock = threading.RLock()  # waits without SQLite's polling; other processes wait on the file

    def now(self) -> int:
        """The clock's time in milliseconds since 1970."""
        return milliseconds(self.clock())

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A connection whose changes are on the disk when the block ends well, and undone when it raises."""
        with self._lock, disk_errors(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # a full disk may have ended it already
                    self._connection.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()


def open_state(path: Path, clock: Callable[[], datetime] = utc_now, opening_cents: int = OPENING_CENTS) -> State:
    """The state in the SQLite file at `path`, made if absent. Raises InputError for a file of another kind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with disk_errors(path):
        connection = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
        try:
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                _make_tables(connection)
            elif version != VERSION:
                raise InputError(f"{path}: of another version of eyetune (format {version}, this one knows {VERSION})")
        except BaseException as error:
            connection.close()
            if isinstance(error, sqlite3.DatabaseError) and "not a database" in str(error):
                raise InputError(f"{path}: no state of a local MTurk ({error}); name another folder") from None
            raise
    return State(path, connection, clock, opening_cents)


def milliseconds(moment: datetime) -> int:
    """Whole milliseconds from 1970 to `moment`, which has a zone."""
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def moment(at: int) -> datetime:
    """The time in UTC, `at` milliseconds after 1970."""
    return _EPOCH + timedelta(milliseconds=at)


def moment_or_none(at: int | None) -> datetime | None:
    """The time in UTC of what may not have happened."""
    return None if at is None else moment(at)


def new_id() -> str:
    """A fresh id of a HIT, a type, an assignment or a request, in the form that MTurk's have."""
    return "3" + "".join(secrets.choice(_LETTERS) for _ in range(29))


def new_customer_id() -> str:
    """A fresh id of a worker or a requester: A and 13 letters or digits."""
    return "A" + "".join(secrets.choice(_LETTERS) for _ in range(13))


def _make_tables(connection: sqlite3.Connection) -> None:
    """Make the tables, unless another process just has."""
    connection.execute("BEGIN IMMEDIATE")
    if connection.execute("PRAGMA user_version").fetchone()[0] == 0:
        for statement in TABLES.split(";\n"):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {VERSION}")
    connection.execute("COMMIT")
