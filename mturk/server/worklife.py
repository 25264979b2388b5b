"""What workers do: find HITs, look at them, accept, return and submit; and who is a worker here.

Every function first carries out what time has brought. Times in what comes back are datetimes in UTC.
"""

import sqlite3
from typing import Any

from mturk.questions.answers import answers_xml
from mturk.server import life
from mturk.server.questions import read_question
from mturk.server.requirements import describe, guarded, unmet
from mturk.server.state import State, moment, moment_or_none, new_customer_id
from mturk.server.tables import LIVE

ANSWER_BYTES = 1 << 20  # of one submission, as XML

_HITS = (
    "SELECT hits.*, title, description, keywords, duration_s, auto_approval_s, requirements, group_id,"
    " requesters.id AS requester_id FROM hits JOIN hit_types ON hit_types.id = hits.type"
    " JOIN requesters ON requesters.key = hits.requester"
)


class Refusal(Exception):
    """Why something cannot be done, as a sentence that a worker can read."""


def available_hits(state: State, worker_id: str) -> list[dict[str, Any]]:
    """The HITs that the worker can find, oldest first, own open ones included.

    Each has hit_id, group_id, title, description, keywords, reward_cents, places_left, duration_s, expires_at,
    requester, qualified, missing (requirements not met, in words) and assignment_id (of the own open one, else None).
    """
    with state.transaction() as connection:
        life.advance(connection, state.now())
        check_let_in(connection, worker_id)
        rows = connection.execute(
            f"{_HITS} WHERE hits.disposed_at IS NULL AND (hits.places > 0 OR EXISTS (SELECT 1 FROM assignments"
            " WHERE hit = hits.id AND worker = :worker AND status = 'accepted')) AND NOT EXISTS"
            " (SELECT 1 FROM assignments WHERE hit = hits.id AND worker = :worker"
            " AND status IN ('submitted', 'approved', 'rejected'))"
            " AND (NOT EXISTS (SELECT 1 FROM blocks WHERE requester = hits.requester AND worker = :worker) OR EXISTS"
            " (SELECT 1 FROM assignments WHERE hit = hits.id AND worker = :worker AND status = 'accepted'))"
            " ORDER BY hits.serial",
            {"worker": worker_id},
        ).fetchall()
        lacking: dict[str, list[dict[str, Any]]] = {}  # by HIT type
        found = []
        for row in rows:
            if row["type"] not in lacking:
                lacking[row["type"]] = unmet(connection, row["requirements"], worker_id)
            shown = _listed(connection, row, worker_id, lacking[row["type"]])
            hidden = any(guarded(requirement) >= 3 for requirement in lacking[row["type"]])
            if shown["assignment_id"] or not hidden:
                found.append(shown)
        return found


def preview(state: State, worker_id: str, hit_id: str) -> dict[str, Any]:
    """The HIT as in `available_hits`, and its question: kind (external or html), url, html, frame_height."""
    with state.transaction() as connection:
        life.advance(connection, state.now())
        check_let_in(connection, worker_id)
        hit = _hit(connection, hit_id)
        lacking = unmet(connection, hit["requirements"], worker_id)
        if any(guarded(requirement) >= 2 for requirement in lacking):
            raise Refusal(f"This HIT can be previewed only by workers who qualify: {_said(connection, lacking)}.")
        if hit["disposed_at"] is not None or hit["expired"] or not hit["places"]:
            raise Refusal("There are no more places in this HIT.")
        return _listed(connection, hit, worker_id, lacking) | _question(hit)


