"""Submitted assignments as requesters see them: listing, approving, rejecting, bonuses."""

import sqlite3
from typing import Any

from mturk.server import hits, life
from mturk.server.amounts import read_cents
from mturk.server.caller import DAY, Caller, seconds
from mturk.server.lists import page
from mturk.server.money import pay_bonus
from mturk.server.refusals import RequestError, does_not_exist, invalid_state
from study.fees import bonus_fee_cents, dollars

OVERRIDE_DAYS = 30  # after its submission, a rejected assignment can be approved
STATUSES = ["Submitted", "Approved", "Rejected"]


def list_assignments_for_hit(caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    """ListAssignmentsForHIT."""
    hit = hits.find(caller, request["HITId"])
    wanted = [status.lower() for status in request.get("AssignmentStatuses") or STATUSES]
    marks = ", ".join("?" * len(wanted))
    rows, answer = page(
        caller.connection,
        "ListAssignmentsForHIT",
        request,
        f"SELECT * FROM assignments WHERE hit = ? AND status IN ({marks})",
        [hit["id"], *wanted],
        "serial",
    )
    return answer | {"Assignments": [_shown(row) for row in rows]}


def get_assignment(caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    """GetAssignment, and its HIT."""
    assignment = _find(caller, request["AssignmentId"])
    if assignment["status"] not in ("submitted", "approved", "rejected"):
        raise _wrong_state(assignment, "Submitted,Approved,Rejected")
    hit = hits.find(caller, assignment["hit"])
    return {"Assignment": _shown(assignment), "HIT": hits.shown(caller.connection, hit)}


def approve_assignment(caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    """ApproveAssignment; with OverrideRejection also one that was rejected."""
    assignment = _find(caller, request["AssignmentId"])
    override = request.get("OverrideRejection", False)
    if assignment["status"] not in (("submitted", "rejected") if override else ("submitted",)):
        raise _wrong_state(assignment, "Submitted,Rejected" if override else "Submitted")
    if assignment["status"] == "rejected":
        hit = hits.find(caller, assignment["hit"])
        if hit["disposed_at"] is not None:
            raise invalid_state("HIT", "Disposed", "Assignable,Unassignable,Reviewable,Reviewing")
        if caller.now > assignment["submitted_at"] + OVERRIDE_DAYS * DAY:
            raise RequestError(
                "InvalidAssignmentState",
                f"A rejection can be overridden within {OVERRIDE_DAYS} days of the assignment's submission only.",
            )
    life.approve(caller.connection, caller.now, assignment, request.get("RequesterFeedback"))
    return {}


def reject_assignment(caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    """RejectAssignment."""
    assignment = _find(caller, request["AssignmentId"])
    if assignment["status"] != "submitted":
        raise _wrong_state(assignment, "Submitted")
    life.reject(caller.connection, caller.now, assignment, request["RequesterFeedback"])
    return {}


def send_bonus(caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    """SendBonus, to the worker who submitted the assignment."""
    token = request.get("UniqueRequestToken")
    caller.refuse_repeated("bonus", token)
    cents = read_cents("BonusAmount", request["BonusAmount"], 1)
    if not request["Reason"].strip():
        raise RequestError("AWS.MissingParameters", "Reason is empty.")
    assignment = _find(caller, request["AssignmentId"])
    if assignment["worker"] != request["WorkerId"]:
        raise RequestError(
            "AWS.InvalidParameterValue",
            f"Worker {request['WorkerId']} did not submit assignment {assignment['id']}.",
        )
    if assignment["status"] not in ("submitted", "approved", "rejected"):
        raise _wrong_state(assignment, "Submitted,Approved,Rejected")
    pay_bonus(caller.connection, caller.now, caller.requester, assignment, cents, bonus_fee_cents(cents))
    caller.connection.execute(
        "INSERT INTO bonuses (requester, hit, assignment, worker, bonus_cents, reason, at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            caller.requester,
            assignment["hit"],
            assignment["id"],
            assignment["worker"],
            cents,
            request["Reason"],
            caller.now,
        ),
    )
    caller.keep_token("bonus", token, caller.request_id)
    return {}


def list_bonus_payments(caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    """ListBonusPayments, of a HIT or of an assignment."""
    if ("HITId" in request) == ("AssignmentId" in request):
        raise RequestError(
            "AWS.RestrictedParameterValueCombination", "Specify either the HITId parameter or the AssignmentId."
        )
    if "HITId" in request:
        condition, value = "hit = ?", hits.find(caller, request["HITId"])["id"]
    else:
        condition, value = "assignment = ?", _find(caller, request["AssignmentId"])["id"]
    rows, answer = page(
        caller.connection,
        "ListBonusPayments",
        request,
        f"SELECT * FROM bonuses WHERE requester = ? AND {condition}",
        [caller.requester, value],
        "serial",
    )
    payments = [
        {
            "WorkerId": row["worker"],
            "BonusAmount": dollars(row["bonus_cents"]),
            "AssignmentId": row["assignment"],
            "Reason": row["reason"],
            "GrantTime": seconds(row["at"]),
        }
        for row in rows
    ]
    return answer | {"BonusPayments": payments}


def get_file_upload_url(caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    """GetFileUploadURL: refused, for no question here takes files."""
    _find(caller, request["AssignmentId"])
    raise RequestError(
        "OperationNotSupported", "GetFileUploadURL: FileUploadAnswer is not supported, here as on MTurk since 2017."
    )


def _find(caller: Caller, assignment_id: str) -> sqlite3.Row:
    """The requester's assignment of that id; of several workers who had it the last one."""
    row: sqlite3.Row | None = caller.connection.execute(
        "SELECT a.* FROM assignments a JOIN hits ON hits.id = a.hit WHERE a.id = ? AND requester = ?"
        " ORDER BY a.serial DESC LIMIT 1",
        (assignment_id, caller.requester),
    ).fetchone()
    if row is None:
        raise does_not_exist("Assignment", assignment_id)
    return row


def _wrong_state(assignment: sqlite3.Row, allowed: str) -> RequestError:
    return invalid_state("Assignment", assignment["status"].capitalize(), allowed)


def _shown(row: sqlite3.Row) -> dict[str, Any]:
    """The Assignment structure of an answer."""
    optional = {
        "AutoApprovalTime": row["auto_approval_at"],
        "SubmitTime": row["submitted_at"],
        "ApprovalTime": row["approved_at"],
        "RejectionTime": row["rejected_at"],
    }
    return (
        {
            "AssignmentId": row["id"],
            "WorkerId": row["worker"],
            "HITId": row["hit"],
            "AssignmentStatus": row["status"].capitalize(),
            "AcceptTime": seconds(row["accepted_at"]),
            "Deadline": seconds(row["deadline"]),
            "Answer": row["answer"],
        }
        | {name: seconds(at) for name, at in optional.items() if at is not None}
        | ({"RequesterFeedback": row["feedback"]} if row["feedback"] is not None else {})
    )
