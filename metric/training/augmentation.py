"""Change how a triplet looks without changing what was judged: crop, mirror and turn, and let a and b trade places."""

from collections.abc import Sequence

import numpy as np

from study.images import Pixels


def augment(images: Sequence[Pixels], crop: int | None, generator: np.random.Generator) -> list[Pixels]:
    """The same piece of every image `(H, W, 3)`, mirrored and turned the same way: one of eight ways, four if oblong.

    `crop`: the side of the piece in pixels, at most the image's; None: the whole image.
    """
    height, width = images[0].shape[:2]
    size = (height, width) if crop is None else (crop, crop)
    top, left = (int(generator.integers(whole - part + 1)) for whole, part in zip((height, width), size, strict=True))
    mirror, upside_down, transpose = generator.random(3) < 0.5
    return [
        _turn(image[top : top + size[0], left : left + size[1]], mirror, upside_down, transpose and size[0] == size[1])
        for image in images
    ]


def _turn(image: Pixels, mirror: bool, upside_down: bool, transpose: bool) -> Pixels:
    image = image[:, ::-1] if mirror else image
    image = image[::-1] if upside_down else image
    return image.swapaxes(0, 1) if transpose else image
