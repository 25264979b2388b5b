"""Images to .eyt files and back: any size, any codec, in tiles, in a process of its own, and by the command line."""

import math
import os
import resource
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from codec_runs import ALL, picture, tiny
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from shared_data import shared

import eyetune
from codec import container
from codec.checkpoint import fingerprint, save_codec
from codec.coding import ESTIMATES, compress, decompress, estimate
from codec.container import FormatError
from codec.tiles import TILE, analysed, synthesised, tiles
from study.command import run
from study.errors import InputError
from study.photographs import read

EXAMPLES = int(os.environ.get("EYETUNE_SIZES", "12"))  # make fuzz tries more


def forward(codec, image, position=0.0):
    """What training sees of an image: the network's own pass, without a coder, as floats."""
    height, width = image.shape[:2]
    bottom, right = -height % 16, -width % 16
    x = torch.from_numpy(np.pad(image, ((0, bottom), (0, right), (0, 0)), "edge")).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        x_hat = codec(x, torch.tensor([float(position)])).x_hat
    return x_hat[0, :, :height, :width].permute(1, 2, 0).numpy()


def in_8_bits(image):
    return (image.clip(0, 1) * 255).round()


def differing(a, b):
    """The share of samples that differ; they never do by more than a level."""
    difference = np.abs(a.astype(float) - b)
    assert difference.max(initial=0) <= 1
    return difference.mean()


@pytest.mark.parametrize(("system", "context"), ALL)
def test_the_decoded_image_is_the_networks_own(system, context):
    """Through integers and the range coder comes what the float network gives, but for latents on a rounding's edge."""
    codec = tiny(system, context, levels=3)
    image = picture(90, 131)
    for position in (0, 0.7, 2):
        decoded = decompress(codec, compress(codec, image, position))
        difference = np.abs(decoded - in_8_bits(forward(codec, image, position)))
        assert decoded.shape == image.shape and (difference > 1).mean() < 0.02
        assert decoded.std() > 3  # a picture, not a plain


@pytest.mark.parametrize("name", ["kodim05.png", "kodim17.png"])
def test_files_are_as_large_as_estimated(name):
    image = read(shared("photos/kodak") / name)
    for system, context in ALL:
        codec = tiny(system, context, levels=3)
        for position in (0, 2):
            size = len(compress(codec, image, position))
            needed = estimate(codec, image, position) / 8
            assert abs(size - needed) < 0.01 * needed + 64


@given(st.integers(1, 130), st.integers(1, 130), st.sampled_from(ALL), st.integers(0, 512), st.integers(0, 9))
@settings(deadline=None, max_examples=EXAMPLES)
def test_every_size_comes_back(height, width, kind, steps, seed):
    codec = tiny(*kind, levels=3)
    image = picture(height, width, seed)
    data = compress(codec, image, steps / 256)
    header = container.unpack(data).header
    assert (header.width, header.height, header.steps) == (width, height, steps)
    assert bytes.fromhex(fingerprint(codec)).startswith(header.fingerprint)
    decoded = decompress(codec, data)
    assert decoded.shape == image.shape and decoded.dtype == np.uint8
    assert (np.abs(decoded - in_8_bits(forward(codec, image, steps / 256))) > 1).mean() < 0.05
    assert compress(codec, image, steps / 256) == data


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (16, 16), (17, 64)])
def test_thin_images_come_back(shape):
    codec = tiny()
    image = picture(*shape)
    assert differing(decompress(codec, compress(codec, image)), in_8_bits(forward(codec, image))) < 0.01


def test_an_image_with_equal_channels_comes_back_so():
    codec = tiny(levels=3)
    grey = np.repeat(picture(50, 70)[:, :, :1], 3, axis=2)
    data = compress(codec, grey)
    decoded = decompress(codec, data)
    assert container.unpack(data).header.grey and (decoded == decoded[:, :, :1]).all()
    assert differing(decoded[:, :, 0], in_8_bits(forward(codec, grey, 1).mean(2))) < 0.02
    assert not container.unpack(compress(codec, picture(50, 70))).header.grey


