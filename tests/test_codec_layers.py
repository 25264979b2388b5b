"""Layers of learned codecs: values by hand, gradients, what a masked convolution may see, shapes of any size."""

import math

import pytest
import torch

from codec.layers.blocks import (
    GateAttention,
    MaskAttention,
    SelfAttention,
    bilinear,
    convolution,
    residual,
    residual_gdn,
    residual_normed,
    residual_sub_pixel,
    space_to_depth,
    sub_pixel,
    transposed,
)
from codec.layers.discriminators import PatchDiscriminator, discriminator_loss, generator_loss
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
def test_masked_layersees_its_taps_alone(mask, kernel):
    """The gradient of one output reaches exactly the inputs the taps name, and never the output's own place."""
    conv = MaskedConv2d(2, 3, kernel, mask)
    x = drawn(1, 2, 9, 9).requires_grad_()
    conv(x)[0, :, 4, 4].sum().backward()
    seen = {(y - 4, x - 4) for y, x in (x.grad[0].abs().sum(0) > 0).nonzero().tolist()}
    assert seen == set(conv.taps()) and len(conv.taps()) == len(seen)
    assert all((dy + dx) % 2 if mask == "checkerboard" else (dy, dx) < (0, 0) for dy, dx in seen)


@pytest.mark.parametrize("mask", ["raster", "checkerboard"])
def test_masked_layeris_a_sum_over_its_taps(mask):
    """Gathered position by position as a decoder does, with zeros outside, in the order of `taps`."""
    conv, x = MaskedConv2d(2, 3, 5, mask), drawn(1, 2, 4, 6)
    padded = torch.nn.functional.pad(x, (2, 2, 2, 2))
    with torch.no_grad():
        expected = conv.bias[:, None, None].expand(3, 4, 6).clone()
        for dy, dx in conv.taps():
            window = padded[0, :, 2 + dy : 6 + dy, 2 + dx : 8 + dx]
            expected += torch.einsum("oi,ihw->ohw", conv.weight[:, :, 2 + dy, 2 + dx], window)
        torch.testing.assert_close(conv(x)[0], expected)


def test_masked_layerkeeps_no_mask_in_its_state():
    assert set(MaskedConv2d(2, 3, 5).state_dict()) == {"weight", "bias"}


# Blocks.


