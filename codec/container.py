"""The bytes of a compressed image: what an .eyt file of version 1 holds, and every check of it that needs no codec.

    bytes  what
    3      the letters EYT
    1      the format's version: 1
    8      the beginning of the codec's fingerprint
    1      flags; 1: grey, the three channels were equal
    2      the rate position in units of 1/256, little-endian
    1-3    width in pixels, then
    1-3    height in pixels
           then for each tile (codec/tiles.py), from left to right, row after row:
    1-4      how many words of 32 bits its code has
    4 each   the code, of a range coder
    4        the seal
    4      CRC-32 of everything before

Numbers of 1-4 bytes have 7 bits in each, the lowest first, and the highest bit of all but the last byte set. A seal is
the CRC-32 of the tile's symbols and of the seal before it, the first one's of the header: so a header or a section that
is not this file's is noticed before anything is made of it. All that is not the image's code takes about 30 bytes.
"""

import struct
import zlib
from dataclasses import dataclass

from codec.tiles import tiles
from study.errors import InputError

MAGIC = b"EYT"
VERSION = 1
FINGERPRINT_BYTES = 8
LARGEST_SIDE = 65535
MOST_PIXELS = 2**28
POSITION_STEPS = 256
_GREY = 1
_FIXED = struct.Struct("<3sB8sBH")
_CRC = struct.Struct("<I")


class FormatError(InputError):
    """These bytes are no image that this codec has compressed, or no longer; the message says why."""


@dataclass(frozen=True)
class Header:
    """What a file says of its image."""

    fingerprint: bytes
    """The first 8 bytes of the codec's."""
    grey: bool
    steps: int
    """The rate position in units of 1/256."""
    width: int
    height: int

    @property
    def position(self) -> float:
        """The rate position."""
        return self.steps / POSITION_STEPS


@dataclass(frozen=True)
class Section:
    """What a file holds of one tile."""

    code: bytes
    seal: int


@dataclass(frozen=True)
class File:
    """A whole file, taken apart."""

    header: Header
    sections: list[Section]


def check_size(width: int, height: int) -> None:
    """Raises FormatError for an image that the format does not hold."""
    if not (1 <= width <= LARGEST_SIDE and 1 <= height <= LARGEST_SIDE and width * height <= MOST_PIXELS):
        raise FormatError(
            f"implausible size of {width} x {height} pixels; an .eyt file holds 1 to {LARGEST_SIDE} a side, and"
            f" {MOST_PIXELS:,} in all"
        )


def pack_header(header: Header) -> bytes:
    """The header's bytes."""
    check_size(header.width, header.height)
    fixed = _FIXED.pack(MAGIC, VERSION, header.fingerprint, _GREY if header.grey else 0, header.steps)
    return fixed + _pack_number(header.width) + _pack_number(header.height)


def first_seal(header: Header) -> int:
    """What the first tile's seal begins with."""
    return zlib.crc32(pack_header(header))


def next_seal(seal: int, symbols_crc: int) -> int:
    """The seal of a tile whose symbols have this CRC-32, after the `seal` before it."""
    return zlib.crc32(_CRC.pack(symbols_crc), seal)


def pack(header: Header, sections: list[Section]) -> bytes:
    """The file's bytes."""
    parts = [pack_header(header)]
    for section in sections:
        assert len(section.code) % 4 == 0
        parts += [_pack_number(len(section.code) // 4), section.code, _CRC.pack(section.seal)]
    data = b"".join(parts)
    return data + _CRC.pack(zlib.crc32(data))


def unpack(data: bytes) -> File:
    """The parts of a file. Raises FormatError unless all bytes are accounted for and none was altered.

    Takes no more memory than a few times `data`, whatever the header says.
    """
    if not data.startswith(MAGIC):
        raise FormatError("not an .eyt file: it does not begin as eyetune codec compress writes them")
    if len(data) > len(MAGIC) and data[len(MAGIC)] > VERSION:
        raise FormatError(f"written by a newer eyetune: format {data[len(MAGIC)]}, this one reads {VERSION}")
    reader = _Reader(data)
    _, version, fingerprint, flags, steps = _FIXED.unpack(reader.take(_FIXED.size))
    width, height = reader.number(), reader.number()
    if version != VERSION or flags & ~_GREY:
        raise FormatError(f"altered: version {version} with flags {flags} is nothing that was ever written")
    check_size(width, height)
    header = Header(fingerprint, bool(flags & _GREY), steps, width, height)
    sections = []
    for _ in tiles(height, width):
        code = reader.take(4 * reader.number())
        sections.append(Section(code, _CRC.unpack(reader.take(_CRC.size))[0]))
    (crc,) = _CRC.unpack(reader.take(_CRC.size))
    if reader.left:
        raise FormatError(f"altered: {reader.left:,} bytes after its end")
    if crc != zlib.crc32(data[: -_CRC.size]):
        raise FormatError("altered: its checksum is not that of its bytes")
    return File(header, sections)


class _Reader:
    """Takes bytes from the front of a file."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise FormatError(f"truncated: {count - self.left:,} bytes or more are missing at its end")
        self._at += count
        return self._data[self._at - count : self._at]

    def number(self) -> int:
        """What `_pack_number` wrote; only its shortest form, of 4 bytes at most."""
        value = 0
        for shift in range(0, 28, 7):
            (byte,) = self.take(1)
            value |= (byte & 127) << shift
            if byte < 128:
                if byte == 0 and shift:
                    break
                return value
        raise FormatError("altered: one of its sizes is written as none ever was")


def _pack_number(value: int) -> bytes:
    assert 0 <= value < 2**28
    parts = [value & 127]
    while value := value >> 7:
        parts[-1] |= 128
        parts.append(value & 127)
    return bytes(parts)
