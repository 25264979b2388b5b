"""`eyetune bpg decode FILE.bpg IMAGE.png`: a BPG file as PNG.

Of an animation the first picture is taken. Transparent and CMYK pictures are refused.
"""

import argparse
from pathlib import Path

from study.errors import InputError, UnavailableError


def main(argv: list[str] | None = None) -> int | None:
    """Decode the file."""
    parser = argparse.ArgumentParser(prog="eyetune bpg decode", description=__doc__)
    parser.add_argument("file", metavar="FILE", type=Path, help="a BPG file")
    parser.add_argument("image", metavar="IMAGE", type=Path, help="the PNG file to write")
    parser.add_argument("--program", default="hevc", choices=("hevc", "bpgdec"), help="the decoder (%(default)s)")
    parser.add_argument("--force", action="store_true", help="replace IMAGE")
    options = parser.parse_args(argv)
    if options.image.suffix.lower() != ".png":
        raise InputError(f"{options.image}: what is written is PNG; give a name that ends in .png")
    if options.image.exists() and not options.force:
        raise InputError(f"{options.image}: is there already; replace it with --force")

    from distortions.bpg import decoding, header, programs
    from study.files import write_bytes
    from study.images import encode_png

    data = contents(options.file)
    try:
        pixels = (decoding if options.program == "hevc" else programs).decode(data)
        grey = header.unpack(data)[0].format == "grey"
    except UnavailableError:
        raise
    except InputError as error:
        raise InputError(f"{options.file}: {error}") from None
    write_bytes(options.image, encode_png(pixels[:, :, 0] if grey else pixels))
    print(f"{options.image}  {pixels.shape[1]} x {pixels.shape[0]}{' grey' if grey else ''}")
    return 0


def contents(path: Path) -> bytes:
    """The bytes of a file that was named. Raises InputError."""
    if not path.is_file():
        raise InputError(f"{path}: {'not a regular file' if path.exists() else 'no such file'}")
    return path.read_bytes()
