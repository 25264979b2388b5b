"""Distortions: every term's value against another computation, and its gradient as far as g_a."""

import pytest
import torch
from conftest import photograph
from torch import Tensor

from codec.systems import Config, build
from codec.training import losses
from codec.training.losses import Distortion
from codec.training.ms_ssim import ms_ssim_loss
from codec.training.target_rate import TargetRate
from metric.exporting.exported import load, save
from metric.measures import lpips, measure
from metric.network.backbones import Backbone
from metric.network.model import PerceptualMetric
from study.errors import InputError

CPU = torch.device("cpu")


def images(size: int, count: int = 2) -> tuple[Tensor, Tensor]:
    """Photographs `(count, 3, size, size)` and noisy versions of them, clipped to [0, 1]."""
    x = torch.stack([torch.from_numpy(photograph(k, size)) for k in range(count)]).permute(0, 3, 1, 2) / 255
    return x, (x + 0.1 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)


@pytest.fixture
def exported(tmp_path):
    """An exported metric's file: SqueezeNet's trunk with random weights."""
    trunk = Backbone("squeeze", torch.Generator().manual_seed(1))
    save(PerceptualMetric(trunk, [torch.rand(c) for c in trunk.channels]), tmp_path / "ours.safetensors", {"name": "x"})
    return tmp_path / "ours.safetensors"


@pytest.fixture
def vgg(monkeypatch):
    """VGG16 with random weights, which say as much here as ImageNet's and are quicker to have."""
    trunk = Backbone("vgg", torch.Generator().manual_seed(1)).requires_grad_(False)
    monkeypatch.setattr(losses, "load_backbone", lambda name: trunk)
    return trunk


def test_squared_and_absolute_error_by_hand():
    """Half a level of [0, 1] off everywhere is 127.5 of 255, squared; a total is weighted."""
    x = torch.zeros(2, 3, 8, 8)
    x_hat = torch.stack([torch.full((3, 8, 8), 0.5), torch.zeros(3, 8, 8)])
    distortion = Distortion([losses.mse_term(2.0), losses.mae_term(10.0)])
    values = distortion.compare(distortion.prepare(x), x_hat)
    torch.testing.assert_close(values["mse"], torch.tensor([127.5**2, 0.0]))
    torch.testing.assert_close(values["mae"], torch.tensor([0.5, 0.0]))
    torch.testing.assert_close(distortion.total(values), torch.tensor([2 * 127.5**2 + 5, 0.0]))


@pytest.mark.parametrize("size", [161, 200])
def test_ms_ssim_is_that_of_piq(size):
    x, x_hat = images(size)
    piq = measure("ms-ssim")
    expected = torch.cat([piq.compare(piq.prepare(x[k : k + 1]), x_hat[k : k + 1]) for k in range(2)])
    torch.testing.assert_close(ms_ssim_loss(x, x_hat), expected, atol=1e-5, rtol=1e-4)
    assert ms_ssim_loss(x, x).abs().max() < 1e-6


def test_ms_ssim_has_a_finite_gradient_where_structure_is_reversed():
    """Where a plain power of the similarity has none: at 0 and below."""
    x, _ = images(161)
    x_hat = (1 - x).requires_grad_()
    ms_ssim_loss(x, x_hat).sum().backward()
    assert torch.isfinite(x_hat.grad).all()


def test_lpips_and_an_exported_metric_say_what_their_modules_say(exported):
    x, x_hat = images(64)
    distortion = Distortion([losses.lpips_term("alex", 1.0, CPU), losses.metric_term(exported, 3.0, CPU)])
    values = distortion.compare(distortion.prepare(x), x_hat)
    torch.testing.assert_close(values["lpips-alex"], lpips("alex")(x, x_hat))
    torch.testing.assert_close(values["metric-ours"], load(exported)(x, x_hat))
    assert distortion.weights == {"lpips-alex": 1.0, "metric-ours": 3.0}


def test_vgg_features_are_compared_as_srgan_scales_them(vgg):
    """Against the layers one by one, on ImageNet's scale."""
    x, x_hat = images(32)
    term = losses.vgg_term(1.0, CPU)
    mean, deviation = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    f, g = ((image - mean) / deviation for image in (x, x_hat))
    squared = []
    for layer in vgg.features:
        f, g = layer(f), layer(g)
        if isinstance(layer, torch.nn.ReLU):
            last = ((f - g) ** 2).mean(dim=(1, 2, 3)) / 12.75**2
        if isinstance(layer, torch.nn.MaxPool2d):
            squared.append(last)
    expected = torch.stack([*squared[:4], last]).mean(dim=0)
    torch.testing.assert_close(term.compare(term.prepare(x), x_hat), expected, rtol=1e-3, atol=0)


