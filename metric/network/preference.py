"""The chance that an observer prefers b: what `analysis.psychometric` fits, in torch, so that it can be trained by."""

from collections.abc import Mapping

import torch
from torch import Tensor


def preference(link: Mapping[str, float], distance_a: Tensor, distance_b: Tensor) -> Tensor:
    """`analysis.psychometric.Preference.probability` in torch, of the plain values of a Preference: differentiable."""
    power = torch.tensor(link["power"], dtype=distance_a.dtype, device=distance_a.device)
    g_a, g_b = (yeo_johnson((d - link["centre"]) / link["spread"], power) for d in (distance_a, distance_b))
    return link["lapse"] / 2 + (1 - link["lapse"]) * torch.sigmoid(link["slope"] * (g_a - g_b))


def yeo_johnson(z: Tensor, power: Tensor) -> Tensor:
    """`analysis.psychometric.yeo_johnson` in torch, with a finite slope everywhere; `power` broadcasts against `z`."""
    above = z >= 0
    log = torch.log1p(torch.where(above, z, -z))
    t = torch.where(above, power, 2 - power) * log
    near = t.abs() < 1e-3  # there expm1(t) / t is a quotient of noughts; its series
    grown = torch.where(near, 1 + t / 2, torch.expm1(t) / torch.where(near, 1.0, t))
    return torch.where(above, log, -log) * grown
