"""Which pairs would teach the most, from the scores so far or from two metrics that disagree.

The posterior of the scores is a Gaussian about their estimate (Laplace's approximation of Bradley-Terry). A vote on a
pair is worth the information, in nats, that it is expected to give about each condition's score, summed over the
conditions. That is the expected KL divergence of ASAP (Mikhailiuk et al. 2020, arXiv 2004.05691), whose posterior
treats scores as independent, too; here the covariance is full, so it has a closed form, and no pair is tried out.
Information about all scores jointly was tried and is worse: it favours the closest pairs, and intervals of scores in a
long chain of close pairs are wide.

The voting page's server shows a random design until each condition has PILOT votes on average; then it chooses
between sessions, from the votes of whom it believes:

    scores = newton_scores(wins[None], np.array([ALPHA]))[0]       # analysis.bradley_terry, as in the report
    best = active_pairs(posterior(wins, scores, ALPHA), pairs, session.trials, seed)

`wins` is `wins_matrix` over conditions, `pairs` the pairs of conditions that triplets show. The schedule then takes,
for each pair in `best`, the test triplet of that pair with the fewest votes, in place of the triplets with the fewest
of all. The report fits without a penalty wherever votes are not one-sided. Here ALPHA always stays, because the first
votes are one-sided, and an infinite score has no posterior; with votes enough for an interval it makes no difference.

Active choice has a price: a pair that luck made look decided is asked no more, so scores come out too far apart, and
intervals that take the pairs as given hold the truth too rarely (`benchmarks/active_choice.py` has the figures). It
is worth it where conditions spread over many logits. Where they are all alike, take the random design.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.special import expit, xlogy

Floats = NDArray[np.float64]
PILOT = 10  # votes a condition, on average; an earlier choice follows luck: its scores are further from the truth
CERTAIN = 1e-12  # nats; a pair that teaches less is as far away as this


class Posterior(NamedTuple):
    """What is known of K scores: a Gaussian, in natural log-odds."""

    mean: Floats
    """`(K,)`, centred."""
    covariance: Floats
    """`(K, K)` of the scores less their mean."""


def posterior(wins: Floats, scores: ArrayLike, alpha: float) -> Posterior:
    """The posterior after `wins` `(K, K)` (how often row beat column) at the penalised estimate `scores` `(K,)`.

    `alpha` > 0 is the penalty alpha sum(s²) that the scores were fitted with: a normal prior of variance 1 / (2 alpha).
    """
    assert alpha > 0
    mean = np.asarray(scores, dtype=float)
    precision = information_matrix(wins + wins.T, mean) + 2 * alpha * np.eye(len(mean))
    covariance = np.linalg.inv(precision)
    covariance = covariance - covariance.mean(axis=0)
    covariance = covariance - covariance.mean(axis=1, keepdims=True)
    return Posterior(mean - mean.mean(), covariance)


def information_matrix(votes: Floats, scores: Floats) -> Floats:
    """`(K, K)` Fisher information of `votes` `(K, K)`, symmetric: how many on each pair, at Bradley-Terry `scores`.

    A vote on i and j gives P (1 - P) of information on s_i - s_j, P = P(i beats j).
    """
    chance = expit(scores[:, None] - scores[None, :])
    weights = votes * chance * (1 - chance)
    return np.diag(weights.sum(axis=1)) - weights


def expected_information(belief: Posterior, pairs: NDArray[np.int64]) -> Floats:
    """`(P,)` nats that one vote on each of the `pairs` `(P, 2)` is expected to give about the scores, summed over them.

    A vote on i and j with information w = E[P (1 - P)] on d = s_i - s_j, variance v, leaves the score s_k the share
    1 - w cov(s_k, d)² / ((1 + w v) var(s_k)) of its variance. The expectation over d is MacKay's (1992): the logistic
    function, averaged over a Gaussian, is nearly the logistic function of d / sqrt(1 + pi v / 8).
    """
    mean, covariance = belief
    first, second = pairs.T
    shared = covariance[:, first] - covariance[:, second]  # (K, P), cov(s_k, d)
    variance = np.maximum(covariance[first, first] + covariance[second, second] - 2 * covariance[first, second], 0)
    flatter = 1 / np.sqrt(1 + np.pi * variance / 8)
    chance = expit(flatter * (mean[first] - mean[second]))
    weight = flatter * chance * (1 - chance)  # (P,), the slope of the averaged logistic function
    own = np.maximum(np.diag(covariance), 1e-300)[:, None]
    told = weight / (1 + weight * variance) * shared**2 / own  # (K, P), below 1
    return -0.5 * np.log1p(-np.minimum(told, 1 - 1e-12)).sum(axis=0)


def active_pairs(belief: Posterior, pairs: NDArray[np.int64], number: int, seed: int) -> NDArray[np.int64]:
    """Places `(N,)` in `pairs` `(P, 2)` of the `number` to show next (fewer where there are no more), best first.

    In batches, as ASAP's: the spanning tree of the conditions with the most information, so that K - 1 votes that
    are asked for at once tell of all conditions; then the best tree of the pairs that are left. `seed` breaks ties.
    """
    gains = expected_information(belief, pairs)
    gains *= 1 + 1e-6 * np.random.default_rng(seed).random(len(gains))
    return best_trees(gains, pairs, len(belief.mean), number)


def disagreement(chances: ArrayLike) -> Floats:
    """`(P,)` nats, in [0, ln M], that a vote on each pair is expected to give on which of M metrics is right.

    `chances` `(M, P)` is the chance in [0, 1] that each metric gives to a vote for b, from a link fitted to votes
    (`analysis.psychometric.Preference.probability`). This is their Jensen-Shannon divergence, 0 where they agree.
    `study.design.designs.disagreeing` chooses the pairs of a crop by it.
    """
    p = np.asarray(chances, dtype=float)
    assert p.ndim == 2 and ((p >= 0) & (p <= 1)).all()
    return np.maximum(_entropy(p.mean(axis=0)) - _entropy(p).mean(axis=0), 0)


def best_trees(gains: Floats, pairs: NDArray[np.int64], items: int, number: int) -> NDArray[np.int64]:
    """Places `(N,)` in `pairs` `(P, 2)`, all different, of the `number` that are chosen, tree by tree, best first.

    A tree is the spanning tree of the `items` (forest, where pairs do not link them all) with the largest gains.
    """
    low, high = np.sort(pairs, axis=1).T
    keys = low * items + high
    assert len(np.unique(keys)) == len(keys), "a pair is offered twice"
    order = np.argsort(keys)
    left = np.ones(len(pairs), dtype=bool)
    chosen: list[int] = []
    while len(chosen) < min(number, len(pairs)):
        cost = 1 / np.maximum(gains[left], CERTAIN)
        tree = minimum_spanning_tree(coo_array((cost, (low[left], high[left])), shape=(items, items)).tocsr()).tocoo()
        found = np.sort(np.stack([tree.row, tree.col]), axis=0)
        places = order[np.searchsorted(keys[order], found[0].astype(np.int64) * items + found[1])]
        chosen += places[np.argsort(-gains[places], kind="stable")].tolist()
        left[places] = False
    return np.array(chosen[:number], dtype=np.int64)


def _entropy(p: Floats) -> Floats:
    return -xlogy(p, p) - xlogy(1 - p, 1 - p)
