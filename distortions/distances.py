"""Distances of crops by a metric, for stimuli of equal distance. It imports torch: only where a study asks for it."""

import math
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from distortions.quality import Measure
from distortions.rates import CLOSE, Scale, share
from metric import measures
from metric.pairs import to_tensor
from metric.torch_threads import one_thread
from study.errors import InputError, UnavailableError
from study.folder import Study
from study.images import Pixels

KEPT = 4  # references that are prepared at a time: VGG's features of one of 256 x 256 pixels take 32 MB
LEAST = 1e-6  # of a crop that comes back unchanged: the logarithm has to be finite


def distance(asked: str, root: Path) -> Measure:
    """Distance by what `quality.metric` asks for, on this process's CPU; a file's path is relative to `root`.

    Raises InputError.
    """
    return _distance(str((root / asked).absolute()) if asked.endswith(".safetensors") else asked)


@lru_cache(1)
def _distance(source: str) -> Measure:
    metric = measures.measure(source)

    @lru_cache(KEPT)
    def prepared(reference: bytes, side: int) -> Any:
        return metric.prepare(to_tensor([np.frombuffer(reference, np.uint8).reshape(side, side, 3)]))

    def against(reference: Pixels) -> Callable[[Pixels], float]:
        def judge(decoded: Pixels) -> float:
            with one_thread(), torch.inference_mode():
                known = prepared(reference.tobytes(), len(reference))
                return max(float(metric.compare(known, to_tensor([decoded]))), LEAST)

        return judge

    return Measure(
        metric.name,
        against,
        # The logarithm of the distance falls with the step about as that of the rate rises.
        Scale(lambda value: -math.log(value), share, CLOSE, -math.log(0.5)),
    )


def metric_name(study: Study) -> str:
    """What tables call the metric that `quality.metric` asks for; a file's name has the beginning of its hash.

    Raises InputError for an unknown metric, for absent weights, and for crops that are too small for it.
    """
    asked, photographs = study.settings.quality.metric, study.settings.photographs
    assert asked is not None and photographs
    where = f"{study.settings_path}: quality.metric = {asked!r}"
    try:
        found = distance(asked, study.root)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    grey = np.full((photographs.crop, photographs.crop, 3), 128, np.uint8)
    try:
        found.against(grey)(grey)
    except UnavailableError as error:
        raise InputError(f"{where}: {error}; raise photographs.crop") from None
    return found.name
