"""A budget in votes, and the intervals that it will buy.

The 95 % interval of a Bradley-Terry score is 2 * 1.96 standard deviations wide, from the inverse of the Fisher
information of the votes. Widths are of scores centred within their linked group, as the report's, of votes that are
independent. The report resamples observers, so its intervals are wider where observers differ from one another. The
prediction is for many votes and too narrow for few: in `benchmarks/active_choice.py`, with 38, 76 and 152 votes a
condition, by 15, 9 and 4 % where scores spread over 8 logits, by 6, 3 and 1 % where they spread over 2.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from study.design.conditions import REFERENCE, condition_of
from study.design.crops import pairs_of_crops, pairs_of_each_crop
from study.design.designs import Design, Pairs
from study.design.graph import linked_groups
from study.design.information import Floats, information_matrix
from study.errors import InputError
from study.records import Stimulus

ALL = 10**6  # pairs; no crop has more
INTERVAL = 2 * 1.959964  # standard deviations across the middle 95 % of a normal distribution


class Plan(NamedTuple):
    """What a budget of votes buys."""

    number: int
    """Pairs a crop, at most: `triplets.pairs` of study.toml."""
    pairs: list[Pairs]
    """Of each crop."""
    votes_each: int
    """Votes on each pair."""
    conditions: list[str]
    votes: Floats
    """`(K, K)` symmetric: votes on each pair of conditions, over all crops."""
    widths: Floats
    """`(K,)` predicted widths of the 95 % intervals of the conditions' scores, in natural log-odds."""


def pair_counts(pairs: Iterable[tuple[str | None, str | None]], conditions: Sequence[str]) -> Floats:
    """`(K, K)` symmetric: how many of `pairs` compare each two of the K `conditions`.

    A pair of one condition with itself, or with what is none of the conditions, says nothing of scores and is left out.
    """
    place = {name: index for index, name in enumerate(conditions)}
    ends = [(place[a], place[b]) for a, b in pairs if a in place and b in place and a != b]
    counts = np.zeros((len(conditions), len(conditions)))
    if ends:
        np.add.at(counts, tuple(np.array(ends).T), 1)
    return counts + counts.T


def predicted_widths(votes: Floats, scores: ArrayLike) -> Floats:
    """`(K,)` widths of the 95 % intervals of scores, in natural log-odds.

    `votes` `(K, K)` is symmetric: how many on each pair. `scores` `(K,)` are what they are expected to be: from a
    pilot's report, or from a metric's link; all 0 gives the least that widths can be. NaN without a vote.
    """
    assert np.array_equal(votes, votes.T)
    information = information_matrix(votes, np.asarray(scores, dtype=float))
    widths = np.full(len(votes), np.nan)
    count, labels = connected_components(csr_array(votes), directed=False)
    for group in range(count):
        inside = np.flatnonzero(labels == group)
        if len(inside) == 1:
            continue
        part = information[np.ix_(inside, inside)]
        fixed = np.full_like(part, np.diag(part).mean() / len(part))  # the free sum, which centred scores do not have
        variance = np.diag(np.linalg.inv(part + fixed)) - 1 / (len(part) ** 2 * fixed[0, 0])
        widths[inside] = INTERVAL * np.sqrt(np.maximum(variance, 0))
    return widths


def votes_for_width(width: float, votes: Floats, scores: ArrayLike) -> int:
    """How many votes, shared out as `votes` `(K, K)` are, make the mean width of the intervals at most `width`.

    The mean is over those that have one; at least one has.
    """
    assert width > 0
    now = float(np.nanmean(predicted_widths(votes, scores)))
    return math.ceil(votes.sum() / 2 * (now / width) ** 2)


def plan_votes(
    crops: Sequence[Sequence[Stimulus]],
    design: Design,
    budget: int,
    votes_each: int,
    scores: Mapping[str, float],
    seed: int,
) -> Plan:
    """The design that at most `budget` votes buy, and its widths, given the reference and distorted stimuli of crops.

    As many pairs a crop as have at least `votes_each` votes (`session.votes_per_triplet`) on each pair; where there are
    no more pairs, more votes on each. With the study's seed the pairs are those that the generator makes. `scores` by
    `condition_of` as in `predicted_widths`. Raises InputError where the budget or the design cannot link all
    conditions, or a condition has no score.
    """
    conditions = sorted({condition_of(s) for stimuli in crops for s in stimuli if s.codec != REFERENCE})
    missing = [name for name in conditions if name not in scores]
    if missing:
        raise InputError(f"no expected score for the condition {missing[0]!r} (and {len(missing) - 1} more)")
    number = budget // (votes_each * max(1, len(crops)))
    pairs = pairs_of_crops(crops, design, number, seed) if number else []
    named = [(condition_of(a), condition_of(b)) for chosen in pairs for a, b in chosen]
    groups = linked_groups(named, conditions)
    if len(groups) > 1 or not named:
        apart = f"the {len(conditions)} conditions in {len(groups)} groups that are not compared with one another"
        most = [pair for chosen in pairs_of_each_crop(crops, design, ALL, seed) for pair in chosen]
        if len(linked_groups([(condition_of(a), condition_of(b)) for a, b in most], conditions)) > 1:
            raise InputError(f"this design leaves {apart}, however many votes there are; choose another design")
        least = votes_each * len(crops) * math.ceil((len(conditions) - 1) / len(crops))
        raise InputError(
            f"{budget:,} votes, {votes_each} on each pair, leave {apart}; give at least"
            f" {max(least, budget + 1):,} votes, or fewer on each pair"
        )
    each = budget // len(named)
    votes = each * pair_counts(named, conditions)
    number = min(number, max(*map(len, pairs), *(len(stimuli) - 2 for stimuli in crops)))  # no more than there are
    return Plan(number, pairs, each, conditions, votes, predicted_widths(votes, [scores[name] for name in conditions]))
