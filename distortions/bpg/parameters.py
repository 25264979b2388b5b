"""HEVC's parameter sets: what BPG keeps of them, and how they are made whole again for a stock decoder.

    x265's stream:  VPS  SPS  PPS  slices          BPG's data:  fields of the SPS  |  PPS  slices

Everything that BPG leaves out has one value in every file. Sources: ITU-T H.265, 7.3.2; BPG Specification 0.9.5, 3.1.
"""

from dataclasses import dataclass
from typing import NamedTuple

from distortions.bpg.bits import BitReader, BitWriter, FormatError, escaped, nal_units, unescaped, unit_type
from distortions.bpg.header import read_ue7, ue7

VPS, SPS = 32, 33
START = b"\0\0\0\1"
RANGE_EXTENSION = (
    "transform_skip_rotation", "transform_skip_context", "implicit_rdpcm", "explicit_rdpcm", "extended_precision",
    "intra_smoothing_disabled", "high_precision_offsets", "persistent_rice", "cabac_bypass_alignment",
)  # fmt: skip
"""The flags of sps_range_extension, in order."""
FORBIDDEN = ("extended_precision", "cabac_bypass_alignment")
"""0 in every BPG file (3.3)."""


class Pcm(NamedTuple):
    """How unpredicted blocks are stored, where there are any."""

    luma_depth_minus1: int
    chroma_depth_minus1: int
    log2_min_minus3: int
    log2_diff: int
    loop_filter_disabled: int


@dataclass(frozen=True)
class Parameters:
    """What BPG keeps of the SPS. The names are H.265's, without what all share."""

    log2_min_cb_minus3: int = 0
    log2_diff_cb: int = 3
    log2_min_tb_minus2: int = 0
    log2_diff_tb: int = 3
    depth_intra: int = 0
    sao: bool = True
    pcm: Pcm | None = None
    strong_intra_smoothing: bool = True
    range_extension: tuple[bool, ...] | None = None
    """The flags in the order of RANGE_EXTENSION; None where there is no such extension."""

    @property
    def min_cb(self) -> int:
        """Side of the smallest coding block in luma samples: coded pictures are multiples of it."""
        return 8 << self.log2_min_cb_minus3


class Picture(NamedTuple):
    """What the SPS says that stands in BPG's own header."""

    chroma_format_idc: int
    width: int
    """As coded: a multiple of the smallest coding block."""
    height: int
    depth: int


def checked(parameters: Parameters) -> Parameters:
    """`parameters`, where they are in H.265's ranges (7.4.3.2.1). Raises FormatError."""
    p = parameters
    min_cb, min_tb = p.log2_min_cb_minus3 + 3, p.log2_min_tb_minus2 + 2
    ctb, max_tb = min_cb + p.log2_diff_cb, min_tb + p.log2_diff_tb
    if not (4 <= ctb <= 6 and min_tb < min_cb and max_tb <= min(ctb, 5) and p.depth_intra <= ctb - min_tb):
        raise FormatError(
            f"impossible block sizes: coding 2^{min_cb} to 2^{ctb}, transform 2^{min_tb} to 2^{max_tb},"
            f" depth {p.depth_intra}"
        )
    if p.pcm:
        smallest = p.pcm.log2_min_minus3 + 3
        if not min(min_cb, 5) <= smallest <= smallest + p.pcm.log2_diff <= min(ctb, 5):
            raise FormatError(f"impossible PCM block sizes: 2^{smallest} to 2^{smallest + p.pcm.log2_diff}")
    for name, flag in zip(RANGE_EXTENSION, p.range_extension or (), strict=False):
        if flag and name in FORBIDDEN:
            raise FormatError(f"its HEVC header asks for {name}, which BPG does not have")
    return p


def pack(parameters: Parameters) -> bytes:
    """BPG's hevc_header, its length in front."""
    bits = BitWriter()
    p = parameters
    for value in (p.log2_min_cb_minus3, p.log2_diff_cb, p.log2_min_tb_minus2, p.log2_diff_tb, p.depth_intra):
        bits.ue(value)
    bits.u(1, p.sao)
    _write_pcm(bits, p.pcm)
    bits.u(1, p.strong_intra_smoothing)
    _write_extension(bits, p.range_extension)
    data = bits.padded()
    return ue7(len(data)) + data


