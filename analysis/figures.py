"""The report's figures as SVG text: the same data give the same bytes."""

import io
from collections.abc import Callable
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from scipy.stats import binom

from analysis.agreement import LEVEL

# Okabe and Ito (2008): told apart with every common colour blindness. Markers tell codecs apart in black and white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C8C00")
MARKERS = "osD^vPX*"
LINES = ("-", "--", ":")  # from the ninth codec on
INK, FAINT, ALARM = "#1f2933", "#9aa5b1", "#D55E00"
WIDTH = 4.7  # inches: text of 9 points stays readable when a phone shows the figure 350 px wide
POINTS_AS_VECTORS = 2000  # more than this and the points become a picture inside the SVG, which would be too large

STYLE: Any = {
    "svg.fonttype": "path",
    "font.size": 9,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "text.color": INK,
    "text.parse_math": False,  # a codec may be called $x$
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
}


def draw(name: str, paint: Callable[[Figure], None], height: float, voters: str) -> str:
    """The figure that `paint` fills, as SVG; votes that are not all human are marked on it."""
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        paint(figure)
        if voters != "human":
            mark = "SIMULATED votes" if voters == "simulated" else "human and SIMULATED votes mixed"
            figure.suptitle(mark, x=1, ha="right", fontsize=8, color=ALARM, fontweight="bold")
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None}, dpi=200)
    return buffer.getvalue()


def rate_quality(figure: Figure, conditions: pd.DataFrame) -> None:
    """Bradley-Terry score against mean bits per pixel, a line a codec (none where groups do not compare)."""
    axes = figure.add_subplot()
    linked = conditions["group"].nunique() == 1
    for place, (codec, part) in enumerate(conditions.dropna(subset="bits_per_pixel").groupby("codec", sort=False)):
        part = part.sort_values("bits_per_pixel")
        spread = [part["score"] - part["low"].fillna(part["score"]), part["high"].fillna(part["score"]) - part["score"]]
        axes.errorbar(
            part["bits_per_pixel"], part["score"], yerr=np.clip(spread, 0, None), label=str(codec), capsize=2.5,
            marker=MARKERS[place % len(MARKERS)], color=PALETTE[place % len(PALETTE)], markersize=5, linewidth=1.5,
            elinewidth=1, linestyle=LINES[place // len(PALETTE) % len(LINES)] if linked else "none",
        )  # fmt: skip
    axes.set_xlabel("mean bits per pixel")
    axes.set_ylabel("score (log-odds)")
    axes.grid(axis="y", color="#e4e7eb", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=4, columnspacing=1.2, handlelength=1.6)


def preference_matrix(figure: Figure, pooled: pd.DataFrame, order: list[str]) -> None:
    """How often the row's codec was preferred to the column's, in percent of the votes at equal rates."""
    codecs = [name for name in order if name in set(pooled["codec"]) | set(pooled["other"])]
    share = np.full((len(codecs), len(codecs)), np.nan)
    for row in pooled.itertuples():
        i, j = codecs.index(str(row.codec)), codecs.index(str(row.other))
        share[i, j], share[j, i] = row.share, 1 - row.share
    axes = figure.add_subplot()
    axes.pcolormesh(np.ma.masked_invalid(share), cmap="PuOr", vmin=0, vmax=1, edgecolors="white", linewidth=1.5)
    axes.set_aspect("equal")
    axes.invert_yaxis()
    size = min(10, 60 / len(codecs))  # points, so that 100% fits into a cell
    for i, j in np.argwhere(~np.isnan(share)):
        dark = abs(share[i, j] - 0.5) > 0.3
        axes.text(
            j + 0.5,
            i + 0.5,
            f"{share[i, j]:.0%}",
            ha="center",
            va="center",
            color="white" if dark else INK,
            size=size,
        )
    axes.set_xticks(np.arange(len(codecs)) + 0.5, codecs, rotation=30 if max(map(len, codecs)) > 8 else 0)
    axes.set_yticks(np.arange(len(codecs)) + 0.5, codecs)
    axes.set_xlabel("… to this codec")
    axes.set_ylabel("preferred this codec …")
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def observer_quality(figure: Figure, observers: pd.DataFrame) -> None:
    """Reliability against votes for each observer; below, how many had which share of sentinels right, if any."""
    asked = observers[observers["sentinels"] > 0]
    top, *below = figure.subplots(2, 1, height_ratios=[3, 2]) if len(asked) else [figure.add_subplot()]
    _points(top, observers["votes"], observers["reliability"], observers["excluded"])
    top.set_xlabel("test votes of the observer")
    top.set_xlim(0, max(1, observers["votes"].max()) * 1.05)
    top.legend(loc="lower left", ncols=2)
    top.set_ylabel("reliability")
    top.set_ylim(0, 1.03)
    top.axhline(0.5, color=FAINT, linewidth=0.8, linestyle="--")
    for bottom in below:
        _sentinel_shares(bottom, asked)


def _sentinel_shares(axes: Axes, asked: pd.DataFrame) -> None:
    shares = [asked.loc[asked["excluded"] == out, :] for out in (False, True)]
    axes.hist(
        [part["sentinels_right"] / part["sentinels"] for part in shares], bins=list(np.linspace(0, 1, 11)),
        stacked=True, color=[PALETTE[0], ALARM], label=["used", "left out"],
    )  # fmt: skip
    axes.set_xlabel("share of sentinels right")
    axes.set_ylabel("observers")
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))


def left_shares(figure: Figure, observers: pd.DataFrame) -> None:
    """The left share of each observer against the number of votes, with the band that chance alone leaves."""
    axes = figure.add_subplot()
    voted = observers[observers["left_share"].notna()]
    most = int(voted["votes"].max())
    counts = np.unique(np.linspace(1, most * 1.05 + 1, 200).astype(int))
    low, high = (binom.ppf(end, counts, 0.5) / counts for end in ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    axes.fill_between(counts, low, high, color="#e4e7eb", linewidth=0, label="95 % without a side")
    axes.axhline(0.5, color=FAINT, linewidth=0.8)
    _points(axes, voted["votes"], voted["left_share"], voted["excluded"])
    axes.set_xlabel("test votes of the observer")
    axes.set_ylabel("left side chosen")
    axes.set_ylim(-0.03, 1.03)
    axes.set_xlim(0, most * 1.05 + 1)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=3, columnspacing=1.2)


def _points(axes: Axes, x: pd.Series, y: pd.Series, excluded: pd.Series) -> None:
    picture = len(x) > POINTS_AS_VECTORS
    kinds = ((~excluded, "used", "o", PALETTE[0], 18), (excluded, "left out", "X", ALARM, 34))
    for chosen, label, marker, color, size in kinds:
        if chosen.any():
            axes.scatter(
                x[chosen], y[chosen], s=size, marker=marker, color=color, alpha=0.75, linewidths=0, label=label,
                rasterized=picture,
            )  # fmt: skip
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
