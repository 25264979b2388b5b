"""What runs inside a question's iframe: the question itself, and the address that it submits to.

Questions come from strangers. Whatever they bring is shown in an origin of its own (CSP and iframe sandbox), so that it
can neither script this site nor read its cookie; and it submits to an address that says by its signature whose
assignment it is, so that no cookie is needed and nobody submits for somebody else.
"""

import re
from contextlib import suppress
from typing import Any
from urllib.parse import urlencode, urlsplit, urlunsplit

from flask import Blueprint, Response, abort, current_app, render_template, request
from werkzeug.exceptions import HTTPException

from mturk.server import applications, worklife
from mturk.server.invitations import worker_named
from mturk.server.panel import absolute, panel, spend, wrong_link
from mturk.server.question_form import answers_of, read_form
from mturk.server.state import State
from study.tokens import Purpose, sign, unsign

PREVIEW = "ASSIGNMENT_ID_NOT_AVAILABLE"

# An external page keeps its own origin, as on MTurk: it needs its storage. Strangers' HTML that we serve gets none.
# Nothing that we serve can be scripted from it either way: our pages refuse frames, and the rest is sandboxed below.
SANDBOX = "allow-scripts allow-forms allow-popups allow-popups-to-escape-sandbox allow-modals allow-downloads"
EXTERNAL_SANDBOX = f"{SANDBOX} allow-same-origin"
QUESTION_POLICY = f"sandbox {SANDBOX}; frame-ancestors 'self'"
TEST_SANDBOX = "allow-forms allow-popups"
TEST_POLICY = (
    f"sandbox {TEST_SANDBOX}; default-src 'none'; style-src 'self'; img-src http: https:; base-uri 'none';"
    " form-action 'self'; frame-ancestors 'self'"
)
ANSWER_POLICY = "sandbox; default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'"
AGAIN_POLICY = "sandbox allow-forms; default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'self'"

SUBMIT = re.compile(r"https://(www|workersandbox)\.mturk\.com(?=/mturk/externalSubmit)")

frames = Blueprint("frames", __name__)


def frame(question: dict, hit_id: str, worker_id: str, assignment_id: str | None) -> dict[str, object]:
    """What the page's iframe needs for a HIT's question: address, sandbox, height. Without an assignment: a preview."""
    external = question["kind"] == "external"
    if external:
        address = with_parameters(question["url"], parameters(hit_id, worker_id, assignment_id))
    else:
        about = {"worker": worker_id, "hit": hit_id, "assignment": assignment_id}
        token = sign(panel().key, "question", about)
        address = with_parameters(f"../q/{token}", parameters(hit_id, worker_id, assignment_id))
    return {
        "address": address,
        "sandbox": EXTERNAL_SANDBOX if external else SANDBOX,
        "height": question["frame_height"],
    }


def parameters(hit_id: str, worker_id: str, assignment_id: str | None) -> dict[str, str]:
    """What MTurk tells a question's page in its address."""
    if assignment_id is None:
        return {"assignmentId": PREVIEW, "hitId": hit_id}
    return {
        "assignmentId": assignment_id,
        "hitId": hit_id,
        "workerId": worker_id,
        "turkSubmitTo": submit_to(worker_id, assignment_id),
    }


def submit_to(worker_id: str, assignment_id: str) -> str:
    """The address that takes this worker's submission of this assignment, and no other."""
    token = sign(panel().key, "submission", {"worker": worker_id, "assignment": assignment_id})
    return absolute(f"w/{token}")


def with_parameters(url: str, added: dict[str, str]) -> str:
    """The address with more parameters after those that it has."""
    parts = urlsplit(url)
    query = "&".join(filter(None, [parts.query, urlencode(added)]))
    return urlunsplit(parts._replace(query=query))


@frames.get("/q/<token>")
def question(token: str) -> Response:
    """An HTMLQuestion, in an origin of its own."""
    worker, hit, assignment = _signed("question", token, "worker", "hit", "assignment")
    if assignment is None:
        found = worklife.preview(panel().state, worker, hit)
        submit = absolute("w/preview")
    else:
        found = worklife.open_assignment(panel().state, worker, assignment)
        submit = submit_to(worker, assignment)
    html = SUBMIT.sub(lambda _: submit, found["html"])
    return Response(html, headers={"Content-Security-Policy": QUESTION_POLICY})


