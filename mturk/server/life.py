"""The life of HITs and assignments: what time does to them, and the steps that they can take.

    accepted -> returned, abandoned (the place is free again)
    accepted -> submitted -> approved, rejected; rejected -> approved (overridden)

Every step moves the money that goes with it and announces its event. Whether a step is allowed is asked elsewhere.
"""

import sqlite3

from mturk.server.money import hold, pay_reward, release
from mturk.server.outbox import announce
from mturk.server.state import new_id
from mturk.server.tables import LIVE

DAY = 24 * 3600 * 1000
DISPOSED_AFTER = 120 * DAY

# Of one moment, what a worker missed comes before what the HIT then becomes.
_DUE = f"""
SELECT deadline AS at, 1 AS step, serial FROM assignments WHERE status = 'accepted' AND deadline <= :now
UNION ALL
SELECT auto_approval_at, 2, serial FROM assignments WHERE status = 'submitted' AND auto_approval_at <= :now
UNION ALL
SELECT expires_at, 3, serial FROM hits
WHERE NOT expired AND disposed_at IS NULL AND expires_at <= :now
UNION ALL
SELECT reviewable_at + {DISPOSED_AFTER}, 4, serial FROM hits
WHERE disposed_at IS NULL AND reviewable_at <= :now - {DISPOSED_AFTER}
ORDER BY at, step, serial
"""


def advance(connection: sqlite3.Connection, now: int) -> int:
    """Carry out all that time has brought since the last call, in its order: `now` again."""
    while due := connection.execute(_DUE, {"now": now}).fetchall():
        for at, step, serial in due:
            if step <= 2:
                assignment = connection.execute("SELECT * FROM assignments WHERE serial = ?", (serial,)).fetchone()
                if step == 1:
                    give_back(connection, at, assignment, "abandoned")
                else:
                    approve(connection, at, assignment, None)
            else:
                hit = connection.execute("SELECT * FROM hits WHERE serial = ?", (serial,)).fetchone()
                if step == 3:
                    expire(connection, at, hit)
                else:
                    dispose(connection, at, hit)
    return now


def status(hit: sqlite3.Row) -> str:
    """The HITStatus."""
    if hit["disposed_at"] is not None:
        return "Disposed"
    if hit["reviewable_at"] is not None:
        return "Reviewing" if hit["reviewing"] else "Reviewable"
    return "Assignable" if hit["places"] else "Unassignable"


def taken(connection: sqlite3.Connection, hit: str) -> int:
    """How many of a HIT's assignments are with workers or have been submitted."""
    found: int = connection.execute(
        f"SELECT count(*) FROM assignments WHERE hit = ? AND status IN {LIVE}", (hit,)
    ).fetchone()[0]
    return found


def accept(connection: sqlite3.Connection, at: int, hit: sqlite3.Row, worker: str, duration_s: int) -> str:
    """Give a place to a worker: the assignment's id, which somebody who returned it may have had before."""
    free = connection.execute(
        "SELECT id FROM assignments a WHERE hit = ? AND status IN ('returned', 'abandoned') AND NOT EXISTS"
        f" (SELECT 1 FROM assignments b WHERE b.id = a.id AND b.status IN {LIVE}) ORDER BY serial LIMIT 1",
        (hit["id"],),
    ).fetchone()
    assignment: str = free["id"] if free else new_id()
    connection.execute("UPDATE hits SET places = places - 1 WHERE id = ?", (hit["id"],))
    connection.execute(
        "INSERT INTO assignments (id, hit, worker, status, reward_cents, fee_cents, accepted_at, deadline)"
        " VALUES (?, ?, ?, 'accepted', ?, ?, ?, ?)",
        (assignment, hit["id"], worker, hit["reward_cents"], hit["fee_cents"], at, at + 1000 * duration_s),
    )
    announce(connection, "AssignmentAccepted", hit["id"], at, assignment)
    return assignment


def give_back(connection: sqlite3.Connection, at: int, assignment: sqlite3.Row, how: str) -> None:
    """Free the place of an accepted assignment; `how` is returned or abandoned. Of an expired HIT the money too."""
    connection.execute("UPDATE assignments SET status = ? WHERE serial = ?", (how, assignment["serial"]))
    hit = _hit(connection, assignment["hit"])
    if hit["expired"]:
        cents = assignment["reward_cents"] + assignment["fee_cents"]
        release(connection, at, hit["requester"], cents, hit["id"], assignment["id"])
    else:
        connection.execute("UPDATE hits SET places = places + 1 WHERE id = ?", (hit["id"],))
    announce(connection, f"Assignment{how.capitalize()}", hit["id"], at, assignment["id"])
    settle(connection, at, hit["id"])


