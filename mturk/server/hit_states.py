"""What a requester changes about a HIT that exists: expiration, review status, type; and its deletion."""

import json
import math
from datetime import datetime
from typing import Any

from mturk.server import hit_types, life
from mturk.server.caller import Caller
from mturk.server.hits import find
from mturk.server.money import release
from mturk.server.refusals import RequestError, invalid_state
from mturk.server.requirements import needs_masters
from mturk.server.state import milliseconds
from mturk.service_model import YEAR
from study.fees import fee_cents

_ALIVE = "Assignable,Unassignable,Reviewable,Reviewing"


def update_expiration(caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    """UpdateExpirationForHIT. A time that is past expires the HIT now; a later one opens an expired HIT again."""
    hit = _alive(caller, request["HITId"])
    expires_at = read_time("ExpireAt", request["ExpireAt"])
    if expires_at > caller.now + 1000 * YEAR:
        raise RequestError("InvalidExpirationIncrement", f"ExpireAt may be at most {YEAR:,} seconds from now.")
    caller.connection.execute("UPDATE hits SET expires_at = ? WHERE id = ?", (expires_at, hit["id"]))
    if expires_at <= caller.now:
        if not hit["expired"]:
            life.expire(caller.connection, caller.now, hit)
    elif hit["expired"]:
        free = hit["max_assignments"] - life.taken(caller.connection, hit["id"])
        caller.connection.execute("UPDATE hits SET expired = 0 WHERE id = ?", (hit["id"],))
        life.add_places(caller.connection, caller.now, hit, free)
        life.announce(caller.connection, "HITExtended", hit["id"], caller.now)
    return {}


def update_review_status(caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    """UpdateHITReviewStatus: Reviewable to Reviewing, or with Revert back."""
    hit = _alive(caller, request["HITId"])
    revert = request.get("Revert", False)
    allowed = "Reviewing" if revert else "Reviewable"
    if life.status(hit) != allowed:
        raise invalid_state("HIT", life.status(hit), allowed)
    caller.connection.execute("UPDATE hits SET reviewing = ? WHERE id = ?", (not revert, hit["id"]))
    return {}


def update_hit_type_of_hit(caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    """UpdateHITTypeOfHIT. A changed price is refused while somebody works, for they accepted the one before."""
    hit = _alive(caller, request["HITId"])
    connection = caller.connection
    hit_type = hit_types.find(caller, request["HITTypeId"])
    reward = hit_type["reward_cents"]
    fee = fee_cents(reward, hit["max_assignments"], needs_masters(json.loads(hit_type["requirements"])))
    working = connection.execute(
        "SELECT 1 FROM assignments WHERE hit = ? AND status = 'accepted'", (hit["id"],)
    ).fetchone()
    if (reward, fee) != (hit["reward_cents"], hit["fee_cents"]) and working:
        raise RequestError("InvalidHITState", "The reward of a HIT cannot be changed while a worker has accepted it.")
    places = hit["places"]
    if places:
        was = places * (hit["reward_cents"] + hit["fee_cents"])
        release(connection, caller.now, caller.requester, was, hit["id"])
    connection.execute(
        "UPDATE hits SET type = ?, reward_cents = ?, fee_cents = ?, places = 0 WHERE id = ?",
        (hit_type["id"], reward, fee, hit["id"]),
    )
    life.add_places(connection, caller.now, find(caller, hit["id"]), places)
    return {}


def delete_hit(caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    """DeleteHIT, of a reviewable HIT whose assignments are all reviewed."""
    hit = find(caller, request["HITId"])
    if life.status(hit) not in ("Reviewable", "Reviewing"):
        raise invalid_state("HIT", life.status(hit), "Reviewing,Reviewable")
    waiting = caller.connection.execute(
        "SELECT count(*) FROM assignments WHERE hit = ? AND status = 'submitted'", (hit["id"],)
    ).fetchone()[0]
    if waiting:
        raise RequestError(
            "InvalidHITState", f"This HIT has {waiting} submitted assignments that are neither approved nor rejected."
        )
    life.dispose(caller.connection, caller.now, hit)
    return {}


def read_time(name: str, value: object) -> int:
    """Milliseconds since 1970 of a timestamp: seconds as a number, or ISO 8601 with a zone."""
    try:
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            at = round(1000 * value)
        elif isinstance(value, str):
            moment = datetime.fromisoformat(value)
            if moment.tzinfo is None:
                raise ValueError
            at = milliseconds(moment)
        else:
            raise ValueError
    except (ValueError, OverflowError):
        raise RequestError("AWS.InvalidParameterValue", f"{name} {value!r} is no time.") from None
    if not 0 <= at < 1 << 52:
        raise RequestError("AWS.InvalidParameterValue", f"{name} {value!r} is out of range.")
    return at


def _alive(caller: Caller, hit_id: str) -> Any:
    hit = find(caller, hit_id)
    if hit["disposed_at"] is not None:
        raise invalid_state("HIT", "Disposed", _ALIVE)
    return hit
