import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from shared_data import shared

from analysis.agreement import agreeing_share, bootstrap_mean, paired_difference, two_afc
from analysis.ceiling import agreement, ceilings, majority, plug_in
from analysis.proportions import exact_half, share, wilson
from study.errors import InputError

COUNTS = st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9)).map(lambda c: (min(c), c[1])), min_size=1)

# Human p² + q², unbiased agreement, majority oracle, LPIPS alex and vgg, ST-LPIPS vgg, in %, as the project's table of
# BAPPS has them, and its column of means.
BAPPS = {
    "traditional": (80.8, 76.1, 85.8, 77.5, 78.4, 78.8),
    "cnn": (84.3, 80.4, 88.5, 82.9, 83.7, 83.5),
    "superres": (73.6, 67.0, 80.1, 71.2, 71.2, 71.1),
    "deblur": (66.1, 57.6, 74.0, 61.0, 61.0, 61.2),
    "color": (68.8, 61.0, 76.4, 65.2, 64.0, 64.6),
    "frameinterp": (68.6, 60.8, 76.0, 62.4, 62.2, 63.0),
}
BAPPS_MEANS = (73.7, 67.2, 80.1, 70.0, 70.1, 70.4)


def bapps_row(part: str) -> list[float]:
    table = pd.read_csv(shared(f"votes/bapps_val_tables/bapps_2afc_val_{part}.csv.gz"))
    votes = np.full(len(table), 5)
    prefer_b = np.round(table["judge"] * 5)
    ours = [way(votes, prefer_b).mean() for way in (plug_in, agreement, majority)]
    metrics = "alex_vanilla", "vgg_vanilla", "vgg_shift_tolerant"
    scores = [two_afc(prefer_b, votes, table[f"{name}_d0"], table[f"{name}_d1"]) for name in metrics]
    return [float(100 * value) for value in (*ours, *scores)]


def test_bapps_ceilings_and_scores_are_the_known_ones():
    rows = {part: bapps_row(part) for part in BAPPS}
    for part, known in BAPPS.items():
        assert rows[part] == pytest.approx(known, abs=0.055), part  # the table was rounded twice: 78.348, 78.35, 78.4
    assert np.mean(list(rows.values()), axis=0) == pytest.approx(BAPPS_MEANS, abs=0.055)


def test_clic_observers_agree_in_76_percent():
    rows = pd.read_csv(shared("votes/clic2021/data/oracle.csv"), names=["reference", "a", "b", "prefers_b"])
    turned = rows["a"] > rows["b"]  # the same triplet is asked in both orders
    rows["first"], rows["second"] = rows["a"].where(~turned, rows["b"]), rows["b"].where(~turned, rows["a"])
    rows["chose_second"] = rows["prefers_b"] != turned
    counted = rows.groupby(["reference", "first", "second"])["chose_second"].agg(["size", "sum"])
    counted = counted[counted["size"] >= 2]
    assert 100 * agreement(counted["size"], counted["sum"]).mean() == pytest.approx(76.0, abs=0.05)


def test_small_cases_by_hand():
    """5 votes 4 to 1: 16 + 1 of 25 pairs with themselves, 6 of 10 pairs of different votes; 1 vote has no pair."""
    assert plug_in([5, 1], [4, 1]) == pytest.approx([17 / 25, 1])
    assert agreement([5, 2, 2], [4, 1, 2]) == pytest.approx([0.6, 0, 1])
    assert np.isnan(agreement([1], [1])).all()
    assert majority([5, 2], [1, 1]) == pytest.approx([0.8, 0.5])
    assert two_afc([4, 0, 1], [5, 2, 2], [2, 1, 3], [1, 2, 3]) == pytest.approx((0.8 + 1 + 0.5) / 3)


@given(COUNTS)
def test_agreement_is_the_share_of_agreeing_pairs(counts):
    k, n = np.array(counts).T
    pairs = [np.nan if m < 2 else (j * (j - 1) + (m - j) * (m - j - 1)) / (m * (m - 1)) for j, m in counts]
    assert agreement(n, k) == pytest.approx(pairs, nan_ok=True)
    assert agreement(n, n - k) == pytest.approx(pairs, nan_ok=True)  # a and b are only names
    assert np.all(plug_in(n, k) <= majority(n, k) + 1e-12)


@given(COUNTS, st.integers(0, 99))
def test_a_metric_and_its_opposite_share_the_votes(counts, seed):
    k, n = np.array(counts).T
    distances = np.random.default_rng(seed).integers(0, 3, (2, len(k)))
    both = agreeing_share(k, n, *distances) + agreeing_share(k, n, *-distances)
    assert both == pytest.approx(np.ones(len(k)))
    assert np.all(agreeing_share(k, n, *distances) <= majority(n, k) + 1e-12)


