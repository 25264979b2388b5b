"""A study's images, `<sha256>.png` each: in a folder of this machine, or at any address that fsspec writes to."""

import re
import secrets
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from study.addresses import is_address, located, opened, said
from study.errors import InputError
from study.files import write_bytes

KEY = "stimuli"  # of study.toml
NAME = re.compile(r"([0-9a-f]{64})\.png")
# Stores in which an object is there once all its bytes are, and not before, as fsspec calls them: Amazon's, Google's,
# Azure's, Alibaba's and Oracle's, and this process's memory.
WHOLE = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oss", "oci", "memory"}


# Files of the study's own, in whose place a folder of images would be in the way.
OWN = {"study.toml", "stimuli.parquet", "triplets.parquet", "distort.json", "judgments.parquet", "scores.parquet"}
OWN |= {"votes.sqlite", "secret.key"}


@dataclass(frozen=True)
class FolderImages:
    """Images in a folder of this machine, written aside and renamed. Errors of the disk are OSErrors."""

    folder: Path

    def place(self, digest: str) -> str:
        """Where the image with this SHA-256 is, for a person to read."""
        return str(self.folder / f"{digest}.png")

    def digests(self) -> set[str]:
        """The SHA-256 of every image that is there."""
        return {match[1] for path in self.folder.glob("*.png") if (match := NAME.fullmatch(path.name))}

    def read(self, digest: str) -> bytes:
        """The bytes of an image as they are now. Raises FileNotFoundError."""
        return Path(self.place(digest)).read_bytes()

    def add(self, digest: str, data: bytes) -> None:
        """Write an image, unless it is there."""
        path = Path(self.place(digest))
        if not path.exists():
            write_bytes(path, data, durable=False)

    def remove(self, digests: Iterable[str]) -> None:
        """Remove images."""
        for digest in digests:
            Path(self.place(digest)).unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove what killed workers left half-written."""
        for path in self.folder.glob(".*.part"):
            path.unlink(missing_ok=True)


@dataclass(frozen=True)
class AddressImages:
    """Images at an address. What a service refuses is an InputError of one line, whatever it calls it.

    In the stores of `WHOLE` an image is written under its name at once, elsewhere (FTP, SFTP, HDFS, ...) aside and
    moved. Which one it is, is the filesystem's own `protocol`: fsspec says nothing else about it.
    """

    address: str

    def place(self, digest: str) -> str:
        """Where the image with this SHA-256 is, for a person to read."""
        return f"{self.address.rstrip('/')}/{digest}.png"

    def digests(self) -> set[str]:
        """The SHA-256 of every image that is there, by one listing; none where there is no folder or bucket yet."""
        return {match[1] for name in self._names() if (match := NAME.fullmatch(name))}

    def read(self, digest: str) -> bytes:
        """The bytes of an image as they are now. Raises FileNotFoundError."""
        files, top = self._opened()
        try:
            return bytes(files.cat_file(f"{top}/{digest}.png"))
        except FileNotFoundError:
            raise
        except Exception as error:
            raise self._refused("read", error) from None

    def add(self, digest: str, data: bytes) -> None:
        """Write an image; one that is there has the same name, so the same bytes."""
        files, top = self._opened()
        path = f"{top}/{digest}.png"
        try:
            if _whole(files):
                files.pipe_file(path, data)
                return
            files.makedirs(top, exist_ok=True)
            aside = f"{top}/.{digest}.png.{secrets.token_hex(6)}.part"
            files.pipe_file(aside, data)
            try:
                files.mv(aside, path)
            except Exception:
                files.rm_file(aside)
                if not files.exists(path):  # there are filesystems where a move does not replace
                    raise
        except Exception as error:
            raise self._refused("written", error) from None

    def remove(self, digests: Iterable[str]) -> None:
        """Remove images."""
        files, top = self._opened()
        paths = [f"{top}/{digest}.png" for digest in sorted(digests)]
        try:
            if paths and files.async_impl:  # these take many in one request
                files.rm(paths)
                return
            for path in paths:
                files.rm_file(path)
        except Exception as error:
            raise self._refused("removed", error) from None

    def sweep(self) -> None:
        """Remove what killed workers left half-written; what cannot be removed now is by a later run."""
        files, top = self._opened()
        if _whole(files):
            return
        with suppress(Exception):
            for name in self._names():
                if name.endswith(".part"):
                    files.rm_file(f"{top}/{name}")

    def _opened(self) -> tuple[Any, str]:
        files, top = opened(self.address, KEY)
        return files, top.rstrip("/")

    def _names(self) -> list[str]:
        files, top = self._opened()
        try:
            files.invalidate_cache()  # other processes write there
            return [path.rsplit("/", 1)[-1] for path in files.ls(top, detail=False)]
        except FileNotFoundError:
            return []
        except Exception as error:
            raise self._refused("listed", error) from None

    def _refused(self, what: str, error: Exception) -> InputError:
        return InputError(
            f"{KEY} = {self.address!r}: cannot be {what} ({said(error)}); are the address and the credentials in the"
            " environment right? then run the same command again"
        )


ImageStore = FolderImages | AddressImages


def image_store(stimuli: str, root: Path) -> ImageStore:
    """Where the images are of the study at `root` whose settings say `stimuli`.

    Raises InputError for an address with a password in it.
    """
    place = located(stimuli, root, KEY)
    return AddressImages(place) if is_address(place) else FolderImages(Path(place))


def check_place(stimuli: str) -> None:
    """Raise ValueError, in words for a person, where a study's images cannot be at `stimuli` of its settings.

    That is a folder below the study, the same whatever folder a command is run in, or a whole address.
    """
    parts = PurePath(stimuli).parts
    if is_address(stimuli):
        if not stimuli[0].isalpha() or re.match(r"(file|local)://(?!/)", stimuli):
            raise ValueError("must be a whole address; one of this machine has three slashes: file:///data/images")
    elif not parts or any(part.startswith((".", "~", "/")) for part in parts) or ":" in parts[0] or "\0" in stimuli:
        raise ValueError("must be a folder below the study that is not hidden, or an address: file:///data/images")
    elif parts[0] in OWN:
        raise ValueError("the study has a file of that name; name another folder")


def _whole(files: Any) -> bool:
    protocol = files.protocol
    return not WHOLE.isdisjoint([protocol] if isinstance(protocol, str) else protocol)
