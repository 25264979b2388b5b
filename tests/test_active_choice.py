"""Active choice in a running study: what it learns from, what it asks, and what it never does."""

import hashlib
import itertools
import math
from collections import Counter
from random import Random

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from test_schedule import run_study, triplets_of
from test_simulate import answers, score_mse, simulate

from analysis.bradley_terry import linked_groups
from analysis.observers import observer_table
from analysis.scaling import name_conditions
from mturk.questions.sessions import plan_form_session
from study import tables
from study.believed_votes import attentive, believed_votes
from study.design.chosen import (
    PILOT,
    Comparisons,
    Tally,
    awaiting,
    believed_scores,
    comparisons,
    conditions_of,
    next_pairs,
    tally,
)
from study.design.information import posterior
from study.design.scores import ALPHA, newton_scores, slope, wins_matrix
from study.design.widths import predicted_widths
from study.errors import InputError
from study.records import Stimulus, Triplet
from study.schedule import need_votes, plan_session
from study.sessions import new_session, shown, trials_of, votes_to_choose_by
from study.settings import Session, parse_settings
from study.votes import connect, now, read_judgments, transaction


def stimulus(name: str, codec: str, rate: float | None, settings: str = "{}") -> Stimulus:
    return Stimulus(name, "0", "photo", 0, 0, 64, 64, codec, settings, rate, None, rate)


def test_conditions_are_the_report_s_and_the_references_are_one():
    stimuli = [
        stimulus("a", "jpeg", 0.5), stimulus("b", "jpeg", None, '{"quality": 3}'),
        stimulus("c", "webp", None, '{"target_psnr": 30.0}'), stimulus("d", "reference", None),
        stimulus("e", "reference", None, '{"crop": 2}'), stimulus("f", "unknown", None),
    ]  # fmt: skip
    table = tables.frame(stimuli, Stimulus)
    found = conditions_of(table)
    assert found == {
        "a": "jpeg @ 0.5", "b": 'jpeg {"quality": 3}', "c": "webp @ 30 dB", "d": "reference", "e": "reference"
    }  # fmt: skip
    report = name_conditions(table).dropna().to_dict()
    assert {name: found[name] for name in report} == report


def test_comparisons_worked_by_hand():
    """Of six test triplets four are between known, different conditions; these are three pairs in two groups."""
    conditions = {"a0": "A", "a1": "A", "b0": "B", "c0": "C", "x": "X", "y": "Y"}
    ends = [("a0", "b0"), ("b0", "a1"), ("a0", "a1"), ("c0", "a0"), ("y", "x"), ("a0", "unknown")]
    triplets = [Triplet(f"t{n}", "r", a, b, "test", "codecs", None, None) for n, (a, b) in enumerate(ends)]
    triplets.append(Triplet("s", "r", "a0", "x", "sentinel", "obvious", "a0", None))
    table = comparisons(triplets, conditions)
    assert table.conditions == ["A", "B", "C", "X", "Y"]
    assert table.pairs.tolist() == [[0, 1], [0, 2], [3, 4]] and table.groups.tolist() == [0, 0, 0, 1, 1]
    assert table.of == {"t0": (0, 0, 1), "t1": (0, 1, 0), "t3": (1, 2, 0), "t4": (2, 4, 3)}
    seen = awaiting(tally(table, {"t0": (3, 1), "t1": (2, 5), "t2": (9, 9), "t4": (0, 1)}), {"t3": 2, "s": 7})
    assert seen.wins[0, 1] == 8 and seen.wins[1, 0] == 3 and seen.wins[3, 4] == 1 and seen.wins.sum() == 12
    assert seen.awaited[2, 0] == 2 and seen.awaited.sum() == 2


@settings(max_examples=100, deadline=None)
@given(st.integers(2, 12), st.integers(0, 10**6), st.sampled_from([0.02, 0.2, 1.0]), st.sampled_from([1, 30, 10_000]))
def test_scores_are_found_whatever_the_votes(items, seed, share, most):
    """One-sided, empty and separate votes, few and many: the penalised likelihood is flat at what comes out."""
    random = np.random.default_rng(seed)
    wins = np.floor(random.random((items, items)) ** 4 * (most + 1)) * (random.random((items, items)) < share)
    np.fill_diagonal(wins, 0)
    scores = newton_scores(wins[None], np.array([ALPHA]))
    assert np.isfinite(scores).all()
    assert np.abs(slope(scores, wins[None], np.array([ALPHA]))).max() < 1e-6 * max(1, wins.sum())


