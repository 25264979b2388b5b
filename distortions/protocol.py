"""What a codec is here: a name, settings, and two functions between an image and its bytes."""

from dataclasses import dataclass
from typing import Protocol, TypeAlias

from study.images import Pixels

Setting: TypeAlias = str | int | float | bool | list[str]


class CodecError(Exception):
    """The codec cannot encode this image at all (too large for its format, say); the message says why."""


@dataclass(frozen=True)
class RateSetting:
    """The one setting that a codec's rate is steered by."""

    name: str
    values: tuple[float, ...]
    """Every value that is tried, from the fewest bits to the most. A continuous setting has a fine ladder here."""


class Codec(Protocol):
    """A codec at one setting. Images are `(H, W, 3)` uint8 sRGB arrays.

    Equal settings and an equal image give equal bytes, at any number of threads and on any day. The bytes hold no
    metadata: no EXIF, no colour profile, no XMP. A codec can be pickled: worker processes get copies.
    """

    @property
    def name(self) -> str:
        """The codec's name in `study.toml`."""

    @property
    def library(self) -> str:
        """What encodes and decodes, with its version."""

    @property
    def rate(self) -> RateSetting:
        """The setting that rates are searched with."""

    @property
    def settings(self) -> dict[str, Setting]:
        """Every setting with its value, the rate's among them."""

    def at(self, value: float) -> "Codec":
        """The same codec with its rate setting at `value`."""

    def encode(self, image: Pixels) -> bytes:
        """The whole file. Raises CodecError where the format cannot hold such an image."""

    def decode(self, data: bytes) -> Pixels:
        """The image in `data`, of the size that was encoded."""
