"""Active choice in a running study: which pairs of conditions the next observer is asked about.

In batches, as ASAP (Mikhailiuk et al. 2020, arXiv 2004.05691): the spanning tree of the conditions with the most
expected information (`study.design.information`), so that the votes of one session tell of all conditions; then, as if
these votes had come, the next tree. What an awaited vote will say is not known, but that it will be given is: it makes
the posterior as much sharper as a vote does, and moves no score.

Until each condition has PILOT votes on average, votes count by their number alone, and all scores are taken as equal:
that gives linked, balanced pairs. An earlier choice follows luck: its scores are further from the truth.
"""

from collections.abc import Mapping, Sequence
from random import Random
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from study.design.conditions import REFERENCE, condition_of
from study.design.information import Floats, best_tree, expected_information, posterior
from study.design.scores import ALPHA, newton_scores
from study.records import Stimulus, Triplet
from study.tables import records

PILOT = 8  # votes a condition


class Comparisons(NamedTuple):
    """The test triplets of a study as pairs of K conditions."""

    conditions: list[str]
    pairs: NDArray[np.int64]
    """`(P, 2)` places in `conditions`, the lower one first."""
    groups: NDArray[np.int64]
    """`(K,)` the conditions that chains of pairs link have one number."""
    of: dict[str, tuple[int, int, int]]
    """Triplet id to the place of its pair in `pairs`, and the conditions of its a and its b. Triplets within one
    condition, and those whose codec is not known, are left out."""


class Tally(NamedTuple):
    """What K conditions were asked and what came back."""

    comparisons: Comparisons
    wins: Floats
    """`(K, K)` votes that count: how often row beat column."""
    awaited: Floats
    """`(K, K)` trials without a vote yet, of row and column or column and row."""
    scores: Floats
    """`(K,)` what `wins` say, of `believed_scores`."""


def conditions_of(stimuli: pd.DataFrame) -> dict[str, str]:
    """Each stimulus's condition by its id; all references are one, and an unknown codec has none."""
    return {
        s.id: REFERENCE if s.codec == REFERENCE else condition_of(s)
        for s in records(stimuli, Stimulus)
        if s.codec != "unknown"
    }


def comparisons(triplets: Sequence[Triplet], conditions: Mapping[str, str]) -> Comparisons:
    """The test triplets between different ones of the `conditions` (by stimulus id)."""
    named = {t.id: (conditions.get(t.a), conditions.get(t.b)) for t in triplets if t.kind == "test"}
    known = {name: (a, b) for name, (a, b) in named.items() if a is not None and b is not None and a != b}
    names = sorted({condition for ends in known.values() for condition in ends})
    place = {name: index for index, name in enumerate(names)}
    ends = {name: (place[a], place[b]) for name, (a, b) in known.items()}
    pairs = sorted({(min(a, b), max(a, b)) for a, b in ends.values()})
    row = {pair: index for index, pair in enumerate(pairs)}
    array = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    graph = coo_array((np.ones(len(pairs)), array.T), shape=(len(names), len(names)))
    groups = connected_components(graph, directed=False)[1] if names else np.zeros(0)
    of = {name: (row[min(a, b), max(a, b)], a, b) for name, (a, b) in ends.items()}
    return Comparisons(names, array, groups.astype(np.int64), of)


def tally(table: Comparisons, votes: Mapping[str, tuple[int, int]]) -> Tally:
    """The sums of `votes`: test triplet id to how often a and how often b was chosen. None is awaited."""
    items = len(table.conditions)
    wins = np.zeros((items, items))
    for triplet, (for_a, for_b) in votes.items():
        if triplet in table.of:
            _, a, b = table.of[triplet]
            wins[a, b] += for_a
            wins[b, a] += for_b
    return Tally(table, wins, np.zeros((items, items)), believed_scores(wins))


def awaiting(seen: Tally, trials: Mapping[str, int]) -> Tally:
    """`seen` with as many more votes awaited as `trials` says for each triplet id."""
    awaited = seen.awaited.copy()
    for triplet, number in trials.items():
        if triplet in seen.comparisons.of:
            _, a, b = seen.comparisons.of[triplet]
            awaited[a, b] += number
    return seen._replace(awaited=awaited)


def believed_scores(wins: Floats) -> Floats:
    """`(K,)` the scores that active choice goes by: the report's, with the penalty ALPHA; in the pilot all 0.

    The report fits without a penalty wherever votes are not one-sided. Here it always stays, because the first votes
    are one-sided, and an infinite score has no posterior; with votes enough for an interval it makes no difference.
    """
    if 2 * wins.sum() <= PILOT * len(wins):
        return np.zeros(len(wins))
    return newton_scores(wins[None], np.array([ALPHA]))[0]


def next_pairs(seen: Tally, room: Sequence[int], number: int, random: Random) -> list[int]:
    """Places in `seen.comparisons.pairs` of the `number` to ask next, the first tree first.

    `room` `(P,)` is how often each pair may still be asked; there are fewer places where there is no more room.
    """
    table = seen.comparisons
    counted, left = seen.wins + seen.awaited, np.array(room, dtype=np.int64)
    noise = np.random.default_rng(random.getrandbits(64))
    chosen: list[int] = []
    while len(chosen) < number and (left > 0).any():
        open_ = np.flatnonzero(left > 0)
        gains = expected_information(posterior(counted, seen.scores, ALPHA, table.groups), table.pairs[open_])
        gains *= 1 + 1e-6 * noise.random(len(gains))  # ties at random
        tree = open_[best_tree(gains, table.pairs[open_], len(seen.scores))][: number - len(chosen)]
        left[tree] -= 1
        np.add.at(counted, tuple(table.pairs[tree].T), 1)
        chosen += tree.tolist()
    return chosen
