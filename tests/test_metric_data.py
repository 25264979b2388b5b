"""Studies, BAPPS folders and tables become the same `Data`, and what is wrong in them is named."""

import gzip
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import photograph
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from shared_data import shared

from analysis.agreement import agreeing_share
from analysis.ceiling import agreement
from analysis.observers import observer_table
from metric.data import ANSWERS, COMPARISONS, LADDERS, RATINGS, SAME_DIFFERENT, from_study
from metric.data_counts import reliability
from metric.data_open import check_splits, open_data
from metric.pairs import load_images
from study import tables
from study.bapps import export_bapps, import_bapps
from study.errors import InputError, UnavailableError
from study.folder import Study
from study.images import encode_png
from study.records import Judgment


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Results go below the current folder: one that is a test's own."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture
def images(tmp_path) -> Path:
    """A folder with references r0, r1 and distorted a0, b0, a1, b1, all .png and different, in `my images`."""
    folder = tmp_path / "my images"
    folder.mkdir()
    for seed, name in enumerate(("r0", "r1", "a0", "b0", "a1", "b1")):
        (folder / f"{name}.png").write_bytes(encode_png(photograph(seed, 16)))
    return folder


def table(folder: Path, text: str, name: str = "votes.csv") -> Path:
    """A table with the lines of `text`, beside the images."""
    path = folder / name
    path.write_text("\n".join(line.strip() for line in text.strip().splitlines()) + "\n")
    return path


def plain(frame: pd.DataFrame) -> list[tuple]:
    """reference, a, b by file name, and prefer_b, votes."""
    names = [frame[column].map(lambda key: Path(key).stem) for column in ("reference", "a", "b")]
    return list(zip(*names, frame["prefer_b"], frame["votes"], strict=True))


# What is opened


COUNTS = """reference,a,b,prefer_b,votes
            r0.png,a0.png,b0.png,2,5
            r1.png,a1.png,b1.png,1.5,2"""


def test_counts_shares_and_answers_of_the_same_votes_are_the_same_comparisons(images):
    counts = open_data(table(images, COUNTS))
    text = "reference,a,b,share_b\nr0.png,a0.png,b0.png,0.4\nr1.png,a1.png,b1.png,0.8"
    shares = open_data(table(images, text, "s.csv"), votes_each=5)
    single = "r0.png,a0.png,b0.png,{}\n"
    text = "reference,a,b,choice\n" + "".join(map(single.format, "abbaa")) + "r1.png,a1.png,b1.png,Not Sure\n"
    answers = open_data(table(images, text + "r1.png,a1.png,b1.png,1", "c.csv"))
    assert plain(counts.comparisons) == [("r0", "a0", "b0", 2, 5), ("r1", "a1", "b1", 1.5, 2)]
    assert plain(shares.comparisons) == [("r0", "a0", "b0", 2, 5), ("r1", "a1", "b1", 4, 5)]
    assert plain(answers.comparisons) == plain(counts.comparisons)
    assert list(counts.comparisons["id"]) == list(shares.comparisons["id"]) == list(answers.comparisons["id"])
    assert (counts.whose, counts.voters) == ("7 votes (the data do not tell whose)", "unknown")
    assert counts.answers.empty and counts.reliability.empty  # counts name no observers
    assert counts.folder == Path("eyetune-votes")
    assert list(counts.comparisons.columns) == COMPARISONS
    np.testing.assert_array_equal(counts.image(counts.comparisons["a"][0]), photograph(2, 16))


def test_a_and_b_exchanged_is_the_same_comparison(images):
    text = "reference,a,b,observer,choice,psnr_a,psnr_b,rate_a,rate_b\n"
    text += "r0.png,a0.png,b0.png,ann,b,3,7,.25,.5\nr0.png,b0.png,a0.png,bob,b,7,3,.5,.25"
    data = open_data(table(images, text))
    assert plain(data.comparisons) == [("r0", "a0", "b0", 1, 2)]
    assert data.answers["prefer_b"].tolist() == [1, 0]
    assert data.distances["psnr"].values.tolist() == [[3, 7]]
    assert data.comparisons[["rate_a", "rate_b"]].values.tolist() == [[0.25, 0.5]]


def test_a_spreadsheets_table_reads_as_any_other(images):
    """Byte-order mark, Windows line ends, upper-case names, spaces, a blank last line, absolute path, gzip, Parquet."""
    expected = open_data(table(images, COUNTS)).comparisons
    path = images / "excel.csv"
    absolute = images / "r0.png"
    path.write_bytes(
        f"\ufeffReference , A,B,PREFER_B,Votes\r\n{absolute}, a0.png,b0.png,2,5\r\n"
        '"r1.png",a1.png,b1.png,1.5,2\r\n\r\n,,,,\r\n'.encode()
    )
    excel = open_data(path).comparisons
    assert set(excel["part"]) == {"excel"}
    pd.testing.assert_frame_equal(excel.drop(columns="part"), expected.drop(columns="part"))
    with gzip.open(images / "votes.csv.gz", "wb") as file:
        file.write(path.read_bytes())
    pd.testing.assert_frame_equal(open_data(images / "votes.csv.gz").comparisons, expected)
    pd.read_csv(images / "votes.csv").to_parquet(images / "votes.parquet")
    pd.testing.assert_frame_equal(open_data(images / "votes.parquet").comparisons, expected)


