"""Tables become `Data`: comparisons, answers, pairs, ladders, distances, and whose they are."""

import gzip
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import photograph
from hypothesis import given, settings
from hypothesis import strategies as st
from judgment_tables import COUNTS, make_images, plain, table
from shared_data import shared

from analysis.agreement import agreeing_share
from analysis.ceiling import agreement
from analysis.observers import observer_table
from metric.data.counts import reliability
from metric.data.judgments import ANSWERS, COMPARISONS, LADDERS, RATINGS, SAME_DIFFERENT
from metric.data.sources import open_data
from study import tables
from study.errors import InputError, UnavailableError
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


def test_a_photograph_named_in_one_table_is_the_same_in_the_others(images):
    """Else its ratings would be learned from while its comparisons are held out."""
    first = table(images, "reference,a,b,prefer_b,votes,source\nr0.png,a0.png,b0.png,2,5,lake")
    second = table(images, "reference,distorted,rating\nr0.png,a0.png,4\nr1.png,a1.png,3", "ratings.csv")
    data = open_data([first, second])
    assert list(data.comparisons["source"]) == ["lake"]
    assert list(data.ratings["source"])[0] == "lake" and data.ratings["source"].nunique() == 2


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


def test_images_may_be_absent_where_distances_came_with_the_table(images):
    text = (
        "reference,a,b,prefer_b,votes,mine_a,mine_b\nr0.png,a0.png,gone.png,1,2,0.1,0.3\ngone.png,a1.png,b1.png,1,2,4,5"
    )
    data = open_data(table(images, text))
    assert data.distances["mine"].values.tolist() == [[0.1, 0.3], [4, 5]]
    assert data.comparisons["source"].nunique() == 2
    assert data.image(data.comparisons["reference"][0]).shape == (16, 16, 3)
    with pytest.raises(UnavailableError, match="gone.png: no image .* the distances of mine came with the data"):
        data.image(data.comparisons["b"][0])


def test_every_table_in_the_documentation_opens(images, tmp_path):
    """Each CSV block of docs/data.md, with stand-ins for its images."""
    documentation = Path(__file__).resolve().parent.parent / "docs" / "data.md"
    blocks = [block for block in documentation.read_text().split("```")[1::2] if not block.strip().startswith("$")]
    kinds = set()
    for block in blocks:
        lines = block.strip().splitlines()
        for name in {cell for line in lines for cell in line.split(",") if cell.startswith("images/")}:
            (images / "images").mkdir(exist_ok=True)
            (images / name).write_bytes(name.encode())
        data = open_data(table(images, block), votes_each=5)
        tables_of = ("comparisons", "same_different", "ratings", "ladders")
        kinds |= {kind for kind in tables_of if len(getattr(data, kind))}
    assert len(blocks) == 6 and len(kinds) == 4
