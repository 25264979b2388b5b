"""The distance of feature vectors of unit length, weighted by channel: the part of LPIPS that comes after the trunk.

With u0 a reference's unit features, f1 a distorted image's features, and at each position

    u1 = f1 / |f1|,   d = sum over channels of w (u1 - u0)^2,   t = w (u1 - u0),   s = t . u1,

the gradient is 2 / |f1| (t - s u1), where the second term is what normalising takes away. In a graph of single
operations this needs about twenty passes over the maps, here it needs about ten, and nothing is kept but the inputs.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

EPSILON = 1e-10  # inside the root: LPIPS has it outside, where the gradient at a zero feature is NaN


def normalise(features: Tensor) -> Tensor:
    """Feature maps of unit length over channels, in float32 or float64 (in float16 the epsilon would vanish)."""
    features = _wide(features)
    return _plain_unit(features) if _traced() else _Unit.apply(features)


def unit_distance(reference: Tensor, features: Tensor, head: Tensor) -> Tensor:
    """Distances `(N,)` of one tap: the mean over positions of `head . (reference - normalise(features))^2`.

    `reference` holds unit-length maps `(N, C, H, W)`, `features` raw ones, `head` the channels' weights `(C,)`.
    Differentiable in all three, also twice; finite where features are zero or equal. Zhang et al., CVPR 2018, eq. 1.
    """
    return (_plain_distance if _traced() else _UnitDistance.apply)(reference, features, head)


def unit_distance_map(reference: Tensor, features: Tensor, head: Tensor) -> Tensor:
    """The same before the mean over positions: `(N, 1, H, W)`."""
    return ((reference - normalise(features)) ** 2 * _column(head, features)).sum(dim=1, keepdim=True)


def _traced() -> bool:
    """Whether plain operations are wanted: a compiler fuses them by itself, functorch knows how to transform them."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing() or torch._C._are_functorch_transforms_active()


def _plain_unit(features: Tensor) -> Tensor:
    return features * torch.rsqrt((features**2).sum(dim=1, keepdim=True) + EPSILON)


def _plain_distance(reference: Tensor, features: Tensor, head: Tensor) -> Tensor:
    squared = (reference - _plain_unit(_wide(features))) ** 2
    return (squared * _column(head, features)).sum(dim=1).mean(dim=(1, 2))


class _Unit(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor) -> Tensor:
        ctx.save_for_backward(features)
        return features * _inverse_length(features)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (features,) = ctx.saved_tensors
        if torch.is_grad_enabled():  # a second derivative is wanted
            return torch.autograd.grad(_plain_unit(features), features, gradient, create_graph=True)[0]
        inverse_length = _inverse_length(features)
        unit = features * inverse_length
        along = (unit * gradient).sum(dim=1, keepdim=True)
        return unit.mul_(-along).add_(gradient).mul_(inverse_length)


class _UnitDistance(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, reference: Tensor, features: Tensor, head: Tensor) -> Tensor:
        ctx.save_for_backward(reference, features, head)
        f1 = _wide(features)
        difference = f1 * _inverse_length(f1)
        difference -= reference  # two roundings as in `normalise`, not one fused: identical images must give 0
        rows = difference.square_().permute(0, 2, 3, 1).flatten(1, 2)  # (N, H W, C), a view in channels_last
        with _full_precision(features.device.type):
            return (rows @ head.to(rows.dtype)).mean(dim=1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        reference, features, head = inputs = ctx.saved_tensors
        if torch.is_grad_enabled():  # a second derivative is wanted
            wanted = [tensor for tensor, needed in zip(inputs, ctx.needs_input_grad, strict=True) if needed]
            found = iter(torch.autograd.grad(_plain_distance(*inputs), wanted, gradient, create_graph=True))
            return tuple(next(found) if needed else None for needed in ctx.needs_input_grad)
        f1 = _wide(features)
        inverse_length = _inverse_length(f1)
        unit = f1 * inverse_length
        difference = unit - reference
        scale = (2 / (f1.shape[2] * f1.shape[3]) * gradient.to(f1.dtype)).view(-1, 1, 1, 1)
        to_reference = to_features = to_head = None
        if ctx.needs_input_grad[2]:
            to_head = ((difference**2).sum(dim=(2, 3)) * (scale / 2).flatten(1)).sum(dim=0).to(head.dtype)
        pull = difference.mul_(_column(head, f1))  # t above
        if ctx.needs_input_grad[0]:
            to_reference = (pull * -scale).to(reference.dtype)
        if ctx.needs_input_grad[1]:
            along = (pull * unit).sum(dim=1, keepdim=True)  # s above
            step = inverse_length * scale
            to_features = pull.mul_(step).addcmul_(unit, along * step, value=-1).to(features.dtype)
        return to_reference, to_features, to_head


def _full_precision(device_type: str) -> AbstractContextManager[None]:
    """Autocast would round a product to 8 bits."""
    if torch.amp.is_autocast_available(device_type):
        return torch.autocast(device_type, enabled=False)
    return nullcontext()


def _wide(features: Tensor) -> Tensor:
    return features if features.dtype == torch.float64 else features.float()


def _column(head: Tensor, features: Tensor) -> Tensor:
    """`(1, C, 1, 1)`, in the precision that distances are computed in."""
    return head.to(_wide(features[:0]).dtype).view(1, -1, 1, 1)


def _inverse_length(features: Tensor) -> Tensor:
    return torch.rsqrt(torch.linalg.vector_norm(features, dim=1, keepdim=True) ** 2 + EPSILON)
