"""`eyetune votes`: exports, BAPPS folders and backups, and what it refuses to overwrite."""

import csv
import sqlite3
from contextlib import closing

import pandas as pd
import pytest

from study import tables
from study.errors import InputError
from study.records import Judgment
from study.votes import connect, now
from webapp.votes import main


@pytest.fixture
def voted(make_study):
    """A study with 3 human votes on one triplet and 2 simulated ones."""
    study = make_study()
    with connect(study.votes_path) as store:
        for n in range(5):
            model = '{"metric": "mse"}' if n > 2 else None
            store.execute("INSERT INTO observers VALUES (?, ?, ?, NULL)", [f"o{n}", now(), model])
            keys = [f"{role}{n}" for role in ("reference", "left", "right")]
            trial = [f"t{n}", f"o{n}", 0, study.triplets["id"][0], "test", "a", *keys]
            store.execute("INSERT INTO trials VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", trial)
            store.execute(
                "INSERT INTO votes (trial, side, protocol, received_at, flips, zoom)"
                " VALUES (?, 'left', 'flip', ?, 0, 1)",
                [f"t{n}", now()],
            )
    return study


def test_all_votes_are_exported_each_marked_as_what_it_is(voted, tmp_path, capsys):
    out = tmp_path / "votes.csv"
    main([str(voted.root), "--out", str(out)])
    assert "3 human votes, 2 simulated votes" in capsys.readouterr().out
    exported = tables.read(voted.judgments_path, Judgment)
    assert list(exported["simulated"]) == [False] * 3 + [True] * 2
    with out.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [row["simulated"] for row in rows] == ["False"] * 3 + ["True"] * 2
    assert {row["chosen"] for row in rows} == {voted.triplets["a"][0]}


@pytest.mark.parametrize(("voters", "votes"), [("human", 3), ("auto", 3), ("simulated", 2), ("all", 5)])
def test_voters_picks_whose_votes_are_written(voted, tmp_path, voters, votes, capsys):
    out, folder = tmp_path / "votes.parquet", tmp_path / "bapps"
    main([str(voted.root), "--out", str(out), "--voters", voters])
    assert len(tables.read(out, Judgment)) == votes
    if voters == "all":
        with pytest.raises(InputError, match="cannot keep human and simulated votes apart"):
            main([str(voted.root), "--bapps", str(folder), "--voters", voters])
        return
    main([str(voted.root), "--bapps", str(folder), "--voters", voters])
    assert pd.read_csv(folder / "votes.csv")["votes"].tolist() == [votes]


def test_a_backup_is_the_store_in_one_file(voted, tmp_path):
    backup = tmp_path / "backup.sqlite"
    with connect(voted.votes_path) as store:  # in use, with votes in its write-ahead log
        store.execute("UPDATE votes SET rejected = 'test' WHERE trial = 't0'")
        main([str(voted.root), "--backup", str(backup)])
    with closing(sqlite3.connect(backup)) as copy:
        assert copy.execute("SELECT count(*), count(rejected) FROM votes").fetchone() == (5, 1)
        assert copy.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backup.sqlite", "study"]


def test_nothing_outside_is_overwritten_unasked(voted, tmp_path):
    taken = tmp_path / "taken.csv"
    taken.write_text("mine")
    for option in ("--out", "--backup"):
        with pytest.raises(InputError, match="--force"):
            main([str(voted.root), option, str(taken)])
    assert taken.read_text() == "mine" and not voted.judgments_path.exists()
    main([str(voted.root), "--out", str(taken), "--force"])
    assert taken.read_text().startswith("id,")
    for own in (voted.judgments_path, voted.root / "triplets.parquet"):
        with pytest.raises(InputError, match="file of the study itself"):
            main([str(voted.root), "--out", str(own), "--force"])
    with pytest.raises(InputError, match="must end in"):
        main([str(voted.root), "--out", "votes.xlsx"])


def test_judgments_without_a_store_are_the_source_and_stay_as_they_are(voted, tmp_path, capsys):
    main([str(voted.root)])
    voted.votes_path.unlink()
    before = voted.judgments_path.read_bytes()
    main([str(voted.root), "--out", str(tmp_path / "copy.csv")])
    assert voted.judgments_path.read_bytes() == before
    assert "left as it is" in capsys.readouterr().out
    assert not voted.votes_path.exists()
    with pytest.raises(InputError, match="nothing to copy"):
        main([str(voted.root), "--backup", str(tmp_path / "b.sqlite")])
    voted.judgments_path.unlink()
    with pytest.raises(InputError, match="no votes yet"):
        main([str(voted.root)])