def test_an_awaited_vote_sharpens_as_a_vote_and_moves_no_score():
    """Votes that come in as the scores foretell leave the scores where they are: the same posterior, with the votes."""
    random = np.random.default_rng(4)
    wins = random.poisson(3.0, (5, 5)) * (1 - np.eye(5))
    scores = newton_scores(wins[None], np.array([ALPHA]))[0]
    awaited = np.triu(random.poisson(2.0, (5, 5)), 1).astype(float)
    chance = expit(scores[:, None] - scores[None])
    came = wins + awaited * chance + (awaited * (1 - chance)).T
    again = newton_scores(came[None], np.array([ALPHA]))[0]
    assert np.allclose(again, scores, atol=1e-6)
    assert np.allclose(posterior(wins + awaited, scores, ALPHA).covariance, posterior(came, again, ALPHA).covariance)


def every(items: int) -> Comparisons:
    pairs = np.array(list(itertools.combinations(range(items), 2)))
    return Comparisons([str(k) for k in range(items)], pairs, np.zeros(items, dtype=int), {})


def seen_of(table: Comparisons, wins: np.ndarray) -> Tally:
    return Tally(table, wins, np.zeros_like(wins), believed_scores(wins))


def test_ten_who_join_at_once_are_asked_different_things():
    """Past the pilot, ten trees with no vote between them: other pairs, and more of them, as open trials count."""
    random, table = np.random.default_rng(2), every(12)
    true = np.linspace(-2, 2, 12)
    wins = random.binomial(2, expit(true[:, None] - true[None])) * (1.0 - np.eye(12))
    seen, room = seen_of(table, wins), [100] * len(table.pairs)
    assert 2 * wins.sum() > PILOT * 12
    ties, pairs = Random(3), []
    for _ in range(10):
        tree = next_pairs(seen, room, 11, ties)
        np.add.at(seen.awaited, tuple(table.pairs[tree].T), 1)
        pairs += tree
    blind = [place for _ in range(10) for place in next_pairs(seen_of(table, wins), room, 11, ties)]
    assert max(Counter(pairs).values()) < max(Counter(blind).values()) == 10
    assert len(set(pairs)) >= 2 * len(set(blind))


def test_before_the_pilot_is_over_votes_say_nothing_and_pairs_are_balanced():
    """Ten trees of twelve conditions: the same whoever won, each condition within a third of the mean."""
    table, uses = every(12), []
    for winner in (0, 1):
        seen, ties, places = seen_of(table, np.zeros((12, 12))), Random(3), []
        for tree in range(10):
            places += next_pairs(seen._replace(scores=believed_scores(seen.wins)), [100] * 66, 11, ties)
            ends = table.pairs[places[-11:]]
            np.add.at(seen.awaited if tree > 4 else seen.wins, (ends[:, winner], ends[:, 1 - winner]), 1)
        uses.append(places)
    assert uses[0] == uses[1]
    degree = Counter(table.pairs[uses[0]].ravel().tolist())
    assert 2 / 3 * 220 / 12 <= min(degree.values()) <= max(degree.values()) <= 4 / 3 * 220 / 12
    assert max(Counter(uses[0]).values()) <= 4


def test_separate_groups_all_get_their_share():
    """A group of 12 beside one of 3 and one of 2, in sessions of 7: votes on each condition differ little.

    Votes of the large group are one-sided, those of the small ones are tossed. An offset between groups that no vote
    can tell, taken for uncertainty, would starve a group.
    """
    parts = [range(12), range(12, 15), range(15, 17)]
    pairs = np.array([pair for part in parts for pair in itertools.combinations(part, 2)])
    groups = np.repeat([0, 1, 2], [12, 3, 2])
    table = Comparisons([str(k) for k in range(17)], pairs, groups, {})
    wins, random = np.zeros((17, 17)), Random(1)
    for _ in range(150):
        chosen = pairs[next_pairs(seen_of(table, wins), [1000] * len(pairs), 7, random)]
        for low, high in chosen:
            won = high if groups[high] == 0 or random.random() < 0.5 else low
            wins[won, low + high - won] += 1
    votes = (wins + wins.T).sum(axis=1)
    assert votes.min() > 0.4 * votes.mean()
    assert np.isfinite(wins).all() and linked_groups(wins)[0] == 3


