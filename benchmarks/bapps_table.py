"""BAPPS's validation votes through `eyetune score`, beside numbers that were known before.

    python benchmarks/bapps_table.py ../shared/data/votes/bapps_val_tables

The tables hold 36,344 judgments of five people each and the distances of four metrics; no images. Prints 2AFC in %, by
six kinds and their mean, what that is less the design document's table (computed once from the same votes by another
program), the largest difference, and how long it took. Rounding to one digit alone makes differences of 0.05.
"""

import argparse
import os
import sys
import time
from pathlib import Path

if __name__ == "__main__":  # run by path: imports begin at the checkout's root, not in this file's folder
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import tempfile

import pandas as pd

from metric.score import main as score

PARTS = ["traditional", "cnn", "superres", "deblur", "color", "frameinterp", "mean"]
KNOWN = {
    "p² + q²": (80.8, 84.3, 73.6, 66.1, 68.8, 68.6, 73.7),
    "two observers": (76.1, 80.4, 67.0, 57.6, 61.0, 60.8, 67.2),
    "majority oracle": (85.8, 88.5, 80.1, 74.0, 76.4, 76.0, 80.1),
    "alex_vanilla": (77.5, 82.9, 71.2, 61.0, 65.2, 62.4, 70.0),
    "vgg_vanilla": (78.4, 83.7, 71.2, 61.0, 64.0, 62.2, 70.1),
    "vgg_shift_tolerant": (78.8, 83.5, 71.1, 61.2, 64.6, 63.0, 70.4),
}


def main() -> int:
    """Score, compare, print; 1 where a number is off by more than 0.1 points."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="with bapps_2afc_val_*.csv.gz")
    options = parser.parse_args()
    files = sorted(map(str, options.folder.glob("*.csv.gz")))
    with tempfile.TemporaryDirectory() as out:
        start = time.monotonic()
        score([*files, "--votes-each", "5", "--out", out])
        seconds = time.monotonic() - start
        table = pd.read_csv(Path(out) / "report" / "metrics_by_part.csv")
    found = 100 * table.pivot(index="metric", columns="part", values="two_afc")[PARTS]
    known = pd.DataFrame(KNOWN, index=PARTS).T
    off = found.loc[known.index] - known
    print("\n2AFC %\n" + found.loc[[*known.index, "alex_shift_tolerant"]].to_string(float_format="%.2f"))
    print("\nless what was known\n" + off.to_string(float_format="%+.2f"))
    worst = float(off.abs().max().max())
    print(
        f"\nlargest difference {worst:.3f} points; {seconds:.1f} s for 36,344 comparisons, 4 metrics and all statistics"
    )
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    return int(worst > 0.1)


if __name__ == "__main__":
    sys.exit(main())
