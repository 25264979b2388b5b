"""Any network can carry the metric, and the shift-tolerant ones are ST-LPIPS's."""

import io
import re
import sys
import types
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn
from torch.nn import functional

from metric.measures import lpips, measure
from metric.network.backbones import SHIFT_TOLERANT, Backbone, PatchConv
from metric.network.custom import FunctionBackbone
from metric.network.model import PerceptualMetric
from metric.network.torchvision_import import import_torchvision
from metric.network.weights import fingerprint, load_backbone, load_lpips_heads
from study.errors import InputError, UnavailableError


def generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def metric_on(trunk) -> PerceptualMetric:
    return PerceptualMetric(trunk, [torch.full((channels,), 0.1) for channels in trunk.channels])


class Pyramid(nn.Module):
    """Two convolutions with a linear and a GELU tap, without a bias, so that black images have zero features."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.first = nn.Conv2d(3, 4, 5, stride=2, bias=False)
            self.second = nn.Conv2d(4, 6, 3, bias=False)

    def forward(self, images):
        first = self.first(images)
        return [first, functional.gelu(self.second(first))]

    def as_names(self, images):
        return dict(zip(("first", "second"), self(images), strict=True))


def test_a_module_becomes_a_trunk_whose_state_holds_its_weights():
    trunk = FunctionBackbone("pyramid", Pyramid())
    assert (trunk.channels, trunk.smallest) == ((4, 6), 9)  # 9 pixels: 3 after the first convolution, 1 after both
    x, y = torch.rand(2, 2, 3, 33, 20, generator=generator())
    metric = metric_on(trunk)
    assert set(metric.state_dict()) == {
        "heads.0", "heads.1", "backbone.function.first.weight", "backbone.function.second.weight",
    }  # fmt: skip
    again = metric_on(FunctionBackbone("pyramid", Pyramid()))
    with torch.no_grad():
        for parameter in again.parameters():
            parameter.mul_(0.5)
    again.load_state_dict(metric.state_dict())
    assert torch.equal(again(x, y), metric(x, y))
    assert (metric(x, y) > 0).all()


def test_the_documented_trunk_works(capsys):
    """The first example of docs/custom_trunk.md runs as it stands there."""
    text = (Path(__file__).parent.parent / "docs" / "custom_trunk.md").read_text()
    example = re.search(r"```python\n(.*?)```", text, flags=re.DOTALL)
    with torch.random.fork_rng():
        exec(example[1], {"__name__": "example"})
    assert capsys.readouterr().out == "(8, 16) 1 torch.Size([1])\n"


def test_a_method_of_a_module_is_a_trunk_too():
    """As `model.get_intermediate_layers` of DINO: the weights are found, moved and saved with the module."""
    module = Pyramid()
    trunk = FunctionBackbone("names", module.as_names)
    assert {key.split(".", 1)[1] for key in trunk.state_dict()} == {"first.weight", "second.weight"}
    assert trunk.double()(torch.rand(1, 3, 16, 16, dtype=torch.float64))[0].dtype == torch.float64


def test_images_are_normalised_as_asked():
    trunk = FunctionBackbone("same", lambda images: [images], mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 2.0))
    images = torch.rand(1, 3, 8, 8, generator=generator())
    expected = (images - torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1)) / torch.tensor([0.5, 0.25, 2.0]).view(3, 1, 1)
    assert torch.allclose(trunk(images)[0], expected, atol=1e-6)
    assert trunk.smallest == 1


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda images: images, "gives Tensor; expected a list of feature maps"),
        (lambda images: [], "gives list; expected a list"),
        (lambda images: [images.mean(dim=(2, 3))], r"map 0 of 2 images is \(2, 3\); expected a float tensor"),
        (lambda images: [images[:1]], r"map 0 of 2 images is \(1, 3, 224, 224\)"),
        (lambda images: [images, "two"], "map 1 of 2 images is str"),
        (lambda images: [images / 0 * 0], "map 0 has values that are NaN"),
        (
            lambda images: [functional.conv2d(images, nn.Parameter(torch.rand(4, 3, 3, 3)))],
            "hand over the torch",
        ),
    ],
    ids=["tensor", "nothing", "vectors", "batch", "text", "nan", "hidden weights"],
)
def test_a_function_without_feature_maps_is_refused(function, message):
    with pytest.raises(InputError, match=message):
        FunctionBackbone("wrong", function)


def test_an_image_that_a_trunk_cannot_take_is_named():
    """A network that takes one size only says so in one line, with the trunk's name."""

    def only_224(images):
        if images.shape[2:] != (224, 224):
            raise ValueError("Input height doesn't match model (224)")
        return [images]

    trunk = FunctionBackbone("fixed", only_224)
    assert trunk.smallest == 224
    with pytest.raises(InputError, match=r"trunk fixed: cannot take images of 240 x 256 pixels \(Input height"):
        metric_on(trunk)(torch.rand(1, 3, 256, 240), torch.rand(1, 3, 256, 240))


