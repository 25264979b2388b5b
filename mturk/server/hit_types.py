"""HIT types: the properties that HITs share. The same properties are always the same type."""

import json
import sqlite3
from typing import Any

from mturk.server.amounts import read_cents
from mturk.server.caller import Caller
from mturk.server.refusals import RequestError, does_not_exist, invalid_state
from mturk.server.requirements import LOCALE, SYSTEM_TYPES
from mturk.server.state import new_id

AUTO_APPROVAL_S = 30 * 24 * 3600  # where none is given

_WITHOUT_VALUES = ("Exists", "DoesNotExist")
_OF_SETS = ("In", "NotIn")
_OF_LOCALES = ("EqualTo", "NotEqualTo", *_OF_SETS)


def create_hit_type(caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    """CreateHITType."""
    return {"HITTypeId": find_or_add(caller, request)}


def find_or_add(caller: Caller, request: dict[str, Any]) -> str:
    """The id of the requester's HIT type with the properties in the request."""
    for name in ("Title", "Description"):
        if not request[name].strip():
            raise RequestError("AWS.MissingParameters", f"{name} is empty.")
    requirements = request.get("QualificationRequirements", [])
    check_requirements(caller.connection, requirements)
    properties = {
        "title": request["Title"],
        "description": request["Description"],
        "keywords": request.get("Keywords", ""),
        "reward_cents": read_cents("Reward", request["Reward"]),
        "duration_s": request["AssignmentDurationInSeconds"],
        "auto_approval_s": request.get("AutoApprovalDelayInSeconds", AUTO_APPROVAL_S),
        "requirements": json.dumps(requirements, sort_keys=True),
    }
    text = json.dumps(properties, sort_keys=True)
    row = caller.connection.execute(
        "SELECT id FROM hit_types WHERE requester = ? AND properties = ?", (caller.requester, text)
    ).fetchone()
    if row is not None:
        return str(row["id"])
    type_id = new_id()
    caller.connection.execute(
        "INSERT INTO hit_types (id, requester, group_id, properties, title, description, keywords, reward_cents,"
        " duration_s, auto_approval_s, requirements) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (type_id, caller.requester, new_id(), text, *properties.values()),
    )
    return type_id


def find(caller: Caller, type_id: str) -> sqlite3.Row:
    """The requester's HIT type of that id."""
    row: sqlite3.Row | None = caller.connection.execute(
        "SELECT * FROM hit_types WHERE id = ? AND requester = ?", (type_id, caller.requester)
    ).fetchone()
    if row is None:
        raise does_not_exist("HITType", type_id)
    return row


def check_requirements(connection: sqlite3.Connection, requirements: list[dict[str, Any]]) -> None:
    """Raise RequestError where a requirement does not fit its comparator or its qualification type."""
    for requirement in requirements:
        _check(connection, requirement)


def _check(connection: sqlite3.Connection, requirement: dict[str, Any]) -> None:
    type_id, comparator = requirement["QualificationTypeId"], requirement["Comparator"]
    if "RequiredToPreview" in requirement and "ActionsGuarded" in requirement:
        raise RequestError(
            "InvalidParameterCombination",
            "The combination of parameters supplied to the request is invalid: ActionsGuarded, RequiredToPreview.",
        )
    if type_id not in SYSTEM_TYPES:
        row = connection.execute(
            "SELECT status FROM qualification_types WHERE id = ? AND deleted_at IS NULL", (type_id,)
        ).fetchone()
        if row is None:
            raise does_not_exist("QualificationType", type_id)
        if row["status"] != "Active":
            raise invalid_state("QualificationType", row["status"], "Active")
    integers, locales = requirement.get("IntegerValues", []), requirement.get("LocaleValues", [])
    if comparator in _WITHOUT_VALUES:
        fits = not integers and not locales
        wanted = "no values"
    elif type_id == LOCALE:
        fits = comparator in _OF_LOCALES and not integers and _count_fits(comparator, locales)
        wanted = "LocaleValues (one for EqualTo and NotEqualTo), and no comparator but EqualTo, NotEqualTo, In, NotIn"
    else:
        fits = not locales and _count_fits(comparator, integers)
        wanted = "IntegerValues (one, but for In and NotIn)"
    if not fits:
        raise RequestError(
            "InvalidQualificationRequirement",
            f"The requirement of {type_id} with {comparator} needs {wanted}.",
        )


def _count_fits(comparator: str, values: list[Any]) -> bool:
    return len(values) >= 1 if comparator in _OF_SETS else len(values) == 1
