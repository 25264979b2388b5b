"""The figures of `eyetune score`: 2AFC beside the ceilings, calibration, a table by part, ratings against distances."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from analysis.agreement import Floats
from analysis.calibration import reliability
from analysis.figures import FAINT, INK, LINES, MARKERS, PALETTE, POINTS_AS_VECTORS
from metric.judging.judged import CEILINGS, Row

MOST = 6  # metrics in the ratings figure, the best by 2AFC
CURVES = 4  # in the calibration figure
VOTES_A_BIN = 100  # at least, and 15 bins at most
BANDS = {"two observers": "#cfe3f1", "majority oracle": "#e9e4d2"}
LONGEST = 30  # letters of a name beside a figure


def two_afc(figure: Figure, rows: list[Row]) -> None:
    """A dot and interval a metric, the best on top; the two honest ceilings as bands."""
    axes = figure.add_subplot()
    metrics = [row for row in rows if row.name not in CEILINGS and row.score.n]
    for row in rows:
        if row.name in BANDS and row.score.n:
            low, high = (end if np.isfinite(end) else row.score.value for end in (row.score.low, row.score.high))
            axes.axvspan(low, high, color=BANDS[row.name], linewidth=0, zorder=0)
            axes.axvline(row.score.value, color=FAINT, linewidth=1, zorder=0, label=row.name)
            # A label of its own height: the ceilings can lie side by side.
            place = [*BANDS].index(row.name)
            height = 1.01 + 0.2 * place / max(len(metrics), 3)
            at = axes.get_xaxis_transform()
            axes.text(row.score.value, height, row.name, fontsize=8, ha="center", va="bottom", transform=at)
    for place, row in enumerate(metrics):
        ends = [row.score.value - row.score.low, row.score.high - row.score.value]
        error = np.nan_to_num(np.array(ends))[:, None].clip(min=0)
        axes.errorbar(
            row.score.value, place, xerr=error, fmt="o", color=PALETTE[0], markersize=6, capsize=3, elinewidth=1.4
        )  # fmt: skip
    axes.set_yticks(range(len(metrics)), [shortened(row.name) for row in metrics])
    axes.set_ylim(len(metrics) - 0.4, -0.6)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_xlabel("votes that agree with the metric (2AFC)")
    axes.grid(axis="x", color="#e4e7eb", linewidth=0.7)
    axes.set_axisbelow(True)


def calibration(figure: Figure, data: pd.DataFrame, chances: Mapping[str, Floats]) -> None:
    """Predicted against observed share of votes for the favoured image, a line a metric, with Wilson's intervals."""
    axes = figure.add_subplot()
    axes.plot([0.5, 1], [0.5, 1], color=FAINT, linewidth=1, linestyle="--")
    bins = int(np.clip(data["votes"].sum() // VOTES_A_BIN, 3, 15))
    for place, (name, p) in enumerate([*chances.items()][:CURVES]):
        curve = reliability(p, data["prefer_b"], data["votes"], bins)
        ends = np.stack([curve["observed"] - curve["low"], curve["high"] - curve["observed"]]).clip(min=0)
        axes.errorbar(
            curve["predicted"], curve["observed"], yerr=ends, label=shortened(name), linewidth=1.3, elinewidth=0.8,
            marker=MARKERS[place % len(MARKERS)], color=PALETTE[place % len(PALETTE)], markersize=4,
            linestyle=LINES[place // len(PALETTE) % len(LINES)],
        )  # fmt: skip
    axes.set_xlabel("predicted share of votes for the favoured image")
    axes.set_ylabel("observed share")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.grid(color="#e4e7eb", linewidth=0.7)
    axes.set_axisbelow(True)
    columns = 1 if max(map(len, [*chances][:CURVES])) > 24 else 2
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=columns, columnspacing=1.2)


def by_slice(figure: Figure, table: pd.DataFrame, by: str, names: list[str]) -> None:
    """2AFC of each metric (down) in each slice (across), as a matrix of numbers on colour."""
    values = table.pivot(index="metric", columns=by, values="two_afc")
    labels = list(dict.fromkeys(table[by]))
    share = values.reindex(index=names, columns=labels).to_numpy(float)
    axes = figure.add_subplot()
    axes.pcolormesh(np.ma.masked_invalid(share), cmap="Blues", vmin=0.5, vmax=1, edgecolors="white", linewidth=1.5)
    axes.invert_yaxis()
    size = min(9, 48 / len(labels))
    for i, j in np.argwhere(~np.isnan(share)):
        color = "white" if share[i, j] > 0.8 else INK
        axes.text(j + 0.5, i + 0.5, f"{100 * share[i, j]:.1f}", ha="center", va="center", color=color, size=size)
    tilt = sum(map(len, labels)) > 34
    axes.set_xticks(np.arange(len(labels)) + 0.5, labels, rotation=40 if tilt else 0, ha="right" if tilt else "center")
    axes.set_yticks(np.arange(len(names)) + 0.5, [shortened(name) for name in names])
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def ratings(figure: Figure, rating: pd.Series, distances: Mapping[str, Floats]) -> None:
    """Ratings against distances, a small scatter a metric."""
    names = [*distances][:MOST]
    axes = figure.subplots(-(-len(names) // 2), 2, squeeze=False, sharey=True)
    for place, one in enumerate(axes.flat):
        if place >= len(names):
            one.set_visible(False)
            continue
        d = distances[names[place]]
        one.scatter(d, rating, s=9, color=PALETTE[0], alpha=0.6, linewidths=0, rasterized=len(d) > POINTS_AS_VECTORS)
        one.set_title(shortened(names[place]))
        one.set_xlabel("distance")
        if place % 2 == 0:
            one.set_ylabel("rating")


def shortened(name: str) -> str:
    """The name, its middle left out where it is too long to stand beside a figure."""
    half = LONGEST // 2 - 1
    return name if len(name) <= LONGEST else f"{name[:half]}…{name[-half:]}"
