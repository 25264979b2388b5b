"""Convolutions that see only what has been decoded before: the contexts of autoregressive entropy models."""

import torch
from torch import Tensor, nn


def raster_mask(kernel: int) -> Tensor:
    """True `(k, k)` at the taps before the centre in raster order, the centre left out (type A).

    van den Oord, Kalchbrenner and Kavukcuoglu, ICML 2016 (PixelRNN).
    """
    assert kernel % 2 == 1
    return (torch.arange(kernel**2) < kernel**2 // 2).reshape(kernel, kernel)


def checkerboard_mask(kernel: int) -> Tensor:
    """True `(k, k)` at the taps an odd number of steps from the centre: the other colour of a checkerboard.

    He et al., CVPR 2021: one colour is decoded without context, then the other with the first around it.
    """
    assert kernel % 2 == 1
    step = torch.arange(kernel) - kernel // 2
    return (step[:, None] + step).remainder(2) == 1


MASKS = {"raster": raster_mask, "checkerboard": checkerboard_mask}


class MaskedConv2d(nn.Conv2d):
    """A convolution of stride 1 and an odd `kernel` whose weights count only where `mask` (k, k) is true.

    The output has the input's size; what lies outside counts as zeros. `mask` follows from the arguments, so it is not
    part of the state.
    """

    mask: Tensor

    def __init__(self, inputs: int, outputs: int, kernel: int, mask: str = "raster") -> None:
        super().__init__(inputs, outputs, kernel, padding=kernel // 2)
        self.register_buffer("mask", MASKS[mask](kernel), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Features `(N, outputs, H, W)` of `(N, inputs, H, W)`."""
        return self._conv_forward(x, self.weight * self.mask, self.bias)

    def taps(self) -> list[tuple[int, int]]:
        """Where the weights that count lie: (dy, dx) from the centre, in raster order.

        The value at (y, x) is `bias + sum over taps of weight[:, :, k//2 + dy, k//2 + dx] @ input[:, y + dy, x + dx]`.
        """
        middle = self.kernel_size[0] // 2
        return [(y - middle, x - middle) for y, x in self.mask.nonzero().tolist()]
