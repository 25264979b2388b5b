"""Active choice: its posterior is the report's, its figures are right, and it saves votes."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import expit
from scipy.stats import norm

from analysis.bradley_terry import linked_groups, point_scores
from benchmarks import active_choice
from study.design.information import Posterior, best_tree, disagreement, expected_information, posterior
from study.design.scores import ALPHA, newton_scores, wins_matrix


def every_pair(items):
    return np.array(list(itertools.combinations(range(items), 2)))


def some_wins(items=6, seed=1):
    wins = np.random.default_rng(seed).poisson(2.0, (items, items)).astype(float)
    np.fill_diagonal(wins, 0)
    return wins


def test_the_posterior_is_about_the_report_s_scores_and_as_sharp_as_its_likelihood():
    """The inverse covariance is the second derivative, by finite differences, of what the report maximises."""
    wins = some_wins()
    scores = point_scores(wins, ALPHA)
    belief = posterior(wins, newton_scores(wins[None], np.array([ALPHA]))[0], ALPHA)
    assert np.allclose(belief.mean, scores, atol=1e-5)

    def loss(s):
        return -(wins * np.log(expit(s[:, None] - s[None]))).sum() + ALPHA * (s**2).sum()

    step, eye = 1e-3, np.eye(6)

    def bend(a, b):
        ends = [loss(scores + step * (a + b)), loss(scores - step * (a + b))]
        return (sum(ends) - loss(scores + step * (a - b)) - loss(scores - step * (a - b))) / (4 * step**2)

    curvature = np.array([[bend(a, b) for b in eye] for a in eye])
    centre = eye - 1 / 6
    assert np.allclose(belief.covariance, centre @ np.linalg.inv(curvature) @ centre, atol=1e-5)


@pytest.mark.parametrize(("difference", "variance"), [(0, 0.1), (1, 1), (3, 4), (-2, 0.5), (0, 50), (6, 50)])
def test_information_of_two_items_is_worked_out_by_integration(difference, variance):
    """Two scores are one number, d / 2 and -d / 2: each learns -ln(1 - w v / (1 + w v)) / 2, w by integration."""
    belief = Posterior(np.array([difference / 2, -difference / 2]), variance / 4 * np.array([[1.0, -1], [-1, 1]]))
    sigma = variance**0.5

    def weighed(z):
        chance = expit(difference + sigma * z)
        return norm.pdf(z) * chance * (1 - chance)

    w = quad(weighed, -12, 12, limit=200, points=[-difference / sigma])[0]
    told = expected_information(belief, np.array([[0, 1]]))[0]
    assert told == pytest.approx(np.log1p(w * variance), rel=0.1)  # MacKay's approximation
    if variance <= 1:
        assert told == pytest.approx(np.log1p(w * variance), rel=0.03)


def test_information_is_the_fall_of_the_log_variances_when_a_vote_is_added():
    """The closed form against the whole matrix inverted with the vote's information in it."""
    wins = some_wins()
    belief = posterior(wins, newton_scores(wins[None], np.array([ALPHA]))[0], ALPHA)
    for (i, j), told in zip(every_pair(6), expected_information(belief, every_pair(6)), strict=True):
        v = belief.covariance[i, i] + belief.covariance[j, j] - 2 * belief.covariance[i, j]
        flatter = 1 / np.sqrt(1 + np.pi * v / 8)
        chance = expit(flatter * (belief.mean[i] - belief.mean[j]))
        vote = np.zeros((6, 6))
        vote[[i, j], [i, j]], vote[[i, j], [j, i]] = 1, -1
        after = np.linalg.pinv(np.linalg.pinv(belief.covariance) + flatter * chance * (1 - chance) * vote)
        assert told == pytest.approx(0.5 * np.log(np.diag(belief.covariance) / np.diag(after)).sum(), rel=1e-6)


