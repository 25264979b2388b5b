"""The systems as their papers give them, their files of weights, and round trips of whole latents."""

import dataclasses
import json
import re

import pytest
import torch
from codec_runs import ALL, small_codec, threads, without_onednn
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from shared_data import shared

import codec
from codec.checkpoint import fingerprint, save_codec, training_record
from codec.entropy.integers import _MOST_INPUTS, ONE, to_float
from codec.layers.masked import MaskedConv2d
from codec.rate import BinWidth
from codec.systems import MOST_CHANNELS, Config, build
from study.errors import InputError
from study.photographs import read


def parameters(config: Config) -> int:
    return sum(p.numel() for p in build(config).parameters())


def test_the_systems_have_the_size_of_the_published_ones():
    """Parameters of CompressAI's models, less the 3 quantiles a channel of z that ours do without."""
    assert round(parameters(Config("bmshj2018-hyperprior", (192, 320))) / 1e6, 1) == 11.8
    quantiles = 3 * 128
    assert parameters(Config("bmshj2018-hyperprior", (128, 192))) == 5075843 - quantiles
    assert parameters(Config("mbt2018-mean", (128, 192))) == 7028003 - quantiles
    assert parameters(Config("mbt2018", (192, 192), "masked")) == 14130467 - 3 * 192


@pytest.mark.parametrize(("system", "context"), ALL)
def test_training_gives_every_parameter_a_gradient(system, context):
    model = small_codec(system, context, lambdas=(0.01, 0.05)).train()
    output = model(torch.rand(2, 3, 64, 48), torch.tensor([0.0, 0.7]))
    assert output.x_hat.shape == (2, 3, 64, 48) and output.y_hat.shape == (2, 16, 4, 3)
    assert all(bits.shape == (2,) and (bits > 0).all() for bits in output.bits.values())
    loss = sum(bits.sum() for bits in output.bits.values()) + (output.x_hat - 0.5).square().sum()
    loss.backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), parameter_name


@pytest.mark.parametrize(("system", "context"), ALL)
def test_latents_come_back_whatever_the_threads_and_libraries(system, context):
    """Encoded on one thread with oneDNN, decoded on two, and without oneDNN: the same latents, bit for bit."""
    model = small_codec(system, context)
    x = torch.rand(1, 3, 96, 80, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        with threads(1):
            y = model.analysis(x)
            encoder = model.encoder()
            sent = model.latent.walk(encoder, y, (6, 5))
            data = encoder.finish()
        for count in (1, 2):
            for setting in (threads(count), without_onednn()):
                model.tabulate()  # its integer networks are made anew
                with setting:
                    decoder = model.decoder(data)
                    received = model.latent.walk(decoder, None, (6, 5))
                    decoder.finish()
                assert torch.equal(received, sent)
                assert decoder.symbols_crc == encoder.symbols_crc
    assert sent.abs().max() > 3 * ONE


@pytest.mark.parametrize(("system", "context"), ALL)
def test_a_kodak_latent_comes_back_and_costs_what_was_estimated(system, context):
    """24 photographs: the decoder's latents are the encoder's, and the bytes within 1 % + 64 of the estimate."""
    paths = sorted(shared("photos/kodak").glob("*.png"))
    assert len(paths) == 24
    model = small_codec(system, context)
    for path in paths:
        x = torch.from_numpy(read(path)).permute(2, 0, 1)[None] / 255
        with torch.inference_mode():
            y = model.analysis(x)
            size = (y.shape[2], y.shape[3])
            encoder, counter = model.encoder(), model.counter()
            sent = model.latent.walk(encoder, y, size)
            model.latent.walk(counter, y, size)
            data = encoder.finish()
            decoder = model.decoder(data)
            assert torch.equal(model.latent.walk(decoder, None, size), sent)
            decoder.finish()
        assert abs(len(data) - counter.bits / 8) <= 0.01 * counter.bits / 8 + 64
        assert counter.bits > 1000


@pytest.mark.parametrize(("system", "context"), [kind for kind in ALL if kind[1] not in ("masked", "checkerboard")])
def test_the_float_estimate_is_the_file_s(system, context):
    """Validation counts bits in floats; they are those of coding to 1 % (contexts see y rounded, which is no more)."""
    model = small_codec(system, context)
    with torch.no_grad():
        model.g_a[-1].weight.div_(8)  # no symbol far out in a tail, where the two have floors of their own
    x = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        bits = sum(float(b) for b in model(x).bits.values())
        counter = model.counter()
        y_hat = model.latent.walk(counter, model.analysis(x), (8, 8))
        apart = (to_float(y_hat) - model(x).y_hat).abs()
        assert (apart > 0.02).float().mean() < 0.005  # where y lies between two symbols, either may be taken
    assert counter.bits == pytest.approx(bits, rel=0.01)


def test_gain_units_scale_the_latent_and_back():
    """They start in proportion to the square root of lambda, and meet in the geometric middle."""
    model = small_codec(lambdas=(0.01, 0.04))
    x = torch.rand(1, 3, 32, 32)
    with torch.inference_mode():
        low, half, high = (model.analysis(x, torch.tensor([p])) for p in (0.0, 0.5, 1.0))
    torch.testing.assert_close(high, 2 * low)
    torch.testing.assert_close(half, 2**0.5 * low)
    assert model.positions == 1.0 and small_codec().positions == 0.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"system": "mbt2019"}, "no such system"),
        ({"context": "masked"}, "no context"),
        ({"channels": (0, 4)}, "from 1 to 1024"),
        ({"channels": (8, 2500)}, "from 1 to 1024"),
        ({"scales": "exp"}, "no such scales"),
        ({"lambdas": tuple(range(1, 258))}, "at most 256"),
        ({"lambdas": (0.1, -1.0)}, "above 0"),
        ({"lambdas": (0.1, 0.01)}, "fewest bits"),
    ],
)
def test_settings_that_make_no_codec_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        build(dataclasses.replace(Config("mbt2018-mean", (4, 8)), **change))


