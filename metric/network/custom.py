"""Any network as a trunk: a function from images to a list of feature maps, in Python or named on the command line.

    from metric.network.custom import FunctionBackbone
    from metric.network.model import PerceptualMetric

    trunk = FunctionBackbone("mine", network, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    metric = PerceptualMetric(trunk, [torch.full((channels,), 0.05) for channels in trunk.channels])

`eyetune train --backbone trunk.py:make` calls `make()` in the file trunk.py, which returns such a function or module
for images in [0, 1]. docs/custom_trunk.md has a whole example, and the networks of timm and DINO.
"""

import hashlib
import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from metric.network.backbones import Trunk
from study.errors import InputError

PROBE = 224  # pixels: a size that most networks take, a multiple of 14, 16 and 32


class FunctionBackbone(Trunk):
    """A trunk made of a module or function from images `(N, 3, H, W)` to a list of maps `(N, C_k, H_k, W_k)`."""

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        name: str,
        function: Callable[[Tensor], Sequence[Tensor] | Mapping[str, Tensor]],
        mean: Sequence[float] = (0.0, 0.0, 0.0),
        std: Sequence[float] = (1.0, 1.0, 1.0),
    ) -> None:
        """`mean`, `std`: by which images in [0, 1] are normalised before `function` gets them.

        Weights that are to be moved, saved and frozen with the trunk must belong to a module: hand over the module, or
        one of its methods. `channels` and `smallest` are found by trying images of up to 224 pixels. Raises InputError
        where the function's answers are not feature maps.
        """
        super().__init__()
        self.name = name
        self.function = function
        owner = getattr(function, "__self__", None)
        if isinstance(owner, nn.Module):
            self.owner = owner
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)
        self.eval()
        self.channels = self._channels()
        self.smallest = self._smallest()

    def forward(self, images: Tensor) -> list[Tensor]:
        """Feature maps `(N, C_k, H_k, W_k)`, one a tap, of images `(N, 3, H, W)` in [0, 1].

        Raises InputError where the network does not take images of this size.
        """
        x = torch.addcmul(-self.mean / self.std, images.to(self.mean.dtype), 1 / self.std)
        if torch.compiler.is_compiling():
            return _listed(self.function(x))
        try:
            return _listed(self.function(x))
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, ValueError, AssertionError) as error:  # what networks say of a size that does not fit
            height, width = images.shape[2:]
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise InputError(f"trunk {self.name}: cannot take images of {width} x {height} pixels ({reason})") from None

    def _channels(self) -> tuple[int, ...]:
        images = torch.rand(2, 3, PROBE, PROBE, generator=torch.Generator().manual_seed(1))
        maps = self(images)
        for k, tap in enumerate(maps):
            shape = tuple(tap.shape) if isinstance(tap, Tensor) else type(tap).__name__
            if not isinstance(tap, Tensor) or tap.ndim != 4 or len(tap) != 2 or not tap.is_floating_point():
                raise InputError(
                    f"trunk {self.name}: map {k} of 2 images is {shape}; expected a float tensor (2, channels, height,"
                    " width)"
                )
            if not torch.isfinite(tap).all():
                raise InputError(f"trunk {self.name}: map {k} has values that are NaN or infinite")
            if tap.requires_grad and not any(p.requires_grad for p in self.parameters()):
                raise InputError(
                    f"trunk {self.name}: map {k} depends on weights that cannot be seen, so they would not be saved;"
                    " hand over the torch.nn.Module that holds them, or one of its methods"
                )
        return tuple(tap.shape[1] for tap in maps)

    @torch.no_grad()
    def _smallest(self) -> int:
        """By bisection: a network that takes an image takes a larger one."""
        too_small, fits = 0, PROBE
        while fits - too_small > 1:
            side = (too_small + fits) // 2
            try:
                taken = all(tap.numel() and torch.isfinite(tap).all() for tap in self(torch.rand(1, 3, side, side)))
            except InputError:
                taken = False
            too_small, fits = (too_small, side) if taken else (side, fits)
        return fits


def from_file(name: str) -> FunctionBackbone:
    """The trunk that `path/to/file.py:function` names. Raises InputError where it cannot be made.

    Its name is `file.function-` and the beginning of the file's SHA-256: another file is another trunk.
    """
    file, _, function = name.rpartition(":")
    path = Path(file)
    if not path.is_file():
        raise InputError(f"{path}: no such file; a trunk of your own is named path/to/file.py:function")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    module = _imported(path, f"eyetune_trunk_{digest}")
    make = getattr(module, function, None)
    if not callable(make):
        raise InputError(f"{path}: has no function {function!r}")
    made = _outside(path, make)
    if not callable(made):
        raise InputError(f"{path}: {function}() gives {type(made).__name__}; expected a module or function of images")
    return FunctionBackbone(f"{path.stem}.{function}-{digest}", made)


def _imported(path: Path, name: str) -> ModuleType:
    if name in sys.modules:
        return sys.modules[name]
    specification = importlib.util.spec_from_file_location(name, path)
    if specification is None or specification.loader is None:
        raise InputError(f"{path}: not a Python file")
    module = importlib.util.module_from_spec(specification)
    _outside(path, lambda: specification.loader.exec_module(module))  # type: ignore[union-attr]
    sys.modules[name] = module
    return module


def _outside(path: Path, call: Callable[[], Any]) -> Any:
    """What somebody else's code gives; whatever it raises, in one line."""
    try:
        return call()
    except Exception as error:
        raise InputError(f"{path}: {type(error).__name__}: {error}") from error


def _listed(maps: Any) -> list[Tensor]:
    if isinstance(maps, Mapping):  # as torchvision's create_feature_extractor gives them
        maps = list(maps.values())
    if not isinstance(maps, (list, tuple)) or not maps:
        raise ValueError(f"it gives {type(maps).__name__}; expected a list of feature maps")
    return list(maps)
