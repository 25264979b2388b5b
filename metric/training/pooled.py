"""Pooled feature differences: all that training the heads of a frozen trunk needs, computed once and kept.

With a frozen trunk d = sum_k w_k . mean over positions of (f_k(reference) - f_k(distorted))^2, so the means alone, 1152
(alex), 1472 (vgg) or 2240 (squeeze) numbers a pair, stand for the images. LPIPS trains with dropout on the difference
maps before they are averaged. Dropout with probability p on a map x of P positions makes its mean a sum of independent
terms with expectation mean(x) and variance p / (1 - p) * mean(x^2) / P, so the second number that is kept,
sqrt(mean(x^2) / P), lets the trainer draw noise of the same two moments.
"""

import os
from contextlib import suppress
from functools import partial
from pathlib import Path

import pandas as pd
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from metric.data.judgments import Data
from metric.network.backbones import Trunk
from metric.network.model import unit_features
from metric.network.weights import fingerprint
from metric.pairs import over_references
from study.errors import InputError, UnavailableError
from study.files import sha256, write_bytes


def pooled_differences(data: Data, pairs: pd.DataFrame, backbone: Trunk) -> Tensor:
    """`(len(pairs), 2, C)`: the means of the squared feature differences and their dropout scale, all taps in a row.

    Kept in `runs/cache/`, keyed on the trunk's name and weights and on the images, and read from there the next time.
    Under torchrun each process computes a share, and all get all. Computed on a GPU where there is one. Raises
    InputError where the trunk gives numbers that are not finite.
    """
    images = pairs[["reference", "distorted"]].map(data.identity).to_csv(index=False)
    # The name too: of a trunk in a file it changes with the code, which weights do not tell.
    key = sha256(f"{backbone.name} {fingerprint(backbone.state_dict())} {images}".encode())[:32]
    path = data.folder / "runs" / "cache" / f"pooled-{Path(backbone.name).stem}-{key}.safetensors"
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if processes > 1:
        return _shared(data, pairs, backbone, path)
    kept = _read(path)
    if kept is not None:
        return kept
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    pooled = _computed(data, pairs, backbone, device)
    write_bytes(path, safetensors.torch.save({"pooled": pooled}))
    return pooled


def pool(reference: list[Tensor], distorted: list[Tensor]) -> Tensor:
    """`(N, 2, C)` of unit-length feature maps `(1 or N, C_k, H_k, W_k)` a tap."""
    means, scales = [], []
    for f0, f1 in zip(reference, distorted, strict=True):
        squared = (f0 - f1).square_()
        means.append(squared.mean(dim=(2, 3)))
        positions = squared.shape[2] * squared.shape[3]
        scales.append((squared.square_().mean(dim=(2, 3)) / positions).sqrt())
    return torch.stack([torch.cat(means, dim=1), torch.cat(scales, dim=1)], dim=1)


def _computed(data: Data, pairs: pd.DataFrame, backbone: Trunk, device: torch.device, quiet: bool = False) -> Tensor:
    if pairs.empty:
        return torch.zeros(0, 2, sum(backbone.channels))
    backbone.to(device)
    prepare = partial(unit_features, backbone)
    title = f"{backbone.name} features"
    pooled = over_references(
        data, pairs, prepare, lambda reference, distorted: pool(reference, prepare(distorted)), title, device, quiet
    )
    backbone.to("cpu")
    wrong = (~pooled.isfinite().flatten(1).all(dim=1)).nonzero()
    if len(wrong):
        where = data.where(str(pairs["distorted"].iloc[int(wrong[0])]))
        raise InputError(f"the trunk {backbone.name} gives numbers that are not finite for {where} or its reference")
    return pooled


def _read(path: Path) -> Tensor | None:
    """What was kept; None where nothing was, or it is damaged: then it is computed, and written again."""
    with suppress(OSError, safetensors.SafetensorError, KeyError):
        return safetensors.torch.load_file(path)["pooled"]
    return None


def _shared(data: Data, pairs: pd.DataFrame, backbone: Trunk, path: Path) -> Tensor:
    """The same from several processes, each with a block of the references; the first one reads and writes the file."""
    try:
        from accelerate import Accelerator
        from accelerate.utils import broadcast_object_list
    except ImportError:
        raise UnavailableError("torchrun needs the package accelerate: pip install 'eyetune[train]'") from None
    accelerator = Accelerator()
    first, count = accelerator.is_main_process, accelerator.num_processes
    kept = [_read(path) if first else None]
    broadcast_object_list(kept)
    if kept[0] is not None:
        return kept[0]
    number = pairs.groupby("reference", sort=False).ngroup()
    share = number * count // (int(number.max()) + 1)
    mine = _computed(data, pairs[share == accelerator.process_index], backbone, accelerator.device, quiet=not first)
    sizes = [int((share == k).sum()) for k in range(count)]
    padded = torch.zeros(max(sizes), *mine.shape[1:], device=accelerator.device)
    padded[: len(mine)] = mine
    gathered = accelerator.gather(padded).cpu().split(max(sizes))
    pooled = torch.cat([part[:size] for part, size in zip(gathered, sizes, strict=True)])
    if first:
        write_bytes(path, safetensors.torch.save({"pooled": pooled}))
    return pooled
