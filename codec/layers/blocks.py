"""The blocks of published codecs' transforms: residual, attention, up- and down-sampling.

In the notation of the papers: C(i->o, k, s) is `convolution`, T(i->o, k, s) `transposed`. Inputs are `(N, C, H, W)`.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codec.layers.normalisation import GDN, ChannelNorm

KEYS_A_SIDE = 32  # self-attention: keys a side at most, as of a 256 px crop at a quarter of its size


def convolution(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """A convolution to `ceil(size / stride)` pixels a side, zeros outside."""
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2)


def transposed(inputs: int, outputs: int, kernel: int, stride: int = 2) -> nn.ConvTranspose2d:
    """A transposed convolution to exactly `size * stride` pixels a side."""
    return nn.ConvTranspose2d(inputs, outputs, kernel, stride, padding=kernel // 2, output_padding=stride - 1)


# Up- and down-sampling by 2.


def space_to_depth(inputs: int, outputs: int) -> nn.Sequential:
    """Half the size, which must be even: each 2 x 2 pixels become channels, then a 3x3 convolution (MCM)."""
    return nn.Sequential(nn.PixelUnshuffle(2), convolution(4 * inputs, outputs, 3))


def sub_pixel(inputs: int, outputs: int, kernel: int = 3) -> nn.Sequential:
    """Twice the size: a convolution to four times the channels, each four then 2 x 2 pixels. Shi et al., CVPR 2016."""
    return nn.Sequential(convolution(inputs, 4 * outputs, kernel), nn.PixelShuffle(2))


def bilinear() -> nn.Upsample:
    """Twice the size, interpolated between pixel centres (Deep Render's decoder)."""
    return nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)


# Residual blocks.


class Residual(nn.Module):
    """`shortcut(x) + f(x)`, where f is the `layers` in turn and the shortcut the identity unless one is given."""

    def __init__(self, *layers: nn.Module, shortcut: nn.Module | None = None) -> None:
        super().__init__()
        self.body = nn.Sequential(*layers)
        self.shortcut = shortcut or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """The sum; the shape is the body's."""
        return self.shortcut(x) + self.body(x)


def residual(channels: int, activation: nn.Module) -> Residual:
    """Two 3x3 convolutions with `activation` between (MCM: GDN, IGDN or LeakyReLU)."""
    return Residual(convolution(channels, channels, 3), activation, convolution(channels, channels, 3))


def residual_normed(channels: int, activation: nn.Module) -> Residual:
    """Two 3x3 convolutions, each with ChannelNorm, and `activation` between: ReLU in HiFiC, IGDN in Deep Render's."""
    return Residual(
        convolution(channels, channels, 3), ChannelNorm(channels), activation,
        convolution(channels, channels, 3), ChannelNorm(channels),
    )  # fmt: skip


def residual_gdn(inputs: int, outputs: int, stride: int = 1, inverse: bool = False) -> Residual:
    """3x3 with the stride, LeakyReLU 0.2, 3x3, GDN or IGDN; the shortcut is a 1x1 convolution (system 002)."""
    return Residual(
        convolution(inputs, outputs, 3, stride), nn.LeakyReLU(0.2), convolution(outputs, outputs, 3),
        GDN(outputs, inverse), shortcut=convolution(inputs, outputs, 1, stride),
    )  # fmt: skip


def residual_sub_pixel(inputs: int, outputs: int) -> Residual:
    """Twice the size: sub-pixel, LeakyReLU 0.2, 3x3, IGDN; the shortcut is a 1x1 sub-pixel (system 002's UpSample)."""
    return Residual(
        sub_pixel(inputs, outputs), nn.LeakyReLU(0.2), convolution(outputs, outputs, 3),
        GDN(outputs, inverse=True), shortcut=sub_pixel(inputs, outputs, kernel=1),
    )  # fmt: skip


# Attention.


class MaskAttention(nn.Module):
    """`mask(x) * main(x) + C1(x)`: system 002's NLAM, whose mask and main are three residual GDN blocks each.

    Local despite its name (non-local attention module): the mask is a sigmoid of convolutions. After Iwai et al.,
    ICPR 2020, whose blocks have ReLU and whose shortcut is the identity.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.main = nn.Sequential(*(residual_gdn(channels, channels) for _ in range(3)))
        self.mask = nn.Sequential(
            *(residual_gdn(channels, channels) for _ in range(3)), convolution(channels, channels, 1), nn.Sigmoid()
        )
        self.shortcut = convolution(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """As `x`."""
        return self.mask(x) * self.main(x) + self.shortcut(x)


class GateAttention(nn.Module):
    """`x + x * sigmoid(channel gate + spatial gate)`: MCM's light attention.

    The channel gate is one MLP of the mean and of the greatest value of each channel, summed (Woo et al., ECCV 2018);
    both are taken over the whole input. The spatial gate goes through space-to-depth and back, so that its two 1x1
    convolutions see 2 x 2 pixels. The paper names these parts; the widths are this project's.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(channels // 16, 1)
        self.channel = nn.Sequential(convolution(channels, hidden, 1), nn.ReLU(), convolution(hidden, channels, 1))
        self.spatial = nn.Sequential(
            nn.PixelUnshuffle(2), convolution(4 * channels, 4 * hidden, 1), nn.ReLU(), convolution(4 * hidden, 4, 1),
            nn.PixelShuffle(2),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """As `x`, of any size: an odd one is continued by a pixel for the spatial gate."""
        height, width = x.shape[2:]
        channel = self.channel(F.adaptive_avg_pool2d(x, 1)) + self.channel(F.adaptive_max_pool2d(x, 1))
        even = F.pad(x, (0, width % 2, 0, height % 2), mode="replicate")
        spatial = self.spatial(even)[:, :, :height, :width]
        return x + x * torch.sigmoid(channel + spatial)


class SelfAttention(nn.Module):
    """`x + gamma * attention(x)`: every position looks at all keys, which are pooled to half the size (SAGAN).

    Queries and keys have C/8 channels, values C/2; gamma is 0 at first. There are at most 32 x 32 keys, however large
    the input, or memory would grow with the square of its area. Zhang et al., ICML 2019; in a codec: ISRO's system.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        assert channels >= 8
        self.query = convolution(channels, channels // 8, 1)
        self.key = convolution(channels, channels // 8, 1)
        self.value = convolution(channels, channels // 2, 1)
        self.out = convolution(channels // 2, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """As `x`."""
        height, width = x.shape[2:]
        grid = (min((height + 1) // 2, KEYS_A_SIDE), min((width + 1) // 2, KEYS_A_SIDE))
        key, value = (F.adaptive_max_pool2d(f(x), grid).flatten(2).mT for f in (self.key, self.value))
        query = self.query(x).flatten(2).mT  # (N, H W, C/8)
        attended = F.scaled_dot_product_attention(query, key, value, scale=1.0)  # (N, H W, C/2)
        return x + self.gamma * self.out(attended.mT.unflatten(2, (height, width)))
