"""What became of a worker's work: its status, what it earned, what requesters wrote. Times are datetimes in UTC."""

from typing import Any

from mturk.server import life
from mturk.server.state import State, moment, moment_or_none


def assignments_of(state: State, worker_id: str) -> list[dict[str, Any]]:
    """The worker's assignments, newest first.

    Each has assignment_id, hit_id, title, requester, status (accepted, returned, abandoned, submitted, approved,
    rejected), reward_cents, accepted_at, deadline, submitted_at, auto_approval_at, reviewed_at, feedback and bonuses
    (bonus_cents, reason, at).
    """
    with state.transaction() as connection:
        life.advance(connection, state.now())
        rows = connection.execute(
            "SELECT a.*, title, requesters.id AS requester FROM assignments a JOIN hits ON hits.id = a.hit"
            " JOIN hit_types ON hit_types.id = hits.type JOIN requesters ON requesters.key = hits.requester"
            " WHERE worker = ? ORDER BY a.serial DESC",
            (worker_id,),
        ).fetchall()
        return [
            {
                "assignment_id": row["id"],
                "hit_id": row["hit"],
                "title": row["title"],
                "requester": row["requester"],
                "status": row["status"],
                "reward_cents": row["reward_cents"],
                "accepted_at": moment(row["accepted_at"]),
                "deadline": moment(row["deadline"]),
                "submitted_at": moment_or_none(row["submitted_at"]),
                "auto_approval_at": moment_or_none(row["auto_approval_at"]),
                "reviewed_at": moment_or_none(row["approved_at"] or row["rejected_at"]),
                "feedback": row["feedback"],
                "bonuses": [
                    {"bonus_cents": bonus["bonus_cents"], "reason": bonus["reason"], "at": moment(bonus["at"])}
                    for bonus in connection.execute(
                        "SELECT * FROM bonuses WHERE worker = ? AND assignment = ? ORDER BY serial",
                        (worker_id, row["id"]),
                    )
                ]
                if row["status"] in ("submitted", "approved", "rejected")
                else [],
            }
            for row in rows
        ]


def earnings(state: State, worker_id: str) -> dict[str, int]:
    """What the worker has earned, in cents: rewards, bonuses, and waiting (submitted, not reviewed yet)."""
    with state.transaction() as connection:
        life.advance(connection, state.now())
        rewards, waiting = connection.execute(
            "SELECT coalesce(sum(reward_cents) FILTER (WHERE status = 'approved'), 0),"
            " coalesce(sum(reward_cents) FILTER (WHERE status = 'submitted'), 0) FROM assignments WHERE worker = ?",
            (worker_id,),
        ).fetchone()
        bonuses = connection.execute(
            "SELECT coalesce(sum(bonus_cents), 0) FROM bonuses WHERE worker = ?", (worker_id,)
        ).fetchone()[0]
        return {"rewards": rewards, "bonuses": bonuses, "waiting": waiting}


def messages_of(state: State, worker_id: str) -> list[dict[str, Any]]:
    """What requesters wrote to the worker, newest first: subject, text, at, requester."""
    with state.transaction() as connection:
        rows = connection.execute(
            "SELECT subject, text, at, requesters.id AS requester FROM messages"
            " JOIN requesters ON requesters.key = messages.requester WHERE worker = ? ORDER BY serial DESC",
            (worker_id,),
        ).fetchall()
        return [dict(row) | {"at": moment(row["at"])} for row in rows]
