"""`eyetune plan`: counts and money by hand, widths against simulated studies, and what eyetune distort makes of it."""

import math
import re
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pandas as pd
import pytest
from conftest import RATES, photograph
from PIL import Image
from scipy.special import expit
from scipy.stats import binom, binomtest, t
from test_analysis_report import gather, judge, keep_triplets, store
from test_design_pairs import crop, stimulus

import mturk.cost
from analysis import analyze
from analysis.asked import asked_now, conditions_of
from analysis.bradley_terry import fit
from analysis.effort import sessions
from analysis.expected_scores import scores_so_far
from analysis.plan import main
from analysis.power import power, smallest_preference, votes_to_tell
from distortions import distort
from study import tables
from study.command import run
from study.design.conditions import condition_of
from study.design.designs import ladder, random_pairs, same_rate
from study.design.widths import plan_votes
from study.folder import Study
from study.records import Stimulus, Triplet
from study.schedule import plan_session
from study.settings import Session, parse_settings, write_settings


def said(capsys, *options) -> str:
    assert main([str(option) for option in options]) == 0
    return capsys.readouterr().out


def mean_width(printed: str) -> float:
    return float(re.search(r"^mean width: +([\d.]+) log-odds", printed, re.M)[1])


def widths(printed: str) -> dict[str, float]:
    """The last column of the table, by condition."""
    rows = printed.split("\n\n")[1].splitlines()[1:]
    return {row[: row.index("  ")]: float(row.split()[-1].replace("-", "nan")) for row in rows}


def put_into(study: Study, printed: str) -> None:
    """Follow what is said to be put into study.toml."""
    values = study.settings.model_dump(exclude_none=True)
    lines = printed[printed.index("study.toml:") :].splitlines()
    section = ""
    for line in (line[14:].strip() for line in lines):
        if line.startswith("["):
            section = line.strip("[]")
        elif re.fullmatch(r"\w+ = \d+", line):
            values[section][line.split()[0]] = int(line.split()[-1])
        else:
            break
    write_settings(parse_settings(values, "test"), study.settings_path)


@pytest.mark.parametrize(("preference", "votes"), [(0.6, 210), (0.65, 97), (0.7, 54), (0.75, 35)])
def test_known_figures_of_the_exact_test(preference, votes):
    """80 % power at .05, and never less with more votes."""
    assert votes_to_tell(preference) == votes
    assert power(votes - 1, preference) < 0.8 <= power(np.arange(votes, 4 * votes), preference).min()


@pytest.mark.parametrize("votes", [1, 5, 6, 7, 20, 33, 100])
def test_power_is_that_of_scipys_exact_test(votes):
    """The chance of the outcomes that `binomtest` gives a p of at most .05."""
    told = [k for k in range(votes + 1) if binomtest(k, votes).pvalue <= 0.05]
    for preference in (0.5, 0.62, 0.9, 1.0):
        assert power(votes, preference) == pytest.approx(sum(binom.pmf(told, votes, preference)), abs=1e-12)
    share = smallest_preference(votes)
    assert math.isnan(share) if votes < 6 else sum(binom.pmf(told, votes, share)) == pytest.approx(0.8)


def test_a_study_as_it_is_by_hand(make_study, capsys):
    """3 photographs, 7 tests each, 3 votes: 63 votes in 13 sessions of 5, with a sentinel, a repeat and a practice."""
    study = make_study()
    before = {path: path.read_bytes() for path in study.root.rglob("*") if path.is_file()}
    printed = said(capsys, study.root)
    assert "conditions:   6, all linked" in printed
    assert "21 test triplets, 3 votes on each: 63 votes" in printed
    assert "13 of 8 questions (5 test, 1 sentinel, 1 repeat, 1 practice)" in printed
    assert f"{13 * 8 * 8 / 3600:.1f} hours of observers, 1.1 minutes a session: 8.0 s a question, a guess" in printed
    assert "all taken as equal, so the widths are the LEAST they can be" in printed
    assert re.search(r"^jpeg @ 0.5 +9 +27 +\d\.\d\d$", printed, re.M)
    assert "one comparison, 3 votes: none, it takes 6" in printed
    assert "60 % 210, 65 % 97, 70 % 54, 75 % 35" in printed
    assert list(widths(printed)) == [f"{codec} @ {rate:g}" for codec in ("jpeg", "webp") for rate in RATES]
    assert said(capsys, study.root) == printed
    assert {path: path.read_bytes() for path in study.root.rglob("*") if path.is_file()} == before


