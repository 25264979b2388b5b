"""A form's session in the vote store: planned before its HIT is made, voted when its assignment comes back."""

import json
import secrets
import sqlite3

from pydantic import TypeAdapter, ValidationError

from study.errors import InputError
from study.folder import Study
from study.page_votes import Vote, store
from study.records import Triplet
from study.sessions import new_session, trials_of

VOTES = TypeAdapter(list[Vote])


def plan_form_session(study: Study, connection: sqlite3.Connection) -> str | None:
    """The id of a new observer with all trials; None, and nothing stored, where no comparison needs votes.

    For a transaction of the caller's in the vote store, so that a session and the ledger's entry for its HIT are
    written together or not at all.
    """
    triplets = [Triplet(**row) for row in study.triplets.to_dict("records")]
    if not any(triplet.kind == "test" for triplet in triplets):
        raise InputError(f"{study.triplets_path}: no test triplets; make some with: eyetune distort {study.root}")
    observer = secrets.token_hex(8)
    return observer if new_session(connection, triplets, study.settings.session, observer) else None


def store_form_votes(connection: sqlite3.Connection, observer: str, votes_json: str, received_at: str) -> int:
    """How many of the submitted votes are new; all or none are stored, and sent again they change nothing.

    `votes_json` is the form's field `votes`: a JSON list of `study.page_votes.Vote`. `received_at` is ISO 8601 in UTC.
    Raises InputError for what a form does not send, for a trial that is not the observer's, and for a trial that has
    another answer already (somebody else did the session before).
    """
    try:
        votes = VOTES.validate_json(votes_json.encode())
    except ValidationError as error:
        problem = error.errors()[0]
        where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in problem["loc"])
        raise InputError(f"the form's answers: votes{where}: {problem['msg']}") from None
    except UnicodeEncodeError:
        raise InputError("the form's answers: votes: not text") from None
    if len({vote.trial for vote in votes}) < len(votes):
        raise InputError("the form's answers: a trial is answered twice")
    if connection.in_transaction:
        return _store(connection, observer, votes, received_at)
    with connection:  # commits, or rolls back where it raises
        connection.execute("BEGIN IMMEDIATE")
        return _store(connection, observer, votes, received_at)


def _store(connection: sqlite3.Connection, observer: str, votes: list[Vote], received_at: str) -> int:
    answers = {trial["id"]: trial["answer"] for trial in trials_of(connection, observer)}
    for vote in votes:
        if vote.trial not in answers:
            raise InputError(f"the form's answers: trial {json.dumps(vote.trial)} is not one of this session")
        if answers[vote.trial] not in (None, vote.side):
            raise InputError("the form's answers: this session has other answers already, from another assignment")
    return sum(store(connection, vote, received_at) for vote in votes)
