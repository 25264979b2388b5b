"""What `eyetune codec evaluate` leaves in its folder: tables as CSV, figures as SVG, and evaluation.html with all."""

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from distortions.evaluation.compared import Measure
from distortions.evaluation.figures import height, rate_distortion
from distortions.evaluation.panel import Picture, Region
from metric.judging.pages import drawn, environment
from study.files import write_text
from study.versions import version

PAGE = "evaluation.html"


@dataclass(frozen=True)
class Evaluation:
    """All that the page tells."""

    name: str
    """The photographs'."""
    photographs: int
    rows: pd.DataFrame
    """One a file, with those that failed."""
    means: pd.DataFrame
    measures: list[Measure]
    learned: list[str]
    """Titles of learned codecs."""
    codecs: dict[str, str]
    """What encodes and decodes, and how it was trained, by title."""
    cautions: list[str]
    left_out: dict[str, str]
    """Photographs and codecs that no mean includes, and why."""
    computer: str
    command: list[str]
    region: Region | None = None
    target: float = 0.0
    original: str = ""
    """The region as PNG in base 64."""
    pictures: list[Picture] = field(default_factory=list)


def write(found: Evaluation, folder: Path) -> Path:
    """Write everything into `folder`, in place of what an earlier evaluation left; returns the page's path."""
    tables = {"images.csv": found.rows.drop(columns="point"), "means.csv": found.means, "bd.csv": _differences(found)}
    for name, table in tables.items():
        write_text(folder / name, table.to_csv(index=False, float_format="%.6g"))
    figures = {}
    for measure in found.measures:
        if measure.measured:
            svg, figures[measure.name] = _drawn(measure, found.learned)
            write_text(folder / f"{_file(measure.name)}.svg", svg)
    write_text(folder / PAGE, render(found, figures, list(tables)))
    return folder / PAGE


def render(found: Evaluation, figures: Mapping[str, str], tables: Sequence[str]) -> str:
    """The page as HTML that asks for nothing from elsewhere."""
    shown = [measure for measure in found.measures if measure.name in found.means]
    return environment(Path(__file__).parent / "templates").get_template(PAGE).render(
        found=found,
        shown=shown,
        groups={str(codec): part.to_dict("records") for codec, part in found.means.groupby("codec", sort=False)},
        figures=figures,
        files={measure.name: f"{_file(measure.name)}.svg" for measure in found.measures},
        tables=tables,
        command=shlex.join(found.command),
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        version=version("eyetune"),
    )  # fmt: skip


def text(found: Evaluation) -> str:
    """The differences, and what the region was compressed to, as tables for a terminal."""
    lines = []
    for measure in found.measures:
        if not measure.differences:
            continue
        reference = measure.reference
        lines += [
            f"{measure.title} against {reference}: bits at equal quality, quality at equal bits"
            + (f" ({measure.note})" if measure.note else "")
        ]
        width = max(map(len, measure.differences))
        for title, one in measure.differences.items():
            rate = one.rate_problem or f"{one.rate:+.1f} %"
            gain = one.gain_problem or f"{one.gain:+.{measure.gain_digits}f} {measure.unit}".rstrip()
            same = one.rate_problem and one.rate_problem == one.gain_problem
            lines.append(f"  {title:<{width}}  {rate if same else f'{rate:>9}  {gain}'}")
    return "\n".join(lines + _region(found))


def _region(found: Evaluation) -> list[str]:
    """The codecs side by side on one photograph, at comparable bits."""
    if not found.region:
        return []
    shown = [measure for measure in found.measures if any(measure.name in one.values for one in found.pictures)]
    rows = [["", "bits per pixel", *(measure.title for measure in shown)]]
    for picture in found.pictures:
        values = [f"{picture.values.get(measure.name, math.nan):.{measure.digits}f}" for measure in shown]
        rows.append([picture.title, f"{picture.bits_per_pixel:.3f}", *values])
    first, *widths = (max(map(len, column)) for column in zip(*rows, strict=True))
    lines = [f"{found.region.photograph.source}, each at the setting nearest to {found.target:.3f} bits per pixel"]
    for title, *cells in rows:
        numbers = (f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
        lines.append("  ".join([f"  {title:<{first}}", *numbers]))
    return lines


def _differences(found: Evaluation) -> pd.DataFrame:
    columns = [
        "measure",
        "codec",
        "published",
        "reference",
        "bd_rate_percent",
        "from",
        "to",
        "bd_measure",
        "unit",
        "why",
    ]
    rows = []
    for measure in found.measures:
        sources = {curve.title: curve.published for curve in measure.published}
        for title, one in measure.differences.items():
            why = "; ".join(dict.fromkeys(filter(None, (one.rate_problem, one.gain_problem))))
            rows.append(
                [measure.name, title, sources.get(title, ""), measure.reference, one.rate, one.low, one.high, one.gain,
                 measure.unit, why]
            )  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def _drawn(measure: Measure, learned: list[str]) -> tuple[str, str]:
    def paint(figure: Figure) -> None:
        rate_distortion(figure, measure.name, measure.measured, measure.published, learned)

    return drawn(_file(measure.name), paint, height(len(measure.measured) + len(measure.published)))


def _file(name: str) -> str:
    return "rd_" + "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name)
