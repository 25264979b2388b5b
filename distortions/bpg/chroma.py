"""Chroma at half the width, or half the width and height: made smaller by bpgenc's filters, larger by bpgdec's.

    between (JPEG):    luma  x   x   x   x        beside (MPEG-2):   luma   x   x   x   x
                       chroma  o       o                             chroma o       o

Rows are between in either; only columns differ. Edges are repeated. With the same roundings as libbpg 0.9.8, what
comes out is what bpgdec shows. The taps are libbpg's, of Lanczos filters.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.uint8] | NDArray[np.uint16]

UP = {  # taps, over 64, at -3 to 4 of chroma samples: for even and for odd luma samples
    "between": ((2, -6, 18, 57, -10, 4, -1, 0), (-1, 4, -10, 57, 18, -6, 2, 0)),
    "beside": ((0, 0, 0, 64, 0, 0, 0, 0), (-1, 4, -11, 40, 40, -11, 4, -1)),
}
DOWN = {  # taps, over 128, and the first one's place from an even luma sample
    "between": ((2, -4, -8, 17, 57, 57, 17, -8, -4, 2), -4),
    "beside": ((-1, 0, 4, 0, -11, 0, 40, 64, 40, 0, -11, 0, 4, 0, -1), -7),
}


def enlarged(chroma: Plane, rows: range, width: int, depth: int, siting: str, halved_rows: bool) -> NDArray[np.int64]:
    """Samples `(len(rows), width)` at the luma's places in `rows`, of a chroma plane of half the width.

    `siting` is "between" or "beside", of columns; `halved_rows` says that the plane has half the rows too (4:2:0).
    """
    columns = np.arange(width)
    if not halved_rows:
        lines = chroma[rows.start : rows.stop].astype(np.int64)
        return _clipped(_taken_up(lines, columns, UP[siting], 1) + 32 >> 6, depth)
    lines = _taken_up(chroma, np.arange(rows.start, rows.stop), UP["between"], 0)
    shift = depth - 8
    lines = lines + ((1 << shift) >> 1) >> shift
    return _clipped(_taken_up(lines, columns, UP[siting], 1) + (1 << 19 - depth) >> 20 - depth, depth)


def halved(chroma: Plane, rows: range, depth: int, siting: str, halve_rows: bool) -> NDArray[np.int64]:
    """Samples `(len(rows), W / 2 rounded up)` of a plane of half the width, and with `halve_rows` of half the height.

    `rows` are those of the smaller plane, of a chroma plane at the luma's places.
    """
    if not halve_rows:
        return _clipped(_taken_down(chroma[rows.start : rows.stop], DOWN[siting]) + 64 >> 7, depth)
    weights, first = DOWN["between"]
    needed = np.arange(2 * rows.start + first, 2 * (rows.stop - 1) + first + len(weights))
    shift = depth - 7
    lines = _taken_down(np.take(chroma, needed, 0, mode="clip"), DOWN[siting]) + (1 << shift - 1) >> shift
    sums = np.zeros((), np.int64)
    for k, weight in enumerate(weights):
        sums = sums + weight * lines[k:][: 2 * len(rows) : 2]
    return _clipped(sums + (1 << 20 - depth) >> 21 - depth, depth)


def _taken_up(
    samples: NDArray, places: NDArray[np.int64], taps: tuple[Sequence[int], Sequence[int]], axis: int
) -> NDArray[np.int64]:
    """Sums of taps times samples, at luma places, along an axis."""
    weights = np.array(taps)[places % 2]  # (places, 8)
    total = np.zeros((), np.int64)
    for k in range(8):
        at = np.clip(places // 2 + k - 3, 0, samples.shape[axis] - 1)
        weight = weights[:, k, None] if axis == 0 else weights[None, :, k]
        if weight.any():
            total = total + np.take(samples, at, axis).astype(np.int64) * weight
    return total


def _taken_down(samples: NDArray, taps: tuple[Sequence[int], int]) -> NDArray[np.int64]:
    """Sums of taps times samples along rows, at every other luma place."""
    weights, first = taps
    places = np.arange(0, samples.shape[1], 2)
    total = np.zeros((), np.int64)
    for k, weight in enumerate(weights):
        if weight:
            total = total + np.take(samples, places + first + k, 1, mode="clip").astype(np.int64) * weight
    return total


def _clipped(samples: NDArray[np.int64], depth: int) -> NDArray[np.int64]:
    return np.clip(samples, 0, (1 << depth) - 1)
