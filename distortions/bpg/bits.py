"""Bits, Exp-Golomb codes and NAL units, as HEVC writes them (ITU-T H.265, 7.3.1, 9.2 and Annex B)."""

from study.errors import InputError


class FormatError(InputError):
    """The bytes are not a BPG file that can be decoded; one line says why."""


class BitReader:
    """Reads bits from the most significant one on. Reading past the end raises FormatError."""

    def __init__(self, data: bytes) -> None:
        self.value = int.from_bytes(data, "big")
        self.left = 8 * len(data)

    def u(self, bits: int) -> int:
        """An unsigned integer of `bits` bits."""
        if bits > self.left:
            raise FormatError("its HEVC header ends too early")
        self.left -= bits
        return self.value >> self.left & (1 << bits) - 1

    def ue(self) -> int:
        """An unsigned Exp-Golomb code of at most 32 bits of value."""
        zeros = 0
        while not self.u(1):
            zeros += 1
            if zeros > 32:
                raise FormatError("an Exp-Golomb code in its HEVC header is too long")
        return (1 << zeros) - 1 + self.u(zeros)


class BitWriter:
    """Collects bits from the most significant one on."""

    def __init__(self) -> None:
        self.value = 0
        self.count = 0

    def u(self, bits: int, value: int) -> None:
        """Append `value` as `bits` bits."""
        assert 0 <= value < 1 << bits
        self.value = self.value << bits | value
        self.count += bits

    def ue(self, value: int) -> None:
        """Append `value` as an unsigned Exp-Golomb code."""
        assert value >= 0
        self.u(2 * (value + 1).bit_length() - 1, value + 1)

    def padded(self) -> bytes:
        """What was written, with zero bits to the next whole byte."""
        missing = -self.count % 8
        return (self.value << missing).to_bytes((self.count + missing) // 8, "big")

    def payload(self) -> bytes:
        """What was written as a NAL unit's raw payload: a stop bit, then zero bits to the next whole byte."""
        self.u(1, 1)
        return self.padded()


def escaped(payload: bytes) -> bytes:
    """`payload` with emulation prevention: no 00 00 followed by 00, 01, 02 or 03 (H.265, 7.4.2)."""
    out = bytearray()
    zeros = 0
    for byte in payload:
        if zeros == 2 and byte <= 3:
            out.append(3)
            zeros = 0
        out.append(byte)
        zeros = zeros + 1 if byte == 0 else 0
    return bytes(out)


def unescaped(data: bytes) -> bytes:
    """`data` without its emulation prevention bytes."""
    out = bytearray()
    zeros = 0
    for byte in data:
        if zeros >= 2 and byte == 3:
            zeros = 0
            continue
        out.append(byte)
        zeros = zeros + 1 if byte == 0 else 0
    return bytes(out)


def nal_units(stream: bytes) -> list[bytes]:
    """The NAL units of a byte stream, without start codes; what comes before the first start code is the first."""
    units = []
    begin = 0
    while begin <= len(stream):
        found = stream.find(b"\0\0\1", begin)
        end = len(stream) if found < 0 else found
        unit = stream[begin:end].rstrip(b"\0")  # the zeros are a longer start code's, or trailing ones
        if unit:
            units.append(unit)
        begin = end + 3
    return units


def unit_type(unit: bytes) -> int:
    """nal_unit_type, 0 to 63 (H.265, table 7-1). Raises FormatError where the unit has no header."""
    if len(unit) < 3 or unit[0] & 0x80:
        raise FormatError("a NAL unit in it has no header")
    return unit[0] >> 1


def layer(unit: bytes) -> int:
    """nuh_layer_id: 0 for colour, 1 for alpha."""
    return (unit[0] & 1) << 5 | unit[1] >> 3
