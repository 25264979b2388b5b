"""Bootstrap replicates of many means from one set of draws, so that 100 intervals cost about as much as one.

Because the draws are shared, replicates can be subtracted from and averaged with one another: the interval of a
difference of two columns is the paired one.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.agreement import Estimate, Floats, percentile_interval
from study.errors import InputError

COUNTS_AT_ONCE = 4_000_000  # numbers of draws in memory together: 32 MB


class Sums(NamedTuple):
    """Weighted values of C columns summed over each of G groups; their mean is the ratio of the two totals."""

    groups: NDArray[np.int64]
    """`(G,)` numbers of the groups that have any, among all."""
    totals: Floats
    """`(G, C)`."""
    weights: Floats
    """`(G, C)`."""

    def mean(self) -> Floats:
        """`(C,)`; NaN where a column has no values."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.totals.sum(axis=0) / self.weights.sum(axis=0)


def group_sums(values: ArrayLike, weights: ArrayLike, groups: ArrayLike) -> Sums:
    """The sums of columns of `values` and `weights`, both `(T, C)`; NaN values are left out, as if of weight 0.

    `groups` `(T,)` are whole numbers from 0 on: the photograph of each triplet. Raises InputError for other shapes.
    """
    numbers, heavy, labels = np.asarray(values, float), np.asarray(weights, float), np.asarray(groups)
    if numbers.ndim != 2 or heavy.shape != numbers.shape or labels.shape != numbers.shape[:1]:
        raise InputError(f"values {numbers.shape}, weights {heavy.shape} and groups {labels.shape} do not fit together")
    there = ~np.isnan(numbers)
    heavy = np.where(there, heavy, 0.0)
    names, members = np.unique(labels, return_inverse=True)
    order = np.argsort(members, kind="stable")
    starts = np.searchsorted(members[order], np.arange(len(names)))
    parts = (np.where(there, numbers, 0.0) * heavy, heavy)
    totals, sizes = (np.add.reduceat(part[order], starts, axis=0) if len(names) else part for part in parts)
    return Sums(names.astype(np.int64), totals, sizes)


def replicate_means(parts: Sequence[Sums], groups: int, seed: int = 1, replicates: int = 2000) -> list[Floats]:
    """For each of `parts` the means `(replicates, C)` of its columns, when `groups` groups are drawn with replacement.

    All parts see the same draws: those of `agreement.bootstrap_mean` with this seed. NaN with fewer than two groups,
    and where a draw holds no value of a column.
    """
    found = [np.full((replicates, part.totals.shape[1]), np.nan) for part in parts]
    if groups < 2:
        return found
    weighted = [_distinct(part.weights) for part in parts]
    random = np.random.default_rng(seed)
    at_once = max(1, COUNTS_AT_ONCE // groups)
    for start in range(0, replicates, at_once):
        drawn = random.integers(0, groups, (min(at_once, replicates - start), groups))
        counts = np.stack([np.bincount(row, minlength=groups) for row in drawn]).astype(float)
        for means, part, (weights, column) in zip(found, parts, weighted, strict=True):
            mine = counts if len(part.groups) == groups else counts[:, part.groups]
            with np.errstate(invalid="ignore", divide="ignore"):
                means[start : start + len(drawn)] = (mine @ part.totals) / (mine @ weights)[:, column]
    return found


def estimate(value: float, replicates: Floats, n: int) -> Estimate:
    """`value` with the percentile interval of its replicates `(R,)`; NaN where there are none."""
    if np.isnan(replicates).all():
        return Estimate(value, np.nan, np.nan, n)
    low, high = percentile_interval(replicates)
    return Estimate(value, float(low), float(high), n)


def _distinct(columns: Floats) -> tuple[Floats, list[int]]:
    """The distinct columns of `(G, C)`, and which of them each column is: most columns share their weights."""
    places: dict[bytes, int] = {}
    which = [places.setdefault(column.tobytes(), len(places)) for column in columns.T]
    return np.stack([columns[:, which.index(place)] for place in places.values()], axis=1), which
