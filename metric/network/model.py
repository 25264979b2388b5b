"""The metric: distances between images as weighted differences of a trunk's features (LPIPS)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from metric.network.backbones import Trunk
from metric.network.checks import check_images, check_size
from metric.network.features import Features
from metric.network.preference import preference
from metric.network.unit_distance import normalise, unit_distance, unit_distance_map
from study.errors import InputError, UnavailableError

CHECKED_CALLS = 100
"""Calls on an accelerator whose images' range is read: reading waits for the device, which a training must not do."""


class PerceptualMetric(nn.Module):
    r"""LPIPS: d = sum over taps k of mean over positions of w_k . (f_k(reference) - f_k(distorted))^2.

    `f_k` is the tap's feature vector, normalised over channels to unit length; `w_k >= 0` is learned from votes.

    Zhang et al., CVPR 2018, equation 1.
    """

    calibration: dict[str, Any] | None = None
    """Plain values that turn distances into probabilities and JND; None where the metric was not calibrated."""

    def __init__(self, backbone: Trunk, heads: Sequence[Tensor]) -> None:
        """`heads`: one `(C_k,)` tensor of weights >= 0 a tap. Raises ValueError where they are others."""
        super().__init__()
        if [tuple(head.shape) for head in heads] != [(channels,) for channels in backbone.channels]:
            raise ValueError(f"heads of {[tuple(h.shape) for h in heads]} do not fit {backbone.name}")
        if not all((head >= 0).all() for head in heads):  # written so that NaN fails too
            raise ValueError("heads are weights of 0 or more; with others a distance could be negative")
        self.backbone = backbone
        self._calls = 0
        self.heads = nn.ParameterList([nn.Parameter(head.detach().clone().float()) for head in heads])

    def forward(self, reference: Tensor | Features, distorted: Tensor) -> Tensor:
        """Distances `(N,)`, 0 for identical images, of images `(N, 3, H, W)` in [0, 1].

        `reference`: images, or what `reference(images)` made of them. Differentiable in both images, twice too, with
        finite gradients also where they are identical. `distorted` may leave [0, 1] by 0.5, as a decoder's output does
        early in its training. Images are converted to the metric's own precision; autocast is respected. Raises
        InputError for another shape, type, device or range; the range is always read on a CPU, elsewhere in a metric's
        first CHECKED_CALLS calls, and never in compiled code.
        """
        self._check(reference, distorted)
        return self._taps(unit_distance, self._prepared(reference), distorted)

    def reference(self, images: Tensor) -> Features:
        """Features of references, without a graph: compute them once, compare them with any number of versions."""
        self._check(images, images)
        with torch.no_grad():
            return Features(self.features(images), (images.shape[2], images.shape[3]))

    def spatial(self, reference: Tensor | Features, distorted: Tensor) -> Tensor:
        """Where images differ: maps `(N, 1, H, W)` in the size of the images, whose mean is close to the distance.

        Each tap's map is interpolated bilinearly to that size, and they are summed. Takes what `forward` takes.
        """
        self._check(reference, distorted)
        size = distorted.shape[2:]

        def enlarged(*tap: Tensor) -> Tensor:
            return functional.interpolate(unit_distance_map(*tap), size=size, mode="bilinear", align_corners=False)

        return self._taps(enlarged, self._prepared(reference), distorted)

    def preference(self, distance_a: Tensor, distance_b: Tensor) -> Tensor:
        """The chance that an observer prefers b, of distances of a and b from one reference; differentiable.

        Calibrated on held-out photographs (`analysis.psychometric`). Raises UnavailableError where the metric was not.
        """
        return preference(self._calibrated("preference", "votes"), distance_a, distance_b)

    def jnd(self, distance: Tensor) -> Tensor:
        """The distance in just noticeable differences: at 1, half of the observers see one (`analysis.detection`).

        Raises UnavailableError where the metric's data had no same/different answers.
        """
        return distance / self._calibrated("jnd", "same/different answers")["threshold"]

    def _calibrated(self, name: str, needed: str) -> dict[str, float]:
        values = (self.calibration or {}).get(name)
        if values is None:
            raise UnavailableError(f"this metric is not calibrated: {needed} are needed; eyetune train does it")
        return values

    def features(self, images: Tensor) -> list[Tensor]:
        """Unit-length feature maps `(N, C_k, H_k, W_k)`, one a tap, differentiable in the images and the trunk."""
        return unit_features(self.backbone, images)

    def distance(self, reference: Sequence[Tensor], distorted: Sequence[Tensor]) -> Tensor:
        """Distances `(N,)` of two results of `features`."""
        total = torch.zeros((), device=distorted[0].device)
        for head, f0, f1 in zip(self.heads, reference, distorted, strict=True):
            total = total + ((f0 - f1) ** 2).mean(dim=(2, 3)) @ head.to(f1.dtype)
        return total

    def _prepared(self, reference: Tensor | Features) -> list[Tensor]:
        """The reference's unit features, with a graph only where a gradient goes back through it."""
        if isinstance(reference, Features):
            return reference.maps
        trained = any(parameter.requires_grad for parameter in self.backbone.parameters())
        with torch.set_grad_enabled(torch.is_grad_enabled() and (trained or reference.requires_grad)):
            return self.features(reference)

    def _taps(self, compare: Callable[..., Tensor], reference: Sequence[Tensor], distorted: Tensor) -> Tensor:
        maps = self.backbone(distorted)
        each = [compare(*tap) for tap in zip(reference, maps, self.heads, strict=True)]
        return torch.stack(each).sum(dim=0)

    def _check(self, reference: Tensor | Features, distorted: Tensor) -> None:
        known = self.heads[0].device
        if isinstance(distorted, Tensor) and distorted.device != known:
            raise InputError(f"the images are on {distorted.device} and the metric on {known}; move one with .to(...)")
        if isinstance(reference, Features) and tuple(m.shape[1] for m in reference.maps) != self.backbone.channels:
            raise InputError(f"{reference!r} are not of the trunk {self.backbone.name}")
        with_range = known.type == "cpu" or self._calls < CHECKED_CALLS
        check_images(reference, distorted, self.backbone.smallest, with_range)
        if not torch.compiler.is_compiling():
            self._calls += 1


def heads_of(state: Mapping[str, Tensor]) -> list[Tensor]:
    """The heads in a metric's state dict (`heads.0`, `heads.1`, ...), in the order of the taps."""
    return [state[f"heads.{k}"] for k in range(sum(key.startswith("heads.") for key in state))]


def unit_features(backbone: Trunk, images: Tensor) -> list[Tensor]:
    """Unit-length feature maps `(N, C_k, H_k, W_k)`, one a tap; UnavailableError where images are too small."""
    check_size(images, backbone.smallest)
    return [normalise(features) for features in backbone(images)]
