"""Same or different: how well a distance tells visible differences from invisible ones, and how large one JND is.

Data are pairs of images; of a pair's votes some say "different". The psychometric function is Weibull's, with the
guesses that a yes/no question has (Wichmann and Hill 2001):

    P(different | d) = false_alarm + (1 - false_alarm - miss) * (1 - 2^-((d / threshold)^shape))
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from scipy.special import xlogy

from analysis.agreement import Floats, check_counts
from study.errors import InputError, UnavailableError

ERRORS = (1e-4, 0.49)  # bounds of false alarms and misses; the least keeps one unexpected vote from likelihood 0
ERROR_PRIOR = 10  # density Beta(1, 10) of each, as in psignifit (Schuett et al. 2016): highest at 0, mean 1 in 11
SHAPES = (0.1, 30.0)
SHAPE_PRIOR = 1.5  # standard deviation of log(shape / 2): an end where answers change at once
SCALES = 10.0  # natural logs beyond the distances in which the threshold is sought
TOLERANCE = 1e-6  # of the slope of the log posterior per vote at the maximum


@dataclass(frozen=True)
class Detection:
    """A fitted psychometric function; all its parameters are plain numbers."""

    threshold: float
    """The distance at which half of the observers see a difference (false alarms and misses set aside): 1 JND."""
    shape: float
    """Weibull's: how suddenly seeing begins."""
    false_alarm: float
    """The share of "different" where there is nothing to see."""
    miss: float
    """The share of "same" where everybody sees it."""
    log_likelihood: float
    """Of the votes that it was fitted to, in nats."""
    votes: float

    def probability(self, distance: ArrayLike) -> Floats:
        """`(T,)` the chance that an observer says "different"."""
        seen = -np.expm1(-np.log(2) * (np.asarray(distance, dtype=float) / self.threshold) ** self.shape)
        return self.false_alarm + (1 - self.false_alarm - self.miss) * seen

    def jnd(self, distance: ArrayLike) -> Floats:
        """`(T,)` the distance in JND: in units of the threshold, so 0 is identical and 1 is seen by half."""
        return np.asarray(distance, dtype=float) / self.threshold


def jnd_map(distance: ArrayLike, different: ArrayLike, votes: ArrayLike) -> float:
    """The JND score of BAPPS: the area under the precision-recall curve of "same", found by small distance.

    Zhang et al. (2018), as `score_jnd_dataset` of PerceptualSimilarity computes it: pairs sorted by
    distance, each a positive by its share of "same" and a negative by the rest, and PASCAL VOC's area (precision
    at a recall is the highest at that recall or above; Everingham et al. 2010, all points). Each pair weighs the same.
    Pairs of equal distance are taken together; BAPPS's code leaves their order to the sort.
    """
    recall, precision = _precision_recall(distance, different, votes)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.diff(recall, prepend=0) @ envelope)


def average_precision(distance: ArrayLike, different: ArrayLike, votes: ArrayLike) -> float:
    """The same area without VOC's envelope: the sum over thresholds of precision times gained recall."""
    recall, precision = _precision_recall(distance, different, votes)
    return float(np.diff(recall, prepend=0) @ precision)


