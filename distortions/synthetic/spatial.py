"""Pixels in other places. Distances are in pixels; beyond its edges the image goes on as its last pixels."""

import math

import numpy as np
from scipy import ndimage

from distortions.synthetic.spaces import floats, pixels
from study.images import Pixels

KADID_PIXELS = 512 * 384
"""Of every image of KADID-10k: what its numbers of patches and blocks are for."""
PATCH, BLOCK = 16, 32
"""Sides of KADID-10k's patches and blocks, in pixels."""
SCATTERINGS = 5
"""How often KADID-10k scatters the pixels."""
GRID = 4
"""Points a side of the grid of random vectors that a warp goes smoothly between."""


def jitter(image: Pixels, deviation: float, random: np.random.Generator) -> Pixels:
    """Each pixel from a place beside it, five times over, with a Gaussian `deviation` each time. KADID-10k 19."""
    values = floats(image)
    for _ in range(SCATTERINGS):
        y, x = random.standard_normal((2, *image.shape[:2]), dtype=np.float32) * np.float32(deviation)
        values = _moved(values, y, x)
    return pixels(values)


def non_eccentricity_patches(image: Pixels, count: float, random: np.random.Generator) -> Pixels:
    """Squares of 16 pixels copied up to 8 pixels away, `count` on 512 x 384 pixels. KADID-10k 20, TID2013 14."""
    height, width = image.shape[:2]
    side_y, side_x = min(PATCH, height), min(PATCH, width)
    result = image.copy()
    for _ in range(_scaled(count, image)):
        y, x = random.integers(height - side_y + 1), random.integers(width - side_x + 1)
        away_y, away_x = random.integers(-PATCH // 2, PATCH // 2 + 1, 2)
        to_y, to_x = np.clip(y + away_y, 0, height - side_y), np.clip(x + away_x, 0, width - side_x)
        result[to_y : to_y + side_y, to_x : to_x + side_x] = image[y : y + side_y, x : x + side_x]
    return result


def colour_blocks(image: Pixels, count: float, random: np.random.Generator) -> Pixels:
    """Squares of 32 pixels of one colour by chance, `count` on 512 x 384 pixels. KADID-10k 23, TID2013 15."""
    height, width = image.shape[:2]
    result = image.copy()
    for _ in range(_scaled(count, image)):
        y, x = random.integers(max(height - BLOCK, 0) + 1), random.integers(max(width - BLOCK, 0) + 1)
        result[y : y + BLOCK, x : x + BLOCK] = random.integers(0, 256, 3)
    return result


def shift(image: Pixels, distance: float, random: np.random.Generator) -> Pixels:
    """The whole image moved by `distance` in a direction by chance. BAPPS."""
    angle = random.uniform(0, 2 * math.pi)
    still = np.zeros(image.shape[:2], np.float32)
    return pixels(
        _moved(floats(image), still + distance * math.sin(angle), still + distance * math.cos(angle), order=3)
    )


def perspective(image: Pixels, distance: float, random: np.random.Generator) -> Pixels:
    """The homography that moves each corner by `distance` in a direction by chance. BAPPS."""
    height, width = image.shape[:2]
    corners = np.array([(0, 0), (width, 0), (width, height), (0, height)], float)
    angles = random.uniform(0, 2 * math.pi, 4)
    moved = corners + distance * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    rows = []
    for (x, y), (u, v) in zip(corners, moved, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
    a, b, c, d, e, f, g, h = np.linalg.solve(np.array(rows), moved.ravel())
    y, x = np.indices(image.shape[:2]) + 0.5
    scale = g * x + h * y + 1
    return pixels(_moved(floats(image), (d * x + e * y + f) / scale - y, (a * x + b * y + c) / scale - x, order=3))


def affine(image: Pixels, distance: float, random: np.random.Generator) -> Pixels:
    """The affine map about the middle, by chance, that moves the corner it moves farthest by `distance`. BAPPS."""
    height, width = image.shape[:2]
    matrix = random.standard_normal((2, 2))
    corners = np.array([(height, width), (height, -width)]) / 2  # the other two move as far, the other way
    matrix *= distance / np.hypot(*(matrix @ corners.T)).max()
    y, x = np.indices(image.shape[:2])
    y, x = y - (height - 1) / 2, x - (width - 1) / 2
    down, right = (row[0] * y + row[1] * x for row in matrix)
    return pixels(_moved(floats(image), down, right, order=3))


def warp(image: Pixels, distance: float, random: np.random.Generator) -> Pixels:
    """Moved by random vectors of root mean square `distance`, cubic between a grid's 4 x 4 points. BAPPS."""
    return _warped(image, distance, random, order=3)


def linear_warp(image: Pixels, distance: float, random: np.random.Generator) -> Pixels:
    """As `warp`, but linear between the grid's points: straight lines get corners. BAPPS."""
    return _warped(image, distance, random, order=1)


def ghosting(image: Pixels, share: float, random: np.random.Generator) -> Pixels:
    """`share` of the image 8 pixels away, in a direction by chance, over the rest of it in its place. BAPPS."""
    values = floats(image)
    angle = random.uniform(0, 2 * math.pi)
    ghost = ndimage.shift(values, (8 * math.sin(angle), 8 * math.cos(angle), 0), order=1, mode="nearest")
    return pixels(values + np.float32(share) * (ghost - values))


def chromatic_aberration(image: Pixels, distance: float, random: np.random.Generator) -> Pixels:
    """Red enlarged and blue made smaller about the middle, by `distance` at the corners. BAPPS."""
    values = floats(image)
    y, x = np.indices(image.shape[:2])
    y, x = y - (image.shape[0] - 1) / 2, x - (image.shape[1] - 1) / 2
    growth = distance / max(float(np.hypot(y, x).max()), 1.0)
    for channel, sign in ((0, -1), (2, 1)):
        plane = values[..., channel : channel + 1]
        values[..., channel] = _moved(plane, sign * growth * y, sign * growth * x)[..., 0]
    return pixels(values)


def _warped(image: Pixels, distance: float, random: np.random.Generator, order: int) -> Pixels:
    height, width = image.shape[:2]
    y = np.linspace(0, GRID - 1, height)[:, None] + np.zeros((1, width))
    x = np.linspace(0, GRID - 1, width)[None, :] + np.zeros((height, 1))
    vectors = random.standard_normal((2, GRID, GRID)) * distance / math.sqrt(2)
    field = [ndimage.map_coordinates(one, [y, x], order=order, mode="nearest") for one in vectors]
    return pixels(_moved(floats(image), field[0], field[1], order=3))


def _moved(values: np.ndarray, down: np.ndarray, right: np.ndarray, order: int = 1) -> np.ndarray:
    """`values` `(H, W, C)` as seen `down` and `right` of each pixel, by splines of that order."""
    y, x = np.indices(values.shape[:2], np.float32)
    place = [y + down, x + right]
    channels = [
        ndimage.map_coordinates(values[..., k], place, order=order, mode="nearest") for k in range(values.shape[2])
    ]
    return np.stack(channels, axis=-1).astype(np.float32)


def _scaled(count: float, image: Pixels) -> int:
    return max(1, round(count * image.shape[0] * image.shape[1] / KADID_PIXELS))
