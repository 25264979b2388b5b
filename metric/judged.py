"""Metrics judged by votes: how often observers agree with each, beside the ceilings."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.agreement import Estimate, Floats, agreeing_share, bootstrap_mean, paired_difference
from analysis.ceiling import ceilings
from metric.data import Data

INTERVALS = "95 % intervals resample source photographs"


@dataclass(frozen=True)
class Row:
    """One line of the table: 2AFC as a share from 0 to 1, with its interval over photographs."""

    name: str
    score: Estimate
    note: str = ""


def table(data: Data, distances: Mapping[str, pd.DataFrame], notes: Mapping[str, str] = {}) -> list[Row]:
    """A row for each metric in `distances` (columns distance_a, distance_b, indexed by comparison), then the ceilings.

    Where all votes are simulated by one metric, its row is marked: it is their ceiling.
    """
    voted = data.comparisons
    ceiling = data.simulators if data.voters == "simulated" else set()
    rows = []
    for name, scores in distances.items():
        note = notes.get(name, "")
        if ceiling == {name}:
            note = "the simulated observers' own metric: the ceiling of these votes"
        rows.append(Row(name, bootstrap_mean(_agreeing(voted, scores), voted["source"]), note))
    names = {
        "agreement": ("two observers", "human ceiling without bias: agreement of two independent votes"),
        "majority": ("majority oracle", "knows these very votes: too high where votes are few"),
    }
    for key, estimate in ceilings(voted["votes"], voted["prefer_b"], voted["source"]).items():
        if key in names:
            rows.append(Row(names[key][0], estimate, names[key][1]))
    return rows


def difference(data: Data, first: pd.DataFrame, second: pd.DataFrame) -> Estimate:
    """How much more often votes agree with the first metric than with the second, on the same triplets (2AFC)."""
    voted = data.comparisons
    return paired_difference(_agreeing(voted, first), _agreeing(voted, second), voted["source"])


def _agreeing(voted: pd.DataFrame, scores: pd.DataFrame) -> Floats:
    d = scores.reindex(voted["id"])
    return agreeing_share(voted["prefer_b"], voted["votes"], d["distance_a"], d["distance_b"])


def text(rows: list[Row]) -> str:
    """The table for a terminal, in per cent."""
    width = max(len(row.name) for row in rows)
    lines = [f"  {'':<{width}}  2AFC %   95 % interval  triplets"]
    for row in rows:
        interval = f"{100 * row.score.low:5.1f} to {100 * row.score.high:5.1f}"
        numbers = f"{100 * row.score.value:5.1f}   {interval:<14}  {row.score.n:>8,}"
        lines.append(f"  {row.name:<{width}}   {numbers}  {row.note}".rstrip())
    return "\n".join(lines)


def frame(rows: list[Row], data: Data) -> pd.DataFrame:
    """The table with columns metric, two_afc, low, high, triplets, note, voters (`Data.voters`)."""
    return pd.DataFrame(
        [(r.name, r.score.value, r.score.low, r.score.high, r.score.n, r.note, data.voters) for r in rows],
        columns=["metric", "two_afc", "low", "high", "triplets", "note", "voters"],
    )


def rank_correlation(first: pd.DataFrame, second: pd.DataFrame) -> float:
    """Spearman's correlation of two metrics' distances over the stimuli of the triplets that both know."""
    index = first.index.intersection(second.index)
    stacked = [np.concatenate([m.loc[index, "distance_a"], m.loc[index, "distance_b"]]) for m in (first, second)]
    return float(pd.Series(stacked[0]).corr(pd.Series(stacked[1]), method="spearman"))