# Photographs with stimuli of eight conditions in two groups, some of them of one condition, some of unknown codecs.
LETTERS = "ABCDEFGH"


def some_triplets(references: int, each: int, repeats: int, seed: int) -> tuple[list[Triplet], dict[str, str]]:
    random = Random(seed)
    conditions = {f"{letter}{r}{k}": letter for letter in LETTERS for r in range(references) for k in range(2)}
    tests = []
    for r in range(references):
        for n in range(each):
            letters = LETTERS[:5] if random.random() < 0.7 else LETTERS[5:]
            a, b = (f"{random.choice(letters)}{r}{k}" for k in range(2))
            b = f"unknown{r}" if random.random() < 0.1 else b
            tests.append(Triplet(f"t{r}-{n}", f"r{r}", a, b, "test", "codecs", None, None))
    again = [Triplet(f"again-{t.id}", t.reference, t.a, t.b, "repeat", "codecs", None, t.id) for t in tests[:repeats]]
    easy = [Triplet(f"s{k}", "r0", "r0", "bad", "sentinel", "obvious", "r0", None) for k in range(4)]
    train = [Triplet(f"p{k}", "r0", "r0", "bad", "training", "obvious", "r0", None) for k in range(3)]
    return [*tests, *again, *easy, *train], conditions


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 4), st.integers(1, 12), st.integers(0, 8), st.integers(0, 999),
    st.builds(
        Session, trials=st.integers(1, 15), sentinels=st.integers(0, 4), repeats=st.integers(0, 3),
        practice=st.integers(0, 3), votes_per_triplet=st.integers(1, 4), choice=st.just("active"),
    ),
    st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from([0.0, 0.5]),
)  # fmt: skip
def test_a_study_fills_and_every_session_keeps_the_rules(references, each, repeats, seed, session, for_a, lost):
    """Whatever is answered, by how few: `votes_per_triplet` for each in the end, sides within one, and all the rest.

    And in no more sessions than it takes, where no originals of repeats come before what is due.
    """
    triplets, conditions = some_triplets(references, each, repeats, seed)
    table, by_id = comparisons(triplets, conditions), {t.id: t for t in triplets}
    tests = [t.id for t in triplets if t.kind == "test"]
    random = Random(seed)
    counts: dict[str, tuple[int, int]] = {}
    votes: dict[str, tuple[int, int]] = {}
    open_: Counter[str] = Counter()
    for number in range(200):
        needed = need_votes(triplets, session, counts)
        state = random.getstate()
        plan = plan_session(triplets, session, counts, random, awaiting(tally(table, votes), open_))
        after = random.getstate()
        random.setstate(state)
        assert plan == plan_session(triplets, session, counts, random, awaiting(tally(table, votes), open_))
        assert random.getstate() == after
        assert bool(plan) == bool(needed)
        if not plan:
            least = max(session.votes_per_triplet, math.ceil(len(tests) * session.votes_per_triplet / session.trials))
            assert number == least or session.repeats
            break
        kinds = Counter(showing.kind for showing in plan)
        place = {showing.triplet: n for n, showing in enumerate(plan)}
        assert len(place) == len(plan) and all(by_id[s.triplet].kind == s.kind for s in plan)
        assert kinds["test"] == min(session.trials, len(needed))
        assert kinds["sentinel"] == session.sentinels and kinds["training"] == session.practice
        assert {s.triplet for s in plan if s.kind == "test"} <= {t.id for t in needed}
        for showing in plan:
            if showing.kind == "repeat":
                assert place[str(by_id[showing.triplet].repeat_of)] < place[showing.triplet]
            a_left, b_left = counts.get(showing.triplet, (0, 0))
            a_left, b_left = a_left + (showing.left_is == "a"), b_left + (showing.left_is == "b")
            assert abs(a_left - b_left) <= 1
            counts[showing.triplet] = a_left, b_left
            if random.random() < lost:
                open_[showing.triplet] += 1
                continue
            a, b = votes.get(showing.triplet, (0, 0))
            chose_a = random.random() < for_a
            votes[showing.triplet] = a + chose_a, b + (not chose_a)
    assert [sum(counts[name]) for name in tests] == [session.votes_per_triplet] * len(tests)


