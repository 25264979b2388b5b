"""Planes as an HEVC byte stream and back, by PyAV: x265 and FFmpeg's decoder, one thread each."""

import re
from fractions import Fraction
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

from distortions.bpg.bits import FormatError
from distortions.bpg.chroma import Plane
from distortions.bpg.header import MOST_PIXELS
from distortions.protocol import CodecError
from study.errors import UnavailableError

PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo")
DEPTHS = (8, 10, 12)


def pyav() -> ModuleType:
    """PyAV. Raises UnavailableError where it is not installed."""
    try:
        import av
    except ImportError:
        raise UnavailableError("BPG needs PyAV, which is not installed; get it with: pip install av") from None
    return av


@cache
def library() -> str:
    """x265's and PyAV's versions."""
    av = pyav()
    stream = encoded([np.zeros((16, 16), np.uint16)], 0, 8, 51, "ultrafast", 16, info=True)
    found = re.search(rb"x265 \(build \d+\) - ([^\s:]+)", stream)
    return f"x265 {found[1].decode() if found else 'of unknown version'} through PyAV {av.__version__}"


def pixel_format(chroma_format_idc: int, depth: int) -> str:
    """FFmpeg's name, such as yuv420p10le. `chroma_format_idc`: 0 grey, 1 4:2:0, 2 4:2:2, 3 4:4:4."""
    name = ("gray", "yuv420p", "yuv422p", "yuv444p")[chroma_format_idc]
    return name if depth == 8 else f"{name}{depth}le"


def smallest_block(height: int, width: int) -> int:
    """Side of the smallest coding block, of which what is coded is a multiple: x265 takes no picture below 16 x 16."""
    return 16 if min(height, width) <= 8 else 8


def encoded(
    planes: list[Plane], chroma_format_idc: int, depth: int, qp: int, preset: str, block: int, info: bool = False
) -> bytes:
    """One intra picture as a byte stream. Planes are padded to whole coding blocks of side `block` already.

    The settings are bpgenc's (constant QP, tune ssim, rectangular and asymmetric partitions), and such that the stream
    is the same on any machine of one kind: one thread, no wavefronts. Raises CodecError.
    """
    av = pyav()
    height, width = planes[0].shape
    frame = frame_of(planes, chroma_format_idc, depth)
    context = av.CodecContext.create("libx265", "w")
    context.width, context.height, context.pix_fmt = width, height, frame.format.name
    context.time_base = Fraction(1, 25)
    context.thread_count = 1
    parameters = {
        "qp": qp, "keyint": 1, "frames": 1, "info": int(info), "repeat-headers": 1, "amp": 1, "rect": 1, "hrd": 0,
        "pools": "none", "frame-threads": 1, "wpp": 0, "log-level": "none",
        "min-cu-size": block,
    }  # fmt: skip
    context.options = {
        "preset": preset,
        "tune": "ssim",
        "x265-params": ":".join(f"{name}={value}" for name, value in parameters.items()),
    }
    try:
        return b"".join(bytes(packet) for packet in [*context.encode(frame), *context.encode(None)])
    except (av.FFmpegError, ValueError) as error:
        raise CodecError(f"x265 cannot encode {width} x {height} pixels: {error}") from None


def decoded(stream: bytes, chroma_format_idc: int, depth: int, width: int, height: int) -> list[Plane]:
    """The planes of the one picture in a byte stream, of `width` x `height` luma samples. Raises FormatError."""
    av = pyav()
    if depth not in DEPTHS:
        raise FormatError(f"{depth} bits a sample, where the HEVC decoder takes {', '.join(map(str, DEPTHS))}")
    context = av.CodecContext.create("hevc", "r")
    context.thread_count = 1
    context.options = {"err_detect": "explode+crccheck", "max_pixels": str(2 * MOST_PIXELS)}
    try:
        frames = [*context.decode(av.Packet(stream)), *context.decode(None)]
    except av.FFmpegError as error:
        raise FormatError(f"its HEVC data cannot be decoded ({error.strerror})") from None
    if len(frames) != 1:
        raise FormatError(f"its HEVC data holds {len(frames)} pictures that can be decoded, where one is wanted")
    frame = frames[0]
    shape = frame.width, frame.height, frame.format.name
    if shape != (width, height, pixel_format(chroma_format_idc, depth)) or frame.is_corrupt:
        raise FormatError("its HEVC data is damaged")
    return planes_in(frame, depth)


def frame_of(planes: list[Plane], chroma_format_idc: int, depth: int) -> Any:
    """PyAV's frame of these planes."""
    height, width = planes[0].shape
    frame = pyav().VideoFrame(width, height, pixel_format(chroma_format_idc, depth))
    for plane, samples in zip(frame.planes, planes, strict=True):
        rows = np.zeros((plane.height, plane.line_size // (1 if depth == 8 else 2)), np.uint8 if depth == 8 else "<u2")
        rows[:, : plane.width] = samples
        plane.update(rows)
    return frame


def planes_in(frame: Any, depth: int) -> list[Plane]:
    """The planes of PyAV's frame."""
    planes: list[Plane] = []
    for plane in frame.planes:
        samples = np.frombuffer(plane, np.uint8 if depth == 8 else "<u2").reshape(plane.height, -1)
        planes.append(samples[:, : plane.width])  # the decoder's own memory: a copy would be a second picture
    return planes
