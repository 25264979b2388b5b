"""The study folder: settings, tables and images that are right or refused with a reason."""

import io
import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from study import tables
from study.bapps import export_bapps, import_bapps
from study.command import run
from study.errors import InputError
from study.files import replacing, sha256, write_bytes
from study.folder import Study, count_votes
from study.images import encode_png
from study.new import main as new
from study.records import Judgment, Score, Stimulus, Triplet
from study.settings import parse_settings, read_settings, write_settings
from study.votes import connect

MINIMAL = {"name": "x", "photographs": {"folder": "photographs"}, "codecs": [{"name": "jpeg"}]}


def judgment(index: int, triplet: str, chosen: str, **changes) -> Judgment:
    values = dict(
        id=f"j{index}", triplet=triplet, observer="o", chosen=chosen, side="left", position=index, protocol="flip",
        shown_at=None, loaded_at=None, answered_at=None, received_at="2026-01-01T00:00:00Z", flips=0, zoom=1.0,
        screen_width=None, screen_height=None, pixel_ratio=None, simulated=False, simulator=None, rejected=None,
    )  # fmt: skip
    return Judgment(**(values | changes))


def store_vote(study: Study, triplet: str) -> None:
    """One vote, `t`, in the study's store."""
    with connect(study.votes_path) as store:
        store.execute("INSERT INTO observers VALUES ('o', '2026', NULL, NULL)")
        store.execute("INSERT INTO trials VALUES ('t', 'o', 0, ?, 'test', 'a', 'x', 'y', 'z')", [triplet])
        store.execute(
            "INSERT INTO votes (trial, side, protocol, received_at, flips, zoom)"
            " VALUES ('t', 'left', 'flip', '2026', 0, 1)"
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sede": 1}, r"unknown key sede = 1; allowed: codecs, hits, name, page, photographs"),
        (
            {"codecs": [{"name": "jpeg", "qualty": 3}]},
            r"unknown key codecs\[0\].qualty = 3; allowed: label, name, settings",
        ),
        ({"photographs": {"folder": "p", "crop": 3}}, r"photographs.crop = 3: .*greater than or equal to 16"),
        ({"page": {"protocol": "z"}}, r"page.protocol = 'z': .*'side-by-side' or 'flip'"),
        ({"seed": "1"}, r"seed = '1': .*valid integer"),
        ({"rates": {"bits_per_pixel": [0.5, 0.5]}}, r"bits_per_pixel must be distinct numbers above 0"),
        ({"rates": {"bits_per_pixel": [float("nan")]}}, r"rates.bits_per_pixel\[0\] = nan: .*finite number"),
        ({"rates": {"bits_per_pixel": [-1.0]}}, r"bits_per_pixel must be distinct numbers above 0"),
        ({"codecs": [{"name": "jpeg"}, {"name": "jpeg"}]}, r"jpeg stands twice; give one of them a label"),
        ({"photographs": {"crop": 64}}, r"key photographs.folder is missing"),
    ],
)
def test_bad_settings_name_file_key_value_and_what_is_allowed(change, message):
    with pytest.raises(InputError, match=r"^study.toml: .*" + message):
        parse_settings(MINIMAL | change, "study.toml")


def test_broken_toml_names_the_line(tmp_path):
    path = tmp_path / "study.toml"
    path.write_text('name = "x"\nseed = = 2\n')
    with pytest.raises(InputError, match=r"study.toml: not valid TOML: .*line 2"):
        read_settings(path)


@given(
    st.text(min_size=1, max_size=40, alphabet=st.characters(exclude_categories=["Cs"])),
    st.lists(st.floats(0.01, 24, allow_nan=False), min_size=1, max_size=6, unique=True),
    st.dictionaries(st.text(min_size=1, max_size=9), st.integers() | st.booleans() | st.text(max_size=9), max_size=3),
)
def test_settings_survive_the_file(tmp_path_factory, text, rates, options):
    options = {k: v for k, v in options.items() if not isinstance(v, int) or abs(v) < 2**63}
    values = MINIMAL | {
        "page": {"consent": text},
        "rates": {"bits_per_pixel": rates},
        "codecs": [{"name": "jpeg", "settings": options}, {"name": "webp", "label": "other"}],
    }
    settings = parse_settings(json.loads(json.dumps(values)), "here")
    path = tmp_path_factory.mktemp("settings") / "study.toml"
    write_settings(settings, path)
    assert read_settings(path) == settings


@pytest.mark.parametrize("record", [Stimulus, Triplet, Judgment, Score])
def test_empty_tables_keep_their_columns(record, tmp_path):
    path = tmp_path / "table.parquet"
    tables.write(tables.frame([], record), path, record)
    assert list(tables.read(path, record).columns) == tables.schema(record).names