SOURCE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, 5, 3)
    def forward(self, images):
        return [self.layer(images).relu()]

def make():
    torch.manual_seed(1)
    return Net()

def one_tensor():
    return lambda images: images

def number():
    return 7

def broken():
    raise KeyError("weights")
"""


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(SOURCE)
    return path


def test_a_trunk_in_a_file(source):
    """`mine.py:make` is called once; the trunk is named after the file, its function and its content."""
    with torch.random.fork_rng():
        trunk = load_backbone(f"{source}:make")
    assert trunk.name.startswith("mine.make-")
    assert trunk.channels == (5,)
    assert not any(parameter.requires_grad for parameter in trunk.parameters())
    source.write_text(SOURCE + "\n# another version\n")
    with torch.random.fork_rng():
        assert load_backbone(f"{source}:make").name != trunk.name


def test_a_trunk_draws_the_same_weights_each_time(source):
    """Else a run on it could neither go on, nor be repeated or exported; the caller's draws are left alone."""
    source.write_text(SOURCE.replace("    torch.manual_seed(1)\n", ""))
    state = torch.get_rng_state()
    first = load_backbone(f"{source}:make")
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(3)
    assert fingerprint(load_backbone(f"{source}:make").state_dict()) == fingerprint(first.state_dict())


def test_weights_for_a_trunk_in_a_file(source, tmp_path):
    weights = {"function.layer.weight": torch.ones(5, 3, 3, 3), "function.layer.bias": torch.zeros(5)}
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(weights, path)
    with torch.random.fork_rng():
        assert fingerprint(load_backbone(f"{source}:make", path).state_dict()) == fingerprint(weights)
        safetensors.torch.save_file({"other": torch.ones(1)}, path)
        with pytest.raises(InputError, match="weights.safetensors: not weights of .*mine.py:make"):
            load_backbone(f"{source}:make", path)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("one_tensor", "trunk mine.one_tensor-.*: .*gives Tensor; expected a list"),
        ("number", r"mine.py: number\(\) gives int; expected a module or function"),
        ("absent", "mine.py: has no function 'absent'"),
        ("broken", "mine.py: KeyError: 'weights'"),
    ],
)
def test_a_wrong_trunk_in_a_file_is_refused(source, function, message):
    with pytest.raises(InputError, match=message):
        load_backbone(f"{source}:{function}")


def test_a_file_that_is_absent_or_no_python_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"absent.py: no such file; a trunk of your own is named path/to/file.py:func"):
        load_backbone(f"{tmp_path}/absent.py:make")
    (tmp_path / "bad.py").write_text("def make(:")
    with pytest.raises(InputError, match="bad.py: SyntaxError"):
        load_backbone(f"{tmp_path}/bad.py:make")


def test_an_unknown_trunk_names_those_there_are():
    with pytest.raises(InputError, match="unknown trunk 'resnet'; there are: alex, vgg, .* timm:MODEL, and path"):
        load_backbone("resnet")


