"""What is handed out: each file gives the live metric's distances by its own program; what is not ours is refused."""

import io
import json
import pickle
import struct
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import onnx
import onnxruntime
import pandas as pd
import pytest
import safetensors.torch
import torch
from shared_data import shared
from test_metric_lpips import package

import metric as package_metric
from metric.export import ENDINGS, main, read_run, write
from metric.exporting import card as cards
from metric.exporting import exported, lpips_state, portable
from metric.exporting.exported import describe, load, save
from metric.measures import lpips
from metric.network import weights
from metric.network.backbones import Backbone
from metric.network.model import PerceptualMetric
from metric.network.torchvision_import import import_torchvision
from metric.network.weights import fingerprint, load_backbone, load_lpips_heads
from metric.training import runs
from study.errors import InputError, UnavailableError
from study.files import write_text

ROOT = Path(__file__).resolve().parent.parent
LIGHT = ["--formats", "safetensors"]
SIZES = [(1, 64, 64), (2, 65, 97), (3, 200, 48), (1, 128, 256)]
CARD = {"name": "mine", "votes": "3 SIMULATED votes", "voters": "simulated"}


class Tiny(torch.nn.Module):
    """A trunk of a user's own: two maps, a buffer, and a smallest image."""

    def __init__(self, name="tiny", channels=(4, 6)):
        super().__init__()
        self.name, self.channels, self.smallest = name, channels, 8
        self.first = torch.nn.Conv2d(3, channels[0], 3, padding=1)
        self.second = torch.nn.Conv2d(channels[0], channels[1], 3, stride=2, padding=1)
        self.register_buffer("mean", torch.tensor(0.4))

    def forward(self, images):
        x = torch.nn.functional.gelu(self.first(images - self.mean))
        return [x, self.second(x)]


class Dark(Tiny):
    """A trunk whose features are all zero where an image is dark."""

    def forward(self, images):
        x = torch.nn.functional.relu(images.amin(dim=1, keepdim=True) - 0.5).expand(-1, 4, -1, -1)
        return [x, torch.cat([x, x[:, :2]], dim=1)]


class FlattersTheExporter(Tiny):
    """A trunk whose graph is another function than the module: what the check of a file is for."""

    def forward(self, images):
        return super().forward(images if torch.compiler.is_exporting() else images**2)


class CannotBeTraced(Tiny):
    def forward(self, images):
        return super().forward(images if float(images.mean()) > 0 else -images)


def tiny(kind=Tiny, seed=1, **options):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return PerceptualMetric(kind(**options), [torch.rand(4), torch.rand(6)]).requires_grad_(False).eval()


def pairs(sizes=SIZES, seed=3):
    """References and distorted images, in pairs that differ a little, a lot, and not at all."""
    random = torch.Generator().manual_seed(seed)
    for size in sizes:
        n, height, width = size
        reference = torch.rand(n, 3, height, width, generator=random)
        noise = torch.randn(reference.shape, generator=random)
        yield reference, (reference + 0.02 * noise).clamp(0, 1)
        yield reference, torch.rand(reference.shape, generator=random)
        yield reference, reference


@pytest.fixture(autouse=True)
def no_downloads(monkeypatch):
    """Weights that no package ships are not fetched by a test."""

    def refuse(name):
        raise UnavailableError(f"{name}: no downloads in tests")

    monkeypatch.setattr(weights, "_from_torchvision", refuse)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run's folder, as `eyetune train` leaves it."""
    folder = tmp_path_factory.mktemp("study") / "runs" / "001-alex"
    settings = {
        "data": "small", "backbone": "alex", "backbone_sha256": fingerprint(load_backbone("alex").state_dict()),
        "start": "lpips", "recipe": {"seed": 1}, "whose_votes": "42 human votes", "comparisons_sha256": "0",
    }  # fmt: skip
    record = {"settings": settings, "versions": {"torch": "2.13.0"}, "commit": None}
    write_text(folder / "run.json", json.dumps(record))
    heads = {f"heads.{k}": 1.1 * head for k, head in enumerate(load_lpips_heads("alex"))}
    safetensors.torch.save_file(heads, folder / "heads.safetensors")
    write_text(folder / "scores.csv", "metric,two_afc,low,high,triplets,note,voters\nmine,0.7,0.6,0.8,28,,human\n")
    return folder


