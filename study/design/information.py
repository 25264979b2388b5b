"""Which pairs would teach the most, from the scores so far or from two metrics that disagree.

The posterior of the scores is a Gaussian about their estimate (Laplace's approximation of Bradley-Terry). A vote on a
pair is worth the information, in nats, that it is expected to give about each condition's score, summed over the
conditions. That is the expected KL divergence of ASAP (Mikhailiuk et al. 2020, arXiv 2004.05691), whose posterior
treats scores as independent, too; here the covariance is full, so it has a closed form, and no pair is tried out.
Information about all scores jointly was tried and is worse: it favours the closest pairs, and intervals of scores in a
long chain of close pairs are wide.

Active choice has a price: a pair that luck made look decided is asked no more, so scores come out too far apart, and
intervals that take the pairs as given hold the truth too rarely (`benchmarks/active_choice.py` has the figures). It
is worth it where conditions spread over many logits. Where they are all alike, take the random design.
`study.design.chosen` chooses by it in a running study.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.special import expit, xlogy

Floats = NDArray[np.float64]
CERTAIN = 1e-12  # nats; a pair that teaches less is as far away as this


class Posterior(NamedTuple):
    """What is known of K scores: a Gaussian, in natural log-odds."""

    mean: Floats
    """`(K,)`, centred."""
    covariance: Floats
    """`(K, K)` of the scores less the mean of their group; 0 between groups."""


def posterior(wins: Floats, scores: ArrayLike, alpha: float, groups: ArrayLike | None = None) -> Posterior:
    """The posterior after `wins` `(K, K)` (how often row beat column) at the penalised estimate `scores` `(K,)`.

    `alpha` > 0 is the penalty alpha sum(s²) that the scores were fitted with: a normal prior of variance 1 / (2 alpha).
    `groups` `(K,)` says which scores can be compared; without it all can. No vote tells how far apart groups are, so
    each is centred for itself, as in the report.
    """
    assert alpha > 0
    mean = np.asarray(scores, dtype=np.float64)
    _, label, size = np.unique(
        np.zeros(len(mean)) if groups is None else np.asarray(groups), return_inverse=True, return_counts=True
    )
    belongs = (label[:, None] == np.arange(len(size))).astype(float)  # (K, groups)

    def centred(values: Floats) -> Floats:
        return values - belongs @ ((belongs.T @ values).T / size).T

    precision = information_matrix(wins + wins.T, mean) + 2 * alpha * np.eye(len(mean))
    covariance = centred(np.asarray(np.linalg.inv(precision), dtype=np.float64))
    return Posterior(centred(mean), centred(covariance.T))


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


def disagreement(chances: ArrayLike) -> Floats:
    """`(P,)` nats, in [0, ln M], that a vote on each pair is expected to give on which of M metrics is right.

    `chances` `(M, P)` is the chance in [0, 1] that each metric gives to a vote for b, from a link fitted to votes
    (`analysis.psychometric.Preference.probability`). This is their Jensen-Shannon divergence, 0 where they agree.
    `study.design.designs.disagreeing` chooses the pairs of a crop by it.
    """
    p = np.asarray(chances, dtype=float)
    assert p.ndim == 2 and ((p >= 0) & (p <= 1)).all()
    return np.maximum(_entropy(p.mean(axis=0)) - _entropy(p).mean(axis=0), 0)


def best_tree(gains: Floats, pairs: NDArray[np.int64], items: int) -> NDArray[np.int64]:
    """Places in `pairs` `(P, 2)` of the spanning tree of the `items` with the largest `gains` `(P,)`, best first.

    A forest, where pairs do not link all items.
    """
    low, high = np.sort(pairs, axis=1).T
    keys = low * items + high
    assert len(np.unique(keys)) == len(keys), "a pair is offered twice"
    cost = 1 / np.maximum(gains, CERTAIN)
    tree = minimum_spanning_tree(coo_array((cost, (low, high)), shape=(items, items)).tocsr()).tocoo()
    order = np.argsort(keys)
    ends = np.sort(np.stack([tree.row, tree.col]).astype(np.int64), axis=0)
    places = order[np.searchsorted(keys[order], ends[0] * items + ends[1])]
    return places[np.argsort(-gains[places], kind="stable")]


def _entropy(p: Floats) -> Floats:
    return -xlogy(p, p) - xlogy(1 - p, 1 - p)
