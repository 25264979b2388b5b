import choix
import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.bradley_terry import fit, is_one_sided, linked_groups, point_scores
from study.design.scores import ALPHA, newton_scores
from study.errors import InputError

# Cited (row) by citing (column): Biometrika, Communications in Statistics, JASA, JRSS-B (Stigler 1994).
JOURNALS = np.array([[0, 730, 498, 221], [33, 0, 68, 17], [320, 813, 0, 142], [284, 276, 325, 0]], dtype=float)

# American League East 1987 (Agresti, Categorical Data Analysis): wins at home and wins away of the row against the
# column. Milwaukee, Detroit, Toronto, New York, Boston, Cleveland, Baltimore.
HOME = [
    [0, 4, 4, 4, 6, 4, 6],
    [3, 0, 4, 4, 6, 6, 4],
    [2, 4, 0, 2, 4, 4, 6],
    [3, 5, 2, 0, 4, 4, 6],
    [5, 2, 3, 4, 0, 5, 6],
    [2, 3, 3, 4, 4, 0, 2],
    [2, 1, 1, 2, 1, 3, 0],
]
HOME_LOST = [
    [0, 3, 2, 3, 1, 2, 0],
    [3, 0, 2, 3, 0, 1, 3],
    [5, 3, 0, 4, 3, 2, 0],
    [3, 1, 5, 0, 3, 2, 1],
    [1, 5, 3, 2, 0, 2, 0],
    [5, 3, 4, 3, 2, 0, 4],
    [5, 5, 6, 4, 6, 4, 0],
]
BASEBALL = np.array(HOME, dtype=float) + np.array(HOME_LOST, dtype=float).T


def votes_of(wins: np.ndarray, observers: int = 5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    winners, losers = np.argwhere(wins > 0).repeat(wins[wins > 0].astype(int), axis=0).T
    return winners, losers, np.arange(len(winners)) % observers


def test_journal_citations_have_their_known_scores():
    scores = point_scores(JOURNALS)
    assert scores - scores[0] == pytest.approx([0, -2.9491, -0.4796, 0.2690], abs=5e-5)


def test_baseball_has_its_known_scores():
    scores = point_scores(BASEBALL)
    assert scores - scores[-1] == pytest.approx([1.581, 1.436, 1.294, 1.248, 1.108, 0.684, 0], abs=5e-4)


@pytest.mark.parametrize("wins", [JOURNALS, BASEBALL], ids=["journals", "baseball"])
def test_newton_and_choix_and_logistic_regression_agree(wins):
    ours = newton_scores(wins[None], np.zeros(1))[0]
    assert ours == pytest.approx(point_scores(wins), abs=1e-6)
    rows, counts = [], []
    for i, j in zip(*np.triu_indices(len(wins), 1), strict=True):
        row = np.zeros(len(wins))
        row[i], row[j] = 1, -1
        rows.append(row[1:])  # the first item is the origin
        counts.append((wins[i, j], wins[j, i]))
    model = sm.GLM(np.array(counts), np.array(rows), family=sm.families.Binomial()).fit()
    assert (ours - ours[0])[1:] == pytest.approx(model.params, abs=1e-6)


def test_newton_has_the_penalty_of_choix():
    wins = np.array([[0, 5, 3], [0, 0, 4], [0, 1, 0]], dtype=float)  # the first never lost
    winners, losers, _ = votes_of(wins)
    theirs = choix.opt_pairwise(3, list(zip(winners.tolist(), losers.tolist(), strict=True)), alpha=ALPHA, tol=1e-10)
    assert newton_scores(wins[None], np.array([ALPHA]))[0] == pytest.approx(theirs - theirs.mean(), abs=1e-5)
    assert point_scores(wins, ALPHA) == pytest.approx(theirs - theirs.mean(), abs=1e-5)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 7).flatmap(lambda k: st.lists(st.integers(1, 40), min_size=k * k, max_size=k * k)))
def test_at_the_maximum_each_item_won_as_often_as_its_score_expects(numbers):
    """The likelihood equations of Bradley and Terry; and turning all votes round turns all scores round."""
    k = int(len(numbers) ** 0.5)
    wins = np.array(numbers, dtype=float).reshape(k, k)
    np.fill_diagonal(wins, 0)
    scores = newton_scores(np.stack([wins, wins.T]), np.zeros(2))
    chance = 1 / (1 + np.exp(scores[0][None, :] - scores[0][:, None]))
    assert ((wins + wins.T) * chance).sum(axis=1) - np.diag((wins + wins.T) * chance) == pytest.approx(wins.sum(axis=1))
    assert scores[0] == pytest.approx(-scores[1], abs=1e-6)
    assert scores[0].sum() == pytest.approx(0, abs=1e-9)


