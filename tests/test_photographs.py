"""Photographs from outside: what is read, how, and what is refused with which reason."""

import io
import os
import struct
import zlib

import numpy as np
import pytest
from conftest import photograph
from PIL import Image, ImageCms

from distortions.crops import choose_crops
from study.photographs import Refused, find, read

PICTURE = photograph(5, 40)[:30]  # 40 wide, 30 high


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png16(samples: np.ndarray, colour: int) -> bytes:
    """A 16-bit PNG written by hand: Pillow writes none in colour."""
    height, width = samples.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def profile(red: tuple, green: tuple, blue: tuple, gamma: float = 2.2) -> bytes:
    """A matrix RGB profile whose primaries have these XYZ (D50) values."""

    def fixed(*values: float) -> bytes:
        return b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    def xyz(values: tuple) -> bytes:
        return b"XYZ \0\0\0\0" + fixed(*values)

    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    text = b"text\0\0\0\0made for a test\0"
    text += b"\0" * (-len(text) % 4)
    tags = {b"rXYZ": xyz(red), b"gXYZ": xyz(green), b"bXYZ": xyz(blue), b"wtpt": xyz((0.9642, 1.0, 0.8249))}
    tags |= {name: curve for name in (b"rTRC", b"gTRC", b"bTRC")} | {b"cprt": text}
    offset = 128 + 4 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        table += name + struct.pack(">II", offset + len(body), len(data))
        body += data
    header = struct.pack(">I4sI", 128 + len(table) + len(body), b"test", 0x02400000) + b"mntrRGB XYZ "
    header += b"\0" * 12 + b"acsp" + b"\0" * 28 + fixed(0.9642, 1.0, 0.8249)
    return header.ljust(128, b"\0") + table + body


SRGB_PRIMARIES = ((0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141))


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.bmp", "a.webp", "a.PNG"])
def test_lossless_files_come_back_as_they_are(tmp_path, name):
    Image.fromarray(PICTURE).save(tmp_path / name, **({"lossless": True} if "webp" in name else {}))
    assert np.array_equal(read(tmp_path / name), PICTURE)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_orientation_turns_the_pixels(tmp_path, name, orientation):
    """By the EXIF standard's own words: which corner the first row and the first column are at."""
    turned = {
        1: PICTURE,
        2: PICTURE[:, ::-1],
        3: PICTURE[::-1, ::-1],
        4: PICTURE[::-1],
        5: PICTURE.transpose(1, 0, 2),
        6: np.rot90(PICTURE, -1),
        7: PICTURE[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(PICTURE, 1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(PICTURE).save(tmp_path / name, exif=exif)
    assert np.array_equal(read(tmp_path / name), turned)


def test_sixteen_bits_are_rounded_not_cut(tmp_path):
    samples = np.random.default_rng(0).integers(0, 65536, (9, 11, 3)).astype(np.uint16)
    expected = np.round(samples / 65535 * 255).astype(np.uint8)
    (tmp_path / "a.png").write_bytes(png16(samples, 2))
    assert np.array_equal(read(tmp_path / "a.png"), expected)
    assert not np.array_equal(samples >> 8, expected)
    (tmp_path / "grey.png").write_bytes(png16(samples[..., 0], 0))
    assert np.array_equal(read(tmp_path / "grey.png"), np.repeat(expected[..., :1], 3, axis=2))
    opaque = np.dstack([samples, np.full((9, 11), 65535, np.uint16)])
    (tmp_path / "alpha.png").write_bytes(png16(opaque, 6))
    assert np.array_equal(read(tmp_path / "alpha.png"), expected)
    Image.fromarray(samples[..., 0]).save(tmp_path / "grey.tif")
    assert np.array_equal(read(tmp_path / "grey.tif")[..., 0], expected[..., 0])


def test_grey_palette_and_opaque_alpha_become_rgb(tmp_path):
    grey = PICTURE[..., 0]
    Image.fromarray(grey).save(tmp_path / "grey.png")
    assert np.array_equal(read(tmp_path / "grey.png"), np.repeat(grey[..., None], 3, axis=2))
    palette = Image.fromarray(PICTURE).quantize(16)
    palette.save(tmp_path / "palette.png")
    assert np.array_equal(read(tmp_path / "palette.png"), np.array(palette.convert("RGB")))
    Image.fromarray(np.dstack([PICTURE, np.full(PICTURE.shape[:2], 255, np.uint8)])).save(tmp_path / "alpha.png")
    assert np.array_equal(read(tmp_path / "alpha.png"), PICTURE)


def test_an_srgb_profile_changes_nothing(tmp_path):
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(PICTURE).save(tmp_path / "a.png", icc_profile=srgb)
    assert np.array_equal(read(tmp_path / "a.png"), PICTURE)


def test_a_profile_is_applied(tmp_path):
    """With red's and green's primaries exchanged, a pixel that says red means green."""
    red, green, blue = SRGB_PRIMARIES
    image = np.zeros((4, 4, 3), np.uint8)
    image[..., 0] = 255
    Image.fromarray(image).save(tmp_path / "a.png", icc_profile=profile(green, red, blue))
    assert np.abs(read(tmp_path / "a.png").astype(int) - [0, 255, 0]).max() <= 3


def save_cmyk(path, **options):
    Image.fromarray(PICTURE).convert("CMYK").save(path, "JPEG", **options)


def save_truncated(path):
    buffer = io.BytesIO()
    Image.fromarray(photograph(1, 200)).save(buffer, "JPEG", quality=95)
    path.write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])


def save_transparent(path):
    alpha = np.full(PICTURE.shape[:2], 255, np.uint8)
    alpha[3, 4] = 254
    Image.fromarray(np.dstack([PICTURE, alpha])).save(path)


def save_bomb(path):
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b""))


