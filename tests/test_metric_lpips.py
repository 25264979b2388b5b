"""The network is LPIPS: with LPIPS's weights it gives LPIPS's numbers, without LPIPS's defects."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from shared_data import shared

from metric.measures import lpips
from metric.network.backbones import LAYOUTS
from metric.network.model import PerceptualMetric
from metric.network.torchvision_import import import_torchvision
from metric.network.weights import fingerprint, load_backbone, load_lpips_heads
from study.errors import InputError
from study.images import decode_rgb

KNOWN = {
    ("0.1", "alex"): (0.7219, 0.1376), ("0.1", "vgg"): (0.5686, 0.4217), ("0.1", "squeeze"): (0.7110, 0.1479),
    ("0.0", "alex"): (0.4056, 0.0839), ("0.0", "vgg"): (0.2240, 0.1331), ("0.0", "squeeze"): (0.3968, 0.0863),
}  # fmt: skip


@pytest.fixture
def backbones(monkeypatch):
    """SqueezeNet's trunk is in no package; shared data has it."""
    monkeypatch.setenv("EYETUNE_BACKBONES", str(shared("backbones")))


@pytest.mark.parametrize(("version", "name"), KNOWN)
def test_known_answers_of_the_example_images(version, name, backbones):
    folder = shared("lpips_examples")
    images = {
        n: torch.tensor(decode_rgb(folder / f"ex_{n}.png")).permute(2, 0, 1)[None] / 255 for n in ("ref", "p0", "p1")
    }
    metric = lpips(name, version)
    answers = [float(metric(images["ref"], images[n])) for n in ("p0", "p1")]
    assert answers == pytest.approx(KNOWN[version, name], abs=6e-5)  # the answers are given to four digits


def package(name: str, spatial: bool = False):
    """The package's own LPIPS with the same trunk; it would download one."""
    import_torchvision()
    import lpips as peer

    with torch.random.fork_rng():
        model = peer.LPIPS(net=name, pnet_rand=True, verbose=False, spatial=spatial)
    state = load_backbone(name).state_dict()
    names = {key: f"features.{key.split('.', 1)[1]}" for key in model.net.state_dict()}
    model.net.load_state_dict({key: state[source] for key, source in names.items()})
    return model


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")  # the package's own
@pytest.mark.parametrize("name", ["alex", "vgg"])
@pytest.mark.parametrize("size", [(64, 64), (97, 61)])
def test_equals_the_package(name, size):
    """Values to 1e-4, and gradients to the distorted image to the same share of the largest."""
    generator = torch.Generator().manual_seed(7)
    reference = torch.rand(3, 3, *size, generator=generator)
    distorted = (reference + 0.1 * torch.randn(reference.shape, generator=generator)).clamp(0, 1)
    gradients = []
    values = []
    for compute in (lpips(name), lambda x, y: package(name)(x, y, normalize=True).flatten()):
        image = distorted.clone().requires_grad_()
        value = compute(reference, image)
        value.sum().backward()
        values.append(value.detach())
        gradients.append(image.grad)
    assert torch.allclose(values[0], values[1], atol=1e-4)
    assert (gradients[0] - gradients[1]).abs().max() < 1e-4 * gradients[1].abs().max()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_equals_the_package_for_squeeze(backbones):
    x, y = torch.rand(2, 2, 3, 64, 80, generator=torch.Generator().manual_seed(3))
    assert torch.allclose(lpips("squeeze")(x, y), package("squeeze")(x, y, normalize=True).flatten(), atol=1e-4)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("name", ["alex", "vgg", "squeeze"])
def test_the_map_equals_the_package_s(name, backbones):
    """`spatial=True` of the package, to 1e-4."""
    x, y = torch.rand(2, 2, 3, 51, 64, generator=torch.Generator().manual_seed(6))
    found = lpips(name).spatial(x, y)
    assert torch.allclose(found, package(name, spatial=True)(x, y, normalize=True), atol=1e-4)


@pytest.mark.parametrize(
    "images",
    [torch.zeros(1, 3, 64, 64), torch.ones(1, 3, 64, 64), torch.full((1, 3, 64, 64), 0.5)],
    ids=["black", "white", "grey"],
)
def test_gradients_are_finite_where_images_are_identical(images):
    metric = lpips("alex")
    distorted = images.clone().requires_grad_()
    distance = metric(images, distorted)
    distance.sum().backward()
    assert distance.item() == 0
    assert torch.isfinite(distorted.grad).all()


def test_gradients_are_finite_at_zero_features():
    """Defect 1: LPIPS divides by the root of a zero sum; a linear tap then hands NaN to the image."""
    from metric.network.model import normalise

    features = torch.zeros(1, 8, 4, 4, requires_grad=True)
    normalise(features).sum().backward()
    assert torch.isfinite(features.grad).all()


