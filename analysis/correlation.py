"""How well distances follow ratings (Spearman, Kendall, Pearson), and levels of one distortion (ladders).

Distances grow with damage and ratings with quality, so all correlations are given with the sign turned: 1 is a metric
that is right, -1 one that is wrong throughout.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import kendalltau, rankdata

from analysis.agreement import Estimate, Floats, bootstrap_mean, percentile_interval, robust_spread
from study.errors import InputError

ROWS_AT_ONCE = 4_000_000  # numbers in a block: some 30 MB
STRAIGHT = 0.1  # the least slope of the logistic, over the range of the distances
STEEPEST = 100.0  # its greatest, over their spread


@dataclass(frozen=True)
class Correlations:
    """A metric's correlations with ratings, positive where it is right, with intervals that resample photographs."""

    srocc: Estimate
    """Spearman's."""
    krocc: Estimate
    """Kendall's tau-b."""
    plcc: Estimate
    """Pearson's, after `logistic_mapping`."""
    per_reference: Estimate
    """The mean over photographs of Spearman's within each: no help from some photographs being harder than others."""


def correlations(
    distance: ArrayLike, rating: ArrayLike, groups: ArrayLike, seed: int = 1, replicates: int = 2000
) -> Correlations:
    """Correlations of `distance` `(N,)` with `rating` `(N,)`; `groups` `(N,)` names the source photograph of each.

    The intervals are percentiles over resampled photographs. The mapping behind Pearson's is fitted once, to all
    ratings: with four parameters its own uncertainty is small beside that of the photographs. NaN intervals with one
    photograph; `per_reference` leaves out photographs whose distances or ratings are all equal. Raises InputError.
    """
    d, r, labels = _checked(distance, rating, groups)
    order = np.argsort(labels, kind="stable")
    d, r, labels = d[order], r[order], labels[order]
    _, starts, members = np.unique(labels, return_index=True, return_inverse=True)
    mapped = logistic_mapping(d, r)(d)
    sign = np.sign(mapped[d.argmin()] - mapped[d.argmax()])  # the mapping falls where the metric is right

    def pearson(counts: Floats) -> Floats:
        return sign * _pearson(mapped[None], r[None], counts, starts)

    ways = {
        "srocc": lambda counts: -_spearman(d, r, counts[:, members]),
        "krocc": _kendall(d, r, starts),
        "plcc": pearson,
    }
    found = {}
    for name, way in ways.items():
        value = float(way(np.ones((1, len(starts))))[0])
        low, high = np.nan, np.nan
        if len(starts) > 1:
            low, high = percentile_interval(
                np.concatenate([way(c) for c in _resampled(len(starts), len(d), seed, replicates)])
            )
        found[name] = Estimate(value, float(low), float(high), len(d))
    within = [_within(d[part], r[part]) for part in np.split(np.arange(len(d)), starts[1:])]
    return Correlations(**found, per_reference=bootstrap_mean(within, np.arange(len(starts)), seed, replicates))


