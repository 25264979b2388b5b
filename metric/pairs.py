"""Pairs of a reference and a distorted image, and running a comparison over all of them with no image read twice.

Threads read images ahead of the comparison, which gets many small ones together.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from metric.data.judgments import Data
from study.errors import InputError
from study.images import Pixels

BATCH_PIXELS = 8 * 256 * 256  # of distorted images together: keeps two cores busy, about 100 MB of vgg features
THREADS = 4  # that read images; with more, they mostly wait for each other
AHEAD = (4, 1024)  # images that are read ahead, at least and at most


def pairs_of(comparisons: pd.DataFrame) -> pd.DataFrame:
    """The distinct (reference, distorted) pairs of comparisons, those of one reference together."""
    sides = [comparisons[["reference", side]].set_axis(["reference", "distorted"], axis=1) for side in ("a", "b")]
    return pd.concat(sides).drop_duplicates().sort_values(["reference", "distorted"]).reset_index(drop=True)


def rows_of(pairs: pd.DataFrame, comparisons: pd.DataFrame, side: str) -> np.ndarray:
    """`(T,)` in which row of `pairs` the pair (reference, `side`) stands; `side`: a, b or distorted."""
    keys = pd.MultiIndex.from_frame(comparisons[["reference", side]])
    return pd.MultiIndex.from_frame(pairs[["reference", "distorted"]]).get_indexer(keys)


def load_images(data: Data, keys: list[str]) -> Tensor:
    """Images `(N, 3, H, W)` in [0, 1]; raises InputError where one differs in size from the first."""
    pixels = [data.image(key) for key in keys]
    for key, image in zip(keys, pixels, strict=True):
        _check_size(data, key, image, keys[0], pixels[0])
    return to_tensor(pixels)


def to_tensor(pixels: list[Pixels]) -> Tensor:
    """`(N, 3, H, W)` in [0, 1] of N images of one size, channels last in memory."""
    return torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float().div_(255)


def over_references(
    data: Data,
    pairs: pd.DataFrame,
    prepare: Callable[[Tensor], Any],
    compare: Callable[[Any, Tensor], Tensor],
    title: str,
    device: torch.device | str = "cpu",
    quiet: bool = False,
) -> Tensor:
    """`compare(prepare(references), distorted)` of every pair, in the order of `pairs`, concatenated over pairs.

    `pairs` has the columns reference and distorted, those of one reference together. `prepare` gets references
    `(R, 3, H, W)`, each once, and gives a tensor or a sequence of tensors with R rows. `compare` gets of it the rows
    that belong to the distorted images `(N, 3, H, W)`, or the only one. It is called in the order of `pairs`.
    """
    results = []
    prepared: Any = None
    with torch.inference_mode(), tqdm(total=len(pairs), desc=title, unit="pair", disable=quiet) as progress:
        for references, distorted, belongs in _batches(data, pairs):
            if references:
                prepared = prepare(to_tensor(references).to(device))
            alone = len(references) < 2
            rows = prepared if alone else _select(prepared, torch.tensor(belongs, device=device))
            results.append(compare(rows, to_tensor(distorted).to(device)).cpu())
            progress.update(len(distorted))
    return torch.cat(results)


def _batches(data: Data, pairs: pd.DataFrame) -> Iterator[tuple[list[Pixels], list[Pixels], list[int]]]:
    """References, distorted images and which reference each of these belongs to, all of one size; in order.

    Many small references stand together. A large one's distorted images come in parts, the first with the reference,
    the others with none: they belong to the last one.
    """
    groups = [
        (str(name), [str(key) for key in keys]) for name, keys in pairs.groupby("reference", sort=False)["distorted"]
    ]
    images = _read_ahead(data, [key for name, keys in groups for key in (name, *keys)])
    references: list[Pixels] = []
    distorted: list[Pixels] = []
    belongs: list[int] = []
    for name, keys in groups:
        reference = next(images)
        room = max(1, BATCH_PIXELS // (reference.shape[0] * reference.shape[1]))
        if distorted and (distorted[0].shape != reference.shape or len(distorted) + len(keys) > room):
            yield references, distorted, belongs
            references, distorted, belongs = [], [], []
        references.append(reference)
        for key in keys:
            if len(distorted) == room:  # so this reference is alone
                yield references, distorted, belongs
                references, distorted, belongs = [], [], []
            image = next(images)
            _check_size(data, key, image, name, reference)
            distorted.append(image)
            belongs.append(max(0, len(references) - 1))
    if distorted:
        yield references, distorted, belongs


def _read_ahead(data: Data, keys: list[str]) -> Iterator[Pixels]:
    """The pixels of each key in turn; threads read the next while these are at work."""
    waiting: deque[Future[Pixels]] = deque()
    submitted, ahead = 0, AHEAD[0]
    with ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as threads:
        try:
            for done in range(len(keys)):
                while submitted < len(keys) and submitted - done < ahead:
                    waiting.append(threads.submit(data.image, keys[submitted]))
                    submitted += 1
                pixels = waiting.popleft().result()
                ahead = min(max(2 * BATCH_PIXELS // (pixels.shape[0] * pixels.shape[1]), AHEAD[0]), AHEAD[1])
                yield pixels
        finally:
            for future in waiting:
                future.cancel()


def _select(prepared: Any, index: Tensor) -> Any:
    """The rows `index` of a tensor, or of each in a sequence."""
    return [_select(part, index) for part in prepared] if isinstance(prepared, list | tuple) else prepared[index]


def _check_size(data: Data, key: str, image: Pixels, other: str, expected: Pixels) -> None:
    if image.shape != expected.shape:
        (height, width), (rows, columns) = image.shape[:2], expected.shape[:2]
        raise InputError(
            f"{data.where(key)}: {width} x {height} pixels, but {data.where(other)} has {columns} x {rows}"
        )