TRUE = dict(zip("ABCDEF", np.linspace(0, 8, 6).tolist(), strict=True))


def spread_study(photographs: int = 30) -> tuple[list[Triplet], Comparisons]:
    """Six conditions over 8 logits, each pair of them on each photograph; sentinels whose a is right, and practice."""
    ends = list(itertools.combinations(sorted(TRUE), 2))
    triplets = [
        Triplet(f"{n}-{a}{b}", f"r{n}", f"{a}{n}", f"{b}{n}", "test", "codecs", None, None)
        for n in range(photographs) for a, b in ends
    ]  # fmt: skip
    triplets += [Triplet(f"again-{t.id}", t.reference, t.a, t.b, "repeat", "codecs", None, t.id) for t in triplets[:20]]
    triplets += [Triplet(f"s{k}", "r0", "r0", "bad", "sentinel", "obvious", "r0", None) for k in range(6)]
    triplets += [Triplet(f"p{k}", "r0", "r0", "bad", "training", "obvious", "r0", None) for k in range(3)]
    conditions = {f"{letter}{n}": letter for letter in TRUE for n in range(photographs)}
    return triplets, comparisons(triplets, conditions)


def begin(store, triplets, table, session, observer, simulator=None) -> list:
    """The trials of a new observer, as the voting page makes them."""
    known = None if session.choice == "fewest" else table
    seen = votes_to_choose_by(store, triplets, known, simulated=simulator is not None)
    with transaction(store):
        assert new_session(store, triplets, session, observer, simulator, seen=seen)
    return trials_of(store, observer)


def answer(store, trials, side) -> None:
    """Vote: `side` (left or right) of each trial."""
    with transaction(store):
        for trial in trials:
            store.execute(
                "INSERT INTO votes (trial, side, protocol, received_at, flips, zoom) VALUES (?, ?, 'flip', ?, 0, 1)",
                [trial["id"], side(trial), now()],
            )


def by_scores(random: Random):
    """An observer who chooses by TRUE scores and knows the sentinels; never an endless streak of one side."""

    def side(trial) -> str:
        chance = 1.0
        if trial["kind"] in ("test", "repeat"):
            a, b = trial["triplet"].split("-")[-1]
            chance = float(expit(TRUE[a] - TRUE[b]))
        chosen = "a" if random.random() < chance else "b"
        return "left" if chosen == trial["left_is"] else "right"

    return side


def run(path, choice: str, observers: int, seed: int = 1, repeats: int = 1) -> list[list[tuple[str, str, str]]]:
    """What each of the simulated observers was asked, in a study of its own."""
    triplets, table = spread_study()
    session = Session(trials=10, sentinels=3, repeats=repeats, practice=1, choice=choice)
    asked_of = []
    with connect(path) as store:
        for number in range(observers):
            trials = begin(store, triplets, table, session, f"o{number}", f'{{"seed": {seed}, "observer": {number}}}')
            answer(store, trials, by_scores(Random(f"{seed} {number}")))
            asked_of.append([(t["triplet"], t["kind"], t["left_is"]) for t in trials])
    return asked_of


def test_pairs_asked_concentrate_where_the_posterior_is_uncertain(tmp_path):
    """Of six conditions, 1.6 logits apart each, who beats one three places away is soon known: 6 of the 15 pairs.

    The pilot ends in the third session. By the fewest votes these pairs get their 6/15 to the end, by active choice
    less than half of that, and its votes make narrower intervals.
    """
    far, widths = {}, {}
    for choice in ("fewest", "active"):
        sessions = run(tmp_path / choice, choice, 30)
        pairs = [[name.split("-")[1] for name, kind, _ in session if kind == "test"] for session in sessions]
        later = [ord(pair[1]) - ord(pair[0]) >= 3 for session in pairs[3:] for pair in session]
        far[choice] = np.mean(later)
        ends = np.array([["ABCDEF".index(end) for end in pair] for session in pairs for pair in session])
        votes = wins_matrix(*ends.T, 6)
        widths[choice] = predicted_widths(votes + votes.T, list(TRUE.values())).mean()
    assert far["fewest"] == pytest.approx(0.4, abs=0.06) and far["active"] < 0.2
    assert widths["active"] < 0.9 * widths["fewest"]