def timm_module():
    import_torchvision()
    return pytest.importorskip("timm")


@pytest.mark.parametrize(("model", "taps"), [("resnet18", 5), ("vit_tiny_patch16_224", 3), ("convnext_atto", 4)])
def test_a_network_of_timm_takes_images_of_any_size(model, taps):
    timm_module()
    with torch.random.fork_rng():
        trunk = load_backbone(f"timm:{model}?random")
    assert trunk.name == f"timm-{model}"
    assert len(trunk.channels) == taps
    x = torch.rand(2, 3, 71, 100, generator=generator())
    y = torch.rand(2, 3, 71, 100, generator=generator(2), requires_grad=True)
    metric_on(trunk)(x, y).sum().backward()
    assert torch.isfinite(y.grad).all() and y.grad.abs().max() > 0


def test_weights_of_a_timm_network_come_from_a_file(tmp_path):
    timm = timm_module()
    with torch.random.fork_rng():
        whole = timm.create_model("resnet18", pretrained=False)
        path = tmp_path / "resnet18.safetensors"
        safetensors.torch.save_file(whole.state_dict(), path)
        trunk = load_backbone("timm:resnet18", path)
        expected = whole.state_dict()["layer4.1.conv2.weight"]
        assert torch.equal(trunk.state_dict()["function.layer4.1.conv2.weight"], expected)
        safetensors.torch.save_file({"conv1.weight": whole.conv1.weight.detach()}, path)
        with pytest.raises(InputError, match="resnet18.safetensors: not weights of timm's resnet18"):
            load_backbone("timm:resnet18", path)


def test_a_timm_network_that_cannot_be_had_says_what_to_do(monkeypatch):
    timm_module()
    with pytest.raises(InputError, match="timm .* has no such model"):
        load_backbone("timm:resnet18x")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    huggingface_hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UnavailableError, match="timm:resnet18 are not on this machine .* --backbone-weights FILE"):
        load_backbone("timm:resnet18")


def shift_tolerant_package(name: str, monkeypatch):
    """ST-LPIPS as its authors packaged it; it imports two packages that it does not use."""
    pytest.importorskip("stlpips_pytorch", exc_type=ImportError)
    for absent, attribute in (("IPython", "embed"), ("torchsummary", "summary")):
        module = types.ModuleType(absent)
        setattr(module, attribute, None)
        monkeypatch.setitem(sys.modules, absent, module)
    import_torchvision()
    from stlpips_pytorch import stlpips

    with torch.random.fork_rng():
        return stlpips.LPIPS(net=name, variant="shift_tolerant", verbose=False)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")  # the package's own
@pytest.mark.parametrize("name", ["alex", "vgg"])
def test_shift_tolerant_trunks_equal_the_package(name, monkeypatch):
    """Distances to 1e-4, and gradients to 1e-4 of the largest."""
    package = shift_tolerant_package(name, monkeypatch)
    x, noise = torch.rand(2, 2, 3, 48, 61, generator=generator(5))
    y = (0.7 * x + 0.3 * noise).requires_grad_()
    ours = measure(f"st-lpips-{name}")
    own, theirs = lpips(f"{name}-st")(x, y), package(x, y, normalize=True).flatten()
    assert torch.allclose(own, theirs, atol=1e-4, rtol=1e-4)
    assert torch.allclose(ours.compare(ours.prepare(x[:1]), y[:1].detach()), theirs[:1].detach(), rtol=1e-4)
    gradients = [torch.autograd.grad(distance.sum(), y)[0] for distance in (own, theirs)]
    assert (gradients[0] - gradients[1]).abs().max() < 1e-4 * gradients[1].abs().max()


@pytest.mark.parametrize("name", SHIFT_TOLERANT)
def test_the_smallest_image_of_a_shift_tolerant_trunk(name):
    trunk = Backbone(name, generator())
    assert all(tap.numel() for tap in trunk(torch.rand(1, 3, trunk.smallest, 40)))
    with pytest.raises(RuntimeError):
        trunk(torch.rand(1, 3, trunk.smallest - 1, 40))
    with pytest.raises(UnavailableError, match="too small"):
        metric_on(trunk)(torch.rand(1, 3, trunk.smallest - 1, 40), torch.rand(1, 3, trunk.smallest - 1, 40))


