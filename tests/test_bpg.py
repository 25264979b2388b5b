"""BPG: every header field both ways, planes bit-exact through a stock decoder, colours and chroma, what is refused."""

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
import tracemalloc
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from conftest import photograph
from hypothesis import given, settings
from hypothesis import strategies as st

import eyetune
from distortions.bpg import bits, chroma, colour, decoding, encoding, header, hevc, parameters, programs
from distortions.bpg.coder import Bpg
from distortions.bpg.header import COLOURS, FORMATS, Header
from distortions.bpg.parameters import Parameters, Pcm, Picture
from distortions.making import psnr
from study.command import run
from study.errors import UnavailableError
from study.images import decode_rgb, encode_png

av = pytest.importorskip("av")
SIZES = st.integers(1, header.LONGEST)
PRESET = "ultrafast"
COUNT = os.environ.get("EYETUNE_FUZZ", "300")  # make fuzz: 20,000
SEED = os.environ.get("EYETUNE_FUZZ_SEED", "1")


@st.composite
def headers(draw):
    format = draw(st.sampled_from(FORMATS))
    space = "ycbcr" if format == "grey" else draw(st.sampled_from(COLOURS))
    alpha = draw(st.sampled_from([kind for kind in header.ALPHAS if format != "grey" or kind != "white"]))
    extensions = st.lists(st.tuples(st.integers(0, 2**32 - 1), st.binary(max_size=300)), max_size=3)
    return Header(
        draw(SIZES), draw(SIZES), format, space, draw(st.integers(8, 14)), draw(st.booleans()), alpha,
        draw(st.booleans()), tuple(draw(extensions)),
    )  # fmt: skip


@st.composite
def hevc_parameters(draw):
    min_cb = draw(st.integers(3, 6))
    ctb = draw(st.integers(max(4, min_cb), 6))
    min_tb = draw(st.integers(2, min(min_cb - 1, 5)))
    max_tb = draw(st.integers(min_tb, min(ctb, 5)))
    pcm = None
    if draw(st.booleans()):
        smallest = draw(st.integers(min(min_cb, 5), min(ctb, 5)))
        largest = draw(st.integers(smallest, min(ctb, 5)))
        depths = draw(st.integers(0, 7)), draw(st.integers(0, 7))
        pcm = Pcm(*depths, smallest - 3, largest - smallest, draw(st.integers(0, 1)))
    flags = None
    if draw(st.booleans()):
        flags = tuple(name not in parameters.FORBIDDEN and draw(st.booleans()) for name in parameters.RANGE_EXTENSION)
    return Parameters(
        min_cb - 3, ctb - min_cb, min_tb - 2, max_tb - min_tb, draw(st.integers(0, ctb - min_tb)),
        draw(st.booleans()), pcm, draw(st.booleans()), flags,
    )  # fmt: skip


@settings(deadline=None)
@given(headers(), st.binary(min_size=1, max_size=50))
def test_every_header_field_comes_back(written, data):
    assert header.unpack(header.pack(written, data)) == (written, data)


@settings(deadline=None)
@given(headers(), st.data())
def test_a_header_that_is_cut_is_refused(written, data):
    file = header.pack(written, b"")
    with pytest.raises(bits.FormatError):
        header.unpack(file[: data.draw(st.integers(0, len(file) - 1))])


def test_a_header_worked_by_hand():
    """From the specification: 4:2:0, alpha, 10 bits; BT.709, an extension, limited range; 542 x 8 pixels."""
    file = bytes.fromhex("425047fb 32 3a 841e 08 00 04 03 02 abcd") + b"rest"
    wanted = Header(542, 8, "4:2:0", "ycbcr-709", 10, True, "alpha", False, ((3, b"\xab\xcd"),))
    assert header.unpack(file) == (wanted, b"rest")
    assert header.pack(wanted, b"rest") == file


