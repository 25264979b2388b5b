"""`eyetune bpg encode IMAGE FILE.bpg`: a photograph as a BPG file."""

import argparse
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from study.errors import InputError


def main(argv: list[str] | None = None) -> int | None:
    """Encode the image."""
    parser = argparse.ArgumentParser(prog="eyetune bpg encode", description=__doc__)
    parser.add_argument("image", metavar="IMAGE", type=Path, help="a photograph")
    parser.add_argument("file", metavar="FILE", type=Path, help="the BPG file to write, named .bpg")
    parser.add_argument("--qp", type=int, default=29, help="quantisation, 0 (finest) to 51 (default: %(default)s)")
    parser.add_argument("--preset", default="veryslow", help="x265's, ultrafast to placebo (default: %(default)s)")
    parser.add_argument(
        "--subsampling", default="4:4:4",
        help='4:4:4, 4:2:2, 4:2:0, "4:2:2 MPEG-2", "4:2:0 MPEG-2" or grey (default: %(default)s)',
    )  # fmt: skip
    parser.add_argument(
        "--colour", default="ycbcr", help="ycbcr, ycbcr-709, ycbcr-2020, ycgco or rgb (default: %(default)s)"
    )
    parser.add_argument("--depth", type=int, default=8, help="bits a sample: 8, 10 or 12 (default: %(default)s)")
    parser.add_argument("--limited-range", action="store_true", help="video's range of values (default: all values)")
    parser.add_argument("--program", default="x265", help="x265, or bpgenc where it is there (default: %(default)s)")
    parser.add_argument("--force", action="store_true", help="replace FILE")
    options = parser.parse_args(argv)
    if options.file.suffix.lower() != ".bpg":  # with --force it might be the photograph itself
        raise InputError(f"{options.file}: what is written is BPG; give a name that ends in .bpg")
    if options.file.exists() and not options.force:
        raise InputError(f"{options.file}: is there already; replace it with --force")

    from pydantic import ValidationError

    from distortions.bpg.coder import Bpg
    from distortions.protocol import CodecError
    from study.files import write_bytes
    from study.photographs import Refused, read

    settings = {name: getattr(options, name) for name in Bpg.model_fields}
    try:
        codec = Bpg(**settings)
    except ValidationError as error:
        problem = error.errors()[0]
        if not problem["loc"]:
            raise InputError(str(problem["ctx"]["error"])) from None
        name = str(problem["loc"][0])
        raise InputError(
            f"--{name} {problem['input']}: none of its values; there are: {Bpg.model_fields[name].description}"
        ) from None
    try:
        image = read(options.image)
        with _ending_at_once(codec.program == "x265"):
            data = codec.encode(image)
    except (Refused, CodecError) as error:
        raise InputError(f"{options.image}: {error}") from None
    write_bytes(options.file, data)
    height, width = image.shape[:2]
    print(f"{options.file}  {len(data):,} bytes  {8 * len(data) / (height * width):.3f} bits per pixel")
    return 0


@contextmanager
def _ending_at_once(wanted: bool) -> Iterator[None]:
    """Let Ctrl-C end the process: Python would hear of it when x265 is done, which takes minutes of a large photograph.

    Nothing has been written by then. Of a process that was told to ignore Ctrl-C, nothing changes.
    """
    if not wanted or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