def logistic_mapping(distance: ArrayLike, rating: ArrayLike) -> Callable[[ArrayLike], Floats]:
    """The function of distance that is nearest to the ratings, of the form b2 + (b1 - b2) / (1 + exp(-(d - b3) / b4)).

    The monotone logistic with four parameters of the Video Quality Experts Group's final report (VQEG 2000), by least
    squares; the one with five of Sheikh et al. (2006) is not always monotone. It may rise or fall. Raises
    RuntimeError where it does not converge.
    """
    d, r = np.asarray(distance, dtype=float), np.asarray(rating, dtype=float)
    centre, spread = float(np.median(d)), robust_spread(d)
    z, y = (d - centre) / spread, (r - r.mean()) / r.std()

    def curve(z: Floats, middle: float, slope: float) -> Floats:
        x = slope * (z - middle)
        return expit(x) if middle > 0 else -expit(-x)  # 1 less, which changes nothing; far below, 1 would hide the rest

    def loss(parameters: Floats) -> tuple[float, Floats]:
        """Minus the squared correlation, which b1 and b2 leave as it is, and its gradient."""
        middle, slope = parameters[0], np.exp(parameters[1])
        s = curve(z, middle, slope)
        bent = np.abs(s) * (1 - np.abs(s))
        centred = s - s.mean()
        covariance, variance = (centred * y).mean(), (centred**2).mean()
        if variance < 1e-100:  # a step beyond all distances
            return 0.0, np.zeros(2)
        by_s = 2 * covariance / variance * (y - covariance / variance * centred) / len(z)
        gradient = np.array([-slope * (by_s * bent).sum(), slope * (by_s * bent * (z - middle)).sum()])
        return -(covariance**2) / variance, -gradient

    bounds = np.array([(z.min() - 10, z.max() + 10), (np.log(STRAIGHT / np.ptp(z)), np.log(STEEPEST))])
    options = {"gtol": 1e-8, "ftol": 1e-13, "maxiter": 500}
    best = None
    for quantile, slope in product((0.1, 0.5, 0.9), (0.2, 2.0)):
        start = np.clip([np.quantile(z, quantile), np.log(slope)], *bounds.T)
        found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
        inside = np.clip(found.x - found.jac, *bounds.T) - found.x  # the gradient without what points out of bounds
        there = np.abs(inside).max() <= 1e-5 or found.fun <= -1 + 1e-6  # 1 is the highest correlation there is
        if there and (best is None or found.fun < best.fun):
            best = found
    if best is None:
        raise RuntimeError("the logistic from distances to ratings did not converge")
    middle, slope = float(best.x[0]), float(np.exp(best.x[1]))
    s = curve(z, middle, slope)
    centred = s - s.mean()
    height = (centred * r).mean() / (centred**2).mean()
    return lambda x: (
        r.mean() + height * (curve((np.asarray(x, dtype=float) - centre) / spread, middle, slope) - s.mean())
    )


def ladder_tau(
    distance: ArrayLike, level: ArrayLike, ladder: ArrayLike, groups: ArrayLike, seed: int = 1
) -> tuple["pd.Series[float]", Estimate]:
    """Kendall's tau-b of `distance` with `level` within each `ladder` (all `(N,)`), and its mean over ladders.

    `groups` `(N,)` names the source photograph; the mean's interval resamples photographs, whose ladders are alike.

    A ladder is one photograph under more and more of one distortion, and `level` grows with the damage (for a quality
    setting hand in its negative). 1 is a metric that puts all steps in order; one that cannot tell any of
    them apart has 0. NaN for a ladder with one level, which the mean leaves out.
    """
    d, levels, labels = _checked(distance, level, ladder, "level")
    photographs = np.asarray(groups)
    if photographs.shape != d.shape:
        raise InputError(f"{len(d)} distances, but groups of shape {photographs.shape}")
    taus, of = {}, []
    for name in pd.unique(labels):
        mine = labels == name
        x, y = d[mine], levels[mine]
        of.append(photographs[mine][0])
        if np.ptp(y) == 0:
            taus[name] = np.nan
        else:
            taus[name] = 0.0 if np.ptp(x) == 0 else float(kendalltau(x, y).statistic)
    series = pd.Series(taus, name="tau", dtype=float)
    return series, bootstrap_mean(series.to_numpy(), np.array(of), seed)


def _resampled(groups: int, items: int, seed: int, replicates: int) -> Iterator[Floats]:
    """Blocks `(R, groups)` of how often each group is drawn."""
    random = np.random.default_rng(seed)
    at_once = max(1, ROWS_AT_ONCE // max(groups, items))
    for start in range(0, replicates, at_once):
        rows = min(at_once, replicates - start)
        drawn = random.integers(0, groups, (rows, groups)) + groups * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * groups).reshape(rows, groups).astype(float)


def _spearman(x: Floats, y: Floats, weights: Floats) -> Floats:
    """`(R,)` Spearman's correlation of items that occur `weights` `(R, N)` times."""
    return _pearson(_ranks(x, weights), _ranks(y, weights), weights, np.arange(len(x)))


