"""Which pairs an observer sees, in which order, and which stimulus of each pair is on the left.

Pure logic on records and counts: what was shown so far goes in, a session comes out.
"""

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from random import Random
from typing import Literal, NamedTuple

from study.design.chosen import Tally, awaiting, next_pairs
from study.records import Triplet
from study.settings import Session

Shown = Mapping[str, tuple[int, int]]
"""Triplet id to (times a was left, times b was left), over votes and open assignments; a missing id is (0, 0)."""

SHUFFLES = 50  # tries for an order that keeps repeats away from their originals


class Showing(NamedTuple):
    """One trial of a session."""

    triplet: str
    kind: str
    left_is: Literal["a", "b"]


def need_votes(triplets: Sequence[Triplet], session: Session, shown: Shown) -> list[Triplet]:
    """The test triplets that have fewer votes and open assignments than `votes_per_triplet`."""
    return [t for t in triplets if t.kind == "test" and _times(t.id, shown) < session.votes_per_triplet]


def plan_session(
    triplets: Sequence[Triplet], session: Session, shown: Shown, random: Random, seen: Tally | None = None
) -> list[Showing]:
    """One observer's trials in order, practice first; empty where no test triplet needs votes any more.

    Test triplets with the fewest votes come first, spread over references; ties are broken at random. With `seen`, for
    active choice, those that cannot wait and those of the most informative pairs of conditions come before. A repeat is
    shown only together with its original, after it; originals are taken by the fewest votes. Only test triplets are
    held to `votes_per_triplet`.
    """
    pool = need_votes(triplets, session, shown)
    if not pool:
        return []
    repeats = _repeats(triplets, pool, min(session.repeats, session.trials), shown, random)
    repeated = {str(t.repeat_of) for t in repeats}
    originals = [t for t in pool if t.id in repeated]
    # The originals of repeats that are left over wait, among equals, for an observer who sees them twice.
    waiting = {t.repeat_of for t in triplets if t.kind == "repeat"} if session.repeats else set()
    others = [t for t in pool if t.id not in repeated]
    tests = originals
    if seen is not None:
        due = [t for t in _due(pool, session, shown) if t.id not in repeated]
        tests = tests + _fewest(due, session.trials - len(tests), shown, random, tests, waiting)
        others = _without(others, tests)
        tests = tests + _informative(others, session.trials - len(tests), shown, random, tests, waiting, seen)
        others = _without(others, tests) if len(tests) < session.trials else []
    tests = tests + _fewest(others, session.trials - len(tests), shown, random, tests, waiting)

    sentinels = _fewest(_of_kind(triplets, "sentinel"), session.sentinels, shown, random)
    practice = _fewest(_of_kind(triplets, "training"), session.practice, shown, random)
    order = [*random.sample(practice, len(practice)), *_arrange([*tests, *sentinels, *repeats], random)]
    return [Showing(t.id, t.kind, _left(t.id, shown, random)) for t in order]


def _repeats(
    triplets: Sequence[Triplet], pool: Sequence[Triplet], number: int, shown: Shown, random: Random
) -> list[Triplet]:
    needed = {t.id for t in pool}
    candidates = [t for t in _of_kind(triplets, "repeat") if t.repeat_of in needed]
    candidates = random.sample(candidates, len(candidates))
    candidates.sort(key=lambda t: (_times(str(t.repeat_of), shown), _times(t.id, shown)))
    return list({t.repeat_of: t for t in reversed(candidates)}.values())[::-1][:number]


def _fewest(
    pool: Sequence[Triplet],
    number: int,
    shown: Shown,
    random: Random,
    chosen: Collection[Triplet] = (),
    waiting: Collection[str | None] = (),
) -> list[Triplet]:
    """`number` triplets of the pool: those shown least, among these no reference again before the others had a turn."""
    shuffled = sorted(random.sample(pool, len(pool)), key=lambda t: _times(t.id, shown))
    turns = Counter(t.reference for t in chosen)
    ranked: list[tuple[tuple[int, bool, int, int], Triplet]] = []
    for place, triplet in enumerate(shuffled):
        key = (_times(triplet.id, shown), triplet.id in waiting, turns[triplet.reference], place)
        ranked.append((key, triplet))
        turns[triplet.reference] += 1
    return [triplet for _, triplet in sorted(ranked, key=lambda item: item[0])[:number]]


def _due(pool: Sequence[Triplet], session: Session, shown: Shown) -> list[Triplet]:
    """The triplets that need a vote in each session from now on until all have theirs.

    An observer sees a triplet once. If some waited any longer, the last sessions would have hardly a trial.
    """
    needed = {t.id: session.votes_per_triplet - _times(t.id, shown) for t in pool}
    sessions = math.ceil(sum(needed.values()) / session.trials)
    return [t for t in pool if needed[t.id] >= sessions]


def _informative(
    pool: Sequence[Triplet],
    number: int,
    shown: Shown,
    random: Random,
    tests: Sequence[Triplet],
    waiting: Collection[str | None],
    seen: Tally,
) -> list[Triplet]:
    """At most `number` triplets of the pool, of the pairs that `next_pairs` gives; of each pair those shown least.

    `tests` are in the session already. Among triplets of a pair that were shown equally often, references that the
    session has less come first.
    """
    of = seen.comparisons.of
    of_pair: dict[int, list[Triplet]] = {}
    for triplet in random.sample(pool, len(pool)):
        if triplet.id in of:
            of_pair.setdefault(of[triplet.id][0], []).append(triplet)
    room = [len(of_pair.get(place, ())) for place in range(len(seen.comparisons.pairs))]
    turns = Counter(t.reference for t in tests)
    chosen = []
    for place in next_pairs(awaiting(seen, Counter(t.id for t in tests)), room, number, random):
        best = min(of_pair[place], key=lambda t: (_times(t.id, shown), t.id in waiting, turns[t.reference]))
        of_pair[place].remove(best)
        turns[best.reference] += 1
        chosen.append(best)
    return chosen


def _arrange(trials: list[Triplet], random: Random) -> list[Triplet]:
    """`trials` in random order, each repeat after its original, at least a quarter of the session later if it can be.

    Of a bounded number of shuffles the first that keeps the distance is taken, else the one that comes nearest.
    """
    pairs = [(t.repeat_of, t.id) for t in trials if t.kind == "repeat"]
    wanted = max(2, len(trials) // 4)
    best: list[Triplet] = []
    best_gap = -1
    for _ in range(SHUFFLES):
        order = random.sample(trials, len(trials))
        place = {t.id: index for index, t in enumerate(order)}
        for original, repeat in pairs:
            first, second = place[str(original)], place[repeat]
            if first > second:
                order[first], order[second] = order[second], order[first]
        gap = min((abs(place[str(original)] - place[repeat]) for original, repeat in pairs), default=wanted)
        if gap > best_gap:
            best, best_gap = order, gap
        if gap >= wanted:
            break
    return best


def _left(triplet: str, shown: Shown, random: Random) -> Literal["a", "b"]:
    a_left, b_left = shown.get(triplet, (0, 0))
    if a_left == b_left:
        return random.choice(("a", "b"))
    return "a" if a_left < b_left else "b"


def _times(triplet: str, shown: Shown) -> int:
    return sum(shown.get(triplet, (0, 0)))


def _without(triplets: Sequence[Triplet], taken: Sequence[Triplet]) -> list[Triplet]:
    ids = {t.id for t in taken}
    return [t for t in triplets if t.id not in ids]


def _of_kind(triplets: Sequence[Triplet], kind: str) -> list[Triplet]:
    return [t for t in triplets if t.kind == kind]
