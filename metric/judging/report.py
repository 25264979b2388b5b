"""What `eyetune score` leaves in `report/`: metrics.csv, other tables, figures, and metrics.html with all of them."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from analysis import figures
from analysis.agreement import Floats
from analysis.report import inline
from metric.data.judgments import Data
from metric.judging import breakdown
from metric.judging import figures as score_figures
from metric.judging.judged import CEILINGS, COLUMNS, INTERVALS, PairDistances, Row, frame
from metric.judging.pages import environment
from study.files import write_text
from study.versions import version

FIGURES = ("two_afc", "calibration", "by_part", "ratings")
SHARES = {key for key, (_, factor, _, _) in COLUMNS.items() if factor == 100}


def write(
    data: Data,
    rows: list[Row],
    slices: Mapping[str, pd.DataFrame],
    differences: pd.DataFrame,
    behaviour: pd.DataFrame,
    pairs: PairDistances,
    chances: Mapping[str, Floats],
) -> Path:
    """Write everything below `report/`, in place of what earlier scores left there; returns the path of metrics.html.

    `slices`: `breakdown.breakdown` by way. `differences`: `paired_tests`. `behaviour`: `robustness`. `chances`:
    `judged.chances`. Tables without rows are not written.
    """
    folder = data.folder / "report"
    tables = {f"metrics_by_{way}.csv": table for way, table in slices.items()}
    tables |= {"metrics_differences.csv": differences, "robustness.csv": behaviour}
    for name, table in tables.items():
        if len(table):
            write_text(folder / name, table.to_csv(index=False, float_format="%.6g"))
        else:
            (folder / name).unlink(missing_ok=True)
    drawn = _drawn(data, rows, slices["part"], pairs, chances)
    for name in FIGURES:
        path = folder / f"metrics_{name}.svg"
        if name in drawn:
            write_text(path, drawn[name])
        else:
            path.unlink(missing_ok=True)
    path = folder / "metrics.html"
    names = [name for name, table in tables.items() if len(table)]
    write_text(path, render(data, rows, slices, differences, behaviour, drawn, names))
    write_text(folder / "metrics.csv", frame(rows, data).to_csv(index=False))
    return path


def render(
    data: Data,
    rows: list[Row],
    slices: Mapping[str, pd.DataFrame],
    differences: pd.DataFrame,
    behaviour: pd.DataFrame,
    drawn: Mapping[str, str],
    tables: list[str],
) -> str:
    """The page as HTML that asks for nothing from elsewhere."""
    columns = [key for key in COLUMNS if any(key in row.more for row in rows)]
    tests = list(dict.fromkeys(behaviour["test"]))
    return (
        environment(Path(__file__).parent / "templates")
        .get_template("metrics.html")
        .render(
            data=data,
            rows=rows,
            ceilings=CEILINGS,
            compared=any(row.score.n for row in rows),
            columns=columns,
            described=COLUMNS,
            shares=SHARES,
            slices={way: _matrix(table, way, rows) for way, table in slices.items() if len(table)},
            titles=breakdown.TITLES,
            differences=differences.to_dict("records"),
            behaviour={
                name: part.set_index("test")["value"].to_dict()
                for name, part in behaviour.groupby("metric", sort=False)
            },
            tests={test: behaviour.loc[behaviour["test"] == test, "meaning"].iloc[0] for test in tests},
            figure={name: inline(drawn[name], f"m-{name}") if name in drawn else None for name in FIGURES},
            tables=tables,
            intervals=INTERVALS,
            date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            version=version("eyetune"),
        )
    )


def _drawn(
    data: Data, rows: list[Row], parts: pd.DataFrame, pairs: PairDistances, chances: Mapping[str, Floats]
) -> dict[str, str]:
    """The figures that the data can have, as SVG by name."""
    marked = data.voters if data.voters in ("simulated", "mixed") else "human"  # a table may not tell: no mark
    metrics = [row.name for row in rows if row.name not in CEILINGS]
    compared = [row for row in rows if row.score.n]
    drawn = {}
    if compared:
        height = 1.1 + 0.27 * len(compared)
        drawn["two_afc"] = figures.draw("two_afc", lambda f: score_figures.two_afc(f, rows), height, marked)
    ordered = {name: chances[name] for name in metrics if name in chances}
    if ordered:
        drawn["calibration"] = figures.draw(
            "calibration", lambda f: score_figures.calibration(f, data.comparisons, ordered), 4.2, marked
        )
    if len(parts):
        names = [row.name for row in compared]
        drawn["by_part"] = figures.draw(
            "by_part", lambda f: score_figures.by_slice(f, parts, "part", names), 1.0 + 0.3 * len(names), marked
        )
    if pairs.get("ratings"):
        rated = {name: pairs["ratings"][name] for name in metrics if name in pairs["ratings"]}
        high = 0.4 + 1.9 * -(-min(len(rated), score_figures.MOST) // 2)
        drawn["ratings"] = figures.draw(
            "ratings", lambda f: score_figures.ratings(f, data.ratings["rating"], rated), high, marked
        )
    return drawn


def _matrix(table: pd.DataFrame, way: str, rows: list[Row]) -> dict[str, object]:
    values = table.pivot(index="metric", columns=way, values="two_afc")
    labels = list(dict.fromkeys(table[way]))
    names = [row.name for row in rows if row.name in values.index]
    sizes = table.drop_duplicates(way).set_index(way)["triplets"]
    return {
        "labels": labels,
        "sizes": [int(sizes[label]) for label in labels],
        "rows": [(name, [float(values.loc[name, label]) for label in labels]) for name in names],
    }