def test_widths_of_two_conditions_by_hand_and_what_is_not_linked(make_study, capsys):
    """Three crops, 3 votes each: 9 votes with 1/4 of information on the difference, of which each score is half."""
    study = make_study()
    rate = study.stimuli.set_index("id")["target_bits_per_pixel"]
    study = keep_triplets(study, lambda table: (table["comparison"] == "codecs") & (rate[table["a"]] == 0.25).to_numpy()
                          & (table["kind"] == "test"))  # fmt: skip
    printed = said(capsys, study.root)
    assert "6 in 5 groups that are NOT LINKED" in printed and "only within one: jpeg @ 0.25, webp @ 0.25; " in printed
    by_hand = 2 * 1.959964 * math.sqrt(4 / 9) / 2
    assert widths(printed)["jpeg @ 0.25"] == widths(printed)["webp @ 0.25"] == pytest.approx(by_hand, abs=0.005)
    assert mean_width(printed) == pytest.approx(by_hand, abs=0.005)
    assert re.search(r"^jpeg @ 1 +0 +0 +-$", printed, re.M)
    assert "two conditions in all crops, 9 votes: 90.7 %" in printed  # 8 or 9 of 9


@pytest.mark.parametrize(
    "hits", [{}, {"reward_usd": "0.35", "batch": 12}, {"question": "form", "workers": {"masters": True}}]
)
def test_the_cost_is_the_one_of_eyetune_mturk_cost(make_study, capsys, hits):
    study = make_study(hits={"spending_cap_usd": "5.00"} | hits, recruiting={"reward_usd": "0.50"})
    mturk.cost.main([str(study.root), "--sessions", "13"])
    total, fees = re.search(r"^total: +\$([\d.]+), of which \$([\d.]+)", capsys.readouterr().out, re.M).groups()
    printed = said(capsys, study.root)
    assert f"${total} as HITs" in printed and f"of which ${fees} are MTurk's fees" in printed
    assert ("more than hits.spending_cap_usd, $5.00" in printed) == (float(total) > 5)
    assert "$6.50 outside MTurk at $0.50" in printed


def test_without_a_reward_nothing_is_paid(make_study, capsys):
    printed = said(capsys, make_study(hits={"reward_usd": "0.00"}).root)
    assert "nothing as HITs" in printed and "outside" not in printed
    assert "more than 10,000 sessions" in said(capsys, make_study("other").root, "--votes", 100_000)


@pytest.mark.parametrize("repeats", [0, 2])
def test_sessions_are_as_many_as_the_schedule_takes(repeats):
    """Also where some comparisons have votes already."""
    for comparisons, trials, each, done in (
        (1, 5, 3, 0),
        (7, 40, 2, 3),
        (41, 40, 5, 0),
        (40, 7, 3, 11),
        (95, 40, 2, 60),
    ):
        ids = [f"t{k}" for k in range(comparisons)]
        triplets = [Triplet(name, "r", "a", "b", "test", "", None, None) for name in ids]
        triplets += [Triplet(f"again {name}", "r", "a", "b", "repeat", "", None, name) for name in ids[::9]]
        session = Session(trials=trials, sentinels=0, repeats=repeats, practice=0, votes_per_triplet=each)
        shown = {name: (1, 0) for name in ids[:done]}
        needs = [each - sum(shown.get(name, (0, 0))) for name in ids]
        random, number = Random(1), 0
        while asked := plan_session(triplets, session, shown, random):
            number += 1
            for trial in asked:
                left, right = shown.get(trial.triplet, (0, 0))
                shown[trial.triplet] = (left + 1, right)
        assert number == sessions(needs, trials)


