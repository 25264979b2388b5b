"""The study's tables and `distort.json` from the parts that the photographs gave."""

import json
import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from distortions.making import Part, aims_of
from distortions.pairs import crop_of, crop_triplets, obvious_triplets, repeat_triplets
from study import tables
from study.design.conditions import condition_of, step_of
from study.design.designs import Design
from study.design.from_settings import design_of
from study.design.graph import linked_groups
from study.errors import InputError
from study.files import write_text
from study.folder import Study
from study.records import Stimulus, Triplet, quality_name, target_quality

UNITS = {"bpp": "bits_per_pixel", "dB": "psnr"}
"""How distort.json names a target, by its unit; a distance's unit is its metric."""

COMPARISONS = {
    "codecs": "across codecs", "rates": "across rates", "psnr": "at equal PSNR", "metric": "at equal distance",
    "both": "across both", "jnd": "against the reference",
}  # fmt: skip
"""What a test triplet compares, in words."""


@dataclass
class Result:
    """What a study's photographs came to."""

    parts: list[Part]
    """Of the photographs that are used."""
    skipped: dict[str, str]
    """Files that are not used, with the reason."""
    stimuli: list[Stimulus] = field(default_factory=list)
    triplets: list[Triplet] = field(default_factory=list)

    @property
    def images(self) -> set[str]:
        """The names of the stored images that the study needs."""
        return {stimulus.sha256 for stimulus in self.stimuli}


def assemble(study: Study, parts: list[Part], skipped: dict[str, str]) -> Result:
    """The stimuli and triplets of the whole study, in an order that the photographs' names decide.

    Of photographs with equal pixels only the first is used. Raises InputError where no comparison can be made.
    """
    result = Result([], dict(skipped))
    first: dict[str, str] = {}
    for part in sorted(parts, key=lambda part: part.source):
        if part.refused:
            result.skipped[part.source] = part.refused
        elif part.pixels in first:
            result.skipped[part.source] = f"the same picture as {first[part.pixels]}"
        else:
            first[part.pixels] = part.source
            result.parts.append(part)
    settings = study.settings
    if not result.parts:
        source, reason = min(result.skipped.items())
        others = f" (and {len(result.skipped) - 1:,} more)" if len(result.skipped) > 1 else ""
        raise InputError(f"no photograph can be used: {source}: {reason}{others}")
    floors: list[tuple[Stimulus, float]] = []
    crops: dict[str, list[Stimulus]] = {}
    for part in result.parts:
        for stimulus in part.stimuli:
            crops.setdefault(crop_of(stimulus), []).append(stimulus)
        result.stimuli += part.stimuli
        floors += part.floors
    references = {crop: stimuli[0] for crop, stimuli in crops.items()}
    design = _design(study, list(crops.values()))
    result.triplets += crop_triplets(list(crops.values()), settings.triplets, design, settings.seed)
    if not result.triplets:
        raise InputError(f"{study.settings_path}: no comparison can be made of {_why(study, result)}")
    obvious = obvious_triplets(references, floors, settings.triplets, settings.seed)
    known = {stimulus.id for stimulus in result.stimuli}
    wanted = {stimulus for triplet in obvious for stimulus in (triplet.a, triplet.b)} - known
    result.stimuli += [floor for floor, _ in floors if floor.id in wanted]
    count = math.ceil(settings.triplets.repeats * len(result.triplets))
    result.triplets += obvious + repeat_triplets(result.triplets, count, settings.seed)
    return result


def _design(study: Study, crops: list[list[Stimulus]]) -> Design:
    """The design that study.toml asks for; a metric measures the stored crops where it chooses by one."""
    triplets, same_quality = study.settings.triplets, study.settings.quality.pairs
    if not triplets.metrics:
        return design_of(triplets, (), same_quality)
    from distortions.predicted import predicted_distances  # torch

    return design_of(triplets, predicted_distances(study, crops), same_quality)


def _why(study: Study, result: Result) -> str:
    missed = [miss for part in result.parts for misses in part.missed.values() for miss in misses]
    if missed:
        miss = missed[0]
        what = "rates" if miss.unit == "bpp" else "targets"
        way_out = "rates.bits_per_pixel or rates.tolerance" if miss.unit == "bpp" else "[quality]"
        return (
            f"these codecs and {what}: {len(missed):,} {what} were not reached, the first {miss.target:g} {miss.unit},"
            f" {miss.reason}; change {way_out}"
        )
    return "one codec at one rate or quality; add another to rates.bits_per_pixel, or another [[codecs]]"


def write(study: Study, result: Result, record: dict[str, Any]) -> None:
    """Write stimuli.parquet, triplets.parquet and, last, distort.json: `record` and what came of the photographs.

    Without distort.json the tables are not taken for those of any settings.
    """
    (study.root / "distort.json").unlink(missing_ok=True)
    study.scores_path.unlink(missing_ok=True)  # what metrics said of stimuli that these replace
    tables.write(tables.frame(result.stimuli, Stimulus), study.stimuli_path, Stimulus)
    tables.write(tables.frame(result.triplets, Triplet), study.triplets_path, Triplet)
    record = record | {
        "used": {
            part.source: {"width": part.width, "height": part.height, "crops": part.crops, "encodes": part.encodes}
            for part in result.parts
        },
        "skipped": dict(sorted(result.skipped.items())),
        "unreachable": [
            {
                "source": part.source,
                "codec": title,
                f"target_{UNITS.get(miss.unit, 'distance')}": miss.target,
                f"nearest_{UNITS.get(miss.unit, 'distance')}": miss.nearest,
                **({} if miss.unit in UNITS else {"target_metric": miss.unit}),
                "reason": miss.reason,
            }
            for part in result.parts
            for title, misses in part.missed.items()
            for miss in misses
        ],
    }
    write_text(study.root / "distort.json", json.dumps(record, indent=2, ensure_ascii=False) + "\n")