def test_the_image_is_repeated_beyond_its_edges():
    """What is added for a whole number of latents is what costs least, not black."""
    codec = tiny()
    image = picture(33, 20)
    padded = np.pad(image, ((0, 15), (0, 12), (0, 0)), "edge")
    decoded, whole = (decompress(codec, compress(codec, x)) for x in (image, padded))
    assert np.array_equal(decoded, whole[:33, :20])


@pytest.mark.parametrize("shape", [(333, 402), (640, 16), (129, 128)])
def test_parts_leave_no_seams(shape):
    """g_a and g_s over parts with a margin give what they give over the whole image."""
    codec = tiny()
    image = picture(*shape)
    with torch.inference_mode():
        whole, parts = (analysed(image, 16, codec.g_a, part) for part in (4096, 128))
        assert torch.allclose(whole, parts, rtol=1e-4, atol=1e-4)
        rounded = whole.round()
        assert ((rounded != parts.round()) & ((whole - whole.floor() - 0.5).abs() > 1e-3)).sum() == 0
        a, b = (synthesised(rounded, shape, 16, codec.g_s, part) for part in (4096, 128))
    assert whole.shape[2:] == tuple(-(-side // 16) for side in shape)
    assert differing(a, b) < 1e-3


def test_a_large_image_is_coded_in_tiles():
    """Each tile with a code of its own; the image is the untiled network's, across the tiles' borders too."""
    codec = tiny()
    image = picture(TILE + 52, TILE + 100)
    data = compress(codec, image)
    file = container.unpack(data)
    assert len(file.sections) == len(tiles(*image.shape[:2])) == 4
    assert abs(8 * len(data) - estimate(codec, image)) < 0.01 * 8 * len(data)
    decoded = decompress(codec, data)
    near = np.abs(decoded - in_8_bits(forward(codec, image))) <= 1
    assert near.mean() > 0.99
    border = tiles(*image.shape[:2])[3]
    assert near[border.top - 20 : border.top + 20].mean() > 0.98
    assert near[:, border.left - 20 : border.left + 20].mean() > 0.98

    first, second, *others = file.sections  # a tile in another's place is not this image's
    with pytest.raises(FormatError, match="not those that were sealed|altered"):
        decompress(codec, container.pack(file.header, [second, first, *others]))
    last = replace(file.sections[-1], seal=file.sections[-1].seal ^ 1)
    with pytest.raises(FormatError, match="not those that were sealed"):
        decompress(codec, container.pack(file.header, [*file.sections[:-1], last]))


def test_a_target_is_met_from_below():
    codec = tiny(levels=5)
    image = picture(200, 300)
    pixels = image.shape[0] * image.shape[1]
    lowest, highest = (8 * len(compress(codec, image, position)) / pixels for position in (0, 4))
    for target in np.geomspace(1.05 * lowest, 0.95 * highest, 5):
        data = compress(codec, image, bits_per_pixel=float(target))
        rate = 8 * len(data) / pixels
        assert rate <= target
        steps = container.unpack(data).header.steps
        above = 8 * len(compress(codec, image, (steps + 16) / 256)) / pixels
        assert rate > 0.99 * target or above > target  # a sixteenth of a level more would not do
    for target, steps in ((0.5 * lowest, 0), (2 * highest, 4 * 256)):
        assert container.unpack(compress(codec, image, bits_per_pixel=target)).header.steps == steps


def test_a_target_costs_few_estimates():
    from codec.coding import _search

    asked: list[int] = []

    def bits(steps: int) -> float:
        asked.append(steps)
        return 1000 * math.exp(steps / 300) + 5 * steps

    for limit in (900, 1001, 5000, 50_000, 100_000, 1e6):
        asked.clear()
        found = _search(bits, 1792, limit)
        assert len(asked) <= ESTIMATES
        assert found == 0 or bits(found) <= limit
        assert found in (0, 1792) or bits(found + 3) > limit


def test_files_of_another_codec_are_refused_with_both_names():
    image = picture(20, 20)
    data = compress(tiny(seed=1), image)
    with pytest.raises(FormatError, match="another codec") as error:
        decompress(tiny(), data)
    for codec in (tiny(), tiny(seed=1)):
        assert fingerprint(codec)[:16] in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 65535, "height": 4096}, "truncated"),
        ({"width": 21}, "altered"),
        ({"steps": 513}, "rate position 2.00391; its codec's end at 2"),
        ({"steps": 511}, "not those that were sealed"),
        ({"grey": True}, "not those that were sealed"),
    ],
)
def test_a_header_that_lies_is_noticed(change, message):
    """Also where the checksum of the file was made right again."""
    codec = tiny(levels=3)
    file = container.unpack(compress(codec, picture(20, 20), 2))
    with pytest.raises(FormatError, match=message):
        decompress(codec, container.pack(replace(file.header, **change), file.sections))


