"""A trained codec as a distortion generator: found by study.toml, the same bytes anywhere, its files told apart."""

import json
import pickle

import numpy as np
import pytest
import torch
from conftest import photograph
from PIL import Image

from codec import coding
from codec.checkpoint import fingerprint, load_codec, save_codec
from codec.systems import Config, build
from distortions.catalogue import configured
from distortions.distort import main
from distortions.learned import Learned
from distortions.protocol import CodecError
from distortions.rates import Ladder, reach
from metric.torch_threads import one_thread
from study.errors import InputError
from study.folder import Study
from study.settings import Codec as Entry
from study.settings import parse_settings, read_settings, write_settings

LEVELS = (0.001, 0.01, 0.1)


def checkpoint(path, seed=0, training=None, **config):
    """A tiny codec with random weights that spends bits: its latent is far wider than a rounding step."""
    torch.manual_seed(seed)
    codec = build(Config(config.pop("system", "mbt2018-mean"), (8, 6), **config))
    with torch.no_grad():
        codec.g_a[-1].weight.mul_(40)
        codec.g_s[-1].weight.mul_(4)
        codec.g_s[-1].bias.fill_(0.5)
    save_codec(codec, path, training)
    return path


@pytest.fixture
def gained(tmp_path):
    return checkpoint(tmp_path / "gained.safetensors", lambdas=LEVELS)


def one(tmp_path, **settings) -> Learned:
    codecs = configured([Entry(name="learned", label="mine", settings=settings)], str(tmp_path / "study.toml"))
    assert list(codecs) == ["mine"]
    return codecs["mine"]


def test_the_bytes_are_those_of_codec_compress_and_come_back(tmp_path, gained):
    codec = one(tmp_path, checkpoint=gained.name).at(1.5)
    image = photograph(1, 70)
    with one_thread():
        network = load_codec(gained)
        data = coding.compress(network, image, 1.5)
        assert codec.encode(image) == data
        assert np.array_equal(codec.decode(data), coding.decompress(network, data))


def test_equal_bytes_at_any_number_of_threads_and_in_a_copy(tmp_path, gained):
    codec = one(tmp_path, checkpoint=gained.name).at(0.5)
    image = photograph(2, 96)
    data = codec.encode(image)
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    assert pickle.loads(pickle.dumps(codec)).encode(image.copy()) == data
    assert torch.get_num_threads() == 3  # left as it was found
    torch.set_num_threads(threads)
    assert len(pickle.dumps(codec)) < 2000  # paths and hashes, no weights


def test_what_a_codec_says_of_itself_names_its_weights(tmp_path, gained):
    codec = one(tmp_path, checkpoint=gained.name)
    digest = fingerprint(load_codec(gained))
    assert digest[:16] in codec.library and "mbt2018-mean" in codec.library and torch.__version__ in codec.library
    assert codec.at(1.25).settings == {"checkpoint": gained.name, "weights": digest[:16], "position": 1.25}
    assert (codec.rate.name, codec.rate.values[0], codec.rate.values[-1]) == ("position", 0.0, 2.0)
    assert list(codec.rate.values) == sorted(set(codec.rate.values)) and len(codec.rate.values) == 65


def test_a_higher_position_takes_more_bits(tmp_path, gained):
    codec, image = one(tmp_path, checkpoint=gained.name), photograph(3, 128)
    sizes = [len(codec.at(value).encode(image)) for value in (0.0, 1.0, 2.0)]
    assert sizes == sorted(set(sizes))
    ladder = Ladder(codec, image)
    target = 8 * sizes[1] / 128**2
    found, missed = reach(ladder, [target], 0.05)
    assert not missed and abs(ladder.bits_per_pixel(found[target]) / target - 1) < 0.05


def test_a_codec_of_one_rate_says_which_rates_it_cannot_reach(tmp_path):
    checkpoint(tmp_path / "fixed.safetensors", system="bmshj2018-hyperprior")
    codec, image = one(tmp_path, checkpoint="fixed.safetensors"), photograph(4, 96)
    assert codec.rate.values == (0.0,)
    rate = 8 * len(codec.encode(image)) / 96**2
    found, missed = reach(Ladder(codec, image), [rate, 3 * rate], 0.1)
    assert found == {rate: 0}
    assert [(miss.target, miss.nearest) for miss in missed] == [(3 * rate, rate)]
    assert missed[0].reason == f"the codec has one rate, {rate:.3f} bpp"


def test_several_checkpoints_of_one_rate_each_are_one_codec(tmp_path):
    """A file is decoded by the checkpoint that wrote it, whatever rate the codec is set to."""
    names = ["low.safetensors", "high.safetensors"]
    for seed, name in enumerate(names):
        checkpoint(tmp_path / name, seed)
    codec, image = one(tmp_path, checkpoints=names), photograph(5, 64)
    assert (codec.rate.name, codec.rate.values) == ("checkpoint", (0, 1))
    for index, name in enumerate(names):
        network = load_codec(tmp_path / name)
        data = codec.at(index).encode(image)
        with one_thread():
            assert data == coding.compress(network, image)
            assert np.array_equal(codec.decode(data), coding.decompress(network, data))
    assert codec.at(1).settings["checkpoints"] == names and codec.at(1).settings["checkpoint"] == 1