def test_a_data_length_ends_the_data():
    file = header.pack(Header(5, 7), b"abcdef")
    cut = file.index(b"abcdef")
    assert header.unpack(file[: cut - 1] + b"\x04abcdef")[1] == b"abcd"
    with pytest.raises(bits.FormatError, match="a part of 7 bytes where 6 are left"):
        header.unpack(file[: cut - 1] + b"\x07abcdef")


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_numbers_of_seven_bits_a_byte(value):
    """As the specification's examples: 8 is 08, 542 is 84 1e, 728855 is ac be 17."""
    assert [header.ue7(number).hex() for number in (8, 542, 728855)] == ["08", "841e", "acbe17"]
    code = header.ue7(value)
    assert header.read_ue7(code, 0, 2**32 - 1) == (value, len(code))
    with pytest.raises(bits.FormatError, match="begins with zeros"):
        header.read_ue7(b"\x80" + code, 0)


@settings(deadline=None)
@given(hevc_parameters(), st.binary(max_size=20))
def test_every_field_of_the_hevc_header_comes_back(written, rest):
    assert parameters.unpack(parameters.pack(written) + rest) == (written, rest)


@settings(deadline=None)
@given(hevc_parameters(), st.integers(0, 3), st.integers(1, 2**16), st.integers(1, 2**16), st.integers(8, 14))
def test_what_is_rebuilt_for_a_decoder_says_the_same(written, idc, width, height, depth):
    picture = Picture(idc, width, height, depth)
    units = bits.nal_units(parameters.rebuilt(written, picture))
    assert [bits.unit_type(unit) for unit in units] == [parameters.VPS, parameters.SPS]
    assert parameters.read_sps(units[1]) == (written, picture)


@settings(deadline=None)
@given(st.lists(st.sampled_from([0, 0, 0, 1, 2, 3, 4, 255]), max_size=60).map(bytes))
def test_emulation_prevention_comes_off_again(payload):
    safe = bits.escaped(payload)
    assert bits.unescaped(safe) == payload
    assert not any(bytes((0, 0, byte)) in safe for byte in (0, 1, 2))


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 2**31)), max_size=20))
def test_bits_and_exponential_golomb_codes_come_back(values):
    writer = bits.BitWriter()
    for golomb, value in values:
        writer.ue(value) if golomb else writer.u(32, value)
    reader = bits.BitReader(writer.padded())
    assert [reader.ue() if golomb else reader.u(32) for golomb, _ in values] == [value for _, value in values]


@pytest.mark.parametrize(
    ("value", "code"), [(0, "1"), (1, "010"), (2, "011"), (3, "00100"), (6, "00111"), (7, "0001000")]
)
def test_exponential_golomb_codes_of_the_standard(value, code):
    """H.265, table 9-2."""
    writer = bits.BitWriter()
    writer.ue(value)
    assert f"{writer.value:0{writer.count}b}" == code


@pytest.mark.parametrize("depth", [8, 10])
@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("size", [(1, 1), (7, 50), (33, 17), (72, 104)])
def test_planes_are_those_of_a_stock_decoder_on_the_encoders_stream(format, size, depth, monkeypatch):
    """Stripping and rebuilding change no sample: FFmpeg decodes x265's own stream to the same planes."""
    streams = []
    encoded = hevc.encoded
    monkeypatch.setattr(hevc, "encoded", lambda *given: streams.append(encoded(*given)) or streams[0])
    written = Header(size[1], size[0], format, depth=depth)
    image = photograph(7, 128)[: size[0], : size[1]]
    file = encoding.encode(image, written, 24, PRESET)
    context = av.CodecContext.create("hevc", "r")
    [frame] = [*context.decode(av.Packet(streams[0])), *context.decode(None)]
    found, planes = decoding.decode_planes(file)
    assert found == written and len(planes) == len(frame.planes)
    for plane, ours in zip(frame.planes, planes, strict=True):
        stock = np.frombuffer(plane, np.uint8 if depth == 8 else "<u2").reshape(plane.height, -1)
        assert np.array_equal(stock[: ours.shape[0], : ours.shape[1]], ours)
    assert planes[0].shape == size


