"""Training heads on anything that people answered: features once, splits, ratings, calibration, runs done again."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import photograph
from scipy.stats import norm
from test_metric_training import FEW, vote, voted

from metric.data.judgments import LADDERS, RATINGS, SAME_DIFFERENT, from_study, images_of, keyed
from metric.export import main as export
from metric.export import read_run
from metric.exporting.exported import describe
from metric.measures import lpips
from metric.network.backbones import Backbone
from metric.network.weights import load_backbone
from metric.pairs import over_references, pairs_of
from metric.score import main as score
from metric.train import main as train
from metric.training import heads
from metric.training.calibrate import calibrate
from metric.training.fit import LPIPS, Fit, Recipe
from metric.training.pooled import pooled_differences
from metric.training.rating_pairs import rated_comparisons
from metric.training.splits import folds_of, joined
from study import tables
from study.errors import InputError
from study.images import encode_png
from study.records import Judgment


def distorted_of(data) -> pd.DataFrame:
    """One row a distorted image of the comparisons."""
    pairs = pairs_of(data.comparisons)
    source = data.comparisons.drop_duplicates("reference").set_index("reference")["source"]
    return pairs.assign(
        id=[f"p{k}" for k in range(len(pairs))], source=source.reindex(pairs["reference"]).to_numpy(), part=""
    )


def test_no_image_goes_twice_through_the_trunk_and_none_has_a_gradient(make_study, monkeypatch):
    """Defect 6 of lpips 0.1.4: it runs the reference twice and asks for gradients of the images."""
    study = make_study(photographs=4)
    seen = []
    forward = Backbone.forward

    def counting(self, images):
        assert not torch.is_grad_enabled() and not images.requires_grad
        seen.extend(images.flatten(1).sum(dim=1).tolist())
        return forward(self, images)

    monkeypatch.setattr(Backbone, "forward", counting)
    pairs = pairs_of(keyed(study))
    pooled_differences(images_of(study), pairs, load_backbone("alex"))
    shown = {key for column in pairs.columns for key in pairs[column]}
    again = (pairs["reference"] == pairs["distorted"]).sum()  # a sentinel shows the reference itself
    assert len(seen) == len(shown) + again


def test_batches_of_many_references_give_what_single_pairs_give(make_study, monkeypatch):
    """Small images many at once, a reference with more versions than fit, and two sizes."""
    monkeypatch.setattr("metric.pairs.BATCH_PIXELS", 5 * 64 * 64)
    small, large = make_study("small"), make_study("large", size=96)
    data = images_of(small)
    both = [images_of(study) for study in (small, large)]
    keys = {key: one for one, study in zip(both, (small, large), strict=True) for key in study.stimuli["sha256"]}
    data = replace(data, image=lambda key: keys[key].image(key))
    pairs = pairs_of(pd.concat([keyed(small), keyed(large)]))
    metric = lpips("alex")
    found = over_references(data, pairs, metric.features, lambda r, d: metric.distance(r, metric.features(d)), "test")
    for row, value in zip(pairs.itertuples(), found.tolist(), strict=True):
        x, y = (torch.tensor(data.image(key)).permute(2, 0, 1)[None] / 255 for key in (row.reference, row.distorted))
        assert value == pytest.approx(float(metric(x, y)), rel=1e-4, abs=1e-6)


def test_calibration_is_fitted_to_held_out_distances(make_study):
    study = voted(make_study(photographs=4), votes=9)
    train([str(study.root), *FEW])
    run = study.runs_folder / "001-alex"
    written = json.loads((run / "calibration.json").read_text())
    data = from_study(study)
    held_out = pd.read_parquet(run / "held_out.parquet").set_index("triplet")
    expected, missing = calibrate(data, held_out, {})
    assert written == expected and not missing
    assert 0 < written["preference"]["slope"] and written["preference"]["votes"] == 252
    assert written["jnd"] is None


def test_same_different_answers_give_the_jnd(make_study):
    """Observers see a difference beyond a known distance by LPIPS; one JND is that distance, in the metric's units."""
    data = from_study(voted(make_study(photographs=6)))
    table = distorted_of(data)
    fold = folds_of(data, 2, 1)
    backbone = load_backbone("alex")
    metric = lpips("alex")
    distance = over_references(
        data,
        table[["reference", "distorted"]],
        metric.features,
        lambda r, d: metric.distance(r, metric.features(d)),
        "",
    ).numpy()
    threshold = float(np.median(distance))
    seen = np.round(20 * norm.cdf(np.log(distance / threshold) / 0.3))
    looked = table.assign(different=seen, votes=20.0)[SAME_DIFFERENT]
    data = replace(data, same_different=looked)
    asked = heads.asked(data, fold, backbone, reliability=True)
    fit = Fit(asked.votes, torch.cat(list(metric.heads)).detach(), Recipe(1))
    held_out = heads.held_out(fit, data, asked)
    calibration, missing = calibrate(
        data, held_out.comparisons, {"same_different": held_out.pairs["same_different"].numpy()}
    )
    assert not missing
    assert calibration["jnd"]["threshold"] == pytest.approx(threshold, rel=0.1)


