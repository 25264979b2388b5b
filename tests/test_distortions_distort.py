"""`eyetune distort` on small folders of photographs: one result, whatever happens on the way."""

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from conftest import photograph
from PIL import Image

from distortions import distort
from distortions.distort import main
from study.errors import InputError
from study.folder import Study
from study.settings import parse_settings, write_settings
from study.votes import connect

CLI = [sys.executable, str(Path(distort.__file__).parents[1] / "eyetune.py")]


def new(root: Path, folder: Path | str, **sections) -> Path:
    values = {
        "name": "study",
        "photographs": {"folder": str(folder), "crop": 48},
        "rates": {"bits_per_pixel": [0.5, 1.5], "tolerance": 0.2},
        "codecs": [{"name": "jpeg"}, {"name": "webp"}],
        "triplets": {"sentinels": 3, "repeats": 0.15, "practice": 1},
    }
    root.mkdir(parents=True, exist_ok=True)
    write_settings(parse_settings(values | sections, "test"), root / "study.toml")
    return root


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def stored(root: Path) -> set[str]:
    """The names of the stored images."""
    return {path.stem for path in (root / "stimuli").iterdir()}


def kept(root: Path) -> set[str]:
    """Those that the parts in .distort have: sentinels can be chosen of them."""
    parts = [json.loads(path.read_text()) for path in root.glob(".distort/*/*.json")]
    return {row["sha256"] for part in parts for row in (*part["stimuli"], *(floor for floor, _ in part["floors"]))}


@pytest.fixture
def photographs(tmp_path):
    folder = tmp_path / "photographs"
    (folder / "more").mkdir(parents=True)
    for k in range(4):
        Image.fromarray(photograph(k, 80)).save(folder / ("more" if k % 2 else "") / f"{k}.png")
    return folder


def test_a_study_is_made_and_reads_back(tmp_path, photographs, capsys):
    (photographs / "notes.txt").write_text("not a photograph")
    (photographs / "text.png").write_text("not one either")
    Image.fromarray(photograph(0, 80)).save(photographs / "zcopy.bmp")
    Image.fromarray(photograph(9, 80)[:1, :1]).save(photographs / "one.png")
    os.mkfifo(photographs / "pipe.png")  # whose reader would wait for ever
    study = Study(new(tmp_path / "study", photographs))
    assert main([str(study.root), "--workers", "1"]) == 0
    printed = capsys.readouterr().out
    record = json.loads((study.root / "distort.json").read_text())
    assert set(record["skipped"]) == {"text.png", "one.png", "zcopy.bmp", "pipe.png"}
    assert record["skipped"]["zcopy.bmp"] == "the same picture as 0.png"
    assert all(f"{source}: {reason}" in printed for source, reason in record["skipped"].items())
    assert "no images: 1" in printed and f"eyetune serve {study.root}" in printed
    libraries = study.stimuli.groupby("codec")["library"].unique().map(list)
    assert libraries.to_dict() == {"reference": [None]} | {k: [v["library"]] for k, v in record["codecs"].items()}

    study.check_images()
    stimuli, triplets = study.stimuli, study.triplets
    assert stored(study.root) == set(stimuli["sha256"]) | kept(study.root)
    assert Counter(triplets["kind"]) == {"test": 4 * 4, "sentinel": 3, "repeat": 3, "training": 1}
    assert set(stimuli["source"]) == {"0.png", "2.png", "more/1.png", "more/3.png"}
    for row in stimuli[stimuli["codec"] == "reference"].itertuples():
        whole = np.array(Image.open(photographs / row.source))
        crop = whole[row.crop_y : row.crop_y + 48, row.crop_x : row.crop_x + 48]
        assert np.array_equal(study.image(row.sha256), crop) and row.bits is None or np.isnan(row.bits)
    distorted = stimuli[stimuli["codec"] != "reference"]
    assert np.allclose(distorted["bits_per_pixel"], distorted["bits"] / 80**2) and (distorted["bits"] % 8 == 0).all()
    aimed = distorted[distorted["target_bits_per_pixel"].notna()]
    assert (abs(aimed["bits_per_pixel"] / aimed["target_bits_per_pixel"] - 1) <= 0.2).all()
    sources = stimuli.set_index("id")["source"]
    for row in triplets.itertuples():
        assert sources[row.reference] == sources[row.a] == sources[row.b] and row.a != row.b


