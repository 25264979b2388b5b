"""Pairs that link all items and use each of them equally often.

A design is a graph: items are its nodes, the pairs that are shown its edges. Scores compare only between items that a
chain of pairs links, and their intervals are alike only where the items are shown equally often.
"""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from random import Random
from typing import NamedTuple

Pair = tuple[Hashable, Hashable]


class Candidate(NamedTuple):
    """A pair that may be shown."""

    first: Hashable
    second: Hashable
    stratum: Hashable = 0
    """Each stratum gets about the same number of pairs."""
    rank: float = 0
    """Pairs of lower rank are taken first within their stratum."""


def linked_groups(pairs: Iterable[Pair], items: Iterable[Hashable] = ()) -> list[set[Hashable]]:
    """The groups of items that chains of `pairs` link; an item without a pair is a group of its own."""
    group: dict[Hashable, set[Hashable]] = {item: {item} for item in items}
    for first, second in pairs:
        one, other = (group.setdefault(item, {item}) for item in (first, second))
        if one is not other:
            small, large = sorted((one, other), key=len)
            large |= small
            group.update(dict.fromkeys(small, large))
    return list({id(members): members for members in group.values()}.values())


def connected_pairs(
    candidates: Sequence[Candidate],
    number: int,
    random: Random,
    links: Sequence[Candidate] = (),
    earlier: Sequence[Pair] = (),
) -> list[Candidate]:
    """`number` of the candidates, fewer where there are no more; all items are linked wherever candidates can do it.

    First a spanning tree: candidates by rank, then those whose items were used least, so that it is a path where all
    pairs are candidates. `links` serve where candidates alone leave groups apart, and for nothing else. Then the
    stratum with the fewest pairs gets one, until there are `number`. At last pairs are exchanged for others of their
    stratum and rank as long as that evens out how often items are used. Where every pair is a candidate, all of one
    stratum and rank, items are then used equally often or once more: of items u and v with degrees that differ by two
    or more, u has at least two neighbours that v has not, and moving the pair of one of the two from u to v leaves
    all linked.

    `earlier` pairs, of other crops, break ties: pairs and items used less there come first. Where `number` is too
    small to link the crop's items, those that `earlier` pairs do not link yet come first. `random` decides the rest.
    """
    offered = [*candidates, *links]
    assert len({frozenset((c.first, c.second)) for c in offered}) == len(offered), "a pair is offered twice"
    assert all(c.first != c.second for c in offered)
    order = {candidate: place for place, candidate in enumerate(random.sample(offered, len(offered)))}
    uses, seen = Counter(item for pair in earlier for item in pair), Counter(map(frozenset, earlier))
    items = {item for c in offered for item in (c.first, c.second)}
    scarce = number < len(items) - len(linked_groups((c.first, c.second) for c in offered))
    degree: Counter[Hashable] = Counter()
    chosen: list[Candidate] = []

    def load(c: Candidate) -> tuple[int, ...]:
        ends = degree[c.first], degree[c.second]
        pair = frozenset((c.first, c.second))
        return max(ends), sum(ends), seen[pair], uses[c.first] + uses[c.second], order[c]

    def take(c: Candidate) -> None:
        chosen.append(c)
        degree.update((c.first, c.second))

    starts = (earlier, ()) if scarce else ((),)
    for start in starts:
        for pool in (candidates, links):
            while len(chosen) < number:
                groups = linked_groups([*start, *((c.first, c.second) for c in chosen)], items)
                label = {item: place for place, group in enumerate(groups) for item in group}
                open_ = [c for c in pool if label[c.first] != label[c.second]]
                if not open_:
                    break
                take(min(open_, key=lambda c: (c.rank, *load(c))))
    taken = set(chosen)
    left = [c for c in candidates if c not in taken]
    size = Counter(c.stratum for c in chosen)
    while len(chosen) < number and left:
        best = min(left, key=lambda c: (size[c.stratum], c.rank, *load(c)))
        left.remove(best)
        size[best.stratum] += 1
        take(best)
    kept = set(links)
    return _even_out([c for c in chosen if c in kept], [c for c in chosen if c not in kept], left, degree, earlier)


def _even_out(
    links: list[Candidate],
    chosen: list[Candidate],
    left: list[Candidate],
    degree: Counter[Hashable],
    earlier: Sequence[Pair],
) -> list[Candidate]:
    """`links` and `chosen`, some of these exchanged for others in `left` so that degrees come nearer to one another."""

    def groups(pairs: list[Candidate]) -> tuple[int, int]:
        ends = [(c.first, c.second) for c in pairs]
        return len(linked_groups(ends, degree)), len(linked_groups([*earlier, *ends], degree))

    def exchange() -> bool:
        at: defaultdict[Hashable, list[Candidate]] = defaultdict(list)
        for c in left:
            at[c.first].append(c)
            at[c.second].append(c)
        now = groups(links + chosen)
        for place, old in enumerate(chosen):
            for high, stays in ((old.first, old.second), (old.second, old.first)):
                for new in at[stays]:
                    low = new.second if new.first == stays else new.first
                    if degree[high] < degree[low] + 2 or (new.stratum, new.rank) != (old.stratum, old.rank):
                        continue
                    after = [*chosen[:place], new, *chosen[place + 1 :]]
                    if all(count <= before for count, before in zip(groups(links + after), now, strict=True)):
                        chosen[place] = new
                        left[left.index(new)] = old
                        degree[high] -= 1
                        degree[low] += 1
                        return True
        return False

    degree.update(dict.fromkeys((end for c in left for end in (c.first, c.second)), 0))  # those not used at all, too
    while exchange():  # the sum of squared degrees falls each time, so it ends
        pass
    return links + chosen
