"""Metrics judged by what people answered: one row a metric, beside the human ceilings."""

import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from analysis.agreement import Estimate, Floats, agreeing_share, majority_agreement, paired_difference
from analysis.calibration import calibration_error, log_likelihood
from analysis.ceiling import agreement, majority, plug_in
from analysis.correlation import correlations, ladder_tau
from analysis.detection import jnd_map
from analysis.psychometric import cross_fitted
from analysis.resampling import Sums, estimate, group_sums, replicate_means
from metric.data.judgments import Data
from study.errors import InputError

INTERVALS = "95 % intervals resample source photographs"
WIDTH = 118  # of a terminal's lines
CEILINGS = {
    "two observers": (agreement, "human ceiling without bias: agreement of two independent votes"),
    "p² + q²": (plug_in, 'the usual "human" score: too high, each vote agrees with itself'),
    "majority oracle": (majority, "knows these very votes: too high where votes are few"),
}
COLUMNS = {  # of `Row.more`: title, factor and digits in print, what it is
    "majority": ("majority %", 100, 1, "agreement with what most votes chose; ties left out"),
    "log_likelihood": (
        "bits a vote", 1, 3,
        "log2-likelihood of a vote, by a link from distances to chances fitted to other photographs (a coin has -1)",
    ),
    "calibration_error": ("calibr. error %", 100, 1, "how far those chances are from the share that chose b (ECE)"),
    "jnd_map": ("JND mAP %", 100, 1, "pairs that look the same found by small distance (BAPPS)"),
    "srocc": ("SROCC", 1, 3, "Spearman's correlation with ratings"),
    "plcc": ("PLCC", 1, 3, "Pearson's, after a monotone logistic"),
    "krocc": ("KROCC", 1, 3, "Kendall's tau-b"),
    "ladder_tau": ("ladder tau", 1, 3, "Kendall's tau-b with the levels of one codec, mean over ladders"),
}  # fmt: skip

PairDistances = Mapping[str, Mapping[str, Floats]]
"""For same_different, ratings and ladders each metric's distances, row for row of that table of `Data`."""


@dataclass(frozen=True)
class Row:
    """One line of the table: 2AFC as a share from 0 to 1, with its interval over photographs."""

    name: str
    score: Estimate
    """NaN where nothing was compared."""
    note: str = ""
    more: Mapping[str, Estimate] = field(default_factory=dict)
    """Of COLUMNS those that the data have; intervals are NaN where there is none."""


def table(
    data: Data,
    distances: Mapping[str, pd.DataFrame],
    notes: Mapping[str, str] = {},
    pairs: PairDistances | None = None,
    predicted: Mapping[str, Floats] | None = None,
) -> list[Row]:
    """A row for each metric in `distances` or `pairs`, the best 2AFC first; then the ceilings.

    `distances`: columns distance_a and distance_b, indexed by comparison. `predicted`: what `chances` gives, where
    that is known already. Where all votes are simulated by one metric, its row is marked: it is their ceiling.
    """
    voted, pairs = data.comparisons, pairs or {}
    found = per_comparison(data, distances, chances(data, distances) if predicted is None else predicted)
    estimates = estimates_of(found, voted["source"])
    rows = []
    names = dict.fromkeys([*distances, *(name for each in pairs.values() for name in each)])
    for name in names:
        more = {key: estimates[name, key] for key in ("majority", "log_likelihood") if (name, key) in estimates}
        if (name, "log_likelihood") in found.values:
            error = calibration_error(found.chances[name], voted["prefer_b"], voted["votes"])
            more["calibration_error"] = Estimate(error, np.nan, np.nan, len(voted))
        more |= _of_pairs(data, {kind: each[name] for kind, each in pairs.items() if name in each})
        note = notes.get(name, "")
        if data.voters == "simulated" and data.simulators == {name}:
            note = "the simulated observers' own metric: the ceiling of these votes"
        nothing = Estimate(np.nan, np.nan, np.nan, 0)
        rows.append(Row(name, estimates.get((name, "two_afc"), nothing), note, more))
    rows.sort(key=_order)
    return [*rows, *(Row(name, estimates[name, "two_afc"], CEILINGS[name][1]) for name in CEILINGS if len(voted))]