def test_paths_are_relative_to_their_table_not_to_the_current_folder(images):
    table(images, COUNTS)
    data = open_data(os.path.relpath(images / "votes.csv"))
    assert data.comparisons["reference"][0] == str(images / "r0.png")


def test_optional_columns_arrive(images):
    text = """reference,a,b,prefer_b,votes,source,part,codec_a,codec_b,rate_a,rate_b
              r0.png,a0.png,b0.png,2,5,lake,x,jpeg,avif,0.25,
              r1.png,a1.png,b1.png,1,2,,,,,,1"""
    found = open_data(table(images, text)).comparisons
    assert found["source"][0] == "lake" and len(found["source"][1]) == 16
    assert found["part"].tolist() == ["x", "votes"]
    assert found["codec_a"].tolist() == ["jpeg", None]
    np.testing.assert_array_equal(found["rate_b"], [np.nan, 1])


def test_a_photograph_is_its_content_whatever_its_name(images):
    (images / "copy.png").write_bytes((images / "r0.png").read_bytes())
    text = """reference,a,b,prefer_b,votes
              r0.png,a0.png,b0.png,1,1
              copy.png,a1.png,b1.png,1,1
              r1.png,a1.png,b1.png,1,1"""
    source = open_data(table(images, text)).comparisons["source"]
    assert source[0] == source[1] != source[2]


def test_ids_change_when_an_image_does(images):
    path = table(images, COUNTS)
    before = open_data(path).comparisons["id"]
    assert before.equals(open_data(path).comparisons["id"])
    (images / "a1.png").write_bytes(encode_png(photograph(99, 17)))
    after = open_data(path)
    assert after.comparisons["id"][0] == before[0]
    assert after.comparisons["id"][1] != before[1]
    assert "a1.png" in after.identity(after.comparisons["a"][1])


def test_same_different_ratings_and_ladders_come_in_tables_of_their_own(images):
    paths = [
        table(images, COUNTS),
        table(images, "reference,distorted,different,votes\nr0.png,a0.png,2,3", "jnd.csv"),
        table(
            images,
            "reference,distorted,observer,answer\nr0.png,b0.png,ann,different\nr0.png,b0.png,bob,same\n"
            "r0.png,b0.png,cy,not sure",
            "more-jnd.csv",
        ),
        table(images, "reference,distorted,rating,observer\nr1.png,a1.png,4,ann\nr1.png,a1.png,5,bob", "ratings.csv"),
        table(images, "reference,distorted,level,ladder\nr0.png,a0.png,30,L\nr0.png,b0.png,90,L", "steps.csv"),
    ]
    data = open_data(paths)
    assert plain(data.comparisons) == [("r0", "a0", "b0", 2, 5), ("r1", "a1", "b1", 1.5, 2)]
    assert data.same_different[["different", "votes"]].values.tolist() == [[2, 3], [1.5, 3]]
    assert data.ratings[["rating", "votes"]].values.tolist() == [[4.5, 2]]
    assert data.ladders["level"].tolist() == [30, 90]
    assert list(data.same_different) == SAME_DIFFERENT
    assert list(data.ratings) == RATINGS and list(data.ladders) == LADDERS
    assert data.whose == "7 votes, 6 same/different answers, 2 ratings (the data do not tell whose)"
    ratings = open_data(paths[3])
    assert ratings.comparisons.empty and list(ratings.comparisons) == COMPARISONS


def test_larger_dmos_is_a_worse_image(images):
    text = "reference,distorted,dmos,votes\nr0.png,a0.png,12,20\nr0.png,b0.png,80,20"
    assert open_data(table(images, text)).ratings["rating"].tolist() == [-12, -80]


def test_the_folder_of_results_is_the_current_one_or_asked_for(images, tmp_path):
    assert open_data(table(images, COUNTS), out=tmp_path / "results").folder == tmp_path / "results"
    assert not list(Path.cwd().iterdir())  # opening writes nothing
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file is a file; name a folder"):
        open_data(images / "votes.csv", out=tmp_path / "file")


# Whose answers


SIMULATED = """reference,a,b,prefer_b,votes,simulated
               r0.png,a0.png,b0.png,2,5,false
               r0.png,a0.png,b0.png,0,4,true
               r1.png,a1.png,b1.png,1,2,TRUE"""


