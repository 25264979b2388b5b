"""Bradley-Terry scores of many win matrices at once, for the report's resamplings and for choosing pairs.

P(i beats j) = 1 / (1 + exp(s_j - s_i))     Bradley and Terry (1952)
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, log_expit

Floats = NDArray[np.float64]
ALPHA = 0.01  # penalty alpha * sum(s²): a normal prior with standard deviation 1 / sqrt(2 alpha) = 7 log-odds
NEWTON_STEPS = 200


def wins_matrix(winners: ArrayLike, losers: ArrayLike, items: int) -> Floats:
    """`(K, K)` how often row beat column."""
    wins = np.zeros((items, items))
    np.add.at(wins, (np.asarray(winners, dtype=int), np.asarray(losers, dtype=int)), 1)
    return wins


def newton_scores(wins: Floats, alpha: Floats) -> Floats:
    """`(R, K)` centred scores of R win matrices `(R, K, K)` at once, with penalties `alpha` `(R,)`.

    Newton's method with halved steps on the concave log-likelihood. With a penalty above 0 there is always one answer:
    linked items are centred among themselves, and an item without votes has score 0. Without one, items that a matrix
    does not link come out meaningless or diverge: test before. Raises RuntimeError where it does not converge.
    """
    count, items = wins.shape[:2]
    scores = np.zeros((count, items))
    games = wins + wins.transpose(0, 2, 1)
    tolerance = 1e-9 * np.maximum(1.0, wins.sum(axis=(1, 2)))
    value = log_likelihood(scores, wins, alpha)
    for _ in range(NEWTON_STEPS):
        uphill = slope(scores, wins, alpha)
        open_ = np.abs(uphill).max(axis=1) > tolerance
        if not open_.any():
            return scores - scores.mean(axis=1, keepdims=True)
        chance = expit(scores[:, :, None] - scores[:, None, :])
        curvature = -games * chance * (1 - chance)  # (R, K, K), the negative Hessian without its diagonal
        diagonal = 2 * alpha[:, None] - curvature.sum(axis=2)
        curvature[:, range(items), range(items)] += diagonal
        curvature += curvature[:, range(items), range(items)].mean(axis=1)[:, None, None] / items  # fixes the free sum
        step = np.linalg.solve(curvature, uphill[:, :, None])[:, :, 0]
        step *= np.minimum(1, 4 / np.maximum(np.abs(step).max(axis=1, keepdims=True), 1e-300))
        for _ in range(30):
            worse = open_ & (log_likelihood(scores + step, wins, alpha) < value - 1e-9 * np.abs(value))
            if not worse.any():
                break
            step[worse] /= 2
        scores = np.where(open_[:, None], scores + step, scores)
        value = log_likelihood(scores, wins, alpha)
    raise RuntimeError("Bradley-Terry: Newton's method did not converge")


def log_likelihood(scores: Floats, wins: Floats, alpha: Floats) -> Floats:
    """`(R,)`, with the penalty -alpha sum(s²) that `choix.opt_pairwise` uses."""
    difference = scores[:, :, None] - scores[:, None, :]
    return (wins * log_expit(difference)).sum(axis=(1, 2)) - alpha * (scores**2).sum(axis=1)


def slope(scores: Floats, wins: Floats, alpha: Floats) -> Floats:
    """`(R, K)` the gradient of `log_likelihood`."""
    upset = wins * expit(scores[:, None, :] - scores[:, :, None])  # wins times the chance that they were losses
    return upset.sum(axis=2) - upset.sum(axis=1) - 2 * alpha[:, None] * scores
