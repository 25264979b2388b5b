"""A metric's distances of pairs of images, computed once: what was computed is kept, also when it is interrupted."""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from torch import Tensor

from analysis.agreement import Floats
from metric.data.judgments import Data
from metric.measures import Measure
from metric.pairs import over_references
from study.files import replacing

SECONDS = 60.0  # between two writes
COLUMNS = ["reference", "distorted", "distance"]


def distances_of(
    data: Data, title: str, build: Callable[[], Measure], pairs: pd.DataFrame, again: bool = False
) -> Floats:
    """`(len(pairs),)` distances of the pairs (columns reference, distorted: keys of `data.image`).

    Kept in `runs/cache/` under the metric's name `title` by the images' identities, and read from there; `again`
    computes them all anew. `build` makes the metric, where something is missing.
    """
    path = store(data, title)
    kept = pd.Series(dtype=float) if again else _read(path)
    identities = pairs[["reference", "distorted"]].map(data.identity)
    wanted = pd.MultiIndex.from_frame(identities)
    missing = pairs[~wanted.isin(kept.index)].drop_duplicates().sort_values(["reference", "distorted"])
    if len(missing):
        kept = _compute(data, build(), missing[["reference", "distorted"]], kept, path)
    return kept.reindex(wanted).to_numpy(float)


def store(data: Data, name: str) -> Path:
    """Where the distances of the metric called `name` are kept."""
    return data.folder / "runs" / "cache" / f"distances-{name.replace('/', '_').replace(':', '-')}.parquet"


def _compute(data: Data, found: Measure, missing: pd.DataFrame, kept: pd.Series, path: Path) -> pd.Series:
    """`kept` and the distances of the `missing` pairs, which are also written to `path`."""
    done: list[Tensor] = []
    written = time.monotonic()

    def together() -> pd.Series:
        values = torch.cat(done).double().numpy()
        index = pd.MultiIndex.from_frame(missing.iloc[: len(values)].map(data.identity))
        new = pd.Series(values, index=index)
        return pd.concat([kept, new]) if len(kept) else new

    def compare(prepared: object, distorted: Tensor) -> Tensor:
        nonlocal written
        done.append(found.compare(prepared, distorted).cpu())
        if time.monotonic() - written > SECONDS:
            _write(together(), path)
            written = time.monotonic()
        return done[-1]

    try:
        over_references(data, missing, found.prepare, compare, found.name)
    finally:  # also after Ctrl-C: the same command goes on from there
        if done:
            _write(together(), path)
    return together()


def _read(path: Path) -> pd.Series:
    with suppress(OSError, KeyError, ValueError, pa.ArrowException):  # absent or damaged: computed, and written again
        table = pd.read_parquet(path, columns=COLUMNS)
        kept = pd.Series(table["distance"].to_numpy(float), pd.MultiIndex.from_frame(table[COLUMNS[:2]]))
        return kept[np.isfinite(kept.to_numpy()) & ~kept.index.duplicated()]
    return pd.Series(dtype=float)


def _write(kept: pd.Series, path: Path) -> None:
    table = kept.rename_axis(COLUMNS[:2]).rename("distance").reset_index()
    with replacing(path) as aside:
        table.to_parquet(aside, index=False)