@pytest.mark.parametrize(("height", "width"), [(1, 1), (5, 8), (7, 3)])
@pytest.mark.parametrize(
    ("block", "scale"),
    [
        (residual(16, GDN(16)), 1),
        (residual_normed(16, torch.nn.ReLU()), 1),
        (residual_gdn(16, 16), 1),
        (residual_sub_pixel(16, 16), 2),
        (sub_pixel(16, 16), 2),
        (bilinear(), 2),
        (transposed(16, 16, 5), 2),
        (transposed(16, 16, 3, 1), 1),
        (MaskAttention(16), 1),
        (GateAttention(16), 1),
        (SelfAttention(16), 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, torch.nn.Module) else str(value),
)
def test_blocks_keep_or_double_any_size(block, scale, height, width):
    assert block(drawn(2, 16, height, width)).shape == (2, 16, scale * height, scale * width)


def test_strided_blocks_halve_and_round_up():
    assert convolution(3, 4, 5, 2)(drawn(1, 3, 7, 8)).shape == (1, 4, 4, 4)
    assert residual_gdn(3, 4, stride=2)(drawn(1, 3, 7, 8)).shape == (1, 4, 4, 4)
    assert space_to_depth(3, 4)(drawn(1, 3, 6, 8)).shape == (1, 4, 3, 4)


def test_residual_adds_its_input_or_the_shortcut_of_it():
    """With the body's last convolution at zero only the shortcut is left."""
    block, strided = residual(4, torch.nn.ReLU()), residual_gdn(4, 6, stride=2)
    for last in (block.body[2], strided.body[2]):
        torch.nn.init.zeros_(last.weight)
        torch.nn.init.zeros_(last.bias)
    x = drawn(1, 4, 6, 6)
    torch.testing.assert_close(block(x), x)
    torch.testing.assert_close(strided(x), strided.shortcut(x))


def test_mask_attention_lets_through_what_its_mask_says():
    """A mask of sigmoid(-100) shuts the main branch, one of sigmoid(100) opens it."""
    attention, x = MaskAttention(4), drawn(1, 4, 5, 5)
    gate = attention.mask[3]
    torch.nn.init.zeros_(gate.weight)
    torch.nn.init.constant_(gate.bias, -100)
    torch.testing.assert_close(attention(x), attention.shortcut(x))
    torch.nn.init.constant_(gate.bias, 100)
    torch.testing.assert_close(attention(x), attention.main(x) + attention.shortcut(x))


def test_gate_attention_multiplies_by_1_to_2():
    """1 + sigmoid of the gates: 1.5 where both are zero; one value of it for all pixels where only channels gate."""
    attention, x = GateAttention(16), drawn(1, 16, 5, 7)
    ratio = attention(x) / x
    assert ((ratio > 1) & (ratio < 2)).all()
    for parameter in attention.spatial.parameters():
        torch.nn.init.zeros_(parameter)
    ratio = attention(x) / x
    torch.testing.assert_close(ratio, ratio[:, :, :1, :1].expand_as(ratio), rtol=1e-4, atol=1e-4)
    for parameter in attention.channel.parameters():
        torch.nn.init.zeros_(parameter)
    torch.testing.assert_close(attention(x), 1.5 * x)


def test_self_attention_begins_as_the_identity_and_is_its_formula():
    """Softmax of queries times pooled keys, written out; the pooling is max_pool2d where the size is even."""
    attention, x = SelfAttention(16), drawn(2, 16, 6, 8)
    torch.testing.assert_close(attention(x), x)
    torch.nn.init.constant_(attention.gamma, 0.7)
    query = attention.query(x).flatten(2)
    key, value = (torch.nn.functional.max_pool2d(f(x), 2).flatten(2) for f in (attention.key, attention.value))
    weights = torch.softmax(query.transpose(1, 2) @ key, dim=-1)  # (N, positions, keys)
    expected = x + 0.7 * attention.out((value @ weights.transpose(1, 2)).reshape(2, 8, 6, 8))
    torch.testing.assert_close(attention(x), expected)


def test_self_attention_of_a_large_input_pools_its_keys_to_32_a_side():
    attention, x = SelfAttention(8), drawn(1, 8, 70, 66)
    torch.nn.init.constant_(attention.gamma, 1.0)
    keys = torch.nn.functional.adaptive_max_pool2d(attention.key(x), 32).flatten(2)
    values = torch.nn.functional.adaptive_max_pool2d(attention.value(x), 32).flatten(2)
    weights = torch.softmax(attention.query(x).flatten(2).transpose(1, 2) @ keys, dim=-1)
    expected = x + attention.out((values @ weights.transpose(1, 2)).reshape(1, 4, 70, 66))
    torch.testing.assert_close(attention(x), expected)


# Discriminators.


@pytest.mark.parametrize("latents", [0, 5])
def test_discriminator_answers_for_each_patch_of_8_pixels(latents):
    discriminator = PatchDiscriminator(latents, width=4)
    condition = (drawn(2, latents, 3, 4),) if latents else ()
    assert discriminator(drawn(2, 3, 48, 64), *condition).shape == (2, 1, 6, 8)


def test_conditional_discriminator_hears_the_latents_but_does_not_train_them():
    discriminator = PatchDiscriminator(5, width=4).eval()
    image, y_hat = drawn(1, 3, 32, 32).requires_grad_(), drawn(1, 5, 2, 2).requires_grad_()
    assert not torch.equal(discriminator(image, y_hat), discriminator(image, -y_hat))
    discriminator(image, y_hat).sum().backward()
    assert y_hat.grad is None and image.grad.abs().sum() > 0


def test_discriminator_weights_have_spectral_norm_1():
    """After a few power iterations the greatest singular value of every convolution's matrix is 1."""
    discriminator = PatchDiscriminator(5, width=4).train()
    for _ in range(100):
        discriminator(drawn(1, 3, 32, 32), drawn(1, 5, 2, 2))
    convolutions = [m for m in discriminator.eval().modules() if isinstance(m, torch.nn.Conv2d)]
    assert len(convolutions) == 6
    for layer in convolutions:
        norm = torch.linalg.matrix_norm(layer.weight.flatten(1), ord=2)
        assert norm.item() == pytest.approx(1, abs=0.02)


def test_discriminator_is_float32_under_autocast():
    discriminator, image = PatchDiscriminator(0, width=4).eval(), drawn(1, 3, 32, 32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = discriminator(image)
    torch.testing.assert_close(logits, discriminator(image), rtol=0, atol=0)


def test_gan_losses_by_hand():
    """Undecided logits cost log 2 each; sure ones are linear in the logits, one number an image."""
    zeros = torch.zeros(2, 1, 3, 3)
    assert discriminator_loss(zeros, zeros).tolist() == pytest.approx([2 * math.log(2)] * 2)
    assert generator_loss(zeros).tolist() == pytest.approx([math.log(2)] * 2)
    sure = torch.tensor([100.0, -100.0]).reshape(2, 1, 1, 1)
    assert generator_loss(sure).tolist() == pytest.approx([0, 100])
    assert discriminator_loss(sure, -sure).tolist() == pytest.approx([0, 200])
