"""CompressAI's checkpoints: they load, and give what the papers' formulas give, written out here once more."""

import math

import pytest
import torch
from torch.nn import functional as F

from codec import load
from codec.entropy.integers import ONE
from study.errors import InputError

N, M = 4, 6
SYSTEMS = ("bmshj2018-hyperprior", "mbt2018-mean", "mbt2018")


def convolutions(system: str) -> dict[str, tuple[int, ...]]:
    """The shapes of all weights, in CompressAI's order of dimensions and under its names."""
    shapes = {f"g_a.{k}": (N, N, 5, 5) for k in (2, 4)} | {"g_a.0": (N, 3, 5, 5), "g_a.6": (M, N, 5, 5)}
    shapes |= {f"g_s.{k}": (N, N, 5, 5) for k in (2, 4)} | {"g_s.0": (M, N, 5, 5), "g_s.6": (N, 3, 5, 5)}
    shapes |= {"h_a.0": (N, M, 3, 3), "h_a.2": (N, N, 5, 5), "h_a.4": (N, N, 5, 5)}
    if system == "bmshj2018-hyperprior":
        return shapes | {"h_s.0": (N, N, 5, 5), "h_s.2": (N, N, 5, 5), "h_s.4": (M, N, 3, 3)}
    shapes |= {"h_s.0": (N, M, 5, 5), "h_s.2": (M, M * 3 // 2, 5, 5), "h_s.4": (2 * M, M * 3 // 2, 3, 3)}
    if system == "mbt2018":
        shapes |= {"context_prediction": (2 * M, M, 5, 5), "entropy_parameters.0": (M * 10 // 3, 4 * M, 1, 1)}
        shapes |= {"entropy_parameters.2": (M * 8 // 3, M * 10 // 3, 1, 1)}
        shapes |= {"entropy_parameters.4": (2 * M, M * 8 // 3, 1, 1)}
    return shapes


def published(system: str, seed: int = 0) -> dict[str, torch.Tensor]:
    """A state dict as in the zoo, with random weights; the priors' names are those of 2020."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    state = {}
    for name, shape in convolutions(system).items():
        transposed = name.startswith("g_s") or name in ("h_s.0", "h_s.2")
        inputs = (shape[0] / 4 if transposed else shape[1]) * shape[2] ** 2
        state[f"{name}.weight"] = drawn(*shape) / inputs**0.5
        state[f"{name}.bias"] = 0.1 * drawn(shape[1] if transposed else shape[0])
    state["g_a.6.weight"] *= 20  # so that y has values other than 0
    last = "entropy_parameters.4.bias" if system == "mbt2018" else "h_s.4.bias"
    state[last][:M] += 1  # scales above their bound, mostly
    for name in [f"{g}.{k}" for g in ("g_a", "g_s") for k in (1, 3, 5)]:
        state[f"{name}.beta"] = 1 + 0.3 * drawn(N)
        state[f"{name}.gamma"] = 0.3 * drawn(N, N)  # some below the bound
        for part in ("beta", "gamma"):
            state[f"{name}.{part}_reparam.pedestal"] = torch.tensor([2.0**-36])
            state[f"{name}.{part}_reparam.lower_bound.bound"] = torch.tensor([2.0**-18])
    widths = (1, 3, 3, 3, 3, 1)
    for k in range(5):
        start = math.log(math.expm1(10**-0.2 / widths[k + 1]))  # a density about 10 wide, as training starts
        state[f"entropy_bottleneck._matrices.{k}"] = start + 0.3 * drawn(N, widths[k + 1], widths[k])
        state[f"entropy_bottleneck._biases.{k}"] = drawn(N, widths[k + 1], 1)
        if k < 4:
            state[f"entropy_bottleneck._factors.{k}"] = drawn(N, widths[k + 1], 1)
    medians = drawn(N, 1, 1)
    state["entropy_bottleneck.quantiles"] = torch.cat((medians - 10, medians, medians + 10), 2)
    state["entropy_bottleneck.target"] = torch.tensor([-21.0, 0.0, 21.0])
    for name in ("_offset", "_quantized_cdf", "_cdf_length"):
        state[f"entropy_bottleneck.{name}"] = torch.zeros(0, dtype=torch.int32)
        state[f"gaussian_conditional.{name}"] = torch.zeros(0, dtype=torch.int32)
    state["entropy_bottleneck.likelihood_lower_bound.bound"] = torch.tensor([1e-9])
    state["gaussian_conditional.scale_table"] = torch.zeros(0)
    if system == "mbt2018":
        state["context_prediction.mask"] = torch.ones(2 * M, M, 5, 5)
    return state


class Reference:
    """The codec of a state dict by its formulas: Balle et al. 2018, Minnen et al. 2018."""

    def __init__(self, state: dict[str, torch.Tensor], system: str) -> None:
        self.state, self.system = state, system

    def down(self, name: str, x: torch.Tensor, stride: int = 2) -> torch.Tensor:
        weight = self.state[f"{name}.weight"]
        return F.conv2d(x, weight, self.state[f"{name}.bias"], stride, weight.shape[-1] // 2)

    def up(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return F.conv_transpose2d(x, self.state[f"{name}.weight"], self.state[f"{name}.bias"], 2, 2, 1)

    def gdn(self, name: str, x: torch.Tensor) -> torch.Tensor:
        """The sum of squares under the root."""
        beta = self.state[f"{name}.beta"].clamp(min=(1e-6 + 2**-36) ** 0.5) ** 2 - 2**-36
        gamma = self.state[f"{name}.gamma"].clamp(min=2**-18) ** 2 - 2**-36
        return (beta[:, None, None] + torch.einsum("ij,njhw->nihw", gamma, x**2)) ** 0.5

    def analysis(self, x: torch.Tensor) -> torch.Tensor:
        for k in (0, 2, 4):
            x = self.down(f"g_a.{k}", x)
            x = x / self.gdn(f"g_a.{k + 1}", x)
        return self.down("g_a.6", x)

    def synthesis(self, x: torch.Tensor) -> torch.Tensor:
        for k in (0, 2, 4):
            x = self.up(f"g_s.{k}", x)
            x = x * self.gdn(f"g_s.{k + 1}", x)
        return self.up("g_s.6", x)

    def z_hat(self, y: torch.Tensor) -> torch.Tensor:
        mean_scale = self.system != "bmshj2018-hyperprior"
        act = F.leaky_relu if mean_scale else F.relu
        z = act(self.down("h_a.0", y if mean_scale else y.abs(), 1))
        z = self.down("h_a.4", act(self.down("h_a.2", z)))
        medians = self.state["entropy_bottleneck.quantiles"][None, :, :, 1:2]
        return torch.round(z - medians) + medians

    def z_bits(self, z_hat: torch.Tensor) -> float:
        """Of each channel's density: the cumulative is a sigmoid of five layers, softplus(H) x + b with gates."""
        total = 0.0
        for channel in range(N):
            cumulative = []
            for half in (-0.5, 0.5):
                x = z_hat[0, channel].reshape(1, -1).double() + half
                for k in range(5):
                    matrix, bias = (
                        self.state[f"entropy_bottleneck.{p}.{k}"][channel].double() for p in ("_matrices", "_biases")
                    )
                    x = F.softplus(matrix) @ x + bias
                    if k < 4:
                        x = x + torch.tanh(self.state[f"entropy_bottleneck._factors.{k}"][channel]) * torch.tanh(x)
                cumulative.append(torch.sigmoid(x))
            total -= (cumulative[1] - cumulative[0]).clamp(min=1e-9).log2().sum().item()
        return total

    def parameters(self, y: torch.Tensor, z_hat: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Scales and means, the context's from y rounded."""
        act = F.relu if self.system == "bmshj2018-hyperprior" else F.leaky_relu
        x = self.down("h_s.4", act(self.up("h_s.2", act(self.up("h_s.0", z_hat)))), 1)
        if self.system == "bmshj2018-hyperprior":
            return F.relu(x), torch.zeros_like(x)
        if self.system == "mbt2018":
            weight = self.state["context_prediction.weight"].clone()
            weight[:, :, 2, 2:] = 0
            weight[:, :, 3:] = 0
            seen = F.conv2d(torch.round(y), weight, self.state["context_prediction.bias"], padding=2)
            x = torch.cat((x, seen), 1)
            x = F.leaky_relu(self.down("entropy_parameters.0", x, 1))
            x = F.leaky_relu(self.down("entropy_parameters.2", x, 1))
            x = self.down("entropy_parameters.4", x, 1)
        return x[:, :M], x[:, M:]

    def y_bits(self, residual: torch.Tensor, scales: torch.Tensor) -> float:
        normal = torch.distributions.Normal(0.0, scales.clamp(min=0.11).double())
        mass = normal.cdf(0.5 - residual.abs().double()) - normal.cdf(-0.5 - residual.abs().double())
        return -mass.clamp(min=1e-9).log2().sum().item()


def written(state, folder, name="model.pth.tar"):
    torch.save(state, folder / name)
    return folder / name


def image() -> torch.Tensor:
    return torch.rand(1, 3, 128, 64, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_loaded_codec_gives_what_the_formulas_give(system, tmp_path):
    """y, the bits of y and of z, and the decoded image, of random weights with medians that are no whole numbers."""
    state = published(system)
    codec, reference, x = load(written(state, tmp_path)), Reference(state, system), image()
    assert (codec.config.system, codec.config.channels) == (system, (N, M)) and not codec.training
    assert codec.config.lambdas == () and codec.positions == 0  # what it was trained for is not in the file
    with torch.no_grad():
        output = codec(x)
        y = reference.analysis(x)
        torch.testing.assert_close(codec.analysis(x), y, rtol=1e-4, atol=1e-4)
        z_hat = reference.z_hat(y)
        scales, means = reference.parameters(y, z_hat)
        residual = torch.round(y - means)
        torch.testing.assert_close(output.y_hat, residual + means, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(output.x_hat, reference.synthesis(residual + means), rtol=1e-3, atol=1e-3)
    assert output.bits["z"].item() == pytest.approx(reference.z_bits(z_hat), rel=1e-3)
    assert output.bits["y"].item() == pytest.approx(reference.y_bits(residual, scales), rel=1e-3)
    assert output.bits["y"].item() > M * 8 * 4 / 2  # there is something to code


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_loaded_codec_codes_around_its_medians(system, tmp_path):
    """z_hat lies whole steps from the medians, not on whole numbers; what is decoded is what was encoded."""
    state = published(system)
    codec = load(written(state, tmp_path))
    with torch.no_grad():
        y = codec.analysis(image())
        encoder = codec.encoder()
        y_hat = codec.latent.walk(encoder, y, (8, 4))
        assert torch.equal(codec.latent.walk(codec.decoder(encoder.finish()), None, (8, 4)), y_hat)
        z_hat = codec.latent.inner.walk(codec.encoder(), codec.latent.h_a(y), (2, 1)) / ONE
    medians = state["entropy_bottleneck.quantiles"][:, :, 1:2]
    assert (medians - medians.round()).abs().max() > 0.1
    steps = z_hat[0] - (medians * ONE).round() / ONE
    assert torch.equal(steps, steps.round())
    assert (z_hat[0] - medians).flatten().tolist() == pytest.approx(
        (Reference(state, system).z_hat(y)[0] - medians).flatten().tolist(), abs=2**-10
    )


def test_the_tables_of_a_loaded_prior_are_its_density(tmp_path):
    """A symbol k costs what the density has around median + k, within 2^-24 and the mass left outside +-127."""
    state = published("mbt2018-mean")
    prior = load(written(state, tmp_path)).latent.inner
    medians = state["entropy_bottleneck.quantiles"][:, 0, 1]
    for k in (-2, 0, 3):
        z_hat = (medians + k).reshape(1, N, 1, 1)
        bits = -(prior.table[:, prior.largest + k].double() / 2**24).log2().sum().item()
        assert bits == pytest.approx(Reference(state, "mbt2018-mean").z_bits(z_hat), rel=1e-3)


@pytest.mark.parametrize("pattern", ["_matrix0", "matrices.0", "module."])
def test_names_of_every_age_give_the_same_codec(pattern, tmp_path):
    old = published("mbt2018")
    singular = {"_matrices": "_matrix", "_biases": "_bias", "_factors": "_factor"}
    renamed = {}
    for name, value in old.items():
        part, _, layer = name.removeprefix("entropy_bottleneck.").partition(".")
        if pattern == "module.":
            name = pattern + name
        elif part in singular and pattern == "_matrix0":
            name = f"entropy_bottleneck.{singular[part]}{layer}"
        elif part in singular and pattern == "matrices.0":
            name = f"entropy_bottleneck.{part[1:]}.{layer}"
        renamed[name] = value
    first, second = load(written(old, tmp_path, "old")), load(written(renamed, tmp_path, "new"))
    assert all(torch.equal(value, second.state_dict()[name]) for name, value in first.state_dict().items())


def changed(state, **values):
    return {name: values.get(name.replace(".", "_"), value) for name, value in state.items()}


@pytest.mark.parametrize(
    ("state", "complaint"),
    [
        ({"weight": torch.zeros(3)}, "not a checkpoint of CompressAI's zoo"),
        ({"epoch": 3}, "not a state dict"),
        (published("mbt2018") | {"g_a.7.beta": torch.zeros(3)}, r"not a mbt2018 .*g_a\.7\.beta"),
        ({k: v for k, v in published("mbt2018").items() if k != "h_a.2.bias"}, r"not a mbt2018 .*h_a\.2\.bias"),
        (changed(published("mbt2018"), g_s_0_bias=torch.zeros(N + 1)), r"not a mbt2018 .*g_s\.0\.bias"),
        (changed(published("mbt2018"), g_a_0_weight=torch.tensor(1.0)), "not a checkpoint of CompressAI's zoo"),
        (changed(published("mbt2018"), g_s_0_bias=torch.full((N,), math.nan)), r"g_s\.0\.bias .*no numbers"),
        (changed(published("mbt2018"), entropy_bottleneck_quantiles=torch.zeros(N, 3)), "medians"),
    ],
)
def test_other_checkpoints_are_refused_in_a_line(state, complaint, tmp_path):
    with pytest.raises(InputError, match=complaint) as error:
        load(written(state, tmp_path))
    assert str(error.value).startswith(str(tmp_path)) and "\n" not in str(error.value)


def test_a_checkpoint_with_code_in_it_is_refused(tmp_path):
    with pytest.raises(InputError, match="may run code"):
        load(written({"model": torch.nn.Linear(2, 2)}, tmp_path))


def test_a_truncated_checkpoint_is_refused(tmp_path):
    path = written(published("mbt2018-mean"), tmp_path)
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(InputError, match="not a readable file of weights|may run code"):
        load(path)


def test_tensors_of_more_than_is_stored_are_refused(tmp_path):
    """A file of two kilobytes whose tensors are views of one number would take gigabytes as a codec."""
    shapes = {"g_a.0": (1000, 3, 5, 5), "g_a.6": (1000, 1000, 5, 5), "h_s.4": (2000, 1500, 3, 3)}
    path = written({f"{name}.weight": torch.zeros(1).expand(shape) for name, shape in shapes.items()}, tmp_path)
    assert path.stat().st_size < 4000
    with pytest.raises(InputError, match="larger than what is stored of them"):
        load(path)