@pytest.fixture(scope="module")
def files(run, tmp_path_factory):
    """The run's export in all formats, by format."""
    out = tmp_path_factory.mktemp("files")
    assert main([str(run), "--out", str(out)]) == 0
    return {kind: out / f"small-001-alex{ending}" for kind, ending in (ENDINGS | {"card": ".md"}).items()}


@pytest.fixture(scope="module")
def safetensors_file(tmp_path_factory):
    """An exported metric to be damaged."""
    path = tmp_path_factory.mktemp("safetensors") / "alex.safetensors"
    save(lpips("alex"), path, CARD)
    return path


def test_everything_is_written_and_nothing_else(files):
    assert {path.name for path in files["card"].parent.iterdir()} == {path.name for path in files.values()}


def test_torch_alone_runs_the_program(files, tmp_path):
    """In a process that cannot import eyetune or anything but torch; values and gradients are the live metric's."""
    live = load(files["safetensors"])
    reference, distorted = next(pairs([(2, 65, 97)]))
    images = [image.requires_grad_() for image in (reference, distorted)]
    live(*images).sum().backward()
    torch.save([image.detach() for image in images], tmp_path / "images.pt")
    code = f"""
import sys
sys.path.append({str(Path(torch.__file__).parent.parent)!r})
import importlib.util, torch
assert all(importlib.util.find_spec(name) is None for name in ("metric", "study", "eyetune"))
images = [image.requires_grad_() for image in torch.load("images.pt")]
extra = {{"eyetune.json": ""}}
distance = torch.export.load({str(files["torch-export"])!r}, extra_files=extra).module()
distances = distance(*images)
distances.sum().backward()
torch.save((distances.detach(), [image.grad for image in images], extra), "answers.pt")
"""
    bare = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert bare.returncode == 0, bare.stderr
    distances, gradients, extra = torch.load(tmp_path / "answers.pt")
    assert torch.allclose(distances, live(*images), rtol=1e-4, atol=1e-6)
    for gradient, image in zip(gradients, images, strict=True):
        assert torch.allclose(gradient, image.grad, atol=1e-4 * float(image.grad.abs().max()))
    assert json.loads(extra["eyetune.json"])["votes"] == "42 human votes"


def test_onnxruntime_gives_the_live_distances(files):
    """For batches and sizes that were not seen when the graph was made, and exactly 0 for identical images."""
    live = load(files["safetensors"])
    session = onnxruntime.InferenceSession(files["onnx"], providers=["CPUExecutionProvider"])
    for reference, distorted in pairs():
        (given,) = session.run(None, {"reference": reference.numpy(), "distorted": distorted.numpy()})
        assert torch.allclose(torch.from_numpy(given), live(reference, distorted), rtol=1e-4, atol=1e-6)
        assert reference is not distorted or not given.any()


def test_zero_features_are_finite_in_the_graphs(tmp_path):
    """torch's optimiser of ONNX graphs drops the epsilon in the root; then they give NaN."""
    metric = tiny(Dark)
    paths = write(metric, tmp_path, CARD, ["torch-export", "onnx"])
    distance = torch.export.load(paths[0]).module()
    session = onnxruntime.InferenceSession(paths[1], providers=["CPUExecutionProvider"])
    dark, bright = torch.full((1, 3, 16, 16), 0.2), torch.full((1, 3, 16, 16), 0.8)
    for reference, distorted in ((dark, dark), (dark, bright), (bright, dark)):
        live = metric(reference, distorted)
        (given,) = session.run(None, {"reference": reference.numpy(), "distorted": distorted.numpy()})
        assert torch.isfinite(live).all()
        assert torch.allclose(torch.from_numpy(given), live, rtol=1e-4)
        assert torch.allclose(distance(reference, distorted), live, rtol=1e-4)


