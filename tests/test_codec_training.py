"""Training a codec step by step: what is learned from, what a step does, and that a run goes on bit for bit."""

import io
import math

import numpy as np
import pytest
import torch
from conftest import photograph
from PIL import Image

from codec.layers.discriminators import PatchDiscriminator
from codec.systems import Config, build
from codec.training import losses
from codec.training.crops import Crops, load, read_photographs, split
from codec.training.fit import Fit, Recipe
from codec.training.loop import Training
from codec.training.processes import Alone
from codec.training.target_rate import TargetRate
from codec.training.validation import validate
from study.errors import InputError

SIDE = 32


@pytest.fixture
def folder(tmp_path):
    """Six photographs of 70 x 70 pixels and more."""
    root = tmp_path / "photos"
    root.mkdir()
    for k in range(6):
        Image.fromarray(photograph(k, 70 + k)).save(root / f"{k}.png")
    return root


def crops_of(folder, **options) -> Crops:
    options = {"side": SIDE, "batch": 4, "seed": 1} | options
    return Crops(tuple(read_photographs(folder, options["side"], quiet=True)[0]), **options)


def fit_of(folder, lambdas=(0.01,), batch=4, **recipe) -> Fit:
    """A training of the smallest codec."""
    torch.manual_seed(1)
    codec = build(Config("mbt2018-mean", (4, 6), lambdas=lambdas))
    discriminator = PatchDiscriminator(6, width=4) if recipe.get("gan") else None
    distortion = losses.Distortion([losses.mse_term(1.0)])
    recipe = Recipe(**({"lambdas": lambdas, "steps": 40} | recipe))
    return Fit(codec, distortion, crops_of(folder, batch=batch), recipe, Alone(), discriminator)


def test_crops_are_pieces_of_their_photographs_and_mirrored_half_of_the_time(folder):
    crops = crops_of(folder, batch=6)
    wholes = [photo.pixels() for photo in crops.photographs]
    mirrored = 0
    for step in range(6):
        for crop in crops.images(step).numpy():
            found = [
                int(np.array_equal(piece[:, ::-1], crop)) + 1
                for pixels in wholes
                for piece in _pieces(pixels, crop)
                if np.array_equal(piece, crop) or np.array_equal(piece[:, ::-1], crop)
            ]
            assert len(found) == 1
            mirrored += found[0] - 1
    assert 8 <= mirrored <= 28


def _pieces(pixels, crop):
    """The pieces of `pixels` that begin or, mirrored, end with the crop's first pixels."""
    for first in (crop[0, :4], crop[0, ::-1][:4]):
        windows = np.lib.stride_tricks.sliding_window_view(pixels, (1, 4, 3))[:, :, 0, 0]
        for y, x in np.argwhere((windows == first).all(axis=(2, 3))):
            yield pixels[y : y + SIDE, x : x + SIDE]


def test_every_epoch_takes_each_photograph_once_in_an_order_of_its_own(folder):
    for k in range(6):  # one colour each
        Image.fromarray(np.full((70, 70, 3), 40 * k, np.uint8)).save(folder / f"{k}.png")
    crops = crops_of(folder, batch=6)
    epochs = [crops.images(step)[:, 0, 0, 0].tolist() for step in range(4)]
    assert all(sorted(epoch) == [0, 40, 80, 120, 160, 200] for epoch in epochs)
    assert len(set(map(tuple, epochs))) == 4


def test_crops_depend_on_seed_and_step_only(folder):
    """So a run goes on from any step, and processes share a batch."""
    crops, again = crops_of(folder, downscale=0.7), crops_of(folder, downscale=0.7)
    ahead = load(crops, 0)
    batches = [next(ahead) for _ in range(5)]
    ahead.close()
    later = load(again, 3)
    assert torch.equal(batches[3], next(later)) and torch.equal(batches[4], next(later))
    later.close()
    shared = [again.images(2, slice(k, None, 2)) for k in range(2)]
    assert torch.equal(torch.stack(shared, dim=1).flatten(0, 1), batches[2])
    assert not torch.equal(crops_of(folder, downscale=0.7, seed=2).images(0), batches[0])