def _ranks(values: Floats, weights: Floats) -> Floats:
    """`(R, N)` average ranks where value i occurs `weights[:, i]` times."""
    order = np.argsort(values, kind="stable")
    _, first, place = np.unique(values[order], return_index=True, return_inverse=True)
    counts = np.add.reduceat(weights[:, order], first, axis=1)
    ranks = np.empty_like(weights)
    ranks[:, order] = (np.cumsum(counts, axis=1) - (counts - 1) / 2)[:, place]
    return ranks


def _pearson(x: Floats, y: Floats, counts: Floats, starts: NDArray[np.intp]) -> Floats:
    """`(R,)` Pearson's correlation of `x`, `y` `(1 or R, N)`; group g, from starts[g] on, occurs counts[:, g] times."""
    x, y = x - x.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)

    def total(values: Floats) -> Floats:
        return (counts * np.add.reduceat(values, starts, axis=1)).sum(axis=1)

    n, sum_x, sum_y = total(np.ones((1, x.shape[1]))), total(x), total(y)
    covariance = total(x * y) - sum_x * sum_y / n
    variance = (total(x * x) - sum_x**2 / n) * (total(y * y) - sum_y**2 / n)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(variance > 0, covariance / np.sqrt(variance), np.nan)


def _kendall(x: Floats, y: Floats, starts: NDArray[np.intp]) -> Callable[[Floats], Floats]:
    """The function from counts `(R, G)` of each group to `(R,)` minus tau-b.

    With s the sign of a pair's difference, tau-b = sum s_x s_y / sqrt(sum |s_x| sum |s_y|) over all pairs, and pairs of
    groups g, h occur counts[g] counts[h] times: three (G, G) matrices of sums say all, and copies of an item are ties.
    """
    sums = np.zeros((3, len(starts), len(starts)))
    at_once = max(1, ROWS_AT_ONCE // len(x))
    member = np.searchsorted(starts, np.arange(len(x)), side="right") - 1
    for start in range(0, len(x), at_once):
        rows = slice(start, start + at_once)
        s_x, s_y = (np.sign(v[rows, None] - v[None, :]) for v in (x, y))
        for index, signs in enumerate((s_x * s_y, np.abs(s_x), np.abs(s_y))):
            np.add.at(sums[index], member[rows], np.add.reduceat(signs, starts, axis=1))

    def minus_tau(counts: Floats) -> Floats:
        both, only_x, only_y = (((counts @ matrix) * counts).sum(axis=1) for matrix in sums)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where((only_x > 0) & (only_y > 0), -both / np.sqrt(only_x * only_y), np.nan)

    return minus_tau


def _within(d: Floats, r: Floats) -> float:
    """Minus Spearman's correlation of one photograph's items, NaN where it has none."""
    if np.ptp(d) == 0 or np.ptp(r) == 0:
        return np.nan
    return -float(np.corrcoef(rankdata(d), rankdata(r))[0, 1])


def _checked(
    distance: ArrayLike, other: ArrayLike, groups: ArrayLike, name: str = "rating"
) -> tuple[Floats, Floats, NDArray]:
    d, r, labels = np.asarray(distance, dtype=float), np.asarray(other, dtype=float), np.asarray(groups)
    if not d.shape == r.shape == labels.shape or d.ndim != 1 or not d.size:
        raise InputError(
            f"distances of shape {d.shape}, {name}s {r.shape}, groups {labels.shape}; expected (N,) thrice"
        )
    wrong = np.flatnonzero(~(np.isfinite(d) & np.isfinite(r)))
    if wrong.size:
        row = wrong[0]
        raise InputError(f"row {row}: distance {d[row]:g}, {name} {r[row]:g}; expected finite numbers")
    if name == "rating" and (np.ptp(d) == 0 or np.ptp(r) == 0):
        raise InputError("all distances or all ratings are equal: they correlate with nothing")
    return d, r, labels
