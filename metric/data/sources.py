"""Open judgments wherever they are: a study, BAPPS folders, tables. docs/data.md describes the formats."""

import argparse
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tqdm import tqdm

from metric.data.bapps import bapps_parts, read_part
from metric.data.columns import SUFFIXES, is_table, stem
from metric.data.judgments import Data, from_study, images_of
from metric.data.rows import check_one_split, gather
from metric.data.table import Rows, read_table
from study.errors import InputError
from study.folder import VOTERS, Study, Voters
from study.images import fingerprint

Split = Literal["train", "test"]
Place = str | os.PathLike[str]


def add_options(parser: argparse.ArgumentParser) -> Any:
    """Add DATA and the options that `open_from` reads; returns their group, to add more to."""
    parser.add_argument(
        "data", metavar="DATA", nargs="+", help="a study folder, BAPPS folders, or tables (.csv, .csv.gz, .parquet)"
    )
    group = parser.add_argument_group("data")
    group.add_argument(
        "--voters", choices=VOTERS, default="auto",
        help="whose votes; auto: the human ones where there are any, never mixed (%(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--votes-each", type=int, metavar="N", help="votes behind each share, where the data do not tell"
    )
    group.add_argument("--split", choices=("train", "test"), help="which half, where the data name both")
    group.add_argument(
        "--out", metavar="DIR", help="where results go (default: the study, else eyetune-NAME in this folder)"
    )
    return group


def open_from(options: argparse.Namespace, unvoted: bool = False) -> Data:
    """`open_data` as the options of `add_options` ask."""
    return open_data(options.data, options.voters, options.votes_each, options.split, options.out, unvoted)


def open_data(
    paths: Place | Sequence[Place],
    voters: Voters = "auto",
    votes_each: int | None = None,
    split: Split | None = None,
    out: Place | None = None,
    unvoted: bool = False,
) -> Data:
    """What is known at `paths`: one study folder, or any number of BAPPS folders, tables, and folders of tables.

    `voters` as in `Study.judgments`. `votes_each`: how many votes each share stands for where the data do not tell.
    `split`: which half, where the data name both. Results go to `out`, else to the study or to `eyetune-NAME` in the
    current directory. `unvoted`: a study without votes is opened too. Raises InputError.
    """
    places = [Path(path) for path in ([paths] if isinstance(paths, str | os.PathLike) else paths)]
    if votes_each is not None and votes_each < 1:
        raise InputError(f"--votes-each {votes_each}: must be 1 or more")
    for path in places:
        if not path.exists():
            raise InputError(f"{path}: no such folder or file")
        if path.is_dir() and (path / "study.toml").exists():
            return _study(places, path, voters, split, out, unvoted)
    name = _name(places)
    folder = _results(places, name, out)
    return gather(_read(places, name, votes_each, split), name, folder, voters, split)


def check_splits(training: Data, validation: Data) -> None:
    """Raise InputError where a reference of `validation` is, pixel for pixel, one of `training`.

    References of one colour are passed over: they are of no photograph. Other crops of a photograph are not found out.
    """
    seen = _references(training, "training references")
    for digest, key in _references(validation, "validation references").items():
        if digest in seen:
            raise InputError(
                f"photograph {validation.where(key)} is in the validation data and, as {training.where(seen[digest])},"
                " in the training data; keep each photograph in one"
            )


def _references(data: Data, title: str) -> dict[str, str]:
    """The fingerprint of each reference's pixels, and the reference."""
    tables = (data.comparisons, data.same_different, data.ratings, data.ladders)
    keys = dict.fromkeys(key for table in tables for key in table["reference"])
    found = {}
    for key in tqdm(keys, title, unit="image", delay=1):
        pixels = data.image(key)
        if np.ptp(pixels, axis=(0, 1)).any():
            found[fingerprint(pixels)] = key
    return found


def _study(
    places: list[Path], root: Path, voters: Voters, split: Split | None, out: Place | None, unvoted: bool
) -> Data:
    if len(places) > 1:
        raise InputError(f"{root} is a study, which is opened alone; export its votes to join it with other data")
    if split:
        raise InputError(f"--split {split}: {root} is a study, which names no splits")
    study = Study(root)
    data = images_of(study) if unvoted and not study.has_votes() else from_study(study, voters)
    return replace(data, folder=_folder(out)) if out else data


def _read(places: list[Path], name: str, votes_each: int | None, split: Split | None) -> list[Rows]:
    """The rows at `places`. Of BAPPS folders only the split that is asked for is read."""
    parts = [part for path in places if path.is_dir() for part in bapps_parts(path)]
    if split is None:
        check_one_split({part.split for part in parts} - {""}, name)
    rows = [read_part(part, votes_each) for part in parts if split is None or part.split in (split, "")]
    tables = [table for path in places for table in _tables(path)]
    names = _part_names(tables)
    rows += [read_table(path, names[path], votes_each) for path in tables]
    if not rows:
        raise InputError(f"{name}: no part of split {split}; there is {parts[0].split}")
    return rows


def _tables(path: Path) -> list[Path]:
    """The tables at `path`, none where it is a BAPPS folder. Raises InputError where it is nothing that is known."""
    if not path.is_dir():
        if not is_table(path):
            raise InputError(f"{path}: not a table; its name must end in {', '.join(SUFFIXES)}")
        return [path]
    if bapps_parts(path):
        return []
    found = sorted(file for file in path.iterdir() if is_table(file) and not file.name.startswith("."))
    if not found:
        raise InputError(
            f"{path} is not a study folder (no study.toml in it), nor a BAPPS folder (no ref, p0, p1, judge and no p0,"
            f" p1, same), nor one of tables ({', '.join(SUFFIXES)})"
        )
    return found


def _part_names(tables: list[Path]) -> dict[Path, str]:
    """What distinguishes each table's name from the others': cnn, color, ...; of one alone its name."""
    stems = {path: stem(path) for path in tables}
    if len(set(stems.values())) < len(tables):  # equal names in different folders
        stems = {path: f"{path.resolve().parent.name}/{stem(path)}" for path in tables}
    prefix = len(_common(list(stems.values()))) if len(tables) > 1 else 0
    return {path: name[prefix:] or name for path, name in stems.items()}


def _common(names: list[str]) -> str:
    """What all names begin with, up to its last separator."""
    prefix = os.path.commonprefix(names)
    return prefix[: 1 + max((prefix.rfind(mark) for mark in "-_. "), default=-1)]


def _name(places: list[Path]) -> str:
    names = []
    for path in places:
        parts = path.resolve().parts
        root = next((k for k, part in enumerate(parts) if part in ("2afc", "jnd")), len(parts) - 1)
        names.append("-".join(parts[root:]) if path.is_dir() else stem(path) if is_table(path) else path.name)
    return _common(names).strip("-_. ") if len(names) > 1 and _common(names).strip("-_. ") else names[0]


def _results(places: list[Path], name: str, out: Place | None) -> Path:
    if out:
        return _folder(out)
    here = Path.cwd().resolve()
    for path in places:
        if path.is_dir() and here.is_relative_to(path.resolve()) and bapps_parts(path):
            raise InputError(f"results would go into {path}, which is not eyetune's; name a place for them with --out")
    return _folder(f"eyetune-{name}")


def _folder(out: Place) -> Path:
    path = Path(out)
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file; name a folder for results with --out")
    return path
