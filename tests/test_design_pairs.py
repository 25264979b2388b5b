"""Designs link all stimuli, use them equally often, show no pair twice, keep the number, and follow the seed."""

import dataclasses
import itertools
import json
from collections import Counter
from random import Random

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from analysis.scaling import name_conditions
from study.design.conditions import comparison_of, condition_of
from study.design.crops import pairs_of_crops_together
from study.design.designs import (
    disagreeing,
    jnd_ladder,
    ladder,
    random_pairs,
    same_rate,
    stratified,
)
from study.design.from_settings import design_of
from study.design.graph import Candidate, connected_pairs, linked_groups
from study.design.information import disagreement
from study.errors import InputError
from study.records import Stimulus, condition_name
from study.settings import Triplets

RATES = (0.25, 0.4, 0.65, 1.0)
CODECS = ("avif", "bpg", "jpeg", "webp")


def stimulus(source: str, codec: str, rate: float | None, pixels: str | None = None) -> Stimulus:
    name = f"{source} {codec} {rate}"
    return Stimulus(name, pixels or name, source, 0, 0, 64, 64, codec, "{}", rate, 1, rate)


def crop(source: str = "p", codecs: int = 4, rates: int = 4) -> list[Stimulus]:
    return [stimulus(source, codec, rate) for codec in CODECS[:codecs] for rate in RATES[:rates]]


def by_distance(stimuli):
    return stratified({s.id: place**1.5 for place, s in enumerate(stimuli)})


def ends(pairs):
    return [(a.id, b.id) for a, b in pairs]


def uses(pairs, stimuli):
    count = Counter(end for pair in ends(pairs) for end in pair)
    return [count[s.id] for s in stimuli]


@settings(max_examples=100, deadline=None)
@given(st.integers(2, 14), st.integers(0, 100), st.integers(0, 1000))
def test_among_all_pairs_each_item_is_used_equally_often_or_once_more(items, number, seed):
    candidates = [Candidate(i, j) for i, j in itertools.combinations(range(items), 2)]
    chosen = connected_pairs(candidates, number, Random(seed))
    assert len(set(chosen)) == len(chosen) == min(number, len(candidates))
    degree = Counter(end for c in chosen for end in (c.first, c.second))
    assert max(degree[i] for i in range(items)) - min(degree[i] for i in range(items)) <= 1
    groups = linked_groups(((c.first, c.second) for c in chosen), range(items))
    assert len(groups) == max(1, items - number)
    assert chosen == connected_pairs(candidates, number, Random(seed))


@settings(max_examples=100, deadline=None)
@given(st.data(), st.integers(2, 9), st.integers(0, 20), st.integers(0, 1000))
def test_whatever_pairs_there_are_all_that_can_be_linked_is_linked(data, items, number, seed):
    """Some candidates, some links, strata and ranks: no pair twice, the budget kept, links only where needed."""
    every = list(itertools.combinations(range(items), 2))
    kinds = data.draw(st.lists(st.integers(0, 5), min_size=len(every), max_size=len(every)))
    candidates = [Candidate(*pair, kind % 2, kind // 2) for pair, kind in zip(every, kinds, strict=True) if kind < 4]
    links = [Candidate(*pair) for pair, kind in zip(every, kinds, strict=True) if kind == 4]
    chosen = connected_pairs(candidates, number, Random(seed), links)

    def groups(pairs):
        return len(linked_groups(((c.first, c.second) for c in pairs), range(items)))

    assert len(set(chosen)) == len(chosen) and set(chosen) <= {*candidates, *links}
    used = [c for c in chosen if c in links]
    assert len(chosen) == min(number, len(candidates) + groups(candidates) - groups(candidates + links))
    assert groups(chosen) == max(groups(candidates + links), items - number)
    assert len(used) <= groups(candidates) - groups(candidates + links)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["random", "rate", "ladder", "strata"]), st.integers(2, 4), st.integers(2, 4),
       st.integers(0, 60), st.integers(0, 99))  # fmt: skip
def test_every_design_links_a_crop(name, codecs, rates, number, seed):
    stimuli = crop(codecs=codecs, rates=rates)
    design = {"random": random_pairs, "rate": same_rate, "ladder": ladder, "strata": by_distance(stimuli)}[name]
    pairs = design(stimuli, number, Random(seed))
    assert ends(pairs) == ends(design(stimuli[::-1], number, Random(seed)))
    assert len({frozenset(pair) for pair in ends(pairs)}) == len(pairs) <= number
    if number >= len(stimuli) - 1:
        assert len(linked_groups(ends(pairs), [s.id for s in stimuli])) == 1
    if name == "random":
        assert max(uses(pairs, stimuli)) - min(uses(pairs, stimuli)) <= 1


