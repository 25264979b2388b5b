"""`eyetune distort` by each design: linked and balanced pairs, chosen anew without encoding anew."""

import dataclasses
import itertools
import json
import shutil
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from conftest import photograph
from PIL import Image
from scipy.special import expit
from test_distortions_distort import contents, kept, new, stored

from analysis.psychometric import Preference
from distortions.distort import main
from distortions.predicted import predicted_distances, spread_of_differences
from distortions.quality import psnr
from metric.exporting.exported import save
from metric.measures import lpips
from metric.pairs import to_tensor
from study.design.conditions import comparison_of, condition_of, step_of
from study.design.graph import linked_groups
from study.errors import InputError
from study.folder import Study
from study.records import Stimulus
from study.tables import records
from study.votes import connect

ROOT = Path(__file__).parents[1]
CODECS = [{"name": name} for name in ("jpeg", "webp", "jpeg2000")]
RATES = {"bits_per_pixel": [0.8, 1.5, 2.5], "tolerance": 0.3}
PER_CROP = 9
DESIGNS = {
    "same-rate": {},
    "ladder": {},
    "random": {},
    "stratified": {"metrics": ["psnr"]},
    "disagreement": {"metrics": ["psnr", "ssim"]},
}


def asked(design: str, **triplets) -> dict:
    """Sections of study.toml."""
    return {
        "codecs": CODECS,
        "rates": RATES,
        "triplets": {"sentinels": 2, "practice": 1, "design": design, **DESIGNS.get(design, {}), **triplets},
    }


def crop_stimuli(study: Study) -> list[list[Stimulus]]:
    """The stimuli of each crop that were made for a rate, the reference first."""
    table = study.stimuli[(study.stimuli["codec"] == "reference") | study.stimuli["target_bits_per_pixel"].notna()]
    rows = records(table, Stimulus)
    references = [row for row in rows if row.codec == "reference"]
    return [[one, *(row for row in rows if row.source == one.source and row is not one)] for one in references]


def crops_of(study: Study) -> dict[str, list[tuple[Stimulus, Stimulus]]]:
    """The pairs of the test triplets of each crop, by the reference's id; their comparison is that of the pair."""
    stimuli = {stimulus.id: stimulus for stimulus in records(study.stimuli, Stimulus)}
    found = defaultdict(list)
    for row in study.triplets[study.triplets["kind"] == "test"].itertuples():
        a, b = stimuli[row.a], stimuli[row.b]
        assert row.comparison == comparison_of(a, b) and a.sha256 != b.sha256
        found[row.reference].append((a, b))
    return found


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photographs")
    for k in range(4):
        Image.fromarray(photograph(k, 96)).save(folder / f"{k}.png")
    return folder


@pytest.fixture(scope="module")
def encoded(tmp_path_factory, photographs):
    """A study that was made by the usual design."""
    root = new(tmp_path_factory.mktemp("encoded") / "study", photographs, **asked("codecs-and-rates"))
    assert main([str(root), "--workers", "1"]) == 0
    return root


@pytest.fixture
def study(tmp_path, encoded):
    shutil.copytree(encoded, tmp_path / "study")
    return tmp_path / "study"


@pytest.mark.parametrize("design", DESIGNS)
def test_all_stimuli_of_a_crop_are_linked_and_used_alike(study, photographs, design, capsys):
    new(study, photographs, **asked(design, pairs=10))
    assert main([str(study), "--workers", "1", "--force"]) == 0
    crops = crops_of(Study(study))
    assert len(crops) == 4
    for pairs in crops.values():
        assert len(pairs) == 10 == len({frozenset((a.id, b.id)) for a, b in pairs})
        groups = linked_groups((a.id, b.id) for a, b in pairs)
        assert [len(group) for group in groups] == [PER_CROP]
        uses = Counter(stimulus.id for pair in pairs for stimulus in pair).values()
        if design != "disagreement":  # which takes what teaches most
            assert max(uses) - min(uses) <= {"random": 1}.get(design, 2)
    names = Counter(comparison_of(*pair) for pairs in crops.values() for pair in pairs)
    said = capsys.readouterr().out
    words = {"codecs": "across codecs", "rates": "across rates", "both": "across both"}
    assert f"40 test ({', '.join(f'{names[n]} {words[n]}' for n in words if n in names)})" in said
    assert "never compared" not in said
    if design in ("same-rate", "ladder"):  # two pairs link three rates, or three codecs
        assert min(names.values()) == 8 and "both" not in names


