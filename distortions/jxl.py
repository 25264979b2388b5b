"""JPEG XL and JPEG XR through imagecodecs: an extra, eyetune[jxl]."""

import importlib.util
from typing import ClassVar

import numpy as np
from pydantic import Field

from distortions.protocol import CodecError, RateSetting
from distortions.tunable import Tunable
from study.images import Pixels
from study.versions import version


class ImagecodecsCodec(Tunable):
    """A codec of imagecodecs."""

    def missing(self) -> str | None:
        """What has to be installed first, and how; None where nothing has."""
        if importlib.util.find_spec("imagecodecs"):
            return None
        return f"{self.name} needs imagecodecs: pip install 'eyetune[jxl]'"


class JpegXl(ImagecodecsCodec):
    """Lossy JPEG XL by libjxl in one thread, as a bare codestream.

    Effort 7 is libjxl's own default; each more about doubles the time.
    """

    name: ClassVar[str] = "jpegxl"
    # From the format's largest distance down to .05 in steps of 1 %.
    rate: ClassVar[RateSetting] = RateSetting("distance", tuple(round(25 / 1.01**k, 4) for k in range(625)))

    distance: float = Field(1.0, gt=0, le=25, description="Butteraugli's distance aimed at: 0 to 25, 1 hardly visible")
    effort: int = Field(7, ge=1, le=9, description="1 (fastest) to 9 (fewest bytes)")

    @property
    def library(self) -> str:
        """libjxl's version and imagecodecs'."""
        import imagecodecs

        return f"{imagecodecs.jpegxl_version()} through imagecodecs {version('imagecodecs')}"

    def encode(self, image: Pixels) -> bytes:
        """The whole file. Raises CodecError where the format cannot hold such an image."""
        import imagecodecs

        try:
            return bytes(
                imagecodecs.jpegxl_encode(
                    image, distance=self.distance, effort=self.effort, usecontainer=False, numthreads=1
                )
            )
        except imagecodecs.JpegxlError as error:
            raise CodecError(f"jpegxl cannot encode {image.shape[1]} x {image.shape[0]} pixels: {error}") from None

    def decode(self, data: bytes) -> Pixels:
        """The image in `data`."""
        import imagecodecs

        return np.array(imagecodecs.jpegxl_decode(data, numthreads=1))


class JpegXr(ImagecodecsCodec):
    """JPEG XR by jxrlib, a lapped transform."""

    name: ClassVar[str] = "jpegxr"
    rate: ClassVar[RateSetting] = RateSetting("quality", tuple(k / 4 for k in range(4, 400)))

    quality: float = Field(75.0, ge=1, lt=100, description="1 to 99.75, fractions too")

    @property
    def library(self) -> str:
        """jxrlib's version and imagecodecs'."""
        import imagecodecs

        return f"{imagecodecs.jpegxr_version()} through imagecodecs {version('imagecodecs')}"

    def encode(self, image: Pixels) -> bytes:
        """The whole file. Raises CodecError where the format cannot hold such an image."""
        import imagecodecs

        try:
            return bytes(imagecodecs.jpegxr_encode(image, level=self.quality / 100))
        except imagecodecs.JpegxrError as error:
            raise CodecError(f"jpegxr cannot encode {image.shape[1]} x {image.shape[0]} pixels: {error}") from None

    def decode(self, data: bytes) -> Pixels:
        """The image in `data`."""
        import imagecodecs

        return np.array(imagecodecs.jpegxr_decode(data))
