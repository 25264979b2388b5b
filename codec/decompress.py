"""`eyetune codec decompress FILE... --codec FILE`: .eyt files as PNG.

It needs the codec that compressed them. What is there already is skipped, so the same command goes on after an
interruption. A file that is damaged, or another codec's, is named with the reason, and the others are done.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from study.errors import InputError

SUFFIX = ".png"


def main(argv: list[str] | None = None) -> int | None:
    """Decompress the files."""
    parser = argparse.ArgumentParser(prog="eyetune codec decompress", description=__doc__)
    parser.add_argument("files", metavar="FILE", nargs="+", type=Path, help="compressed images (.eyt), or folders")
    parser.add_argument("--codec", required=True, metavar="FILE", type=Path, help="the codec that compressed them")
    parser.add_argument(
        "--out", metavar="FILE|DIR", type=Path, help=f"a name that ends in {SUFFIX}, or a folder (beside each file)"
    )
    parser.add_argument("--force", action="store_true", help=f"replace {SUFFIX} files that are there")
    options = parser.parse_args(argv)

    from codec import jobs, load
    from codec.coding import decompress
    from study.files import write_bytes
    from study.images import encode_png

    todo = jobs.plan(_found(options.files), options.out, SUFFIX)
    codec = load(options.codec)

    def make(job: jobs.Job) -> str:
        data = job.source.read_bytes()
        begin = time.perf_counter()
        image = decompress(codec, data)
        seconds = time.perf_counter() - begin
        grey = bool((image == image[:, :, :1]).all())
        write_bytes(job.target, encode_png(image[:, :, 0] if grey else image))
        height, width = image.shape[:2]
        return f"{job.target}  {width} x {height}{' grey' if grey else ''}  {seconds:.2f} s"

    return jobs.run(todo, make, options.force, "decompressing")


def _found(given: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Each file, and its path below the folder that was given."""
    files: list[tuple[Path, Path]] = []
    for path in given:
        if path.is_dir():
            inside = sorted(file for file in path.rglob("*.eyt") if file.is_file())
            if not inside:
                raise InputError(f"{path}: no .eyt files in it")
            files += [(file, file.relative_to(path)) for file in inside]
        elif path.is_file():
            files.append((path, Path(path.name)))
        else:
            raise InputError(f"{path}: no such file or folder")
    return files