def test_the_result_is_the_same_at_any_number_of_workers_and_anew(tmp_path, photographs):
    """All four codecs; a photograph more changes nothing about the others."""
    codecs = [{"name": name} for name in ("jpeg", "jpeg2000", "webp", "avif")]
    first = new(tmp_path / "first", photographs, codecs=codecs)
    second = new(tmp_path / "second", photographs, codecs=codecs)
    assert main([str(first), "--workers", "1"]) == 0 and main([str(second), "--workers", "2"]) == 0
    assert contents(first) == contents(second)
    Image.fromarray(photograph(8, 80)).save(photographs / "0before.png")
    third = new(tmp_path / "third", photographs, codecs=codecs)
    assert main([str(third), "--workers", "1"]) == 0
    before, after = Study(first), Study(third)
    tests = before.triplets[before.triplets["kind"] == "test"]["id"]
    assert set(tests) <= set(after.triplets["id"]) and len(after.triplets) > len(before.triplets)


def test_an_unreachable_rate_is_told_and_left_out(tmp_path, photographs, capsys):
    root = new(tmp_path / "study", photographs, rates={"bits_per_pixel": [0.01, 1.5], "tolerance": 0.1})
    main([str(root), "--workers", "1"])
    record = json.loads((root / "distort.json").read_text())
    assert all(miss["nearest_bits_per_pixel"] > 0.01 for miss in record["unreachable"])
    assert Counter((miss["codec"], miss["target_bits_per_pixel"]) for miss in record["unreachable"]) >= Counter(
        {("jpeg", 0.01): 4, ("webp", 0.01): 4}
    )
    assert "jpeg        0.01             -            0            4" in capsys.readouterr().out
    assert 0.01 not in set(Study(root).stimuli["target_bits_per_pixel"])


def test_a_second_run_does_nothing_and_other_settings_need_force(tmp_path, photographs, capsys):
    root = new(tmp_path / "study", photographs)
    main([str(root), "--workers", "1"])
    made = contents(root)
    assert main([str(root)]) == 0
    assert "made already" in capsys.readouterr().out and contents(root) == made
    new(root, photographs, seed=2)
    with pytest.raises(InputError, match="other seed.*--force"):
        main([str(root)])
    main([str(root), "--workers", "1", "--force"])
    assert stored(root) == set(Study(root).stimuli["sha256"]) | kept(root)
    assert len(list(root.glob(".distort/*/"))) == 1
    Image.fromarray(photograph(8, 80)).save(photographs / "more.png")
    with pytest.raises(InputError, match="other photographs"):
        main([str(root)])


def test_votes_are_never_orphaned(tmp_path, photographs):
    root = new(tmp_path / "study", photographs)
    main([str(root), "--workers", "1"])
    with connect(root / "votes.sqlite") as store:
        store.execute("INSERT INTO observers VALUES ('o', 'now', NULL, NULL)")
        store.execute("INSERT INTO trials VALUES ('t', 'o', 0, 'x', 'test', 'a', 'r', 'l', 'm')")
        store.execute(
            "INSERT INTO votes (trial, side, protocol, received_at, flips, zoom) VALUES ('t','left','','',0,1)"
        )
    with pytest.raises(InputError, match="have votes"):
        main([str(root), "--force"])