def accept(state: State, worker_id: str, hit_id: str) -> str:
    """The id of the assignment that the worker now has. Raises Refusal where the HIT cannot be had."""
    with state.transaction() as connection:
        now = life.advance(connection, state.now())
        check_let_in(connection, worker_id)
        hit = _hit(connection, hit_id)
        mine = connection.execute(
            f"SELECT status FROM assignments WHERE hit = ? AND worker = ? AND status IN {LIVE}",
            (hit_id, worker_id),
        ).fetchone()
        if mine is not None:
            accepted = mine["status"] == "accepted"
            raise Refusal("You already accepted this HIT." if accepted else "You already submitted this HIT.")
        if hit["disposed_at"] is not None or hit["expired"]:
            raise Refusal("This HIT has expired.")
        if not hit["places"]:
            raise Refusal("There are no more places in this HIT.")
        if _is_blocked(connection, hit["requester"], worker_id):
            raise Refusal("This requester does not let you work on their HITs.")
        if lacking := unmet(connection, hit["requirements"], worker_id):
            raise Refusal(f"You do not qualify for this HIT: {_said(connection, lacking)}.")
        return life.accept(connection, now, hit, worker_id, hit["duration_s"])


def open_assignment(state: State, worker_id: str, assignment_id: str) -> dict[str, Any]:
    """An accepted assignment: its HIT and question as in `preview`, its assignment_id and deadline."""
    with state.transaction() as connection:
        life.advance(connection, state.now())
        check_let_in(connection, worker_id)
        assignment = _open(connection, worker_id, assignment_id)
        hit = _hit(connection, assignment["hit"])
        return _listed(connection, hit, worker_id, []) | _question(hit) | {"deadline": moment(assignment["deadline"])}


def return_assignment(state: State, worker_id: str, assignment_id: str) -> None:
    """Give an accepted assignment back."""
    with state.transaction() as connection:
        now = life.advance(connection, state.now())
        check_let_in(connection, worker_id)
        life.give_back(connection, now, _open(connection, worker_id, assignment_id), "returned")


def submit(state: State, worker_id: str, assignment_id: str, fields: list[tuple[str, str]]) -> None:
    """Submit a form's fields as the answer; `assignmentId` is no part of it. Refused twice, late, and for others."""
    answers = [(name, value) for name, value in fields if name and name != "assignmentId"]
    if not answers:
        raise Refusal("The form has no answer: a HIT must send at least one field besides assignmentId.")
    document = answers_xml(answers)
    if len(document.encode()) > ANSWER_BYTES:
        raise Refusal(f"The answer is longer than {ANSWER_BYTES:,} bytes.")
    with state.transaction() as connection:
        now = life.advance(connection, state.now())
        check_let_in(connection, worker_id)
        assignment = _open(connection, worker_id, assignment_id)
        hit = _hit(connection, assignment["hit"])
        life.submit(connection, now, assignment, document, hit["auto_approval_s"])


def add_worker(state: State, name: str) -> str:
    """The id of the worker of that name, new where there is none; after a revocation it is another worker.

    Names are for who runs the server.
    """
    with state.transaction() as connection:
        known = connection.execute("SELECT id FROM workers WHERE name = ? AND revoked_at IS NULL", (name,)).fetchone()
        if known is not None:
            return str(known["id"])
        worker_id = new_customer_id()
        connection.execute("INSERT INTO workers (id, name, added_at) VALUES (?, ?, ?)", (worker_id, name, state.now()))
        return worker_id


def workers(state: State) -> list[dict[str, Any]]:
    """Every worker, oldest first: worker_id, name, added_at, revoked_at (None for who is let in), and what is known.

    That is country, subdivision, adult, masters, approved_before and approval_percent, as `describe_worker` set them.
    """
    with state.transaction() as connection:
        rows = connection.execute("SELECT id AS worker_id, * FROM workers ORDER BY rowid").fetchall()
        return [
            dict(row) | {"added_at": moment(row["added_at"]), "revoked_at": moment_or_none(row["revoked_at"])}
            for row in rows
        ]


