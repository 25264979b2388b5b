"""Whether a repeated run is the same run: the same data, votes and trunk before it, the same weights after it."""

from pathlib import Path
from typing import Any

import pandas as pd
import torch

from metric.data.judgments import Data
from metric.network.weights import read_state
from metric.training import runs
from metric.training.splits import images_of
from study.errors import InputError
from study.files import sha256

MEANINGS = {
    "images_sha256": "the images",
    "votes_sha256": "the votes",
    "trunk": "the trunk's name or code",
    "backbone_sha256": "the trunk's weights",
    "recipe": "the recipe",
}


def digests(data: Data) -> dict[str, str]:
    """SHA-256 of the votes (counts, answers, same/different, ratings) and of the images that they are about."""
    tables = [data.comparisons, data.answers, data.same_different, data.ratings]
    votes = [table.to_csv(index=False) for table in tables] + [data.reliability.to_csv()]
    return {
        "votes_sha256": sha256("\n".join(votes).encode()),
        "images_sha256": sha256("\n".join(sorted(data.identity(key) for key in images_of(data))).encode()),
    }


def check(run: Path, settings: dict[str, Any]) -> None:
    """Raise InputError where what `run` was trained on is not what is here now, and say which."""
    before = runs.read_settings(run)["settings"]
    different = [key for key in settings if before.get(key) != settings[key]]
    known = [MEANINGS[key] for key in different if key in MEANINGS]
    if different:
        what = " and ".join(known) or ", ".join(different)
        raise InputError(f"{run} cannot be repeated: {what} differ from what it was trained with")


def compare(run: Path, again: Path) -> str:
    """A sentence: whether two finished runs gave the same weights."""
    names = sorted(path.name for path in again.glob("*.safetensors"))
    states: list[tuple[dict, dict]] = [(read_state(run / name), read_state(again / name)) for name in names]
    if all(a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a) for a, b in states):
        return f"the weights are those of {run}, bit for bit"
    furthest = max(float((a[key] - b[key]).abs().max()) for a, b in states for key in a.keys() & b.keys())
    records = [runs.read_settings(folder) for folder in (run, again)]
    changed = pd.Series(records[0]["versions"]).compare(
        pd.Series(records[1]["versions"]).reindex(records[0]["versions"])
    )
    versions = "; ".join(f"{name} {row['self']} is now {row['other']}" for name, row in changed.iterrows())
    return f"the weights differ from those of {run} by up to {furthest:.2g}" + (f" ({versions})" if versions else "")