@dataclass(frozen=True)
class PerComparison:
    """What each metric and each ceiling makes of each comparison."""

    values: dict[tuple[str, str], Floats]
    """By name and statistic (two_afc, majority, log_likelihood): `(T,)`, NaN where undefined."""
    weights: dict[tuple[str, str], Floats]
    """`(T,)`: the likelihood's mean is over votes."""
    chances: Mapping[str, Floats]


def per_comparison(
    data: Data, distances: Mapping[str, pd.DataFrame], predicted: Mapping[str, Floats] = {}
) -> PerComparison:
    """Agreement with each comparison's votes of each metric and each ceiling; likelihoods of metrics in `predicted`."""
    voted = data.comparisons
    values, weights = {}, {}
    if voted.empty:
        return PerComparison({}, {}, {})
    prefer_b, votes = voted["prefer_b"].to_numpy(float), voted["votes"].to_numpy(float)
    for name, scores in distances.items():
        a, b = _sides(name, scores, voted)
        values[name, "two_afc"] = agreeing_share(prefer_b, votes, a, b)
        values[name, "majority"] = majority_agreement(prefer_b, votes, a, b)
        if name in predicted:
            values[name, "log_likelihood"] = log_likelihood(predicted[name], prefer_b, votes)
            weights[name, "log_likelihood"] = votes
    for name, (way, _) in CEILINGS.items():
        values[name, "two_afc"] = way(votes, prefer_b)
    return PerComparison(values, {key: weights.get(key, np.ones(len(voted))) for key in values}, predicted)


def estimates_of(found: PerComparison, source: pd.Series) -> dict[tuple[str, str], Estimate]:
    """The means over comparisons with intervals over photographs, all from the same draws."""
    if not found.values:
        return {}
    sums, groups = sums_of(found, source)
    (replicates,) = replicate_means([sums], groups)
    means, counts = sums.mean(), [int((~np.isnan(values)).sum()) for values in found.values.values()]
    return {
        key: estimate(float(means[k]), replicates[:, k], counts[k]) for k, key in enumerate(found.values)
    }  # fmt: skip


def sums_of(found: PerComparison, source: pd.Series, rows: np.ndarray | slice = slice(None)) -> tuple[Sums, int]:
    """The columns of `found` summed over photographs, of some rows only; and how many photographs there are in all."""
    names, members = np.unique(source.to_numpy(str), return_inverse=True)
    values, weights = (np.stack([*part.values()], axis=1) for part in (found.values, found.weights))
    return group_sums(values[rows], weights[rows], members[rows]), len(names)


def chances(data: Data, distances: Mapping[str, pd.DataFrame]) -> dict[str, Floats]:
    """`(T,)` chances that b is chosen, by metric: each from a link fitted to other photographs' votes.

    A metric is left out where no link can be fitted: one photograph only, or no convergence.
    """
    voted = data.comparisons
    found = {}
    if voted["source"].nunique() < 2:
        return {}
    for name, scores in distances.items():
        try:
            found[name] = cross_fitted(*_sides(name, scores, voted), voted["prefer_b"], voted["votes"], voted["source"])
        except RuntimeError:
            continue
    return found


def difference(data: Data, first: pd.DataFrame, second: pd.DataFrame) -> Estimate:
    """How much more often votes agree with the first metric than with the second, on the same triplets (2AFC)."""
    voted = data.comparisons
    shares = [
        agreeing_share(voted["prefer_b"], voted["votes"], *_sides("a metric", scores, voted))
        for scores in (first, second)
    ]
    return paired_difference(shares[0], shares[1], voted["source"])


def text(rows: list[Row]) -> str:
    """The table for a terminal: 2AFC and majority; other numbers in a second one; then the notes."""
    width = max(len(row.name) for row in rows)
    lines = []
    if any(row.score.n for row in rows):
        lines.append(f"  {'':<{width}}  2AFC %   95 % interval  majority %  triplets")
        for row in rows:
            interval = f"{100 * row.score.low:5.1f} to {100 * row.score.high:5.1f}"
            if row.score.low != row.score.low:  # one photograph has none
                interval = ""
            most = row.more.get("majority")
            shown = f"{100 * most.value:10.1f}" if most else " " * 10
            lines.append(
                f"  {row.name:<{width}}   {100 * row.score.value:5.1f}   {interval:<14} {shown}  {row.score.n:>8,}"
            )
    columns = [key for key in COLUMNS if key != "majority" and any(key in row.more for row in rows)]
    if columns:
        lines += ["", f"  {'':<{width}}" + "".join(f"  {COLUMNS[key][0]:>11}" for key in columns)]
        for row in rows:
            if row.more:
                lines.append(f"  {row.name:<{width}}" + "".join(f"  {_cell(row, key)}" for key in columns))
        lines += _wrapped(f"{COLUMNS[key][0]}: {COLUMNS[key][3]}" for key in columns)
    lines += [""] if columns and any(row.note for row in rows) else []
    lines += _wrapped(f"{row.name}: {row.note}" for row in rows if row.note)
    return "\n".join(line.rstrip() for line in lines)


