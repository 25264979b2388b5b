"""The metric as a loss: cheap with known references, compilable, and with finite gradients in every precision."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from metric.measures import lpips
from metric.network.backbones import Backbone
from metric.network.custom import FunctionBackbone
from metric.network.features import Features
from metric.network.model import CHECKED_CALLS, PerceptualMetric
from metric.network.unit_distance import EPSILON, normalise, unit_distance, unit_distance_map
from study.errors import InputError


@pytest.fixture(scope="module")
def alex() -> PerceptualMetric:
    return lpips("alex")


def pair(count: int = 2, size: tuple[int, int] = (48, 65), seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Images in channels_last, as photographs come, and versions of them with noise."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(count, 3, *size, generator=generator)
    return x, (x + 0.1 * torch.randn(x.shape, generator=generator)).clamp(0, 1)


def value_and_gradient(metric, reference, distorted) -> tuple[torch.Tensor, torch.Tensor]:
    image = distorted.clone().requires_grad_()
    distance = metric(reference, image)
    distance.sum().backward()
    return distance.detach(), image.grad


def formula(reference, features, head):
    """Zhang et al. 2018, equation 1, word by word."""
    unit = features / (features.square().sum(dim=1, keepdim=True) + EPSILON).sqrt()
    return torch.einsum("nchw,c->nhw", (reference - unit).square(), head).mean(dim=(1, 2))


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 3), st.integers(1, 6), st.integers(1, 5), st.integers(1, 4), st.integers(0, 2**31))
def test_one_tap_is_the_formula_with_its_gradients(count, channels, height, width, seed):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(2, count, channels, height, width, generator=generator, dtype=torch.float64)
    head = torch.rand(channels, generator=generator, dtype=torch.float64)
    answers = []
    for compute in (unit_distance, formula, lambda *tap: unit_distance_map(*tap).mean(dim=(1, 2, 3))):
        inputs = [normalise(features[0]).requires_grad_(), features[1].clone().requires_grad_(), head.requires_grad_()]
        distance = compute(*inputs)
        weights = torch.arange(1, count + 1, dtype=torch.float64)
        answers.append((distance, *torch.autograd.grad(distance @ weights, inputs)))
    for other in answers[1:]:
        assert all(torch.allclose(a, b, atol=1e-9) for a, b in zip(answers[0], other, strict=True))


def test_first_and_second_derivatives_agree_with_differences():
    generator = torch.Generator().manual_seed(4)
    features = torch.randn(2, 2, 4, 3, 2, generator=generator, dtype=torch.float64)
    head = torch.rand(4, generator=generator, dtype=torch.float64).requires_grad_()
    reference, distorted = normalise(features[0]).requires_grad_(), features[1].clone().requires_grad_()
    assert torch.autograd.gradcheck(unit_distance, (reference, distorted, head))
    assert torch.autograd.gradgradcheck(unit_distance, (reference, distorted, head))
    assert torch.autograd.gradcheck(normalise, (distorted,))
    assert torch.autograd.gradgradcheck(normalise, (distorted,))


def test_functorch_gives_the_same_gradient(alex):
    x, y = pair(1, (32, 32))
    _, expected = value_and_gradient(alex, x, y)
    found = torch.func.grad(lambda image: alex(x, image).sum())(y)
    assert torch.allclose(found, expected, atol=1e-5 * float(expected.abs().max()))


def test_features_of_references_are_computed_once_without_a_graph(alex):
    """`distance(features, decoded)` is `distance(photographs, decoded)`, and the trunk does not see the photographs."""
    x, y = pair(3)
    features = alex.reference(x)
    assert not any(tap.requires_grad for tap in features.maps)
    seen = []
    hook = alex.backbone.register_forward_hook(lambda module, inputs, maps: seen.append(inputs[0]))
    found = value_and_gradient(alex, features, y)
    hook.remove()
    assert len(seen) == 1 and seen[0].requires_grad
    for a, b in zip(found, value_and_gradient(alex, x, y), strict=True):
        assert torch.allclose(a, b, atol=1e-6 * float(b.abs().max()))


def test_a_reference_gets_no_graph_unless_a_gradient_goes_through_it(alex):
    x, y = pair()
    graphs = []
    hook = alex.backbone.register_forward_hook(lambda module, inputs, maps: graphs.append(maps[0].requires_grad))
    alex(x, y.requires_grad_())
    alex(x.requires_grad_(), y)
    with torch.no_grad():
        alex(x, y)
    hook.remove()
    assert graphs == [False, True, True, True, False, False]


def test_the_gradient_to_the_reference_is_that_of_the_exchanged_images(alex):
    x, y = pair()
    _, expected = value_and_gradient(alex, y, x)
    image = x.clone().requires_grad_()
    alex(image, y).sum().backward()
    assert torch.allclose(image.grad, expected, atol=1e-5 * float(expected.abs().max()))


def test_heads_and_trunk_can_be_trained():
    """A frozen metric gives no gradient to its weights, a trainable one to all of them."""
    trunk = Backbone("alex", torch.Generator().manual_seed(2))
    metric = PerceptualMetric(trunk, [torch.rand(c) for c in trunk.channels])
    x, y = pair(1, (35, 35))
    metric(x, y).sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() and p.grad.abs().max() > 0 for p in metric.heads)
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in trunk.parameters())


def test_features_can_be_cut_joined_and_moved(alex):
    x, y = pair(4)
    features = alex.reference(x)
    distances = alex(x, y)
    assert len(features) == 4 and features.size == (48, 65)
    assert torch.equal(alex(features[1:3], y[1:3]), distances[1:3])
    assert torch.allclose(alex(features[[3, 0]], y[[3, 0]]), distances[[3, 0]], rtol=1e-5)
    assert torch.allclose(alex(features[-1], y[3:]), distances[3:], rtol=1e-5)
    assert torch.allclose(alex(Features.cat(list(features)), y), distances, rtol=1e-5)
    assert torch.allclose(alex(features[2].expand(4), y), alex(x[2:3].repeat(4, 1, 1, 1), y), rtol=1e-5)
    halved = features.to(torch.bfloat16)
    assert halved.maps[0].dtype == torch.bfloat16
    assert torch.allclose(alex(halved, y), distances, rtol=0.02)
    assert "4 images of 65 x 48 pixels, [64, 192, 384, 256, 256] channels, cpu" in repr(features)
    with pytest.raises(IndexError, match="image 4 of 4"):
        features[4]
    with pytest.raises(ValueError, match="of one size can be joined"):
        Features.cat([features, alex.reference(x[..., :40])])


def test_features_that_do_not_fit_are_refused(alex):
    x, y = pair(2)
    with pytest.raises(InputError, match=r"differ in shape: \(2, 3, 48, 65\) and \(2, 3, 48, 40\)"):
        alex(alex.reference(x), y[..., :40])
    with pytest.raises(InputError, match=r"differ in shape: \(2, 3, 48, 65\) and \(1, 3, 48, 65\)"):
        alex(alex.reference(x), y[:1])
    other = PerceptualMetric(Backbone("squeeze"), [torch.rand(c) for c in Backbone("squeeze").channels])
    with pytest.raises(InputError, match="are not of the trunk alex"):
        alex(other.reference(x), y)
    with pytest.raises(InputError, match="distorted: values from .* expected"):
        alex(alex.reference(x), y * 255)


def test_images_on_another_device_are_refused(alex):
    """The meta device stands for an accelerator: it has tensors, and none of them meets one of the CPU."""
    x, y = pair(1)
    with pytest.raises(InputError, match="the images are on meta and the metric on cpu; move one with"):
        alex(x, y.to("meta"))
    with pytest.raises(InputError, match="the images are on two devices, meta and cpu"):
        alex(x.to("meta"), y)


def test_the_range_is_read_on_an_accelerator_only_at_first(monkeypatch):
    """Reading it waits for the device. On a CPU it is always read."""
    from metric.network import checks, model

    read = []
    monkeypatch.setattr(model, "CHECKED_CALLS", 2)
    monkeypatch.setattr(checks, "check_range", lambda images, name: read.append((images.device.type, name)))
    trunk = Backbone("alex")
    metric = PerceptualMetric(trunk, [torch.rand(c) for c in trunk.channels])
    x, y = pair(1, (32, 32))
    with torch.no_grad():
        for _ in range(3):
            metric(x, y)
        assert read == [("cpu", "reference"), ("cpu", "distorted")] * 3
        metric = PerceptualMetric(trunk, [torch.rand(c) for c in trunk.channels]).to("meta")
        read.clear()
        for _ in range(5):
            metric(x.to("meta"), y.to("meta"))
    assert read == [("meta", "reference"), ("meta", "distorted")] * 2
    assert CHECKED_CALLS >= 10


@pytest.mark.parametrize("level", [0.0, 0.3, 1.0], ids=["black", "grey", "white"])
@pytest.mark.parametrize("name", ["alex", "alex-st"])
def test_distance_and_gradient_of_constant_and_identical_images(name, level):
    """0 and 0 where images are identical, finite where both are constant. Defect 1: the package gives NaN for some."""
    metric = lpips(name)
    image = torch.full((2, 3, 33, 33), level)
    for reference in (image, metric.reference(image)):
        distance, gradient = value_and_gradient(metric, reference, image)
        assert distance.tolist() == [0, 0]
        assert torch.equal(gradient, torch.zeros_like(gradient))
    distance, gradient = value_and_gradient(metric, image, torch.full_like(image, 0.5))
    assert (distance > 0).all()
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("activation", [nn.Identity(), nn.GELU(), nn.ReLU()], ids=["linear", "gelu", "relu"])
def test_zero_features_give_finite_gradients_to_the_image(activation):
    """Defect 1: outside the root the epsilon leaves NaN, which linear and GELU taps hand to the image."""

    class Tap(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Conv2d(3, 4, 3, bias=False)

        def forward(self, images):
            return [activation(self.layer(images))]

    with torch.random.fork_rng():
        trunk = FunctionBackbone("tap", Tap())
    metric = PerceptualMetric(trunk, [torch.ones(4)])
    black = torch.zeros(1, 3, 9, 9)
    for reference in (black, torch.rand(1, 3, 9, 9, generator=torch.Generator().manual_seed(1))):
        image = black.clone().requires_grad_()
        (first,) = torch.autograd.grad(metric(reference, image).sum(), image, create_graph=True)
        assert torch.isfinite(first).all()
        (second,) = torch.autograd.grad(first.square().sum(), image)
        assert torch.isfinite(second).all()


@pytest.mark.parametrize(
    ("name", "dtype"), [("alex", torch.bfloat16), ("alex", torch.float16), ("vgg", torch.bfloat16)]
)
def test_autocast_stays_near_float32(name, dtype):
    """Defect 2: in half precision the package's epsilon vanishes. Gradients point the same way."""
    metric = lpips(name)
    x, y = pair(1, (32, 32))
    expected, gradient = value_and_gradient(metric, x, y)
    with torch.autocast("cpu", dtype):
        distance, half_gradient = value_and_gradient(metric, x, y)
        same, zero = value_and_gradient(metric, torch.zeros_like(x), torch.zeros_like(x))
        cached, _ = value_and_gradient(metric, metric.reference(x), y)
    assert torch.allclose(distance, expected, rtol=0.03) and torch.equal(cached, distance)
    assert functional.cosine_similarity(half_gradient.flatten(), gradient.flatten(), dim=0) > 0.98
    assert torch.isfinite(half_gradient).all()
    assert same.item() == 0 and zero.abs().max() == 0


