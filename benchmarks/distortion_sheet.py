"""Draw what each synthetic distortion looks like at each level, and what it costs in PSNR.

    python benchmarks/distortion_sheet.py PHOTOGRAPH --out docs/distortions

Writes one sheet, of crops side by side, and prints a table: PSNR in dB at levels 1 to 5 over the whole photograph.
"""

import argparse
from pathlib import Path

import matplotlib
import numpy as np

from distortions.making import psnr
from distortions.synthetic.distorter import NAMES, Distorter
from distortions.synthetic.levels import CHAIN, LEVELS
from study.photographs import read

matplotlib.use("agg")
from matplotlib import pyplot as plt  # noqa: E402

SIDE = 96
"""Pixels of a crop."""
COLUMNS = 3
"""Distortions side by side."""


def main() -> None:
    """Write the sheet and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photograph", type=Path)
    parser.add_argument("--crop", type=int, nargs=2, default=(300, 150), metavar=("X", "Y"), help="top left corner")
    parser.add_argument("--out", type=Path, default=Path("docs/distortions"), metavar="DIR")
    options = parser.parse_args()
    image = read(options.photograph)
    x, y = options.crop
    place = np.s_[y : y + SIDE, x : x + SIDE]

    rows = -(-len(NAMES) // COLUMNS)
    figure, axes = plt.subplots(rows, COLUMNS, figsize=(COLUMNS * 4.6, rows * 0.94), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, name in zip(axes.T.flat, NAMES, strict=False):
        distorter = Distorter(name, kinds=2 if name == CHAIN else 1)
        made = [distorter.distort(image, level, "sheet") for level in LEVELS]
        gap = np.full((SIDE, 4, 3), 255, np.uint8)
        crops = [part for one in (image, *made) for part in (one[place], gap)]
        axis.imshow(np.concatenate(crops[:-1], axis=1), interpolation="lanczos")
        axis.set_title(name, fontsize=8, loc="left", pad=2)
        print(f"{name:<26}" + "".join(f"{psnr(image, one):7.1f}" for one in made))
    figure.subplots_adjust(0.005, 0.002, 0.995, 0.985, wspace=0.02, hspace=0.2)
    options.out.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.out / "sheet.jpg", dpi=122, pil_kwargs={"quality": 78, "optimize": True})


if __name__ == "__main__":
    main()