def test_photographs_are_scaled_down_but_never_below_the_crop(folder):
    """A ramp of one level a pixel has steeper steps when it is smaller, here up to 70 / 64 times."""
    for k in range(6):
        ramp = np.repeat(np.arange(70, dtype=np.uint8)[None, :, None] * 3, 70, axis=0).repeat(3, axis=2)
        Image.fromarray(ramp).save(folder / f"{k}.png")
    slopes = []
    for step in range(5):
        images = crops_of(folder, side=64, downscale=0.2).images(step).float()
        slopes += ((images[:, 32, 56, 0] - images[:, 32, 8, 0]).abs() / 48 / 3).tolist()
    assert min(slopes) > 0.99 and max(slopes) < 70 / 64 + 0.01
    assert max(slopes) > 1.05


def test_photographs_that_do_not_fit_into_memory_are_read_again(folder):
    kept, _ = read_photographs(folder, SIDE, quiet=True)
    some, _ = read_photographs(folder, SIDE, memory=3 * 75 * 75 * 3, quiet=True)
    assert [photo.kept is None for photo in some] == [False] * 3 + [True] * 3
    crops, again = (Crops(tuple(photos), SIDE, 6, 1) for photos in (kept, some))
    assert torch.equal(crops.images(1), again.images(1))


def test_what_cannot_be_used_is_named(folder):
    """A text that is named .png, a photograph smaller than the crop, a camera's raw file."""
    (folder / "text.png").write_text("not a picture")
    (folder / "sub").mkdir()
    Image.fromarray(photograph(1, 20)).save(folder / "sub" / "small.png")
    (folder / "raw.nef").write_bytes(b"raw")
    photographs, left_out = read_photographs(folder, SIDE, quiet=True)
    assert len(photographs) == 6
    assert left_out == [
        "raw.nef: a camera's raw file; develop it to TIFF or PNG first",
        "sub/small.png: 20 x 20 pixels, smaller than the crop of 32",
        "text.png: not an image that can be read",
    ]


def test_a_photograph_is_learned_from_or_held_out(folder):
    photographs, _ = read_photographs(folder, SIDE, quiet=True)
    learned, held_out = split(photographs, 8, seed=1)
    assert len(held_out) == 1 and len(learned) == 5
    assert {photo.name for photo in learned} | {photo.name for photo in held_out} == {f"{k}.png" for k in range(6)}
    assert len({split(photographs, 8, seed)[1][0].name for seed in range(20)}) > 2
    assert split(photographs, 0, 1)[1] == [] and split(photographs[:1], 8, 1) == (photographs[:1], [])


def test_the_loss_falls(folder):
    fit = fit_of(folder, steps=60, learning_rate=6e-3)
    losses_of = [float(fit.take_step()["loss"]) for _ in range(60)]
    assert np.mean(losses_of[-10:]) < 0.4 * np.mean(losses_of[:10])


@pytest.mark.parametrize("gan", [0.0, 0.5])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_run_goes_on_bit_for_bit(folder, gan, precision):
    """From a checkpoint's bytes, with levels: weights, averaged weights, the discriminator, its losses."""
    options = {"lambdas": (0.001, 0.01, 0.1), "gan": gan, "precision": precision, "steps": 6}
    whole, first = fit_of(folder, **options), fit_of(folder, **options)
    uninterrupted = [whole.take_step() for _ in range(6)]
    for _ in range(3):
        first.take_step()
    buffer = io.BytesIO()
    torch.save(first.state(), buffer)
    second = fit_of(folder, **options)
    second.restore(torch.load(io.BytesIO(buffer.getvalue()), weights_only=True))
    resumed = [second.take_step() for _ in range(3)]
    assert resumed == uninterrupted[3:]
    state, expected = second.state(), whole.state()
    for part in ("codec", "averaged", *(["discriminator"] if gan else [])):
        assert state[part].keys() == expected[part].keys()
        assert all(torch.equal(state[part][key], expected[part][key]) for key in state[part])


