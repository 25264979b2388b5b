"""HEVC and AV1 as video has them: one intra picture as a bare stream, by PyAV's wheels: an extra, eyetune[bpg].

BPG and HEIC hold such a picture of HEVC in a file format, AVIF one of AV1. Here nothing is around it. Colours are
BT.601's, full range, as theirs are, and the stream says so. No wheel on PyPI has an encoder for VVC: see `program`.
"""

import os
import re
from fractions import Fraction
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from distortions.bpg import hevc
from distortions.bpg.bits import FormatError
from distortions.bpg.chroma import Plane
from distortions.bpg.colour import image_of, planes_of
from distortions.bpg.encoding import chroma_format_idc
from distortions.bpg.header import Header
from distortions.protocol import CodecError, RateSetting
from distortions.tunable import Tunable
from study.errors import UnavailableError
from study.images import Pixels

Subsampling = Literal["4:2:0", "4:2:2", "4:4:4"]
SUBSAMPLING: dict[str, Subsampling] = {"420": "4:2:0", "422": "4:2:2", "444": "4:4:4"}
"""By what FFmpeg's names of pixel formats have behind yuv, or yuvj where they say full range."""
FULL_RANGE, BT709_PRIMARIES, SRGB_CURVE, BT601_MATRIX = 2, 1, 13, 6
"""FFmpeg's numbers; the last three are ITU-T H.273's."""

SMALLEST_AV1 = 4
"""Pixels of a side."""


class IntraCodec(Tunable):
    """A video codec of FFmpeg's."""

    encoder: ClassVar[str]
    decoder: ClassVar[str]

    depth: Literal[8, 10] = Field(8, description="8 or 10 bits a sample while coding")

    def missing(self) -> str | None:
        """What has to be installed first, and how; None where nothing has."""
        try:
            av = hevc.pyav()
        except UnavailableError:
            return f"{self.name} needs PyAV: pip install 'eyetune[bpg]'"
        if {self.encoder, self.decoder} <= av.codecs_available:
            return None
        return f"this PyAV was built without {self.encoder} or {self.decoder}; install PyAV from PyPI's wheels"

    def _header(self, image: Pixels, subsampling: Subsampling) -> Header:
        return Header(image.shape[1], image.shape[0], subsampling, depth=self.depth)

    def _encoded(self, planes: list[Plane], subsampling: Subsampling, options: dict[str, str]) -> bytes:
        av = hevc.pyav()
        height, width = planes[0].shape
        frame = hevc.frame_of(planes, chroma_format_idc(subsampling), self.depth)
        context = av.CodecContext.create(self.encoder, "w")
        context.width, context.height, context.pix_fmt = width, height, frame.format.name
        context.color_range, context.color_primaries = FULL_RANGE, BT709_PRIMARIES
        context.color_trc, context.colorspace = SRGB_CURVE, BT601_MATRIX
        context.time_base = Fraction(1, 25)
        context.thread_count = 1
        context.options = options
        try:
            return b"".join(bytes(packet) for packet in [*context.encode(frame), *context.encode(None)])
        except (av.FFmpegError, ValueError) as error:
            raise CodecError(f"{self.name} cannot encode {width} x {height} pixels: {error}") from None

    def _decoded(self, stream: bytes, columns: int = 0, rows: int = 0) -> Pixels:
        """The image in `stream`, without so many columns and rows of padding at its right and its bottom."""
        frame = _frame(self.decoder, stream)
        found = re.fullmatch(r"yuvj?(420|422|444)p(10le)?", frame.format.name)
        if found is None or frame.width <= columns or frame.height <= rows:
            raise FormatError(f"its {self.name} data is damaged")
        depth = 10 if found[2] else 8
        padded = Header(frame.width, frame.height, SUBSAMPLING[found[1]], depth=depth)
        image = image_of(hevc.planes_in(frame, depth), padded)
        return np.array(image[: frame.height - rows, : frame.width - columns])


