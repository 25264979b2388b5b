"""Who did not look at the pictures: the rules by which the report, and active choice, leave observers out."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtr

# An attentive observer answers an obvious question rightly this often: lapses of 10 %, of which half hit by chance.
# Twice what Wichmann and Hill (2001) allow a trained observer at most (.06), so that the rule spares the careless.
ATTENTIVE = 0.95
SENTINEL_LEVEL = 0.01  # one attentive observer in a hundred, at most, is left out wrongly
ONE_SIDE = 0.95  # share of one side from which an observer has not looked at the pictures ...
ONE_SIDE_LEVEL = 1e-4  # ... where chance makes it rarer than this: all of 15, 38 of 40


def fails_sentinels(right: ArrayLike, sentinels: ArrayLike) -> NDArray[np.bool_]:
    """Whether so few of the sentinels are right that an attentive observer would do as badly too rarely.

    Right with chance ATTENTIVE, an observer does as badly with a chance below SENTINEL_LEVEL, by the exact binomial.
    """
    chance = bdtr(np.asarray(right, dtype=float), np.asarray(sentinels, dtype=int), ATTENTIVE)
    return np.asarray(chance < SENTINEL_LEVEL)  # 1 of 0 sentinels


def keeps_to_one_side(left: ArrayLike, votes: ArrayLike) -> NDArray[np.bool_]:
    """Whether one side has at least ONE_SIDE of the votes, with an exact two-sided p below ONE_SIDE_LEVEL."""
    on_left, total = np.asarray(left), np.asarray(votes)
    most = np.maximum(on_left, total - on_left) / np.maximum(total, 1)
    return np.asarray((most >= ONE_SIDE) & (half_p(on_left, total) < ONE_SIDE_LEVEL))


def half_p(successes: ArrayLike, trials: ArrayLike) -> NDArray[np.float64]:
    """The exact two-sided binomial p of each share against 1/2, as `scipy.stats.binomtest`; 1 without trials."""
    hits, total = np.asarray(successes, dtype=float), np.asarray(trials, dtype=int)
    return np.asarray(np.minimum(1, 2 * bdtr(np.minimum(hits, total - hits), total, 0.5)))
