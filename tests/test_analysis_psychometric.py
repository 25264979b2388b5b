"""The link from distances to chances finds what was put in, and its judges agree with other implementations."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import check_grad, minimize
from scipy.stats import yeojohnson
from shared_data import shared
from sklearn.linear_model import LogisticRegression

from analysis.agreement import bootstrap_mean, majority_agreement, paired_difference
from analysis.calibration import calibration_error, log_likelihood, reliability, saturated
from analysis.proportions import wilson
from analysis.psychometric import POWERS, Preference, _loss, cross_fitted, fit_preference, yeo_johnson
from study.errors import InputError

TRUTH = Preference(centre=0.2, spread=0.1, power=0.3, slope=2.5, lapse=0.08, log_likelihood=0.0, votes=0)


def simulated(triplets: int = 8000, votes: int = 5, truth: Preference = TRUTH, seed: int = 1):
    """Distances like those of LPIPS, zeros among them, and votes by `truth`."""
    random = np.random.default_rng(seed)
    d = random.gamma(2, 0.12, (2, triplets))
    d[:, ::50] = 0
    return *d, random.binomial(votes, truth.probability(*d)), np.full(triplets, votes)


@pytest.mark.parametrize(("power", "slope", "lapse"), [(0.3, 2.5, 0.08), (2.0, 1.0, 0.0), (-1.0, 4.0, 0.25)])
def test_recovers_a_known_link(power, slope, lapse):
    """Its parameters, where centre and spread are those of the distances, and every chance to a hundredth."""
    d_a, d_b, _, n = simulated(20_000)
    units = fit_preference(d_a, d_b, n, n)
    truth = dataclasses.replace(units, power=power, slope=slope, lapse=lapse)
    k = np.random.default_rng(2).binomial(n, truth.probability(d_a, d_b))
    found = fit_preference(d_a, d_b, k, n)
    assert [found.power, found.lapse] == pytest.approx([power, lapse], abs=0.05)
    assert found.slope == pytest.approx(slope, rel=0.05)
    true = truth.probability(d_a, d_b)
    assert np.abs(found.probability(d_a, d_b) - true).max() < 0.01
    # As likely as the truth or more: it was fitted to these votes.
    assert found.log_likelihood > np.log(2) * (n * log_likelihood(true, k, n)).sum()


def test_no_other_parameters_are_more_likely():
    """A simplex search without gradients, from several starts, on an independently written posterior."""
    d_a, d_b, k, n = simulated(400, seed=3)
    found = fit_preference(d_a, d_b, k, n)

    def posterior(slope, power, lapse):
        g_a, g_b = (yeojohnson((d - found.centre) / found.spread, power) for d in (d_a, d_b))
        p = lapse / 2 + (1 - lapse) * (1 + np.tanh(slope * (g_a - g_b) / 2)) / 2
        prior = 9 * np.log(1 - lapse) - np.log(1 + (slope / 10) ** 2)
        return (k * np.log(p) + (n - k) * np.log(1 - p)).sum() + prior

    bounds = [(0, 1e4), POWERS, (1e-4, 0.49)]
    searched = [
        -minimize(lambda x: -posterior(*x), [1, power, 0.1], method="Nelder-Mead", bounds=bounds).fun
        for power in (-2.0, 1.0, 4.0)
    ]
    assert posterior(found.slope, found.power, found.lapse) >= max(searched) - 1e-4


def test_equals_logistic_regression_where_power_and_lapse_do_not_matter():
    """Distances of two values only: any power is a slope; without lapses it is scikit-learn's regression."""
    random = np.random.default_rng(4)
    d_b = random.integers(0, 2, 4000).astype(float)
    k = random.binomial(1, 1 / (1 + np.exp(-1.2 * (1 - 2 * d_b))))
    found = fit_preference(1 - d_b, d_b, k, np.ones(4000))
    theirs = LogisticRegression(C=np.inf, fit_intercept=False).fit((1 - 2 * d_b)[:, None], k)
    assert found.probability([1], [0])[0] == pytest.approx(theirs.predict_proba([[1]])[0, 1], abs=1e-3)


@settings(deadline=None)
@given(st.floats(-3, 5), st.lists(st.floats(-50, 50), min_size=1, max_size=5))
def test_the_transform_is_yeo_and_johnsons_and_monotone(power, values):
    z = np.sort(np.array(values))
    assert yeo_johnson(z, power) == pytest.approx(yeojohnson(z, power), rel=1e-6, abs=1e-9)
    assert (np.diff(yeo_johnson(z, power)) >= 0).all()
    assert yeo_johnson(z, 1.0) == pytest.approx(z)


