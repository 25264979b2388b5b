"""What programs write, where it is not what was asked for: a message, an image, or too much."""

import json
import re
import struct
import zlib

import numpy as np
import pytest
from conftest import photograph
from PIL import Image
from test_distortions_more_codecs import ENCODER, PYTHON, program, words

from distortions.distort import main
from distortions.protocol import CodecError
from study.folder import Study
from study.settings import parse_settings, write_settings


def png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    """A PNG file by hand; each row in `rows` has a filter's byte in front."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def decoded(file: bytes, **settings):
    """What comes of a decoder that writes these bytes."""
    code = f"import sys; open(sys.argv[2], 'wb').write({file!r})"
    return program(decode=words(code, "{input}", "{output}"), **settings).decode(b"anything")


@pytest.mark.parametrize(("colour", "channels"), [(0, 1), (2, 3)])
def test_16_bit_images_of_a_decoder_are_rounded_to_8(colour, channels):
    """0x64ff is 100.6 of 255 and 0x8000 is 128: neither cut off, nor white as Pillow makes grey of 16 bits."""
    samples = bytes([0x64, 0xFF] * channels + [0x80, 0x00] * channels + [0xFF, 0xFF] * channels)
    found = decoded(png(3, 1, 16, colour, b"\0" + samples))
    assert found.tolist() == [[[level] * 3 for level in (101, 128, 255)]]


def test_16_bit_ppm_of_a_decoder_is_rounded_to_8():
    found = decoded(b"P6 2 1 65535\n" + bytes([0x64, 0xFF] * 3 + [0x80, 0x00] * 3), pixels="ppm")
    assert found.tolist() == [[[101] * 3, [128] * 3]]


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        (png(60_000, 60_000, 8, 2, b"x"), "megapixels"),
        (png(2, 1, 8, 6, bytes([0, 1, 2, 3, 4, 5, 6, 7, 8])), "transparent"),
        (png(50, 50, 8, 2, bytes(7550))[:60], "damaged"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n", "not an image"),
    ],
    ids=["bomb", "transparent", "cut", "PostScript, which is a program"],
)
def test_what_is_no_image_of_a_decoder_is_told_alike_each_time(file, reason):
    """Without the temporary folder's name, which would make each run's distort.json another."""
    with pytest.raises(CodecError, match=f"^[^/]* wrote no image: [^/]*{reason}[^/]*$"):
        decoded(file)


def test_messages_of_programs_reach_the_terminal_without_control_characters():
    """Colours, bells, titles and carriage returns of an encoder's message, and of its version."""
    says = r"\x1b[1;31mno\tmemory\x1b[0m\x07 left\x1b]0;title\x07\x9b\x00"
    codec = program(encode=words(f"import sys; sys.exit('{says}')", "{input}", "{output}", "{quality}"))
    with pytest.raises(CodecError, match=r"ended with status 1: no memory left$"):
        codec.encode(photograph(1, 8))
    assert program(version=words(f"print('progress\\r{says}')")).library.endswith(": progress")


@pytest.mark.parametrize(
    ("quality", "word"), [(22, "22"), (0.5, "0.5"), (1e-5, "0.00001"), (2.5e9, "2500000000"), (46.75, "46.75")]
)
def test_a_quality_is_written_in_plain_digits(quality, word):
    """Programs that take whole numbers do not take 2.5e+09."""
    code = "import sys; open(sys.argv[2], 'w').write(sys.argv[3])"
    codec = program(encode=words(code, "{input}", "{output}", "{quality}"))
    assert codec.at(quality).encode(photograph(1, 8)) == word.encode()


@pytest.mark.skipif("sys.platform != 'linux'", reason="Linux alone can limit another process")
@pytest.mark.parametrize("where", ["sys.stdout", "sys.stderr", "open(sys.argv[2], 'w')"])
def test_a_program_that_writes_without_end_is_stopped_before_the_disk_is_full(where, monkeypatch):
    monkeypatch.setattr("distortions.program.MOST_BYTES", 10**7)
    code = f"import sys, time; time.sleep(.1); file = {where}\nwhile True: file.write('x' * 10**6)"
    codec = program(encode=words(code, "{input}", "{output}", "{quality}"), timeout_seconds=60)
    with pytest.raises(CodecError, match=r"ended with|ended by") as error:
        codec.encode(photograph(1, 8))
    assert re.search("File too large|status|signal", str(error.value)) and len(str(error.value)) < 500


def test_an_image_of_a_decoder_is_as_it_was_written():
    image = photograph(1, 16)
    rows = b"".join(b"\0" + row.tobytes() for row in image)
    assert np.array_equal(decoded(png(16, 16, 8, 2, rows)), image)


@pytest.mark.parametrize(
    ("then", "reason"),
    [("sys.exit('cannot')", "status 1: cannot"), ("image = image.resize((160, 160))", "160 x 160 pixels of 80 x 80")],
)
def test_a_decoder_that_fails_at_some_qualities_costs_those_rates_alone(then, reason, tmp_path):
    """What it made of the others is used; nothing of a size that is not the photograph's becomes a stimulus."""
    (tmp_path / "photographs").mkdir()
    Image.fromarray(photograph(0, 80)).save(tmp_path / "photographs" / "a.png")
    code = "import os, sys; from PIL import Image; image = Image.open(sys.argv[1])\n"
    code += f"if os.path.getsize(sys.argv[1]) > 1500: {then}\nimage.save(sys.argv[2])"
    settings = {
        "encode": words(ENCODER, "{input}", "{output}", "{quality}"),
        "decode": words(code, "{input}", "{output}"),
        "version": [PYTHON, "--version"],
        "worst": 5,
        "best": 95,
    }
    values = {
        "name": "study",
        "photographs": {"folder": str(tmp_path / "photographs"), "crop": 48},
        "rates": {"bits_per_pixel": [1.5, 3.0], "tolerance": 0.2},
        "codecs": [{"name": "program", "settings": settings}, {"name": "jpeg"}],
        "triplets": {"sentinels": 0, "practice": 0},
    }
    write_settings(parse_settings(values, "test"), tmp_path / "study.toml")
    assert main([str(tmp_path), "--workers", "1"]) == 0
    [missed] = json.loads((tmp_path / "distort.json").read_text())["unreachable"]
    assert missed["target_bits_per_pixel"] == 3 and reason in missed["reason"]
    stimuli = Study(tmp_path).stimuli
    assert list(stimuli[stimuli["codec"] == "program"]["target_bits_per_pixel"]) == [1.5]
    assert (stimuli["width"] == 48).all()
