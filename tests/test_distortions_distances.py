"""Equal distance by a metric across codecs, and studies of qualities alone."""

import functools
import json
from collections import Counter
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import photograph
from hypothesis import given
from hypothesis import strategies as st
from test_distortions_quality import new as of_quality
from test_distortions_quality import photographs as photographs

from analysis.scaling import name_conditions
from distortions.catalogue import CODECS
from distortions.classical import Jpeg
from distortions.distances import distance
from distortions.distort import main
from distortions.making import Unit, load, make
from distortions.protocol import CodecError, RateSetting
from distortions.quality import Crops, reach_quality
from distortions.rates import Ladder
from metric.exporting.exported import save
from metric.measures import lpips, measure
from metric.pairs import to_tensor
from study.design.conditions import comparison_of, condition_of
from study.errors import InputError
from study.folder import Study
from study.records import Stimulus, quality_name, quality_settings, target_quality
from study.settings import parse_settings, read_settings


def new(root, folder, **sections) -> Study:
    quality = {"metric": "lpips-alex", "distances": [0.05, 0.1], "distance_tolerance": 0.2, "psnr": [30.0]}
    return of_quality(root, folder, **{"quality": quality} | sections)


def record_of(study: Study) -> dict:
    return json.loads((study.root / "distort.json").read_text())


measured = functools.cache(measure)


def far(name: str, reference: np.ndarray, decoded: np.ndarray) -> float:
    """The distance, by the metric's own interface."""
    found = measured(name)
    with torch.inference_mode():
        return float(found.compare(found.prepare(to_tensor([reference])), to_tensor([decoded])))


@pytest.mark.parametrize(("name", "targets"), [("ssim", [0.05, 0.15, 0.3]), ("lpips-alex", [0.015, 0.05, 0.2])])
def test_the_search_finds_the_steps_of_an_exhaustive_one(tmp_path, name, targets):
    """Each of JPEG's 100 qualities is measured by the metric itself; two crops are searched with one ladder."""
    image, places = photograph(3, 96), [(0, 0), (40, 30)]
    ladder = Ladder(CODECS["jpeg"](), image)
    whole = Ladder(CODECS["jpeg"](), image)
    decoded = [whole.decode(step) for step in range(100)]
    results = reach_quality(Crops(ladder, places, 48), distance(name, tmp_path), targets, 0.1)
    for (x, y), (found, missed) in zip(places, results, strict=True):
        area = np.s_[y : y + 48, x : x + 48]
        table = [far(name, image[area], one[area]) for one in decoded]
        assert set(found) | {miss.target for miss in missed} == set(targets) and len(found) >= 2
        for target, step in found.items():
            off, best = abs(table[step] / target - 1), min(abs(value / target - 1) for value in table)
            assert off <= max(0.01, best + 1e-6) or off <= 0.1 and not np.all(np.diff(table) < 0)
        for miss in missed:
            assert miss.unit == name and name in miss.reason
    assert len(ladder.files) <= 6 * len(places) * len(targets)


def test_each_step_is_decoded_once_and_measured_once_for_all_crops(tmp_path):
    ladder = Ladder(CODECS["webp"](), photograph(4, 96))
    decodes: Counter[int] = Counter()
    decode = ladder.decode
    ladder.decode = lambda step: decodes.update([step]) or decode(step)
    ladder.bits(0), ladder.bits(300)
    crops = Crops(ladder, [(0, 0), (20, 20), (48, 48)], 48)
    for targets in ([0.1, 0.3], [0.2]):
        reach_quality(crops, distance("lpips-alex", tmp_path), targets, 0.1)
    assert set(decodes.values()) == {1} and set(decodes) == set(ladder.files)


class OneQuality(Jpeg):
    """A codec of one rate, as a trained one can be."""

    rate: ClassVar[RateSetting] = RateSetting("quality", (50,))


def test_a_tolerance_is_a_share_of_the_distance_above_and_below(tmp_path):
    """What is 10 % too far and what is 10 % too near are both reached with .101 and both missed with .099."""
    ladder = Ladder(OneQuality(), photograph(3, 64))
    value = far("ssim", ladder.image, ladder.decode(0))
    for target in (value / 1.1, value / 0.9):
        for tolerance, reached in ((0.101, 1), (0.099, 0)):
            crops = Crops(ladder, [(0, 0)], 64)
            [(found, missed)] = reach_quality(crops, distance("ssim", tmp_path), [target], tolerance)
            assert (len(found), len(missed)) == (reached, 1 - reached)


