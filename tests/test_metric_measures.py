"""Each measure gives the numbers of its definition and of a second implementation."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from shared_data import shared
from skimage import data
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from metric.measures import MEASURES, measure
from metric.measures.dists import dists
from metric.network.torchvision_import import import_torchvision
from metric.network.weights import load_backbone
from study.errors import InputError, UnavailableError
from study.images import decode_rgb

LOCAL = ("psnr", "ssim", "ms-ssim", "haarpsi", "dists")


def pictures(size: int = 192) -> tuple[np.ndarray, np.ndarray]:
    """A photograph and a noisy copy, `(size, size, 3)` float64 in [0, 1]."""
    reference = data.astronaut()[:size, 150 : 150 + size] / 255
    noise = np.random.default_rng(1).normal(0, 0.05, reference.shape)
    return reference, np.clip(reference + noise, 0, 1)


def tensor(picture: np.ndarray) -> torch.Tensor:
    return torch.tensor(picture, dtype=torch.float32).permute(2, 0, 1)[None]


def distance(name: str, reference: torch.Tensor, distorted: torch.Tensor) -> torch.Tensor:
    found = measure(name)
    return found.compare(found.prepare(reference), distorted)


def test_psnr_of_a_known_error_is_known():
    """An error of 0.1 everywhere is 20 dB, of 1 is 0 dB."""
    black = torch.zeros(1, 3, 8, 8)
    assert distance("psnr", black, torch.stack([black[0] + 0.1, black[0] + 1])).tolist() == pytest.approx([-20, 0])


def test_psnr_and_ssim_agree_with_scikit_image():
    reference, distorted = pictures()
    theirs = peak_signal_noise_ratio(reference, distorted, data_range=1)
    assert distance("psnr", tensor(reference), tensor(distorted)).item() == pytest.approx(-theirs, abs=1e-4)
    theirs = structural_similarity(
        reference,
        distorted,
        channel_axis=2,
        data_range=1,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    ours = distance("ssim", tensor(reference).double(), tensor(distorted).double())
    assert ours.item() == pytest.approx(1 - theirs, abs=1e-6)


@pytest.mark.parametrize("name", LOCAL)
def test_a_reference_prepared_once_serves_all_its_versions(name):
    """No distance to itself, more distance with more noise, the same alone and in a batch."""
    reference, distorted = (tensor(picture) for picture in pictures())
    versions = torch.cat([reference, (reference + distorted) / 2, distorted])
    found = measure(name)
    prepared = found.prepare(reference)
    distances = found.compare(prepared, versions)
    assert distances[0].item() == pytest.approx(-100 if name == "psnr" else 0, abs=1e-5)
    assert (distances.diff() > 0).all()
    assert found.compare(prepared, distorted).item() == pytest.approx(distances[2].item(), abs=1e-5)


@pytest.mark.parametrize(("name", "smallest"), [("ssim", 11), ("ms-ssim", 161), ("haarpsi", 16), ("dists", 16)])
def test_smallest_image(name, smallest):
    x, y = torch.rand(2, 1, 3, smallest, smallest + 3, generator=torch.Generator().manual_seed(1))
    assert distance(name, x, y).item() > 0
    with pytest.raises(UnavailableError, match=f"at least {smallest} a side"):
        distance(name, x[:, :, 1:], y[:, :, 1:])


def authors_dists(monkeypatch):
    """The authors' own network with our trunk; its constructor downloads one and reads weights beside the Python."""
    torchvision = import_torchvision()
    from DISTS_pytorch import DISTS_pt

    trunk = torchvision.models.vgg.make_layers(torchvision.models.vgg.cfgs["D"])
    trunk.load_state_dict({k.split(".", 1)[1]: v for k, v in load_backbone("vgg").state_dict().items()}, strict=True)
    monkeypatch.setattr(torchvision.models, "vgg16", lambda pretrained: type("VGG", (), {"features": trunk}))
    peer = DISTS_pt.DISTS(load_weights=False)
    weights = torch.load(Path(DISTS_pt.__file__).parent / "weights.pt", weights_only=True)
    peer.alpha.data, peer.beta.data = weights["alpha"], weights["beta"]
    return peer.eval()


