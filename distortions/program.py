"""A command line as a codec: two programs, one that encodes a file and one that decodes it.

    [[codecs]]
    name = "program"
    label = "vtm"
    [codecs.settings]
    encode = ["EncoderWrapper", "{input}", "{output}", "--qp", "{quality}"]
    decode = ["DecoderWrapper", "{input}", "{output}"]
    version = ["EncoderWrapper", "--version"]
    worst = 47
    best = 22

The words are given to the program as they are; no shell reads them. A study.toml that names programs runs them: read
what you got from others first.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from PIL import Image
from pydantic import Field, model_validator

from distortions.protocol import CodecError, RateSetting, Setting
from distortions.tunable import Checked
from study.errors import InputError
from study.images import Pixels
from study.photographs import Refused, read_bytes

VERSION_SECONDS = 20.0
PLACEHOLDER = r"\{[a-z]*\}"
SAID = 2000
"""Bytes of what a program wrote to standard error that are looked at."""
MOST_BYTES = 2**34
"""Of any file that a program writes, its messages too, on Linux: one that goes astray would fill the disk."""
ESCAPES = r"(\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(\x07|\x1b\\)?"
"""What colours a terminal, moves in it or names its window (ECMA-48, 5.4 and 5.6)."""

ENDING_WITH_US = "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9); os.execv(sys.argv[1], sys.argv[1:])"
"""Python that becomes the program in its arguments, which Linux will kill when this process ends."""


class Words(Checked):
    """What study.toml says of the two programs."""

    name: ClassVar[str] = "program"
    rate: ClassVar[RateSetting] = RateSetting("quality", ())

    encode: list[str] = Field(
        min_length=1, description="the encoder's words, with {input}, {output} and {quality} among them"
    )
    decode: list[str] = Field(min_length=1, description="the decoder's words, with {input} and {output} among them")
    version: list[str] = Field(min_length=1, description="the words that make the encoder tell its version")
    worst: float = Field(description="the {quality} of fewest bits")
    best: float = Field(description="the {quality} of most bits")
    step: float = Field(1, gt=0, description="from one {quality} to the next, above 0")
    pixels: Literal["png", "ppm"] = Field(
        "png", description="png or ppm: what the encoder reads and the decoder writes"
    )
    suffix: str = Field(
        ".bin",
        pattern=r"^\.[A-Za-z0-9]{1,16}$",
        description="how the encoded file's name ends, for example .jxl",
    )
    timeout_seconds: float = Field(600, gt=0, le=86400, description="for one file, above 0, at most 86400")

    @model_validator(mode="after")
    def _together(self) -> Self:
        for key, words, wanted in (
            ("encode", self.encode, {"{input}", "{output}", "{quality}"}),
            ("decode", self.decode, {"{input}", "{output}"}),
        ):
            found = {match for word in words for match in re.findall(PLACEHOLDER, word)}
            if found != wanted:
                raise ValueError(f"{key} = {words!r}: must have {', '.join(sorted(wanted))} among its words, no others")
        if abs(self.best - self.worst) / self.step > 10_000:
            raise ValueError(f"step = {self.step:g}: makes more than 10,000 values of {{quality}} from worst to best")
        return self


@dataclass(frozen=True)
class Program:
    """Two programs that encode and decode files of their own, at one quality. Built by `configured`.

    They are started in an empty folder, with nothing to read from standard input, and told to use one thread as far as
    OpenMP's variable tells them; a word of `encode` has to tell those that ask elsewhere.
    """

    words: Words
    encoder: str
    """The programs, by paths that are right in any folder."""
    decoder: str
    library: str
    """The encoder's name, and what it says of its version."""
    quality: float
    name: str = Words.name

    @property
    def rate(self) -> RateSetting:
        """From the worst quality to the best."""
        words = self.words
        count = int(abs(words.best - words.worst) / words.step + 1e-9) + 1
        step = words.step if words.best >= words.worst else -words.step
        return RateSetting("quality", tuple(round(words.worst + step * k, 9) for k in range(count)))

    @property
    def settings(self) -> dict[str, Setting]:
        """The words as they were given, and the quality."""
        return self.words.model_dump(include={"encode", "decode", "pixels", "suffix"}) | {"quality": self.quality}

    def at(self, value: float) -> "Program":
        """The same codec at `value` of {quality}."""
        return replace(self, quality=value)

    def encode(self, image: Pixels) -> bytes:
        """The whole file. Raises CodecError where the encoder fails, takes too long or writes nothing."""
        with _leaving_nothing(), tempfile.TemporaryDirectory(prefix="eyetune-") as folder:
            source, coded = Path(folder, f"image.{self.words.pixels}"), Path(folder, f"coded{self.words.suffix}")
            Image.fromarray(image).save(source)
            words = self._filled([self.encoder, *self.words.encode[1:]], source, coded)
            _run(words, folder, self.words.timeout_seconds)
            return _written(coded, words)

    def decode(self, data: bytes) -> Pixels:
        """The image in `data`. Raises CodecError where the decoder fails, takes too long or writes no image."""
        with _leaving_nothing(), tempfile.TemporaryDirectory(prefix="eyetune-") as folder:
            coded, image = Path(folder, f"coded{self.words.suffix}"), Path(folder, f"image.{self.words.pixels}")
            coded.write_bytes(data)
            words = self._filled([self.decoder, *self.words.decode[1:]], coded, image)
            _run(words, folder, self.words.timeout_seconds)
            try:
                return read_bytes(_written(image, words), image.name)
            except Refused as error:
                raise CodecError(f"{Path(words[0]).name} wrote no image: {error}") from None

    def _filled(self, words: list[str], source: Path, target: Path) -> list[str]:
        quality = np.format_float_positional(self.quality, trim="-")
        values = {"{input}": str(source), "{output}": str(target), "{quality}": quality}
        return [re.sub(PLACEHOLDER, lambda match: values[match[0]], word) for word in words]