def summary(study: Study, result: Result, others: int) -> str:
    """What was made and what was not, for a person to read."""
    settings = study.settings
    assert settings.photographs
    width = max(len(codec.title) for codec in settings.codecs)
    levels: dict[str, dict[int, set[str]]] = {}
    targets = [("bpp", target, f"{target:g}") for target in sorted(settings.rates.bits_per_pixel)]
    for measure, values, _ in aims_of(study):
        targets += [(measure.unit, target, quality_name((measure.name, target))) for target in sorted(values)]
    wide = max([10, *(len(name) for _, _, name in targets)])
    lines = [f"{'codec':<{width}}  {'target bpp':>{wide}}  achieved bpp  photographs  unreachable"]
    rates: dict[tuple[str, str], dict[str, list[float]]] = {}
    for stimulus in result.stimuli:
        if stimulus.bits_per_pixel is not None:
            quality = target_quality(stimulus.settings)
            name = quality_name(quality) if quality else f"{stimulus.target_bits_per_pixel or 0:g}"
            by_source = rates.setdefault((stimulus.codec, name), {})
            by_source.setdefault(stimulus.source, []).append(stimulus.bits_per_pixel)
        elif stimulus.codec != "reference":
            level = json.loads(stimulus.settings)["level"]
            levels.setdefault(stimulus.codec, {}).setdefault(level, set()).add(stimulus.source)
    misses = [(title, m) for part in result.parts for title, ms in part.missed.items() for m in ms]
    missed = Counter((title, m.unit, m.target) for title, m in misses)
    for codec in settings.codecs:
        for level, sources in sorted(levels.get(codec.title, {}).items()):
            lines.append(
                f"{codec.title:<{width}}  {f'level {level}':>{wide}}  {'-':>12}  {len(sources):>11,}  {'-':>11}"
            )
        if codec.title in levels:
            continue
        for unit, target, name in targets:
            reached = [sum(crops) / len(crops) for crops in rates.get((codec.title, name), {}).values()]
            mean = f"{sum(reached) / len(reached):.3f}" if reached else "-"
            count = missed[codec.title, unit, target] or "-"
            lines.append(f"{codec.title:<{width}}  {name:>{wide}}  {mean:>12}  {len(reached):>11,}  {count:>11}")
    kinds = Counter(triplet.kind for triplet in result.triplets)
    lines += [
        "",
        f"photographs: {len(result.parts):,}, stimuli: {len(result.stimuli):,}, triplets: {len(result.triplets):,}",
        f"  {kinds['test']:,} test ({_comparisons(study, result)}),"
        f" {kinds['sentinel']:,} sentinel, {kinds['repeat']:,} repeat, {kinds['training']:,} practice",
        *_apart(result),
    ]
    asked = settings.triplets
    for name, count, wanted in (
        ("sentinel", kinds["sentinel"], asked.sentinels),
        ("practice", kinds["training"], asked.practice),
    ):
        if count < wanted:
            lines.append(
                f"note: {count} {name} triplets in place of {wanted}: too few crops are obviously poor at their codecs'"
                " poorest setting"
            )
    fewer = [part.source for part in result.parts if part.crops < settings.photographs.crops_per_photograph]
    if fewer:
        lines.append(f"note: fewer crops than asked for fit in photographs: {len(fewer):,}, the first {fewer[0]}")
    if missed:
        what = "rates and qualities" if len(targets) > len(settings.rates.bits_per_pixel) else "rates"
        lines.append(f"{what} unreachable and left out: {missed.total():,}; {study.root / 'distort.json'} has each")
    if others:
        lines.append(f"files passed over that are no images: {others:,}")
    if result.skipped:
        lines.append(f"image files skipped: {len(result.skipped):,}")
        lines += [f"  {source}: {reason}" for source, reason in sorted(result.skipped.items())[:20]]
        if len(result.skipped) > 20:
            lines.append(f"  and {len(result.skipped) - 20:,} more; {study.root / 'distort.json'} has all")
    return "\n".join(lines)


def _comparisons(study: Study, result: Result) -> str:
    """How many test triplets there are of each comparison; those that were asked for also where there are none."""
    count = Counter(triplet.comparison for triplet in result.triplets if triplet.kind == "test")
    settings = study.settings
    if settings.triplets.design == "codecs-and-rates":
        count.update({"codecs": 0, "rates": 0})
        count.update({"psnr": 0} if settings.quality.psnr else {})
        count.update({"metric": 0} if settings.quality.distances else {})
    return ", ".join(f"{count[name]:,} {words}" for name, words in COMPARISONS.items() if name in count)


def _apart(result: Result) -> list[str]:
    """A line on groups of conditions that no chain of test triplets links, where there are several."""
    conditions = {stimulus.id: condition_of(stimulus) for stimulus in result.stimuli}
    pairs = [(t.a, t.b) for t in result.triplets if t.kind == "test" and t.comparison != "jnd"]
    if not pairs:
        return []
    shown = [conditions[stimulus.id] for stimulus in result.stimuli if step_of(stimulus) is not None]
    groups = [
        sorted(map(str, group)) for group in linked_groups([(conditions[a], conditions[b]) for a, b in pairs], shown)
    ]
    if len(groups) == 1:
        return []
    named = [f"{one[0]} and {len(one) - 1:,} more" if len(one) > 1 else one[0] for one in sorted(groups)]
    more = f"; and {len(named) - 4:,} more" if len(named) > 4 else ""
    return [
        f"note: {len(groups):,} groups of conditions are never compared with one another, so their scores will not be"
        f" either: {'; '.join(named[:4])}{more}"
    ]
