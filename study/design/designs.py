"""Designs: which stimuli of a crop are compared, so that the votes link them all and use them equally often.

A design takes the stimuli of one crop and says which pairs of them to show; the reference among them is left out, but
for a JND. All are linked by as few pairs of another kind as it takes: conditions at one rate, for example, say nothing
of other rates. Two stimuli with equal pixels are never a pair. The same `random` gives the same pairs. Which of a pair
is a and which is b, and which is shown on the left, is left to the triplets and the schedule.

`study.design.from_settings.design_of` makes a design of what study.toml asks for. The generator
(`distortions.pairs.crop_triplets`) calls it for each crop with a `random` of the crop's own, makes a triplet of each
pair and writes `comparison_of` beside it. `study.design.crops` has the pairs of all crops.
"""

import itertools
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from random import Random
from types import MappingProxyType
from typing import Protocol

import numpy as np

from study.design.conditions import (
    REFERENCE,
    comparable,
    comparison_of,
    condition_of,
    rung,
    step_of,
    steps_apart,
)
from study.design.graph import Candidate, Pair, connected_pairs
from study.design.information import disagreement
from study.errors import InputError
from study.records import Stimulus

STRATA = 4  # of predicted differences: quartiles
FAR = 1000.0  # steps; what stands on another ladder is farther away than all that stands on the same

Pairs = list[tuple[Stimulus, Stimulus]]
Earlier = Mapping[Pair, int]
NONE: Earlier = MappingProxyType({})
Sort = Callable[[Stimulus, Stimulus], tuple[object, float] | None]
"""The stratum and rank of a pair, or None where it may not be shown."""


class Design(Protocol):
    """Chooses `number` pairs of a crop's stimuli; `earlier`: how often other crops show conditions."""

    def __call__(self, stimuli: Sequence[Stimulus], number: int, random: Random, earlier: Earlier = NONE) -> Pairs:
        """The pairs."""


def random_pairs(stimuli: Sequence[Stimulus], number: int, random: Random, earlier: Earlier = NONE) -> Pairs:
    """Any pairs, by chance."""
    return _choose(stimuli, number, random, earlier, lambda a, b: (0, 0))


def same_rate(stimuli: Sequence[Stimulus], number: int, random: Random, earlier: Earlier = NONE) -> Pairs:
    """Different codecs at one target, a rate, a quality or a level: equally many at each.

    One codec's neighbours on its ladder link the targets. Codecs and synthetic distortions are two groups.
    """
    apart = steps_apart(stimuli)

    def kind(a: Stimulus, b: Stimulus) -> tuple[object, float] | None:
        step = step_of(a)
        return (step, 0) if a.codec != b.codec and step is not None and step == step_of(b) else None

    def link(a: Stimulus, b: Stimulus) -> tuple[object, float] | None:
        return (0, apart(a, b)) if a.codec == b.codec else None

    return _choose(stimuli, number, random, earlier, kind, link)


def ladder(stimuli: Sequence[Stimulus], number: int, random: Random, earlier: Earlier = NONE) -> Pairs:
    """Each codec's rates, qualities or levels, neighbours on its ladder first, equally many of each codec.

    Pairs of codecs at one target link the codecs; codecs and synthetic distortions are two groups. Raises InputError
    where a stimulus has neither a rate nor a level.
    """
    apart = steps_apart(stimuli)
    rungs = {s.id: rung(s) for s in stimuli if s.codec != REFERENCE}

    def kind(a: Stimulus, b: Stimulus) -> tuple[object, float] | None:
        return (a.codec, apart(a, b)) if a.codec == b.codec else None

    def link(a: Stimulus, b: Stimulus) -> tuple[object, float] | None:
        if a.codec == b.codec or not comparable(a, b):
            return None
        one, other = step_of(a), step_of(b)
        if one is not None and other is not None and one.ladder == other.ladder:
            return 0, apart(a, b)
        return 0, FAR + abs(math.log(rungs[a.id] / rungs[b.id]))

    return _choose(stimuli, number, random, earlier, kind, link)


def codecs_and_rates(across_codecs: int, across_rates: int, same_quality: int) -> Design:
    """A design with so many pairs at most, whatever `number` is: of codecs at a rate, of a codec's rates, at a quality.

    Of different codecs at one rate or level, and at one quality, a random choice; of one codec, neighbours on the
    ladder first. All are linked where there are pairs enough, which it does not see to.
    """

    def design(stimuli: Sequence[Stimulus], number: int, random: Random, earlier: Earlier = NONE) -> Pairs:
        distorted = [stimulus for stimulus in stimuli if stimulus.codec != REFERENCE]
        pairs = [pair for pair in itertools.combinations(distorted, 2) if pair[0].sha256 != pair[1].sha256]
        random.shuffle(pairs)
        apart = steps_apart(distorted)
        named: dict[str, Pairs] = {}
        for a, b in pairs:
            named.setdefault(comparison_of(a, b), []).append((a, b))
        rates = sorted(named.pop("rates", []), key=lambda pair: apart(*pair))
        codecs = named.pop("codecs", [])
        named.pop("both", None)
        equal = [pair for name in sorted(named) for pair in named[name][:same_quality]]
        return codecs[:across_codecs] + rates[:across_rates] + equal

    return design


