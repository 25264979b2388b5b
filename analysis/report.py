"""The report's files: report.html (self-contained), figures as SVG, tables as CSV."""

import math
import re
import shlex
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from analysis import figures
from analysis.results import Results, summary
from study.files import write_text
from study.folder import Study
from study.versions import version

ROWS_SHOWN = 100  # observers in the page; the rest stand in observers.csv
NONE = "–"
FIGURES = ("rate_quality", "preferences", "observers", "left_share")


def write_report(study: Study, found: Results, command: list[str]) -> Path:
    """Write everything below `report/`, in place of an earlier report; returns the path of report.html.

    `command` is what repeats it. Each CSV table has a last column `voters` that says human, simulated or mixed.
    """
    folder = study.report_folder
    scores = pd.concat([part for part in (found.conditions, found.codecs) if len(part)] or [found.conditions])
    tables = {
        "triplets.csv": found.triplets,
        "observers.csv": found.observers,
        "preferences.csv": found.preferences,
        "bradley_terry.csv": scores,
        "summary.csv": summary(found),
    }
    if len(found.against_reference):
        tables["against_reference.csv"] = found.against_reference
    else:
        (folder / "against_reference.csv").unlink(missing_ok=True)  # of an earlier report on other votes
    for name, table in tables.items():
        write_text(folder / name, table.assign(voters=found.voters).to_csv(index=False, float_format="%.6g"))
    drawn = draw_figures(found)
    for name in FIGURES:
        if name in drawn:
            write_text(folder / f"{name}.svg", drawn[name])
        else:
            (folder / f"{name}.svg").unlink(missing_ok=True)  # of an earlier report on other votes
    path = folder / "report.html"
    write_text(path, render(study, found, drawn, list(tables), command))
    return path


def draw_figures(found: Results) -> dict[str, str]:
    """The figures that the votes can have, as SVG by name."""
    drawn = {}
    if found.conditions["bits_per_pixel"].notna().any():
        rates = found.conditions
        drawn["rate_quality"] = figures.draw(
            "rate_quality", lambda figure: figures.rate_quality(figure, rates), 3.6, found.voters
        )
    pooled = found.preferences[found.preferences["target_bits_per_pixel"].isna()]
    if len(pooled):
        order = list(dict.fromkeys([*pooled["codec"], *pooled["other"]]))
        drawn["preferences"] = figures.draw(
            "preferences", lambda figure: figures.preference_matrix(figure, pooled, order), 3.4, found.voters
        )
    if found.counts["votes_test"]:
        height = 4.6 if found.sentinels.n else 2.9
        drawn["observers"] = figures.draw(
            "observers", lambda figure: figures.observer_quality(figure, found.observers), height, found.voters
        )
    if found.left.n:
        drawn["left_share"] = figures.draw(
            "left_share", lambda figure: figures.left_shares(figure, found.observers), 3.2, found.voters
        )
    return drawn


def render(study: Study, found: Results, drawn: dict[str, str], tables: list[str], command: list[str]) -> str:
    """The page as HTML that asks for nothing from elsewhere."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"number": number, "percent": percent, "p_value": p_value}
    observers = found.observers.sort_values(["excluded", "reliability"], ascending=[False, True], kind="stable")
    pooled = found.preferences["target_bits_per_pixel"].isna()
    return environment.get_template("report.html").render(
        study=study.settings,
        found=found,
        counts=found.counts,
        observers=observers.head(ROWS_SHOWN).to_dict("records"),
        more_observers=max(0, len(observers) - ROWS_SHOWN),
        doubtful=int((~observers["excluded"] & (observers["reliability"] < 0.5)).sum()),
        pooled_preferences=found.preferences[pooled].to_dict("records"),
        rate_preferences=found.preferences[~pooled].to_dict("records"),
        conditions=found.conditions.to_dict("records"),
        codecs=found.codecs.to_dict("records"),
        against_reference=found.against_reference.to_dict("records"),
        figure={name: inline(drawn[name], name) if name in drawn else None for name in FIGURES},
        tables=tables,
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        version=version("eyetune"),
        command=shlex.join(command),
    )


def inline(svg: str, name: str) -> str:
    """The SVG as part of a page: without its prolog, its ids made unique by `name`, its size left to the page."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.S)
    body = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", body, count=1)
    body = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", body, count=1)
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = re.sub(r'href="#', f'href="#{name}-', body)
    body = body.replace("url(#", f"url(#{name}-")
    return body.replace("<svg", '<svg aria-hidden="true" focusable="false"', 1)


def number(value: float | None, digits: int = 2) -> str:
    """A number with so many digits after the point and a true minus sign; a dash where there is none."""
    if value is None or math.isnan(value):
        return NONE
    text = f"{value:,.{digits}f}"
    return f"−{text[1:]}" if text.startswith("-") and float(text.replace(",", "")) else text.lstrip("-")


def percent(value: float | None, digits: int = 1) -> str:
    """A share in percent; a dash where there is none."""
    return NONE if value is None or math.isnan(value) else f"{100 * value:.{digits}f} %"


def p_value(value: float) -> str:
    """`= .123`, or `< .001`; empty where there is none."""
    if math.isnan(value):
        return ""
    return "< .001" if value < 0.001 else f"= {value:.3f}".replace("0.", ".")
