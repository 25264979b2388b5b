"""Codecs of optional libraries, and any program as a codec: round trips, one thread, what goes wrong is named."""

import builtins
import importlib.util
import io
import json
import pickle
import shlex
import sys
import time
import tomllib
from pathlib import Path

import numpy as np
import pytest
from conftest import photograph
from PIL import Image

from distortions.catalogue import CODECS, LEARNED, PROGRAM, configured
from distortions.classical import Jpeg, RobidouxJpeg
from distortions.distort import main
from distortions.evaluation.contenders import LADDERS
from distortions.making import psnr
from distortions.program import Program, Words
from distortions.protocol import CodecError
from distortions.synthetic.distorter import NAMES as DISTORTIONS
from study.errors import InputError
from study.folder import Study
from study.settings import Codec as Entry
from study.settings import parse_settings, write_settings

NAMES = ["av1", "heic", "hevc", "jpeg-robidoux", "jpegxl", "jpegxr"]
PYTHON = sys.executable


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 3), (17, 33), (64, 65)])
def test_every_size_comes_back(name, size):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    codec = CODECS[name]()
    poorest, finest = codec.rate.values[0], codec.rate.values[-1]
    if name == "jpegxr" and min(size) < 17:  # its overlap at low rates wants more, and says so
        with pytest.raises(CodecError, match=f"{size[1]} x {size[0]} pixels"):
            codec.at(poorest).encode(image)
        poorest = finest
    if name == "av1" and min(size) < 4:
        with pytest.raises(CodecError, match=f"{size[1]} x {size[0]} pixels: SVT-AV1 takes no side below 4$"):
            codec.encode(image)
        return
    for value in (poorest, finest):
        decoded = codec.decode(codec.at(value).encode(image))
        assert decoded.shape == image.shape and decoded.dtype == np.uint8


