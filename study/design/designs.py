"""Designs: which stimuli of a crop are compared, so that the votes link them all and use them equally often.

A design takes the distorted stimuli of one crop, without the reference, and says which pairs of them to show. All are
linked by as few pairs of another kind as it takes: conditions at one rate, for example, say nothing of other rates.
Two stimuli with equal pixels are never a pair. The same `random` gives the same pairs. Which of a pair is a and which
is b, and which is shown on the left, is left to the triplets and the schedule.

The generator (`distortions.pairs.crop_triplets`) calls a design for each crop with `Random(f"{seed} pairs {crop}")`,
makes a triplet of each pair and writes `comparison_of` beside it. `over_crops` plans all crops together: use it
where a crop gets too few pairs to link its stimuli.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Protocol

import numpy as np

from study.design.graph import Candidate, Pair, connected_pairs
from study.design.information import disagreement
from study.errors import InputError
from study.records import Stimulus, target_psnr

STRATA = 4  # of predicted differences: quartiles


class Design(Protocol):
    """Chooses `number` pairs of a crop's stimuli; `earlier` are the pairs of conditions of other crops."""

    def __call__(
        self, stimuli: Sequence[Stimulus], number: int, random: Random, earlier: Sequence[Pair] = ()
    ) -> list[tuple[Stimulus, Stimulus]]:
        """The pairs."""


def condition_of(stimulus: Stimulus) -> str:
    """What the stimuli of different crops have in common; the names are those of `analysis.scaling.name_conditions`."""
    if stimulus.target_bits_per_pixel is not None:
        return f"{stimulus.codec} @ {stimulus.target_bits_per_pixel:g}"
    quality = target_psnr(stimulus.settings)
    return f"{stimulus.codec} {stimulus.settings}" if quality is None else f"{stimulus.codec} @ {quality:g} dB"


def comparison_of(a: Stimulus, b: Stimulus) -> str:
    """`rates` (one codec), `codecs` (one rate), `psnr` (codecs at one PSNR) or `both`, as in `Triplet.comparison`."""
    if a.codec == b.codec:
        return "rates"
    quality = target_psnr(a.settings)
    if quality is not None and quality == target_psnr(b.settings):
        return "psnr"
    return "codecs" if _same_rate(a, b) else "both"


def random_pairs(
    stimuli: Sequence[Stimulus], number: int, random: Random, earlier: Sequence[Pair] = ()
) -> list[tuple[Stimulus, Stimulus]]:
    """Any pairs, by chance."""
    return _choose(stimuli, number, random, earlier, lambda a, b: (0, 0))


def same_rate(
    stimuli: Sequence[Stimulus], number: int, random: Random, earlier: Sequence[Pair] = ()
) -> list[tuple[Stimulus, Stimulus]]:
    """Different codecs at one target rate, equally many at each rate; one codec's neighbouring rates link the rates."""
    places = _places(stimuli)

    def kind(a: Stimulus, b: Stimulus) -> tuple[object, float] | None:
        return (a.target_bits_per_pixel, 0) if comparison_of(a, b) == "codecs" else None

    def link(a: Stimulus, b: Stimulus) -> tuple[object, float] | None:
        return (0, abs(places[a.id] - places[b.id])) if a.codec == b.codec else None

    return _choose(stimuli, number, random, earlier, kind, link)


def ladder(
    stimuli: Sequence[Stimulus], number: int, random: Random, earlier: Sequence[Pair] = ()
) -> list[tuple[Stimulus, Stimulus]]:
    """Each codec's rates, neighbours on the ladder of rates first, equally many of each codec.

    Pairs of codecs at one rate link the codecs. Raises InputError where a stimulus has no rate.
    """
    places = _places(stimuli)

    def kind(a: Stimulus, b: Stimulus) -> tuple[object, float] | None:
        return (a.codec, abs(places[a.id] - places[b.id])) if a.codec == b.codec else None

    def link(a: Stimulus, b: Stimulus) -> tuple[object, float] | None:
        return (0, abs(places[a.id] - places[b.id])) if a.codec != b.codec else None

    return _choose(stimuli, number, random, earlier, kind, link)


