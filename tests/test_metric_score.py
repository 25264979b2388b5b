"""`eyetune score`: what is reported of metrics, on studies, tables and distances that came with the data."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import photograph
from shared_data import shared

from analysis.agreement import bootstrap_mean
from analysis.resampling import estimate, group_sums, replicate_means
from metric import score as module
from metric.data.judgments import Data, from_study
from metric.data.sources import open_data
from metric.judging import judged, robustness
from metric.judging.breakdown import breakdown, slices
from metric.judging.breakdown import text as slice_text
from metric.judging.distances import distances_of, store
from metric.judging.paired_tests import paired_tests
from metric.measures import Measure, measure
from metric.network import weights
from metric.pairs import pairs_of
from metric.score import baselines, main
from study import tables
from study.command import run
from study.errors import InputError, UnavailableError
from study.images import encode_png
from study.records import Judgment


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Weights that no package ships are not fetched; results of tables go below a folder of the test's own."""

    def refuse(name):
        raise UnavailableError(f"{name}: no downloads in tests")

    monkeypatch.setattr(weights, "_from_torchvision", refuse)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def vote(study, votes=3, simulator=None):
    """Each test triplet gets `votes` votes, for the stimulus with the higher rate but for the last of three."""
    rate = study.stimuli.set_index("id")["bits_per_pixel"]
    rows = []
    for triplet in study.triplets[study.triplets["kind"] == "test"].itertuples():
        better, worse = (triplet.a, triplet.b) if rate[triplet.a] > rate[triplet.b] else (triplet.b, triplet.a)
        for k in range(votes):
            chosen = worse if votes > 2 and k == votes - 1 else better
            side = "left" if len(rows) % 2 else "right"
            rows.append(
                Judgment(
                    f"{triplet.id}-{k}", triplet.id, f"o{k}", chosen, side, 0, "flip", None, None, None,
                    "2026-01-01T00:00:00Z", 0, 1.0, None, None, None, bool(simulator), simulator, None,
                )
            )  # fmt: skip
    tables.write(tables.frame(rows, Judgment), study.judgments_path, Judgment)
    return study


@pytest.fixture
def voted(make_study):
    return vote(make_study(photographs=4))


def by_rate(data: Data, sign: float = -1.0) -> pd.DataFrame:
    """Distances of a metric that knows the rates."""
    columns = {f"distance_{side}": sign * data.comparisons[f"rate_{side}"].to_numpy() for side in "ab"}
    return pd.DataFrame(columns, index=data.comparisons["id"])


def counted(name: str = "counted", before=None) -> tuple[Measure, list[int]]:
    """PSNR that counts its calls, and may do something before each."""
    psnr, calls = measure("psnr"), []

    def compare(reference, distorted):
        if before:
            before(len(calls))
        calls.append(len(distorted))
        return psnr.compare(reference, distorted)

    return Measure(name, psnr.prepare, compare), calls


# Intervals


def test_shared_draws_give_the_intervals_of_one_column():
    """Many columns at once have exactly the interval that `bootstrap_mean` gives each."""
    random = np.random.default_rng(3)
    groups, values = random.integers(0, 40, 300), random.random((300, 3))
    heavy = np.stack([np.ones(300), random.integers(1, 6, 300), np.ones(300)], axis=1)
    (replicates,) = replicate_means([group_sums(values, heavy, groups)], 40)
    for k in range(3):
        one = bootstrap_mean(values[:, k], groups, weights=heavy[:, k])
        many = estimate(group_sums(values, heavy, groups).mean()[k], replicates[:, k], 300)
        assert many == pytest.approx(one, rel=1e-12)


def test_values_that_are_missing_are_left_out():
    values = np.array([[1.0], [np.nan], [0.0], [0.5]])
    sums = group_sums(values, np.ones_like(values), np.array([0, 0, 1, 2]))
    assert sums.mean() == pytest.approx([0.5])
    (replicates,) = replicate_means([sums], 3)
    assert 0 <= np.nanmin(replicates) and np.nanmax(replicates) <= 1
    assert np.isnan(replicate_means([sums], 1)[0]).all()  # one photograph has no interval


# Rows


