"""Which pairs an observer sees, in which order, on which side."""

from collections import Counter
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from study.records import Triplet
from study.schedule import need_votes, plan_session
from study.settings import Session


def triplets_of(references: int, each: int, repeats: int, sentinels: int = 6, practice: int = 4) -> list[Triplet]:
    tests = [
        Triplet(f"t{r}-{k}", f"r{r}", f"a{r}-{k}", f"b{r}-{k}", "test", "codecs", None, None)
        for r in range(references)
        for k in range(each)
    ]
    again = [Triplet(f"again-{t.id}", t.reference, t.a, t.b, "repeat", "codecs", None, t.id) for t in tests[:repeats]]
    easy = [Triplet(f"s{k}", "r0", "r0", "bad", "sentinel", "obvious", "r0", None) for k in range(sentinels)]
    train = [Triplet(f"p{k}", "r0", "r0", "bad", "training", "obvious", "r0", None) for k in range(practice)]
    return [*tests, *again, *easy, *train]


designs = st.builds(
    triplets_of, references=st.integers(1, 5), each=st.integers(1, 8), repeats=st.integers(0, 12)
)  # fmt: skip
sessions = st.builds(
    Session,
    trials=st.integers(1, 20),
    sentinels=st.integers(0, 4),
    repeats=st.integers(0, 4),
    practice=st.integers(0, 3),
    votes_per_triplet=st.integers(1, 4),
)


def run_study(triplets, session, random, observers):
    """Sessions one after another, each counted as the server counts it."""
    shown: dict[str, tuple[int, int]] = {}
    for _ in range(observers):
        plan = plan_session(triplets, session, shown, random)
        yield plan, dict(shown)
        for showing in plan:
            a_left, b_left = shown.get(showing.triplet, (0, 0))
            shown[showing.triplet] = (a_left + (showing.left_is == "a"), b_left + (showing.left_is == "b"))


@settings(max_examples=60, deadline=None)
@given(designs, sessions, st.integers(0, 1000))
def test_every_session_keeps_the_rules(triplets, session, seed):
    """Least-shown first, never above the wanted votes, repeats with and after originals, sides within one."""
    by_id = {t.id: t for t in triplets}
    for plan, shown in run_study(triplets, session, Random(seed), observers=8):
        needed = need_votes(triplets, session, shown)
        assert bool(plan) == bool(needed)
        kinds = Counter(showing.kind for showing in plan)
        place = {showing.triplet: index for index, showing in enumerate(plan)}
        assert len(place) == len(plan), "no triplet twice"
        assert all(by_id[s.triplet].kind == s.kind for s in plan)
        if not plan:
            continue
        tests = [s.triplet for s in plan if s.kind == "test"]
        assert kinds["test"] == min(session.trials, len(needed))
        assert set(tests) <= {t.id for t in needed}
        assert kinds["sentinel"] == session.sentinels
        assert kinds["training"] == session.practice
        assert [s.kind for s in plan[: session.practice]] == ["training"] * session.practice
        assert kinds["repeat"] <= session.repeats
        originals = {by_id[s.triplet].repeat_of for s in plan if s.kind == "repeat"}
        for showing in plan:
            if showing.kind == "repeat":
                gap = place[showing.triplet] - place[by_id[showing.triplet].repeat_of]
                assert gap >= (2 if len(plan) - session.practice > 2 * kinds["repeat"] else 1)
            a_left, b_left = shown.get(showing.triplet, (0, 0))
            assert abs((a_left + (showing.left_is == "a")) - (b_left + (showing.left_is == "b"))) <= 1
        left_out = [sum(shown.get(t.id, (0, 0))) for t in needed if t.id not in tests]
        taken = [sum(shown.get(i, (0, 0))) for i in tests if i not in originals]
        assert max(taken, default=0) <= min(left_out, default=session.votes_per_triplet)


def test_a_study_fills_up_exactly():
    """Observers come until every test triplet has its votes, then there is nothing left; no triplet has more."""
    triplets, session = triplets_of(4, 7, repeats=6), Session(trials=9, repeats=2, votes_per_triplet=5)
    plans = [plan for plan, _ in run_study(triplets, session, Random(1), observers=40)]
    votes = Counter(s.triplet for plan in plans for s in plan if s.kind == "test")
    assert set(votes.values()) == {5} and len(votes) == 28
    assert plans[-1] == []


def test_photographs_are_spread_over_a_session():
    """12 trials from 4 photographs with 9 triplets each: 3 of each."""
    triplets = triplets_of(4, 9, repeats=0)
    plan = plan_session(triplets, Session(trials=12), {}, Random(3))
    assert Counter(s.triplet.split("-")[0] for s in plan if s.kind == "test") == {f"t{r}": 3 for r in range(4)}


def test_originals_wait_for_an_observer_who_repeats_them():
    """Among equals a session takes only as many originals as it repeats, so that later sessions have repeats too."""
    triplets, session = triplets_of(4, 10, repeats=8), Session(trials=10, repeats=2, votes_per_triplet=1)
    plans = [plan for plan, _ in run_study(triplets, session, Random(5), observers=4)]
    assert [sum(s.kind == "repeat" for s in plan) for plan in plans] == [2, 2, 2, 2]


def test_a_repeat_stands_well_after_its_original():
    """At the default lengths: a quarter of the session between them."""
    plan = plan_session(triplets_of(6, 20, repeats=30), Session(), {}, Random(2))
    place = {s.triplet: index for index, s in enumerate(plan)}
    gaps = [place[s.triplet] - place[s.triplet.removeprefix("again-")] for s in plan if s.kind == "repeat"]
    assert len(gaps) == 4 and min(gaps) >= 12


def test_the_order_follows_from_the_random_generator():
    triplets, session = triplets_of(3, 8, repeats=3), Session(trials=8)
    plans = [plan_session(triplets, session, {}, Random(seed)) for seed in (1, 1, 2)]
    assert plans[0] == plans[1] != plans[2]
