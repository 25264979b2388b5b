"""A trained codec as a distortion: `[[codecs]]` of study.toml names its checkpoint.

    [[codecs]]
    name = "learned"
    label = "mine"
    settings = { checkpoint = "codec.safetensors" }   # or checkpoints = ["low.safetensors", "high.safetensors"]

A codec with gain units or bin widths is steered by its rate position. One with a single rate has that rate alone;
several such checkpoints, those with the fewest bits first, are one codec of so many rates.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

import codec
from codec import coding, container
from codec.checkpoint import fingerprint
from codec.model import Codec as Network
from distortions.protocol import CodecError, RateSetting, Setting
from metric.torch_threads import one_thread
from study.errors import InputError
from study.images import Pixels
from study.versions import version

FINEST = 32
"""Steps between two rate positions that a search may take: some 2 % of the bits each."""
KEPT = 16
"""Networks that a process holds at once: all checkpoints of a codec, which a search goes back and forth among."""


@dataclass(frozen=True)
class Learned:
    """One or more checkpoints at one rate, behind `distortions.protocol.Codec`. Built by `learned`.

    It holds paths and hashes; each process reads the weights itself when it first needs them. The networks run on the
    CPU in one thread, whatever the process has, so an image gives the same bytes at any number of workers. (The
    transforms are floats: a processor of another make may round a symbol the other way, and give another valid file.)
    """

    files: tuple[str, ...]
    """Absolute paths."""
    named: tuple[str, ...]
    """The paths as they were given."""
    weights: tuple[str, ...]
    """The fingerprint of each file's codec."""
    system: str
    positions: float
    """The highest rate position; 0 where each checkpoint has one rate."""
    value: float
    """The rate position; of several checkpoints, which one."""
    name: str = "learned"

    @property
    def library(self) -> str:
        """What encodes and decodes: eyetune, torch, and which weights."""
        weights = ", ".join(digest[:16] for digest in self.weights)
        return f"{self.system} with weights {weights} through eyetune {version('eyetune')}, torch {torch.__version__}"

    @property
    def rate(self) -> RateSetting:
        """The rate position in steps of 1/32; of several checkpoints, their numbers."""
        if len(self.files) > 1:
            return RateSetting("checkpoint", tuple(range(len(self.files))))
        return RateSetting("position", tuple(k / FINEST for k in range(int(self.positions * FINEST) + 1)))

    @property
    def settings(self) -> dict[str, Setting]:
        """The files as they were given, their weights' fingerprints, and the rate."""
        weights = [digest[:16] for digest in self.weights]
        if len(self.files) > 1:
            return {"checkpoints": list(self.named), "weights": weights, "checkpoint": self.value}
        return {"checkpoint": self.named[0], "weights": weights[0], "position": self.value}

    def at(self, value: float) -> "Learned":
        """The same codec at rate `value`."""
        return replace(self, value=value)

    def encode(self, image: Pixels) -> bytes:
        """The whole file, header included. Raises CodecError for an image that the format cannot hold."""
        index = int(self.value) if len(self.files) > 1 else 0
        network = self._network(index)
        with one_thread():
            try:
                return coding.compress(network, image, self.value if self.positions else None)
            except InputError as error:
                size = f"{image.shape[1]} x {image.shape[0]} pixels"
                raise CodecError(f"{self.system} cannot encode {size}: {error}") from None

    def decode(self, data: bytes) -> Pixels:
        """The image in `data`, by the checkpoint that encoded it."""
        index = 0
        if len(self.files) > 1:
            written = container.unpack(data).header.fingerprint.hex()
            index = next((k for k, digest in enumerate(self.weights) if digest.startswith(written)), 0)
        with one_thread():
            return coding.decompress(self._network(index), data)

    def _network(self, index: int) -> Network:
        return _loaded(self.files[index], self.weights[index])


def learned(paths: list[Path], named: list[str]) -> Learned:
    """The codec in the checkpoints `paths`, at its lowest rate; `named` is how tables name them. Raises InputError."""
    networks = [codec.load(path) for path in paths]
    positions = [network.positions for network in networks]
    if len(paths) > 1 and any(positions):
        path = paths[positions.index(max(positions))]
        raise InputError(f"{path}: reaches many rates by itself; it stands alone, with a label of its own")
    systems = sorted({str(getattr(network.config, "system", "codec")) for network in networks})
    return Learned(
        tuple(str(path.resolve()) for path in paths),
        tuple(named),
        tuple(fingerprint(network) for network in networks),
        " and ".join(systems),
        positions[0],
        0.0,
    )


def configured(settings: dict[str, Any], folder: Path, where: str) -> Learned:
    """The codec that `settings` of `[[codecs]]` asks for, its paths relative to `folder`.

    Raises InputError, beginning with `where`, that names key and value and says what is allowed.
    """
    allowed = 'checkpoint = "codec.safetensors", or checkpoints = [...] of one rate each, fewest bits first'
    for key, value in settings.items():
        if key == "position":
            raise InputError(f"{where}.{key} = {value!r}: eyetune searches this one for each rate; leave it out")
        if key not in ("checkpoint", "checkpoints"):
            raise InputError(f"{where}.{key} = {value!r}: learned has no such setting; allowed: {allowed}")
    if len(settings) != 1:
        raise InputError(f"{where}: learned needs one of these: {allowed}")
    ((key, value),) = settings.items()
    named = [value] if key == "checkpoint" else value
    if not (isinstance(named, list) and named and all(isinstance(name, str) for name in named)):
        raise InputError(f"{where}.{key} = {value!r}; allowed: {allowed}")
    if len(set(named)) < len(named):
        raise InputError(f"{where}.{key} = {value!r}: a checkpoint stands twice")
    try:
        return learned([folder / name for name in named], named)
    except InputError as error:
        raise InputError(f"{where}.{key}: {error}") from None


@lru_cache(KEPT)
def _loaded(path: str, weights: str) -> Network:
    """The codec in `path`. Raises InputError where it is not the one with these `weights` any more."""
    network = codec.load(path)
    if fingerprint(network) != weights:
        raise InputError(f"{path}: was replaced while it was used; run the command again")
    return network
