"""Is one metric really better than another on the same triplets: sign-flip permutation, and Holm's correction."""

import numpy as np
from numpy.typing import ArrayLike

from analysis.agreement import Floats
from study.errors import InputError

EXACT_GROUPS = 16  # up to 2^15 different ways to turn the signs: all of them are tried
AT_ONCE = 2_000_000  # signs drawn at once


def sign_flip_p(
    first: ArrayLike, second: ArrayLike, groups: ArrayLike, seed: int = 1, draws: int = 20_000,
    weights: ArrayLike | None = None,
) -> float:  # fmt: skip
    """The two-sided p value that `first` and `second` `(T,)`, scores of the same triplets, have the same mean.

    If the two metrics are exchangeable, the sum of differences of each photograph (`groups` `(T,)`) is as likely to be
    negative as positive, so its sign is turned at random (Fisher 1935): p is the share
    of ways to turn them whose mean is as far from 0 as the one seen. All ways are tried where at most EXACT_GROUPS
    photographs differ, else `draws` random ones, counting the one seen (Phipson and Smyth 2010), so that p is
    never 0. `weights` as in `bootstrap_mean`. NaN in either is left out. Raises InputError for unlike shapes.
    """
    one, two, labels = np.asarray(first, dtype=float), np.asarray(second, dtype=float), np.asarray(groups)
    heavy = np.ones(one.shape) if weights is None else np.asarray(weights, dtype=float)
    if not one.shape == two.shape == labels.shape == heavy.shape or one.ndim != 1:
        raise InputError(f"a paired test needs the same triplets; got shapes {one.shape}, {two.shape}, {labels.shape}")
    difference = one - two
    there = ~np.isnan(difference)
    if not there.any():
        raise InputError("a paired test needs at least one triplet that both metrics score")
    _, members = np.unique(labels[there], return_inverse=True)
    sums = np.bincount(members, weights=(heavy * difference)[there])
    noise = 1e-12 * np.abs(sums).sum()  # of adding in another order
    sums = sums[np.abs(sums) > noise]  # the others are 0 whatever their sign
    seen = abs(sums.sum()) - noise
    if len(sums) <= EXACT_GROUPS:
        if not sums.size:
            return 1.0
        ways = np.arange(2 ** (len(sums) - 1))  # the last sign stays: turning all changes no absolute value
        every = (ways[:, None] >> np.arange(len(sums))) & 1
        return float((np.abs(sums.sum() - 2 * (every @ sums)) >= seen).mean())
    random = np.random.default_rng(seed)
    at_once = max(1, AT_ONCE // len(sums))
    extreme = 0
    for start in range(0, draws, at_once):
        count = min(at_once, draws - start)
        bits = np.frombuffer(random.bytes(-(-count * len(sums) // 8)), dtype=np.uint8)
        turned = np.unpackbits(bits, count=count * len(sums)).reshape(count, len(sums))
        extreme += int((np.abs(sums.sum() - 2 * (turned @ sums)) >= seen).sum())
    return (extreme + 1) / (draws + 1)


def holm(p_values: ArrayLike, tests: int | None = None) -> Floats:
    """`(K,)` p values adjusted for having made K tests: below alpha, the chance of any false alarm is at most alpha.

    Holm (1979): the i-th smallest is multiplied by K + 1 - i, and none may be below a smaller one's. `tests`: how many
    there could have been, in place of K, where those that were made were chosen by what came out.
    """
    p = np.asarray(p_values, dtype=float)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise InputError(f"p values {p.tolist()}; expected numbers from 0 to 1")
    count = max(len(p), tests or 0)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * (count - np.arange(len(p)))))
    return adjusted
