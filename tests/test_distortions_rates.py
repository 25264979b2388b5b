"""The search for a rate: few encodes, the nearest step, and misses that are told."""

import math
from itertools import pairwise

import numpy as np
import pytest
from conftest import photograph
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import features
from shared_data import shared

from distortions.catalogue import CODECS as ALL
from distortions.classical import CODECS
from distortions.rates import CLOSE, Ladder, nearest_step, reach
from study.photographs import read

rising = st.lists(st.floats(0.001, 0.5), min_size=1, max_size=300).map(
    lambda steps: list(0.02 * np.exp(np.cumsum(steps) - steps[0]))
)


def off(rate, target):
    return abs(rate / target - 1)


@settings(deadline=None, max_examples=300)
@given(rates=rising, targets=st.lists(st.floats(0.01, 20), min_size=1, max_size=5))
def test_a_search_finds_the_nearest_step_of_rising_rates(rates, targets):
    known: dict[int, float] = {}
    for target in targets:
        before = len(known)
        step = nearest_step(rates.__getitem__, known, len(rates), target)
        assert off(rates[step], target) <= max(CLOSE, min(off(rate, target) for rate in rates) + 1e-12)
        assert len(known) - before <= 2 * math.log2(len(rates) + 1) + 5
        assert all(known[k] == rates[k] for k in known)


@settings(deadline=None, max_examples=200)
@given(rates=st.lists(st.floats(0.01, 10), min_size=1, max_size=60), target=st.floats(0.01, 10))
def test_a_search_ends_and_answers_with_a_probe_for_any_rates(rates, target):
    known: dict[int, float] = {}
    assert nearest_step(rates.__getitem__, known, len(rates), target) in known


@pytest.mark.parametrize("name", sorted(CODECS))
def test_rates_are_those_of_the_real_bytes_and_encodes_are_few(name):
    image = photograph(1, 192)
    ladder = Ladder(CODECS[name](), image)
    targets = [0.5, 1.0, 2.0]
    found, missed = reach(ladder, targets, 0.1)
    assert sorted(found) == targets and not missed
    for target, step in found.items():
        data = ladder.codec_at(step).encode(image)
        assert ladder.bits(step) == 8 * len(data)
        assert abs(8 * len(data) / 192**2 / target - 1) <= 0.1
    assert len(ladder.files) <= 6 * len(targets)


def test_four_encodes_a_target_or_fewer_on_real_photographs():
    photographs = sorted(shared("photos/bsds500/train").glob("*.jpg"))[:3]
    targets = [0.25, 0.4, 0.65, 1.0]
    encodes = 0
    for name in CODECS:
        for path in photographs:
            ladder = Ladder(CODECS[name](), read(path))
            found, missed = reach(ladder, targets, 0.1)
            assert sorted(found) == targets and not missed
            encodes += len(ladder.files)
    assert encodes <= 4 * len(CODECS) * len(photographs) * len(targets)


@pytest.mark.parametrize("name", ["webp", "jpeg2000"])
def test_a_fine_ladder_is_searched_as_well_as_by_trying_every_step(name):
    """Within 1 % wherever any step of the whole ladder is, and else with the nearest one."""
    ladder, whole = (Ladder(CODECS[name](), photograph(5, 96)) for _ in range(2))
    rates = [whole.bits_per_pixel(step) for step in range(len(whole.codec.rate.values))]
    targets = [0.4, 0.6, 0.9, 1.3, 2.0]
    found, missed = reach(ladder, targets, 0.1)
    assert sorted(found) == targets and not missed
    for target, step in found.items():
        best = min(off(rate, target) for rate in rates)
        assert off(rates[step], target) <= max(CLOSE, best + 1e-12)


def test_webps_ladder_is_even_along_its_quantiser():
    """libwebp's QualityToCompression, whose cubic root is how far the quantiser is from its coarsest."""
    values = CODECS["webp"].rate.values
    assert (values[0], values[-1]) == (0, 100) and all(a < b for a, b in pairwise(values))
    linear = [c * 2 / 3 if c < 0.75 else 2 * c - 1 for c in (value / 100 for value in values)]
    np.testing.assert_allclose(np.cbrt(linear), np.arange(401) / 400, atol=1e-3)


@pytest.mark.parametrize("name", ["avif", "heic"])
def test_a_coarse_ladder_has_each_file_once(name):
    """All files that qualities from 0 to 100 give, without those that are another's again."""
    codec = ALL[name]()
    if codec.missing():
        pytest.skip(codec.missing())
    if name == "avif" and not features.version("avif").startswith("1.4"):
        pytest.skip("another libavif has other quantisers")
    files = [codec.at(quality).encode(photograph(1, 128)) for quality in range(101)]
    assert [files[quality] for quality in codec.rate.values] == list(dict.fromkeys(files))


def test_webp_takes_3_encodes_a_target_on_photographs():
    targets = [0.25, 0.4, 0.6, 0.9, 1.3, 2.0]
    encodes = close = 0
    for k in (1, 13):
        ladder = Ladder(CODECS["webp"](), read(shared("photos/kodak") / f"kodim{k:02d}.png"))
        found, _ = reach(ladder, targets, 0.1)
        encodes += len(ladder.files)
        close += sum(off(ladder.bits_per_pixel(step), target) <= 0.01 for target, step in found.items())
    assert encodes <= 3 * 2 * len(targets) and close == 2 * len(targets)


def test_a_rate_below_the_floor_is_missed_and_told():
    ladder = Ladder(CODECS["jpeg"](), photograph(1, 128))
    found, missed = reach(ladder, [0.01, 1.0], 0.1)
    assert list(found) == [1.0]
    assert missed[0].target == 0.01
    assert missed[0].nearest == ladder.bits_per_pixel(0) and f"{missed[0].nearest:.3f}" in missed[0].reason


def test_one_setting_serves_the_closer_target_only():
    """Two targets 0.1 % apart land on one quality of JPEG."""
    ladder = Ladder(CODECS["jpeg"](), photograph(1, 128))
    rate = ladder.bits_per_pixel(30)
    found, missed = reach(ladder, [rate, rate * 1.001], 0.1)
    assert found == {rate: 30}
    assert [miss.target for miss in missed] == [rate * 1.001] and f"{rate:g}" in missed[0].reason
