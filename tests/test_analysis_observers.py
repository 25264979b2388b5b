import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from analysis.dawid_skene import PRIOR_RIGHT, PRIOR_WRONG, reliabilities
from analysis.observers import observer_table, repeat_pairs, response_seconds, with_triplets
from study.attention import half_p


def crowd(skill, triplets=200, seed=1, share=1.0):
    """Votes of observers with these skills on triplets whose answer is a coin's."""
    random = np.random.default_rng(seed)
    truth = random.random(triplets) < 0.5
    who, what = np.nonzero(random.random((len(skill), triplets)) < share)
    right = random.random(len(who)) < np.asarray(skill)[who]
    return who, what, truth[what] == right


def frames(rows, kinds=None):
    """Judgments and triplets from rows (observer, triplet, chosen 'a' or 'b', side)."""
    kinds = kinds or {}
    names = sorted({row[1] for row in rows})
    triplets = pd.DataFrame(
        {
            "id": names,
            "a": [f"{name}-a" for name in names],
            "b": [f"{name}-b" for name in names],
            "kind": [kinds.get(name, ("test", None, None))[0] for name in names],
            "expected": [kinds.get(name, ("test", None, None))[1] for name in names],
            "repeat_of": [kinds.get(name, ("test", None, None))[2] for name in names],
        }
    )
    judgments = pd.DataFrame(
        [(f"j{i}", t, o, f"{t}-{c}", s, None, None) for i, (o, t, c, s) in enumerate(rows)],
        columns=["id", "triplet", "observer", "chosen", "side", "loaded_at", "answered_at"],
    )
    judgments["protocol"] = "side-by-side"
    return judgments, triplets


def balanced(observer, count, answer="a"):
    return [(observer, f"t{k:03d}", answer, "left" if k % 2 else "right") for k in range(count)]


def test_dawid_skene_recovers_the_skills():
    skill = [0.95, 0.9, 0.85, 0.8, 0.7, 0.5, 0.2]
    found = reliabilities(*crowd(skill, triplets=2000))
    assert found == pytest.approx(skill, abs=0.03)


def test_dawid_skene_stays_at_the_prior_without_evidence():
    """One vote on a triplet that nobody else saw says nothing about its observer."""
    assert reliabilities(np.array([0]), np.array([0]), np.array([True])) == pytest.approx(
        [PRIOR_RIGHT / (PRIOR_RIGHT + PRIOR_WRONG)], abs=1e-5
    )
    assert reliabilities(np.array([], dtype=int), np.array([], dtype=int), np.array([], dtype=bool)).size == 0


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 30))
def test_dawid_skene_is_inside_0_and_1_and_does_not_care_what_a_and_b_are_called(seed, people, triplets):
    who, what, prefers = crowd(np.random.default_rng(seed).random(people), triplets, seed, share=0.6)
    if not who.size:
        return
    found = reliabilities(who, what, prefers)
    assert np.all((found > 0) & (found < 1))
    turned = np.random.default_rng(seed).random(triplets) < 0.5
    assert reliabilities(who, what, prefers ^ turned[what]) == pytest.approx(found, abs=1e-4)


def test_dawid_skene_equals_a_plain_double_loop():
    """The same equations, written out vote by vote."""
    who, what, prefers = crowd([0.9, 0.8, 0.6, 0.4], triplets=15, share=0.8)
    r = dict.fromkeys(range(4), 0.75)
    for _ in range(300):
        chance_b = {}
        for t in set(what.tolist()):
            b = a = 1.0
            for o, w, p in zip(who.tolist(), what.tolist(), prefers.tolist(), strict=True):
                if w == t:
                    b *= r[o] if p else 1 - r[o]
                    a *= 1 - r[o] if p else r[o]
            chance_b[t] = b / (a + b)
        for o in range(4):
            mine = [(w, p) for v, w, p in zip(who.tolist(), what.tolist(), prefers.tolist(), strict=True) if v == o]
            right = sum(chance_b[w] if p else 1 - chance_b[w] for w, p in mine)
            r[o] = (right + 3) / (len(mine) + 4)
    assert reliabilities(who, what, prefers) == pytest.approx([r[o] for o in range(4)], abs=1e-4)


def test_the_columns_begin_as_agreed():
    table = observer_table(*frames(balanced("one", 3)))
    assert table.columns[:5].tolist() == ["observer", "votes", "reliability", "excluded", "reason"]


def test_agreement_with_the_others_by_hand():
    """Three observers, two say a on both triplets; the third a and b: for it once right, once wrong."""
    rows = [(o, t, "b" if (o, t) == ("z", "t1") else "a", "left") for o in "xyz" for t in ("t0", "t1")]
    table = observer_table(*frames([*rows, ("x", "t2", "a", "right")])).set_index("observer")
    # x and y on t1: the other two split, which counts a half; t2 has no other vote
    assert table["agreement_with_others"].to_dict() == {"x": 0.75, "y": 0.75, "z": 0.5}
    assert table["votes"].to_dict() == {"x": 3, "y": 2, "z": 2}