def describe_worker(state: State, worker_id: str, known: dict[str, Any]) -> None:
    """Say what MTurk would know of a worker, for the qualifications that it computes itself.

    `known` may hold country ("US"), subdivision ("NY"), adult, masters (true or false), approved_before (HITs, added
    to those approved here) and approval_percent (instead of the work done here). Raises Refusal for no worker's id.
    """
    assert set(known) <= {"country", "subdivision", "adult", "masters", "approved_before", "approval_percent"}
    with state.transaction() as connection:
        for name, value in known.items():
            changed = connection.execute(f"UPDATE workers SET {name} = ? WHERE id = ?", (value, worker_id))
            if not changed.rowcount:
                raise Refusal("There is no such worker.")


def revoke_worker(state: State, worker_id: str) -> None:
    """Let a worker in no more; what they did stays. Raises Refusal for an id that is no worker's."""
    with state.transaction() as connection:
        changed = connection.execute(
            "UPDATE workers SET revoked_at = coalesce(revoked_at, ?) WHERE id = ?", (state.now(), worker_id)
        )
        if not changed.rowcount:
            raise Refusal("There is no such worker.")


def check_let_in(connection: sqlite3.Connection, worker_id: str) -> None:
    """Raise Refusal for who is no worker here, or no more."""
    row = connection.execute("SELECT revoked_at FROM workers WHERE id = ?", (worker_id,)).fetchone()
    if row is None or row["revoked_at"] is not None:
        raise Refusal("You are not a worker here any more." if row else "You are not a worker here.")


def _hit(connection: sqlite3.Connection, hit_id: str) -> sqlite3.Row:
    row: sqlite3.Row | None = connection.execute(f"{_HITS} WHERE hits.id = ?", (hit_id,)).fetchone()
    if row is None:
        raise Refusal("There is no such HIT.")
    return row


def _open(connection: sqlite3.Connection, worker_id: str, assignment_id: str) -> sqlite3.Row:
    """The worker's latest assignment of that id, which must be open."""
    row: sqlite3.Row | None = connection.execute(
        "SELECT * FROM assignments WHERE id = ? AND worker = ? ORDER BY serial DESC LIMIT 1",
        (assignment_id, worker_id),
    ).fetchone()
    if row is None:
        raise Refusal("You have no such assignment.")
    if row["status"] != "accepted":
        raise Refusal(
            {
                "returned": "You returned this assignment.",
                "abandoned": "The time for this assignment is over.",
            }.get(row["status"], "You already submitted this assignment.")
        )
    return row


def _listed(
    connection: sqlite3.Connection, hit: sqlite3.Row, worker_id: str, lacking: list[dict[str, Any]]
) -> dict[str, Any]:
    mine = connection.execute(
        "SELECT id FROM assignments WHERE hit = ? AND worker = ? AND status = 'accepted'", (hit["id"], worker_id)
    ).fetchone()
    return {
        "hit_id": hit["id"],
        "group_id": hit["group_id"],
        "title": hit["title"],
        "description": hit["description"],
        "keywords": hit["keywords"],
        "reward_cents": hit["reward_cents"],
        "places_left": hit["places"],
        "duration_s": hit["duration_s"],
        "expires_at": moment(hit["expires_at"]),
        "requester": hit["requester_id"],
        "qualified": not lacking,
        "missing": [describe(connection, requirement) for requirement in lacking],
        "assignment_id": mine["id"] if mine else None,
    }


def _question(hit: sqlite3.Row) -> dict[str, Any]:
    question = read_question(hit["question"])
    return {
        "kind": question.kind,
        "url": question.url,
        "html": question.html,
        "frame_height": question.frame_height,
    }


def _said(connection: sqlite3.Connection, lacking: list[dict[str, Any]]) -> str:
    return "; ".join(describe(connection, requirement) for requirement in lacking)


def _is_blocked(connection: sqlite3.Connection, requester: str, worker_id: str) -> bool:
    row = connection.execute("SELECT 1 FROM blocks WHERE requester = ? AND worker = ?", (requester, worker_id))
    return row.fetchone() is not None
