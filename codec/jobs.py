"""Many files in one run: where each result goes, and going on after one that is refused."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from study.errors import InputError
from study.photographs import READ, Refused

FILES = READ | {".eyt"}
"""How names end that can hardly be meant for a folder."""


@dataclass(frozen=True)
class Job:
    """A file to make of another."""

    source: Path
    target: Path


def plan(sources: Sequence[tuple[Path, Path]], out: Path | None, suffix: str) -> list[Job]:
    """A job for each `(source, its path below the folder that was asked for)`.

    `out`: a file whose name ends in `suffix`, or a folder; None: beside the source. Raises InputError where two results
    would be one file.
    """
    single = out is not None and out.suffix.lower() == suffix
    if single and len(sources) > 1:
        raise InputError(f"{out}: one file for {len(sources):,} results; name a folder with --out")
    if out is not None and not single and not out.is_dir() and (out.exists() or out.suffix.lower() in FILES):
        raise InputError(f"{out}: neither a folder nor a name that ends in {suffix}; name another with --out")
    jobs: dict[Path, Job] = {}
    for source, below in sources:
        target = source.with_suffix(suffix) if out is None else out if single else out / below.with_suffix(suffix)
        if target.is_dir():
            raise InputError(f"{target}: a folder, not a file; name another with --out")
        if target == source:
            raise InputError(f"{source}: its result would take its place; name another with --out")
        if target in jobs:
            raise InputError(
                f"{jobs[target].source} and {source} would both be written to {target}; do them apart, with other --out"
            )
        jobs[target] = Job(source, target)
    return list(jobs.values())


def run(jobs: Sequence[Job], make: Callable[[Job], str], force: bool, doing: str) -> int:
    """Exit status of `make(job)` for each job: 0, or 2 where some were refused. It returns the line to print.

    What is there already is left alone unless `force`, so the same command goes on after an interruption.
    """
    refused = 0
    for job in tqdm(jobs, desc=doing, unit="file", delay=2):
        if job.target.exists() and not force:
            tqdm.write(f"{job.target}: is there already, skipped; replace it with --force")
            continue
        try:
            line = make(job)
        except (InputError, Refused) as error:
            refused += 1
            tqdm.write(f"eyetune: {job.source}: {error}", file=sys.stderr)
        else:
            tqdm.write(line)
    if refused and len(jobs) > 1:
        tqdm.write(f"eyetune: {refused:,} of {len(jobs):,} files were refused; the others are done", file=sys.stderr)
    return 2 if refused else 0