@pytest.mark.parametrize("name", ["alex", "vgg"])
def test_a_shift_by_one_pixel_matters_less(name):
    """What the variant is for: a shift that nobody sees costs less, measured by what a slight blur costs."""
    data = pytest.importorskip("skimage.data")
    photograph = torch.from_numpy(data.astronaut()[80:178, 180:278].copy()).permute(2, 0, 1)[None] / 255
    original, moved = photograph[..., 1:-1, 1:-1], photograph[..., 1:-1, 2:]
    blurred = functional.avg_pool2d(photograph, 3, 1)
    costs = [metric(original, moved) / metric(original, blurred) for metric in (lpips(name), lpips(f"{name}-st"))]
    assert costs[1] < costs[0] / 2


def test_weights_that_are_in_a_package_that_is_absent(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UnavailableError, match="pip install --no-deps stlpips-pytorch==0.0.2"):
        load_backbone("vgg-st")


def test_random_weights_are_seeded_and_keep_the_variance():
    """He initialisation: from layer to layer the features neither fade nor grow by more than a few times."""
    trunks = [Backbone("vgg", generator(seed)) for seed in (1, 1, 2)]
    prints = [fingerprint(trunk.state_dict()) for trunk in trunks]
    assert prints[0] == prints[1] != prints[2]
    with torch.no_grad():
        sizes = [tap.square().mean().sqrt() for tap in trunks[0](torch.rand(1, 3, 64, 64, generator=generator()))]
    assert max(sizes) < 5 * min(sizes)


@pytest.mark.parametrize("size", [(31, 31), (37, 50), (66, 31)])
def test_a_convolution_on_patches_is_the_same_convolution(size):
    convolution = PatchConv(3, 8, 11, stride=4, padding=2).double()
    x = torch.rand(2, 3, *size, dtype=torch.float64, generator=generator(), requires_grad=True)
    answers = []
    for y in (convolution(x), functional.conv2d(x, convolution.weight, convolution.bias, 4, 2)):
        gradients = torch.autograd.grad(y.square().sum(), (x, convolution.weight))
        answers.append((y, *gradients))
    assert all(torch.allclose(a, b) for a, b in zip(*answers, strict=True))


def test_heads_are_the_ones_in_the_file_and_never_negative():
    """Defect 3: the package keeps random heads where dropout is off, and distances go negative."""
    for head, loaded in zip(lpips("alex").heads, load_lpips_heads("alex"), strict=True):
        assert torch.equal(head, loaded) and (head >= 0).all()
    heads = load_lpips_heads("alex")
    heads[2][7] = -1e-3
    with pytest.raises(ValueError, match="heads are weights of 0 or more"):
        PerceptualMetric(load_backbone("alex"), heads)
    with pytest.raises(InputError, match="no published heads for mine"):
        load_lpips_heads("mine")


def test_a_metric_is_made_silently_and_its_state_is_one_that_safetensors_takes(capfd, monkeypatch):
    """Defect 7: a download in the constructor, prints, and a state with shared tensors."""

    def no_network(*_arguments, **_options):
        raise AssertionError("a constructor must not download")

    monkeypatch.setattr("torch.hub.load_state_dict_from_url", no_network)
    monkeypatch.setattr("socket.socket.connect", no_network)
    metric = PerceptualMetric(Backbone("squeeze"), [torch.rand(c) for c in Backbone("squeeze").channels])
    assert capfd.readouterr() == ("", "")
    state = safetensors.torch.load(safetensors.torch.save(metric.state_dict()))
    assert all(torch.equal(value, state[key]) for key, value in metric.state_dict().items())
    buffer = io.BytesIO()
    torch.save(metric.state_dict(), buffer)
    assert buffer.tell()