@pytest.mark.parametrize("design", ["random", "same-rate", "ladder"])
def test_crops_with_few_pairs_are_planned_together(study, photographs, design, capsys):
    """Nine conditions need eight pairs; three a crop link them over four photographs, and nothing else is told."""
    new(study, photographs, **asked(design, pairs=3))
    assert main([str(study), "--workers", "1", "--force"]) == 0
    crops = crops_of(Study(study))
    assert {len(pairs) for pairs in crops.values()} == {3}
    named = [(condition_of(a), condition_of(b)) for pairs in crops.values() for a, b in pairs]
    assert [len(group) for group in linked_groups(named)] == [PER_CROP]
    uses = Counter(name for pair in named for name in pair).values()
    assert max(uses) - min(uses) <= 3 and "never compared" not in capsys.readouterr().out


def test_pairs_of_a_crop_do_not_depend_on_other_photographs(study, photographs, tmp_path):
    new(study, photographs, **asked("random", pairs=10))
    assert main([str(study), "--workers", "1", "--force"]) == 0
    few = tmp_path / "few"
    few.mkdir()
    for name in ("1.png", "3.png"):
        shutil.copy(photographs / name, few)
    other = new(tmp_path / "other", few, **asked("random", pairs=10))
    assert main([str(other), "--workers", "1"]) == 0
    crops, alone = crops_of(Study(study)), crops_of(Study(other))
    assert len(alone) == 2 and all(crops[reference] == pairs for reference, pairs in alone.items())


@pytest.mark.parametrize("design", ["stratified", "ladder"])
def test_other_pairs_are_chosen_without_encoding_anew(study, photographs, tmp_path, design, capsys):
    """To the byte what a new study would be, in spite of other sentinels, on two workers; a second run does nothing."""
    sections = asked(design, pairs=8, sentinels=9)
    parts = {path: path.stat().st_mtime_ns for path in study.glob(".distort/*/*.json")}
    images = {path: path.stat().st_mtime_ns for path in (study / "stimuli").iterdir()}
    new(study, photographs, **sections)
    with pytest.raises(InputError, match="made before with other triplets; replace .* with --force"):
        main([str(study)])
    assert main([str(study), "--workers", "1", "--force"]) == 0
    assert len(parts) == 4 and {path: path.stat().st_mtime_ns for path in study.glob(".distort/*/*.json")} == parts
    assert {path: path.stat().st_mtime_ns for path in (study / "stimuli").iterdir()} == images
    fresh = new(tmp_path / "fresh", photographs, **sections)
    assert main([str(fresh), "--workers", "2"]) == 0
    assert contents(study) == contents(fresh)
    capsys.readouterr()
    assert main([str(study), "--workers", "1"]) == 0
    assert "made already" in capsys.readouterr().out and contents(study) == contents(fresh)


def test_other_rates_are_encoded_and_the_former_images_go(study, photographs):
    before = stored(study)
    new(study, photographs, **asked("random"), seed=2)
    assert main([str(study), "--workers", "1", "--force"]) == 0
    assert len(list(study.glob(".distort/*/"))) == 1
    assert stored(study) == kept(study) | set(Study(study).stimuli["sha256"]) and not before <= stored(study)


def test_what_is_missing_of_the_former_run_is_encoded_and_the_rest_is_not(study, photographs, capsys):
    """An image of one photograph that no comparison uses, and the part of another."""
    whole = contents(study)
    table = Study(study).stimuli
    of = {path: json.loads(path.read_text()) for path in sorted(study.glob(".distort/*/*.json"))}
    unused = {floor["sha256"]: path for path, part in of.items() for floor, _ in part["floors"]}
    gone = min(set(unused) - set(table["sha256"]))
    (study / "stimuli" / f"{gone}.png").unlink()
    assert main([str(study)]) == 0 and "made already" in capsys.readouterr().out  # the tables need none of it
    other = next(path for path in of if path != unused[gone])
    other.unlink()
    assert main([str(study), "--workers", "1", "--force"]) == 0
    assert " 2/4 [00:00<" in capsys.readouterr().err and contents(study) == whole