def test_a_metric_in_bfloat16_takes_images_in_any_precision():
    metric = lpips("alex").to(torch.bfloat16)
    x, y = pair(2, (40, 40))
    expected, _ = value_and_gradient(lpips("alex"), x, y)
    distance, gradient = value_and_gradient(metric, x, y)
    assert torch.allclose(distance, expected, rtol=0.05)
    assert torch.isfinite(gradient).all()
    mixed, _ = value_and_gradient(lpips("alex"), x, y.to(torch.bfloat16))
    assert torch.allclose(mixed, expected, rtol=0.05)


def test_images_in_channels_last_give_the_same(alex):
    x, y = pair()
    last = torch.channels_last
    found = value_and_gradient(alex, x.contiguous(memory_format=last), y.contiguous(memory_format=last))
    for a, b in zip(found, value_and_gradient(alex, x, y), strict=True):
        assert torch.allclose(a, b, atol=1e-6 * float(b.abs().max()))


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("cached", [False, True], ids=["images", "features"])
def test_it_compiles_into_one_graph(alex, backend, cached):
    """`torch.compile(fullgraph=True)`: the same distances and gradients, with and without known references."""
    x, y = pair(2, (40, 40))
    torch.compiler.reset()
    compiled = torch.compile(alex, fullgraph=True, backend=backend)
    reference = alex.reference(x) if cached else x
    expected = value_and_gradient(alex, reference, y)
    found = value_and_gradient(compiled, reference, y)
    for a, b in zip(found, expected, strict=True):
        assert torch.allclose(a, b, atol=1e-5 * float(b.abs().max()))


def test_the_map_has_the_size_of_the_images_and_the_mean_of_the_distance(alex):
    x, y = pair(2, (64, 80))
    y[:, :, :, 40:] = x[:, :, :, 40:]
    where = alex.spatial(x, y)
    assert where.shape == (2, 1, 64, 80)
    assert torch.equal(where, alex.spatial(alex.reference(x), y))
    assert where.mean(dim=(1, 2, 3)).tolist() == pytest.approx(alex(x, y).tolist(), rel=0.1)
    assert where[..., :20].mean() > 5 * where[..., 60:].mean()
    assert (where >= 0).all()


def test_five_lines_train_an_image(alex):
    """The documented use, and that it works: noise descends towards the photograph."""
    photographs, decoded = pair(1, (40, 40))
    features = alex.reference(photographs)
    image = decoded.clone().requires_grad_()
    optimiser = torch.optim.Adam([image], lr=0.01)
    losses = []
    for _ in range(12):
        loss = alex(features, image).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2
