"""Equal quality across codecs, rates to within 1 %, and crops that are worth a look."""

import json
from collections import Counter
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from conftest import photograph
from PIL import Image
from shared_data import shared

from analysis.scaling import name_conditions
from distortions.catalogue import CODECS
from distortions.crops import choose_crops, difference
from distortions.distort import main
from distortions.quality import PSNR, Crops, psnr, reach_quality
from distortions.rates import Ladder, reach
from study.design.designs import comparison_of, condition_of
from study.errors import InputError
from study.folder import Study
from study.photographs import read
from study.records import Stimulus
from study.settings import parse_settings, read_settings, write_settings


def kodak() -> list[np.ndarray]:
    folder = shared("photos/kodak")
    return [read(folder / f"kodim{k:02d}.png")[100:356, 100:484] for k in (5, 23)]


def codec(name: str):
    made = CODECS[name]()
    if made.missing():
        pytest.skip(made.missing())
    return made


def new(root, folder, **sections) -> Study:
    values = {
        "name": "study",
        "photographs": {"folder": str(folder), "crop": 48},
        "rates": {"bits_per_pixel": [0.5, 1.5], "tolerance": 0.2},
        "quality": {"psnr": [28.0, 32.0]},
        "codecs": [{"name": name} for name in ("jpeg", "jpeg2000", "webp")],
        "triplets": {"sentinels": 3, "practice": 1},
    }
    root.mkdir(parents=True)
    write_settings(parse_settings(values | sections, "test"), root / "study.toml")
    return Study(root)


@pytest.fixture
def photographs(tmp_path):
    folder = tmp_path / "photographs"
    folder.mkdir()
    for k in range(2):
        Image.fromarray(photograph(k, 80)).save(folder / f"{k}.png")
    return folder


def beside(ladder: Ladder, step: int) -> list[int]:
    return [near for near in range(step - 2, step + 3) if 0 <= near < len(ladder.codec.rate.values)]


@pytest.mark.parametrize("name", ["jpeg2000", "webp", "jpegxl"])
def test_codecs_of_fine_ladders_come_within_1_percent_where_they_can(name):
    """Or no setting beside comes so near: of so small a photograph some files of neighbours are 3 % apart."""
    targets = [0.4, 0.65, 1.0]
    encodes = close = 0
    for image in kodak():
        ladder = Ladder(codec(name), image)
        found, missed = reach(ladder, targets, 0.1)
        encodes += len(ladder.files)
        for target, step in found.items():
            offs = [abs(ladder.bits_per_pixel(near) / target - 1) for near in beside(ladder, step)]
            off = abs(ladder.bits_per_pixel(step) / target - 1)
            close += off <= 0.01
            assert off <= 0.01 or off <= min(offs)
        assert len(found) == 3 and not missed
    assert encodes <= 4 * 2 * len(targets) and close >= 5


def test_a_psnr_is_reached_within_a_tenth_of_a_db_where_a_codec_can_with_4_encodes_a_target():
    """Or no setting beside is nearer. As in a study, rates are searched first; two crops, and all the targets count."""
    targets = [30.0, 34.0]
    encodes = close = count = 0
    places = [(10, 20), (150, 90)]
    for name in ("jpeg", "jpeg2000", "webp", "avif"):
        for image in kodak():
            ladder = Ladder(CODECS[name](), image)
            reach(ladder, [0.4, 1.0], 0.1)
            ladder.bits(0)
            results = reach_quality(Crops(ladder, places, 128), PSNR, targets, 1.0)
            encodes += len(ladder.files)
            count += 2 + len(places) * len(targets)
            for (x, y), (found, missed) in zip(places, results, strict=True):
                area = np.s_[y : y + 128, x : x + 128]
                assert len(found) == 2 and not missed
                for target, step in found.items():
                    offs = {
                        near: abs(psnr(ladder.decode(near)[area], image[area]) - target)
                        for near in beside(ladder, step)
                    }
                    close += offs[step] <= 0.1
                    assert offs[step] <= 0.1 or offs[step] <= min(offs.values()) + 1e-9
    assert encodes <= 4 * count and close >= 20


