"""What was submitted, as MTurk tells it, matched with the sessions of the voting page and with forms.

The key is always (assignment, worker): MTurk hands the id of a returned assignment to somebody else.
"""

import json
import sqlite3
from dataclasses import dataclass, field
from typing import Any

from mturk.questions.answers import fields
from mturk.questions.sessions import store_form_votes
from mturk.requester.client import Refused, Requester
from mturk.requester.hits import NO_SUCH_HIT, all_hits, iso
from mturk.requester.ledger import token
from study.errors import InputError
from study.tokens import unsign
from study.votes import now, transaction

OPEN = ("Assignable", "Unassignable")  # HIT states in which a worker may still submit


@dataclass
class Collected:
    """How many of what was found."""

    new: int = 0
    changed: int = 0
    problems: list[str] = field(default_factory=list)


def refresh(store: sqlite3.Connection, requester: Requester, key: str) -> Collected:
    """Bring the tables `hits` and `assignments` up to what MTurk says now. One transaction a HIT."""
    found = Collected()
    for hit in all_hits(store, requester.market):
        refresh_hit(store, requester, hit, key, found)
    return found


def refresh_hit(store: sqlite3.Connection, requester: Requester, hit: sqlite3.Row, key: str, found: Collected) -> None:
    """Write a HIT's state and what was submitted for it, as MTurk tells them, and count it in `found`.

    Both together: by its state a HIT that is over promises no more than what was collected. The state is asked for
    first, so that it is never ahead of the submissions.
    """
    try:
        remote = requester.call("GetHIT", HITId=hit["id"])["HIT"]
    except Refused as refusal:
        if refusal.code != NO_SUCH_HIT:
            raise
        found.problems.append(f"HIT {hit['id']}: {requester.endpoint} does not know it")
        return
    listing = list(requester.pages("ListAssignmentsForHIT", "Assignments", HITId=hit["id"]))
    status = remote["HITStatus"]
    state = "open" if status in OPEN else "deleted" if status == "Disposed" else "expired"
    with transaction(store):
        for assignment in listing:
            _record(store, hit, assignment, key, found)
        store.execute(
            "UPDATE hits SET status = ?, expires_at = ? WHERE market = ? AND id = ?",
            [state, iso(remote["Expiration"]), hit["market"], hit["id"]],
        )


def record_approved(store: sqlite3.Connection, hit: sqlite3.Row, assignment: str, worker: str, key: str) -> None:
    """Enter an approval that MTurk reports into the ledger: one of ours whose answer got lost, or MTurk's own."""
    name = token(key, hit["market"], "approve", assignment, worker)
    answer = json.dumps({"reported": "Approved"})
    store.execute(
        "INSERT INTO ledger (token, channel, market, action, subject, person, count, reward_cents, fee_cents, request,"
        " written_at, settled_at, outcome, answer)"
        " VALUES (?, 'mturk', ?, 'approve', ?, ?, 1, ?, ?, '{}', ?, ?, 'done', ?)"
        " ON CONFLICT (token) DO UPDATE"
        " SET settled_at = excluded.settled_at, outcome = 'done', answer = excluded.answer"
        " WHERE ledger.outcome IS NOT 'done'",
        [name, hit["market"], assignment, worker, hit["reward_cents"], hit["fee_cents"], now(), now(), answer],
    )


def _record(store: sqlite3.Connection, hit: sqlite3.Row, remote: dict[str, Any], key: str, found: Collected) -> None:
    market, identity, worker = hit["market"], remote["AssignmentId"], remote["WorkerId"]
    before = store.execute(
        "SELECT status FROM assignments WHERE market = ? AND id = ? AND worker = ?", [market, identity, worker]
    ).fetchone()
    if before is None:
        observer, problem = _whose(store, hit, remote, key)
        if problem:
            found.problems.append(f"assignment {identity} of {worker}: {problem}")
        times = [
            iso(remote[name]) if remote.get(name) else None for name in ("AcceptTime", "SubmitTime", "AutoApprovalTime")
        ]
        store.execute(
            "INSERT INTO assignments (market, id, worker, hit, status, accepted_at, submitted_at, auto_approval_at,"
            " answer, observer, problem, seen_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [market, identity, worker, hit["id"], remote["AssignmentStatus"], *times, remote.get("Answer") or "",
             observer, problem, now()],
        )  # fmt: skip
        found.new += 1
    elif before["status"] != remote["AssignmentStatus"]:
        store.execute(
            "UPDATE assignments SET status = ?, seen_at = ? WHERE market = ? AND id = ? AND worker = ?",
            [remote["AssignmentStatus"], now(), market, identity, worker],
        )
        found.changed += 1
    if remote["AssignmentStatus"] == "Approved":
        record_approved(store, hit, identity, worker, key)


def _whose(
    store: sqlite3.Connection, hit: sqlite3.Row, remote: dict[str, Any], key: str
) -> tuple[str | None, str | None]:
    """The observer whose votes this assignment is, or why there is none."""
    try:
        sent = fields(remote.get("Answer") or "")
    except InputError as error:
        return None, str(error)
    if hit["question"] == "form":
        return _form(store, hit, remote, sent)
    row = store.execute(
        "SELECT observer, outcome FROM recruits WHERE channel = 'mturk' AND market = ? AND task = ? AND person = ?",
        [hit["market"], remote["AssignmentId"], remote["WorkerId"]],
    ).fetchone()
    if row is None:
        return None, "nobody with this worker and assignment id opened the voting page"
    if row["observer"] is None:
        return None, f"was sent away by the voting page ({row['outcome'] or 'no session'})"
    proof = unsign(key, "done", sent.get("eyetune", ""))
    if proof is None:
        return None, "no proof of a finished session was submitted"
    if proof != row["observer"]:
        return None, "the proof that was submitted is of somebody else's session"
    if row["outcome"] != "finished":  # two HITs accepted at once share a session, whose proof is good for one of them
        return None, "the voting page did not end a session with this assignment; its proof belongs to another one"
    return row["observer"], None


def _form(
    store: sqlite3.Connection, hit: sqlite3.Row, remote: dict[str, Any], sent: dict[str, str]
) -> tuple[str | None, str | None]:
    observer = hit["observer"]
    if sent.get("eyetune") != observer:
        return None, "the answers are not of this HIT's form"
    submitted = iso(remote["SubmitTime"])
    try:
        store_form_votes(store, observer, sent.get("votes", ""), submitted)
    except InputError as error:
        return None, str(error)
    store.execute(
        "INSERT INTO recruits (channel, market, person, task, place, observer, arrived_at, outcome, ended_at)"
        " VALUES ('mturk', ?, ?, ?, ?, ?, ?, 'finished', ?) ON CONFLICT DO NOTHING",
        [
            hit["market"],
            remote["WorkerId"],
            remote["AssignmentId"],
            hit["id"],
            observer,
            iso(remote["AcceptTime"]),
            submitted,
        ],
    )
    (left,) = store.execute(
        "SELECT count(*) FROM trials LEFT JOIN votes ON votes.trial = trials.id"
        " WHERE trials.observer = ? AND votes.trial IS NULL",
        [observer],
    ).fetchone()
    return observer, f"{left} of the form's trials are not answered" if left else None
