"""Shares of votes: Wilson's interval, and the exact test whether left and right are chosen equally often."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binomtest, norm

from analysis.agreement import LEVEL, Estimate, Floats


def wilson(successes: ArrayLike, trials: ArrayLike) -> tuple[Floats, Floats]:
    """Lower and upper end of Wilson's (1927) 95 % score interval of a share; NaN where there are no trials.

    (p + z²/2n ± z sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n). It takes trials for independent.
    """
    k, n = np.asarray(successes, dtype=float), np.asarray(trials, dtype=float)
    z = norm.ppf((1 + LEVEL) / 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        p = k / n
        middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
        half = z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
        return np.clip(middle - half, 0, 1), np.clip(middle + half, 0, 1)


def share(successes: int, trials: int) -> Estimate:
    """`successes / trials` with Wilson's interval; NaN where there are no trials."""
    if not trials:
        return Estimate(np.nan, np.nan, np.nan, 0)
    low, high = wilson(successes, trials)
    return Estimate(successes / trials, float(low), float(high), trials)


def exact_half(successes: int, trials: int) -> tuple[Estimate, float]:
    """`successes / trials` with Clopper and Pearson's interval, and the exact two-sided p that the chance is 1/2."""
    if not trials:
        return Estimate(np.nan, np.nan, np.nan, 0), np.nan
    test = binomtest(successes, trials, 0.5)
    interval = test.proportion_ci(LEVEL, method="exact")
    return Estimate(successes / trials, float(interval.low), float(interval.high), trials), float(test.pvalue)