def test_a_psnr_out_of_reach_is_told_in_db():
    ladder = Ladder(codec("jpeg"), photograph(1, 96))
    [(found, missed)] = reach_quality(Crops(ladder, [(0, 0)], 48), PSNR, [3.0, 30.0, 99.0], 0.5)
    assert list(found) == [30.0] and [(miss.target, miss.unit) for miss in missed] == [(3.0, "dB"), (99.0, "dB")]
    assert all(miss.nearest is not None and f"{miss.nearest:.4g} dB" in miss.reason for miss in missed)


def test_a_study_has_pairs_of_equal_psnr_beside_those_of_equal_rate(tmp_path, photographs, capsys):
    first = new(tmp_path / "first", photographs)
    assert main([str(first.root), "--workers", "1"]) == 0
    printed = capsys.readouterr().out
    stimuli, triplets = first.stimuli, first.triplets
    reference = stimuli[stimuli["codec"] == "reference"].set_index("source")["sha256"]
    names = name_conditions(stimuli)
    seen = Counter()
    for row in stimuli.itertuples():
        target = json.loads(row.settings).get("target_psnr")
        if target is not None:
            reached = psnr(first.image(row.sha256), first.image(reference[row.source]))
            assert abs(reached - target) <= 0.5 and np.isnan(row.target_bits_per_pixel) and row.bits > 0
            assert names[row.id] == f"{row.codec} @ {target:g} dB"
            seen[row.codec, target] += 1
    assert len(seen) == 6 and seen.total() + printed_misses(printed) == 12
    condition = names.to_dict()
    equal = triplets[triplets["comparison"] == "psnr"]
    assert len(equal) >= 8 and f"{(equal['kind'] == 'test').sum()} at equal PSNR" in printed
    for row in equal.itertuples():
        (one, a), (other, b) = (condition[side].split(" @ ") for side in (row.a, row.b))
        assert one != other and a == b and a in ("28 dB", "32 dB")
    within = triplets[triplets["comparison"] == "rates"]
    linked = Counter((" dB" in condition[row.a]) + (" dB" in condition[row.b]) for row in within.itertuples())
    assert linked[1] >= 2, "rates and qualities are not linked"
    assert all(condition[row.a].split(" @ ")[0] == condition[row.b].split(" @ ")[0] for row in within.itertuples())
    record = json.loads((first.root / "distort.json").read_text())
    assert record["quality"] == {"psnr": [28.0, 32.0], "tolerance": 0.5, "pairs": 24}, "as before there were distances"
    assert "jpeg2000       28 dB" in printed

    second = new(tmp_path / "second", photographs)
    assert main([str(second.root), "--workers", "2"]) == 0
    for name in ("stimuli.parquet", "triplets.parquet", "distort.json"):
        assert (first.root / name).read_bytes() == (second.root / name).read_bytes()


def test_a_psnr_that_a_study_does_not_reach_is_named(tmp_path, photographs, capsys):
    study = new(tmp_path / "study", photographs, quality={"psnr": [30.0, 70.0]}, codecs=[{"name": "jpeg"}])
    main([str(study.root), "--workers", "1"])
    unreachable = json.loads((study.root / "distort.json").read_text())["unreachable"]
    assert [(miss["codec"], miss["target_psnr"]) for miss in unreachable] == [("jpeg", 70.0)] * 2
    assert all(30 < miss["nearest_psnr"] < 60 and "dB" in miss["reason"] for miss in unreachable)
    printed = capsys.readouterr().out
    assert ["jpeg", "70", "dB", "-", "0", "2"] in [line.split() for line in printed.splitlines()]
    assert "rates and qualities unreachable and left out: 2" in printed