def stratified(distances: Mapping[str, float], strata: int = STRATA) -> Design:
    """A design with equally many easy and hard pairs, as a metric foretells: quantiles of the predicted difference.

    `distances` has each stimulus's predicted distance from its reference, or its predicted score, by stimulus id; the
    smaller the difference of a pair, the harder it is. The quantiles are those of the crop's pairs.
    """

    def design(stimuli: Sequence[Stimulus], number: int, random: Random, earlier: Earlier = NONE) -> Pairs:
        distorted = [stimulus for stimulus in stimuli if stimulus.codec != REFERENCE]
        check_known(distorted, distances)

        def difference(a: Stimulus, b: Stimulus) -> float:
            return abs(distances[a.id] - distances[b.id])

        differences = [difference(a, b) for a, b in itertools.combinations(distorted, 2) if a.sha256 != b.sha256]
        if not differences:
            return []
        edges = np.quantile(differences, np.arange(1, strata) / strata)
        return _choose(
            stimuli, number, random, earlier,
            lambda a, b: (int(np.searchsorted(edges, difference(a, b), side="left")), 0),
        )  # fmt: skip

    return design


def disagreeing(chances: Sequence[Callable[[Stimulus, Stimulus], float]]) -> Design:
    """A design that tells metrics apart: the spanning tree of most disagreement, then the pairs of most disagreement.

    Each of `chances` is one metric's: the chance in [0, 1] that an observer finds its second stimulus closer to the
    reference than its first, from a link fitted to votes (`analysis.psychometric.Preference.probability`). Stimuli on
    which the metrics agree are used once or little more.
    """

    def design(stimuli: Sequence[Stimulus], number: int, random: Random, earlier: Earlier = NONE) -> Pairs:
        def kind(a: Stimulus, b: Stimulus) -> tuple[object, float]:
            return 0, -float(disagreement([[chance(a, b)] for chance in chances])[0])

        return _choose(stimuli, number, random, earlier, kind)

    return design


def jnd_ladder(stimuli: Sequence[Stimulus], number: int, random: Random, earlier: Earlier = NONE) -> Pairs:
    """The reference against `number` rungs of each codec's ladder, both ends and evenly spaced between.

    For a just noticeable difference: the share of observers who tell the rung from the reference, over the ladder,
    is a psychometric function, and the JND is where it passes its criterion. All are linked through the reference,
    and each rung is used once. Nothing is by chance. Raises InputError where a stimulus has neither a rate nor a
    level.
    """
    reference = next(stimulus for stimulus in stimuli if stimulus.codec == REFERENCE)
    pairs = []
    for codec in sorted({s.codec for s in stimuli} - {REFERENCE}):
        by_pixels = {s.sha256: s for s in sorted(stimuli, key=lambda s: s.id) if s.codec == codec}
        rungs = sorted((s for s in by_pixels.values() if s.sha256 != reference.sha256), key=lambda s: (rung(s), s.id))
        steps = np.linspace(0, len(rungs) - 1, min(number, len(rungs))) if rungs else np.zeros(0)
        pairs += [(reference, rungs[int(step)]) for step in np.round(steps)]
    return pairs


def check_known(stimuli: Sequence[Stimulus], values: Mapping[str, float]) -> None:
    """Raise InputError where a stimulus has no finite value."""
    for stimulus in stimuli:
        if not np.isfinite(values.get(stimulus.id, np.nan)):
            raise InputError(
                f"stimulus {stimulus.id} ({condition_of(stimulus)}) has no predicted distance; score the study first"
            )


def _choose(
    stimuli: Sequence[Stimulus],
    number: int,
    random: Random,
    earlier: Earlier,
    kind: Sort,
    link: Sort = lambda a, b: None,
) -> Pairs:
    """The pairs that the stratum and rank by `kind`, or `link`, lead to; nodes are conditions, so crops compare."""
    distorted = sorted((s for s in stimuli if s.codec != REFERENCE), key=lambda s: s.id)
    by_condition = {condition_of(s): s for s in distorted}
    if len(by_condition) < len(distorted):
        times = Counter(map(condition_of, distorted)).most_common(1)[0][0]
        raise InputError(f"{distorted[0].source}: a crop has two stimuli of the condition {times!r}")
    candidates: list[Candidate] = []
    links: list[Candidate] = []
    for a, b in itertools.combinations(sorted(by_condition), 2):
        one, other = by_condition[a], by_condition[b]
        if one.sha256 == other.sha256:
            continue
        for list_, sort in ((candidates, kind(one, other)), (links, link(one, other))):
            if sort is not None:
                list_.append(Candidate(a, b, str(sort[0]), sort[1]))
                break
    chosen = connected_pairs(candidates, number, random, links, earlier)
    return [(by_condition[str(c.first)], by_condition[str(c.second)]) for c in chosen]
