"""What eyetune's pages share: one style, one way to write numbers, figures as SVG within the page."""

from collections.abc import Callable
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure

import analysis
from analysis import figures
from analysis.report import inline, number, p_value, percent


def environment(templates: Path) -> Environment:
    """Jinja with the templates in a folder, report.css and parts.html beside them, and filters for numbers."""
    found = Environment(
        loader=FileSystemLoader([templates, Path(analysis.__file__).parent / "templates"]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {"number": number, "percent": percent, "p_value": p_value}
    return found


def drawn(name: str, paint: Callable[[Figure], None], height: float) -> tuple[str, str]:
    """The figure that `paint` fills, `height` inches high: as an SVG file, and as part of a page."""
    svg = figures.draw(name, paint, height, "human")
    return svg, inline(svg, name)