def test_each_of_many_checkpoints_is_read_once(tmp_path):
    """A search goes back and forth among them; reading one takes longer than encoding with it."""
    names = [f"{k}.safetensors" for k in range(8)]
    for seed, name in enumerate(names):
        checkpoint(tmp_path / name, seed)
    codec, image = one(tmp_path, checkpoints=names), photograph(5, 32)
    first = [codec.at(index).encode(image) for index in range(8)]
    for name in names:
        (tmp_path / name).unlink()
    assert [codec.at(index).encode(image) for index in range(8)] == first


def test_an_image_that_the_format_cannot_hold_is_a_codec_error(tmp_path, gained):
    with pytest.raises(CodecError, match="70000 x 1 pixels"):
        one(tmp_path, checkpoint=gained.name).encode(np.zeros((1, 70000, 3), np.uint8))


def test_weights_that_change_under_a_run_are_noticed(tmp_path, gained):
    codec = one(tmp_path, checkpoint=gained.name)
    checkpoint(gained, seed=9, lambdas=LEVELS)
    with pytest.raises(InputError, match="was replaced while it was used"):
        codec.encode(photograph(6, 32))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, ["learned needs one of these", "checkpoint ="]),
        ({"checkpoint": "none.safetensors"}, ["settings.checkpoint: ", "none.safetensors is missing"]),
        ({"checkpoint": "text.safetensors"}, ["text.safetensors: not a codec that eyetune wrote"]),
        ({"checkpoint": 3}, ["settings.checkpoint = 3", "codec.safetensors"]),
        ({"checkpoints": []}, ["settings.checkpoints = []"]),
        ({"checkpoints": ["a", "a"]}, ["stands twice"]),
        ({"checkpoint": "gained.safetensors", "position": 1.0}, ["settings.position = 1.0", "leave it out"]),
        ({"checkpoint": "gained.safetensors", "lambda": 1.0}, ["settings.lambda = 1.0", "no such setting"]),
        ({"checkpoints": ["gained.safetensors", "fixed.safetensors"]}, ["gained.safetensors: reaches many rates"]),
    ],
)
def test_bad_settings_are_one_line(tmp_path, gained, settings, words):
    checkpoint(tmp_path / "fixed.safetensors")
    (tmp_path / "text.safetensors").write_text("no weights")
    with pytest.raises(InputError) as error:
        one(tmp_path, **settings)
    assert "\n" not in str(error.value)
    assert all(word in str(error.value) for word in ["study.toml: codecs[0].settings", *words])


def test_settings_of_study_toml_survive_writing(tmp_path):
    settings = {"checkpoints": ["a.safetensors", 'b "q".safetensors']}
    values = {"name": "x", "codecs": [{"name": "learned", "settings": settings}]}
    write_settings(parse_settings(values, "test"), tmp_path / "study.toml")
    assert read_settings(tmp_path / "study.toml").codecs[0].settings == settings


def test_a_study_of_jpeg_and_a_learned_codec(tmp_path, gained, capsys):
    """From study.toml to triplets that compare the two; another checkpoint of the same name is other stimuli."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    for k in range(3):
        Image.fromarray(photograph(k, 80)).save(folder / f"{k}.png")
    mine = {"name": "learned", "label": "mine", "settings": {"checkpoint": "../gained.safetensors"}}
    values = {
        "name": "study",
        "photographs": {"folder": str(folder), "crop": 48},
        "rates": {"bits_per_pixel": [0.5, 1.0], "tolerance": 0.3},
        "codecs": [{"name": "jpeg"}, mine],
    }
    root = tmp_path / "study"
    root.mkdir()
    write_settings(parse_settings(values, "test"), root / "study.toml")
    assert main([str(root), "--workers", "2"]) == 0
    study = Study(root)
    study.check_images()
    distorted = study.stimuli[study.stimuli["codec"] == "mine"]
    assert set(distorted["source"]) == {"0.png", "1.png", "2.png"}
    codec = configured(study.settings.codecs, str(study.settings_path))["mine"]
    for row in distorted.itertuples():
        data = codec.at(json.loads(row.settings)["position"]).encode(photograph(int(row.source[0]), 80))
        crop = np.s_[row.crop_y : row.crop_y + 48, row.crop_x : row.crop_x + 48]
        assert 8 * len(data) == row.bits
        assert np.array_equal(study.image(row.sha256), codec.decode(data)[crop])
    kinds = study.stimuli.set_index("id")["codec"]
    tests = study.triplets[study.triplets["comparison"] == "codecs"]
    assert any({kinds[row.a], kinds[row.b]} == {"jpeg", "mine"} for row in tests.itertuples())
    capsys.readouterr()
    assert main([str(root)]) == 0 and "are made already" in capsys.readouterr().out
    checkpoint(gained, seed=7, lambdas=LEVELS)
    with pytest.raises(InputError, match="made before with other codecs"):
        main([str(root)])