@pytest.mark.parametrize("limited", [False, True])
@pytest.mark.parametrize("space", COLOURS)
def test_colours_come_back_from_444_planes(space, limited):
    """All but exactly at 12 bits, and at 8 bits within what rounding to 8 bits in another space costs."""
    image = np.random.default_rng(1).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    for depth, most in ((8, 3), (10, 1), (12, 0)):
        written = Header(50, 40, "4:4:4", space, depth, limited)
        back = colour.image_of(colour.planes_of(image, written), written)
        assert np.abs(back.astype(int) - image).max() <= most


def test_colours_worked_by_hand():
    """Red, full range: BT.601's Y is 76, Cb 85, Cr 255; in limited range 81, 90, 240 (ITU-R BT.601-7, BT.709-6)."""
    red = np.array([[[255, 0, 0]]], np.uint8)

    def planes(*given):
        return [int(plane[0, 0]) for plane in colour.planes_of(red, Header(1, 1, *given))]

    assert planes("4:4:4") == [76, 85, 255]
    assert planes("4:4:4", "ycbcr", 8, True) == [81, 90, 240]
    assert planes("4:4:4", "ycbcr-709", 8, True) == [63, 102, 240]
    assert planes("4:4:4", "ycbcr-2020", 10, True) == [294, 387, 960]
    assert planes("4:4:4", "rgb") == [0, 0, 255]
    assert planes("4:4:4", "ycgco") == [64, 64, 255]
    assert planes("grey", "ycbcr", 10) == [306]


@pytest.mark.parametrize(
    ("planes", "told", "rgb"),
    [
        ((76, 85, 255), ("4:4:4",), (254, 0, 0)),
        ((81, 90, 240), ("4:4:4", "ycbcr", 8, True), (254, 0, 0)),
        ((235, 128, 128), ("4:4:4", "ycbcr-709", 8, True), (255, 255, 255)),
        ((64, 512, 512), ("4:4:4", "ycbcr-2020", 10, True), (0, 0, 0)),
        ((1023, 512, 512), ("4:4:4", "ycgco", 10), (255, 255, 255)),
        ((10, 20, 30), ("4:4:4", "rgb"), (30, 10, 20)),
        ((126,), ("grey", "ycbcr", 8, True), (128, 128, 128)),
    ],
)
def test_pixels_worked_by_hand(planes, told, rgb):
    """R = Y + 1.402 Cr and its like, for each colour space; limited range is 16 to 235."""
    shown = colour.image_of([np.array([[value]], np.uint16) for value in planes], Header(1, 1, *told))
    assert shown.tolist() == [[list(rgb)]]


def exact(samples, places, weights):
    """Sums in rational numbers at luma `places`, with edges repeated: the filters' definition, slowly."""
    out = []
    for place in places:
        taps = weights[place % 2]
        at = [min(max(place // 2 + k - 3, 0), len(samples) - 1) for k in range(8)]
        out.append(sum(Fraction(tap, 64) * int(samples[i]) for tap, i in zip(taps, at, strict=True)))
    return out


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 255), min_size=1, max_size=12), st.sampled_from(["between", "beside"]), st.booleans())
def test_columns_are_interpolated_by_the_filters(samples, siting, odd):
    width = 2 * len(samples) - odd
    wanted = exact(samples, range(width), chroma.UP[siting])
    wanted = [min(max((value + Fraction(1, 2)).__floor__(), 0), 255) for value in wanted]
    plane = np.array([samples], np.uint16)
    assert chroma.enlarged(plane, range(1), width, 8, siting, False)[0].tolist() == wanted


@pytest.mark.parametrize("siting", ["between", "beside"])
def test_chroma_keeps_its_place(siting):
    """A ramp goes down and up again to itself, away from the edges, by either siting; with the other it moves."""
    ramp = np.tile(np.arange(20, 84), (32, 1)).astype(np.int64)
    half = chroma.halved(ramp.astype(np.uint16), range(16), 8, siting, True).astype(np.uint16)
    assert half.shape == (16, 32)
    back = chroma.enlarged(half, range(32), 64, 8, siting, True)
    assert np.abs(back - ramp)[:, 16:-16].max() <= 1
    other = {"between": "beside", "beside": "between"}[siting]
    moved = chroma.enlarged(half, range(32), 64, 8, other, True) - ramp
    assert abs(moved[:, 16:-16].mean()) > 0.4


