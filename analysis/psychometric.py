"""The chance that an observer prefers b, from any metric's two distances: a psychometric function of their difference.

    P(b) = lapse / 2 + (1 - lapse) / (1 + exp(-slope (g(d_a) - g(d_b))))

A votes-to-probability link must take distances of any scale and sign (LPIPS near 0, minus PSNR in dB), zeros among
them, and say something of distances that it has not seen. So d is first put on a common scale, z = (d - centre) /
spread, the median and half the range of the middle 68 %. Equal differences of z need not look equal: near 0 they
may be more visible (Weber), or less (a metric that sees more than people do). Therefore g is the transform of Yeo and
Johnson (2000), monotone in z for each power, the identity at power 1, concave below and convex above; unlike Box
and Cox's it is smooth, unbounded in its argument and defined for all real z, so no shift has to be guessed.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from scipy.special import expit

from analysis.agreement import Floats, check_counts, robust_spread
from study.errors import InputError

POWERS = (-3.0, 5.0)  # symmetric about the identity; beyond them g is a step for all that can be seen
LAPSES = (1e-4, 0.49)  # the least keeps one vote that nobody expected from having likelihood 0
LAPSE_PRIOR = 10  # density Beta(1, 10), as in psignifit (Schuett et al. 2016): highest at 0, mean 1 in 11
SLOPE_PRIOR = 10.0  # half-Cauchy on the slope per spread (Gelman et al. 2008, wider): an end where votes never disagree
STEEPEST = 1e4
STARTS = (1.0, -1.0, 3.0)  # powers; the likelihood can have more than one maximum over the power
ENOUGH = 3000  # triplets, evenly taken from more, that say which start is best
RESTARTS = 12  # of an ascent that stops in a bent ridge of slope and power; of 10,000 none took more than 5
TOLERANCE = 1e-6  # nats a vote, of the slope at the maximum


@dataclass(frozen=True)
class Preference:
    """A fitted link; all its parameters are plain numbers."""

    centre: float
    """Of the distances, in the metric's units."""
    spread: float
    power: float
    """Yeo and Johnson's; 1 is the identity."""
    slope: float
    """Log-odds per unit of transformed distance, >= 0; 0 where the metric says nothing about the votes."""
    lapse: float
    """The share of answers given at random."""
    log_likelihood: float
    """Of the votes that it was fitted to, in nats."""
    votes: float

    def probability(self, distance_a: ArrayLike, distance_b: ArrayLike) -> Floats:
        """`(T,)` the chance, in [lapse / 2, 1 - lapse / 2], that an observer prefers b."""
        g_a, g_b = (
            yeo_johnson((np.asarray(d, dtype=float) - self.centre) / self.spread, self.power)
            for d in (distance_a, distance_b)
        )
        return self.lapse / 2 + (1 - self.lapse) * expit(self.slope * (g_a - g_b))


def yeo_johnson(z: ArrayLike, power: float) -> Floats:
    """g(z): ((1 + z)^power - 1) / power where z >= 0, else -((1 - z)^(2 - power) - 1) / (2 - power)."""
    z = np.asarray(z, dtype=float)
    return np.sign(z) * _stretched(np.log1p(np.abs(z)), np.where(z >= 0, power, 2 - power))[0]


def fit_preference(distance_a: ArrayLike, distance_b: ArrayLike, prefer_b: ArrayLike, votes: ArrayLike) -> Preference:
    """The link of greatest posterior density: binomial likelihood of `prefer_b` of `votes`, and two weak priors.

    Without priors a few votes that never disagree have no best slope, and a lapse hides behind a gentle slope. The
    priors (LAPSE_PRIOR, SLOPE_PRIOR) are worth about one vote. Counts may be fractions: "not sure" is half a vote for
    each. A metric that contradicts the votes gets slope 0, never a negative one. Raises InputError for bad input and
    RuntimeError where no maximum was found.
    """
    d_a, d_b, k, n = _checked(distance_a, distance_b, prefer_b, votes)
    return _fit(d_a, d_b, k, n)


def cross_fitted(
    distance_a: ArrayLike, distance_b: ArrayLike, prefer_b: ArrayLike, votes: ArrayLike, groups: ArrayLike,
    folds: int = 5, seed: int = 1,
) -> Floats:  # fmt: skip
    """`(T,)` chances that b is preferred, each from a link fitted to the other folds; a group is in one fold only.

    `groups` names the source photograph of each triplet. With fewer groups than folds each group is a fold. Raises
    InputError where there is only one.
    """
    d_a, d_b, k, n = _checked(distance_a, distance_b, prefer_b, votes)
    chances = np.empty(len(k))
    for held_out in _folds(np.asarray(groups), len(k), folds, seed):
        rest = ~held_out
        chances[held_out] = _fit(d_a[rest], d_b[rest], k[rest], n[rest]).probability(d_a[held_out], d_b[held_out])
    return chances


def _folds(groups: NDArray, triplets: int, folds: int, seed: int) -> Iterator[NDArray[np.bool_]]:
    if groups.shape != (triplets,):
        raise InputError(f"{triplets} triplets, but groups of shape {groups.shape}")
    names, members = np.unique(groups, return_inverse=True)
    if len(names) < 2 or folds < 2:
        raise InputError(f"{len(names)} photographs in {folds} folds: cross-fitting needs at least 2 of each")
    count = min(folds, len(names))
    fold = np.random.default_rng(seed).permutation(len(names)) % count
    for index in range(count):
        yield fold[members] == index


