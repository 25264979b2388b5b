"""A training's folder, `runs/codec-001-mbt2018-mean/`: what was asked, where it stands, what came out.

run.json            settings, facts about the data, versions, commit
checkpoint.pt       where the training stands; the same command goes on from it
log.csv             what was measured, training and validation
codec.safetensors   the codec, once the training is finished
"""

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

from metric.training.runs import commit, read_settings
from study.errors import InputError
from study.files import write_text
from study.versions import version

PACKAGES = ("eyetune", "torch", "numpy", "constriction")
CODEC = "codec.safetensors"
RUNS = Path("runs")


def open_run(out: Path | None, settings: dict[str, Any]) -> Path:
    """The folder of a run with these settings: `out`, or a numbered one below `runs`, the newest of the same settings.

    It is made, with its run.json, where it is not there, and also where the newest numbered one is finished. Raises
    InputError where `out` is something else's, or of a run with other settings.
    """
    if out is None:
        same = [folder for folder in _numbered() if _settings(folder) == json.loads(json.dumps(settings))]
        folder = same[-1] if same and not is_finished(same[-1]) else _new_folder(settings["system"])
    else:
        folder = out
        if folder.exists() and not (folder / "run.json").exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise InputError(f"{folder}: there is something else; name a folder that is empty or not there with --out")
        folder.mkdir(parents=True, exist_ok=True)
    if (folder / "run.json").exists():
        _check_same(folder, settings)
    else:
        versions = {name: version(name) for name in PACKAGES}
        record = {"settings": settings, "versions": versions, "commit": commit()}
        write_text(folder / "run.json", json.dumps(record, indent=1))
    return folder


def is_finished(folder: Path) -> bool:
    """Whether the run came to its end."""
    return (folder / CODEC).exists()


def write_log(folder: Path, rows: list[dict[str, Any]]) -> None:
    """Write log.csv: `rows` one below the other, a column for everything that any of them has."""
    text = io.StringIO()
    columns = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()})
    write_text(folder / "log.csv", text.getvalue())


def _check_same(folder: Path, settings: dict[str, Any]) -> None:
    former, now = (_flat(json.loads(json.dumps(s))) for s in (read_settings(folder)["settings"], settings))
    for key in former | now:
        if former.get(key) != now.get(key):
            raise InputError(
                f"{folder}: this run was begun with {key} {_short(former.get(key))}, not {_short(now.get(key))};"
                " give it the same command, or name another --out"
            )


def _flat(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings within settings beside the others, by their own names."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, dict):
            flat |= _flat(value) if key == "recipe" else {f"{key} {name}": weight for name, weight in value.items()}
        else:
            flat[key] = value
    return flat


def _short(value: Any) -> str:
    text = "none" if value is None else json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _settings(folder: Path) -> dict[str, Any] | None:
    """The run's settings; None of one whose run.json is damaged, which stands in nobody's way."""
    try:
        return read_settings(folder)["settings"]
    except InputError:
        return None


def _numbered() -> list[Path]:
    found = [path for path in RUNS.glob("codec-*") if re.match(r"codec-\d+-", path.name)]
    return sorted(found, key=_number)


def _number(folder: Path) -> int:
    return int(folder.name.split("-")[1])


def _new_folder(system: str) -> Path:
    """A folder that was not there; runs that begin at once get one each."""
    number = 1 + max(map(_number, _numbered()), default=0)
    RUNS.mkdir(exist_ok=True)
    while True:
        folder = RUNS / f"codec-{number:03d}-{system}"
        try:
            folder.mkdir()
            return folder
        except FileExistsError:
            number += 1
