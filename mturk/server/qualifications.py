"""Who has which qualification: granted, revoked, asked for."""

import sqlite3
from typing import Any

from mturk.server.caller import Caller, seconds
from mturk.server.lists import page
from mturk.server.qualification_types import find_own
from mturk.server.refusals import RequestError, does_not_exist, invalid_state
from mturk.server.workers import check_worker, message


def grant(connection: sqlite3.Connection, type_id: str, worker: str, value: int | None, at: int) -> None:
    """Give a worker a qualification, or change its value."""
    connection.execute(
        "INSERT OR REPLACE INTO qualifications (type, worker, value, status, granted_at)"
        " VALUES (?, ?, ?, 'Granted', ?)",
        (type_id, worker, value, at),
    )


def associate_qualification(caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    """AssociateQualificationWithWorker."""
    known = find_own(caller, request["QualificationTypeId"])
    worker = request["WorkerId"]
    check_worker(caller.connection, worker)
    grant(caller.connection, known["id"], worker, request.get("IntegerValue", 1), caller.now)
    if request.get("SendNotification", True):
        message(caller, worker, "You have a new qualification", f"You were given the qualification {known['name']}.")
    return {}


def disassociate_qualification(caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    """DisassociateQualificationFromWorker."""
    known = find_own(caller, request["QualificationTypeId"])
    _granted(caller, known["id"], request["WorkerId"])
    caller.connection.execute(
        "UPDATE qualifications SET status = 'Revoked', reason = ? WHERE type = ? AND worker = ?",
        (request.get("Reason"), known["id"], request["WorkerId"]),
    )
    if request.get("Reason"):
        message(caller, request["WorkerId"], "A qualification was revoked", f"{known['name']}: {request['Reason']}")
    return {}


def get_qualification_score(caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    """GetQualificationScore."""
    known = find_own(caller, request["QualificationTypeId"])
    return {"Qualification": _shown(_granted(caller, known["id"], request["WorkerId"]))}


def list_workers_with_qualification_type(caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    """ListWorkersWithQualificationType."""
    known = find_own(caller, request["QualificationTypeId"])
    rows, answer = page(
        caller.connection,
        "ListWorkersWithQualificationType",
        request,
        "SELECT rowid AS serial, * FROM qualifications WHERE type = ? AND status = ?",
        [known["id"], request.get("Status", "Granted")],
        "rowid",
    )
    return answer | {"Qualifications": [_shown(row) for row in rows]}


def list_qualification_requests(caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    """ListQualificationRequests: the pending ones, of one type or of all."""
    condition, values = "requester = ? AND r.status = 'pending'", [caller.requester]
    if "QualificationTypeId" in request:
        condition += " AND r.type = ?"
        values.append(find_own(caller, request["QualificationTypeId"])["id"])
    rows, answer = page(
        caller.connection,
        "ListQualificationRequests",
        request,
        f"SELECT r.* FROM qualification_requests r JOIN qualification_types q ON q.id = r.type WHERE {condition}",
        values,
        "r.serial",
    )
    found = [
        {
            "QualificationRequestId": row["id"],
            "QualificationTypeId": row["type"],
            "WorkerId": row["worker"],
            "SubmitTime": seconds(row["submitted_at"]),
        }
        | {name: row[column] for name, column in (("Test", "test"), ("Answer", "answer")) if row[column] is not None}
        for row in rows
    ]
    return answer | {"QualificationRequests": found}


def accept_qualification_request(caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    """AcceptQualificationRequest."""
    row = _pending(caller, request["QualificationRequestId"])
    grant(caller.connection, row["type"], row["worker"], request.get("IntegerValue", 1), caller.now)
    caller.connection.execute("UPDATE qualification_requests SET status = 'granted' WHERE id = ?", (row["id"],))
    return {}


def reject_qualification_request(caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    """RejectQualificationRequest."""
    row = _pending(caller, request["QualificationRequestId"])
    caller.connection.execute(
        "UPDATE qualification_requests SET status = 'rejected', reason = ? WHERE id = ?",
        (request.get("Reason"), row["id"]),
    )
    if request.get("Reason"):
        message(caller, row["worker"], "Your request for a qualification was rejected", request["Reason"])
    return {}


def _pending(caller: Caller, request_id: str) -> sqlite3.Row:
    row: sqlite3.Row | None = caller.connection.execute(
        "SELECT r.* FROM qualification_requests r JOIN qualification_types q ON q.id = r.type"
        " WHERE r.id = ? AND requester = ?",
        (request_id, caller.requester),
    ).fetchone()
    if row is None:
        raise does_not_exist("QualificationRequest", request_id)
    if row["status"] != "pending":
        raise invalid_state("QualificationRequest", row["status"].capitalize(), "Pending")
    return row


def _granted(caller: Caller, type_id: str, worker: str) -> sqlite3.Row:
    row: sqlite3.Row | None = caller.connection.execute(
        "SELECT * FROM qualifications WHERE type = ? AND worker = ?", (type_id, worker)
    ).fetchone()
    if row is None:
        raise RequestError(
            "QualificationDoesNotExist", f"Worker {worker} does not have a Qualification of type {type_id}."
        )
    if row["status"] != "Granted":
        raise invalid_state("Qualification", row["status"], "Granted")
    return row


def _shown(row: sqlite3.Row) -> dict[str, Any]:
    value = {} if row["value"] is None else {"IntegerValue": row["value"]}
    return {
        "QualificationTypeId": row["type"],
        "WorkerId": row["worker"],
        "GrantTime": seconds(row["granted_at"]),
        "Status": row["status"],
    } | value