def test_tables_survive_the_file(make_study, tmp_path):
    study = make_study()
    for table, record in ((study.stimuli, Stimulus), (study.triplets, Triplet)):
        tables.write(table, tmp_path / "table.parquet", record)
        pd.testing.assert_frame_equal(tables.read(tmp_path / "table.parquet", record), table)


@pytest.mark.parametrize("content", [b"", b"not parquet", b"PAR1" * 3])
def test_a_damaged_table_is_named(content, tmp_path):
    path = tmp_path / "stimuli.parquet"
    path.write_bytes(content)
    with pytest.raises(InputError, match="stimuli.parquet: not a readable Parquet file"):
        tables.read(path, Stimulus)


def test_a_table_that_lacks_a_column_is_refused(make_study, tmp_path):
    path = tmp_path / "triplets.parquet"
    make_study().triplets.drop(columns="kind").to_parquet(path)
    with pytest.raises(InputError, match="no column kind"):
        tables.read(path, Triplet)


def test_a_table_from_before_a_column_with_a_default_is_read(make_study):
    study = make_study()
    pq.write_table(pq.read_table(study.stimuli_path).drop_columns("library"), study.stimuli_path)
    assert study.stimuli["library"].isna().all() and len(study.stimuli) > 0


def test_a_missing_stimulus_is_named(make_study):
    study = make_study()
    digest = study.stimuli["sha256"].iloc[4]
    study.images.remove([digest])
    with pytest.raises(InputError, match=f"{digest}.png is missing"):
        _ = Study(study.root).stimuli


def test_an_altered_stimulus_is_named(make_study):
    study = make_study()
    study.check_images()
    path = Path(study.images.place(study.stimuli["sha256"].iloc[4]))
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match=f"{path.name} was altered"):
        study.check_images()
    with pytest.raises(InputError, match=f"{path.name} was altered"):
        study.image(path.stem)


def test_a_duplicate_id_is_named(make_study):
    study = make_study()
    for table, path, record in (
        (study.stimuli, study.stimuli_path, Stimulus),
        (study.triplets, study.triplets_path, Triplet),
    ):
        kept = path.read_bytes()
        tables.write(pd.concat([table, table.iloc[:1]]), path, record)
        with pytest.raises(InputError, match=f"{path.name}: id {table['id'][0]} stands twice"):
            _ = Study(study.root).triplets
        path.write_bytes(kept)


@pytest.mark.parametrize("column", ["reference", "a", "b", "expected"])
def test_a_triplet_that_names_no_stimulus_is_named(make_study, column):
    study = make_study()
    table = study.triplets.copy()
    table.loc[2, column] = "nothing"
    tables.write(table, study.triplets_path, Triplet)
    with pytest.raises(InputError, match=f"triplet {table['id'][2]}: {column} nothing is no stimulus"):
        _ = Study(study.root).triplets


def test_a_vote_on_no_triplet_is_named(make_study):
    study = make_study()
    tables.write(tables.frame([judgment(0, "nothing", "x")], Judgment), study.judgments_path, Judgment)
    with pytest.raises(InputError, match="a vote names triplet nothing"):
        study.judgments()


def test_human_and_simulated_votes_are_not_mixed_unasked(make_study):
    study = make_study()
    triplet = study.triplets.iloc[0]
    rows = [
        judgment(0, triplet.id, triplet.a),
        judgment(1, triplet.id, triplet.b, simulated=True, simulator="{}"),
        judgment(2, triplet.id, triplet.b, simulated=True, simulator="{}"),
        judgment(3, triplet.id, triplet.b, rejected="failed sentinels"),
    ]
    tables.write(tables.frame(rows, Judgment), study.judgments_path, Judgment)
    counts = {voters: len(study.judgments(voters)[0]) for voters in ("auto", "human", "simulated", "all")}
    assert counts == {"auto": 1, "human": 1, "simulated": 2, "all": 3}
    assert "2 simulated votes left out" in study.judgments()[1]
    assert "SIMULATED" in study.judgments("all")[1]
    tables.write(tables.frame(rows[1:3], Judgment), study.judgments_path, Judgment)
    table, sentence = study.judgments()
    assert (len(table), sentence) == (2, "2 SIMULATED votes, none from a person")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a read-only copy needs root")