def test_votes_keep_their_triplets_where_the_tables_have_gone(tmp_path, photographs, capsys):
    """Other settings would make others, which the votes do not name; the same ones make the same."""
    root = new(tmp_path / "study", photographs)
    assert main([str(root), "--workers", "1"]) == 0
    with connect(root / "votes.sqlite") as store:
        store.execute("INSERT INTO observers VALUES ('o', 'now', NULL, NULL)")
        store.execute("INSERT INTO trials VALUES ('t', 'o', 0, 'x', 'test', 'a', 'r', 'l', 'm')")
    before = contents(root)
    for name in ("stimuli.parquet", "triplets.parquet"):
        (root / name).unlink()
    new(root, photographs, triplets={"across_rates": 1, "sentinels": 3, "repeats": 0.15, "practice": 1})
    with pytest.raises(InputError, match="made before with other triplets; set these back, or make a new study"):
        main([str(root)])
    assert not (root / "triplets.parquet").exists()
    new(root, photographs)
    assert main([str(root), "--workers", "1"]) == 0
    assert contents(root) == before


def test_a_second_run_at_the_same_time_is_refused(tmp_path, photographs):
    """It would sweep away what the first is writing; the lock ends with its holder, here by SIGKILL."""
    root = new(tmp_path / "study", photographs)
    (root / ".distort").mkdir()
    code = "import fcntl, sys; file = open(sys.argv[1], 'a'); fcntl.flock(file, fcntl.LOCK_EX); print(); input()"
    command = [sys.executable, "-c", code, str(root / ".distort" / "lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
        first.stdout.readline()
        with pytest.raises(InputError, match="another eyetune distort is at work in it; wait"):
            main([str(root), "--workers", "1"])
        assert not (root / "stimuli").exists()
        first.kill()
    assert main([str(root), "--workers", "1"]) == 0


@pytest.mark.parametrize("left", ["", "null", "{}", '{"source": "0.png", "sha'])
def test_what_a_power_cut_left_of_a_photograph_is_made_again(tmp_path, photographs, left):
    root = new(tmp_path / "study", photographs)
    assert main([str(root), "--workers", "1"]) == 0
    before = contents(root)
    min(root.glob(".distort/*/*.json")).write_text(left)
    (root / ".distort" / "notes").write_text("a file of somebody's")
    assert main([str(root), "--workers", "1", "--force"]) == 0
    (root / ".distort" / "notes").unlink()
    assert contents(root) == before


def test_a_distort_json_that_was_edited_is_one_of_other_settings(tmp_path, photographs):
    root = new(tmp_path / "study", photographs)
    assert main([str(root), "--workers", "1"]) == 0
    path = root / "distort.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"codecs": {"jpeg": 3}}))
    with pytest.raises(InputError, match="made before with other codecs; replace"):
        main([str(root)])


def test_what_a_killed_run_left_half_written_is_removed(tmp_path, photographs):
    root = new(tmp_path / "study", photographs)
    left = [root / f".{name}.x1.part" for name in ("stimuli.parquet", "triplets.parquet", "distort.json")]
    for path in (*left, root / ".scores.parquet.x1.part"):  # the last is perhaps being written by eyetune score
        path.write_bytes(b"half")
    assert main([str(root), "--workers", "1"]) == 0
    assert [path.name for path in root.glob(".*.part")] == [".scores.parquet.x1.part"]


def test_a_missing_image_is_made_again(tmp_path, photographs, capsys):
    root = new(tmp_path / "study", photographs)
    main([str(root), "--workers", "1"])
    made = contents(root)
    for digest in sorted(set(Study(root).stimuli["sha256"]))[::5]:
        (root / "stimuli" / f"{digest}.png").unlink()
    assert main([str(root), "--workers", "1"]) == 0
    assert contents(root) == made and "made again" in capsys.readouterr().out


def test_after_ctrl_c_the_same_command_goes_on(tmp_path, photographs):
    """In a real process group: status 130 at once, no traceback, and what was finished is not made again."""
    for k in range(4, 16):
        Image.fromarray(photograph(k, 160)).save(photographs / f"{k}.png")
    root = new(tmp_path / "study", photographs, codecs=[{"name": "jpeg"}, {"name": "avif"}])
    command = [*CLI, "distort", str(root), "--workers", "2"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 60
    while len(list(root.glob(".distort/*/*.json"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=10)
    assert process.returncode == 130 and "interrupted" in said and "Traceback" not in said
    parts = len(list(root.glob(".distort/*/*.json")))
    assert 3 <= parts < 16 and not (root / "stimuli.parquet").exists() and not list(root.rglob("*.part"))
    before = {path: path.stat().st_mtime_ns for path in (root / "stimuli").iterdir()}

    again = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert again.returncode == 0 and f" {parts}/16 [00:00" in again.stderr
    uninterrupted = new(tmp_path / "other", photographs, codecs=[{"name": "jpeg"}, {"name": "avif"}])
    main([str(uninterrupted), "--workers", "1"])
    assert contents(root) == contents(uninterrupted)
    assert all(path.stat().st_mtime_ns == before[path] for path in (root / "stimuli").iterdir() if path in before)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_disk_error_keeps_its_number_and_leaves_nothing_half_written(tmp_path, photographs, workers):
    """A limit on file sizes stands in for a full disk: it fails the same calls, here or in a worker."""
    root = new(tmp_path / "study", photographs)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, limit[1]))
    try:
        with pytest.raises(OSError) as error:
            main([str(root), "--workers", workers])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, ignored)
    assert error.value.errno == errno.EFBIG
    assert not list(root.rglob("*.part")) and not (root / "stimuli.parquet").exists()
    assert main([str(root), "--workers", "1"]) == 0


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"photographs": None}, r"no \[photographs\]"),
        ({"photographs": {"folder": "nowhere"}}, "nowhere.*no such folder"),
        ({"codecs": [{"name": "jpg"}]}, "'jpg': no such codec"),
        ({"codecs": [{"name": "jpeg"}], "rates": {"bits_per_pixel": [1.0], "tolerance": 0.2}}, "one codec at one rate"),
        ({"codecs": [{"name": "jpeg"}], "rates": {"bits_per_pixel": [0.001]}}, "were not reached"),
        ({"triplets": {"across_codecs": 0, "across_rates": 0}}, "across_rates = 0: no comparison would be made; raise"),
        (
            {"triplets": {"across_codecs": 0, "across_rates": 0}, "quality": {"psnr": [30.0], "pairs": 0}},
            "across_rates = 0: no comparison would be made; raise",
        ),
        ({"photographs": {"folder": "small", "crop": 200}}, "smaller than the crop of 200 x 200"),
        ({"photographs": {"folder": "empty"}}, "no photographs in it"),
    ],
)
def test_bad_input_is_one_line(tmp_path, photographs, sections, message):
    root = new(tmp_path / "study", photographs, **sections)
    (root / "empty").mkdir()
    (root / "small").symlink_to(photographs)
    with pytest.raises(InputError, match=message) as error:
        main([str(root), "--workers", "1"])
    assert "\n" not in str(error.value)
    assert not (root / "stimuli.parquet").exists()


def test_too_few_obvious_comparisons_are_told_by_the_names_that_study_toml_has(tmp_path, photographs, capsys):
    triplets = {"sentinels": 90, "practice": 70, "repeats": 0.0}
    assert main([str(new(tmp_path / "study", photographs, triplets=triplets)), "--workers", "1"]) == 0
    said = capsys.readouterr().out
    assert " sentinel triplets in place of 90: too few" in said and " practice triplets in place of 70: too few" in said


def test_no_study_and_no_worker(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        main([str(tmp_path / "none")])
    with pytest.raises(InputError, match="--workers 0"):
        main([str(tmp_path), "--workers", "0"])
