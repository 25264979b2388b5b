"""Networks of the package timm as trunks: `timm:resnet18`, `timm:vit_small_patch14_dinov2.lvd142m`, ...

timm is an extra (`pip install 'eyetune[timm]'`). Transformers give one map a block of the last few, CNNs one a stage.
"""

import importlib.util
from pathlib import Path
from typing import Any

from torch import nn

from metric.network.custom import FunctionBackbone
from metric.network.torchvision_import import import_torchvision
from metric.network.weights import read_state
from study.errors import InputError, UnavailableError

RANDOM = "?random"
LEAST_LOADED = 0.9
"""Share of a trunk's numbers that a file must hold: position embeddings may be resampled, all else must be there."""


def load(name: str, path: Path | None = None) -> FunctionBackbone:
    """The trunk that `timm:MODEL` names, with timm's normalisation for it.

    Weights come from `path` (a state dict of that model), else from timm's download; `timm:MODEL?random` has random
    ones, to be trained from scratch. Raises InputError, UnavailableError where timm or the weights cannot be had.
    """
    timm = _timm()
    model_name = name.removeprefix("timm:").removesuffix(RANDOM)
    options: dict[str, Any] = {"pretrained": False}
    if path is not None:
        numbers = {tensor.detach().float().numpy().tobytes() for tensor in read_state(path).values()}
        options = {"pretrained": True, "pretrained_cfg_overlay": {"file": str(path), "custom_load": False}}
    elif not name.endswith(RANDOM):
        options = {"pretrained": True}
    network = _create(timm, name, model_name, path, options)
    if path is not None:
        found = sum(p.numel() for p in network.parameters() if p.detach().float().numpy().tobytes() in numbers)
        if found < LEAST_LOADED * sum(p.numel() for p in network.parameters()):
            raise InputError(f"{path}: not weights of timm's {model_name}")
    configuration = timm.data.resolve_model_data_config(network)
    label = "timm-" + model_name.replace("/", "-").replace(":", "-")
    return FunctionBackbone(label, network, configuration["mean"], configuration["std"])


def _create(timm: Any, name: str, model_name: str, path: Path | None, options: dict[str, Any]) -> nn.Module:
    if not timm.is_model(model_name.split(":")[-1].split("/")[-1]):
        raise InputError(f"{name}: timm {timm.__version__} has no such model; see timm.list_models()")
    any_size = {"dynamic_img_size": True, "dynamic_img_pad": True}  # transformers; CNNs take any size and not this
    try:
        try:
            return timm.create_model(model_name, features_only=True, **options, **any_size)
        except TypeError:
            return timm.create_model(model_name, features_only=True, **options)
    except (AttributeError, NotImplementedError, AssertionError) as error:
        raise InputError(f"{name}: timm gives no feature maps of it ({error})") from None
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        if path is not None:
            raise InputError(f"{path}: not weights of timm's {model_name} ({reason})") from None
        raise UnavailableError(
            f"the weights of {name} are not on this machine and could not be downloaded ({reason}); give a file of"
            f" them: --backbone-weights FILE, or train from scratch: {name}{RANDOM}"
        ) from None


def _timm() -> Any:
    if importlib.util.find_spec("timm") is None:
        raise UnavailableError("trunks named timm:MODEL need the package timm; pip install 'eyetune[timm]'")
    import_torchvision()
    import timm

    return timm
