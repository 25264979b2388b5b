"""Are predicted chances right: their likelihood, their calibration error, and the curve that shows it."""

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import xlogy

from analysis.agreement import Floats, check_counts
from analysis.proportions import wilson
from study.errors import InputError

RELIABILITY_COLUMNS = ["predicted", "observed", "low", "high", "votes"]


def log_likelihood(p: ArrayLike, prefer_b: ArrayLike, votes: ArrayLike) -> Floats:
    """`(T,)` the mean log2-likelihood of a triplet's votes, in bits a vote: (k log2 p + (n - k) log2(1 - p)) / n.

    `p` is the predicted chance that an observer prefers b. A coin has -1, a perfect oracle of unanimous votes 0, and a
    certain prediction that one vote contradicts minus infinity. For the mean over votes rather than triplets hand
    `votes` as weights to `bootstrap_mean`.
    """
    chance, k, n = _checked(p, prefer_b, votes)
    return (xlogy(k, chance) + xlogy(n - k, 1 - chance)) / n / np.log(2)


def saturated(prefer_b: ArrayLike, votes: ArrayLike) -> Floats:
    """`(T,)` `log_likelihood` of the model that gives each triplet its own share k/n: no prediction can be higher.

    A bound and not a goal: it knows these very votes, and is 0 where each triplet has only one.
    """
    k, n = check_counts(prefer_b, votes)
    return log_likelihood(k / n, k, n)


def reliability(p: ArrayLike, prefer_b: ArrayLike, votes: ArrayLike, bins: int = 15) -> pd.DataFrame:
    """The reliability curve, one row a bin: RELIABILITY_COLUMNS, with Wilson's 95 % interval of the observed share.

    Folded: each triplet is turned so that its predicted chance is >= 1/2, because which stimulus is called b means
    nothing; `predicted` is the mean chance (weighted by votes) of the stimulus that the prediction favours and
    `observed` its share of the votes. Bins hold about equal numbers of votes; equal chances share a bin, so there may
    be fewer. The interval takes votes for independent, so it is too short where photographs differ.
    """
    chance, k, n = _checked(p, prefer_b, votes)
    if bins < 1:
        raise InputError(f"{bins} bins; expected at least 1")
    favoured = np.maximum(chance, 1 - chance)
    won = np.where(chance > 0.5, k, np.where(chance < 0.5, n - k, n / 2))  # at 1/2 neither is favoured
    _, value = np.unique(favoured.round(12), return_inverse=True)  # 1 - (1 - p) is not p to the last digit
    mass = np.bincount(value, weights=n)
    middle = (np.cumsum(mass) - mass / 2) / mass.sum()
    _, place = np.unique(np.floor(bins * middle)[value], return_inverse=True)
    total, predicted, observed = (np.bincount(place, weights=w) for w in (n, n * favoured, won))
    low, high = wilson(observed, total)
    columns = (predicted / total, observed / total, low, high, total)
    return pd.DataFrame(dict(zip(RELIABILITY_COLUMNS, columns, strict=True)))


def calibration_error(p: ArrayLike, prefer_b: ArrayLike, votes: ArrayLike, bins: int = 15) -> float:
    """The expected calibration error, sum over bins of (votes / all votes) |predicted - observed|, of `reliability`.

    Guo et al. (2017), equation 3, with bins of equal mass (Nguyen and O'Connor 2015). Chance alone keeps it above 0: of
    M votes in all, perfect predictions near 1/2 come out at about 0.4 sqrt(bins / M).
    """
    curve = reliability(p, prefer_b, votes, bins)
    return float(np.average((curve["predicted"] - curve["observed"]).abs(), weights=curve["votes"]))


def _checked(p: ArrayLike, prefer_b: ArrayLike, votes: ArrayLike) -> tuple[Floats, Floats, Floats]:
    k, n = check_counts(prefer_b, votes)
    chance = np.asarray(p, dtype=float)
    if chance.shape != k.shape:
        raise InputError(f"{len(k)} triplets, but predicted chances of shape {chance.shape}")
    wrong = np.flatnonzero(~((chance >= 0) & (chance <= 1)))
    if wrong.size:
        raise InputError(f"row {wrong[0]}: a predicted chance of {chance[wrong[0]]:g}; expected 0 to 1")
    return chance, k, n
