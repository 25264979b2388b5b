"""A latent whose means and scales come from another latent, the hyperprior, which may have one of its own."""

import math

from torch import Tensor, nn

from codec.entropy.coders import Coder
from codec.entropy.distributions import LARGEST, least_bits
from codec.entropy.latent import Context, Latent


class Hyper(Latent):
    """y coded with what z tells of it; z is coded first, by `inner`: a prior, or a Hyper again (any depth).

                 y ---> h_a ---> z ---> inner ---> z_hat ---> h_s ---> features
                 |                                                       |
                 '----------------------> context <----------------------'
                                             |
                                           y_hat

    Balle, Minnen, Singh, Hwang and Johnston, "Variational image compression with a scale hyperprior", ICLR 2018.
    h_a and h_s have the total `stride`; z covers all of y, so h_s may give more than y's size, which is cut off.
    """

    def __init__(
        self, channels: int, inner: Latent, h_a: nn.Module, h_s: nn.Module, context: Context, stride: int = 4
    ) -> None:
        super().__init__()
        self.channels, self.stride = channels, stride
        self.inner, self.h_a, self.h_s, self.context = inner, h_a, h_s, context

    def walk(self, coder: Coder, y: Tensor | None, size: tuple[int, int]) -> Tensor:
        """y_hat of `y` (N, channels, *size), or of what the coder reads. Raises CodingError."""
        height, width = size
        z = None if y is None else self.h_a(y)
        z_hat = self.inner.walk(coder, z, self._inner_size(size))
        features = coder.run(self.h_s, z_hat)[:, :, :height, :width]
        return self.context.walk(coder, y, features)

    def least_bits(self, size: tuple[int, int]) -> float:
        """The fewest bits that any y of this size costs, with all that lies under it."""
        own = self.channels * size[0] * size[1] * least_bits(2 * LARGEST + 1)
        return own + self.inner.least_bits(self._inner_size(size))

    def _inner_size(self, size: tuple[int, int]) -> tuple[int, int]:
        return math.ceil(size[0] / self.stride), math.ceil(size[1] / self.stride)
