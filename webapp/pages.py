"""What an observer opens: consent or a preview, the session, and the pages for those who cannot begin."""

import re
import secrets
import sqlite3
from urllib.parse import urlencode

from flask import Blueprint, abort, redirect, render_template, request
from werkzeug.wrappers import Response

from study.errors import InputError
from study.recruits import Arrival, is_bound, read_arrival
from study.sessions import trials_of
from study.tokens import sign, unsign
from study.votes import connect
from webapp.material import material
from webapp.sessions import is_complete, join, join_recruited, look_up
from webapp.ways_out import turned_away

RECRUITER_LENGTH = 4000  # characters of a recruiter's parameters; the longest known ones have a few hundred

pages = Blueprint("pages", __name__)

# Addresses are relative, so that the pages also work below a prefix (https://lab.example/study/) of a proxy. What a
# recruiter put into the address stays in it to the end: pages in frames keep no cookies.


@pages.get("/")
def consent() -> str | Response | tuple[str, int]:
    """The consent form; whoever has a session already is sent on to it."""
    known = material()
    query = _query()
    try:
        arrival = read_arrival(query, known.key)
    except InputError as error:
        if set(query) != {"code"}:
            abort(400, str(error))
        return render_template("code.html", problem=str(error)), 400  # typed wrongly: the form again
    if arrival is None and not known.study.settings.recruiting.open_link:
        return render_template("code.html"), 403
    full = is_complete(known)
    if arrival is not None and arrival.preview and not full:
        session = known.study.settings.session
        return render_template(
            "preview.html",
            channel=arrival.channel,
            instructions=paragraphs("instructions"),
            text=paragraphs("consent"),
            trials=session.trials + session.sentinels + session.repeats,
        )
    if arrival is not None and not arrival.preview:
        standing = look_up(known, arrival, full)
        if standing.observer is not None:
            return redirect(session_address(standing.observer), 303)
        if standing.outcome == "again":
            return render_template("message.html", **turned_away(known.study.settings.recruiting, arrival, "again"))
    if full:
        return redirect(f"complete{query_here()}", 303)
    return render_template(
        "consent.html",
        query=urlencode(query),
        ticket=sign(known.key, "join", secrets.token_hex(8)),
        text=paragraphs("consent"),
        channel=arrival.channel if arrival else None,
    )


@pages.post("/join")
def join_session() -> Response:
    """A new observer with all trials, or the one that this person is already, and the address of the session."""
    known = material()
    query = _query()
    simulator = None
    if "simulator" in request.form:
        simulator = unsign(known.key, "simulator", request.form["simulator"])
        if not isinstance(simulator, dict):
            abort(403, "A simulated observer must be signed with the key of this study.")
    ticket = unsign(known.key, "join", request.form.get("ticket", ""))
    if simulator is None and not isinstance(ticket, str):  # so no other site and no blind script can take places
        abort(403, "Please begin on the study's first page.")
    arrival = arrival_here() if simulator is None else None
    if arrival is not None:
        if arrival.preview:
            abort(403, "This is a preview. Please accept the task first.")
        standing = join_recruited(known, arrival, query)
        if standing.outcome == "again":
            return redirect(f"./{query_here()}", 303)
        observer = standing.observer
    elif simulator is None and not known.study.settings.recruiting.open_link:
        abort(403, "This study is open to invited people alone. Please use the link that you were given.")
    else:
        observer = join(known, ticket, simulator, query)
    if observer is None:
        return redirect(f"complete{query_here()}", 303)
    return redirect(session_address(observer), 303)


@pages.get("/o/<token>")
def session(token: str) -> str:
    """The page on which an observer answers all trials."""
    known = material()
    arrival = arrival_here()
    with connect(known.study.votes_path) as connection:
        trials = session_trials(connection, token, arrival)
    practice = sum(trial["kind"] == "training" for trial in trials)
    return render_template(
        "session.html",
        token=token,
        instructions=paragraphs("instructions"),
        thanks=paragraphs("thanks"),
        practice=practice,
        trials=len(trials) - practice,
        smallest=known.study.settings.recruiting.smallest_window,
    )


@pages.get("/complete")
def complete() -> str:
    """Said to who comes when every comparison has its votes, or when others are about to give the last ones."""
    known = material()
    arrival = arrival_here()
    if is_complete(known):
        heading = "This study is complete"
        text = "Every comparison has all the answers it needs. Thank you for coming; there is nothing left to do."
    else:
        heading = "All places are taken at the moment"
        text = "Others are giving the last answers just now. Please come again in two hours: places may be free then."
    if arrival is None or arrival.preview:
        return render_template("message.html", heading=heading, text=[text])
    way = turned_away(known.study.settings.recruiting, arrival, "full")
    return render_template("message.html", **way | {"heading": heading})


def session_trials(connection: sqlite3.Connection, token: str, arrival: Arrival | None = None) -> list[sqlite3.Row]:
    """The trials of the observer whose address this is, as `trials_of`; answers 404 where it is nobody's.

    With an `arrival`, also where it is not this person's.
    """
    observer = unsign(material().key, "observer", token)
    trials = trials_of(connection, observer) if isinstance(observer, str) else []
    if not trials or (arrival is not None and (arrival.preview or not is_bound(connection, arrival, str(observer)))):
        abort(404, "This address is not one of this study. Please use the link that you were given.")
    return trials


def arrival_here() -> Arrival | None:
    """Whom the recruiter's parameters of this request name; answers 400 where they cannot be genuine."""
    try:
        return read_arrival(_query(), material().key)
    except InputError as error:
        abort(400, str(error))


def query_here() -> str:
    """The recruiter's parameters of this request, with the question mark; empty where there is no recruiter."""
    return f"?{urlencode(_query())}" if arrival_here() else ""


def session_address(observer: str) -> str:
    """The relative address of the observer's session, as seen from the first page."""
    return f"o/{sign(material().key, 'observer', observer)}{query_here()}"


def paragraphs(name: str) -> list[str]:
    """A text of `[page]` in study.toml, at its empty lines."""
    text: str = getattr(material().study.settings.page, name)
    return [part.strip() for part in re.split(r"\n\s*\n", text) if part.strip()]


def _query() -> dict[str, str]:
    values = request.args.to_dict()
    if len(urlencode(values)) > RECRUITER_LENGTH:
        abort(400, f"The parameters in this address are longer than {RECRUITER_LENGTH:,} characters.")
    return values
