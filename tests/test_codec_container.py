"""The bytes of an .eyt file: laid out as written down, and every other byte string is refused for its reason."""

import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codec.container import FormatError, Header, Section, first_seal, next_seal, pack, pack_header, unpack
from codec.tiles import ALIGNED, TILE, tiles

MODEL = bytes.fromhex("0123456789abcdef")


def file_of(
    width: int = 7, height: int = 5, code: bytes = b"codecode", steps: int = 0x0180, grey: bool = False
) -> bytes:
    header = Header(MODEL, grey, steps, width, height)
    return pack(header, [Section(code, index) for index in range(len(tiles(height, width)))])


def repaired(data: bytes) -> bytes:
    """`data` with the checksum at its end made right."""
    return data[:-4] + zlib.crc32(data[:-4]).to_bytes(4, "little")


def test_a_file_is_laid_out_as_the_module_says():
    """Written out by hand: a grey image of 300 x 5 pixels with a code of 2 words."""
    header = Header(MODEL, True, 0x0180, 300, 5)
    assert header.position == 1.5
    by_hand = b"EYT\x01" + MODEL + b"\x01" + b"\x80\x01" + b"\xac\x02" + b"\x05"
    assert pack_header(header) == by_hand
    seal = first_seal(header)
    assert seal == zlib.crc32(by_hand)
    seal = next_seal(seal, 0x11223344)
    assert seal == zlib.crc32(by_hand + b"\x44\x33\x22\x11")
    whole = by_hand + b"\x02" + b"codecode" + seal.to_bytes(4, "little")
    assert pack(header, [Section(b"codecode", seal)]) == whole + zlib.crc32(whole).to_bytes(4, "little")


@pytest.mark.parametrize(("width", "height", "bytes_of_code", "around"), [(1, 1, 8, 26), (768, 512, 24_000, 29)])
def test_what_is_around_the_code_is_few_bytes(width, height, bytes_of_code, around):
    assert len(file_of(width, height, bytes(bytes_of_code))) - bytes_of_code == around


sizes = st.one_of(st.integers(1, 200), st.integers(1, 65535))


@given(st.data(), st.integers(0, 65535), st.booleans(), sizes, sizes)
@settings(deadline=None)
def test_whatever_is_packed_is_unpacked(data, steps, grey, width, height):
    if width * height > 2**28:
        with pytest.raises(FormatError, match="implausible size"):
            pack_header(Header(MODEL, grey, steps, width, height))
        return
    header = Header(MODEL, grey, steps, width, height)
    words = st.integers(0, 300).map(lambda count: bytes(range(4)) * count)
    sections = [Section(data.draw(words), data.draw(st.integers(0, 2**32 - 1))) for _ in tiles(height, width)]
    file = unpack(pack(header, sections))
    assert (file.header, file.sections) == (header, sections)


@given(st.integers(1, 9000), st.integers(1, 9000))
def test_tiles_cover_every_pixel_once(height, width):
    boxes = tiles(height, width)
    assert sum(box.height * box.width for box in boxes) == height * width
    edges = [(box.top, box.left, box.top + box.height, box.left + box.width) for box in boxes]
    assert (
        edges == sorted(edges) and max(edge[2] for edge in edges) == height and max(edge[3] for edge in edges) == width
    )
    columns = len({left for _, left, _, _ in edges})
    for index, (top, left, bottom, right) in enumerate(edges):  # each begins where its neighbours end
        assert left == (edges[index - 1][3] if index % columns else 0)
        assert top == (edges[index - columns][2] if index >= columns else 0)
        assert bottom > top and right > left
    if height * width <= 2**22:
        assert len(boxes) == 1
    else:
        assert all(box.top % ALIGNED == box.left % ALIGNED == 0 for box in boxes)
        assert all(max(box.height, box.width) <= TILE for box in boxes)
        tallest, widest = max(box.height for box in boxes), max(box.width for box in boxes)
        assert all(
            box.height > tallest - 2 * ALIGNED and box.width > widest - 2 * ALIGNED for box in boxes
        )  # no slivers


@pytest.mark.parametrize("width", [7, 300, 5000])
def test_every_beginning_of_a_file_is_truncated(width):
    data = file_of(width, 1000)
    for length in range(len(data)):
        with pytest.raises(FormatError, match="not an .eyt file" if length < 3 else "truncated: [1-9]"):
            unpack(data[:length])


def test_every_flipped_bit_is_noticed():
    data = file_of(5000, 1000)
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(FormatError):
            unpack(bytes(flipped))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not an .eyt file"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "not an .eyt file"),
        (b"EYT\x02" + bytes(50), "newer eyetune: format 2, this one reads 1"),
        (repaired(b"EYT\x00" + file_of()[4:]), "altered: version 0"),
        (repaired(file_of()[:12] + b"\x02" + file_of()[13:]), "altered: version 1 with flags 2"),
        (file_of() + b"\n", "altered: 1 bytes after its end"),
        (file_of() + file_of(), "altered: 34 bytes after its end"),
        (file_of()[:-1] + b"\x00", "altered: its checksum"),
        (repaired(file_of()[:15] + b"\x00" + file_of()[16:]), "implausible size of 0 x 5 pixels"),
        (repaired(file_of()[:15] + b"\x87\x00" + file_of()[16:]), "altered: one of its sizes"),
        (repaired(file_of()[:15] + b"\xff\xff\xff\xff\x0f" + file_of()[16:]), "altered: one of its sizes"),
        (repaired(file_of()[:15] + b"\x80\x80\x04" + file_of()[16:]), "65536 x 5 pixels"),
        (repaired(file_of()[:15] + b"\xff\xff\x03\xff\xff\x03" + file_of()[17:]), "65535 x 65535 pixels"),
        (repaired(file_of()[:17] + b"\xff\xff\xff\x7f" + file_of()[18:]), "truncated: 1,073,741,"),
    ],
)
def test_every_refusal_says_why_in_one_line(data, message):
    with pytest.raises(FormatError, match=message) as error:
        unpack(data)
    assert "\n" not in str(error.value)
