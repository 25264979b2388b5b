"""A metric as the package `lpips` loads it: `lpips.LPIPS(net="alex", model_path=path)`."""

import io
import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from metric.network.backbones import LAYOUTS, Backbone
from metric.network.model import PerceptualMetric
from metric.network.torchvision_import import import_torchvision
from metric.network.weights import fingerprint
from study.errors import UnavailableError

IMAGENET = {  # `fingerprint` of torchvision's IMAGENET1K_V1 features: the trunks that the package fetches by itself
    "alex": "44534cd66e37ce9a6258bb5e845ef8cd47c33aa68024441c7e616d63c0c1c41a",
    "vgg": "02ea23240491c2589ec6c79346a0cd2cde49db15b57118399c02f252fb928f83",
    "squeeze": "9a3cd24c3da63ec76ec50dabac44e862029b5c84992e5ddd582be22d0f9ef388",
}


def to_bytes(metric: PerceptualMetric, voters: str | None = None) -> bytes:
    """A torch file of the heads (kilobytes), and of the trunk too where it is not the one that the package fetches.

    An empty tensor's name says where `voters` were simulated; the package passes over it. Raises UnavailableError where
    the package has no such trunk.
    """
    name = metric.backbone.name
    if name not in IMAGENET or not isinstance(metric.backbone, Backbone):
        raise UnavailableError(f"the package lpips has no trunk {name!r} (it has {', '.join(IMAGENET)})")
    state = {f"lin{k}.model.1.weight": head.detach().view(1, -1, 1, 1) for k, head in enumerate(metric.heads)}
    if fingerprint(metric.backbone.state_dict()) != IMAGENET[name]:
        state |= _trunk(metric)
    if voters in ("simulated", "mixed"):
        state[f"votes.{voters.upper()}"] = torch.empty(0)
    buffer = io.BytesIO()
    torch.save({key: value.detach().cpu().clone() for key, value in state.items()}, buffer)
    return buffer.getvalue()


def distances(data: bytes, metric: PerceptualMetric) -> Callable[[Tensor, Tensor], Tensor]:
    """The package's distances `(N,)` with the state in `data`; it gets `metric`'s trunk where `data` has none."""
    import_torchvision()
    import lpips

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchvision's, of how the package names its weights
        # pnet_rand: the package would download a trunk.
        peer = lpips.LPIPS(net=metric.backbone.name, pretrained=False, pnet_rand=True, verbose=False)
    peer.load_state_dict(_trunk(metric), strict=False)
    peer.load_state_dict(torch.load(io.BytesIO(data), weights_only=True), strict=False)
    return lambda reference, distorted: peer(reference, distorted, normalize=True).flatten()


def _trunk(metric: PerceptualMetric) -> dict[str, Tensor]:
    """The trunk's weights by the package's names: `net.slice2.3.weight` is torchvision's layer 3, the second tap's."""
    taps = LAYOUTS[metric.backbone.name].taps
    state = {}
    for key, value in metric.backbone.state_dict().items():
        _, layer, parameter = key.split(".", 2)  # features.3.weight
        part = 1 + sum(tap < int(layer) for tap in taps)
        state[f"net.slice{part}.{layer}.{parameter}"] = value
    return state
