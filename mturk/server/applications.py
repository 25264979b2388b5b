"""How workers ask for qualifications: at once, by a test that an answer key grades, or by the requester's decision."""

import sqlite3
from typing import Any

from mturk.questions.answers import answers_xml
from mturk.server.grading import grade, read_test
from mturk.server.qualifications import grant
from mturk.server.state import State, moment, new_id
from mturk.server.worklife import Refusal, check_let_in


def requestable_qualifications(state: State, worker_id: str) -> list[dict[str, Any]]:
    """The qualification types that the worker can ask for now, oldest first.

    Each has type_id, name, description, has_test, test_duration_s (None without a test), and requester.
    """
    with state.transaction() as connection:
        check_let_in(connection, worker_id)
        rows = connection.execute(
            "SELECT q.*, requesters.id AS requester_id FROM qualification_types q"
            " JOIN requesters ON requesters.key = q.requester"
            " WHERE status = 'Active' AND deleted_at IS NULL ORDER BY serial"
        ).fetchall()
        return [
            {
                "type_id": row["id"],
                "name": row["name"],
                "description": row["description"],
                "has_test": row["test"] is not None,
                "test_duration_s": row["test_duration_s"],
                "requester": row["requester_id"],
            }
            for row in rows
            if _obstacle(connection, row, worker_id, state.now()) is None
        ]


def begin_test(state: State, worker_id: str, type_id: str) -> dict[str, Any]:
    """A test: name, test (QuestionForm XML), questions (grading.Choice) and deadline. Reading it again moves none.

    Only a test that is begun can be handed in.
    """
    with state.transaction() as connection:
        check_let_in(connection, worker_id)
        wanted = _type(connection, type_id)
        now = state.now()
        if wanted["test"] is None:
            raise Refusal("This qualification has no test.")
        begun = _begun(connection, wanted, worker_id)
        if begun is None or _over(wanted, begun, now):
            _check(connection, wanted, worker_id, now)
            begun = _insert(connection, wanted, worker_id, "begun", now)
        return {
            "name": wanted["name"],
            "test": begun["test"],
            "questions": read_test(begun["test"]),
            "deadline": moment(_deadline(wanted, begun)),
        }


def request_qualification(
    state: State, worker_id: str, type_id: str, answers: dict[str, list[str]] | None = None
) -> str:
    """Ask for a qualification: "granted" or "pending". For one with a test, call `begin_test` first.

    `answers` are the test's: a question's identifier with the selections, or the one text, given. Raises Refusal.
    """
    with state.transaction() as connection:
        check_let_in(connection, worker_id)
        wanted = _type(connection, type_id)
        now = state.now()
        if wanted["test"] is None:
            _check(connection, wanted, worker_id, now)
            request = _insert(connection, wanted, worker_id, "pending", now)
            if not wanted["auto_granted"]:
                return "pending"
            score = wanted["auto_granted_value"]
        else:
            found = _begun(connection, wanted, worker_id)
            if found is None:
                raise Refusal("Begin the test first.")
            if _over(wanted, found, now):
                raise Refusal("The time for this test is over.")
            request, given = found, answers or {}
            fields = [(name, value) for name, values in given.items() for value in values]
            connection.execute(
                "UPDATE qualification_requests SET status = 'pending', submitted_at = ?, answer = ? WHERE id = ?",
                (now, answers_xml(fields), request["id"]),
            )
            if wanted["answer_key"] is None:
                return "pending"
            score = grade(wanted["answer_key"], given)
        grant(connection, type_id, worker_id, score, now)
        connection.execute("UPDATE qualification_requests SET status = 'granted' WHERE id = ?", (request["id"],))
        return "granted"


