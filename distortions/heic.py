"""HEIC through pillow-heif: HEVC by x265 in an HEIF file. Its wheels hold GPL libraries: an extra, eyetune[heif]."""

import importlib.util
import io
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from distortions.protocol import CodecError, RateSetting
from distortions.tunable import Tunable
from study.images import Pixels
from study.versions import version


class Heic(Tunable):
    """HEIC by x265 in one thread: with more, the machine decides how many."""

    name: ClassVar[str] = "heic"
    # libheif halves the quality to a whole number, so two neighbours write one file, and so do all from 95 on.
    rate: ClassVar[RateSetting] = RateSetting("quality", (0, *range(1, 95, 2), 100))

    quality: int = Field(50, ge=0, le=100, description="0 to 100")
    preset: Literal["ultrafast", "veryfast", "medium", "slow", "veryslow"] = Field(
        "slow", description="ultrafast, veryfast, medium, slow (libheif's own) or veryslow"
    )
    subsampling: Literal["4:2:0", "4:2:2", "4:4:4"] = Field("4:2:0", description="4:2:0, 4:2:2 or 4:4:4")

    def missing(self) -> str | None:
        """What has to be installed first, and how; None where nothing has."""
        if importlib.util.find_spec("pillow_heif"):
            return None
        return "heic needs pillow-heif: pip install 'eyetune[heif]'"

    @property
    def library(self) -> str:
        """The encoder and decoder under pillow-heif, with versions."""
        import pillow_heif

        libraries = pillow_heif.libheif_info()
        under = ", ".join([libraries["HEIF"], *libraries["decoders"].values(), f"libheif {libraries['libheif']}"])
        return f"{under} through pillow-heif {version('pillow-heif')}"

    def encode(self, image: Pixels) -> bytes:
        """The whole file. Raises CodecError where the format cannot hold such an image."""
        import pillow_heif

        height, width = image.shape[:2]
        buffer = io.BytesIO()
        try:
            pillow_heif.from_bytes("RGB", (width, height), image.tobytes()).save(
                buffer,
                quality=self.quality,
                subsampling=self.subsampling,
                enc_params={"preset": self.preset, "x265:pools": "none", "x265:frame-threads": "1"},
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise CodecError(f"heic cannot encode {width} x {height} pixels: {error}") from None
        return buffer.getvalue()

    def decode(self, data: bytes) -> Pixels:
        """The image in `data`."""
        import pillow_heif

        return np.array(pillow_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=True))
