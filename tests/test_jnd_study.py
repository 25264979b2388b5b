"""A study of just noticeable differences: the reference itself against rungs, from the stimuli to the report."""

import json
import shutil
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from conftest import photograph
from PIL import Image
from test_distortions_distort import new
from test_simulate import score_mse, simulate
from test_webapp_blindness import whole_session

from analysis.analyze import main as analyze
from analysis.preferences import REFERENCE_COLUMNS, TRIPLET_COLUMNS, told_from_reference
from distortions.distort import main
from metric.data.judgments import from_study
from study.bapps import export_bapps
from study.folder import Study
from study.images import decode_rgb


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two codecs at four rates and a blur at five levels, three rungs of each, on two photographs."""
    folder = tmp_path_factory.mktemp("photographs")
    for k in range(2):
        Image.fromarray(photograph(k, 96)).save(folder / f"{k}.png")
    root = new(
        tmp_path_factory.mktemp("made") / "study", folder,
        rates={"bits_per_pixel": [0.8, 1.5, 2.5, 4.0], "tolerance": 0.3},
        codecs=[{"name": name} for name in ("jpeg", "webp", "gaussian-blur")],
        triplets={"design": "jnd", "pairs": 3, "sentinels": 2, "practice": 1},
        session={"trials": 18, "sentinels": 1, "repeats": 1, "practice": 1, "votes_per_triplet": 4},
    )  # fmt: skip
    assert main([str(root), "--workers", "1"]) == 0
    return root


@pytest.fixture
def study(made, tmp_path):
    """A copy, to vote in."""
    return Study(shutil.copytree(made, tmp_path / "study"))


def test_both_ends_and_the_middle_of_each_ladder_meet_the_reference(study):
    tests = study.triplets[study.triplets["kind"] == "test"]
    assert set(tests["comparison"]) == {"jnd"} and tests["expected"].isna().all() and len(tests) == 2 * 9
    stimuli = study.stimuli.set_index("id")
    shown = []
    for row in tests.itertuples():
        assert (row.a == row.reference) != (row.b == row.reference)
        other = stimuli.loc[row.b if row.a == row.reference else row.a]
        level = json.loads(other["settings"]).get("level")
        shown.append((other["codec"], level or other["target_bits_per_pixel"]))
    middle = 2.5  # of four rungs the third: 1.5 steps up, rounded to the even step
    rungs = [(codec, rate) for codec in ("jpeg", "webp") for rate in (0.8, middle, 4.0)]
    assert Counter(shown) == Counter(2 * [*rungs, *(("gaussian-blur", level) for level in (1, 3, 5))])
    assert 0 < (tests["a"] == tests["reference"]).sum() < len(tests)  # on either side


def test_no_bytes_tell_which_image_is_the_reference(study):
    """Two of the three images have equal pixels, but never an address or bytes in common."""
    trials, responses, _, images = whole_session(study)
    assert len({(status, headers, length) for status, headers, length in responses}) == 1
    assert len(set(images)) == len(images) == 3 * len(trials) and len(trials) == 21
    addresses = [trial[role] for trial in trials for role in ("reference", "left", "right")]
    assert len(set(addresses)) == len(addresses)
    same = 0
    for place in range(len(trials)):
        reference, left, right = (decode_rgb("", data) for data in images[3 * place : 3 * place + 3])
        same += np.array_equal(reference, left) != np.array_equal(reference, right)
    assert same == len(trials)


def test_votes_come_to_shares_that_told_them_apart(study, tmp_path, capsys):
    """Through page, report, training data and a BAPPS folder."""
    simulate(score_mse(study), "--observers", "6")
    assert analyze([str(study.root)]) == 0
    assert "report:" in capsys.readouterr().out
    table = pd.read_csv(study.report_folder / "against_reference.csv")
    assert list(table) == [*REFERENCE_COLUMNS, "voters"] and set(table["voters"]) == {"simulated"}
    assert table["votes"].tolist() == [8] * 9 and table["triplets"].tolist() == [2] * 9
    assert table["codec"].tolist() == [codec for codec in ("jpeg", "webp", "gaussian-blur") for _ in range(3)]
    page = (study.report_folder / "report.html").read_text()
    assert "Told from the reference" in page and "do not say which codecs" not in page
    data = from_study(study)
    assert set(data.comparisons["part"]) == {"jnd"} and data.comparisons["rate_a"].isna().any()
    export_bapps(study, tmp_path / "bapps", "simulated")
    names = [path.name for path in (tmp_path / "bapps" / "ref").iterdir()]
    equal = [(tmp_path / "bapps" / "ref" / name).read_bytes() == (tmp_path / "bapps" / side / name).read_bytes()
             for name in names for side in ("p0", "p1")]  # fmt: skip
    assert sum(equal) == len(names) == 18


def test_shares_by_hand():
    """Of jpeg at .5 bits 3 of 4 and 5 of 6 votes chose the reference, once a and once b; others do not count."""
    rows = pd.DataFrame(
        [("x", "p", "jnd", "reference", "jpeg", np.nan, 0.5, np.nan, 0.52, "{}", "{}", 4, 3, 1),
         ("y", "q", "jnd", "jpeg", "reference", 0.5, np.nan, 0.48, np.nan, "{}", "{}", 6, 1, 5),
         ("z", "q", "rates", "jpeg", "jpeg", 0.5, 1.0, 0.48, 1.0, "{}", "{}", 6, 6, 0)],
        columns=TRIPLET_COLUMNS[:14],
    )  # fmt: skip
    (row,) = told_from_reference(rows, ["jpeg"]).to_dict("records")
    assert (row["condition"], row["triplets"], row["votes"], row["told"], row["share"]) == ("jpeg @ 0.5", 2, 10, 8, 0.8)
    assert row["bits_per_pixel"] == pytest.approx(0.5) and row["low"] == pytest.approx(0.490, abs=5e-4)  # Wilson's
    assert told_from_reference(rows[2:], ["jpeg"]).empty
