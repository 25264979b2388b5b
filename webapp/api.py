"""The trials and votes as JSON, and the images: all that the page asks the server for during a session.

A browser learns of a trial an opaque id and three random addresses. Stimulus ids, codecs, the order of a and b, and
whether a trial is a test, a sentinel or a repeat stay here.
"""

import sqlite3
from typing import Any

from flask import Blueprint, Response, abort, jsonify, request
from pydantic import ValidationError
from werkzeug.exceptions import HTTPException

from study.blind_images import pad_png, uncompressed_png
from study.page_votes import Vote, store
from study.recruits import is_recruited
from study.sessions import description
from study.votes import connect, now
from webapp.material import material
from webapp.pages import session_trials
from webapp.sessions import is_right, is_screened_out, settle

AHEAD = 2  # trials that the page is told of: the one on display, and the one whose images it loads meanwhile

api = Blueprint("api", __name__)


@api.get("/o/<token>/next")
def next_trials(token: str) -> Response:
    """The next unanswered trials, at most two, whether the session has begun, and whether a page at `end` ends it."""
    known = material()
    with connect(known.study.votes_path) as connection:
        trials = session_trials(connection, token)
        out = is_screened_out(connection, known, trials)
        recruited = is_recruited(connection, trials[0]["observer"])
    open_trials = [] if out else [trial for trial in trials if trial["answer"] is None]
    return jsonify(
        started=any(trial["answer"] for trial in trials),
        trials=[_describe(trial, trials) for trial in open_trials[:AHEAD]],
        end=out or (recruited and not open_trials),
    )


@api.post("/o/<token>/vote")
def vote(token: str) -> Response:
    """Stored first, then acknowledged. Sent again, a vote changes nothing and is acknowledged the same way."""
    try:
        sent = Vote.model_validate_json(request.get_data())
    except ValidationError as error:
        problem = error.errors()[0]
        abort(400, f"{'.'.join(map(str, problem['loc'])) or 'the request'}: {problem['msg']}")
    known = material()
    with connect(known.study.votes_path) as connection:
        connection.execute("BEGIN IMMEDIATE")
        trials = session_trials(connection, token)
        mine = {trial["id"]: trial for trial in trials}
        if sent.trial not in mine:
            abort(404, "This observer has no such trial.")
        if mine[sent.trial]["answer"] is None and is_screened_out(connection, known, trials):
            abort(403, "This session has ended.")
        if store(connection, sent, now()):
            settle(connection, known, mine[sent.trial]["observer"])
        side = connection.execute("SELECT side FROM votes WHERE trial = ?", [sent.trial]).fetchone()["side"]
        connection.execute("COMMIT")
    return jsonify(stored=True, **_feedback(mine[sent.trial], side))


@api.get("/i/<key>")
def image(key: str) -> Response:
    """A stimulus under its random address: nothing but its pixels tells which."""
    known = material()
    with connect(known.study.votes_path) as connection:
        trial = connection.execute(
            "SELECT * FROM trials WHERE reference_key = :key OR left_key = :key OR right_key = :key", {"key": key}
        ).fetchone()
    if trial is None:
        abort(404, "No such image.")
    triplet = known.triplets[trial["triplet"]]
    left, right = _sides(trial)
    stimulus = {trial["reference_key"]: triplet.reference, trial["left_key"]: left, trial["right_key"]: right}[key]
    data = uncompressed_png(known.study.image(known.digests[stimulus]))
    return Response(pad_png(data, known.image_bytes), mimetype="image/png")


@api.errorhandler(HTTPException)
def explain(error: HTTPException) -> tuple[Response, int]:
    """The error as JSON."""
    return jsonify(error=error.description), error.code or 500


def _describe(trial: sqlite3.Row, trials: list[sqlite3.Row]) -> dict[str, Any]:
    known = material()
    width, height = known.sizes[known.triplets[trial["triplet"]].reference]
    return description(trial, trials, known.study.settings.page) | {
        "width": width,
        "height": height,
        "reference": f"../i/{trial['reference_key']}",
        "left": f"../i/{trial['left_key']}",
        "right": f"../i/{trial['right_key']}",
    }


def _feedback(trial: sqlite3.Row, side: str) -> dict[str, bool]:
    triplet = material().triplets[trial["triplet"]]
    if trial["kind"] != "training" or triplet.expected is None:
        return {}
    return {"correct": is_right(triplet, trial["left_is"], side)}


def _sides(trial: sqlite3.Row) -> tuple[str, str]:
    """The stimuli on the left and on the right."""
    triplet = material().triplets[trial["triplet"]]
    return (triplet.a, triplet.b) if trial["left_is"] == "a" else (triplet.b, triplet.a)
