"""The header of a BPG file, both ways.

    magic | format, alpha, depth | colour, flags | width | height | data length | extensions | HEVC header and data

Source: F. Bellard, BPG Specification 0.9.5, section 3.
"""

from dataclasses import dataclass

from distortions.bpg.bits import FormatError

MAGIC = b"BPG\xfb"
FORMATS = ("grey", "4:2:0", "4:2:2", "4:4:4", "4:2:0 MPEG-2", "4:2:2 MPEG-2")
"""By pixel_format. The last two have chroma samples beside every other luma sample, the others between two (JPEG)."""
COLOURS = ("ycbcr", "rgb", "ycgco", "ycbcr-709", "ycbcr-2020")
"""By color_space; "ycbcr" is BT.601's."""
ALPHAS = ("none", "white", "alpha", "premultiplied alpha")
"""By 2 * alpha1_flag + alpha2_flag. A white plane makes the picture CMYK."""
EXTENSIONS = {1: "EXIF", 2: "ICC profile", 3: "XMP", 4: "thumbnail", 5: "animation"}
LONGEST = 2**30 - 1
"""Of any length, in bytes or pixels: what Bellard's decoder accepts too."""
MOST_PIXELS = 2**26


@dataclass(frozen=True)
class Header:
    """What a file says of its picture."""

    width: int
    height: int
    format: str = "4:2:0"
    colour: str = "ycbcr"
    depth: int = 8
    limited_range: bool = False
    alpha: str = "none"
    animation: bool = False
    extensions: tuple[tuple[int, bytes], ...] = ()
    """Tag and payload of each."""


def pack(header: Header, data: bytes) -> bytes:
    """A whole file. Its data length is written as 0, "to the end of the file", as bpgenc does."""
    alpha = ALPHAS.index(header.alpha)
    first = FORMATS.index(header.format) << 5 | (alpha >> 1) << 4 | header.depth - 8
    second = COLOURS.index(header.colour) << 4 | bool(header.extensions) << 3 | (alpha & 1) << 2
    second |= header.limited_range << 1 | header.animation
    parts = [MAGIC, bytes((first, second)), ue7(header.width), ue7(header.height), ue7(0)]
    if header.extensions:
        extensions = b"".join(ue7(tag) + ue7(len(payload)) + payload for tag, payload in header.extensions)
        parts += [ue7(len(extensions)), extensions]
    return b"".join([*parts, data])


def unpack(file: bytes) -> tuple[Header, bytes]:
    """The header, and the HEVC headers and data behind it.

    Every length is checked against the file before anything is made of it. Raises FormatError.
    """
    if not file.startswith(MAGIC):
        raise FormatError("not a BPG file")
    if len(file) < 6:
        raise FormatError("truncated within its header")
    first, second = file[4:6]
    if first >> 5 >= len(FORMATS):
        raise FormatError(f"pixel format {first >> 5}, which BPG 0.9.5 does not have")
    if second >> 4 >= len(COLOURS):
        raise FormatError(f"colour space {second >> 4}, which BPG 0.9.5 does not have")
    format, colour = FORMATS[first >> 5], COLOURS[second >> 4]
    depth = (first & 15) + 8
    if depth > 14:
        raise FormatError(f"{depth} bits a sample, where BPG has 14 at most")
    alpha = ALPHAS[(first >> 4 & 1) << 1 | second >> 2 & 1]
    if format == "grey" and (colour != "ycbcr" or alpha == "white"):
        raise FormatError(f"a grey picture in {colour if colour != 'ycbcr' else 'CMYK'}, which BPG does not have")
    width, at = read_ue7(file, 6)
    height, at = read_ue7(file, at)
    if not width or not height:
        raise FormatError(f"implausible size, {width:,} x {height:,} pixels")
    length, at = read_ue7(file, at)
    extensions: tuple[tuple[int, bytes], ...] = ()
    if second >> 3 & 1:
        size, at = read_ue7(file, at)
        extensions = _extensions(_taken(file, at, size))
        at += size
    data = _taken(file, at, length) if length else file[at:]
    limited, animation = bool(second >> 1 & 1), bool(second & 1)
    return Header(width, height, format, colour, depth, limited, alpha, animation, extensions), data


def _extensions(block: bytes) -> tuple[tuple[int, bytes], ...]:
    found = []
    at = 0
    while at < len(block):
        tag, at = read_ue7(block, at, 2**32 - 1)
        size, at = read_ue7(block, at)
        found.append((tag, _taken(block, at, size)))
        at += size
    return tuple(found)


def _taken(data: bytes, at: int, size: int) -> bytes:
    if size > len(data) - at:
        raise FormatError(f"truncated: a part of {size:,} bytes where {len(data) - at:,} are left")
    return data[at : at + size]


def ue7(value: int) -> bytes:
    """`value` in groups of seven bits, the highest first; all bytes but the last have their top bit set."""
    assert 0 <= value < 2**32
    groups = [value & 127]
    while value := value >> 7:
        groups.append(value & 127 | 128)
    return bytes(reversed(groups))


def read_ue7(data: bytes, at: int, largest: int = LONGEST) -> tuple[int, int]:
    """The value at `at`, and where the next begins. Only the shortest code is taken. Raises FormatError."""
    value = 0
    for index in range(at, at + 5):
        if index >= len(data):
            raise FormatError("truncated within its header")
        if index == at and data[index] == 0x80:
            raise FormatError("a number in its header begins with zeros")
        value = value << 7 | data[index] & 127
        if data[index] < 128:
            if value > largest:
                break
            return value, index + 1
    raise FormatError("a number in its header is too large")
