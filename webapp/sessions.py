"""Observers who join by the page, and how their sessions end."""

import json
import secrets
import sqlite3
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from study.records import Triplet
from study.recruits import Arrival, Standing, bind, close, standing, turn_away
from study.schedule import need_votes
from study.sessions import new_session, shown, trials_of, votes_to_choose_by
from study.votes import connect
from webapp.material import Material


def is_complete(material: Material) -> bool:
    """Whether no comparison needs a person's vote any more; a vote that is still awaited is needed."""
    with connect(material.study.votes_path) as connection:
        counts = shown(connection, simulated=False, given_up_after=timedelta(0))
    return not need_votes(list(material.triplets.values()), material.study.settings.session, counts)


def join(
    material: Material, observer: str | None, simulator: dict[str, Any] | None, recruiter: dict[str, str]
) -> str | None:
    """The id of an observer who has trials now; None where no comparison needs votes.

    One transaction: whoever joins at the same time is counted before or after. `observer` is the id that the join form
    proposes; a form sent twice joins once. A simulated observer's session follows from its description.
    """
    identity = observer or secrets.token_hex(8)
    model = None if simulator is None else json.dumps(simulator, sort_keys=True)
    triplets, session = list(material.triplets.values()), material.study.settings.session
    with connect(material.study.votes_path) as connection:
        seen = votes_to_choose_by(connection, triplets, material.comparisons, simulated=model is not None)
        connection.execute("BEGIN IMMEDIATE")
        if connection.execute("SELECT 1 FROM observers WHERE id = ?", [identity]).fetchone():
            return identity
        if not new_session(connection, triplets, session, identity, model, recruiter, seen):
            return None
        connection.execute("COMMIT")
    return identity


def look_up(material: Material, arrival: Arrival, complete: bool = False) -> Standing:
    """How somebody whom a recruiter sent stands; with `complete`, newcomers are turned away."""
    most = material.study.settings.recruiting.sessions_per_person
    with connect(material.study.votes_path) as connection:
        connection.execute("BEGIN IMMEDIATE")
        found = standing(connection, arrival, most)
        if complete and found == Standing():
            found = turn_away(connection, arrival, "full")
        connection.execute("COMMIT")
    return found


def join_recruited(material: Material, arrival: Arrival, recruiter: dict[str, str]) -> Standing:
    """The session that somebody whom a recruiter sent goes on with or begins, or why there is none.

    One transaction, so that one person who joins by two pages at once has one session.
    """
    recruiting, session = material.study.settings.recruiting, material.study.settings.session
    triplets = list(material.triplets.values())
    # The address that submits the task is the worker's own, and of no use later.
    recruiter = {name: value for name, value in recruiter.items() if name != "turkSubmitTo"}
    with connect(material.study.votes_path) as connection:
        seen = votes_to_choose_by(connection, triplets, material.comparisons)
        connection.execute("BEGIN IMMEDIATE")
        found = standing(connection, arrival, recruiting.sessions_per_person)
        if found == Standing():
            identity = secrets.token_hex(8)
            if new_session(connection, triplets, session, identity, None, recruiter, seen):
                bind(connection, arrival, identity)
                found = Standing(observer=identity)
            else:
                found = turn_away(connection, arrival, "full")
        connection.execute("COMMIT")
    return found


def settle(connection: sqlite3.Connection, material: Material, observer: str) -> None:
    """Store how the session ended, if it ended with the vote before."""
    trials = trials_of(connection, observer)
    if is_screened_out(connection, material, trials):
        close(connection, observer, "screened out")
    elif all(trial["answer"] for trial in trials):
        close(connection, observer, "finished")


def is_screened_out(connection: sqlite3.Connection, material: Material, trials: Sequence[sqlite3.Row]) -> bool:
    """Whether the practice is over with fewer right answers than the study asks for; never after the last trial."""
    practice = [trial for trial in trials if trial["kind"] == "training"]
    needed = material.study.settings.recruiting.practice_right
    if not needed or not all(trial["answer"] for trial in practice) or all(trial["answer"] for trial in trials):
        return False
    right = sum(is_right(material.triplets[t["triplet"]], t["left_is"], t["answer"]) for t in practice)
    if right >= min(needed, len(practice)):
        return False
    model = connection.execute("SELECT simulator FROM observers WHERE id = ?", [trials[0]["observer"]]).fetchone()[0]
    return model is None


def is_right(triplet: Triplet, left_is: str, side: str) -> bool:
    """Whether the expected stimulus was chosen."""
    return (triplet.a if (side == "left") == (left_is == "a") else triplet.b) == triplet.expected