def unpack(data: bytes) -> tuple[Parameters, bytes]:
    """The fields of BPG's hevc_header, and what follows it. Raises FormatError."""
    size, at = read_ue7(data, 0)
    if size > min(len(data) - at, 1000):  # of the longest that means anything, some dozen bytes
        raise FormatError(f"an HEVC header of {size:,} bytes where {len(data) - at:,} are left")
    bits = BitReader(data[at : at + size])
    min_cb, diff_cb, min_tb, diff_tb, depth = (bits.ue() for _ in range(5))
    sao = bool(bits.u(1))
    pcm = _read_pcm(bits)
    strong = bool(bits.u(1))
    extension = _read_extension(bits)
    return checked(Parameters(min_cb, diff_cb, min_tb, diff_tb, depth, sao, pcm, strong, extension)), data[at + size :]


def stripped(stream: bytes) -> tuple[Parameters, Picture, bytes]:
    """Fields of the SPS, what the header says itself, and BPG's hevc_data, of a byte stream that an encoder wrote.

    Raises FormatError where the stream is not one picture that BPG can hold.
    """
    units = nal_units(stream)
    if [unit_type(unit) for unit in units[:2]] != [VPS, SPS]:
        raise FormatError("the HEVC encoder's stream does not begin with VPS and SPS")
    parameters, picture = read_sps(units[1])
    return parameters, picture, START.join(units[2:])


def rebuilt(parameters: Parameters, picture: Picture) -> bytes:
    """VPS and SPS as a byte stream, ready for the other NAL units with their start codes."""
    return START + write_vps() + START + write_sps(parameters, picture)


def write_vps() -> bytes:
    """The VPS of one layer."""
    bits = BitWriter()
    bits.u(4, 0)  # vps_video_parameter_set_id
    bits.u(2, 3)  # base layer internal, available
    bits.u(6, 0)  # vps_max_layers_minus1
    bits.u(3, 0)  # vps_max_sub_layers_minus1
    bits.u(1, 1)  # vps_temporal_id_nesting_flag
    bits.u(16, 0xFFFF)
    _write_profile(bits)
    _write_buffering(bits)
    bits.u(6, 0)  # vps_max_layer_id
    bits.ue(0)  # vps_num_layer_sets_minus1
    bits.u(2, 0)  # no timing, no extension
    return bytes((VPS << 1, 1)) + escaped(bits.payload())


def write_sps(parameters: Parameters, picture: Picture) -> bytes:
    """The SPS as a NAL unit."""
    p, bits = parameters, BitWriter()
    bits.u(4, 0)  # sps_video_parameter_set_id
    bits.u(3, 0)  # sps_max_sub_layers_minus1
    bits.u(1, 1)  # sps_temporal_id_nesting_flag
    _write_profile(bits)
    bits.ue(0)  # sps_seq_parameter_set_id
    bits.ue(picture.chroma_format_idc)
    if picture.chroma_format_idc == 3:
        bits.u(1, 0)  # separate_colour_plane_flag
    bits.ue(picture.width)
    bits.ue(picture.height)
    bits.u(1, 0)  # conformance_window_flag
    bits.ue(picture.depth - 8)
    bits.ue(picture.depth - 8)
    bits.ue(4)  # log2_max_pic_order_cnt_lsb_minus4
    _write_buffering(bits)
    for value in (p.log2_min_cb_minus3, p.log2_diff_cb, p.log2_min_tb_minus2, p.log2_diff_tb):
        bits.ue(value)
    bits.ue(p.depth_intra)  # max_transform_hierarchy_depth_inter, of no picture here
    bits.ue(p.depth_intra)
    bits.u(2, 1)  # no scaling lists; asymmetric partitions
    bits.u(1, p.sao)
    _write_pcm(bits, p.pcm)
    bits.ue(0)  # num_short_term_ref_pic_sets
    bits.u(2, 1)  # no long-term reference pictures; temporal motion vectors
    bits.u(1, p.strong_intra_smoothing)
    bits.u(1, 0)  # vui_parameters_present_flag
    _write_extension(bits, p.range_extension)
    return bytes((SPS << 1, 1)) + escaped(bits.payload())


