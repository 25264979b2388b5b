"""Blur, and its contrary. At the edges the image goes on as its last pixels."""

import math

import numpy as np
from scipy import ndimage

from distortions.synthetic.spaces import Floats, floats, from_lab, lab, pixels
from study.images import Pixels

OVERSAMPLING = 8
"""Samples a pixel's side when a kernel's shape is turned into weights."""
SHARPENED = 3.0
"""Pixels, the deviation of the blur that `sharpen` takes detail to be the difference from. KADID-10k's radius."""

BILATERAL = 5
"""Pixels, the radius within which `bilateral_filter` looks: twice the deviation of its weights by distance."""


def gaussian_blur(image: Pixels, deviation: float, random: np.random.Generator) -> Pixels:
    """Gaussian blur of standard `deviation` in pixels. KADID-10k 1, TID2013 8, BAPPS."""
    return pixels(gaussian(floats(image), deviation))


def lens_blur(image: Pixels, radius: float, random: np.random.Generator) -> Pixels:
    """The mean over a disc of `radius` pixels, as out of focus. KADID-10k 2."""
    side = math.ceil(radius - 0.5)
    x = _subpixels(side)
    inside = np.hypot(x[:, None], x[None, :]) <= radius
    return pixels(_convolve(floats(image), _weights(inside, 2 * side + 1)))


def motion_blur(image: Pixels, length: float, random: np.random.Generator) -> Pixels:
    """The mean along a line one pixel wide and `length` pixels long, its direction by chance. KADID-10k 3."""
    angle = random.uniform(0, math.pi)
    side = math.ceil(length / 2)
    x = _subpixels(side)
    along = x[None, :] * math.cos(angle) + x[:, None] * math.sin(angle)
    across = x[:, None] * math.cos(angle) - x[None, :] * math.sin(angle)
    inside = (abs(along) <= length / 2) & (abs(across) <= 0.5)
    return pixels(_convolve(floats(image), _weights(inside, 2 * side + 1)))


def sharpen(image: Pixels, amount: float, random: np.random.Generator) -> Pixels:
    """Lightness plus `amount` times its difference from its Gaussian blur. KADID-10k 24."""
    values = lab(floats(image))
    lightness = values[..., :1]
    values[..., :1] = lightness + np.float32(amount) * (lightness - gaussian(lightness, SHARPENED))
    return pixels(from_lab(values))


def bilateral_filter(image: Pixels, deviation: float, random: np.random.Generator) -> Pixels:
    """The mean of near pixels, each weighted by how little its RGB in [0, 1] differs: a Gaussian of `deviation`. BAPPS.

    The weights fall with the distance in pixels too. Tomasi and Manduchi, ICCV 1998.
    """
    values = np.moveaxis(floats(image), 2, 0)
    height, width = image.shape[:2]
    padded = np.pad(values, ((0, 0), (BILATERAL, BILATERAL), (BILATERAL, BILATERAL)), mode="edge")
    total, weights = np.zeros_like(values), np.zeros((height, width), np.float32)
    places = range(-BILATERAL, BILATERAL + 1)
    for y, x in [(y, x) for y in places for x in places if y * y + x * x <= BILATERAL**2]:
        other = padded[:, BILATERAL + y : BILATERAL + y + height, BILATERAL + x : BILATERAL + x + width]
        difference = ((other - values) ** 2).sum(axis=0) / np.float32(2 * deviation**2)
        weight = np.exp(-difference - np.float32(2 * (y * y + x * x) / BILATERAL**2))
        total += weight * other
        weights += weight
    return pixels(np.moveaxis(total / weights, 0, 2))


def gaussian(values: Floats, deviation: float) -> Floats:
    """Each channel of `(H, W, C)` convolved with a Gaussian of standard `deviation` in pixels."""
    return ndimage.gaussian_filter(values, (deviation, deviation, 0), mode="nearest", truncate=4)


def _subpixels(side: int) -> np.ndarray:
    """Where the samples of a row of 2 `side` + 1 pixels are, in pixels from its middle."""
    count = (2 * side + 1) * OVERSAMPLING
    return (np.arange(count) + 0.5) / OVERSAMPLING - side - 0.5


def _weights(inside: np.ndarray, side: int) -> np.ndarray:
    """How much of each pixel is inside, the sum being 1."""
    kernel = inside.reshape(side, OVERSAMPLING, side, OVERSAMPLING).mean(axis=(1, 3))
    return (kernel / kernel.sum()).astype(np.float32)


def _convolve(values: Floats, kernel: np.ndarray) -> Floats:
    return ndimage.convolve(values, kernel[..., None], mode="nearest")
