"""Pooled feature differences: all that training the heads of a frozen trunk needs, computed once and kept.

With a frozen trunk d = sum_k w_k . mean over positions of (f_k(reference) - f_k(distorted))^2, so the means alone, 1152
(alex), 1472 (vgg) or 2240 (squeeze) numbers a pair, stand for the images. LPIPS trains with dropout on the difference
maps before they are averaged. Dropout with probability p on a map x of P positions makes its mean a sum of independent
terms with expectation mean(x) and variance p / (1 - p) * mean(x^2) / P, so the second number that is kept,
sqrt(mean(x^2) / P), lets the trainer draw noise of the same two moments.
"""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import safetensors
import safetensors.torch
import torch
from torch import Tensor
from tqdm import tqdm

from metric.backbones import Backbone
from metric.model import unit_features
from metric.weights import fingerprint
from study.errors import InputError
from study.files import sha256, write_bytes
from study.folder import Study

BATCH_PIXELS = 8 * 256 * 256  # images in flight: enough to keep two cores busy, about 100 MB of vgg features


def load_images(study: Study, digests: list[str]) -> Tensor:
    """Images `(N, 3, H, W)` in [0, 1]."""
    pixels = np.stack([study.image(digest) for digest in digests])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255


def pairs_of(study: Study, triplets: pd.DataFrame) -> pd.DataFrame:
    """The distinct (reference, distorted) pairs of triplets, as SHA-256 digests, those of one reference together."""
    stimuli = study.stimuli.set_index("id")
    for side in ("a", "b"):
        sizes = [stimuli.loc[triplets[name], ["width", "height"]].to_numpy() for name in ("reference", side)]
        wrong = (sizes[0] != sizes[1]).any(axis=1)
        if wrong.any():
            raise InputError(f"triplet {triplets['id'][wrong].iloc[0]}: {side} and its reference differ in size")
    digests = stimuli["sha256"]
    sides = [
        pd.DataFrame({"reference": digests[triplets["reference"]].array, "distorted": digests[triplets[side]].array})
        for side in ("a", "b")
    ]
    return pd.concat(sides).drop_duplicates().sort_values(["reference", "distorted"]).reset_index(drop=True)


def over_references(
    study: Study,
    pairs: pd.DataFrame,
    prepare: Callable[[Tensor], Any],
    compare: Callable[[Any, Tensor], Tensor],
    title: str,
) -> Tensor:
    """`compare(prepare(reference), distorted)` of every pair, in the order of `pairs`, concatenated over pairs.

    `prepare` gets a reference `(1, 3, H, W)` once; `compare` gets its distorted versions `(N, 3, H, W)` together.
    """
    results = []
    with torch.inference_mode(), tqdm(total=len(pairs), desc=title, unit="pair") as progress:
        for digest, group in pairs.groupby("reference", sort=False):
            reference = load_images(study, [str(digest)])
            prepared = prepare(reference)
            size = max(1, BATCH_PIXELS // (reference.shape[2] * reference.shape[3]))
            for start in range(0, len(group), size):
                distorted = load_images(study, list(group["distorted"].iloc[start : start + size]))
                results.append(compare(prepared, distorted))
                progress.update(len(distorted))
    return torch.cat(results)


def pooled_differences(study: Study, pairs: pd.DataFrame, backbone: Backbone) -> Tensor:
    """`(len(pairs), 2, C)`: the means of the squared feature differences and their dropout scale, all taps in a row.

    Kept in `runs/cache/`, keyed on the trunk's weights and the images, and read from there the next time.
    """
    key = sha256(f"{fingerprint(backbone.state_dict())} {pairs.to_csv(index=False)}".encode())[:32]
    path = study.runs_folder / "cache" / f"pooled-{backbone.name}-{key}.safetensors"
    with suppress(OSError, safetensors.SafetensorError, KeyError):  # absent or damaged: computed, and written again
        return safetensors.torch.load_file(path)["pooled"]

    def compare(reference: list[Tensor], distorted: Tensor) -> Tensor:
        return pool(reference, unit_features(backbone, distorted))

    prepare = partial(unit_features, backbone)
    pooled = over_references(study, pairs, prepare, compare, f"{backbone.name} features")
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