def stratified(distances: Mapping[str, float], strata: int = STRATA) -> Design:
    """A design with equally many easy and hard pairs, as a metric foretells: quantiles of the predicted difference.

    `distances` has each stimulus's predicted distance from its reference, or its predicted score, by stimulus id; the
    smaller the difference of a pair, the harder it is.
    """

    def design(
        stimuli: Sequence[Stimulus], number: int, random: Random, earlier: Sequence[Pair] = ()
    ) -> list[tuple[Stimulus, Stimulus]]:
        check_known(stimuli, distances)

        def difference(a: Stimulus, b: Stimulus) -> float:
            return abs(distances[a.id] - distances[b.id])

        differences = [difference(a, b) for a, b in itertools.combinations(stimuli, 2) if a.sha256 != b.sha256]
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

    def design(
        stimuli: Sequence[Stimulus], number: int, random: Random, earlier: Sequence[Pair] = ()
    ) -> list[tuple[Stimulus, Stimulus]]:
        def kind(a: Stimulus, b: Stimulus) -> tuple[object, float]:
            return 0, -float(disagreement([[chance(a, b)] for chance in chances])[0])

        return _choose(stimuli, number, random, earlier, kind)

    return design


def jnd_ladder(reference: Stimulus, stimuli: Sequence[Stimulus], number: int) -> list[tuple[Stimulus, Stimulus]]:
    """The reference against `number` rungs of each codec's ladder of rates, both ends and evenly spaced between.

    For a just noticeable difference: the share of observers who tell the rung from the reference, over the ladder,
    is a psychometric function, and the JND is where it passes its criterion. All are linked through the reference,
    and each rung is used once. Raises InputError where a stimulus has no rate.
    """
    pairs = []
    for codec in sorted({s.codec for s in stimuli}):
        rungs = sorted((s for s in stimuli if s.codec == codec and s.sha256 != reference.sha256), key=_rate)
        steps = np.linspace(0, len(rungs) - 1, min(number, len(rungs))) if rungs else np.zeros(0)
        pairs += [(reference, rungs[int(step)]) for step in np.round(steps)]
    return pairs


def over_crops(
    crops: Sequence[Sequence[Stimulus]], design: Design, number: int, seed: int
) -> list[list[tuple[Stimulus, Stimulus]]]:
    """`number` pairs of each crop, planned one crop after another so that all conditions are linked overall, too.

    Conditions and pairs of conditions that earlier crops used less come first. Where `number` is too small to link a
    crop's stimuli, crops together link the conditions as soon as they can. Crops depend on those before them.
    """
    made: list[list[tuple[Stimulus, Stimulus]]] = []
    earlier: list[Pair] = []
    for place, stimuli in enumerate(crops):
        pairs = design(stimuli, number, Random(f"{seed} design {place}"), earlier)
        earlier += [(condition_of(a), condition_of(b)) for a, b in pairs]
        made.append(pairs)
    return made


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
    earlier: Sequence[Pair],
    kind: Callable[[Stimulus, Stimulus], tuple[object, float] | None],
    link: Callable[[Stimulus, Stimulus], tuple[object, float] | None] = lambda a, b: None,
) -> list[tuple[Stimulus, Stimulus]]:
    """The pairs that the stratum and rank by `kind`, or `link`, lead to; nodes are conditions, so crops compare."""
    by_condition = {condition_of(s): s for s in sorted(stimuli, key=lambda s: s.id)}
    assert len(by_condition) == len(stimuli), "a crop has two stimuli of one condition"
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


def _places(stimuli: Sequence[Stimulus]) -> dict[str, int]:
    """Each stimulus's rung on the ladder of all rates."""
    rungs = {rate: place for place, rate in enumerate(sorted({_rate(s) for s in stimuli}))}
    return {s.id: rungs[_rate(s)] for s in stimuli}


def _rate(stimulus: Stimulus) -> float:
    rate = stimulus.target_bits_per_pixel or stimulus.bits_per_pixel
    if rate is None:
        raise InputError(f"stimulus {stimulus.id} ({condition_of(stimulus)}) has no rate, so it is on no ladder")
    return rate


def _same_rate(a: Stimulus, b: Stimulus) -> bool:
    return a.target_bits_per_pixel is not None and a.target_bits_per_pixel == b.target_bits_per_pixel