def read_sps(unit: bytes) -> tuple[Parameters, Picture]:
    """The fields of an SPS that x265 or `write_sps` wrote. Raises FormatError where BPG cannot express it."""
    bits = BitReader(unescaped(unit[2:]))
    _demand("sps_video_parameter_set_id", bits.u(4), 0)
    _demand("sps_max_sub_layers_minus1", bits.u(3), 0)
    bits.u(1 + 96)  # nesting, profile, level
    _demand("sps_seq_parameter_set_id", bits.ue(), 0)
    chroma = bits.ue()
    if chroma == 3:
        _demand("separate_colour_plane_flag", bits.u(1), 0)
    width, height = bits.ue(), bits.ue()
    _demand("conformance_window_flag", bits.u(1), 0)
    depth = bits.ue() + 8
    _demand("bit_depth_chroma_minus8", bits.ue(), depth - 8)
    _demand("log2_max_pic_order_cnt_lsb_minus4", bits.ue(), 4)
    bits.u(1)
    for _ in range(3):  # decoded picture buffer
        bits.ue()
    min_cb, diff_cb, min_tb, diff_tb, inter, intra = (bits.ue() for _ in range(6))
    _demand("max_transform_hierarchy_depth_inter", inter, intra)
    _demand("scaling_list_enabled_flag", bits.u(1), 0)
    _demand("amp_enabled_flag", bits.u(1), 1)
    sao = bool(bits.u(1))
    pcm = _read_pcm(bits)
    _demand("num_short_term_ref_pic_sets", bits.ue(), 0)
    _demand("long_term_ref_pics_present_flag", bits.u(1), 0)
    _demand("sps_temporal_mvp_enabled_flag", bits.u(1), 1)
    strong = bool(bits.u(1))
    if bits.u(1):
        _skip_vui(bits)
    extension = _read_extension(bits)
    parameters = Parameters(min_cb, diff_cb, min_tb, diff_tb, intra, sao, pcm, strong, extension)
    return checked(parameters), Picture(chroma, width, height, depth)


def _demand(name: str, value: int, wanted: int) -> None:
    if value != wanted:
        raise FormatError(f"the HEVC encoder wrote {name} = {value}, where every BPG file has {wanted}")


def _write_profile(bits: BitWriter) -> None:
    bits.u(3, 0)  # profile space, tier
    bits.u(5, 4)  # format range extensions
    bits.u(32, 1 << 27)  # compatible with profile 4
    bits.u(48, 0)  # constraints: none claimed
    bits.u(8, 255)  # level 8.5, of no limits


def _write_buffering(bits: BitWriter) -> None:
    bits.u(1, 1)
    for _ in range(3):  # one picture, none reordered, no latency limit
        bits.ue(0)


def _write_pcm(bits: BitWriter, pcm: Pcm | None) -> None:
    bits.u(1, pcm is not None)
    if pcm:
        bits.u(4, pcm.luma_depth_minus1)
        bits.u(4, pcm.chroma_depth_minus1)
        bits.ue(pcm.log2_min_minus3)
        bits.ue(pcm.log2_diff)
        bits.u(1, pcm.loop_filter_disabled)


def _read_pcm(bits: BitReader) -> Pcm | None:
    return Pcm(bits.u(4), bits.u(4), bits.ue(), bits.ue(), bits.u(1)) if bits.u(1) else None


def _write_extension(bits: BitWriter, flags: tuple[bool, ...] | None) -> None:
    bits.u(1, flags is not None)
    if flags is not None:
        bits.u(1, 1)
        bits.u(7, 0)
        for flag in flags:
            bits.u(1, flag)


def _read_extension(bits: BitReader) -> tuple[bool, ...] | None:
    if not bits.u(1):
        return None
    present, others = bits.u(1), bits.u(7)
    if others:
        raise FormatError(f"its HEVC header has extensions ({others:#04x}) that BPG does not have")
    return tuple(bool(bits.u(1)) for _ in RANGE_EXTENSION) if present else None


def _skip_vui(bits: BitReader) -> None:
    """Read past vui_parameters (H.265, E.2.1). They say nothing that decoding needs."""
    if bits.u(1) and bits.u(8) == 255:  # aspect_ratio_idc
        bits.u(32)
    if bits.u(1):  # overscan
        bits.u(1)
    if bits.u(1):  # video_signal_type
        bits.u(4)
        if bits.u(1):
            bits.u(24)
    if bits.u(1):  # chroma_loc_info
        bits.ue(), bits.ue()
    bits.u(3)  # neutral chroma, fields
    _demand("default_display_window_flag", bits.u(1), 0)
    if bits.u(1):  # timing
        bits.u(64)
        if bits.u(1):
            bits.ue()
        _demand("vui_hrd_parameters_present_flag", bits.u(1), 0)
    if bits.u(1):  # bitstream restriction
        bits.u(3)
        for _ in range(5):
            bits.ue()
