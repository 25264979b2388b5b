"""Bellard's own programs, bpgenc and bpgdec, where they are on the PATH."""

import re
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from distortions.bpg.bits import FormatError
from distortions.bpg.colour import planes_of
from distortions.bpg.header import Header
from distortions.bpg.hevc import PRESETS
from distortions.protocol import CodecError
from study.errors import UnavailableError
from study.images import Pixels, encode_png
from study.photographs import Refused, read_bytes

SECONDS = 600
"""After which a program is taken for stuck."""
COLOURS = {
    "ycbcr": "ycbcr", "rgb": "rgb", "ycgco": "ycgco", "ycbcr-709": "ycbcr_bt709", "ycbcr-2020": "ycbcr_bt2020",
}  # fmt: skip
"""As bpgenc names them."""


def path(program: str) -> str:
    """Where the program is. Raises UnavailableError where it is not on the PATH."""
    found = shutil.which(program)
    if found is None:
        raise UnavailableError(f"{program} is not on the PATH; build it from https://bellard.org/bpg")
    return found


@cache
def library() -> str:
    """The programs' version, as bpgenc tells it."""
    said = subprocess.run([path("bpgenc"), "-h"], capture_output=True, text=True, timeout=SECONDS, check=False)
    found = re.search(r"version ([\d.]+)", said.stdout + said.stderr)
    path("bpgdec")
    return f"bpgenc and bpgdec {found[1] if found else 'of unknown version'}"


def encode(image: Pixels, header: Header, qp: int, preset: str) -> bytes:
    """The file that bpgenc writes of an `(H, W, 3)` image. Raises CodecError."""
    command = [path("bpgenc"), "-q", str(qp), "-m", str(max(1, PRESETS.index(preset))), "-b", str(header.depth)]
    if header.format == "grey":
        image = planes_of(image, Header(header.width, header.height, "grey"))[0].astype("uint8")
    else:
        command += ["-f", header.format.replace(":", ""), "-c", COLOURS[header.colour]]
    if header.limited_range:
        command.append("-limitedrange")
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "image.png"), Path(folder, "image.bpg")
        source.write_bytes(encode_png(image))
        said = _run([*command, "-o", str(target), str(source)])
        if not target.exists():
            raise CodecError(f"bpgenc cannot encode {header.width} x {header.height} pixels: {said}")
        return target.read_bytes()


def decode(file: bytes) -> Pixels:
    """The `(H, W, 3)` image that bpgdec shows. Raises FormatError."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "image.bpg"), Path(folder, "image.png")
        source.write_bytes(file)
        said = _run([path("bpgdec"), "-o", str(target), str(source)])
        if not target.exists():
            raise FormatError(f"bpgdec cannot decode it: {said}")
        try:
            return read_bytes(target.read_bytes(), target.name)
        except Refused as error:
            raise FormatError(f"bpgdec wrote no image that is used: {error}") from None


def _run(command: list[str]) -> str:
    """The last line that the program says."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False, errors="replace")
    except subprocess.TimeoutExpired:
        return f"it took more than {SECONDS} seconds"
    lines = (done.stderr + done.stdout).strip().splitlines()
    return lines[-1] if lines else f"exit status {done.returncode}"
