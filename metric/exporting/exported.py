"""The file that hands a metric out: one safetensors file with weights and a description, and how to load it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from metric.network.backbones import LAYOUTS, SHIFT_TOLERANT, Backbone, Trunk
from metric.network.model import PerceptualMetric, heads_of
from metric.network.weights import fingerprint
from study.errors import InputError
from study.files import sha256, write_bytes

FORMAT = "eyetune-metric"
VERSION = 2
REQUIRED = {"version", "backbone", "built_in", "input", "output", "sha256", "calibration", "card"}


def describe_metric(metric: PerceptualMetric, card: Mapping[str, Any]) -> dict[str, Any]:
    """What an exported file says of itself, in plain values: format, trunk, input, output, calibration, `card`.

    `card` has what cannot be read from the module: name, votes, voters, settings, scores, ...
    """
    return {
        "format": FORMAT,
        "version": VERSION,
        "backbone": metric.backbone.name,
        "channels": list(metric.backbone.channels),
        "smallest": metric.backbone.smallest,
        "built_in": type(metric.backbone) is Backbone,
        "input": "reference, distorted: RGB, float32, (N, 3, H, W), [0, 1]",
        "output": "distance: (N,), 0 for identical images, larger is worse",
        "sha256": fingerprint(metric.state_dict()),
        "calibration": metric.calibration,
        "card": dict(card),
    }


def to_bytes(metric: PerceptualMetric, description: Mapping[str, Any]) -> bytes:
    """A safetensors file of all weights and buffers, `description` in its header."""
    state = {key: value.detach().cpu().clone().contiguous() for key, value in metric.state_dict().items()}
    text = json.dumps(description)
    return safetensors.torch.save(state, metadata={"eyetune": text, "eyetune_sha256": sha256(text.encode())})


def save(metric: PerceptualMetric, path: Path, card: Mapping[str, Any]) -> None:
    """Write `metric`, its calibration and `card` (plain values: name, votes, scores, ...) to `path`."""
    write_bytes(path, to_bytes(metric, describe_metric(metric, card)))


def load(path: Path | str, backbone: Trunk | None = None) -> PerceptualMetric:
    """The metric in a file that `eyetune export` wrote: a module in evaluation mode, its weights frozen.

    It takes reference and distorted images `(N, 3, H, W)` in [0, 1] and gives distances `(N,)`. `backbone`: the trunk's
    module, where eyetune cannot build it; it gets the file's weights, and is frozen. Raises InputError for a file that
    is not one of ours, is damaged, or has been altered by accident; the hashes are no signature.
    """
    path = Path(path)
    description = describe(path)
    try:
        state = safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError) as error:
        raise InputError(f"{path}: not a readable safetensors file ({error})") from None
    if fingerprint(state) != description["sha256"]:
        raise InputError(f"{path}: damaged: its weights are not those that its description promises")
    _check_values(path, state)
    name = description["backbone"]
    if backbone is None:
        if name not in LAYOUTS | SHIFT_TOLERANT or not description["built_in"]:
            raise InputError(f"{path}: its trunk {name!r} is none of eyetune's; metric.load(path, backbone=THE_MODULE)")
        with _Unfilled():
            backbone = Backbone(name)
    try:
        metric = PerceptualMetric(backbone, heads_of(state))
        metric.load_state_dict(state)
    except (KeyError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: weights of {name!r} do not fit the trunk {backbone.name!r}: {reason}") from None
    metric.calibration = description["calibration"]
    return metric.requires_grad_(False).eval()


def describe(path: Path | str) -> dict[str, Any]:
    """What the file says of itself (see `describe_metric`); reads only its header. Raises InputError as `load` does."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: {'a folder, not a file' if path.is_dir() else 'no such file'}")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
        description = json.loads(header.get("eyetune", "null"))
    except (safetensors.SafetensorError, ValueError, OSError) as error:
        raise InputError(
            f"{path}: not a readable safetensors file ({error}); eyetune export writes NAME.safetensors"
        ) from None
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise InputError(f"{path}: not a metric that eyetune export wrote")
    version = description.get("version")
    if version != VERSION:
        way_out = "export the run again" if version in range(VERSION) else "update eyetune"
        raise InputError(f"{path}: format version {version}; this eyetune knows version {VERSION}: {way_out}")
    if header.get("eyetune_sha256") != sha256(header["eyetune"].encode()) or not REQUIRED <= set(description):
        raise InputError(f"{path}: damaged: its description is not what was written")
    return description


def name_of(path: Path) -> str:
    """The metric's name in tables: its own, and the beginning of its weights' hash."""
    description = describe(path)
    return f"{description['card'].get('name', path.stem)}:{description['sha256'][:8]}"


class _Unfilled(TorchFunctionMode):
    """Modules made within have weights of any value: drawing those of VGG takes longer than all else in `load`."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(function, "__module__", "") == "torch.nn.init":
            return kwargs["tensor"] if kwargs else args[0]
        if function in (Tensor.normal_, Tensor.uniform_):
            return args[0]
        return function(*args, **(kwargs or {}))


def _check_values(path: Path, state: Mapping[str, Tensor]) -> None:
    for key, value in state.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise InputError(f"{path}: {key} has values that are not finite numbers; train again")
        if key.startswith("heads.") and (value < 0).any():
            raise InputError(f"{path}: {key} has weights below 0, so distances could be negative; train again")
