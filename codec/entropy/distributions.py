"""Gaussian and Laplacian symbols: their bits in training, and their integer tables in coding.

A symbol is the whole number k in [-4095, 4095] nearest to y minus its mean; its probability is the distribution's mass
in [k - 1/2, k + 1/2]. Coding knows 64 scales, spaced evenly in their logarithm (Balle et al. 2018; a scale between two
of them costs at most .006 bits more).
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import constriction
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from codec.entropy.integers import ONE
from codec.layers.normalisation import lower_bound

LARGEST = 4095
"""Symbols are clamped to +- this: what lies beyond is coded as the nearest that is not."""
PRECISION = 24
"""Bits of the coder's probabilities: each symbol of an alphabet gets at least 2^-24."""
LEVELS = 64
LEAST_PROBABILITY = 1e-9
SCALES = {"gaussian": (0.11, 256.0), "laplace": (0.05, 64.0)}
"""The smallest and the largest scale: sigma, or Laplace's b."""
PARAMETERS = ("log", "linear")


def least_bits(alphabet: int) -> float:
    """The fewest bits that a symbol of so large an alphabet costs, whatever the model says."""
    return -math.log2(1 - (alphabet - 1) * 2.0**-PRECISION)


@dataclass(frozen=True)
class Distribution:
    """A family of distributions by its name, and how a network says their scale: its logarithm, or itself."""

    family: str = "gaussian"
    parameter: str = "log"

    def scale(self, raw: Tensor) -> Tensor:
        """The scales in training, of a network's float output; the gradient passes where it leads back into range."""
        low, high = SCALES[self.family]
        if self.parameter == "linear":
            return lower_bound(raw, low)
        return (-lower_bound(-lower_bound(raw, math.log(low)), -math.log(high))).exp()

    def bits(self, value: Tensor, scale: Tensor) -> Tensor:
        """-log2 of the mass within 1/2 of `value` (its distance from the mean), which need not be whole."""
        distance = value.abs()
        if self.family == "gaussian":
            near, far = (distance - 0.5) / scale, (distance + 0.5) / scale
            mass = 0.5 * (torch.erfc(near * 0.5**0.5) - torch.erfc(far * 0.5**0.5))
        else:
            inside = 1 - torch.exp(-0.5 / scale) * torch.cosh(distance.clamp(max=0.5) / scale)
            outside = 0.5 * torch.exp(-(distance - 0.5).clamp(min=0) / scale) * -torch.expm1(-1 / scale)
            mass = torch.where(distance < 0.5, inside, outside)
        return -torch.log2(lower_bound(mass, LEAST_PROBABILITY))

    @cached_property
    def table(self) -> NDArray[np.float64]:
        """The 64 scales that coding knows."""
        low, high = SCALES[self.family]
        scales = np.exp(np.linspace(math.log(low), math.log(high), LEVELS))
        return np.round(scales * 2.0**20) / 2.0**20  # the same on every machine, whatever its exp gives in the last bit

    @cached_property
    def _thresholds(self) -> Tensor:
        middle = np.sqrt(self.table[:-1] * self.table[1:])
        return torch.from_numpy(np.round((np.log(middle) if self.parameter == "log" else middle) * ONE))

    def level(self, raw: Tensor) -> Tensor:
        """Which of the 64 scales the integers that a network gave stand for."""
        return torch.bucketize(raw.contiguous(), self._thresholds)

    @cached_property
    def model(self) -> Any:
        """The entropy coder's model, which takes arrays of means and of scales."""
        families = {
            "gaussian": constriction.stream.model.QuantizedGaussian,
            "laplace": constriction.stream.model.QuantizedLaplace,
        }
        return families[self.family](-LARGEST, LARGEST)
