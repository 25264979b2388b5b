"""What `[triplets]` of study.toml asks for, as a design."""

import math
from collections.abc import Callable, Mapping, Sequence

from study.design.designs import (
    Design,
    check_known,
    codecs_and_rates,
    disagreeing,
    jnd_ladder,
    ladder,
    random_pairs,
    same_rate,
    stratified,
)
from study.records import Stimulus
from study.settings import Triplets


def design_of(settings: Triplets, distances: Sequence[Mapping[str, float]] = (), same_quality: int = 0) -> Design:
    """The design that `settings` ask for; `settings.pairs` is the number to call it with.

    `distances`, for stratified and disagreement only: of each of `settings.metrics`, by stimulus id, how far the
    stimulus is from its reference, in log-odds: where that of two is larger by d, the metric gives the other the chance
    1 / (1 + exp(-d)) to be chosen. `same_quality` is `quality.pairs`, for codecs-and-rates only.
    """
    assert len(distances) == len(settings.metrics)
    if settings.design == "codecs-and-rates":
        return codecs_and_rates(settings.across_codecs, settings.across_rates, same_quality)
    if settings.design == "stratified":
        return stratified(distances[0])
    if settings.design == "disagreement":
        return disagreeing([_chance(one) for one in distances])
    return {"same-rate": same_rate, "ladder": ladder, "random": random_pairs, "jnd": jnd_ladder}[settings.design]


def _chance(distances: Mapping[str, float]) -> Callable[[Stimulus, Stimulus], float]:
    def chance(a: Stimulus, b: Stimulus) -> float:
        check_known([a, b], distances)
        return (1 + math.tanh((distances[a.id] - distances[b.id]) / 2)) / 2  # the logistic function, without overflow

    return chance
