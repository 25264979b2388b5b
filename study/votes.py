"""The vote store in SQLite: observers, their trials and votes, who recruited them, and the ledger of their pay.

Nothing is ever deleted from it.
"""

import errno
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from study.errors import InputError

VERSION = 2

DISK_ERRORS = {  # SQLite's primary error codes where a write has no place to go, and what the system calls that
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_CANTOPEN: errno.EACCES,
    sqlite3.SQLITE_READONLY: errno.EACCES,
    sqlite3.SQLITE_IOERR: errno.EIO,
}

TABLES = """
CREATE TABLE IF NOT EXISTS observers (
    id TEXT PRIMARY KEY,
    joined_at TEXT NOT NULL,
    simulator TEXT,               -- the model of a simulated observer as JSON; NULL for a person
    recruiter TEXT                -- what the recruiter's address said (assignment, worker), as JSON
) STRICT;
CREATE TABLE IF NOT EXISTS trials (
    id TEXT PRIMARY KEY,          -- random: all that a browser is told
    observer TEXT NOT NULL REFERENCES observers,
    position INTEGER NOT NULL,    -- from 0
    triplet TEXT NOT NULL,
    kind TEXT NOT NULL,
    left_is TEXT NOT NULL CHECK (left_is IN ('a', 'b')),
    reference_key TEXT NOT NULL UNIQUE,   -- random names of the images, for this trial only
    left_key TEXT NOT NULL UNIQUE,
    right_key TEXT NOT NULL UNIQUE,
    UNIQUE (observer, position)
) STRICT;
CREATE INDEX IF NOT EXISTS trials_by_triplet ON trials (triplet);
CREATE TABLE IF NOT EXISTS votes (
    trial TEXT PRIMARY KEY REFERENCES trials,     -- so a second submission changes nothing
    side TEXT NOT NULL CHECK (side IN ('left', 'right')),
    protocol TEXT NOT NULL,
    shown_at TEXT,
    loaded_at TEXT,
    answered_at TEXT,
    received_at TEXT NOT NULL,
    flips INTEGER NOT NULL,
    zoom REAL NOT NULL,
    screen_width INTEGER,
    screen_height INTEGER,
    pixel_ratio REAL,
    rejected TEXT                 -- why it is not to be used; NULL where it is
) STRICT;
CREATE TABLE IF NOT EXISTS recruits (     -- one row a person and task that a recruiter sent
    channel TEXT NOT NULL CHECK (channel IN ('mturk', 'prolific', 'link')),
    market TEXT NOT NULL,         -- of mturk: live, sandbox or local; else empty
    person TEXT NOT NULL,         -- worker id, Prolific id; of a link the personal code
    task TEXT NOT NULL,           -- assignment id, Prolific session id; of a link the code again
    place TEXT NOT NULL,          -- HIT id, Prolific study id; of a link empty
    observer TEXT REFERENCES observers,   -- NULL for who was sent away before a session began
    arrived_at TEXT NOT NULL,
    outcome TEXT CHECK (outcome IN ('finished', 'screened out', 'again', 'full')),   -- again: took part before
    ended_at TEXT,
    PRIMARY KEY (channel, market, task, person)   -- MTurk hands a returned assignment's id to somebody else
) STRICT;
CREATE INDEX IF NOT EXISTS recruits_by_person ON recruits (channel, market, person);
CREATE INDEX IF NOT EXISTS recruits_by_observer ON recruits (observer);
CREATE TABLE IF NOT EXISTS hits (
    market TEXT NOT NULL,
    id TEXT NOT NULL,
    token TEXT NOT NULL UNIQUE REFERENCES ledger,   -- of the entry that created it
    question TEXT NOT NULL CHECK (question IN ('page', 'form')),
    observer TEXT REFERENCES observers,   -- of a form: whose trials it shows
    reward_cents INTEGER NOT NULL,
    fee_cents INTEGER NOT NULL,   -- of one assignment
    places INTEGER NOT NULL,      -- the assignments that it may have
    created_at TEXT NOT NULL,
    expires_at TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('open', 'expired', 'deleted')),   -- expired: takes no more workers
    PRIMARY KEY (market, id)
) STRICT;
CREATE TABLE IF NOT EXISTS assignments (  -- what MTurk says was submitted
    market TEXT NOT NULL,
    id TEXT NOT NULL,
    worker TEXT NOT NULL,
    hit TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('Submitted', 'Approved', 'Rejected')),
    accepted_at TEXT,
    submitted_at TEXT,
    auto_approval_at TEXT,
    answer TEXT NOT NULL,         -- QuestionFormAnswers as XML
    observer TEXT REFERENCES observers,   -- whose votes these are; NULL where none fit
    problem TEXT,                 -- why none fit
    seen_at TEXT NOT NULL,
    PRIMARY KEY (market, id, worker),
    FOREIGN KEY (market, hit) REFERENCES hits
) STRICT;
CREATE TABLE IF NOT EXISTS ledger (       -- written before a call that commits or moves money, settled after it
    token TEXT PRIMARY KEY,       -- deterministic; MTurk's UniqueRequestToken where the operation has one
    channel TEXT NOT NULL,
    market TEXT NOT NULL,
    action TEXT NOT NULL CHECK (action IN ('create', 'extend', 'approve', 'reject', 'bonus')),
    subject TEXT NOT NULL,        -- create: the HIT's number; extend: the HIT's id; else the assignment's id
    person TEXT NOT NULL,         -- worker id; empty for create and extend
    count INTEGER NOT NULL,       -- assignments
    reward_cents INTEGER NOT NULL,        -- in all, without fee: promised (create, extend) or paid
    fee_cents INTEGER NOT NULL,   -- in all
    request TEXT NOT NULL,        -- the call's parameters as JSON
    written_at TEXT NOT NULL,
    settled_at TEXT,              -- NULL: nobody knows whether the call was carried out
    outcome TEXT CHECK (outcome IN ('done', 'refused')),
    answer TEXT                   -- what came back, as JSON
) STRICT;
CREATE INDEX IF NOT EXISTS ledger_by_subject ON ledger (market, subject);
"""