def submit(connection: sqlite3.Connection, at: int, assignment: sqlite3.Row, answer: str, delay_s: int) -> None:
    """Take a worker's answer (XML); `delay_s` seconds later it is approved by itself."""
    connection.execute(
        "UPDATE assignments SET status = 'submitted', submitted_at = ?, auto_approval_at = ?, answer = ?"
        " WHERE serial = ?",
        (at, at + 1000 * delay_s, answer, assignment["serial"]),
    )
    announce(connection, "AssignmentSubmitted", assignment["hit"], at, assignment["id"])
    settle(connection, at, assignment["hit"])


def approve(connection: sqlite3.Connection, at: int, assignment: sqlite3.Row, feedback: str | None) -> None:
    """Approve and pay. A rejected one is paid anew. Raises RequestError where the money for that is not there."""
    hit = _hit(connection, assignment["hit"])
    if assignment["status"] == "rejected":
        cents = assignment["reward_cents"] + assignment["fee_cents"]
        hold(connection, at, hit["requester"], cents, hit["id"], assignment["id"])
    pay_reward(connection, at, hit["requester"], assignment)
    connection.execute(
        "UPDATE assignments SET status = 'approved', approved_at = ?, feedback = coalesce(?, feedback)"
        " WHERE serial = ?",
        (at, feedback, assignment["serial"]),
    )
    announce(connection, "AssignmentApproved", hit["id"], at, assignment["id"])


def reject(connection: sqlite3.Connection, at: int, assignment: sqlite3.Row, feedback: str) -> None:
    """Reject a submitted assignment; its money is available again, its place is not."""
    hit = _hit(connection, assignment["hit"])
    cents = assignment["reward_cents"] + assignment["fee_cents"]
    release(connection, at, hit["requester"], cents, hit["id"], assignment["id"])
    connection.execute(
        "UPDATE assignments SET status = 'rejected', rejected_at = ?, feedback = ? WHERE serial = ?",
        (at, feedback, assignment["serial"]),
    )
    announce(connection, "AssignmentRejected", hit["id"], at, assignment["id"])


def expire(connection: sqlite3.Connection, at: int, hit: sqlite3.Row) -> None:
    """End a HIT's search for workers; the money of the places that nobody has is available again."""
    unit = hit["reward_cents"] + hit["fee_cents"]
    if hit["places"]:
        release(connection, at, hit["requester"], hit["places"] * unit, hit["id"])
    connection.execute("UPDATE hits SET expired = 1, places = 0 WHERE id = ?", (hit["id"],))
    announce(connection, "HITExpired", hit["id"], at)
    settle(connection, at, hit["id"])


def add_places(connection: sqlite3.Connection, at: int, hit: sqlite3.Row, places: int) -> None:
    """Open places in a HIT that is not expired. Raises RequestError where the money for them is not there."""
    if places:
        hold(connection, at, hit["requester"], places * (hit["reward_cents"] + hit["fee_cents"]), hit["id"])
    connection.execute("UPDATE hits SET places = places + ? WHERE id = ?", (places, hit["id"]))
    settle(connection, at, hit["id"])


def dispose(connection: sqlite3.Connection, at: int, hit: sqlite3.Row) -> None:
    """Put a HIT away for good."""
    connection.execute("UPDATE hits SET disposed_at = ? WHERE id = ?", (at, hit["id"]))
    announce(connection, "HITDisposed", hit["id"], at)


def settle(connection: sqlite3.Connection, at: int, hit_id: str) -> None:
    """Make the HIT reviewable where nobody can submit any more, and take that back where somebody can again."""
    hit = _hit(connection, hit_id)
    pending = connection.execute(
        "SELECT 1 FROM assignments WHERE hit = ? AND status = 'accepted' LIMIT 1", (hit_id,)
    ).fetchone()
    if hit["places"] or pending:
        connection.execute("UPDATE hits SET reviewable_at = NULL, reviewing = 0 WHERE id = ?", (hit_id,))
    elif hit["reviewable_at"] is None:
        connection.execute("UPDATE hits SET reviewable_at = ? WHERE id = ?", (at, hit_id))
        announce(connection, "HITReviewable", hit_id, at)


def _hit(connection: sqlite3.Connection, hit_id: str) -> sqlite3.Row:
    row: sqlite3.Row = connection.execute("SELECT * FROM hits WHERE id = ?", (hit_id,)).fetchone()
    return row