def test_a_study_has_pairs_of_equal_distance_that_are_the_same_with_two_workers(tmp_path, photographs, capsys):
    first = new(tmp_path / "first", photographs)
    assert main([str(first.root), "--workers", "1"]) == 0
    printed = capsys.readouterr().out
    stimuli, triplets, names = first.stimuli, first.triplets, name_conditions(first.stimuli)
    reference = stimuli[stimuli["codec"] == "reference"].set_index("source")["sha256"]
    seen = Counter()
    for row in stimuli.itertuples():
        quality = target_quality(row.settings)
        if quality and quality[0] == "lpips-alex":
            reached = far("lpips-alex", first.image(reference[row.source]), first.image(row.sha256))
            assert abs(reached / quality[1] - 1) <= 0.2 and np.isnan(row.target_bits_per_pixel) and row.bits > 0
            assert names[row.id] == f"{row.codec} @ lpips-alex {quality[1]:g}"
            seen[row.codec, quality[1]] += 1
    missed = [miss for miss in record_of(first)["unreachable"] if "target_distance" in miss]
    assert seen.total() + len(missed) == 12 and len(seen) >= 5
    equal = triplets[triplets["comparison"] == "metric"]
    assert len(equal) >= 6 and f"{(equal['kind'] == 'test').sum()} at equal distance" in printed
    for row in equal.itertuples():
        (one, a), (other, b) = (names[side].split(" @ ") for side in (row.a, row.b))
        assert one != other and a == b and a in ("lpips-alex 0.05", "lpips-alex 0.1")
    linked = triplets[triplets["comparison"] == "rates"]
    kinds = Counter(tuple(sorted("lpips" in names[side] for side in (row.a, row.b))) for row in linked.itertuples())
    assert kinds[False, True] >= 2, "distances are not linked with rates or PSNRs"
    assert ["webp", "lpips-alex", "0.05"] in [line.split()[:3] for line in printed.splitlines()]
    assert record_of(first)["quality"] == {
        "psnr": [30.0], "tolerance": 0.5, "metric": "lpips-alex", "distances": [0.05, 0.1], "distance_tolerance": 0.2,
        "pairs": 24,
    }  # fmt: skip

    second = new(tmp_path / "second", photographs)
    assert main([str(second.root), "--workers", "2"]) == 0
    for name in ("stimuli.parquet", "triplets.parquet", "distort.json"):
        assert (first.root / name).read_bytes() == (second.root / name).read_bytes()


def test_distances_out_of_reach_are_named(tmp_path, photographs, capsys):
    quality = {"metric": "ssim", "distances": [1e-5, 0.2]}
    study = new(tmp_path / "study", photographs, quality=quality, codecs=[{"name": "jpeg"}, {"name": "webp"}])
    main([str(study.root), "--workers", "1"])
    missed = record_of(study)["unreachable"]
    assert {(miss["target_distance"], miss["target_metric"]) for miss in missed} == {(1e-5, "ssim")}
    assert all(miss["nearest_distance"] > 1e-4 and "the nearest is ssim 0." in miss["reason"] for miss in missed)
    printed = capsys.readouterr().out
    assert ["jpeg", "ssim", "1e-05", "-", "0", "2"] in [line.split() for line in printed.splitlines()]
    assert "rates and qualities unreachable and left out: 4" in printed


def test_an_exported_metric_is_named_by_its_name_and_hash_not_by_its_path(tmp_path, photographs):
    quality = {"metric": "mine/metric.safetensors", "distances": [0.2]}
    study = new(tmp_path / "study", photographs, rates={"bits_per_pixel": []}, quality=quality)
    (study.root / "mine").mkdir()
    save(lpips("alex"), study.root / "mine" / "metric.safetensors", {"name": "ours"})
    assert main([str(study.root), "--workers", "1"]) == 0
    name = record_of(study)["quality"]["metric"]
    assert name.startswith("ours:") and "/" not in name
    made = {target_quality(settings) for settings in study.stimuli["settings"]} - {None}
    assert made == {(name, 0.2)}
    assert f"jpeg @ {name} 0.2" in set(name_conditions(study.stimuli))


@pytest.mark.parametrize("crops", ["textured", "differing"])
@pytest.mark.parametrize(
    "quality", [{"psnr": [28.0, 32.0]}, {"metric": "ssim", "distances": [0.1, 0.3]}], ids=["psnr", "ssim"]
)
def test_qualities_are_studied_without_rates(tmp_path, photographs, crops, quality):
    section = {"folder": str(photographs), "crop": 48, "crops": crops}
    empty = {"bits_per_pixel": []}
    study = new(tmp_path / "study", photographs, rates=empty, quality=quality, photographs=section)
    assert read_settings(study.settings_path).rates.bits_per_pixel == []
    assert main([str(study.root), "--workers", "1"]) == 0
    assert study.stimuli["target_bits_per_pixel"].isna().all()
    tests = study.triplets[study.triplets["kind"] == "test"]
    assert set(tests["comparison"]) == {"psnr" if "psnr" in quality else "metric", "rates"}
    assert (study.triplets["kind"] == "sentinel").sum() > 0


class Refusing(Jpeg):
    """A codec whose program fails at fine settings."""

    def encode(self, image):
        if self.quality > 60:
            raise CodecError("too fine for this program")
        return super().encode(image)


