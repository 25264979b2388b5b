"""The permutation test is exact where it can be, and Holm's correction is statsmodels'."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import permutation_test
from statsmodels.stats.multitest import multipletests

from analysis.significance import holm, sign_flip_p
from study.errors import InputError


def test_small_cases_by_hand():
    """Three photographs for the first: 2 of 8 ways to turn signs are as far from 0. With 1, -1, 4: sums 6, 4, 4, 2."""
    assert sign_flip_p([2, 3, 4], [1, 1, 1], ["a", "b", "c"]) == 2 / 8
    assert sign_flip_p([2, 1, 5], [1, 2, 1], ["a", "b", "c"]) == 6 / 8
    assert sign_flip_p([1, 1], [1, 1], ["a", "b"]) == 1
    assert sign_flip_p([1, np.nan], [0, 5], ["a", "b"]) == 1  # one photograph: nothing can be said


@settings(deadline=None)
@given(st.lists(st.integers(-5, 5), min_size=1, max_size=8))
def test_exact_p_is_the_share_of_all_ways(differences):
    d = np.array(differences, dtype=float)
    sums = [abs(np.dot(signs, d)) for signs in product([1, -1], repeat=len(d))]
    expected = np.mean([s >= abs(d.sum()) - 1e-9 for s in sums])
    assert sign_flip_p(0.1 * d, 0 * d, np.arange(len(d))) == pytest.approx(expected)


def test_agrees_with_scipy():
    """Exactly for 12 photographs, within chance for 40, one triplet each."""
    random = np.random.default_rng(1)
    for count, tolerance in ((12, 1e-12), (40, 0.01)):
        first, second = random.normal(0.4, 1, count), random.normal(0, 1, count)
        theirs = permutation_test(
            (first, second), lambda x, y, axis: np.mean(x - y, axis=axis), permutation_type="samples", vectorized=True,
            n_resamples=20_000, rng=2,
        )  # fmt: skip
        assert sign_flip_p(first, second, np.arange(count)) == pytest.approx(theirs.pvalue, abs=tolerance)


def test_photographs_are_turned_whole():
    """Ten equal triplets of a photograph are one piece of evidence, and weights are copies."""
    first, second = np.random.default_rng(3).normal(size=(2, 9))
    groups = np.arange(9)
    one = sign_flip_p(first, second, groups)
    assert sign_flip_p(np.repeat(first, 10), np.repeat(second, 10), np.repeat(groups, 10)) == one
    times = np.random.default_rng(4).integers(1, 5, 9)
    repeated = sign_flip_p(np.repeat(first, times), np.repeat(second, times), np.repeat(groups, times))
    assert sign_flip_p(first, second, groups, weights=times) == repeated


def test_false_alarms_are_as_rare_as_promised():
    """Equal metrics, photographs that differ: p <= .05 in at most about 5 % of 400 studies (3 standard errors more)."""
    random = np.random.default_rng(5)
    groups = np.repeat(np.arange(25), 4)
    alarms = 0
    for _ in range(400):
        first, second = random.normal(size=(2, 100)) + np.repeat(random.normal(size=(2, 25)), 4, axis=1)
        alarms += sign_flip_p(first, second, groups, draws=400) <= 0.05
    assert alarms / 400 < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)


def test_random_draws_are_repeatable_and_never_say_zero():
    first = np.random.default_rng(6).normal(1, 0.1, 50)
    assert sign_flip_p(first, 0 * first, np.arange(50), draws=999) == 1 / 1000
    noise = np.random.default_rng(7).normal(0.1, 1, 50)
    assert sign_flip_p(noise, 0 * noise, np.arange(50)) == sign_flip_p(noise, 0 * noise, np.arange(50))


@settings(deadline=None, max_examples=10)  # statsmodels is slow
@given(st.lists(st.floats(0, 1), max_size=9))
def test_holm_agrees_with_statsmodels(p):
    theirs = multipletests(p, method="holm")[1] if p else []
    assert holm(p) == pytest.approx(theirs)


def test_holm_counts_the_tests_that_might_have_been_made():
    assert holm([0.01, 0.02], tests=3) == pytest.approx([0.03, 0.04])
    assert holm([0.01, 0.02], tests=2) == pytest.approx(holm([0.01, 0.02]))


def test_the_best_of_equal_metrics_is_rarely_found_better():
    """Eight equal metrics, the best by these very votes against the others: no more false alarms than 5 %."""
    random = np.random.default_rng(0)
    groups, alarms = np.arange(30), 0
    for _ in range(200):
        scores = random.normal(size=(8, 30))
        best = scores.mean(axis=1).argmax()
        p = [sign_flip_p(scores[best], other, groups, draws=1999) for k, other in enumerate(scores) if k != best]
        alarms += (holm(p, tests=8 * 7 // 2) <= 0.05).any()
    assert alarms / 200 < 0.05 + 2 * np.sqrt(0.05 * 0.95 / 200)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sign_flip_p([1, 2], [1], ["a", "b"]), "the same triplets"),
        (lambda: sign_flip_p([np.nan], [1], ["a"]), "at least one triplet"),
        (lambda: holm([0.1, np.nan]), "expected numbers from 0 to 1"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
