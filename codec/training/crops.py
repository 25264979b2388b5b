"""Photographs in memory, and random crops of them that only seed and step decide."""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from study.errors import InputError
from study.files import sha256
from study.images import Pixels
from study.photographs import Refused, find, read

MEMORY = 4 * 2**30  # bytes of pixels that are kept; photographs beyond are read again each time
WORKERS = 8  # threads that read and crop, at most
AHEAD = 4  # batches that are made while a step is at work, at least


class Photograph(NamedTuple):
    """One file of a folder."""

    path: Path
    name: str
    """Its path below the folder."""
    digest: str
    """SHA-256 of the file."""
    size: tuple[int, int]
    """Height and width in pixels."""
    kept: Pixels | None
    """The pixels, unless memory was full."""

    def pixels(self) -> Pixels:
        """`(H, W, 3)` uint8. Raises InputError where the file can no longer be read."""
        if self.kept is not None:
            return self.kept
        try:
            return read(self.path)
        except Refused as reason:
            raise InputError(f"{self.path}: {reason}; it could be read before, has it changed?") from None


def read_photographs(
    folder: Path, smallest: int, memory: int = MEMORY, quiet: bool = False
) -> tuple[list[Photograph], list[str]]:
    """All photographs below `folder`, and of each that is left out one line that says why.

    Left out is what cannot be read and what has a side of fewer than `smallest` pixels. Every file is decoded once;
    the first `memory` bytes of pixels stay in memory. Raises InputError where no photograph is left.
    """
    if not folder.is_dir():
        raise InputError(
            f"{folder}: {'not a folder' if folder.exists() else 'no such folder'}; name one of photographs"
        )
    names, _ = find(folder)

    def one(name: str) -> tuple[str, Pixels | str]:
        try:
            pixels = read(folder / name)
            return sha256((folder / name).read_bytes()), pixels
        except (Refused, OSError) as reason:
            return "", str(reason)

    photographs: list[Photograph] = []
    left_out: list[str] = []
    with ThreadPoolExecutor(_threads()) as threads:
        for start in range(0, len(names), 64):  # no more than 64 at once that may not stay in memory
            some = names[start : start + 64]
            title = f"photographs {min(start + 64, len(names)):,} of {len(names):,}"
            done = zip(some, threads.map(one, some), strict=True)
            for name, (digest, pixels) in tqdm(done, total=len(some), desc=title, leave=False, disable=quiet):
                if isinstance(pixels, str):
                    left_out.append(f"{name}: {pixels}")
                    continue
                height, width = pixels.shape[:2]
                if min(height, width) < smallest:
                    left_out.append(f"{name}: {width} x {height} pixels, smaller than the crop of {smallest}")
                    continue
                memory -= pixels.nbytes
                kept = pixels if memory >= 0 else None
                photographs.append(Photograph(folder / name, name, digest, (height, width), kept))
    if not photographs:
        first = f" ({left_out[0]})" if left_out else ""
        raise InputError(f"{folder}: no photograph that can be used{first}; a crop is {smallest} x {smallest} pixels")
    return photographs, left_out


def split(photographs: Sequence[Photograph], count: int, seed: int) -> tuple[list[Photograph], list[Photograph]]:
    """`photographs` without, and only, those that are held out: `count`, and at most a fifth; one of two to nine."""
    count = min(count, max(len(photographs) // 5, int(len(photographs) > 1)))
    held_out = set(np.random.default_rng([seed]).permutation(len(photographs))[:count].tolist())
    return (
        [photograph for k, photograph in enumerate(photographs) if k not in held_out],
        [photograph for k, photograph in enumerate(photographs) if k in held_out],
    )


def digest(photographs: Sequence[Photograph]) -> str:
    """SHA-256 of the photographs' names and files."""
    return sha256("\n".join(f"{photograph.name} {photograph.digest}" for photograph in photographs).encode())


@dataclass(frozen=True)
class Crops:
    """Batches of random crops. Every epoch takes each photograph once, in a new order."""

    photographs: tuple[Photograph, ...]
    side: int
    """Of a crop, in pixels."""
    batch: int
    seed: int
    downscale: float = 1.0
    """Each photograph is scaled by U(downscale, 1), never below the crop, as in HiFiC; 1: not at all."""

    def images(self, step: int, mine: slice = slice(None)) -> Tensor:
        """Those of step's crops that `mine` takes, `(n, side, side, 3)` uint8."""
        numbers = range(step * self.batch, (step + 1) * self.batch)[mine]
        return torch.from_numpy(np.stack([self._crop(number) for number in numbers]))

    def _crop(self, number: int) -> Pixels:
        epoch, place = divmod(number, len(self.photographs))
        photograph = self.photographs[_order(self.seed, epoch, len(self.photographs))[place]]
        random = np.random.default_rng([self.seed, epoch, place])
        height, width = photograph.size
        shrunk = max(random.uniform(self.downscale, 1), self.side / min(height, width))
        side = min(self.side / shrunk, height, width)  # of the piece that becomes a crop, in the photograph's pixels
        top, left = random.random() * (height - side), random.random() * (width - side)
        pixels = photograph.pixels()
        if self.downscale == 1:
            top, left = round(top), round(left)
            pixels = pixels[top : top + self.side, left : left + self.side]
        else:
            box = (left, top, left + side, top + side)
            pixels = np.array(Image.fromarray(pixels).resize((self.side, self.side), Image.Resampling.BICUBIC, box=box))
        return pixels[:, ::-1] if random.random() < 0.5 else pixels


def load(crops: Crops, step: int, mine: slice = slice(None)) -> Iterator[Tensor]:
    """`crops.images` of `step` and all steps after it, made ahead by threads."""
    pin = torch.cuda.is_available()

    def make(number: int) -> Tensor:
        images = crops.images(number, mine)
        return images.pin_memory() if pin else images

    threads = ThreadPoolExecutor(_threads())
    ready: deque[Future[Tensor]] = deque()
    try:
        while True:
            while len(ready) < max(AHEAD, _threads()):
                ready.append(threads.submit(make, step))
                step += 1
            yield ready.popleft().result()
    finally:
        threads.shutdown(wait=False, cancel_futures=True)


def whole(photograph: Photograph, height: int, width: int) -> Tensor:
    """The middle of a photograph `(1, 3, height, width)`, float in [0, 1]."""
    image = photograph.pixels()
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    image = image[top : top + height, left : left + width]
    return torch.from_numpy(image.copy()).permute(2, 0, 1)[None] / 255


@lru_cache(maxsize=4)
def _order(seed: int, epoch: int, count: int) -> list[int]:
    return np.random.default_rng([seed, epoch]).permutation(count).tolist()


def _threads() -> int:
    return min(WORKERS, os.cpu_count() or 1)