LAB = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()


@pytest.mark.parametrize(
    ("name", "save", "reason"),
    [
        ("text.png", lambda path: path.write_text("hello"), "not an image"),
        ("empty.jpg", lambda path: path.write_bytes(b""), "not an image"),
        ("a.jpg", save_truncated, "truncated"),
        ("a.jpg", save_cmyk, "CMYK without a colour profile"),
        ("a.jpg", lambda path: save_cmyk(path, icc_profile=LAB), "profile is for Lab, its pixels are CMYK"),
        ("a.png", lambda path: Image.fromarray(PICTURE).save(path, icc_profile=b"junk" * 40), "profile is damaged"),
        ("a.png", save_transparent, "transparent"),
        ("a.png", save_bomb, "megapixels"),
        ("a.png", lambda path: path.symlink_to("nowhere"), "link to nothing"),
        ("a.png", os.mkfifo, "not a regular file"),
        ("\udcff.png", lambda path: Image.fromarray(PICTURE).save(path), "not UTF-8"),
        ("a.nef", lambda path: path.write_bytes(b"x"), "raw file"),
        ("a.heic", lambda path: path.write_bytes(b"x"), ".heic"),
        ("a.tif", lambda path: Image.fromarray(PICTURE[..., 0].astype(np.float32)).save(path), "8 or 16 bits"),
        ("a.png", lambda path: path.write_bytes(png16(np.zeros((4, 4, 2), np.uint16), 4)), "16-bit"),
        (
            "a.gif",
            lambda path: Image.fromarray(PICTURE).save(
                path, save_all=True, append_images=[Image.fromarray(PICTURE[::-1])]
            ),
            "2 frames",
        ),
    ],
)
def test_refusals_say_why(tmp_path, name, save, reason):
    save(tmp_path / name)
    with pytest.raises(Refused, match=reason):
        read(tmp_path / name)


def test_find_goes_by_the_ends_of_names(tmp_path):
    for name in ("b.JPG", "a/c.png", "notes.txt", ".hidden.png", ".cache/d.png", "study/stimuli/e.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "study/study.toml").touch()
    assert find(tmp_path) == (["a/c.png", "b.JPG"], 1)


def test_crops_lie_inside_are_distinct_and_follow_the_seed_and_the_name():
    image = photograph(1, 100)
    crops = choose_crops(image, 32, 6, 1, "a.png")
    assert len(set(crops)) == 6 and all(0 <= x <= 68 and 0 <= y <= 68 for x, y in crops)
    assert crops == choose_crops(image, 32, 6, 1, "a.png")
    assert choose_crops(image, 32, 2, 1, "a.png") == crops[:2]
    assert crops != choose_crops(image, 32, 6, 2, "a.png") and crops != choose_crops(image, 32, 6, 1, "b.png")


def test_crops_avoid_the_flat_sky_and_end_where_there_are_no_more():
    image = photograph(1, 128)
    image[:64] = 200
    assert all(y >= 32 for _, y in choose_crops(image, 32, 3, 1, "sky.png"))
    assert sorted(choose_crops(image[:33, :32], 32, 5, 1, "sky.png")) == [(0, 0), (0, 1)]