def test_rows_are_in_order_of_two_afc_and_ceilings_come_last(voted):
    data = from_study(voted)
    rows = judged.table(data, {"wrong": by_rate(data, 1), "tie": 0 * by_rate(data), "right": by_rate(data)})
    assert [row.name for row in rows] == ["right", "tie", "wrong", "two observers", "p² + q²", "majority oracle"]
    ceilings = {row.name: row.score.value for row in rows[3:]}
    assert ceilings["p² + q²"] > ceilings["two observers"]


def test_the_other_columns_by_hand(voted):
    """Of three votes two choose the higher rate: its chance is 2/3 everywhere once lapses are allowed for."""
    data = from_study(voted)
    data.comparisons = data.comparisons[data.comparisons["part"] == "rates"]
    (right, tie, *_) = judged.table(data, {"right": by_rate(data), "tie": 0 * by_rate(data)})
    assert right.more["majority"].value == 1
    best = (2 / 3) * np.log2(2 / 3) + (1 / 3) * np.log2(1 / 3)
    assert right.more["log_likelihood"].value == pytest.approx(best, abs=0.02)
    assert right.more["log_likelihood"].value <= best
    assert tie.more["log_likelihood"].value == pytest.approx(-1, abs=1e-6)
    assert right.more["calibration_error"].value < 0.08
    table = judged.frame([right, tie], data)
    assert {"majority_low", "log_likelihood_high", "calibration_error"} <= set(table.columns)
    assert not {"jnd_map", "srocc", "calibration_error_low"} & set(table.columns)  # no such data, no such column


def test_a_metric_without_a_number_is_an_error(voted):
    data = from_study(voted)
    with pytest.raises(InputError, match="holey gives no finite distance for 1 comparisons"):
        judged.table(data, {"holey": by_rate(data).iloc[1:]})


def test_the_text_fits_a_terminal(voted):
    data = from_study(voted)
    name = "a-study-with-a-long-name-001-alex:0123abcd"
    rows = judged.table(data, {name: by_rate(data)}, {name: "trained on these very comparisons: NOT held out"})
    parts = breakdown(data, {name: by_rate(data)}, "part")
    for text in (judged.text(rows), slice_text(parts, "part", rows)):
        assert max(map(len, text.splitlines())) <= 120


# Slices and tests


def test_slices_by_hand(voted):
    """4 photographs, each with 3 comparisons across codecs, and 2 within each of 2 codecs."""
    data = from_study(voted)
    sizes = {way: {name: int(mask.sum()) for name, mask in slices(data, way).items()} for way in ("part", "codec")}
    assert sizes == {"part": {"codecs": 12, "rates": 16}, "codec": {"jpeg": 20, "webp": 20}}
    assert {name: mask.sum() for name, mask in slices(data, "codecs").items()} == {
        "jpeg": 8, "jpeg - webp": 12, "webp": 8,
    }  # fmt: skip
    # Rates .25, .5 and 1 of one codec against another; .375 and .75 within one.
    assert [int(mask.sum()) for mask in slices(data, "rate").values()] == [4, 4 + 8, 8 + 4]


def test_slices_are_those_of_the_whole(voted):
    """A slice's 2AFC is that of its comparisons alone; the mean weighs parts, not comparisons."""
    data = from_study(voted)
    scores = {"right": by_rate(data), "wrong": by_rate(data, 1)}
    table = breakdown(data, scores, "part").set_index(["part", "metric"])
    for part in ("codecs", "rates"):
        alone = Data(**{**vars(data), "comparisons": data.comparisons[data.comparisons["part"] == part]})
        rows = {row.name: row for row in judged.table(alone, scores)}
        assert table.loc[(part, "right"), "two_afc"] == pytest.approx(rows["right"].score.value)
        assert table.loc[(part, "wrong"), "majority"] == pytest.approx(rows["wrong"].more["majority"].value)
    both = table["two_afc"].unstack("part")
    assert both["mean"].to_numpy() == pytest.approx(both[["codecs", "rates"]].mean(axis=1).to_numpy())
    assert (table["low"] <= table["two_afc"] + 1e-12).all() and (table["two_afc"] <= table["high"] + 1e-12).all()