def test_the_gradient_is_right():
    """Against finite differences, at powers where the transform's derivative is a series too."""
    d_a, d_b, k, n = simulated(200)
    loss = _loss((d_a - 0.2) / 0.1, (d_b - 0.2) / 0.1, k, n)
    for point in ([1.5, 0.3, 0.1], [0.7, 1e-7, 0.01], [3.0, 2.0, 0.3], [1.0, 1.0, 0.05]):
        assert check_grad(lambda x: loss(x)[0], lambda x: loss(x)[1], np.array(point)) < 1e-5


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 40),
    st.sampled_from(["lpips", "psnr", "zeros", "equal", "wild", "perfect"]),
)
def test_any_metric_gets_chances(seed, triplets, kind):
    """Probabilities strictly inside (0, 1), 1/2 for equal distances, more for b the smaller its distance."""
    random = np.random.default_rng(seed)
    d_a, d_b = random.gamma(1, 1, (2, triplets))
    n = random.integers(1, 8, triplets)
    k = random.integers(0, n + 1)
    if kind == "psnr":
        d_a, d_b = -20 - 10 * d_a, -20 - 10 * d_b
    if kind == "zeros":
        d_a[: triplets // 2 + 1] = 0
    if kind == "equal":
        d_a[:], d_b[:] = 3, 3
    if kind == "wild":
        d_a[0] = 1e9
    if kind == "perfect":
        k = np.where(d_b < d_a, n, 0)
    found = fit_preference(d_a, d_b, k, n)
    p = found.probability(d_a, d_b)
    assert (p > 0).all() and (p < 1).all() and 0 <= found.lapse < 0.5 and found.slope >= 0
    assert found.probability(d_b, d_a) == pytest.approx(1 - p)
    assert found.probability(d_a, d_a) == pytest.approx(np.full(triplets, 0.5))
    grid = np.linspace(-100, 100, 50)
    assert (np.diff(found.probability(np.zeros(50), grid)) <= 1e-12).all()


@pytest.mark.parametrize("triplets", [20, 200])
def test_votes_that_say_nothing_have_a_link_too(triplets):
    """Where slope and power can stand for each other a first ascent stops short, in one case of fifty."""
    for seed in range(120):
        random = np.random.default_rng(seed)
        distances, n = random.gamma(1, 1, (2, triplets)), random.integers(1, 8, triplets)
        assert 0 <= fit_preference(*distances, random.integers(0, n + 1), n).slope


@pytest.mark.parametrize(("scale", "shift"), [(1000, 0), (1e-6, 0), (1, -40)])
def test_the_metrics_units_do_not_matter(scale, shift):
    d_a, d_b, k, n = simulated(1000)
    plain = fit_preference(d_a, d_b, k, n).probability(d_a, d_b)
    a, b = scale * d_a + shift, scale * d_b + shift
    assert fit_preference(a, b, k, n).probability(a, b) == pytest.approx(plain, abs=1e-4)


def test_a_metric_that_contradicts_the_votes_says_nothing():
    d_a, d_b, k, n = simulated(500)
    found = fit_preference(d_a, d_b, n - k, n)
    assert found.slope == 0 and (found.probability(d_a, d_b) == 0.5).all()


def test_half_votes_count_half_and_parameters_go_into_json():
    """Two half votes each way are one vote that says nothing; the fit is a dict of plain numbers."""
    d_a, d_b, k, n = simulated(300)
    unsure = fit_preference(d_a, d_b, k + 0.5, n + 1)
    assert unsure.slope < fit_preference(d_a, d_b, k, n).slope
    again = Preference(**json.loads(json.dumps(dataclasses.asdict(unsure))))
    assert again == unsure


def test_cross_fitting_never_sees_the_photograph():
    """Turning all votes of one photograph changes nothing of its own chances."""
    d_a, d_b, k, n = simulated(600)
    groups = np.arange(600) // 60
    before = cross_fitted(d_a, d_b, k, n, groups)
    mine = groups == 7
    after = cross_fitted(d_a, d_b, np.where(mine, n - k, k), n, groups)
    assert (after[mine] == before[mine]).all() and (after != before).any()
    assert (cross_fitted(d_a, d_b, k, n, groups) == before).all()
    alone = fit_preference(d_a[groups > 0], d_b[groups > 0], k[groups > 0], n[groups > 0])
    left_out = cross_fitted(d_a, d_b, k, n, groups, folds=99)  # more folds than photographs: one each
    assert left_out[groups == 0] == pytest.approx(alone.probability(d_a[groups == 0], d_b[groups == 0]))


def test_likelihood_by_hand():
    """3 of 4 votes at p = 3/4: 0.75 log2 0.75 + 0.25 log2 0.25; a coin is -1; a certain wrong answer minus infinity."""
    entropy = 0.75 * np.log2(0.75) + 0.25 * np.log2(0.25)
    assert log_likelihood([0.75, 0.5, 1, 0], [3, 1, 2, 1], [4, 7, 2, 1]) == pytest.approx([entropy, -1, 0, -np.inf])
    assert saturated([3, 5, 0], [4, 5, 2]) == pytest.approx([entropy, 0, 0])


def test_nothing_is_more_likely_than_the_saturated_model():
    d_a, d_b, k, n = simulated(500)
    assert (saturated(k, n) >= log_likelihood(TRUTH.probability(d_a, d_b), k, n) - 1e-12).all()


def test_weights_make_the_mean_one_over_votes():
    """By hand, and the interval's width is that of votes resampled with their triplets."""
    found = bootstrap_mean([0, 1, np.nan], ["a", "b", "c"], weights=[1, 3, 9])
    assert found.value == 0.75 and found.n == 2 and (found.low, found.high) == (0, 1)
    values, groups = np.random.default_rng(1).random(60), np.arange(60) // 3
    times = np.random.default_rng(2).integers(1, 5, 60)
    repeated = bootstrap_mean(np.repeat(values, times), np.repeat(groups, times))
    assert bootstrap_mean(values, groups, weights=times)[:3] == pytest.approx(repeated[:3])
    assert paired_difference(values, 0 * values, groups, weights=times)[:3] == pytest.approx(repeated[:3])
    with pytest.raises(InputError, match="all > 0"):
        bootstrap_mean([1, 2], ["a", "b"], weights=[1, 0])


def test_calibration_error_by_hand():
    """Two bins: chances of .6 (observed .5) and .9 (observed .8), and of .1, which folds onto .9 (observed 1)."""
    p, k, n = [0.6, 0.9, 0.1], [10, 8, 0], [20, 10, 10]
    curve = reliability(p, k, n, bins=2)
    assert curve["predicted"].tolist() == pytest.approx([0.6, 0.9])
    assert curve["observed"].tolist() == pytest.approx([0.5, 0.9])
    assert curve["votes"].tolist() == [20, 20]
    assert (curve["low"][0], curve["high"][0]) == wilson(10, 20)
    assert calibration_error(p, k, n, bins=2) == pytest.approx(0.5 * 0.1 + 0.5 * 0)
    assert calibration_error([0.5], [1], [1]) == 0  # at 1/2 neither is favoured


def test_calibration_error_is_small_for_the_truth_and_large_for_the_overconfident():
    """Of 40,000 votes the truth is off by 0.4 sqrt(15 / 40,000) = .008 by chance alone, sure predictions by far."""
    d_a, d_b, k, n = simulated()
    p = TRUTH.probability(d_a, d_b)
    assert calibration_error(p, k, n) < 0.012
    sharp = p**3 / (p**3 + (1 - p) ** 3)
    error = calibration_error(sharp, k, n)
    assert error > 0.08
    assert calibration_error(1 - sharp, n - k, n) == pytest.approx(error)  # a and b are only names


def test_bins_hold_equal_votes_and_equal_chances_share_one():
    random = np.random.default_rng(5)
    p, n = random.random(3000), random.integers(1, 9, 3000)
    curve = reliability(p, random.binomial(n, p), n)
    assert len(curve) == 15 and curve["votes"].sum() == n.sum()
    assert curve["votes"].max() - curve["votes"].min() <= 2 * 9
    assert len(reliability(np.repeat([0.7, 0.8], 50), np.ones(100), np.ones(100))) == 2


def test_majority_by_hand():
    """Votes 4:1 for b, 1:4, 2:2, 5:0; the metric says b, b, b and cannot choose."""
    assert majority_agreement([4, 1, 2, 5], [5, 5, 4, 5], [2, 2, 2, 1], [1, 1, 1, 1]) == pytest.approx(
        [1, 0, np.nan, 0.5], nan_ok=True
    )


def test_real_votes_are_predicted_better_than_by_a_coin_and_calibrated():
    """BAPPS, CNN distortions, LPIPS alex: chances are off by less than 2 points on average."""
    table = pd.read_csv(shared("votes/bapps_val_tables/bapps_2afc_val_cnn.csv.gz"))
    k, n = np.round(5 * table["judge"].to_numpy()), np.full(len(table), 5)
    d_a, d_b = table["alex_vanilla_d0"], table["alex_vanilla_d1"]
    p = cross_fitted(d_a, d_b, k, n, table.index)
    assert -1 < log_likelihood(p, k, n).mean() < saturated(k, n).mean()
    assert calibration_error(p, k, n) < 0.02


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fit_preference([1, np.inf], [1, 2], [0, 1], [1, 1]), "row 1: distances inf and 2"),
        (lambda: fit_preference([1], [1, 2], [0, 1], [1, 1]), "2 triplets, but distances of shape"),
        (lambda: fit_preference([1], [1], [2], [1]), "row 0: 2 of 1 votes"),
        (lambda: cross_fitted([1], [1], [1], [1], ["a", "b"]), "groups of shape"),
        (lambda: cross_fitted([1, 2], [1, 2], [1, 1], [1, 1], ["a", "a"]), "1 photographs in 5 folds"),
        (lambda: log_likelihood([1.2], [1], [1]), "row 0: a predicted chance of 1.2"),
        (lambda: log_likelihood([np.nan], [1], [1]), "row 0: a predicted chance of nan"),
        (lambda: calibration_error([0.5, 0.5], [1], [1]), "1 triplets, but predicted chances"),
        (lambda: calibration_error([0.5], [1], [1], bins=0), "0 bins"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
