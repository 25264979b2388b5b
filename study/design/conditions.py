"""What a stimulus stands for in a design: its condition, its step on a ladder, and how a pair of them is named."""

import json
from collections.abc import Callable, Sequence
from typing import NamedTuple

from study.errors import InputError
from study.records import Stimulus, condition_name, target_quality

REFERENCE = "reference"  # the codec of the crop of the photograph itself


class Step(NamedTuple):
    """What a distorted stimulus was made for. Of different ladders, no step is above another."""

    ladder: str
    """rate, level (of a synthetic distortion), psnr, or a metric's name (of a distance)."""
    value: float


def condition_of(stimulus: Stimulus) -> str:
    """What the stimuli of different crops have in common; the names are those of `analysis.scaling.name_conditions`."""
    return condition_name(stimulus.codec, stimulus.target_bits_per_pixel, stimulus.settings)


def step_of(stimulus: Stimulus) -> Step | None:
    """The step that a distorted stimulus stands on; None where it was made at a fixed setting or an import's."""
    if stimulus.target_bits_per_pixel is not None:
        return Step("rate", stimulus.target_bits_per_pixel)
    quality = target_quality(stimulus.settings)
    if quality is not None:
        return Step(*quality)
    level = json.loads(stimulus.settings).get("level")
    return None if level is None or stimulus.bits_per_pixel is not None else Step("level", float(level))


def comparison_of(a: Stimulus, b: Stimulus) -> str:
    """`rates`, `codecs`, `psnr`, `metric`, `jnd` or `both`, as in `Triplet.comparison`."""
    if REFERENCE in (a.codec, b.codec):
        return "jnd"
    if a.codec == b.codec:
        return "rates"
    step = step_of(a)
    if step is None or step != step_of(b):
        return "both"
    return {"rate": "codecs", "level": "codecs", "psnr": "psnr"}.get(step.ladder, "metric")


def comparable(a: Stimulus, b: Stimulus) -> bool:
    """Whether two distorted stimuli have a common measure: bits, or levels. A level is no rate."""
    return (a.bits_per_pixel is None) == (b.bits_per_pixel is None)


def steps_apart(stimuli: Sequence[Stimulus]) -> Callable[[Stimulus, Stimulus], int]:
    """A function of two of the distorted `stimuli` of a crop: how many steps of their ladder lie between them.

    Of a rate and a PSNR: between them in the order of bits, of all stimuli of a codec.
    """
    steps = {stimulus.id: step_of(stimulus) for stimulus in stimuli}
    place = {step: index for index, step in enumerate(sorted({step for step in steps.values() if step is not None}))}
    by_bits = sorted(stimuli, key=lambda stimulus: (stimulus.codec, stimulus.bits or 0, stimulus.id))
    rank = {stimulus.id: index for index, stimulus in enumerate(by_bits)}

    def apart(a: Stimulus, b: Stimulus) -> int:
        one, other = steps[a.id], steps[b.id]
        if one is not None and other is not None and one.ladder == other.ladder:
            return abs(place[one] - place[other])
        return abs(rank[a.id] - rank[b.id])

    return apart


def rung(stimulus: Stimulus) -> float:
    """Where on its codec's own ladder a distorted stimulus stands: at its bits, or at its level, by the size of it.

    Raises InputError where it has neither.
    """
    if stimulus.bits_per_pixel is not None:
        return stimulus.bits_per_pixel
    step = step_of(stimulus)
    if step is None:
        raise InputError(f"stimulus {stimulus.id} ({condition_of(stimulus)}) has no rate or level: it is on no ladder")
    return step.value