def test_paired_tests(voted):
    data = from_study(voted)
    scores = {"right": by_rate(data), "same": 2 * by_rate(data), "wrong": by_rate(data, 1)}
    table = paired_tests(data, scores, ["right"], scores)
    assert list(table["against"]) == ["same", "wrong"]
    same, wrong = table.itertuples()
    assert (same.difference, same.p, same.p_holm) == (0, 1, 1)
    assert wrong.difference > 0
    assert wrong.p == 2 / 2**4  # 4 photographs, all of the same sign: 2 of 16 ways are as far from 0
    assert wrong.p_holm == 2 * wrong.p
    assert len(paired_tests(data, scores, scores, scores)) == 3  # each pair once
    picked = paired_tests(data, scores, ["right"], scores, best=True)
    assert picked["p_holm"].iloc[1] == 3 * wrong.p  # any of three pairs might have been the one


# Real votes


def test_bapps_validation_as_known_before():
    """design/metric.md's table: ceilings and LPIPS by six parts and their mean, to 0.1 points."""
    folder = shared("votes/bapps_val_tables")
    data = open_data(sorted(folder.glob("*.csv.gz")), votes_each=5)
    table = breakdown(data, data.distances, "part").pivot(index="metric", columns="part", values="two_afc")
    parts = ["traditional", "cnn", "superres", "deblur", "color", "frameinterp", "mean"]
    known = {
        "p² + q²": (80.8, 84.3, 73.6, 66.1, 68.8, 68.6, 73.7),
        "two observers": (76.1, 80.4, 67.0, 57.6, 61.0, 60.8, 67.2),
        "majority oracle": (85.8, 88.5, 80.1, 74.0, 76.4, 76.0, 80.1),
        "alex_vanilla": (77.5, 82.9, 71.2, 61.0, 65.2, 62.4, 70.0),
        "vgg_vanilla": (78.4, 83.7, 71.2, 61.0, 64.0, 62.2, 70.1),
        "vgg_shift_tolerant": (78.8, 83.5, 71.1, 61.2, 64.6, 63.0, 70.4),
    }
    assert len(data.comparisons) == 36_344
    for name, expected in known.items():
        assert 100 * table.loc[name, parts].to_numpy(float) == pytest.approx(expected, abs=0.1), name


# The command


def test_main_writes_tables_figures_and_a_page(voted, capsys):
    assert main([str(voted.root), "--metrics", "psnr", "ssim", "lpips-alex", "--robustness", "4"]) == 0
    printed = capsys.readouterr().out
    assert "84 human votes; 28 comparisons of 4 photographs; 24 ladders" not in printed  # 8 ladders, of 3 rates
    assert "84 human votes; 28 comparisons of 4 photographs; 8 ladders" in printed
    assert max(map(len, printed.replace(str(voted.root), "DIR").splitlines())) <= 120
    folder = voted.report_folder
    table = pd.read_csv(folder / "metrics.csv")
    assert list(table["metric"][-3:]) == ["two observers", "p² + q²", "majority oracle"]
    assert {"metric", "two_afc", "low", "high", "note", "voters", "ladder_tau"} <= set(table.columns)
    for name in ("part", "codec", "codecs", "rate"):
        assert (folder / f"metrics_by_{name}.csv").exists()
    assert len(pd.read_csv(folder / "metrics_differences.csv")) == 2  # the best against two others
    tested = pd.read_csv(folder / "robustness.csv").set_index(["metric", "test"])["value"]
    assert tested["lpips-alex", "identity"] == 0
    page = (folder / "metrics.html").read_text()
    assert "SIMULATED" not in page
    assert page.count("<svg") == 3
    assert not [part for part in ("<script", "src=", "@import", 'href="http') if part in page]
    main([str(voted.root), "--metrics", "psnr"])
    assert not (folder / "robustness.csv").exists()  # of the earlier scores
    assert not (folder / "metrics_differences.csv").exists()