def test_the_same_seeds_give_the_same_sessions(tmp_path):
    one, two, other = (run(tmp_path / name, "active", 8, seed) for name, seed in (("a", 1), ("b", 1), ("c", 2)))
    assert one == two != other


def test_a_pair_s_triplets_are_spread_over_photographs(tmp_path):
    """Of each pair the triplets asked least come first: none twice before each has its vote."""
    sessions = run(tmp_path / "votes", "active", 30, repeats=0)
    times = Counter(name for session in sessions for name, kind, _ in session if kind == "test")
    for a, b in itertools.combinations("ABCDEF", 2):
        counts = [times[f"{n}-{a}{b}"] for n in range(30)]
        assert max(counts) - min(counts) <= 1
    for session in sessions:  # ten trials on ten of the 30 photographs, but for a pair's last ones
        assert len({name.split("-")[0] for name, kind, _ in session if kind == "test"}) >= 9


def test_only_votes_that_the_report_believes_are_learned_from(tmp_path):
    """Of observers as the report judges them; not of the other sort; not rejected; not repeats, sentinels, practice."""
    triplets, table = spread_study(4)
    session = Session(trials=30, sentinels=6, repeats=2, practice=2, votes_per_triplet=9, choice="active")
    random = Random(5)
    sides = {
        "good": by_scores(random), "left": lambda trial: "left",
        "wrong": lambda trial: "left" if (trial["left_is"] == "b") == (trial["kind"] == "sentinel") else "right",
        "rejected": by_scores(random),
    }  # fmt: skip
    path = tmp_path / "votes.sqlite"
    with connect(path) as store:
        for name, side in sides.items():
            for simulator in (None, "{}"):
                trials = begin(store, triplets, table, session, f"{name} {simulator}", simulator)
                answer(store, trials, side)
        for trial in trials_of(store, "rejected None"):
            store.execute("UPDATE votes SET rejected = 'because' WHERE trial = ?", [trial["id"]])
        assert attentive(store, False, triplets) == ["good None"]
        assert attentive(store, True, triplets) == ["good {}", "rejected {}"]
        learned = believed_votes(store, False, triplets)
        mine = [trial for trial in trials_of(store, "good None") if trial["kind"] == "test"]
    chosen = {
        t["triplet"]: (1, 0) if (t["answer"] == "left") == (t["left_is"] == "a") else (0, 1) for t in mine
    }  # fmt: skip
    assert learned == chosen and len(learned) == 30
    frame = pd.DataFrame([vars(t) for t in triplets])
    judgments = read_judgments(path, frame)
    for simulated in (False, True):
        part = judgments[(judgments["simulated"] == simulated) & judgments["rejected"].isna()]
        report = observer_table(part, frame)
        with connect(path) as store:
            assert attentive(store, simulated, triplets) == sorted(report["observer"][~report["excluded"]])


def test_open_trials_are_awaited_until_they_are_given_up(tmp_path):
    """The half of a session that is unanswered counts as asked, and two hours later no more."""
    triplets, table = spread_study(4)
    session = Session(trials=30, sentinels=2, repeats=0, practice=0, choice="active")
    with connect(tmp_path / "votes") as store:
        first = begin(store, triplets, table, session, "one", "1")
        answer(store, first[:16], by_scores(Random(1)))
        tests = [t["triplet"] for t in first[16:] if t["kind"] == "test"]
        seen = votes_to_choose_by(store, triplets, table, simulated=True)
        assert seen is not None and seen.awaited.sum() == 0
        assert seen.wins.sum() == sum(t["kind"] == "test" for t in first[:16])
        waiting, blind = (
            plan_session(triplets, session, shown(store, True), Random("2"), awaiting(seen, dict.fromkeys(names, 1)))
            for names in (tests, [])
        )
        second = [(t["triplet"], t["kind"], t["left_is"]) for t in begin(store, triplets, table, session, "two", "2")]
        assert second == waiting != blind

        store.execute("DELETE FROM trials WHERE observer = 'two'")
        store.execute("UPDATE observers SET joined_at = '2001-01-01T00:00:00.000Z'")
        store.execute("UPDATE votes SET received_at = '2001-01-01T00:00:00.000Z'")
        late = plan_session(triplets, session, shown(store, True), Random("3"), seen)
        third = begin(store, triplets, table, session, "three", "3")
        assert [(t["triplet"], t["kind"], t["left_is"]) for t in third] == late