def test_every_image_has_the_lambda_of_its_own_level(folder):
    """Levels are spread evenly over a batch; a loss is the mean of bits per pixel + lambda * distortion."""
    fit = fit_of(folder, lambdas=(0.001, 0.1), batch=6)
    _, level = fit._next_batch()
    assert sorted(level.tolist()) == [0, 0, 0, 1, 1, 1]
    one = fit_of(folder, lambdas=(0.02,)).take_step()
    torch.testing.assert_close(one["loss"], one["bits_per_pixel"] + 0.02 * one["mse"])


def test_levels_learn_their_own_rates(folder):
    """Only the gain of the levels that were drawn has a gradient, and a higher lambda buys bits."""
    fit = fit_of(folder, lambdas=(0.0001, 0.3), steps=100, learning_rate=3e-3)
    for _ in range(100):
        fit.take_step()
    photographs = fit.crops.photographs
    low, high = validate(fit.chosen(), photographs, fit.distortion, Alone()).levels
    assert high["bits_per_pixel"] > 1.2 * low["bits_per_pixel"] and high["psnr"] > low["psnr"]


@pytest.mark.parametrize(("target", "weight"), [(1e-6, 2.0), (1e6, 0.125)])
def test_a_target_rate_weighs_the_bits_by_what_the_rounded_ones_cost(folder, target, weight):
    fit = fit_of(folder, target=TargetRate(target, above=2.0, below=0.125), steps=10)
    fit.step = 5  # after the warm-up
    measured = fit.take_step()
    torch.testing.assert_close(measured["loss"], weight * measured["bits_per_pixel"] + measured["mse"])


def test_the_discriminator_learns_apart_from_the_codec(folder):
    """The codec's step leaves no gradient in the discriminator, whose own step leaves none in the codec."""
    torch.manual_seed(1)
    fit = fit_of(folder, gan=0.5)
    codec = [p.detach().clone() for p in fit.codec.parameters()]
    discriminator = [p.detach().clone() for p in fit.discriminator.parameters()]
    measured = fit.take_step()
    assert {"gan", "discriminator"} <= measured.keys()
    assert all(p.grad is None for p in (*fit.codec.parameters(), *fit.discriminator.parameters()))
    assert any(not torch.equal(b, p) for b, p in zip(codec, fit.codec.parameters(), strict=True))
    assert any(not torch.equal(b, p) for b, p in zip(discriminator, fit.discriminator.parameters(), strict=True))
    expected = measured["bits_per_pixel"] + 0.01 * (measured["mse"] + 0.5 * measured["gan"])
    torch.testing.assert_close(measured["loss"], expected)


def test_a_discriminator_learns_to_tell_decoded_from_original(folder):
    fit = fit_of(folder, gan=0.1, learning_rate=1e-3, steps=80, batch=2)
    each = [float(fit.take_step()["discriminator"]) for _ in range(80)]
    assert np.mean(each[-10:]) < 0.8 * np.mean(each[:5])


