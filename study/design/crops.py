"""The pairs of all crops of a study: as the generator makes them, and as a plan foretells them."""

from bisect import bisect_left
from collections.abc import Sequence
from random import Random

from study.design.conditions import REFERENCE, condition_of
from study.design.designs import Design, Pairs, over_crops
from study.design.graph import linked_groups
from study.records import Stimulus


def pairs_of_crops(crops: Sequence[Sequence[Stimulus]], design: Design, number: int, seed: int) -> list[Pairs]:
    """`number` pairs of each crop, of each of which the reference and the distorted stimuli are given.

    Each crop by itself, so that other photographs change nothing about it; but where one would get too few pairs to
    link its stimuli, as many crops together, in their order, as it takes to link all conditions, then the next as many.
    Linked only once in the whole study, conditions of a design with few links would hang on single pairs, and their
    intervals stay wide however many crops there are.
    """
    if all(number >= len(stimuli) - 2 for stimuli in crops):
        return pairs_of_each_crop(crops, design, number, seed)
    together = over_crops(crops, design, number, seed)
    size = _crops_to_link(together)
    made = together[:size]
    for start in range(size, len(crops), size):
        made += over_crops(crops[start : start + size], design, number, seed + start)
    return made


def pairs_of_each_crop(crops: Sequence[Sequence[Stimulus]], design: Design, number: int, seed: int) -> list[Pairs]:
    """`number` pairs of each crop, by itself. For designs whose number of pairs does not say whether all are linked."""
    references = [next(stimulus for stimulus in stimuli if stimulus.codec == REFERENCE) for stimuli in crops]
    return [
        design(stimuli, number, Random(f"{seed} pairs {reference.id}"))
        for reference, stimuli in zip(references, crops, strict=True)
    ]


def _crops_to_link(pairs: Sequence[Pairs]) -> int:
    """How many crops, from the first on, leave no more groups of conditions than all do."""
    named = [[(condition_of(a), condition_of(b)) for a, b in chosen] for chosen in pairs]
    conditions = {name for chosen in named for pair in chosen for name in pair}

    def groups(crops: int) -> int:
        return len(linked_groups((pair for chosen in named[:crops] for pair in chosen), conditions))

    return bisect_left(range(1, len(named)), -groups(len(named)), key=lambda crops: -groups(crops)) + 1
