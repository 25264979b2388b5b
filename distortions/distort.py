"""`eyetune distort DIR`: stimuli and triplets from the study's photographs and codecs.

Interrupted, the same command goes on where it stopped. Its result is the same at any number of workers.
"""

import argparse
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from distortions import assembly
from distortions.catalogue import Treatment, configured
from distortions.cluster import check
from distortions.decisive import changes, of_stimuli, record_of
from distortions.listing import listing
from distortions.making import Part, Unit, check_targets, load, make
from distortions.workers import done
from study import tables
from study.addresses import is_address, located
from study.errors import InputError
from study.files import sha256
from study.folder import Study
from study.photographs import READ
from study.records import Judgment, Stimulus
from study.sources import fetched, listed, overlap
from study.votes import connect

WRITTEN = ("stimuli.parquet", "triplets.parquet", "distort.json")


def main(argv: list[str] | None = None) -> int | None:
    """Make the study's stimuli and triplets."""
    parser = argparse.ArgumentParser(prog="eyetune distort", description=__doc__)
    parser.add_argument("study", metavar="DIR", type=Path, nargs="?", help="the study folder")
    cores = os.cpu_count() or 1
    parser.add_argument("--workers", type=int, default=cores, metavar="N", help="processes (%(default)s, one a core)")
    parser.add_argument(
        "--executor", default="processes", metavar="WHERE",
        help="processes (default), dask (a cluster of --workers processes on this machine) or the address of a Dask"
        " scheduler whose workers have the study at the same path, for example tcp://10.0.0.5:8786",
    )  # fmt: skip
    parser.add_argument(
        "--force",
        action="store_true",
        help="replace stimuli and triplets that have no votes yet;"
        " where only [triplets] has changed, nothing is encoded anew",
    )
    parser.add_argument("--list", action="store_true", help="print every codec and distortion with its settings")
    options = parser.parse_args(argv)
    if options.list:
        print(listing())
        return 0
    if options.study is None:
        parser.error("the following arguments are required: DIR")
    if options.workers < 1:
        raise InputError(f"--workers {options.workers}: must be 1 or more")
    check(options.executor)

    study = Study(options.study)
    if study.settings.photographs is None:
        raise InputError(
            f'{study.settings_path}: no [photographs]; add one with: folder = "where your photographs are"'
        )
    codecs = configured(study.settings.codecs, str(study.settings_path))
    check_targets(study, codecs)
    folder = located(study.settings.photographs.folder, study.root, "photographs.folder")
    if not is_address(folder) and not Path(folder).is_dir():
        raise InputError(f"{study.settings_path}: photographs.folder = {folder!r}: no such folder")
    if not is_address(folder) and Path(folder, "study.toml").exists():
        raise InputError(
            f"{study.settings_path}: photographs.folder = {study.settings.photographs.folder!r} is a study's own"
            " folder; put the photographs into one of theirs"
        )
    if overlap(folder, located(study.settings.stimuli, study.root, "stimuli"), study.root):
        raise InputError(
            f"{study.settings_path}: stimuli = {study.settings.stimuli!r} is in photographs.folder; its images would be"
            " taken for photographs: name another place"
        )
    sources, others = listed(folder)
    if not sources:
        ends = " ".join(sorted(READ))
        raise InputError(f"{folder}: no photographs in it ({others:,} other files); their names end in {ends}")
    hashes, skipped = _hashes(folder, sources)

    record = record_of(study, codecs, hashes)
    parts_folder = study.root / ".distort" / sha256(json.dumps(of_stimuli(record), sort_keys=True).encode())[:16]
    missing = _missing(study, record, parts_folder, options.force)
    if missing is not None and missing.empty:
        print(f"{study.root}: stimuli and triplets are made already, of these photographs with these settings")
        return 0
    if missing is None and study.settings.triplets.metrics:
        from distortions.predicted import check_metrics  # torch

        check_metrics(study)
    wanted = sorted(hashes) if missing is None else sorted(set(missing["source"]) & set(hashes))
    left = {source: hashes[source] for source in wanted}
    with _alone(study):
        _sweep(study)
        parts = _parts(study, folder, left, codecs, parts_folder, options.workers, options.executor)
        if missing is None:
            print(_finish(study, parts, skipped, others, record, parts_folder, options.force))
        else:
            _restore(study, parts, missing, parts_folder)
    return 0


@contextmanager
def _alone(study: Study) -> Iterator[None]:
    """Hold the study for the block: another run would remove what this one is writing.

    The system frees the lock when its holder ends, however. Raises InputError where another command holds it.
    """
    path = study.root / ".distort" / "lock"
    path.parent.mkdir(exist_ok=True)
    with path.open("a", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"{study.root}: another eyetune distort is at work in it; wait until it has ended, then run this one"
                " again"
            ) from None
        except OSError:  # a file system without locks, as some of many machines are: work goes on without one
            pass
        yield


def _hashes(folder: str, sources: Iterable[str]) -> tuple[dict[str, str], dict[str, str]]:
    """The SHA-256 of each file, and those that cannot be read with the reason.

    Raises InputError for a file at an address that cannot be read: it may be there the next time.
    """
    hashes: dict[str, str] = {}
    skipped: dict[str, str] = {}
    for source in tqdm(sources, desc="looking", unit="file", delay=2):
        try:
            source.encode()
            if is_address(folder):
                hashes[source] = sha256(fetched(folder, source))
                continue
            if not Path(folder, source).is_file():
                skipped[source] = "not a regular file, or a link to nothing"
                continue
            with Path(folder, source).open("rb") as file:
                hashes[source] = hashlib.file_digest(file, "sha256").hexdigest()
        except UnicodeEncodeError:
            skipped[source.encode(errors="backslashreplace").decode()] = "its name is not UTF-8; rename it"
        except OSError as error:
            skipped[source] = error.strerror or str(error)
    return hashes, skipped