def test_ratings_become_preferences():
    """Thurstone's share; every image's votes are spread over its pairs; none is compared with another photograph's."""
    rows = [(f"r{k}", "p", f"x{k // 5}", f"d{k}", float(k % 5), 10.0, "") for k in range(10)]
    table = pd.DataFrame(rows, columns=RATINGS)
    made = rated_comparisons(table)
    spread = table["rating"].std(ddof=0)
    rating = table.set_index("distorted")["rating"]
    share = made["prefer_b"] / made["votes"]
    assert np.allclose(share, norm.cdf((rating[made["b"]].to_numpy() - rating[made["a"]].to_numpy()) / spread))
    assert len(made) == 2 * 10 and made["votes"].sum() == pytest.approx(100 / 2)
    assert made.groupby("reference").size().tolist() == [10, 10]
    with pytest.raises(InputError, match="rating r3: nan is not a finite number"):
        rated_comparisons(table.assign(rating=table["rating"].where(table["id"] != "r3")))


def test_ratings_alone_train_heads(make_study):
    """Without a comparison, held-out distances of every rated image come out."""
    data = from_study(voted(make_study(photographs=6)))
    table = distorted_of(data)
    nothing = replace(data, comparisons=data.comparisons.iloc[:0], answers=data.answers.iloc[:0])
    asked = heads.asked(
        replace(nothing, ratings=table.assign(rating=np.arange(len(table)) % 7.0, votes=5.0)[RATINGS]),
        folds_of(replace(nothing, ratings=table), 3, 1), load_backbone("alex"), True,
    )  # fmt: skip
    fit = Fit(asked.votes, torch.full((1152,), 0.05), Recipe(30, **LPIPS | {"loss": "binomial"}))
    fit.run(30)
    held_out = heads.held_out(fit, nothing, asked)
    assert held_out.comparisons.empty
    assert held_out.pairs["ratings"].isfinite().all() and len(held_out.pairs["ratings"]) == len(table)


def test_one_rating_an_image_is_enough(make_study):
    """Spread over its pairs it is less than one vote a pair: the link's start takes such counts."""
    data = from_study(voted(make_study(photographs=4)))
    table = distorted_of(data)
    nothing = replace(data, comparisons=data.comparisons.iloc[:0], answers=data.answers.iloc[:0])
    rated = replace(nothing, ratings=table.assign(rating=np.arange(len(table)) % 7.0, votes=1.0)[RATINGS])
    assert rated_comparisons(rated.ratings)["votes"].max() < 1
    asked = heads.asked(rated, folds_of(rated, 2, 1), load_backbone("alex"), True)
    fit = Fit(asked.votes, torch.full((1152,), 0.05), Recipe(5))
    fit.run(5)
    assert fit.heads.isfinite().all()


def test_features_of_a_changed_trunk_are_computed_again(make_study, tmp_path, monkeypatch):
    """The same weights in other code are another trunk: for what is kept, for a repeated run and for an export."""
    path = tmp_path / "mine.py"
    code = "def make():\n    return lambda x: [x[..., 1:, :] - {} * x[..., :-1, :]]\n"
    path.write_text(code.format(1))
    study = voted(make_study())
    train([str(study.root), *FEW, "--backbone", f"{path}:make"])
    (run,) = study.runs_folder.glob("001-*")
    pairs = pairs_of(keyed(study))
    first = pooled_differences(images_of(study), pairs, load_backbone(f"{path}:make"))
    path.write_text(code.format(0.5))
    assert not torch.equal(first, pooled_differences(images_of(study), pairs, load_backbone(f"{path}:make")))
    with pytest.raises(InputError, match="cannot be repeated: the trunk's name or code differ"):
        train(["--repeat", str(run)])
    with pytest.raises(InputError, match=r"trained on the trunk mine.make-.*; .* is now mine.make-"):
        read_run(run)


def test_learning_from_simulated_votes_is_said_also_where_people_validate(make_study, tmp_path, capsys):
    """In the card, in the file, and in the table of a score by people's votes."""
    study = voted(make_study("one"), simulator=json.dumps({"metric": "psnr"}))
    people = peoples_votes(tmp_path / "people")
    train([str(study.root), *FEW, "--validation", str(people)])
    assert "validation: 15 human votes" in capsys.readouterr().out
    (run,) = study.runs_folder.glob("001-*")
    assert set(pd.read_csv(run / "scores.csv")["voters"]) == {"human"}
    export([str(run), "--formats", "safetensors"])
    (card,), (path,) = ((run / "export").glob(f"*.{end}") for end in ("md", "safetensors"))
    assert "The votes were SIMULATED" in card.read_text() and "simulated-votes" in card.read_text()
    assert "They stand on other votes: 15 human votes" in card.read_text()
    assert describe(path)["card"]["voters"] == "simulated"
    score([str(people), "--metrics", str(path), "--out", str(tmp_path / "out")])
    assert "it learned from SIMULATED votes" in " ".join(capsys.readouterr().out.split())


