"""Results kept as they come, one JSON line each: the same command goes on where it stopped."""

import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path

from tqdm import tqdm

from distortions.evaluation.measuring import Measured, Unit, measured
from distortions.workers import done


def results_of(units: Sequence[Unit], path: Path, workers: int, what: str, again: bool = False) -> list[Measured]:
    """What came of each unit: as kept in the file `path`, or measured now and kept there.

    Of a file that was measured before by fewer measures only the missing ones are computed. `again` measures everything
    anew. `what` heads the progress bar.
    """
    kept = {} if again else read(path)
    wanted = {unit.key: unit for unit in units}  # one codec under two names is measured once
    left = [replace(unit, known=kept.get(key)) for key, unit in wanted.items()]
    left = [unit for unit in left if unit.known is None or unit.missing]
    progress = tqdm(total=len(wanted), initial=len(wanted) - len(left), desc=what, unit="file", smoothing=0.05)
    with progress, closing(done(measured, left, workers)) as finished:
        for _, found in finished:
            kept[found.key] = found
            _append(path, json.dumps(asdict(found)))
            progress.update()
    return [kept[unit.key] for unit in units]


def read(path: Path) -> dict[str, Measured]:
    """The results in `path` by their keys; of two with one key the later. A line that was cut off is passed over."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return {}
    found = {}
    for line in lines:
        try:
            result = Measured(**json.loads(line))
        except (ValueError, TypeError):
            continue
        found[result.key] = result
    return found


def _append(path: Path, line: str) -> None:
    """Add a line that begins on a line of its own, whatever was cut off before it."""
    with path.open("a+b") as file:
        torn = file.tell() and (file.seek(-1, 2), file.read(1))[1] != b"\n"
        file.write(b"\n" * bool(torn) + line.encode() + b"\n")
