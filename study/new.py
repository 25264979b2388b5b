"""`eyetune new DIR`: a study with its settings written out, or one imported from a BAPPS folder."""

import argparse
from pathlib import Path
from typing import Any

from study.addresses import is_address
from study.bapps import import_bapps
from study.errors import InputError
from study.settings import parse_settings, write_settings

CODECS = ("jpeg", "jpeg2000", "webp", "avif")


def main(argv: list[str] | None = None) -> int | None:
    """Write a new study's folder and settings."""
    parser = argparse.ArgumentParser(prog="eyetune new", description=__doc__)
    parser.add_argument("study", metavar="DIR", type=Path, help="the folder to make; it must not hold a study yet")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--images", metavar="PHOTOGRAPHS", help="folder of photographs, subfolders too; or s3://bucket/folder and such"
    )
    source.add_argument(
        "--bapps", type=Path, metavar="FOLDER", help="import triplets and votes laid out as ref/ p0/ p1/ judge/"
    )
    parser.add_argument("--crop", type=int, default=256, help="side of the square observers see, pixels (%(default)s)")
    parser.add_argument(
        "--rates", type=float, nargs="+", default=[0.25, 0.4, 0.65, 1.0], metavar="BPP", help="bits/pixel (%(default)s)"
    )
    parser.add_argument("--codecs", nargs="+", default=list(CODECS), metavar="NAME", help="codecs (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="every random choice follows from it (%(default)s)")
    parser.add_argument("--force", action="store_true", help="replace the study.toml that is there")
    options = parser.parse_args(argv)

    root: Path = options.study
    if options.bapps:
        return import_bapps(options.bapps, root, options.seed)
    if (root / "study.toml").exists() and not options.force:
        raise InputError(f"{root} holds a study already; choose another folder, or replace its settings with --force")
    folder = options.images
    if not is_address(folder):
        if not Path(folder).is_dir():
            raise InputError(f"--images {folder}: no such folder")
        if Path(folder).resolve() == root.resolve():
            raise InputError(f"--images {folder} is the study's own folder; put the photographs into one of theirs")
        folder = _from(root.resolve(), Path(folder).resolve())
    values: dict[str, Any] = {
        "name": root.resolve().name,
        "seed": options.seed,
        "photographs": {"folder": folder, "crop": options.crop},
        "rates": {"bits_per_pixel": options.rates},
        "codecs": [{"name": name} for name in options.codecs],
    }
    write_settings(parse_settings(values, "eyetune new"), root / "study.toml")
    print(f"{root / 'study.toml'} written: read it, change what you like, then run: eyetune distort {root}")
    return 0


def _from(root: Path, folder: Path) -> str:
    """The folder as study.toml names it: relative where it lies in the study, so that the two can be moved together."""
    return str(folder.relative_to(root)) if folder.is_relative_to(root) else str(folder)
