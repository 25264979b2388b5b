"""Small codecs and pictures for tests, and the settings that floating-point networks are sensitive to."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from codec.model import Codec
from codec.systems import SYSTEMS, Config, build

ALL = [(name, context) for name, system in SYSTEMS.items() for context in system.contexts]
"""Every system with every context."""


def small_codec(
    system: str = "mbt2018-mean",
    context: str = "none",
    lambdas: tuple[float, ...] = (0.01,),
    channels: tuple[int, int] = (8, 16),
    seed: int = 0,
) -> Codec:
    """A codec with random weights in eval mode, its latent as wide as a trained one's: symbols to about +-20."""
    torch.manual_seed(seed)
    codec = build(Config(system, channels, context, lambdas))
    with torch.no_grad():
        codec.g_a[-1].weight *= 100  # type: ignore[index, operator]
        codec.g_s[0].weight *= 0.1  # type: ignore[index, operator]
    return codec.eval()


@functools.cache
def tiny(system: str = "mbt2018-mean", context: str = "none", levels: int = 1, seed: int = 0) -> Codec:
    """A `small_codec` of 8 channels and some levels. The same object each time: leave it as it is."""
    return small_codec(system, context, tuple(0.01 * 4.0**level for level in range(levels)), (8, 8), seed)


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A coloured `(height, width, 3)` uint8 picture: waves and noise."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(a * x + b * y + c) for a, b, c in random.uniform(0, 0.3, (3, 3))]
    return (np.stack(waves, -1) * 80 + 128 + random.normal(0, 20, (height, width, 3))).clip(0, 255).astype(np.uint8)


@contextmanager
def without_onednn() -> Iterator[None]:
    """Convolutions by torch's own code in place of oneDNN's."""
    torch._C._set_mkldnn_enabled(False)  # torch.backends.mkldnn.flags warns about another setting
    try:
        yield
    finally:
        torch._C._set_mkldnn_enabled(True)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """torch on `count` threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
