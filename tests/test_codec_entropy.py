"""Distributions, priors, contexts and the integer networks: what is coded costs what it should and comes back."""

import math

import numpy as np
import pytest
import torch
from codec_runs import without_onednn
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from codec.entropy import integers
from codec.entropy.coders import CodingError, Decoder, Encoder, Training
from codec.entropy.contexts import Autoregressive, Direct, Slices
from codec.entropy.distributions import LARGEST, LEVELS, Distribution, least_bits
from codec.entropy.hyper import Hyper
from codec.entropy.integers import ONE, Networks, exact, to_float, to_integers
from codec.entropy.priors import Factorised, Fixed

FAMILIES = ("gaussian", "laplace")


def through(latent, y, size):
    """y_hat of the encoder and of the decoder, and the code's bytes."""
    networks = Networks()
    with torch.inference_mode():
        encoder = Encoder(networks)
        sent = latent.walk(encoder, y, size)
        data = encoder.finish()
        decoder = Decoder(networks, data)
        received = latent.walk(decoder, None, size)
        decoder.finish()
    assert decoder.symbols_crc == encoder.symbols_crc
    return sent, received, data


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("scale", [0.11, 0.7, 5.0])
def test_the_masses_of_all_symbols_add_up_to_one(family, scale):
    value = torch.arange(-LARGEST, LARGEST + 1, dtype=torch.float64)
    bits = Distribution(family).bits(value, torch.tensor(scale, dtype=torch.float64))
    mass = (2.0**-bits) * (bits < -math.log2(1.1e-9))  # the floor of 1e-9 is no mass
    assert float(mass.sum()) == pytest.approx(1, abs=1e-6)


