"""Networks that compute the same numbers on every machine and at any number of threads.

A decoder must find the very scales and means that the encoder used: one that differs in its last bit derails the range
decoder, and floating-point convolutions do differ between machines, libraries and thread counts. So whatever both
sides compute is computed in integers, held in float64, where sums below 2^53 are exact in any order:

    activations   integers, in units of 2^-10, clamped to +-2^22   (+-4096)
    weights       integers up to 2^15, times a power of two for each output channel
    a layer       floor(2^-shift (W x + b) + 1/2)

The same idea in fewer bits: Balle, Johnston, Minnen, "Integer networks for data compression with latent-variable
models", ICLR 2019. Networks are trained in float32 and converted when they code.
"""

from collections.abc import Callable
from typing import Any

import constriction
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

FRACTION_BITS = 10
ONE = 2.0**FRACTION_BITS
LIMIT = 2.0**22
WEIGHT_BITS = 15
_SLOPE = 2.0**16
_MOST_SHIFT = 30  # of minute weights, so that a bias of 4096 still fits
_MOST_INPUTS = 2**15  # 2^15 inputs of 2^22 times weights of 2^15, and a bias of 2^52: below 2^53

Network = Callable[[Tensor], Tensor]


def to_integers(x: Tensor) -> Tensor:
    """`x` in units of 2^-10, rounded, as float64; a NaN stays one."""
    return (x.double() * ONE + 0.5).floor().clamp(-LIMIT, LIMIT)


def to_float(integers: Tensor) -> Tensor:
    """What the integers stand for, as float32."""
    return (integers / ONE).float()


class Networks:
    """The integer forms of a codec's networks, and its priors' tables, each made when it is first used."""

    def __init__(self) -> None:
        self.fingerprint = ""
        """Of the weights that these are made of, once `codec.checkpoint.fingerprint` was asked."""
        self._made: dict[nn.Module, Network] = {}
        self._tables: dict[nn.Module, list[Any]] = {}

    def images(self, network: nn.Module) -> Network:
        """`network` on integers `(N, C, H, W)`."""
        return self.once(network, lambda: exact(network))

    def rows(self, network: nn.Module) -> Network:
        """`network`, of 1 x 1 convolutions and activations, on integers `(P, C)`: P positions."""
        return self.once(network, lambda: exact(network, rows=True))

    def tables(self, prior: Any) -> list[Any]:
        """The range coder's model of each channel of a factorised `prior`: symbols 0 to 2 * prior.largest."""
        if prior not in self._tables:
            categorical = constriction.stream.model.Categorical
            self._tables[prior] = [categorical(row, lazy=True, perfect=False) for row in prior.table.double().numpy()]
        return self._tables[prior]

    def once(self, network: nn.Module, make: Callable[[], Network]) -> Network:
        """The integer form of `network`, which `make` gives the first time. A network has one form."""
        if network not in self._made:
            self._made[network] = make()
        return self._made[network]


def exact(module: nn.Module, rows: bool = False) -> Network:
    """The integer form of `module`; on `(P, C)` where `rows`, else on `(N, C, H, W)`."""
    if isinstance(module, nn.Sequential):
        return _chain([exact(part, rows) for part in module])
    if isinstance(module, nn.Conv2d) and rows:
        assert module.kernel_size == (1, 1) and module.stride == (1, 1)
        return linear(module.weight[:, :, 0, 0], module.bias)
    if isinstance(module, nn.Conv2d):
        return _convolution(module)
    if isinstance(module, nn.ConvTranspose2d):
        return _transposed(module)
    if isinstance(module, nn.ReLU):
        return lambda x: x.clamp(min=0)
    if isinstance(module, nn.LeakyReLU):
        slope = float(round(module.negative_slope * _SLOPE))
        return lambda x: torch.where(x >= 0, x, (x * slope / _SLOPE + 0.5).floor())
    raise TypeError(f"{type(module).__name__} has no integer form yet; add it to codec/entropy/integers.py")


def linear(weight: Tensor, bias: Tensor | None) -> Network:
    """`x W^T + b` on integers `(P, inputs)`, of float `weight` `(outputs, inputs)`."""
    whole, offset, scale = _integers(weight, bias)
    whole = whole.T.contiguous()  # inputs, outputs
    return lambda x: _rounded(torch.addmm(offset, x, whole), scale)


def _chain(parts: list[Network]) -> Network:
    def run(x: Tensor) -> Tensor:
        for part in parts:
            x = part(x)
        return x

    return run


def _convolution(module: nn.Conv2d) -> Network:
    weight, bias, scale = _integers(module.weight, module.bias)
    scale = scale[:, None, None]
    stride, padding = module.stride, module.padding
    assert module.groups == 1 and module.dilation == (1, 1) and module.padding_mode == "zeros"
    return lambda x: _rounded(functional.conv2d(x, weight, bias, stride, padding), scale)


def _transposed(module: nn.ConvTranspose2d) -> Network:
    weight, bias, scale = _integers(module.weight.transpose(0, 1), module.bias)
    weight, scale = weight.transpose(0, 1).contiguous(), scale[:, None, None]
    stride, padding, more = module.stride, module.padding, module.output_padding
    assert module.groups == 1 and module.dilation == (1, 1) and not isinstance(padding, str)
    return lambda x: _rounded(functional.conv_transpose2d(x, weight, bias, stride, padding, more), scale)


def _integers(weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Integer weights, biases in units of 2^-(10 + shift), and 2^-shift for each output channel (dimension 0)."""
    weight = weight.detach().cpu().double()
    if weight[0].numel() > _MOST_INPUTS:
        raise ValueError(f"a layer of {weight[0].numel()} inputs has sums beyond 2^53; the most is {_MOST_INPUTS}")
    if not torch.isfinite(weight).all() or not (bias is None or torch.isfinite(bias).all()):
        raise ValueError("the network's weights are not finite")
    largest = weight.abs().flatten(1).amax(1)
    shift = (WEIGHT_BITS - torch.frexp(largest).exponent).clamp(max=_MOST_SHIFT)
    scale = torch.from_numpy(np.ldexp(1.0, shift.numpy()))  # exact, as exp2 need not be
    whole = (weight * scale.reshape(-1, *[1] * (weight.dim() - 1)) + 0.5).floor()
    offset = torch.zeros(len(weight), dtype=torch.float64) if bias is None else bias.detach().cpu().double()
    offset = (offset * scale * ONE + 0.5).floor().clamp(-(2.0**52), 2.0**52)
    return whole, offset, 1 / scale


def _rounded(sums: Tensor, scale: Tensor) -> Tensor:
    return sums.mul_(scale).add_(0.5).floor_().clamp_(-LIMIT, LIMIT)
