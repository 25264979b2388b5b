"""`train`, `score` and `export` on a study: whose votes, what is reported, what is handed out, what is refused."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest
import safetensors.torch
import torch

from metric.data.judgments import from_study, images_of, keyed
from metric.export import main as export
from metric.exporting.exported import load
from metric.judging import judged
from metric.measures import lpips
from metric.network import weights
from metric.network.weights import load_backbone, load_lpips_heads
from metric.pairs import pairs_of
from metric.score import main as score
from metric.train import main as train
from metric.training import runs
from metric.training.pooled import pooled_differences
from study import tables
from study.errors import InputError, UnavailableError
from study.records import Judgment, Score
from study.votes import connect

LIGHT = ["--formats", "safetensors"]
FEW = ["--steps", "40", "--folds", "3"]


@pytest.fixture(autouse=True)
def no_downloads(monkeypatch):
    """Weights that no package ships are not fetched by a test."""

    def refuse(name):
        raise UnavailableError(f"{name}: no downloads in tests")

    monkeypatch.setattr(weights, "_from_torchvision", refuse)


def vote(study, prefer=lambda stimulus: stimulus.bits_per_pixel, votes=3, simulator=None, triplets=None, observer="o"):
    """Judgments that choose the stimulus with the larger `prefer`, all but each triplet's last vote."""
    stimuli = {row.id: row for row in study.stimuli.itertuples()}
    rows = []
    chosen_triplets = study.triplets if triplets is None else triplets
    for triplet in chosen_triplets[chosen_triplets["kind"] == "test"].itertuples():
        better, worse = sorted((triplet.a, triplet.b), key=lambda i: -prefer(stimuli[i]))
        for k in range(votes):
            chosen = worse if votes > 2 and k == votes - 1 else better
            side = "left" if len(rows) % 2 else "right"
            rows.append(
                Judgment(
                    f"{observer}-{triplet.id}-{k}", triplet.id, f"{observer}{k}", chosen, side, 0, "flip", None,
                    None, None, "2026-01-01T00:00:00Z", 0, 1.0, None, None, None, bool(simulator), simulator, None,
                )
            )  # fmt: skip
    return tables.frame(rows, Judgment)


def voted(study, **options):
    tables.write(vote(study, **options), study.judgments_path, Judgment)
    return study


def test_main_trains_scores_and_exports(make_study, capsys):
    study = voted(make_study(photographs=4))
    assert train([str(study.root), *FEW]) == 0
    printed = capsys.readouterr().out
    assert "84 human votes; 28 comparisons of 4 photographs" in printed
    assert "trained (held out)" in printed
    assert "ms-ssim: not computed: images of 64 x 64 pixels are too small" in printed
    run = study.runs_folder / "001-alex"
    held_out = pd.read_parquet(run / "held_out.parquet")
    sources = study.stimuli.set_index("id")["source"]
    references = study.triplets.set_index("id")["reference"]
    folds = held_out.groupby(sources[references[held_out["triplet"]]].to_numpy())["fold"].nunique()
    assert len(folds) == 4
    assert (folds == 1).all()  # a photograph is in one fold only

    assert export([str(study.root), *LIGHT]) == 0
    path = run / "export" / "small-001-alex.safetensors"
    metric = load(path)
    x, y = torch.rand(2, 2, 3, 64, 64)
    heads = safetensors.torch.load_file(run / "heads.safetensors")
    live = lpips("alex")
    for k, head in enumerate(live.heads):
        head.copy_(heads[f"heads.{k}"])
    assert torch.equal(metric(x, y), live(x, y))
    card = (run / "export" / "small-001-alex.md").read_text()
    assert "84 human votes" in card and "SIMULATED" not in card
    with pytest.raises(InputError, match="is there already"):
        export([str(study.root), *LIGHT])

    capsys.readouterr()
    assert score([str(study.root), "--metrics", str(path), "psnr"]) == 0
    printed = capsys.readouterr().out
    assert "small-001-alex:" in printed and "NOT held out" in printed
    other = voted(make_study("other", photographs=2))
    assert score([str(other.root), "--metrics", str(path)]) == 0
    assert "NOT held out" not in capsys.readouterr().out