def test_simulated_votes_are_marked_everywhere(make_study, capsys):
    study = vote(make_study(), simulator='{"metric": "psnr"}')
    main([str(study.root), "--metrics", "psnr", "ssim"])
    assert "the simulated observers' own metric" in capsys.readouterr().out
    folder = study.report_folder
    for name in ("metrics", "metrics_by_part", "metrics_by_rate", "metrics_differences"):
        assert set(pd.read_csv(folder / f"{name}.csv")["voters"]) == {"simulated"}
    page = (folder / "metrics.html").read_text()
    assert "No person gave any of them" in page
    assert page.count("SIMULATED votes.") > 3


def test_what_is_tested_can_be_chosen(voted, capsys):
    main([str(voted.root), "--metrics", "ssim", "psnr", "--baselines", "psnr", "haarpsi", "--by", "rate"])
    differences = pd.read_csv(voted.report_folder / "metrics_differences.csv")
    assert set(differences["against"]) <= {"psnr", "haarpsi"}
    printed = capsys.readouterr().out
    assert "2AFC % by bits per pixel" in printed and "2AFC % by kind" not in printed


def test_every_baseline_is_scored_or_accounted_for(make_study):
    scores, missing = baselines(from_study(vote(make_study(photographs=1))))
    assert set(scores) | set(missing) == set(module.BASELINES)
    assert {"psnr", "ssim", "lpips-alex", "lpips-vgg"} <= set(scores)
    assert "too small" in missing["ms-ssim"]


def test_a_study_without_votes_is_scored_and_says_so(make_study, capsys):
    study = make_study()
    assert main([str(study.root), "--metrics", "psnr"]) == 0
    assert "no votes yet" in capsys.readouterr().out
    assert len(study.scores()) == len(study.triplets)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["STUDY", "--metrics", "nonsense"], "unknown metric 'nonsense'; there are: dists, haarpsi"),
        (["STUDY", "--metrics", "psnr", "absent.safetensors"], "absent.safetensors: no such file"),
        (["STUDY", "--baselines", "nonsense"], "unknown metric 'nonsense'"),
        (["STUDY", "--metrics", "psnr", "--robustness", "1"], "must be 2 or more"),
        (["STUDY", "--metrics", "ms-ssim"], "too small"),
        (["EMPTY"], "no study"),
        (["absent"], "absent: no such f"),
    ],
)
def test_bad_input(voted, tmp_path, arguments, message):
    (tmp_path / "empty").mkdir()
    words = {"STUDY": str(voted.root), "EMPTY": str(tmp_path / "empty")}
    with pytest.raises(InputError, match=message) as failure:
        main([words.get(word, word) for word in arguments])
    assert "\n" not in str(failure.value)
    assert not (voted.report_folder / "metrics.csv").exists()


# What is kept


def test_distances_are_computed_once(voted):
    data = from_study(voted)
    pairs = pairs_of(data.comparisons)
    found, calls = counted()

    def again(rows=pairs, **options):
        return distances_of(data, found.name, lambda: found, rows, **options)

    first = again()
    assert sum(calls) == len(pairs)
    assert np.array_equal(again(pairs[::-1]), first[::-1])
    assert sum(calls) == len(pairs)
    assert np.array_equal(again(again=True), first)
    assert sum(calls) == 2 * len(pairs)
    store(data, "counted").write_bytes(b"junk")  # a damaged file is as good as none
    assert np.array_equal(again(), first)


def test_an_interrupted_run_goes_on_where_it_stopped(voted, monkeypatch):
    data = from_study(voted)
    pairs = pairs_of(data.comparisons)
    monkeypatch.setattr("metric.pairs.BATCH_PIXELS", 64 * 64)  # one image at a time

    def interrupt(calls):
        if calls == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        distances_of(data, "counted", lambda: counted(before=interrupt)[0], pairs)
    found, calls = counted()
    resumed = distances_of(data, "counted", lambda: found, pairs)
    assert sum(calls) == len(pairs) - 5
    assert np.array_equal(resumed, distances_of(data, "another", lambda: found, pairs))


def test_an_image_that_changed_is_scored_again(tmp_path):
    folder = ratings_table(tmp_path)
    before = score_ratings(folder)
    (folder / "d1.png").write_bytes(encode_png(photograph(77, 64)))
    after = score_ratings(folder)
    assert [k for k in range(4) if before[k] != after[k]] == [1]


