"""The ledger in the vote store: what is to be paid is written before the call that pays it, and settled after it.

A token names one payment for ever: it follows from the study, the market and what is paid for, so that a command that
was killed finds its own entry again. Amounts are whole cents.
"""

import hashlib
import hmac
import json
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from study.errors import InputError
from study.fees import dollars
from study.votes import now, transaction

Action = Literal["create", "extend", "approve", "reject", "bonus"]


@dataclass(frozen=True)
class Entry:
    """One call that commits or moves money; the columns of the table `ledger` before it is settled."""

    token: str
    market: str
    action: Action
    subject: str
    """create: the HIT's number in the study; extend: the HIT's id; else the assignment's id."""
    person: str
    """Worker id; empty for create and extend."""
    count: int
    """Assignments."""
    reward_cents: int
    """In all, without the fee."""
    fee_cents: int
    """In all."""
    request: dict[str, Any]
    """What the call needs, so that it can be made again exactly as it was."""
    channel: str = "mturk"


@dataclass(frozen=True)
class Account:
    """What a study has cost in one market, and may still cost by what is published. Cents, fees included."""

    paid: int
    """Approved rewards and bonuses."""
    promised: int
    """Places in HITs that were not filled or not reviewed yet, and bonuses on their way."""

    @property
    def committed(self) -> int:
        """All of it: what the spending cap is held against."""
        return self.paid + self.promised


def token(key: str, market: str, action: Action, *parts: object) -> str:
    """48 hexadecimal digits that name one payment of the study with this secret key."""
    named = json.dumps([market, action, *map(str, parts)])
    return hmac.new(key.encode(), f"eyetune ledger {named}".encode(), hashlib.sha256).hexdigest()[:48]


def write(connection: sqlite3.Connection, entries: Sequence[Entry], cap_cents: int | None) -> None:
    """Add the entries, all or none; those that are there already stay as they are, but refused ones are open again.

    With `cap_cents` raises InputError where all that is paid and promised, with these, would be more. Call it inside
    a `study.votes.transaction`, so that what another process writes at the same time is counted.
    """
    assert connection.in_transaction
    columns = "token, channel, market, action, subject, person, count, reward_cents, fee_cents, request, written_at"
    for entry in entries:
        connection.execute(
            f"INSERT INTO ledger ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (token) DO UPDATE SET count = excluded.count, reward_cents = excluded.reward_cents,"
            " fee_cents = excluded.fee_cents, request = excluded.request, written_at = excluded.written_at,"
            " settled_at = NULL, outcome = NULL, answer = NULL WHERE ledger.outcome = 'refused'",
            [
                entry.token,
                entry.channel,
                entry.market,
                entry.action,
                entry.subject,
                entry.person,
                entry.count,
                entry.reward_cents,
                entry.fee_cents,
                json.dumps(entry.request, sort_keys=True),
                now(),
            ],
        )
    for market in {entry.market for entry in entries}:
        check_cap(connection, market, cap_cents)


def check_cap(connection: sqlite3.Connection, market: str, cap_cents: int | None) -> None:
    """Raise InputError where more is paid and promised in this market than the cap allows."""
    committed = account(connection, market).committed
    if cap_cents is not None and committed > cap_cents:
        raise InputError(
            f"this would bring the study to ${dollars(committed)}, above its cap of ${dollars(cap_cents)}; nothing was"
            " sent. Raise hits.spending_cap_usd in study.toml if that is meant"
        )


def entries(connection: sqlite3.Connection, market: str, action: Action | None = None) -> list[sqlite3.Row]:
    """The entries of a market, oldest first."""
    return connection.execute(
        "SELECT * FROM ledger WHERE market = ? AND (? IS NULL OR action = ?) ORDER BY rowid", [market, action, action]
    ).fetchall()


def unsettled(connection: sqlite3.Connection, market: str, action: Action) -> list[sqlite3.Row]:
    """The entries of whose calls nobody knows whether they were carried out, oldest first."""
    return [row for row in entries(connection, market, action) if row["outcome"] is None]


def settle(
    connection: sqlite3.Connection,
    name: str,
    outcome: Literal["done", "refused"],
    answer: dict[str, Any],
    record: Callable[[sqlite3.Connection], None] | None = None,
) -> None:
    """Say how the call of the entry `name` (its token) ended, once; `record` writes what follows from it along."""
    with transaction(connection):
        changed = connection.execute(
            "UPDATE ledger SET settled_at = ?, outcome = ?, answer = ? WHERE token = ? AND outcome IS NULL",
            [now(), outcome, json.dumps(answer, sort_keys=True, default=str), name],
        ).rowcount
        if changed and record:
            record(connection)


# A place is promised while it can be filled (its HIT takes workers) or was filled and is not reviewed.
PROMISED = """
SELECT coalesce(sum((hits.reward_cents + hits.fee_cents)
    * (CASE hits.status WHEN 'open' THEN hits.places - reviewed.number ELSE submitted.number END)), 0)
FROM hits
JOIN (SELECT hits.id, count(assignments.id) AS number FROM hits LEFT JOIN assignments
    ON assignments.market = hits.market AND assignments.hit = hits.id AND assignments.status <> 'Submitted'
    WHERE hits.market = :market GROUP BY hits.id) AS reviewed ON reviewed.id = hits.id
JOIN (SELECT hits.id, count(assignments.id) AS number FROM hits LEFT JOIN assignments
    ON assignments.market = hits.market AND assignments.hit = hits.id AND assignments.status = 'Submitted'
    WHERE hits.market = :market GROUP BY hits.id) AS submitted ON submitted.id = hits.id
WHERE hits.market = :market
"""


def account(connection: sqlite3.Connection, market: str) -> Account:
    """What the study has paid and promised in `market`."""
    paid, waiting = connection.execute(
        "SELECT coalesce(sum((reward_cents + fee_cents) * (outcome = 'done' AND action IN ('approve', 'bonus'))), 0),"
        " coalesce(sum((reward_cents + fee_cents) * (outcome IS NULL AND action IN ('create', 'extend', 'bonus'))), 0)"
        " FROM ledger WHERE market = ? AND channel = 'mturk'",
        [market],
    ).fetchone()
    (places,) = connection.execute(PROMISED, {"market": market}).fetchone()
    return Account(paid=paid, promised=waiting + places)