def test_strips_of_an_image_fit_together(monkeypatch):
    """Converted 5 rows at a time, either way, an image is the same as in one."""
    image = photograph(3, 64)[:53, :41]
    for format in FORMATS:
        written = Header(41, 53, format)
        monkeypatch.setattr(colour, "STRIP", 10_000)
        planes = colour.planes_of(image, written)
        whole = colour.image_of(planes, written)
        monkeypatch.setattr(colour, "STRIP", 5 * 41)
        for plane, alike in zip(planes, colour.planes_of(image, written), strict=True):
            assert np.array_equal(plane, alike)
        assert np.array_equal(colour.image_of(planes, written), whole)


@pytest.mark.parametrize("format", ["grey", "4:2:0", "4:2:2 MPEG-2", "4:4:4"])
def test_converting_takes_memory_near_the_images_own(format, monkeypatch):
    """Planes of 16 bits are twice an image's 8; half of two of them again while chroma is made smaller."""
    monkeypatch.setattr(colour, "STRIP", 2**13)
    image = np.tile(photograph(3, 100), (6, 10, 1))
    written = Header(1000, 600, format)
    tracemalloc.start()
    try:
        planes = colour.planes_of(image, written)
        _, there = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        colour.image_of(planes, written)
        _, back = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert there < 4 * image.nbytes and back < 4 * image.nbytes


@pytest.mark.parametrize("space", COLOURS)
@pytest.mark.parametrize("format", [format for format in FORMATS if format != "grey"])
def test_photographs_come_back(format, space):
    """At QP 10 within 42 dB of what the planes themselves show."""
    image = photograph(5, 96)[:91, :83]
    for depth, limited in ((8, False), (10, True)):
        written = Header(83, 91, format, space, depth, limited)
        decoded = decoding.decode(encoding.encode(image, written, 10, PRESET))
        assert psnr(colour.image_of(colour.planes_of(image, written), written), decoded) > 42


def test_grey_is_the_luma():
    image = photograph(5, 64)
    decoded = decoding.decode(encoding.encode(image, Header(64, 64, "grey"), 4, PRESET))
    luma = image @ [0.299, 0.587, 0.114]
    assert np.abs(decoded[..., 0] - luma).mean() < 1
    assert (decoded == decoded[..., :1]).all()


def test_extensions_and_later_pictures_are_read_past():
    image = photograph(2, 48)
    plain = encoding.encode(image, Header(48, 48), 20, PRESET)
    _, data = header.unpack(plain)
    tagged = header.pack(Header(48, 48, animation=True, extensions=((1, b"exif"), (5, b"\0\1\x19"), (99, b"?"))), data)
    _, units = parameters.unpack(data)
    assert np.array_equal(decoding.decode(tagged), decoding.decode(plain))
    assert np.array_equal(decoding.decode(plain + parameters.START + units), decoding.decode(plain))


@pytest.mark.parametrize(("alpha", "word"), [("alpha", "transparent"), ("white", "CMYK")])
def test_alpha_is_refused_by_name(alpha, word):
    _, data = header.unpack(encoding.encode(photograph(2, 48), Header(48, 48), 20, PRESET))
    with pytest.raises(bits.FormatError, match=word):
        decoding.decode(header.pack(Header(48, 48, alpha=alpha), data))


def test_parameter_sets_within_the_data_are_refused():
    """They could name a size that nothing here has checked."""
    file = encoding.encode(photograph(2, 48), Header(48, 48), 20, PRESET)
    sps = parameters.write_sps(Parameters(), Picture(1, 8192, 8192, 8))
    with pytest.raises(bits.FormatError, match="parameter sets within"):
        decoding.decode(file + parameters.START + sps)


def split(file):
    """Header and HEVC header of a file as bytes, its picture parameters, and its slices."""
    _, data = header.unpack(file)
    _, data = parameters.unpack(data)
    pps, *slices = bits.nal_units(data)
    return file[: -len(data)], pps, slices