def test_a_header_that_lies_of_much_from_little_is_refused_before_it_is_decoded():
    codec = tiny()
    file = container.unpack(compress(codec, picture(20, 20)))
    short = [replace(file.sections[0], code=file.sections[0].code[:8])]
    assert 8 * 8 < codec.latent.least_bits((128, 128)) < 16 * 8
    with pytest.raises(FormatError, match="8 bytes cannot be the code of 2048 x 2048 pixels"):
        decompress(codec, container.pack(replace(file.header, width=2048, height=2048), short))


@pytest.mark.parametrize(
    ("levels", "options", "message"),
    [
        (3, {"position": 2.1}, "rate position 2.1: this codec's go from 0 to 2"),
        (3, {"position": float("nan")}, "rate position nan"),
        (3, {"bits_per_pixel": 0.0}, "0 bits per pixel: must be above 0"),
        (1, {"position": 1}, "trained for one rate"),
        (1, {"bits_per_pixel": 1.0}, "trained for one rate"),
        (3, {"position": 1, "bits_per_pixel": 1.0}, "not both"),
    ],
)
def test_rates_that_a_codec_does_not_have_are_refused(levels, options, message):
    with pytest.raises(InputError, match=message):
        compress(tiny(levels=levels), picture(9, 9), **options)


def test_a_codec_in_training_stays_in_training():
    codec = tiny(seed=2)
    codec.train()
    before = {name: value.clone() for name, value in codec.state_dict().items()}
    data = compress(codec, picture(40, 40))
    assert codec.training and decompress(codec, data).shape == (40, 40, 3)
    assert all(torch.equal(value, before[name]) for name, value in codec.state_dict().items())
    loss = codec(torch.rand(1, 3, 32, 32)).bits["y"].sum()
    loss.backward()
    assert codec.g_a[0].weight.grad is not None
    codec.zero_grad()
    codec.eval()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("codec") / "codec.safetensors"
    save_codec(tiny(levels=3), path, {"steps": 7, "photographs": "invented"})
    return path


def test_a_file_decodes_in_a_process_of_its_own(tmp_path, checkpoint):
    """With 1 and 2 threads, with and without oneDNN: from the file and the checkpoint alone."""
    codec = tiny(levels=3)
    image = picture(70, 90)
    data = compress(codec, image, 1.5)
    (tmp_path / "image.eyt").write_bytes(data)
    code = (
        "import sys, torch, codec; from codec.coding import decompress;"
        "torch.set_num_threads(int(sys.argv[3])); torch.backends.mkldnn.enabled = sys.argv[4] == 'on';"
        "sys.stdout.buffer.write(decompress(codec.load(sys.argv[1]), open(sys.argv[2], 'rb').read()).tobytes())"
    )
    for threads, onednn in (("1", "on"), ("2", "off")):
        finished = subprocess.run(
            [sys.executable, "-c", code, str(checkpoint), str(tmp_path / "image.eyt"), threads, onednn],
            capture_output=True, check=True,
        )  # fmt: skip
        decoded = np.frombuffer(finished.stdout, np.uint8).reshape(image.shape)
        assert differing(decoded, decompress(codec, data)) < 0.01


