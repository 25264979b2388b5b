"""`eyetune codec compress IMAGE... --codec FILE`: photographs as .eyt files.

What is there already is skipped, so the same command goes on after an interruption. An image that is refused
(transparent, many pages, damaged) is named with the reason, and the others are done.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from study.errors import InputError

SUFFIX = ".eyt"


def main(argv: list[str] | None = None) -> int | None:
    """Compress the images."""
    parser = argparse.ArgumentParser(prog="eyetune codec compress", description=__doc__)
    parser.add_argument("images", metavar="IMAGE", nargs="+", type=Path, help="photographs, or folders with some")
    parser.add_argument("--codec", required=True, metavar="FILE", type=Path, help="a trained codec")
    parser.add_argument(
        "--out", metavar="FILE|DIR", type=Path, help=f"a name that ends in {SUFFIX}, or a folder (beside each image)"
    )
    rate = parser.add_mutually_exclusive_group()
    rate.add_argument(
        "--position", type=float, metavar="P",
        help="rate position, 0: fewest bits; eyetune codec list FILE tells the highest (default: half of that)",
    )  # fmt: skip
    rate.add_argument(
        "--bpp", type=float, metavar="B",
        help="the highest position of at most B bits per pixel, of the whole file; several encodings for each image",
    )  # fmt: skip
    parser.add_argument("--force", action="store_true", help=f"replace {SUFFIX} files that are there")
    options = parser.parse_args(argv)
    if options.bpp is not None and not 0 < options.bpp < 1000:
        raise InputError(f"--bpp {options.bpp:g}: must be above 0")

    from codec import jobs, load
    from codec.coding import check_rate, compress
    from study.files import write_bytes
    from study.photographs import read

    todo = jobs.plan(_found(options.images), options.out, SUFFIX)
    codec = load(options.codec)
    check_rate(codec, options.position, options.bpp)

    def make(job: jobs.Job) -> str:
        image = read(job.source)
        begin = time.perf_counter()
        data = compress(codec, image, options.position, bits_per_pixel=options.bpp)
        seconds = time.perf_counter() - begin
        write_bytes(job.target, data)
        bits_per_pixel = 8 * len(data) / (image.shape[0] * image.shape[1])
        above = f"; above {options.bpp:g}, but this is the lowest rate" if bits_per_pixel > (options.bpp or 1e9) else ""
        return f"{job.target}  {len(data):,} bytes  {bits_per_pixel:.3f} bits per pixel  {seconds:.2f} s{above}"

    return jobs.run(todo, make, options.force, "compressing")


def _found(given: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Each photograph, and its path below the folder that was given."""
    from study.photographs import READ, find

    photographs: list[tuple[Path, Path]] = []
    for path in given:
        if path.is_dir():
            names, others = find(path)
            if not names:
                ends = " ".join(sorted(READ))
                raise InputError(f"{path}: no photographs in it ({others:,} other files); their names end in {ends}")
            photographs += [(path / name, Path(name)) for name in names]
        elif path.is_file():
            photographs.append((path, Path(path.name)))
        else:
            raise InputError(f"{path}: no such file or folder")
    return photographs