@pytest.mark.parametrize(("system", "context"), ALL)
@pytest.mark.parametrize("half", [False, True])
def test_a_saved_codec_is_the_codec(system, context, half, tmp_path):
    """Weights, tables, settings and fingerprint; in float16 the weights are rounded on both sides."""
    model = small_codec(system, context, lambdas=(0.01, 0.04))
    path = tmp_path / "codec.safetensors"
    save_codec(model, path, {"steps": 3}, half)
    loaded = codec.load(path)
    assert loaded.config == model.config and not loaded.training
    assert fingerprint(loaded) == fingerprint(model)
    assert training_record(path) == {"steps": 3}
    for parameter_name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[parameter_name], value)


def test_a_saved_codec_in_float16_has_its_medians_too(tmp_path):
    """They are no parameters, and zero but in the codecs of the zoo."""
    model = small_codec()
    model.latent.inner.medians.fill_(0.1234567)
    model.tabulate()
    save_codec(model, tmp_path / "codec.safetensors", half=True)
    assert fingerprint(codec.load(tmp_path / "codec.safetensors")) == fingerprint(model)


@pytest.mark.parametrize(("system", "context"), ALL)
def test_the_widest_codec_can_code(system, context):
    """No layer between z and y has more inputs than integers are exact for: what can be built can code."""
    with torch.device("meta"):
        widest = build(Config(system, (MOST_CHANNELS, MOST_CHANNELS), context))
    for module in (*widest.latent.h_s.modules(), *widest.latent.context.modules()):
        if isinstance(module, MaskedConv2d):
            assert module.kernel_size[0] ** 2 // 2 * module.in_channels <= _MOST_INPUTS  # half of the taps count
        elif isinstance(module, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
            assert module.in_channels * module.weight[0, 0].numel() <= _MOST_INPUTS


def test_a_codec_that_has_coded_forgets_its_former_weights():
    """Its integer networks and its fingerprint are those of the weights that were loaded last."""
    model, other = build(Config("mbt2018-mean", (4, 8))).eval(), small_codec(channels=(4, 8))
    x = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    codes = []
    for load in (False, True):
        if load:
            model.load_state_dict(other.state_dict())
        with torch.inference_mode():
            encoder = model.encoder()
            model.latent.walk(encoder, other.analysis(x), (2, 2))
        codes.append((encoder.finish(), fingerprint(model)))
    with torch.inference_mode():
        encoder = other.encoder()
        other.latent.walk(encoder, other.analysis(x), (2, 2))
    assert codes[1] == (encoder.finish(), fingerprint(other)) != codes[0]


def test_fingerprints_differ_between_codecs():
    found = {fingerprint(small_codec(*kind, seed=seed)) for kind in ALL for seed in (0, 1)}
    assert len(found) == 2 * len(ALL)
    assert all(re.fullmatch("[0-9a-f]{64}", one) for one in found)


def test_a_codec_on_its_way_from_training_codes_with_its_new_tables():
    """The table of the factorised prior follows the weights as soon as training ends."""
    model = small_codec().train()
    before = model.latent.inner.table.clone()
    with torch.no_grad():
        model.latent.inner.biases[0].add_(0.3)
    model.eval()
    assert not torch.equal(model.latent.inner.table, before)


def test_files_that_hold_no_codec_are_refused(tmp_path):
    """Missing, a folder, text, another kind of safetensors, a tensor lost, of another shape, too many, not finite."""
    good = tmp_path / "good.safetensors"
    save_codec(small_codec(), good)
    text, other, bad = tmp_path / "text", tmp_path / "other.safetensors", tmp_path / "bad.safetensors"
    text.write_text("no codec")
    save_file({"a": torch.zeros(2)}, other)
    cases = {tmp_path / "none": "missing", tmp_path: "folder", text: "not a codec", other: "holds no codec"}
    for path, message in cases.items():
        with pytest.raises(InputError, match=message):
            codec.load(path)
    with safe_open(good, "pt") as file:
        metadata = file.metadata()
    for change, message in {
        "lost": "is missing",
        "shape": "is \\(1,\\), not",
        "more": "nothing is called",
        "nan": "no numbers",
    }.items():
        state = load_file(good)
        if change == "lost":
            del state["g_a.0.bias"]
        elif change == "shape":
            state["g_a.0.bias"] = torch.zeros(1)
        elif change == "more":
            state["g_a.9.bias"] = torch.zeros(1)
        else:
            state["g_a.0.bias"][0] = float("nan")
        save_file(state, bad, metadata)
        with pytest.raises(InputError, match=message):
            codec.load(bad)
    save_file(load_file(good), bad, metadata | {"format": "eyetune codec 99"})
    with pytest.raises(InputError, match="eyetune codec 99"):
        codec.load(bad)
    for config in ("{", "[]", "[" * 100_000, *_configs(metadata)):
        save_file(load_file(good), bad, metadata | {"config": config})
        with pytest.raises(InputError, match="settings (cannot be read|say channels|make no codec)"):
            codec.load(bad)
    save_file(load_file(good), bad, metadata | {"training": "[]"})
    with pytest.raises(InputError, match="of its training is list"):
        training_record(bad)


def _configs(metadata):
    """Settings of other types, and of sizes that would take gigabytes if they were believed."""
    config = json.loads(metadata["config"])
    for change in (
        {"channels": "ab"}, {"channels": [8, 16, 3]}, {"channels": [float("inf"), 8]}, {"channels": [1024, 1024]},
        {"lambdas": ["a"]}, {"lambdas": 3}, {"system": []}, {"context": {}}, {"scales": "exp"}, {"more": 1},
    ):  # fmt: skip
        yield json.dumps(config | change)


@pytest.mark.parametrize(
    ("table", "message"), [(0, "no probability"), (-5, "no probability"), (1e30, "float32, not torch.int32")]
)
def test_a_table_that_is_no_density_is_refused(table, message, tmp_path):
    """The range coder would raise, or worse, take it."""
    save_codec(small_codec(), tmp_path / "good.safetensors")
    with safe_open(tmp_path / "good.safetensors", "pt") as file:
        metadata = file.metadata()
    state = load_file(tmp_path / "good.safetensors")
    name = "latent.inner.table"
    state[name] = state[name].to(torch.float32 if isinstance(table, float) else torch.int32)
    state[name][:, 3] = table
    save_file(state, tmp_path / "bad.safetensors", metadata)
    with pytest.raises(InputError, match=message):
        codec.load(tmp_path / "bad.safetensors")


def test_bin_widths_are_a_factor_of_four_apart_and_undone():
    """Deep Render's randomised bins: widths from 2 to 1/2, so that y_hat comes back within half a bin."""
    widths = BinWidth()
    y = torch.randn(3, 4, 5, 6)
    position = torch.tensor([0.0, 0.5, 1.0])
    scaled = widths(y, position)
    for width, wide, plain in zip((2, 1, 0.5), scaled, y, strict=True):
        torch.testing.assert_close(wide * width, plain)
    torch.testing.assert_close(widths.inverse(scaled, position), y)


def test_a_fresh_codec_s_decoder_needs_the_file_s_tables():
    """The table of the factorised prior is stored: a loaded codec does not compute its own."""
    model = small_codec()
    state = model.state_dict()
    state["latent.inner.table"] = state["latent.inner.table"].roll(1, 1)
    other = build(model.config).eval()
    other.load_state_dict(state)
    assert torch.equal(other.eval().latent.inner.table, state["latent.inner.table"])
    assert fingerprint(other) != fingerprint(model)


def test_latents_and_pixels_are_float32_under_autocast():
    """A latent of 60 in bfloat16 is known to 1/4: the last layers compute in float32."""
    model = small_codec(lambdas=(0.01, 0.04))
    x = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(3))
    position = torch.tensor([1.0])
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        y = model.analysis(x, position)
        output = model(x, position)
    assert y.dtype == output.x_hat.dtype == output.y_hat.dtype == torch.float32
    assert not torch.equal(y, y.bfloat16().float())
    assert not torch.equal(output.x_hat, output.x_hat.bfloat16().float())