@pytest.mark.parametrize("name", NAMES)
def test_the_rate_setting_goes_from_poor_to_fine(name):
    image = photograph(1, 128)
    codec = CODECS[name]()
    values = codec.rate.values
    files = [codec.at(values[k * (len(values) - 1) // 4]).encode(image) for k in range(5)]
    assert sorted(map(len, files)) == [len(file) for file in files] and len(files[-1]) > 3 * len(files[0])
    qualities = [psnr(image, codec.decode(file)) for file in files]
    assert sorted(qualities) == qualities and qualities[-1] > 30


@pytest.mark.parametrize("name", NAMES)
def test_equal_images_give_equal_bytes_without_metadata(name):
    image = photograph(2, 96)
    codec = CODECS[name]()
    data = codec.encode(image)
    assert pickle.loads(pickle.dumps(codec)).encode(image.copy()) == data
    for mark in (b"Exif", b"ICC_PROFILE", b"ICCP", b"http://ns.adobe", b"XMP ", b"x265"):
        assert mark not in data
    assert any(digit in codec.library for digit in "0123456789") and "through" in codec.library


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("heic", {"subsampling": "4:4:4"}),
        ("heic", {"preset": "ultrafast"}),
        ("jpegxl", {"effort": 3}),
        ("hevc", {"subsampling": "4:2:2"}),
        ("hevc", {"depth": 10}),
        ("hevc", {"preset": "ultrafast"}),
        ("av1", {"depth": 10}),
        ("av1", {"preset": 8}),
    ],
)
def test_settings_reach_the_encoder(name, settings):
    image = photograph(4, 96)
    codecs = configured([Entry(name=name), Entry(name=name, settings=settings, label="other")], "study.toml")
    assert codecs["other"].encode(image) != codecs[name].encode(image)
    assert settings.items() <= codecs["other"].settings.items()
    assert psnr(codecs["other"].decode(codecs["other"].encode(image)), image) > 25


def test_the_documentation_names_every_codec_and_its_examples_are_read():
    text = (Path(__file__).resolve().parent.parent / "docs" / "distortions.md").read_text()
    assert all(f"`{name}`" in text for name in [*CODECS, LEARNED, PROGRAM])
    assert all(f"\n{name} " in text for name in DISTORTIONS)  # the table of PSNR
    examples = text.split("```toml\n")[1:]
    assert len(examples) >= 5
    for example in examples:
        values = tomllib.loads(example.split("```")[0])
        parse_settings({"name": "docs", **values}, "docs")
        entries = [Entry(**entry) for entry in values.get("codecs", [])]
        if not entries:
            continue
        if entries[0].name == PROGRAM:
            Words.configured(entries[0].settings, "docs")
        else:
            assert len(configured(entries, "docs")) == len(entries)


def test_every_codec_has_a_ladder_to_be_measured_at():
    for name, kind in CODECS.items():
        allowed = kind.rate.values
        places = [abs(np.log(np.array(allowed) + 1) - np.log(value + 1)).argmin() for value in LADDERS[name]]
        assert sorted(set(places)) == places  # from few bits to many
        for value in LADDERS[name]:
            kind.model_validate({kind.rate.name: type(allowed[0])(value)})


def test_the_robidoux_table_is_in_the_file(tmp_path):
    """At quality 50 as published, clipped to a byte; and it spends its bits otherwise than Annex K."""
    (tmp_path / "a.jpg").write_bytes(RobidouxJpeg(quality=50).encode(photograph(1, 64)))
    with Image.open(tmp_path / "a.jpg") as image:
        tables = image.quantization
        assert image.info["progressive"] and tables[0][:8] == [16, 16, 16, 18, 25, 37, 56, 85]
        assert tables[0] == tables[1] and tables[0][-3:] == [238, 255, 255]
    assert RobidouxJpeg(progressive=False).encode(photograph(1, 64)) != Jpeg().encode(photograph(1, 64))


@pytest.mark.parametrize(
    ("name", "module", "way"),
    [
        ("heic", "pillow_heif", "heif"),
        ("jpegxl", "imagecodecs", "jxl"),
        ("hevc", "av", "bpg"),
        ("av1", "av", "bpg"),
    ],
)
def test_an_absent_library_is_named_with_what_to_install(name, module, way, monkeypatch, capsys):
    """Asked for and listed alike; other codecs work without it."""
    found, imported = importlib.util.find_spec, builtins.__import__

    def absent(wanted, *rest, **named):
        if wanted == module:
            raise ModuleNotFoundError(wanted)
        return imported(wanted, *rest, **named)

    monkeypatch.setattr(importlib.util, "find_spec", lambda wanted, *rest: None if wanted == module else found(wanted))
    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(
        InputError, match=rf"study\.toml: codecs\[1\]\.settings: {name} needs .*: pip install 'eyetune\[{way}\]'"
    ):
        configured([Entry(name="jpeg"), Entry(name=name)], "study.toml")
    assert main(["--list"]) == 0
    assert f"{name}: not installed: {name} needs" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "format"), [("hevc", "hevc"), ("av1", "obu")])
def test_a_stream_of_even_sides_is_read_by_others(name, format):
    """By FFmpeg's reader of bare streams, which makes our picture of it: it says that it is full range and BT.601's."""
    import av

    y, x = np.indices((64, 64))
    image = np.stack([4 * x, 4 * y, 255 - 2 * (x + y)], axis=-1).astype(np.uint8)  # smooth: chroma is easy to enlarge
    codec = CODECS[name]()
    data = codec.at(codec.rate.values[-20]).encode(image)
    with av.open(io.BytesIO(data), format=format) as stream:
        (frame,) = stream.decode(video=0)
    assert (frame.width, frame.height, frame.color_range, frame.colorspace) == (64, 64, 2, 6)
    assert psnr(frame.to_ndarray(format="rgb24"), codec.decode(data)) > 38  # 25 if the range were taken for another
    assert psnr(codec.decode(data), image) > 38


