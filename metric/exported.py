"""The file that hands a metric out: one safetensors file with weights and a description, and how to load it."""

import json
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from metric.backbones import LAYOUTS, Backbone
from metric.model import PerceptualMetric, heads_of
from metric.weights import fingerprint
from study.errors import InputError
from study.files import write_bytes

FORMAT = "eyetune-metric"
VERSION = 1


def save(metric: PerceptualMetric, path: Path, card: dict[str, Any]) -> None:
    """Write `metric` to `path` with `card` (plain values: name, votes, scores, ...) and all that rebuilds it."""
    state = {key: value.detach().contiguous() for key, value in metric.state_dict().items()}
    description = {
        "format": FORMAT,
        "version": VERSION,
        "backbone": metric.backbone.name,
        "input": "RGB, (N, 3, H, W), [0, 1]",
        "output": "(N,), 0 for identical images, larger is worse",
        "sha256": fingerprint(state),
        "card": card,
    }
    write_bytes(path, safetensors.torch.save(state, metadata={"eyetune": json.dumps(description)}))


def load(path: Path | str) -> PerceptualMetric:
    """The metric in a file that `eyetune export` wrote: a module in evaluation mode, its weights frozen.

    It takes reference and distorted images `(N, 3, H, W)` in [0, 1] and gives distances `(N,)`. Raises InputError for a
    file that is not one of ours, is damaged, or has been altered.
    """
    description, state = _read(Path(path))
    metric = PerceptualMetric(Backbone(description["backbone"]), heads_of(state))
    metric.load_state_dict(state)
    return metric.requires_grad_(False).eval()


def describe(path: Path | str) -> dict[str, Any]:
    """What the file says of itself: format, version, backbone, card. Raises InputError as `load` does."""
    return _read(Path(path))[0]


def name_of(path: Path) -> str:
    """The metric's name in tables: its own, and the beginning of its weights' hash."""
    description = describe(path)
    return f"{description['card'].get('name', path.stem)}:{description['sha256'][:8]}"


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            description = json.loads((file.metadata() or {}).get("eyetune", "null"))
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (safe_open is no mapping)
    except (safetensors.SafetensorError, ValueError, OSError) as error:
        raise InputError(f"{path}: not a readable safetensors file ({error})") from None
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise InputError(f"{path}: not a metric that eyetune export wrote")
    if description["version"] != VERSION:
        raise InputError(f"{path}: format version {description['version']}; this eyetune knows version {VERSION}")
    if description["backbone"] not in LAYOUTS or fingerprint(state) != description["sha256"]:
        raise InputError(f"{path}: damaged: its weights are not those that its description promises")
    return description, state
