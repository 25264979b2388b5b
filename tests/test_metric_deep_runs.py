"""`train --mode tune` and `scratch` on a study: what a run's folder holds, two processes, what is refused."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import safetensors.torch
import torch
from test_metric_training import voted
from threadpoolctl import threadpool_limits

from metric.export import read_run
from metric.network import weights
from metric.network.backbones import Backbone
from metric.network.weights import load_backbone
from metric.train import main as train
from study.errors import InputError, UnavailableError

FEW = ["--steps", "3", "--folds", "3", "--batch", "4", "--trunk-learning-rate", "1e-3"]


@pytest.fixture(autouse=True)
def small_and_offline(monkeypatch):
    """Threads cost more than they bring on images this small; weights that no package ships are not fetched."""

    def refuse(name):
        raise UnavailableError(f"{name}: no downloads in tests")

    monkeypatch.setattr(weights, "_from_torchvision", refuse)
    with threadpool_limits(1):
        yield


def tuned(study, *arguments) -> Path:
    """The folder of the run of `train` that `arguments` ask for."""
    assert train([str(study.root), *FEW, *arguments]) == 0
    return max(study.runs_folder.glob("0*"))


def test_tuning_changes_the_trunk_and_says_what_it_was_trained_on(make_study, capsys):
    """And the run's metric gives the held-out distances that are reported."""
    study = voted(make_study())
    run = tuned(study, "--mode", "tune", "--patience", "0", "--tensorboard")
    assert "trained without fold 0 of 3, the held-out photographs" in capsys.readouterr().out
    record = json.loads((run / "run.json").read_text())
    assert record["settings"]["mode"] == "tune"
    assert record["training"]["best_steps"] == [3]
    assert "without fold 0 of 3" in record["training"]["exported"]
    state = safetensors.torch.load_file(run / "metric.safetensors")
    for key, value in load_backbone("alex").state_dict().items():
        assert not torch.equal(state[f"backbone.{key}"], value)
    held_out = pd.read_parquet(run / "held_out.parquet")
    assert len(held_out) == 7 and set(held_out["fold"]) == {0}  # one of three photographs
    first = held_out.iloc[0]
    triplets = study.triplets.set_index("id").loc[first["triplet"]]
    digest = study.stimuli.set_index("id")["sha256"]
    images = [torch.tensor(study.image(digest[triplets[k]])).permute(2, 0, 1)[None] / 255 for k in ("reference", "a")]
    metric = read_run(run).requires_grad_(False)
    assert float(metric(*images)) == pytest.approx(first["distance_a"], rel=1e-4)
    assert list((run / "tensorboard").iterdir())


def test_linear_training_leaves_the_trunk_alone(make_study):
    study = voted(make_study())
    train([str(study.root), "--steps", "3", "--folds", "3"])
    run = max(study.runs_folder.glob("0*"))
    assert not (run / "metric.safetensors").exists()
    backbone, state = load_backbone("alex").state_dict(), read_run(run).backbone.state_dict()
    assert all(torch.equal(backbone[key], state[key]) for key in backbone)


def test_scratch_needs_no_weights_and_depends_on_the_seed(make_study, monkeypatch):
    def refuse(name, path):
        raise UnavailableError(f"{name}: no weights here")

    monkeypatch.setattr(weights, "_find", refuse)
    study = voted(make_study())
    runs = [tuned(study, "--mode", "scratch", "--seed", seed, "--crop", "40") for seed in ("1", "2")]
    states = [safetensors.torch.load_file(run / "metric.safetensors") for run in runs]
    assert states[0].keys() == {f"backbone.{key}" for key in Backbone("alex").state_dict()} | {
        f"heads.{k}" for k in range(5)
    }
    assert not torch.equal(states[0]["backbone.features.0.weight"], states[1]["backbone.features.0.weight"])


def test_two_processes_take_the_steps_of_one(make_study, tmp_path):
    """With torchrun: gradients are averaged over processes, and the first alone writes and prints."""
    arguments = [*FEW, "--mode", "tune", "--dropout", "0", "--patience", "0"]
    alone, together = voted(make_study("alone")), voted(make_study("together"))
    train([str(alone.root), *arguments])
    script = Path(__file__).resolve().parent.parent / "metric" / "train.py"
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script),
        str(together.root), *arguments,
    ]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    finished = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=environment)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.count("trained without fold 0 of 3") == 1
    assert [path.name for path in together.runs_folder.glob("0*")] == ["001-alex"]
    first, second = (
        safetensors.torch.load_file(study.runs_folder / "001-alex" / "metric.safetensors")
        for study in (alone, together)
    )
    start = load_backbone("alex").state_dict()
    for key, value in start.items():
        change = (first[f"backbone.{key}"] - value).norm()
        assert change > 0
        assert (first[f"backbone.{key}"] - second[f"backbone.{key}"]).norm() < 0.05 * change
    held_out = [pd.read_parquet(s.runs_folder / "001-alex" / "held_out.parquet") for s in (alone, together)]
    assert list(held_out[0]["distance_a"]) == pytest.approx(list(held_out[1]["distance_a"]), rel=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--mode", "tune", "--crop", "65"], "--crop 65: larger than .*png with 64 x 64 pixels; at most 64"),
        (["--mode", "tune", "--crop", "16"], "images of 16 x 16 pixels are too small: at least 31 a side"),
        (["--mode", "tune", "--trunk-learning-rate", "nan"], "--trunk-learning-rate nan: must be more than 0"),
        (["--mode", "tune", "--cross-validate", "--validation", "x"], "--cross-validate makes its own folds"),
        (["--precision", "bf16"], "--precision is of --mode tune and scratch"),
    ],
)
def test_bad_input_to_training_the_trunk(make_study, arguments, message):
    with pytest.raises(InputError, match=message):
        train([str(voted(make_study()).root), *FEW[:6], *arguments])
