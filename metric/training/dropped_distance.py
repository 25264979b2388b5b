"""The distances of triplets with dropout on the difference maps: what follows the trunk in training, in few passes.

With u = f / |f| at each position, a mask m that drops a share p, and k = 1 / ((1 - p) positions),

    D = m (u_side - u_reference),   q = k * sum over positions of D^2,   d = w . q,

the gradient to w is q, to u_side 2 k w D, and to f that of u less its part along u, divided by |f|. A graph of single
operations takes about forty passes over the maps and draws a random number for each value; here it is about ten
passes, and one random number serves eight values, so p is rounded to 1/256.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from metric.network.unit_distance import EPSILON, normalise


def dropped_distance(features: Tensor, head: Tensor, dropout: float) -> Tensor:
    """Distances `(2, N)` of one tap, of a and of b from the reference; only the sides' differences are dropped.

    `features`: raw maps `(3 N, C, H, W)`, of N references, then of a, then of b. `head`: `(C,)`, of features' type.
    Zhang et al., CVPR 2018, section 3; their code puts the dropout before the 1x1 convolution.
    """
    if torch.compiler.is_compiling():  # a compiler fuses these by itself
        reference, *sides = normalise(features).chunk(3)
        return torch.stack(
            [functional.dropout((side - reference) ** 2, dropout).mean(dim=(2, 3)) @ head for side in sides]
        )
    return _DroppedDistance.apply(features, head, dropout)


class _DroppedDistance(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, head: Tensor, dropout: float) -> Tensor:
        rows = features.permute(0, 2, 3, 1).flatten(1, 2)  # (3 N, P, C), a view in channels_last
        inverse_length = torch.rsqrt(torch.linalg.vector_norm(rows, dim=2, keepdim=True) ** 2 + EPSILON)
        unit = rows * inverse_length
        n = len(unit) // 3
        difference = (unit[n:].unflatten(0, (2, n)) - unit[:n]).flatten(0, 1)  # (2 N, P, C)
        dropped = min(round(256 * dropout), 255)
        if dropped:
            difference *= _random_bytes(difference) >= dropped
        scale = 1 / (unit.shape[1] * (1 - dropped / 256))
        pooled = (difference**2).sum(dim=1) * scale  # (2 N, C)
        ctx.save_for_backward(unit, inverse_length, difference, pooled, head)
        ctx.scale, ctx.size = 2 * scale, tuple(features.shape[2:])
        return (pooled @ head).view(2, n)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        unit, inverse_length, difference, pooled, head = ctx.saved_tensors
        n = len(unit) // 3
        pull = torch.empty_like(unit)
        weights = (ctx.scale * gradient.reshape(-1, 1)) * head  # (2 N, C)
        torch.mul(difference, weights[:, None], out=pull[n:])
        torch.add(pull[n : 2 * n], pull[2 * n :], out=pull[:n]).neg_()
        along = (pull * unit).sum(dim=2, keepdim=True)
        pull.addcmul_(unit, along, value=-1).mul_(inverse_length)
        return pull.unflatten(1, ctx.size).permute(0, 3, 1, 2), gradient.flatten() @ pooled, None


def _random_bytes(like: Tensor) -> Tensor:
    """Random uint8 in the shape of `like`, eight from each number that is drawn."""
    numbers = torch.empty(-(-like.numel() // 8), dtype=torch.int64, device=like.device).random_(-(2**63), None)
    return numbers.view(torch.uint8)[: like.numel()].view(like.shape)
