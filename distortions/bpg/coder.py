"""BPG as a codec of `study.toml`."""

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from distortions.bpg import decoding, encoding, hevc, programs
from distortions.bpg.header import Header
from distortions.protocol import RateSetting
from distortions.tunable import Tunable
from study.errors import UnavailableError
from study.images import Pixels


class Bpg(Tunable):
    """BPG: one intra picture of HEVC by x265 at a constant QP, decoded as bpgdec does, or by Bellard's own programs.

    The defaults are bpgenc's (veryslow, full range), but for 4:4:4 chroma, which the published curves have, and 8 bits.
    """

    name: ClassVar[str] = "bpg"
    rate: ClassVar[RateSetting] = RateSetting("qp", tuple(range(51, -1, -1)))

    qp: int = Field(29, ge=0, le=51, description="0 (finest) to 51")
    preset: str = Field("veryslow", pattern=f"^({'|'.join(hevc.PRESETS)})$", description=", ".join(hevc.PRESETS))
    subsampling: Literal["4:4:4", "4:2:2", "4:2:0", "4:2:2 MPEG-2", "4:2:0 MPEG-2", "grey"] = Field(
        "4:4:4", description='4:4:4, 4:2:2, 4:2:0, with " MPEG-2" behind the last two, or grey'
    )
    colour: Literal["ycbcr", "ycbcr-709", "ycbcr-2020", "ycgco", "rgb"] = Field(
        "ycbcr", description="ycbcr, ycbcr-709, ycbcr-2020, ycgco or rgb; grey takes ycbcr, rgb takes 4:4:4"
    )
    depth: Literal[8, 10, 12] = Field(8, description="8, 10 or 12 bits a sample while coding")
    limited_range: bool = Field(False, description="true for video's range of values, false for all")
    program: Literal["x265", "bpgenc"] = Field(
        "x265", description="x265, or bpgenc where it and bpgdec are on the PATH (not with MPEG-2)"
    )

    @model_validator(mode="after")
    def _together(self) -> "Bpg":
        if self.colour == "rgb" and self.subsampling != "4:4:4":
            raise ValueError("colour rgb takes subsampling 4:4:4")
        if self.subsampling == "grey" and self.colour != "ycbcr":
            raise ValueError("subsampling grey takes colour ycbcr")
        if self.program == "bpgenc" and self.subsampling.endswith("MPEG-2"):
            raise ValueError("program bpgenc takes no MPEG-2 subsampling")
        return self

    @property
    def library(self) -> str:
        """What encodes and decodes, with its version."""
        return hevc.library() if self.program == "x265" else programs.library()

    def at(self, value: float) -> "Bpg":
        """The same codec at QP `value`."""
        return self.model_copy(update={"qp": int(value)})

    def missing(self) -> str | None:
        """What has to be installed first, and how; None where nothing has."""
        try:
            assert self.library
        except UnavailableError as error:
            return str(error)
        return None

    def encode(self, image: Pixels) -> bytes:
        """The whole file."""
        height, width = image.shape[:2]
        header = Header(width, height, self.subsampling, self.colour, self.depth, self.limited_range)
        coder = encoding if self.program == "x265" else programs
        return coder.encode(image, header, self.qp, self.preset)

    def decode(self, data: bytes) -> Pixels:
        """The image in `data`."""
        return (decoding if self.program == "x265" else programs).decode(data)
