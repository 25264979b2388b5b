"""Requesters' accounts: what is available, what is held for HITs, what went to workers and to fees. Whole cents."""

import sqlite3

from mturk.server.refusals import insufficient_funds
from mturk.server.state import new_customer_id


def open_account(connection: sqlite3.Connection, key: str, opening_cents: int, at: int) -> str:
    """The requester of an access key id, with its opening balance where it is new here: the key again."""
    if connection.execute("SELECT 1 FROM requesters WHERE key = ?", (key,)).fetchone() is None:
        connection.execute("INSERT INTO requesters VALUES (?, ?, 0, 0, ?)", (key, new_customer_id(), at))
        _move(connection, at, key, "opening", available=opening_cents)
    return key


def hold(connection: sqlite3.Connection, at: int, requester: str, cents: int, hit: str, assignment: str = "") -> None:
    """Set money aside for places of a HIT, or for one assignment. Raises RequestError where there is not enough."""
    _move(connection, at, requester, "hold", available=-cents, held=cents, hit=hit, assignment=assignment)


def release(
    connection: sqlite3.Connection, at: int, requester: str, cents: int, hit: str, assignment: str = ""
) -> None:
    """Make money available again that was held."""
    _move(connection, at, requester, "release", available=cents, held=-cents, hit=hit, assignment=assignment)


def pay_reward(connection: sqlite3.Connection, at: int, requester: str, assignment: sqlite3.Row) -> None:
    """Pay an assignment's reward and fee out of what is held for it."""
    reward, fee = assignment["reward_cents"], assignment["fee_cents"]
    _move(
        connection,
        at,
        requester,
        "reward",
        held=-reward - fee,
        worker_cents=reward,
        fee=fee,
        hit=assignment["hit"],
        assignment=assignment["id"],
        worker=assignment["worker"],
    )


def pay_bonus(
    connection: sqlite3.Connection, at: int, requester: str, assignment: sqlite3.Row, cents: int, fee: int
) -> None:
    """Pay a bonus and its fee out of what is available. Raises RequestError where there is not enough."""
    _move(
        connection,
        at,
        requester,
        "bonus",
        available=-cents - fee,
        worker_cents=cents,
        fee=fee,
        hit=assignment["hit"],
        assignment=assignment["id"],
        worker=assignment["worker"],
    )


def balances(connection: sqlite3.Connection, requester: str) -> tuple[int, int]:
    """What is available and what is on hold."""
    available, held = connection.execute(
        "SELECT available_cents, held_cents FROM requesters WHERE key = ?", (requester,)
    ).fetchone()
    return available, held


def discrepancies(connection: sqlite3.Connection) -> list[str]:
    """Every way in which the books do not add up to the cent; empty where they do.

    Balances must be the journal's sums; what is held must be what open places and unreviewed assignments cost; what
    workers got must be approved rewards and bonuses.
    """
    found = []
    for key, available, held in connection.execute("SELECT key, available_cents, held_cents FROM requesters"):
        sums = connection.execute(
            "SELECT sum(available_cents), sum(held_cents), sum(worker_cents), sum(fee_cents)"
            " FROM journal WHERE requester = ?",
            (key,),
        ).fetchone()
        opening = connection.execute(
            "SELECT sum(available_cents) FROM journal WHERE requester = ? AND kind = 'opening'", (key,)
        ).fetchone()[0]
        open_places = connection.execute(
            "SELECT coalesce(sum(places * (reward_cents + fee_cents)), 0) FROM hits WHERE requester = ?", (key,)
        ).fetchone()[0]
        unreviewed = connection.execute(
            "SELECT coalesce(sum(a.reward_cents + a.fee_cents), 0) FROM assignments a JOIN hits ON hits.id = a.hit"
            " WHERE requester = ? AND a.status IN ('accepted', 'submitted')",
            (key,),
        ).fetchone()[0]
        rewards = connection.execute(
            "SELECT coalesce(sum(a.reward_cents), 0) FROM assignments a JOIN hits ON hits.id = a.hit"
            " WHERE requester = ? AND a.status = 'approved'",
            (key,),
        ).fetchone()[0]
        bonuses = connection.execute(
            "SELECT coalesce(sum(bonus_cents), 0) FROM bonuses WHERE requester = ?", (key,)
        ).fetchone()[0]
        for name, one, other in [
            ("available", available, sums[0]),
            ("held, in the journal", held, sums[1]),
            ("held, for HITs", held, open_places + unreviewed),
            ("workers' pay", sums[2], rewards + bonuses),
            ("everything", opening, sum(sums)),
        ]:
            if one != other:
                found.append(f"{key}: {name}: {one} is not {other}")
    return found


def _move(
    connection: sqlite3.Connection,
    at: int,
    requester: str,
    kind: str,
    available: int = 0,
    held: int = 0,
    worker_cents: int = 0,
    fee: int = 0,
    hit: str = "",
    assignment: str = "",
    worker: str = "",
) -> None:
    if available < 0 and balances(connection, requester)[0] + available < 0:
        raise insufficient_funds()
    connection.execute(
        "UPDATE requesters SET available_cents = available_cents + ?, held_cents = held_cents + ? WHERE key = ?",
        (available, held, requester),
    )
    connection.execute(
        "INSERT INTO journal (at, requester, kind, hit, assignment, worker, available_cents, held_cents,"
        " worker_cents, fee_cents) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (at, requester, kind, hit or None, assignment or None, worker or None, available, held, worker_cents, fee),
    )
