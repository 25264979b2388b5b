"""How often votes agree with a metric (2AFC), and intervals of means by resampling clusters."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from study.errors import InputError

Floats = NDArray[np.float64]

LEVEL = 0.95  # of every interval in this package
DRAWS_AT_ONCE = 4_000_000  # cluster indices drawn at once; bounds memory to some 100 MB


class Estimate(NamedTuple):
    """A number with its 95 % interval (NaN where there is none) and how many values are behind it."""

    value: float
    low: float
    high: float
    n: int


def agreeing_share(prefer_b: ArrayLike, votes: ArrayLike, distance_a: ArrayLike, distance_b: ArrayLike) -> Floats:
    """`(T,)` the share of each triplet's votes that agree with the metric; ties count one half.

    `prefer_b` of a triplet's `votes` chose b; the metric chooses the stimulus with the smaller distance.
    """
    k, n = check_counts(prefer_b, votes)
    a, b = np.asarray(distance_a, dtype=float), np.asarray(distance_b, dtype=float)
    if a.shape != k.shape or b.shape != k.shape:
        raise InputError(f"{len(k)} triplets, but distances of shape {a.shape} and {b.shape}")
    wrong = np.flatnonzero(np.isnan(a) | np.isnan(b))
    if wrong.size:
        raise InputError(f"the metric gives no number for {wrong.size} triplets, the first is row {wrong[0]}")
    return np.where(a == b, 0.5, np.where(b < a, k / n, 1 - k / n))


def two_afc(prefer_b: ArrayLike, votes: ArrayLike, distance_a: ArrayLike, distance_b: ArrayLike) -> float:
    """The 2AFC score: the mean over triplets of `agreeing_share` (Zhang et al. 2018, section 4)."""
    return float(agreeing_share(prefer_b, votes, distance_a, distance_b).mean())


def majority_agreement(prefer_b: ArrayLike, votes: ArrayLike, distance_a: ArrayLike, distance_b: ArrayLike) -> Floats:
    """`(T,)` 1 where the metric chooses what most votes chose, 0 where not, 1/2 where its distances are equal.

    NaN where the votes are tied: there is no majority to agree with, and `bootstrap_mean` leaves NaN out. The mean is
    the accuracy against the majority's label; unlike `two_afc`, it counts a 3 to 2 triplet as much as a 5 to 0 one.
    """
    share = agreeing_share(prefer_b, votes, distance_a, distance_b)
    tied = 2 * np.asarray(prefer_b, dtype=float) == np.asarray(votes, dtype=float)
    undecided = np.asarray(distance_a, dtype=float) == np.asarray(distance_b, dtype=float)
    return np.where(tied, np.nan, np.where(undecided, 0.5, share > 0.5))


def bootstrap_mean(
    values: ArrayLike, groups: ArrayLike, seed: int = 1, replicates: int = 2000, weights: ArrayLike | None = None
) -> Estimate:
    """The mean of `values` `(T,)` with a percentile interval that resamples whole `groups` `(T,)`.

    Triplets of one photograph are alike, so photographs are resampled, not triplets (Davison and Hinkley 1997, section
    3.8). NaN values are left out; with fewer than two groups the interval is NaN. `weights` `(T,)` > 0, such as
    votes, make it a weighted mean, whose weights are resampled with the values.
    """
    numbers, labels = np.asarray(values, dtype=float), np.asarray(groups)
    if numbers.shape != labels.shape or numbers.ndim != 1:
        raise InputError(f"values of shape {numbers.shape} with groups of shape {labels.shape}; expected (T,) and (T,)")
    heavy = np.ones(numbers.shape) if weights is None else np.asarray(weights, dtype=float)
    if heavy.shape != numbers.shape or not (heavy > 0).all():
        raise InputError(
            f"weights of shape {heavy.shape} for values of shape {numbers.shape}; expected as many, all > 0"
        )
    there = ~np.isnan(numbers)
    numbers, heavy = numbers[there], heavy[there]
    if not numbers.size:
        return Estimate(np.nan, np.nan, np.nan, 0)
    _, members = np.unique(labels[there], return_inverse=True)
    sizes = np.bincount(members, weights=heavy)
    sums = np.bincount(members, weights=heavy * numbers)
    mean = float(np.average(numbers, weights=heavy))
    if len(sizes) < 2:
        return Estimate(mean, np.nan, np.nan, numbers.size)
    random = np.random.default_rng(seed)
    at_once = max(1, DRAWS_AT_ONCE // len(sizes))
    means = []
    for start in range(0, replicates, at_once):
        drawn = random.integers(0, len(sizes), (min(at_once, replicates - start), len(sizes)))  # (replicates, groups)
        means.append(sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1))
    low, high = percentile_interval(np.concatenate(means))
    return Estimate(mean, float(low), float(high), numbers.size)


def paired_difference(
    first: ArrayLike, second: ArrayLike, groups: ArrayLike, seed: int = 1, replicates: int = 2000,
    weights: ArrayLike | None = None,
) -> Estimate:  # fmt: skip
    """The mean of `first - second` on the same triplets, with the interval of `bootstrap_mean`."""
    one, two = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if one.shape != two.shape:
        raise InputError(f"a paired difference needs the same triplets twice; got shapes {one.shape} and {two.shape}")
    return bootstrap_mean(one - two, groups, seed, replicates, weights)


def percentile_interval(replicates: Floats) -> tuple[Any, Any]:
    """The 2.5th and 97.5th percentile over the first axis, NaN left out."""
    low, high = np.nanquantile(replicates, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return low, high


def robust_spread(values: Floats) -> float:
    """Half the range of the middle 68 %: a normal's standard deviation, deaf to outliers; 1 where all are equal."""
    low, high = np.quantile(values, [0.16, 0.84])
    return float((high - low) / 2 or values.std() or 1.0)


def check_counts(
    chosen: ArrayLike, votes: ArrayLike, what: str = "prefer b", name: str = "prefer_b"
) -> tuple[Floats, Floats]:
    """`chosen` and `votes` as `(T,)` arrays; raises InputError unless 0 <= chosen <= votes and votes > 0."""
    k, n = np.asarray(chosen, dtype=float), np.asarray(votes, dtype=float)
    if k.shape != n.shape or k.ndim != 1 or not k.size:
        raise InputError(f"{name} of shape {k.shape} with votes of shape {n.shape}; expected (T,) twice, T >= 1")
    wrong = np.flatnonzero(~((n > 0) & (n < np.inf) & (k >= 0) & (k <= n)))
    if wrong.size:
        row = wrong[0]
        raise InputError(
            f"row {row}: {k[row]:g} of {n[row]:g} votes {what}; expected 0 <= {name} <= votes, and votes > 0"
        )
    return k, n