def test_during_gathering_what_is_still_to_come_is_planned(make_study, capsys):
    """People who answer in 2.5 s have voted twice on each; simulated votes are no people's."""
    study = make_study()
    store(study, gather(study, observers=2))
    printed = said(capsys, study.root)
    assert "42 human test votes; 21 are still to come" in printed and "sessions:     5 of" in printed
    assert "2.5 s a question, the median of 2 people so far" in printed
    assert "scores:       of 50 human votes" in printed and "LEAST" not in printed and "SIMULATED" not in printed
    store(study, gather(study, observers=2, simulated=True))
    printed = said(capsys, study.root)
    assert "42 SIMULATED test votes, none of which is a person's" in printed and "sessions:     13 of" in printed
    assert "scores:       of 50 SIMULATED votes, none from a person" in printed and "a guess until" in printed
    assert "12.0 s a question, as --seconds says" in said(capsys, study.root, "--seconds", 12)
    assert run(main, [str(study.root), "--voters", "human"]) == 2
    assert "no human votes" in capsys.readouterr().err


def simulated_widths(plan, scores: np.ndarray, session: int, seed: int) -> float:
    """The mean width of the report's intervals after a study in which every planned vote was given at random."""
    random = np.random.default_rng(seed)
    first, second = np.nonzero(np.triu(plan.votes))
    pairs = np.repeat(np.stack([first, second], axis=1), plan.votes[first, second].astype(int), axis=0)
    pairs = random.permutation(pairs)
    won = random.random(len(pairs)) < expit(scores[pairs[:, 0]] - scores[pairs[:, 1]])
    found = fit(
        np.where(won, pairs[:, 0], pairs[:, 1]), np.where(won, pairs[:, 1], pairs[:, 0]),
        np.arange(len(pairs)) // session, len(scores), seed, replicates=200,
    )  # fmt: skip
    return float(np.mean(found.high - found.low))


@pytest.mark.parametrize("design", [random_pairs, same_rate, ladder])
def test_the_reports_intervals_come_out_as_wide_as_planned(design):
    """Bradley-Terry intervals of simulated studies on the planned design, within their own standard error."""
    crops = [[stimulus(f"p{k}", "reference", None), *crop(f"p{k}", codecs=3, rates=3)] for k in range(6)]
    names = sorted(condition_of(s) for s in crops[0][1:])
    scores = np.random.default_rng(3).uniform(-1, 1, len(names))
    plan = plan_votes(crops, design, 6000, 20, dict(zip(names, scores, strict=True)), seed=1)
    assert plan.conditions == names
    studies = np.array([simulated_widths(plan, scores, 20, seed) for seed in range(20)])
    error = studies.std(ddof=1) / len(studies) ** 0.5
    assert abs(studies.mean() - plan.widths.mean()) < t.ppf(0.9995, len(studies) - 1) * error
    assert error < 0.02 * plan.widths.mean()  # or the line above would say little


@pytest.fixture
def photographs(tmp_path) -> Path:
    folder = tmp_path / "photographs"
    folder.mkdir()
    for k in range(4):
        Image.fromarray(photograph(k, 80)).save(folder / f"{k}.png")
    return folder