def test_half_precision_features_do_not_become_nan():
    """Defect 2: LPIPS's epsilon vanishes in float16."""
    from metric.network.model import normalise

    assert torch.isfinite(normalise(torch.zeros(1, 8, 4, 4, dtype=torch.float16))).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_the_whole_metric_runs_in_other_precisions(dtype):
    """The same distances to the precision of the images and weights (8, 11 or 53 bits), and never NaN."""
    x, y = torch.rand(2, 2, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    expected = lpips("alex")(x, y)
    metric = lpips("alex").to(dtype)
    distance = metric(x.to(dtype), y.to(dtype))
    assert torch.allclose(distance.float(), expected, rtol={torch.float64: 1e-5, torch.float16: 2e-3}.get(dtype, 2e-2))
    zero = torch.zeros(1, 3, 64, 64, dtype=dtype)
    assert metric(zero, zero).item() == 0


@settings(max_examples=15, deadline=None)
@given(st.integers(31, 70), st.integers(31, 70), st.integers(0, 2**31))
def test_is_a_symmetric_non_negative_distance(height, width, seed):
    x, y = torch.rand(2, 1, 3, height, width, generator=torch.Generator().manual_seed(seed))
    metric = lpips("alex")
    assert metric(x, x).item() == 0
    assert metric(x, y).item() > 0
    assert metric(x, y).item() == pytest.approx(metric(y, x).item(), rel=1e-5)


@pytest.mark.parametrize("name", ["alex", "vgg"])
def test_smallest_image(name):
    """Defect 7: the package crashes inside a pooling layer."""
    metric = lpips(name)
    side = LAYOUTS[name].smallest
    assert torch.isfinite(metric(torch.rand(1, 3, side, side), torch.rand(1, 3, side, side))).all()
    with pytest.raises(InputError, match="too small"):
        metric(torch.rand(1, 3, side - 1, 64), torch.rand(1, 3, side - 1, 64))


@pytest.mark.parametrize(
    ("reference", "distorted", "message"),
    [
        (torch.rand(1, 3, 64, 64) * 255, torch.rand(1, 3, 64, 64), "expected \\[0, 1\\]"),
        (torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64) * 255, "expected \\[0, 1\\]"),
        (torch.full((1, 3, 64, 64), float("nan")), torch.rand(1, 3, 64, 64), "expected \\[0, 1\\]"),
        (torch.rand(1, 3, 64, 64), torch.full((1, 3, 64, 64), float("nan")), "distorted: values from nan"),
        (torch.rand(1, 3, 64, 64) - 0.5, torch.rand(1, 3, 64, 64), "expected \\[0, 1\\]"),
        (torch.rand(1, 3, 64, 64), torch.rand(2, 3, 64, 64), "differ in shape"),
        (torch.rand(3, 64, 64), torch.rand(3, 64, 64), "expected a float tensor"),
        (torch.rand(1, 3, 64, 64), np.zeros((1, 3, 64, 64)), "distorted: expected a torch tensor .* got ndarray"),
        (torch.zeros(1, 3, 64, 64, dtype=torch.uint8), torch.rand(1, 3, 64, 64), "expected a float tensor"),
        (torch.rand(1, 1, 64, 64), torch.rand(1, 1, 64, 64), "expected a float tensor"),
    ],
)
def test_bad_input_is_refused(reference, distorted, message):
    """Defect 7: the package takes [0, 255], lets batches broadcast, and gives NaN for NaN."""
    with pytest.raises(InputError, match=message):
        lpips("alex")(reference, distorted)


def test_heads_must_fit_the_trunk():
    with pytest.raises(ValueError, match="do not fit"):
        PerceptualMetric(load_backbone("alex"), load_lpips_heads("vgg"))


def test_weights_of_another_trunk_are_refused(tmp_path):
    path = tmp_path / "vgg.pth"
    torch.save(load_backbone("alex").state_dict(), path)
    with pytest.raises(InputError, match=r"vgg.pth: not vgg16 weights in torchvision's layout"):
        load_backbone("vgg", path)


def test_a_pickle_with_code_is_refused(tmp_path):
    path = tmp_path / "evil.pth"
    torch.save({"features.0.weight": np.array}, path)
    with pytest.raises(InputError, match="evil.pth: not a file of weights alone: a pickle that may run code") as raised:
        load_backbone("alex", path)
    assert "weights_only" not in str(raised.value)  # torch advises to run it


def test_local_weights_are_read(tmp_path):
    path = tmp_path / "alex.pth"
    state = load_backbone("alex").state_dict()
    torch.save(state | {"classifier.1.weight": torch.zeros(2)}, path)  # torchvision's own file has a classifier too
    assert fingerprint(load_backbone("alex", path).state_dict()) == fingerprint(state)


def test_no_weights_to_be_had_says_what_to_do(monkeypatch):
    from urllib.error import URLError

    from metric.network import weights

    def no_network(*_args, **_options):
        raise URLError("no network")

    monkeypatch.delenv("EYETUNE_BACKBONES", raising=False)
    monkeypatch.setattr("torch.hub.load_state_dict_from_url", no_network)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", no_network)
    with pytest.raises(InputError, match="squeezenet1_1 are not on this machine .* EYETUNE_BACKBONES"):
        weights.load_backbone("squeeze")