def test_an_image_that_the_tables_need_is_made_again_beside_those_kept(study, photographs, capsys):
    whole = contents(study)
    table = Study(study).stimuli
    (study / "stimuli" / f"{table['sha256'].iloc[5]}.png").unlink()
    assert main([str(study), "--workers", "1"]) == 0
    assert "1 missing images were made again" in capsys.readouterr().out and contents(study) == whole


def test_a_run_that_stops_while_it_writes_the_tables_is_finished_by_the_next(study, photographs, tmp_path):
    """distort.json goes first and comes last, so half a change is not taken for the settings before it."""
    new(study, photographs, **asked("random"))
    (study / "triplets.parquet").unlink()
    (study / "triplets.parquet").mkdir()
    with pytest.raises(IsADirectoryError):
        main([str(study), "--workers", "1", "--force"])
    (study / "triplets.parquet").rmdir()
    assert not (study / "distort.json").exists()
    assert main([str(study), "--workers", "1"]) == 0
    fresh = new(tmp_path / "fresh", photographs, **asked("random"))
    assert main([str(fresh), "--workers", "1"]) == 0
    assert contents(study) == contents(fresh)


@pytest.mark.parametrize("force", [["--force"], []])
def test_pairs_with_votes_are_not_replaced(study, photographs, force):
    with connect(study / "votes.sqlite") as store:
        store.execute("INSERT INTO observers VALUES ('o', 'now', NULL, NULL)")
        store.execute("INSERT INTO trials VALUES ('t', 'o', 0, 'x', 'test', 'a', 'r', 'l', 'm')")
    new(study, photographs, **asked("random"))
    (study / "distort.json").unlink()
    with pytest.raises(
        InputError, match="votes or open sessions" if force else "distort.json is missing, .* have votes"
    ):
        main([str(study), *force])


def test_synthetic_distortions_meet_codecs_only_where_any_two_meet(tmp_path, photographs, capsys):
    """Two groups of conditions by the designs that go by rates and levels, which is told."""
    names = ["jpeg", "webp", "gaussian-blur", "white-noise"]
    sections = {"codecs": [{"name": name} for name in names], "rates": {"bits_per_pixel": [1.0, 2.5], "tolerance": 0.3},
                "quality": {"psnr": [30.0]}}  # fmt: skip
    root = new(tmp_path / "study", photographs, **sections, triplets={"design": "same-rate", "pairs": 40})
    for design in ("same-rate", "ladder", "random"):
        new(root, photographs, **sections, triplets={"design": design, "pairs": 40, "sentinels": 1})
        assert main([str(root), "--workers", "1", *(["--force"] if design != "same-rate" else [])]) == 0
        said = capsys.readouterr().out
        for pairs in crops_of(Study(root)).values():
            groups = linked_groups((a.codec, b.codec) for a, b in pairs)
            steps = {(step_of(a).ladder, step_of(b).ladder) for a, b in pairs if a.codec != b.codec}
            if design == "random":
                assert len(groups) == 1
            else:
                assert sorted(map(sorted, groups)) == [["gaussian-blur", "white-noise"], ["jpeg", "webp"]]
            if design == "same-rate":
                assert steps == {("rate", "rate"), ("psnr", "psnr"), ("level", "level")}
                assert len(linked_groups((a.id, b.id) for a, b in pairs)) == 2
        told = "2 groups of conditions are never compared" in said
        assert told == (design != "random") and ("at equal PSNR" in said)