@pytest.mark.parametrize(("design", "votes"), [("same-rate", 62), ("random", 36), ("ladder", 300)])
def test_distort_makes_what_was_planned(tmp_path, photographs, capsys, design, votes):
    """With the settings that the plan proposes: the same pairs of conditions, and as many of them."""
    values = {
        "name": "study",
        "photographs": {"folder": str(photographs), "crop": 48},
        "rates": {"bits_per_pixel": [0.5, 1.5], "tolerance": 0.2},
        "codecs": [{"name": "jpeg"}, {"name": "webp"}],
        "triplets": {"sentinels": 3, "practice": 1, "design": design, "pairs": 4},
        "session": {"votes_per_triplet": 3},
    }
    (tmp_path / "study").mkdir()
    write_settings(parse_settings(values, "test"), tmp_path / "study" / "study.toml")
    study = Study(tmp_path / "study")
    assert distort.main([str(study.root), "--workers", "1"]) == 0
    capsys.readouterr()
    printed = said(capsys, study.root, "--votes", votes)
    comparisons, each, asked = map(int, re.search(r"(\d+) test triplets, (\d+) votes on each: (\d+)", printed).groups())
    assert comparisons * each == asked <= votes < asked + comparisons
    assert f"then:         eyetune distort {study.root} --force" in printed
    put_into(study, printed)
    assert distort.main([str(study.root), "--workers", "1", "--force"]) == 0
    made = Study(study.root)
    now = asked_now(made)
    assert (now.comparisons, now.votes_each) == (comparisons, each)
    capsys.readouterr()
    again = said(capsys, made.root)
    assert widths(again) == widths(printed) and mean_width(again) == mean_width(printed)
    rows = [re.findall(rf"^{re.escape(name)} .*$", text, re.M) for text in (printed, again) for name in widths(again)]
    assert rows[: len(rows) // 2] == rows[len(rows) // 2 :]


def test_designs_that_need_distances_are_planned_for_the_triplets_that_are_there(make_study, capsys):
    for name, triplets in {"a": {}, "b": {"design": "stratified", "metrics": ["psnr"]}, "c": {"design": "jnd"}}.items():
        study = make_study(name, triplets=triplets)
        printed = said(capsys, study.root, "--votes", 110)
        assert "planned for the triplets that are there" in printed and "21 test triplets, 5 votes on each" in printed
        assert "votes_per_triplet = 5" in printed and "random: " in printed and "pairs = " not in printed
        put_into(study, printed)
        assert widths(said(capsys, study.root)) == widths(printed)


def test_an_import_whose_crops_have_no_reference_is_planned_as_it_is(make_study, capsys):
    study = make_study()
    tables.write(study.stimuli.assign(crop_x=(study.stimuli["codec"] == "reference").astype(int)),
                 study.stimuli_path, Stimulus)  # fmt: skip
    printed = said(capsys, study.root, "--votes", 110)
    assert "21 test triplets, 5 votes on each" in printed and "random: no, " in printed and "no reference" in printed


def test_a_width_in_and_votes_out(make_study, capsys):
    """So many votes on each give it, and one fewer do not."""
    study = make_study()
    printed = said(capsys, study.root, "--width", 0.8)
    each = int(re.search(r"votes_per_triplet = (\d+)", printed)[1])
    assert mean_width(printed) <= 0.8
    put_into(study, printed.replace(f"= {each}", f"= {each - 1}"))
    assert mean_width(said(capsys, study.root)) > 0.8


def test_a_former_reports_scores_are_expected(make_study, capsys):
    """By condition; unequal scores make wider intervals, and whose votes they come from is said."""
    pilot, study = make_study("pilot"), make_study()
    store(pilot, gather(pilot, observers=12, simulated=True))
    assert analyze.main([str(pilot.root)]) == 0
    capsys.readouterr()
    report = pilot.report_folder / "bradley_terry.csv"
    equal, printed = said(capsys, study.root), said(capsys, study.root, "--scores", report)
    assert f"scores:       of {report}, from SIMULATED votes" in printed and "LEAST" not in printed
    assert all(widths(printed)[name] > narrow for name, narrow in widths(equal).items())
    table = pd.read_csv(report)
    score = table[table["scale"] == "conditions"].set_index("condition")["score"]
    assert re.search(rf"^webp @ 1 +6 +18 +{score['webp @ 1']:.2f} ", printed, re.M)
    table[table["condition"] != "webp @ 1"].to_csv(report)
    assert "1 conditions without votes there are taken as average" in said(capsys, study.root, "--scores", report)


def test_the_factor_of_the_studys_own_observers(make_study, capsys):
    """About 1 where votes are independent; twice that, exactly, where everybody says everything four times.

    Independent votes of 40 people tell a width with a standard error of 1 / sqrt(2 * 39) at most.
    """
    study, random, factors = make_study(), np.random.default_rng(1), []
    tests = study.triplets[study.triplets["kind"] == "test"]
    votes = [
        judge(row.id, f"p{person}", str(random.choice([row.a, row.b])), str(random.choice(["left", "right"])))
        for person in range(40)
        for row in tests.itertuples()
    ]
    for times in (1, 4):
        store(study, [replace(vote, id=f"{vote.id} {k}") for vote in votes for k in range(times)])
        factors.append(scores_so_far(study, "auto", conditions_of(study)).wider)
        assert f"{factors[-1]:.2f} times as wide as predicted" in said(capsys, study.root)
    assert abs(factors[0] - 1) < 2 / math.sqrt(2 * 39)
    assert factors[1] == pytest.approx(2 * factors[0], rel=1e-4)


def test_jnd_comparisons_have_power_and_no_scores(make_study, capsys):
    study = make_study()
    tests = study.triplets["kind"] == "test"
    table = study.triplets.assign(a=study.triplets["a"].where(~tests, study.triplets["reference"]))
    tables.write(table[table["kind"] != "repeat"], study.triplets_path, Triplet)
    printed = said(capsys, study.root)
    assert "6, none compared with another" in printed and "21 of them compare no two conditions" in printed
    assert "widths:       none" in printed
    assert "one comparison, 3 votes" in printed and "two conditions in all" not in printed
    # 3 comparisons of some conditions, 6 of others; 8 of 9 votes are told from half, or 14 of 18
    assert "a condition and the reference in all crops, 9 votes: 90.7 %; at most 18 votes: 82.3 %" in printed
    assert run(main, [str(study.root), "--width", "1"]) == 2


def without(study: Study, *names: str) -> Study:
    for name in names:
        (study.root / name).unlink()
    return study


def unknown(study: Study) -> Study:
    tables.write(study.stimuli.assign(codec="unknown"), study.stimuli_path, Stimulus)
    return study


@pytest.mark.parametrize(
    ("spoil", "options", "says"),
    [
        (lambda study: without(study, "stimuli.parquet", "triplets.parquet"), [], "eyetune distort"),
        (lambda study: without(study, "triplets.parquet"), [], "has no triplets yet; make them with: eyetune distort"),
        (lambda study: keep_triplets(study, lambda table: table["kind"] == "sentinel"), [], "no test triplets"),
        (unknown, [], "no stimulus's codec is known"),
        (None, ["--votes", "20"], "--votes 20: the 21 test triplets take a vote each at least"),
        (None, ["--votes", "0"], "--votes 0: must be from 1 to 100,000,000"),
        (None, ["--width", "0"], "--width 0: must be from 0.01 to 100"),
        (None, ["--width", "nan"], "--width nan: must be"),
        (None, ["--seconds", "0"], "--seconds 0: must be above 0"),
        (None, ["--scores", "nowhere.csv"], "--scores nowhere.csv: no such file"),
        (None, ["--voters", "simulated"], "no votes yet"),
    ],
)
def test_bad_input_is_one_line(make_study, capsys, spoil, options, says):
    study = make_study()
    if spoil:
        spoil(study)
    assert run(main, [str(study.root), *options]) == 2
    captured = capsys.readouterr()
    assert says in captured.err and captured.err.count("\n") == 1 and not captured.out


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a,b\n1,2\n", "no column scale"),
        ("", "not a readable CSV file"),
        ("scale,condition,score,group,one_sided,voters\nconditions,bpg @ 1,0,1,False,human\n", "none of this study's"),
        ("scale,condition,score,group,one_sided,voters\nconditions,jpeg @ 1,x,1,False,human\n", "no finite score"),
        (
            "scale,condition,score,group,one_sided,voters\n" + 2 * "conditions,jpeg @ 1,1,1,False,human\n",
            "stands twice",
        ),
    ],
)
def test_a_file_of_scores_that_is_none_is_refused(make_study, tmp_path, capsys, text, says):
    path = tmp_path / "scores.csv"
    path.write_text(text)
    assert run(main, [str(make_study().root), "--scores", str(path)]) == 2
    said_of_it = capsys.readouterr().err
    assert f"--scores {path}" in said_of_it and says in said_of_it and said_of_it.count("\n") == 1


def test_a_budget_that_links_nothing_is_refused_with_one_that_does(make_study, capsys):
    study = make_study(triplets={"design": "random", "pairs": 5})
    assert run(main, [str(study.root), "--votes", "17"]) == 2
    least = int(re.search(r"give at least (\d+) votes", capsys.readouterr().err)[1])
    assert "all linked" in said(capsys, study.root, "--votes", least)
    assert run(main, [str(study.root), "--votes", str(least - 1)]) == 2
