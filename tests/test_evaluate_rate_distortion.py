"""Bjontegaard's differences: cases with a known answer, published ones, and when there is no number."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from shared_data import shared

from distortions.evaluation import figures, published
from distortions.evaluation.photographs import Photograph
from distortions.evaluation.rate_distortion import Curve, curve, difference, quality
from study.errors import InputError

RATES = np.array([0.1, 0.2, 0.45, 0.8, 1.5])
VALUES = {
    "psnr": np.array([26.0, 28.5, 31.0, 33.2, 36.9]),
    "ms-ssim": np.array([0.88, 0.94, 0.97, 0.985, 0.993]),
    "lpips-alex": np.array([0.31, 0.2, 0.11, 0.06, 0.03]),
}


@pytest.mark.parametrize("measure", VALUES)
def test_a_curve_against_itself_is_0(measure):
    found = difference(measure, *[curve("c", RATES, VALUES[measure])] * 2)
    assert found.rate == pytest.approx(0, abs=1e-9) and found.gain == pytest.approx(0, abs=1e-9)
    assert [found.low, found.high] == pytest.approx(sorted(VALUES[measure][[0, -1]]))


@pytest.mark.parametrize("measure", VALUES)
@pytest.mark.parametrize("share", [-0.5, 0.1, 1.0])
def test_a_copy_that_takes_so_many_more_bits(measure, share):
    """+10 % bits at every quality is a BD-rate of +10 %, and worse at equal bits by every measure."""
    reference = curve("c", RATES, VALUES[measure])
    found = difference(measure, reference, curve("d", RATES * (1 + share), VALUES[measure]))
    assert found.rate == pytest.approx(100 * share, rel=1e-9)
    worse = found.gain if measure == "lpips-alex" else -found.gain
    assert np.sign(worse) == np.sign(share)


def test_a_copy_that_is_better_by_so_many_db():
    found = difference("psnr", curve("c", RATES, VALUES["psnr"]), curve("d", RATES, VALUES["psnr"] + 0.7))
    assert found.gain == pytest.approx(0.7, rel=1e-9)
    ms_ssim = 1 - (1 - VALUES["ms-ssim"]) / 10**0.05  # half a dB less of 1 - MS-SSIM
    found = difference("ms-ssim", curve("c", RATES, VALUES["ms-ssim"]), curve("d", RATES, ms_ssim))
    assert found.gain == pytest.approx(0.5, rel=1e-6)
    closer = curve("d", RATES, VALUES["lpips-alex"] - 0.01)
    found = difference("lpips-alex", curve("c", RATES, VALUES["lpips-alex"]), closer)
    assert found.gain == pytest.approx(-0.01, rel=1e-9)


def test_straight_lines_by_hand():
    """6 dB an octave, and 1.5 dB above at equal bits: the quality costs a quarter octave less, 1 - 2^-0.25 = 15.9 %."""
    rates = np.array([0.125, 0.25, 0.5, 1.0])
    line = 36 + 6 * np.log2(rates)
    found = difference("psnr", curve("c", rates, line), curve("d", rates, line + 1.5))
    assert found.rate == pytest.approx(100 * (2**-0.25 - 1)) and found.gain == pytest.approx(1.5)
    assert (found.low, found.high) == (pytest.approx(line[0] + 1.5), pytest.approx(line[-1]))


@settings(deadline=None)
@given(
    st.lists(st.floats(0.02, 1), min_size=3, max_size=8),
    st.lists(st.floats(0.02, 1), min_size=3, max_size=8),
    st.floats(0.05, 0.2),
)
def test_exchanging_the_curves_inverts_the_ratio(steps, others, start):
    """If b takes x % more bits than a, a takes 1 / (1 + x) of b's; and quality at equal bits changes its sign."""
    a = curve("a", start * np.cumprod(1 + np.array(steps)), 25 + 10 * np.cumsum(steps))
    b = curve("b", 0.1 * np.cumprod(1 + np.array(others)), 25 + 9 * np.cumsum(others))
    there, back = difference("psnr", a, b), difference("psnr", b, a)
    assert bool(there.rate_problem) == bool(back.rate_problem)
    if not there.rate_problem:
        assert (1 + there.rate / 100) * (1 + back.rate / 100) == pytest.approx(1)
    if not there.gain_problem:
        assert there.gain == pytest.approx(-back.gain, abs=1e-9)


