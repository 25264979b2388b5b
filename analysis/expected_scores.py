"""What scores a study is expected to have: its own so far, those of a former report, or all equal."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from analysis.observers import observer_table
from analysis.preferences import codec_order
from analysis.scaling import name_conditions, scale
from study.design.widths import pair_counts, predicted_widths
from study.errors import InputError
from study.folder import Study, Voters

OBSERVERS = 10  # fewer say too little of how observers differ


class Expected(NamedTuple):
    """Scores to plan with, and what is known of the observers."""

    scores: dict[str, float]
    """By condition, in natural log-odds; 0 where nothing is known."""
    source: list[str]
    """Sentences on where they come from, and what they are not."""
    known: bool
    """Whether any comes from votes."""
    wider: float
    """Width of the report's intervals over the width predicted for the same votes; NaN where it is not known."""


def equal_scores(conditions: Sequence[str]) -> Expected:
    """All 0, with which intervals are the narrowest."""
    source = ["all taken as equal, so the widths are the LEAST they can be; give --scores, or plan again with votes"]
    return Expected(dict.fromkeys(conditions, 0.0), source, False, math.nan)


def scores_so_far(study: Study, voters: Voters, conditions: Sequence[str]) -> Expected:
    """Those of the study's own votes, as in its report: without excluded observers, resampled with seed 1."""
    judgments, sentence = study.judgments(voters)
    observers = observer_table(judgments, study.triplets)
    used = judgments[~judgments["observer"].isin(observers.loc[observers["excluded"], "observer"])]
    order = codec_order([codec.title for codec in study.settings.codecs], study.stimuli)
    table, _ = scale(used, study.triplets, study.stimuli, order, "conditions", seed=1)
    found = _expected(table, conditions, f"of {sentence}")
    if not found.known:
        return found
    tests = study.triplets[study.triplets["kind"] == "test"]
    asked = used.merge(tests[["id", "a", "b"]], left_on="triplet", right_on="id", suffixes=("", "_triplet"))
    names = name_conditions(study.stimuli)
    pairs = zip(names.reindex(asked["a"]), names.reindex(asked["b"]), strict=True)
    votes = pair_counts(pairs, table["condition"].tolist())
    predicted = predicted_widths(votes, table["score"].to_numpy(dtype=float))
    measured = (table["high"] - table["low"]).to_numpy(dtype=float)
    voters_so_far = used.loc[used["triplet"].isin(tests["id"]), "observer"].nunique()
    if voters_so_far < OBSERVERS or table["one_sided"].any() or np.isnan(measured).any():
        return found
    return found._replace(wider=float(measured.mean() / predicted.mean()))


def scores_of_report(path: Path, conditions: Sequence[str]) -> Expected:
    """Those in a report's bradley_terry.csv. Raises InputError where it is none, or has none of the conditions."""
    try:
        table = pd.read_csv(path)
    except FileNotFoundError:
        raise InputError(
            f"--scores {path}: no such file; eyetune analyze writes DIR/report/bradley_terry.csv"
        ) from None
    except (ValueError, UnicodeDecodeError) as error:  # pandas' own errors are ValueErrors
        raise InputError(f"--scores {path}: not a readable CSV file ({str(error).splitlines()[0]})") from None
    absent = [name for name in ("scale", "condition", "score", "group", "one_sided", "voters") if name not in table]
    if absent:
        raise InputError(f"--scores {path}: no column {absent[0]}; expected a report's bradley_terry.csv")
    table = table[table["scale"] == "conditions"]
    table = table.assign(score=pd.to_numeric(table["score"], errors="coerce"))
    for problem, wrong in (
        ("has no finite score", table[~np.isfinite(table["score"])]),
        ("stands twice", table[table["condition"].duplicated()]),
    ):
        if len(wrong):
            raise InputError(f"--scores {path}: the condition {wrong['condition'].iloc[0]!r} {problem}")
    if not set(table["condition"]) & set(conditions):
        raise InputError(
            f"--scores {path}: none of this study's conditions is in it; they are called like {conditions[0]!r}"
        )
    voters = sorted(set(table["voters"].astype(str)))
    whose_votes = " and ".join(name if name == "human" else name.upper() for name in voters)
    return _expected(table, conditions, f"of {path}, from {whose_votes} votes")


def _expected(table: pd.DataFrame, conditions: Sequence[str], source: str) -> Expected:
    """The scores in `table` of the `conditions`, with sentences on what they lack."""
    known = table[table["condition"].isin(conditions)]
    if known.empty:
        empty = equal_scores(conditions)
        return empty._replace(source=[f"none in those {source}", *empty.source])
    said = [source]
    if len(known) < len(conditions):
        said.append(f"{len(conditions) - len(known)} conditions without votes there are taken as average")
    if known["group"].nunique() > 1:
        said.append("groups that were not compared with one another there are taken as equal on average")
    if known["one_sided"].astype(bool).any():
        said.append("some won or lost every vote there: how far apart these are is a guess, and so are their widths")
    scores = dict(zip(known["condition"], known["score"].astype(float), strict=True))
    return Expected({name: scores.get(name, 0.0) for name in conditions}, said, True, math.nan)
