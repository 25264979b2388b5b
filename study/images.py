"""Lossless images without metadata."""

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from study.errors import InputError
from study.files import sha256

Pixels = NDArray[np.uint8]


def encode_png(pixels: Pixels) -> bytes:
    """PNG bytes of an `(H, W, 3)` RGB or `(H, W)` grey uint8 array: no metadata, the same for the same pixels."""
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or pixels.shape[2:] not in ((), (3,)):
        raise ValueError(f"expected an (H, W, 3) or (H, W) uint8 array, got {pixels.shape} {pixels.dtype}")
    buffer = io.BytesIO()
    # Photographs come out as small as by level 6, in a third of its time.
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def fingerprint(pixels: Pixels) -> str:
    """SHA-256 of an image's shape and pixels, whatever file they came from."""
    return sha256(repr(pixels.shape).encode() + pixels.tobytes())


def decode_rgb(path: Path | str, data: bytes | None = None) -> Pixels:
    """The `(H, W, 3)` uint8 pixels of an RGB image file, or of its `data` where that was read already.

    For photographs from outside, with profiles and orientation, see `study.photographs`.
    """
    try:
        with Image.open(path if data is None else io.BytesIO(data)) as image:
            return np.array(image.convert("RGB"))
    except FileNotFoundError:
        raise InputError(f"{path} is missing") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{path}: not a readable image ({error})") from None
