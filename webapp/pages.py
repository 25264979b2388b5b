"""What an observer opens: consent, the session, and the two pages that end it early."""

import re
import secrets
import sqlite3
from urllib.parse import urlencode

from flask import Blueprint, abort, redirect, render_template, request
from werkzeug.wrappers import Response

from study.sessions import trials_of
from study.tokens import sign, unsign
from study.votes import connect
from webapp.material import material
from webapp.sessions import is_complete, join

RECRUITER_LENGTH = 4000  # characters of a recruiter's parameters; the longest known ones have a few hundred

pages = Blueprint("pages", __name__)

# Addresses are relative, so that the pages also work below a prefix (https://lab.example/study/) of a proxy.


@pages.get("/")
def consent() -> str | Response:
    """The consent form; whatever a recruiter put into the address is sent on with it."""
    known = material()
    recruiter = _recruiter()
    if is_complete(known):
        return redirect("complete", 303)
    ticket = sign(known.key, "join", secrets.token_hex(8))
    return render_template("consent.html", query=urlencode(recruiter), ticket=ticket, text=_paragraphs("consent"))


@pages.post("/join")
def join_session() -> Response:
    """A new observer with all trials, and the address of the session."""
    known = material()
    simulator = None
    if "simulator" in request.form:
        simulator = unsign(known.key, "simulator", request.form["simulator"])
        if not isinstance(simulator, dict):
            abort(403, "A simulated observer must be signed with the key of this study.")
    ticket = unsign(known.key, "join", request.form.get("ticket", ""))
    if simulator is None and not isinstance(ticket, str):  # so no other site and no blind script can take places
        abort(403, "Please begin on the study's first page.")
    observer = join(known, ticket, simulator, _recruiter())
    if observer is None:
        return redirect("complete", 303)
    return redirect(f"o/{sign(known.key, 'observer', observer)}", 303)


@pages.get("/o/<token>")
def session(token: str) -> str:
    """The page on which an observer answers all trials."""
    known = material()
    with connect(known.study.votes_path) as connection:
        trials = session_trials(connection, token)
    practice = sum(trial["kind"] == "training" for trial in trials)
    return render_template(
        "session.html",
        token=token,
        instructions=_paragraphs("instructions"),
        thanks=_paragraphs("thanks"),
        practice=practice,
        trials=len(trials) - practice,
    )


@pages.get("/complete")
def complete() -> str:
    """Said to who comes when every comparison has its votes, or when others are about to give the last ones."""
    if not is_complete(material()):
        return render_template(
            "message.html",
            heading="All places are taken at the moment",
            text=[
                "Others are giving the last answers just now. Please come again in two hours: places may be free then."
            ],
        )
    return render_template(
        "message.html",
        heading="This study is complete",
        text=["Every comparison has all the answers it needs. Thank you for coming; there is nothing left to do."],
    )


def session_trials(connection: sqlite3.Connection, token: str) -> list[sqlite3.Row]:
    """The trials of the observer whose address this is, as `trials_of`; answers 404 where it is nobody's."""
    observer = unsign(material().key, "observer", token)
    trials = trials_of(connection, observer) if isinstance(observer, str) else []
    if not trials:
        abort(404, "This address is not one of this study. Please use the link that you were given.")
    return trials


def _recruiter() -> dict[str, str]:
    values = request.args.to_dict()
    if len(urlencode(values)) > RECRUITER_LENGTH:
        abort(400, f"The parameters in this address are longer than {RECRUITER_LENGTH:,} characters.")
    return values


def _paragraphs(name: str) -> list[str]:
    text: str = getattr(material().study.settings.page, name)
    return [part.strip() for part in re.split(r"\n\s*\n", text) if part.strip()]