def test_a_codec_that_fails_in_the_search_of_a_quality_keeps_its_rates(tmp_path, photographs):
    rates, quality = {"bits_per_pixel": [1.2]}, {"psnr": [36.0], "metric": "ssim", "distances": [0.001]}
    study = new(tmp_path / "study", photographs, rates=rates, quality=quality)
    make(Unit(str(study.root), str(photographs), "0.png", "", {"jpeg": Refusing()}, str(tmp_path / "part.json")))
    part = load(tmp_path / "part.json")
    assert [stimulus.target_bits_per_pixel for stimulus in part.stimuli] == [None, 1.2]
    told = [(miss.target, miss.nearest, miss.unit, miss.reason) for miss in part.missed["jpeg"]]
    assert told == [(36.0, None, "dB", "too fine for this program"), (0.001, None, "ssim", "too fine for this program")]


def test_synthetic_distortions_are_studied_without_rates(tmp_path, photographs):
    codecs = [{"name": "gaussian-blur"}, {"name": "white-noise"}]
    section = {"folder": str(photographs), "crop": 48, "crops": "differing"}
    study = new(
        tmp_path / "study", photographs, rates={"bits_per_pixel": []}, quality={}, codecs=codecs, photographs=section
    )
    assert main([str(study.root), "--workers", "1"]) == 0
    assert record_of(study)["rates"]["bits_per_pixel"] == [] and "quality" not in record_of(study)


def test_a_study_of_nothing_is_refused_in_one_line(tmp_path, photographs):
    study = new(tmp_path / "study", photographs, rates={"bits_per_pixel": []}, quality={})
    with pytest.raises(InputError, match=r"bits_per_pixel = \[\] and no quality.psnr or quality.distances") as told:
        main([str(study.root)])
    assert str(told.value).startswith(str(study.settings_path)) and "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("quality", "crop", "told"),
    [
        ({"metric": "vmaf", "distances": [0.1]}, 48, "quality.metric = 'vmaf': unknown metric 'vmaf'; there are: "),
        ({"metric": "gone.safetensors", "distances": [0.1]}, 48, "gone.safetensors: no such file"),
        ({"metric": "ms-ssim", "distances": [0.1]}, 48, "48 x 48 pixels are too small: at least 161 a side; raise"),
    ],
)
def test_a_metric_that_cannot_be_had_is_one_line(tmp_path, photographs, quality, crop, told):
    study = new(tmp_path / "study", photographs, quality=quality)
    with pytest.raises(InputError) as error:
        main([str(study.root), "--workers", "1"])
    assert told in str(error.value) and str(error.value).startswith(f"{study.settings_path}: quality.metric")
    assert "\n" not in str(error.value) and not study.stimuli_path.exists()


def test_a_metric_whose_weights_are_absent_is_one_line(tmp_path, photographs, monkeypatch):
    import socket

    def refused(*arguments, **options):
        raise OSError("no network")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setenv("EYETUNE_BACKBONES", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    study = new(tmp_path / "study", photographs, quality={"metric": "lpips-squeeze", "distances": [0.1]})
    with pytest.raises(InputError, match="quality.metric = 'lpips-squeeze': .* are not on this machine") as error:
        main([str(study.root), "--workers", "1"])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("quality", "told"),
    [
        ({"distances": [0.1]}, "quality: distances need the metric that they are measured by"),
        ({"metric": "dists"}, 'quality: metric = "dists" needs targets, for example distances = '),
        ({"metric": "psnr", "distances": [0.1]}, r'metric = "psnr" is no distance; give targets in dB as psnr'),
        ({"metric": "dists", "distances": [0.1, 0.1]}, "distances must be distinct numbers above 0"),
        ({"metric": "dists", "distances": [0.0]}, "distances must be distinct numbers above 0"),
        ({"metric": "dists", "distances": [0.1], "distance_tolerance": 0.0}, "quality.distance_tolerance = 0.0"),
    ],
)
def test_impossible_distances_are_refused(quality, told):
    with pytest.raises(InputError, match=told):
        parse_settings({"name": "x", "quality": quality}, "study.toml")


@given(measured=st.sampled_from(["psnr", "dists", "ours:12ab34cd"]), value=st.floats(1e-3, 100))
def test_settings_tell_the_quality_that_they_were_made_for(measured, value):
    settings = json.dumps({"quality": 7, **quality_settings((measured, value))}, sort_keys=True)
    assert target_quality(settings) == (measured, value)
    assert quality_name((measured, value)) == (f"{value:g} dB" if measured == "psnr" else f"{measured} {value:g}")


def test_both_ways_of_naming_a_condition_agree_on_distances():
    settings = json.dumps({"quality": 9, "target_distance": 0.2, "target_metric": "dists"})
    made = Stimulus("i", "s", "p", 0, 0, 8, 8, "webp", settings, None, 8, 0.1)
    other = Stimulus(**vars(made) | {"id": "j", "codec": "jpeg"})
    nearer = Stimulus(**vars(other) | {"settings": settings.replace("0.2", "0.1")})
    assert comparison_of(made, other) == "metric" and comparison_of(made, nearer) == "both"
    assert condition_of(made) == "webp @ dists 0.2" == name_conditions(pd.DataFrame([vars(made)]))["i"]