def test_what_was_asked_often_or_is_decided_teaches_less():
    """Of pairs known equally well, equals teach more than unequals; of equals, those that were asked less."""
    belief = Posterior(np.array([-2.0, -2.0, 2.0, 2.0]), np.eye(4) - 1 / 4)
    told = expected_information(belief, np.array([[0, 1], [2, 3], [0, 2], [1, 3]]))
    assert told[0] == pytest.approx(told[1]) and told[2] == pytest.approx(told[3]) and told[0] > 2 * told[2]
    votes = np.ones((4, 4)) - np.eye(4)
    votes[0, 1] = votes[1, 0] = 20
    told = expected_information(posterior(votes, np.zeros(4), ALPHA), np.array([[0, 1], [2, 3]]))
    assert told[1] > 2 * told[0]


def test_each_group_is_centred_for_itself_and_knows_what_it_would_know_alone():
    """Two groups that are never compared: the same numbers as each alone, and nothing between them."""
    wins, groups = np.zeros((9, 9)), np.array([0, 1, 0, 1, 0, 0, 1, 1, 1])
    one, other = np.flatnonzero(groups == 0), np.flatnonzero(groups == 1)
    wins[np.ix_(one, one)], wins[np.ix_(other, other)] = some_wins(4), some_wins(5)
    scores = newton_scores(wins[None], np.array([ALPHA]))[0]
    belief = posterior(wins, scores, ALPHA, groups)
    assert np.all(belief.covariance[np.ix_(one, other)] == 0)
    for inside in (one, other):
        part = wins[np.ix_(inside, inside)]
        alone = posterior(part, newton_scores(part[None], np.array([ALPHA]))[0], ALPHA)
        assert np.allclose(belief.mean[inside], alone.mean, atol=1e-6)
        assert np.allclose(belief.covariance[np.ix_(inside, inside)], alone.covariance, rtol=1e-5, atol=1e-8)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 12), st.integers(0, 999), st.data())
def test_a_batch_is_a_spanning_tree(items, seed, data):
    """As many pairs as it takes, all different, that link what all the pairs link; the best first."""
    pairs = every_pair(items)
    kept = data.draw(st.lists(st.booleans(), min_size=len(pairs), max_size=len(pairs)).filter(any))
    random = np.random.default_rng(seed)
    pairs = random.permutation(pairs[kept])
    pairs = np.where(random.random(len(pairs))[:, None] < 0.5, pairs[:, ::-1], pairs)
    gains = random.random(len(pairs))
    chosen = best_tree(gains, pairs, items)
    groups = linked_groups(wins_matrix(*pairs.T, items))[0]
    assert len(set(chosen.tolist())) == len(chosen) == items - groups
    assert linked_groups(wins_matrix(*pairs[chosen].T, items))[0] == groups
    assert (np.diff(gains[chosen]) <= 0).all() and gains[chosen[0]] == gains.max()


def test_the_tree_is_the_best_of_all_trees():
    """Of the 16 spanning trees of four items, by hand: the three best pairs that make no ring."""
    gains = dict(zip(map(tuple, every_pair(4).tolist()), [9.0, 8, 1, 7, 2, 3], strict=True))  # 12 makes a ring
    chosen = best_tree(np.array(list(gains.values())), every_pair(4), 4)
    assert every_pair(4)[chosen].tolist() == [[0, 1], [0, 2], [2, 3]]


def test_disagreement_is_the_jensen_shannon_divergence():
    """By hand: agreement 0; certain opposites ln 2; .9 against .1 is ln 2 less the entropy of .9."""
    told = disagreement([[0.7, 1.0, 0.9], [0.7, 0.0, 0.1]])
    entropy = -0.9 * np.log(0.9) - 0.1 * np.log(0.1)
    assert told == pytest.approx([0, np.log(2), np.log(2) - entropy])


def test_fewer_votes_are_needed_where_scores_spread_and_no_more_where_not():
    """Five seeds of the benchmark's 20, to 380 votes of the random design: the same inequalities, of the means."""
    for logits, most in active_choice.RANGES.items():
        runs = [[active_choice.simulate(logits, seed, active, 475) for active in (False, True)] for seed in range(5)]
        assert np.mean([active_choice.share_of_votes(*both, 380) for both in runs]) <= most
