"""What a stack of latents stands on: priors that no other latent conditions."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from codec.entropy.coders import Coder
from codec.entropy.distributions import LARGEST, LEAST_PROBABILITY, PRECISION, Distribution, least_bits
from codec.entropy.integers import to_integers
from codec.entropy.latent import Latent
from codec.layers.normalisation import lower_bound

_WIDTHS = (1, 3, 3, 3, 3, 1)


class Factorised(Latent):
    """A learned density for each channel, of any shape: the non-parametric prior of Balle et al. 2018 (appendix 6.1).

    Its cumulative is a small monotone network: softplus of the weights, x + tanh(a) tanh(x) between the layers. Coding
    uses `table`, the probabilities of the symbols -largest to largest (what lies beyond is clamped) in units of 2^-24;
    it is part of the state, so that no machine's tanh decides what a file means.
    """

    table: Tensor
    medians: Tensor
    largest = 127

    def __init__(self, channels: int, name: str = "z", scale: float = 10.0) -> None:
        super().__init__()
        self.channels, self.name = channels, name
        layer = scale ** (1 / (len(_WIDTHS) - 1))
        self.matrices, self.biases, self.factors = nn.ParameterList(), nn.ParameterList(), nn.ParameterList()
        for inputs, outputs in zip(_WIDTHS, _WIDTHS[1:], strict=False):
            start = math.log(math.expm1(1 / layer / outputs))
            self.matrices.append(nn.Parameter(torch.full((channels, outputs, inputs), start)))
            self.biases.append(nn.Parameter(torch.rand(channels, outputs, 1) - 0.5))
            if outputs > 1:
                self.factors.append(nn.Parameter(torch.zeros(channels, outputs, 1)))
        self.register_buffer("medians", torch.zeros(channels))
        self.register_buffer("table", torch.zeros(channels, 2 * self.largest + 1, dtype=torch.int32))
        self.tabulate()

    def _logits(self, x: Tensor) -> Tensor:
        """The logit of the cumulative at `x` (C, 1, K)."""
        last = len(self.matrices) - 1
        for k, (matrix, bias) in enumerate(zip(self.matrices, self.biases, strict=True)):
            x = functional.softplus(matrix.to(x.dtype)) @ x + bias.to(x.dtype)
            if k < last:
                x = x + torch.tanh(self.factors[k].to(x.dtype)) * torch.tanh(x)
        return x

    def mass(self, x: Tensor) -> Tensor:
        """The probability within 1/2 of `x` (C, 1, K)."""
        low, high = self._logits(x - 0.5), self._logits(x + 0.5)
        sign = torch.where(low + high > 0, -1.0, 1.0)  # both on the side where a sigmoid's difference is exact
        return (torch.sigmoid(sign * high) - torch.sigmoid(sign * low)).abs()

    def bits(self, z: Tensor) -> Tensor:
        """-log2 of the probability within 1/2 of each of `z` (N, C, H, W)."""
        columns = z.transpose(0, 1).reshape(self.channels, 1, -1)
        bits = -torch.log2(lower_bound(self.mass(columns), LEAST_PROBABILITY))
        return bits.reshape(self.channels, z.shape[0], *z.shape[2:]).transpose(0, 1)

    @torch.no_grad()
    def tabulate(self) -> None:
        """Put the density as it is now into `table`."""
        symbols = torch.arange(-self.largest, self.largest + 1, dtype=torch.float64, device=self.medians.device)
        mass = self.mass(symbols + self.medians.double()[:, None, None]).squeeze(1)
        mass = mass / mass.sum(1, keepdim=True).clamp(min=LEAST_PROBABILITY)
        self.table = (mass * 2.0**PRECISION).round().clamp(min=1).to(torch.int32)

    def walk(self, coder: Coder, z: Tensor | None, size: tuple[int, int]) -> Tensor:
        """z_hat of `z` (N, C, *size), or of what the coder reads."""
        return coder.factorised(self.name, self, z, size)

    def least_bits(self, size: tuple[int, int]) -> float:
        """The fewest bits that any latent of this size costs."""
        return self.channels * size[0] * size[1] * least_bits(2 * self.largest + 1)


class Fixed(Latent):
    """A Gaussian or a Laplacian for each channel, its mean and scale learned over the training set."""

    def __init__(self, channels: int, name: str = "z", distribution: Distribution | None = None) -> None:
        super().__init__()
        self.channels, self.name = channels, name
        self.distribution = distribution or Distribution("laplace")
        self.mean = nn.Parameter(torch.zeros(channels))
        self.scale = nn.Parameter(torch.zeros(channels))

    def walk(self, coder: Coder, z: Tensor | None, size: tuple[int, int]) -> Tensor:
        """z_hat of `z` (N, C, *size), or of what the coder reads."""
        shape = (1 if z is None else len(z), self.channels, *size)
        mean, scale = (
            (to_integers(p.detach().cpu()) if coder.exact else p)[:, None, None].expand(shape).contiguous()
            for p in (self.mean, self.scale)
        )
        return coder.conditional(self.name, self.distribution, z, mean, scale)

    def least_bits(self, size: tuple[int, int]) -> float:
        """The fewest bits that any latent of this size costs."""
        return self.channels * size[0] * size[1] * least_bits(2 * LARGEST + 1)
