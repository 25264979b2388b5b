"""Creating, extending, showing and listing HITs."""

import json
import sqlite3
from typing import Any

from mturk.server import hit_types, life
from mturk.server.caller import Caller, seconds
from mturk.server.lists import page
from mturk.server.questions import read_question
from mturk.server.refusals import RequestError, does_not_exist, invalid_state
from mturk.server.requirements import needs_masters
from mturk.server.state import new_id
from study.fees import LARGE, dollars, fee_cents

QUERY = (
    "SELECT hits.*, title, description, keywords, duration_s, auto_approval_s, requirements, group_id"
    " FROM hits JOIN hit_types ON hit_types.id = hits.type"
)


def create_hit(caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    """CreateHIT."""
    _refuse_existing(caller, request)
    return _create(caller, request, hit_types.find_or_add(caller, request))


def create_hit_with_hit_type(caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    """CreateHITWithHITType."""
    _refuse_existing(caller, request)
    hit_type = hit_types.find(caller, request["HITTypeId"])
    # A qualification type that was deleted since takes the HIT types that use it along.
    hit_types.check_requirements(caller.connection, json.loads(hit_type["requirements"]))
    return _create(caller, request, hit_type["id"])


def create_additional_assignments(caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    """CreateAdditionalAssignmentsForHIT. An expired HIT's places wait until its expiration is moved."""
    token = request.get("UniqueRequestToken")
    caller.refuse_repeated("extend", token)
    hit = find(caller, request["HITId"])
    more, before = request["NumberOfAdditionalAssignments"], hit["max_assignments"]
    if hit["disposed_at"] is not None:
        raise invalid_state("HIT", "Disposed", "Assignable,Unassignable,Reviewable,Reviewing")
    if before < LARGE <= before + more:
        raise RequestError(
            "InvalidMaximumAssignmentsIncrease",
            f"HITs created with fewer than {LARGE} assignments cannot be extended to have {LARGE} or more assignments.",
        )
    caller.connection.execute("UPDATE hits SET max_assignments = max_assignments + ? WHERE id = ?", (more, hit["id"]))
    if not hit["expired"]:
        life.add_places(caller.connection, caller.now, hit, more)
    life.announce(caller.connection, "HITExtended", hit["id"], caller.now)
    caller.keep_token("extend", token, caller.request_id)
    return {}


def get_hit(caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    """GetHIT."""
    return {"HIT": shown(caller.connection, find(caller, request["HITId"]))}


def list_hits(caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    """ListHITs."""
    return _listed(caller, "ListHITs", request, "", [])


def list_reviewable_hits(caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    """ListReviewableHITs."""
    condition = " AND reviewable_at IS NOT NULL AND reviewing = ?"
    values: list[Any] = [request.get("Status") == "Reviewing"]
    if "HITTypeId" in request:
        condition, values = f"{condition} AND type = ?", [*values, hit_types.find(caller, request["HITTypeId"])["id"]]
    return _listed(caller, "ListReviewableHITs", request, condition, values)


def list_hits_for_qualification_type(caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    """ListHITsForQualificationType."""
    condition = (
        " AND EXISTS (SELECT 1 FROM json_each(requirements) WHERE json_extract(value, '$.QualificationTypeId') = ?)"
    )
    operation = "ListHITsForQualificationType"
    return _listed(caller, operation, request, condition, [request["QualificationTypeId"]])


def list_review_policy_results(caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    """ListReviewPolicyResultsForHIT: no HIT here has a review policy, so there are none."""
    return {"HITId": find(caller, request["HITId"])["id"]}


def find(caller: Caller, hit_id: str) -> sqlite3.Row:
    """The requester's HIT of that id, with its type's properties."""
    row: sqlite3.Row | None = caller.connection.execute(
        f"{QUERY} WHERE hits.id = ? AND hits.requester = ?", (hit_id, caller.requester)
    ).fetchone()
    if row is None:
        raise does_not_exist("HIT", hit_id)
    return row


def shown(connection: sqlite3.Connection, hit: sqlite3.Row) -> dict[str, Any]:
    """The HIT structure of an answer."""
    pending, completed = connection.execute(
        "SELECT count(*) FILTER (WHERE status = 'accepted'),"
        " count(*) FILTER (WHERE status IN ('approved', 'rejected')) FROM assignments WHERE hit = ?",
        (hit["id"],),
    ).fetchone()
    structure = {
        "HITId": hit["id"],
        "HITTypeId": hit["type"],
        "HITGroupId": hit["group_id"],
        "CreationTime": seconds(hit["created_at"]),
        "Title": hit["title"],
        "Description": hit["description"],
        "Question": hit["question"],
        "HITStatus": life.status(hit),
        "MaxAssignments": hit["max_assignments"],
        "Reward": dollars(hit["reward_cents"]),
        "AutoApprovalDelayInSeconds": hit["auto_approval_s"],
        "Expiration": seconds(hit["expires_at"]),
        "AssignmentDurationInSeconds": hit["duration_s"],
        "QualificationRequirements": json.loads(hit["requirements"]),
        "HITReviewStatus": "NotReviewed",
        "NumberOfAssignmentsPending": pending,
        "NumberOfAssignmentsAvailable": hit["places"],
        "NumberOfAssignmentsCompleted": completed,
    }
    optional = {"Keywords": hit["keywords"] or None, "RequesterAnnotation": hit["annotation"]}
    return structure | {name: value for name, value in optional.items() if value is not None}


def _create(caller: Caller, request: dict[str, Any], type_id: str) -> dict[str, Any]:
    for policy in ("AssignmentReviewPolicy", "HITReviewPolicy"):
        if policy in request:
            raise RequestError("OperationNotSupported", f"{policy}: this server has no review policies.")
    if "HITLayoutId" in request:  # layouts are made on MTurk's web site, so there can be none here
        raise does_not_exist("HITLayout", request["HITLayoutId"])
    if "HITLayoutParameters" in request or "Question" not in request:
        raise RequestError("AWS.MissingParameters", "Either a Question parameter or a HITLayoutId must be provided.")
    read_question(request["Question"])
    hit_type = hit_types.find(caller, type_id)
    places = request.get("MaxAssignments", 1)
    reward = hit_type["reward_cents"]
    fee = fee_cents(reward, places, needs_masters(json.loads(hit_type["requirements"])))
    hit_id, now = new_id(), caller.now
    caller.connection.execute(
        "INSERT INTO hits (id, requester, type, question, annotation, max_assignments, places, reward_cents, fee_cents,"
        " created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?, 0, ?, ?, ?, ?)",
        (
            hit_id,
            caller.requester,
            type_id,
            request["Question"],
            request.get("RequesterAnnotation"),
            places,
            reward,
            fee,
            now,
            now + 1000 * request["LifetimeInSeconds"],
        ),
    )
    life.add_places(caller.connection, now, find(caller, hit_id), places)
    life.announce(caller.connection, "HITCreated", hit_id, now)
    caller.keep_token("create", request.get("UniqueRequestToken"), hit_id)
    return get_hit(caller, {"HITId": hit_id})


def _refuse_existing(caller: Caller, request: dict[str, Any]) -> None:
    hit_id = caller.token_made("create", request.get("UniqueRequestToken"))
    if hit_id is not None:
        raise RequestError("HitAlreadyExists", f'The HIT with ID "{hit_id}" already exists.')


def _listed(
    caller: Caller, operation: str, request: dict[str, Any], condition: str, values: list[Any]
) -> dict[str, Any]:
    query = f"{QUERY} WHERE hits.requester = ? AND disposed_at IS NULL{condition}"
    rows, answer = page(caller.connection, operation, request, query, [caller.requester, *values], "hits.serial")
    return answer | {"HITs": [shown(caller.connection, row) for row in rows]}
