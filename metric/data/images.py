"""Image files that tables and BAPPS folders name: whether they are there, what they are, their pixels."""

import hashlib
import os
import stat
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, UnidentifiedImageError
from tqdm import tqdm

from study.errors import InputError
from study.images import Pixels

# Named, so that no file is handed to a decoder that runs programs (EPS), whatever its name ends in.
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "TIFF", "BMP", "JPEG2000", "PPM", "GIF")
EIGHT_BIT = ("1", "L", "P", "RGB", "LA", "PA", "RGBA", "CMYK", "YCbCr")


def identities(paths: Iterable[str]) -> dict[str, str]:
    """Path, size and time of change of each file that is there: what changes when the image does."""
    found = {}
    for path in tqdm(paths, "looking for images", unit="image", delay=1):
        try:
            state = os.stat(path)
        except (OSError, ValueError):  # ValueError: a null character in the name
            continue
        if stat.S_ISREG(state.st_mode):
            found[path] = f"{path} {state.st_size} {state.st_mtime_ns}"
    return found


def contents(paths: Iterable[str]) -> dict[str, str]:
    """16 hexadecimal digits made from each file's bytes: one photograph under two names is one. Raises InputError."""
    found = {}
    for path in tqdm(paths, "reading references", unit="image", delay=1):
        try:
            with open(path, "rb") as file:
                found[path] = hashlib.file_digest(file, "sha256").hexdigest()[:16]
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}") from None
    return found


def read_pixels(path: str) -> Pixels:
    """The `(H, W, 3)` uint8 pixels as they are stored: no rotation, no colour management.

    Raises InputError for what is no image, has more than 8 bits, or is transparent.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            if image.mode not in EIGHT_BIT:
                raise InputError(f"{path}: not 8 bits a channel ({image.mode}); save it as an 8-bit image")
            if image.has_transparency_data and np.asarray(image.convert("RGBA"))[..., 3].min() < 255:
                raise InputError(f"{path}: partly transparent; save it over a background")
            return np.array(image.convert("RGB"))
    except FileNotFoundError:
        raise InputError(f"{path} is missing") from None
    except InputError:
        raise
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{path}: not a readable image ({error})") from None


def check_present(table: pd.DataFrame, columns: Iterable[str], found: dict[str, str]) -> None:
    """Raise InputError for the first row of `table` one of whose images is not `found`."""
    for column in columns:
        missing = table[~table[column].isin(found)]
        if len(missing):
            row = missing.iloc[0]
            what = "is no file" if Path(row[column]).exists() else "is missing"
            raise InputError(f"{row['place']}: {column} {row[column]} {what}")
