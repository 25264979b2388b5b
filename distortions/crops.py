"""Where in a photograph the crops are."""

import random
from collections.abc import Sequence
from typing import Literal

import numpy as np

from study.images import Pixels

CANDIDATES = 32  # random places looked at for each crop
FLAT = 0.1  # of the texture of the photograph's most textured square; a place with less is a sky or a wall beside it


def choose_crops(
    image: Pixels,
    side: int,
    count: int,
    seed: int,
    source: str,
    kind: Literal["textured", "differing", "random"] = "textured",
    differences: np.ndarray | None = None,
) -> list[tuple[int, int]]:
    """Up to `count` different top left corners `(x, y)` of squares of `side` pixels within `image`.

    They follow from the study's seed and the photograph's name, so another photograph changes nothing. Of random places
    the flat ones are dropped (an observer learns nothing from a flat sky). Of the others "textured" keeps the half with
    more texture, "differing" the eighth with more of `differences` (H, W) (texture where there are none), "random" all.
    Of these the one is taken that overlaps the crops chosen before the least. Fewer than `count` where the photograph
    has not so many.
    """
    height, width = image.shape[:2]
    places = (width - side + 1) * (height - side + 1)
    chance = random.Random(f"{seed} crops {source}")
    texture = _texture(image)
    worth = _sums(differences) if kind == "differing" and differences is not None else texture
    share = {"textured": 1 / 2, "differing": 7 / 8, "random": 0.0}[kind]
    most, *corner = most_detailed(image, side)
    best = (corner[0], corner[1])
    chosen: list[tuple[int, int]] = []
    while len(chosen) < min(count, places):
        drawn: list[tuple[int, int]] = []
        while len(drawn) < min(CANDIDATES, places - len(chosen)):
            place = (chance.randrange(width - side + 1), chance.randrange(height - side + 1))
            if place not in chosen and place not in drawn:
                drawn.append(place)
        detail = {place: _mean(texture, place, side) for place in drawn}
        if max(detail.values()) < FLAT * most and best not in chosen:  # hardly anything but sky
            detail = {best: most}
        flat = min(FLAT * most, max(detail.values()))
        value = {place: _mean(worth, place, side) if detail[place] >= flat else -1.0 for place in detail}
        least = float(np.quantile(list(value.values()), share))
        kept = [place for place in detail if value[place] >= least and detail[place] >= flat]
        chosen.append(min(kept, key=lambda place: sum(_overlap(place, other, side) for other in chosen)))
    return chosen


def difference(images: Sequence[Pixels]) -> np.ndarray:
    """Where two or more decoded images of one photograph differ: (H, W), their variance, mean over the channels."""
    mean = np.zeros(images[0].shape, np.float32)
    for image in images:
        mean += image / np.float32(len(images))
    spread = np.zeros(mean.shape[:2], np.float32)
    for image in images:
        spread += ((image - mean) ** 2).mean(axis=2) / np.float32(len(images))
    return spread


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
    return _sums(steps)


def _sums(values: np.ndarray) -> np.ndarray:
    """Sums of `values` over all pixels above and left, (H + 1, W + 1)."""
    return np.pad(values.cumsum(0, dtype=np.float64).cumsum(1), ((1, 0), (1, 0)))


def _mean(sums: np.ndarray, place: tuple[int, int], side: int) -> float:
    x, y = place
    total = sums[y + side, x + side] - sums[y, x + side] - sums[y + side, x] + sums[y, x]
    return float(total) / side**2


def _overlap(place: tuple[int, int], other: tuple[int, int], side: int) -> int:
    return max(0, side - abs(place[0] - other[0])) * max(0, side - abs(place[1] - other[1]))
