"""How reliable each observer is, from votes alone: the one-coin model of Dawid and Skene."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from analysis.agreement import Floats

PRIOR_RIGHT, PRIOR_WRONG = 3.0, 1.0  # as if each observer had given four votes more, three of them with the others
TOLERANCE = 1e-6
ITERATIONS = 10_000


def reliabilities(observer: NDArray[np.int64], triplet: NDArray[np.int64], prefers_b: NDArray[np.bool_]) -> Floats:
    """`(O,)` the chance, in (0, 1), that an observer's vote is the answer which the votes together point to.

    `observer` and `triplet` `(V,)` number them from 0. Each triplet has one answer z, a or b with even chances, and
    observer o votes for it with chance r_o (Dawid and Skene 1979, with one parameter an observer), which has the prior
    Beta(1 + PRIOR_RIGHT, 1 + PRIOR_WRONG), so that few votes do not give 0 or 1 (Raykar et al. 2010).
    Expectation-maximisation, begun at the majority; raises RuntimeError where it does not converge. Where people
    really differ in taste, all values are lower: compare observers, do not read a value as skill.
    """
    if not observer.size:
        return np.zeros(0)
    people, questions = int(observer.max()) + 1, int(triplet.max()) + 1
    signs = np.where(prefers_b, 1.0, -1.0)
    given = np.bincount(observer, minlength=people)
    reliability = np.full(people, PRIOR_RIGHT / (PRIOR_RIGHT + PRIOR_WRONG))
    for _ in range(ITERATIONS):
        # E: log-odds that b is the answer; each vote weighs by its observer's log-odds.
        evidence = np.bincount(triplet, signs * logit(reliability)[observer], minlength=questions)
        right = np.bincount(observer, expit(signs * evidence[triplet]), minlength=people)
        # M: the mode of the Beta posterior.
        before, reliability = reliability, (right + PRIOR_RIGHT) / (given + PRIOR_RIGHT + PRIOR_WRONG)
        if np.abs(reliability - before).max() < TOLERANCE:
            return reliability
    raise RuntimeError(f"observer reliabilities did not converge in {ITERATIONS:,} steps")
