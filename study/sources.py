"""Photographs in a folder, or at any address that fsspec reads, for example s3://bucket/folder."""

from pathlib import Path, PurePosixPath

from study.addresses import is_address, opened, said
from study.errors import InputError
from study.files import sha256
from study.images import Pixels
from study.photographs import RAW, READ, UNREAD, find, read, read_bytes

KEY = "photographs.folder"  # of study.toml


def listed(folder: str) -> tuple[list[str], int]:
    """The files below `folder`, a path or an address, as `study.photographs.find` gives them.

    Raises InputError where an address cannot be read, naming the package to install where one is missing.
    """
    if not is_address(folder):
        return find(Path(folder))
    files, top = opened(folder, KEY)
    try:
        files.invalidate_cache()
        names = [name[len(top) :].lstrip("/") for name in files.find(top)]
    except Exception as error:  # each service has its own
        raise InputError(f"{KEY} = {folder!r}: cannot be listed ({said(error)})") from None
    paths = [PurePosixPath(name) for name in names if name]
    studies = {path.parent for path in paths if path.name == "study.toml"}
    if PurePosixPath(".") in studies:
        raise InputError(f"{KEY} = {folder!r} is a study's own folder; name one of photographs")
    sources: list[str] = []
    others = 0
    for path in paths:
        if any(part.startswith(".") for part in path.parts) or studies.intersection(path.parents):
            continue
        if path.suffix.lower() in READ | UNREAD | RAW:
            sources.append(str(path))
        else:
            others += 1
    return sorted(sources), others


def fetched(folder: str, source: str) -> bytes:
    """The whole file `source` below the address `folder`. Raises InputError where it cannot be had now."""
    files, top = opened(folder, KEY)
    try:
        return bytes(files.cat_file(f"{top.rstrip('/')}/{source}" if top else source))
    except Exception as error:
        raise InputError(f"{folder}: {source} cannot be read ({said(error)}); run the same command again") from None


def pixels(folder: str, source: str, digest: str) -> Pixels:
    """`study.photographs.read` of the file `source` below a path or an address.

    Raises InputError where what is fetched from an address has not the SHA-256 `digest` (any more).
    """
    if is_address(folder):
        data = fetched(folder, source)
        if sha256(data) != digest:
            raise InputError(f"{folder}: {source} was changed since the run began; run the same command again")
        return read_bytes(data, source)
    return read(Path(folder, source))


def overlap(folder: str, images: str, root: Path) -> bool:
    """Whether `listed` would find the study's images, kept at `images`, among the photographs in `folder`.

    Both are paths or addresses; what is below the study's own folder `root` is passed over from above.
    """
    if is_address(folder) or is_address(images):
        return f"{images.rstrip('/')}/".startswith(f"{folder.rstrip('/')}/")
    photographs, kept, study = Path(folder).resolve(), Path(images).resolve(), root.resolve()
    passed_over = kept.is_relative_to(study) and study.is_relative_to(photographs)
    return kept.is_relative_to(photographs) and not passed_over
