"""How evenly are the levels of each synthetic distortion spaced, by two models of what people see?

    python benchmarks/distortion_spacing.py ../shared/data/photos/kodak

DISTS and LPIPS (VGG), which follow opinions about such distortions well, between the central square of each
photograph and its levels 1 to 5, averaged over photographs. For each measure and for both (the mean of the two, each
over its own distance at level 5) it prints the largest of the five steps over the smallest: 1 is even, infinity is out
of order. They are models, not people.

--respace also looks between the levels, and prints the amounts at which the levels that are eyetune's own would be
even: at shares 1/5 to 5/5 of what level 5 is away, or in even steps up to the first amount that KADID-10k states.

A small run: --count 1 --side 128 --kinds warp.
"""

import argparse
import os
import sys
from pathlib import Path

if __name__ == "__main__":  # run by path: imports begin at the checkout's root, not in this file's folder
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import numpy as np
import torch
from scipy.interpolate import PchipInterpolator
from torch import Tensor

from distortions.synthetic.levels import KINDS, LEVELS, Kind
from metric.measures import measure
from study.images import Pixels
from study.photographs import read

MEASURES = ("dists", "lpips-vgg")


def main(argv: list[str] | None = None) -> None:
    """Print a row for each kind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photographs", type=Path, help="a folder of PNG files")
    parser.add_argument("--count", type=int, default=24, help="photographs, evenly over the folder (%(default)s)")
    parser.add_argument("--side", type=int, default=384, help="of the square, pixels (%(default)s)")
    parser.add_argument("--kinds", nargs="+", choices=tuple(KINDS), default=tuple(KINDS), metavar="KIND")
    parser.add_argument("--respace", action="store_true", help="print even amounts, too")
    options = parser.parse_args(argv)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    files = sorted(options.photographs.glob("*.png"))
    if not files:
        parser.error(f"{options.photographs}: no PNG files in it")
    count = min(options.count, len(files))
    chosen = [files[k * len(files) // count] for k in range(count)]
    looking = Looking([_centre(read(path), options.side) for path in chosen])
    print(f"{len(chosen)} photographs, {options.side} x {options.side} pixels; distances at levels 1 to 5, evenness")
    print(f"{'kind':<25} {'dists':^29} {'':>5}  {'lpips-vgg':^29} {'':>5} {'both':>6}")
    spread = []
    for name in options.kinds:
        kind = KINDS[name]
        amounts = _with_middles(kind) if options.respace else kind.amounts
        everywhere = looking.distances(kind, amounts)
        distances = everywhere[1::2] if options.respace else everywhere
        ratios = [evenness(one) for one in (*distances.T, joint(distances))]
        columns = [
            " ".join(f"{value:5.3f}" for value in one) + f" {ratio:5.1f}"
            for one, ratio in zip(distances.T, ratios, strict=False)
        ]
        stated = f"{kind.stated} stated by KADID-10k" if kind.stated else ""
        print(f"{name:<25} {columns[0]}  {columns[1]} {ratios[2]:6.1f} {stated}", flush=True)
        spread.append((ratios[2], kind.stated))
        if options.respace and kind.stated < len(LEVELS):
            print("    even: " + ", ".join(f"{one:.3g}" for one in even(kind, amounts, everywhere)), flush=True)
    for title, chosen_ratios in (
        ("eyetune's own", [ratio for ratio, stated in spread if not stated]),
        ("KADID-10k's", [ratio for ratio, stated in spread if stated]),
    ):
        if chosen_ratios:
            print(f"{title}: median {np.median(chosen_ratios):.1f}, largest {max(chosen_ratios):.1f}")


class Looking:
    """Photographs that are looked at through MEASURES."""

    def __init__(self, images: list[Pixels]) -> None:
        self.images = images
        self.measures = [measure(name) for name in MEASURES]
        self.prepared = [[one.prepare(_tensor(image)) for one in self.measures] for image in images]

    def distances(self, kind: Kind, amounts: tuple[float, ...]) -> np.ndarray:
        """Means over photographs `(amounts, measures)`; all amounts of one share what is by chance."""
        table = np.zeros((len(amounts), len(self.measures)))
        for seed, (image, known) in enumerate(zip(self.images, self.prepared, strict=True)):
            for row, amount in enumerate(amounts):
                distorted = _tensor(kind.function(image, amount, np.random.default_rng(seed)))
                with torch.no_grad():
                    table[row] += [
                        float(one.compare(reference, distorted))
                        for one, reference in zip(self.measures, known, strict=True)
                    ]
        return table / len(self.images)


def even(kind: Kind, amounts: tuple[float, ...], distances: np.ndarray) -> list[float]:
    """Amounts at even distances, up to the first that KADID-10k states, or to the last.

    `distances` `(10, measures)` are those of `amounts`, `_with_middles(kind)`. Joined by a monotone cubic.
    """
    steps = len(LEVELS) - max(kind.stated - 1, 0)
    rising = np.maximum.accumulate(np.concatenate([[0], joint(distances)]))[: 2 * steps + 1]
    rising += 1e-9 * np.arange(len(rising))  # a cubic through points of one height has no inverse
    back = PchipInterpolator(rising, [_none(kind), *amounts][: 2 * steps + 1])
    return [float(back(rising[-1] * k / steps)) for k in range(1, steps + 1)]


def joint(distances: np.ndarray) -> np.ndarray:
    """The mean over measures `(levels,)`, each over its own distance at the last level."""
    return (distances / distances[-1]).mean(axis=1)


def evenness(distances: np.ndarray) -> float:
    """The largest step over the smallest, from 0 at the reference on; infinity where one is not above 0."""
    steps = np.diff(distances, prepend=0)
    return float(steps.max() / steps.min()) if steps.min() > 0 else float("inf")


def _none(kind: Kind) -> float:
    """The amount that changes nothing: a factor of 1, else 0."""
    return 1.0 if kind.unit == "factor" else 0.0


def _with_middles(kind: Kind) -> tuple[float, ...]:
    """The amounts, each behind the middle between it and the one before."""
    before = (_none(kind), *kind.amounts)
    return tuple(one for low, high in zip(before, kind.amounts, strict=False) for one in ((low + high) / 2, high))


def _centre(image: Pixels, side: int) -> Pixels:
    y, x = ((length - side) // 2 for length in image.shape[:2])
    return image[y : y + side, x : x + side]


def _tensor(image: Pixels) -> Tensor:
    return torch.tensor(image).permute(2, 0, 1)[None].float() / 255


if __name__ == "__main__":
    main()