def test_averaged_weights_are_the_moving_average_of_the_weights(folder):
    """Recomputed beside the training, in float64; the decay rises from 0.1 to what was asked for."""
    fit = fit_of(folder, ema=0.3, steps=10, learning_rate=0.01)
    expected = fit.averaged.g_a[0].weight.double()
    for step in range(5):
        fit.take_step()
        decay = min(0.3, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * fit.codec.g_a[0].weight.detach().double()
    torch.testing.assert_close(fit.averaged.g_a[0].weight.double(), expected, rtol=1e-5, atol=1e-6)
    assert not torch.equal(fit.averaged.g_a[0].weight, fit.codec.g_a[0].weight)


def test_without_an_average_the_codec_is_the_last_weights(folder):
    fit = fit_of(folder, ema=0.0)
    fit.take_step()
    for averaged, weight in zip(fit.averaged.parameters(), fit.codec.parameters(), strict=True):
        assert torch.equal(averaged, weight)


def test_the_averaged_codec_has_tables_of_its_own_weights(folder):
    """The prior's table is no average: it is made of the averaged density."""
    fit = fit_of(folder, learning_rate=0.01)
    for _ in range(3):
        fit.take_step()
    chosen = fit.chosen()
    before = chosen.latent.inner.table.clone()
    chosen.tabulate()
    assert torch.equal(before, chosen.latent.inner.table)
    fit.take_step()
    assert not torch.equal(before, fit.chosen().latent.inner.table)


def test_the_learning_rate_rises_and_falls_with_the_budget(folder):
    fit = fit_of(folder, steps=1000, learning_rate=1.0)
    rates = []
    for step in (10, 20, 510, 1000):
        fit.step = step
        rates.append(fit.learning_rate())
    assert rates == pytest.approx([0.5, 1.0, 0.505, 0.01])
    fit = fit_of(folder, minutes=2.0, steps=None, learning_rate=1.0, milestones=(0.5, 0.9))
    rates = []
    for seconds in (1.2, 59, 60, 108, 500):
        fit.seconds = seconds
        rates.append(fit.learning_rate())
    assert rates == pytest.approx([0.5, 1.0, 0.1, 0.01, 0.01]) and fit.progress == 1


def test_time_is_counted_over_interruptions(folder):
    fit = fit_of(folder, minutes=10.0, steps=None)
    fit.restore(fit.state() | {"seconds": 300.0})
    fit.start_clock()
    assert fit.read_clock() is False and 300 <= fit.seconds < 310 and 0.5 <= fit.progress < 0.52


def test_validations_take_a_tenth_of_the_time_at_most(folder, tmp_path):
    """Of a budget of time; the last always takes place, and so do all of a number of steps."""
    training = Training(fit_of(folder, minutes=10.0, steps=None), [], tmp_path, 10)
    training.fit.seconds, training.validating = 300.0, 29.0
    assert training._affordable()
    training.validating = 31.0
    assert not training._affordable()
    training.fit.seconds = 600.0
    training.validating = 500.0
    assert training._affordable()
    training = Training(fit_of(folder, steps=100), [], tmp_path, 10)
    training.fit.seconds, training.validating = 300.0, 200.0
    assert training._affordable()


def test_numbers_that_are_none_stop_the_training(folder):
    fit = fit_of(folder, learning_rate=1e30)
    measured = [fit.take_step() for _ in range(3)]
    with pytest.raises(InputError, match="not a finite number; try a smaller --learning-rate"):
        fit.check({name: float(value) for name, value in measured[-1].items()})
    with pytest.raises(InputError, match="mse is not a finite"):
        fit_of(folder).check({"mse": math.nan})


def test_validation_measures_whole_photographs(folder):
    """Of any size: bits and PSNR are of the photograph's own pixels, without what it is padded with."""
    fit = fit_of(folder)
    photographs = fit.crops.photographs[3:]  # 73 pixels and more
    codec = fit.chosen()
    result = validate(codec, photographs, fit.distortion, Alone(), shown=2)
    bits, psnr = [], []
    for photo in photographs:
        x = torch.from_numpy(photo.pixels()).permute(2, 0, 1)[None] / 255
        side = x.shape[2]
        padded = torch.nn.functional.pad(x, (0, 80 - side, 0, 80 - side), mode="replicate")
        with torch.no_grad():
            output = codec(padded)
        bits.append(float(sum(output.bits.values())) / side**2)
        decoded = (output.x_hat[..., :side, :side].clamp(0, 1) * 255).round()
        psnr.append(float(10 * torch.log10(255**2 / ((255 * x - decoded) ** 2).mean())))
    assert result.levels[0]["bits_per_pixel"] == pytest.approx(np.mean(bits), rel=1e-5)
    assert result.levels[0]["psnr"] == pytest.approx(np.mean(psnr), rel=1e-4)
    assert [image.shape for image in result.decoded] == [(3, 73, 2 * 73), (3, 74, 2 * 74)]
