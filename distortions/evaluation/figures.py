"""Rate-distortion figures: what was measured here in full lines, what was published dashed."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from distortions.evaluation.rate_distortion import Curve, quality
from metric.judging.figures import INK, LINES, MARKERS, PALETTE, shortened

NAMES = {
    "psnr": "PSNR (dB)",
    "ms-ssim": "MS-SSIM (dB)",
    "lpips-alex": "LPIPS (AlexNet)",
    "lpips-vgg": "LPIPS (VGG)",
    "lpips-squeeze": "LPIPS (SqueezeNet)",
    "dists": "DISTS",
}
DASHES = ((0, (5, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)), (0, (3, 1, 1, 1, 1, 1)))
ROOM = 1.25
"""The widest rate that is drawn, over the largest rate of a learned codec: with all that classical codecs can spend,
the curves of interest would be a corner of the figure."""


def height(curves: int) -> float:
    """Inches that a figure of so many curves needs."""
    return 3.5 + 0.17 * -(-curves // 2)


def rate_distortion(
    figure: Figure, name: str, measured: Sequence[Curve], published: Sequence[Curve], learned: Sequence[str]
) -> None:
    """Mean of the measure `name` against mean bits per pixel; distances fall, qualities rise.

    `learned`: the titles whose rates decide how far the figure goes.
    """
    axes = figure.add_subplot()
    for place, curve in enumerate([*measured, *published]):
        color = PALETTE[place % len(PALETTE)]
        values = quality(name, curve.values) if name == "ms-ssim" else curve.values
        if curve.published:
            dashes = DASHES[(place - len(measured)) % len(DASHES)]
            axes.plot(
                curve.bits_per_pixel, values, color=color, linewidth=1.1, linestyle=dashes, alpha=0.85,
                label=curve.title,
            )  # fmt: skip
        else:
            own = curve.title in learned
            axes.plot(
                curve.bits_per_pixel, values, color=color, linewidth=2.0 if own else 1.3, markersize=5 if own else 3.8,
                marker=MARKERS[place % len(MARKERS)], linestyle=LINES[place // len(PALETTE) % len(LINES)],
                label=shortened(curve.title), zorder=3 if own else 2.5,
            )  # fmt: skip
    _limit(axes_limits(name, measured, published, learned), figure)
    axes.set_xlabel("mean bits per pixel")
    axes.set_ylabel(NAMES.get(name, shortened(name)), color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10]))
    axes.grid(color="#e4e7eb", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.legend(
        loc="upper center", bbox_to_anchor=(0.46, -0.15), ncols=2, columnspacing=1.4, handlelength=2.4, fontsize=8.5
    )


def axes_limits(
    name: str, measured: Sequence[Curve], published: Sequence[Curve], learned: Sequence[str]
) -> tuple[float, tuple[float, float]]:
    """How far the rates go, and from where to where the values of the curves up to there."""
    every = [*measured, *published]
    own = [curve for curve in measured if curve.title in learned] or list(measured)
    widest = max(float(curve.bits_per_pixel.max()) for curve in own) * (ROOM if learned else 1.03)
    shown = []
    for curve in every:
        values = quality(name, curve.values) if name == "ms-ssim" else curve.values
        ends = np.interp(widest, curve.bits_per_pixel, values, right=np.nan)
        shown += [*values[curve.bits_per_pixel <= widest], ends]
    finite = np.array(shown)[np.isfinite(shown)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    room = 0.05 * (high - low) or 0.5
    return widest, (low - room, high + room)


def _limit(limits: tuple[float, tuple[float, float]], figure: Figure) -> None:
    widest, values = limits
    figure.axes[0].set_xlim(0, widest)
    figure.axes[0].set_ylim(*values)