def test_interrupted_by_hand_is_status_130(voted, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "score", interrupt)
    assert run(main, [str(voted.root), "--metrics", "psnr"]) == 130


# Ratings, same/different answers, ladders


def ratings_table(folder: Path) -> Path:
    """Four distorted versions of two photographs, noisier and noisier, with ratings that say so."""
    random = np.random.default_rng(5)
    lines = ["reference,distorted,rating,votes,source"]
    for k in range(4):
        original = photograph(k // 2, 64)
        (folder / f"r{k // 2}.png").write_bytes(encode_png(original))
        noisy = np.clip(original + random.normal(0, 5 + 8 * k, original.shape), 0, 255).astype(np.uint8)
        (folder / f"d{k}.png").write_bytes(encode_png(noisy))
        lines.append(f"r{k // 2}.png,d{k}.png,{5 - k},10,photo{k // 2}")
    (folder / "ratings.csv").write_text("\n".join(lines) + "\n")
    return folder


def score_ratings(folder: Path) -> list[float]:
    data = open_data(folder / "ratings.csv")
    return list(module.score_pairs(data, {"psnr": "psnr"})["ratings"]["psnr"])


def test_ratings_same_different_and_ladders(tmp_path, capsys):
    """Noise is rated in PSNR's order, seen where there is more of it, and ranked on its ladder: all columns are 1."""
    folder = ratings_table(tmp_path)
    (folder / "seen.csv").write_text(
        "reference,distorted,different,votes\nr0.png,d0.png,0,4\nr0.png,d1.png,0,4\nr1.png,d2.png,4,4\nr1.png,d3.png,4,4\n"
    )
    (folder / "ladders.csv").write_text(
        "reference,distorted,ladder,level\nr0.png,d0.png,one,9\nr0.png,d1.png,one,3\nr1.png,d2.png,two,5\nr1.png,d3.png,two,1\n"
    )
    files = [str(folder / f"{name}.csv") for name in ("ratings", "seen", "ladders")]
    assert main([*files, "--metrics", "psnr", "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "4 ratings; 2 ladders" in printed
    table = pd.read_csv(tmp_path / "out" / "report" / "metrics.csv").set_index("metric")
    assert list(table.index) == ["psnr"]
    row = table.loc["psnr"]
    assert [row[name] for name in ("jnd_map", "srocc", "krocc", "ladder_tau")] == pytest.approx([1, 1, 1, 1])
    assert np.isnan(row["two_afc"])
    assert "<svg" in (tmp_path / "out" / "report" / "metrics.html").read_text()


def test_a_metric_known_for_ratings_only_is_judged_by_them(tmp_path, capsys):
    """Comparisons stand beside, for which nothing can compute it; by default and by name."""
    folder = ratings_table(tmp_path)
    (folder / "votes.csv").write_text(
        "reference,a,b,prefer_b,votes,source\nr0.png,d0.png,d1.png,1,4,photo0\nr1.png,d2.png,d3.png,1,4,photo1\n"
    )
    lines = (folder / "ratings.csv").read_text().splitlines()
    given = [lines[0] + ",mine_distance", *(f"{line},{k}" for k, line in enumerate(lines[1:]))]
    (folder / "ratings.csv").write_text("\n".join(given) + "\n")
    files = [str(folder / "votes.csv"), str(folder / "ratings.csv"), "--out", str(tmp_path / "out")]
    for names, others in ([], {"psnr"}), (["--metrics", "mine", "psnr"], {"psnr"}), (["--metrics", "mine"], set()):
        assert main([*files, *names]) == 0
        table = pd.read_csv(tmp_path / "out" / "report" / "metrics.csv").set_index("metric")
        assert others <= set(table.index) and table.loc["mine", "srocc"] == pytest.approx(1)
        assert np.isnan(table.loc["mine", "two_afc"])
    capsys.readouterr()


def test_distances_that_came_with_the_data_need_no_images(tmp_path, capsys):
    path = tmp_path / "votes.csv"
    lines = ["id,judge,good_d0,good_d1,bad_d0,bad_d1,part"]
    random = np.random.default_rng(2)
    for k in range(60):
        share = random.integers(0, 6) / 5
        lines.append(f"{k},{share},{share},{1 - share},{random.random()},{random.random()},{'xy'[k % 2]}")
    path.write_text("\n".join(lines) + "\n")
    assert main([str(path), "--votes-each", "5"]) == 0
    printed = capsys.readouterr().out
    assert "psnr" in printed and "came with the data" in printed or "psnr" not in printed
    folder = Path("eyetune-votes/report")
    table = pd.read_csv(folder / "metrics.csv")
    assert list(table["metric"][:2]) == ["good", "bad"]
    assert table["two_afc"][0] == pytest.approx(table["two_afc"].iloc[-1])  # it knows the majority
    assert set(pd.read_csv(folder / "metrics_by_part.csv")["part"]) == {"x", "y", "mean"}
    with pytest.raises(InputError, match="no image"):
        main([str(path), "--votes-each", "5", "--metrics", "psnr"])
    with pytest.raises(UnavailableError, match="--robustness needs images"):
        main([str(path), "--votes-each", "5", "--robustness"])
    with pytest.raises(InputError, match="--votes-each"):
        main([str(path)])


# Robustness


def test_robustness_finds_what_is_wrong(voted):
    """A sum of signed differences is neither symmetric nor above 0, and not 0 for x, x if one adds 1."""
    data = from_study(voted)
    bad = Measure("bad", lambda x: x, lambda x, y: (x - y).mean(dim=(1, 2, 3)) + 1)
    worse = Measure("worse", lambda x: x, lambda x, y: (y**2 - x).mean(dim=(1, 2, 3)) - 5)
    values = {found.name: named(robustness.robustness(data, found, count=6)) for found in (bad, worse)}
    assert values["bad"]["identity"] == 1
    assert values["worse"]["least"] < 0
    assert values["worse"]["symmetry"] > 0.001
    good = named(robustness.robustness(data, measure("lpips-alex"), count=2))
    assert (good["identity"], good["symmetry"]) == (0, pytest.approx(0, abs=1e-5))
    assert good["least"] == 0


def test_robustness_of_a_metric_that_cannot_see_shifts(make_study):
    """The difference of all pixels' mean squares hardly moves; that of single pixels does."""
    data = from_study(vote(make_study(photographs=2, size=128)))

    def energy(x):
        return (x**2).mean(dim=(1, 2, 3))

    blind = Measure("blind", lambda x: x, lambda x, y: (energy(x) - energy(y)).abs())
    pixels = Measure("pixels", lambda x: x, lambda x, y: ((x - y) ** 2).mean(dim=(1, 2, 3)))
    still, moved = (named(robustness.robustness(data, found, count=8)) for found in (blind, pixels))
    assert still["shift 1"] < moved["shift 1"]
    assert moved["shift 4"] > moved["shift 1"] > 0.1


def test_ladder_steps_by_hand():
    """Of two steps of one ladder and one of another, one is wrong: two of three in order."""
    ladders = pd.DataFrame({"ladder": list("aaabb"), "level": [1.0, 2, 3, 10, 20]})
    found = robustness.of_ladders(ladders, np.array([9.0, 5, 6, 4, 1]))
    assert found["steps"] == pytest.approx(2 / 3)
    assert found["tau"] == pytest.approx((1 / 3 + 1) / 2)


def test_the_sample_is_spread_over_photographs(voted):
    data = from_study(voted)
    chosen = robustness.sample(data, 8, seed=1)
    assert chosen["reference"].nunique() == 4
    assert chosen["id"].is_unique
    assert chosen.equals(robustness.sample(data, 8, seed=1))


def named(table: pd.DataFrame) -> dict[str, float]:
    return dict(zip(table["test"], table["value"], strict=True))


def test_one_photograph_has_no_interval(tmp_path, capsys):
    (tmp_path / "one.csv").write_text("id,prefer_b,votes,m_d0,m_d1,k_d0,k_d1\n1,1,4,0.1,0.2,0.2,0.1\n")
    assert main([str(tmp_path / "one.csv"), "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "75.0" in printed
    assert "nan" not in printed
