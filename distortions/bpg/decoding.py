"""A BPG file as an image.

Extensions are read past, and of an animation the first picture is taken, as the specification has it for decoders that
do not animate. Alpha and CMYK are refused by name.
"""

from distortions.bpg import header as container
from distortions.bpg import hevc, parameters
from distortions.bpg.bits import BitReader, FormatError, layer, nal_units, unescaped, unit_type
from distortions.bpg.chroma import Plane
from distortions.bpg.colour import image_of
from distortions.bpg.encoding import chroma_format_idc
from distortions.bpg.header import MOST_PIXELS, Header
from distortions.bpg.parameters import START, Picture
from study.images import Pixels

INTRA = range(16, 24)  # BLA, IDR and CRA pictures
OTHERS = range(16)  # pictures that need another
PPS, PICTURE_HASH = 34, 40
MOST_SLICED = 16 * MOST_PIXELS
"""Slices times pixels: each slice may hold the whole picture again, in some bytes."""


def decode(file: bytes) -> Pixels:
    """The `(H, W, 3)` image. Raises FormatError, and UnavailableError where PyAV is not installed."""
    header, planes = decode_planes(file)
    return image_of(planes, header)


def decode_planes(file: bytes) -> tuple[Header, list[Plane]]:
    """The header, and the planes that it describes: one if grey, else three; cropped to the picture."""
    header, data = container.unpack(file)
    if header.alpha != "none":
        what = "a CMYK picture" if header.alpha == "white" else "a transparent picture"
        raise FormatError(f"{what}, which eyetune does not decode; bpgdec does")
    fields, data = parameters.unpack(data)
    _check_size(header, len(data))
    idc = chroma_format_idc(header.format)
    width, height = (-(-side // fields.min_cb) * fields.min_cb for side in (header.width, header.height))
    picture = Picture(idc, width, height, header.depth)
    units = _first_picture(data)
    slices = sum(unit_type(unit) in INTRA for unit in units)
    if slices * width * height > MOST_SLICED:
        raise FormatError(f"implausible: {slices:,} slices of {header.width:,} x {header.height:,} pixels")
    stream = b"".join([parameters.rebuilt(fields, picture), *(START + unit for unit in units)])
    planes = hevc.decoded(stream, idc, header.depth, width, height)
    rows, columns = header.height, header.width
    halved = -(-rows // 2) if idc == 1 else rows, -(-columns // 2) if idc in (1, 2) else columns
    return header, [planes[0][:rows, :columns], *(plane[: halved[0], : halved[1]] for plane in planes[1:])]


def _check_size(header: Header, size: int) -> None:
    """Refuse a picture that so few bytes cannot hold: each block of at most 64 x 64 costs a bit or more.

    An intra block's prediction mode ends in at least one bit that is not arithmetically coded (mpm_idx, or
    rem_intra_luma_pred_mode; H.265, 9.3.3), and blocks without it (PCM) hold their samples.
    """
    if header.width * header.height > MOST_PIXELS:
        raise FormatError(f"{header.width:,} x {header.height:,} pixels: above {MOST_PIXELS:,}")
    if -(-header.width // 64) * -(-header.height // 64) > 8 * size:
        raise FormatError(f"implausible size: {header.width:,} x {header.height:,} pixels in {size:,} bytes")


def _first_picture(data: bytes) -> list[bytes]:
    """The NAL units of the first picture's colour: picture parameters, slices and their hash. Raises FormatError.

    Of the picture parameters only those that its slices name: a decoder makes tables of a picture's size for each.
    """
    parameter_sets: dict[int, bytes] = {}
    units: list[bytes] = []
    for unit in nal_units(data):
        kind = unit_type(unit)
        if kind in (parameters.VPS, parameters.SPS):
            raise FormatError("parameter sets within its HEVC data, where BPG has none")
        if layer(unit):
            continue
        if kind == PPS:
            if units:
                break
            parameter_sets[_beginning(unit).ue()] = unit
        elif kind in INTRA:
            if units and unit[2] & 0x80:  # first_slice_segment_in_pic_flag
                break
            units.append(unit)
        elif kind in OTHERS:
            if units:
                break
            raise FormatError("its first picture needs another one")
        elif kind == PICTURE_HASH and units:
            units.append(unit)
    if not units:
        raise FormatError("its HEVC data holds no picture")
    bits = _beginning(units[0])
    bits.u(2)  # first_slice_segment_in_pic_flag, no_output_of_prior_pics_flag
    number = bits.ue()
    if number not in parameter_sets:
        raise FormatError(f"its picture parameters number {number} are missing")
    return [parameter_sets[number], *units]


def _beginning(unit: bytes) -> BitReader:
    """The first fields of a NAL unit's payload, which are numbers of parameter sets."""
    return BitReader(unescaped(unit[2:14]))
