"""How a large image is cut: into tiles, each with a code of its own, and into parts that the transforms see at a time.

Tiles belong to the file format: an image of more than 4 megapixels is coded in tiles of up to 2048 x 2048 pixels, none
of which needs another, so that the coder's memory stays what one tile takes.

Parts belong to this program: g_a and g_s are local, and what they give for a part and a margin around it is, within the
part, what they would give for the whole image but for float noise. No seam can be seen, because there is none.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from study.images import Pixels

TILE = 2048
"""Pixels a side."""
ALIGNED = 64
"""Tiles begin at multiples of this: at whole y of 16 pixels and z of 64."""
PART = 1024
"""Pixels a side; with 128 channels it takes about half a gigabyte, as the coder does for a tile."""
MARGIN = 64
"""Pixels around a part. Four 5 x 5 convolutions of stride 2 see 30 pixels to each side, and their mirrors 2 latents."""


@dataclass(frozen=True)
class Box:
    """A rectangle, in pixels or in latents."""

    top: int
    left: int
    height: int
    width: int

    @property
    def within(self) -> tuple[slice, slice]:
        """The rows and columns of it."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)

    def grown(self, margin: int, height: int, width: int) -> "Box":
        """The box with `margin` more on each side, as far as the image goes."""
        top, left = max(0, self.top - margin), max(0, self.left - margin)
        bottom, right = self.top + self.height + margin, self.left + self.width + margin
        return Box(top, left, min(height, bottom) - top, min(width, right) - left)


def cut(height: int, width: int, side: int, multiple: int = 1) -> list[Box]:
    """Boxes of nearly equal size, at most `side` a side, that cover an image, row after row.

    They begin at multiples of `multiple`, of which `side` is one.
    """
    rows, columns = _pieces(height, side, multiple), _pieces(width, side, multiple)
    return [Box(top, left, tall, wide) for top, tall in rows for left, wide in columns]


def _pieces(length: int, side: int, multiple: int) -> list[tuple[int, int]]:
    """Begin and length of each piece."""
    count, units = -(-length // side), -(-length // multiple)
    edges = [min(length, multiple * (units * index // count)) for index in range(count + 1)]
    return [(begin, end - begin) for begin, end in zip(edges, edges[1:], strict=False)]


def tiles(height: int, width: int) -> list[Box]:
    """The tiles of an image, in pixels."""
    if height * width <= TILE * TILE:
        return [Box(0, 0, height, width)]
    return cut(height, width, TILE, ALIGNED)


def analysed(image: Pixels, stride: int, transform: Callable[[Tensor], Tensor], part: int = PART) -> Tensor:
    """y `(1, M, h, w)` of a whole `(H, W, 3)` image: `transform`, g_a on `(1, 3, H', W')` in [0, 1], part by part.

    The image's last row and column are repeated until its sides are multiples of `stride`.
    """
    height, width = (-(-side // stride) for side in image.shape[:2])
    y: Tensor | None = None
    for box in cut(height, width, part // stride):
        seen = box.grown(MARGIN // stride, height, width)
        y_part = transform(_pixels(image, seen, stride)).cpu()
        if y is None:
            y = y_part.new_empty(1, y_part.shape[1], height, width)
        rows, columns = box.within
        y[:, :, rows, columns] = y_part[:, :, *_inside(box, seen)]
    assert y is not None
    return y


def synthesised(
    y_hat: Tensor, size: tuple[int, int], stride: int, transform: Callable[[Tensor], Tensor], part: int = PART
) -> Pixels:
    """The `(*size, 3)` uint8 image of a whole y_hat `(1, M, h, w)`: `transform`, g_s to [0, 1], part by part."""
    height, width = y_hat.shape[2:]
    image = np.empty((*size, 3), np.uint8)
    for box in cut(height, width, part // stride):
        seen = box.grown(MARGIN // stride, height, width)
        x_hat = transform(y_hat[:, :, *seen.within])[0, :, *_scaled(_inside(box, seen), stride)]
        pixels = (x_hat.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
        place = image[_scaled(box.within, stride)]  # at the image's end less than a whole number of latents
        place[:] = pixels[: place.shape[0], : place.shape[1]]
    return image


def _pixels(image: Pixels, box: Box, stride: int) -> Tensor:
    """`(1, 3, H', W')` in [0, 1] of a box of latents."""
    rows, columns = (np.arange(s.start, s.stop) for s in _scaled(box.within, stride))
    height, width = image.shape[:2]
    pixels = image[np.ix_(rows.clip(max=height - 1), columns.clip(max=width - 1))]
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255


def _inside(box: Box, seen: Box) -> tuple[slice, slice]:
    """The rows and columns of `box` within `seen`."""
    return Box(box.top - seen.top, box.left - seen.left, box.height, box.width).within


def _scaled(within: tuple[slice, slice], stride: int) -> tuple[slice, slice]:
    rows, columns = within
    return slice(rows.start * stride, rows.stop * stride), slice(columns.start * stride, columns.stop * stride)