@pytest.mark.parametrize("name", ["mse", "mae", "ms-ssim", "lpips-alex", "vgg", "metric-ours"])
def test_every_term_reaches_the_analysis_transform(name, exported, vgg):
    torch.manual_seed(1)
    make = {
        "mse": lambda: losses.mse_term(1.0),
        "mae": lambda: losses.mae_term(1.0),
        "ms-ssim": lambda: losses.ms_ssim_term(1.0),
        "lpips-alex": lambda: losses.lpips_term("alex", 1.0, CPU),
        "vgg": lambda: losses.vgg_term(1.0, CPU),
        "metric-ours": lambda: losses.metric_term(exported, 1.0, CPU),
    }
    distortion = Distortion([make[name]()])
    codec = build(Config("mbt2018-mean", (4, 6)))
    x, _ = images(176 if name == "ms-ssim" else 64, 1)
    distortion.total(distortion.compare(distortion.prepare(x), codec(x).x_hat)).sum().backward()
    gradient = codec.g_a[0].weight.grad
    assert torch.isfinite(gradient).all() and gradient.abs().max() > 0


def test_a_decoder_gone_astray_still_learns_from_a_network():
    """Networks refuse images far outside [0, 1]; the term cuts them there, and its gradient goes on."""
    distortion = Distortion([losses.lpips_term("alex", 1.0, CPU)])
    x, _ = images(64)
    astray = (x * 10 - 5).requires_grad_()
    values = distortion.compare(distortion.prepare(x), astray)
    values["lpips-alex"].sum().backward()
    torch.testing.assert_close(values["lpips-alex"], lpips("alex")(x, (x * 10 - 5).clamp(-0.5, 1.5)))
    assert (astray.grad[astray < -0.5] != 0).any()


def test_distortions_are_float32_under_autocast():
    distortion = Distortion([losses.mse_term(1.0), losses.lpips_term("alex", 1.0, CPU)])
    x, x_hat = images(64)
    plain = distortion.compare(distortion.prepare(x), x_hat)
    with torch.autocast("cpu", torch.bfloat16):
        values = distortion.compare(distortion.prepare(x), x_hat)
    for name, value in values.items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, plain[name])


def test_images_that_a_term_cannot_take_are_named_at_the_start():
    with pytest.raises(InputError, match="ms-ssim needs images of at least 161 pixels a side; crops: 128 x 128"):
        Distortion([losses.ms_ssim_term(1.0)]).check(128, 128, "crops", CPU)
    with pytest.raises(InputError, match="lpips-alex needs images of at least 31"):
        Distortion([losses.lpips_term("alex", 1.0, CPU)]).check(16, 16, "crops", CPU)


def test_a_trunk_that_takes_one_size_only_is_named_at_the_start():
    """As vision transformers do: they fail with an error of their own."""
    trunk = Backbone("squeeze")
    trunk.register_forward_pre_hook(lambda module, given: given[0].reshape(-1, 3, 224, 224))
    metric = PerceptualMetric(trunk, [torch.ones(c) for c in trunk.channels]).requires_grad_(False)
    distortion = Distortion([losses._perceptual("metric-vit", metric, 1.0, CPU)])
    distortion.check(224, 224, "crops", CPU)
    with pytest.raises(InputError, match="metric-vit cannot take crops, 64 x 64 pixels: shape") as error:
        distortion.check(64, 64, "crops", CPU)
    assert "\n" not in str(error.value)


def test_a_term_given_twice_is_refused():
    with pytest.raises(InputError, match="lpips-alex: given twice"):
        Distortion([losses.lpips_term("alex", weight, CPU) for weight in (1.0, 2.0)])


def test_the_rate_is_dear_above_the_target_and_cheap_below():
    """HiFiC: at first the target is higher, and the weights are half."""
    target = TargetRate(0.14, above=2.0, below=0.0625)
    assert [target.weight(rate, 0.5) for rate in (0.1, 0.139, 0.141, 1.0)] == [0.0625, 0.0625, 2.0, 2.0]
    assert [target.weight(rate, 0.01) for rate in (0.141, 0.199, 0.201)] == [0.03125, 0.03125, 1.0]
