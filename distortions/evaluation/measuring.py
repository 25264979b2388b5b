"""One photograph through one codec at one setting, measured: the unit of work, done in any process."""

import base64
import json
import multiprocessing
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from distortions.evaluation.photographs import Photograph
from distortions.protocol import Codec, CodecError
from distortions.quality import psnr
from distortions.rates import Ladder, nearest_step
from metric.measures import Measure, measure
from metric.pairs import to_tensor
from study.errors import InputError, UnavailableError
from study.files import sha256
from study.images import Pixels, encode_png, fingerprint
from study.photographs import Refused, read

MOST_PSNR = 100.0
"""dB of an image that comes back unchanged, in place of infinity: a mean over images has to exist."""
WARM = 64  # pixels a side of the first, untimed round trip of a codec in a process


@dataclass(frozen=True)
class Unit:
    """All that a worker needs to measure one file."""

    photograph: Photograph
    title: str
    """The codec's, in tables."""
    codec: Codec
    """At the setting that is measured, or, for a crop, at any."""
    measures: tuple[tuple[str, str], ...]
    """Names in tables, each with what `metric.measures.measure` knows it by. PSNR is always measured."""
    known: "Measured | None" = None
    """What was measured before, by other measures perhaps."""
    crop: tuple[int, int, int] | None = None
    """x, y and side of a square whose pixels are wanted, at the rate nearest to `target`."""
    target: float = 0.0
    """Bits per pixel."""

    @property
    def missing(self) -> tuple[tuple[str, str], ...]:
        """The measures that are not known yet."""
        if self.known is None:
            return self.measures
        if self.known.problem:
            return ()
        return tuple(one for one in self.measures if one[0] not in self.known.values | self.known.unmeasured)

    @property
    def key(self) -> str:
        """What the result depends on: photograph, codec with its weights and libraries, setting or crop."""
        settings = self.codec.settings
        if self.crop:
            settings = {key: value for key, value in settings.items() if key != self.codec.rate.name}
        what = [self.photograph.sha256, self.codec.name, self.codec.library, settings, self.crop, self.target]
        return sha256(json.dumps(what, sort_keys=True).encode())[:32]


@dataclass
class Measured:
    """What came of one unit."""

    key: str
    setting: float = 0.0
    """The rate setting's value."""
    bits: int = 0
    """8 times the bytes of the whole file."""
    encode_seconds: float = 0.0
    decode_seconds: float = 0.0
    values: dict[str, float] = field(default_factory=dict)
    """PSNR in dB, MS-SSIM, distances; by the measure's name."""
    unmeasured: dict[str, str] = field(default_factory=dict)
    """Why a measure says nothing of this photograph."""
    problem: str = ""
    """Why the codec did not encode it; then there is nothing else."""
    png: str = ""
    """Of a crop: the decoded square as PNG in base 64."""


def measured(unit: Unit) -> Measured:
    """What came of the unit. Raises InputError where a codec gives back an image of another size."""
    if multiprocessing.parent_process():
        torch.set_num_threads(1)  # the other cores have workers of their own
    original = _original(unit.photograph)
    try:
        _warm(unit.codec, original.image)
        return _crop(unit, original) if unit.crop else _file(unit, unit.codec, original)[0]
    except CodecError as error:
        return Measured(unit.key, unit.codec.settings[unit.codec.rate.name], problem=str(error))  # type: ignore[arg-type]


class _Original:
    """A photograph and what measures have prepared of it."""

    def __init__(self, photograph: Photograph) -> None:
        try:
            self.image = read(Path(photograph.path))
        except Refused as reason:
            raise InputError(f"{photograph.path}: was read a moment ago, but not now: {reason}") from None
        if fingerprint(self.image) != photograph.pixels:
            raise InputError(f"{photograph.path}: has changed while it was used; run the command again")
        self._prepared: dict[str, Any] = {}

    def compare(self, source: str, decoded: Pixels) -> float:
        """The distance of `decoded` from this photograph by the measure `source`. Raises UnavailableError."""
        found = _measure(source)
        with torch.inference_mode():
            if source not in self._prepared:
                self._prepared[source] = found.prepare(to_tensor([self.image]))
            return float(found.compare(self._prepared[source], to_tensor([decoded])))


@lru_cache(1)
def _original(photograph: Photograph) -> _Original:
    return _Original(photograph)


@lru_cache(None)
def _measure(name: str) -> Measure:
    return measure(name)


_warmed: set[str] = set()


def _warm(codec: Codec, image: Pixels) -> None:
    """Run the codec once, so that what is timed later neither reads weights nor imports anything."""
    name = f"{codec.name} {codec.library}"
    if name not in _warmed:
        codec.decode(codec.encode(image[:WARM, :WARM]))
        _warmed.add(name)


def _file(unit: Unit, codec: Codec, original: _Original) -> tuple[Measured, Pixels]:
    data, encode_seconds = _timed(lambda: codec.encode(original.image))
    decoded, decode_seconds = _timed(lambda: codec.decode(data))
    if decoded.shape != original.image.shape:
        (height, width), (rows, columns) = original.image.shape[:2], decoded.shape[:2]
        raise InputError(
            f"{unit.photograph.source}: {unit.title} gave back {columns} x {rows} pixels of {width} x {height};"
            " is it broken?"
        )
    setting = codec.settings[codec.rate.name]
    assert isinstance(setting, int | float)
    found = Measured(unit.key, setting, 8 * len(data), encode_seconds, decode_seconds)
    found.values["psnr"] = min(psnr(original.image, decoded), MOST_PSNR)
    missing = unit.measures
    if unit.known and (unit.known.setting, unit.known.bits) == (found.setting, found.bits):
        found, missing = deepcopy(unit.known), unit.missing  # the seconds stay those of the first time
    for name, source in missing:
        try:
            distance = original.compare(source, decoded)
        except UnavailableError as error:
            found.unmeasured[name] = str(error)
        else:
            found.values[name] = 1 - distance if name == "ms-ssim" else distance
    return found, decoded


def _crop(unit: Unit, original: _Original) -> Measured:
    """The file whose rate is nearest to the target, and the square of its picture."""
    assert unit.crop
    ladder = Ladder(unit.codec, original.image)
    step = nearest_step(ladder.bits_per_pixel, {}, len(unit.codec.rate.values), unit.target)
    found, decoded = _file(unit, ladder.codec_at(step), original)
    x, y, side = unit.crop
    found.png = base64.b64encode(encode_png(decoded[y : y + side, x : x + side])).decode()
    return found


def _timed(call: Callable[[], Any]) -> tuple[Any, float]:
    began = time.perf_counter()
    result = call()
    return result, time.perf_counter() - began
