"""Simulated observers: what they answer, how they are marked, and how a run goes on after another."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from random import Random

import numpy as np
import pytest

from study import tables
from study.errors import InputError
from study.folder import Study
from study.records import Score
from study.tokens import sign
from study.votes import connect
from webapp.app import create_app
from webapp.observer_model import ObserverModel, Perception, choose, individual
from webapp.serve import serving
from webapp.simulate import ceiling, main

ROOT = Path(__file__).parents[1]


def score_mse(study: Study) -> Study:
    """The study with scores of `mse`, the mean squared error."""
    digests = study.stimuli.set_index("id")["sha256"]
    pixels = {identity: study.image(digest).astype(float) for identity, digest in digests.items()}

    def distance(reference: str, other: str) -> float:
        return float(((pixels[reference] - pixels[other]) ** 2).mean())

    scores = [
        Score(t.id, "mse", distance(t.reference, t.a), distance(t.reference, t.b)) for t in study.triplets.itertuples()
    ]
    tables.write(tables.frame(scores, Score), study.scores_path, Score)
    return study


@pytest.fixture
def scored(make_study):
    """`scored(name)`: a small study with scores of `mse`."""
    return lambda name="study", **options: score_mse(make_study(name, **options))


def simulate(study: Study, *options: str) -> None:
    assert main([str(study.root), "--metric", "mse", *options]) == 0


def answers(study: Study) -> list[tuple]:
    votes = study.all_judgments().sort_values(["simulator", "position"])
    return list(votes[["simulator", "position", "triplet", "chosen", "side"]].itertuples(index=False, name=None))


def model(**changes: float) -> ObserverModel:
    values = {"noise": 0.0, "lapse": 0.0, "side_bias": 0.0, "scale": 2.0} | changes
    return ObserverModel(metric="mse", seed=1, observer=0, **values)


def share_left(observer: ObserverModel, left: float, right: float, tries: int = 4000) -> float:
    random = Random(1)
    return sum(choose(observer, left, right, random) == "left" for _ in range(tries)) / tries


def test_the_observer_model_gives_its_equations_probabilities():
    """Phi((d_right - d_left)/(s noise) + bias/noise), lapses towards one half, ties tossed; +-.025 is 3 SE."""
    assert share_left(model(), 1.0, 2.0) == 1 and share_left(model(), 2.0, 1.0) == 0
    assert share_left(model(), 1.0, 1.0) == pytest.approx(0.5, abs=0.025)
    assert share_left(model(noise=0.5), 1.0, 2.0) == pytest.approx(0.8413, abs=0.025)  # Phi(1)
    assert share_left(model(noise=1.0, side_bias=1.0), 1.0, 1.0) == pytest.approx(0.8413, abs=0.025)
    assert share_left(model(lapse=0.2), 1.0, 2.0) == pytest.approx(0.9, abs=0.02)


def test_observers_differ_as_stated(scored):
    """Noise log-normal by .25, lapse by .5; the same number is the same observer."""
    perception = Perception(scored(), "mse")
    crowd = [individual(perception, n, 0.5, 0.03, 0.1, seed=4) for n in range(800)]
    assert np.std(np.log([o.noise for o in crowd])) == pytest.approx(0.25, rel=0.1)
    assert np.std(np.log([o.lapse for o in crowd])) == pytest.approx(0.5, rel=0.1)
    assert np.median([o.noise for o in crowd]) == pytest.approx(0.5, rel=0.05)
    assert {o.side_bias for o in crowd} == {0.1}
    assert crowd[7] == individual(perception, 7, 0.5, 0.03, 0.1, seed=4)


def test_every_vote_is_marked_and_the_metric_decides(scored, capsys):
    """Without noise and lapses every answer is the metric's own, so the ceiling is 1."""
    study = scored()
    simulate(study, "--observers", "3", "--noise", "0", "--lapse", "0")
    votes = study.all_judgments()
    assert len(votes) == 24 and votes["simulated"].all()
    described = [json.loads(text) for text in votes["simulator"].unique()]
    assert [d["observer"] for d in described] == [0, 1, 2]
    assert {d["metric"] for d in described} == {"mse"} and {d["seed"] for d in described} == {1}
    merged = votes.merge(study.triplets, left_on="triplet", right_on="id").merge(study.scores(), on="triplet")
    assert (merged["chosen"] == merged["a"].where(merged["distance_a"] < merged["distance_b"], merged["b"])).all()
    out = capsys.readouterr().out
    assert "24 SIMULATED votes by 3 observers" in out
    assert "mse scores 1.000 on its own 15 test votes" in out