def test_simulated_votes_are_never_mixed_with_human_ones_unasked(images):
    path = table(images, SIMULATED)
    auto, human, simulated, mixed = (open_data(path, voters=v) for v in ("auto", "human", "simulated", "all"))
    assert plain(auto.comparisons) == plain(human.comparisons) == [("r0", "a0", "b0", 2, 5)]
    assert auto.whose == "5 human votes (6 simulated answers left out)" and auto.voters == "human"
    assert plain(simulated.comparisons) == [("r0", "a0", "b0", 0, 4), ("r1", "a1", "b1", 1, 2)]
    assert simulated.voters == "simulated" and simulated.whose.startswith("6 SIMULATED votes, none from a person")
    assert simulated.simulators == {"unknown"}
    assert plain(mixed.comparisons) == [("r0", "a0", "b0", 2, 9), ("r1", "a1", "b1", 1, 2)]
    assert mixed.voters == "mixed" and mixed.whose == "5 human and 6 SIMULATED votes mixed, as asked"


def test_only_simulated_votes_are_called_so(images):
    text = 'reference,a,b,prefer_b,votes,simulator\nr0.png,a0.png,b0.png,2,5,"{""metric"": ""psnr""}"'
    data = open_data(table(images, text))
    assert data.voters == "simulated" and data.simulators == {"psnr"}
    with pytest.raises(InputError, match="no human votes; choose others with --voters"):
        open_data(images / "votes.csv", voters="human")


def test_who_is_not_told_cannot_be_chosen(images):
    with pytest.raises(InputError, match=r"votes.csv: row 2: --voters human cannot choose.*add a column simulated"):
        open_data(table(images, COUNTS), voters="human")


def test_answers_of_observers_give_reliabilities_as_the_report_has_them(make_study, images):
    """The same answers as a study's judgments: Dawid and Skene's reliabilities are equal."""
    study = make_study(photographs=2)
    random = np.random.default_rng(1)
    asked = study.triplets[study.triplets["kind"] == "test"]
    digests = study.stimuli.set_index("id")["sha256"]
    judgments, lines = [], ["reference,a,b,observer,choice"]
    for triplet in asked.itertuples():
        for k in range(6):
            chosen = "b" if random.random() < (0.5 if k == 5 else 0.9) else "a"
            judgments.append(
                Judgment(
                    f"{triplet.id}{k}", triplet.id, f"o{k}", getattr(triplet, chosen), "left", 0, "unknown", None, None,
                    None, "2026-01-01T00:00:00Z", 0, 1.0, None, None, None, False, None, None,
                )
            )  # fmt: skip
            paths = [f"{digests[getattr(triplet, name)]}.png" for name in ("reference", "a", "b")]
            lines.append(",".join([*paths, f"o{k}", chosen]))
    expected = observer_table(tables.frame(judgments, Judgment), study.triplets).set_index("observer")["reliability"]
    data = open_data(table(study.root / "stimuli", "\n".join(lines)))
    assert len(data.answers) == 6 * len(asked) and list(data.answers) == ANSWERS
    assert set(data.answers["comparison"]) == set(data.comparisons["id"])
    assert data.reliability.to_dict() == pytest.approx(expected.to_dict())
    assert data.reliability.idxmin() == "o5"


def test_a_not_sure_says_nothing_of_its_observer():
    answers = pd.DataFrame([("x", "ann", 1.0), ("x", "bob", 1.0), ("x", "cy", 0.5)], columns=ANSWERS)
    found = reliability(answers)
    assert found["cy"] == 0.75  # the prior
    assert found["ann"] == found["bob"] > 0.75


# Distances without images


def test_bapps_validation_tables_give_the_published_scores():
    """2AFC of two metrics and the human ceiling on 36,344 triplets, as computed from the votes themselves."""
    data = open_data(shared("votes/bapps_val_tables"), votes_each=5)
    parts = ["traditional", "cnn", "superres", "deblur", "color", "frameinterp"]
    assert (data.comparisons["part"].value_counts()[parts] == [4720, 4720, 10856, 9440, 4720, 1888]).all()
    assert data.comparisons["id"].is_unique
    voted = data.comparisons
    published = {
        "alex_vanilla": [77.5, 82.9, 71.2, 61.0, 65.2, 62.4],
        "vgg_shift_tolerant": [78.8, 83.5, 71.1, 61.2, 64.6, 63.0],
    }
    for name, expected in published.items():
        d = data.distances[name].reindex(voted["id"])
        right = agreeing_share(voted["prefer_b"], voted["votes"], d["distance_a"], d["distance_b"])
        scores = 100 * pd.Series(right).groupby(voted["part"]).mean()[parts].to_numpy()
        assert scores == pytest.approx(expected, abs=0.06)
    agreeing = pd.Series(agreement(voted["votes"], voted["prefer_b"])).groupby(voted["part"]).mean()[parts]
    assert 100 * agreeing.to_numpy() == pytest.approx([76.1, 80.4, 67.0, 57.6, 61.0, 60.8], abs=0.06)


