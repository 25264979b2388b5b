"""Decode damaged BPG files: `python tests/fuzz_bpg.py COUNT SEED`; prints what became of them as JSON.

Each is a small file with flipped bits, changed, removed, inserted or repeated bytes, NAL units that come again and
again, a part of another file, or a header that lies: of another size, format, depth, colour space, or other HEVC
parameters around the same data. BPG has no checksum, so some decode to another picture; what is asserted is that each
is refused in one line, or is an image of the size that its header tells. The process ends where an image takes 20
seconds of a processor, or 1 GiB more than the program: a file of 2 kB can hold the largest picture that is read, 64
megapixels of one grey.
"""

import json
import random
import re
import resource
import signal
import sys
from collections import Counter
from pathlib import Path

import numpy as np
from damage import changed, cut, flipped, limit_memory, repeated

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).resolve().parent.parent)]

from distortions.bpg import decoding, encoding, header, parameters
from distortions.bpg.bits import FormatError
from distortions.bpg.header import ALPHAS, COLOURS, FORMATS, Header
from distortions.bpg.parameters import RANGE_EXTENSION, Parameters, Pcm

MEMORY = 2**30
SECONDS = 20


def originals() -> list[bytes]:
    """Small files of different sizes, formats, colour spaces, depths and qualities."""
    files = []
    for index, format in enumerate(FORMATS * 2):
        height, width = ((1, 1), (33, 17), (48, 64), (130, 20), (65, 66))[index % 5]
        space = "ycbcr" if format == "grey" else COLOURS[index % 5]
        depth, limited = (8, 10, 12)[index % 3], index % 2 == 1
        extensions = ((3, b"<xmp/>"), (77, bytes(9))) if index % 4 == 0 else ()
        ramp = np.arange(height * width * 3).reshape(height, width, 3) * (index + 3) % 251
        shown = Header(width, height, format, space, depth, limited, extensions=extensions)
        files.append(encoding.encode(ramp.astype(np.uint8), shown, (10, 30, 45)[index % 3], "ultrafast"))
    return files


def grown(draw: random.Random, data: bytes, other: bytes) -> bytes:
    """There are more bytes, a start code in front of some."""
    begin = draw.choice((len(data), draw.randrange(len(data) + 1)))
    more = draw.choice((b"", b"\0\0\1", b"\0\0\0\1")) + draw.randbytes(draw.choice((1, 4, 64, 5000)))
    return data[:begin] + more + data[begin:]


def spliced(draw: random.Random, data: bytes, other: bytes) -> bytes:
    """One file's beginning with another's end, cut where both have as much or anywhere."""
    begin = draw.randrange(len(data) + 1)
    return data[:begin] + other[begin if draw.random() < 0.5 else draw.randrange(len(other) + 1) :]


def lying(draw: random.Random, data: bytes, other: bytes) -> bytes:
    """A well-formed header of another picture around the same data."""
    try:
        told, payload = header.unpack(data)
        _, units = parameters.unpack(payload)
    except FormatError:
        return data
    side = (1, 8, 16, 17, 64, 1000, 4096, 65535, 2**29)
    format = draw.choice(FORMATS)
    lie = Header(
        draw.choice((told.width, told.width, *side)), draw.choice((told.height, told.height, *side)), format,
        "ycbcr" if format == "grey" else draw.choice(COLOURS), draw.choice((8, 8, 9, 10, 12, 14)), draw.random() < 0.5,
        draw.choice(("none",) * 6 + ALPHAS[2:]), draw.random() < 0.2, told.extensions,
    )  # fmt: skip
    if draw.random() < 0.5:
        return header.pack(lie, payload)
    few = [draw.choice((0, 0, 1, 2, 3)) for _ in range(5)]
    pcm = Pcm(*(draw.randrange(4) for _ in range(4)), 1) if draw.random() < 0.3 else None
    flags = tuple(draw.random() < 0.3 for _ in RANGE_EXTENSION) if draw.random() < 0.3 else None
    fields = Parameters(*few, draw.random() < 0.5, pcm, draw.random() < 0.5, flags)
    return header.pack(draw.choice((lie, told)), parameters.pack(fields) + units)


def stuttering(draw: random.Random, data: bytes, other: bytes) -> bytes:
    """A NAL unit comes up to 3,000 times, perhaps as a slice that goes on with the picture, or with another number."""
    units = data.split(b"\0\0\1")
    index = draw.randrange(len(units))
    unit = units[index]
    if index and len(unit) > 2:
        unit = unit[:2] + bytes([draw.choice((unit[2], unit[2] & 0x7F, draw.randrange(256)))]) + unit[3:]
    return b"\0\0\1".join([*units[: index + 1], *[unit] * draw.choice((1, 60, 3000)), *units[index + 1 :]])


KINDS = (flipped,) * 4 + (changed,) * 3 + (lying,) * 5 + (spliced, cut, grown, repeated, stuttering)


def damaged(draw: random.Random, data: bytes, other: bytes) -> bytes:
    """`data` with one to three kinds of damage."""
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        data = draw.choice(KINDS)(draw, data, other)
    return data


def fuzz(count: int, seed: int) -> Counter[str]:
    """What became of `count` damaged files: refusals by their reason without numbers, and what was decoded."""
    outcomes: Counter[str] = Counter()
    files = originals()
    images = [decoding.decode(file) for file in files]
    limit_memory(MEMORY)
    draw = random.Random(seed)
    for _ in range(count):
        index, other = draw.randrange(len(files)), draw.choice(files)
        data = damaged(draw, files[index], other)
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            decoded = decoding.decode(data)
        except FormatError as error:
            assert "\n" not in str(error)
            outcomes[re.sub(r"[\d,.]+", "#", str(error))[:60]] += 1
            continue
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        told, _ = header.unpack(data)
        assert decoded.shape == (told.height, told.width, 3) and decoded.dtype == np.uint8
        outcomes["the image" if np.array_equal(decoded, images[index]) else "another image"] += 1
    return outcomes


if __name__ == "__main__":
    outcomes = fuzz(int(sys.argv[1]), int(sys.argv[2]))
    print(json.dumps(outcomes, indent=1, sort_keys=True))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"{outcomes.total():,} files; peak memory {peak / 1024:,.0f} MiB", file=sys.stderr)
