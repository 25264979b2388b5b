"""Photographs that lie elsewhere: at any address that fsspec reads, for example s3://bucket/folder.

Credentials are the environment's, as each service documents them; an address that holds a password is refused.
"""

from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import fsspec
from fsspec.core import url_to_fs

from study.errors import InputError
from study.images import Pixels
from study.photographs import RAW, READ, UNREAD, find, read, read_bytes


def located(folder: str, root: Path) -> str:
    """`photographs.folder` as a path of this machine, relative ones taken from `root`, or as the address that it is.

    Raises InputError for an address with a password in it, which would end in tables and messages.
    """
    if not is_address(folder):
        return str(root / folder)
    try:
        password = urlsplit(folder).password
    except ValueError:  # brackets in the name of a bucket, for example
        password = None
    if password is not None:
        raise InputError("photographs.folder has a password in its address; give it in the environment in place of it")
    if folder.startswith(("file://", "local://")):
        return str(fsspec.core.strip_protocol(folder))
    return folder


def is_address(folder: str) -> bool:
    """Whether fsspec is to read it; a path of this machine is read without."""
    return "://" in folder


def listed(folder: str) -> tuple[list[str], int]:
    """The files below `folder`, a path or an address, as `study.photographs.find` gives them.

    Raises InputError where an address cannot be read, naming the package to install where one is missing.
    """
    if not is_address(folder):
        return find(Path(folder))
    files, top = _opened(folder)
    try:
        files.invalidate_cache()
        names = [name[len(top) :].lstrip("/") for name in files.find(top)]
    except Exception as error:  # each service has its own
        raise InputError(f"photographs.folder = {folder!r}: cannot be listed ({_said(error)})") from None
    paths = [PurePosixPath(name) for name in names if name]
    studies = {path.parent for path in paths if path.name == "study.toml"}
    if PurePosixPath(".") in studies:
        raise InputError(f"photographs.folder = {folder!r} is a study's own folder; name one of photographs")
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
    files, top = _opened(folder)
    try:
        return bytes(files.cat_file(f"{top.rstrip('/')}/{source}" if top else source))
    except Exception as error:
        raise InputError(f"{folder}: {source} cannot be read ({_said(error)}); run the same command again") from None


def pixels(folder: str, source: str) -> Pixels:
    """`study.photographs.read` of the file `source` below a path or an address."""
    if is_address(folder):
        return read_bytes(fetched(folder, source), source)
    return read(Path(folder, source))


def _opened(folder: str) -> tuple[Any, str]:
    try:
        return url_to_fs(folder)
    except (ImportError, ValueError) as error:  # the package is missing and named; no such protocol
        raise InputError(f"photographs.folder = {folder!r}: {_said(error)}") from None
    except Exception as error:
        raise InputError(f"photographs.folder = {folder!r}: cannot be reached ({_said(error)})") from None


def _said(error: Exception) -> str:
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