DISTANCES = "id,judge,mine_d0,mine_d1,other_a,other_b\n1,0.2,0.1,0.2,5,6\n2,1,0.4,0.3,7,8"


def test_distances_come_with_the_data_and_a_metric_that_needs_images_says_so(images):
    path = table(images, DISTANCES, "bapps.csv")
    data = open_data(path, votes_each=5)
    assert data.distances["mine"].values.tolist() == [[0.1, 0.2], [0.4, 0.3]]
    assert data.distances["other"].loc[data.comparisons["id"]].values.tolist() == [[5, 6], [7, 8]]
    with pytest.raises(UnavailableError, match="bapps/1 reference: no image .* distances of mine, other came with"):
        data.image(data.comparisons["reference"][0])


def test_tables_with_other_metrics_are_not_joined(images):
    paths = [table(images, DISTANCES, "x-1.csv"), table(images, DISTANCES.replace("mine", "new"), "x-2.csv")]
    with pytest.raises(InputError, match="x-2.csv: no distances of mine, which .*x-1.csv has; score them apart"):
        open_data(paths, votes_each=5)


def test_parts_are_what_distinguishes_the_files_names(images):
    paths = [table(images, DISTANCES, f"bapps_val_{name}.csv") for name in ("cnn", "color")]
    data = open_data(paths, votes_each=5)
    assert data.comparisons["part"].tolist() == ["cnn", "cnn", "color", "color"]
    assert data.name == "bapps_val"
    assert data.comparisons["id"].is_unique


def test_pairs_bring_distances_of_one_column(images):
    text = "reference,distorted,rating,mine_distance\nr0.png,a0.png,4,0.1\nr0.png,b0.png,2,0.7"
    found = open_data(table(images, text)).pair_distances["mine"]
    assert found.loc[(str(images / "r0.png"), str(images / "b0.png"))] == 0.7
    named = open_data(table(images, "id,different,votes,mine_distance\nx,1,3,0.5", "jnd.csv"))
    assert named.pair_distances["mine"].loc[("jnd/x reference", "jnd/x distorted")] == 0.5
    assert named.same_different["different"].tolist() == [1]


def test_clic_lists_open_after_a_header_was_put_before_them(tmp_path):
    """CLIC 2021's O,A,B,T: two answers to the same triplet agree 76.0 %. Images of one byte stand in for the absent."""
    rows = shared("votes/clic2021/data/oracle.csv").read_text().split()
    different = [row for row in rows if row.split(",")[1] != row.split(",")[2]]
    assert len(rows) - len(different) == 2
    for name in {name for row in rows for name in row.split(",")[:3]}:
        (tmp_path / name).write_bytes(name.encode())
    data = open_data(table(tmp_path, "\n".join(["O,A,B,T", *different]), "clic.csv"))
    assert data.comparisons["votes"].sum() == len(different)
    agreeing = agreement(data.comparisons["votes"], data.comparisons["prefer_b"])
    assert 100 * np.nanmean(agreeing) == pytest.approx(76.0, abs=0.05)
    with pytest.raises(InputError, match=r"clic.csv: row \d+: a \S+.png and b are the same image; leave the row out"):
        open_data(table(tmp_path, "\n".join(["O,A,B,T", *rows]), "clic.csv"))


# BAPPS folders


def bapps(root: Path, part: str, answers: dict[str, float], seed: int = 0) -> Path:
    """A folder of the layout, `root/part` (as 2afc/val/cnn), with a share for each name; all images differ."""
    folder = root / part
    pair = "jnd" in Path(part).parts
    for k, (name, share) in enumerate(answers.items()):
        for j, below in enumerate(("p0", "p1") if pair else ("ref", "p0", "p1")):
            (folder / below).mkdir(parents=True, exist_ok=True)
            (folder / below / f"{name}.png").write_bytes(encode_png(photograph(1000 * seed + 3 * k + j, 16)))
        below = "same" if pair else "judge"
        (folder / below).mkdir(parents=True, exist_ok=True)
        np.save(folder / below / f"{name}.npy", np.array([share]))
    return folder


