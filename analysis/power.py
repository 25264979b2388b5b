"""What votes on one comparison can tell: the power of the exact two-sided binomial test against one half.

The test is that of `scipy.stats.binomtest`. Its power goes up and down with the number of votes, as its level keeps
below LEVEL by more or less. Votes are taken as independent.
"""

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.stats import binom, norm

from analysis.agreement import Floats

LEVEL = 0.05
POWER = 0.8


def power(votes: ArrayLike, preference: float) -> Floats:
    """The chance that `votes` (any shape) tell a preference from one half, where that is the chance of each vote."""
    n = np.asarray(votes)
    most = binom.ppf(LEVEL / 2, n, 0.5) - 1  # votes for the rarer side with which p is still at most LEVEL
    return binom.cdf(most, n, preference) + binom.sf(n - most - 1, n, preference)


def smallest_preference(votes: int) -> float:
    """The smallest share, above one half, that so many votes tell from one half with chance POWER.

    NaN below six votes: even if all are alike, chance does that in 1 of 16 cases or more.
    """
    if power(votes, 1.0) < POWER:
        return math.nan
    return float(brentq(lambda share: float(power(votes, share)) - POWER, 0.5, 1.0))


def votes_to_tell(preference: float) -> int:
    """The fewest votes from which on any number tells the `preference`, in (0.5, 1], with chance POWER or more."""
    assert 0.5 < preference <= 1
    z = norm.ppf(1 - LEVEL / 2) + norm.ppf(POWER)
    enough = 2 * math.ceil(0.25 * (z / (preference - 0.5)) ** 2) + 20  # twice the normal approximation's
    weak = np.flatnonzero(power(np.arange(1, enough), preference) < POWER)
    return int(weak[-1]) + 2
