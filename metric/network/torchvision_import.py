"""`import torchvision` where its compiled operators do not fit the installed torch.

torchvision's wheel on package indexes is built for one CUDA version. Beside a CPU build of torch its import raises
"operator torchvision::nms does not exist", and lpips and piq fail with it. Declaring the two operators first cures
it: models, transforms, compile and export then work; only the compiled operators themselves do not.
"""

import importlib
import sys
from typing import Any

import torch

_declared: list[Any] = []  # torch.library.Library takes its operators back when it is collected


def import_torchvision() -> Any:
    """The torchvision module; call it before importing a package that imports torchvision."""
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "operator torchvision::nms does not exist" not in str(error):
            raise
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "DEF")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _declared.append(library)
    return importlib.import_module("torchvision")
