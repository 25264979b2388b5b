"""Which QPs have the BPG ladders of KonJND-1k's quiz, whose files state an index?

    python benchmarks/bpg_ladders.py ../shared/data/jnd_ladders/konjnd

Each image of a ladder was decoded by Bellard's program and saved as JPEG of quality 100. The source is encoded at
every QP, 4:2:0, as bpgenc does by default, decoded, and saved likewise. Two QPs are told for an image of the ladder:
that whose picture is nearest to it in PSNR (the QP that bpgenc was given, but for the finest, where the source is
nearer to both than they to each other), and that, between whole numbers, of equal PSNR to the source (which eyetune
has to be given, as x265 is another by now). One line through the latter is fitted to both ladders, least squares; its
residual is the PSNR at its QP less the ladder's. Two minutes.
"""

import argparse
import io
import sys
from pathlib import Path

if __name__ == "__main__":  # run by path: imports begin at the checkout's root, not in this file's folder
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import numpy as np
from PIL import Image, JpegImagePlugin

from distortions.bpg.coder import Bpg
from distortions.making import psnr
from study.images import Pixels
from study.photographs import read

QPS = range(52)


def main(argv: list[str] | None = None) -> None:
    """Print a row for each image, and the line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ladders", type=Path, help="the folder with SOURCE.png and SOURCE_BPG_INDEX.jpg")
    parser.add_argument("--preset", default="veryslow", help="x265's (%(default)s)")
    options = parser.parse_args(argv)
    rows = []
    for source in sorted({path.name.split("_BPG_")[0] for path in options.ladders.glob("*_BPG_*.jpg")}):
        original = read(options.ladders / f"{source}.png")
        codecs = [Bpg(qp=qp, subsampling="4:2:0", preset=options.preset) for qp in QPS]
        files = sorted(options.ladders.glob(f"{source}_BPG_*.jpg"))
        decoded = [saved(codec.decode(codec.encode(original)), files[0]) for codec in codecs]
        qualities = [psnr(original, image) for image in decoded]
        for path in files:
            image = read(path)
            quality = psnr(original, image)
            nearness = [psnr(image, other) for other in decoded]
            equal = float(np.interp(-quality, -np.array(qualities), QPS, left=np.nan, right=np.nan))
            index = int(path.stem.rsplit("_", 1)[1])
            rows.append((source, index, quality, int(np.argmax(nearness)), max(nearness), equal, qualities))
    known = [row for row in rows if np.isfinite(row[5])]
    slope, start = np.polyfit([row[1] for row in known], [row[5] for row in known], 1)
    print("source       index    PSNR  nearest  its PSNR   equal    line  residual")
    residuals = []
    for source, index, quality, nearest, nearness, equal, qualities in rows:
        qp = start + slope * index
        residual = float(np.interp(qp, QPS, qualities)) - quality if np.isfinite(equal) else np.nan
        residuals.append(residual)
        print(
            f"{source:<12} {index:>5} {quality:>7.2f} {nearest:>8} {nearness:>9.2f} {equal:>7.2f} {qp:>7.2f}"
            f" {residual:>+9.2f}"
        )
    print(f"QP = {start:.2f} {slope:+.4f} index; residual {np.nanstd(residuals):.2f} dB rms,")
    print(f"{np.nanmax(np.abs(residuals)):.2f} dB at most, of {len(known)} of {len(rows)} images")


def saved(image: Pixels, like: Path) -> Pixels:
    """`image` through JPEG with the tables and the subsampling of the file `like`."""
    with Image.open(like) as file:
        tables, sampling = file.quantization, JpegImagePlugin.get_sampling(file)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", qtables=tables, subsampling=sampling)
    with Image.open(buffer) as file:
        return np.array(file.convert("RGB"))


if __name__ == "__main__":
    main()