@pytest.mark.parametrize("name", ["hevc", "av1"])
def test_nothing_is_written_to_the_terminal(name, capfd):
    """SVT-AV1 would tell 20 lines of each picture."""
    codec = CODECS[name]()
    codec.decode(codec.encode(photograph(1, 32)))
    assert capfd.readouterr() == ("", "")


def test_padding_of_hevc_is_in_its_first_byte():
    image = photograph(3, 64)
    hevc = CODECS["hevc"]()
    assert hevc.encode(image)[:5] == bytes(4) + b"\x01"
    assert hevc.encode(image[:9, :33])[0] == 0x17
    assert hevc.decode(hevc.encode(image[:9, :33])).shape == (9, 33, 3)


@pytest.mark.parametrize("settings", [{"subsampling": "4:4:4"}, {"subsampling": "4:2:2", "depth": 10}])
def test_hevc_is_bpg_without_its_file(settings):
    """The same pixels; BPG leaves most of the stream's headers out."""
    image = photograph(1, 64)
    hevc, bpg = (CODECS[name](**settings) for name in ("hevc", "bpg"))
    bare, file = hevc.encode(image), bpg.encode(image)
    assert np.array_equal(hevc.decode(bare), bpg.decode(file)) and 0 < len(bare) - len(file) < 100


@pytest.mark.parametrize("name", ["hevc", "av1"])
def test_a_damaged_stream_is_an_error_of_one_line(name):
    data = CODECS[name]().encode(photograph(1, 64))
    for wrong in (data[:1], data[:40], b"\xff" + data[:20]):
        with pytest.raises(InputError, match="^its "):
            CODECS[name]().decode(wrong)


def test_the_list_has_every_name_and_setting(capsys):
    assert main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    starts = {line.split()[0].rstrip(":") for line in lines if line.strip()}
    assert {*CODECS, LEARNED, PROGRAM, *DISTORTIONS} <= starts
    for kind in CODECS.values():
        assert set(kind.allowed()) <= starts and any(f"[{kind.rate.name}]" in line for line in lines)


# Any program. The encoder here is Python itself, which writes JPEG with Pillow.

ENCODER = """
import sys
from PIL import Image
source, target, quality = sys.argv[1:4]
Image.open(source).save(target, "JPEG", quality=int(quality))
"""
DECODER = """
import sys
from PIL import Image
Image.open(sys.argv[1]).save(sys.argv[2])
"""


@pytest.fixture
def scripts(tmp_path):
    """A folder whose name is as bad as can be, with an encoder and a decoder."""
    folder = tmp_path / "a 'b' \"c\"; rm -rf $(x) {input} é"
    folder.mkdir()
    (folder / "-encode.py").write_text(ENCODER)
    (folder / "-decode.py").write_text(DECODER)
    return folder


def words(code: str, *rest: str) -> list[str]:
    return [PYTHON, "-c", code, *rest]


def program(**changed) -> Program:
    settings = {
        "encode": words(ENCODER, "{input}", "{output}", "{quality}"),
        "decode": words(DECODER, "{input}", "{output}"),
        "version": [PYTHON, "--version"],
        "worst": 5,
        "best": 95,
        "step": 10,
        "suffix": ".jpg",
    }
    entry = Entry(name="program", settings={k: v for k, v in (settings | changed).items() if v is not None})
    made = configured([entry], "study.toml")["program"]
    assert isinstance(made, Program)
    return made


def test_a_program_is_a_codec():
    image = photograph(1, 64)
    codec = program()
    assert codec.library == f"{Path(PYTHON).name}: Python {sys.version.split()[0]}"
    assert codec.rate.values == tuple(range(5, 96, 10))
    files = [codec.at(value).encode(image) for value in (5, 55, 95)]
    assert len(files[0]) < len(files[1]) < len(files[2])
    assert pickle.loads(pickle.dumps(codec)).at(55).encode(image) == files[1]
    assert psnr(codec.decode(files[2]), image) > psnr(codec.decode(files[0]), image)
    assert program(worst=47, best=46.5, step=0.25).rate.values == (47, 46.75, 46.5)
    assert program(pixels="ppm").at(55).encode(image) == files[1]


