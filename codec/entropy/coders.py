"""What walks a stack of latents: training with noise, counting bits, a range encoder, and a range decoder.

Every latent is coded by one function (its `walk`), which asks the coder for all that differs between training, encoding
and decoding. So the encoder and the decoder cannot drift apart: they are the same code.
"""

import zlib
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import constriction
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from codec.entropy.distributions import LARGEST, PRECISION, Distribution
from codec.entropy.integers import LIMIT, ONE, Networks, to_integers

Symbols = NDArray[np.int32]
T = TypeVar("T")


class CodingError(Exception):
    """These bytes are no code of these symbols, or these numbers cannot be coded; the message says why."""


class Coder(Protocol):
    """What a walk asks for. Numbers are floats in training, integers in units of 2^-10 (float64) in coding."""

    exact: bool
    """Whether it codes: batches of one, in integers, and in an order that a decoder can follow."""
    networks: Networks

    def run(self, network: nn.Module, x: Tensor) -> Tensor:
        """`network(x)` in the coder's numbers."""

    def known(self, y: Tensor) -> Tensor:
        """What a context sees of `y` in training, where all its positions are computed at once."""

    def conditional(
        self, name: str, distribution: Distribution, y: Tensor | None, mean: Tensor | None, scale: Tensor
    ) -> Tensor:
        """y_hat: `y` coded around `mean` (0 where None) with the scales that the network's `scale` means."""

    def factorised(self, name: str, prior: Any, z: Tensor | None, size: tuple[int, int]) -> Tensor:
        """z_hat `(N, C, *size)`: `z` coded with a prior of its own for each channel (`codec.entropy.priors`)."""


class Training:
    """Counts bits in floats, differentiably: of `y` with uniform noise, or of rounded symbols where not `noisy`.

    What comes back is rounded, its gradient passed straight through (Balle et al. 2018; Minnen and Singh 2020).
    """

    exact = False

    def __init__(self, noisy: bool) -> None:
        self.networks = Networks()
        self.noisy = noisy
        self.bits: dict[str, Tensor] = {}
        self.rounded_bits: dict[str, Tensor] = {}

    def run(self, network: nn.Module, x: Tensor) -> Tensor:
        """`network(x)`."""
        return network(x)

    def known(self, y: Tensor) -> Tensor:
        """`y` with noise, or rounded."""
        return y + (torch.rand_like(y) - 0.5) if self.noisy else straight_through(y)

    def conditional(
        self, name: str, distribution: Distribution, y: Tensor | None, mean: Tensor | None, scale: Tensor
    ) -> Tensor:
        """`y` rounded around its mean."""
        assert y is not None
        scale = distribution.scale(scale)
        residual = y if mean is None else y - mean
        rounded = straight_through(residual)
        self._count(name, residual, rounded, lambda value: distribution.bits(value, scale))
        return rounded if mean is None else rounded + mean

    def factorised(self, name: str, prior: Any, z: Tensor | None, size: tuple[int, int]) -> Tensor:
        """`z` rounded around its medians."""
        assert z is not None
        medians = prior.medians[:, None, None]
        rounded = straight_through(z - medians)
        self._count(name, z - medians, rounded, lambda value: prior.bits(value + medians))
        return rounded + medians

    def _count(self, name: str, value: Tensor, rounded: Tensor, bits: Callable[[Tensor], Tensor]) -> None:
        with torch.no_grad():
            whole = bits(rounded).flatten(1).sum(1)
        noisy = bits(value + (torch.rand_like(value) - 0.5)).flatten(1).sum(1) if self.noisy else whole
        self.bits[name] = self.bits[name] + noisy if name in self.bits else noisy
        self.rounded_bits[name] = self.rounded_bits[name] + whole if name in self.rounded_bits else whole