@pytest.mark.parametrize(
    ("right", "asked", "excluded"),
    [
        (0, 0, False),
        (0, 1, False),
        (0, 2, True),
        (1, 2, False),
        (1, 4, True),
        (2, 4, False),
        (5, 8, True),
        (6, 8, False),
    ],
)
def test_sentinels_exclude_only_where_an_attentive_observer_would_hardly_fail_so(right, asked, excluded):
    rows = balanced("o", 10) + [("o", f"s{k}", "a" if k < right else "b", "left") for k in range(asked)]
    kinds = {f"s{k}": ("sentinel", f"s{k}-a", None) for k in range(asked)}
    row = observer_table(*frames(rows, kinds)).iloc[0]
    assert (row["sentinels_right"], row["sentinels"], row["excluded"]) == (right, asked, excluded)
    assert (binomtest(right, asked, 0.95, "less").pvalue < 0.01 if asked else False) == excluded
    assert row["reason"] == (f"{right} of {asked} sentinels right" if excluded else "")


@pytest.mark.parametrize(
    ("left", "votes", "excluded"), [(14, 14, False), (15, 15, True), (0, 15, True), (37, 40, False)]
)
def test_always_the_same_side_excludes(left, votes, excluded):
    rows = [("o", f"t{k:03d}", "ab"[k % 2], "left" if k < left else "right") for k in range(votes)]
    row = observer_table(*frames(rows)).iloc[0]
    assert row["excluded"] == excluded and row["left_share"] == left / votes
    assert row["side_p"] == pytest.approx(binomtest(left, votes).pvalue) and row["side_flag"]
    assert ("side in 100% of 15 votes" in row["reason"]) == excluded


def test_a_side_that_is_not_known_says_nothing():
    judgments, triplets = frames([("o", f"t{k:03d}", "a", "left") for k in range(30)])
    row = observer_table(judgments.assign(protocol="unknown"), triplets).iloc[0]
    assert np.isnan(row["left_share"]) and row["side_p"] == 1 and not row["excluded"]


def test_a_dissenter_who_attends_is_kept():
    """Nine say a everywhere, one says b everywhere: unreliable, disagreeing, and kept."""
    rows = [row for o in range(9) for row in balanced(f"o{o}", 40)] + balanced("other", 40, "b")
    table = observer_table(*frames(rows))
    assert table.iloc[0]["observer"] == "other" and table.iloc[0]["reliability"] < 0.1
    assert table.iloc[0]["agreement_with_others"] == 0 and not table["excluded"].any()


def test_few_attentive_observers_are_lost():
    """Of 1,000 observers who get 95 % of 4 sentinels right and have no side, fewer than 1 % are excluded."""
    random = np.random.default_rng(8)
    rows, kinds = [], {f"s{k}": ("sentinel", f"s{k}-a", None) for k in range(4)}
    for o in range(1000):
        rows += [(f"o{o}", f"s{k}", "a" if random.random() < 0.95 else "b", "left") for k in range(4)]
        rows += [(f"o{o}", f"t{k:03d}", "a", "left" if random.random() < 0.5 else "right") for k in range(20)]
    assert observer_table(*frames(rows, kinds))["excluded"].mean() < 0.01


def test_repeats_are_compared_with_the_same_observers_first_answer():
    kinds = {"r0": ("repeat", None, "t000"), "r1": ("repeat", None, "t001")}
    rows = [("x", "t000", "a", "left"), ("x", "r0", "a", "left"), ("y", "t000", "b", "left"), ("y", "r1", "b", "left")]
    judgments, triplets = frames([*rows, ("x", "t001", "a", "left")], kinds)
    # a repeat shows the same two stimuli
    judgments["chosen"] = judgments["chosen"].str.replace("r0", "t000").str.replace("r1", "t001")
    pairs = repeat_pairs(with_triplets(judgments, triplets))
    assert pairs.to_dict("records") == [{"observer": "x", "consistent": True}]  # y's r1 has no first answer


def test_response_time_is_from_loaded_to_answered_and_bad_clocks_are_left_out():
    times = [("2026-01-01T00:00:01.500Z", "2026-01-01T00:00:04Z"), (None, "2026-01-01T00:00:04Z"), ("noon", "1")]
    found = response_seconds(pd.DataFrame(times, columns=["loaded_at", "answered_at"]))
    assert found.iloc[0] == 2.5 and found.iloc[1:].isna().all()


@given(st.integers(0, 80), st.integers(0, 80))
def test_the_vectorised_exact_test_agrees_with_scipy(k, n):
    k = min(k, n)
    expected = binomtest(k, n).pvalue if n else 1
    assert half_p(np.array([k]), np.array([n]))[0] == pytest.approx(expected)
