"""The pages of a worker who is signed in: HITs, the work on one, what it earned, messages."""

from itertools import groupby
from typing import Any

from flask import Blueprint, flash, jsonify, render_template
from werkzeug.wrappers import Response

from mturk.server import work_done, worklife
from mturk.server.frames import frame
from mturk.server.invitations import check_worker, me
from mturk.server.panel import go, panel, seconds_until
from mturk.server.worklife import Refusal
from study.fees import dollars

STATUSES = {
    "accepted": "In progress",
    "returned": "Returned",
    "abandoned": "Time ran out",
    "submitted": "Waiting for approval",
    "approved": "Approved",
    "rejected": "Rejected",
}

pages = Blueprint("pages", __name__)
pages.before_request(check_worker)


@pages.get("/")
def hits() -> str:
    """HITs by group: those that one works on, then those one qualifies for, then the rest."""
    found = sorted(worklife.available_hits(panel().state, me()), key=lambda hit: hit["group_id"])
    groups = [list(group) for _, group in groupby(found, key=lambda hit: hit["group_id"])]
    for group in groups:
        group.sort(key=_urgency)
    groups.sort(key=lambda group: (*_urgency(group[0]), -group[0]["reward_cents"]))
    return render_template("hits.html", groups=groups)


def _urgency(hit: dict[str, Any]) -> tuple[bool, bool]:
    return hit["assignment_id"] is None, not hit["qualified"]


@pages.get("/hits/<hit_id>")
def preview(hit_id: str) -> str:
    """A HIT before it is accepted."""
    found = worklife.preview(panel().state, me(), hit_id)
    return render_template("hit.html", hit=found, frame=frame(found, hit_id, me(), None))


@pages.post("/hits/<hit_id>/accept")
def accept(hit_id: str) -> Response:
    """Take a place of a HIT."""
    return go(f"work/{worklife.accept(panel().state, me(), hit_id)}")


@pages.get("/work/<assignment_id>")
def work(assignment_id: str) -> str | tuple[str, int]:
    """The question of an assignment; when it is no longer open, what became of it."""
    try:
        found = worklife.open_assignment(panel().state, me(), assignment_id)
    except Refusal:
        return _what_became_of(assignment_id)
    return render_template(
        "work.html",
        heading=found["title"],
        facts=f"${dollars(found['reward_cents'])} · {found['requester']}",
        seconds=seconds_until(found["deadline"]),
        state_address=f"work/{assignment_id}/state",
        return_address=f"work/{assignment_id}/return",
        frame=frame(found, found["hit_id"], me(), assignment_id),
    )


def _what_became_of(assignment_id: str) -> tuple[str, int]:
    mine = work_done.assignments_of(panel().state, me())
    found = next((item for item in mine if item["assignment_id"] == assignment_id), None)
    if found is None:
        raise Refusal("You have no such assignment.")
    following = None
    if found["status"] not in ("returned", "abandoned"):
        hits = worklife.available_hits(panel().state, me())
        following = next((hit for hit in hits if hit["qualified"] and _kind(hit) == _kind(found)), None)
    return render_template("over.html", item=found, status=STATUSES[found["status"]], following=following), 200


def _kind(hit: dict[str, Any]) -> tuple[str, str]:
    return hit["requester"], hit["title"]


@pages.get("/work/<assignment_id>/state")
def work_state(assignment_id: str) -> Response:
    """Whether the assignment is still open, as JSON."""
    try:
        worklife.open_assignment(panel().state, me(), assignment_id)
    except Refusal:
        return jsonify(open=False)
    return jsonify(open=True)


@pages.post("/work/<assignment_id>/return")
def give_back(assignment_id: str) -> Response:
    """Give a place back."""
    worklife.return_assignment(panel().state, me(), assignment_id)
    flash("You returned the HIT. Somebody else may take it now.")
    return go("")


@pages.get("/earnings")
def earnings() -> str:
    """All that the worker accepted, and what it earned."""
    return render_template(
        "earnings.html",
        earned=work_done.earnings(panel().state, me()),
        work=work_done.assignments_of(panel().state, me()),
        statuses=STATUSES,
    )


@pages.get("/messages")
def messages() -> str:
    """What requesters wrote."""
    return render_template("messages.html", messages=work_done.messages_of(panel().state, me()))
