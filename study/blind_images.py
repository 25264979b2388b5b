"""Blind images: random addresses, equal headers, one length.

The length of a compressed PNG alone tells JPEG from WebP. So the pixels are sent uncompressed, which makes every chunk
as long as that of any other image of the same size, and images of other sizes are filled up with random bytes to the
length that the study's largest one needs. What is left to see are the pixels.
"""

import os
import struct
import zlib
from collections.abc import Iterable

import numpy as np

from study.images import Pixels

PAD = b"eyPd"  # ancillary, private, safe to copy (PNG specification, 5.4): every decoder skips it
CHUNK = 12  # bytes of a chunk around its data: length, type, CRC
BLOCK = 4096  # bytes; the length tells the size of the study's largest image only this exactly


def uncompressed_png(pixels: Pixels) -> bytes:
    """A PNG of `(H, W, 3)` uint8 pixels whose chunks are as long as those of every other image of this size."""
    height, width = pixels.shape[:2]
    rows = np.zeros((height, 1 + 3 * width), np.uint8)  # each row begins with its filter's number: 0, none
    rows[:, 1:] = pixels.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bits, RGB, not interlaced
    data = zlib.compress(rows.tobytes(), level=0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def padded_length(sizes: Iterable[tuple[int, int]]) -> int:
    """The one length, in bytes, that uncompressed images of these sizes (width, height) are padded to."""
    largest = max(len(uncompressed_png(np.zeros((height, width, 3), np.uint8))) for width, height in set(sizes))
    return -(-(largest + CHUNK) // BLOCK) * BLOCK


def pad_png(data: bytes, length: int) -> bytes:
    """The same PNG with `length` bytes: a chunk of fresh random bytes stands before its last chunk, IEND."""
    return data[:-CHUNK] + _chunk(PAD, os.urandom(length - len(data) - CHUNK)) + data[-CHUNK:]


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
