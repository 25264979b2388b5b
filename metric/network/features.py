"""A reference's features, computed once and compared with many distorted images."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor


class Features:
    """Unit-length feature maps of N images without a graph, one tensor `(N, C_k, H_k, W_k)` a tap.

    `features[3]`, `features[i:j]` and `features[[5, 2]]` are the features of some of the images, `len(features)` is N.
    """

    def __init__(self, maps: Sequence[Tensor], size: tuple[int, int]) -> None:
        """`size`: height and width of the images in pixels."""
        self.maps = [tap.detach() for tap in maps]
        self.size = size

    @staticmethod
    def cat(parts: Iterable["Features"]) -> "Features":
        """The features of all images of `parts`, which have one size."""
        parts = list(parts)
        if len({part.size for part in parts}) != 1:
            raise ValueError(f"features of images of one size can be joined, not of {sorted({p.size for p in parts})}")
        return Features([torch.cat(taps) for taps in zip(*(part.maps for part in parts), strict=True)], parts[0].size)

    def to(self, *where: Any, **options: Any) -> "Features":
        """The same on another device or in another precision, as `Tensor.to`; bfloat16 halves what a cache takes."""
        return Features([tap.to(*where, **options) for tap in self.maps], self.size)

    def expand(self, count: int) -> "Features":
        """One image's features, `count` times, without a copy: for its many distorted versions in one batch."""
        return Features([tap.expand(count, -1, -1, -1) for tap in self.maps], self.size)

    def __len__(self) -> int:
        return len(self.maps[0])

    def __getitem__(self, index: int | slice | Sequence[int] | Tensor) -> "Features":
        if isinstance(index, int):
            if not -len(self) <= index < len(self):
                raise IndexError(f"image {index} of {len(self)}")
            index = slice(index % len(self), index % len(self) + 1)
        return Features([tap[index] for tap in self.maps], self.size)

    def __repr__(self) -> str:
        height, width = self.size
        channels = [tap.shape[1] for tap in self.maps]
        return f"Features({len(self)} images of {width} x {height} pixels, {channels} channels, {self.maps[0].device})"
