"""Which stimuli are compared, on stimuli made by hand."""

import json
from collections import Counter

import pytest

from distortions.pairs import OBVIOUS_PSNR, crop_of, crop_triplets, obvious_triplets, repeat_triplets
from study.design.from_settings import design_of
from study.files import sha256
from study.records import Stimulus, Triplet
from study.settings import Triplets

RATES = (0.25, 0.5, 1.0)
CODECS = ("avif", "jpeg", "webp")


def stimulus(source: str, codec: str, rate: float | None, pixels: str | None = None) -> Stimulus:
    name = f"{source} {codec} {rate}"
    return Stimulus(name, pixels or name, source, 0, 0, 64, 64, codec, "{}", rate, 1, rate)


def crop(source: str) -> list[Stimulus]:
    return [stimulus(source, "reference", None), *(stimulus(source, c, r) for c in CODECS for r in RATES)]


def planned(*crops: list[Stimulus], seed: int = 1, **settings) -> list[Triplet]:
    asked = Triplets(**settings)
    return crop_triplets(crops, asked, design_of(asked), seed)


def test_all_pairs_at_one_rate_and_of_one_codec_are_made():
    triplets = planned(crop("a"))
    assert Counter(t.comparison for t in triplets) == {"codecs": 9, "rates": 9}
    assert len({t.id for t in triplets}) == len({frozenset((t.a, t.b)) for t in triplets}) == 18
    for t in triplets:
        (_, codec_a, rate_a), (_, codec_b, rate_b) = t.a.split(), t.b.split()
        assert (codec_a == codec_b) == (t.comparison == "rates") and (rate_a == rate_b) == (t.comparison == "codecs")
        assert t.kind == "test" and t.expected is None and t.repeat_of is None and t.reference not in (t.a, t.b)


def test_the_usual_design_has_not_changed():
    """Rates, qualities and levels: the very triplets that were made before there were other designs."""

    def aimed(codec: str, bits: int | None, **settings: float) -> Stimulus:
        name = f"p {codec} {settings}"
        rate = None if bits is None else bits / 100
        return Stimulus(name, name, "p", 0, 0, 64, 64, codec, json.dumps(settings), None, bits, rate)

    stimuli = [
        *crop("p"),
        *(aimed(codec, bits, target_psnr=db) for codec in CODECS for bits, db in ((40, 30.0), (90, 34.0))),
        *(aimed(kind, None, level=level) for kind in ("blur", "noise") for level in (1, 2, 3)),
    ]
    asked = Triplets(across_codecs=9, across_rates=15)
    triplets = crop_triplets([stimuli], asked, design_of(asked, same_quality=4), 7)
    assert Counter(t.comparison for t in triplets) == {"codecs": 9, "rates": 15, "psnr": 4}
    assert sha256("".join(map(repr, triplets)).encode())[:16] == "2394eb8750d4e412"


def test_neighbouring_rates_come_first():
    triplets = planned(crop("a"), across_codecs=2, across_rates=6)
    pairs = [{t.a.split()[2], t.b.split()[2]} for t in triplets if t.comparison == "rates"]
    assert len(pairs) == 6 and {"0.25", "1.0"} not in pairs
    assert sum(t.comparison == "codecs" for t in triplets) == 2


def test_stimuli_with_equal_pixels_are_not_compared():
    stimuli = [stimulus("a", "reference", None), *(stimulus("a", c, 1.0, "same") for c in CODECS)]
    assert planned(stimuli) == []


def test_sides_are_balanced_and_follow_the_seed():
    triplets = planned(*(crop(f"{k}") for k in range(60)))
    lower = sum(t.a < t.b for t in triplets)
    assert abs(lower / len(triplets) - 0.5) < 0.06  # 4 standard deviations of 1080 fair choices
    assert planned(crop("a")) == planned(crop("a")) != planned(crop("a"), seed=2)


@pytest.mark.parametrize("sentinels", [4, 100])
def test_sentinels_and_practice_are_spread_and_expect_the_reference(sentinels):
    references = {crop_of(stimulus(f"{k}", "reference", None)): stimulus(f"{k}", "reference", None) for k in range(4)}
    floors = [(stimulus(f"{k}", codec, None), 20.0) for k in range(4) for codec in CODECS]
    floors[0] = (floors[0][0], OBVIOUS_PSNR)
    made = obvious_triplets(references, floors, Triplets(sentinels=sentinels, practice=3), seed=1)
    assert all(t.expected == t.reference and t.reference in (t.a, t.b) for t in made)
    assert {t.comparison for t in made} == {"obvious"} and len({t.id for t in made}) == len(made)
    assert floors[0][0].id not in {side for t in made for side in (t.a, t.b)}
    first = [t for t in made if t.kind == "sentinel"]
    assert len(first) == min(sentinels, 11) and sum(t.kind == "training" for t in made) == 3
    if sentinels == 4:
        assert len({t.reference for t in first}) == 4
        assert len({(t.a if t.b == t.expected else t.b).split()[1] for t in first}) == 3
        assert len({frozenset((t.a, t.b)) for t in made}) == 7


def test_repeats_are_copies_and_stay_when_others_join():
    tests = planned(*(crop(f"{k}") for k in range(5)))
    repeats = repeat_triplets(tests, 10, seed=1)
    by_id = {t.id: t for t in tests}
    assert len({t.id for t in repeats} | set(by_id)) == 100
    for t in repeats:
        original = by_id[t.repeat_of]
        assert t.kind == "repeat" and (t.reference, t.a, t.b) == (original.reference, original.a, original.b)
    assert len(repeat_triplets(tests[:3], 10, seed=1)) == 3