# `chosen` stays 'a' or 'b' here; read_judgments turns it into the stimulus id.
JUDGMENTS = """
SELECT trials.id, trials.triplet, trials.observer,
       CASE WHEN (votes.side = 'left') = (trials.left_is = 'a') THEN 'a' ELSE 'b' END AS chosen,
       votes.side, trials.position, votes.protocol, votes.shown_at, votes.loaded_at, votes.answered_at,
       votes.received_at, votes.flips, votes.zoom, votes.screen_width, votes.screen_height, votes.pixel_ratio,
       observers.simulator IS NOT NULL AS simulated, observers.simulator, votes.rejected
FROM votes JOIN trials ON trials.id = votes.trial JOIN observers ON observers.id = trials.observer
ORDER BY votes.received_at, trials.id
"""


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """SQLite's words for a disk that is full, read-only or failing, as the OSError that the system has for it."""
    try:
        yield
    except sqlite3.OperationalError as error:
        kind = DISK_ERRORS.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
        if kind is None:
            raise
        raise OSError(kind, str(error), str(path)) from error


@contextmanager
def connect(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection to the vote store at `path`, made if absent: WAL, every commit on the disk before it returns.

    Statements run in autocommit mode; open a transaction with `BEGIN IMMEDIATE`. A full disk or a folder that cannot be
    written raises OSError, also for statements in the block; nothing of the transaction is kept then.
    """
    with disk_errors(path), closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as connection:
        connection.row_factory = sqlite3.Row
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version < VERSION:  # version 1 had no recruits, HITs and ledger
                connection.executescript(f"BEGIN IMMEDIATE; {TABLES} PRAGMA user_version = {VERSION}; COMMIT;")
            elif version != VERSION:
                raise InputError(
                    f"{path}: written by another version of eyetune (format {version}, this one knows {VERSION})"
                )
            yield connection
        except sqlite3.DatabaseError as error:
            if "not a database" in str(error) or "malformed" in str(error):
                raise InputError(f"{path}: not a readable vote store ({error})") from None
            raise


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """The block's statements, all or none; other writers wait meanwhile."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # SQLite itself has rolled back where the disk was full
            connection.execute("ROLLBACK")
        raise


def _fetch(path: Path, statement: str) -> pd.DataFrame:
    """What a statement selects, also where nothing can be written: on a full disk or a read-only medium."""

    def fetch(connection: sqlite3.Connection) -> pd.DataFrame:
        cursor = connection.execute(statement)
        return pd.DataFrame(map(tuple, cursor.fetchall()), columns=[column[0] for column in cursor.description])

    try:
        with connect(path) as connection:
            return fetch(connection)
    except OSError:
        empty = path.exists() and not path.stat().st_size  # made, but no room for its tables
        log = path.with_name(f"{path.name}-wal")  # it may hold votes, which an immutable file would hide
        if empty or log.exists():
            raise
    with disk_errors(path), closing(sqlite3.connect(f"{path.resolve().as_uri()}?immutable=1", uri=True)) as connection:
        return fetch(connection)


def describe_simulator(model: str) -> dict[str, Any]:
    """A simulated observer's model; empty where the store holds no JSON object for it."""
    try:
        description = json.loads(model)
    except ValueError:
        return {}
    return description if isinstance(description, dict) else {}


def now() -> str:
    """The server's time as ISO 8601 in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def read_judgments(path: Path, triplets: pd.DataFrame) -> pd.DataFrame:
    """Every vote in the store at `path`, with the columns of `records.Judgment`, oldest first.

    `triplets` (as of the study) turns a side into a stimulus. Raises InputError where a vote names no triplet.
    """
    table = _fetch(path, JUDGMENTS)
    table["simulated"] = table["simulated"].astype(bool)
    for name in ("screen_width", "screen_height", "pixel_ratio"):
        table[name] = table[name].astype("float64")
    stimuli = triplets.set_index("id")[["a", "b"]]
    unknown = set(table["triplet"]) - set(stimuli.index)
    if unknown:
        raise InputError(f"{path}: a vote names triplet {min(unknown)}, which is not in triplets.parquet")
    shown = stimuli.reindex(table["triplet"])
    table["chosen"] = shown["a"].where((table["chosen"] == "a").to_numpy(), shown["b"]).to_numpy()
    return table