def test_votes_on_a_read_only_medium_can_be_read(make_study, tmp_path):
    study = make_study()
    triplet = study.triplets.iloc[0]
    store_vote(study, triplet.id)
    mount = subprocess.run(["mount", "--bind", str(study.root), str(study.root)], capture_output=True, check=False)
    if mount.returncode:
        pytest.skip("no bind mounts here")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(study.root)], check=True)
        assert len(Study(study.root).all_judgments()) == 1
    finally:
        subprocess.run(["umount", str(study.root)], check=True)
    study.votes_path.write_bytes(b"")  # made, but its tables found no room
    try:
        subprocess.run(["mount", "--bind", str(study.root), str(study.root)], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", str(study.root)], check=True)
        with pytest.raises(OSError, match="votes.sqlite"):
            Study(study.root).all_judgments()
    finally:
        subprocess.run(["umount", str(study.root)], check=True)


def test_votes_are_counted_by_triplet(make_study):
    study = make_study()
    first, second = study.triplets.iloc[0], study.triplets.iloc[1]
    rows = [judgment(k, first.id, first.b if k < 2 else first.a) for k in range(3)] + [judgment(3, second.id, second.a)]
    counted = count_votes(tables.frame(rows, Judgment), study.triplets).set_index("id")
    assert counted.loc[first.id, ["votes", "prefer_b"]].tolist() == [3, 2]
    assert counted.loc[second.id, ["votes", "prefer_b"]].tolist() == [1, 0]
    assert len(counted) == 2


def test_bapps_there_and_back(make_study, tmp_path):
    study = make_study()
    tests = study.triplets[study.triplets["kind"] == "test"]
    rows = [
        judgment(10 * i + k, t.id, t.b if k < i % 4 else t.a)
        for i, t in enumerate(tests.itertuples())
        for k in range(3)
    ]
    tables.write(tables.frame(rows, Judgment), study.judgments_path, Judgment)
    export_bapps(study, tmp_path / "bapps")
    assert sorted(path.name for path in (tmp_path / "bapps").iterdir()) == ["judge", "p0", "p1", "ref", "votes.csv"]
    assert run(new, [str(tmp_path / "back"), "--bapps", str(tmp_path / "bapps")]) == 0
    back = Study(tmp_path / "back")
    counted = [count_votes(s.judgments()[0], s.triplets) for s in (study, back)]
    for column in ("votes", "prefer_b"):
        assert counted[0][column].tolist() == counted[1][column].tolist()
    images = [s.stimuli.set_index("id")["sha256"] for s in (study, back)]
    for side in ("reference", "a", "b"):
        assert images[0][counted[0][side]].tolist() == images[1][counted[1][side]].tolist()
    assert back.stimuli["source"].nunique() == 3  # one a reference image
    with pytest.raises(InputError, match="is not empty"):
        export_bapps(study, tmp_path / "bapps")


def test_simulated_votes_stay_simulated_through_a_bapps_folder(make_study, tmp_path):
    study = make_study()
    triplet = study.triplets.iloc[0]
    model = json.dumps({"metric": "psnr", "noise": 0.5})
    rows = [judgment(k, triplet.id, triplet.b, simulated=True, simulator=model) for k in range(3)]
    tables.write(tables.frame(rows, Judgment), study.judgments_path, Judgment)
    export_bapps(study, tmp_path / "bapps")
    import_bapps(tmp_path / "bapps", tmp_path / "back")
    judgments, sentence = Study(tmp_path / "back").judgments()
    assert judgments["simulated"].all() and "SIMULATED" in sentence
    assert {json.loads(model)["metric"] for model in judgments["simulator"]} == {"psnr"}


def test_an_import_that_fails_leaves_nothing_and_can_be_repeated(make_study, tmp_path):
    study = make_study()
    triplet = study.triplets.iloc[0]
    tables.write(tables.frame([judgment(0, triplet.id, triplet.b)], Judgment), study.judgments_path, Judgment)
    export_bapps(study, tmp_path / "bapps")
    path = tmp_path / "bapps" / "p1" / "000000.png"
    kept = path.read_bytes()
    path.unlink()
    with pytest.raises(InputError, match="000000.png is missing"):
        import_bapps(tmp_path / "bapps", tmp_path / "back")
    assert not (tmp_path / "back").exists()
    path.write_bytes(kept)
    import_bapps(tmp_path / "bapps", tmp_path / "back")
    assert len(Study(tmp_path / "back").all_judgments()) == 1
    with pytest.raises(InputError, match="is not empty"):
        import_bapps(tmp_path / "bapps", tmp_path / "back")


def test_a_store_and_an_import_are_read_together(make_study):
    """Votes that only judgments.parquet has are not lost when a store appears beside it."""
    study = make_study()
    triplet = study.triplets.iloc[0]
    tables.write(tables.frame([judgment(0, triplet.id, triplet.b)], Judgment), study.judgments_path, Judgment)
    store_vote(study, triplet.id)
    judgments = study.all_judgments()
    assert judgments["id"].tolist() == ["j0", "t"]
    tables.write(judgments, study.judgments_path, Judgment)
    assert study.all_judgments()["id"].tolist() == ["j0", "t"]


@pytest.mark.parametrize("votes", [2, 5])
def test_bapps_s_own_folders_tell_their_counts(votes, tmp_path):
    """BAPPS has 2 votes a triplet in training and 5 in validation, and only shares on the disk."""
    for index in range(votes + 1):
        for part in ("ref", "p0", "p1"):
            path = tmp_path / "val" / "cnn" / part / f"{index:06d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.random.default_rng(index).integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(path)
        (tmp_path / "val" / "cnn" / "judge").mkdir(exist_ok=True)
        np.save(tmp_path / "val" / "cnn" / "judge" / f"{index:06d}.npy", np.array([index / votes]))
    import_bapps(tmp_path / "val", tmp_path / "study")
    study = Study(tmp_path / "study")
    counted = count_votes(study.judgments()[0], study.triplets)
    assert counted["votes"].tolist() == [votes] * (votes + 1)
    assert counted["prefer_b"].tolist() == list(range(votes + 1))


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda f: shutil.rmtree(f / "p1"), "no folder with ref, p0, p1, judge"),
        (lambda f: (f / "judge" / "000000.npy").unlink(), "000000.npy is missing"),
        (lambda f: np.save(f / "judge" / "000000.npy", np.array([1.5])), "expected one number from 0 to 1"),
        (lambda f: np.save(f / "judge" / "000000.npy", np.array([0.37])), "multiples of neither"),
        (lambda f: (f / "judge" / "000000.npy").write_bytes(b"x"), "not a readable .npy file"),
        (lambda f: (f / "p0" / "000000.png").write_bytes(b"x"), "not a readable image"),
        (lambda f: Image.new("RGB", (8, 8)).save(f / "p0" / "000000.png"), "8 x 8 pixels, its reference 16 x 16"),
    ],
)
def test_bad_bapps_folders(break_it, message, tmp_path):
    folder = tmp_path / "bapps"
    for part in ("ref", "p0", "p1"):
        (folder / part).mkdir(parents=True)
        Image.new("RGB", (16, 16)).save(folder / part / "000000.png")
    (folder / "judge").mkdir()
    np.save(folder / "judge" / "000000.npy", np.array([0.5]))
    break_it(folder)
    with pytest.raises(InputError, match=message):
        import_bapps(folder, tmp_path / "study")