def test_words_reach_the_program_as_they_are():
    """No shell reads them: quotes, spaces, semicolons and dollars stay; {quality} has no needless digits."""
    odd = "a b;$(touch x)'\"`*\n"
    code = "import sys; open(sys.argv[2], 'w').write(repr([sys.argv[3:], sys.stdin.read()]))"
    codec = program(encode=words(code, "{input}", "{output}", odd, "-q={quality}", "$HOME"))
    assert eval(codec.at(2.50).encode(photograph(1, 8)).decode()) == [[odd, "-q=2.5", "$HOME"], ""]


def test_hostile_names_of_files_and_folders(scripts, tmp_path, monkeypatch):
    """A photograph's name never reaches the program; a script's path may be of any kind."""
    monkeypatch.setenv("TMPDIR", str(scripts))
    encode = [PYTHON, str(scripts / "-encode.py").replace("{input}", "*"), "{input}", "{output}", "{quality}"]
    plain = scripts.with_name(scripts.name.replace("{input}", "*"))
    scripts.rename(plain)
    monkeypatch.setenv("TMPDIR", str(plain))
    monkeypatch.setattr("tempfile.tempdir", None)
    decode = [PYTHON, str(plain / "-decode.py"), "{input}", "{output}"]
    codec = program(encode=encode, decode=decode)
    image = photograph(1, 16)
    assert codec.decode(codec.at(95).encode(image)).shape == image.shape
    assert {path.name for path in plain.iterdir()} == {"-encode.py", "-decode.py"}  # nothing is left behind


@pytest.mark.parametrize(
    ("code", "words_of_it"),
    [
        ("import sys; print('first\\nno such mode', file=sys.stderr); sys.exit(3)", ["status 3: no such mode"]),
        ("import os; os.kill(os.getpid(), 9)", ["ended by signal 9"]),
        ("pass", ["wrote nothing to {output}"]),
        ("import sys; open(sys.argv[2], 'w').close()", ["wrote nothing to {output}"]),
        ("import sys, os; os.mkdir(sys.argv[2])", ["wrote nothing to {output}"]),
        ("import sys; sys.stderr.write('x' * 10**7 + '\\nlast'); sys.exit(1)", ["status 1: last"]),
        ("import sys; sys.stderr.buffer.write(b'\\xff\\xfe'); sys.exit(1)", ["status 1"]),
    ],
)
def test_what_an_encoder_does_wrong_is_said(code, words_of_it):
    codec = program(encode=words(code, "{input}", "{output}", "{quality}"))
    with pytest.raises(CodecError) as error:
        codec.encode(photograph(1, 8))
    assert all(word in str(error.value) for word in words_of_it) and len(str(error.value)) < 500


def test_a_decoder_that_writes_no_image_is_named():
    codec = program(decode=words("import sys; open(sys.argv[2], 'w').write('x')", "{input}", "{output}"))
    with pytest.raises(CodecError, match="wrote no image"):
        codec.decode(b"anything")


