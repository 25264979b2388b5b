"""The votes that active choice goes by: those that the report would believe if the study ended now."""

import json
import sqlite3
from collections.abc import Sequence

from study.attention import fails_sentinels, keeps_to_one_side
from study.records import Triplet

OBSERVERS = """
SELECT observers.id, sum(trials.kind = 'test'), sum(trials.kind = 'test' AND votes.side = 'left'),
       sum(trials.kind = 'sentinel'),
       sum(trials.kind = 'sentinel' AND ((votes.side = 'left') = (trials.left_is = 'a')) =
           (trials.triplet IN (SELECT value FROM json_each(:expect_a))))
FROM observers JOIN trials ON trials.observer = observers.id JOIN votes ON votes.trial = trials.id
WHERE (observers.simulator IS NOT NULL) = :simulated AND votes.rejected IS NULL
GROUP BY observers.id
"""

# The plus keeps SQLite from walking the trials by triplet, which takes three times as long.
CHOSEN = """
SELECT trials.triplet, sum((votes.side = 'left') = (trials.left_is = 'a')), count(*)
FROM trials JOIN votes ON votes.trial = trials.id
WHERE trials.kind = 'test' AND votes.rejected IS NULL
      AND trials.observer IN (SELECT value FROM json_each(:attentive))
GROUP BY +trials.triplet
"""


def attentive(connection: sqlite3.Connection, simulated: bool, triplets: Sequence[Triplet]) -> list[str]:
    """The people, or the simulated observers, who voted and whom the report would not leave out."""
    expect_a = [t.id for t in triplets if t.kind == "sentinel" and t.expected == t.a]
    rows = connection.execute(OBSERVERS, {"simulated": simulated, "expect_a": json.dumps(expect_a)}).fetchall()
    if not rows:
        return []
    observers, tests, left, sentinels, right = zip(*rows, strict=True)
    out = fails_sentinels(right, sentinels) | keeps_to_one_side(left, tests)
    return [observer for observer, is_out in zip(observers, out, strict=True) if not is_out]


def believed_votes(
    connection: sqlite3.Connection, simulated: bool, triplets: Sequence[Triplet]
) -> dict[str, tuple[int, int]]:
    """Test triplet id to how often a and how often b was chosen, by `attentive` observers; not what was rejected."""
    observers = json.dumps(attentive(connection, simulated, triplets))
    rows = connection.execute(CHOSEN, {"attentive": observers})
    return {triplet: (for_a, votes - for_a) for triplet, for_a, votes in rows}
