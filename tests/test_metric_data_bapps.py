"""BAPPS folders are read where they lie, and splits are by photograph."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import photograph
from judgment_tables import COUNTS, make_images, plain, table
from PIL import Image

from metric.data.judgments import from_study
from metric.data.sources import check_splits, open_data
from study import tables
from study.bapps import export_bapps, import_bapps
from study.errors import InputError
from study.folder import Study
from study.images import encode_png
from study.records import Judgment


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Results go below the current folder: one that is a test's own."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture
def images(tmp_path):
    return make_images(tmp_path / "my images")


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