def printed_misses(printed: str) -> int:
    lines = [line.split() for line in printed.splitlines() if " dB " in line]
    return sum(int(line[-1]) for line in lines if line[-1] != "-")


def test_a_study_without_quality_is_recorded_as_before_and_another_quality_needs_force(tmp_path, photographs):
    study = new(tmp_path / "study", photographs, quality={})
    main([str(study.root), "--workers", "1"])
    record = json.loads((study.root / "distort.json").read_text())
    assert "quality" not in record and set(record["photographs"]) == {"crop", "crops_per_photograph"}
    text = (study.root / "study.toml").read_text().replace("[quality]", "[quality]\npsnr = [30.0]")
    (study.root / "study.toml").write_text(text)
    with pytest.raises(InputError, match="other quality"):
        main([str(study.root)])


def test_both_ways_of_naming_a_condition_agree():
    made = Stimulus("i", "s", "p", 0, 0, 8, 8, "webp", '{"quality": 9, "target_psnr": 30.5}', None, 8, 0.1)
    other = Stimulus(**vars(made) | {"id": "j", "codec": "jpeg"})
    assert comparison_of(made, other) == "psnr"
    assert condition_of(made) == "webp @ 30.5 dB" == name_conditions(pd.DataFrame([vars(made)]))["i"]


@pytest.mark.parametrize("psnrs", [[30.0, 30.0], [0.0], [101.0]])
def test_impossible_qualities_are_refused(psnrs):
    with pytest.raises(InputError, match="psnr must be distinct numbers of dB above 0 and at most 100"):
        parse_settings({"name": "x", "quality": {"psnr": psnrs}}, "study.toml")


@pytest.mark.parametrize("kind", ["textured", "differing", "random"])
@pytest.mark.parametrize("sky", [0.5, 0.9])
def test_no_crop_is_a_flat_sky(kind, sky):
    """Where nine tenths of the photograph are a slightly noisy sky, every crop still shows the ground."""
    image = photograph(1, 160)
    chance = np.random.default_rng(1)
    height = int(sky * 160)
    image[:height] = 200 + chance.integers(0, 2, (height, 160, 3))
    differences = chance.random((160, 160))
    for seed in range(10):
        crops = choose_crops(image, 24, 3, seed, "sky.png", kind, differences)
        assert len(set(crops)) == 3 and all(y + 24 > height for _, y in crops)
        assert crops == choose_crops(image, 24, 3, seed, "sky.png", kind, differences)


def test_differing_crops_lie_where_decoded_images_differ_and_random_ones_anywhere():
    image = photograph(2, 128)
    other = image.copy()
    other[64:, 64:] = np.clip(other[64:, 64:].astype(int) + 9, 0, 255)
    differences = difference([image, other])
    assert differences[:64].max() == 0 and differences[64:, 64:].mean() == pytest.approx(81 / 4, rel=0.1)
    places = [choose_crops(image, 32, 1, seed, "a", "differing", differences)[0] for seed in range(20)]
    assert all(x > 40 and y > 40 for x, y in places)
    anywhere = [choose_crops(image, 32, 1, seed, "a", "random")[0] for seed in range(60)]
    counts = Counter((x > 48, y > 48) for x, y in anywhere)
    assert len(counts) == 4 and min(counts.values()) >= 5


def test_the_ways_of_choosing_crops_are_settings(tmp_path, photographs):
    made = {}
    for kind in ("textured", "differing", "random"):
        section = {"folder": str(photographs), "crop": 48, "crops": kind, "crops_per_photograph": 3}
        study = new(tmp_path / kind, photographs, photographs=section, quality={})
        assert read_settings(study.settings_path).photographs.crops == kind
        assert main([str(study.root), "--workers", "1"]) == 0
        made[kind] = [*study.stimuli[["crop_x", "crop_y"]].drop_duplicates().itertuples(index=False, name=None)]
    assert all(one != other for one, other in pairwise([*made.values(), made["textured"]]))
