"""`eyetune votes DIR`: export the votes, people's and simulated ones, each marked as what it is."""

import argparse
import sqlite3
from contextlib import ExitStack, closing
from pathlib import Path

import pandas as pd

from study import tables
from study.bapps import export_bapps
from study.errors import InputError
from study.files import replacing
from study.folder import VOTERS, Study
from study.records import Judgment
from study.votes import disk_errors


def main(argv: list[str] | None = None) -> int | None:
    """Write judgments.parquet and whatever else was asked for, and say how many votes there are."""
    parser = argparse.ArgumentParser(
        prog="eyetune votes", description=f"{__doc__} Without options: to judgments.parquet in the study."
    )
    parser.add_argument("study", metavar="DIR", type=Path, help="the study's folder")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the votes to this .csv or .parquet as well")
    parser.add_argument("--bapps", type=Path, metavar="FOLDER", help="write the voted triplets as ref/ p0/ p1/ judge/")
    parser.add_argument(
        "--voters",
        choices=VOTERS,
        help="whose votes --out and --bapps get; auto: people's where there are any, else simulated ones (default: all"
        " for --out, rejected ones too; auto for --bapps)",
    )
    parser.add_argument("--backup", type=Path, metavar="FILE", help="copy the vote store, also while it is being used")
    parser.add_argument("--force", action="store_true", help="replace files of --out and --backup that exist")
    options = parser.parse_args(argv)

    study = Study(options.study)
    _check_targets(study, options.out, options.backup, options.force)
    votes = study.all_judgments()
    simulated = int(votes["simulated"].sum())
    print(f"{study.root}: {len(votes) - simulated:,} human votes, {simulated:,} simulated votes")
    if study.votes_path.exists():
        tables.write(votes, study.judgments_path, Judgment)
        print(f"{study.judgments_path} written")
    else:
        print(f"{study.judgments_path} is where these votes are; left as it is")
    with ExitStack() as targets:  # both files or neither, so that the same command can be given again
        if options.out:
            chosen = study.judgments(options.voters)[0] if options.voters else votes
            _write(chosen, targets.enter_context(replacing(options.out)), options.out.suffix)
        if options.backup:
            _backup(study.votes_path, targets.enter_context(replacing(options.backup)))
    if options.out:
        print(f"{options.out} written: {len(chosen):,} votes")
    if options.backup:
        print(f"{options.backup} written: the vote store as it was just now")
    if options.bapps:
        print(f"{options.bapps} written: {export_bapps(study, options.bapps, options.voters or 'auto')}")
    return 0


def _check_targets(study: Study, out: Path | None, backup: Path | None, force: bool) -> None:
    """Raise InputError for a target that must not be written, before anything is."""
    if out and out.suffix not in (".csv", ".parquet"):
        raise InputError(f"--out {out}: the name must end in .csv or .parquet")
    if backup and not study.votes_path.exists():
        raise InputError(f"--backup: {study.votes_path} does not exist, so there is nothing to copy")
    own = [p.resolve() for p in (study.votes_path, study.judgments_path, study.triplets_path, study.stimuli_path)]
    for option, target in (("--out", out), ("--backup", backup)):
        if not target:
            continue
        if target.resolve() in own:
            raise InputError(f"{option} {target} is a file of the study itself; choose another name")
        if target.exists() and not force:
            raise InputError(f"{option} {target} exists; choose another name, or replace it with --force")


def _write(votes: pd.DataFrame, path: Path, kind: str) -> None:
    if kind == ".parquet":
        tables.write(votes, path, Judgment)
    else:
        votes.to_csv(path, index=False)


def _backup(store: Path, path: Path) -> None:
    """Copy with SQLite's backup, which takes a consistent state also while votes come in."""
    with disk_errors(path), closing(sqlite3.connect(store)) as source, closing(sqlite3.connect(path)) as copy:
        source.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")  # one file, without a -wal beside it
