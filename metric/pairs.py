"""Pairs of a reference and a distorted image, and running a comparison over all of them with no image read twice."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from metric.data import Data
from study.errors import InputError

BATCH_PIXELS = 8 * 256 * 256  # images in flight: enough to keep two cores busy, about 100 MB of vgg features


def pairs_of(comparisons: pd.DataFrame) -> pd.DataFrame:
    """The distinct (reference, distorted) pairs of comparisons, those of one reference together."""
    sides = [comparisons[["reference", side]].set_axis(["reference", "distorted"], axis=1) for side in ("a", "b")]
    return pd.concat(sides).drop_duplicates().sort_values(["reference", "distorted"]).reset_index(drop=True)


def rows_of(pairs: pd.DataFrame, comparisons: pd.DataFrame, side: str) -> np.ndarray:
    """`(T,)` in which row of `pairs` the comparison's pair (reference, `side`) stands; side is "a" or "b"."""
    keys = pd.MultiIndex.from_frame(comparisons[["reference", side]])
    return pd.MultiIndex.from_frame(pairs[["reference", "distorted"]]).get_indexer(keys)


def load_images(data: Data, keys: list[str], like: tuple[str, torch.Size] | None = None) -> Tensor:
    """Images `(N, 3, H, W)` in [0, 1]; raises InputError where one differs in size from the first, or from `like`."""
    pixels = [data.image(key) for key in keys]
    first, height, width = (like[0], *like[1][2:]) if like else (keys[0], *pixels[0].shape[:2])
    for key, image in zip(keys, pixels, strict=True):
        if image.shape[:2] != (height, width):
            size = f"{image.shape[1]} x {image.shape[0]} pixels"
            raise InputError(f"{data.where(key)}: {size}, but {data.where(first)} has {width} x {height}")
    return torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 255


def over_references(
    data: Data,
    pairs: pd.DataFrame,
    prepare: Callable[[Tensor], Any],
    compare: Callable[[Any, Tensor], Tensor],
    title: str,
) -> Tensor:
    """`compare(prepare(reference), distorted)` of every pair, in the order of `pairs`, concatenated over pairs.

    `pairs` has the columns reference and distorted, those of one reference together. `prepare` gets a reference
    `(1, 3, H, W)` once; `compare` gets its distorted versions `(N, 3, H, W)` together.
    """
    results = []
    with torch.inference_mode(), tqdm(total=len(pairs), desc=title, unit="pair") as progress:
        for key, group in pairs.groupby("reference", sort=False):
            reference = load_images(data, [str(key)])
            prepared = prepare(reference)
            size = max(1, BATCH_PIXELS // (reference.shape[2] * reference.shape[3]))
            for start in range(0, len(group), size):
                keys = list(group["distorted"].iloc[start : start + size])
                distorted = load_images(data, keys, like=(str(key), reference.shape))
                results.append(compare(prepared, distorted))
                progress.update(len(distorted))
    return torch.cat(results)