def test_new_writes_settings_that_read_back(tmp_path, capsys):
    (tmp_path / "photographs").mkdir()
    arguments = [str(tmp_path / "s"), "--images", str(tmp_path / "photographs"), "--rates", "0.3", "0.9"]
    assert run(new, arguments) == 0
    settings = Study(tmp_path / "s").settings
    assert settings.rates.bits_per_pixel == [0.3, 0.9]
    assert [codec.name for codec in settings.codecs] == ["jpeg", "jpeg2000", "webp", "avif"]
    assert run(new, arguments) == 2
    assert "holds a study already" in capsys.readouterr().err
    assert run(new, [*arguments, "--crop", "5", "--force"]) == 2
    assert "photographs.crop = 5" in capsys.readouterr().err
    assert Study(tmp_path / "s").settings == settings  # the refused settings did not replace it
    photographs = tmp_path / "photographs"
    assert run(new, [str(photographs), "--images", str(photographs)]) == 2
    assert "is the study's own folder" in capsys.readouterr().err
    (tmp_path / "u" / "inside").mkdir(parents=True)
    assert run(new, [str(tmp_path / "u"), "--images", str(tmp_path / "u" / "inside")]) == 0
    assert Study(tmp_path / "u").settings.photographs.folder == "inside"  # so that the two can be moved together
    assert run(new, [str(tmp_path / "t"), "--images", str(tmp_path / "absent")]) == 2
    assert not (tmp_path / "t").exists()


def test_png_bytes_have_no_metadata_and_give_the_pixels_back():
    pixels = np.random.default_rng(0).integers(0, 255, (7, 5, 3), dtype=np.uint8)
    data = encode_png(pixels)
    image = Image.open(io.BytesIO(data))
    assert image.info == {}
    assert (np.array(image) == pixels).all()
    assert data == encode_png(pixels)


def test_a_file_is_there_wholly_or_not_at_all(tmp_path):
    path = tmp_path / "file"
    write_bytes(path, b"old")
    with pytest.raises(ZeroDivisionError), replacing(path) as aside:
        aside.write_bytes(b"half")
        raise ZeroDivisionError
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_images_are_kept_once_under_their_hash(make_study):
    study = make_study()
    before = len(list((study.root / "stimuli").iterdir()))
    pixels = study.image(study.stimuli["sha256"].iloc[0])
    digest = study.add_image(pixels)
    assert digest == study.stimuli["sha256"].iloc[0] == sha256(study.images.read(digest))
    assert len(list((study.root / "stimuli").iterdir())) == before
