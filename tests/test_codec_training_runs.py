"""`eyetune codec train`: a run's folder, going on with it, and what is refused in one line."""

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch
from conftest import photograph
from PIL import Image
from safetensors.torch import load_file
from threadpoolctl import threadpool_limits

import codec
from codec.checkpoint import training_record
from codec.train import check_batch
from codec.train import main as train
from codec.training.fit import Fit
from codec.training.validation import reconstruct
from metric.exporting.exported import describe, save
from metric.network.backbones import Backbone
from metric.network.model import PerceptualMetric
from study.errors import InputError

WATCHED = Path(__file__).resolve().parent / "watched_training.py"
SCRIPT = Path(__file__).resolve().parent.parent / "codec" / "train.py"
SMALL = ["--channels", "4", "6", "--crop", "32", "--batch", "2", "--validations", "2"]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with threadpool_limits(1):
        yield


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for k in range(3):
        Image.fromarray(photograph(k, 50)).save(folder / f"{k}.png")
    return str(folder)


def weights(run: Path | str) -> dict[str, torch.Tensor]:
    return load_file(Path(run) / "codec.safetensors")


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_a_run_leaves_a_codec_that_says_how_it_was_made(photos, capsys):
    assert train([photos, *SMALL, "--steps", "4", "--lambda", "0.01", "0.1", "--notice", "research use only"]) == 0
    said = capsys.readouterr().out
    run = Path("runs/codec-001-mbt2018-mean")
    assert "2 photographs, 1 held out" in said and "level 1: bits_per_pixel" in said
    made = codec.load(run / "codec.safetensors")
    assert made.config.lambdas == (0.01, 0.1) and made.positions == 1.0
    record = training_record(run / "codec.safetensors")
    assert record["notice"] == "research use only" and record["steps_done"] == 4 and record["recipe"]["seed"] == 1
    log = pd.read_csv(run / "log.csv")
    validation = log[log["set"] == "validation"]
    assert list(zip(validation["step"], validation["level"], strict=True)) == [(2, 0), (2, 1), (4, 0), (4, 1)]
    assert set(log[log["set"] == "training"]["step"]) == {1, 2, 3, 4}
    settings = json.loads((run / "run.json").read_text())["settings"]
    assert settings["photographs"] == 2 and len(settings["photographs_sha256"]) == 64
    assert settings["distortion"] == {"mse": 1.0}


@pytest.mark.parametrize("half", [[], ["--half"]])
def test_the_reported_numbers_are_those_of_the_file(photos, half):
    other = Path("other")
    other.mkdir()
    Image.fromarray(photograph(9, 45)).save(other / "x.png")
    train([photos, *SMALL, "--steps", "3", "--out", "run", "--validation", "other", *half])
    (row,) = training_record("run/codec.safetensors")["validation"]
    last = pd.read_csv("run/log.csv").query("set == 'validation'").iloc[-1]
    assert last["psnr"] == pytest.approx(row["psnr"], rel=1e-5)
    x = torch.from_numpy(photograph(9, 45)).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        x_hat, bits_per_pixel = reconstruct(codec.load("run/codec.safetensors"), x, 0.0)
    assert float(bits_per_pixel) == pytest.approx(row["bits_per_pixel"], rel=1e-6)
    assert float(-10 * torch.log10(((x - x_hat) ** 2).mean())) == pytest.approx(row["psnr"], rel=1e-6)


