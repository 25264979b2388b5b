"""Other measures of image distance, to stand beside the trained metric. All are distances: larger is worse."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from metric.exporting.exported import load, name_of
from metric.measures.dists import dists
from metric.network.backbones import LAYOUTS
from metric.network.model import PerceptualMetric, check_images
from metric.network.torchvision_import import import_torchvision
from metric.network.weights import load_backbone, load_lpips_heads
from study.errors import InputError


@dataclass(frozen=True)
class Measure:
    """A distance between a reference and its distorted versions, in two steps so that nothing is done twice."""

    name: str
    prepare: Callable[[Tensor], Any]
    """Of a reference `(1, 3, H, W)` in [0, 1]: whatever `compare` needs of it."""
    compare: Callable[[Any, Tensor], Tensor]
    """Distances `(N,)` of distorted images `(N, 3, H, W)` from the prepared reference."""


def measure(name: str) -> Measure:
    """The measure called `name` (see MEASURES), or the exported metric in the file `name`. Raises InputError."""
    if name in MEASURES:
        return MEASURES[name]()
    path = Path(name)
    if path.suffix == ".safetensors":
        return _features(name_of(path), load(path))
    raise InputError(f"unknown metric {name!r}; there are: {', '.join(MEASURES)}, and files that eyetune export wrote")


def lpips(backbone: str, version: str = "0.1") -> PerceptualMetric:
    """LPIPS with the heads that its authors published: alex, vgg or squeeze, version 0.1 or 0.0, in evaluation mode.

    Equal to the package `lpips` to 1e-4. Version 0.0 has no scaling layer, which was a bug of that release. alex-st and
    vgg-st are ST-LPIPS (Ghildyal and Liu 2022), equal to the package `stlpips-pytorch` to 1e-4.
    """
    metric = PerceptualMetric(load_backbone(backbone), load_lpips_heads(backbone, version))
    if version == "0.0":
        metric.backbone.get_buffer("shift").zero_()
        metric.backbone.get_buffer("scale").fill_(1)
    return metric.requires_grad_(False).eval()


def _features(name: str, metric: PerceptualMetric) -> Measure:
    return Measure(name, metric.reference, lambda known, distorted: metric(known.expand(len(distorted)), distorted))


def _images(name: str, distance: Callable[[Tensor, Tensor], Tensor], smallest: int = 1) -> Measure:
    def compare(reference: Tensor, distorted: Tensor) -> Tensor:
        check_images(reference.expand_as(distorted), distorted, smallest)
        return distance(reference.expand_as(distorted), distorted)

    return Measure(name, lambda reference: reference, compare)


def _psnr() -> Measure:
    """Minus the peak signal-to-noise ratio in dB over all pixels and channels of RGB; at most -100 for equal images."""
    return _images("psnr", lambda x, y: 10 * ((x - y) ** 2).mean(dim=(1, 2, 3)).clamp(min=1e-10).log10())


def _ssim() -> Measure:
    """1 - SSIM (Wang et al. 2004) as in piq: an 11 x 11 Gaussian window, RGB. Sides of at least 11 pixels.

    As its authors advise, larger images are first averaged down to about 256 pixels on the short side.
    """
    piq = _piq()
    return _images("ssim", lambda x, y: 1 - piq.ssim(x, y, data_range=1.0, reduction="none"), 11)


def _ms_ssim() -> Measure:
    """1 - MS-SSIM (Wang et al. 2003) as in piq: 5 scales, an 11 x 11 window, RGB. Sides of at least 161 pixels."""
    piq = _piq()
    return _images("ms-ssim", lambda x, y: 1 - piq.multi_scale_ssim(x, y, data_range=1.0, reduction="none"), 161)


def _haarpsi() -> Measure:
    """1 - HaarPSI (Reisenhofer et al. 2018) as in piq."""
    piq = _piq()
    return _images("haarpsi", lambda x, y: 1 - piq.haarpsi(x, y, data_range=1.0, reduction="none"), 16)


def _dists() -> Measure:
    """DISTS (Ding et al. 2020), our own module on VGG16; equal to the authors' package to 1e-4."""
    network = dists()
    return Measure(
        "dists", network.maps, lambda reference, distorted: network.distance(reference, network.maps(distorted))
    )


def _piq() -> Any:
    import_torchvision()
    import piq

    return piq


MEASURES: dict[str, Callable[[], Measure]] = {
    "psnr": _psnr,
    "ssim": _ssim,
    "ms-ssim": _ms_ssim,
    "haarpsi": _haarpsi,
    "dists": _dists,
    **{f"lpips-{name}": (lambda name=name: _features(f"lpips-{name}", lpips(name))) for name in LAYOUTS},  # type: ignore[misc]
    "st-lpips-alex": lambda: _features("st-lpips-alex", lpips("alex-st")),
    "st-lpips-vgg": lambda: _features("st-lpips-vgg", lpips("vgg-st")),
}