def test_points_come_in_any_order():
    order = [3, 0, 4, 1, 2]
    found = curve("c", RATES[order], VALUES["psnr"][order])
    assert np.array_equal(found.bits_per_pixel, RATES) and np.array_equal(found.values, VALUES["psnr"])


@pytest.mark.parametrize(
    ("rates", "values", "why"),
    [
        ([0.1, 0.2], [26.0, 28.0], "d has 2 points; 3 are needed"),
        ([0.3], [30.0], "d has one point; 3 are needed"),
        ([0.1, 0.2, 0.3, 0.4], [26.0, 28.0, 27.9, 30.0], "d does not get better from 0.200 to 0.300 bpp"),
        ([0.1, 0.2, 0.2, 0.4], [26.0, 28.0, 29.0, 30.0], "d does not get better from 0.200 to 0.200 bpp"),
        ([0.1, 0.2, 0.4], [26.0, 28.0, np.inf], "d has values without a finite quality"),
        ([0.1, 0.2, 0.4], [40.0, 41.0, 42.0], "the curves share no quality"),
        ([0.1, 0.2, 0.4], [25.5, 26.4, 26.5], "the curves share 5% of the longer one's range of quality"),
        ([0.1, 0.2, 0.4], [36.0, 37.0, 42.0], "the curves share 15% of the shorter one's range of quality"),
    ],
)
def test_where_there_is_no_number_the_reason_is_said(rates, values, why):
    found = difference("psnr", curve("c", RATES, VALUES["psnr"]), curve("d", np.array(rates), np.array(values)))
    assert np.isnan(found.rate) and found.rate_problem.startswith(why)


def test_a_broken_end_does_not_hide_what_curves_share():
    """HiFiC's LPIPS on Kodak, .07 to .03, is a fifteenth of what JPEG goes through, but a quarter of it in dB."""
    distances = np.array([0.56, 0.32, 0.2, 0.091, 0.037, 0.015])
    jpeg = curve("jpeg", np.array([0.097, 0.256, 0.449, 0.869, 1.55, 2.32]), distances)
    hific = curve("hific", np.array([0.1826, 0.3511, 0.5377]), np.array([0.0686, 0.0428, 0.0278]))
    found = difference("lpips-alex", jpeg, hific)
    assert found.rate_problem == "" and -80 < found.rate < -60
    assert (found.low, found.high) == (pytest.approx(0.0278), pytest.approx(0.0686))


def test_bits_and_quality_can_be_told_apart():
    """Curves of the same rates without a common quality: quality at equal bits, but not bits at equal quality."""
    found = difference("psnr", curve("c", RATES, VALUES["psnr"]), curve("d", RATES, VALUES["psnr"] + 20))
    assert found.rate_problem and found.gain == pytest.approx(20) and not found.gain_problem


def test_quality_rises_where_a_distance_falls():
    assert np.array_equal(quality("lpips-alex", np.array([0.1, 0.3])), [-0.1, -0.3])
    assert quality("ms-ssim", np.array([0.9, 0.99])) == pytest.approx([10, 20])


# Published


