"""Fewer pixels, then as many as before."""

import numpy as np
from PIL import Image

from study.images import Pixels


def nearest(image: Pixels, factor: float, random: np.random.Generator) -> Pixels:
    """Down by `factor` and up again, each pixel the nearest. BAPPS."""
    return _down_up(image, factor, Image.Resampling.NEAREST)


def bilinear(image: Pixels, factor: float, random: np.random.Generator) -> Pixels:
    """Down by `factor` and up again, both bilinear and against aliasing. BAPPS."""
    return _down_up(image, factor, Image.Resampling.BILINEAR)


def bicubic(image: Pixels, factor: float, random: np.random.Generator) -> Pixels:
    """Down by `factor` and up again, both bicubic and against aliasing. BAPPS."""
    return _down_up(image, factor, Image.Resampling.BICUBIC)


def pixelate(image: Pixels, strength: float, random: np.random.Generator) -> Pixels:
    """Down by 1 / (.95 - `strength`^.6) and up again, to the mean and as squares. KADID-10k 21."""
    height, width = image.shape[:2]
    share = 0.95 - strength**0.6
    small = (max(1, int(width * share)), max(1, int(height * share)))
    picture = Image.fromarray(image).resize(small, Image.Resampling.BOX)
    return np.array(picture.resize((width, height), Image.Resampling.NEAREST))


def _down_up(image: Pixels, factor: float, method: Image.Resampling) -> Pixels:
    height, width = image.shape[:2]
    small = (max(1, round(width / factor)), max(1, round(height / factor)))
    return np.array(Image.fromarray(image).resize(small, method).resize((width, height), method))
