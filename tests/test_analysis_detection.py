"""JND scores equal BAPPS's own code and scikit-learn, and the fit finds the JND that was put in."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.metrics import average_precision_score

from analysis.detection import Detection, average_precision, fit_detection, jnd_map
from metric.network.torchvision_import import import_torchvision
from study.errors import InputError, UnavailableError

TRUTH = Detection(threshold=0.3, shape=2.0, false_alarm=0.1, miss=0.05, log_likelihood=0.0, votes=0)


def simulated(pairs: int = 5000, votes: int = 3, truth: Detection = TRUTH, seed: int = 1):
    random = np.random.default_rng(seed)
    d = random.gamma(2, 0.2, pairs)
    d[::20] = 0
    return d, random.binomial(votes, truth.probability(d)), np.full(pairs, votes)


def test_scores_by_hand():
    """Shares of "same" 1, 1/3, 1 by distance: precision 1, 2/3, 7/9 at recall 3/7, 4/7, 1; VOC lifts 2/3 to 7/9."""
    d, different, votes = [0.1, 0.2, 0.3], [0, 2, 0], [3, 3, 3]
    assert average_precision(d, different, votes) == pytest.approx(3 / 7 * 1 + 1 / 7 * 2 / 3 + 3 / 7 * 7 / 9)
    assert jnd_map(d, different, votes) == pytest.approx(3 / 7 * 1 + 4 / 7 * 7 / 9)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")  # the package's own
def test_map_equals_the_packages_code():
    """`score_jnd_dataset` of PerceptualSimilarity: its counts in its words, its own `voc_ap`."""
    import_torchvision()
    from lpips import voc_ap

    d, different, votes = simulated(300)
    d += np.random.default_rng(2).random(300) * 1e-9  # its order of ties is the sort's
    order = np.argsort(d)
    same = (1 - different / votes)[order]
    hits, alarms = np.cumsum(same), np.cumsum(1 - same)
    theirs = voc_ap(hits / (hits + (same.sum() - hits)), hits / (hits + alarms))
    assert jnd_map(d, different, votes) == pytest.approx(theirs)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(-4, 4), st.integers(0, 3)), min_size=1, max_size=30))
def test_average_precision_equals_scikit_learn(rows):
    """Each pair once as same and once as different, weighted by the shares; equal distances are one threshold."""
    d, different = np.array(rows).T
    assume((different < 3).any())
    labels = np.repeat([1, 0], len(d))
    weights = np.concatenate([1 - different / 3, different / 3])
    theirs = average_precision_score(labels, np.tile(-d, 2), sample_weight=weights)
    ours = average_precision(d, different, np.full(len(d), 3))
    assert ours == pytest.approx(theirs)
    assert ours - 1e-12 <= jnd_map(d, different, np.full(len(d), 3)) <= 1 + 1e-12


def test_recovers_a_known_jnd():
    d, k, n = simulated(20_000)
    found = fit_detection(d, k, n)
    assert found.threshold == pytest.approx(TRUTH.threshold, rel=0.03)
    assert found.shape == pytest.approx(TRUTH.shape, rel=0.1)
    assert [found.false_alarm, found.miss] == pytest.approx([TRUTH.false_alarm, TRUTH.miss], abs=0.015)
    assert found.jnd([0, found.threshold, 2 * found.threshold]).tolist() == [0, 1, 2]
    halfway = (found.false_alarm + 1 - found.miss) / 2
    assert found.probability(found.threshold) == pytest.approx(halfway)  # half of the observers see it
    assert found.probability(0) == pytest.approx(found.false_alarm)
    assert Detection(**json.loads(json.dumps(dataclasses.asdict(found)))) == found
    true = TRUTH.probability(d)
    assert found.log_likelihood > (k * np.log(true) + (n - k) * np.log(1 - true)).sum()


def test_no_other_parameters_are_more_likely():
    """A simplex search on an independently written posterior, from three starts."""
    d, k, n = simulated(200, seed=4)
    found = fit_detection(d, k, n)

    def posterior(log_threshold, log_shape, false_alarm, miss):
        seen = 1 - 0.5 ** ((d / np.exp(log_threshold)) ** np.exp(log_shape))
        p = false_alarm + (1 - false_alarm - miss) * seen
        prior = 9 * np.log((1 - false_alarm) * (1 - miss)) - (log_shape - np.log(2)) ** 2 / (2 * 1.5**2)
        return (k * np.log(p) + (n - k) * np.log(1 - p)).sum() + prior

    bounds = [(-6, 3), (-2, 3), (1e-4, 0.49), (1e-4, 0.49)]
    options = {"maxiter": 4000, "xatol": 1e-6, "fatol": 1e-8}
    searched = [
        -minimize(
            lambda x: -posterior(*x), [start, 0.5, 0.1, 0.1], method="Nelder-Mead", bounds=bounds, options=options
        ).fun
        for start in (-3.0, -1.0, 0.0)
    ]
    mine = posterior(np.log(found.threshold), np.log(found.shape), found.false_alarm, found.miss)
    assert mine >= max(searched) - 1e-4


@pytest.mark.parametrize("scale", [1e-4, 1000])
def test_units_do_not_matter(scale):
    d, k, n = simulated(1000)
    assert fit_detection(scale * d, k, n).threshold == pytest.approx(scale * fit_detection(d, k, n).threshold, rel=1e-3)


def test_answers_that_change_at_once_have_a_jnd_too():
    d = np.linspace(0.01, 1, 60)
    found = fit_detection(d, 3 * (d > 0.5), np.full(60, 3))
    assert 0.45 < found.threshold < 0.55 and np.isfinite(found.shape)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: fit_detection([-30, -20], [1, 1], [2, 2]), UnavailableError, "distances from 0 upwards"),
        (lambda: fit_detection([0.1, 0.2, 0.3], [0, 0, 0], [9, 9, 9]), UnavailableError, "0 of 27 votes saw"),
        (lambda: fit_detection(np.ones(50), np.ones(50), np.ones(50)), UnavailableError, "50 of 50 votes saw"),
        (lambda: fit_detection([0.1], [2], [1]), InputError, "row 0: 2 of 1 votes say different"),
        (lambda: jnd_map([0.1, np.nan], [1, 1], [2, 2]), InputError, "row 1: a distance of nan"),
        (lambda: jnd_map([0.1], [1, 1], [2, 2]), InputError, "2 pairs, but distances of shape"),
        (lambda: jnd_map([0.1], [2], [2]), UnavailableError, "no vote says that two images are the same"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
