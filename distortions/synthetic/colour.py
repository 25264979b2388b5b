"""Colour and tone. Values are sRGB in [0, 1]."""

import math

import numpy as np
from PIL import Image
from scipy import ndimage

from distortions.synthetic.blur import gaussian
from distortions.synthetic.spaces import Floats, floats, from_lab, lab, pixels
from study.images import Pixels


def colour_diffusion(image: Pixels, amount: float, random: np.random.Generator) -> Pixels:
    """CIELAB's a and b blurred with a deviation of 1.5 `amount` + 2 pixels, then times `amount`. KADID-10k 4."""
    values = lab(floats(image))
    values[..., 1:] = gaussian(values[..., 1:], 1.5 * amount + 2) * np.float32(amount)
    return pixels(from_lab(values))


def colour_shift(image: Pixels, distance: float, random: np.random.Generator) -> Pixels:
    """Green moved by `distance` pixels in a direction by chance, where there are edges and beside them. KADID-10k 5."""
    values = floats(image)
    angle = random.uniform(0, 2 * math.pi)
    offset = (distance * math.sin(angle), distance * math.cos(angle))
    moved = ndimage.shift(values[..., 1], offset, order=1, mode="nearest")
    grey = values.mean(axis=2)
    edges = gaussian(np.hypot(ndimage.sobel(grey, 0), ndimage.sobel(grey, 1))[..., None], 4)[..., 0]
    low, high = np.percentile(edges, (1, 99))
    share = np.clip((edges - low) / (high - low), 0, 1) if high > low else np.zeros_like(edges)
    values[..., 1] += share * (moved - values[..., 1])
    return pixels(values)


def colour_quantisation(image: Pixels, colours: float, random: np.random.Generator) -> Pixels:
    """The image in so many `colours` (median cut), with Floyd and Steinberg's dither. KADID-10k 6, TID2013 22."""
    picture = Image.fromarray(image)
    palette = picture.quantize(int(colours), Image.Quantize.MEDIANCUT)
    return np.array(picture.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).convert("RGB"))


def desaturation(image: Pixels, factor: float, random: np.random.Generator) -> Pixels:
    """HSV's saturation times `factor`, hue and value kept; below 0 the complementary colour. KADID-10k 7.

    Saturation is (value - smallest) / value: scaling it scales every channel's distance from the value.
    """
    values = floats(image)
    largest = values.max(axis=2, keepdims=True)
    return pixels(largest - np.float32(factor) * (largest - values))


def oversaturation(image: Pixels, factor: float, random: np.random.Generator) -> Pixels:
    """CIELAB's a and b times `factor`. KADID-10k 8, TID2013 18."""
    values = lab(floats(image))
    values[..., 1:] *= np.float32(factor)
    return pixels(from_lab(values))


def colour_cast(image: Pixels, distance: float, random: np.random.Generator) -> Pixels:
    """CIELAB's a and b moved by `distance` in a direction by chance. BAPPS."""
    angle = random.uniform(0, 2 * math.pi)
    offset = np.array([0, distance * math.cos(angle), distance * math.sin(angle)], np.float32)
    return pixels(from_lab(lab(floats(image)) + offset))


def brighten(image: Pixels, amount: float, random: np.random.Generator) -> Pixels:
    """A curve through (0, 0), (.5, .5 + `amount` / 2), (1, 1): two thirds on RGB, one on lightness. KADID-10k 16."""
    values = floats(image)
    light = lab(values)
    light[..., 0] = 100 * _curve(light[..., 0] / 100, amount / 2)
    return pixels((2 * _curve(values, amount / 2) + from_lab(light)) / 3)


def darken(image: Pixels, amount: float, random: np.random.Generator) -> Pixels:
    """A curve through (0, 0), (.5, .5 - `amount` / 2), (1, 1) on RGB. KADID-10k 17."""
    return pixels(_curve(floats(image), -amount / 2))


def mean_shift(image: Pixels, amount: float, random: np.random.Generator) -> Pixels:
    """`amount` added or taken away, by chance. KADID-10k 18, TID2013 16."""
    return pixels(floats(image) + np.float32(amount * random.choice((-1, 1))))


def contrast(image: Pixels, factor: float, random: np.random.Generator) -> Pixels:
    """The distance of every value from middle grey times `factor`. KADID-10k 25, TID2013 17."""
    return pixels(0.5 + np.float32(factor) * (floats(image) - 0.5))


def quantisation(image: Pixels, values: float, random: np.random.Generator) -> Pixels:
    """Each channel in so many evenly spaced `values`, black and white among them. KADID-10k 22, TID2013 7."""
    steps = np.float32(values - 1)
    return pixels(np.rint(floats(image) * steps) / steps)


def _curve(values: Floats, lift: float) -> Floats:
    """The parabola through (0, 0), (.5, .5 + `lift`) and (1, 1), clipped to [0, 1]."""
    return np.clip(values + np.float32(4 * lift) * values * (1 - values), 0, 1)