def qualifications_of(state: State, worker_id: str) -> list[dict[str, Any]]:
    """What the worker was granted, newest first, then what waits for a decision.

    Each has type_id, name, requester, status (Granted or Pending), value (None while pending) and at.
    """
    with state.transaction() as connection:
        check_let_in(connection, worker_id)
        rows = connection.execute(
            "SELECT type, value, 'Granted' AS status, granted_at AS at FROM qualifications"
            " WHERE worker = :worker AND status = 'Granted' UNION ALL"
            " SELECT type, NULL, 'Pending', submitted_at FROM qualification_requests"
            " WHERE worker = :worker AND status = 'pending' ORDER BY status, at DESC",
            {"worker": worker_id},
        ).fetchall()
        found = []
        for row in rows:
            kind = connection.execute(
                "SELECT name, requesters.id AS requester FROM qualification_types q"
                " JOIN requesters ON requesters.key = q.requester WHERE q.id = ?",
                (row["type"],),
            ).fetchone()
            found.append(
                {
                    "type_id": row["type"],
                    "name": kind["name"],
                    "requester": kind["requester"],
                    "status": row["status"],
                    "value": row["value"],
                    "at": moment(row["at"]),
                }
            )
        return found


def _type(connection: sqlite3.Connection, type_id: str) -> sqlite3.Row:
    row: sqlite3.Row | None = connection.execute(
        "SELECT * FROM qualification_types WHERE id = ? AND deleted_at IS NULL AND status = 'Active'", (type_id,)
    ).fetchone()
    if row is None:
        raise Refusal("There is no such qualification to ask for.")
    return row


def _check(connection: sqlite3.Connection, wanted: sqlite3.Row, worker_id: str, now: int) -> None:
    obstacle = _obstacle(connection, wanted, worker_id, now)
    if obstacle is not None:
        raise Refusal(obstacle)


def _obstacle(connection: sqlite3.Connection, wanted: sqlite3.Row, worker_id: str, now: int) -> str | None:
    """Why the worker cannot ask for the qualification now; None where they can."""
    last = _last(connection, wanted["id"], worker_id)
    if last is None or (last["status"] == "begun" and not _over(wanted, last, now)):
        return None
    if last["status"] == "pending":
        return "You asked for this qualification already; the requester has not decided yet."
    if last["status"] == "granted" and wanted["test"] is None:
        return "You have been granted this qualification already."
    if wanted["retry_delay_s"] is None:
        return "This qualification can be asked for only once."
    again = (last["submitted_at"] or last["began_at"]) + 1000 * wanted["retry_delay_s"]
    if now < again:
        return f"You can ask for this qualification again from {moment(again):%Y-%m-%d %H:%M} UTC on."
    return None


def _last(connection: sqlite3.Connection, type_id: str, worker_id: str) -> sqlite3.Row | None:
    row: sqlite3.Row | None = connection.execute(
        "SELECT * FROM qualification_requests WHERE type = ? AND worker = ? ORDER BY serial DESC LIMIT 1",
        (type_id, worker_id),
    ).fetchone()
    return row


def _begun(connection: sqlite3.Connection, wanted: sqlite3.Row, worker_id: str) -> sqlite3.Row | None:
    last = _last(connection, wanted["id"], worker_id)
    return last if last is not None and last["status"] == "begun" else None


def _insert(connection: sqlite3.Connection, wanted: sqlite3.Row, worker_id: str, status: str, now: int) -> sqlite3.Row:
    connection.execute(
        "INSERT INTO qualification_requests (id, type, worker, test, status, began_at, submitted_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (new_id(), wanted["id"], worker_id, wanted["test"], status, now, now if status == "pending" else None),
    )
    row = _last(connection, wanted["id"], worker_id)
    assert row is not None
    return row


def _deadline(wanted: sqlite3.Row, begun: sqlite3.Row) -> int:
    return int(begun["began_at"] + 1000 * wanted["test_duration_s"])


def _over(wanted: sqlite3.Row, begun: sqlite3.Row, now: int) -> bool:
    return wanted["test"] is None or now > _deadline(wanted, begun)