@frames.post("/w/preview/mturk/externalSubmit")
def submit_preview() -> Response:
    """Refused: what is previewed belongs to nobody."""
    abort(403, "This is only a preview. Accept the HIT, then submit.")


@frames.post("/w/<token>/mturk/externalSubmit")
def submit(token: str) -> Response:
    """Store what a question's page sends, then acknowledge it."""
    worker, assignment = _signed("submission", token, "worker", "assignment")
    fields = list(request.form.items(multi=True))
    sent = [value for name, value in fields if name == "assignmentId"]
    if sent != [assignment]:
        abort(
            400,
            "Nothing was submitted: the page must send its assignmentId exactly once, as it stands in its address;"
            f" it sent {', '.join(sent)[:100] or 'none'}.",
        )
    answers = [(name, value) for name, value in fields if name != "assignmentId"]
    if not answers:
        abort(400, "Nothing was submitted: the page must send at least one field besides its assignmentId.")
    worklife.submit(panel().state, worker, assignment, answers)
    return said("Submitted", "Your work was submitted. Thank you.")


def test_frame(worker_id: str, type_id: str) -> dict[str, object]:
    """What the page's iframe needs for a qualification test that this worker has begun."""
    token = sign(panel().key, "question", {"worker": worker_id, "type": type_id})
    return {"address": f"../../t/{token}", "sandbox": TEST_SANDBOX, "height": 0}


@frames.get("/t/<token>")
def test(token: str) -> Response:
    """A qualification test, in an origin of its own and without scripts."""
    worker, type_id = _signed("question", token, "worker", "type")
    begun = begun_test(panel().state, worker, type_id)
    if begun is None:
        abort(409, "This test is over.")
    response = current_app.make_response(render_template("form.html", form=read_form(begun["test"]), action=token))
    response.headers["Content-Security-Policy"] = TEST_POLICY
    return response


@frames.post("/t/<token>")
def submit_test(token: str) -> Response:
    """Hand in the answers of a test."""
    worker, type_id = _signed("question", token, "worker", "type")
    begun = begun_test(panel().state, worker, type_id)
    if begun is None:
        abort(409, "This test is over. Nothing was submitted.")
    answers = answers_of(begun["test"], list(request.form.items(multi=True)))
    result = applications.request_qualification(panel().state, worker, type_id, answers)
    if result == "granted":
        return said("Submitted", "Your test was graded. The result is on the page of your qualifications.")
    return said("Submitted", "Your test was submitted. The requester looks at it next.")


def begun_test(state: State, worker_id: str, type_id: str) -> dict[str, Any] | None:
    """The test that the worker is taking, as `applications.begin_test`; None where none runs, and none is begun."""
    with state.transaction() as connection:
        last = connection.execute(
            "SELECT r.status, began_at + 1000 * test_duration_s AS deadline FROM qualification_requests r"
            " JOIN qualification_types q ON q.id = r.type WHERE r.type = ? AND worker = ?"
            " ORDER BY r.serial DESC LIMIT 1",
            [type_id, worker_id],
        ).fetchone()
    if last is None or last["status"] != "begun" or last["deadline"] <= state.now():
        return None
    return applications.begin_test(state, worker_id, type_id)


def said(heading: str, text: str, again: bool = False) -> Response:
    """A few words inside the question's frame, which can do nothing; with `again`, but send the same form again.

    The page that made the form is gone by then, and with it the only other copy of the work.
    """
    fields: list[tuple[str, str]] = []
    if again:
        with suppress(HTTPException):  # a body that would be refused besides
            fields = list(request.form.items(multi=True))
    response = current_app.make_response(render_template("submitted.html", heading=heading, text=text, fields=fields))
    response.headers["Content-Security-Policy"] = AGAIN_POLICY if fields else ANSWER_POLICY
    return response


def _signed(purpose: Purpose, token: str, *names: str) -> list[Any]:
    """What a token says, "worker" first; 404 where this site did not sign it, or the worker was revoked."""
    about = unsign(panel().key, purpose, token)
    if not isinstance(about, dict) or set(about) != set(names) or worker_named(panel().state, about["worker"]) is None:
        wrong_link("This address is not, or no longer, one that you were given. Nothing was submitted.")
    spend(panel().workers, about["worker"])
    return [about[name] for name in names]
