"""Correlations with ratings and ladders agree with scipy, and their bootstrap with a plain loop."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import curve_fit
from scipy.stats import kendalltau, pearsonr, spearmanr

from analysis.correlation import Correlations, correlations, ladder_tau, logistic_mapping
from study.errors import InputError


def rated(photographs: int = 20, each: int = 12, noise: float = 0.7, seed: int = 1):
    """Distances, ratings (rounded, so with ties) and photographs of a metric that is right but for noise."""
    random = np.random.default_rng(seed)
    quality = random.normal(size=photographs * each)
    distance = np.exp(-quality + noise * random.normal(size=quality.size))
    return distance.round(2), np.round(10 / (1 + np.exp(-2 * quality))), np.arange(quality.size) % photographs


def test_agrees_with_scipy():
    d, r, groups = rated()
    found = correlations(d, r, groups, replicates=10)
    assert found.srocc.value == pytest.approx(-spearmanr(d, r).statistic)
    assert found.krocc.value == pytest.approx(-kendalltau(d, r).statistic)
    assert found.plcc.value == pytest.approx(pearsonr(logistic_mapping(d, r)(d), r).statistic)
    within = [-spearmanr(d[groups == g], r[groups == g]).statistic for g in range(20)]
    assert found.per_reference.value == pytest.approx(np.mean(within))


def test_intervals_are_those_of_a_plain_loop():
    """Photographs drawn with replacement, their items repeated, scipy on the repeats."""
    d, r, groups = rated(photographs=8)
    mapped = logistic_mapping(d, r)(d)
    random = np.random.default_rng(5)
    rows = []
    for drawn in random.integers(0, 8, (50, 8)):
        items = np.concatenate([np.flatnonzero(groups == g) for g in drawn])
        x, y = d[items], r[items]
        rows.append((-spearmanr(x, y).statistic, -kendalltau(x, y).statistic, pearsonr(mapped[items], y).statistic))
    low, high = np.quantile(rows, [0.025, 0.975], axis=0)
    found = correlations(d, r, groups, seed=5, replicates=50)
    ours = [getattr(found, name) for name in ("srocc", "krocc", "plcc")]
    assert [estimate.low for estimate in ours] == pytest.approx(low)
    assert [estimate.high for estimate in ours] == pytest.approx(high)


def values(found: Correlations) -> list[float]:
    return [e.value for e in (found.srocc, found.krocc, found.plcc, found.per_reference)]


def test_a_right_metric_is_at_1_and_its_opposite_at_minus_1():
    _, r, groups = rated(photographs=5)
    for sign in (1, -1):
        assert values(correlations(-sign * r, r, groups, replicates=5)) == pytest.approx([sign] * 4, abs=1e-4)
    worse = values(correlations(*rated(noise=3), replicates=5))
    assert all(bad < good for bad, good in zip(worse, values(correlations(*rated(), replicates=5)), strict=True))


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_order_of_items_and_the_units_do_not_matter(seed):
    d, r, groups = rated(photographs=4, each=5)
    shuffled = np.random.default_rng(seed).permutation(len(d))
    one = correlations(d, r, groups, replicates=20)
    two = correlations(3 * d[shuffled] - 50, 0.1 * r[shuffled] + 2, groups[shuffled], replicates=20)
    assert np.array([*one.srocc, *one.krocc]) == pytest.approx(np.array([*two.srocc, *two.krocc]))
    assert two.plcc == pytest.approx(one.plcc, abs=1e-3)


def test_the_mapping_is_a_known_logistic_and_as_near_as_scipys():
    d, r, _ = rated(photographs=40)
    exact = 2 + 7 / (1 + np.exp((d - 1.5) / 0.3))
    assert logistic_mapping(d, exact)(d) == pytest.approx(exact, abs=1e-4)

    def vqeg(x, b1, b2, b3, b4):
        return b2 + (b1 - b2) / (1 + np.exp(-(x - b3) / b4))

    found, _ = curve_fit(vqeg, d, r, [0, 10, 1, 1], maxfev=10_000)
    squares = ((vqeg(d, *found) - r) ** 2).sum()
    assert ((logistic_mapping(d, r)(d) - r) ** 2).sum() <= squares * (1 + 1e-5)
    grid = logistic_mapping(d, r)(np.linspace(-5, 50, 200))
    assert (np.diff(grid) <= 1e-9).all() or (np.diff(grid) >= -1e-9).all()


def test_one_photograph_has_no_interval():
    d, r, _ = rated()
    found = correlations(d, r, np.zeros(len(d)))
    assert np.isnan([found.srocc.low, found.krocc.high, found.plcc.low, found.per_reference.low]).all()
    assert found.per_reference.value == pytest.approx(found.srocc.value)


def test_ladders_by_hand():
    """In order: 1. One of three pairs turned: 1/3. All equal: 0. One level: none. Mean of 1, 1/3 and 0."""
    ladder = ["in order"] * 3 + ["turned"] * 3 + ["equal"] * 2 + ["one"]
    taus, mean = ladder_tau([1, 2, 3, 1, 3, 2, 5, 5, 9], [1, 2, 3, 1, 2, 3, 1, 2, 1], ladder, ladder)
    assert taus.to_dict() == pytest.approx({"in order": 1, "turned": 1 / 3, "equal": 0, "one": np.nan}, nan_ok=True)
    assert mean.value == pytest.approx(4 / 9) and mean.n == 3
    assert isinstance(taus, pd.Series)


def test_the_interval_of_ladders_resamples_photographs():
    """Five alike ladders of each photograph say no more than one of each; as photographs of their own they would."""
    level = np.tile([1.0, 2, 3, 4], 12)
    distance = np.random.default_rng(1).normal(level, 2)
    ladder = np.repeat(np.arange(12), 4)
    one = ladder_tau(distance, level, ladder, ladder)[1]
    many = (np.tile(distance, 5), np.tile(level, 5), np.concatenate([ladder + 12 * k for k in range(5)]))
    together = ladder_tau(*many, np.tile(ladder, 5))[1]
    assert together[:3] == pytest.approx(one[:3]) and (together.n, one.n) == (60, 12)
    apart = ladder_tau(*many, many[2])[1]
    assert apart.high - apart.low < 0.6 * (one.high - one.low)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: correlations([1, 2], [1, np.nan], ["a", "b"]), "row 1: distance 2, rating nan"),
        (lambda: correlations([1, 2], [1, 2], ["a"]), "groups \\(1,\\); expected \\(N,\\)"),
        (lambda: correlations([1, 1], [1, 2], ["a", "b"]), "all distances or all ratings are equal"),
        (lambda: ladder_tau([1, np.inf], [1, 2], ["a", "a"], ["p", "p"]), "row 1: distance inf, level 2"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
