"""The metric: distances between images as weighted differences of a trunk's features (LPIPS)."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from metric.backbones import Trunk
from study.errors import InputError, UnavailableError

EPSILON = 1e-10  # inside the root: LPIPS has it outside, where the gradient at a zero feature is NaN


class PerceptualMetric(nn.Module):
    r"""LPIPS: d = sum over taps k of mean over positions of w_k . (f_k(reference) - f_k(distorted))^2.

    `f_k` is the tap's feature vector, normalised over channels to unit length; `w_k >= 0` is learned from votes.

    Zhang et al., CVPR 2018, equation 1.
    """

    calibration: dict[str, Any] | None = None
    """Plain values that turn distances into probabilities and JND; None where the metric was not calibrated."""

    def __init__(self, backbone: Trunk, heads: Sequence[Tensor]) -> None:
        """`heads`: one `(C_k,)` tensor of weights >= 0 a tap. Raises ValueError where they do not fit the trunk."""
        super().__init__()
        if [tuple(head.shape) for head in heads] != [(channels,) for channels in backbone.channels]:
            raise ValueError(f"heads of {[tuple(h.shape) for h in heads]} do not fit {backbone.name}")
        self.backbone = backbone
        self.heads = nn.ParameterList([nn.Parameter(head.detach().clone().float()) for head in heads])

    def forward(self, reference: Tensor, distorted: Tensor) -> Tensor:
        """Distances `(N,)`, 0 for identical images, of images `(N, 3, H, W)` in [0, 1].

        Differentiable in both images, with finite gradients also where they are identical. `distorted` may leave [0, 1]
        a little, as a decoder's output does. Raises InputError for other shapes or ranges.
        """
        check_images(reference, distorted, self.backbone.smallest)
        return self.distance(self.features(reference), self.features(distorted))

    def features(self, images: Tensor) -> list[Tensor]:
        """Unit-length feature maps `(N, C_k, H_k, W_k)`, one a tap; compute a reference's once and keep them."""
        return unit_features(self.backbone, images)

    def distance(self, reference: Sequence[Tensor], distorted: Sequence[Tensor]) -> Tensor:
        """Distances `(N,)` of two results of `features`."""
        total = torch.zeros((), device=distorted[0].device)
        for head, f0, f1 in zip(self.heads, reference, distorted, strict=True):
            total = total + ((f0 - f1) ** 2).mean(dim=(2, 3)) @ head.to(f1.dtype)
        return total


def heads_of(state: Mapping[str, Tensor]) -> list[Tensor]:
    """The heads in a metric's state dict (`heads.0`, `heads.1`, ...), in the order of the taps."""
    return [state[f"heads.{k}"] for k in range(sum(key.startswith("heads.") for key in state))]


def unit_features(backbone: Trunk, images: Tensor) -> list[Tensor]:
    """Unit-length feature maps `(N, C_k, H_k, W_k)`, one a tap; UnavailableError where images are too small."""
    check_size(images, backbone.smallest)
    return [normalise(features) for features in backbone(images)]


def normalise(features: Tensor) -> Tensor:
    """Feature maps of unit length over channels, in float32 or float64 (in float16 the epsilon would vanish)."""
    features = features.double() if features.dtype == torch.float64 else features.float()
    return features * torch.rsqrt((features**2).sum(dim=1, keepdim=True) + EPSILON)


def check_size(images: Tensor, smallest: int) -> None:
    """Raise UnavailableError where images `(N, 3, H, W)` are smaller than `smallest` pixels."""
    height, width = images.shape[2:]
    if min(height, width) < smallest:
        raise UnavailableError(f"images of {width} x {height} pixels are too small: at least {smallest} a side")


def check_images(reference: Tensor, distorted: Tensor, smallest: int) -> None:
    """Raise InputError unless both are float `(N, 3, H, W)` of one shape and in range."""
    for name, images in (("reference", reference), ("distorted", distorted)):
        if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
            raise InputError(f"{name}: expected a float tensor (N, 3, H, W), got {tuple(images.shape)} {images.dtype}")
    if reference.shape != distorted.shape:
        raise InputError(f"the images differ in shape: {tuple(reference.shape)} and {tuple(distorted.shape)}")
    check_size(reference, smallest)
    if torch.compiler.is_compiling() or reference.numel() == 0:
        return
    for name, images, margin in (("reference", reference, 1e-3), ("distorted", distorted, 0.5)):
        low, high = (float(value) for value in images.detach().aminmax())
        if not (low >= -margin and high <= 1 + margin):  # written so that NaN fails too
            raise InputError(f"{name}: values from {low:.4g} to {high:.4g}; expected [0, 1]")
