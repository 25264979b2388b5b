"""Every codec and distortion by its name in `study.toml`."""

from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

from distortions import classical, program
from distortions.bpg.coder import Bpg
from distortions.heic import Heic
from distortions.intra import Av1, Hevc
from distortions.jxl import JpegXl, JpegXr
from distortions.protocol import Codec
from distortions.synthetic import distorter
from distortions.synthetic.distorter import Distorter
from distortions.tunable import Tunable
from study.errors import InputError
from study.settings import Codec as CodecSettings

CODECS: Mapping[str, type[Tunable]] = classical.CODECS | {
    codec.name: codec for codec in (classical.RobidouxJpeg, Bpg, Heic, Hevc, Av1, JpegXl, JpegXr)
}
LEARNED = "learned"
PROGRAM = program.Words.name
NAMES = (*CODECS, LEARNED, PROGRAM, *distorter.NAMES)
Treatment: TypeAlias = Codec | Distorter
"""What makes a stimulus of a reference: a codec, which has a rate, or a distortion, which has a level."""


def configured(entries: list[CodecSettings], where: str) -> dict[str, Treatment]:
    """What `[[codecs]]` of `study.toml` asks for, by its title in tables; `where` is that file.

    Raises InputError, beginning with `where`, that names key and value and says what is allowed.
    """
    names = ", ".join(NAMES[: len(NAMES) - len(distorter.NAMES)]) + ", and distortions; eyetune distort --list has all"
    if not entries:
        raise InputError(f'{where}: no [[codecs]]; add one, for example name = "jpeg" (there are: {names})')
    treatments: dict[str, Treatment] = {}
    for index, entry in enumerate(entries):
        key = f"codecs[{index}]"
        if entry.name not in NAMES:
            raise InputError(f"{where}: {key}.name = {entry.name!r}: no such codec; there are: {names}")
        if entry.title in ("reference", "unknown"):
            raise InputError(f"{where}: {key}.label = {entry.title!r} has a meaning of its own; choose another label")
        treatments[entry.title] = _treatment(entry, Path(where).parent, f"{where}: {key}.settings")
    return treatments


def _treatment(entry: CodecSettings, folder: Path, where: str) -> Treatment:
    if entry.name == LEARNED:
        from distortions import learned  # imports torch

        return learned.configured(entry.settings, folder, where)
    if entry.name == PROGRAM:
        return program.configured(entry.settings, folder, where)
    if entry.name in distorter.NAMES:
        return distorter.configured(entry.name, entry.settings, where)
    return CODECS[entry.name].configured(entry.settings, where)
