"""One photograph's stimuli: the unit of work, saved as soon as it is done."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from distortions.catalogue import Treatment
from distortions.crops import choose_crops, difference
from distortions.protocol import CodecError, Setting
from distortions.quality import psnr, reach_psnr
from distortions.rates import Ladder, Miss, reach
from distortions.synthetic.distorter import Distorter
from study.errors import InputError
from study.files import sha256, write_text
from study.folder import Study
from study.images import Pixels, fingerprint
from study.photographs import Refused
from study.records import Stimulus
from study.sources import pixels


@dataclass(frozen=True)
class Unit:
    """All that a worker needs to make one photograph's stimuli."""

    root: str
    """The study's folder."""
    folder: str
    """The photographs' folder, or its address."""
    source: str
    """The photograph's path below it."""
    sha256: str
    """Of the photograph's file."""
    codecs: dict[str, Treatment]
    """By their title in tables."""
    part: str
    """The file that will hold the result."""


@dataclass
class Part:
    """What came of one photograph."""

    source: str
    sha256: str
    refused: str | None = None
    """Why the photograph is not used; then all that follows is empty."""
    pixels: str = ""
    """SHA-256 of the pixels: photographs with the same are the same."""
    width: int = 0
    height: int = 0
    crops: int = 0
    stimuli: list[Stimulus] = field(default_factory=list)
    """References and distorted crops at the target rates, qualities and levels."""
    floors: list[tuple[Stimulus, float]] = field(default_factory=list)
    """Each crop at each codec's poorest setting or plain distortion's highest level, with its PSNR in dB."""
    missed: dict[str, list[Miss]] = field(default_factory=dict)
    """By the codec's title."""
    encodes: int = 0

    def images(self) -> set[str]:
        """The names of the stored images that the part's stimuli need."""
        return {stimulus.sha256 for stimulus in [*self.stimuli, *(floor for floor, _ in self.floors)]}


def make(unit: Unit) -> None:
    """Make the stimuli of one photograph, store their images, then write the part that says so."""
    study = Study(unit.root)
    settings = study.settings.photographs
    assert settings
    part = Part(unit.source, unit.sha256)
    try:
        image = pixels(unit.folder, unit.source, unit.sha256)
        if min(image.shape[:2]) < settings.crop:
            size = f"{image.shape[1]} x {image.shape[0]} pixels"
            raise Refused(f"{size}, smaller than the crop of {settings.crop} x {settings.crop}")
    except Refused as reason:
        part.refused = str(reason)
    else:
        part.height, part.width = image.shape[:2]
        part.pixels = fingerprint(image)
        ladders = {
            title: Ladder(codec, image) for title, codec in unit.codecs.items() if not isinstance(codec, Distorter)
        }
        places = choose_crops(
            image, settings.crop, settings.crops_per_photograph, study.settings.seed, unit.source, settings.crops,
            _differences(study, image, list(ladders.values())) if settings.crops == "differing" else None,
        )  # fmt: skip
        part.crops = len(places)
        for place in places:
            part.stimuli.append(_store(study, unit.source, image, place, "reference"))
        for title, codec in unit.codecs.items():
            if isinstance(codec, Distorter):
                _distort(study, part, image, places, title, codec)
            else:
                _code(study, part, places, title, ladders[title])
    write_text(Path(unit.part), json.dumps(asdict(part)), durable=False)


def load(path: Path) -> Part | None:
    """The part at `path`; None where there is none."""
    try:
        values = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    part = Part(**values)
    part.stimuli = [Stimulus(**stimulus) for stimulus in values["stimuli"]]
    part.floors = [(Stimulus(**stimulus), psnr) for stimulus, psnr in values["floors"]]
    part.missed = {title: [Miss(**miss) for miss in misses] for title, misses in values["missed"].items()}
    return part


def _distort(
    study: Study, part: Part, image: Pixels, places: list[tuple[int, int]], title: str, distorter: Distorter
) -> None:
    seed = f"{study.settings.seed} {part.source}"
    for level in distorter.levels:
        distorted = distorter.distort(image, level, seed)
        settings = distorter.described(level, seed)
        for place in places:
            stimulus = _store(study, part.source, distorted, place, title, settings)
            part.stimuli.append(stimulus)
            if distorter.plain and level == distorter.levels[-1]:
                part.floors.append((stimulus, psnr(_crop(study, distorted, place), _crop(study, image, place))))


