"""Small codecs for tests, and the settings that floating-point networks are sensitive to."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from codec.model import Codec
from codec.systems import Config, build

ALL = {
    "bmshj2018-hyperprior": ("bmshj2018-hyperprior", "none"),
    "mbt2018-mean": ("mbt2018-mean", "none"),
    "mbt2018": ("mbt2018", "masked"),
    "mbt2018-checkerboard": ("mbt2018", "checkerboard"),
    "mbt2018-slices": ("mbt2018", "slices"),
}
"""Every system with every context: name -> (system, context)."""


def small_codec(name: str = "mbt2018-mean", lambdas: tuple[float, ...] = (0.01,), channels=(8, 16), seed=0) -> Codec:
    """A codec with random weights in eval mode, its latent made large enough that symbols differ."""
    system, context = ALL[name]
    torch.manual_seed(seed)
    codec = build(Config(system, channels, context, lambdas))
    with torch.no_grad():
        codec.g_a[-1].weight.mul_(40)
    return codec.eval()


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
