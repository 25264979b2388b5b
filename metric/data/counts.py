"""Rows of judgments counted: one row a comparison, a same/different pair, a rated image, a ladder's step."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from analysis.dawid_skene import PRIOR_RIGHT, PRIOR_WRONG, reliabilities
from metric.data.judgments import ANSWERS, COMPARISONS, LADDERS, RATINGS, SAME_DIFFERENT
from study.errors import InputError
from study.files import sha256


def comparisons(
    rows: pd.DataFrame, metrics: list[str], identity: Mapping[str, str]
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, pd.DataFrame]]:
    """COMPARISONS, ANSWERS where observers are named, and the distances that came with the rows.

    `rows` are a `Rows.table` of comparisons. One that was also asked with a and b exchanged is counted as it stands
    first. Raises InputError where counts, or an observer's answer, stand twice.
    """
    in_order = rows["a"] <= rows["b"]
    code, first = _numbered(
        rows["reference"], rows["a"].where(in_order, rows["b"]), rows["b"].where(in_order, rows["a"])
    )
    top = rows.iloc[first]
    flipped = (rows["a"].to_numpy() != top["a"].to_numpy()[code]).astype(bool)
    votes = rows["votes"].to_numpy(dtype=float)
    prefer_b = np.where(flipped, votes - rows["prefer_b"].to_numpy(dtype=float), rows["prefer_b"]).astype(float)
    _check_twice(rows, code)
    table = top[["source", "reference", "a", "b", "part", "codec_a", "codec_b", "rate_a", "rate_b"]].copy()
    table["id"] = _ids(top, ["reference", "a", "b"], identity)
    table["prefer_b"] = np.bincount(code, prefer_b, len(first))
    table["votes"] = np.bincount(code, votes, len(first))
    known = (rows["observer"] != "").to_numpy() & rows["single"].to_numpy(dtype=bool)
    answers = pd.DataFrame({
        "comparison": table["id"].to_numpy()[code[known]],
        "observer": rows["observer"].to_numpy()[known],
        "prefer_b": prefer_b[known],
    })[ANSWERS]  # fmt: skip
    distances = {}
    for name in metrics:
        a, b = (rows[f"{name}_{side}"].to_numpy(dtype=float) for side in ("a", "b"))
        pair = np.stack([np.where(flipped, b, a), np.where(flipped, a, b)])
        _check_equal(rows, code, pair, first, name)
        distances[name] = pd.DataFrame(
            {"distance_a": pair[0, first], "distance_b": pair[1, first]}, index=pd.Index(table["id"], name="triplet")
        )
    return table[COMPARISONS].reset_index(drop=True), answers, distances


def same_different(rows: pd.DataFrame, identity: Mapping[str, str]) -> pd.DataFrame:
    """SAME_DIFFERENT of a `Rows.table`. Raises InputError where counts, or an observer's answer, stand twice."""
    code, first = _numbered(rows["reference"], rows["distorted"])
    _check_twice(rows, code)
    table = rows.iloc[first][["source", "reference", "distorted", "part"]].copy()
    table["id"] = _ids(table, ["reference", "distorted"], identity)
    for column in ("different", "votes"):
        table[column] = np.bincount(code, rows[column].to_numpy(dtype=float), len(first))
    return table[SAME_DIFFERENT].reset_index(drop=True)


def ratings(rows: pd.DataFrame, identity: Mapping[str, str]) -> pd.DataFrame:
    """RATINGS of a `Rows.table`: the mean over votes. Raises InputError where a rating stands twice."""
    code, first = _numbered(rows["reference"], rows["distorted"])
    _check_twice(rows, code)
    table = rows.iloc[first][["source", "reference", "distorted", "part"]].copy()
    table["id"] = _ids(table, ["reference", "distorted"], identity)
    votes = rows["votes"].to_numpy(dtype=float)
    table["votes"] = np.bincount(code, votes, len(first))
    table["rating"] = np.bincount(code, votes * rows["rating"].to_numpy(dtype=float), len(first)) / table["votes"]
    return table[RATINGS].reset_index(drop=True)


