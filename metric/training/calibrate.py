"""What the metric's distances mean to people: the chance of a preference, and how many JND."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from analysis.agreement import Floats
from analysis.detection import fit_detection
from analysis.psychometric import fit_preference
from metric.data.judgments import Data
from study.errors import UnavailableError


def calibrate(data: Data, held_out: pd.DataFrame, pairs: Mapping[str, Floats]) -> tuple[dict[str, Any], list[str]]:
    """The plain values of calibration.json, and a sentence for each part that could not be had.

    `held_out` has distance_a and distance_b by comparison, `pairs` the distances of same_different, row for row, NaN
    where they were learned from. Links fitted to held-out distances do not take what was memorised for knowledge.
    """
    calibration: dict[str, Any] = {"preference": None, "jnd": None}
    missing = []
    judged = data.comparisons.set_index("id").reindex(held_out.index)
    if len(judged):
        try:
            link = fit_preference(held_out["distance_a"], held_out["distance_b"], judged["prefer_b"], judged["votes"])
            calibration["preference"] = asdict(link)
        except RuntimeError as error:
            missing.append(f"distances were not calibrated to preferences: {error}")
    if "same_different" in pairs:
        known = np.isfinite(pairs["same_different"])
        looked = data.same_different[known]
        try:
            seen = fit_detection(pairs["same_different"][known], looked["different"], looked["votes"])
            calibration["jnd"] = asdict(seen)
        except (UnavailableError, RuntimeError) as error:
            missing.append(f"distances were not calibrated to JND: {error}")
    return calibration, missing