def _fit(d_a: Floats, d_b: Floats, k: Floats, n: Floats) -> Preference:
    distances = np.concatenate([d_a, d_b])
    centre, spread = float(np.median(distances)), robust_spread(distances)
    z_a, z_b = (d_a - centre) / spread, (d_b - centre) / spread
    some = slice(None, None, -(-len(k) // ENOUGH))
    starts = [np.array([1.0, power, 0.02]) for power in STARTS]
    first = [found for start in starts for found in _maxima(z_a[some], z_b[some], k[some], n[some], start)]
    best = min(first, key=lambda found: found[0])[1] if first else starts[0]
    last = _maxima(z_a, z_b, k, n, best)
    if not last:
        raise RuntimeError("the link from distances to votes did not converge")
    slope, power, lapse = (float(value) for value in last[0][1])
    fitted = Preference(centre, spread, power, slope, lapse, 0.0, float(n.sum()))
    p = fitted.probability(d_a, d_b)
    return replace(fitted, log_likelihood=float((k * np.log(p) + (n - k) * np.log1p(-p)).sum()))


def _maxima(z_a: Floats, z_b: Floats, k: Floats, n: Floats, start: Floats) -> list[tuple[float, Floats]]:
    """The loss and (slope, power, lapse) at the maximum that is reached from `start`; empty where none is."""
    bounds = np.array([(0, STEEPEST), POWERS, LAPSES])
    options = {"gtol": TOLERANCE / 10, "ftol": 1e-14, "maxiter": 1000}
    for _ in range(RESTARTS):
        found = minimize(_loss(z_a, z_b, k, n), start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
        inside = np.clip(found.x - found.jac, *bounds.T) - found.x  # the gradient without what points out of bounds
        if np.abs(inside).max() <= TOLERANCE:
            return [(float(found.fun), found.x)]
        start = found.x
    return []


def _loss(z_a: Floats, z_b: Floats, k: Floats, n: Floats) -> Callable[[Floats], tuple[float, Floats]]:
    """Minus the log posterior per vote as a function of (slope, power, lapse), with its gradient."""
    z = np.concatenate([z_a, z_b])
    sign, log, above = np.sign(z), np.log1p(np.abs(z)), z >= 0

    def loss(parameters: Floats) -> tuple[float, Floats]:
        slope, power, lapse = parameters
        exponent = np.where(above, power, 2 - power)
        # For z < 0 the exponent falls as the power rises, and the sign of g is turned: dg / dpower is `bent`.
        stretched, bent = _stretched(log, exponent)
        g = sign * stretched
        x, dx = (values[: len(k)] - values[len(k) :] for values in (g, bent))
        right, left = expit(slope * x), expit(-slope * x)
        p, q = lapse / 2 + (1 - lapse) * right, lapse / 2 + (1 - lapse) * left
        # Sums, not @: at this length BLAS would start threads that wait longer than they work.
        value = (k * np.log(p) + (n - k) * np.log(q)).sum()
        by_p = k / p - (n - k) / q
        by_x = by_p * (1 - lapse) * right * left
        gradient = np.array([(by_x * x).sum(), slope * (by_x * dx).sum(), (by_p * (0.5 - right)).sum()])
        value += (LAPSE_PRIOR - 1) * np.log1p(-lapse) - np.log1p((slope / SLOPE_PRIOR) ** 2)
        gradient += [-2 * slope / (SLOPE_PRIOR**2 + slope**2), 0, -(LAPSE_PRIOR - 1) / (1 - lapse)]
        return -value / n.sum(), -gradient / n.sum()

    return loss


def _stretched(log: Floats, exponent: Floats) -> tuple[Floats, Floats]:
    """(exp(exponent * log) - 1) / exponent and its derivative to the exponent."""
    t = exponent * log
    near = np.abs(t) < 1e-3  # there the quotients are differences of equals; their series
    safe = np.where(near, 1, exponent)
    grown = np.expm1(t)
    value = np.where(near, log * (1 + t / 2 + t**2 / 6), grown / safe)
    slope = np.where(near, log**2 * (0.5 + t / 3 + t**2 / 8), (log * (grown + 1) - grown / safe) / safe)
    return value, slope


def _checked(
    distance_a: ArrayLike, distance_b: ArrayLike, prefer_b: ArrayLike, votes: ArrayLike
) -> tuple[Floats, Floats, Floats, Floats]:
    k, n = check_counts(prefer_b, votes)
    a, b = np.asarray(distance_a, dtype=float), np.asarray(distance_b, dtype=float)
    if a.shape != k.shape or b.shape != k.shape:
        raise InputError(f"{len(k)} triplets, but distances of shape {a.shape} and {b.shape}")
    wrong = np.flatnonzero(~(np.isfinite(a) & np.isfinite(b)))
    if wrong.size:
        raise InputError(f"row {wrong[0]}: distances {a[wrong[0]]:g} and {b[wrong[0]]:g}; expected finite numbers")
    return a, b, k, n
