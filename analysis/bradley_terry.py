"""Bradley-Terry scores of stimuli or codecs from paired comparisons, with intervals over observers.

P(i beats j) = 1 / (1 + exp(s_j - s_i))     Bradley and Terry (1952)

Scores are natural log-odds: 1 apart means 73 % of the votes. They have no zero of their own and are centred here.
The maximum of the likelihood exists only where each item of a group has, by a chain of wins, beaten every other one
(Ford 1957), so that is tested first.
"""

from collections.abc import Iterator
from typing import NamedTuple

import choix
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from tqdm import tqdm

from analysis.agreement import Floats, percentile_interval
from study.design.scores import ALPHA, newton_scores, slope, wins_matrix
from study.errors import InputError

REPLICATES_AT_ONCE = 50
LEFT_OUT_AT_MOST = 0.05  # replicates that fall apart, as a share, before no interval is given


class Scores(NamedTuple):
    """Scores of K items and how they came about. Scores compare only within a group."""

    scores: Floats
    """`(K,)`, centred within each group."""
    low: Floats
    """`(K,)` 95 % interval; NaN where there is none."""
    high: Floats
    groups: NDArray[np.int64]
    """`(K,)` the items of one group are linked by comparisons."""
    one_sided: NDArray[np.bool_]
    """`(K,)` whether the item's group has an item that (with others) won or lost everything: its score is penalised."""
    replicates: int
    """Bootstrap replicates behind the interval."""
    penalised: int
    """Replicates that were one-sided and so penalised."""
    left_out: int
    """Replicates that fell into separate groups and were left out."""


def linked_groups(wins: Floats) -> tuple[int, NDArray[np.int64]]:
    """How many groups of items the comparisons link, and `(K,)` which item is in which."""
    count, labels = connected_components(csr_array(wins), directed=False)
    return int(count), labels.astype(np.int64)


def is_one_sided(wins: Floats) -> bool:
    """Whether some of the items never lost to the others, so that the likelihood has no maximum."""
    return int(connected_components(csr_array(wins), directed=True, connection="strong")[0]) > 1


def point_scores(wins: Floats, alpha: float = 0.0) -> Floats:
    """`(K,)` centred scores of linked items by `choix`: I-LSR (Maystre and Grossglauser 2015), or its MAP with `alpha`.

    Raises InputError where the items are not linked, or one-sided with alpha 0.
    """
    if linked_groups(wins)[0] > 1:
        raise InputError("Bradley-Terry: the items fall into groups that were never compared with one another")
    if alpha == 0:
        if is_one_sided(wins):
            raise InputError("Bradley-Terry: one-sided votes have no finite scores; use a penalty alpha")
        scores = choix.ilsr_pairwise_dense(wins, max_iter=10_000)
    else:
        pairs = [(int(i), int(j)) for i, j in np.argwhere(wins > 0) for _ in range(int(wins[i, j]))]
        scores = choix.opt_pairwise(len(wins), pairs, alpha=alpha, tol=1e-8)
        steepest = np.abs(slope(scores[None], wins[None], np.array([alpha]))).max()
        if steepest > 1e-4 * max(1.0, wins.sum()):  # choix does not say whether it converged
            raise RuntimeError("Bradley-Terry: choix did not converge")
    return scores - scores.mean()


def fit(winners: ArrayLike, losers: ArrayLike, observers: ArrayLike, items: int, seed: int = 1, replicates: int = 500,
        progress: str = "bootstrap") -> Scores:  # fmt: skip
    """Scores of `items` items from votes `(V,)`: which item won, which lost, who voted.

    Each group of linked items is fitted for itself; a one-sided group with the penalty ALPHA. The interval resamples
    observers with all their votes, not votes (Davison and Hinkley 1997, section 3.8): those of one person are alike.
    It is NaN with one observer, and where more than LEFT_OUT_AT_MOST of the replicates fall into more groups.
    """
    won, lost, people = np.asarray(winners, dtype=int), np.asarray(losers, dtype=int), np.asarray(observers)
    if won.size == 0 or won.shape != lost.shape or won.shape != people.shape:
        raise InputError("Bradley-Terry: expected as many winners as losers and observers, and at least one vote")
    wins = wins_matrix(won, lost, items)
    count, groups = linked_groups(wins)
    scores, one_sided = np.zeros(items), np.zeros(items, dtype=bool)
    for group in range(count):
        inside = np.flatnonzero(groups == group)
        part = wins[np.ix_(inside, inside)]
        one_sided[inside] = is_one_sided(part)
        scores[inside] = point_scores(part, ALPHA if one_sided[inside[0]] else 0.0)
    fitted, penalised, tried = [np.zeros((0, items))], 0, 0
    if len(np.unique(people)) > 1:
        tried = replicates
        for resampled in _resampled_wins(won, lost, people, items, seed, replicates, progress):
            whole = np.array([linked_groups(matrix)[0] == count for matrix in resampled])
            block, uneven = _replicate(resampled[whole], groups, one_sided)
            fitted.append(block)
            penalised += int(uneven.sum())
    kept = np.concatenate(fitted)
    low = high = np.full(items, np.nan)
    if len(kept) and tried - len(kept) <= LEFT_OUT_AT_MOST * tried:
        low, high = percentile_interval(kept)
    return Scores(scores, low, high, groups, one_sided, len(kept), penalised, tried - len(kept))


def _replicate(
    wins: Floats, groups: NDArray[np.int64], one_sided: NDArray[np.bool_]
) -> tuple[Floats, NDArray[np.bool_]]:
    """Scores `(R, K)` of resampled votes `(R, K, K)`, and which of the R a penalty was needed for."""
    scores = np.zeros(wins.shape[:2])
    penalised = np.zeros(len(wins), dtype=bool)
    for group in np.unique(groups):
        inside = np.flatnonzero(groups == group)
        part = wins[:, inside][:, :, inside]
        uneven = np.array([is_one_sided(matrix) for matrix in part], dtype=bool) | one_sided[inside[0]]
        scores[:, inside] = newton_scores(part, np.where(uneven, ALPHA, 0.0))
        penalised |= uneven
    return scores, penalised


def _resampled_wins(
    won: NDArray[np.int64], lost: NDArray[np.int64], people: NDArray, items: int, seed: int, replicates: int, what: str
) -> Iterator[Floats]:
    """Win matrices `(R, K, K)`, R replicates at a time: as many observers as there are, drawn with replacement."""
    _, voter = np.unique(people, return_inverse=True)
    count = int(voter.max()) + 1
    each = csr_array((np.ones(won.size), (voter, won * items + lost)), shape=(count, items * items))
    random = np.random.default_rng(seed)
    with tqdm(total=replicates, desc=what, unit="replicate") as bar:
        for start in range(0, replicates, REPLICATES_AT_ONCE):
            size = min(REPLICATES_AT_ONCE, replicates - start)
            drawn = random.integers(0, count, (size, count))
            times = np.stack([np.bincount(row, minlength=count) for row in drawn]).astype(float)  # (R, observers)
            yield (each.T @ times.T).T.reshape(size, items, items)
            bar.update(size)