def test_a_study_exported_to_bapps_and_opened_there_has_the_same_comparisons(make_study, tmp_path):
    study = make_study(photographs=2)
    random = np.random.default_rng(3)
    rows = [
        Judgment(
            f"{triplet.id}-{k}", triplet.id, f"o{k}", triplet.a if random.random() < 0.4 else triplet.b, "left", 0,
            "flip", None, None, None, "2026-01-01T00:00:00Z", 0, 1.0, None, None, None, False, None, None,
        )
        for triplet in study.triplets[study.triplets["kind"] == "test"].itertuples()
        for k in range(1 + int(random.integers(7)))
    ]  # fmt: skip
    tables.write(tables.frame(rows, Judgment), study.judgments_path, Judgment)
    export_bapps(study, tmp_path / "exported")
    ours, theirs = from_study(study), open_data(tmp_path / "exported")

    def pixels(data, k):
        return [data.image(data.comparisons[column][k]).tobytes() for column in ("reference", "a", "b")]

    assert len(ours.comparisons) == len(theirs.comparisons) == 14
    for column in ("prefer_b", "votes"):
        assert ours.comparisons[column].tolist() == theirs.comparisons[column].tolist()
    assert all(pixels(ours, k) == pixels(theirs, k) for k in range(14))
    photographs = [pd.factorize(data.comparisons["source"])[0].tolist() for data in (ours, theirs)]
    assert photographs[0] == photographs[1]
    assert theirs.voters == "human" and theirs.whose == ours.whose


def test_a_folder_opened_in_place_has_the_votes_of_the_study_that_is_imported_from_it(tmp_path):
    bapps(tmp_path / "set", "cnn", {"x": 0.2, "y": 1.0}, seed=1)
    bapps(tmp_path / "set", "color", {"x": 0.5}, seed=2)
    assert import_bapps(tmp_path / "set", tmp_path / "study") == 0
    imported, here = from_study(Study(tmp_path / "study")), open_data(tmp_path / "set")
    columns = ["part", "prefer_b", "votes"]
    assert sorted(imported.comparisons[columns].values.tolist()) == sorted(here.comparisons[columns].values.tolist())
    assert not list(Path.cwd().iterdir())


def test_every_level_of_bapps_opens_and_splits_are_its_own(tmp_path):
    root = tmp_path / "dataset"
    cnn = bapps(root, "2afc/val/cnn", {"000000": 0.2, "000001": 1.0}, seed=1)
    bapps(root, "2afc/val/color", {"000000": 0.6}, seed=2)
    bapps(root, "2afc/train/mix", {"000000": 0.5, "000001": 1.0}, seed=3)
    bapps(root, "jnd/val/cnn", {"000000": 2 / 3, "000001": 0.0}, seed=4)
    one = open_data(cnn)
    assert plain(one.comparisons) == [("000000", "000000", "000000", 1, 5), ("000001", "000001", "000001", 5, 5)]
    assert (one.name, one.whose, one.voters) == ("2afc-val-cnn", "10 human votes", "human")
    split = open_data(root / "2afc" / "val")
    assert split.comparisons["part"].tolist() == ["cnn", "cnn", "color"]
    with pytest.raises(InputError, match="dataset: holds both train and test; choose: --split train or --split test"):
        open_data(root)
    test = open_data(root, split="test")
    assert test.comparisons["id"].tolist() == split.comparisons["id"].tolist()
    assert test.same_different[["different", "votes"]].values.tolist() == [[1, 3], [3, 3]]
    assert Path(test.same_different["reference"][0]).parent.name == "p0"
    assert open_data(root, split="train").comparisons["votes"].tolist() == [2, 2]
    with pytest.raises(InputError, match="holds both train and test"):
        open_data([root / "2afc" / "train", root / "2afc" / "val"])
    with pytest.raises(InputError, match="nothing of split train|no part of split train; there is test"):
        open_data(cnn, split="train")


def test_results_never_go_into_a_bapps_folder_unasked(tmp_path, monkeypatch):
    cnn = bapps(tmp_path, "2afc/val/cnn", {"0": 0.2})
    monkeypatch.chdir(cnn)
    with pytest.raises(InputError, match="results would go into .*name a place for them with --out"):
        open_data(".")
    assert open_data(".", out="../results").folder == Path("../results")


