"""The setting of a codec that brings a crop nearest to a quality, a PSNR or a distance, found with few encodes."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from distortions.rates import Ladder, Miss, Scale, nearest_steps
from study.images import Pixels
from study.records import quality_name

CLOSE = 0.1
"""dB; a search ends at the first setting that misses its target by less."""
MOST = 100.0  # dB of a crop that comes back unchanged, in place of infinity
NEPERS = math.log(10) / 10  # a dB


@dataclass(frozen=True)
class Measure:
    """What the quality of a crop is measured by."""

    name: str
    """psnr, or the metric's name."""
    against: Callable[[Pixels], Callable[[Pixels], float]]
    """Of the reference: the function that measures a decoded crop."""
    scale: Scale

    @property
    def unit(self) -> str:
        """Of a missed target: dB, or the metric's name."""
        return "dB" if self.name == "psnr" else self.name


class Crops:
    """A photograph's crops of `side` pixels at `places` (x, y), as a codec gives them back. Each step is decoded once.

    The codec codes the whole photograph, but the crops are what observers see.
    """

    def __init__(self, ladder: Ladder, places: Sequence[tuple[int, int]], side: int) -> None:
        self.ladder = ladder
        self.places = places
        self.side = side
        self.references = self._of(ladder.image)
        self._decoded: dict[int, list[Pixels]] = {}

    def at(self, step: int) -> list[Pixels]:
        """One a place."""
        if step not in self._decoded:
            self._decoded[step] = self._of(self.ladder.decode(step))
        return self._decoded[step]

    def _of(self, image: Pixels) -> list[Pixels]:
        return [image[y : y + self.side, x : x + self.side].copy() for x, y in self.places]


def psnr(a: Pixels, b: Pixels) -> float:
    """Peak signal-to-noise ratio of two images in dB over all channels; infinite for equal ones."""
    error = float(np.mean((a.astype(np.float64) - b) ** 2))
    return 10 * float(np.log10(255**2 / error)) if error else float("inf")


PSNR = Measure(
    "psnr",
    lambda reference: lambda decoded: min(psnr(decoded, reference), MOST),
    # The logarithm of the squared error falls with the step about as that of the rate rises.
    Scale(lambda decibels: decibels * NEPERS, lambda value, target: abs(value - target), CLOSE, 20 * NEPERS),
)


def reach_quality(
    crops: Crops, measure: Measure, targets: Iterable[float], tolerance: float
) -> list[tuple[dict[float, int], list[Miss]]]:
    """For each crop: the step nearest to each target, and what is missed.

    Missed by more than `tolerance` (dB, or a share of the distance), or because the step serves a closer target. What
    the ladder has encoded is used first, and each step is measured once. The search is that of rates.
    """
    targets = list(targets)
    judges = [measure.against(reference) for reference in crops.references]
    seen: dict[int, list[float]] = {}

    def value(crop: int, step: int) -> float:
        if step not in seen:
            seen[step] = [judge(decoded) for judge, decoded in zip(judges, crops.at(step), strict=True)]
        return seen[step][crop]

    return [
        _reach(lambda step, crop=crop: value(crop, step), crops.ladder, measure, targets, tolerance)  # type: ignore[misc]
        for crop in range(len(judges))
    ]


def _reach(
    value_at: Callable[[int], float], ladder: Ladder, measure: Measure, targets: list[float], tolerance: float
) -> tuple[dict[float, int], list[Miss]]:
    known = {step: value_at(step) for step in sorted(ladder.files)}
    steps = len(ladder.codec.rate.values)
    found, beyond, doubled = nearest_steps(value_at, known, steps, targets, tolerance, measure.scale)
    missed = []
    for target, value in beyond.items():
        nearest = quality_name((measure.name, float(f"{value:.4g}")))
        missed.append(Miss(target, value, f"the nearest is {nearest}", measure.unit))
    for target, closer in doubled.items():
        reason = f"the nearest setting serves the target {quality_name((measure.name, closer))}"
        missed.append(Miss(target, known[found[closer]], reason, measure.unit))
    return found, sorted(missed, key=lambda miss: miss.target)