@pytest.fixture
def photographs(tmp_path):
    folder = tmp_path / "photographs"
    (folder / "below").mkdir(parents=True)
    Image.fromarray(picture(40, 50)).save(folder / "a.png")
    Image.fromarray(picture(30, 20, 1)).save(folder / "below" / "b.jpg")
    Image.fromarray(picture(30, 30, 2)[:, :, 0]).save(folder / "grey.png")
    return folder


def codec_command(*arguments):
    return run(eyetune.main, ["codec", *map(str, arguments)])


def test_a_folder_goes_to_files_and_back(tmp_path, photographs, checkpoint, capsys):
    files, images = tmp_path / "files", tmp_path / "images"
    assert codec_command("compress", photographs, "--codec", checkpoint, "--out", files) == 0
    names = ["a.eyt", "below/b.eyt", "grey.eyt"]
    assert sorted(str(path.relative_to(files)) for path in files.rglob("*.*")) == names
    said = capsys.readouterr().out.splitlines()
    size = (files / "a.eyt").stat().st_size
    assert said[0].startswith(f"{files}/a.eyt  {size:,} bytes  {8 * size / 2000:.3f} bits per pixel  ")

    assert codec_command("decompress", files, "--codec", checkpoint, "--out", images) == 0
    with Image.open(images / "grey.png") as image:
        assert (image.mode, image.size) == ("L", (30, 30))
    decoded = read(images / "a.png")
    assert np.array_equal(decoded, decompress(tiny(levels=3), (files / "a.eyt").read_bytes()))
    capsys.readouterr()

    before = (files / "a.eyt").read_bytes()  # a second run does what is left, or with --force all
    (files / "grey.eyt").unlink()
    command = ("compress", photographs, "--codec", checkpoint, "--out", files, "--position", "2")
    assert codec_command(*command) == 0
    assert capsys.readouterr().out.count("is there already, skipped; replace it with --force") == 2
    assert (files / "grey.eyt").exists() and (files / "a.eyt").read_bytes() == before
    assert codec_command(*command, "--force") == 0
    assert len((files / "a.eyt").read_bytes()) > len(before)


def test_a_rate_in_bits_per_pixel(photographs, checkpoint, capsys):
    one = ("compress", photographs / "a.png", "--codec", checkpoint, "--force")
    assert codec_command(*one, "--bpp", "1.6") == 0
    assert 8 * (photographs / "a.eyt").stat().st_size / 2000 <= 1.6
    assert "lowest rate" not in capsys.readouterr().out
    assert codec_command(*one, "--bpp", "0.01") == 0
    assert "above 0.01, but this is the lowest rate" in capsys.readouterr().out


def test_listing_says_what_files_hold(photographs, checkpoint, capsys):
    codec_command("compress", photographs / "grey.png", "--codec", checkpoint)
    capsys.readouterr()
    assert codec_command("list", checkpoint, photographs / "grey.eyt") == 0
    said = capsys.readouterr().out
    identity = fingerprint(tiny(levels=3))
    for fact in ("mbt2018-mean, context: none", "positions 0 to 2", identity[:16], "invented", "30 x 30 pixels, grey"):
        assert fact in said
    assert said.count(identity[:16]) == 2
    assert codec_command("list") == 0
    said = capsys.readouterr().out
    assert all(name in said for name, _ in ALL) and "11.8 M" in said  # Balle 2018 at 192 and 320 channels


def test_one_bad_image_does_not_stop_the_others(photographs, checkpoint, capsys):
    (photographs / "broken.png").write_text("no image")
    Image.fromarray(np.zeros((9, 9, 4), np.uint8)).save(photographs / "clear.png")
    assert codec_command("compress", photographs, "--codec", checkpoint, "--out", photographs / "out") == 2
    said = capsys.readouterr()
    assert "broken.png: not an image that can be read" in said.err
    assert "clear.png: transparent pixels; flatten it" in said.err
    assert "2 of 5 files were refused; the others are done" in said.err and "Traceback" not in said.err
    assert len(list((photographs / "out").rglob("*.eyt"))) == 3