def test_forms_planned_before_any_vote_are_balanced_and_linked(make_study):
    """Ten sessions of five, each a tree of all six conditions; two that more pairs show come twice as often at most.

    Without a vote there is nothing to learn from: what was planned counts.
    """
    size = {"trials": 5, "sentinels": 1, "repeats": 0, "practice": 1, "votes_per_triplet": 3}
    study = make_study(session={**size, "choice": "active"})
    planned = [plan_form_session(study) for _ in range(10)]
    names = conditions_of(study.stimuli)
    ends = {t.id: (names[t.a], names[t.b]) for t in study.triplets.itertuples() if t.kind == "test"}
    uses: Counter[str] = Counter()
    with connect(study.votes_path) as store:
        for observer in planned:
            pairs = [ends[t["triplet"]] for t in trials_of(store, observer) if t["kind"] == "test"]
            place = {name: k for k, name in enumerate(sorted({end for pair in pairs for end in pair}))}
            wins = wins_matrix([place[a] for a, _ in pairs], [place[b] for _, b in pairs], len(place))
            assert len(pairs) == 5 and len(place) == 6 and linked_groups(wins)[0] == 1
            uses.update(end for pair in pairs for end in pair)
    assert max(uses.values()) <= 2 * min(uses.values())


def test_the_page_asks_by_active_choice_and_the_same_seed_gives_the_same_votes(make_study):
    """Simulated observers at the real page, until every comparison has its votes; twice the same."""
    session = {"trials": 5, "sentinels": 1, "repeats": 1, "practice": 1, "votes_per_triplet": 3, "choice": "active"}
    one, two = (score_mse(make_study(name, photographs=2, session=session)) for name in ("one", "two"))
    for study in (one, two):
        simulate(study, "--observers", "9")
    assert answers(one) == answers(two)
    votes = one.all_judgments().merge(one.triplets, left_on="triplet", right_on="id")
    assert (votes[votes["kind"] == "test"].groupby("triplet").size() == 3).all()
    assert votes[votes["kind"] == "test"]["triplet"].nunique() == 14


def test_a_choice_that_there_is_not_is_one_clear_line():
    with pytest.raises(
        InputError, match=r"^study.toml: session.choice = 'best': input should be 'fewest' or 'active'$"
    ):
        parse_settings({"name": "n", "session": {"choice": "best"}}, "study.toml")


def test_sessions_by_the_fewest_votes_are_those_of_studies_before_active_choice():
    """A digest of 160 sessions that were planned when there was no other choice."""
    digest = hashlib.sha256()
    for seed in range(20):
        session = Session(trials=3 + seed, sentinels=3, repeats=seed % 5, practice=2, votes_per_triplet=2)
        for plan, _ in run_study(triplets_of(4, 6, repeats=5), session, Random(seed), 8):
            digest.update(repr([tuple(showing) for showing in plan]).encode())
    assert digest.hexdigest() == "3d5f5c4ca6d8d845af001268a0387ee4336193f4fdb84daf3c373ab9a7d7c85f"


def test_where_no_codec_is_known_the_fewest_votes_come_first(tmp_path):
    """An import's stimuli have no conditions, so there is nothing to learn: all are asked once before any twice."""
    triplets, _ = spread_study(2)
    table = comparisons(triplets, conditions_of(tables.frame([stimulus("A0", "unknown", None)], Stimulus)))
    assert table.conditions == [] and table.pairs.shape == (0, 2)
    session = Session(trials=10, sentinels=1, repeats=0, practice=0, choice="active")
    with connect(tmp_path / "votes") as store:
        for number in range(3):
            answer(store, begin(store, triplets, table, session, f"o{number}"), by_scores(Random(number)))
        assert sorted(sum(counts) for name, counts in shown(store, False).items() if name[0] != "s") == [1] * 30
