"""The convolutional trunks of LPIPS, in torchvision's layout, and the feature maps that LPIPS taps.

Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", CVPR 2018, section 3. The two
shift-tolerant ones: Ghildyal and Liu, "Shift-tolerant Perceptual Similarity Metric", ECCV 2022, section 4.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional


class PatchConv(nn.Conv2d):
    """A convolution whose kernel is at least as large as its stride s, computed on s x s patches as channels.

    The same numbers with other strides: a 3-channel input of stride 4 becomes a 48-channel input of stride 1, of which
    processors compute the gradient to the image about four times faster. Training the kernel, where no gradient of the
    image is wanted, is twice as fast as it stands.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Feature maps `(N, outputs, H, W)`, as of `nn.Conv2d`."""
        if torch.compiler.is_compiling() or torch.jit.is_tracing():
            return super().forward(x)  # a graph to hand out says what is meant
        if self.weight.requires_grad and not x.requires_grad:
            return super().forward(x)
        stride, kernel, padding = self.stride[0], self.kernel_size[0], int(self.padding[0])
        blocks = -(-kernel // stride)
        weight = functional.pad(self.weight, (0, blocks * stride - kernel) * 2)
        sides = [((length + 2 * padding - kernel) // stride + blocks) * stride for length in x.shape[2:]]
        after = [side - padding - length for side, length in zip(sides, x.shape[2:], strict=True)]  # < 0 cuts
        x = functional.pad(x, (padding, after[1], padding, after[0]))
        return functional.conv2d(_patches(x, stride), _patches(weight, stride), self.bias)


def _patches(x: Tensor, size: int) -> Tensor:
    """`(N, size * size * C, H / size, W / size)`, in channels_last."""
    n, channels, height, width = x.shape
    x = x.reshape(n, channels, height // size, size, width // size, size)
    return x.permute(0, 2, 4, 3, 5, 1).flatten(3).permute(0, 3, 1, 2)  # channels: row, column, colour


class BlurPool(nn.Module):
    """Every second value of maps blurred by [1 2 1] in both directions (Zhang, ICML 2019), 2 values reflected outside.

    One value outside would be enough for the filter; ST-LPIPS pads with two.
    """

    weights: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        row = torch.tensor([0.25, 0.5, 0.25])
        weights = (row[:, None] * row).expand(channels, 1, 3, 3).clone()
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Maps `(N, C, H // 2 + 1, W // 2 + 1)` of maps `(N, C, H, W)`."""
        x = functional.pad(x, (2, 2, 2, 2), mode="reflect")
        return functional.conv2d(x, self.weights, stride=2, groups=x.shape[1])


