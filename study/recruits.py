"""Whom a recruiter sent: what the page's address says of them, personal codes, and how often one person takes part.

The page's address is all that tells: Mechanical Turk and Prolific put their ids into it unsigned, a personal link has a
code that only the study's key can make. A person is known by (channel, market, person), a task by its id as well: MTurk
hands the id of a returned assignment to somebody else.
"""

import hashlib
import hmac
import re
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from study.errors import InputError
from study.votes import now

Outcome = Literal["finished", "screened out", "again", "full"]

PREVIEW = "ASSIGNMENT_ID_NOT_AVAILABLE"  # MTurk's assignmentId for who has not accepted the HIT yet
MARKETS = {"https://www.mturk.com": "live", "https://workersandbox.mturk.com": "sandbox"}
# The local server's addresses carry a token in place of a cookie. Nothing in them may end or widen a policy header,
# which has no notation for IPv6 either.
LOCAL = re.compile(r"https?://[A-Za-z0-9.-]{1,253}(:[0-9]{1,5})?/w/[A-Za-z0-9._~-]{1,1500}")

MTURK = {"assignmentId": r"[A-Z0-9]{1,64}", "hitId": r"[A-Z0-9]{1,64}", "workerId": r"A[A-Z0-9]{1,63}"}
PROLIFIC = ("PROLIFIC_PID", "STUDY_ID", "SESSION_ID")

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base 32: no letter that is read as another or as a digit
NUMBER_CHARACTERS = 4  # of a personal code: its number
CODE_CHARACTERS = 12  # of a code that nobody can guess: 60 bits
PERSONAL_CODES = len(ALPHABET) ** NUMBER_CHARACTERS


@dataclass(frozen=True)
class Arrival:
    """Who opens the page, as the columns of the table `recruits`."""

    channel: Literal["mturk", "prolific", "link"]
    market: str
    """Of mturk: live, sandbox or local; else empty."""
    person: str
    task: str
    place: str
    submit_to: str = ""
    """MTurk's turkSubmitTo, where the finished task is submitted."""
    preview: bool = False
    """Whether they only look: nothing is stored of a preview."""


class Standing(NamedTuple):
    """How somebody who arrives stands to the study; neither where they may begin a session."""

    observer: str | None = None
    """Whose session they go on with."""
    outcome: Outcome | None = None
    """Why there is none for them."""


# A person's tasks, oldest first; `open` while the session of the task can go on. (A form's may lack votes for good.)
TASKS = """
SELECT task, observer,
       NOT EXISTS (SELECT 1 FROM recruits AS other WHERE other.observer = recruits.observer
                   AND other.outcome IN ('screened out', 'finished'))
       AND EXISTS (SELECT 1 FROM trials LEFT JOIN votes ON votes.trial = trials.id
                   WHERE trials.observer = recruits.observer AND votes.trial IS NULL) AS open
FROM recruits WHERE channel = :channel AND market = :market AND person = :person AND observer IS NOT NULL
ORDER BY arrived_at, rowid
"""

# Who was sent away may come again when there is a place, and is bound to a session then.
ARRIVE = """
INSERT INTO recruits (channel, market, person, task, place, observer, arrived_at, outcome, ended_at)
VALUES (:channel, :market, :person, :task, :place, :observer, :now, :outcome, iif(:outcome IS NULL, NULL, :now))
ON CONFLICT (channel, market, task, person) DO UPDATE
SET observer = excluded.observer, outcome = excluded.outcome, ended_at = excluded.ended_at WHERE observer IS NULL
"""

MINE = "channel = :channel AND market = :market AND person = :person AND (task = :task OR channel = 'link')"


def personal_code(key: str, number: int) -> str:
    """Personal code `number` (from 0, below 2^20) of the study with this key, in four groups of four characters."""
    if not 0 <= number < PERSONAL_CODES:
        raise InputError(f"personal code {number}: the numbers go from 0 to {PERSONAL_CODES - 1:,}")
    digits = "".join(ALPHABET[number >> 5 * place & 31] for place in reversed(range(NUMBER_CHARACTERS)))
    return _grouped(digits + _unguessable(key, "personal code", str(number)))


