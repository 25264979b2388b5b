"""The pages on qualifications: those that a worker has, asking for others, and taking their tests."""

from flask import Blueprint, flash, jsonify, render_template
from werkzeug.wrappers import Response

from mturk.server import applications
from mturk.server.frames import begun_test, test_frame
from mturk.server.invitations import check_worker, me
from mturk.server.panel import go, panel, seconds_until

WORDS = {"Granted": "You have it", "Pending": "Requested"}

qualification_pages = Blueprint("qualification_pages", __name__)
qualification_pages.before_request(check_worker)


@qualification_pages.get("/qualifications")
def qualifications() -> str:
    """What the worker has, waits for, and can ask for."""
    state = panel().state
    return render_template(
        "qualifications.html",
        mine=applications.qualifications_of(state, me()),
        words=WORDS,
        requestable=applications.requestable_qualifications(state, me()),
    )


@qualification_pages.post("/qualifications/<type_id>/request")
def request_qualification(type_id: str) -> Response:
    """Ask for a qualification that has no test."""
    granted = applications.request_qualification(panel().state, me(), type_id, None) == "granted"
    flash("You have the qualification now." if granted else "Your request was sent to the requester.")
    return go("qualifications")


@qualification_pages.post("/qualifications/<type_id>/begin")
def begin(type_id: str) -> Response:
    """Begin a test: its time runs from now."""
    applications.begin_test(panel().state, me(), type_id)
    return go(f"qualifications/{type_id}/test")


@qualification_pages.get("/qualifications/<type_id>/test")
def test(type_id: str) -> str | Response:
    """A test that was begun."""
    found = begun_test(panel().state, me(), type_id)
    if found is None:
        return go("qualifications")
    return render_template(
        "work.html",
        heading=found["name"],
        facts="A qualification test. It is submitted once, and its time runs on when you leave this page.",
        seconds=seconds_until(found["deadline"]),
        state_address=f"qualifications/{type_id}/test/state",
        return_address=None,
        frame=test_frame(me(), type_id),
    )


@qualification_pages.get("/qualifications/<type_id>/test/state")
def test_state(type_id: str) -> Response:
    """Whether the test is still open, as JSON."""
    return jsonify(open=begun_test(panel().state, me(), type_id) is not None)
