"""How far a decoded image is from its photograph: any mix of terms, each one number an image.

    D = sum over terms k of  weight_k * term_k(x, x_hat)

Term mse is on the 0..255 scale, as CompressAI's lambdas want it; all others are on [0, 1].
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from codec.training.ms_ssim import SMALLEST, ms_ssim_loss
from metric.exporting.exported import describe, load
from metric.measures import lpips
from metric.network.model import PerceptualMetric
from metric.network.weights import load_backbone
from study.errors import InputError

LPIPS = ("alex", "vgg", "squeeze")
VGG_SCALE = 1 / 12.75**2  # of squared differences of VGG features: SRGAN's (Ledig et al., CVPR 2017)
MARGIN = 0.5  # by which x_hat may leave [0, 1] before a network: the most that PerceptualMetric takes


@dataclass(frozen=True)
class Term:
    """One kind of difference, in two steps so that a reference's features are computed once for many versions."""

    name: str
    weight: float
    prepare: Callable[[Tensor], Any]
    """Of references `(N, 3, H, W)` in [0, 1]: whatever `compare` needs of them."""
    compare: Callable[[Any, Tensor], Tensor]
    """Differences `(N,)` of `x_hat` `(N, 3, H, W)` from the prepared references, differentiable in `x_hat`."""
    smallest: int = 1
    """Pixels of an image's shortest side, at least."""
    network: bool = False
    """Whether it is a network's features that are compared."""


class Distortion:
    """A weighted sum of terms, computed in float32."""

    def __init__(self, terms: Sequence[Term]) -> None:
        """Raises InputError where two terms have one name."""
        names = [term.name for term in terms]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise InputError(f"{twice[0]}: given twice; add the weights, or give the files different names")
        self.terms = tuple(terms)
        self.weights = {term.name: term.weight for term in terms}

    def prepare(self, x: Tensor) -> list[Any]:
        """What each term needs of references `(N, 3, H, W)` in [0, 1]."""
        with torch.autocast(x.device.type, enabled=False), torch.no_grad():
            return [term.prepare(x) for term in self.terms]

    def compare(self, prepared: Sequence[Any], x_hat: Tensor) -> dict[str, Tensor]:
        """Every term `(N,)` by its name, not yet weighted; `x_hat` `(N, 3, H, W)` need not be clipped."""
        with torch.autocast(x_hat.device.type, enabled=False):
            x_hat = x_hat.float()
            within = _kept_within(x_hat)
            return {
                term.name: term.compare(known, within if term.network else x_hat)
                for term, known in zip(self.terms, prepared, strict=True)
            }

    def total(self, values: Mapping[str, Tensor]) -> Tensor:
        """The weighted sum `(N,)` of what `compare` gave."""
        return torch.stack([self.weights[name] * value for name, value in values.items()]).sum(dim=0)

    def check(self, height: int, width: int, what: str, device: torch.device) -> None:
        """Raise InputError where a term does not take images of this size; `what` says whose it is."""
        for term in self.terms:
            if min(height, width) < term.smallest:
                raise InputError(
                    f"{term.name} needs images of at least {term.smallest} pixels a side; {what}: {width} x {height}"
                )
            if not term.network:
                continue
            grey = torch.full((1, 3, height, width), 0.5, device=device)
            try:
                with torch.no_grad():
                    term.compare(term.prepare(grey), grey)
            except (InputError, RuntimeError, AssertionError) as error:  # a trunk from outside raises what it likes
                reason = " ".join(str(error).split())[:200] or type(error).__name__
                raise InputError(f"{term.name} cannot take {what}, {width} x {height} pixels: {reason}") from None


def mse_term(weight: float) -> Term:
    """The mean squared error on the scale of 0..255."""
    return Term("mse", weight, _same, lambda x, x_hat: 255**2 * ((x - x_hat) ** 2).mean(dim=(1, 2, 3)))


def mae_term(weight: float) -> Term:
    """The mean absolute error."""
    return Term("mae", weight, _same, lambda x, x_hat: (x - x_hat).abs().mean(dim=(1, 2, 3)))


def ms_ssim_term(weight: float) -> Term:
    """1 - MS-SSIM."""
    return Term("ms-ssim", weight, _same, ms_ssim_loss, SMALLEST)


def lpips_term(trunk: str, weight: float, device: torch.device) -> Term:
    """LPIPS 0.1 with its authors' heads. Raises UnavailableError where the trunk's weights cannot be had."""
    return _perceptual(f"lpips-{trunk}", lpips(trunk), weight, device)


def metric_term(path: Path, weight: float, device: torch.device) -> Term:
    """The metric in a file that `eyetune export` wrote. Raises InputError where it is none."""
    return _perceptual(f"metric-{path.stem}", load(path), weight, device)


def metric_identity(path: Path) -> str:
    """The SHA-256 of the weights in an exported metric's file, as its description says."""
    return str(describe(path)["sha256"])


def vgg_term(weight: float, device: torch.device) -> Term:
    """Mean squared differences of VGG16's features at its five taps, their mean, times VGG_SCALE.

    Johnson, Alahi and Fei-Fei, ECCV 2016. Raises UnavailableError where VGG's weights cannot be had.
    """
    trunk = load_backbone("vgg").to(device)

    def compare(maps: list[Tensor], x_hat: Tensor) -> Tensor:
        each = [((f - g) ** 2).mean(dim=(1, 2, 3)) for f, g in zip(maps, trunk(x_hat), strict=True)]
        return VGG_SCALE * torch.stack(each).mean(dim=0)

    return Term("vgg", weight, trunk, compare, trunk.smallest, network=True)


def _perceptual(name: str, metric: PerceptualMetric, weight: float, device: torch.device) -> Term:
    metric = metric.to(device)
    return Term(name, weight, metric.reference, metric, metric.backbone.smallest, network=True)


def _same(x: Tensor) -> Tensor:
    return x


def _kept_within(x_hat: Tensor) -> Tensor:
    """`x_hat` cut where it leaves [0, 1] by more than MARGIN; its gradient passes as if it were not."""
    return x_hat + (x_hat.clamp(-MARGIN, 1 + MARGIN) - x_hat).detach()