def test_bits_are_those_of_scipy():
    """Against scipy's cumulatives, at whole and at other values."""
    from scipy.stats import laplace, norm

    value = np.array([-3.2, -1.0, -0.4, 0.0, 0.3, 2.0, 7.5])
    for family, reference in (("gaussian", norm), ("laplace", laplace)):
        mass = reference.cdf(value + 0.5, scale=1.3) - reference.cdf(value - 0.5, scale=1.3)
        bits = Distribution(family).bits(torch.from_numpy(value), torch.tensor(1.3, dtype=torch.float64))
        np.testing.assert_allclose(bits.numpy(), -np.log2(mass), rtol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_bits_have_a_finite_gradient_everywhere(family):
    value = torch.linspace(-60, 60, 241, requires_grad=True)
    raw = torch.linspace(-5, 8, 241, requires_grad=True)
    distribution = Distribution(family)
    distribution.bits(value, distribution.scale(raw)).sum().backward()
    assert torch.isfinite(value.grad).all() and torch.isfinite(raw.grad).all()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("parameter", ["log", "linear"])
def test_a_network_s_integers_stand_for_the_nearest_scale(family, parameter):
    distribution = Distribution(family, parameter)
    table = torch.from_numpy(distribution.table)
    raw = table.log() if parameter == "log" else table
    assert distribution.level(to_integers(raw)).tolist() == list(range(LEVELS))
    far = distribution.level(torch.tensor([-1e6, 1e6], dtype=torch.float64))
    assert far.tolist() == [0, LEVELS - 1]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_scale_between_two_of_the_table_costs_under_a_hundredth_of_a_bit(family):
    """The claim of the module: 64 scales are enough."""
    distribution = Distribution(family)
    k = torch.arange(-2000, 2001, dtype=torch.float64)
    for level in (5, 20, 35):
        low, high = distribution.table[level : level + 2]
        true = torch.tensor(math.sqrt(low * high), dtype=torch.float64)
        mass = 2.0 ** -distribution.bits(k, true)
        mass = mass / mass.sum()
        cost = float((mass * (distribution.bits(k, torch.tensor(low)) - distribution.bits(k, true))).sum())
        assert 0 <= cost < 0.01


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 400), st.sampled_from(FAMILIES))
def test_any_symbols_at_any_scales_come_back(seed, count, family):
    """Also far out in the tails, and beyond the largest symbol, where they are clamped."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.randn(1, count, 1, 1, generator=generator) * 10 ** (torch.rand(1, generator=generator) * 4)
    mean = (torch.randn(1, count, 1, 1, generator=generator, dtype=torch.float64) * 5 * ONE).round()
    scale = torch.randn(1, count, 1, 1, generator=generator, dtype=torch.float64).mul(3 * ONE).round()
    distribution, networks = Distribution(family), Networks()
    encoder = Encoder(networks)
    sent = encoder.conditional("y", distribution, y, mean, scale)
    decoder = Decoder(networks, encoder.finish())
    assert torch.equal(decoder.conditional("y", distribution, None, mean, scale), sent)
    near = (to_integers(y) - mean).abs() <= LARGEST * ONE
    assert ((sent - to_integers(y)).abs()[near] <= ONE / 2).all()


def test_the_cheapest_symbol_costs_what_the_bound_says():
    """`least_bits` is what a decoder trusts before it allocates: no code is shorter."""
    count = 200_000
    zeros = torch.zeros(1, count, 1, 1)
    encoder = Encoder(Networks())
    encoder.conditional("y", Distribution(), zeros, None, torch.full((1, count, 1, 1), -1e4, dtype=torch.float64))
    bound = count * least_bits(2 * LARGEST + 1)
    assert bound > 100
    assert bound <= 8 * len(encoder.finish()) <= bound + 5e-6 * 1.5 * count + 64


def test_values_that_are_no_numbers_are_refused():
    encoder = Encoder(Networks())
    with pytest.raises(CodingError, match="no numbers"):
        encoder.conditional("y", Distribution(), torch.full((1, 1, 1, 1), math.nan), None, torch.zeros(1, 1, 1, 1))


@pytest.mark.parametrize("data", [b"", b"\0" * 4, b"\xff" * 40, b"abcdefgh"])
def test_any_bytes_decode_to_something_or_are_refused(data):
    latent = Factorised(3)
    decoder = Decoder(Networks(), data)
    try:
        z_hat = latent.walk(decoder, None, (5, 4))
    except CodingError:
        return
    assert z_hat.shape == (1, 3, 5, 4) and z_hat.abs().max() <= latent.largest * ONE


def test_a_code_that_goes_on_is_refused():
    networks, latent = Networks(), Factorised(2)
    encoder = Encoder(networks)
    latent.walk(encoder, torch.zeros(1, 2, 3, 3), (3, 3))
    decoder = Decoder(networks, encoder.finish() + b"\1\2\3\4" * 4)
    latent.walk(decoder, None, (3, 3))
    with pytest.raises(CodingError, match="goes on"):
        decoder.finish()


def test_a_factorised_prior_learns_its_channels():
    """Its bits approach the entropy of what each channel shows: a wide and a narrow one."""
    torch.manual_seed(0)
    prior = Factorised(2)
    optimizer = torch.optim.Adam(prior.parameters(), 0.02)
    scales = torch.tensor([0.4, 4.0])[:, None, None]
    for _ in range(400):
        z = (torch.randn(1, 2, 32, 32) * scales).round()
        loss = prior.bits(z).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    prior.tabulate()
    for channel, scale in enumerate((0.4, 4.0)):
        k = torch.arange(-60, 61, dtype=torch.float64)
        mass = 2.0 ** -Distribution().bits(k, torch.tensor(scale, dtype=torch.float64))
        entropy = float((mass * -mass.log2()).sum())
        table = prior.table[channel].double() / 2**24
        spent = float((mass * -table[127 - 60 : 127 + 61].log2()).sum())
        assert entropy <= spent < entropy + 0.05


def test_a_factorised_table_is_the_density_at_whole_symbols():
    prior = Factorised(3)
    symbols = torch.arange(-5.0, 6.0).reshape(1, 1, -1).expand(3, 1, -1)
    expected = prior.mass(symbols.double()).squeeze(1)
    torch.testing.assert_close(prior.table[:, 127 - 5 : 127 + 6].double() / 2**24, expected, rtol=1e-4, atol=1e-6)
    assert (prior.table.long().sum(1) - 2**24).abs().max() < 256


def test_a_factorised_prior_has_mass_where_its_density_is_symmetric():
    """The logits on both sides of a symbol are then equal but for their sign, and neither side is the better one."""
    prior = Factorised(1)
    with torch.no_grad():
        for bias in prior.biases:
            bias.zero_()
    prior.tabulate()
    middle = prior.table[0, 126:129].tolist()
    assert middle[1] >= middle[0] == middle[2] > 1000
    assert float(prior.bits(torch.zeros(1, 1, 1, 1)).detach()) == pytest.approx(24 - math.log2(middle[1]), abs=0.01)


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (1, 3, 1, 1)])
def test_a_prior_s_bits_have_the_shape_of_its_latent(shape):
    prior = Factorised(3)
    z = torch.randn(shape).round()
    one = prior.bits(z[-1:, :, -1:, -1:])
    torch.testing.assert_close(prior.bits(z)[-1:, :, -1:, -1:], one)


NETWORK = nn.Sequential(
    nn.ConvTranspose2d(6, 8, 5, 2, 2, 1), nn.LeakyReLU(), nn.Conv2d(8, 7, 5, 2, 2), nn.ReLU(), nn.Conv2d(7, 5, 3, 1, 1)
)


def test_an_integer_network_is_its_float_network_to_a_hundredth():
    torch.manual_seed(0)
    x = torch.randn(1, 6, 9, 11) * 8
    network = exact(NETWORK)
    with torch.no_grad():
        torch.testing.assert_close(to_float(network(to_integers(x))), NETWORK(x), atol=0.01, rtol=0.005)


def test_an_integer_network_gives_integers_that_do_not_depend_on_the_order_of_sums():
    """Its sums are exact: permuted input channels, other thread counts and no oneDNN give the same, floats do not."""
    torch.manual_seed(0)
    layer = nn.Conv2d(320, 16, 5, padding=2)
    x = torch.randn(1, 320, 12, 12) * 300
    permuted = nn.Conv2d(320, 16, 5, padding=2)
    order = torch.randperm(320)
    with torch.no_grad():
        permuted.weight.copy_(layer.weight[:, order])
        permuted.bias.copy_(layer.bias)
        expected = exact(layer)(to_integers(x))
        assert torch.equal(expected, expected.floor())
        assert torch.equal(exact(permuted)(to_integers(x[:, order])), expected)
        with without_onednn():
            assert torch.equal(exact(layer)(to_integers(x)), expected)
        assert not torch.equal(permuted(x[:, order]), layer(x))


def test_the_largest_sums_are_exact():
    """The bound of the module: 2^15 inputs at the limit, times the largest weights, stay below 2^53."""
    inputs = integers._MOST_INPUTS
    weight = torch.full((1, inputs), 1.0 - 2.0**-15)
    x = torch.full((1, inputs), integers.LIMIT - 1, dtype=torch.float64)
    x[0, 0] -= 1
    whole, _, _ = integers._integers(weight, None)
    exactly = sum(int(a) * int(b) for a, b in zip(whole[0].tolist(), x[0].tolist(), strict=True))
    assert int((whole @ x.T).item()) == exactly and exactly < 2**53
    with pytest.raises(ValueError, match="2\\^53"):
        integers.linear(torch.ones(1, inputs + 1), None)


@pytest.mark.parametrize("size", [0.0, 1e-30, 1e-9, 1e-3, 1e20])
def test_a_bias_stays_whatever_the_size_of_the_weights(size):
    layer = nn.Conv2d(2, 1, 1)
    with torch.no_grad():
        layer.weight.fill_(size)
        layer.bias.fill_(100.0)
    whole, _, _ = integers._integers(layer.weight, layer.bias)
    assert whole.abs().max() <= 2**15
    assert exact(layer)(torch.zeros(1, 2, 1, 1, dtype=torch.float64)).item() == 100 * ONE or size == 1e20


def test_a_layer_without_an_integer_form_is_named():
    with pytest.raises(TypeError, match="Tanh"):
        exact(nn.Sequential(nn.Tanh()))


CONTEXTS = {
    "direct": lambda d: Direct(d),
    "masked": lambda d: Autoregressive(8, 16, d),
    "three kernels": lambda d: Autoregressive(8, 16, d, kernels=(3, 5, 7)),
    "checkerboard": lambda d: Autoregressive(8, 16, d, order="checkerboard"),
    "slices": lambda d: Slices(8, 16, d, slices=4),
}


@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 1), (5, 6)])
def test_every_context_comes_back_exactly(context, family, size):
    torch.manual_seed(0)
    latent = hyper(CONTEXTS[context](Distribution(family)))
    y = torch.randn(1, 8, *size) * 6
    sent, received, _ = through(latent, y, size)
    assert torch.equal(sent, received)
    assert (to_float(sent) - y).abs().max() <= 0.5 + 2 / ONE


def hyper(context, inner=None, y=8):
    h_a = nn.Sequential(nn.Conv2d(y, 6, 5, 2, 2), nn.ReLU(), nn.Conv2d(6, 6, 5, 2, 2))
    h_s = nn.Sequential(nn.ConvTranspose2d(6, 6, 5, 2, 2, 1), nn.LeakyReLU(), nn.ConvTranspose2d(6, 2 * y, 5, 2, 2, 1))
    return Hyper(y, inner or Factorised(6), h_a, h_s, context)


@pytest.mark.parametrize("bottom", ["factorised", "fixed"])
def test_a_hyperprior_may_have_one_of_its_own(bottom):
    """Three latents deep, as Deep Render's: y, z, and w with a learned or a fixed prior."""
    torch.manual_seed(0)
    ground = Factorised(6, "w") if bottom == "factorised" else Fixed(6, "w")
    latent = hyper(Direct(Distribution("laplace")), hyper(Direct(Distribution("laplace"), name="z"), ground, y=6))
    y = torch.randn(1, 8, 21, 34) * 6
    sent, received, data = through(latent, y, (21, 34))
    assert torch.equal(sent, received)
    assert latent.least_bits((21, 34)) <= 8 * len(data)
    coder = Training(noisy=True)
    latent.walk(coder, torch.randn(2, 8, 16, 16), (16, 16))
    assert set(coder.bits) == {"y", "z", "w"} and coder.bits["w"].shape == (2,)


