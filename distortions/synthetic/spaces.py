"""Pixels as floats, in RGB, CIELAB and YCbCr."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from study.images import Pixels

Floats: TypeAlias = NDArray[np.floating[Any]]
"""`(H, W, 3)`; sRGB in [0, 1] unless said otherwise."""
Distort: TypeAlias = Callable[[Pixels, float, np.random.Generator], Pixels]
"""What every distortion is: `(H, W, 3)` uint8 pixels, an amount in its own unit, chance; new pixels of that shape."""

_XYZ = np.array(  # sRGB's primaries, IEC 61966-2-1
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
_WHITE = _XYZ.sum(axis=1)  # D65
_YCBCR = np.array(  # ITU-R BT.601
    [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]]
)
_CUBE = 6 / 29  # where CIELAB's cube root turns into a straight line, CIE 15


def floats(image: Pixels) -> Floats:
    """The image in [0, 1]."""
    return image.astype(np.float32) / np.float32(255)


def pixels(values: Floats) -> Pixels:
    """Values in [0, 1], rounded; those outside are clipped."""
    return np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)


def lab(rgb: Floats) -> Floats:
    """CIELAB under D65: L in [0, 100], a and b about -100 to 100."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((np.maximum(rgb, 0) + 0.055) / 1.055) ** 2.4)
    xyz = _times(_XYZ / _WHITE[:, None], linear)
    f = np.where(xyz > _CUBE**3, np.cbrt(xyz), xyz / (3 * _CUBE**2) + 4 / 29)
    x, y, z = f[..., 0], f[..., 1], f[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1).astype(np.float32)


def from_lab(values: Floats) -> Floats:
    """sRGB of CIELAB; outside [0, 1] clipped to it, as colours that a screen cannot show."""
    y = (values[..., 0] + 16) / 116
    f = np.stack([y + values[..., 1] / 500, y, y - values[..., 2] / 200], axis=-1)
    xyz = np.where(f > _CUBE, f**3, 3 * _CUBE**2 * (f - 4 / 29))
    linear = np.clip(_times(np.linalg.inv(_XYZ / _WHITE[:, None]), xyz), 0, 1)
    rgb = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    return rgb.astype(np.float32)


def ycbcr(rgb: Floats) -> Floats:
    """Full-range BT.601: Y in [0, 1], Cb and Cr in [-.5, .5]."""
    return _times(_YCBCR, rgb)


def from_ycbcr(values: Floats) -> Floats:
    """sRGB of full-range BT.601, not clipped."""
    return _times(np.linalg.inv(_YCBCR), values)


def _times(matrix: Floats, values: Floats) -> Floats:
    """The matrix times each pixel, without BLAS, whose sums depend on the machine and its threads."""
    return np.einsum("ij,hwj->hwi", matrix.astype(np.float32), values)