def test_simulated_votes_stay_so_in_a_bapps_folder(tmp_path):
    folder = bapps(tmp_path, "cnn", {"0": 0.5})
    (folder / "votes.csv").write_text('name,votes,simulator\n0,4,"{""metric"": ""lpips-vgg""}"\n')
    data = open_data(folder)
    assert data.voters == "simulated" and data.simulators == {"lpips-vgg"}
    assert data.whose == "4 SIMULATED votes, none from a person"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "p1" / "y.png").unlink(), r"cnn: y: b \S*p1/y.png is missing"),
        (lambda f: (f / "judge" / "y.npy").unlink(), r"judge/y.npy is missing"),
        (lambda f: (f / "judge" / "y.npy").write_bytes(b"nonsense"), r"judge/y.npy: not a readable .npy file"),
        (lambda f: np.save(f / "judge" / "y.npy", np.array([1.2])), r"judge/y.npy: expected one number from 0 to 1"),
        (lambda f: np.save(f / "judge" / "y.npy", np.array([np.nan])), r"judge/y.npy: expected one number from 0 to 1"),
        (lambda f: np.save(f / "judge" / "y.npy", np.array([0.37])), r"judge: shares are multiples of neither"),
        (lambda f: (f / "votes.csv").write_text("name,votes\nx,5\n"), r"votes.csv: no row for y"),
        (lambda f: (f / "votes.csv").write_text("name,votes\nx,5\ny,-3\n"), r"votes.csv: y: votes -3 is not a whole"),
        (lambda f: (f / "votes.csv").write_text("name,votes\nx,3\ny,5\n"), r"votes.csv: x: 0.2 of 3 votes is not"),
        (lambda f: (f / "votes.csv").write_text("file,votes\nx,5\n"), r"votes.csv: no column name"),
        (lambda f: [file.unlink() for file in (f / "ref").iterdir()], r"ref: no .png file in it"),
        (lambda f: (f / "judge").rename(f / "votes"), r"cnn is not a study folder .* nor a BAPPS folder"),
    ],
)
def test_a_damaged_bapps_folder_is_refused_with_the_place(tmp_path, damage, message):
    folder = bapps(tmp_path, "cnn", {"x": 0.2, "y": 1.0})
    damage(folder)
    with pytest.raises(InputError, match=message):
        open_data(folder)


def test_votes_each_is_held_against_every_share(tmp_path):
    folder = bapps(tmp_path, "cnn", {"x": 0.2, "y": 1.0})
    assert open_data(folder, votes_each=10).comparisons["prefer_b"].tolist() == [2, 10]
    with pytest.raises(InputError, match=r"judge/x.npy: 0.2 of 3 votes is no whole number; correct --votes-each"):
        open_data(folder, votes_each=3)


# Splits by photograph


def test_a_photograph_in_both_splits_is_named(images):
    (images / "copy.png").write_bytes((images / "r0.png").read_bytes())
    text = """reference,a,b,prefer_b,votes,split
              r0.png,a0.png,b0.png,2,5,train
              r1.png,a1.png,b1.png,2,5,test
              copy.png,a1.png,b1.png,1,2,Validation"""
    path = table(images, text)
    for split in (None, "train"):
        with pytest.raises(InputError, match=r"r0.png is in both splits: .*row 2 \(train\) and .*row 4 \(test\)"):
            open_data(path, split=split)
    path = table(images, text.rsplit("\n", 1)[0])
    with pytest.raises(InputError, match="votes: holds both train and test; choose: --split train or --split test"):
        open_data(path)
    assert plain(open_data(path, split="test").comparisons) == [("r1", "a1", "b1", 2, 5)]
    with pytest.raises(InputError, match="row 2: no split is named here, but --split test was asked for"):
        open_data(table(images, COUNTS), split="test")
    with pytest.raises(InputError, match="nothing in split train; there is test"):
        open_data(table(images, "reference,a,b,prefer_b,votes,split\nr0.png,a0.png,b0.png,2,5,val"), split="train")


def test_validation_data_must_show_other_photographs(images, tmp_path):
    """References are compared by pixels, so that another file format hides nothing; one colour is no photograph."""
    flat = np.full((16, 16, 3), 255, np.uint8)
    for name in ("flat.png", "blank.png"):
        (images / name).write_bytes(encode_png(flat))
    Image.fromarray(photograph(0, 16)).save(images / "again.bmp")
    row = "reference,a,b,prefer_b,votes\n{},a0.png,b0.png,1,2\n"
    training = open_data(table(images, COUNTS + "\nflat.png,a0.png,b0.png,1,2"))
    check_splits(training, open_data(table(images, row.format("a1.png"), "new.csv")))
    check_splits(training, open_data(table(images, row.format("blank.png"), "blank.csv")))
    with pytest.raises(InputError, match=r"again.bmp is in the validation data and, as .*r0.png, in the training data"):
        check_splits(training, open_data(table(images, row.format("again.bmp"), "leak.csv")))


# Bad input: one line with file, row, value and the way out


