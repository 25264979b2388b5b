"""A trained codec as one file: its weights and tables as tensors, all else as plain values beside them."""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from codec.model import Codec
from codec.systems import Config, build
from codec.zoo import is_torch_file, load_zoo
from study.errors import InputError
from study.files import write_bytes

FORMAT = "eyetune codec 1"


def save_codec(codec: Codec, path: Path, training: dict[str, Any] | None = None, half: bool = False) -> None:
    """Write `codec` in eval mode to `path`, aside and renamed; `training` says in plain values how it was made.

    `half` stores all floats in float16. They are rounded in `codec` too, so that both are the same codec. Raises
    InputError, before anything is written, where float16 does not reach that far.
    """
    codec.eval()
    if half:
        round_to_half(codec)
    state = {name: _stored(value, half) for name, value in codec.state_dict().items()}
    metadata = {
        "format": FORMAT,
        "config": json.dumps(_plain(codec.config)),
        "training": json.dumps(training or {}),
    }
    write_bytes(path, save(state, metadata))


@torch.no_grad()
def round_to_half(codec: Codec) -> None:
    """Round all floats of `codec` to values that float16 has. Raises InputError where one is beyond all of them."""
    floats = {name: value for name, value in codec.state_dict().items() if value.is_floating_point()}
    for name, value in floats.items():
        if value.half().isinf().any():
            largest = f"{float(value.abs().max()):,.0f}"
            raise InputError(f"{name} has a value of {largest}; float16 ends at 65,504: leave --half out")
    for value in floats.values():
        value.copy_(value.half())
    codec.tabulate()


def load_codec(path: Path | str) -> Codec:
    """The codec in `path` in eval mode, on the CPU: of `save_codec`, or of CompressAI's zoo. Raises InputError."""
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder; name the codec's file in it, codec.safetensors")
    if is_torch_file(path):
        return load_zoo(path)
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping
    except FileNotFoundError:
        raise InputError(f"{path} is missing") from None
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: not a codec that eyetune wrote ({error})") from None
    config = _config(path, metadata)
    n_and_m = state.get("g_a.6.weight", torch.empty(0)).shape[1::-1]
    if n_and_m != config.channels:  # before a lie in the settings takes memory
        raise InputError(f"{path}: damaged: its settings say channels {config.channels}, its weights {tuple(n_and_m)}")
    try:
        codec = build(config).eval()
    except ValueError as error:
        raise InputError(f"{path}: its settings make no codec: {error}") from None
    _check(state, codec.state_dict(), path)
    codec.load_state_dict(state)
    return codec


def training_record(path: Path | str) -> dict[str, Any]:
    """What `path` says about how its codec was made: nothing where it is of CompressAI's zoo. Raises InputError."""
    if is_torch_file(Path(path)):
        return {}
    try:
        with safe_open(Path(path), "pt") as file:
            record = json.loads((file.metadata() or {}).get("training", "{}"))
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a codec that eyetune wrote ({error})") from None
    if not isinstance(record, dict):
        raise InputError(f"{path}: damaged: what it says of its training is {type(record).__name__}, not a table")
    return record


def fingerprint(codec: Codec) -> str:
    """SHA-256 over the settings that shape the codec and all weights and tables: what a file must be decoded with.

    The same for a codec and for its copy in float16, once rounded. Computed once for a codec in eval mode.
    """
    if codec.training:
        return _digest(codec)
    networks = codec.networks()
    networks.fingerprint = networks.fingerprint or _digest(codec)
    return networks.fingerprint


def _digest(codec: Codec) -> str:
    digest = hashlib.sha256()
    shape = {key: value for key, value in _plain(codec.config).items() if key != "lambdas"}
    digest.update(json.dumps(shape, sort_keys=True).encode())
    for name, value in sorted(codec.state_dict().items()):
        plain = value.detach().cpu().contiguous()
        plain = plain.float() if plain.is_floating_point() else plain.to(torch.int32)
        digest.update(f"{name}{tuple(plain.shape)}".encode())
        digest.update(plain.numpy().astype(plain.numpy().dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()


def _stored(value: Tensor, half: bool) -> Tensor:
    value = value.detach().cpu().contiguous()
    return value.half() if half and value.is_floating_point() else value


def _plain(config: object) -> dict[str, Any]:
    assert dataclasses.is_dataclass(config) and not isinstance(config, type)
    return dataclasses.asdict(config)


def _config(path: Path, metadata: dict[str, str]) -> Config:
    if metadata.get("format") != FORMAT:
        if str(metadata.get("format", "")).startswith("eyetune codec"):
            raise InputError(
                f"{path}: written by another version of eyetune ({metadata['format']}); this reads {FORMAT}"
            )
        raise InputError(f"{path}: holds no codec that eyetune wrote (eyetune codec train makes one)")
    try:
        values = json.loads(metadata["config"])
        return Config(
            **values
            | {
                "system": str(values["system"]),
                "channels": tuple(map(int, values["channels"])),
                "lambdas": tuple(map(float, values["lambdas"])),
            }
        )
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InputError(f"{path}: its settings cannot be read ({error})") from None


def _check(state: dict[str, Tensor], wanted: dict[str, Tensor], path: Path) -> None:
    """Raises InputError unless `state` is what a codec has whose state is like `wanted`."""
    for name, value in wanted.items():
        if name not in state:
            raise InputError(f"{path}: damaged or of another codec: {name} is missing")
        if state[name].shape != value.shape:
            raise InputError(
                f"{path}: damaged or of another codec: {name} is {tuple(state[name].shape)}, not {tuple(value.shape)}"
            )
        if state[name].dtype not in ((torch.float32, torch.float16) if value.is_floating_point() else (torch.int32,)):
            raise InputError(f"{path}: damaged or of another codec: {name} is {state[name].dtype}, not {value.dtype}")
        if not torch.isfinite(state[name]).all():
            raise InputError(f"{path}: {name} holds values that are no numbers; its training went wrong")
        if not value.is_floating_point() and not (state[name] >= 1).all():  # a prior's table
            raise InputError(f"{path}: damaged: {name} holds a symbol of no probability")
    for name in state:
        if name not in wanted:
            raise InputError(f"{path}: damaged or of another codec: nothing is called {name}")