@pytest.mark.parametrize(
    ("triplets", "message"),
    [
        ({"design": "stratified"}, r"study.toml: triplets: metrics = \[\]: design stratified takes exactly one metric"),
        ({"design": "disagreement", "metrics": ["psnr"]}, "design disagreement takes two metrics or more"),
        ({"design": "random", "metrics": ["psnr"]}, "design random takes no metrics"),
        ({"design": "disagreement", "metrics": ["psnr", "psnr"]}, "one stands twice"),
        ({"design": "best"}, "triplets.design = 'best': input should be 'codecs-and-rates'"),
        ({"design": "random", "pairs": 0}, "triplets.pairs = 0"),
        ({"design": "stratified", "metrics": ["pnsr"]}, r"study.toml: triplets.metrics: unknown metric 'pnsr'"),
        ({"design": "stratified", "metrics": ["no.safetensors"]}, "triplets.metrics: no.safetensors: No such file"),
        ({"design": "stratified", "metrics": ["study.safetensors"]}, "study.safetensors: not a readable safetensors"),
        ({"design": "stratified", "metrics": ["ms-ssim"]}, "triplets.metrics: .*161"),
    ],
)
def test_a_bad_design_is_one_line_before_anything_is_encoded(tmp_path, photographs, triplets, message):
    root = new(tmp_path / "study", photographs)
    path = root / "study.toml"
    keys = "\n".join(f"{key} = {json.dumps(value)}" for key, value in triplets.items())
    text = path.read_text()
    for key in triplets:
        text = "\n".join(line for line in text.split("\n") if not line.startswith(f"{key} ="))
    head, tail = text.split("[triplets]", 1)
    comment, rest = tail.split("\n", 1)
    path.write_text(f"{head}[triplets]{comment}\n{keys}\n{rest}")
    (root / "study.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match=message) as error:
        main([str(root), "--workers", "1"])
    assert "\n" not in str(error.value) and not (root / "stimuli").exists()


def test_the_spread_is_that_of_all_differences_within_crops():
    crops = [np.array([1.0, 4.0, 2.0, 2.5]), np.array([-30.0, -20.0]), np.array([7.0])]
    differences = [a - b for crop in crops for a, b in itertools.permutations(crop, 2)]
    assert spread_of_differences(crops) == pytest.approx(np.std(differences)) and spread_of_differences(crops[2:]) == 0


def test_a_metric_without_a_link_is_put_on_the_scale_of_its_differences(study, photographs):
    """Minus the PSNR over the spread of its differences: each as large as one of the spread is a chance of .73."""
    new(study, photographs, **asked("stratified"))
    opened = Study(study)
    crops = [crop for crop in crop_stimuli(opened) if len(crop) == 1 + PER_CROP]
    (found,) = predicted_distances(opened, crops)
    minus = {
        s.id: -psnr(opened.image(s.sha256), opened.image(crop[0].sha256)) for crop in crops for s in crop[1:]
    }  # fmt: skip
    pairs = [pair for crop in crops for pair in itertools.combinations([s.id for s in crop[1:]], 2)]
    spread = np.sqrt(np.mean([(minus[a] - minus[b]) ** 2 for a, b in pairs]))
    assert len(pairs) == 4 * 36 and set(found) == set(minus)
    assert [found[a] - found[b] for a, b in pairs] == pytest.approx(
        [(minus[a] - minus[b]) / spread for a, b in pairs], abs=1e-4
    )


def test_an_exported_metric_has_the_link_that_was_fitted_to_its_votes(study, photographs):
    """And other weights under the same name are other settings."""
    link = Preference(0.1, 0.05, 0.6, 1.7, 0.0, -1.0, 10.0)
    metric = lpips("alex")
    metric.calibration = {"preference": dataclasses.asdict(link), "jnd": None}
    save(metric, study / "mine.safetensors", {"name": "mine"})
    new(study, photographs, **asked("disagreement", metrics=["mine.safetensors", "psnr"], pairs=9))
    assert main([str(study), "--workers", "1", "--force"]) == 0
    opened = Study(study)
    crop = crop_stimuli(opened)[0]
    odds, _ = predicted_distances(opened, [crop])
    images = [to_tensor([opened.image(s.sha256)]) for s in crop]
    distances = [float(metric(images[0], image)) for image in images[1:]]
    for (one, a), (other, b) in itertools.combinations(zip(crop[1:], distances, strict=True), 2):
        assert expit(odds[one.id] - odds[other.id]) == pytest.approx(float(link.probability(a, b)), abs=1e-5)
    save(lpips("alex"), study / "mine.safetensors", {"name": "mine"})
    with pytest.raises(InputError, match="made before with other metrics"):
        main([str(study)])


@pytest.mark.parametrize(("design", "needed"), [("ladder", False), ("jnd", False), ("stratified", True)])
def test_torch_is_imported_only_for_what_metrics_foretell(study, photographs, design, needed):
    new(study, photographs, **asked(design))
    code = f"import sys; from distortions.distort import main; main([{str(study)!r}, '--workers', '1', '--force'])"
    code += "; print('torch' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert ran.stdout.splitlines()[-1] == str(needed)
