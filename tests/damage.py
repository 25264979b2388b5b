"""Kinds of damage to a file, and a bound on what reading it may take; the fuzzers of file formats share them.

Each kind takes a source of chance, the file, and another file of the format.
"""

import random
import resource
from pathlib import Path


def flipped(draw: random.Random, data: bytes, other: bytes) -> bytes:
    """Some bits are others."""
    out = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 8))):
        if out:
            bit = draw.randrange(8 * len(out))
            out[bit // 8] ^= 1 << bit % 8
    return bytes(out)


def changed(draw: random.Random, data: bytes, other: bytes) -> bytes:
    """A run of bytes is others."""
    begin, length = draw.randrange(len(data) + 1), draw.choice((1, 2, 4, 16))
    fill = draw.choice((bytes(length), b"\xff" * length, draw.randbytes(length)))
    return data[:begin] + fill + data[begin + length :]


def cut(draw: random.Random, data: bytes, other: bytes) -> bytes:
    """The end, or some bytes within, are missing."""
    begin = draw.randrange(len(data) + 1)
    return data[:begin] + (data[begin + draw.randrange(1, 9) :] if draw.random() < 0.5 else b"")


def repeated(draw: random.Random, data: bytes, other: bytes) -> bytes:
    """A part is there twice."""
    begin = draw.randrange(len(data) + 1)
    end = begin + draw.randrange(1, 30)
    return data[:end] + data[begin:end] + data[end:]


def limit_memory(more: int) -> None:
    """Let the process take so many more bytes than it has, at most."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + more
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