BAD = {
    "a,b,prefer_b,votes\na0.png,b0.png,1,2": "no column reference; there are: a, b, prefer_b, votes; a table needs",
    "reference,a,b,votes\nr0.png,a0.png,b0.png,2": "no column that says what people answered .*there are: refer",
    "reference;a;b;votes\nr0.png;a0.png;b0.png;2": "there are: reference;a;b;votes",
    "judge,votes\n0.5,2": "no column reference, a, b; .*or without images the distances NAME_a and NAME_b",
    "reference,a,b,prefer_b\nr0.png,a0.png,b0.png,1": "no column votes; add one, or say .*--votes-each 5",
    "reference,a,b,share_b\nr0.png,a0.png,b0.png,1": "no column votes; add one, or say .*--votes-each 5",
    "reference,a,b,prefer_b,votes\nr0.png,a0.png,b0.png,6,5": "row 2: prefer_b 6 is more than its votes 5",
    "reference,a,b,prefer_b,votes\nr0.png,a0.png,b0.png,-1,5": "row 2: prefer_b -1 is negative",
    "reference,a,b,prefer_b,votes\nr0.png,a0.png,b0.png,1.3,5": "row 2: prefer_b 1.3 is not a count: only a",
    "reference,a,b,prefer_b,votes\nr0.png,a0.png,b0.png,NaN,5": "row 2: prefer_b NaN is not a finite number",
    "reference,a,b,prefer_b,votes\nr0.png,a0.png,b0.png,,5": "row 2: prefer_b is empty: it is not a finite number",
    "reference,a,b,prefer_b,votes\nr0.png,a0.png,b0.png,1": "row 2: votes is empty: it is not a finite number",
    "reference,a,b,prefer_b,votes\nr0.png,a0.png,b0.png,1,2.5": "row 2: votes 2.5 is not a whole number of 1 or more",
    "reference,a,b,prefer_b,votes\nr0.png,a0.png,b0.png,0,0": "row 2: votes 0 is not a whole number of 1 or more",
    "reference,a,b,prefer_b,votes\nr0.png,a0.png,b0.png,1,inf": "row 2: votes inf is not a finite number",
    "reference,a,b,share_b,votes\nr0.png,a0.png,b0.png,0.37,5": "row 2: share_b 0.37 of 5 votes is not a whole number",
    "reference,a,b,share_b,votes\nr0.png,a0.png,b0.png,1.2,5": "row 2: share_b 1.2 is not a share from 0 to 1",
    "reference,a,b,choice\nr0.png,a0.png,b0.png,c": "row 2: choice c is none of: a, b, not sure",
    "reference,a,b,choice,votes\nr0.png,a0.png,b0.png,a,2": "choice is one answer a row, votes many; leave one of the",
    "reference,a,b,choice,prefer_b\nr0.png,a0.png,b0.png,a,2": "prefer_b and choice both say what people answered",
    "reference,a,b,choice,observer\nr0.png,a0.png,b0.png,a,": "row 2: observer is empty: it must be named",
    "reference,a,b,choice\nr0.png,a0.png,b0.png,a\nr0.png,a0.png,nowhere.png,a": "row 3: b .*nowhere.png is missing",
    "reference,a,b,choice\nr0.png,,b0.png,a": "row 2: a is empty: it must be named",
    "reference,a,b,choice\nr0.png,.,b0.png,a": "row 2: a .*my images is no file",
    "reference,a,b,choice\nr0.png,a0.png,a0.png,a": "row 2: a a0.png and b are the same image; leave the row out",
    "o,a,b,choice,observer\nr0.png,a0.png,b0.png,a,ann\nr1.png,a1.png,b1.png,a,ann\nr0.png,a0.png,b0.png,b,ann": (
        r"row 4: observer ann answers the same question as .*row 2; keep one of the rows"
    ),
    "reference,a,b,prefer_b,votes\nr0.png,a0.png,b0.png,1,2\nr0.png,b0.png,a0.png,1,2": (
        "row 3: counts the same question as .*row 2; keep one of the rows, or add them up"
    ),
    "reference,a,b,prefer_b,votes,simulated\nr0.png,a0.png,b0.png,1,2,perhaps": "row 2: simulated perhaps is none of",
    "reference,a,b,prefer_b,votes,split\nr0.png,a0.png,b0.png,1,2,dev": "row 2: split dev is none of: train, test",
    "reference,a,b,prefer_b,votes,rate_a\nr0.png,a0.png,b0.png,1,2,low": "row 2: rate_a low is not a finite number",
    "reference,a,b,prefer_b,votes,A\nr0.png,a0.png,b0.png,1,2,3": "two columns are called 'a', or mean it",
    "reference,a,b,prefer_b,votes\nr0.png,a0.png,b0.png,1,2,3": "not a readable table .*line 2",
    "prefer_b,votes,x_d0,x_d1\n1,2,0.5,0.3\n1,2,nan,0.3": "row 3: x_d0 nan is not a finite number",
    "prefer_b,votes,x_a,x_b\n1,2,0.5,inf": "row 2: x_b inf is not a finite number",
    "prefer_b,votes,x_d0\n1,2,0.5": "no column x_d1 beside x_d0",
    "id,prefer_b,votes,x_a,x_b\nq,1,2,1,2\nq,1,2,1,2": "row 3: counts the same question as .*row 2",
    "reference,a,b,choice,x_a,x_b\nr0.png,a0.png,b0.png,a,1,2\nr0.png,a0.png,b0.png,a,1,3": (
        "row 3: x's distance is not that of the same images in .*row 2"
    ),
    "reference,distorted,different,votes\nr0.png,a0.png,4,3": "row 2: different 4 is more than its votes 3",
    "reference,distorted,answer\nr0.png,a0.png,perhaps": "row 2: answer perhaps is none of: same, different",
    "reference,distorted,rating\nr0.png,a0.png,good": "row 2: rating good is not a finite number",
    "reference,distorted,rating\nr0.png,a0.png,1\nr0.png,a0.png,2": "row 3: counts the same question as .*row 2",
    "reference,distorted,level\nr0.png,a0.png,1": "no column ladder; there are",
    "reference,distorted,ladder,level\nr0.png,a0.png,L,1": "row 2: ladder L has one level only",
    "reference,distorted,ladder,level\nr0.png,a0.png,L,1\nr1.png,b0.png,L,2": "row 2: ladder L has two references",
    "reference,a,b,prefer_b,votes": "no rows below the header",
    "": "votes.csv is empty; its first row names the columns",
}