def completion_code(key: str, observer: str) -> str:
    """What a finished observer shows to whoever sent the link, in three groups of four characters."""
    return _grouped(_unguessable(key, "completion code", observer))


def typed_code(text: str) -> str:
    """The code that somebody typed, written as this module writes it: in capitals and groups, O as 0, I and L as 1."""
    plain = re.sub(r"[\s-]", "", text).upper()
    return _grouped(plain.translate(str.maketrans("OIL", "011")))


def read_arrival(query: Mapping[str, str], key: str) -> Arrival | None:
    """Who comes with these parameters of the page's address; None for the bare address and for other parameters.

    `key` is the study's. Raises InputError for ids and codes that cannot be genuine and for half of a recruiter's
    parameters.
    """
    channels = [
        any(name in query for name in (*MTURK, "turkSubmitTo")),
        any(name in query for name in PROLIFIC),
        "code" in query,
    ]
    if sum(channels) > 1:
        raise InputError("The address names two recruiters. Please use the link that you were given, unchanged.")
    if channels[0]:
        return _from_mturk(query)
    if channels[1]:
        return _from_prolific(query)
    return _from_link(query["code"], key) if channels[2] else None


def standing(connection: sqlite3.Connection, arrival: Arrival, most: int) -> Standing:
    """Whose session the person goes on with, or `again` where they had `most` sessions; either is stored.

    For a transaction of the caller's. The same task goes on with its session, and so does another task of a person who
    has not finished: they returned the one and accepted the other. In MTurk's sandbox sessions are not counted, because
    there the requester is the worker.
    """
    assert connection.in_transaction and not arrival.preview
    rows = connection.execute(TASKS, vars(arrival)).fetchall()
    unfinished = [row["observer"] for row in rows if row["open"]]
    sessions = len({row["observer"] for row in rows})
    limited = sessions >= most and arrival.market != "sandbox"
    if arrival.channel == "link":  # a code is all its tasks
        mine = unfinished or [row["observer"] for row in rows if limited]
    else:
        mine = [row["observer"] for row in rows if row["task"] == arrival.task] or unfinished
    if mine:
        bind(connection, arrival, mine[-1])
        return Standing(observer=mine[-1])
    if limited:
        return turn_away(connection, arrival, "again")
    return Standing()


def bind(connection: sqlite3.Connection, arrival: Arrival, observer: str) -> None:
    """Store that the person answers as `observer` in this task."""
    task = arrival.task
    if arrival.channel == "link":
        known = connection.execute(f"SELECT observer FROM recruits WHERE {MINE}", vars(arrival)).fetchall()
        others = sum(row["observer"] not in (None, observer) for row in known)
        task = f"{task} {others + 1}" if others else task  # a code's second session is another row
        if any(row["observer"] == observer for row in known):
            return
    connection.execute(ARRIVE, vars(arrival) | {"task": task, "observer": observer, "outcome": None, "now": now()})


def turn_away(connection: sqlite3.Connection, arrival: Arrival, outcome: Outcome) -> Standing:
    """Store that the person was sent away before a session began."""
    connection.execute(ARRIVE, vars(arrival) | {"observer": None, "outcome": outcome, "now": now()})
    return Standing(outcome=outcome)


def is_recruited(connection: sqlite3.Connection, observer: str) -> bool:
    """Whether a recruiter sent this observer."""
    return connection.execute("SELECT 1 FROM recruits WHERE observer = ?", [observer]).fetchone() is not None


def is_bound(connection: sqlite3.Connection, arrival: Arrival, observer: str) -> bool:
    """Whether this person answers, or answered, as `observer` in this task."""
    statement = f"SELECT 1 FROM recruits WHERE observer = :observer AND {MINE}"
    return connection.execute(statement, vars(arrival) | {"observer": observer}).fetchone() is not None


