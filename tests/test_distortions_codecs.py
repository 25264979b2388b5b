"""The codecs behind the protocol: round trips, determinism, no metadata, settings that are checked."""

import pickle

import numpy as np
import pytest
from conftest import photograph

from distortions.catalogue import configured
from distortions.classical import CODECS
from distortions.making import psnr
from study.errors import InputError
from study.settings import Codec as Entry

NAMES = sorted(CODECS)
SIZES = [(1, 1), (1, 9), (9, 1), (2, 3), (17, 33), (64, 65)]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", SIZES)
def test_every_size_comes_back(name, size):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    codec = CODECS[name]()
    for value in (codec.rate.values[0], codec.rate.values[-1]):
        decoded = codec.decode(codec.at(value).encode(image))
        assert decoded.shape == image.shape and decoded.dtype == np.uint8


@pytest.mark.parametrize("name", NAMES)
def test_the_rate_setting_goes_from_poor_to_fine(name):
    image = photograph(1, 128)
    codec = CODECS[name]()
    values = codec.rate.values
    files = [codec.at(values[k * (len(values) - 1) // 4]).encode(image) for k in range(4)]
    assert sorted(map(len, files)) == [len(file) for file in files]
    qualities = [psnr(image, codec.decode(file)) for file in files]
    assert sorted(qualities) == qualities and qualities[-1] > 30


@pytest.mark.parametrize("name", NAMES)
def test_equal_images_give_equal_bytes_without_metadata(name):
    image = photograph(2, 96)
    codec = CODECS[name]()
    data = codec.encode(image)
    assert pickle.loads(pickle.dumps(codec)).encode(image.copy()) == data
    for mark in (b"Exif", b"ICC_PROFILE", b"ICCP", b"http://ns.adobe", b"XMP ", b"OpenJPEG"):
        assert mark not in data


def test_the_colour_transform_of_jpeg2000_is_on():
    """Without it, as Pillow would have it, grey pictures in three channels cost about thrice the bits."""
    image = np.repeat(photograph(3, 128)[..., :1], 3, axis=2)
    codec = CODECS["jpeg2000"]().at(48.0)
    assert psnr(image, codec.decode(codec.encode(image))) > 27


def test_settings_reach_the_encoder():
    image = photograph(4, 96)
    codecs = configured(
        [Entry(name="jpeg"), Entry(name="jpeg", settings={"subsampling": "4:4:4"}, label="full")], "study.toml"
    )
    assert list(codecs) == ["jpeg", "full"]
    assert len(codecs["full"].encode(image)) > len(codecs["jpeg"].encode(image))
    assert codecs["full"].settings["subsampling"] == "4:4:4"


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (Entry(name="jpg"), ["codecs[0].name = 'jpg'", "jpeg2000"]),
        (Entry(name="avif", settings={"sped": 1}), ["codecs[0].settings.sped = 1", "speed (0 (slowest)"]),
        (Entry(name="avif", settings={"speed": 11}), ["settings.speed = 11", "10 (fastest)"]),
        (Entry(name="avif", settings={"speed": "6"}), ["settings.speed = '6'", "0 (slowest)"]),
        (Entry(name="jpeg", settings={"subsampling": "4:1:0"}), ["'4:1:0'", "4:2:0, 4:2:2 or 4:4:4"]),
        (Entry(name="webp", settings={"quality": 50}), ["settings.quality = 50", "leave it out"]),
        (Entry(name="webp", label="reference"), ["label = 'reference'"]),
    ],
)
def test_bad_settings_name_file_key_value_and_what_is_allowed(entry, words):
    with pytest.raises(InputError) as error:
        configured([entry], "study.toml")
    assert all(word in str(error.value) for word in ["study.toml", *words])


def test_no_codec_is_an_error():
    with pytest.raises(InputError, match=r"no \[\[codecs\]\]"):
        configured([], "study.toml")