class _Exact:
    """A walk in integers; what happens to the symbols is the subclass's."""

    exact = True

    def __init__(self, networks: Networks) -> None:
        self.networks = networks
        self.symbols_crc = 0

    def run(self, network: nn.Module, x: Tensor) -> Tensor:
        """`network(x)` in integers."""
        return self.networks.images(network)(x)

    def known(self, y: Tensor) -> Tensor:
        """Never: a context knows what was coded, and no more."""
        raise AssertionError("a coded context is walked in steps")

    def conditional(
        self, name: str, distribution: Distribution, y: Tensor | None, mean: Tensor | None, scale: Tensor
    ) -> Tensor:
        """y_hat in integers."""
        residual = None
        if y is not None:
            y = to_integers(y)
            residual = _symbols(y if mean is None else y - mean, LARGEST)
        scales = distribution.table[distribution.level(scale).numpy().ravel()]
        symbols = self._checked(self._conditional(residual, distribution, scales))
        y_hat = torch.from_numpy(symbols.astype(np.float64)).reshape(scale.shape) * ONE
        return y_hat if mean is None else (y_hat + mean).clamp(-LIMIT, LIMIT)

    def factorised(self, name: str, prior: Any, z: Tensor | None, size: tuple[int, int]) -> Tensor:
        """z_hat in integers."""
        medians = to_integers(prior.medians)[:, None, None]
        largest = prior.largest
        residual = None if z is None else _symbols(to_integers(z) - medians, largest).reshape(len(medians), -1)
        found = np.empty((len(medians), size[0] * size[1]), np.int32)
        for channel, model in enumerate(self.networks.tables(prior)):
            shifted = None if residual is None else residual[channel] + np.int32(largest)
            found[channel] = self._table(shifted, model, found.shape[1], prior, channel)
        symbols = self._checked((found - np.int32(largest)).ravel())
        return torch.from_numpy(symbols.astype(np.float64)).reshape(1, -1, *size) * ONE + medians

    def _checked(self, symbols: Symbols) -> Symbols:
        self.symbols_crc = zlib.crc32(symbols.astype("<i2").tobytes(), self.symbols_crc)
        return symbols

    def _conditional(self, symbols: Symbols | None, distribution: Distribution, scales: NDArray[np.float64]) -> Symbols:
        raise NotImplementedError

    def _table(self, symbols: Symbols | None, model: Any, count: int, prior: Any, channel: int) -> Symbols:
        raise NotImplementedError


class Counter(_Exact):
    """Codes nothing, but adds up what the symbols cost: `bits`."""

    def __init__(self, networks: Networks) -> None:
        super().__init__(networks)
        self.bits = 0.0

    def _conditional(self, symbols: Symbols | None, distribution: Distribution, scales: NDArray[np.float64]) -> Symbols:
        assert symbols is not None
        value, scale = torch.from_numpy(symbols.astype(np.float64)), torch.from_numpy(scales)
        # The coder's own floor: a symbol far out in the tail costs no more than PRECISION bits.
        self.bits += float(distribution.bits(value, scale).clamp(max=PRECISION).sum())
        return symbols

    def _table(self, symbols: Symbols | None, model: Any, count: int, prior: Any, channel: int) -> Symbols:
        assert symbols is not None
        self.bits += float((PRECISION - np.log2(prior.table[channel].numpy()[symbols])).sum())
        return symbols


class Encoder(_Exact):
    """Writes the symbols into a range coder's words."""

    def __init__(self, networks: Networks) -> None:
        super().__init__(networks)
        self._coder = constriction.stream.queue.RangeEncoder()

    def finish(self) -> bytes:
        """The code: little-endian words of 32 bits."""
        return self._coder.get_compressed().astype("<u4").tobytes()

    def _conditional(self, symbols: Symbols | None, distribution: Distribution, scales: NDArray[np.float64]) -> Symbols:
        _guarded(lambda: self._coder.encode(symbols, distribution.model, np.zeros_like(scales), scales))
        return symbols  # type: ignore[return-value]  # an encoder's are given

    def _table(self, symbols: Symbols | None, model: Any, count: int, prior: Any, channel: int) -> Symbols:
        _guarded(lambda: self._coder.encode(symbols, model))
        return symbols  # type: ignore[return-value]


class Decoder(_Exact):
    """Reads the symbols from what an Encoder wrote; `data` may be anything."""

    def __init__(self, networks: Networks, data: bytes) -> None:
        super().__init__(networks)
        if len(data) % 4:
            raise CodingError("the code is no whole number of words")
        self._coder = constriction.stream.queue.RangeDecoder(np.frombuffer(data, "<u4").astype(np.uint32))

    def finish(self) -> None:
        """Raises CodingError where symbols are left."""
        if not self._coder.maybe_exhausted():
            raise CodingError("the code goes on after its last symbol")

    def _conditional(self, symbols: Symbols | None, distribution: Distribution, scales: NDArray[np.float64]) -> Symbols:
        return _guarded(lambda: self._coder.decode(distribution.model, np.zeros_like(scales), scales))

    def _table(self, symbols: Symbols | None, model: Any, count: int, prior: Any, channel: int) -> Symbols:
        return _guarded(lambda: self._coder.decode(model, count))


def straight_through(x: Tensor) -> Tensor:
    """`x` rounded, with the gradient of `x`."""
    return x + (x.detach().round() - x.detach())


def _symbols(integers: Tensor, largest: int) -> Symbols:
    """The nearest whole numbers within +-largest of what `integers` stand for, flat."""
    if not torch.isfinite(integers).all():
        raise CodingError("the encoder's network gave values that are no numbers")
    return (integers / ONE + 0.5).floor().clamp(-largest, largest).numpy().astype(np.int32).ravel()


def _guarded(call: Callable[[], T]) -> T:
    """`call()`; what the range coder raises, of whatever kind, is a CodingError."""
    try:
        return call()
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:  # a panic of the Rust code is no Exception
        raise CodingError(f"the range coder stopped ({error})") from None