@pytest.mark.parametrize(("text", "message"), BAD.items(), ids=range(len(BAD)))
def test_a_bad_table_is_one_line_with_file_row_and_value(images, text, message):
    path = images / "votes.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as error:
        open_data(path)
    assert "\n" not in str(error.value)
    assert "votes.csv" in str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("votes.csv", b"reference,a\xff\xfe\n1,2\n", "not UTF-8 text"),
        ("votes.csv.gz", b"reference,a,b", "not a readable table"),
        ("votes.csv.gz", gzip.compress(b"reference,a,b\n" * 50)[:-12], "not a readable table"),
        ("votes.parquet", b"PAR1 nonsense", "not a readable table"),
        ("votes.xlsx", b"", r"not a table; its name must end in .csv, .csv.gz, .parquet"),
    ],
)
def test_a_file_that_is_no_table_is_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=f"{name}: {message}"):
        open_data(tmp_path / name)


def test_what_is_nothing_known_is_refused(tmp_path, make_study, images):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty is not a study folder .*, nor a BAPPS folder .*, nor one of tables"):
        open_data(tmp_path / "empty")
    with pytest.raises(InputError, match="absent: no such folder or file"):
        open_data(tmp_path / "absent")
    study = make_study()
    with pytest.raises(InputError, match="is a study, which is opened alone"):
        open_data([study.root, table(images, COUNTS)])
    with pytest.raises(InputError, match="--votes-each 0: must be 1 or more"):
        open_data(images / "votes.csv", votes_each=0)
    with pytest.raises(InputError, match="has no votes yet"):
        open_data(study.root)
    assert open_data(study.root, unvoted=True).comparisons.empty


def test_images_are_checked_when_they_are_read(images):
    data = open_data(table(images, COUNTS))
    text, deep, clear, large = (str(images / name) for name in ("b0.png", "a0.png", "a1.png", "b1.png"))
    Path(text).write_text("no image")
    with pytest.raises(InputError, match="b0.png: not a readable image"):
        data.image(text)
    Image.fromarray(np.full((16, 16), 40_000, np.uint16)).save(deep)
    with pytest.raises(InputError, match="a0.png: not 8 bits a channel"):
        data.image(deep)
    Image.fromarray(np.full((16, 16, 4), 9, np.uint8)).save(clear)
    with pytest.raises(InputError, match="a1.png: partly transparent"):
        data.image(clear)
    Image.fromarray(photograph(0, 17)).save(large)
    with pytest.raises(InputError, match="b1.png: 17 x 17 pixels, but .*r1.png has 16 x 16"):
        load_images(data, [str(images / "r1.png"), large])
    Path(large).unlink()
    with pytest.raises(InputError, match="b1.png is missing"):
        data.image(large)


@settings(max_examples=25, deadline=None)  # each reads files
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from(["a", "b", "not sure"]), st.booleans()), min_size=1, max_size=30
    )
)
def test_every_answer_is_counted_once(tmp_path_factory, rows):
    """However answers are ordered, and whichever image is called a, their sums are those of a plain loop."""
    folder = tmp_path_factory.mktemp("counted")
    for name in ("r0", "r1", "r2", "x", "y"):
        (folder / name).write_bytes(name.encode())
    other = {"a": "b", "b": "a", "not sure": "not sure"}
    lines = [f"r{q},{'y,x' if turn else 'x,y'},{other[c] if turn else c}" for q, c, turn in rows]
    found = open_data(table(folder, "\n".join(["reference,a,b,choice", *lines]))).comparisons
    for row in found.itertuples():
        answers = [choice for question, choice, _ in rows if Path(row.reference).name == f"r{question}"]
        likes_y = answers.count("b") + answers.count("not sure") / 2
        assert row.votes == len(answers)
        assert row.prefer_b == (likes_y if Path(row.b).name == "y" else len(answers) - likes_y)
    assert found["votes"].sum() == len(rows)