def test_the_mix_of_terms_is_what_is_trained_and_measured(photos):
    """With HiFiC's rate control and an exported metric, whose weights' hash the run keeps."""
    trunk = Backbone("squeeze", torch.Generator().manual_seed(1))
    save(PerceptualMetric(trunk, [torch.ones(c) for c in trunk.channels]), Path("ours.safetensors"), {"name": "x"})
    mix = ["--mae", "2", "--lpips", "alex:0.5", "--metric", "ours.safetensors:3", "--gan", "0.1"]
    train([photos, *SMALL, "--steps", "2", "--out", "run", "--target-bpp", "0.5", "--rate-weights", "4", "0.5", *mix])
    settings = json.loads(Path("run/run.json").read_text())["settings"]
    assert settings["distortion"] == {"mae": 2.0, "lpips-alex": 0.5, "metric-ours": 3.0}
    assert settings["metrics"] == [describe("ours.safetensors")["sha256"]]
    row = pd.read_csv("run/log.csv").query("set == 'training'").iloc[-1]
    distortion = 2 * row["mae"] + 0.5 * row["lpips-alex"] + 3 * row["metric-ours"] + 0.1 * row["gan"]
    assert row["loss"] == pytest.approx(0.5 * row["bits_per_pixel"] + distortion, rel=1e-4)  # below the target
    assert row["discriminator"] == pytest.approx(1.386, rel=0.1)  # 2 log 2: it knows nothing yet


def test_a_file_in_half_precision_has_every_weight_in_it(photos):
    train([photos, *SMALL, "--steps", "2", "--out", "run", "--half"])
    assert {value.dtype for name, value in weights("run").items() if not name.endswith("table")} == {torch.float16}
    codec.load("run/codec.safetensors")
    assert training_record("run/codec.safetensors")["half"]


def test_a_weight_that_float16_cannot_hold_is_refused_and_the_run_goes_on_without_half(photos, monkeypatch):
    """In place of an infinite weight; what was trained until then is not lost."""
    step = Fit.take_step

    def grows(self):
        measured = step(self)
        if self.step == 3:
            self.averaged.g_s[0].bias.data[1] = -70_000
        return measured

    arguments = [photos, *SMALL, "--steps", "4", "--validations", "4", "--out", "run"]
    message = "g_s.0.bias has a value of 70,000; float16 ends at 65,504: leave --half out"
    with monkeypatch.context() as patched, pytest.raises(InputError, match=message):
        patched.setattr(Fit, "take_step", grows)
        train([*arguments, "--half"])
    assert not Path("run/codec.safetensors").exists()
    kept = torch.load("run/checkpoint.pt", weights_only=True)
    assert kept["fit"]["step"] == 2
    train(arguments)
    train([*arguments[:-1], "whole"])
    assert same(weights("run"), weights("whole"))  # the numbers were of rounded copies