def test_picture_parameters_that_no_slice_names_are_left_out(monkeypatch):
    """A decoder makes tables as large as the picture for each: of 8 bytes, some milliseconds and a megabyte."""
    file = encoding.encode(photograph(2, 48), Header(48, 48), 20, PRESET)
    front, pps, slices = split(file)
    assert pps[2] & 0x80  # number 0
    writer = bits.BitWriter()
    writer.ue(7)
    others = [pps[:2] + bytes([writer.value << 1 | 1]) + pps[3:]] * 1000
    streams = []
    decoded = hevc.decoded
    monkeypatch.setattr(hevc, "decoded", lambda stream, *more: streams.append(stream) or decoded(stream, *more))
    plain = decoding.decode(file)
    for units in ([*others, pps, *slices], [pps, *others, *slices], [pps, *slices, *others]):
        assert np.array_equal(decoding.decode(front + parameters.START.join(units)), plain)
    assert len(set(streams)) == 1
    with pytest.raises(bits.FormatError, match="picture parameters number 0 are missing"):
        decoding.decode(front + parameters.START.join([*others, *slices]))
    with pytest.raises(bits.FormatError, match="holds no picture"):
        decoding.decode(front + pps)


def test_a_picture_that_is_sliced_again_and_again_is_refused(monkeypatch):
    """A slice of some hundred bytes can hold 64 megapixels, which a decoder would decode each time it comes."""
    front, pps, [first] = split(encoding.encode(np.zeros((1024, 1024, 3), np.uint8), Header(1024, 1024), 51, PRESET))
    again = first[:2] + bytes([first[2] & 0x7F]) + first[3:]
    most = decoding.MOST_SLICED // 1024**2
    monkeypatch.setattr(hevc, "decoded", lambda *given: pytest.fail("decoded"))
    with pytest.raises(bits.FormatError, match=f"implausible: {most + 1:,} slices of 1,024 x 1,024 pixels"):
        decoding.decode(front + parameters.START.join([pps, first, *[again] * most]))


@pytest.mark.parametrize("size", [(2**14, 2**12), (2**29, 2**29), (2**29, 1)])
def test_sizes_that_the_bytes_cannot_hold_are_refused(size, monkeypatch):
    monkeypatch.setattr(hevc, "decoded", None)  # not reached
    _, data = header.unpack(encoding.encode(photograph(2, 48), Header(48, 48), 51, PRESET))
    with pytest.raises(bits.FormatError, match="pixels"):
        decoding.decode(header.pack(Header(*size), data[:100]))


def test_the_bound_on_sizes_holds_for_the_emptiest_picture():
    """A black picture of 4 megapixels at QP 51 is several times as many bytes as the bound asks for."""
    file = encoding.encode(np.zeros((2048, 2048, 3), np.uint8), Header(2048, 2048), 51, PRESET)
    assert decoding.decode(file).max() < 8
    assert 8 * len(file) > 2 * 32 * 32


def test_without_pyav_the_way_out_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    hevc.library.cache_clear()
    with pytest.raises(UnavailableError, match="pip install av"):
        encoding.encode(photograph(2, 48), Header(48, 48), 20)
    assert "pip install av" in Bpg().missing()


def test_settings_that_do_not_go_together_are_refused():
    for wrong in (
        {"colour": "rgb", "subsampling": "4:2:0"},
        {"colour": "ycgco", "subsampling": "grey"},
        {"program": "bpgenc", "subsampling": "4:2:0 MPEG-2"},
    ):
        with pytest.raises(ValueError, match="takes"):
            Bpg(**wrong)


def test_the_library_is_named_with_its_version():
    hevc.library.cache_clear()
    assert "x265 " in Bpg().library and av.__version__ in Bpg().library and "unknown" not in Bpg().library


