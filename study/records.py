"""One row of each of a study's tables: the records that the stages hand to one another."""

import json
import math
from dataclasses import dataclass
from typing import Literal

Kind = Literal["test", "sentinel", "repeat", "training"]
Side = Literal["left", "right"]


@dataclass(frozen=True)
class Stimulus:
    """One image that can be shown: a crop of a photograph, decoded by one codec at one setting."""

    id: str
    """16 hexadecimal digits made from source, crop, codec and settings."""
    sha256: str
    """Of the PNG file `stimuli/<sha256>.png`. Two stimuli with equal pixels share it."""
    source: str
    """The photograph's path below the photographs' folder. Splits are made by this, never by triplet."""
    crop_x: int
    crop_y: int
    width: int
    """Pixels of the crop."""
    height: int
    codec: str
    """`reference` for the crop of the photograph itself, `unknown` where an import does not tell."""
    settings: str
    """The codec's settings as a JSON object with sorted keys.

    `target_psnr` is among them where a PSNR was asked for, `target_distance` and `target_metric` where a distance was.
    """
    target_bits_per_pixel: float | None
    """The rate asked for; none for references and for stimuli made at a fixed setting."""
    bits: int | None
    """8 times the real bytes of the whole encoded photograph, its header included."""
    bits_per_pixel: float | None
    """`bits` over the pixels of the whole photograph."""
    library: str | None = None
    """What encoded and decoded it, or distorted it, with versions; none for references and imports."""


def target_quality(settings: str) -> tuple[str, float] | None:
    """The quality that a stimulus with these `settings` was made for: ("psnr", dB), or (a metric's name, distance).

    None where it was made for something else.
    """
    if '"target_psnr"' not in settings and '"target_distance"' not in settings:
        return None
    values = json.loads(settings)
    if "target_psnr" in values:
        return "psnr", values["target_psnr"]
    return values["target_metric"], values["target_distance"]


def quality_settings(quality: tuple[str, float]) -> dict[str, str | float]:
    """What says so among a stimulus's settings."""
    measure, value = quality
    return {"target_psnr": value} if measure == "psnr" else {"target_metric": measure, "target_distance": value}


def quality_name(quality: tuple[str, float]) -> str:
    """A target quality in tables and in the names of conditions: `30 dB`, or `lpips-alex 0.2`."""
    measure, value = quality
    return f"{value:g} dB" if measure == "psnr" else f"{measure} {value:g}"


def condition_name(codec: str, target_bits_per_pixel: float | None, settings: str) -> str:
    """What stimuli of different photographs have in common: `codec @ rate`, `codec @ 30 dB`, `blur level 3`.

    With all its settings where it was made at a fixed one. Which kinds a chain drew is each photograph's own. A target
    of None or NaN is none.
    """
    if target_bits_per_pixel is not None and not math.isnan(target_bits_per_pixel):
        return f"{codec} @ {target_bits_per_pixel:g}"
    quality = target_quality(settings)
    if quality:
        return f"{codec} @ {quality_name(quality)}"
    values = json.loads(settings) if '"level"' in settings else {}
    distortion = set(values) - {"kinds", "chain"} == {"level"}
    return f"{codec} level {values['level']}" if distortion else f"{codec} {settings}"


@dataclass(frozen=True)
class Triplet:
    """One comparison: which of the stimuli `a` and `b` is closer to `reference`?"""

    id: str
    reference: str
    """Stimulus id."""
    a: str
    b: str
    kind: str
    """test; sentinel (the answer is obvious); repeat (of `repeat_of`); training (practice with feedback)."""
    comparison: str
    """Why the pair was made: `codecs` (same rate), `psnr` (codecs at the same PSNR), `metric` (codecs at the same
    distance by a metric), `rates` (same codec), `both` (another codec at another rate), `jnd` (the reference itself
    against one codec's stimulus), `obvious`, or an import's name. Synthetic distortions have levels for rates."""
    expected: str | None
    """The stimulus id that an attentive observer chooses; sentinels and practice only."""
    repeat_of: str | None
    """The id of the triplet that this one repeats."""


@dataclass(frozen=True)
class Judgment:
    """One vote: an observer's answer to one trial. Times are ISO 8601 in UTC."""

    id: str
    """The trial's id; a trial has at most one vote."""
    triplet: str
    observer: str
    """Opaque."""
    chosen: str
    """Stimulus id."""
    side: str
    """Where the chosen stimulus was shown: left or right."""
    position: int
    """The trial's place in the observer's session, from 0."""
    protocol: str
    """`side-by-side` or `flip`, as it was really shown."""
    shown_at: str | None
    """When the trial's page part appeared, before its images."""
    loaded_at: str | None
    """When all three images were decoded, checked and visible."""
    answered_at: str | None
    """These three by the observer's clock."""
    received_at: str
    """By the server's clock."""
    flips: int
    """How often the observer changed the image in view (flip protocol)."""
    zoom: float
    """Device pixels an image pixel."""
    screen_width: int | None
    """CSS pixels of the window."""
    screen_height: int | None
    pixel_ratio: float | None
    """Device pixels a CSS pixel."""
    simulated: bool
    """Whether the observer is a program. For ever."""
    simulator: str | None
    """The simulated observer's model as a JSON object."""
    rejected: str | None
    """Why the vote is not to be used; none where it is."""


@dataclass(frozen=True)
class Score:
    """What one metric says of one triplet: the distances of both stimuli from the reference (larger is worse)."""

    triplet: str
    metric: str
    distance_a: float
    distance_b: float