def test_the_same_seed_gives_the_same_heads(make_study):
    studies = [voted(make_study(name)) for name in ("one", "two")]
    for study in studies:
        train([str(study.root), *FEW])
    heads = [safetensors.torch.load_file(s.runs_folder / "001-alex" / "heads.safetensors") for s in studies]
    assert all(torch.equal(heads[0][key], heads[1][key]) for key in heads[0])


def test_an_interrupted_run_goes_on_to_the_same_heads(make_study, monkeypatch):
    whole, broken = voted(make_study("whole")), voted(make_study("broken"))
    train([str(whole.root), *FEW])

    from metric import train as module

    kept = module.runs.write_checkpoint
    calls = []

    def interrupt(folder, state):
        kept(folder, state)
        calls.append(state["step"])
        if len(calls) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(module.runs, "write_checkpoint", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train([str(broken.root), *FEW])
    train([str(broken.root), *FEW])
    assert [path.name for path in broken.runs_folder.glob("0*")] == ["001-alex"]
    assert calls[3] == calls[2] + 2  # not from the beginning
    heads = [safetensors.torch.load_file(s.runs_folder / "001-alex" / "heads.safetensors") for s in (whole, broken)]
    assert all(torch.equal(heads[0][key], heads[1][key]) for key in heads[0])


def test_cached_features_are_used_and_right(make_study):
    study = make_study()
    backbone = load_backbone("alex")
    pairs = pairs_of(keyed(study))
    first = pooled_differences(images_of(study), pairs, backbone)
    (cache,) = (study.runs_folder / "cache").glob("*.safetensors")
    stamp = cache.stat().st_mtime_ns
    assert torch.equal(pooled_differences(images_of(study), pairs, backbone), first)
    assert cache.stat().st_mtime_ns == stamp
    row = pairs.iloc[3]
    x, y = (torch.tensor(study.image(row[k])).permute(2, 0, 1)[None] / 255 for k in ("reference", "distorted"))
    heads = torch.cat(load_lpips_heads("alex"))
    assert float(first[3, 0] @ heads) == pytest.approx(float(lpips("alex")(x, y)), rel=1e-4)


def test_simulated_votes_are_marked_and_not_mixed(make_study, capsys):
    simulated = json.dumps({"metric": "psnr", "noise": 0.5})
    study = make_study()
    both = pd.concat([vote(study), vote(study, simulator=simulated, observer="s")])
    tables.write(both, study.judgments_path, Judgment)
    train([str(study.root), *FEW])
    assert "63 human votes (63 simulated votes left out)" in capsys.readouterr().out
    train([str(study.root), *FEW, "--voters", "simulated"])
    printed = capsys.readouterr().out
    assert "63 SIMULATED votes" in printed
    assert "psnr" in printed and "the ceiling of these votes" in printed
    export([str(study.root), *LIGHT])
    (card,) = (study.runs_folder / "002-alex" / "export").glob("*.md")
    assert "The votes were SIMULATED" in card.read_text()
    train([str(study.root), *FEW, "--voters", "all"])
    export([str(study.root), *LIGHT])
    (card,) = (study.runs_folder / "003-alex" / "export").glob("*.md")
    assert "mixed, as was asked for" in card.read_text().replace("**", "").replace("are mixed", "mixed")
    assert "No person has judged" not in card.read_text()


def test_inattentive_observers_are_left_out(make_study, capsys):
    """One who fails every sentinel teaches nothing."""
    study = make_study()
    sentinels = study.triplets[study.triplets["kind"] == "sentinel"]
    table = vote(study)
    failed = [
        row | {"id": f"x{k}", "triplet": t.id, "chosen": t.a if t.expected == t.b else t.b}
        for k, t in enumerate([*sentinels.itertuples()] * 2)
        for row in [table[table["observer"] == "o1"].iloc[0].to_dict()]
    ]
    tables.write(pd.concat([table, pd.DataFrame(failed)]), study.judgments_path, Judgment)
    train([str(study.root), *FEW])
    assert "1 inattentive observers left out" in capsys.readouterr().out


def test_two_afc_table_by_hand(make_study):
    """Votes choose the higher rate two times in three; a metric that agrees scores 2/3, its opposite 1/3, a tie 1/2."""
    study = voted(make_study())
    data = from_study(study)
    data.comparisons = data.comparisons[data.comparisons["part"] == "rates"]
    right = pd.DataFrame(
        {f"distance_{s}": -data.comparisons[f"rate_{s}"].to_numpy() for s in "ab"}, index=data.comparisons["id"]
    )
    rows = judged.table(data, {"right": right, "wrong": -right, "tie": right * 0})
    values = {row.name: row.score.value for row in rows}
    assert values["right"] == pytest.approx(2 / 3)
    assert values["wrong"] == pytest.approx(1 / 3)
    assert values["tie"] == 0.5
    assert values["two observers"] == pytest.approx(1 / 3)  # of 3 votes 2:1, 1 of 3 pairs agrees
    assert values["majority oracle"] == pytest.approx(2 / 3)


def test_runs_by_path_from_anywhere(make_study, tmp_path):
    study = voted(make_study())
    script = Path(__file__).resolve().parent.parent / "metric" / "train.py"
    command = [sys.executable, str(script), str(study.root), *FEW]
    finished = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    assert "trained (held out)" in finished.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--folds", "1"], "2 or more folds"),
        (["--backbone-weights", "absent.pth"], "absent.pth: no such file"),
        (["--voters", "simulated"], "has no simulated votes yet; gather them with: eyetune simulate"),
        (["--dropout", "1"], "--dropout 1.0: must be from 0 to less than 1"),
        (["--dropout", "nan"], "--dropout nan: must be"),
        (["--learning-rate", "nan"], "--learning-rate nan: must be more than 0"),
        (["--batch", "0"], "--batch 0: must be 1 or more"),
        (["--learning-rate", "1e30"], "by step .* not a finite number; try a --learning-rate smaller than 1e.30"),
        (["--patience", "-1"], "--patience -1: must be 0 or more"),
        (["--accumulate", "0"], "--accumulate 0: must be 1 or more"),
        (["--crop", "32"], "--crop is of --mode tune and scratch"),
        (["--steps", "-5"], "--steps -5: must be 1 or more"),
    ],
)
def test_bad_input_to_training(make_study, arguments, message):
    with pytest.raises(InputError, match=message):
        train([str(voted(make_study()).root), *FEW, *arguments])


