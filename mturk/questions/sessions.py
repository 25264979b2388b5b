"""A form's session: planned before its HIT is made, published, and voted when its assignment comes back.

A browser learns of a trial what the voting page tells: an opaque id and three random addresses. All images are as long
as each other, and nothing says of which codec one is, or whether a trial is a sentinel or a repeat. Of practice trials
alone the right answer is told, for the feedback.
"""

import hashlib
import hmac
import json
import secrets
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from pydantic import TypeAdapter, ValidationError

from mturk.questions.places import open_place
from study.blind_images import pad_png, padded_length, uncompressed_png
from study.errors import InputError
from study.folder import Study
from study.page_votes import Vote, store
from study.records import Triplet
from study.sessions import comparisons_to_choose, description, new_session, trials_of, votes_to_choose_by
from study.tokens import secret_key
from study.votes import connect

AT_ONCE = 8  # requests
FOREVER = "max-age=31536000, immutable"  # an image's name is never used again
FRESH = "no-cache"  # signed addresses in the list are renewed
ROLES = ("reference", "left", "right")
VOTES = TypeAdapter(list[Vote])


def plan_form_session(study: Study) -> str:
    """The id of a new observer with all trials. Raises InputError where no comparison needs votes any more."""
    triplets = list(_triplets(study).values())
    if not any(triplet.kind == "test" for triplet in triplets):
        raise InputError(f"{study.triplets_path}: no test triplets; make some with: eyetune distort {study.root}")
    observer, session = secrets.token_hex(8), study.settings.session
    table = comparisons_to_choose(triplets, study.stimuli, session)
    with connect(study.votes_path) as connection:
        seen = votes_to_choose_by(connection, triplets, table)
        connection.execute("BEGIN IMMEDIATE")
        if not new_session(connection, triplets, session, observer, seen=seen):
            raise InputError(
                f"{study.root}: no comparison needs another session: all have their votes, or sessions are open that"
                " will give them; lower hits.sessions, or raise session.votes_per_triplet"
            )
        connection.execute("COMMIT")
    return observer


def publish_session(study: Study, observer: str) -> str:
    """The address of the session's script, which lists its trials; script and images are written to `hits.upload`.

    Images that are there already stay; addresses that are signed are signed anew. Raises InputError for an unknown
    observer, an altered image, settings that do not fit, and where S3 refuses.
    """
    trials = session_trials(study, observer)
    stimuli = study.stimuli.set_index("id")
    length = padded_length(zip(stimuli["width"], stimuli["height"], strict=True))
    triplets = _triplets(study)
    shown = [_shown(triplets[trial["triplet"]], trial["left_is"]) for trial in trials]
    names = [{role: f"{trial[f'{role}_key']}.png" for role in ROLES} for trial in trials]
    images = {name[role]: of[role] for name, of in zip(names, shown, strict=True) for role in ROLES}

    def write(name: str) -> None:
        if not place.holds(name, length):
            pixels = study.image(str(stimuli.sha256[images[name]]))
            place.write(name, pad_png(uncompressed_png(pixels), length), "image/png", FOREVER)

    with closing(open_place(study)) as place:
        listed = []
        for trial, name, of in zip(trials, names, shown, strict=True):
            width, height = stimuli.loc[of["reference"], ["width", "height"]]
            told = description(trial, trials, study.settings.page)
            listed.append(told | {"width": int(width), "height": int(height)})
            listed[-1] |= {role: place.address(name[role]) for role in ROLES}
            expected = triplets[trial["triplet"]].expected
            if listed[-1]["practice"] and expected is not None:
                listed[-1]["correct"] = "left" if expected == of["left"] else "right"
        with ThreadPoolExecutor(AT_ONCE) as pool:
            writing = [pool.submit(write, name) for name in images]
            try:
                for done in writing:
                    done.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        script = f"sessions/{_name(study, observer)}.js"
        text = f"globalThis.eyetuneTrials = {json.dumps(listed, separators=(',', ':'))};\n"
        place.write(script, text.encode("ascii"), "text/javascript", FRESH)
        return place.address(script)


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


def session_trials(study: Study, observer: str) -> list[sqlite3.Row]:
    """The observer's trials in order. Raises InputError where there are none."""
    with connect(study.votes_path) as connection:
        trials = trials_of(connection, observer)
    if not trials:
        raise InputError(f"{study.votes_path}: observer {observer} has no trials")
    return trials


def _store(connection: sqlite3.Connection, observer: str, votes: list[Vote], received_at: str) -> int:
    answers = {trial["id"]: trial["answer"] for trial in trials_of(connection, observer)}
    for vote in votes:
        if vote.trial not in answers:
            raise InputError(f"the form's answers: trial {json.dumps(vote.trial)} is not one of this session")
        if answers[vote.trial] not in (None, vote.side):
            raise InputError("the form's answers: this session has other answers already, from another assignment")
    return sum(store(connection, vote, received_at) for vote in votes)


def _triplets(study: Study) -> dict[str, Triplet]:
    return {str(row["id"]): Triplet(**row) for row in study.triplets.to_dict("records")}


def _shown(triplet: Triplet, left_is: str) -> dict[str, str]:
    """The stimulus in each role."""
    left, right = (triplet.a, triplet.b) if left_is == "a" else (triplet.b, triplet.a)
    return {"reference": triplet.reference, "left": left, "right": right}


def _name(study: Study, observer: str) -> str:
    """A name that nobody can guess and that is the same each time the session is published."""
    return hmac.new(secret_key(study).encode(), f"form session {observer}".encode(), hashlib.sha256).hexdigest()[:32]
