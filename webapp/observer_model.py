"""A simulated observer: scores of a metric, noise, lapses and a side bias make a choice.

The decision is Thurstone's (1927) with lapses (Wichmann & Hill 2001, doi:10.3758/BF03194544):

    v = (d_right - d_left) / s + noise * N(0, 1) + side_bias      left where v > 0, else right

d is the metric's distance from the reference, s the standard deviation of d_b - d_a over the study's test triplets, so
that noise and side bias are in units of how far apart the study's pairs are. With probability `lapse` the side is
tossed.
"""

import math
from dataclasses import asdict, dataclass
from random import Random
from typing import Any

import numpy as np

from study.errors import InputError
from study.folder import Study

# Spread between observers: the standard deviation of the logarithm of the observer's own noise and lapse rate.
NOISE_SPREAD = 0.25
LAPSE_SPREAD = 0.5


@dataclass(frozen=True)
class ObserverModel:
    """One observer; its JSON is stored with the observer."""

    metric: str
    seed: int
    observer: int
    """From 0, among the simulated observers of this seed."""
    noise: float
    """Standard deviation of the decision noise, in units of `scale`."""
    lapse: float
    """Probability of a tossed answer."""
    side_bias: float
    """Added in favour of the left side, in units of `scale`."""
    scale: float
    """s, in the metric's own unit."""

    def description(self) -> dict[str, Any]:
        """What the server stores."""
        return asdict(self)


class Perception:
    """What a metric makes of a study's images: `distances[(reference, image)]` by SHA-256 of their PNG files."""

    def __init__(self, study: Study, metric: str) -> None:
        """Raises InputError where the metric has not scored every triplet."""
        scores = study.scores()
        table = study.triplets.merge(scores[scores["metric"] == metric], left_on="id", right_on="triplet", how="left")
        missing = table[table["distance_a"].isna() | table["distance_b"].isna()]
        if len(missing):
            have = sorted(set(scores["metric"]))
            raise InputError(
                f"{study.scores_path}: no {metric} score of {len(missing):,} of {len(table):,} triplets (scored are:"
                f" {', '.join(have) or 'none'}); make it with: eyetune score {study.root} --metrics {metric}"
            )
        digests = study.stimuli.set_index("id")["sha256"]
        self.metric = metric
        self.distances: dict[tuple[str, str], float] = {}
        for stimulus in ("a", "b"):
            keys = zip(table["reference"].map(digests), table[stimulus].map(digests), strict=True)
            self.distances.update(zip(keys, table[f"distance_{stimulus}"].astype(float), strict=True))
        tests = table[table["kind"] == "test"]
        self.scale = float(np.std(tests["distance_b"] - tests["distance_a"]))
        if not math.isfinite(self.scale) or self.scale == 0:
            raise InputError(f"{study.scores_path}: {metric} sees no difference between the pairs; it cannot choose")


def individual(
    perception: Perception, number: int, noise: float, lapse: float, side_bias: float, seed: int
) -> ObserverModel:
    """Observer `number` of a population: its noise and lapse rate are log-normal around the population's."""
    random = Random(f"{seed}/{number}")
    return ObserverModel(
        metric=perception.metric,
        seed=seed,
        observer=number,
        noise=noise * math.exp(NOISE_SPREAD * random.gauss(0, 1)),
        lapse=min(1.0, lapse * math.exp(LAPSE_SPREAD * random.gauss(0, 1))),
        side_bias=side_bias,
        scale=perception.scale,
    )


def choose(model: ObserverModel, distance_left: float, distance_right: float, random: Random) -> str:
    """The side that the observer chooses: left or right."""
    lapse, toss = random.random() < model.lapse, random.choice(("left", "right"))
    evidence = (distance_right - distance_left) / model.scale + model.noise * random.gauss(0, 1) + model.side_bias
    if lapse or evidence == 0:
        return toss
    return "left" if evidence > 0 else "right"