def test_dists_equals_its_authors_network(monkeypatch):
    """Values, and gradients to the distorted image to the same share of the largest, also at odd sizes."""
    peer, ours = authors_dists(monkeypatch).double(), dists().double()  # in float32 their covariances lose digits
    # Neither 0.485 nor -0.030 is a float32 number; one rounding for both, so that no ReLU turns.
    peer.mean, peer.std = (1 + ours.backbone.shift) / 2, ours.backbone.scale / 2
    for height, width in ((64, 64), (97, 61)):
        x, y = (tensor(picture)[:, :, :height, :width].double() for picture in pictures())
        gradients, values = [], []
        for compute in (ours, lambda x, y: peer(x, y, require_grad=True)):
            image = y.clone().requires_grad_()
            value = compute(x, image).sum()
            value.backward()
            values.append(value.item())
            gradients.append(image.grad)
        assert values[0] == pytest.approx(values[1], abs=1e-7)
        assert (gradients[0] - gradients[1]).abs().max() < 1e-6 * gradients[1].abs().max()


def test_dists_known_answer_of_the_example_images():
    """The authors' script says 0.3347 of its two example images."""
    x, y = (tensor(decode_rgb(shared("dists") / f"r{k}.png") / 255) for k in (0, 1))
    with torch.inference_mode():
        assert dists(shared("dists") / "weights.pt")(x, y).item() == pytest.approx(0.3347, abs=5e-5)


def test_dists_shrinks_large_images_as_its_authors_do():
    """PIL's bilinear reduction of 8-bit images to 256 pixels on the short side, to the precision of 8 bits."""
    large = [Image.fromarray(picture) for picture in (data.astronaut()[:384], data.astronaut()[128:])]
    small = [image.resize((round(512 * 256 / 384), 256), Image.Resampling.BILINEAR) for image in large]
    network = dists()
    with torch.inference_mode():
        answers = [network(*(tensor(np.asarray(image) / 255) for image in pair)).item() for pair in (large, small)]
    assert answers[0] == pytest.approx(answers[1], abs=1e-3)


def test_dists_of_identical_images_is_zero_with_finite_gradients():
    images = torch.tensor([0.0, 0.5, 1.0]).view(3, 1, 1, 1).expand(3, 3, 32, 32)
    distorted = images.clone().requires_grad_()
    value = dists()(images, distorted)
    value.sum().backward()
    assert value.tolist() == [0, 0, 0] and torch.isfinite(distorted.grad).all()


def test_dists_weights_come_from_the_folder_that_the_variable_names(tmp_path, monkeypatch):
    monkeypatch.setenv("EYETUNE_BACKBONES", str(tmp_path))
    torch.save({"alpha": torch.zeros(1475), "beta": torch.ones(1475)}, tmp_path / "dists_weights.pt")
    assert dists().alpha.sum() == 0
    torch.save({"alpha": torch.zeros(7), "beta": torch.ones(1475)}, tmp_path / "dists_weights.pt")
    with pytest.raises(InputError, match=r"dists_weights\.pt: not DISTS weights: expected alpha with 1,475 numbers"):
        dists()


def test_no_dists_weights_to_be_had_says_what_to_do(monkeypatch):
    from urllib.error import URLError

    def no_network(*_args, **_options):
        raise URLError("no network")

    monkeypatch.delenv("EYETUNE_BACKBONES", raising=False)
    monkeypatch.setitem(sys.modules, "DISTS_pytorch", None)
    monkeypatch.setattr("torch.hub.load_state_dict_from_url", no_network)
    with pytest.raises(UnavailableError, match="weights of DISTS are not on this machine .* EYETUNE_BACKBONES"):
        dists()


def test_every_measure_is_a_distance_by_name():
    assert {"psnr", "ssim", "ms-ssim", "lpips-alex", "lpips-vgg", "lpips-squeeze", "dists"} <= set(MEASURES)
    with pytest.raises(InputError, match="unknown metric 'vmaf'; there are: psnr, ssim"):
        measure("vmaf")