def test_after_ctrl_c_the_same_command_goes_on_to_the_same_codec(photos, capsys):
    """Bit for bit what an uninterrupted run gives."""
    command = [sys.executable, str(SCRIPT), photos, *SMALL, "--steps", "60", "--gan", "0.1", "--lambda", "0.01", "0.1"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [*command, "--out", "stopped"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    assert process.stderr
    said = ""
    while " 10/60" not in said:
        said += os.read(process.stderr.fileno(), 1000).decode()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and "interrupted" in errors and "Traceback" not in errors
    state = torch.load("stopped/checkpoint.pt", weights_only=True)
    assert 10 <= state["fit"]["step"] < 60 and not Path("stopped/codec.safetensors").exists()

    train([*command[2:], "--out", "stopped"])
    assert f"going on from step {state['fit']['step']}" in capsys.readouterr().out
    train([*command[2:], "--out", "whole"])
    assert same(weights("stopped"), weights("whole"))
    logs = [pd.read_csv(f"{run}/log.csv").query("set == 'validation'") for run in ("stopped", "whole")]
    logs = [log.drop(columns="seconds").reset_index(drop=True) for log in logs]
    pd.testing.assert_frame_equal(*logs)


def test_a_full_disk_leaves_the_former_checkpoint_and_the_same_command_goes_on(photos, monkeypatch):
    """A limit on file sizes stands in for a full disk: it fails the same calls."""
    arguments = [photos, *SMALL, "--steps", "6", "--validations", "6"]
    train([*arguments, "--out", "whole"])
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    step = Fit.take_step

    def fills(self):
        if self.step == 3:
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limit[1]))
        return step(self)

    try:
        with monkeypatch.context() as patched, pytest.raises(OSError) as error:
            patched.setattr(Fit, "take_step", fills)
            train([*arguments, "--out", "full"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, ignored)
    assert error.value.errno == errno.EFBIG and str(error.value.filename).endswith("checkpoint.pt")
    assert torch.load("full/checkpoint.pt", weights_only=True)["fit"]["step"] == 3
    assert not list(Path("full").glob(".*"))
    train([*arguments, "--out", "full"])
    assert same(weights("full"), weights("whole"))


def test_no_checkpoint_holds_weights_that_are_no_numbers(photos, monkeypatch):
    """Such a run stops with the last good checkpoint, from which it can go on."""
    step = Fit.take_step

    def spoils(self):
        measured = step(self)
        if self.step == 4:
            self.codec.g_a[0].bias.data[0] = float("nan")
        return measured

    with monkeypatch.context() as patched, pytest.raises(InputError, match="step 4: a weight is not a finite number"):
        patched.setattr(Fit, "take_step", spoils)
        train([photos, *SMALL, "--steps", "6", "--validations", "6", "--out", "run"])
    assert torch.load("run/checkpoint.pt", weights_only=True)["fit"]["step"] == 3
    train([photos, *SMALL, "--steps", "6", "--validations", "6", "--out", "run"])


def test_a_finished_run_is_left_alone_and_without_out_another_begins(photos, capsys):
    arguments = [photos, *SMALL, "--steps", "1"]
    train([*arguments, "--out", "run"])
    before = (Path("run") / "codec.safetensors").stat().st_mtime_ns
    assert train([*arguments, "--out", "run"]) == 0
    assert "this run is finished" in capsys.readouterr().out
    assert (Path("run") / "codec.safetensors").stat().st_mtime_ns == before
    train(arguments)
    train(arguments)
    (Path("runs") / "codec-002-mbt2018-mean" / "codec.safetensors").unlink()
    train(arguments)
    assert sorted(path.name for path in Path("runs").iterdir()) == ["codec-001-mbt2018-mean", "codec-002-mbt2018-mean"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--seed", "2"], "begun with seed 1, not 2"),
        (["--mae", "1"], "begun with distortion mse 1.0, not none"),
        (["--crop", "48"], "begun with crop 32, not 48"),
        (["--lambda", "0.2"], r"begun with lambdas \[0.013\], not \[0.2\]"),
    ],
)
def test_a_run_does_not_go_on_with_other_settings(photos, change, message):
    train([photos, *SMALL, "--steps", "1", "--out", "run"])
    with pytest.raises(InputError, match=message) as error:
        train([photos, *SMALL, "--steps", "1", "--out", "run", *change])
    assert "\n" not in str(error.value) and "another --out" in str(error.value)


def test_a_run_does_not_go_on_with_other_photographs(photos):
    train([photos, *SMALL, "--steps", "1", "--out", "run"])
    Image.fromarray(photograph(8, 50)).save(Path(photos) / "1.png")
    with pytest.raises(InputError, match="begun with (photographs|held_out)_sha256"):
        train([photos, *SMALL, "--steps", "1", "--out", "run"])


def test_a_codec_can_begin_where_another_ended(photos):
    """With the shape of the other; gain levels begin anew where there are others."""
    train([photos, *SMALL, "--steps", "1", "--out", "first"])
    rate = ["--learning-rate", "1e-30", "--ema", "0", "--crop", "32"]
    train([photos, "--start", "first/codec.safetensors", "--steps", "1", "--out", "second", *rate])
    assert same(weights("first"), weights("second"))
    assert json.loads(Path("second/run.json").read_text())["settings"]["start"]
    levels = ["--lambda", "0.01", "0.1"]
    train([photos, "--start", "first/codec.safetensors", "--steps", "1", "--out", "third", *rate, *levels])
    third = weights("third")
    assert third.pop("rate.log_gain").shape == (2, 6) and third.pop("rate.log_inverse").shape == (2, 6)
    assert same(weights("first"), third)
    with pytest.raises(InputError, match="mbt2018-mean with channels 4 6 and context none; leave --system"):
        train([photos, "--start", "first/codec.safetensors", "--channels", "4", "8", "--crop", "32"])
    with pytest.raises(InputError, match="has several rates"):
        train([photos, "--start", "third/codec.safetensors", "--target-bpp", "1", "--crop", "32"])


