"""An image as a BPG file."""

import numpy as np

from distortions.bpg import header as container
from distortions.bpg import hevc, parameters
from distortions.bpg.chroma import Plane
from distortions.bpg.colour import planes_of
from distortions.bpg.header import FORMATS, MOST_PIXELS, Header
from distortions.protocol import CodecError
from study.images import Pixels


def encode(image: Pixels, header: Header, qp: int, preset: str = "veryslow") -> bytes:
    """The whole file of an `(H, W, 3)` image, as `header` describes it; `qp` is 0 (finest) to 51.

    Raises CodecError, and UnavailableError where PyAV is not installed.
    """
    assert image.shape == (header.height, header.width, 3)
    if header.height * header.width > MOST_PIXELS:
        raise CodecError(f"bpg cannot encode {header.width} x {header.height} pixels: above {MOST_PIXELS:,}")
    return encode_planes(planes_of(image, header), header, qp, preset)


def encode_planes(planes: list[Plane], header: Header, qp: int, preset: str) -> bytes:
    """The whole file of a picture's planes, which have the depth and subsampling that `header` tells."""
    idc = chroma_format_idc(header.format)
    block = hevc.smallest_block(header.height, header.width)
    height, width = (-(-side // block) * block for side in (header.height, header.width))
    rows, columns = (2 if idc == 1 else 1), (2 if idc in (1, 2) else 1)
    sizes = [(height, width)] + [(height // rows, width // columns)] * 2
    padded = [_padded(plane, size) for plane, size in zip(planes, sizes, strict=False)]
    stream = hevc.encoded(padded, idc, header.depth, qp, preset, block)
    fields, picture, data = parameters.stripped(stream)
    assert picture == (idc, width, height, header.depth) and fields.min_cb == block
    return container.pack(header, parameters.pack(fields) + data)


def chroma_format_idc(format: str) -> int:
    """H.265's number: 0 grey, 1 4:2:0, 2 4:2:2, 3 4:4:4."""
    return (0, 1, 2, 3, 1, 2)[FORMATS.index(format)]


def _padded(plane: Plane, size: tuple[int, int]) -> Plane:
    padding = [(0, wanted - side) for wanted, side in zip(size, plane.shape, strict=True)]
    return np.asarray(np.pad(plane, padding, mode="edge"), np.uint16)
