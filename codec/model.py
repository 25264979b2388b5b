"""A learned codec: a pair of transforms, and the stack of latents between them."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from codec.entropy.coders import Counter, Decoder, Encoder, Training
from codec.entropy.integers import Networks
from codec.entropy.latent import Latent
from codec.entropy.priors import Factorised
from codec.rate import BinWidth, Gain


@dataclass
class Output:
    """What one pass over `(N, 3, H, W)` gives in training and validation."""

    x_hat: Tensor
    """(N, 3, H, W), not clipped."""
    y_hat: Tensor
    """(N, M, h, w): y rounded, for a discriminator that sees it."""
    bits: dict[str, Tensor]
    """Bits of each latent `(N,)`: with noise, differentiable, in training mode; of the rounded symbols in eval mode."""
    rounded_bits: dict[str, Tensor]
    """Bits of the rounded symbols `(N,)`, without a graph."""


class Codec(nn.Module):
    """A codec with its weights. In eval mode its tables are up to date and it can code.

        x ---> g_a ---> rate ---> y ---> latent ---> y_hat ---> rate^-1 ---> g_s ---> x_hat

    `latent.walk` serves training, encoding and decoding (`codec.entropy`); `codec.coding` makes files.
    """

    stride = 16
    """Of y: images are padded to a multiple of it."""

    def __init__(
        self,
        config: object,
        g_a: nn.Sequential,
        g_s: nn.Sequential,
        latent: Latent,
        rate: Gain | BinWidth | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.g_a, self.g_s, self.latent, self.rate = g_a, g_s, latent, rate
        self._networks: Networks | None = None
        self.register_load_state_dict_post_hook(_forget)

    @property
    def positions(self) -> float:
        """The highest rate position; 0 where the codec has one rate."""
        return 0.0 if self.rate is None else self.rate.positions

    def forward(self, x: Tensor, position: Tensor | None = None) -> Output:
        """One pass over `x` (N, 3, H, W) in [0, 1] at rate positions `(N,)`; H and W are multiples of `stride`.

        The latents and the pixels are always computed in float32, whatever autocast says.
        """
        y = self.analysis(x, position)
        coder = Training(noisy=self.training)
        with torch.autocast(x.device.type, enabled=False):
            y_hat = self.latent.walk(coder, y.float(), (y.shape[2], y.shape[3]))
        return Output(self.synthesis(y_hat, position), y_hat, coder.bits, coder.rounded_bits)

    def analysis(self, x: Tensor, position: Tensor | None = None) -> Tensor:
        """y `(N, M, H/stride, W/stride)` of `x` (N, 3, H, W) in [0, 1]."""
        y = _last_in_float32(self.g_a, x)
        return y if self.rate is None else self.rate(y, self._position(position, x))

    def synthesis(self, y_hat: Tensor, position: Tensor | None = None) -> Tensor:
        """x_hat `(N, 3, H, W)`, not clipped, of `y_hat`."""
        scaled = y_hat if self.rate is None else self.rate.inverse(y_hat, self._position(position, y_hat))
        return _last_in_float32(self.g_s, scaled)

    def encoder(self) -> Encoder:
        """A range encoder for `latent.walk`."""
        return Encoder(self.networks())

    def decoder(self, data: bytes) -> Decoder:
        """A range decoder of `data` for `latent.walk`. Raises CodingError."""
        return Decoder(self.networks(), data)

    def counter(self) -> Counter:
        """What counts the bits that a file would need."""
        return Counter(self.networks())

    def tabulate(self) -> None:
        """Bring what coding uses up to date with the weights; `eval()` after training does it."""
        self._networks = None
        for module in self.modules():
            if isinstance(module, Factorised):
                module.tabulate()

    def train(self, mode: bool = True) -> "Codec":
        """Set training or eval mode; from the one to the other the tables are made anew."""
        if self.training and not mode:
            self.tabulate()
        super().train(mode)
        return self

    def networks(self) -> Networks:
        """The integer forms of the weights as they are, made once for eval mode; `tabulate` forgets them."""
        assert not self.training, "a codec codes in eval mode"
        if self._networks is None:
            self._networks = Networks()
        return self._networks

    def _position(self, position: Tensor | None, like: Tensor) -> Tensor:
        if position is None:
            position = torch.full((len(like),), self.positions)
        return position.to(like.device)


def _forget(codec: Codec, keys: object) -> None:
    """Other weights came in: what was made of the former ones is no longer the codec's."""
    codec._networks = None


def _last_in_float32(transform: nn.Sequential, x: Tensor) -> Tensor:
    """`transform(x)`, its last layer without autocast: bfloat16 would round one latent in ten to another symbol."""
    for layer in list(transform)[:-1]:
        x = layer(x)
    with torch.autocast(x.device.type, enabled=False):
        return transform[-1](x.float())