def test_minutes_are_a_budget_too(photos):
    began = time.monotonic()
    train([photos, *SMALL, "--minutes", "0.01", "--out", "run"])
    assert time.monotonic() - began > 0.6
    log = pd.read_csv("run/log.csv")
    assert log["seconds"].max() >= 0.6 and (log["set"] == "validation").sum() >= 1
    assert 0 < log["learning_rate"].min() < 1e-4


def test_tensorboard_has_the_reconstructions(photos):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train([photos, *SMALL, "--steps", "2", "--out", "run", "--tensorboard", "--lambda", "0.01", "0.1"])
    events = EventAccumulator("run/tensorboard").Reload()
    (name,) = events.Tags()["images"]
    image = events.Images(name)[-1]
    assert (image.width, image.height) == (3 * 50, 50)  # original, level 0, level 1
    assert "validation/level 1/psnr" in events.Tags()["scalars"]


def test_two_processes_share_a_batch_and_end_with_one_codec(photos):
    """With torchrun: the first alone writes and prints; both end with the same weights, near those of one process.

    Their batches are the parts of its batch, bit for bit. Their noise is another, so of the weights, the
    discriminator's too, the direction is compared in which they have gone: to 0.99, where the gradients of one process
    alone would give 0.98.
    """
    arguments = [photos, *SMALL, "--batch", "8", "--held-out", "1", "--lambda", "0.01", "0.1", "--gan", "0.1"]
    arguments += ["--steps", "6", "--learning-rate", "0.01"]
    shared = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    seen: dict[str, list[dict]] = {}
    for run, command, count in (("one", [sys.executable], 1), ("two", shared, 2)):
        Path(f"{run}-seen").mkdir()
        finished = subprocess.run(
            [*command, str(WATCHED), f"{run}-seen", *arguments, "--out", run],
            capture_output=True,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            check=False,
        )
        assert finished.returncode == 0, finished.stderr
        assert finished.stdout.count("6 steps in") == 1
        seen[run] = [torch.load(f"{run}-seen/process-{k}.pt") for k in range(count)]
    (one,), two = seen["one"], seen["two"]
    assert [len(process["batches"]) for process in (one, *two)] == [6, 6, 6]
    for step, (images, levels) in enumerate(one["batches"]):
        for process in (0, 1):
            mine, my_levels = two[process]["batches"][step]
            assert torch.equal(mine, images[process::2]) and torch.equal(my_levels, levels[process::2])
    for part in ("codec", "discriminator"):
        assert same(two[0]["start"][part], one["start"][part])
        assert same(two[0]["end"][part], two[1]["end"][part])
        assert torch.cosine_similarity(way(one, part), way(two[0], part), dim=0) > 0.99


def way(seen: dict, part: str) -> torch.Tensor:
    """From the first weights to the last, as one vector."""
    start, end = seen["start"][part], seen["end"][part]
    return torch.cat([(end[name] - start[name]).flatten() for name in start if start[name].is_floating_point()])


def test_a_batch_that_processes_cannot_share_evenly_is_refused():
    check_batch(8, 1)
    check_batch(8, 4)
    for batch, count in ((3, 2), (1, 2), (8, 3)):
        with pytest.raises(InputError, match=f"--batch {batch}: must be a multiple of {count}"):
            check_batch(batch, count)


def test_photographs_that_are_left_out_are_named(photos, capsys):
    (Path(photos) / "text.png").write_text("not a picture")
    Image.fromarray(photograph(1, 20)).save(Path(photos) / "small.png")
    train([photos, *SMALL, "--steps", "1"])
    said = capsys.readouterr().err
    assert "left out: text.png: not an image that can be read" in said
    assert "left out: small.png: 20 x 20 pixels, smaller than the crop of 32" in said


