"""Images that a metric is asked about: InputError in one line where they cannot be meant."""

import torch
from torch import Tensor

from metric.network.features import Features
from study.errors import InputError, UnavailableError

MARGIN = {"reference": 1e-3, "distorted": 0.5}
"""How far values may leave [0, 1]: a photograph by rounding, a decoder's output in the middle of its training more."""


def check_size(images: Tensor, smallest: int) -> None:
    """Raise UnavailableError where images `(N, 3, H, W)` are smaller than `smallest` pixels."""
    height, width = images.shape[2:]
    if min(height, width) < smallest:
        raise UnavailableError(f"images of {width} x {height} pixels are too small: at least {smallest} a side")


def check_images(reference: Tensor | Features, distorted: Tensor, smallest: int, with_range: bool = True) -> None:
    """Raise InputError unless both are float `(N, 3, H, W)` of one shape, on one device and in range.

    `reference` may be features of images of that shape. The range is not read while a compiler traces.
    """
    given = {"distorted": distorted}
    if not isinstance(reference, Features):
        given = {"reference": reference} | given
    for name, images in given.items():
        if not isinstance(images, Tensor):
            raise InputError(f"{name}: expected a torch tensor (N, 3, H, W), got {type(images).__name__}")
        if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
            raise InputError(f"{name}: expected a float tensor (N, 3, H, W), got {tuple(images.shape)} {images.dtype}")
    if isinstance(reference, Features):
        height, width = reference.size
        shape, device = torch.Size((len(reference), 3, height, width)), reference.maps[0].device
    else:
        shape, device = reference.shape, reference.device
    if shape != distorted.shape:
        raise InputError(f"the images differ in shape: {tuple(shape)} and {tuple(distorted.shape)}")
    if device != distorted.device:
        raise InputError(f"the images are on two devices, {device} and {distorted.device}; move one with .to(...)")
    check_size(distorted, smallest)
    if with_range and not torch.compiler.is_compiling() and not torch.jit.is_tracing() and distorted.numel():
        for name, images in given.items():
            check_range(images, name)


def check_range(images: Tensor, name: str) -> None:
    """Raise InputError where images leave [0, 1] by more than MARGIN, or hold NaN."""
    if images.device.type == "meta" or torch._C._are_functorch_transforms_active():
        return  # there are no values to read
    low, high = torch.stack(images.detach().aminmax()).tolist()
    if not (low >= -MARGIN[name] and high <= 1 + MARGIN[name]):  # written so that NaN fails too
        raise InputError(f"{name}: values from {low:.4g} to {high:.4g}; expected [0, 1]")