def _differences(study: Study, image: Pixels, ladders: list[Ladder]) -> np.ndarray | None:
    """Where the codecs differ at the middle one of the rates; None where fewer than two reach it."""
    rates = study.settings.rates
    middle = sorted(rates.bits_per_pixel)[len(rates.bits_per_pixel) // 2]
    decoded = []
    for ladder in ladders:
        try:
            found, _ = reach(ladder, [middle], rates.tolerance)
            decoded += [ladder.decode(step) for step in found.values()]
        except CodecError:
            continue
    alike = [other for other in decoded if other.shape == image.shape]  # a broken codec is told of when it is used
    return difference(alike) if len(alike) > 1 else None


def _code(study: Study, part: Part, places: list[tuple[int, int]], title: str, ladder: Ladder) -> None:
    rates, quality, image = study.settings.rates, study.settings.quality, ladder.image
    try:
        found, part.missed[title] = reach(ladder, rates.bits_per_pixel, rates.tolerance)
        floor = ladder.decode(0)
    except CodecError as error:
        part.missed[title] = [Miss(target, None, str(error)) for target in sorted(rates.bits_per_pixel)]
        part.missed[title] += [Miss(target, None, str(error), "dB") for target in sorted(quality.psnr)]
        return
    if floor.shape != image.shape:
        raise InputError(f"{part.source}: {title} gave back {floor.shape}, not {image.shape}; is it broken?")
    for target, step in found.items():
        decoded = ladder.decode(step)
        settings, bits = ladder.codec_at(step).settings, ladder.bits(step)
        for place in places:
            part.stimuli.append(_store(study, part.source, decoded, place, title, settings, bits, target))
    settings, bits = ladder.codec_at(0).settings, ladder.bits(0)
    for place in places:
        stimulus = _store(study, part.source, floor, place, title, settings, bits)
        part.floors.append((stimulus, psnr(_crop(study, floor, place), _crop(study, image, place))))
    if quality.psnr:
        _code_qualities(study, part, places, title, ladder)
    part.encodes += len(ladder.files)


def _code_qualities(study: Study, part: Part, places: list[tuple[int, int]], title: str, ladder: Ladder) -> None:
    assert study.settings.photographs
    side, quality = study.settings.photographs.crop, study.settings.quality
    reached = reach_psnr(ladder, places, side, quality.psnr, quality.tolerance)
    for place, (found, missed) in zip(places, reached, strict=True):
        part.missed[title] += missed
        for target, step in found.items():
            settings = ladder.codec_at(step).settings | {"target_psnr": target}
            part.stimuli.append(
                _store(study, part.source, ladder.decode(step), place, title, settings, ladder.bits(step))
            )


def _store(
    study: Study,
    source: str,
    image: Pixels,
    place: tuple[int, int],
    title: str,
    settings: dict[str, Setting] | None = None,
    bits: int | None = None,
    target: float | None = None,
) -> Stimulus:
    """The stimulus that shows the crop of `image` at `place`, its pixels stored. `bits`: of the whole of `image`."""
    crop = _crop(study, image, place)
    side = crop.shape[0]
    x, y = place
    text = json.dumps(settings or {}, sort_keys=True)
    return Stimulus(
        id=sha256(f"{source} {x} {y} {side} {title} {text}".encode())[:16],
        sha256=study.add_image(crop),
        source=source,
        crop_x=x,
        crop_y=y,
        width=side,
        height=side,
        codec=title,
        settings=text,
        target_bits_per_pixel=target,
        bits=bits,
        bits_per_pixel=None if bits is None else bits / (image.shape[0] * image.shape[1]),
    )


def _crop(study: Study, image: Pixels, place: tuple[int, int]) -> Pixels:
    assert study.settings.photographs
    x, y = place
    return image[y : y + study.settings.photographs.crop, x : x + study.settings.photographs.crop]
