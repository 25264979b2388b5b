"""Qualification requirements: what MTurk itself knows of a worker, and whether a worker meets them."""

import json
import sqlite3
from typing import Any

APPROVAL_RATE = "000000000000000000L0"  # percent
HITS_APPROVED = "00000000000000000040"
LOCALE = "00000000000000000071"
ADULT = "00000000000000000060"
MASTERS = "2F1QJWKUDD8XADTFD2Q0G6UTO95ALH"
MASTERS_SANDBOX = "2ARFPLSP75KLA8M8DH1HTEQVJT3SY6"

SYSTEM_TYPES = {  # id: name and description, as in AWS's reference on the QualificationRequirement structure
    APPROVAL_RATE: ("Worker_PercentAssignmentsApproved", "The percentage of submitted assignments that were approved"),
    HITS_APPROVED: ("Worker_NumberHITsApproved", "The number of HITs submitted by a worker that have been approved"),
    LOCALE: ("Worker_Locale", "The location of the worker, as given in their mailing address"),
    ADULT: ("Worker_Adult", "Requires workers to acknowledge that HITs may contain adult content"),
    MASTERS: ("Masters", "Workers who have demonstrated accuracy across a range of HITs"),
    MASTERS_SANDBOX: ("Masters (sandbox)", "Workers who have demonstrated accuracy across a range of HITs"),
}

FEW_SUBMISSIONS = 100  # a worker with fewer has an approval rate of 100 %
GUARDS = {"Accept": 1, "PreviewAndAccept": 2, "DiscoverPreviewAndAccept": 3}  # each guards what those before it do

_NUMBERS = {
    "LessThan": lambda value, bound: value < bound,
    "LessThanOrEqualTo": lambda value, bound: value <= bound,
    "GreaterThan": lambda value, bound: value > bound,
    "GreaterThanOrEqualTo": lambda value, bound: value >= bound,
    "EqualTo": lambda value, bound: value == bound,
    "NotEqualTo": lambda value, bound: value != bound,
}
_SPOKEN = {
    "LessThan": "is less than",
    "LessThanOrEqualTo": "is at most",
    "GreaterThan": "is greater than",
    "GreaterThanOrEqualTo": "is at least",
    "EqualTo": "is",
    "NotEqualTo": "is not",
    "In": "is one of",
    "NotIn": "is not one of",
    "Exists": "has been granted",
    "DoesNotExist": "has not been granted",
}


def needs_masters(requirements: list[dict[str, Any]]) -> bool:
    """Whether only Masters may take the HIT, which costs more."""
    return any(
        requirement["QualificationTypeId"] in (MASTERS, MASTERS_SANDBOX) and requirement["Comparator"] != "DoesNotExist"
        for requirement in requirements
    )


def unmet(connection: sqlite3.Connection, requirements: str, worker: str) -> list[dict[str, Any]]:
    """Those of the requirements (JSON) that the worker does not meet."""
    return [
        requirement
        for requirement in json.loads(requirements)
        if not meets(requirement, value_of(connection, requirement["QualificationTypeId"], worker))
    ]


def guarded(requirement: dict[str, Any]) -> int:
    """What the requirement guards: 1 accepting, 2 previewing too, 3 being found too."""
    preview = requirement.get("RequiredToPreview")
    return GUARDS[requirement.get("ActionsGuarded", "PreviewAndAccept" if preview else "Accept")]


def value_of(connection: sqlite3.Connection, type_id: str, worker: str) -> int | str | None:
    """The worker's value of a qualification; a locale as "US" or "US-NY"; None where the worker has it not."""
    if type_id not in SYSTEM_TYPES:
        row = connection.execute(
            "SELECT value FROM qualifications WHERE type = ? AND worker = ? AND status = 'Granted'", (type_id, worker)
        ).fetchone()
        return None if row is None else row["value"] if row["value"] is not None else 1
    person = connection.execute("SELECT * FROM workers WHERE id = ?", (worker,)).fetchone()
    if type_id == LOCALE:
        return "-".join(part for part in (person["country"], person["subdivision"]) if part) or None
    if type_id == ADULT:
        return 1 if person["adult"] else None
    if type_id in (MASTERS, MASTERS_SANDBOX):
        return 1 if person["masters"] else None
    submitted, approved = connection.execute(
        "SELECT count(*) FILTER (WHERE status IN ('submitted', 'approved', 'rejected')),"
        " count(*) FILTER (WHERE status = 'approved') FROM assignments WHERE worker = ?",
        (worker,),
    ).fetchone()
    if type_id == HITS_APPROVED:
        return int(approved + person["approved_before"])
    if person["approval_percent"] is not None:
        return int(person["approval_percent"])
    reviewed = connection.execute(
        "SELECT count(*) FROM assignments WHERE worker = ? AND status IN ('approved', 'rejected')", (worker,)
    ).fetchone()[0]
    return 100 if submitted < FEW_SUBMISSIONS or not reviewed else 100 * approved // reviewed


def meets(requirement: dict[str, Any], value: int | str | None) -> bool:
    """Whether a worker with this value of the qualification (None: without it) meets the requirement."""
    comparator = requirement["Comparator"]
    if comparator == "Exists":
        return value is not None
    if comparator == "DoesNotExist":
        return value is None
    if value is None:
        return False
    if requirement["QualificationTypeId"] == LOCALE:
        inside = any(str(value) == place or str(value).startswith(f"{place}-") for place in _places(requirement))
        return inside == (comparator in ("EqualTo", "In"))
    bounds = requirement["IntegerValues"]
    if comparator in ("In", "NotIn"):
        return (value in bounds) == (comparator == "In")
    return bool(_NUMBERS[comparator](value, bounds[0]))


def describe(connection: sqlite3.Connection, requirement: dict[str, Any]) -> str:
    """The requirement as workers read it: "Worker_Locale is one of US, CA"."""
    type_id = requirement["QualificationTypeId"]
    if type_id in SYSTEM_TYPES:
        name = SYSTEM_TYPES[type_id][0]
    else:
        name = connection.execute("SELECT name FROM qualification_types WHERE id = ?", (type_id,)).fetchone()["name"]
    values = _places(requirement) or [str(value) for value in requirement.get("IntegerValues", [])]
    return " ".join(part for part in (name, _SPOKEN[requirement["Comparator"]], ", ".join(values)) if part)


def _places(requirement: dict[str, Any]) -> list[str]:
    return [
        "-".join(part for part in (place["Country"], place.get("Subdivision")) if part)
        for place in requirement.get("LocaleValues", [])
    ]
