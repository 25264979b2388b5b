"""Which codecs are compared, and at which settings each is measured."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from distortions.catalogue import CODECS
from distortions.learned import Learned, learned
from distortions.protocol import Codec
from study.errors import InputError

LADDERS: dict[str, tuple[float, ...]] = {
    "jpeg": (3, 5, 7, 10, 15, 20, 30, 40, 50, 60, 70, 80, 90),
    "jpeg2000": (240, 160, 100, 70, 48, 34, 24, 17, 12),
    "webp": (0, 1, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90),
    "avif": (5, 10, 15, 20, 30, 40, 50, 60, 70, 80),
    "jpeg-robidoux": (3, 5, 7, 10, 15, 20, 30, 40, 50, 60, 70, 80, 90),
    "bpg": (47, 42, 37, 32, 27, 22),
    "hevc": (47, 42, 37, 32, 27, 22),
    "av1": (63, 57, 50, 43, 36, 29, 22),
    "heic": (10, 20, 30, 35, 40, 45, 50, 60),
    "jpegxl": (20, 14, 10, 7, 5, 3.5, 2.5, 1.7, 1.2),
    "jpegxr": (1, 10, 20, 30, 40, 50, 60),
}
"""Settings from about .1 to 2 bits per pixel on Kodak's photographs."""
POSITIONS = 5  # at least, of a codec whose rate is continuous without levels


@dataclass(frozen=True)
class Contender:
    """A codec that is compared."""

    title: str
    codec: Codec
    """At any setting; rates are searched with it."""
    points: tuple[Codec, ...]
    """At each setting that is measured."""

    @property
    def learned(self) -> bool:
        """Whether it is a trained codec."""
        return isinstance(self.codec, Learned)


def contenders(files: Sequence[str], classical: Sequence[str], settings: Sequence[str]) -> list[Contender]:
    """The codecs that are compared, trained ones first.

    `files`: FILE or FILE:LABEL of trained codecs; those with one label are one curve. `classical`: names. `settings`:
    NAME=V,... in place of the ladder of the codec called NAME. Raises InputError.
    """
    given: dict[str, list[Path]] = {}
    for text in files:
        path, label = _labelled(text)
        title = label or _title(path)
        if title in given and not label:
            raise InputError(f"--codec {text}: another codec is called {title} too; name one of them: {path}:LABEL")
        given.setdefault(title, []).append(path)
    codecs: dict[str, Codec] = {title: learned(paths, _short(paths)) for title, paths in given.items()}
    for name in dict.fromkeys(classical):
        if name not in CODECS:
            raise InputError(f"--classical {name}: no such codec; there are: {', '.join(CODECS)}")
        if name in codecs:
            raise InputError(f"--codec {given[name][0]}: called {name}, as the classical one is; add :LABEL")
        codec = CODECS[name]()
        if missing := codec.missing():
            raise InputError(f"--classical {name}: {missing}")
        codecs[name] = codec
    if not codecs:
        raise InputError("no codec; name one with --codec FILE or --classical NAME")
    values = _settings(settings, codecs)
    return [
        Contender(title, codec, tuple(codec.at(value) for value in values[title])) for title, codec in codecs.items()
    ]


def _title(path: Path) -> str:
    """The file's name without its ending, or its folder's where training named it as all are named."""
    name = path.name.removesuffix(".tar").removesuffix(".pth").removesuffix(".safetensors")
    return path.parent.resolve().name if name == "codec" else name


def _labelled(text: str) -> tuple[Path, str]:
    """FILE and LABEL of FILE:LABEL; no label where there is no colon, or where such a file exists."""
    path, colon, label = text.rpartition(":")
    if not colon or Path(text).exists():
        return Path(text), ""
    if not path or not label or "/" in label:
        raise InputError(f"--codec {text}: expected FILE or FILE:LABEL")
    return Path(path), label


def _short(paths: Sequence[Path]) -> list[str]:
    """The files' names, with their folders' where two are alike."""
    twice = {name for name, count in Counter(path.name for path in paths).items() if count > 1}
    return [f"{path.resolve().parent.name}/{path.name}" if path.name in twice else path.name for path in paths]


def _settings(asked: Sequence[str], codecs: dict[str, Codec]) -> dict[str, Sequence[float]]:
    """The rate setting's values that each codec is measured at."""
    values: dict[str, Sequence[float]] = {}
    for text in asked:
        title, _, numbers = text.rpartition("=")
        if title not in codecs:
            raise InputError(f"--at {text}: no codec {title!r} here; there are: {', '.join(codecs)}")
        try:
            values[title] = sorted({float(number) for number in numbers.split(",")})
        except ValueError:
            raise InputError(f"--at {text}: expected NAME=V,... with numbers") from None
        rate = codecs[title].rate
        whole = isinstance(rate.values[0], int)
        low, high = min(rate.values), max(rate.values)
        for value in values[title]:
            if not low <= value <= high or (whole and value != int(value)):
                kind = "whole numbers " if whole else ""
                raise InputError(f"--at {text}: {rate.name} {value:g}: must be {kind}from {low:g} to {high:g}")
    return {title: _typed(values.get(title) or _ladder(title, codec), codec) for title, codec in codecs.items()}


def _typed(values: Sequence[float], codec: Codec) -> Sequence[float]:
    """The values as the codec has them, int or float: results are kept by them."""
    return [type(codec.rate.values[0])(value) for value in values]


def _ladder(title: str, codec: Codec) -> Sequence[float]:
    if not isinstance(codec, Learned):
        return LADDERS[title]
    if len(codec.files) > 1:
        return codec.rate.values
    steps = max(int(codec.positions), POSITIONS - 1) if codec.positions else 0
    return [codec.positions * k / steps for k in range(steps + 1)] if steps else [0.0]


def label(codec: Codec) -> str:
    """The codec's rate setting with its value, or the checkpoint that has one rate."""
    value = codec.settings[codec.rate.name]
    assert isinstance(value, int | float)
    if isinstance(codec, Learned) and not codec.positions:
        return codec.named[int(value)]
    return f"{codec.rate.name} {value:g}"