def peoples_votes(folder: Path) -> Path:
    """A table of three comparisons of photographs of their own, five votes each, all said to be people's."""
    folder.mkdir()
    lines = ["reference,a,b,prefer_b,votes,simulated"]
    for k in range(3):
        random, original = np.random.default_rng(k), photograph(50 + k, 64)
        for name, noise in (("r", 0), ("a", 30), ("b", 10)):
            noisy = np.clip(original + random.normal(0, noise, original.shape), 0, 255).astype(np.uint8)
            (folder / f"{name}{k}.png").write_bytes(encode_png(noisy))
        lines.append(f"r{k}.png,a{k}.png,b{k}.png,{3 + k % 2},5,false")
    (folder / "votes.csv").write_text("\n".join(lines) + "\n")
    return folder / "votes.csv"


def test_a_run_is_repeated_from_itself(make_study, capsys):
    study = voted(make_study())
    train([str(study.root), *FEW])
    run = study.runs_folder / "001-alex"
    assert train(["--repeat", str(run)]) == 0
    assert f"the weights are those of {run}, bit for bit" in capsys.readouterr().out
    assert (study.runs_folder / "002-alex" / "scores.csv").exists()
    tables.write(vote(study, prefer=lambda stimulus: -stimulus.bits_per_pixel), study.judgments_path, Judgment)
    with pytest.raises(InputError, match="cannot be repeated: the votes differ from what it was trained with"):
        train(["--repeat", str(run)])


def test_validation_data_must_be_other_photographs(make_study):
    study = voted(make_study())
    other = voted(make_study("other"))
    with pytest.raises(InputError, match="photograph photo0.png is in the training data small and in the validation"):
        train([str(study.root), *FEW, "--validation", str(other.root)])
    data = from_study(study)
    renamed = replace(data, comparisons=data.comparisons.assign(source="new " + data.comparisons["source"]))
    with pytest.raises(InputError, match="is in the validation data and, as .* in the training data"):
        joined(data, renamed)


def test_another_photograph_s_votes_are_the_validation(make_study):
    """Nothing learned from them: all comparisons of the validation data are reported, and only those."""
    study = voted(make_study("one", photographs=5))
    data = replace(from_study(study), ladders=pd.DataFrame(columns=LADDERS))
    last = data.comparisons["source"] == "photo4.png"
    parts = [replace(data, comparisons=data.comparisons[rows].reset_index(drop=True)) for rows in (~last, last)]
    both, fold = joined(*parts)
    assert fold == {"photo4.png": 0} | {f"photo{k}.png": -1 for k in range(4)}
    asked = heads.asked(both, fold, load_backbone("alex"), True)
    fit = Fit(asked.votes, torch.full((1152,), 0.05), Recipe(20))
    fit.run(20)
    held_out = heads.held_out(fit, both, asked).comparisons
    assert fit.heads.shape[0] == 1
    assert set(held_out.index) == set(parts[1].comparisons["id"])
    assert held_out["distance_a"].notna().all()


def test_any_trunk_starts_from_uniform_heads(make_study, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "def gradients():\n    return lambda x: [x[..., 1:, :] - x[..., :-1, :], x[..., 1:] - x[..., :-1]]\n"
    )
    study = voted(make_study())
    train([str(study.root), *FEW, "--backbone", f"{path}:gradients"])
    (run,) = study.runs_folder.glob("001-*")
    settings = json.loads((run / "run.json").read_text())["settings"]
    assert settings["start"] == "uniform" and settings["mode"] == "linear"
    with pytest.raises(InputError, match="no published heads"):
        train([str(study.root), *FEW, "--backbone", f"{path}:gradients", "--start", "lpips"])


def test_tensorboard_is_told_of_losses(make_study):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    study = voted(make_study())
    train([str(study.root), *FEW, "--tensorboard"])
    events = EventAccumulator(str(study.runs_folder / "001-alex" / "tensorboard"))
    events.Reload()
    assert {"loss", "held_out_loss", "lapse", "slope"} <= set(events.Tags()["scalars"])
    assert events.Scalars("held_out_loss")[0].step == 1


def test_processes_share_the_features(make_study, tmp_path):
    """Two processes under torchrun give the features that one gives; the first trains."""
    study = voted(make_study())
    script = Path(__file__).resolve().parent.parent / "metric" / "train.py"
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "29511"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*launch, str(script), str(study.root), *FEW], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("trained (held out)") >= 1
    (cache,) = (study.runs_folder / "cache").glob("pooled-*.safetensors")
    from safetensors.torch import load_file

    shared = load_file(cache)["pooled"]
    cache.unlink()
    alone = pooled_differences(images_of(study), pairs_of(from_study(study).comparisons), load_backbone("alex"))
    assert torch.allclose(shared, alone, rtol=1e-4, atol=1e-7)