def test_training_without_votes_says_how_to_get_them(make_study):
    with pytest.raises(InputError, match="eyetune serve"):
        train([str(make_study().root)])


@pytest.mark.parametrize("content", [b"", b"junk", b"PK\x03\x04"])
def test_a_damaged_checkpoint_is_named(make_study, content):
    study = voted(make_study())
    train([str(study.root), *FEW])
    run = study.runs_folder / "001-alex"
    (run / "scores.csv").unlink()  # as if it had been interrupted
    (run / "checkpoint.pt").write_bytes(content)
    with pytest.raises(InputError, match="checkpoint.pt is damaged; delete it"):
        train([str(study.root), *FEW])
    (run / "checkpoint.pt").unlink()
    train([str(study.root), *FEW])
    assert (run / "scores.csv").exists()


def test_a_damaged_unfinished_run_stands_in_nobodys_way(make_study):
    study = voted(make_study())
    (study.runs_folder / "007-alex").mkdir(parents=True)
    (study.runs_folder / "007-alex" / "run.json").write_text("")
    assert train([str(study.root), *FEW]) == 0
    assert (study.runs_folder / "008-alex" / "scores.csv").exists()


def test_an_unfinished_run_is_found_again_behind_others(tmp_path):
    settings = {"backbone": "alex", "seed": 1}
    first, resumed = runs.open_run(tmp_path, settings)
    assert (first.name, resumed) == ("001-alex", False)
    assert runs.open_run(tmp_path, settings | {"seed": 2})[0].name == "002-alex"
    assert runs.open_run(tmp_path, settings) == (first, True)
    (first / "scores.csv").write_text("")
    assert runs.open_run(tmp_path, settings)[0].name == "003-alex"