def close(connection: sqlite3.Connection, observer: str, outcome: Literal["finished", "screened out"]) -> None:
    """Store how a session ended, where it is sure of which task: a finished one counts for one task alone."""
    connection.execute(
        "UPDATE recruits SET outcome = :outcome, ended_at = :now WHERE observer = :observer AND outcome IS NULL"
        " AND (:outcome <> 'finished' OR (SELECT count(*) FROM recruits WHERE observer = :observer) = 1)",
        {"observer": observer, "outcome": outcome, "now": now()},
    )


def hand_in(connection: sqlite3.Connection, arrival: Arrival, observer: str) -> Outcome:
    """The outcome of this task, whose session has all its votes: `finished` for one task of a session, else `again`.

    For a transaction of the caller's. Two tasks share a session where a worker accepted a second HIT meanwhile.
    """
    assert connection.in_transaction
    mine = vars(arrival) | {"observer": observer, "now": now()}
    connection.execute(
        "UPDATE recruits SET ended_at = :now, outcome = iif(EXISTS (SELECT 1 FROM recruits AS other"
        " WHERE other.observer = :observer AND other.outcome = 'finished'), 'again', 'finished')"
        f" WHERE observer = :observer AND outcome IS NULL AND {MINE}",
        mine,
    )
    statement = f"SELECT outcome FROM recruits WHERE observer = :observer AND {MINE}"
    outcome: Outcome = connection.execute(statement, mine).fetchone()["outcome"]
    return outcome


def _from_mturk(query: Mapping[str, str]) -> Arrival:
    if query.get("assignmentId") == PREVIEW:
        return Arrival("mturk", "", "", "", "", preview=True)
    task, place, person = (_checked(query, name, form, "Mechanical Turk") for name, form in MTURK.items())
    submit_to = query.get("turkSubmitTo", "").removesuffix("/")
    market = MARKETS.get(submit_to) or ("local" if LOCAL.fullmatch(submit_to) else "")
    if not market:
        raise InputError(
            f"turkSubmitTo = {submit_to[:80]!r} is no address of Mechanical Turk. Please open the HIT again."
        )
    return Arrival("mturk", market, person, task, place, submit_to)


def _from_prolific(query: Mapping[str, str]) -> Arrival:
    if any(query.get(name) == f"{{{{%{name}%}}}}" for name in PROLIFIC):  # its preview leaves the places unfilled
        return Arrival("prolific", "", "", "", "", preview=True)
    person, place, task = (_checked(query, name, "[0-9a-fA-F]{24}", "Prolific").lower() for name in PROLIFIC)
    return Arrival("prolific", "", person, task, place)


def _from_link(text: str, key: str) -> Arrival:
    code = typed_code(text[:100])
    digits = code.replace("-", "")
    if len(digits) == NUMBER_CHARACTERS + CODE_CHARACTERS and set(digits) <= set(ALPHABET):
        number = 0
        for digit in digits[:NUMBER_CHARACTERS]:
            number = 32 * number + ALPHABET.index(digit)
        if hmac.compare_digest(code, personal_code(key, number)):
            return Arrival("link", "", code, code, "")
    raise InputError(f"The code {text[:40]!r} is not one of this study. Please look at it again; it has 16 characters.")


def _checked(query: Mapping[str, str], name: str, form: str, recruiter: str) -> str:
    value = query.get(name, "")
    if not re.fullmatch(form, value):
        problem = f"{name} = {value[:80]!r} is not an id of {recruiter}" if value else f"{name} is missing"
        raise InputError(f"{problem}. Please open the study from {recruiter} again, and leave the address unchanged.")
    return value


def _grouped(code: str) -> str:
    return "-".join(code[place : place + 4] for place in range(0, len(code), 4))


def _unguessable(key: str, purpose: str, value: str) -> str:
    digest = hmac.new(key.encode("ascii"), f"{purpose}\n{value}".encode(), hashlib.sha256).digest()
    bits = int.from_bytes(digest, "big")
    return "".join(ALPHABET[bits >> 5 * place & 31] for place in range(CODE_CHARACTERS))