def ladders(rows: pd.DataFrame) -> pd.DataFrame:
    """LADDERS of a `Rows.table`. Raises InputError for a ladder of one level, two references, or a step twice."""
    of_ladder = rows.groupby("ladder", sort=False)
    for wrong, reason in (
        (of_ladder["reference"].transform("nunique") > 1, "has two references; give each its own ladder"),
        (rows.duplicated(["ladder", "distorted"]), "has this image twice; leave one row out"),
        (of_ladder["level"].transform("nunique") < 2, "has one level only, which ranks nothing; leave it out"),
    ):
        if wrong.any():
            row = rows[wrong].iloc[0]
            raise InputError(f"{row['place']}: ladder {row['ladder']} {reason}")
    return rows[LADDERS].reset_index(drop=True)


def pair_distances(tables: list[pd.DataFrame], metrics: list[str]) -> dict[str, pd.Series]:
    """Each metric's distances that came with pairs, indexed by (reference, distorted). Raises for two that differ."""
    found = {}
    for name in metrics:
        column = f"{name}_distance"
        rows = pd.concat([table for table in tables if column in table], ignore_index=True)
        code, first = _numbered(rows["reference"], rows["distorted"])
        values = rows[column].to_numpy(dtype=float)
        _check_equal(rows, code, values[None], first, name)
        index = pd.MultiIndex.from_frame(rows.iloc[first][["reference", "distorted"]])
        found[name] = pd.Series(values[first], index=index, name=name)
    return found


def reliability(answers: pd.DataFrame) -> pd.Series:
    """Of each observer in ANSWERS, as `eyetune analyze` computes it; a "not sure" says nothing of it."""
    observers, who = np.unique(answers["observer"].to_numpy(dtype=str), return_inverse=True)
    sure = (answers["prefer_b"] != 0.5).to_numpy()
    what = pd.factorize(answers["comparison"])[0]
    found = pd.Series(np.nan, index=pd.Index(observers, dtype=object, name="observer"), dtype=float)
    if sure.any():
        known, who_known = np.unique(who[sure], return_inverse=True)
        values = reliabilities(who_known, what[sure], answers["prefer_b"].to_numpy(dtype=float)[sure] == 1)
        found.iloc[known] = values
    return found.fillna(PRIOR_RIGHT / (PRIOR_RIGHT + PRIOR_WRONG))


def _numbered(*columns: pd.Series | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`(R,)` the number of each row's group, in order of appearance, and the first row of each group."""
    frame = pd.DataFrame({str(k): np.asarray(column) for k, column in enumerate(columns)})
    code = frame.groupby(list(frame.columns), sort=False).ngroup().to_numpy()
    return code, np.unique(code, return_index=True)[1]


def _ids(table: pd.DataFrame, images: list[str], identity: Mapping[str, str]) -> list[str]:
    """16 hexadecimal digits made from the identities of a row's images: results kept under them are of these files."""
    columns = [[identity.get(key, key) for key in table[name]] for name in images]
    return [sha256("\n".join(keys).encode(errors="surrogateescape"))[:16] for keys in zip(*columns, strict=True)]


def _check_twice(rows: pd.DataFrame, code: np.ndarray) -> None:
    """One observer answers a question once, counts without observers stand once; single unnamed answers may repeat."""
    who = rows[["place", "observer"]].assign(code=code, simulated=rows["simulated"].map(str))
    who = who[~(rows["single"].to_numpy(dtype=bool) & (who["observer"] == "").to_numpy())]
    columns = ["code", "observer", "simulated"]
    twice = who[who.duplicated(columns)]
    if len(twice):
        row = twice.iloc[0]
        before = who[(who[columns] == row[columns]).all(axis=1)].iloc[0]
        said = f"observer {row['observer']} answers" if row["observer"] else "counts"
        way = "" if row["observer"] else ", or add them up"
        raise InputError(f"{row['place']}: {said} the same question as {before['place']}; keep one of the rows{way}")


def _check_equal(rows: pd.DataFrame, code: np.ndarray, values: np.ndarray, first: np.ndarray, name: str) -> None:
    wrong = np.flatnonzero((values != values[:, first][:, code]).any(axis=0))
    if wrong.size:
        row, before = rows["place"].iloc[wrong[0]], rows["place"].iloc[first[code[wrong[0]]]]
        raise InputError(f"{row}: {name}'s distance is not that of the same images in {before}")
