"""The pairs of all crops of a study: as the generator makes them, and as a plan foretells them."""

from collections.abc import Sequence
from random import Random

from study.design.conditions import REFERENCE
from study.design.designs import Design, Pairs, over_crops
from study.records import Stimulus


def pairs_of_crops(crops: Sequence[Sequence[Stimulus]], design: Design, number: int, seed: int) -> list[Pairs]:
    """`number` pairs of each crop, of each of which the reference and the distorted stimuli are given.

    Each crop by itself, so that other photographs change nothing about it; but all together, in their order, where one
    would get too few pairs to link its stimuli.
    """
    if any(number < len(stimuli) - 2 for stimuli in crops):
        return over_crops(crops, design, number, seed)
    return pairs_of_each_crop(crops, design, number, seed)


def pairs_of_each_crop(crops: Sequence[Sequence[Stimulus]], design: Design, number: int, seed: int) -> list[Pairs]:
    """`number` pairs of each crop, by itself. For designs whose number of pairs does not say whether all are linked."""
    references = [next(stimulus for stimulus in stimuli if stimulus.codec == REFERENCE) for stimuli in crops]
    return [
        design(stimuli, number, Random(f"{seed} pairs {reference.id}"))
        for reference, stimuli in zip(references, crops, strict=True)
    ]
