"""The codecs that can be trained, each with its networks as its paper gives them.

Balle et al. 2018:

    x --> g_a --> y --> |y| --> h_a --> z --> factorised --> h_s --> scales

Minnen et al. 2018: h_a sees y itself, h_s gives means too, and a context model may join in.

Layers and widths are those of CompressAI's models/google.py, which the published curves were measured with.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from codec.entropy.contexts import Autoregressive, Direct, Slices
from codec.entropy.distributions import PARAMETERS, Distribution
from codec.entropy.hyper import Hyper
from codec.entropy.latent import Context, Latent
from codec.entropy.priors import Factorised
from codec.layers.blocks import convolution, transposed
from codec.layers.normalisation import GDN
from codec.model import Codec
from codec.rate import Gain

MOST_CHANNELS = 1024
"""Beyond, a layer's sums are too large for codec/entropy/integers.py: a codec would be trained and could not code."""
MOST_LEVELS = 256
"""A file has 2 bytes for the rate position, in units of 1/256."""


@dataclass(frozen=True)
class Config:
    """What rebuilds a codec, but for its weights."""

    system: str
    channels: tuple[int, int] = (128, 192)
    """N of the transforms, M of the latent."""
    context: str = "none"
    lambdas: tuple[float, ...] = (0.013,)
    """What it was trained for: bits per pixel + lambda * distortion. Several: gain units, one level for each. None
    where it is not known."""
    scales: str = "log"
    """What the networks give for a scale: its logarithm, or (the published checkpoints) the scale itself."""

    @property
    def levels(self) -> int:
        """How many gain levels; 0 where the codec has one rate."""
        return len(self.lambdas) if len(self.lambdas) > 1 else 0


def down(inputs: int, outputs: int) -> nn.Conv2d:
    """Half the size: a 5 x 5 convolution of stride 2."""
    return convolution(inputs, outputs, 5, 2)


def up(inputs: int, outputs: int) -> nn.ConvTranspose2d:
    """Twice the size: its transpose."""
    return transposed(inputs, outputs, 5)


def transforms(n: int, m: int) -> tuple[nn.Sequential, nn.Sequential]:
    """g_a and g_s of both papers: four 5 x 5 convolutions of stride 2 with GDN between."""
    g_a = nn.Sequential(down(3, n), GDN(n), down(n, n), GDN(n), down(n, n), GDN(n), down(n, m))
    g_s = nn.Sequential(
        up(m, n), GDN(n, inverse=True), up(n, n), GDN(n, inverse=True), up(n, n), GDN(n, inverse=True), up(n, 3)
    )
    return g_a, g_s


class Absolute(nn.Module):
    """|y|."""

    def forward(self, y: Tensor) -> Tensor:
        """|y| of any shape."""
        return y.abs()


def balle2018(config: Config) -> Codec:
    """Balle, Minnen, Singh, Hwang and Johnston, "Variational image compression with a scale hyperprior", ICLR 2018."""
    n, m = config.channels
    h_a = nn.Sequential(Absolute(), convolution(m, n, 3), nn.ReLU(), down(n, n), nn.ReLU(), down(n, n))
    h_s = nn.Sequential(up(n, n), nn.ReLU(), up(n, n), nn.ReLU(), convolution(n, m, 3))
    if config.scales == "linear":
        h_s.append(nn.ReLU())
    context = Direct(Distribution("gaussian", config.scales), means=False)
    return _codec(config, Hyper(m, Factorised(n), h_a, h_s, context))


def minnen2018(config: Config) -> Codec:
    """Minnen, Balle and Toderici, "Joint autoregressive and hierarchical priors", NeurIPS 2018, and its successors.

    The mean-scale hyperprior alone, with the paper's masked context, or with one that decodes faster: a checkerboard
    (He et al. 2021) or slices of channels (Minnen and Singh 2020).
    """
    n, m = config.channels
    h_a = nn.Sequential(convolution(m, n, 3), nn.LeakyReLU(), down(n, n), nn.LeakyReLU(), down(n, n))
    h_s = nn.Sequential(up(n, m), nn.LeakyReLU(), up(m, m * 3 // 2), nn.LeakyReLU(), convolution(m * 3 // 2, 2 * m, 3))
    gaussian = Distribution("gaussian", config.scales)
    contexts: dict[str, Callable[[], Context]] = {
        "none": lambda: Direct(gaussian),
        "masked": lambda: Autoregressive(m, 2 * m, gaussian),
        "checkerboard": lambda: Autoregressive(m, 2 * m, gaussian, order="checkerboard"),
        "slices": lambda: Slices(m, 2 * m, gaussian),
    }
    return _codec(config, Hyper(m, Factorised(n), h_a, h_s, contexts[config.context]()))


def _codec(config: Config, latent: Latent) -> Codec:
    g_a, g_s = transforms(*config.channels)
    rate = Gain(config.lambdas, config.channels[1]) if config.levels else None
    return Codec(config, g_a, g_s, latent, rate)


@dataclass(frozen=True)
class System:
    """A system that can be trained."""

    about: str
    make: Callable[[Config], Codec]
    contexts: tuple[str, ...]
    """The contexts that it can have, its default first."""


SYSTEMS = {
    "bmshj2018-hyperprior": System("Balle et al. 2018: scale hyperprior", balle2018, ("none",)),
    "mbt2018-mean": System("Minnen et al. 2018 without context: mean-scale hyperprior", minnen2018, ("none",)),
    "mbt2018": System("Minnen et al. 2018: with a context model", minnen2018, ("masked", "checkerboard", "slices")),
}


def build(config: Config) -> Codec:
    """The codec that `config` describes, with random weights. Raises ValueError."""
    if config.system not in SYSTEMS:
        raise ValueError(f"no such system: {config.system!r}; there are: {', '.join(SYSTEMS)}")
    system = SYSTEMS[config.system]
    if config.context not in system.contexts:
        raise ValueError(f"{config.system} has no context {config.context!r}; there are: {', '.join(system.contexts)}")
    if min(config.channels) < 1 or max(config.channels) > MOST_CHANNELS:
        raise ValueError(f"channels {config.channels}: from 1 to {MOST_CHANNELS}")
    if config.scales not in PARAMETERS:
        raise ValueError(f"no such scales: {config.scales!r}; there are: {', '.join(PARAMETERS)}")
    if len(config.lambdas) > MOST_LEVELS:
        raise ValueError(f"{len(config.lambdas):,} lambdas: at most {MOST_LEVELS}")
    if any(not value > 0 for value in config.lambdas):
        raise ValueError("lambda: above 0")
    if list(config.lambdas) != sorted(config.lambdas):
        raise ValueError("lambda: several are given from the fewest bits (smallest) to the most")
    return system.make(config)