def test_runs_that_begin_at_once_get_a_folder_each(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        opened = list(pool.map(lambda seed: runs.open_run(tmp_path, {"backbone": "alex", "seed": seed})[0], range(8)))
    assert len(set(opened)) == 8
    assert [runs.read_settings(folder)["settings"]["seed"] for folder in opened] == list(range(8))


def test_a_repeated_run_takes_another_place_and_no_other_option(make_study, tmp_path, capsys):
    study = voted(make_study())
    train([str(study.root), *FEW])
    run = str(study.runs_folder / "001-alex")
    assert train(["--repeat", run, "--out", str(tmp_path / "again")]) == 0
    assert (tmp_path / "again" / "runs" / "001-alex" / "scores.csv").exists()
    with pytest.raises(SystemExit, match="2"):
        train(["--repeat", run, "--steps", "50"])
    assert "unrecognized arguments: --steps" in capsys.readouterr().err


def test_damaged_cached_features_are_computed_again(make_study):
    study = make_study()
    pairs = pairs_of(keyed(study))
    first = pooled_differences(images_of(study), pairs, load_backbone("alex"))
    (cache,) = (study.runs_folder / "cache").glob("*.safetensors")
    cache.write_bytes(cache.read_bytes()[:-9])
    assert torch.equal(pooled_differences(images_of(study), pairs, load_backbone("alex")), first)


def test_scores_can_be_had_before_the_first_vote(make_study, capsys):
    """Also where the page was opened already, so that an empty store is there; and by name once they are stored."""
    study = make_study()
    with connect(study.votes_path):
        pass
    assert score([str(study.root), "--metrics", "psnr"]) == 0
    assert "no votes yet" in capsys.readouterr().out
    other = study.scores().assign(metric="theirs:1")
    tables.write(pd.concat([study.scores(), other]), study.scores_path, Score)
    voted(study)
    assert score([str(study.root), "--metrics", "psnr", "theirs:1"]) == 0
    assert "theirs:1" in capsys.readouterr().out


def test_votes_that_are_no_test_votes_are_said_to_be_so(make_study):
    study = make_study()
    practice = study.triplets[study.triplets["kind"] == "training"].assign(kind="test")
    voted(study, triplets=practice)
    for verb in (score, train):
        with pytest.raises(InputError, match="none of the votes is an attentive observer's answer to a test triplet"):
            verb([str(study.root)])


def test_an_altered_image_stops_scoring(make_study):
    """A damaged stimulus is an error, not a metric that could not be computed."""
    study = voted(make_study())
    path = Path(study.images.place(study.stimuli["sha256"].iloc[3]))
    path.write_bytes(study.images.read(study.stimuli["sha256"].iloc[4]))
    for verb in (score, train):
        with pytest.raises(InputError, match="was altered"):
            verb([str(study.root)])


def test_tables_say_whose_votes_they_stand_on(make_study):
    study = voted(make_study(), simulator=json.dumps({"metric": "haarpsi"}))
    score([str(study.root), "--metrics", "psnr"])
    assert set(pd.read_csv(study.report_folder / "metrics.csv")["voters"]) == {"simulated"}


def test_unknown_metric_is_named(make_study):
    with pytest.raises(InputError, match="unknown metric 'lpips'; there are: dists, haarpsi, lpips-alex"):
        score([str(voted(make_study()).root), "--metrics", "lpips"])
