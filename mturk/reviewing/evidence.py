"""What is known of submitted work: who did it, whether a session fits, and how its observer did."""

import sqlite3
from collections import Counter
from typing import Any

from mturk.reviewing.plan import Work
from study.folder import Study
from study.votes import read_judgments

ASSIGNMENTS = """
SELECT assignments.*, hits.reward_cents, hits.fee_cents, hits.status AS hit_status
FROM assignments JOIN hits ON hits.market = assignments.market AND hits.id = assignments.hit
WHERE assignments.market = ? ORDER BY assignments.submitted_at, assignments.id, assignments.worker
"""

UNANSWERED = """
SELECT trials.observer, count(*) - count(votes.trial) AS missing, count(*) AS trials FROM trials
LEFT JOIN votes ON votes.trial = trials.id GROUP BY trials.observer HAVING missing > 0
"""


def assignments_of(connection: sqlite3.Connection, market: str) -> dict[tuple[str, str], sqlite3.Row]:
    """Every assignment that was collected in `market` with its HIT's reward and fee, by (assignment, worker)."""
    return {(row["id"], row["worker"]): row for row in connection.execute(ASSIGNMENTS, [market])}


def owners(known: dict[tuple[str, str], sqlite3.Row]) -> dict[str, tuple[str, str]]:
    """Of each session the (assignment, worker) that it counts for: the first that was submitted.

    A worker who accepts two HITs at once answers one session for both; what a plan says of the second is not of its
    votes.
    """
    found: dict[str, tuple[str, str]] = {}
    for name, row in known.items():
        if row["observer"] is not None:
            found.setdefault(row["observer"], name)
    return found


def assignment_work(
    connection: sqlite3.Connection, market: str, sessions_per_person: int
) -> list[tuple[Work, sqlite3.Row]]:
    """Every assignment that was collected in `market`, first submitted first, with its row of `assignments_of`."""
    oddities = session_oddities(connection)
    sessions: Counter[str] = Counter()
    known = assignments_of(connection, market)
    owner = owners(known)
    found = []
    for name, row in known.items():
        observer, problem, doubt = row["observer"], row["problem"] or "", ""
        if observer is not None:
            sessions[row["worker"]] += 1
            if sessions[row["worker"]] > sessions_per_person:
                doubt = "took part before"
            if market == "sandbox":
                doubt = "a rehearsal in the sandbox"
            problem = problem or oddities.get(observer, "")
            if owner[observer] != name:
                problem = f"its session is that of assignment {owner[observer][0]} too"
        work = Work(
            task=row["id"],
            person=row["worker"],
            place=row["hit"],
            observer=observer,
            submitted_at=row["submitted_at"] or "",
            auto_approval_at=row["auto_approval_at"] or "",
            problem=problem,
            doubt=doubt,
        )
        found.append((work, row))
    return found


def session_oddities(connection: sqlite3.Connection) -> dict[str, str]:
    """Why a person must look at an observer's session, where one must: it is a program's, or it was not finished."""
    said = {
        observer: f"{trials - missing} of {trials} questions answered"
        for observer, missing, trials in connection.execute(UNANSWERED)
    }
    programs = connection.execute("SELECT id FROM observers WHERE simulator IS NOT NULL")
    return said | {observer: "a simulated observer, not a person" for (observer,) in programs}


def observer_quality(study: Study) -> dict[str, dict[str, Any]]:
    """How each person in the vote store did, as a row of `observer_table`, by observer.

    Votes that an earlier review left out count like the others, so that a second look sees what the first one saw.
    """
    from analysis.observers import observer_table

    votes = read_judgments(study.votes_path, study.triplets)
    people = votes[~votes["simulated"]]
    if people.empty:
        return {}
    return {row["observer"]: row for row in observer_table(people, study.triplets).to_dict("records")}


MARK = "review: "  # begins the reason of votes that a review left out; other reasons are not a review's to clear
OF_OBSERVER = "trial IN (SELECT id FROM trials WHERE observer = ?)"


def mark_use(connection: sqlite3.Connection, observer: str, used: bool, reason: str) -> bool:
    """Leave the observer's votes out, or take them back in; whether that changed anything. In a transaction."""
    assert connection.in_transaction
    if used:
        changed = connection.execute(
            f"UPDATE votes SET rejected = NULL WHERE {OF_OBSERVER} AND rejected LIKE ?", [observer, f"{MARK}%"]
        )
    else:
        said = f"{MARK}{reason or 'left out by a person'}"
        changed = connection.execute(
            f"UPDATE votes SET rejected = ? WHERE {OF_OBSERVER} AND (rejected IS NULL OR rejected LIKE ?)"
            " AND rejected IS NOT ?",
            [said, observer, f"{MARK}%", said],
        )
    return changed.rowcount > 0


def marks(connection: sqlite3.Connection) -> dict[str, str]:
    """Why a review left an observer's votes out, of those whom one left out."""
    rows = connection.execute(
        "SELECT DISTINCT trials.observer, votes.rejected FROM votes JOIN trials ON trials.id = votes.trial"
        " WHERE votes.rejected LIKE ?",
        [f"{MARK}%"],
    )
    return {observer: reason.removeprefix(MARK) for observer, reason in rows}


def decided(connection: sqlite3.Connection, market: str) -> set[tuple[str, str]]:
    """The (assignment, worker) of a market that a plan decided on; what MTurk approved by itself is not among them."""
    rows = connection.execute(
        "SELECT subject, person FROM ledger WHERE market = ? AND action IN ('approve', 'reject')"
        " AND json_extract(request, '$.use') IS NOT NULL",
        [market],
    )
    return {(subject, person) for subject, person in rows}
