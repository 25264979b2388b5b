"""Predicted widths of intervals: by hand, against simulated studies, and for a budget."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_design_pairs import crop, stimulus

from benchmarks.active_choice import ITEMS, prediction, true_scores
from study.design.conditions import condition_of
from study.design.crops import pairs_of_crops, pairs_of_crops_together
from study.design.designs import ladder, random_pairs, same_rate
from study.design.graph import linked_groups
from study.design.widths import INTERVAL, pair_counts, plan_votes, predicted_widths, votes_for_width
from study.errors import InputError

CROPS = [[stimulus(f"p{k}", "reference", None), *crop(f"p{k}")] for k in range(6)]
SCORES = {condition_of(s): place / 4 for place, s in enumerate(CROPS[0][1:])}


def test_two_items_by_hand():
    """100 votes at equal scores give 25 of information on the difference; each score is half of it."""
    assert predicted_widths(np.array([[0, 100], [100, 0]]), [0, 0]) == pytest.approx([INTERVAL * 0.2 / 2] * 2)


def test_groups_are_centred_each_on_its_own_and_what_has_no_vote_has_no_width():
    votes = np.zeros((5, 5))
    votes[0, 1] = votes[1, 0] = votes[2, 3] = votes[3, 2] = 100
    widths = predicted_widths(votes, np.zeros(5))
    assert widths[:4] == pytest.approx([INTERVAL * 0.1] * 4) and np.isnan(widths[4])


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 12), st.integers(0, 999))
def test_widths_are_those_of_the_pseudo_inverse(items, seed):
    random = np.random.default_rng(seed)
    votes = np.triu(random.integers(1, 9, (items, items)), 1).astype(float)
    votes += votes.T
    scores = random.normal(size=items)
    p = 1 / (1 + np.exp(scores[None] - scores[:, None]))
    weights = votes * p * (1 - p)
    inverse = np.linalg.pinv(np.diag(weights.sum(1)) - weights, rcond=1e-9, hermitian=True)
    assert predicted_widths(votes, scores) == pytest.approx(INTERVAL * np.sqrt(np.diag(inverse)))


@pytest.mark.parametrize(("logits", "least"), [(8, 0.93), (2, 0.97)])
def test_predicted_widths_are_those_of_simulated_studies(logits, least):
    """With 152 votes an item; a little narrower, as information bounds the spread from below."""
    ratio, _ = prediction(logits, 8, 400, seed=1)
    assert least <= ratio <= 1.03


def test_votes_for_a_width_give_that_width():
    votes, scores = np.ones((ITEMS, ITEMS)) - np.eye(ITEMS), true_scores(4, 1)
    need = votes_for_width(0.5, votes, scores)
    share = votes / (votes.sum() / 2)
    assert predicted_widths(need * share, scores).mean() <= 0.5 < predicted_widths((need - 1) * share, scores).mean()


@settings(max_examples=30, deadline=None)
@given(st.sampled_from([random_pairs, same_rate, ladder]), st.integers(1, 3), st.integers(1500, 6000))
def test_a_budget_is_kept_and_nearly_used(design, votes_each, budget):
    plan = plan_votes(CROPS, design, budget, votes_each, SCORES, seed=1)
    pairs = sum(map(len, plan.pairs))
    spent = pairs * plan.votes_each
    assert plan.votes_each >= votes_each and plan.votes.sum() == 2 * spent and spent <= budget < spent + pairs
    assert np.isfinite(plan.widths).all() and len(plan.widths) == len(plan.conditions) == 16
    more = plan_votes(CROPS, design, 4 * budget, votes_each, SCORES, seed=1)
    assert more.widths.mean() < plan.widths.mean()


def test_a_budget_that_cannot_link_the_conditions_is_refused_with_one_that_can():
    """16 conditions on 6 crops take three pairs a crop: with five votes on each, 90 votes."""
    with pytest.raises(InputError, match="give at least 90 votes"):
        plan_votes(CROPS, random_pairs, 89, 5, SCORES, seed=1)
    assert plan_votes(CROPS, random_pairs, 90, 5, SCORES, seed=1).votes_each == 5
    with pytest.raises(InputError, match="no expected score for the condition 'avif @ 0.25'"):
        plan_votes(CROPS, random_pairs, 90, 5, {}, seed=1)


def test_a_design_that_can_never_link_is_named_as_such():
    """Codecs and synthetic distortions have no rate or level in common."""
    crops = [
        [*stimuli, *(replace(stimuli[1], id=f"{stimuli[0].id} {k}", sha256=f"{stimuli[0].id} {k}", codec="white-noise",
                             settings=f'{{"level": {k}}}', target_bits_per_pixel=None, bits=None, bits_per_pixel=None)
                     for k in (1, 2))]
        for stimuli in CROPS
    ]  # fmt: skip
    scores = {condition_of(s): 0.0 for s in crops[0][1:]}
    with pytest.raises(InputError, match="leaves the 18 conditions in 2 groups .* however many votes"):
        plan_votes(crops, same_rate, 5000, 5, scores, seed=1)
    assert len(plan_votes(crops, random_pairs, 5000, 5, scores, seed=1).conditions) == 18


def test_pairs_are_counted_both_ways_and_only_between_known_conditions():
    counts = pair_counts([("a", "b"), ("b", "a"), ("a", "c"), ("a", "a"), ("a", None), ("x", "b")], ["a", "b", "c"])
    assert counts.tolist() == [[0, 2, 1], [2, 0, 0], [1, 0, 0]]
    assert not pair_counts([], ["a", "b"]).any()


@pytest.mark.parametrize("design", [random_pairs, same_rate, ladder])
def test_with_few_pairs_a_crop_more_crops_make_intervals_narrower(design):
    """Four times the crops halve the widths: conditions are linked again and again, not once in the whole study."""
    widths = []
    for number in (24, 96):
        crops = [[stimulus(f"p{k}", "reference", None), *crop(f"p{k}")] for k in range(number)]
        plan = plan_votes(crops, design, 5 * 4 * number, 5, dict.fromkeys(SCORES, 0.0), seed=1)
        assert (plan.number, plan.votes_each) == (4, 5) and {len(pairs) for pairs in plan.pairs} == {4}
        widths.append(plan.widths.mean())
    assert widths[1] / widths[0] == pytest.approx(0.5, abs=0.05)


def test_few_pairs_a_crop_leave_no_more_apart_than_all_crops_together_do():
    """Also where a condition is in one crop only, and where a design leaves codecs and levels apart."""
    crops = [[stimulus(f"p{k}", "reference", None), *crop(f"p{k}", codecs=2)] for k in range(40)]
    crops[17].append(stimulus("p17", "webp", 0.4))
    conditions = {condition_of(s) for stimuli in crops for s in stimuli if s.codec != "reference"}
    for number in (1, 2, 3):
        for design in (random_pairs, same_rate, ladder):
            both = [pairs_of_crops_together(crops, design, number, 1), pairs_of_crops(crops, design, number, 1)]
            groups = [
                linked_groups([(condition_of(a), condition_of(b)) for pairs in made for a, b in pairs], conditions)
                for made in both
            ]
            assert len(groups[1]) <= len(groups[0])
            assert [len(pairs) for pairs in both[1]] == [len(pairs) for pairs in both[0]]


@pytest.mark.parametrize("design", [random_pairs, same_rate, ladder])
def test_what_one_photograph_alone_has_leaves_the_intervals_of_all_else_as_they_are(design):
    """A rate that a codec reaches on one of 48 photographs: the others are linked again and again all the same."""
    crops = [[stimulus(f"p{k}", "reference", None), *crop(f"p{k}")] for k in range(48)]
    widths = []
    for place in (None, 47, 20):
        planned = [*crops]
        if place is not None:
            planned[place] = [*crops[place], stimulus(f"p{place}", "webp", 2.0)]
        plan = plan_votes(planned, design, 5 * 4 * 48, 5, SCORES | {"webp @ 2": 0.0}, seed=1)
        assert len(linked_groups([(condition_of(a), condition_of(b)) for pairs in plan.pairs for a, b in pairs])) == 1
        others = [row for row, name in enumerate(plan.conditions) if name in SCORES]
        widths.append(predicted_widths(plan.votes[np.ix_(others, others)], list(SCORES.values())).mean())
    assert max(widths[1:]) < 1.1 * widths[0]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), st.integers(1, 6), st.sampled_from([0.1, 0.4, 0.8]), st.integers(0, 999))
def test_whatever_conditions_crops_have_no_more_are_apart_than_planned_together(number_of_crops, number, share, seed):
    random = np.random.default_rng(seed)
    crops = [
        [stimulus(f"p{k}", "reference", None), *(s for s in crop(f"p{k}") if random.random() < share)]
        for k in range(number_of_crops)
    ]
    conditions = {condition_of(s) for stimuli in crops for s in stimuli[1:]}
    for design in (random_pairs, same_rate, ladder):
        both = [plan(crops, design, number, 1) for plan in (pairs_of_crops_together, pairs_of_crops)]
        groups = [
            linked_groups([(condition_of(a), condition_of(b)) for pairs in made for a, b in pairs], conditions)
            for made in both
        ]
        assert len(groups[1]) <= len(groups[0])
