"""The setting of a codec that brings a crop nearest to a PSNR, found with few encodes."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from distortions.rates import Ladder, Miss, nearest_steps
from study.images import Pixels

CLOSE = 0.1
"""dB; on a fine ladder a search looks beside a setting that is off by more."""
MOST = 100.0  # dB of a crop that comes back unchanged, in place of infinity


def psnr(a: Pixels, b: Pixels) -> float:
    """Peak signal-to-noise ratio of two images in dB over all channels; infinite for equal ones."""
    error = float(np.mean((a.astype(np.float64) - b) ** 2))
    return 10 * float(np.log10(255**2 / error)) if error else float("inf")


def reach_psnr(
    ladder: Ladder, places: Sequence[tuple[int, int]], side: int, targets: Iterable[float], tolerance: float
) -> list[tuple[dict[float, int], list[Miss]]]:
    """For each crop of `side` pixels at `places` (x, y): the step nearest to each target in dB, and what is missed.

    Missed by more than `tolerance` dB, or because the step serves a closer target. The PSNR is that of the crop, which
    is what observers see, while the codec codes the whole photograph. What the ladder has encoded is used first, and
    each step is decoded once. The search is that of rates: the reciprocal of the squared error rises with the step,
    and its logarithm nearly along a straight line.
    """
    targets = list(targets)
    steps = len(ladder.codec.rate.values)
    seen: dict[int, list[float]] = {}

    def ratio(crop: int, step: int) -> float:
        if step not in seen:
            decoded = ladder.decode(step)
            seen[step] = [
                _ratio(min(psnr(decoded[y : y + side, x : x + side], ladder.image[y : y + side, x : x + side]), MOST))
                for x, y in places
            ]
        return seen[step][crop]

    return [_reach(crop, ratio, ladder, steps, targets, tolerance) for crop in range(len(places))]


def _reach(
    crop: int, ratio: Callable[[int, int], float], ladder: Ladder, steps: int, targets: list[float], tolerance: float
) -> tuple[dict[float, int], list[Miss]]:
    known = {step: ratio(crop, step) for step in sorted(ladder.files)}
    decibels = {_ratio(target): target for target in targets}
    share, close = 1 - 1 / _ratio(tolerance), 1 - 1 / _ratio(CLOSE)
    found, beyond, doubled = nearest_steps(lambda step: ratio(crop, step), known, steps, decibels, share, close)
    missed = []
    for target, nearest in beyond.items():
        reached = round(10 * float(np.log10(nearest)), 3)
        missed.append(Miss(decibels[target], reached, f"the nearest is {reached:.2f} dB", "dB"))
    for target, closer in doubled.items():
        reached = round(10 * float(np.log10(known[found[closer]])), 3)
        reason = f"the nearest setting serves the target {decibels[closer]:g} dB"
        missed.append(Miss(decibels[target], reached, reason, "dB"))
    return {decibels[target]: step for target, step in found.items()}, sorted(missed, key=lambda miss: miss.target)


def _ratio(decibels: float) -> float:
    return 10 ** (decibels / 10)
