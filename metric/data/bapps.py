"""BAPPS folders (Zhang et al. 2018) as rows, read where they lie: `2afc/SPLIT/PART` and `jnd/SPLIT/PART`."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from metric.data.table import Rows
from study.bapps import PARTS, WHOLE, read_share, votes_of
from study.errors import InputError
from study.votes import describe_simulator

JND_PARTS = ("p0", "p1", "same")
JND_VOTES = (3,)  # answers a pair in BAPPS's jnd/val
SPLITS = {"train": "train", "val": "test"}
DEPTH = 3  # dataset/ 2afc/ train/ cnn/


@dataclass(frozen=True)
class Part:
    """One of the folders that hold triplets (`ref p0 p1 judge`) or pairs (`p0 p1 same`)."""

    folder: Path
    kind: str
    """comparisons or same_different."""
    split: str
    """train, test, or "" where the folder above is neither `train` nor `val`."""


def bapps_parts(folder: Path) -> list[Part]:
    """The parts in `folder`, which may be one, a split, or the root of all; none where it is no BAPPS folder."""
    return _parts(folder.resolve(), DEPTH)


def read_part(part: Part, votes_each: int | None = None) -> Rows:
    """The rows of one part; images are not opened yet. Raises InputError where an answer is missing or impossible.

    How many observers a share stands for: `votes_each`, else votes.csv where eyetune wrote the folder, else as BAPPS
    has it: 2 or 5 votes a triplet, 3 a pair.
    """
    triplets = part.kind == "comparisons"
    first, answers = ("ref", "judge") if triplets else ("p0", "same")
    names = sorted(file.name[:-4] for file in os.scandir(part.folder / first) if file.name.lower().endswith(".png"))
    if not names:
        raise InputError(f"{part.folder / first}: no .png file in it")
    paths = (part.folder / answers / f"{name}.npy" for name in names)
    shares = np.array([read_share(path) for path in tqdm(paths, part.folder.name, len(names), unit="answer", delay=1)])
    votes, simulator = _votes(part, names, shares, votes_each)
    listed = pd.Series(names, dtype=object)
    columns = {"reference": "ref", "a": "p0", "b": "p1"} if triplets else {"reference": "p0", "distorted": "p1"}
    rows = pd.DataFrame({"place": f"{part.folder}: " + listed})
    for column, below in columns.items():
        rows[column] = f"{part.folder / below}{os.sep}" + listed + ".png"
    rows = rows.assign(
        source="", part=part.folder.name, split=part.split, observer="", simulator=simulator, single=False, votes=votes
    )
    rows["simulated"] = pd.Series([bool(name) for name in simulator], dtype=object)
    chosen = np.round(shares * votes)
    if triplets:
        rows = rows.assign(prefer_b=chosen, codec_a=None, codec_b=None, rate_a=np.nan, rate_b=np.nan)
    else:
        rows["different"] = votes - chosen
    return Rows(part.kind, rows, [])


def _parts(folder: Path, depth: int) -> list[Part]:
    below = {entry.name: Path(entry.path) for entry in os.scandir(folder) if entry.is_dir()}
    for kind, names in (("comparisons", PARTS), ("same_different", JND_PARTS)):
        if all(name in below for name in names):
            return [Part(folder, kind, SPLITS.get(folder.parent.name, ""))]
    if not depth:
        return []
    return [part for name in sorted(below) if not name.startswith(".") for part in _parts(below[name], depth - 1)]


def _votes(part: Part, names: list[str], shares: np.ndarray, votes_each: int | None) -> tuple[np.ndarray, list[str]]:
    """`(T,)` votes of each, and the metric that simulated them ("" for people)."""
    answers = "judge" if part.kind == "comparisons" else "same"
    if votes_each is None or (part.folder / "votes.csv").exists():
        usual = {} if part.kind == "comparisons" else {"usual": JND_VOTES}
        told = votes_of(part.folder, names, shares, answers=answers, **usual)
        models = {model: describe_simulator(model).get("metric", model) for _, model in told if model}
        return np.array([float(votes) for votes, _ in told]), [models[model] if model else "" for _, model in told]
    wrong = np.flatnonzero(np.abs(shares * votes_each - np.round(shares * votes_each)) > WHOLE)
    if wrong.size:
        path = part.folder / answers / f"{names[wrong[0]]}.npy"
        raise InputError(f"{path}: {shares[wrong[0]]:g} of {votes_each} votes is no whole number; correct --votes-each")
    return np.full(len(names), float(votes_each)), [""] * len(names)
