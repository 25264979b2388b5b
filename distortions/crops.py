"""Where in a photograph the crops are."""

import random

import numpy as np

from study.images import Pixels

CANDIDATES = 32  # random places looked at for each crop; the half of them with more texture is kept


def choose_crops(image: Pixels, side: int, count: int, seed: int, source: str) -> list[tuple[int, int]]:
    """Up to `count` different top left corners `(x, y)` of squares of `side` pixels within `image`.

    They follow from the study's seed and the photograph's name alone, so another photograph changes nothing. Of random
    places those with the more textured content are kept (an observer learns nothing from a flat sky), and of these the
    one that overlaps the crops chosen before the least. Fewer than `count` where the photograph has not so many.
    """
    height, width = image.shape[:2]
    places = (width - side + 1) * (height - side + 1)
    chance = random.Random(f"{seed} crops {source}")
    texture = _texture(image)
    chosen: list[tuple[int, int]] = []
    while len(chosen) < min(count, places):
        drawn: list[tuple[int, int]] = []
        while len(drawn) < min(CANDIDATES, places - len(chosen)):
            place = (chance.randrange(width - side + 1), chance.randrange(height - side + 1))
            if place not in chosen and place not in drawn:
                drawn.append(place)
        detail = {place: _mean(texture, place, side) for place in drawn}
        median = float(np.median(list(detail.values())))
        kept = [place for place in drawn if detail[place] >= median]
        chosen.append(min(kept, key=lambda place: sum(_overlap(place, other, side) for other in chosen)))
    return chosen


def most_detailed(image: Pixels, side: int) -> tuple[float, int, int]:
    """The mean step in brightness between neighbours in the square of `side` pixels that has the largest, and its `x`,
    `y`. The first of equal ones."""
    sums = _texture(image)
    totals = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    y, x = np.unravel_index(int(totals.argmax()), totals.shape)
    return float(totals[y, x]) / side**2, int(x), int(y)


def _texture(image: Pixels) -> np.ndarray:
    """Sums over all pixels above and left of the steps in brightness between neighbours, (H + 1, W + 1)."""
    grey = image.mean(axis=2, dtype=np.float32)
    steps = np.zeros_like(grey)
    steps[1:] += np.abs(np.diff(grey, axis=0))
    steps[:, 1:] += np.abs(np.diff(grey, axis=1))
    return np.pad(steps.cumsum(0, dtype=np.float64).cumsum(1), ((1, 0), (1, 0)))


def _mean(sums: np.ndarray, place: tuple[int, int], side: int) -> float:
    x, y = place
    total = sums[y + side, x + side] - sums[y, x + side] - sums[y + side, x] + sums[y, x]
    return float(total) / side**2


def _overlap(place: tuple[int, int], other: tuple[int, int], side: int) -> int:
    return max(0, side - abs(place[0] - other[0])) * max(0, side - abs(place[1] - other[1]))