def test_a_folder_whose_name_ends_in_eyt_is_no_file(photographs, checkpoint):
    (photographs / "albums.eyt").mkdir()
    assert codec_command("compress", photographs / "a.png", "--codec", checkpoint) == 0
    assert codec_command("decompress", photographs, "--codec", checkpoint, "--out", photographs / "out") == 0
    assert [path.name for path in (photographs / "out").iterdir()] == ["a.png"]


def test_bad_files_are_named_with_the_reason(tmp_path, photographs, checkpoint, capsys):
    codec = tiny(levels=3)
    data = compress(codec, picture(20, 20))
    (tmp_path / "short.eyt").write_bytes(data[:-3])
    (tmp_path / "text.eyt").write_text("hello")
    (tmp_path / "other.eyt").write_bytes(compress(tiny(seed=1), picture(20, 20)))
    assert codec_command("decompress", tmp_path, "--codec", checkpoint) == 2
    said = capsys.readouterr().err
    assert "short.eyt: truncated" in said
    assert "text.eyt: not an .eyt file" in said
    assert "other.eyt: compressed with another codec" in said
    assert not list(tmp_path.glob("*.png"))
    assert codec_command("list", tmp_path / "short.eyt") == 2


@pytest.mark.parametrize(
    ("verb", "arguments", "message"),
    [
        ("compress", ["absent.png"], "absent.png: no such file or folder"),
        ("compress", ["empty"], r"empty: no photographs in it (0 other files)"),
        ("compress", ["a.png", "--out", "folder.eyt"], "folder.eyt: a folder, not a file"),
        ("compress", ["a.png", "--out", "a.png"], "a.png: neither a folder nor a name that ends in .eyt"),
        ("compress", ["a.png", "below/b.jpg", "--out", "x.eyt"], "one file for 2 results"),
        ("compress", ["a.png", "a.jpg"], "would both be written to"),
        ("compress", ["a.png", "--codec", "absent.safetensors"], "absent.safetensors is missing"),
        ("compress", ["a.png", "--codec", "a.png"], "a.png: not a codec"),
        ("compress", ["a.png", "--codec", "empty"], "empty is a folder"),
        ("compress", ["a.png", "--position", "7"], "rate position 7: this codec's go from 0 to 2"),
        ("compress", ["a.png", "--bpp", "-1"], "--bpp -1: must be above 0"),
        ("decompress", ["absent.eyt"], "absent.eyt: no such file or folder"),
        ("decompress", ["empty"], "empty: no .eyt files in it"),
        ("decompress", ["a.png"], "a.png: its result would take its place"),
        ("decompress", ["a.png", "--out", "x.png"], "a.png: not an .eyt file"),
        ("compress", ["a.png", "--out", "a.webp"], "a.webp: neither a folder nor a name that ends in .eyt"),
        ("list", ["absent"], "absent: no such file"),
        ("list", ["empty"], "empty: a folder"),
        ("list", ["a.png"], "a.png: not a codec"),
    ],
)
def test_bad_arguments_are_one_line(photographs, checkpoint, capsys, monkeypatch, verb, arguments, message):
    monkeypatch.chdir(photographs)
    (photographs / "empty").mkdir()
    (photographs / "folder.eyt").mkdir()
    Image.fromarray(picture(9, 9)).save("a.jpg")
    before = sorted(photographs.rglob("*"))
    codec = [] if verb == "list" or "--codec" in arguments else ["--codec", checkpoint]
    assert codec_command(verb, *arguments, *codec) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and "Traceback" not in error
    assert sorted(photographs.rglob("*")) == before


def test_a_disk_error_keeps_its_number_and_leaves_nothing_half_written(photographs, checkpoint):
    """A limit on file sizes stands in for a full disk: it fails the same calls."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    before = sorted(photographs.rglob("*"))
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, limit[1]))
    try:
        with pytest.raises(OSError) as error:
            codec_command("compress", photographs, "--codec", checkpoint)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, ignored)
    assert ".eyt" in str(error.value.filename) and sorted(photographs.rglob("*")) == before
