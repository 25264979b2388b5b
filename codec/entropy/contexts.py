"""How the latent's means and scales follow from the hyperprior's features and from what is coded already.

A context turns the features `(N, F, h, w)` that h_s gave into mean and scale of every element of y, and has y coded
with them. `Direct` uses the features alone; the others also look at the part of y_hat that both sides know by then.
"""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from codec.entropy.coders import Coder
from codec.entropy.distributions import Distribution
from codec.entropy.integers import Network, Networks, linear
from codec.entropy.latent import Context
from codec.layers.masked import MaskedConv2d

Positions = tuple[Tensor, Tensor]
"""Rows and columns of positions that are coded together."""


class Direct(Context):
    """The features are the scales (Balle et al. 2018), or scales and means (the mean-scale hyperprior)."""

    def __init__(self, distribution: Distribution, means: bool = True, name: str = "y") -> None:
        super().__init__()
        self.distribution, self.means, self.name = distribution, means, name

    def walk(self, coder: Coder, y: Tensor | None, features: Tensor) -> Tensor:
        """y_hat of `y` (N, M, h, w), or of what the coder reads; features `(N, 2M or M, h, w)`, scales first."""
        scale, mean = features.chunk(2, 1) if self.means else (features, None)
        return coder.conditional(self.name, self.distribution, y, mean, scale)


