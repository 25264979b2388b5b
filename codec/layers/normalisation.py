"""The normalisations of learned codecs: GDN with its inverse, and ChannelNorm. Both compute in float32 under autocast.

In bfloat16 the sums of squares of GDN lose what the square root needs, and training ends in NaN.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

BETA_MIN = 1e-6  # the least beta: the root of a pixel of zeros stays away from zero
PEDESTAL = 2.0**-36  # added before a parameter's root is stored: keeps the root's gradient finite at zero


def lower_bound(x: Tensor, bound: float) -> Tensor:
    """`max(x, bound)`; the gradient also passes where x is below the bound and a descent step would raise it.

    A plain maximum gives no gradient below the bound, so that a value that has fallen under it stays there for good.
    Ballé et al., ICLR 2018 (the operation is `lower_bound` of TensorFlow Compression).
    """
    return _LowerBound.apply(x, bound)


class _LowerBound(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, bound: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.bound = bound
        return x.clamp(min=bound)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return gradient * ((x >= ctx.bound) | (gradient < 0)), None


class GDN(nn.Module):
    """Generalised divisive normalisation of `(N, C, H, W)`: `y_i = x_i / sqrt(beta_i + sum_j gamma_ij x_j^2)`.

    `inverse` multiplies by the root instead (IGDN, an approximate inverse that is trained by itself). beta `(C,)` and
    gamma `(C, C)` are stored as `sqrt(v + PEDESTAL)`, which keeps v positive; `weights` gives v. The layout is
    CompressAI's. Ballé, Laparra and Simoncelli, ICLR 2016.
    """

    def __init__(self, channels: int, inverse: bool = False) -> None:
        super().__init__()
        self.inverse = inverse
        self.beta = nn.Parameter(torch.sqrt(torch.ones(channels) + PEDESTAL))
        self.gamma = nn.Parameter(torch.sqrt(0.1 * torch.eye(channels) + PEDESTAL))

    def weights(self) -> tuple[Tensor, Tensor]:
        """beta `(C,)`, at least 1e-6, and gamma `(C, C)`, at least 0: the values of the formula."""
        beta = lower_bound(self.beta, (BETA_MIN + PEDESTAL) ** 0.5)
        gamma = lower_bound(self.gamma, PEDESTAL**0.5)
        return beta**2 - PEDESTAL, gamma**2 - PEDESTAL

    def forward(self, x: Tensor) -> Tensor:
        """As `x`, in float32 at least."""
        with torch.autocast(x.device.type, enabled=False):
            x = _wide(x)
            beta, gamma = (w.to(x.dtype) for w in self.weights())
            squared_norm = F.conv2d(x**2, gamma[:, :, None, None], beta)
            return x * (torch.sqrt(squared_norm) if self.inverse else torch.rsqrt(squared_norm))


class ChannelNorm(nn.Module):
    """Each pixel of `(N, C, H, W)` with mean 0 and variance 1 over its channels, then `gain` and `bias` a channel.

    The variance is the unbiased one (C - 1), the epsilon 1e-3, so at least two channels are needed. Nothing is pooled
    over pixels, so that crops and whole photographs are treated alike. Mentzer et al., NeurIPS 2020 (HiFiC).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        assert channels > 1
        self.gain = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """As `x`, in float32 at least."""
        with torch.autocast(x.device.type, enabled=False):
            x = _wide(x)
            variance, mean = torch.var_mean(x, dim=1, keepdim=True, correction=1)
            gain, bias = (w.to(x.dtype)[:, None, None] for w in (self.gain, self.bias))
            return (x - mean) * torch.rsqrt(variance + 1e-3) * gain + bias


def _wide(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
