"""The setting of a codec that comes nearest to a rate, found with few encodes."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from distortions.protocol import Codec, CodecError
from study.images import Pixels

CLOSE = 0.01
"""A search ends at the first rate that misses its target by less than this share."""

_GROWTH = 4.5  # log of the finest rate over the poorest: 4 to 6 for the codecs here; only the first guess needs it


class Ladder:
    """One photograph's encodings by one codec over its rate setting's values. Each is made once."""

    def __init__(self, codec: Codec, image: Pixels) -> None:
        self.codec = codec
        self.image = image
        self.files: dict[int, bytes] = {}
        """The encoded files, by the index of their rate value."""

    def bits(self, step: int) -> int:
        """8 times the bytes of the whole file at the rate setting's value number `step`."""
        if step not in self.files:
            self.files[step] = self.codec_at(step).encode(self.image)
        return 8 * len(self.files[step])

    def bits_per_pixel(self, step: int) -> float:
        """The file's bits over the pixels of the photograph."""
        return self.bits(step) / (self.image.shape[0] * self.image.shape[1])

    def codec_at(self, step: int) -> Codec:
        """The codec at the rate setting's value number `step`."""
        return self.codec.at(self.codec.rate.values[step])

    def decode(self, step: int) -> Pixels:
        """The whole photograph as the codec gives it back. Raises CodecError where its size is another."""
        self.bits(step)
        decoded = self.codec.decode(self.files[step])
        if decoded.shape != self.image.shape:
            (height, width), (rows, columns) = self.image.shape[:2], decoded.shape[:2]
            raise CodecError(f"it gave back {columns} x {rows} pixels of {width} x {height}")
        return decoded


@dataclass(frozen=True)
class Miss:
    """A rate or a quality that a codec did not reach on a photograph."""

    target: float
    nearest: float | None
    """The nearest one that it did reach; None where it cannot encode the photograph."""
    reason: str
    unit: str = "bpp"
    """Of both: bpp, dB, or the name of the metric that they are distances by."""


@dataclass(frozen=True)
class Scale:
    """How values of one kind are searched for: rates, PSNRs or distances."""

    height: Callable[[float], float]
    """Of a value, finite: it rises with a codec's step, by about `_GROWTH` over them all, nearly along a line."""
    off: Callable[[float, float], float]
    """By how much a value misses a target, in the unit of `close` and of tolerances."""
    close: float
    """What is off by less ends a search."""
    poorest: float
    """About the height at a codec's poorest setting; only the first guess needs it."""


def share(value: float, target: float) -> float:
    """By which share of `target` a value is off."""
    return abs(value / target - 1)


RATE = Scale(math.log, share, CLOSE, math.log(0.1))


def reach(ladder: Ladder, targets: Iterable[float], tolerance: float) -> tuple[dict[float, int], list[Miss]]:
    """The step nearest to each target in bits per pixel, and the targets that are missed by more than `tolerance`.

    A step serves one target only: where two land on one step, the closer keeps it and the other is missed.
    """
    known = {step: ladder.bits_per_pixel(step) for step in sorted(ladder.files)}
    steps = len(ladder.codec.rate.values)
    found, beyond, doubled = nearest_steps(ladder.bits_per_pixel, known, steps, targets, tolerance)
    nearest = "the nearest is" if steps > 1 else "the codec has one rate,"
    missed = [Miss(target, rate, f"{nearest} {rate:.3f} bpp") for target, rate in beyond.items()]
    missed += [
        Miss(target, known[found[closer]], f"the nearest setting serves the target {closer:g} bpp")
        for target, closer in doubled.items()
    ]
    return found, sorted(missed, key=lambda miss: miss.target)


def nearest_steps(
    value_at: Callable[[int], float],
    known: dict[int, float],
    steps: int,
    targets: Iterable[float],
    tolerance: float,
    scale: Scale = RATE,
) -> tuple[dict[float, int], dict[float, float], dict[float, float]]:
    """The step nearest to each target; the nearest values of those missed; the rivals of those that lost their step.

    `value_at`, `known` and `steps` are those of `nearest_step`. A target is missed when its nearest value is off by
    more than `tolerance`; before, steps beside it are looked at, for values are not quite monotone. A step serves the
    closest target only, which is the rival of the others.
    """
    found: dict[float, int] = {}
    beyond: dict[float, float] = {}
    doubled: dict[float, float] = {}
    for target in sorted(targets, key=scale.height):
        step = nearest_step(value_at, known, steps, target, scale)
        if scale.off(known[step], target) > tolerance:
            for beside in range(max(step - 2, 0), min(step + 3, steps)):
                if beside not in known:
                    known[beside] = value_at(beside)
            step = _closest(known, target, scale)
        if scale.off(known[step], target) > tolerance:
            beyond[target] = known[step]
        else:
            found[target] = step
    for target in list(found):
        rivals = [other for other in found if found[other] == found[target]]
        closer = min(rivals, key=lambda rival: scale.off(known[found[rival]], rival))
        if closer != target:
            doubled[target] = closer
            del found[target]
    return found, beyond, doubled


def nearest_step(
    value_at: Callable[[int], float], known: dict[int, float], steps: int, target: float, scale: Scale = RATE
) -> int:
    """The step of 0 .. `steps` - 1 whose value is nearest to `target`, or any that is close.

    The height of `value_at` is taken to rise with the step. `known` holds the values that earlier searches saw and gets
    those of this one. Regula falsi on the height, by halves when that is slow: few encodes, never more than about
    2 log2(steps).
    """
    goal = scale.height(target)
    heights = {step: scale.height(value) for step, value in known.items()}
    high = min((step for step, height in heights.items() if height >= goal), default=steps)
    low = max((step for step, height in heights.items() if height < goal and step < high), default=-1)
    probes = 0
    while high - low > 1 and not (known and scale.off(known[_closest(known, target, scale)], target) < scale.close):
        step = (low + high) // 2 if probes > 3 and probes % 2 else _guess(heights, steps, low, high, goal, scale)
        known[step] = value_at(step)
        heights[step] = scale.height(known[step])
        low, high = (step, high) if heights[step] < goal else (low, step)
        probes += 1
    return _closest(known, target, scale)


def _guess(heights: dict[int, float], steps: int, low: int, high: int, goal: float, scale: Scale) -> int:
    """A step between `low` and `high`, both left out, where a straight line through known heights expects the goal."""
    slope = _GROWTH / steps
    if not heights:
        step = (goal - scale.poorest) / slope
    else:
        anchor = low if low in heights else high
        others = [other for other in ((high,) if low in heights and high in heights else heights) if other != anchor]
        if others:
            other = min(others, key=lambda step: abs(step - anchor))
            rise = (heights[other] - heights[anchor]) / (other - anchor)
            slope = rise if rise > 0 else slope
        step = anchor + (goal - heights[anchor]) / slope
    return min(max(round(step), low + 1), high - 1)


def _closest(known: dict[int, float], target: float, scale: Scale) -> int:
    return min(known, key=lambda step: (scale.off(known[step], target), step))
