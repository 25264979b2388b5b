"""The chance that an observer prefers b: what `analysis.psychometric` fits, in torch, so that it can be trained by."""

from collections.abc import Mapping

import torch
from torch import Tensor


def preference(link: Mapping[str, float], distance_a: Tensor, distance_b: Tensor) -> Tensor:
    """`analysis.psychometric.Preference.probability` in torch, of the plain values of a Preference: differentiable."""
    g_a, g_b = (_yeo_johnson((d - link["centre"]) / link["spread"], link["power"]) for d in (distance_a, distance_b))
    return link["lapse"] / 2 + (1 - link["lapse"]) * torch.sigmoid(link["slope"] * (g_a - g_b))


def _yeo_johnson(z: Tensor, power: float) -> Tensor:
    above, below = torch.where(z >= 0, z, 0), torch.where(z >= 0, 0, -z)  # at 0 only one of them passes a gradient
    return _stretched(above.log1p(), power) - _stretched(below.log1p(), 2 - power)


def _stretched(logarithm: Tensor, power: float) -> Tensor:
    return torch.expm1(power * logarithm) / power if power else logarithm
