"""Codecs from CompressAI's model zoo: bmshj2018-hyperprior, mbt2018-mean and mbt2018, as published (`.pth.tar`).

The zoo's files hold a state dict: tensors under the names of CompressAI's modules. All that trains has its place in a
codec here; the rest (tables of its entropy coder, bounds, masks) follows from it and is left out. The networks give
scales themselves, not their logarithms: `Config.scales` is "linear".

A file of such a codec is decoded with the same zoo file. The priors' tables are computed as it loads; where they must
be beyond doubt the same on two machines, keep a copy of the codec with `codec.checkpoint.save_codec`.
"""

import re
from pathlib import Path

import torch
from torch import Tensor

from codec.model import Codec
from codec.systems import Config, build
from metric.network.weights import read_state
from study.errors import InputError

SYSTEMS = "bmshj2018-hyperprior, mbt2018-mean and mbt2018"
TORCH_FILE = (b"PK\x03\x04", b"\x80\x02\x8a\x0a")
"""How files begin that torch.save has written: since 1.6, and before."""
PLACES = {
    "entropy_bottleneck.": "latent.inner.",
    "h_a.": "latent.h_a.",
    "h_s.": "latent.h_s.",
    "context_prediction.": "latent.context.context_prediction.0.",
    "entropy_parameters.": "latent.context.entropy_parameters.",
}
"""Where the parts of a codec there are in one here; g_a and g_s are called the same."""
DERIVED = re.compile(
    r"gaussian_conditional\..*|entropy_bottleneck\.(_offset|_quantized_cdf|_cdf_length|target|.*\.bound)"
    r"|.*_reparam\..*|context_prediction\.mask"
)
PRIOR = re.compile(r"entropy_bottleneck\._?(matri|bias|factor)[a-z]*\.?(\d)")
"""A layer of the factorised prior: `_matrices.0`, `_matrix0` or `matrices.0`, as CompressAI has called it in turn."""
PLURAL = {"matri": "matrices", "bias": "biases", "factor": "factors"}


def is_torch_file(path: Path) -> bool:
    """Whether `path` is a file that torch.save has written."""
    try:
        with open(path, "rb") as file:
            return file.read(4) in TORCH_FILE
    except OSError:
        return False


def load_zoo(path: Path) -> Codec:
    """The codec in `path` in eval mode, N and M as the weights have them; what it was trained for is not known there.

    Raises InputError where it is no such checkpoint.
    """
    published = {_current(name): value for name, value in read_state(path).items()}
    if any(value.untyped_storage().nbytes() < value.nbytes for value in published.values()):
        raise InputError(f"{path}: its tensors say that they are larger than what is stored of them")
    config = _config(published, path)
    try:
        codec = build(config).eval()
    except ValueError as error:
        raise InputError(f"{path}: makes no codec: {error}") from None
    state = {_place(name, config): value for name, value in published.items() if not DERIVED.fullmatch(name)}
    quantiles = state.pop("latent.inner.quantiles", torch.empty(0))
    if quantiles.shape == (config.channels[0], 1, 3):
        state["latent.inner.medians"] = quantiles[:, 0, 1]
    wanted = {name: value for name, value in codec.state_dict().items() if name != "latent.inner.table"}
    wrong = [name for name in wanted if name not in state or state[name].shape != wanted[name].shape]
    wrong += [name for name in state if name not in wanted]
    if wrong:
        raise InputError(f"{path}: not a {config.system} of CompressAI's zoo (see {wrong[0]})")
    for name, value in state.items():
        if not torch.isfinite(value).all():
            raise InputError(f"{path}: {name} holds values that are no numbers")
    codec.load_state_dict(state, strict=False)  # all but the table
    codec.tabulate()
    return codec


def _current(name: str) -> str:
    """The name that CompressAI 1.2.8 gives to the parameter `name`."""
    name = name.removeprefix("module.")  # trained with DataParallel
    layer = PRIOR.fullmatch(name)
    return f"entropy_bottleneck.{PLURAL[layer[1]]}.{layer[2]}" if layer else name


def _config(published: dict[str, Tensor], path: Path) -> Config:
    """Which system the tensors are of: mbt2018 has a context, mbt2018-mean gives a mean for each scale."""
    try:
        n, m = len(published["g_a.0.weight"]), len(published["g_a.6.weight"])
        parameters = len(published["h_s.4.weight"])
    except (KeyError, TypeError):
        raise InputError(f"{path}: not a checkpoint of CompressAI's zoo that is known here ({SYSTEMS})") from None
    if "context_prediction.weight" in published:
        system, context = "mbt2018", "masked"
    else:
        system, context = "mbt2018-mean" if parameters == 2 * m else "bmshj2018-hyperprior", "none"
    return Config(system, (n, m), context, lambdas=(), scales="linear")


def _place(name: str, config: Config) -> str:
    """What `name` is called here. Balle's h_a begins with |y|, which is a layer here and not there."""
    if config.system == "bmshj2018-hyperprior" and (layer := re.fullmatch(r"h_a\.(\d)\.(\w+)", name)):
        name = f"h_a.{int(layer[1]) + 1}.{layer[2]}"
    for theirs, ours in PLACES.items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name