class Hevc(IntraCodec):
    """HEVC by x265 at a constant QP, with BPG's settings: an Annex B stream behind one byte.

    That byte has the columns and rows of padding, 4 bits each: x265 takes no side below 16, and 4:2:0 no odd one. It is
    0 on all even sizes, and zeros may stand before a stream.
    """

    name: ClassVar[str] = "hevc"
    encoder: ClassVar[str] = "libx265"
    decoder: ClassVar[str] = "hevc"
    rate: ClassVar[RateSetting] = RateSetting("qp", tuple(range(51, -1, -1)))

    qp: int = Field(29, ge=0, le=51, description="0 (finest) to 51")
    preset: str = Field("veryslow", pattern=f"^({'|'.join(hevc.PRESETS)})$", description=", ".join(hevc.PRESETS))
    subsampling: Subsampling = Field("4:2:0", description="4:2:0, 4:2:2 or 4:4:4")

    @property
    def library(self) -> str:
        """What encodes and decodes, with its version."""
        return hevc.library()

    def encode(self, image: Pixels) -> bytes:
        """The whole stream. Raises CodecError where x265 cannot."""
        height, width = image.shape[:2]
        rows, columns = (max(side + side % 2, 16) - side for side in (height, width))
        padded = np.pad(image, ((0, rows), (0, columns), (0, 0)), mode="edge")
        parameters = {
            "qp": self.qp, "keyint": 1, "frames": 1, "info": 0, "repeat-headers": 1, "amp": 1, "rect": 1, "hrd": 0,
            "pools": "none", "frame-threads": 1, "wpp": 0, "log-level": "none", "chromaloc": 1,
        }  # fmt: skip
        options = {
            "preset": self.preset,
            "tune": "ssim",
            "x265-params": ":".join(f"{name}={value}" for name, value in parameters.items()),
        }
        planes = planes_of(padded, self._header(padded, self.subsampling))
        return bytes([columns << 4 | rows]) + self._encoded(planes, self.subsampling, options)

    def decode(self, data: bytes) -> Pixels:
        """The image in `data`."""
        return self._decoded(data[1:], data[0] >> 4, data[0] & 15)


class Av1(IntraCodec):
    """AV1 by SVT-AV1 at a constant quantiser, as a temporal unit of OBUs: 4:2:0, which is all that SVT-AV1 has.

    Preset 2 takes four times as long as 4 for up to .2 dB.
    """

    name: ClassVar[str] = "av1"
    encoder: ClassVar[str] = "libsvtav1"
    decoder: ClassVar[str] = "libdav1d"
    rate: ClassVar[RateSetting] = RateSetting("crf", tuple(70 - k / 4 for k in range(277)))

    crf: float = Field(30.0, ge=1, le=70, description="1 (finest) to 70, quarters too")
    preset: int = Field(4, ge=0, le=10, description="0 (slowest) to 10 (fastest)")

    @property
    def library(self) -> str:
        """What encodes and decodes, with the versions that are told: SVT-AV1 tells its own to the terminal alone."""
        av = hevc.pyav()
        return f"SVT-AV1 and dav1d of FFmpeg {av.ffmpeg_version_info} through PyAV {av.__version__}"

    def encode(self, image: Pixels) -> bytes:
        """The whole stream. Raises CodecError where SVT-AV1 cannot."""
        height, width = image.shape[:2]
        if min(height, width) < SMALLEST_AV1:
            raise CodecError(f"av1 cannot encode {width} x {height} pixels: SVT-AV1 takes no side below {SMALLEST_AV1}")
        os.environ["SVT_LOG"] = "1"  # errors alone: it would write 20 lines a picture
        parameters = {"avif": 1, "lp": 1, "crf": self.crf}
        options = {
            "preset": str(self.preset),
            "svtav1-params": ":".join(f"{name}={value}" for name, value in parameters.items()),
        }
        return self._encoded(planes_of(image, self._header(image, "4:2:0")), "4:2:0", options)

    def decode(self, data: bytes) -> Pixels:
        """The image in `data`."""
        return self._decoded(data)


def _frame(decoder: str, stream: bytes) -> Any:
    """The one picture in a stream. Raises FormatError."""
    av = hevc.pyav()
    context = av.CodecContext.create(decoder, "r")
    context.thread_count = 1
    context.options = {"err_detect": "explode"}  # else what is missing is made up
    try:
        frames = [*context.decode(av.Packet(stream)), *context.decode(None)]
    except av.FFmpegError as error:
        raise FormatError(f"its {decoder} data cannot be decoded ({error.strerror})") from None
    if len(frames) != 1 or frames[0].is_corrupt:
        raise FormatError(f"its {decoder} data is damaged")
    return frames[0]