def test_the_onnx_file_says_what_it_is(files):
    model = onnx.load(files["onnx"])
    onnx.checker.check_model(model, full_check=True)
    said = {entry.key: entry.value for entry in model.metadata_props}
    assert said["name"] == "small-001-alex" and said["votes"] == "42 human votes" and said["voters"] == "human"
    assert "[0, 1]" in said["input"] and "not checked" in said["input"]
    assert json.loads(said["eyetune"])["sha256"] == describe(files["safetensors"])["sha256"]
    shapes = [[d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim] for value in model.graph.input]
    assert shapes == [["N", 3, "H", "W"]] * 2


def test_no_file_names_a_path_of_this_machine(files):
    assert not any(str(ROOT).encode() in path.read_bytes() for path in files.values())
    with zipfile.ZipFile(files["torch-export"]) as archive:
        assert not any(str(ROOT).encode() in archive.read(name) for name in archive.namelist())


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")  # of the package lpips
def test_the_package_lpips_loads_the_export(files):
    peer = package("alex")
    missing = peer.load_state_dict(torch.load(files["lpips"], weights_only=True), strict=False)
    assert not missing.unexpected_keys
    metric = load(files["safetensors"])
    for reference, distorted in pairs():
        assert torch.allclose(
            peer(reference, distorted, normalize=True).flatten(), metric(reference, distorted), atol=1e-4
        )


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")  # of the package lpips
@pytest.mark.parametrize("name", ["alex", "squeeze", "vgg"])
def test_the_package_lpips_gets_a_trunk_that_is_not_its_own(name, tmp_path, monkeypatch):
    """As its users load it, by `model_path`; with ImageNet's trunk the file has the heads only."""
    import_torchvision()
    import lpips as their

    if name == "squeeze":
        monkeypatch.setenv("EYETUNE_BACKBONES", str(shared("backbones")))
    metric = lpips(name)
    stock = lpips_state.to_bytes(metric)
    assert len(stock) < 20_000
    with torch.random.fork_rng():
        torch.manual_seed(2)
        for parameter in metric.backbone.parameters():
            parameter.mul_(1 + 0.1 * torch.randn(parameter.shape))
        path = tmp_path / "tuned.pth"
        path.write_bytes(lpips_state.to_bytes(metric))
        peer = their.LPIPS(net=name, pnet_rand=True, model_path=str(path), verbose=False)
    for reference, distorted in pairs([(2, 65, 97)]):
        given = peer(reference, distorted, normalize=True).flatten()
        assert torch.allclose(given, metric(reference, distorted), atol=1e-4)


def test_a_trunk_of_the_users_own_is_handed_out(tmp_path, capsys):
    """Its weights are in the file; the module comes from the user, whatever weights it has. lpips has no such trunk."""
    metric = tiny()
    paths = write(metric, tmp_path, CARD)
    assert [path.name for path in paths] == ["mine.safetensors", "mine.pt2", "mine.onnx", "mine.md"]
    assert "lpips: not written: the package lpips has no trunk 'tiny'" in "".join(capsys.readouterr())
    with pytest.raises(InputError, match=r"trunk 'tiny' is none of eyetune's; metric.load\(path, backbone="):
        load(paths[0])
    other = Tiny()
    other.mean.fill_(7)
    again = load(paths[0], backbone=other)
    for reference, distorted in pairs():
        assert torch.equal(again(reference, distorted), metric(reference, distorted))
    assert "backbone=trunk" in paths[-1].read_text()
    with pytest.raises(InputError, match="do not fit the trunk 'wide'"):
        load(paths[0], backbone=Tiny("wide", (4, 7)))


def test_a_file_that_fails_its_check_does_not_stay(tmp_path):
    with pytest.raises(InputError, match="torch-export: the file gives .* nothing was written"):
        write(tiny(FlattersTheExporter), tmp_path, CARD)
    assert not list(tmp_path.iterdir())


def test_a_metric_whose_file_would_not_rebuild_it_is_refused(tmp_path):
    """LPIPS 0.0 has no scaling layer, which no weight says."""
    with pytest.raises(InputError, match="safetensors: the file gives"):
        write(lpips("alex", "0.0"), tmp_path, CARD, ["safetensors"])
    assert not list(tmp_path.iterdir())