def _missing(study: Study, record: dict[str, Any], parts_folder: Path, force: bool) -> pd.DataFrame | None:
    """The stimuli whose images have gone from a study that this record made; None where the study is yet to be made.

    Raises InputError where it was made otherwise and is not to be replaced. One with votes was made, though its tables
    have gone: the votes name these triplets and no others.
    """
    path = study.root / "distort.json"
    votes = _has_votes(study)
    if not (votes or study.stimuli_path.exists() or study.triplets_path.exists()):
        return None
    if force:
        if votes:
            raise InputError(
                f"{study.root}: its triplets have votes or open sessions, which are kept; make a new study instead"
            )
        return None
    try:
        former = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(former, dict):
            raise ValueError("it should hold a JSON object")
    except FileNotFoundError:
        if votes:
            raise InputError(
                f"{path} is missing, and its triplets have votes, which are kept; restore it, or make a new study"
            ) from None
        if parts_folder.exists():  # stopped between the tables and distort.json
            return None
        raise InputError(
            f"{study.root}: its stimuli were not made by eyetune distort; replace them with --force"
        ) from None
    except ValueError as error:
        raise InputError(f"{path}: not readable ({error}); make the stimuli anew with --force") from None
    changed = changes(former, record)
    if changed:
        way_out = "set these back" if votes else "replace its stimuli and triplets with --force"
        raise InputError(f"{study.root}: made before with other {', '.join(changed)}; {way_out}, or make a new study")
    if not (study.stimuli_path.exists() and study.triplets_path.exists()):
        return None
    table = tables.read(study.stimuli_path, Stimulus)
    return table[~table["sha256"].isin(study.images.digests())]


def _has_votes(study: Study) -> bool:
    if study.votes_path.exists():
        with connect(study.votes_path) as connection:
            return connection.execute("SELECT EXISTS (SELECT 1 FROM trials)").fetchone()[0] == 1
    return study.judgments_path.exists() and not tables.read(study.judgments_path, Judgment).empty


def _parts(
    study: Study,
    folder: str,
    hashes: dict[str, str],
    codecs: dict[str, Treatment],
    parts_folder: Path,
    workers: int,
    executor: str,
) -> list[Part]:
    """What came of each photograph: made now, or before where a run was interrupted or other pairs are asked for."""
    units = [
        Unit(
            str(study.root.absolute()), str(Path(folder).absolute()) if not is_address(folder) else folder, source,
            digest, codecs,
            str(parts_folder.absolute() / f"{sha256(f'{source} {digest}'.encode())[:16]}.json"),
        )
        for source, digest in hashes.items()
    ]  # fmt: skip
    there = study.images.digests()
    parts = {unit.source: part for unit in units if (part := load(Path(unit.part))) and part.images() <= there}
    left = [unit for unit in units if unit.source not in parts]
    progress = tqdm(total=len(units), initial=len(parts), desc="distorting", unit="photograph")
    try:
        with progress, closing(done(make, left, workers, executor)) as finished:
            for unit, _ in finished:
                part = load(Path(unit.part))
                if part is None:  # a worker on another machine wrote into a folder of its own
                    raise InputError(f"{study.root}: the workers' results are not in it; it must be one shared folder")
                parts[unit.source] = part
                progress.update()
    finally:
        _sweep(study)
    absent = _images(parts.values()) - study.images.digests()
    if absent:
        raise InputError(
            f"{study.images.place(min(absent))} was made and is missing; stimuli must be one place for all workers"
        )
    return list(parts.values())


def _finish(
    study: Study,
    parts: list[Part],
    skipped: dict[str, str],
    others: int,
    record: dict[str, Any],
    parts_folder: Path,
    force: bool,
) -> str:
    """Write the tables and tidy up; returns what to tell the person.

    The parts stay, with images that no comparison needs now, so that other pairs can be chosen without encoding anew.
    """
    result = assembly.assemble(study, parts, skipped)
    assembly.write(study, result, record)
    if force:
        study.images.remove(study.images.digests() - result.images - _images(parts))
    for folder in (study.root / ".distort").iterdir():
        if folder != parts_folder and folder.is_dir():  # a file there is the lock
            shutil.rmtree(folder)
    text = assembly.summary(study, result, others)
    return f"{text}\n\nnext: eyetune serve {study.root}, or with simulated observers: eyetune simulate {study.root}"


def _restore(study: Study, parts: list[Part], missing: pd.DataFrame, parts_folder: Path) -> None:
    """Say that the images are there again. Raises InputError where others were made, which are removed."""
    there = study.images.digests()
    for row in missing.itertuples():
        if row.sha256 not in there:
            study.images.remove(_images(parts) - set(tables.read(study.stimuli_path, Stimulus)["sha256"]))
            shutil.rmtree(parts_folder)
            raise InputError(
                f"{study.images.place(str(row.sha256))} ({row.source}) cannot be made again alike: the libraries are"
                f" others than those in {study.root / 'distort.json'}"
            )
    print(f"{study.root}: {missing['sha256'].nunique():,} missing images were made again")


def _images(parts: Iterable[Part]) -> set[str]:
    return {digest for part in parts for digest in part.images()}


def _sweep(study: Study) -> None:
    """Remove what killed workers, or a killed run, left half-written."""
    study.images.sweep()
    tables_and_record = (study.root.glob(f".{name}.*.part") for name in WRITTEN)
    for path in chain((study.root / ".distort").glob("*/.*.part"), *tables_and_record):
        path.unlink(missing_ok=True)
