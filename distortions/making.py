"""One photograph's stimuli: the unit of work, saved as soon as it is done."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from distortions.catalogue import Treatment
from distortions.crops import choose_crops, difference
from distortions.protocol import CodecError, Setting
from distortions.quality import PSNR, Crops, Measure, psnr, reach_quality
from distortions.rates import Ladder, Miss, reach
from distortions.synthetic.distorter import Distorter
from study.errors import InputError
from study.files import sha256, write_text
from study.folder import Study
from study.images import Pixels, fingerprint
from study.photographs import Refused
from study.records import Stimulus, quality_settings
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
            _differences(study, unit.source, image, list(ladders.values())) if settings.crops == "differing" else None,
        )  # fmt: skip
        part.crops = len(places)
        for place in places:
            part.stimuli.append(_store(study, unit.source, _crop(study, image, place), place, "reference"))
        for title, codec in unit.codecs.items():
            if isinstance(codec, Distorter):
                _distort(study, part, image, places, title, codec)
            else:
                _code(study, part, places, title, ladders[title])
    write_text(Path(unit.part), json.dumps(asdict(part)), durable=False)


def check_targets(study: Study, codecs: dict[str, Treatment]) -> None:
    """Raise InputError where nothing would be made, or where distances cannot be measured."""
    settings = study.settings
    synthetic = any(isinstance(codec, Distorter) for codec in codecs.values())
    if not (settings.rates.bits_per_pixel or settings.quality.psnr or settings.quality.metric or synthetic):
        raise InputError(
            f"{study.settings_path}: rates.bits_per_pixel = [] and no quality.psnr or quality.distances: nothing would"
            " be made; give one of them, or a synthetic distortion as one of [[codecs]]"
        )
    asked = settings.triplets
    if asked.design == "codecs-and-rates" and not (asked.across_codecs or asked.across_rates or _quality_pairs(study)):
        raise InputError(
            f"{study.settings_path}: triplets.across_codecs = 0 and triplets.across_rates = 0: no comparison would be"
            " made; raise one of them"
        )
    if settings.quality.metric is not None:
        from distortions.distances import metric_name  # imports torch

        metric_name(study)


def _quality_pairs(study: Study) -> int:
    """How many pairs of equal quality a crop may get."""
    quality = study.settings.quality
    return quality.pairs if quality.psnr or quality.distances else 0


def load(path: Path) -> Part | None:
    """The part at `path`; None where there is none, or one that a power cut left empty."""
    try:
        values = json.loads(path.read_text())
        part = Part(**values)
        part.stimuli = [Stimulus(**stimulus) for stimulus in values["stimuli"]]
        part.floors = [(Stimulus(**stimulus), psnr) for stimulus, psnr in values["floors"]]
        part.missed = {title: [Miss(**miss) for miss in misses] for title, misses in values["missed"].items()}
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None
    return part


def _distort(
    study: Study, part: Part, image: Pixels, places: list[tuple[int, int]], title: str, distorter: Distorter
) -> None:
    seed, library = f"{study.settings.seed} {part.source}", distorter.library
    for level in distorter.levels:
        distorted = distorter.distort(image, level, seed)
        settings = distorter.described(level, seed)
        for place in places:
            crop = _crop(study, distorted, place)
            stimulus = _store(study, part.source, crop, place, title, library, settings)
            part.stimuli.append(stimulus)
            if distorter.plain and level == distorter.levels[-1]:
                part.floors.append((stimulus, psnr(crop, _crop(study, image, place))))


def _differences(study: Study, source: str, image: Pixels, ladders: list[Ladder]) -> np.ndarray | None:
    """Where the codecs differ at the middle one of the rates; None where fewer than two reach it.

    Without rates, at the middle quality of a textured crop, of the PSNRs where there are any.
    """
    rates, photographs, aims = study.settings.rates, study.settings.photographs, aims_of(study)
    assert photographs
    if not rates.bits_per_pixel and not aims:
        return None
    place = choose_crops(image, photographs.crop, 1, study.settings.seed, source)
    decoded = []
    for ladder in ladders:
        try:
            if rates.bits_per_pixel:
                found, _ = reach(ladder, [_middle(rates.bits_per_pixel)], rates.tolerance)
            else:
                measure, targets, tolerance = aims[0]
                ladder.bits(0)  # needed for sentinels anyway; the search begins there
                crops = Crops(ladder, place, photographs.crop)
                [(found, _)] = reach_quality(crops, measure, [_middle(targets)], tolerance)
            decoded += [ladder.decode(step) for step in found.values()]
        except CodecError:  # told of when it is used
            continue
    return difference(decoded) if len(decoded) > 1 else None


def _middle(targets: list[float]) -> float:
    return sorted(targets)[len(targets) // 2]


def aims_of(study: Study) -> list[tuple[Measure, list[float], float]]:
    """What qualities are aimed at: the measure, its targets and their tolerance."""
    quality = study.settings.quality
    aims = [(PSNR, quality.psnr, quality.tolerance)] if quality.psnr else []
    if quality.metric is not None:
        from distortions.distances import distance  # imports torch

        aims.append((distance(quality.metric, study.root), quality.distances, quality.distance_tolerance))
    return aims


def _code(study: Study, part: Part, places: list[tuple[int, int]], title: str, ladder: Ladder) -> None:
    rates = study.settings.rates
    aims = aims_of(study)
    assert study.settings.photographs
    crops, library = Crops(ladder, places, study.settings.photographs.crop), ladder.codec.library
    try:
        found, part.missed[title] = reach(ladder, rates.bits_per_pixel, rates.tolerance)
        crops.at(0)
    except CodecError as error:
        part.missed[title] = [Miss(target, None, str(error)) for target in sorted(rates.bits_per_pixel)]
        for measure, targets, _ in aims:
            part.missed[title] += [Miss(target, None, str(error), measure.unit) for target in sorted(targets)]
        return

    def store(
        number: int, step: int, target: float | None = None, quality: Mapping[str, Setting] | None = None
    ) -> Stimulus:
        return _store(
            study, part.source, crops.at(step)[number], places[number], title, library,
            {**ladder.codec_at(step).settings, **(quality or {})},
            ladder.bits(step), ladder.bits_per_pixel(step), target,
        )  # fmt: skip

    for target, step in found.items():
        try:
            part.stimuli += [store(number, step, target) for number in range(len(places))]
        except CodecError as error:  # at this step alone
            part.missed[title].append(Miss(target, None, str(error)))
    for number, reference in enumerate(crops.references):
        part.floors.append((store(number, 0), psnr(crops.at(0)[number], reference)))
    for measure, targets, tolerance in aims:
        try:
            reached = reach_quality(crops, measure, targets, tolerance)
        except CodecError as error:
            part.missed[title] += [Miss(target, None, str(error), measure.unit) for target in sorted(targets)]
            continue
        for number, (steps, missed) in enumerate(reached):
            part.missed[title] += missed
            for target, step in steps.items():
                part.stimuli.append(store(number, step, quality=quality_settings((measure.name, target))))
    part.encodes += len(ladder.files)


def _store(
    study: Study,
    source: str,
    crop: Pixels,
    place: tuple[int, int],
    title: str,
    library: str | None = None,
    settings: dict[str, Setting] | None = None,
    bits: int | None = None,
    bits_per_pixel: float | None = None,
    target: float | None = None,
) -> Stimulus:
    """The stimulus that shows `crop`, which is at `place`, its pixels stored. The bits are the whole photograph's."""
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
        bits_per_pixel=bits_per_pixel,
        library=library,
    )


def _crop(study: Study, image: Pixels, place: tuple[int, int]) -> Pixels:
    assert study.settings.photographs
    x, y = place
    return image[y : y + study.settings.photographs.crop, x : x + study.settings.photographs.crop]
