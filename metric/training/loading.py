"""The images of comparisons in batches of one size, in an order and a look that only seed and step decide."""

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from metric.data.judgments import Data
from metric.training.augmentation import augment
from study.errors import InputError
from study.images import Pixels

MEMORY = 2 * 2**30  # bytes of pixels that a process keeps; where there are more, they are read again every epoch
WORKERS = 8  # loading processes, at most: a step takes longer than eight cores take to read its images

Size = tuple[int, int]


@dataclass(frozen=True)
class Part:
    """The triplets that one process takes at once: a share of a step's, or all of them."""

    rows: tuple[int, ...]
    """Which comparisons, all of one size; never none."""
    share: float = 1.0
    """Of the step's triplets these are; 0 where they only fill a place."""
    epoch: int | None = None
    """Decides the augmentation; None: no augmentation."""
    place: int = 0
    """Number of this part, from the first step on; random numbers are drawn by it."""


class Batch(NamedTuple):
    """The images of a `Part`."""

    part: Part
    images: Tensor
    """`(3, n, H, W, 3)` uint8: references, images a, images b."""
    swapped: Tensor
    """`(n,)` bool: a and b have traded places."""


class Triplets(Dataset):
    """The images of `comparisons`, read and checked once; `triplets[part]` is a `Batch`."""

    def __init__(self, data: Data, comparisons: pd.DataFrame, seed: int, crop: int | None, quiet: bool = False) -> None:
        """Raises InputError where the images of a triplet differ in size or are smaller than `crop`."""
        self.data, self.seed, self.crop = data, seed, crop
        self.keys = comparisons[["reference", "a", "b"]].to_numpy()
        self.names = list(comparisons["id"])
        self.kept: dict[str, Pixels] = {}
        sizes = self._read_all(quiet)
        self.sizes = [self._checked(row, sizes) for row in range(len(self.keys))]

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, part: Part) -> Batch:
        """The images of `part`; those of one size only stand together."""
        triplets, swapped = zip(*(self._triplet(row, part.epoch) for row in part.rows), strict=True)
        return Batch(part, torch.from_numpy(np.stack(triplets, axis=1)), torch.tensor(swapped))

    def _triplet(self, row: int, epoch: int | None) -> tuple[Pixels, bool]:
        images = [self._image(key) for key in self.keys[row]]
        if epoch is None:
            return np.stack(images), False
        generator = np.random.default_rng([self.seed, epoch, row])
        swap = bool(generator.random() < 0.5)
        reference, a, b = augment(images, self.crop, generator)
        return np.stack([reference, b, a] if swap else [reference, a, b]), swap

    def _image(self, key: str) -> Pixels:
        return self.kept[key] if key in self.kept else self.data.image(key)

    def _read_all(self, quiet: bool) -> dict[str, Size]:
        """The size of every image; all are kept where they fit into MEMORY, else none."""
        keys = list(dict.fromkeys(self.keys.flat))
        sizes: dict[str, Size] = {}
        total = 0
        with ThreadPoolExecutor(min(WORKERS, os.cpu_count() or 1)) as threads:
            for start in range(0, len(keys), 1024):
                some = keys[start : start + 1024]
                read = threads.map(self.data.image, some)
                title = f"images {start + len(some):,} of {len(keys):,}"
                bar = tqdm(zip(some, read, strict=True), total=len(some), desc=title, unit="image", disable=quiet)
                for key, pixels in bar:
                    sizes[key] = (pixels.shape[0], pixels.shape[1])
                    total += pixels.nbytes
                    if total <= MEMORY:
                        self.kept[key] = pixels
        if total > MEMORY:
            self.kept.clear()
        return sizes

    def _checked(self, row: int, sizes: dict[str, Size]) -> Size:
        reference = self.keys[row][0]
        height, width = sizes[reference]
        for key in self.keys[row][1:]:
            if sizes[key] != (height, width):
                size = f"{sizes[key][1]} x {sizes[key][0]} pixels"
                raise InputError(
                    f"comparison {self.names[row]}: {self.data.where(key)} has {size},"
                    f" but its reference {self.data.where(reference)} has {width} x {height}"
                )
        if self.crop is not None and min(height, width) < self.crop:
            raise InputError(
                f"--crop {self.crop}: larger than {self.data.where(reference)} with {width} x {height} pixels;"
                f" at most {min(height, width)}"
            )
        return height, width


@dataclass(frozen=True)
class Order:
    """Which triplets are in which step: every epoch is a new order of `rows`, in batches of one size."""

    triplets: Triplets
    rows: tuple[int, ...]
    batch: int
    """Triplets a step, over all processes."""
    augmented: bool = True

    def steps_per_epoch(self) -> int:
        """How many steps take every triplet once."""
        return sum(-(-len(rows) // self.batch) for rows in self._by_size(list(self.rows)))

    def epoch(self, number: int) -> list[list[int]]:
        """The batches of epoch `number`."""
        generator = np.random.default_rng([self.triplets.seed, number])
        shuffled = [self.rows[k] for k in generator.permutation(len(self.rows))]
        groups = self._by_size(shuffled)
        batches = [rows[k : k + self.batch] for rows in groups for k in range(0, len(rows), self.batch)]
        return [batches[k] for k in generator.permutation(len(batches))] if len(groups) > 1 else batches

    def parts(self, step: int, steps: int, shares: int, mine: slice) -> Iterator[Part]:
        """From `step` to `steps` in turn: each batch split into `shares` parts, of which `mine` are taken.

        All steps have the same number of parts. Where there are too few triplets, the first fills the place.
        """
        length = self.steps_per_epoch()
        while step < steps:
            epoch = step // length
            for batch in self.epoch(epoch)[step % length : step % length + steps - step]:
                for share in range(shares)[mine]:
                    rows = batch[share::shares]
                    look, place = epoch if self.augmented else None, step * shares + share
                    yield Part(tuple(rows or batch[:1]), len(rows) / len(batch), look, place)
                step += 1

    def _by_size(self, rows: list[int]) -> list[list[int]]:
        if self.triplets.crop is not None and self.augmented:
            return [rows]
        return list(by_size(self.triplets, rows).values())


def load(triplets: Triplets, parts: Iterator[Part], processes: int = 1) -> Iterator[Batch]:
    """The batch of each part in turn, read ahead by worker processes where the images are not in memory.

    `processes`: how many trainers share this machine's cores.
    """
    workers = 0 if triplets.kept else max(1, min(WORKERS, (os.cpu_count() or 1) // processes))
    yield from DataLoader(
        triplets, batch_size=None, sampler=parts, num_workers=workers, pin_memory=torch.cuda.is_available()
    )


def whole(triplets: Triplets, rows: list[int], pixels: int) -> Iterator[Part]:
    """`rows` as they are, in parts of one size with at most about `pixels` pixels, three images a triplet."""
    for (height, width), same in by_size(triplets, rows).items():
        count = max(1, pixels // (3 * height * width))
        for start in range(0, len(same), count):
            yield Part(tuple(same[start : start + count]))


def by_size(triplets: Triplets, rows: Iterable[int]) -> dict[Size, list[int]]:
    """`rows` in their order, those whose images have one size together."""
    groups: dict[Size, list[int]] = {}
    for row in rows:
        groups.setdefault(triplets.sizes[row], []).append(row)
    return groups