def test_folders_without_photographs_are_refused_in_a_line(photos):
    empty = Path("empty")
    empty.mkdir()
    cases = {
        "empty: no photograph that can be used;": ["empty"],
        "nowhere: no such folder": ["nowhere"],
        r"empty: no photograph that can be used; a crop is 1 x 1": [photos, "--validation", "empty"],
        r"no photograph that can be used \(0.png: 50 x 50 pixels": [photos, "--crop", "64"],
        "0.png is in .* too": [photos, "--validation", photos],
    }
    for message, arguments in cases.items():
        with pytest.raises(InputError, match=message) as error:
            train([*SMALL, *arguments])
        assert "\n" not in str(error.value)
    (empty / "text.png").write_text("not a picture")
    with pytest.raises(InputError, match=r"\(text.png: not an image that can be read\)"):
        train(["empty", *SMALL])
    assert not Path("runs").exists()


def test_a_folder_of_something_else_is_not_written_into(photos):
    with pytest.raises(InputError, match="there is something else"):
        train([photos, *SMALL, "--out", photos])


def test_a_damaged_checkpoint_is_named(photos, monkeypatch):
    train([photos, *SMALL, "--steps", "2", "--out", "run"])
    Path("run/codec.safetensors").unlink()
    Path("run/checkpoint.pt").write_bytes(Path("run/checkpoint.pt").read_bytes()[:1000])
    with pytest.raises(InputError, match="checkpoint.pt is damaged; delete it"):
        train([photos, *SMALL, "--steps", "2", "--out", "run"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--system", "jpeg"], "--system jpeg: no such system; there are: bmshj2018"),
        (["--context", "masked"], "mbt2018-mean has no context 'masked'"),
        (["--lambda", "0"], "--lambda 0.0: must be more than 0"),
        (["--lambda", "0.1", "0.01"], "--lambda 0.1 0.01: from the smallest"),
        (["--lambda", "0.1", "--target-bpp", "1"], "takes the place of --lambda"),
        (["--rate-weights", "1", "2"], "--rate-weights is of --target-bpp"),
        (["--mse", "nan"], "--mse nan: must be more than 0"),
        (["--gan", "-1"], "--gan -1.0: must be more than 0"),
        (["--crop", "40"], "--crop 40: must be a multiple of 16"),
        (["--ms-ssim", "1"], "ms-ssim needs images of at least 161 pixels a side; crops: 32 x 32"),
        (["--lpips", "alex"], "--lpips alex: a weight, more than 0, stands after a colon"),
        (["--lpips", "resnet:1"], "--lpips resnet:1: no such network; there are: alex, vgg, squeeze"),
        (["--metric", "nowhere.safetensors:1"], "nowhere.safetensors: no such file"),
        (["--metric", "photos/0.png:1"], "0.png: not a readable safetensors file"),
        (["--start", "photos/0.png"], "0.png: not a codec"),
        (["--steps", "0"], "--steps 0: must be 1 or more"),
        (["--minutes", "nan"], "--minutes nan: must be more than 0"),
        (["--ema", "1"], "--ema 1.0: must be from 0 to less than 1"),
        (["--downscale", "2"], "--downscale 2.0: must be more than 0, at most 1"),
        (["--milestones", "0.5", "1.5"], "--milestones 0.5 1.5: must be between 0 and 1"),
    ],
)
def test_bad_options_are_refused_in_a_line(photos, options, message):
    with pytest.raises(InputError, match=message) as error:
        train([photos, *SMALL, *options])
    assert "\n" not in str(error.value) and not Path("runs").exists()


def test_tensorboard_is_asked_for_by_name_where_it_is_missing(photos, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(InputError, match=r"pip install 'eyetune\[train\]'"):
        train([photos, *SMALL, "--steps", "1", "--tensorboard"])