def fit_detection(distance: ArrayLike, different: ArrayLike, votes: ArrayLike) -> Detection:
    """The function of greatest posterior density: binomial likelihood of `different` of `votes`, and weak priors.

    The priors (ERROR_PRIOR, SHAPE_PRIOR) are worth a few votes. Counts may be fractions. Distances must be 0 for
    identical images: raises UnavailableError where some are negative (minus PSNR), and where the threshold would lie
    outside the distances that were shown, since then nothing says where it is; RuntimeError without convergence.
    """
    d, k, n = _checked(distance, different, votes)
    positive = d[d > 0]
    if (d < 0).any() or not positive.size:
        raise UnavailableError("one JND needs distances from 0 upwards, some above 0; these are not")
    middle = float(np.median(positive))
    log_d = np.log(np.where(d > 0, d, 1) / middle)
    shown = d > 0
    ends = log_d[shown].min() - SCALES, log_d[shown].max() + SCALES

    def loss(parameters: Floats) -> tuple[float, Floats]:
        """Minus the log posterior per vote, and its gradient."""
        log_threshold, log_shape, false_alarm, miss = parameters
        shape = np.exp(log_shape)
        t = shape * (log_d - log_threshold)
        u = np.where(shown, np.log(2) * np.exp(np.minimum(t, 50)), 0)  # at e^50 all is seen
        seen, missed = -np.expm1(-u), np.exp(-u)
        room = 1 - false_alarm - miss
        p, q = false_alarm + room * seen, miss + room * missed
        value = (k * np.log(p) + (n - k) * np.log(q)).sum()
        by_p = k / p - (n - k) / q
        by_t = by_p * room * missed * u
        gradient = np.array([-shape * by_t.sum(), (by_t * t).sum(), (by_p * missed).sum(), -(by_p * seen).sum()])
        value += (ERROR_PRIOR - 1) * (np.log1p(-false_alarm) + np.log1p(-miss))
        value -= ((log_shape - np.log(2)) / SHAPE_PRIOR) ** 2 / 2
        gradient -= [
            0, (log_shape - np.log(2)) / SHAPE_PRIOR**2,
            (ERROR_PRIOR - 1) / (1 - false_alarm), (ERROR_PRIOR - 1) / (1 - miss),
        ]  # fmt: skip
        return -value / n.sum(), -gradient / n.sum()

    bounds = np.array([ends, np.log(SHAPES), ERRORS, ERRORS])
    options = {"gtol": TOLERANCE / 10, "ftol": 1e-14, "maxiter": 1000}
    best = None
    for quantile in (0.1, 0.5, 0.9):
        start = [float(np.quantile(log_d[shown], quantile)), np.log(2), 0.05, 0.05]
        found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
        inside = np.clip(found.x - found.jac, *bounds.T) - found.x  # the gradient without what points out of bounds
        if np.abs(inside).max() <= TOLERANCE and (best is None or found.fun < best.fun):
            best = found
    if best is None:
        raise RuntimeError("the psychometric function did not converge")
    threshold = middle * float(np.exp(best.x[0]))
    if not positive.min() <= threshold <= positive.max():
        raise UnavailableError(
            f"one JND lies outside the distances that were shown ({positive.min():.4g} to {positive.max():.4g}):"
            f" {k.sum():g} of {n.sum():g} votes saw a difference; show smaller and larger ones"
        )
    fitted = Detection(threshold, float(np.exp(best.x[1])), float(best.x[2]), float(best.x[3]), 0.0, float(n.sum()))
    p = fitted.probability(d)
    return replace(fitted, log_likelihood=float((xlogy(k, p) + xlogy(n - k, 1 - p)).sum()))


def _precision_recall(distance: ArrayLike, different: ArrayLike, votes: ArrayLike) -> tuple[Floats, Floats]:
    """Recall and precision of "same" after each distinct distance, from the smallest."""
    d, k, n = _checked(distance, different, votes)
    same = 1 - k / n
    if not same.any():
        raise UnavailableError("no vote says that two images are the same: nothing to find")
    _, place = np.unique(d, return_inverse=True)
    found: NDArray = np.cumsum(np.bincount(place, weights=same))
    return found / found[-1], found / np.cumsum(np.bincount(place))


def _checked(distance: ArrayLike, different: ArrayLike, votes: ArrayLike) -> tuple[Floats, Floats, Floats]:
    k, n = check_counts(different, votes, "say different", "different")
    d = np.asarray(distance, dtype=float)
    if d.shape != k.shape:
        raise InputError(f"{len(k)} pairs, but distances of shape {d.shape}")
    wrong = np.flatnonzero(~np.isfinite(d))
    if wrong.size:
        raise InputError(f"row {wrong[0]}: a distance of {d[wrong[0]]:g}; expected finite numbers")
    return d, k, n
