"""Blind images: random addresses, equal headers, one length.

The length of a compressed PNG alone tells JPEG from WebP. So the pixels are sent uncompressed, which makes every chunk
as long as that of any other image of the same size, and images of other sizes are filled up with random bytes to the
length that the study's largest one needs. What is left to see are the pixels.
"""

import io
import os
import struct
import zlib
from collections.abc import Iterable

import numpy as np
from PIL import Image

from study.images import Pixels

PAD = b"eyPd"  # ancillary, private, safe to copy (PNG specification, 5.4): every decoder skips it
CHUNK = 12  # bytes of a chunk around its data: length, type, CRC
BLOCK = 4096  # bytes; the length tells the size of the study's largest image only this exactly


def uncompressed_png(pixels: Pixels) -> bytes:
    """A PNG of `(H, W, 3)` uint8 pixels whose chunks are as long as those of every other image of this size."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=0)
    return buffer.getvalue()


def padded_length(sizes: Iterable[tuple[int, int]]) -> int:
    """The one length, in bytes, that uncompressed images of these sizes (width, height) are padded to."""
    largest = max(len(uncompressed_png(np.zeros((height, width, 3), np.uint8))) for width, height in set(sizes))
    return -(-(largest + CHUNK) // BLOCK) * BLOCK


def pad_png(data: bytes, length: int) -> bytes:
    """The same PNG with `length` bytes: a chunk of fresh random bytes stands before its last chunk, IEND."""
    filling = os.urandom(length - len(data) - CHUNK)
    chunk = struct.pack(">I", len(filling)) + PAD + filling + struct.pack(">I", zlib.crc32(PAD + filling))
    return data[:-CHUNK] + chunk + data[-CHUNK:]