def frame(rows: list[Row], data: Data) -> pd.DataFrame:
    """The table with columns metric, two_afc, low, high, triplets, those of COLUMNS that there are, note, voters.

    A column of COLUMNS is followed by NAME_low and NAME_high where it has an interval.
    """
    columns: dict[str, list] = {
        "metric": [row.name for row in rows],
        "two_afc": [row.score.value for row in rows],
        "low": [row.score.low for row in rows],
        "high": [row.score.high for row in rows],
        "triplets": [row.score.n for row in rows],
    }
    nothing = Estimate(np.nan, np.nan, np.nan, 0)
    for key in COLUMNS:
        found = [row.more.get(key, nothing) for row in rows]
        if any(one.n for one in found):
            columns[key] = [one.value for one in found]
        if any(np.isfinite(one.low) for one in found):
            columns |= {f"{key}_low": [one.low for one in found], f"{key}_high": [one.high for one in found]}
    return pd.DataFrame({**columns, "note": [row.note for row in rows], "voters": data.voters})


def rank_correlation(first: pd.DataFrame, second: pd.DataFrame) -> float:
    """Spearman's correlation of two metrics' distances over the stimuli of the triplets that both know."""
    index = first.index.intersection(second.index)
    stacked = [np.concatenate([m.loc[index, "distance_a"], m.loc[index, "distance_b"]]) for m in (first, second)]
    return float(pd.Series(stacked[0]).corr(pd.Series(stacked[1]), method="spearman"))


def _sides(name: str, scores: pd.DataFrame, voted: pd.DataFrame) -> tuple[Floats, Floats]:
    """`(T,)` distances to a and to b of the voted comparisons. Raises InputError where one has none."""
    d = scores.reindex(voted["id"])[["distance_a", "distance_b"]].to_numpy(float)
    wrong = np.flatnonzero(~np.isfinite(d).all(axis=1))
    if wrong.size:
        comparison = voted["id"].iloc[wrong[0]]
        raise InputError(f"{name} gives no finite distance for {wrong.size:,} comparisons, the first is {comparison}")
    return d[:, 0], d[:, 1]


def _of_pairs(data: Data, distances: Mapping[str, Floats]) -> dict[str, Estimate]:
    """The statistics of same/different answers, ratings and ladders."""
    found = {}
    if "same_different" in distances:
        asked = data.same_different
        area = jnd_map(distances["same_different"], asked["different"], asked["votes"])
        found["jnd_map"] = Estimate(area, np.nan, np.nan, len(asked))
    if "ratings" in distances and len(data.ratings) > 1:
        rated = data.ratings
        d = distances["ratings"]
        if np.ptp(d) and np.ptp(rated["rating"].to_numpy(float)):
            related = correlations(d, rated["rating"], rated["source"])
            found |= {"srocc": related.srocc, "plcc": related.plcc, "krocc": related.krocc}
    if "ladders" in distances:
        ladders = data.ladders
        level = -ladders["level"].astype(float)
        found["ladder_tau"] = ladder_tau(distances["ladders"], level, ladders["ladder"], ladders["source"])[1]
    return found


def _order(row: Row) -> tuple[float, float]:
    """The best first, by 2AFC; where nothing was compared by the other correlations."""
    keys = ("srocc", "jnd_map", "ladder_tau")
    other = next((row.more[key].value for key in keys if key in row.more), 0.0)
    return (-row.score.value if row.score.n else 0.0, -other)


def _cell(row: Row, key: str) -> str:
    title, factor, digits, _ = COLUMNS[key]
    value = f"{factor * row.more[key].value:.{digits}f}" if key in row.more else ""
    return f"{value:>{max(11, len(title))}}"


def _wrapped(lines: Iterable[str]) -> list[str]:
    return [
        part
        for line in lines
        for part in textwrap.wrap(line, WIDTH, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False)
    ]