def test_two_items_are_as_far_apart_as_the_log_odds():
    assert point_scores(np.array([[0.0, 30], [10, 0]])) == pytest.approx([np.log(3) / 2, -np.log(3) / 2])


def test_separate_groups_are_fitted_apart_and_named():
    wins = np.zeros((4, 4))
    wins[0, 1], wins[1, 0], wins[2, 3], wins[3, 2] = 30, 10, 20, 20
    with pytest.raises(InputError, match="never compared"):
        point_scores(wins)
    found = fit(*votes_of(wins), items=4, replicates=100)
    assert found.groups.tolist() == [0, 0, 1, 1]
    assert found.scores == pytest.approx([np.log(3) / 2, -np.log(3) / 2, 0, 0])
    assert linked_groups(wins)[0] == 2


def test_one_sided_votes_are_refused_without_a_penalty_and_told_with_one():
    wins = np.array([[0.0, 10], [0, 0]])
    assert is_one_sided(wins)
    with pytest.raises(InputError, match="one-sided"):
        point_scores(wins)
    found = fit(*votes_of(wins), items=2, replicates=50)
    assert found.one_sided.all() and np.isfinite(found.scores).all() and found.scores[0] > 1
    assert found.penalised == 50


def test_one_observer_gives_scores_without_an_interval():
    winners, losers, observers = votes_of(JOURNALS[:3, :3], observers=1)
    found = fit(winners, losers, observers, 3)
    assert np.isnan(found.low).all() and np.isfinite(found.scores).all() and found.replicates == 0


def test_no_interval_where_resampling_loses_a_comparison_too_often():
    """Only one of ten observers compared the third item: without that observer it is linked to nothing."""
    wins = np.array([[0, 20, 0], [20, 0, 0], [0, 0, 0]], dtype=float)
    winners, losers, observers = votes_of(wins, observers=9)
    more = np.array([0, 2, 2, 0])
    found = fit(np.r_[winners, more[:2]], np.r_[losers, more[2:]], np.r_[observers, 9, 9], 3, replicates=200)
    assert found.left_out > 10 and np.isnan(found.low).all()


def test_intervals_hold_what_they_promise():
    """Of 40 simulated studies, about 95 % of the intervals contain the true difference (observers all alike)."""
    random = np.random.default_rng(5)
    truth = np.array([-0.6, 0.0, 0.6])
    hits = []
    for study in range(40):
        i, j = random.integers(0, 3, 600), random.integers(0, 3, 600)
        i, j = i[i != j], j[i != j]
        won = random.random(len(i)) < 1 / (1 + np.exp(truth[j] - truth[i]))
        found = fit(np.where(won, i, j), np.where(won, j, i), np.arange(len(i)) % 20, 3, seed=study, replicates=200)
        hits.append((found.low <= truth) & (truth <= found.high))
    assert 0.85 <= np.mean(hits) <= 1


def test_observers_who_differ_widen_the_interval():
    """Resampling observers sees what resampling votes would not: people with a taste of their own."""
    same = fit([0, 1] * 200, [1, 0] * 200, np.repeat(np.arange(20), 20), 2, replicates=300)
    taste = np.repeat(np.arange(20) % 2, 20)
    differ = fit(taste, 1 - taste, np.repeat(np.arange(20), 20), 2, replicates=300)
    assert same.high[0] - same.low[0] < 1e-6 < 0.5 < differ.high[0] - differ.low[0]


def test_the_same_seed_gives_the_same_interval():
    one, two, other = (fit(*votes_of(BASEBALL), items=7, seed=seed, replicates=60) for seed in (1, 1, 2))
    assert np.array_equal(one.low, two.low) and not np.array_equal(one.low, other.low)


def test_no_votes_are_refused():
    with pytest.raises(InputError, match="at least one vote"):
        fit([], [], [], 2)


def test_the_test_data_are_whole():
    """78 games a team in the division, 13 against each rival, as the league played."""
    assert (BASEBALL + BASEBALL.T).sum(axis=1).tolist() == [78] * 7