@pytest.mark.skipif(not (shutil.which("bpgenc") and shutil.which("bpgdec")), reason="bpgenc, bpgdec not on the PATH")
@pytest.mark.parametrize("format", ["grey", "4:2:0", "4:2:2", "4:4:4", "4:2:0 MPEG-2", "4:2:2 MPEG-2"])
def test_bellards_programs_read_our_files_and_we_read_theirs(format):
    """Decoded alike, but for the last unit of some samples."""
    image = photograph(5, 96)[:91, :83]
    for depth in (8, 10):
        written = Header(83, 91, format, depth=depth)
        files = [encoding.encode(image, written, 25)]
        if not format.endswith("MPEG-2"):
            files.append(programs.encode(image, written, 25, "veryslow"))
        for file in files:
            off = np.abs(programs.decode(file).astype(int) - decoding.decode(file))
            assert off.max() <= 1 and off.mean() < 1e-3


def test_without_the_programs_the_way_out_is_told(monkeypatch):
    monkeypatch.setenv("PATH", "")
    programs.library.cache_clear()
    with pytest.raises(UnavailableError, match="bpgenc is not on the PATH"):
        Bpg(program="bpgenc").encode(photograph(2, 48))


@pytest.mark.parametrize(
    ("writes", "words"),
    [
        ("Image.new('RGBA', (3, 2), (9, 9, 9, 40)).save(target)", "wrote no image that is used: transparent pixels"),
        ("open(target, 'w').write('x')", "wrote no image that is used: not an image"),
        ("print('Could not decode ' + source)", "cannot decode it: Could not decode"),
    ],
)
def test_what_bpgdec_writes_is_looked_at(writes, words, tmp_path, monkeypatch, capsys):
    """A script in its place: as bpgdec does of a transparent picture, or where it fails without a status."""
    script = tmp_path / "bpgdec"
    code = f"import sys; from PIL import Image; _, _, target, source = sys.argv; {writes}"
    script.write_text(f"#!{sys.executable}\n{code}\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "a.bpg").write_bytes(header.pack(Header(3, 2), b""))
    assert bpg("decode", tmp_path / "a.bpg", tmp_path / "a.png", "--program", "bpgdec") == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and words in said and f"{tmp_path}/a.bpg: " in said
    assert not (tmp_path / "a.png").exists()


def test_damaged_files_are_refused_within_bounds_of_memory_and_time():
    """In a process that ends where an image takes long, or 1 GiB more; a crash of it is a failure too."""
    script = Path(__file__).parent / "fuzz_bpg.py"
    finished = subprocess.run([sys.executable, str(script), COUNT, SEED], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr[-2000:]
    outcomes = json.loads(finished.stdout)
    print(finished.stdout, finished.stderr)
    assert sum(outcomes.values()) == int(COUNT)
    reached = " ".join(outcomes)
    for outcome in ("not a BPG file", "transparent", "impossible block sizes", "cannot be decoded", "bits a sample",
                    "pixels", "ends too early", "the image", "another image"):  # fmt: skip
        assert outcome in reached


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0", "grey"])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 3), (8, 40), (17, 33), (64, 65)])
def test_every_size_comes_back_from_any_process(size, subsampling):
    """As pickled to a worker, the codec writes the same bytes, from poor to fine."""
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    codec = Bpg(subsampling=subsampling, preset="medium")
    files = [codec.at(value).encode(image) for value in (codec.rate.values[0], codec.rate.values[-1])]
    assert len(files[0]) < len(files[1])
    assert pickle.loads(pickle.dumps(codec.at(codec.rate.values[-1]))).encode(image.copy()) == files[1]
    for file in files:
        decoded = codec.decode(file)
        assert decoded.shape == image.shape and decoded.dtype == np.uint8


def bpg(*argv):
    """The exit status of `eyetune bpg ...`."""
    return run(eyetune.main, ["bpg", *map(str, argv)])


def test_the_verbs_encode_tell_and_decode(tmp_path, capsys):
    image = photograph(5, 96)[:70]
    source, file, back = (tmp_path / name for name in ("a.png", "a.bpg", "b.png"))
    source.write_bytes(encode_png(image))
    asked = ["--qp", 12, "--preset", "fast", "--subsampling", "4:2:0", "--colour", "ycbcr-709", "--depth", 10]
    assert bpg("encode", source, file, *asked, "--limited-range") == 0
    assert bpg("info", file) == 0
    assert bpg("decode", file, back) == 0
    said = capsys.readouterr().out
    assert f"{file}  {file.stat().st_size:,} bytes" in said and "96 x 70" in said
    assert "4:2:0, ycbcr-709, 10 bits, limited range" in said
    codec = Bpg(qp=12, preset="fast", subsampling="4:2:0", colour="ycbcr-709", depth=10, limited_range=True)
    assert file.read_bytes() == codec.encode(image)
    assert np.array_equal(decode_rgb(back), codec.decode(file.read_bytes()))


@pytest.mark.skipif("sys.platform != 'linux'", reason="/proc tells how long a process has run")
def test_ctrl_c_ends_an_encode_at_once_and_leaves_nothing(tmp_path):
    """Sent when x265 has begun, after 3 seconds of the processor; it would need a dozen, and Python hears no signal."""
    image = np.random.default_rng(0).integers(0, 256, (2000, 2000, 3), dtype=np.uint8)
    (tmp_path / "a.png").write_bytes(encode_png(image))
    process = subprocess.Popen(
        [sys.executable, eyetune.__file__, "bpg", "encode", "a.png", "a.bpg", "--qp", "0"], cwd=tmp_path
    )
    ticks = 0
    while ticks < 3 * os.sysconf("SC_CLK_TCK"):
        assert process.poll() is None
        ticks = sum(map(int, Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]))
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == -signal.SIGINT  # 130 to a shell
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_info_reads_past_alpha_and_names_extensions(tmp_path, capsys):
    """Its HEVC header stands before the colour's, and no decoder is asked."""
    _, data = header.unpack(encoding.encode(photograph(2, 48), Header(48, 48), 20, PRESET))
    told = Header(48, 48, alpha="premultiplied alpha", animation=True, extensions=((2, b"icc"), (60, b"")))
    (tmp_path / "a.bpg").write_bytes(header.pack(told, parameters.pack(Parameters()) + data))
    assert bpg("info", tmp_path / "a.bpg") == 0
    said = capsys.readouterr().out
    for words in (
        "premultiplied alpha",
        "the first of an animation",
        "ICC profile (3 bytes), unknown tag 60 (0 bytes)",
    ):
        assert words in said


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["encode", "a.png", "b.bpg"], ["b.bpg", "--force"]),
        (["encode", "none.png", "c.bpg"], ["none.png"]),
        (["encode", "a.png", "a.png", "--force"], ["a.png", ".bpg"]),
        (["encode", "a.png", "."], [".", ".bpg"]),
        (["encode", "b.bpg", "c.bpg"], ["b.bpg", "not"]),
        (["encode", "a.png", "c.bpg", "--qp", "52"], ["--qp 52", "0 (finest) to 51"]),
        (["encode", "a.png", "c.bpg", "--preset", "fastest"], ["--preset fastest", "ultrafast"]),
        (["encode", "a.png", "c.bpg", "--depth", "9"], ["--depth 9", "8, 10 or 12"]),
        (["encode", "a.png", "c.bpg", "--colour", "rgb", "--subsampling", "4:2:0"], ["takes subsampling 4:4:4"]),
        (["decode", "a.png", "c.png"], ["a.png", "not a BPG file"]),
        (["decode", "b.bpg", "c.png"], ["b.bpg", "truncated"]),
        (["decode", "b.bpg", "c.jpg"], ["c.jpg", ".png"]),
        (["decode", "b.bpg", "a.png"], ["a.png", "--force"]),
        (["decode", "none.bpg", "c.png"], ["none.bpg", "no such file"]),
        (["info", "."], ["not a regular file"]),
        (["info", "b.bpg"], ["b.bpg", "truncated"]),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(argv, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("a.png").write_bytes(encode_png(photograph(2, 48)))
    Path("b.bpg").write_bytes(header.MAGIC + b"\0")
    assert bpg(*argv) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and all(word in said for word in words)
    assert not Path("c.bpg").exists() and not Path("c.png").exists()
    assert np.array_equal(decode_rgb("a.png"), photograph(2, 48))
