"""The pairs of all crops of a study: as the generator makes them, and as a plan foretells them."""

import itertools
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from random import Random

from study.design.conditions import REFERENCE, condition_of
from study.design.designs import Design, Pairs
from study.design.graph import Pair, linked_groups
from study.records import Stimulus

Named = list[tuple[str, str]]
"""The conditions of the pairs of a crop."""


def pairs_of_crops(crops: Sequence[Sequence[Stimulus]], design: Design, number: int, seed: int) -> list[Pairs]:
    """`number` pairs of each crop, of each of which the reference and the distorted stimuli are given.

    Each crop by itself, so that other photographs change nothing about it; but where one would get too few pairs to
    link its stimuli, as many crops together, in their order, as it takes to link the conditions that most crops have,
    then the next as many. Linked only once in the whole study, conditions of a design with few links would hang on
    single pairs, and their intervals stay wide however many crops there are. What few crops have is linked once.
    """
    if all(number >= len(stimuli) - 2 for stimuli in crops):
        return pairs_of_each_crop(crops, design, number, seed)
    together = pairs_of_crops_together(crops, design, number, seed)
    times = Counter(condition_of(s) for stimuli in crops for s in stimuli if s.codec != REFERENCE)
    common = {name for name, having in times.items() if 2 * having > len(crops)}
    size = _crops_to_link([_named(pairs) for pairs in together], common)
    made = together[:size]
    for start in range(size, len(crops), size):
        made += pairs_of_crops_together(crops[start : start + size], design, number, seed + start)
    return _linked_as(together, made, common, set(times))


def pairs_of_each_crop(crops: Sequence[Sequence[Stimulus]], design: Design, number: int, seed: int) -> list[Pairs]:
    """`number` pairs of each crop, by itself. For designs whose number of pairs does not say whether all are linked."""
    references = [next(stimulus for stimulus in stimuli if stimulus.codec == REFERENCE) for stimuli in crops]
    return [
        design(stimuli, number, Random(f"{seed} pairs {reference.id}"))
        for reference, stimuli in zip(references, crops, strict=True)
    ]


def pairs_of_crops_together(crops: Sequence[Sequence[Stimulus]], design: Design, number: int, seed: int) -> list[Pairs]:
    """`number` pairs of each crop, planned one crop after another so that all conditions are linked overall, too.

    Conditions and pairs of conditions that earlier crops used less come first. Where `number` is too small to link a
    crop's stimuli, crops together link the conditions as soon as they can. Crops depend on those before them.
    """
    made: list[Pairs] = []
    earlier: Counter[Pair] = Counter()
    for place, stimuli in enumerate(crops):
        pairs = design(stimuli, number, Random(f"{seed} design {place}"), earlier)
        earlier.update(_named(pairs))
        made.append(pairs)
    return made


def _crops_to_link(pairs: Sequence[Named], common: set[str]) -> int:
    """How many crops, from the first on, leave no more groups with `common` conditions in them than all do."""

    def groups(crops: int) -> int:
        found = linked_groups(itertools.chain.from_iterable(pairs[:crops]), common)
        return sum(not group.isdisjoint(common) for group in found)

    return bisect_left(range(1, len(pairs)), -groups(len(pairs)), key=lambda crops: -groups(crops)) + 1


def _linked_as(together: list[Pairs], made: list[Pairs], common: set[str], conditions: set[str]) -> list[Pairs]:
    """`made`, which links the `common` conditions as `together` does, with crops of that where it leaves more apart.

    These are crops that show others than the common ones, so that all of `together`'s pairs of these are there.
    """
    named, wanted = [_named(pairs) for pairs in made], [_named(pairs) for pairs in together]

    def groups(pairs: list[Named]) -> int:
        return len(linked_groups(itertools.chain.from_iterable(pairs), conditions))

    fewest, linked = groups(wanted), list(made)
    for place, pairs in enumerate(wanted):
        if groups(named) == fewest:
            break
        if not common.issuperset(itertools.chain.from_iterable(pairs)):
            named[place], linked[place] = pairs, together[place]
    return linked


def _named(pairs: Pairs) -> Named:
    return [(condition_of(a), condition_of(b)) for a, b in pairs]
