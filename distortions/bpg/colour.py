"""Between 8-bit RGB and the planes that HEVC codes, in whole numbers as libbpg has them.

Full range puts 0 to 255 at 0 to 2^depth - 1; limited range puts it at 16 to 235 times 2^(depth - 8), chroma at 16 to
240. YCgCo's chroma has the luma's scale (ITU-T H.273, 8.3). In RGB the planes are G, B, R.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distortions.bpg.chroma import Plane, enlarged, halved
from distortions.bpg.header import Header
from study.images import Pixels

LUMA = {"ycbcr": (0.299, 0.114), "ycbcr-709": (0.2126, 0.0722), "ycbcr-2020": (0.2627, 0.0593)}
"""Shares of red and of blue in the luma: BT.601, BT.709, BT.2020 (ITU-T H.273, table 4)."""
STRIP = 2**18
"""Samples that are converted at once, about, so that memory stays near that of the image."""


@dataclass(frozen=True)
class _Scale:
    """Factors between 8-bit values and code values, both over 255."""

    luma: float
    chroma: float
    black: int

    @classmethod
    def of(cls, header: Header) -> "_Scale":
        if header.limited_range:
            unit = 1 << header.depth - 8
            return cls(219 * unit, 224 * unit, 16 * unit)
        largest = (1 << header.depth) - 1
        return cls(largest, largest, 0)


def siting(format: str) -> str:
    """Where chroma columns are: "between" two luma samples (JPEG), or "beside" one (MPEG-2)."""
    return "beside" if format.endswith("MPEG-2") else "between"


def planes_of(image: Pixels, header: Header) -> list[Plane]:
    """The picture's planes, of an `(H, W, 3)` image: one if grey, else three, chroma subsampled as the header says."""
    height, width = image.shape[:2]
    planes = [np.empty((height, width), np.uint16) for _ in range(1 if header.format == "grey" else 3)]
    for rows in _strips(height, width):
        for plane, value in zip(planes, _samples(image[rows.start : rows.stop], header), strict=False):
            plane[rows.start : rows.stop] = np.clip(value, 0, (1 << header.depth) - 1)
    if header.format not in ("grey", "4:4:4"):
        planes[1:] = [_halved(plane, header) for plane in planes[1:]]
    return list(planes)


def _strips(height: int, width: int) -> list[range]:
    step = -(-STRIP // width)
    return [range(begin, min(begin + step, height)) for begin in range(0, height, step)]


def _halved(chroma: NDArray[np.uint16], header: Header) -> NDArray[np.uint16]:
    rows_too, (height, width) = header.format.startswith("4:2:0"), chroma.shape
    small = np.empty((-(-height // 2) if rows_too else height, -(-width // 2)), np.uint16)
    for rows in _strips(small.shape[0], width):
        small[rows.start : rows.stop] = halved(chroma, rows, header.depth, siting(header.format), rows_too)
    return small


def _samples(image: Pixels, header: Header) -> list[NDArray[np.int64]]:
    """Three planes of full size, not clipped; a grey picture's first is its luma."""
    red, green, blue = (image[..., channel].astype(np.int64) for channel in range(3))
    depth, scale = header.depth, _Scale.of(header)
    shift = 31 - depth
    half = 1 << shift - 1
    black = (scale.black << shift) + half
    centre = 1 << depth - 1
    luma, chroma = scale.luma * 2**shift / 255, scale.chroma * 2**shift / 255

    if header.colour == "rgb":
        return [channel * round(luma) + black >> shift for channel in (green, blue, red)]
    if header.colour == "ycgco":
        a, b = round(luma / 2) * green, round(luma / 4) * (red + blue)
        orange = round(luma / 2) * (red - blue)
        return [a + b + black >> shift, (a - b + half >> shift) + centre, (orange + half >> shift) + centre]
    k_r, k_b = LUMA[header.colour]
    k_g = 1 - k_r - k_b
    rows = [
        (k_r * luma, k_g * luma, k_b * luma),
        (-0.5 * k_r / (1 - k_b) * chroma, -0.5 * k_g / (1 - k_b) * chroma, 0.5 * chroma),
        (0.5 * chroma, -0.5 * k_g / (1 - k_r) * chroma, -0.5 * k_b / (1 - k_r) * chroma),
    ]
    values = []
    for row, offset, added in zip(rows, (black, half, half), (0, centre, centre), strict=True):
        r, g, b = map(round, row)
        values.append((r * red + g * green + b * blue + offset >> shift) + added)
    return values


def image_of(planes: list[Plane], header: Header) -> Pixels:
    """The `(H, W, 3)` image of the picture's planes, cropped to its size."""
    image = np.empty((header.height, header.width, 3), np.uint8)
    for rows in _strips(header.height, header.width):
        luma = planes[0][rows.start : rows.stop].astype(np.int64)
        if header.format in ("grey", "4:4:4"):
            chroma = [plane[rows.start : rows.stop].astype(np.int64) for plane in planes[1:]]
        else:
            where, rows_too = siting(header.format), header.format.startswith("4:2:0")
            chroma = [enlarged(plane, rows, header.width, header.depth, where, rows_too) for plane in planes[1:]]
        for channel, value in enumerate(_rgb(luma, chroma, header)):
            image[rows.start : rows.stop, :, channel] = np.clip(value, 0, 255)
    return image


def _rgb(luma: NDArray[np.int64], chroma: list[NDArray[np.int64]], header: Header) -> list[NDArray[np.int64]]:
    scale = _Scale.of(header)
    shift = 22
    y_one = round(255 * 2**shift / scale.luma)
    c_one = 255 * 2**shift / scale.chroma
    offset = (1 << shift - 1) - scale.black * y_one
    if header.format == "grey":
        return [luma * y_one + offset >> shift] * 3
    if header.colour == "rgb":
        green, blue, red = (plane * y_one + offset >> shift for plane in (luma, *chroma))
        return [red, green, blue]
    cb, cr = (plane - (1 << header.depth - 1) for plane in chroma)
    if header.colour == "ycgco":
        return [value * y_one + offset >> shift for value in (luma - cb + cr, luma + cb, luma - cb - cr)]
    k_r, k_b = LUMA[header.colour]
    k_g = 1 - k_r - k_b
    y = luma * y_one + offset
    return [
        y + round(2 * (1 - k_r) * c_one) * cr >> shift,
        y - round(2 * k_b * (1 - k_b) / k_g * c_one) * cb - round(2 * k_r * (1 - k_r) / k_g * c_one) * cr >> shift,
        y + round(2 * (1 - k_b) * c_one) * cb >> shift,
    ]