@pytest.mark.parametrize("order", ["wavefront", "checkerboard"])
@pytest.mark.parametrize("kernels", [(5,), (3, 7)])
def test_training_sees_what_coding_sees(order, kernels):
    """Given the same y_hat, the parallel pass of training and the steps of coding give the same scales and means."""
    torch.manual_seed(0)
    context = Autoregressive(4, 6, Distribution(), kernels, order)
    features = torch.randn(1, 6, 7, 9)
    y = torch.randn(1, 4, 7, 9) * 3
    with torch.inference_mode():
        coded = []

        class Kept(Encoder):
            """Keeps the scales of each step."""

            def conditional(self, name, distribution, y, mean, scale):
                coded.append(scale)
                return super().conditional(name, distribution, y, mean, scale)

        y_hat = to_float(context.walk(Kept(Networks()), y, to_integers(features)))
        seen = {}

        class Given(Training):
            """Shows the contexts what was coded, and keeps the parameters that they found."""

            def known(self, y):
                return y_hat

            def conditional(self, name, distribution, y, mean, scale):
                seen.update(mean=mean, scale=scale)
                return super().conditional(name, distribution, y, mean, scale)

        context.walk(Given(noisy=False), y, features)
    assert ((y - seen["mean"]).round() + seen["mean"] - y_hat).abs().max() < 0.02
    for (rows, columns), scale in zip(context.steps(7, 9), coded, strict=True):
        torch.testing.assert_close(to_float(scale), seen["scale"][0, :, rows, columns].T, atol=0.02, rtol=0)


