"""The page at the end of a session: it hands in to the recruiter, and only when every trial has a stored vote."""

from flask import Blueprint, make_response, redirect, render_template
from werkzeug.wrappers import Response

from study.recruits import Arrival, Outcome, close, hand_in, is_recruited
from study.votes import connect
from webapp.material import material
from webapp.pages import arrival_here, paragraphs, query_here, session_trials
from webapp.sessions import is_screened_out
from webapp.ways_out import finished, submit_address, turned_away

POLICY = "default-src 'self'; form-action 'self'"
# MTurk's answer to a submission leads there; browsers hold redirects of a form to the policy as well.
AFTER_SUBMIT = {"live": " https://worker.mturk.com"}

ELSEWHERE = "Please open the study again from where you were sent here, so that your answers can be handed in there."

endings = Blueprint("endings", __name__)


@endings.get("/o/<token>/end")
def end(token: str) -> Response:
    """What is left to do, decided by the stored votes alone; a session with open trials goes on."""
    known = material()
    arrival = arrival_here()
    outcome: Outcome | None = None
    with connect(known.study.votes_path) as connection:
        connection.execute("BEGIN IMMEDIATE")
        trials = session_trials(connection, token, arrival)
        observer = trials[0]["observer"]
        recruited = is_recruited(connection, observer)
        if is_screened_out(connection, known, trials):
            close(connection, observer, "screened out")
            outcome = "screened out"
        elif all(trial["answer"] for trial in trials):
            outcome = hand_in(connection, arrival, observer) if arrival else "finished"
        connection.execute("COMMIT")
    if outcome is None or (outcome == "finished" and not recruited):
        return redirect(f"../{token}{query_here()}", 303)  # a session that nobody is told of ends on its own page

    recruiting = known.study.settings.recruiting
    if outcome == "finished" and arrival is not None:
        page = finished(recruiting, arrival, known.key, observer, paragraphs("thanks"))
    elif outcome == "finished":
        page = {"heading": "Done", "text": [*paragraphs("thanks"), ELSEWHERE]}
    else:
        page = turned_away(recruiting, arrival, outcome)
    response = make_response(render_template("message.html", up="../../", **page))
    response.headers["Content-Security-Policy"] = _policy(arrival) if "form" in page else POLICY
    return response


def _policy(arrival: Arrival | None) -> str:
    assert arrival is not None
    return f"{POLICY} {submit_address(arrival)}{AFTER_SUBMIT.get(arrival.market, '')}"