class Fire(nn.Module):
    """SqueezeNet's module: a 1x1 squeeze, then 1x1 and 3x3 expansions side by side (Iandola et al. 2016)."""

    def __init__(self, inputs: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Feature maps `(N, 2 * expanded, H, W)`, all >= 0."""
        x = self.squeeze(x).relu_()
        return torch.cat([self.expand1x1(x), self.expand3x3(x)], dim=1).relu_()


def _alexnet() -> list[nn.Module]:
    return [
        PatchConv(3, 64, 11, stride=4, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(inplace=True),
        nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(inplace=True),
        nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(inplace=True),
    ]  # fmt: skip


def _shift_tolerant_alexnet() -> list[nn.Module]:
    return [
        nn.Conv2d(3, 64, 11, padding=2), BlurPool(64), nn.ReLU(inplace=True), nn.MaxPool2d(3, 1), BlurPool(64),
        nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 1), BlurPool(192),
        nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(inplace=True),
        nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(inplace=True),
        nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(inplace=True),
    ]  # fmt: skip


def _vgg16(shift_tolerant: bool = False) -> list[nn.Module]:
    layers: list[nn.Module] = []
    inputs = 3
    for block in [(64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512)]:
        if layers:
            layers += [nn.MaxPool2d(2, 1), BlurPool(inputs)] if shift_tolerant else [nn.MaxPool2d(2, 2)]
        for outputs in block:
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(inplace=True)]
            inputs = outputs
    return layers


def _squeezenet() -> list[nn.Module]:
    return [
        nn.Conv2d(3, 64, 3, stride=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, ceil_mode=True),
        Fire(64, 16, 64), Fire(128, 16, 64), nn.MaxPool2d(3, 2, ceil_mode=True),
        Fire(128, 32, 128), Fire(256, 32, 128), nn.MaxPool2d(3, 2, ceil_mode=True),
        Fire(256, 48, 192), Fire(384, 48, 192), Fire(384, 64, 256), Fire(512, 64, 256),
    ]  # fmt: skip


@dataclass(frozen=True)
class Layout:
    """Where LPIPS taps a trunk."""

    torchvision_name: str | None
    """None where torchvision has no such network."""
    taps: tuple[int, ...]
    """Indices of `features` after which a map is taken."""
    channels: tuple[int, ...]
    smallest: int
    """Pixels of the shortest side below which a map is empty."""


LAYOUTS = {
    "alex": Layout("alexnet", (1, 4, 7, 9, 11), (64, 192, 384, 256, 256), 31),
    "vgg": Layout("vgg16", (3, 8, 15, 22, 29), (64, 128, 256, 512, 512), 16),
    "squeeze": Layout("squeezenet1_1", (1, 4, 7, 9, 10, 11, 12), (64, 128, 256, 384, 384, 512, 512), 17),
}
SHIFT_TOLERANT = {
    "alex-st": Layout(None, (2, 6, 10, 12, 14), (64, 192, 384, 256, 256), 21),
    "vgg-st": Layout(None, (3, 9, 17, 25, 33), (64, 128, 256, 512, 512), 18),
}
_LAYERS: dict[str, Callable[[], list[nn.Module]]] = {
    "alex": _alexnet,
    "vgg": _vgg16,
    "squeeze": _squeezenet,
    "alex-st": _shift_tolerant_alexnet,
    "vgg-st": partial(_vgg16, shift_tolerant=True),
}


class Trunk(nn.Module):
    """What the metric asks of a trunk. Any module with these three attributes and this forward will do."""

    name: str
    channels: tuple[int, ...]
    """Of each feature map."""
    smallest: int
    """Pixels of the shortest side below which a map is empty."""

    def forward(self, images: Tensor) -> list[Tensor]:
        """Feature maps `(N, C_k, H_k, W_k)`, one a tap, of images `(N, 3, H, W)` in [0, 1]."""
        raise NotImplementedError


class Backbone(Trunk):
    """LPIPS's trunk, with torchvision's names in its state dict (`features.0.weight`, ...). Random until loaded."""

    shift: Tensor
    scale: Tensor

    def __init__(self, name: str, generator: torch.Generator | None = None) -> None:
        """`name`: a key of LAYOUTS or SHIFT_TOLERANT. `generator` draws the weights (default: torch's own).

        They are drawn as for training from scratch: normal, so that variance is kept through ReLU (He et al., ICCV
        2015, equation 10), with zero biases.
        """
        super().__init__()
        layout = (LAYOUTS | SHIFT_TOLERANT)[name]
        self.name, self.taps, self.channels, self.smallest = name, layout.taps, layout.channels, layout.smallest
        self.features = nn.Sequential(*_LAYERS[name]())
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        # LPIPS's scaling layer, given for images in [-1, 1].
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Feature maps `(N, C_k, H_k, W_k)`, one a tap, of images `(N, 3, H, W)` in [0, 1]."""
        # (2 * images - 1 - shift) / scale, in one pass
        x = torch.addcmul(-(1 + self.shift) / self.scale, images.to(self.shift.dtype), 2 / self.scale)
        x = x.contiguous(memory_format=torch.channels_last)
        maps = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self.taps:
                maps.append(x)
        return maps
