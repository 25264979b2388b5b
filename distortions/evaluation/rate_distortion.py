"""Rate-distortion curves, and Bjontegaard's differences between two of them.

G. Bjontegaard, "Calculation of average PSNR differences between RD-curves", ITU-T VCEG-M33, 2001, through the package
`bjontegaard` (FAU Erlangen-Nuernberg): piecewise cubic interpolation (pchip) over the logarithm of the rate.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FEWEST = 3
"""Points that a curve needs before a difference is computed."""
OVERLAP = 0.5
"""Share of the shorter curve that must lie beside the other one, in quality for bits, in log rate for quality."""
LEAST = 0.1
"""And of the longer one: its mere end, where it breaks down, is no measure of another codec."""
UNITS = {"psnr": "dB", "ms-ssim": "dB"}
"""Of differences in quality; those of distances have none."""


@dataclass(frozen=True)
class Curve:
    """A codec's mean bits per pixel and mean of one measure, a point a setting, in the order of the bits."""

    title: str
    bits_per_pixel: Floats
    values: Floats
    """As the measure has them: dB of PSNR, MS-SSIM up to 1, distances."""
    published: str = ""
    """Where a curve that was not measured here was published."""


@dataclass(frozen=True)
class Difference:
    """How a curve lies to its reference."""

    rate: float = float("nan")
    """Bits at equal quality: % more than the reference's, less where negative (BD-rate)."""
    rate_problem: str = ""
    """Why there is no such number."""
    low: float = float("nan")
    high: float = float("nan")
    """Between which values of the measure both curves were compared for it."""
    gain: float = float("nan")
    """The measure at equal bits: above the reference's by so much (BD-PSNR; of MS-SSIM in dB; of distances, more)."""
    gain_problem: str = ""


def curve(title: str, bits_per_pixel: Floats, values: Floats, published: str = "") -> Curve:
    """The curve through points in any order."""
    order = np.argsort(bits_per_pixel, kind="stable")
    return Curve(title, np.asarray(bits_per_pixel, float)[order], np.asarray(values, float)[order], published)


def quality(measure: str, values: Floats) -> Floats:
    """Values of a measure on the scale where more is better: dB of PSNR and of 1 - MS-SSIM, minus a distance."""
    values = np.asarray(values, float)
    if measure == "psnr":
        return values
    if measure == "ms-ssim":
        with np.errstate(divide="ignore"):
            return -10 * np.log10(1 - values)
    return -values


def difference(measure: str, reference: Curve, test: Curve) -> Difference:
    """How `test` lies to `reference`: bits at equal quality, quality at equal bits, or why they cannot be told."""
    problem = _flaw(measure, reference) or _flaw(measure, test)
    if problem:
        return Difference(rate_problem=problem, gain_problem=problem)
    import bjontegaard  # imports pyplot

    rates = [reference.bits_per_pixel, test.bits_per_pixel]
    qualities = [quality(measure, part.values) for part in (reference, test)]
    points = (rates[0], qualities[0], rates[1], qualities[1])
    how = {"method": "pchip", "require_matching_points": False, "min_overlap": 0}
    rate_problem = _apart([_decibels(measure, part.values) for part in (reference, test)], "quality")
    gain_problem = _apart([np.log(part) for part in rates], "bits per pixel")
    rate = gain = low = high = float("nan")
    if not rate_problem:
        rate = float(bjontegaard.bd_rate(*points, **how))
        ends = max(part.min() for part in qualities), min(part.max() for part in qualities)
        low, high = sorted(_value(measure, end) for end in ends)
    if not gain_problem:
        gain = float(bjontegaard.bd_psnr(*points, **how))
        gain = gain if measure in UNITS else -gain
    return Difference(rate, rate_problem, low, high, gain, gain_problem)


def _decibels(measure: str, values: Floats) -> Floats:
    """Quality in dB, a distance's too: in its own units most of a distance's range is where a codec breaks down."""
    return quality(measure, values) if measure in UNITS else -10 * np.log10(np.maximum(values, 1e-12))


def _value(measure: str, quality: float) -> float:
    """The measure's value of a quality."""
    if measure == "psnr":
        return float(quality)
    return float(1 - 10 ** (-quality / 10)) if measure == "ms-ssim" else -float(quality)


def _flaw(measure: str, found: Curve) -> str:
    """Why the curve is none to integrate along."""
    if len(found.values) < FEWEST:
        points = "one point" if len(found.values) == 1 else f"{len(found.values)} points"
        return f"{found.title} has {points}; {FEWEST} are needed"
    quality_ = quality(measure, found.values)
    if not np.isfinite(quality_).all():
        return f"{found.title} has values without a finite quality"
    falls = np.flatnonzero((np.diff(quality_) <= 0) | (np.diff(found.bits_per_pixel) <= 0))
    if len(falls):
        low, high = found.bits_per_pixel[falls[0] : falls[0] + 2]
        return f"{found.title} does not get better from {low:.3f} to {high:.3f} bpp"
    return ""


def _apart(ranges: list[Floats], what: str) -> str:
    """Why two ranges have too little in common."""
    ends = [(part.min(), part.max()) for part in ranges]
    common = min(high for _, high in ends) - max(low for low, _ in ends)
    shorter, longer = sorted(high - low for low, high in ends)
    if common <= 0:
        return f"the curves share no {what}"
    if common < OVERLAP * shorter:
        return f"the curves share {common / shorter:.0%} of the shorter one's range of {what}; half is needed"
    if common < LEAST * longer:
        return f"the curves share {common / longer:.0%} of the longer one's range of {what}; a tenth is needed"
    return ""
