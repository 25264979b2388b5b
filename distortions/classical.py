"""JPEG, JPEG 2000, WebP and AVIF through Pillow.

The defaults are what gives the best picture a bit within a fraction of a second, measured as PSNR against real bytes on
BSDS500 and Kodak; each field says what it costs to change it.
"""

import io
from typing import Any, ClassVar, Literal

import numpy as np
import PIL
from PIL import Image, features
from pydantic import Field

from distortions.protocol import CodecError, RateSetting
from distortions.tunable import Tunable
from study.images import Pixels


class PillowCodec(Tunable):
    """A codec whose bytes Pillow writes and reads."""

    format: ClassVar[str]
    feature: ClassVar[str]

    def options(self) -> dict[str, Any]:
        """The settings as the keyword arguments of `Image.save`."""
        raise NotImplementedError

    @property
    def library(self) -> str:
        """The library under Pillow, with both versions."""
        return f"{self.feature} {features.version(self.feature)} through Pillow {PIL.__version__}"

    def missing(self) -> str | None:
        """What has to be installed first, and how; None where nothing has."""
        if features.check(self.feature):
            return None
        return f"this Pillow was built without {self.feature}; install Pillow from PyPI's wheels"

    def encode(self, image: Pixels) -> bytes:
        """The whole file."""
        buffer = io.BytesIO()
        try:
            Image.fromarray(image).save(buffer, self.format, **self.options())
        except (OSError, ValueError) as error:  # written to memory: never a disk's fault
            raise CodecError(f"{self.name} cannot encode {image.shape[1]} x {image.shape[0]} pixels: {error}") from None
        return buffer.getvalue()

    def decode(self, data: bytes) -> Pixels:
        """The image in `data`."""
        with Image.open(io.BytesIO(data), formats=[self.format]) as image:
            return np.array(image.convert("RGB"))


class Jpeg(PillowCodec):
    """Baseline JPEG by libjpeg-turbo with optimised Huffman tables (they save 5 to 20 % of the bytes).

    Its floor is quality 1: between .07 and .2 bits per pixel on photographs.
    """

    name: ClassVar[str] = "jpeg"
    format: ClassVar[str] = "JPEG"
    feature: ClassVar[str] = "libjpeg_turbo"
    rate: ClassVar[RateSetting] = RateSetting("quality", tuple(range(1, 101)))

    quality: int = Field(75, ge=1, le=100, description="1 to 100")
    subsampling: Literal["4:2:0", "4:2:2", "4:4:4"] = Field("4:2:0", description="4:2:0, 4:2:2 or 4:4:4")
    progressive: bool = Field(False, description="true or false; true costs up to .025 bpp on half a megapixel")

    def options(self) -> dict[str, Any]:
        """The settings for Pillow."""
        return {
            "quality": self.quality,
            "subsampling": self.subsampling,
            "progressive": self.progressive,
            "optimize": True,
        }


ROBIDOUX = [
    [16, 16, 16, 18, 25, 37, 56, 85],
    [16, 17, 20, 27, 34, 40, 53, 75],
    [16, 20, 24, 31, 43, 62, 91, 135],
    [18, 27, 31, 40, 53, 74, 106, 156],
    [25, 34, 43, 53, 69, 94, 131, 189],
    [37, 40, 62, 74, 94, 124, 169, 238],
    [56, 53, 91, 106, 131, 169, 226, 311],
    [85, 75, 135, 156, 189, 238, 311, 418],
]
"""N. Robidoux's quantisation table at quality 50, for all components: ImageMagick's and mozjpeg's default."""


class RobidouxJpeg(Jpeg):
    """JPEG as mozjpeg sets it up: its default quantisation table, progressive. Its trellis quantisation is not here."""

    name: ClassVar[str] = "jpeg-robidoux"

    progressive: bool = Field(True, description="true or false")

    def options(self) -> dict[str, Any]:
        """The settings for Pillow."""
        return super().options() | {"qtables": [sum(ROBIDOUX, []), sum(ROBIDOUX, [])]}


