"""The processes that train together: this one alone, or those that torchrun started."""

import os
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from study.errors import UnavailableError

if TYPE_CHECKING:
    from accelerate import Accelerator


class Alone:
    """One process: what training asks of Accelerate, without the package."""

    num_processes = 1
    process_index = 0
    is_main_process = True

    def __init__(self) -> None:
        accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        self.device = accelerator or torch.device("cpu")

    def prepare_model(self, model: nn.Module) -> nn.Module:
        """`model`."""
        return model

    def reduce(self, value: Tensor) -> Tensor:
        """`value`: the sum over one process."""
        return value

    def end_training(self) -> None:
        """Nothing is left to end."""


def processes() -> "Alone | Accelerator":
    """This process alone, or with the others that torchrun started. Raises UnavailableError without Accelerate."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Alone()
    try:
        from accelerate import Accelerator
    except ImportError:
        raise UnavailableError(
            "training in several processes needs the package accelerate: pip install 'eyetune[train]'"
        ) from None
    return Accelerator(cpu=not torch.accelerator.is_available())


def same_everywhere(value: Any, together: "Alone | Accelerator") -> Any:
    """The first process's `value`, a plain value."""
    if together.num_processes == 1:
        return value
    box = [value]
    torch.distributed.broadcast_object_list(box)
    return box[0]
