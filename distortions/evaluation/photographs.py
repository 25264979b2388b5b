"""The photographs that codecs are tried on: what their pixels say, and which are not used."""

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from distortions.crops import most_detailed
from distortions.workers import done
from study.errors import InputError
from study.files import sha256
from study.images import fingerprint
from study.photographs import READ, Refused, find, read

SIDE = 256
"""Of the square that is looked for in each, and shown of one."""
FEW = 8  # photographs that are looked at sooner than processes start


@dataclass(frozen=True)
class Photograph:
    """A photograph that codecs are tried on."""

    path: str
    source: str
    """Its path below the photographs' folder: its name in tables."""
    sha256: str = ""
    """Of the file."""
    pixels: str = ""
    """SHA-256 of the pixels."""
    width: int = 0
    height: int = 0
    detail: tuple[float, int, int] = (0.0, 0, 0)
    """Of its most detailed square: the mean step between neighbours, x and y."""
    refused: str = ""
    """Why it is not used."""


def photographs(place: Path, workers: int) -> tuple[list[Photograph], dict[str, str]]:
    """The photographs below a folder, or the one file; and those that are not used, with the reason.

    Raises InputError where there is none.
    """
    if not place.exists():
        raise InputError(f"{place}: no such folder or file")
    folder, sources = (place, find(place)[0]) if place.is_dir() else (place.parent, [place.name])
    if not sources:
        raise InputError(f"{place}: no photographs in it; their names end in {' '.join(sorted(READ))}")
    units = [Photograph(str(folder / source), source) for source in sources]
    found = []
    progress = tqdm(total=len(units), desc="looking", unit="photograph", delay=2)
    with progress, closing(done(look, units, workers if len(units) > FEW else 1)) as looked:
        for _, photograph in looked:
            found.append(photograph)
            progress.update()
    used: dict[str, Photograph] = {}
    skipped = {}
    for photograph in sorted(found, key=lambda one: one.source):
        if photograph.refused:
            skipped[photograph.source.encode(errors="backslashreplace").decode()] = photograph.refused
        elif photograph.pixels in used:
            skipped[photograph.source] = f"the same picture as {used[photograph.pixels].source}"
        else:
            used[photograph.pixels] = photograph
    if not used:
        source, reason = min(skipped.items())
        raise InputError(f"{place}: no photograph can be used: {source}: {reason}")
    return list(used.values()), skipped


def look(photograph: Photograph) -> Photograph:
    """The photograph with what its file and pixels say, or why it is refused."""
    path = Path(photograph.path)
    try:
        image = read(path)
        data = path.read_bytes()
    except (Refused, OSError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        return Photograph(photograph.path, photograph.source, refused=reason)
    height, width = image.shape[:2]
    detail = most_detailed(image, min(SIDE, height, width))
    return Photograph(photograph.path, photograph.source, sha256(data), fingerprint(image), width, height, detail)
