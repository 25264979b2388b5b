"""Pairs that link all items and use each of them equally often.

A design is a graph: items are its nodes, the pairs that are shown its edges. Scores compare only between items that a
chain of pairs links, and their intervals are alike only where the items are shown equally often.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from random import Random
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

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
    earlier: Mapping[Pair, int] = MappingProxyType({}),
) -> list[Candidate]:
    """`number` of the candidates, fewer where there are no more; all items are linked wherever candidates can do it.

    First a spanning tree: candidates by rank, then those whose items were used least, so that it is a path where all
    pairs are candidates. `links` serve where candidates alone leave groups apart, and for nothing else. Then the
    stratum with the fewest pairs gets one, until there are `number`. At last pairs are exchanged for others of their
    stratum and rank as long as that evens out how often items are used. Where every pair is a candidate, all of one
    stratum and rank, items are then used equally often or once more: of items u and v with degrees that differ by two
    or more, u has at least two neighbours that v has not, and moving the pair of one of the two from u to v leaves
    all linked.

    `earlier`, how often pairs were chosen for other crops, breaks ties: pairs and items used less there come first.
    Where `number` is too small to link the crop's items, those that earlier pairs do not link yet come first. `random`
    decides the rest.
    """
    offered = [*candidates, *links]
    assert len({frozenset((c.first, c.second)) for c in offered}) == len(offered), "a pair is offered twice"
    assert all(c.first != c.second for c in offered)
    place = {
        item: index for index, item in enumerate(dict.fromkeys(end for c in offered for end in (c.first, c.second)))
    }
    ends = np.array([(place[c.first], place[c.second]) for c in offered], dtype=np.int64).reshape(-1, 2)
    strata = {stratum: index for index, stratum in enumerate(dict.fromkeys(c.stratum for c in offered))}
    stratum = np.array([strata[c.stratum] for c in offered], dtype=np.int64)
    rank = np.array([c.rank for c in offered])
    order = np.argsort(random.sample(range(len(offered)), len(offered)))
    seen: Counter[frozenset[Hashable]] = Counter()
    used = np.zeros(len(place), dtype=np.int64)
    for pair, times in earlier.items():
        seen[frozenset(pair)] += times
        for end in pair:
            if end in place:
                used[place[end]] += times
    before = np.array([seen[frozenset((c.first, c.second))] for c in offered], dtype=np.int64)
    degree = np.zeros(len(place), dtype=np.int64)
    chosen: list[int] = []

    first, second = np.ascontiguousarray(ends.T)
    used_before = used[first] + used[second]

    def best(pool: NDArray[np.int64], *keys: NDArray) -> int:
        """Of the candidates at the places `pool`, the least by `keys`, then by how much their items are used."""
        one, other = degree[first], degree[second]
        for key in (*keys, np.maximum(one, other), one + other, before, used_before, order):
            values = key[pool]
            pool = pool[values == values.min()]
        return int(pool[0])

    def take(index: int) -> None:
        chosen.append(index)
        degree[ends[index]] += 1

    own, others = np.arange(len(candidates)), np.arange(len(candidates), len(offered))
    joined = np.array([(place[one], place[other]) for one, other in _joined(earlier, place)], np.int64).reshape(-1, 2)
    scarce = number < len(place) - len(set(_labels(ends, len(place))))
    for start in (joined, joined[:0]) if scarce else (joined[:0],):
        label = _labels(np.concatenate([start, ends[chosen]]), len(place))
        for pool in (own, others):
            apart = pool[label[first[pool]] != label[second[pool]]]
            while len(chosen) < number and len(apart):
                index = best(apart, rank)
                take(index)
                label[label == label[second[index]]] = label[first[index]]
                apart = apart[label[first[apart]] != label[second[apart]]]
    free = np.ones(len(candidates), dtype=bool)
    free[[index for index in chosen if index < len(candidates)]] = False
    if number - len(chosen) >= free.sum():  # nothing to choose
        chosen += np.flatnonzero(free).tolist()
        free[:] = False
    size = np.bincount(stratum[chosen], minlength=len(strata))
    while len(chosen) < number and free.any():
        index = best(np.flatnonzero(free), size[stratum], rank)
        free[index] = False
        size[stratum[index]] += 1
        take(index)
    return _even_out(
        [offered[index] for index in chosen if index >= len(candidates)],
        [offered[index] for index in chosen if index < len(candidates)],
        [candidates[index] for index in np.flatnonzero(free).tolist()],
        _joined(earlier, place),
    )


def _labels(pairs: NDArray[np.int64], items: int) -> NDArray[np.int32]:
    """`(items,)` the number of the group of each item that the pairs of places `(P, 2)` link."""
    links = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(items, items))
    return connected_components(links, directed=False)[1]


def _joined(earlier: Iterable[Pair], items: Collection[Hashable]) -> list[Pair]:
    """Pairs that link those of the `items` that chains of `earlier` pairs link."""
    groups = [[item for item in group if item in items] for group in linked_groups(earlier)]
    return [(group[0], other) for group in groups for other in group[1:]]


def _even_out(
    links: list[Candidate],
    chosen: list[Candidate],
    left: list[Candidate],
    joined: list[Pair],
) -> list[Candidate]:
    """`links` and `chosen`, some of these exchanged for others in `left` so that degrees come nearer to one another."""

    degree = Counter(end for c in links + chosen for end in (c.first, c.second))
    degree.update(dict.fromkeys((end for c in left for end in (c.first, c.second)), 0))  # those not used at all, too

    def groups(pairs: list[Candidate]) -> tuple[int, int]:
        ends = [(c.first, c.second) for c in pairs]
        return len(linked_groups(ends, degree)), len(linked_groups([*joined, *ends], degree))

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

    while exchange():  # the sum of squared degrees falls each time, so it ends
        pass
    return links + chosen