def test_another_seed_gives_other_pairs():
    assert ends(random_pairs(crop(), 36, Random(1))) != ends(random_pairs(crop(), 36, Random(2)))


@pytest.mark.parametrize("seed", range(5))
def test_pairs_at_one_rate_are_equally_many_at_each_rate(seed):
    """Four codecs at four rates, 19 pairs: 16 at one rate, four at each, and the three that link the rates."""
    pairs = same_rate(crop(), 19, Random(seed))
    assert Counter(comparison_of(a, b) for a, b in pairs) == {"codecs": 16, "rates": 3}
    assert set(Counter(a.target_bits_per_pixel for a, b in pairs if comparison_of(a, b) == "codecs").values()) == {4}
    for a, b in pairs:  # neighbours link
        if a.codec == b.codec:
            assert abs(RATES.index(a.target_bits_per_pixel) - RATES.index(b.target_bits_per_pixel)) == 1
    assert max(uses(pairs, crop())) - min(uses(pairs, crop())) <= 2


@pytest.mark.parametrize("seed", range(5))
def test_a_ladder_takes_neighbours_first(seed):
    """15 pairs are each codec's three steps and three links at one rate; 20 more than those include longer steps."""
    pairs = ladder(crop(), 15, Random(seed))
    steps = [(a.codec, b.codec, abs(RATES.index(a.target_bits_per_pixel) - RATES.index(b.target_bits_per_pixel)))
             for a, b in pairs]  # fmt: skip
    assert Counter(step for one, other, step in steps if one == other) == {1: 12}
    assert [step for one, other, step in steps if one != other] == [0, 0, 0]
    more = ladder(crop(), 23, Random(seed))
    longer = Counter(a.codec for a, b in more if a.codec == b.codec)
    assert set(longer.values()) == {5}


