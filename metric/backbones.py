"""The convolutional trunks of LPIPS, in torchvision's layout, and the feature maps that LPIPS taps.

Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", CVPR 2018, section 3.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


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
        nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(inplace=True),
        nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(inplace=True),
        nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(inplace=True),
    ]  # fmt: skip


def _vgg16() -> list[nn.Module]:
    layers: list[nn.Module] = []
    inputs = 3
    for block in [(64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512)]:
        layers += [nn.MaxPool2d(2, 2)] if layers else []
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

    torchvision_name: str
    taps: tuple[int, ...]
    """Indices of torchvision's `features` after which a map is taken."""
    channels: tuple[int, ...]
    smallest: int
    """Pixels of the shortest side below which a map is empty."""


LAYOUTS = {
    "alex": Layout("alexnet", (1, 4, 7, 9, 11), (64, 192, 384, 256, 256), 31),
    "vgg": Layout("vgg16", (3, 8, 15, 22, 29), (64, 128, 256, 512, 512), 16),
    "squeeze": Layout("squeezenet1_1", (1, 4, 7, 9, 10, 11, 12), (64, 128, 256, 384, 384, 512, 512), 17),
}
_LAYERS = {"alex": _alexnet, "vgg": _vgg16, "squeeze": _squeezenet}


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

    def __init__(self, name: str) -> None:
        """`name`: alex, vgg or squeeze."""
        super().__init__()
        self.name = name
        self.taps, self.channels, self.smallest = LAYOUTS[name].taps, LAYOUTS[name].channels, LAYOUTS[name].smallest
        self.features = nn.Sequential(*_LAYERS[name]())
        # LPIPS's scaling layer, given for images in [-1, 1].
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Feature maps `(N, C_k, H_k, W_k)`, one a tap, of images `(N, 3, H, W)` in [0, 1]."""
        x = (2 * images - 1 - self.shift) / self.scale
        x = x.contiguous(memory_format=torch.channels_last)
        maps = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self.taps:
                maps.append(x)
        return maps
