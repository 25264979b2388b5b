"""One region of one photograph, as each codec gives it back at comparable bits."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from distortions.evaluation.contenders import Contender, label
from distortions.evaluation.measuring import Measured, Unit
from distortions.evaluation.photographs import SIDE, Photograph
from study.errors import InputError
from study.images import encode_png
from study.photographs import read

FAR = 0.15
"""A rate that misses the panel's by more than this share is pointed out."""


@dataclass(frozen=True)
class Region:
    """A square of a photograph."""

    photograph: Photograph
    x: int
    y: int
    side: int


@dataclass(frozen=True)
class Picture:
    """What is shown of one codec."""

    title: str
    png: str
    """In base 64."""
    bits_per_pixel: float
    """Of the whole photograph."""
    setting: str
    values: dict[str, float]
    """Of the whole photograph, by measure."""
    far: bool
    """Whether no setting comes near the panel's rate."""


def region(photographs: Sequence[Photograph], asked: Sequence[str] | None) -> Region:
    """The region `asked` for (photograph, x, y, side), else the most detailed square of all photographs.

    Raises InputError where there is no such region.
    """
    if asked is None:
        found = max(photographs, key=lambda photograph: photograph.detail[0])
        return Region(found, found.detail[1], found.detail[2], min(SIDE, found.width, found.height))
    source, *numbers = asked
    by_source = {photograph.source: photograph for photograph in photographs}
    if source not in by_source:
        raise InputError(f"--crop {source}: no such photograph among those that are used, for example {min(by_source)}")
    photograph = by_source[source]
    try:
        x, y, side = (int(number) for number in numbers)
    except ValueError:
        raise InputError(f"--crop {' '.join(asked)}: x, y and side are whole numbers of pixels") from None
    if not (0 <= x <= photograph.width - side and 0 <= y <= photograph.height - side and side >= 1):
        size = f"{photograph.width} x {photograph.height}"
        raise InputError(f"--crop {' '.join(asked)}: not within {source}, which has {size} pixels")
    return Region(photograph, x, y, side)


def rate(rows: pd.DataFrame, source: str) -> float:
    """A rate, in bits per pixel, that as many codecs as possible come near on the photograph `source`.

    A third (of the logarithm) up in what all can reach: low rates tell codecs apart. Where they share none, the middle
    of the gap.
    """
    rates = rows[rows["photograph"] == source].groupby("codec")["bits_per_pixel"]
    low, high = float(rates.min().max()), float(rates.max().min())
    return float(low * (high / low) ** (1 / 3 if low <= high else 1 / 2))


def units(
    contenders: Sequence[Contender], where: Region, target: float, measures: tuple[tuple[str, str], ...]
) -> list[Unit]:
    """What has to be encoded for the panel."""
    crop = (where.x, where.y, where.side)
    return [
        Unit(where.photograph, contender.title, contender.codec, measures, crop=crop, target=target)
        for contender in contenders
    ]


def pictures(
    contenders: Sequence[Contender], where: Region, target: float, results: Sequence[Measured]
) -> list[Picture]:
    """What each codec gave back; those that could not encode the photograph are left out."""
    found = []
    for contender, result in zip(contenders, results, strict=True):
        if result.problem:
            continue
        bits_per_pixel = result.bits / (where.photograph.width * where.photograph.height)
        setting = label(contender.codec.at(result.setting))
        far = abs(bits_per_pixel / target - 1) > FAR
        found.append(Picture(contender.title, result.png, bits_per_pixel, setting, result.values, far))
    return found


def original(where: Region) -> str:
    """The region of the photograph itself as PNG in base 64."""
    image = read(Path(where.photograph.path))
    square = np.ascontiguousarray(image[where.y : where.y + where.side, where.x : where.x + where.side])
    return base64.b64encode(encode_png(square)).decode()