def test_agreement_is_unbiased_where_the_plug_in_is_not():
    """Defect 9, the inflated human ceiling: with two votes and p = .7 two people agree in .58; p² + q² says .79."""
    k = np.random.default_rng(1).binomial(2, 0.7, 200_000)
    n = np.full(k.size, 2)
    assert agreement(n, k).mean() == pytest.approx(0.58, abs=0.005)
    assert plug_in(n, k).mean() == pytest.approx(0.79, abs=0.005)


def test_bootstrap_resamples_whole_groups():
    """Ten equal values of a photograph are no more certain than one of them."""
    means = np.random.default_rng(2).normal(0.7, 0.1, 30)
    one = bootstrap_mean(means, np.arange(30), seed=3)
    ten = bootstrap_mean(np.repeat(means, 10), np.repeat(np.arange(30), 10), seed=3)
    assert ten[:3] == pytest.approx(one[:3]) and (one.n, ten.n) == (30, 300)
    error = means.std() / np.sqrt(30)
    assert (one.high - one.low) / 2 == pytest.approx(1.96 * error, rel=0.08)


def test_bootstrap_leaves_nan_out_and_knows_when_there_is_no_interval():
    with_nan = bootstrap_mean([1, 0, np.nan, 1], ["a", "b", "c", "a"])
    assert with_nan.n == 3 and with_nan.value == pytest.approx(2 / 3)
    alone = bootstrap_mean([1, 0], ["a", "a"])
    assert alone.value == 0.5 and np.isnan(alone.low) and np.isnan(alone.high)
    assert bootstrap_mean([np.nan], ["a"]).n == 0


def test_paired_difference_is_surer_than_two_intervals():
    random = np.random.default_rng(4)
    groups = np.repeat(np.arange(40), 5)
    hard = np.repeat(random.normal(0.7, 0.1, 40), 5)
    first, second = hard + random.normal(0.02, 0.01, 200), hard + random.normal(0, 0.01, 200)
    difference = paired_difference(first, second, groups)
    assert difference.value == pytest.approx((first - second).mean()) and difference.low > 0
    assert bootstrap_mean(second, groups).high > bootstrap_mean(first, groups).low


def test_ceilings_are_in_order_and_repeatable():
    random = np.random.default_rng(6)
    votes = random.integers(1, 6, 300)
    prefer_b = random.binomial(votes, random.random(300))
    found = ceilings(votes, prefer_b, np.arange(300) // 10, seed=2)
    assert found == ceilings(votes, prefer_b, np.arange(300) // 10, seed=2)
    assert found["agreement"].n == (votes > 1).sum() and found["plug_in"].n == 300
    assert found["agreement"].value < found["plug_in"].value < found["majority"].value
    assert all(estimate.low < estimate.value < estimate.high for estimate in found.values())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plug_in([2, 2], [1, 3]), "row 1: 3 of 2 votes"),
        (lambda: plug_in([0], [0]), "row 0"),
        (lambda: plug_in([2], [np.nan]), "row 0"),
        (lambda: plug_in([], []), "T >= 1"),
        (lambda: plug_in([2, 2], [1]), "shape"),
        (lambda: two_afc([1], [2], [np.nan], [1]), "no number"),
        (lambda: two_afc([1], [2], [1, 2], [1, 2]), "1 triplets"),
        (lambda: bootstrap_mean([1, 2], ["a"]), "groups of shape"),
        (lambda: paired_difference([1, 2], [1], ["a", "b"]), "same triplets"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call()


@given(st.integers(0, 200), st.integers(1, 200))
def test_wilson_agrees_with_scipy(k, n):
    k = min(k, n)
    theirs = binomtest(k, n).proportion_ci(0.95, method="wilson")
    assert [float(end) for end in wilson(k, n)] == pytest.approx([theirs.low, theirs.high], abs=1e-9)


def test_a_share_of_nothing_is_nan_and_the_exact_test_is_exact():
    """MTurk's real side bias (study.md): 48.3 % of 60,785, p = 1e-16; 0 of 10 by hand: p = 2 / 2^10."""
    assert np.isnan(share(0, 0).value) and np.isnan(exact_half(0, 0)[1])
    assert exact_half(0, 10)[1] == pytest.approx(2 / 2**10)
    estimate, p = exact_half(round(0.483 * 60_785), 60_785)
    assert 1e-17 < p < 1e-15 and estimate.low < 0.483 < estimate.high < 0.5
