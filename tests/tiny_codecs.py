"""Codecs too small to be good, whose latents yet spread as a trained one's do: for tests that take seconds."""

import functools

import numpy as np
import torch

from codec.model import Codec
from codec.systems import SYSTEMS, Config, build

ALL = [(name, context) for name, system in SYSTEMS.items() for context in system.contexts]


@functools.cache
def tiny(system: str = "mbt2018-mean", context: str = "none", levels: int = 1, seed: int = 0) -> Codec:
    """A codec of 8 channels in eval mode; symbols to about +-20. The same object each time: leave it as it is."""
    torch.manual_seed(seed)
    lambdas = tuple(0.01 * 4.0**level for level in range(levels))
    codec = build(Config(system, (8, 8), context, lambdas))
    with torch.no_grad():
        codec.g_a[-1].weight *= 100  # type: ignore[index, operator]
        codec.g_s[0].weight *= 0.1  # type: ignore[index, operator]
    return codec.eval()


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A coloured `(height, width, 3)` uint8 picture: waves and noise."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(a * x + b * y + c) for a, b, c in random.uniform(0, 0.3, (3, 3))]
    return (np.stack(waves, -1) * 80 + 128 + random.normal(0, 20, (height, width, 3))).clip(0, 255).astype(np.uint8)
