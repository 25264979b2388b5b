"""Pooled feature differences: all that training the heads of a frozen trunk needs, computed once and kept.

With a frozen trunk d = sum_k w_k . mean over positions of (f_k(reference) - f_k(distorted))^2, so the means alone, 1152
(alex), 1472 (vgg) or 2240 (squeeze) numbers a pair, stand for the images. LPIPS trains with dropout on the difference
maps before they are averaged. Dropout with probability p on a map x of P positions makes its mean a sum of independent
terms with expectation mean(x) and variance p / (1 - p) * mean(x^2) / P, so the second number that is kept,
sqrt(mean(x^2) / P), lets the trainer draw noise of the same two moments.
"""

from contextlib import suppress
from functools import partial

import pandas as pd
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from metric.backbones import Trunk
from metric.data import Data
from metric.model import unit_features
from metric.pairs import over_references
from metric.weights import fingerprint
from study.files import sha256, write_bytes


def pooled_differences(data: Data, pairs: pd.DataFrame, backbone: Trunk) -> Tensor:
    """`(len(pairs), 2, C)`: the means of the squared feature differences and their dropout scale, all taps in a row.

    Kept in `runs/cache/`, keyed on the trunk's weights and the images, and read from there the next time.
    """
    images = pairs[["reference", "distorted"]].map(data.identity).to_csv(index=False)
    key = sha256(f"{fingerprint(backbone.state_dict())} {images}".encode())[:32]
    path = data.folder / "runs" / "cache" / f"pooled-{backbone.name}-{key}.safetensors"
    with suppress(OSError, safetensors.SafetensorError, KeyError):  # absent or damaged: computed, and written again
        return safetensors.torch.load_file(path)["pooled"]

    def compare(reference: list[Tensor], distorted: Tensor) -> Tensor:
        return pool(reference, unit_features(backbone, distorted))

    prepare = partial(unit_features, backbone)
    pooled = over_references(data, pairs, prepare, compare, f"{backbone.name} features")
    write_bytes(path, safetensors.torch.save({"pooled": pooled}))
    return pooled


def pool(reference: list[Tensor], distorted: list[Tensor]) -> Tensor:
    """`(N, 2, C)` of unit-length feature maps `(1 or N, C_k, H_k, W_k)` a tap."""
    means, scales = [], []
    for f0, f1 in zip(reference, distorted, strict=True):
        squared = (f0 - f1) ** 2
        means.append(squared.mean(dim=(2, 3)))
        positions = squared.shape[2] * squared.shape[3]
        scales.append(((squared**2).mean(dim=(2, 3)) / positions).sqrt())
    return torch.stack([torch.cat(means, dim=1), torch.cat(scales, dim=1)], dim=1)
