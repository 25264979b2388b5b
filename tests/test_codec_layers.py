"""Layers of learned codecs: values by hand, gradients, what a masked convolution may see, shapes of any size."""

import math

import pytest
import torch

from codec.layers.masked import MaskedConv2d, checkerboard_mask, raster_mask
from codec.layers.normalisation import GDN, ChannelNorm, lower_bound


def drawn(*shape: int, seed: int = 0, dtype=torch.float32) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def shaken(layer: torch.nn.Module, seed: int = 1) -> torch.nn.Module:
    """The layer with other parameters than those it begins with, by up to half their size."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter += 0.5 * (torch.rand(parameter.shape, generator=generator).to(parameter) - 0.3)
    return layer


# Normalisation.


def test_lower_bound_stops_only_the_gradient_that_would_lower_what_is_below():
    x = torch.tensor([0.5, 2.0, 0.5, 2.0], requires_grad=True)
    y = lower_bound(x, 1.0)
    assert y.tolist() == [1.0, 2.0, 1.0, 2.0]
    y.backward(torch.tensor([3.0, 3.0, -3.0, -3.0]))  # a descent step goes against the gradient
    assert x.grad.tolist() == [0.0, 3.0, -3.0, -3.0]


@pytest.mark.parametrize("inverse", [False, True])
def test_gdn_is_its_formula(inverse):
    """Written out with loops over channels, at one pixel."""
    gdn = shaken(GDN(3, inverse).double())
    beta, gamma = gdn.weights()
    x = drawn(1, 3, 1, 1, dtype=torch.float64)
    with torch.no_grad():
        for i, y in enumerate(gdn(x).flatten()):
            root = math.sqrt(beta[i] + sum(gamma[i, j] * x[0, j, 0, 0] ** 2 for j in range(3)))
            expected = x[0, i, 0, 0] * root if inverse else x[0, i, 0, 0] / root
            assert y.item() == pytest.approx(expected.item(), rel=1e-12)


def test_gdn_begins_with_beta_1_and_gamma_a_tenth_of_the_identity():
    beta, gamma = GDN(4).weights()
    torch.testing.assert_close(beta, torch.ones(4))
    torch.testing.assert_close(gamma, 0.1 * torch.eye(4))
    torch.testing.assert_close(GDN(2)(torch.full((1, 2, 1, 1), 3.0)), torch.full((1, 2, 1, 1), 3 / math.sqrt(1.9)))


def test_igdn_undoes_gdn_where_only_beta_counts():
    """Without gamma both only scale each channel, by numbers that are each other's inverse."""
    gdn, igdn = GDN(5), GDN(5, inverse=True)
    for layer in (gdn, igdn):
        layer.load_state_dict({"beta": torch.linspace(0.5, 2, 5), "gamma": torch.zeros(5, 5)})
    x = drawn(2, 5, 3, 4)
    torch.testing.assert_close(igdn(gdn(x)), x)


def test_gdn_keeps_beta_and_gamma_positive_whatever_is_stored():
    gdn = GDN(2)
    gdn.load_state_dict({"beta": torch.tensor([-1.0, 0.0]), "gamma": torch.full((2, 2), -3.0)})
    beta, gamma = gdn.weights()
    torch.testing.assert_close(beta, torch.full((2,), 1e-6), rtol=1e-4, atol=0)
    assert (gamma == 0).all()
    assert gdn(torch.zeros(1, 2, 1, 1)).tolist() == [[[[0.0]], [[0.0]]]]


@pytest.mark.parametrize("inverse", [False, True])
def test_gdn_gradients_are_those_of_finite_differences(inverse):
    gdn = shaken(GDN(3, inverse).double())
    with torch.no_grad():
        gdn.gamma.abs_().add_(0.1)  # away from the bound, where the gradient is not the derivative
    x = drawn(1, 3, 2, 2, dtype=torch.float64).requires_grad_()
    names = ("beta", "gamma")

    def output(x, *stored):
        return torch.func.functional_call(gdn, dict(zip(names, stored, strict=True)), (x,))

    assert torch.autograd.gradcheck(output, (x, *(getattr(gdn, name) for name in names)))