def test_a_trunk_that_cannot_be_traced_is_handed_out_as_weights(tmp_path, capsys):
    paths = write(tiny(CannotBeTraced), tmp_path, CARD)
    assert [path.suffix for path in paths] == [".safetensors", ".md"]
    assert "torch-export: not written: torch cannot trace the trunk 'tiny'" in "".join(capsys.readouterr())
    with pytest.raises(InputError, match="onnx: torch cannot trace"):
        write(tiny(CannotBeTraced), tmp_path, CARD, ["onnx"], force=True)
    assert paths[0].exists()


def test_without_the_package_onnx_the_others_are_written(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(portable, "PACKAGES", ("a_package_that_is_not_installed",))
    paths = write(tiny(), tmp_path, CARD)
    assert [path.suffix for path in paths] == [".safetensors", ".pt2", ".md"]
    assert "pip install 'eyetune[onnx]'" in "".join(capsys.readouterr())
    with pytest.raises(InputError, match=r"onnx: needs .*: pip install 'eyetune\[onnx\]'"):
        write(tiny(), tmp_path, CARD, ["onnx"], force=True)


def test_images_too_small_are_refused_by_the_program(tmp_path):
    write(tiny(), tmp_path, CARD, ["torch-export"])
    distance = torch.export.load(tmp_path / "mine.pt2").module()
    assert distance(*torch.rand(2, 1, 3, 8, 8)).shape == (1,)
    assert "least 8 pixels" in (tmp_path / "mine.md").read_text()
    for first, second in (
        ((1, 3, 7, 8), (1, 3, 7, 8)),
        ((1, 3, 8, 8), (1, 3, 8, 9)),
        ((1, 1, 8, 8), (1, 1, 8, 8)),
        ((1, 3, 8, 8), (2, 3, 8, 8)),
        ((2, 3, 8, 8), (1, 3, 8, 8)),
    ):
        with pytest.raises((AssertionError, RuntimeError)):
            distance(torch.rand(first), torch.rand(second))


def test_calibration_goes_with_the_metric(tmp_path):
    metric = tiny()
    metric.calibration = {"preference": {"slope": 12.5, "lapse": 0.02}, "jnd": None}
    write(metric, tmp_path, CARD, ["safetensors"])
    assert load(tmp_path / "mine.safetensors", Tiny()).calibration == metric.calibration
    assert describe(tmp_path / "mine.safetensors")["calibration"] == metric.calibration
    assert "- preference: slope 12.5, lapse 0.02\n" in (tmp_path / "mine.md").read_text()


def test_a_run_with_a_trained_trunk_is_read_whole(run, tmp_path):
    """settings["mode"] says that metric.safetensors has all weights; ImageNet's are not asked for."""
    folder = tmp_path / "002-alex"
    folder.mkdir()
    record = json.loads((run / "run.json").read_text())
    record["settings"] |= {"mode": "tune", "backbone_sha256": "another"}
    (folder / "run.json").write_text(json.dumps(record))
    (folder / "scores.csv").write_bytes((run / "scores.csv").read_bytes())
    (folder / "calibration.json").write_text('{"slope": 2.0}')
    tuned = PerceptualMetric(Backbone("alex"), runs.read_heads(run)).requires_grad_(False).eval()
    safetensors.torch.save_file(tuned.state_dict(), folder / "metric.safetensors")
    assert main([str(folder), *LIGHT]) == 0
    again = load(folder / "export" / "small-002-alex.safetensors")
    reference, distorted = next(pairs([(1, 64, 64)]))
    assert torch.equal(again(reference, distorted), tuned(reference, distorted))
    assert again.calibration == {"slope": 2.0}
    (folder / "metric.safetensors").write_bytes(safetensors.torch.save({"heads.0": torch.zeros(3)}))
    with pytest.raises(InputError, match="metric.safetensors: not the weights of this run"):
        read_run(folder)
    (folder / "calibration.json").write_text('{"slope": NaN}')
    safetensors.torch.save_file(tuned.state_dict(), folder / "metric.safetensors")
    with pytest.raises(InputError, match="calibration.json: expected an object of numbers"):
        read_run(folder)


def test_the_card_follows_the_columns_of_the_scores():
    rows = [
        {"metric": "mine", "two_afc": 0.701, "low": 0.69, "high": 0.71, "log_likelihood": -0.5123, "theirs": 0.02,
         "theirs_low": 0.01, "theirs_high": 0.03, "triplets": 28, "note": "", "voters": "human"},
        {"metric": "psnr", "two_afc": 0.5, "low": 0.4, "high": 0.6, "log_likelihood": "", "triplets": 28,
         "note": "a|b", "voters": "human"},
    ]  # fmt: skip
    assert cards.table(rows).splitlines() == [
        "| metric | 2AFC % | 95 % interval | bits a vote | theirs | 95 % interval | triplets | note |",
        "|---|---|---|---|---|---|---|---|",
        "| mine | 70.1 | 69.0 to 71.0 | -0.512 | 0.02 | 0.01 to 0.03 | 28 |  |",
        "| psnr | 50.0 | 40.0 to 60.0 |  |  |  | 28 | a\\|b |",
    ]


@pytest.mark.parametrize(("voters", "says"), [("human", None), ("simulated", "SIMULATED"), ("mixed", "SIMULATED")])
def test_the_card_says_whose_votes_they_were(tmp_path, voters, says):
    write(tiny(), tmp_path, {"name": "mine", "votes": "12 votes", "voters": voters}, ["safetensors"])
    text = (tmp_path / "mine.md").read_text()
    assert ("SIMULATED" in text) == (says is not None)


def test_robustness_rows_of_a_run_are_in_the_card(run, tmp_path):
    (run / "robustness.csv").write_text("test,share\nidentity,1.0\n")
    try:
        main([str(run), "--out", str(tmp_path), *LIGHT])
    finally:
        (run / "robustness.csv").unlink()
    assert "## Robustness\n\n| test | share |" in (tmp_path / "small-001-alex.md").read_text()


def test_the_cards_python_runs(files, monkeypatch):
    """What the card tells to type, typed in the folder that it is in."""
    monkeypatch.chdir(files["card"].parent)
    blocks = files["card"].read_text().split("```python\n")[1:]
    assert len(blocks) == 4
    for block in blocks:
        code = block.split("```")[0].replace('net="alex"', 'net="alex", pnet_rand=True')  # else it would download one
        reference, decoded = torch.rand(2, 1, 3, 64, 64)
        if "onnxruntime" in code:
            reference, decoded = reference.numpy(), decoded.numpy()
        with torch.random.fork_rng(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the package lpips
            exec(code, {"reference": reference, "decoded": decoded, "distorted": decoded})


def test_loading_draws_no_random_numbers(safetensors_file):
    """They would be thrown away, take most of the time, and move the caller's generator on."""
    before = torch.get_rng_state()
    load(safetensors_file)
    assert torch.equal(torch.get_rng_state(), before)


def test_load_is_offered_at_the_top():
    assert package_metric.load is load


def test_a_second_export_is_refused_and_force_replaces_the_whole(tmp_path):
    write(tiny(seed=1), tmp_path, CARD, ["safetensors", "torch-export"])
    with pytest.raises(InputError, match="mine.md is there already; replace this export with --force"):
        write(tiny(seed=2), tmp_path, CARD, ["safetensors"])
    write(tiny(seed=2), tmp_path, CARD, ["safetensors"], force=True)
    assert {path.name for path in tmp_path.iterdir()} == {"mine.safetensors", "mine.md"}  # no other metric's .pt2


def test_an_unfinished_export_is_finished_by_the_same_command(run, tmp_path):
    """The card is written last: without it nothing has to be forced."""
    main([str(run), "--out", str(tmp_path), *LIGHT])
    card = tmp_path / "small-001-alex.md"
    card.unlink()
    assert main([str(run), "--out", str(tmp_path), *LIGHT]) == 0
    assert card.exists()


def test_ctrl_c_leaves_the_former_export_as_it_was(tmp_path, monkeypatch):
    """All is made and checked before anything is replaced."""
    write(tiny(seed=1), tmp_path, CARD, ["safetensors", "torch-export"])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(portable, "to_torch_export", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write(tiny(seed=2), tmp_path, CARD, ["safetensors", "torch-export"], force=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_file_in_the_folders_place_is_named(run, tmp_path):
    place = tmp_path / "file"
    place.touch()
    with pytest.raises(InputError, match="file: a file, not a folder; name another folder with --out"):
        main([str(run), "--out", str(place), *LIGHT])


def test_an_unknown_format_is_named(tmp_path):
    with pytest.raises(InputError, match="unknown format 'tflite'; there are: safetensors, lpips"):
        write(tiny(), tmp_path, CARD, ["tflite"])


def test_export_without_a_run_says_how_to_get_one(make_study):
    with pytest.raises(InputError, match="eyetune train"):
        main([str(make_study().root)])


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("heads.safetensors", b"x", "heads.safetensors: not a readable file of weights"),
        ("run.json", b"{}", "no readable run.json"),
        ("run.json", b"[", "no readable run.json"),
        ("scores.csv", b"junk", "scores.csv: not the table of a run"),
        ("scores.csv", b"", "scores.csv: not readable"),
        ("calibration.json", b"{", "calibration.json: not readable"),
    ],
)
def test_a_damaged_run_is_named(run, tmp_path, file, content, message):
    for path in run.glob("*.*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / file).write_bytes(content)
    with pytest.raises(InputError, match=message):
        main([str(tmp_path), *LIGHT])


def test_usable_as_a_loss(files, make_study):
    """Descending the metric's gradient from noise brings an image closer to the reference."""
    metric = load(files["safetensors"])
    study = make_study()
    reference = torch.tensor(study.image(study.stimuli["sha256"].iloc[0])).permute(2, 0, 1)[None] / 255
    noise = 0.2 * torch.randn(reference.shape, generator=torch.Generator().manual_seed(1))
    image = (reference + noise).clamp(0, 1).requires_grad_()
    optimiser = torch.optim.Adam([image], lr=0.01)
    start = metric(reference, image).item()
    for _ in range(30):
        optimiser.zero_grad()
        metric(reference, image).sum().backward()
        optimiser.step()
        with torch.no_grad():
            image.clamp_(0, 1)
    assert metric(reference, image).item() < 0.5 * start


def rewritten(source: Path, target: Path, state=None, **changes):
    """`source` with other tensors or another description, its hashes as before."""
    with safetensors.safe_open(source, framework="pt") as file:
        header = file.metadata()
    description = json.loads(header["eyetune"])
    if changes:
        header["eyetune"] = json.dumps(description | changes)
    tensors = safetensors.torch.load_file(source)
    target.write_bytes(safetensors.torch.save(tensors | (state or {}), metadata=header))
    return target


@pytest.mark.parametrize("keep", [0, 1, 4, 8, 100, 0.001, 0.5, -100, -1])
def test_a_truncated_file_is_refused(safetensors_file, tmp_path, keep):
    data = safetensors_file.read_bytes()
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])
    with pytest.raises(InputError, match="cut.safetensors: not a readable safetensors file"):
        load(cut)


def test_altered_weights_and_an_altered_description_are_refused(safetensors_file, tmp_path):
    data = safetensors_file.read_bytes()
    altered = tmp_path / "altered.safetensors"
    altered.write_bytes(data[:-4] + b"\x00\x00\x80\x3f")
    with pytest.raises(InputError, match="damaged: its weights are not those that its description promises"):
        load(altered)
    rewritten(safetensors_file, altered, card=CARD | {"votes": "3 human votes"})
    for read in (load, describe):
        with pytest.raises(InputError, match="damaged: its description is not what was written"):
            read(altered)


def test_a_newer_or_older_format_is_refused(safetensors_file, tmp_path):
    for version, way_out in ((3, "update eyetune"), (1, "export the run again"), ("x", "update eyetune")):
        path = rewritten(safetensors_file, tmp_path / "other.safetensors", version=version)
        with pytest.raises(InputError, match=f"format version {version}; this eyetune knows version 2: {way_out}"):
            load(path)


class Opens:
    """Unpickled, it writes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_pickle_is_refused_and_its_code_does_not_run(tmp_path):
    trap = tmp_path / "trap"
    for name, content in (
        ("raw.pkl", pickle.dumps(Opens(trap))),
        ("long.safetensors", struct.pack("<Q", 20) + pickle.dumps(Opens(trap))),
    ):
        (tmp_path / name).write_bytes(content)
    torch.save({"heads.0": Opens(trap)}, tmp_path / "model.pth")
    torch.save({"heads.0": torch.zeros(1)}, tmp_path / "plain.pt")
    for name in ("raw.pkl", "long.safetensors", "model.pth", "plain.pt"):
        with pytest.raises(InputError, match=f"{name}: not a readable safetensors file"):
            load(tmp_path / name)
    assert not trap.exists()
    with (tmp_path / "raw.pkl").open("rb") as file:
        pickle.load(file).close()
    assert trap.exists()  # the trap was one


def test_other_peoples_files_are_refused(tmp_path):
    safetensors.torch.save_file({"x": torch.zeros(1)}, tmp_path / "foreign")
    safetensors.torch.save_file({"x": torch.zeros(1)}, tmp_path / "json", metadata={"eyetune": "[1]"})
    safetensors.torch.save_file({"x": torch.zeros(1)}, tmp_path / "garbage", metadata={"eyetune": "{"})
    with zipfile.ZipFile(tmp_path / "zip", "w") as archive:
        archive.writestr("a", "b")
    (tmp_path / "folder").mkdir()
    for name, message in (
        ("foreign", "not a metric that eyetune export wrote"),
        ("json", "not a metric that eyetune export wrote"),
        ("garbage", "not a readable safetensors file"),
        ("zip", "not a readable safetensors file"),
        ("folder", "a folder, not a file"),
        ("absent", "no such file"),
    ):
        with pytest.raises(InputError, match=f"{name}: {message}"):
            load(tmp_path / name)


def test_the_exports_other_files_are_no_safetensors(files):
    for kind in ("lpips", "torch-export", "onnx", "card"):
        with pytest.raises(InputError, match="not a readable safetensors file"):
            load(files[kind])


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("heads.0", -0.01, "heads.0 has weights below 0"),
        ("heads.2", float("nan"), "heads.2 has values that are not finite"),
        ("heads.4", float("inf"), "heads.4 has values that are not finite"),
        ("backbone.features.0.weight", float("nan"), "features.0.weight has values that are not finite"),
    ],
)
def test_weights_that_are_no_metrics_are_refused(tmp_path, key, value, message):
    metric = lpips("alex")
    metric.state_dict()[key].view(-1)[5] = value
    save(metric, tmp_path / "bad.safetensors", CARD)
    with pytest.raises(InputError, match=message):
        load(tmp_path / "bad.safetensors")


def test_weights_of_another_trunk_are_refused(tmp_path):
    metric = lpips("alex")
    description = exported.describe_metric(metric, CARD) | {"backbone": "vgg"}
    (tmp_path / "vgg.safetensors").write_bytes(exported.to_bytes(metric, description))
    with pytest.raises(InputError, match="do not fit the trunk 'vgg'"):
        load(tmp_path / "vgg.safetensors")
    with pytest.raises(InputError, match="do not fit the trunk 'tiny'"):
        load(tmp_path / "vgg.safetensors", backbone=Tiny())


def test_a_table_can_be_read_back_from_the_description(files):
    scores = pd.DataFrame(describe(files["safetensors"])["card"]["scores"])
    assert {"metric", "two_afc", "low", "high", "voters"} <= set(scores.columns)
    assert describe(files["safetensors"])["card"]["settings"]["backbone"] == "alex"


def test_the_lpips_file_says_that_votes_were_simulated():
    """By the name of an empty tensor, which the package passes over."""
    metric = lpips("alex")
    state = torch.load(io.BytesIO(lpips_state.to_bytes(metric, "simulated")), weights_only=True)
    assert "votes.SIMULATED" in state
    assert not any("votes" in key for key in torch.load(io.BytesIO(lpips_state.to_bytes(metric)), weights_only=True))
    x, y = torch.rand(2, 1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    theirs = lpips_state.distances(lpips_state.to_bytes(metric, "simulated"), metric)
    assert torch.allclose(theirs(x, y), metric(x, y), rtol=1e-4)