class Jpeg2000(PillowCodec):
    """JPEG 2000 by OpenJPEG: one quality layer at a compression ratio, as a bare codestream (JP2 boxes add 85 bytes).

    The decorrelating colour transform is on: Pillow's default leaves it off, which costs 2 to 5 dB at equal rate.
    """

    name: ClassVar[str] = "jpeg2000"
    format: ClassVar[str] = "JPEG2000"
    feature: ClassVar[str] = "jpg_2000"
    # From 1000:1 (.024 bpp) to 2:1 (12 bpp) in steps of 1 %.
    rate: ClassVar[RateSetting] = RateSetting("ratio", tuple(round(1000 / 1.01**k, 3) for k in range(625)))

    ratio: float = Field(24.0, ge=1, le=1000, description="24 bits per pixel over the bits wanted: 1 to 1000")
    irreversible: bool = Field(True, description="true for the 9/7 wavelet, false for the 5/3 (.3 to 2 dB worse)")

    def options(self) -> dict[str, Any]:
        """The settings for Pillow."""
        return {
            "quality_mode": "rates",
            "quality_layers": [self.ratio],
            "irreversible": self.irreversible,
            "mct": 1,
            "no_jp2": True,
            "comment": " ",  # else OpenJPEG writes its name and version, 20 bytes more
        }


def _webp_quality(fineness: float) -> float:
    """The quality at which libwebp's quantiser is `fineness` in [0, 1] of the way from its coarsest to its finest.

    The inverse of QualityToCompression in libwebp's src/enc/quant_enc.c, to four digits.
    """
    linear = fineness**3
    return float(f"{100 * (1.5 * linear if linear < 0.5 else (linear + 1) / 2):.4g}")


class WebP(PillowCodec):
    """Lossy WebP by libwebp. Method 6 (slowest) saves 5 to 8 % of method 4's bytes at twice its time."""

    name: ClassVar[str] = "webp"
    format: ClassVar[str] = "WEBP"
    feature: ClassVar[str] = "webp"
    # Even steps of the quantiser, along which the logarithm of the rate is nearly a line. Of even steps of quality four
    # tenths change nothing, while the first adds 15 to 29 % of the bits.
    rate: ClassVar[RateSetting] = RateSetting("quality", tuple(_webp_quality(k / 400) for k in range(401)))

    quality: float = Field(75.0, ge=0, le=100, description="0 to 100, fractions too")
    method: int = Field(6, ge=0, le=6, description="0 (fastest) to 6 (fewest bytes)")

    def options(self) -> dict[str, Any]:
        """The settings for Pillow."""
        return {"quality": self.quality, "method": self.method}


AVIF_REPEATS = {1, 2, 4, *range(5, 34, 2), 36, 38, 41, 43, 46, 48, 51, 53, *range(57, 98, 4)}
"""Qualities at which libavif 1.4 writes the same file as at the one before: it has 64 quantisers."""


class Avif(PillowCodec):
    """AVIF by libavif. One encoder thread: with more, the bytes are others.

    Speed 6 is libavif's own default; 4 takes five times as long for up to .3 dB.
    """

    name: ClassVar[str] = "avif"
    format: ClassVar[str] = "AVIF"
    feature: ClassVar[str] = "avif"
    rate: ClassVar[RateSetting] = RateSetting("quality", tuple(q for q in range(101) if q not in AVIF_REPEATS))

    quality: int = Field(75, ge=0, le=100, description="0 to 100")
    speed: int = Field(6, ge=0, le=10, description="0 (slowest) to 10 (fastest)")
    subsampling: Literal["4:2:0", "4:2:2", "4:4:4"] = Field("4:2:0", description="4:2:0, 4:2:2 or 4:4:4")

    def options(self) -> dict[str, Any]:
        """The settings for Pillow."""
        return {
            "quality": self.quality,
            "speed": self.speed,
            "subsampling": self.subsampling,
            "max_threads": 1,
            "autotiling": False,
        }


CODECS: dict[str, type[PillowCodec]] = {codec.name: codec for codec in (Jpeg, Jpeg2000, WebP, Avif)}
