"""Qualification types: made, changed, found and deleted by requesters."""

import sqlite3
from typing import Any

from mturk.server.caller import Caller, seconds
from mturk.server.grading import check_key, read_test
from mturk.server.lists import cut
from mturk.server.refusals import RequestError, does_not_exist, out_of_range
from mturk.server.requirements import SYSTEM_TYPES
from mturk.server.state import new_id
from mturk.service_model import YEAR

NAME_LENGTH = 200
TEXT_LENGTH = 2000  # of a description
KEYWORDS_LENGTH = 1000
MOST_SECONDS = 100 * YEAR  # AWS's documentation gives no bound; this one keeps dates within reach


def create_qualification_type(caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    """CreateQualificationType."""
    name = request["Name"]
    _lengths(request)
    _check_test(request)
    taken = caller.connection.execute(
        "SELECT 1 FROM qualification_types WHERE requester = ? AND name = ? AND deleted_at IS NULL",
        (caller.requester, name),
    ).fetchone()
    if taken:
        raise RequestError(
            "QualificationTypeAlreadyExists",
            "You have already created a QualificationType with this name. A QualificationType's name must be unique"
            " among all of the QualificationTypes created by the same user.",
        )
    type_id = new_id()
    caller.connection.execute(
        "INSERT INTO qualification_types (id, requester, name, keywords, description, status, retry_delay_s, test,"
        " answer_key, test_duration_s, auto_granted, auto_granted_value, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            type_id,
            caller.requester,
            name,
            request.get("Keywords"),
            request["Description"],
            request["QualificationTypeStatus"],
            request.get("RetryDelayInSeconds"),
            request.get("Test"),
            request.get("AnswerKey"),
            request.get("TestDurationInSeconds"),
            request.get("AutoGranted", False),
            request.get("AutoGrantedValue", 1),
            caller.now,
        ),
    )
    return {"QualificationType": _shown(find_own(caller, type_id))}


