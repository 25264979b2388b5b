"""Observers and their trials in the vote store, for the voting page and for forms without a server."""

import json
import secrets
import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from random import Random, SystemRandom
from typing import Any

import pandas as pd

from study.believed_votes import believed_votes
from study.design.chosen import Comparisons, Tally, awaiting, comparisons, conditions_of, tally
from study.records import Triplet
from study.schedule import Shown, plan_session
from study.settings import Page, Session
from study.votes import now

# A trial that waits for its vote is taken to be given up when its observer did nothing for this long.
GIVEN_UP_AFTER = timedelta(hours=2)

# A form's session waits for as long as its HIT is open (the ledger's word, which `expire` and `delete` change).
# Simulated observers are counted apart: a study that was tried out with them is as empty as before for people.
SHOWN = """
WITH active AS (
    SELECT observers.id, max(observers.joined_at, ifnull(max(votes.received_at), '')) AS last
    FROM observers JOIN trials ON trials.observer = observers.id LEFT JOIN votes ON votes.trial = trials.id
    WHERE (observers.simulator IS NOT NULL) = :simulated
    GROUP BY observers.id),
forms AS (SELECT observer FROM hits WHERE status = 'open' AND observer IS NOT NULL),
gone AS (SELECT observer FROM recruits WHERE outcome = 'screened out' AND observer IS NOT NULL)
SELECT trials.triplet, sum(trials.left_is = 'a'), sum(trials.left_is = 'b'), sum(votes.trial IS NULL)
FROM active JOIN trials ON trials.observer = active.id LEFT JOIN votes ON votes.trial = trials.id
WHERE CASE WHEN votes.trial IS NOT NULL THEN votes.rejected IS NULL
           ELSE :awaited AND (active.last > :since OR active.id IN forms) AND active.id NOT IN gone END
GROUP BY trials.triplet
"""

TRIALS = """
SELECT trials.*, votes.side AS answer FROM trials LEFT JOIN votes ON votes.trial = trials.id
WHERE trials.observer = ? ORDER BY trials.position
"""


def shown(connection: sqlite3.Connection, simulated: bool, given_up_after: timedelta = GIVEN_UP_AFTER) -> Shown:
    """How often each triplet was shown with a on the left and with b: votes that count, and trials still open.

    `given_up_after` 0 counts votes alone.
    """
    return {triplet: (a_left, b_left) for triplet, a_left, b_left, _ in _shown(connection, simulated, given_up_after)}


def comparisons_to_choose(triplets: Sequence[Triplet], stimuli: pd.DataFrame, session: Session) -> Comparisons | None:
    """For `votes_to_choose_by`: the pairs of conditions that active choice has; None for choice by the fewest votes."""
    return None if session.choice == "fewest" else comparisons(triplets, conditions_of(stimuli))


def votes_to_choose_by(
    connection: sqlite3.Connection,
    triplets: Sequence[Triplet],
    table: Comparisons | None,
    simulated: bool = False,
) -> Tally | None:
    """For `new_session`: what active choice learns from the votes so far; None for choice by the fewest votes.

    To be called before the transaction, because it takes longer than all the rest. A vote that comes between the two is
    missing, so the pairs are chosen as if it had come a moment later. What limits and balances votes (`shown`, open
    trials) is counted within the transaction.
    """
    assert not connection.in_transaction
    return None if table is None else tally(table, believed_votes(connection, simulated, triplets))


def new_session(
    connection: sqlite3.Connection,
    triplets: Sequence[Triplet],
    session: Session,
    observer: str,
    simulator: str | None = None,
    recruiter: dict[str, str] | None = None,
    seen: Tally | None = None,
) -> bool:
    """Whether `observer` now has trials; False, and nothing stored, where no comparison needs votes.

    For a transaction of the caller's: whoever joins at the same time is counted before or after. A simulated observer's
    session follows from its description (`simulator`, JSON). `seen` is of `votes_to_choose_by`.
    """
    assert connection.in_transaction and (seen is None) == (session.choice == "fewest")
    random: Random = SystemRandom() if simulator is None else Random(simulator)
    rows = _shown(connection, simulator is not None, GIVEN_UP_AFTER)
    if seen is not None:
        seen = awaiting(seen, {triplet: open_ for triplet, _, _, open_ in rows})
    counts = {triplet: (a_left, b_left) for triplet, a_left, b_left, _ in rows}
    trials = plan_session(triplets, session, counts, random, seen)
    if not trials:
        return False
    connection.execute(
        "INSERT INTO observers (id, joined_at, simulator, recruiter) VALUES (?, ?, ?, ?)",
        [observer, now(), simulator, json.dumps(recruiter, sort_keys=True) if recruiter else None],
    )
    connection.executemany(
        "INSERT INTO trials (id, observer, position, triplet, kind, left_is, reference_key, left_key, right_key)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (secrets.token_hex(8), observer, position, *trial, *(secrets.token_hex(16) for _ in range(3)))
            for position, trial in enumerate(trials)
        ],
    )
    return True


def trials_of(connection: sqlite3.Connection, observer: str) -> list[sqlite3.Row]:
    """The observer's trials in order, each with `answer` (left, right or None)."""
    return connection.execute(TRIALS, [observer]).fetchall()


def description(trial: sqlite3.Row, trials: Sequence[sqlite3.Row], page: Page) -> dict[str, Any]:
    """What an observer's browser learns of one of its trials, besides its images: nothing that tells them apart."""
    practice = trial["kind"] == "training"
    part = [other["id"] for other in trials if (other["kind"] == "training") == practice]
    return {
        "id": trial["id"],
        "practice": practice,
        "position": part.index(trial["id"]) + 1,
        "total": len(part),
        "question": page.question,
        "protocol": page.protocol,
        "zoom": page.zoom,
    }


def _shown(
    connection: sqlite3.Connection, simulated: bool, given_up_after: timedelta
) -> list[tuple[str, int, int, int]]:
    """Triplet, times with a on the left, times with b, and how many of these are trials that wait for their vote."""
    since = (datetime.now(UTC) - given_up_after).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    awaited = given_up_after > timedelta(0)
    rows = connection.execute(SHOWN, {"simulated": simulated, "since": since, "awaited": awaited})
    return [(triplet, a_left, b_left, open_) for triplet, a_left, b_left, open_ in rows]
