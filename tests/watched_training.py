"""`codec/train.py` as it is; each process also leaves its batches, its first and its last weights in FOLDER.

`python tests/watched_training.py FOLDER PHOTOS ...`, or with torchrun.
"""

import os
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import torch

from codec.train import main
from codec.training.fit import Fit

folder, *arguments = sys.argv[1:]
seen: dict[str, Any] = {"batches": []}
next_batch, take_step = Fit._next_batch, Fit.take_step


def weights(fit: Fit) -> dict[str, dict[str, torch.Tensor]]:
    """A copy of the weights of the codec and of its discriminator."""
    assert fit.discriminator is not None
    return deepcopy({"codec": fit.codec.state_dict(), "discriminator": fit.discriminator.state_dict()})


def watched_batch(fit: Fit) -> tuple[torch.Tensor, torch.Tensor]:
    """The batch of this process, kept."""
    seen.setdefault("start", weights(fit))
    batch = next_batch(fit)
    seen["batches"].append(batch)
    return batch


def watched_step(fit: Fit) -> dict[str, torch.Tensor]:
    """One step; the weights after it are kept."""
    measured = take_step(fit)
    seen["end"] = weights(fit)
    return measured


Fit._next_batch, Fit.take_step = watched_batch, watched_step  # type: ignore[method-assign]
main(arguments)
torch.save(seen, Path(folder) / f"process-{os.environ.get('RANK', '0')}.pt")