def update_qualification_type(caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    """UpdateQualificationType. A test and its key change together; a test cannot be taken away."""
    known = find_own(caller, request["QualificationTypeId"])
    _lengths(request)
    if known["test"] is not None and "Test" not in request and request.get("AutoGranted"):
        raise _combination("a type with a test cannot be AutoGranted")
    _check_test(request)
    changes = {
        "description": request.get("Description", known["description"]),
        "status": request.get("QualificationTypeStatus", known["status"]),
        "retry_delay_s": request.get("RetryDelayInSeconds", known["retry_delay_s"]),
        "auto_granted": request.get("AutoGranted", known["auto_granted"] and "Test" not in request),
        "auto_granted_value": request.get("AutoGrantedValue", known["auto_granted_value"]),
    }
    if "Test" in request:
        changes |= {
            "test": request["Test"],
            "answer_key": request.get("AnswerKey"),
            "test_duration_s": request["TestDurationInSeconds"],
        }
    columns = ", ".join(f"{name} = ?" for name in changes)
    caller.connection.execute(
        f"UPDATE qualification_types SET {columns} WHERE id = ?", (*changes.values(), known["id"])
    )
    return {"QualificationType": _shown(find_own(caller, known["id"]))}


def delete_qualification_type(caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    """DeleteQualificationType. Pending requests are rejected; what was granted stays for the HITs that ask for it."""
    known = find_own(caller, request["QualificationTypeId"])
    caller.connection.execute(
        "UPDATE qualification_types SET deleted_at = ?, status = 'Inactive' WHERE id = ?", (caller.now, known["id"])
    )
    caller.connection.execute(
        "UPDATE qualification_requests SET status = 'rejected', reason = 'The qualification was deleted.'"
        " WHERE type = ? AND status IN ('begun', 'pending')",
        (known["id"],),
    )
    return {}


def get_qualification_type(caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    """GetQualificationType, also MTurk's own and those of other requesters, whose tests it does not show."""
    type_id = request["QualificationTypeId"]
    if type_id in SYSTEM_TYPES:
        return {"QualificationType": _system_type(type_id)}
    row = caller.connection.execute(
        "SELECT * FROM qualification_types WHERE id = ? AND deleted_at IS NULL", (type_id,)
    ).fetchone()
    if row is None:
        raise does_not_exist("QualificationType", type_id)
    return {"QualificationType": _shown(row, row["requester"] == caller.requester)}


def list_qualification_types(caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    """ListQualificationTypes: the caller's own and, unless told otherwise, everybody's, with MTurk's own last."""
    own = request.get("MustBeOwnedByCaller", False)
    words = request.get("Query", "")
    condition, values = "deleted_at IS NULL", []
    if own:
        condition, values = f"{condition} AND requester = ?", [caller.requester]
    if request["MustBeRequestable"]:
        condition += " AND status = 'Active'"
    if words:
        condition += " AND instr(lower(name || ' ' || coalesce(keywords, '') || ' ' || description), lower(?))"
        values.append(words)
    rows = caller.connection.execute(
        f"SELECT * FROM qualification_types WHERE {condition} ORDER BY serial DESC", values
    )
    found = [(row["serial"], _shown(row, row["requester"] == caller.requester)) for row in rows]
    if not own and not request["MustBeRequestable"]:
        system = [_system_type(type_id) for type_id in SYSTEM_TYPES]
        fitting = [kind for kind in system if words.lower() in f"{kind['Name']} {kind['Description']}".lower()]
        found += [(-number, kind) for number, kind in enumerate(fitting, 1)]
    types, answer = cut("ListQualificationTypes", request, found)
    return answer | {"QualificationTypes": types}


def find_own(caller: Caller, type_id: str) -> sqlite3.Row:
    """The requester's qualification type of that id."""
    row: sqlite3.Row | None = caller.connection.execute(
        "SELECT * FROM qualification_types WHERE id = ? AND requester = ? AND deleted_at IS NULL",
        (type_id, caller.requester),
    ).fetchone()
    if row is None:
        raise does_not_exist("QualificationType", type_id)
    return row


def _lengths(request: dict[str, Any]) -> None:
    for name, most in (("Name", NAME_LENGTH), ("Description", TEXT_LENGTH), ("Keywords", KEYWORDS_LENGTH)):
        if name in request and not (name == "Keywords" or request[name].strip()):
            raise RequestError("AWS.MissingParameters", f"{name} is empty.")
        if len(request.get(name, "")) > most:
            raise RequestError("AWS.ParameterOutOfRange", f"{name} is longer than {most} characters.")


def _check_test(request: dict[str, Any]) -> None:
    """Raise RequestError where test, key, duration and AutoGranted do not fit each other."""
    for name in ("RetryDelayInSeconds", "TestDurationInSeconds"):
        if name in request and not 0 <= request[name] <= MOST_SECONDS:
            raise out_of_range(name, request[name], 0, MOST_SECONDS)
    if "Test" not in request:
        if "AnswerKey" in request or "TestDurationInSeconds" in request:
            raise _combination("AnswerKey and TestDurationInSeconds need a Test")
        return
    if request.get("AutoGranted"):
        raise _combination("Test, AutoGranted")
    if request.get("TestDurationInSeconds", 0) <= 0:
        raise _combination("a Test needs TestDurationInSeconds above 0")
    test = read_test(request["Test"])
    if "AnswerKey" in request:
        check_key(request["AnswerKey"], test)


def _combination(details: str) -> RequestError:
    return RequestError(
        "InvalidParameterCombination",
        f"The combination of parameters supplied to the request is invalid: {details}.",
    )


def _shown(row: sqlite3.Row, owner: bool = True) -> dict[str, Any]:
    structure = {
        "QualificationTypeId": row["id"],
        "CreationTime": seconds(row["created_at"]),
        "Name": row["name"],
        "Description": row["description"],
        "Keywords": row["keywords"],
        "QualificationTypeStatus": row["status"],
        "RetryDelayInSeconds": row["retry_delay_s"],
        "Test": row["test"] if owner else None,
        "TestDurationInSeconds": row["test_duration_s"],
        "AnswerKey": row["answer_key"] if owner else None,
        "IsRequestable": row["status"] == "Active",
        "AutoGranted": bool(row["auto_granted"]),
        "AutoGrantedValue": row["auto_granted_value"] if row["auto_granted"] else None,
    }
    return {name: value for name, value in structure.items() if value is not None}


def _system_type(type_id: str) -> dict[str, Any]:
    name, description = SYSTEM_TYPES[type_id]
    return {
        "QualificationTypeId": type_id,
        "CreationTime": 1_104_537_600,  # some time in 2005
        "Name": name,
        "Description": description,
        "QualificationTypeStatus": "Active",
        "IsRequestable": False,
        "AutoGranted": False,
    }
