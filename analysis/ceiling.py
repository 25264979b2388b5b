"""What no metric can beat, or need not: how often people agree with one another on the same triplets.

Of a triplet's n votes k choose b; p = k/n and q = 1 - p.
"""

import numpy as np
from numpy.typing import ArrayLike

from analysis.agreement import Estimate, Floats, bootstrap_mean, check_counts


def plug_in(votes: ArrayLike, prefer_b: ArrayLike) -> Floats:
    """`(T,)` p² + q², as Zhang et al. (2018) report human performance; too high, the more so the fewer the votes.

    It lets each vote agree with itself: its expectation exceeds the true agreement A by (1 - A) / n.
    """
    k, n = check_counts(prefer_b, votes)
    return (k / n) ** 2 + (1 - k / n) ** 2


def agreement(votes: ArrayLike, prefer_b: ArrayLike) -> Floats:
    """`(T,)` the share of pairs of different observers who agree, (n (p² + q²) - 1) / (n - 1); NaN with one vote.

    The unbiased estimate of the chance that two independent observers agree: Simpson's (1949) unbiased estimate of
    concentration, with two classes.
    """
    n = np.asarray(votes, dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(n >= 2, (n * plug_in(votes, prefer_b) - 1) / (n - 1), np.nan)


def majority(votes: ArrayLike, prefer_b: ArrayLike) -> Floats:
    """`(T,)` max(p, q): the score of an oracle that knows these very votes; too high for the same reason."""
    k, n = check_counts(prefer_b, votes)
    return np.maximum(k / n, 1 - k / n)


def ceilings(votes: ArrayLike, prefer_b: ArrayLike, groups: ArrayLike, seed: int = 1) -> dict[str, Estimate]:
    """The means over triplets of `agreement`, `plug_in` and `majority`, with intervals that resample `groups` (T,).

    `groups` names the source photograph of each triplet.
    """
    ways = {"agreement": agreement, "plug_in": plug_in, "majority": majority}
    return {name: bootstrap_mean(way(votes, prefer_b), groups, seed) for name, way in ways.items()}
