"""What is wrong with judgments is one line that names file, row, value and the way out."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from conftest import photograph
from judgment_tables import COUNTS, make_images, table
from PIL import Image

from metric.data.sources import open_data
from metric.pairs import load_images
from study.errors import InputError

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


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Results go below the current folder: one that is a test's own."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture
def images(tmp_path):
    return make_images(tmp_path / "my images")


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
