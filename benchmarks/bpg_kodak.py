"""Does BPG, as eyetune writes it, lie on the published curve?

    python benchmarks/bpg_kodak.py ../shared/data/photos/kodak ../shared/data/anchors/kodak.json

All photographs at QP 22, 27, ... 47, 4:4:4, real bytes, PSNR in RGB, averaged over photographs as CompressAI does (the
mean of rates, the mean of PSNRs). The published curve (BPG 0.9.8, x265, 4:4:4) is joined by a monotone cubic in the
logarithm of the rate. What is reported is the gap in dB at equal rate, and the largest.

A small run: --count 3 --qps 27 37 47.
"""

import argparse
import json
import sys
import time
from pathlib import Path

if __name__ == "__main__":  # run by path: imports begin at the checkout's root, not in this file's folder
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import numpy as np
from scipy.interpolate import PchipInterpolator

from distortions.bpg.coder import Bpg
from distortions.making import psnr
from study.photographs import read


def main(argv: list[str] | None = None) -> None:
    """Print a row for each QP."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photographs", type=Path, help="the folder of Kodak's 24 PNG files")
    parser.add_argument("anchors", type=Path, help="the published curves, as JSON")
    parser.add_argument("--qps", type=int, nargs="+", default=[22, 27, 32, 37, 42, 47], help="(%(default)s)")
    parser.add_argument("--count", type=int, default=24, help="photographs, the first so many (%(default)s)")
    options = parser.parse_args(argv)
    anchor = json.loads(options.anchors.read_text())["anchors"]["bpg444"]
    published = PchipInterpolator(np.log(anchor["bpp"]), anchor["psnr"], extrapolate=False)
    images = [read(path) for path in sorted(options.photographs.glob("*.png"))[: options.count]]
    print(f"{len(images)} photographs, {Bpg().library}")
    print(f"{'qp':>3} {'bpp':>8} {'PSNR':>8} {'published':>10} {'gap':>7} {'encode':>9} {'decode':>9}")
    gaps = []
    for qp in options.qps:
        codec = Bpg(qp=qp)
        begin = time.perf_counter()
        files = [codec.encode(image) for image in images]
        middle = time.perf_counter()
        decoded = [codec.decode(file) for file in files]
        end = time.perf_counter()
        rate = np.mean([8 * len(file) / image[..., 0].size for file, image in zip(files, images, strict=True)])
        quality = np.mean([psnr(image, again) for image, again in zip(images, decoded, strict=True)])
        there = float(published(np.log(rate)))
        gaps.append(quality - there)
        print(
            f"{qp:>3} {rate:>8.4f} {quality:>8.3f} {there:>10.3f} {gaps[-1]:>+7.3f}"
            f" {(middle - begin) / len(images):>7.2f} s {(end - middle) / len(images):>7.2f} s",
            flush=True,
        )
    print(f"largest gap {np.nanmax(np.abs(gaps)):.3f} dB")


if __name__ == "__main__":
    main()
