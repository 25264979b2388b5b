"""2AFC by kind of comparison (`part`), by codec, by pair of codecs, and by rate."""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.agreement import Floats
from analysis.resampling import estimate, replicate_means
from metric.data.judgments import Data
from metric.judging.judged import WIDTH, Row, per_comparison, sums_of

WAYS = ("part", "codec", "codecs", "rate")
TITLES = {
    "part": "kind of comparison", "codec": "codec of either image", "codecs": "pair of codecs",
    "rate": "bits per pixel, mean of both images",
}  # fmt: skip
MEAN = "mean"


def slices(data: Data, by: str) -> dict[str, NDArray[np.bool_]]:
    """The comparisons `(T,)` of each slice, by its name; empty where the data do not tell.

    part: as they come. codec: those in which it made either image, so slices overlap. codecs: both, in either order.
    rate: the mean of both images' bits per pixel, in octaves centred on 1/8, 1/4, 1/2, 1, ..., so that rates that were
    aimed at lie in the middle.
    """
    voted = data.comparisons
    if by == "part":
        return {str(name): (voted["part"] == name).to_numpy() for name in voted["part"].dropna().unique() if name != ""}
    if by == "rate":
        octave = np.round(np.log2(voted[["rate_a", "rate_b"]].astype(float).mean(axis=1, skipna=False)))
        octaves = sorted(octave[np.isfinite(octave)].unique())
        return {f"{2 ** (o - 0.5):.2g} to {2 ** (o + 0.5):.2g}": (octave == o).to_numpy() for o in octaves}
    sides = [voted[f"codec_{side}"].to_numpy(object) for side in "ab"]
    known = np.array([all(isinstance(name, str) and name for name in pair) for pair in zip(*sides, strict=True)], bool)
    names = sorted({str(name) for side in sides for name in side[known]})
    if by == "codec":
        return {name: known & ((sides[0] == name) | (sides[1] == name)) for name in names}
    return {label: mask for label, mask in _pairs(names, sides, known) if mask.any()}


def breakdown(data: Data, distances: Mapping[str, pd.DataFrame], by: str) -> pd.DataFrame:
    """One row for each slice and each metric or ceiling: `by`, metric, two_afc, low, high, majority, triplets, voters.

    With several parts a last slice, `mean`, is the mean over parts, each weighing the same. Intervals resample
    photographs, for all slices in the same draws. Empty where the data have fewer than two slices.
    """
    named = slices(data, by)
    columns = [by, "metric", "two_afc", "low", "high", "majority", "triplets", "voters"]
    if len(named) < 2:
        return pd.DataFrame(columns=columns)
    found = per_comparison(data, distances)
    sums = [sums_of(found, data.comparisons["source"], mask)[0] for mask in named.values()]
    replicates = replicate_means(sums, data.comparisons["source"].nunique())
    means = [part.mean() for part in sums]
    labels = [*named]
    if by == "part":
        labels.append(MEAN)
        means.append(np.mean(means, axis=0))
        replicates.append(_mean(replicates))
    sizes = [*(int(mask.sum()) for mask in named.values()), len(data.comparisons)]
    keys = [*found.values]
    rows = []
    for label, mean, means_of_draws, size in zip(labels, means, replicates, sizes, strict=False):
        for k, (name, statistic) in enumerate(keys):
            if statistic != "two_afc":
                continue
            one = estimate(float(mean[k]), means_of_draws[:, k], size)
            most = float(mean[keys.index((name, "majority"))]) if (name, "majority") in keys else np.nan
            rows.append((label, name, one.value, one.low, one.high, most, size, data.voters))
    return pd.DataFrame(rows, columns=columns)


def text(table: pd.DataFrame, by: str, rows: list[Row]) -> str:
    """2AFC in per cent for a terminal: metrics in the order of `rows` down, slices across, in blocks that fit."""
    names = [row.name for row in rows if row.name in set(table["metric"])]
    labels = list(dict.fromkeys(table[by]))
    values = table.set_index(["metric", by])["two_afc"]
    width = max(map(len, names))
    lines = [f"2AFC % by {TITLES[by]}"]
    block: list[str] = []
    for label in [*labels, None]:
        used = width + 2 + sum(max(5, len(one)) + 2 for one in [*block, label or ""])
        if block and (label is None or used > WIDTH):
            head = "".join(f"  {one:>{max(5, len(one))}}" for one in block)
            lines.append(f"  {'':<{width}}{head}")
            for name in names:
                cells = "".join(f"  {100 * values[name, one]:>{max(5, len(one))}.1f}" for one in block)
                lines.append(f"  {name:<{width}}{cells}")
            block = []
        block += [label] if label is not None else []
    return "\n".join(lines)


def _pairs(names: list[str], sides: list[NDArray], known: NDArray) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    for k, first in enumerate(names):
        for second in names[k:]:
            either = [(sides[0] == one) & (sides[1] == two) for one, two in ((first, second), (second, first))]
            yield (first if first == second else f"{first} - {second}"), known & (either[0] | either[1])


def _mean(replicates: list[Floats]) -> Floats:
    return np.mean(replicates, axis=0)
