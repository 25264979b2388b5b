"""Blind images: random addresses, equal headers, one length.

A PNG's length alone tells JPEG from WebP, so every image is filled up with random bytes to the length that the
study's largest one needs. What is left to see are the pixels.
"""

import os
import struct
import zlib
from collections.abc import Iterable

PAD = b"eyPd"  # ancillary, private, safe to copy (PNG specification, 5.4): every decoder skips it
CHUNK = 12  # bytes of a chunk around its data: length, type, CRC
BLOCK = 4096  # bytes; the length tells the size of the study's largest image only this exactly


def padded_length(lengths: Iterable[int]) -> int:
    """The one length, in bytes, that images of these lengths are padded to."""
    return -(-(max(lengths) + CHUNK) // BLOCK) * BLOCK


def pad_png(data: bytes, length: int) -> bytes:
    """The same PNG with `length` bytes: a chunk of fresh random bytes stands before its last chunk, IEND."""
    filling = os.urandom(length - len(data) - CHUNK)
    chunk = struct.pack(">I", len(filling)) + PAD + filling + struct.pack(">I", zlib.crc32(PAD + filling))
    return data[:-CHUNK] + chunk + data[-CHUNK:]