@pytest.mark.parametrize(
    ("reference", "test", "percent", "within"),
    [
        # Minnen et al. 2018, abstract: 15.8 % over the hyperprior, 59.8 % over JPEG, "more than 35 %" over WebP, 8.4 %
        # over BPG. The curves of these are other implementations' here, the first pair is the paper's own.
        ("paper-bmshj2018-hyperprior", "paper-mbt2018", -15.8, 0.5),
        ("jpeg", "paper-mbt2018", -59.8, 3),
        ("webp", "paper-mbt2018", -36, 2),
        ("bpg444", "paper-mbt2018", -8.4, 1.5),
        # MLIC's README against VTM 17: ELIC -5.95 %, MLIC+ -11.39 %, MLIC++ -13.39 %; so against each other:
        ("mlicplus", "mlicplusplus", 100 * ((1 - 0.1339) / (1 - 0.1139) - 1), 0.3),
        ("paper-elic2022_mse", "mlicplusplus", 100 * ((1 - 0.1339) / (1 - 0.0595) - 1), 1),
    ],
)
def test_published_differences_come_out_of_the_published_curves(reference, test, percent, within):
    anchors = published.read(shared("anchors/kodak.json"))
    (one, other) = anchors.curves("psnr", [reference, test])
    assert difference("psnr", one, other).rate == pytest.approx(percent, abs=within)


def test_every_published_curve_can_be_read_by_its_measures():
    anchors = published.read(shared("anchors/kodak.json"))
    assert anchors.dataset == "Kodak 24" and len(anchors.anchors) == 45
    assert set(published.USUAL) <= set(anchors.anchors)
    for name, count in (("psnr", 44), ("lpips-alex", 3), ("dists", 2)):
        assert len(anchors.curves(name, list(anchors.anchors))) == count
    for found in anchors.curves("ms-ssim", list(anchors.anchors)):  # some are given in dB
        assert 0.7 < found.values.min() < found.values.max() < 1 and found.published


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", ["not JSON"]),
        ("[]", ["not a file of published curves"]),
        ({"dataset": "Kodak 24"}, ["anchors: Field required"]),
        ({"dataset": "x", "anchors": {"a": {"bpp": [1, 2], "psnr": [30]}}}, ["a: 2 values of bpp but 1 of psnr"]),
        ({"dataset": "x", "anchors": {"a": {"bpp": ["many"]}}}, ["anchors.a.bpp.0"]),
        ({"dataset": "x", "anchors": {"a": {"bpp": [0.0], "psnr": [30]}}}, ["a: bpp 0.0: must be above 0"]),
    ],
)
def test_a_bad_file_of_curves_is_one_line(tmp_path, content, words):
    path = tmp_path / "anchors.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(InputError) as error:
        published.read(path)
    assert "\n" not in str(error.value) and all(word in str(error.value) for word in [str(path), *words])


def test_curves_are_comparable_on_the_same_photographs_alone():
    kodak = [Photograph("", f"{k}.png", pixels=digits) for k, digits in enumerate(sorted(published.KODAK))]
    anchors = published.Anchors(dataset="Kodak 24", anchors={})
    assert len(kodak) == 24 and published.caution(anchors, kodak) == ""
    assert "here are 3 of Kodak 24." in published.caution(anchors, kodak[:3])
    other = Photograph("", "mine.png", pixels="00000000")
    assert "here are 25 other photographs." in published.caution(anchors, [*kodak, other])
    assert published.caution(published.Anchors(dataset="CLIC", anchors={}), kodak)


def test_published_curves_are_dashed_and_the_figure_ends_where_learned_codecs_do():
    own = curve("mine", RATES / 3, VALUES["psnr"])
    wide = curve("jpeg", 2 * RATES, VALUES["psnr"])
    known = Curve("vtm (published)", RATES, VALUES["psnr"] + 1, "a paper")
    figure = Figure()
    figures.rate_distortion(figure, "psnr", [own, wide], [known], ["mine"])
    axes = figure.axes[0]
    styles = {line.get_label(): line.get_linestyle() for line in axes.lines}
    assert styles == {"mine": "-", "jpeg": "-", "vtm (published)": "--"}
    assert axes.get_xlim() == (0, pytest.approx(figures.ROOM * 0.5))
    low, high = axes.get_ylim()
    at_the_edge = np.interp(figures.ROOM * 0.5, RATES, VALUES["psnr"] + 1)
    assert low < 26 and max(36.9, at_the_edge) < high < 40  # not up to what JPEG reaches at 3 bits per pixel
    assert {text.get_text() for text in axes.get_legend().get_texts()} == set(styles)