def test_predicted_differences_are_met_in_equal_numbers():
    stimuli = crop()
    distance = {s.id: place**1.5 for place, s in enumerate(stimuli)}
    every = sorted(abs(distance[a.id] - distance[b.id]) for a, b in itertools.combinations(stimuli, 2))
    for seed in range(5):
        pairs = stratified(distance)(stimuli, 40, Random(seed))
        quarters = Counter(every.index(abs(distance[a.id] - distance[b.id])) * 4 // len(every) for a, b in pairs)
        assert [quarters[q] for q in range(4)] == [10, 10, 10, 10]


def test_a_stimulus_without_a_prediction_is_named():
    with pytest.raises(InputError, match=r"p avif 0.25 \(avif @ 0.25\) has no predicted distance"):
        stratified({})(crop(), 10, Random(1))


def test_disagreeing_metrics_are_asked_where_they_disagree():
    """One metric cares for the rate alone, one for the codec alone: they disagree most where both are sure."""

    def by_rate(a, b):
        return 1 / (1 + np.exp(5 * (a.target_bits_per_pixel - b.target_bits_per_pixel)))

    def by_codec(a, b):
        return 1 / (1 + np.exp(CODECS.index(a.codec) - CODECS.index(b.codec)))

    pairs = disagreeing([by_rate, by_codec])(crop(), 30, Random(1))
    assert len(linked_groups(ends(pairs), [s.id for s in crop()])) == 1 and len(pairs) == 30
    told = {frozenset((a.id, b.id)): disagreement([[by_rate(a, b)], [by_codec(a, b)]])[0]
            for a, b in itertools.combinations(crop(), 2)}  # fmt: skip
    taken = sorted((told[frozenset(pair)] for pair in ends(pairs)), reverse=True)
    assert taken[:15] == sorted(told.values(), reverse=True)[:15]  # beside the tree's 15, the best 15 are all there


def test_equal_pixels_are_never_a_pair():
    stimuli = [stimulus("p", codec, 1.0, "same") for codec in CODECS] + [stimulus("p", "jpeg", 0.5)]
    for design in (random_pairs, same_rate, ladder, by_distance(stimuli)):
        assert all(a.sha256 != b.sha256 for a, b in design(stimuli, 20, Random(1)))
    assert by_distance(stimuli[:4])(stimuli[:4], 20, Random(1)) == []


def test_a_jnd_ladder_compares_both_ends_and_the_middle_with_the_reference():
    reference = stimulus("p", "reference", None)
    rungs = [stimulus("p", codec, rate) for codec in ("bpg", "jpeg") for rate in (0.1, 0.2, 0.3, 0.4, 0.5)]
    pairs = jnd_ladder([*rungs[::-1], reference], 3, Random(1))
    assert ends(pairs) == [(reference.id, f"p {codec} {rate}") for codec in ("bpg", "jpeg") for rate in (0.1, 0.3, 0.5)]
    assert len(jnd_ladder([reference, *rungs], 99, Random(1))) == 10
    with pytest.raises(InputError, match="on no ladder"):
        jnd_ladder([reference, stimulus("p", "noise", None), stimulus("p", "noise", 0.2)], 2, Random(1))


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 4), st.integers(0, 99))
def test_crops_with_few_pairs_link_all_conditions_together(number, seed):
    """16 conditions need 15 pairs; as many crops as that takes link them, though no crop alone could."""
    crops = [crop(f"p{k}") for k in range(-(-15 // number))]
    pairs = pairs_of_crops_together(crops, random_pairs, number, seed)
    assert all(len(chosen) == number for chosen in pairs)
    named = [(condition_of(a), condition_of(b)) for chosen in pairs for a, b in chosen]
    assert len(linked_groups(named, [condition_of(s) for s in crops[0]])) == 1
    assert all(a.source == b.source == f"p{k}" for k, chosen in enumerate(pairs) for a, b in chosen)


def test_over_many_crops_all_pairs_of_conditions_are_shown_equally_often():
    """120 pairs of 16 conditions, 12 crops with 20 pairs: each pair of conditions about twice, none forgotten."""
    pairs = pairs_of_crops_together([crop(f"p{k}") for k in range(12)], random_pairs, 20, seed=1)
    times = Counter(frozenset((condition_of(a), condition_of(b))) for chosen in pairs for a, b in chosen)
    assert len(times) == 120 and max(times.values()) <= 4
    degree = Counter(condition_of(s) for chosen in pairs for pair in chosen for s in pair)
    assert max(degree.values()) - min(degree.values()) <= 2


def test_conditions_are_named_as_in_the_report():
    stimuli = [*crop(), Stimulus("x", "x", "p", 0, 0, 8, 8, "noise", '{"level": 2}', None, 1, None)]
    names = name_conditions(pd.DataFrame(stimuli))
    assert [condition_of(s) for s in stimuli] == names.tolist()


def aimed(codec: str, bits: int | None, source: str = "p", **settings: object) -> Stimulus:
    """Made for a quality, or a synthetic distortion's level."""
    name = f"{source} {codec} {settings}"
    rate = None if bits is None else bits / 100
    return Stimulus(name, name, source, 0, 0, 64, 64, codec, json.dumps(settings), None, bits, rate)


def mixed() -> list[Stimulus]:
    """Three codecs at two rates and two qualities, and two synthetic distortions at three levels."""
    return [
        *crop(codecs=3, rates=2),
        *(aimed(codec, bits, target_psnr=db) for codec in CODECS[:3] for bits, db in ((30, 30.0), (90, 36.0))),
        *(aimed(kind, None, level=level) for kind in ("blur", "noise") for level in (1, 2, 3)),
    ]


@pytest.mark.parametrize("seed", range(3))
def test_qualities_and_levels_are_rungs_as_rates_are(seed):
    """All of the codecs linked, all of the synthetic distortions linked, and never one with the other."""
    stimuli = mixed()
    for design in (same_rate, ladder):
        pairs = design(stimuli, 24, Random(seed))
        groups = linked_groups(ends(pairs), [s.id for s in stimuli])
        assert sorted(map(len, groups)) == [6, 12]
        names = Counter(comparison_of(a, b) for a, b in pairs)
        if design is same_rate:  # of three codecs three pairs at each of four steps, and three link four steps;
            assert names == {"codecs": 6 + 3, "psnr": 6, "rates": 3 + 2}  # one pair at each of three levels
            assert len(pairs) == 20  # there are no more
        else:
            assert names["both"] == 0 and names["rates"] == 24 - 3


def test_rungs_of_different_kinds_are_neighbours_by_bits():
    """Rates of .25 and .4 bits, PSNRs at .3 and .9: of the six pairs only .25 and .9 have others between them."""
    qualities = [aimed("avif", bits, target_psnr=db) for bits, db in ((30, 30.0), (90, 36.0))]
    stimuli = [dataclasses.replace(s, bits=round(100 * s.bits_per_pixel)) for s in crop(codecs=1, rates=2)] + qualities
    pairs = ladder(stimuli, 5, Random(1))
    bits = {tuple(sorted((a.bits, b.bits))) for a, b in pairs}
    assert bits == {(25, 30), (25, 40), (30, 40), (30, 90), (40, 90)}


def test_any_two_meet_where_a_design_goes_by_no_step():
    stimuli = mixed()
    reference = stimulus("p", "reference", None)
    for design in (random_pairs, by_distance(stimuli)):
        pairs = design([reference, *stimuli], 60, Random(1))
        assert len(linked_groups(ends(pairs), [s.id for s in stimuli])) == 1 and len(pairs) == 60
        assert {comparison_of(a, b) for a, b in pairs} >= {"rates", "codecs", "both"}
        assert all(reference not in pair for pair in pairs)


def test_pairs_are_named_by_what_they_share():
    rate, level = stimulus("p", "jpeg", 0.5), aimed("blur", None, level=2)
    quality, distance = (
        aimed("jpeg", 50, target_psnr=30.0),
        aimed("jpeg", 50, target_metric="dists", target_distance=0.1),
    )

    def like(other: Stimulus, codec: str = "webp") -> Stimulus:
        return dataclasses.replace(other, codec=codec)

    reference = stimulus("p", "reference", None)
    named = {
        (rate, like(rate)): "codecs", (level, like(level)): "codecs", (quality, like(quality)): "psnr",
        (distance, like(distance)): "metric", (rate, quality): "rates", (rate, like(quality)): "both",
        (quality, like(distance)): "both", (rate, level): "both", (reference, rate): "jnd", (level, reference): "jnd",
        (rate, stimulus("p", "webp", 0.6)): "both",
    }  # fmt: skip
    assert {pair: comparison_of(*pair) for pair in named} == named


def test_rungs_with_equal_pixels_are_asked_once_and_levels_are_rungs():
    reference = stimulus("p", "reference", None)
    rungs = [stimulus("p", "jpeg", rate, "same" if rate < 0.3 else None) for rate in (0.1, 0.2, 0.3)]
    levels = [aimed("blur", None, level=level) for level in (1, 2, 3, 4, 5)]
    pairs = jnd_ladder([*levels, reference, *rungs, stimulus("p", "webp", 9.0, reference.sha256)], 3, Random(1))
    shown = [json.loads(b.settings).get("level", b.sha256) for _, b in pairs]
    assert shown == [1, 3, 5, "same", "p jpeg 0.3"] and {a for a, _ in pairs} == {reference}


def test_two_stimuli_of_one_condition_are_told():
    """Targets that differ in the seventh digit have one name."""
    with pytest.raises(InputError, match="p: a crop has two stimuli of the condition 'jpeg @ 0.5'"):
        random_pairs(
            [stimulus("p", "jpeg", 0.5), stimulus("p", "jpeg", 0.50000001), stimulus("p", "webp", 0.5)], 2, Random(1)
        )


@pytest.mark.parametrize(
    ("name", "design"), [("same-rate", same_rate), ("ladder", ladder), ("random", random_pairs), ("jnd", jnd_ladder)]
)
def test_settings_name_a_design(name, design):
    assert design_of(Triplets(design=name)) is design


def test_settings_name_a_design_that_metrics_foretell():
    """Chances are the logistic function of the difference in log-odds, also where that is far beyond exp's range."""
    stimuli = crop()
    near = {s.id: 0.1 * place**1.5 for place, s in enumerate(stimuli)}
    far = {s.id: -5e3 * place for place, s in enumerate(stimuli)}
    one = design_of(Triplets(design="stratified", metrics=["x"]), [near])
    assert ends(one(stimuli, 20, Random(3))) == ends(stratified(near)(stimuli, 20, Random(3)))
    both = design_of(Triplets(design="disagreement", metrics=["x", "y"]), [near, far])

    def chance(a: Stimulus, b: Stimulus) -> float:
        return float(expit(near[a.id] - near[b.id]))

    def sure(a: Stimulus, b: Stimulus) -> float:
        return float(far[a.id] > far[b.id])

    assert ends(both(stimuli, 20, Random(3))) == ends(disagreeing([chance, sure])(stimuli, 20, Random(3)))
    with pytest.raises(InputError, match="no predicted distance"):
        design_of(Triplets(design="disagreement", metrics=["x", "y"]), [near, {}])(stimuli, 20, Random(3))


def test_a_chain_is_one_condition_whatever_it_drew():
    """Each photograph's chain draws kinds of its own; its votes are pooled all the same."""
    chains = [f'{{"chain": ["{kind}", "shift"], "kinds": 2, "level": 3}}' for kind in ("warp", "sharpen")]
    assert {condition_name("chain", None, settings) for settings in chains} == {"chain level 3"}
    assert condition_name("mine", None, '{"level": 3, "preset": "slow"}') == 'mine {"level": 3, "preset": "slow"}'
