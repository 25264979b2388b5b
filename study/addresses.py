"""Addresses that fsspec reads and writes, for example s3://bucket/folder; never with a password.

Credentials are the environment's, as each service documents them.
"""

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from study.errors import InputError


def is_address(place: str) -> bool:
    """Whether fsspec is to read it; a path of this machine is read without."""
    return "://" in place


def located(place: str, root: Path, key: str) -> str:
    """`place` as a path of this machine, relative ones taken from `root`, or as the address that it is.

    `key` is the setting that names it. Raises InputError for an address with a password in it, which would end in
    tables and messages.
    """
    if not is_address(place):
        return str(root / place)
    if any(_password(part) is not None for part in place.split("::")):  # simplecache::s3://bucket has two parts
        raise InputError(f"{key} has a password in its address; give it in the environment in place of it")
    if place.startswith(("file://", "local://")):
        from fsspec.core import strip_protocol  # a tenth of a second, which studies without addresses need not wait

        return str(strip_protocol(place))
    return place


def opened(address: str, key: str) -> tuple[Any, str]:
    """The filesystem that `address` is on, and its path there.

    It is asked for again before each use: fsspec keeps one a process and thread, so that forks and threads are safe.
    Raises InputError that begins with the setting `key`, and names the package to install where one is missing.
    """
    from fsspec.core import url_to_fs

    try:
        return url_to_fs(address)
    except (ImportError, ValueError) as error:  # the package is missing and named; no such protocol
        raise InputError(f"{key} = {address!r}: {said(error)}") from None
    except Exception as error:
        raise InputError(f"{key} = {address!r}: cannot be reached ({said(error)})") from None


def said(error: Exception) -> str:
    """What `error` says, in one line; each service has errors of its own."""
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__


def _password(address: str) -> str | None:
    try:
        return urlsplit(address).password
    except ValueError:  # brackets in the name of a bucket, for example
        return None