def test_a_program_that_takes_too_long_is_ended_with_all_it_started(tmp_path):
    """Its child too, which would write a file a little later."""
    late = tmp_path / "late"
    child = f"import time; time.sleep(2); open({str(late)!r}, 'w').close()"
    code = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {child!r}]); time.sleep(60)"
    codec = program(encode=words(code, "{input}", "{output}", "{quality}"), timeout_seconds=1)
    with pytest.raises(CodecError, match="longer than 1 seconds"):
        codec.encode(photograph(1, 8))
    time.sleep(2.5)
    assert not late.exists()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"encode": [PYTHON, "{input}", "{output}"]}, "must have {input}, {output}, {quality}"),
        ({"decode": [PYTHON, "{input}", "{output}", "{qp}"]}, "must have {input}, {output} among"),
        ({"encode": "cjxl {input} {output} {quality}"}, "allowed: the encoder's words"),
        ({"encode": ["no-such-encoder", "{input}", "{output}", "{quality}"]}, "no such program on the PATH"),
        ({"decode": ["./no/decoder", "{input}", "{output}"]}, "no such program at that path"),
        ({"version": None}, "settings.version"),
        ({"version": [PYTHON, "-c", "pass"]}, "says nothing"),
        ({"version": [PYTHON, "-c", "import sys; sys.exit('broken')"]}, "status 1: broken"),
        ({"suffix": "/../x"}, "allowed: how the encoded file's name ends"),
        ({"step": 0}, "settings.step = 0"),
        ({"step": 1e-9}, "more than 10,000 values"),
        ({"quality": 5}, "leave it out"),
        ({"shell": True}, "no such setting"),
    ],
)
def test_bad_settings_of_a_program_are_named(changed, said):
    with pytest.raises(InputError) as error:
        program(**changed)
    assert "study.toml: codecs[0].settings" in str(error.value) and said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_program_named_by_a_path_is_found_beside_the_study(tmp_path):
    script = tmp_path / "tools" / "encode"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nexec {shlex.quote(PYTHON)} -c {shlex.quote(ENCODER)} "$@"\n')
    script.chmod(0o755)
    settings = {
        "encode": ["tools/encode", "{input}", "{output}", "{quality}"],
        "decode": words(DECODER, "{input}", "{output}"),
        "version": [PYTHON, "--version"],
        "worst": 10,
        "best": 90,
    }
    codec = configured([Entry(name="program", settings=settings)], str(tmp_path / "study.toml"))["program"]
    assert codec.encode(photograph(1, 16))[:2] == b"\xff\xd8"
    assert codec.settings["encode"][0] == "tools/encode"


def test_a_study_with_a_program_and_one_that_fails(tmp_path, capsys):
    """The program's stimuli are as Pillow's own; the failing one is reported for each rate, and nothing else stops."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    Image.fromarray(photograph(0, 80)).save(folder / "; touch x.png")
    settings = {
        "encode": words(ENCODER, "{input}", "{output}", "{quality}"),
        "decode": words(DECODER, "{input}", "{output}"),
        "version": [PYTHON, "--version"],
        "worst": 5,
        "best": 95,
    }
    broken = settings | {"decode": words("import sys; sys.exit('no licence')", "{input}", "{output}")}
    values = {
        "name": "study",
        "photographs": {"folder": str(folder), "crop": 48},
        "rates": {"bits_per_pixel": [1.5, 3.0], "tolerance": 0.2},
        "codecs": [
            {"name": "program", "label": "mine", "settings": settings},
            {"name": "program", "label": "broken", "settings": broken},
            {"name": "jpegxl"},
        ],
        "triplets": {"sentinels": 0, "practice": 0},
    }
    root = tmp_path / "study"
    root.mkdir()
    write_settings(parse_settings(values, "test"), root / "study.toml")
    assert main([str(root), "--workers", "1"]) == 0
    study = Study(root)
    record = json.loads((root / "distort.json").read_text())
    assert record["codecs"]["mine"]["library"].startswith(Path(PYTHON).name)
    assert [miss["codec"] for miss in record["unreachable"]] == ["broken"] * 2
    assert "no licence" in record["unreachable"][0]["reason"]
    mine = study.stimuli[study.stimuli["codec"] == "mine"]
    assert len(mine) >= 2 and (mine["bits"] > 0).all()
    assert set(study.stimuli["codec"]) == {"reference", "mine", "jpegxl"}
    capsys.readouterr()
