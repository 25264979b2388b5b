"""One table of judgments, CSV or Parquet, as rows: what docs/data.md says of its columns."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.agreement import Floats
from metric.data.columns import (
    FALSE,
    TRUE,
    check,
    counted,
    counts,
    filled,
    from_shares,
    numbers,
    read_columns,
    text,
    words,
)  # fmt: skip
from study.errors import InputError
from study.votes import describe_simulator

ANSWERS = {  # the columns that say what people answered, one of which makes a table one of a kind
    "prefer_b": "comparisons", "share_b": "comparisons", "choice": "comparisons",
    "different": "same_different", "answer": "same_different",
    "rating": "ratings", "dmos": "ratings",
    "level": "ladders",
}  # fmt: skip
IMAGES = {
    "comparisons": ("reference", "a", "b"),
    "same_different": ("reference", "distorted"),
    "ratings": ("reference", "distorted"),
    "ladders": ("reference", "distorted"),
}
CHOICES: dict[str, float] = {
    "a": 0.0, "b": 1.0, "not sure": 0.5, "0": 0.0, "1": 1.0, "0.5": 0.5, "0.0": 0.0, "1.0": 1.0,
}  # fmt: skip
SAME_OR_NOT: dict[str, float] = {
    "same": 0.0, "different": 1.0, "not sure": 0.5, "0": 0.0, "1": 1.0, "0.5": 0.5, "0.0": 0.0, "1.0": 1.0,
}  # fmt: skip
SPLITS: dict[str, str] = {"train": "train", "test": "test", "val": "test", "validation": "test"}
NO_METRIC = ("codec", "rate", "prefer", "share")  # their columns with _a and _b are no distances


@dataclass
class Rows:
    """Judgments of one kind as they stand in one file, before they are counted."""

    kind: str
    """comparisons, same_different, ratings, ladders."""
    table: pd.DataFrame
    """place (file and row), the images of IMAGES (paths), source ("" where not told), part, split (train, test, ""),
    simulated (True, False, None), simulator (a metric's name or ""), observer (""), single (whether the row is one
    answer), the columns of the kind in `metric.data.judgments`, and those of the metrics: NAME_a and NAME_b, or
    NAME_distance."""
    metrics: list[str]
    """Whose distances came with the judgments."""
    images: bool = True
    """Whether there are image files; else the images are names only."""


def read_table(path: Path, part: str, votes_each: int | None = None) -> Rows:
    """The rows of the table at `path`; `part` is what they are called where no column part says so.

    Raises InputError, which names the file, the row and the value.
    """
    table = read_columns(path)
    kind, answer = _kind(path, table)
    metrics = _metrics(path, table, kind)
    rows = pd.DataFrame(index=table.index)
    rows["place"] = f"{path}: row " + table.index.astype(str)
    images = _images(path, table, kind, metrics)
    folder = path.parent.resolve()
    for column in IMAGES[kind]:
        names = filled(path, table, column) if images else f"{part}/" + _name(table) + f" {column}"
        known = {name: str(folder / name) for name in names.unique()} if images else {}
        rows[column] = names.map(known) if images else names
    rows["source"] = text(table, "source")
    rows["part"] = text(table, "part").where(text(table, "part") != "", part)
    rows["split"] = words(path, table, "split", SPLITS) if "split" in table else ""
    rows["observer"] = filled(path, table, "observer") if "observer" in table else ""
    rows["simulated"], rows["simulator"] = _simulated(path, table)
    rows["single"] = answer in ("choice", "answer") or (kind == "ratings" and "observer" in table)
    if kind == "ladders":
        rows["ladder"] = filled(path, table, "ladder")
        rows["level"] = numbers(path, table, "level")
    else:
        _add_answers(path, table, rows, answer, votes_each)
    if kind == "comparisons":
        check(path, table, "a", (rows["a"] != rows["b"]).to_numpy(), "and b are the same image; leave the row out")
        for side in ("a", "b"):
            codec = text(table, f"codec_{side}")
            rows[f"codec_{side}"] = codec.where(codec != "", None)
            rows[f"rate_{side}"] = numbers(path, table, f"rate_{side}", optional=True)
    for name, columns in metrics.items():
        for target, column in columns.items():
            rows[f"{name}_{target}"] = numbers(path, table, column)
    return Rows(kind, rows, list(metrics), images)


def _kind(path: Path, table: pd.DataFrame) -> tuple[str, str]:
    found = [name for name in ANSWERS if name in table]
    if not found:
        raise InputError(
            f"{path}: no column that says what people answered ({', '.join(ANSWERS)}); there are:"
            f" {', '.join(table.columns)}; see docs/data.md"
        )
    if len(found) > 1:
        raise InputError(f"{path}: {' and '.join(found)} both say what people answered; leave one column out")
    kind = ANSWERS[found[0]]
    if kind == "ladders" and "ladder" not in table:
        raise InputError(f"{path}: no column ladder; there are: {', '.join(table.columns)}; see docs/data.md")
    return kind, found[0]


def _images(path: Path, table: pd.DataFrame, kind: str, metrics: dict[str, dict[str, str]]) -> bool:
    """Whether the table names images. Raises InputError where it does so in part, or where nothing stands for them."""
    absent = [name for name in IMAGES[kind] if name not in table]
    if absent and (len(absent) < len(IMAGES[kind]) or not metrics):
        instead = "NAME_a and NAME_b" if kind == "comparisons" else "NAME_distance"
        raise InputError(
            f"{path}: no column {', '.join(absent)}; there are: {', '.join(table.columns)}; a table needs the paths"
            f" {', '.join(IMAGES[kind])}, or without images the distances {instead}; see docs/data.md"
        )
    return not absent


def _metrics(path: Path, table: pd.DataFrame, kind: str) -> dict[str, dict[str, str]]:
    """Each metric whose distances stand in the table: {"a": column, "b": column} or {"distance": column}."""
    metrics: dict[str, dict[str, str]] = {}
    if kind != "comparisons":
        ending = "_distance"
        return {c[: -len(ending)]: {"distance": c} for c in table.columns if c.endswith(ending) and c != ending}
    for first, second in (("_d0", "_d1"), ("_a", "_b")):
        for column in table.columns:
            name = column[: -len(first)]
            if not column.endswith(first) or not name or name in NO_METRIC or column in ANSWERS:
                continue
            if name + second in table:
                metrics[name] = {"a": column, "b": name + second}
            elif first == "_d0":
                raise InputError(f"{path}: no column {name}{second} beside {column}")
    return {name: sides for name, sides in metrics.items() if any(_has_number(table[c]) for c in sides.values())}


def _has_number(column: pd.Series) -> bool:
    """Whether any value is a number: label_a and label_b are no distances of a metric called label."""
    return bool(pd.to_numeric(column, errors="coerce").notna().any())


def _name(table: pd.DataFrame) -> pd.Series:
    """What a row without images is called: its id, else its place in the table."""
    ids = text(table, "id")
    return ids.where(ids != "", table.index.astype(str))


def _simulated(path: Path, table: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """Whether programs answered (None: not told), and from which metric."""
    simulator = text(table, "simulator")
    named = {model: describe_simulator(model).get("metric", model) for model in simulator.unique()}
    names = simulator.map(named)
    if "simulated" not in table and "simulator" not in table:
        return pd.Series(None, index=table.index, dtype=object), names
    by_name = simulator != ""
    if "simulated" not in table:
        return by_name.astype(object), names
    told = words(path, table, "simulated", dict.fromkeys(TRUE, True) | dict.fromkeys(FALSE, False))
    return (by_name | told.astype(bool)).astype(object), names


def _add_answers(path: Path, table: pd.DataFrame, rows: pd.DataFrame, answer: str, votes_each: int | None) -> None:
    ones = np.ones(len(table))
    if answer in ("choice", "answer"):
        if "votes" in table:
            raise InputError(f"{path}: {answer} is one answer a row, votes many; leave one of the columns out")
        votes: Floats = ones
        meaning = CHOICES if answer == "choice" else SAME_OR_NOT
        values = words(path, table, answer, meaning).astype(float)
    elif answer in ("rating", "dmos"):
        votes = counts(path, table, 1 if "votes" not in table else None)
        values = numbers(path, table, answer) * (-1 if answer == "dmos" else 1)
    else:
        votes = counts(path, table, votes_each)
        values = (from_shares if answer == "share_b" else counted)(path, table, answer, votes)
    rows["votes"] = votes
    rows[{"share_b": "prefer_b", "choice": "prefer_b", "answer": "different", "dmos": "rating"}.get(answer, answer)] = (
        values
    )