@pytest.mark.parametrize("layer", [GDN(8), GDN(8, inverse=True), ChannelNorm(8)])
def test_normalisation_is_float32_under_autocast(layer):
    """Values of thousands, whose squares' sums bfloat16 cannot tell apart."""
    x = (drawn(2, 8, 4, 4) * 3000).bfloat16().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = layer(x)
    assert y.dtype == torch.float32
    torch.testing.assert_close(y, layer(x.detach().float()), rtol=0, atol=0)
    y.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in (x, *layer.parameters()))


def test_channel_norm_is_its_formula():
    """Two channels by hand: mean 2, unbiased variance 2; then gain and bias of each channel."""
    norm = ChannelNorm(2)
    x = torch.tensor([1.0, 3.0]).reshape(1, 2, 1, 1)
    root = math.sqrt(2.001)
    assert norm(x).flatten().tolist() == pytest.approx([-1 / root, 1 / root])
    norm.load_state_dict({"gain": torch.tensor([2.0, 3.0]), "bias": torch.tensor([10.0, 20.0])})
    assert norm(x).flatten().tolist() == pytest.approx([10 - 2 / root, 20 + 3 / root])


def test_channel_norm_looks_at_one_pixel_alone():
    norm, x = ChannelNorm(6), drawn(2, 6, 5, 7)
    torch.testing.assert_close(norm(x)[:, :, 2:4, 1:6], norm(x[:, :, 2:4, 1:6]))


# Masked convolutions.


def test_masks_by_hand():
    assert raster_mask(3).int().tolist() == [[1, 1, 1], [1, 0, 0], [0, 0, 0]]
    assert checkerboard_mask(3).int().tolist() == [[0, 1, 0], [1, 0, 1], [0, 1, 0]]
    assert [raster_mask(k).sum().item() for k in (3, 5, 7)] == [4, 12, 24]
    assert [checkerboard_mask(k).sum().item() for k in (3, 5, 7)] == [4, 12, 24]


@pytest.mark.parametrize("mask", ["raster", "checkerboard"])
@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_masked_convolution_sees_its_taps_alone(mask, kernel):
    """The gradient of one output reaches exactly the inputs the taps name, and never the output's own place."""
    conv = MaskedConv2d(2, 3, kernel, mask)
    x = drawn(1, 2, 9, 9).requires_grad_()
    conv(x)[0, :, 4, 4].sum().backward()
    seen = {(y - 4, x - 4) for y, x in (x.grad[0].abs().sum(0) > 0).nonzero().tolist()}
    assert seen == set(conv.taps()) and len(conv.taps()) == len(seen)
    assert all((dy + dx) % 2 if mask == "checkerboard" else (dy, dx) < (0, 0) for dy, dx in seen)


@pytest.mark.parametrize("mask", ["raster", "checkerboard"])
def test_masked_convolution_is_a_sum_over_its_taps(mask):
    """Gathered position by position as a decoder does, with zeros outside, in the order of `taps`."""
    conv, x = MaskedConv2d(2, 3, 5, mask), drawn(1, 2, 4, 6)
    padded = torch.nn.functional.pad(x, (2, 2, 2, 2))
    with torch.no_grad():
        expected = conv.bias[:, None, None].expand(3, 4, 6).clone()
        for dy, dx in conv.taps():
            window = padded[0, :, 2 + dy : 6 + dy, 2 + dx : 8 + dx]
            expected += torch.einsum("oi,ihw->ohw", conv.weight[:, :, 2 + dy, 2 + dx], window)
        torch.testing.assert_close(conv(x)[0], expected)


def test_masked_convolution_keeps_no_mask_in_its_state():
    assert set(MaskedConv2d(2, 3, 5).state_dict()) == {"weight", "bias"}