@pytest.mark.parametrize("kernels", [(3,), (5,), (3, 5, 7)])
@pytest.mark.parametrize("size", [(1, 1), (4, 9), (9, 4)])
def test_wavefront_steps_code_what_single_positions_code(kernels, size):
    """The same bytes: the positions of a step do not depend on each other."""
    torch.manual_seed(0)
    context = Autoregressive(4, 6, Distribution(), kernels)
    features, y = to_integers(torch.randn(1, 6, *size)), torch.randn(1, 4, *size) * 4
    codes = []
    for together in (True, False):
        if not together:
            steps = context.steps(*size)
            single = [(r[k : k + 1], c[k : k + 1]) for r, c in steps for k in range(len(r))]
            context.steps = lambda height, width, single=single: single
        encoder = Encoder(Networks())
        with torch.inference_mode():
            context.walk(encoder, y, features)
        codes.append(encoder.finish())
    assert codes[0] == codes[1]


def test_a_wavefront_takes_the_steps_that_are_published():
    """w + (r + 1)(h - 1) for a mask of 2r + 1: 141 for a Kodak latent of 32 x 48 with 5 x 5."""
    context = Autoregressive(2, 2, Distribution())
    assert len(context.steps(32, 48)) == 48 + 3 * 31 == 141
    checkerboard = Autoregressive(2, 2, Distribution(), order="checkerboard")
    assert len(checkerboard.steps(32, 48)) == 2


def test_channels_that_no_slices_fit_are_refused():
    with pytest.raises(ValueError, match="9 channels"):
        Slices(9, 4, Distribution(), slices=8)


def test_noise_and_rounding_agree_on_a_flat_density():
    """Under a wide Gaussian, noisy and rounded bits are nearly the same; the gradient passes straight through."""
    torch.manual_seed(0)
    y = (torch.randn(2, 3, 8, 8) * 20).requires_grad_()
    scale = torch.full_like(y, math.log(20)).detach()
    coder = Training(noisy=True)
    y_hat = coder.conditional("y", Distribution(), y, None, scale)
    assert torch.equal(y_hat, y.round())
    torch.testing.assert_close(coder.bits["y"], coder.rounded_bits["y"], rtol=0.01, atol=0)
    y_hat.sum().backward()
    assert torch.equal(y.grad, torch.ones_like(y))