def test_the_same_seed_gives_the_same_votes_also_in_two_runs(scored):
    """2 observers and then 4 in all are the 4 of one run, on a study that is alike; another seed answers otherwise."""
    one, two, other = scored("one"), scored("two"), scored("other")
    simulate(one, "--observers", "4")
    simulate(two, "--observers", "2")
    simulate(two, "--observers", "4")
    simulate(two, "--observers", "4")  # they are there: nothing is added
    simulate(other, "--observers", "4", "--seed", "2")
    assert answers(one) == answers(two)
    assert [a[1:] for a in answers(one)] != [a[1:] for a in answers(other)]
    assert one.all_judgments()["observer"].nunique() == 4


def test_the_ceiling_is_the_metrics_agreement_with_its_own_test_votes(scored):
    study = scored()
    simulate(study, "--observers", "5", "--noise", "2", "--lapse", "0.2")
    votes = study.all_judgments().merge(study.triplets, left_on="triplet", right_on="id").merge(study.scores())
    votes = votes[votes["kind"] == "test"]
    better = votes["a"].where(votes["distance_a"] < votes["distance_b"], votes["b"])
    score = (votes["chosen"] == better).groupby(votes["triplet"]).mean().mean()  # every triplet counts alike
    assert f"{score:.3f} on its own 25 test votes" in ceiling(study, "mse")


def test_a_full_study_stops_with_a_sentence(scored, capsys):
    """21 triplets times 3 votes in sessions of 5: 13 of 50 sessions."""
    study = scored()
    simulate(study, "--observers", "50")
    assert "13 of 50 sessions were needed" in capsys.readouterr().out
    simulate(study, "--observers", "50")
    assert "0 of 37 sessions" in capsys.readouterr().out
    simulate(study, "--observers", "1")
    assert "1 such observers have voted already" in capsys.readouterr().out


def test_it_votes_at_a_server_that_runs_already(scored, make_study):
    study = scored()
    with serving(create_app(study), study) as url:
        simulate(study, "--observers", "1", "--url", url.rstrip("/"))
    assert len(study.all_judgments()) == 8
    another = make_study("another")
    with serving(create_app(another), another) as url:
        with pytest.raises(InputError, match="shows another study"):
            simulate(study, "--observers", "2", "--url", url)
    with pytest.raises(InputError, match="does not answer"):
        simulate(study, "--observers", "2", "--url", url)
    with pytest.raises(InputError, match="must look like"):
        simulate(study, "--observers", "2", "--url", "localhost")


def test_an_interrupted_session_is_finished_first(scored):
    """Ctrl-C leaves an observer with open trials; the same command finishes them, as if it had never been stopped."""
    whole, stopped = scored("whole"), scored("stopped")
    simulate(whole, "--observers", "2")
    client = create_app(stopped).test_client()
    perception = Perception(stopped, "mse")
    key = (stopped.root / "secret.key").read_text()
    claim = individual(perception, 0, 0.5, 0.03, 0.0, 1).description()
    client.post("/join", data={"simulator": sign(key, "simulator", claim)})
    simulate(stopped, "--observers", "2")
    assert answers(whole) == answers(stopped)
    with connect(stopped.votes_path) as store:
        assert store.execute("SELECT count(*) FROM observers").fetchone()[0] == 2


def test_ctrl_c_keeps_the_votes_and_ends_with_130(scored):
    study = scored(session={"trials": 18, "sentinels": 0, "repeats": 0, "practice": 0, "votes_per_triplet": 500})
    command = [sys.executable, "-m", "eyetune", "simulate", str(study.root), "--observers", "9000", "--metric", "mse"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr
    line = ""
    while "votes=" not in line:  # the progress bar after the first observer
        line += os.read(process.stderr.fileno(), 1000).decode()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130 and "Traceback" not in errors
    assert len(study.all_judgments()) >= 18


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--observers", "0"], "--observers 0"),
        (["--observers", "1", "--noise", "-1"], "--noise"),
        (["--observers", "1", "--noise", "nan"], "--noise"),
        (["--observers", "1", "--lapse", "1.5"], "--lapse"),
        (["--observers", "1", "--side-bias", "inf"], "--side-bias"),
    ],
)
def test_bad_options_are_named(scored, options, message):
    with pytest.raises(InputError, match=message):
        simulate(scored(), *options)


def test_a_metric_without_scores_is_named_with_the_way_out(make_study):
    with pytest.raises(InputError, match=r"no psnr score of 27 of 27.*eyetune score"):
        Perception(make_study(), "psnr")
