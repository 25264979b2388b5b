"""Observers and their trials in the vote store."""

import json
import secrets
import sqlite3
from datetime import UTC, datetime, timedelta
from random import Random, SystemRandom
from typing import Any

from study.schedule import Shown, need_votes, plan_session
from study.votes import connect, now
from webapp.material import Material

# A trial that waits for its vote is taken to be given up when its observer did nothing for this long.
GIVEN_UP_AFTER = timedelta(hours=2)

# Simulated observers are counted apart: a study that was tried out with them is as empty as before for people.
SHOWN = """
WITH active AS (
    SELECT observers.id, max(observers.joined_at, ifnull(max(votes.received_at), '')) AS last
    FROM observers JOIN trials ON trials.observer = observers.id LEFT JOIN votes ON votes.trial = trials.id
    WHERE (observers.simulator IS NOT NULL) = :simulated
    GROUP BY observers.id)
SELECT trials.triplet, sum(trials.left_is = 'a'), sum(trials.left_is = 'b')
FROM active JOIN trials ON trials.observer = active.id LEFT JOIN votes ON votes.trial = trials.id
WHERE CASE WHEN votes.trial IS NOT NULL THEN votes.rejected IS NULL ELSE active.last > :since END
GROUP BY trials.triplet
"""

TRIALS = """
SELECT trials.*, votes.side AS answer FROM trials LEFT JOIN votes ON votes.trial = trials.id
WHERE trials.observer = ? ORDER BY trials.position
"""


def shown(connection: sqlite3.Connection, simulated: bool, given_up_after: timedelta = GIVEN_UP_AFTER) -> Shown:
    """How often each triplet was shown with a on the left and with b: votes that count, and trials still open."""
    since = (datetime.now(UTC) - given_up_after).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    rows = connection.execute(SHOWN, {"simulated": simulated, "since": since})
    return {triplet: (a_left, b_left) for triplet, a_left, b_left in rows}


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
    random: Random = SystemRandom() if model is None else Random(model)
    with connect(material.study.votes_path) as connection:
        connection.execute("BEGIN IMMEDIATE")
        if connection.execute("SELECT 1 FROM observers WHERE id = ?", [identity]).fetchone():
            return identity
        counts = shown(connection, simulated=model is not None)
        trials = plan_session(list(material.triplets.values()), material.study.settings.session, counts, random)
        if not trials:
            return None
        connection.execute(
            "INSERT INTO observers (id, joined_at, simulator, recruiter) VALUES (?, ?, ?, ?)",
            [identity, now(), model, json.dumps(recruiter, sort_keys=True) if recruiter else None],
        )
        connection.executemany(
            "INSERT INTO trials (id, observer, position, triplet, kind, left_is, reference_key, left_key, right_key)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (secrets.token_hex(8), identity, position, *trial, *(secrets.token_hex(16) for _ in range(3)))
                for position, trial in enumerate(trials)
            ],
        )
        connection.execute("COMMIT")
    return identity


def trials_of(connection: sqlite3.Connection, observer: str) -> list[sqlite3.Row]:
    """The observer's trials in order, each with `answer` (left, right or None)."""
    return connection.execute(TRIALS, [observer]).fetchall()
