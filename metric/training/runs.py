"""A run's folder, `runs/001-alex/`: what was asked, where it stands, what came out. Runs with equal settings resume."""

import io
import json
import re
import subprocess
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import safetensors.torch
import torch

from metric.network.model import heads_of
from metric.network.weights import UNREADABLE, read_state
from study.errors import InputError
from study.files import replacing, sha256, write_bytes, write_text
from study.versions import version

PACKAGES = ("eyetune", "torch", "numpy", "pandas", "lpips", "piq")


def open_run(runs_folder: Path, settings: dict[str, Any], command: Mapping[str, Any] = {}) -> tuple[Path, bool]:
    """A new run's folder, or the newest of the same settings where that is unfinished; and whether it is that.

    `command`: the options, plain values, with which the run can be repeated. Runs that begin at once get a folder each.
    """
    folders = sorted(_run_folders(runs_folder), key=_number)
    same = [path for path in folders if _is_of(path, settings)]
    if same and not is_finished(same[-1]):
        return same[-1], True
    versions = {name: version(name) for name in PACKAGES}
    record = {"settings": settings, "command": dict(command), "versions": versions, "commit": commit()}
    label = re.sub("[^a-zA-Z0-9._-]+", "-", Path(settings["backbone"]).name)
    folder = _new_folder(runs_folder, 1 + max(map(_number, folders), default=0), label)
    write_text(folder / "run.json", json.dumps(record, indent=1))
    return folder, False


def _new_folder(runs_folder: Path, number: int, label: str) -> Path:
    """A folder that was not there, of this number or the next that is free."""
    folder = runs_folder / f"{number:03d}-{label}"
    runs_folder.mkdir(parents=True, exist_ok=True)
    try:
        folder.mkdir()
    except FileExistsError:
        return _new_folder(runs_folder, number + 1, label)
    return folder


def _number(folder: Path) -> int:
    return int(folder.name.split("-")[0])


def _is_of(folder: Path, settings: dict[str, Any]) -> bool:
    """Whether the run has these settings; one whose run.json is damaged has none, and stands in nobody's way."""
    try:
        return read_settings(folder)["settings"] == settings
    except InputError:
        return False


def newest_run(runs_folder: Path, finished: bool = True) -> Path | None:
    """The run with the highest number, finished or any."""
    folders = [path for path in _run_folders(runs_folder) if is_finished(path) or not finished]
    return max(folders, default=None, key=_number)


def is_finished(folder: Path) -> bool:
    """Whether the run came to its end."""
    return (folder / "scores.csv").exists()


def read_settings(folder: Path) -> dict[str, Any]:
    """`run.json`: settings, command, versions, commit. Raises InputError where `folder` is not a run's."""
    try:
        record = json.loads((folder / "run.json").read_text())
        if {"settings", "versions", "commit"} <= set(record) and isinstance(record["settings"], dict):
            return record
    except (OSError, ValueError, TypeError):
        pass
    raise InputError(f"{folder} is not a run's folder, or a damaged one: no readable run.json in it")


def add_facts(folder: Path, facts: Mapping[str, Any]) -> None:
    """Say in run.json, under `training`, what came out: plain values."""
    write_text(folder / "run.json", json.dumps(read_settings(folder) | {"training": dict(facts)}, indent=1))


def write_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """Keep a state of training: tensors and plain values."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_bytes(folder / "checkpoint.pt", buffer.getvalue())


def read_checkpoint(folder: Path, keys: Collection[str]) -> dict[str, Any] | None:
    """What `write_checkpoint` kept, a state of these `keys`; None where the run was stopped before the first."""
    path = folder / "checkpoint.pt"
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)  # not all processes onto one GPU
        if set(state) == set(keys):
            return state
    except UNREADABLE:
        pass
    raise InputError(f"{path} is damaged; delete it, and the run begins anew")


def finish(
    folder: Path,
    weights: Mapping[str, Mapping[str, torch.Tensor]],
    held_out: pd.DataFrame,
    calibration: Mapping[str, Any],
    scores: pd.DataFrame,
) -> None:
    """Write the tensors of each file in `weights`, held-out distances, calibration.json and, last, the scores."""
    for name, tensors in weights.items():
        write_bytes(folder / name, safetensors.torch.save(dict(tensors)))
    with replacing(folder / "held_out.parquet") as aside:
        held_out.reset_index().to_parquet(aside, index=False)
    write_text(folder / "calibration.json", json.dumps(calibration, indent=1))
    write_text(folder / "scores.csv", scores.to_csv(index=False))


def read_heads(folder: Path) -> list[torch.Tensor]:
    """The heads that were trained on all votes, one `(C_k,)` tensor a tap."""
    return heads_of(read_state(folder / "heads.safetensors"))


def read_scores(folder: Path) -> pd.DataFrame:
    """The table of scores, with the columns of `judged.frame`. Raises InputError where it is damaged."""
    path = folder / "scores.csv"
    try:
        scores = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not readable ({error}); train again") from None
    if (
        not {"metric", "two_afc", "low", "high", "note", "voters"} <= set(scores.columns)
        or scores["voters"].nunique() != 1
    ):
        raise InputError(f"{path}: not the table of a run; train again")
    return scores


def digest(table: pd.DataFrame) -> str:
    """SHA-256 of a table's values."""
    return sha256(table.to_csv(index=False).encode())


def _run_folders(runs_folder: Path) -> list[Path]:
    return [path.parent for path in runs_folder.glob("*/run.json") if re.match(r"\d+-", path.parent.name)]


def commit() -> str | None:
    """The commit of the checkout that this file is in; None where there is none."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