def configured(settings: dict[str, Any], folder: Path, where: str) -> Program:
    """The codec with these settings, programs named by a path taken as relative to `folder`.

    Raises InputError, beginning with `where`, that names key and value; also where a program is not there, or does not
    tell its version.
    """
    words = Words.configured(settings, where)
    programs = []
    for key, given in (("encode", words.encode[0]), ("decode", words.decode[0]), ("version", words.version[0])):
        by_path = os.sep in given
        found = shutil.which(os.path.abspath(folder / given) if by_path else given)  # a link keeps its own name
        if found is None:
            place = "at that path" if by_path else "on the PATH"
            raise InputError(f"{where}.{key}[0] = {given!r}: no such program {place}; install it, or correct it")
        programs.append(found)
    encoder, decoder, teller = programs
    try:
        said = _run([teller, *words.version[1:]], tempfile.gettempdir(), VERSION_SECONDS)
    except CodecError as error:
        raise InputError(f"{where}.version = {words.version!r}: {error}") from None
    if not said:
        raise InputError(f"{where}.version = {words.version!r}: says nothing; use words that make it tell its version")
    library = f"{Path(encoder).name}: {said.splitlines()[0].strip()[:200]}"
    return Program(words, encoder, decoder, library, words.worst)


def _run(words: list[str], folder: str, seconds: float) -> str:
    """What the program wrote, standard error behind standard output. Raises CodecError where it fails."""
    name = Path(words[0]).name
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    if threading.current_thread() is not threading.main_thread() and sys.platform == "linux":
        words = [sys.executable, "-ISc", ENDING_WITH_US, *words]  # a Dask worker's thread hears of no signal
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        try:
            process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=folder, env=environment,
                start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise CodecError(f"{name} cannot be started: {error.strerror or error}") from None
        try:
            _limit(process)
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise CodecError(f"{name} took longer than {seconds:g} seconds") from None
        finally:
            _end(process)
        said = [_tail(file) for file in (out, err)]
    if status:
        why = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
        last = next((line for text in reversed(said) for line in reversed(text.splitlines()) if line.strip()), "")
        raise CodecError(f"{name} {why}: {last.strip()[:300]}" if last else f"{name} {why}")
    return "\n".join(text for text in said if text)


def _limit(process: subprocess.Popen[bytes]) -> None:
    if sys.platform == "linux":
        import resource

        with suppress(ProcessLookupError, PermissionError):  # it has ended, or has a lower limit or another user
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (MOST_BYTES, MOST_BYTES))


@contextmanager
def _leaving_nothing() -> Iterator[None]:
    """Let SIGTERM, by which a pool's workers are ended, end the program and remove its folder before this process.

    Only where the signal would end this process at once; and only a main thread can say what a signal does.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def leave(number: int, frame: Any) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise _Terminated

    signal.signal(signal.SIGTERM, leave)
    try:
        yield
    except _Terminated:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


class _Terminated(BaseException):
    """SIGTERM came."""


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the program and all that it started, unless it has ended: then its number may be another's."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _tail(file: Any) -> str:
    """The end of what a program said, in characters that may go to a terminal."""
    file.seek(max(0, file.seek(0, os.SEEK_END) - SAID))
    lines = re.sub(ESCAPES, "", file.read().decode(errors="replace")).expandtabs(1).splitlines()
    return "\n".join("".join(filter(str.isprintable, line)) for line in lines).strip()


def _written(path: Path, words: list[str]) -> bytes:
    try:
        data = path.read_bytes()
    except OSError:
        data = b""
    if not data:
        raise CodecError(f"{Path(words[0]).name} ended well but wrote nothing to {{output}}")
    return data
