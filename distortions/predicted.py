"""What metrics foretell of a study's stimuli, to choose pairs by. It imports torch: only where a design asks for it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from metric.data.judgments import COMPARISONS, Data
from metric.exporting.exported import describe
from metric.judging.distances import distances_of
from metric.measures import Measure, measure
from metric.network.preference import yeo_johnson
from study.errors import InputError
from study.folder import Study
from study.records import Stimulus


def check_metrics(study: Study) -> None:
    """Raise InputError where a metric of `triplets.metrics` is unknown, cannot be had, or is not for crops so small."""
    assert study.settings.photographs
    side = study.settings.photographs.crop
    for name in study.settings.triplets.metrics:
        try:
            found = _measure(study, name)
            grey = torch.full((1, 3, side, side), 0.5)
            with torch.inference_mode():
                found.compare(found.prepare(grey), grey)
        except InputError as error:
            raise InputError(f"{study.settings_path}: triplets.metrics: {error}") from None


def predicted_distances(study: Study, crops: Sequence[Sequence[Stimulus]]) -> list[dict[str, float]]:
    """Of each of `triplets.metrics`, how far each distorted stimulus is from its reference, in log-odds, by its id.

    Where a's is larger than b's by d, the metric gives b the chance 1 / (1 + exp(-d)) to be chosen. A file of eyetune
    export has a link, fitted to votes, that says so (its lapses are the observers', and left out). The others have
    none: their distances are divided by the standard deviation of their differences over the study, all pairs of a
    crop's stimuli. A difference of that size gets the chance .73 from each, so that none shouts louder than another.

    Distances are kept in `runs/cache`, where `eyetune score` finds them.
    """
    return [_in_log_odds(study, crops, name) for name in study.settings.triplets.metrics]


def spread_of_differences(distances: Sequence[np.ndarray]) -> float:
    """The standard deviation about 0 of the differences of all pairs within each crop's `(N,)` distances."""
    squares = sum(len(crop) * float(((crop - crop.mean()) ** 2).sum()) for crop in distances)
    return (squares / max(1, sum(len(crop) * (len(crop) - 1) / 2 for crop in distances))) ** 0.5


def _in_log_odds(study: Study, crops: Sequence[Sequence[Stimulus]], name: str) -> dict[str, float]:
    pairs = [(crop[0], stimulus) for crop in crops for stimulus in crop[1:]]
    keys = pd.DataFrame([(one.sha256, other.sha256) for one, other in pairs], columns=["reference", "distorted"])
    data = Data(
        study.settings.name, study.root, "no votes", "unknown", study.image, pd.DataFrame(columns=COMPARISONS),
        where=study.images.place,
    )  # fmt: skip
    found = _measure(study, name)
    distances = distances_of(data, found.name, lambda: found, keys)
    link = _link(study, name)
    if link is not None:
        z = (torch.tensor(distances) - link["centre"]) / link["spread"]
        odds = link["slope"] * yeo_johnson(z, torch.tensor(link["power"], dtype=z.dtype)).numpy()
    else:
        ends = np.cumsum([len(crop) - 1 for crop in crops])[:-1]
        odds = distances / (spread_of_differences(np.split(distances, ends)) or 1.0)
    return {stimulus.id: float(value) for (_, stimulus), value in zip(pairs, odds, strict=True)}


def _measure(study: Study, name: str) -> Measure:
    return measure(str(_file(study, name)) if name.endswith(".safetensors") else name)


def _link(study: Study, name: str) -> dict[str, Any] | None:
    """The exported metric's psychometric function, in plain values; None where it was not calibrated, or is no file."""
    if not name.endswith(".safetensors"):
        return None
    link: dict[str, Any] | None = (describe(_file(study, name))["calibration"] or {}).get("preference")
    return link


def _file(study: Study, name: str) -> Path:
    return study.root / name