class Autoregressive(Context):
    """Masked convolutions over the part of y_hat that is known, then 1 x 1 convolutions with the features.

    `order` "wavefront": each position sees those before it in raster order (Minnen et al. 2018). With a mask that
    reaches r to the side, all positions with equal x + (r + 1) y depend on none of each other, so they are coded
    together: w + (r + 1)(h - 1) steps in place of h w. "checkerboard": half of the positions without context, then the
    others with it, in 2 steps (He et al. 2021). With several kernels their outputs are concatenated.
    """

    def __init__(
        self,
        channels: int,
        features: int,
        distribution: Distribution,
        kernels: Sequence[int] = (5,),
        order: str = "wavefront",
        name: str = "y",
    ) -> None:
        super().__init__()
        assert order in ("wavefront", "checkerboard")
        self.channels, self.distribution, self.order, self.name = channels, distribution, order, name
        mask = "raster" if order == "wavefront" else "checkerboard"
        self.context_prediction = nn.ModuleList(
            MaskedConv2d(channels, 2 * channels, kernel, mask) for kernel in kernels
        )
        self.reach = max(kernels) // 2
        inputs = features + 2 * channels * len(kernels)
        widths = (inputs * 10 // 12, inputs * 8 // 12)
        self.entropy_parameters = nn.Sequential(
            nn.Conv2d(inputs, widths[0], 1),
            nn.LeakyReLU(),
            nn.Conv2d(widths[0], widths[1], 1),
            nn.LeakyReLU(),
            nn.Conv2d(widths[1], 2 * channels, 1),
        )

    def walk(self, coder: Coder, y: Tensor | None, features: Tensor) -> Tensor:
        """y_hat of `y` (N, M, h, w), or of what the coder reads; features `(N, F, h, w)`."""
        if coder.exact:
            return self._in_steps(coder, y, features)
        assert y is not None
        known = coder.known(y)
        if self.order == "checkerboard":
            rows, columns = torch.meshgrid(*(torch.arange(n, device=y.device) for n in y.shape[2:]), indexing="ij")
            known = known * ((rows + columns) % 2 == 0)
        seen = [masked(known) for masked in self.context_prediction]
        scale, mean = self.entropy_parameters(torch.cat([features, *seen], 1)).chunk(2, 1)
        return coder.conditional(self.name, self.distribution, y, mean, scale)

    def steps(self, height: int, width: int) -> list[Positions]:
        """The positions in the order in which they are coded, those together that do not depend on each other."""
        rows, columns = (n.ravel() for n in torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij"))
        time = columns + (self.reach + 1) * rows if self.order == "wavefront" else (rows + columns) % 2
        order = torch.argsort(time, stable=True)
        counts = torch.bincount(time)
        parts = order.split(counts[counts > 0].tolist())
        return [(rows[part], columns[part]) for part in parts]

    def _in_steps(self, coder: Coder, y: Tensor | None, features: Tensor) -> Tensor:
        height, width = features.shape[2:]
        r, stride = self.reach, width + 2 * self.reach
        known = torch.zeros((height + 2 * r) * stride, self.channels, dtype=torch.float64)  # with a border of zeros
        by_position = features[0].flatten(1).T.contiguous()  # (h w, F)
        values = None if y is None else y[0].flatten(1).T.contiguous()  # (h w, M)
        contexts = self._contexts(coder.networks, stride)
        parameters = coder.networks.rows(self.entropy_parameters)
        for rows, columns in self.steps(height, width):
            here, place = rows * width + columns, (rows + r) * stride + columns + r
            seen = [network(known[place[:, None] + offsets].flatten(1)) for network, offsets in contexts]
            scale, mean = parameters(torch.cat([by_position[here], *seen], 1)).chunk(2, 1)
            part = None if values is None else values[here]
            known[place] = coder.conditional(self.name, self.distribution, part, mean, scale)
        inside = known.reshape(height + 2 * r, stride, -1)[r : r + height, r : r + width]
        return inside.permute(2, 0, 1)[None].contiguous()

    def _contexts(self, networks: Networks, stride: int) -> list[tuple[Network, Tensor]]:
        """Each masked convolution as a linear layer on gathered taps, and where the taps lie in the flat buffer."""
        made = []
        for masked in self.context_prediction:
            assert isinstance(masked, MaskedConv2d)
            network = networks.once(masked, partial(_gathered, masked))
            made.append((network, torch.tensor([dy * stride + dx for dy, dx in masked.taps()])))
        return made


def _gathered(masked: MaskedConv2d) -> Network:
    """The masked convolution as a linear layer on its taps, gathered: `(P, taps * inputs)`."""
    middle = masked.kernel_size[0] // 2
    weights = [masked.weight[:, :, middle + dy, middle + dx] for dy, dx in masked.taps()]
    return linear(torch.stack(weights, 1).flatten(1), masked.bias)


class Slices(Context):
    """y in slices of channels, each with the features and all slices before it (Minnen and Singh 2020).

    Their networks with 3 x 3 in place of 5 x 5 kernels and widths in proportion. A slice's own context is a `Direct`
    one, in one step for all positions.
    """

    def __init__(
        self, channels: int, features: int, distribution: Distribution, slices: int = 8, name: str = "y"
    ) -> None:
        super().__init__()
        if channels % slices:
            raise ValueError(f"{channels} channels cannot be split into {slices} equal slices")
        self.width = channels // slices
        hidden = (max(2 * self.width, channels * 7 // 10), max(2 * self.width, channels * 4 // 10))
        self.parameters_of = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(features + k * self.width, hidden[0], 3, padding=1),
                nn.LeakyReLU(),
                nn.Conv2d(hidden[0], hidden[1], 3, padding=1),
                nn.LeakyReLU(),
                nn.Conv2d(hidden[1], 2 * self.width, 3, padding=1),
            )
            for k in range(slices)
        )
        self.contexts = nn.ModuleList(Direct(distribution, name=name) for _ in range(slices))

    def walk(self, coder: Coder, y: Tensor | None, features: Tensor) -> Tensor:
        """y_hat of `y` (N, M, h, w), or of what the coder reads; features `(N, F, h, w)`."""
        parts: Sequence[Tensor | None]
        parts = [None] * len(self.contexts) if y is None else y.split(self.width, 1)
        known = [features]
        for part, network, context in zip(parts, self.parameters_of, self.contexts, strict=True):
            assert isinstance(context, Context)
            known.append(context.walk(coder, part, coder.run(network, torch.cat(known, 1))))
        return torch.cat(known[1:], 1)
