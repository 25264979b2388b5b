"""One codec for many rates: what scales the latent before it is rounded, and back."""

import torch
from torch import Tensor, nn


class Gain(nn.Module):
    """Gain units: a factor for each channel and level, and another on the way back (Cui et al., CVPR 2021).

    A position in [0, levels - 1] is a rate; between two levels both factors are interpolated geometrically. They start
    where scalar quantisation at high rates has them: in proportion to the square root of the level's lambda.
    """

    def __init__(self, lambdas: tuple[float, ...], channels: int) -> None:
        super().__init__()
        start = torch.tensor(lambdas).log().mul(0.5)
        start = (start - start[len(lambdas) // 2])[:, None].expand(-1, channels).clone()
        self.log_gain = nn.Parameter(start)
        self.log_inverse = nn.Parameter(-start)

    @property
    def positions(self) -> float:
        """The highest position."""
        return float(len(self.log_gain) - 1)

    def forward(self, y: Tensor, position: Tensor) -> Tensor:
        """`y` (N, C, H, W) scaled for `position` (N,)."""
        return y * _between(self.log_gain, position)

    def inverse(self, y_hat: Tensor, position: Tensor) -> Tensor:
        """`y_hat` (N, C, H, W) scaled back."""
        return y_hat * _between(self.log_inverse, position)


class BinWidth(nn.Module):
    """Quantisation bins of any width from 2 (position 0) to 1/2 (position 1).

    Deep Render, CLIC 2021: "randomised quantisation bin widths"; a training draws the positions. Nothing is learned.
    """

    positions = 1.0

    def forward(self, y: Tensor, position: Tensor) -> Tensor:
        """`y` (N, C, H, W) in units of the bin."""
        return y * torch.exp2(2 * position - 1)[:, None, None, None]

    def inverse(self, y_hat: Tensor, position: Tensor) -> Tensor:
        """`y_hat` (N, C, H, W) scaled back."""
        return y_hat * torch.exp2(1 - 2 * position)[:, None, None, None]


def _between(levels: Tensor, position: Tensor) -> Tensor:
    """exp of `levels` (L, C), interpolated at `position` (N,): (N, C, 1, 1)."""
    low = position.floor().clamp(0, len(levels) - 2).long()
    part = (position - low)[:, None]
    return (levels[low] * (1 - part) + levels[low + 1] * part).exp()[:, :, None, None]
