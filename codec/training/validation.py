"""Measure a codec on whole photographs that it was not trained on, at each of its levels.

Whole ones, because crops mislead: a hyperprior that was trained on crops of its own stride knows borders only, and
costs twice the bits inside a photograph.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from codec.model import Codec
from codec.training.crops import Photograph, whole
from codec.training.losses import Distortion
from codec.training.processes import Alone

if TYPE_CHECKING:
    from accelerate import Accelerator

PIXELS = 2 * 2**20  # of a photograph, at most: of larger ones a piece from the middle is measured


@dataclass(frozen=True)
class Validation:
    """The means over photographs."""

    levels: list[dict[str, float]]
    """Of each level: bits_per_pixel (what the entropy model says), psnr in dB, and every term of the distortion."""
    decoded: list[Tensor] = field(default_factory=list)
    """The first photographs and what became of them at each level, beside each other: `(3, H, W)` in [0, 1]."""


def size_of(photograph: Photograph) -> tuple[int, int]:
    """Height and width of what is measured of a photograph."""
    height, width = photograph.size
    shrink = min(1.0, (PIXELS / (height * width)) ** 0.5)
    return int(height * shrink), int(width * shrink)


def positions(codec: Codec) -> list[float]:
    """The position of each level; of a codec with one rate, the one."""
    return [float(level) for level in range(round(codec.positions) + 1)]


@torch.no_grad()
def validate(
    codec: Codec,
    photographs: Sequence[Photograph],
    distortion: Distortion,
    together: "Alone | Accelerator",
    shown: int = 0,
    look: Callable[[], None] = lambda: None,
) -> Validation:
    """What `codec`, in eval mode, makes of `photographs`, shared among all processes, in float32.

    The decoded image is rounded to 8 bits, as a file's is. `shown`: how many of the first process's are kept in
    `decoded`. `look` is called before each photograph.
    """
    places = positions(codec)
    sums = torch.zeros(len(places), 2 + len(distortion.terms), dtype=torch.float64)
    decoded: list[Tensor] = []
    for photograph in photographs[together.process_index :: together.num_processes]:
        look()
        x = whole(photograph, *size_of(photograph)).to(together.device)
        prepared = distortion.prepare(x)
        beside = [x[0].cpu()]
        for row, place in enumerate(places):
            x_hat, bits_per_pixel = reconstruct(codec, x, place)
            psnr = -10 * torch.log10(((x - x_hat) ** 2).mean().clamp(min=1e-10))
            terms = torch.stack(list(distortion.compare(prepared, x_hat).values()))[:, 0]
            sums[row] += torch.cat([torch.stack([bits_per_pixel, psnr]), terms]).double().cpu()
            beside.append(x_hat[0].cpu())
        if len(decoded) < shown:
            decoded.append(torch.cat(beside, dim=2))
    means = together.reduce(sums.float().to(together.device)).cpu() / max(len(photographs), 1)
    names = ["bits_per_pixel", "psnr", *(term.name for term in distortion.terms)]
    return Validation([dict(zip(names, row, strict=True)) for row in means.tolist()], decoded)


def reconstruct(codec: Codec, x: Tensor, position: float) -> tuple[Tensor, Tensor]:
    """`x` (1, 3, H, W) decoded, in 256 levels of [0, 1], and the bits per pixel `()` that its symbols cost."""
    height, width = x.shape[2:]
    padding = (0, -width % codec.stride, 0, -height % codec.stride)
    output = codec(functional.pad(x, padding, mode="replicate"), torch.tensor([position], device=x.device))
    x_hat = (output.x_hat[:, :, :height, :width].float().clamp(0, 1) * 255).round() / 255
    return x_hat, torch.stack([bits[0] for bits in output.bits.values()]).sum() / (height * width)
