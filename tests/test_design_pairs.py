"""Designs link all stimuli, use them equally often, show no pair twice, keep the number, and follow the seed."""

import itertools
from collections import Counter
from random import Random

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.scaling import name_conditions
from study.design.conditions import comparison_of, condition_of
from study.design.designs import (
    disagreeing,
    jnd_ladder,
    ladder,
    over_crops,
    random_pairs,
    same_rate,
    stratified,
)
from study.design.graph import Candidate, connected_pairs, linked_groups
from study.design.information import disagreement
from study.errors import InputError
from study.records import Stimulus

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
    pairs = over_crops(crops, random_pairs, number, seed)
    assert all(len(chosen) == number for chosen in pairs)
    named = [(condition_of(a), condition_of(b)) for chosen in pairs for a, b in chosen]
    assert len(linked_groups(named, [condition_of(s) for s in crops[0]])) == 1
    assert all(a.source == b.source == f"p{k}" for k, chosen in enumerate(pairs) for a, b in chosen)


def test_over_many_crops_all_pairs_of_conditions_are_shown_equally_often():
    """120 pairs of 16 conditions, 12 crops with 20 pairs: each pair of conditions about twice, none forgotten."""
    pairs = over_crops([crop(f"p{k}") for k in range(12)], random_pairs, 20, seed=1)
    times = Counter(frozenset((condition_of(a), condition_of(b))) for chosen in pairs for a, b in chosen)
    assert len(times) == 120 and max(times.values()) <= 4
    degree = Counter(condition_of(s) for chosen in pairs for pair in chosen for s in pair)
    assert max(degree.values()) - min(degree.values()) <= 2


def test_conditions_are_named_as_in_the_report():
    stimuli = [*crop(), Stimulus("x", "x", "p", 0, 0, 8, 8, "noise", '{"level": 2}', None, 1, None)]
    names = name_conditions(pd.DataFrame(stimuli))
    assert [condition_of(s) for s in stimuli] == names.tolist()
