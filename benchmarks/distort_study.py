"""How fast is `eyetune distort`, against the bare encoders, and how much memory does a worker take?

    python benchmarks/distort_study.py ../shared/data/photos/kodak

Makes the stimuli of a study, all photographs x 8 codecs x 6 rates, with one worker a core. Each encoding is written
down. Then as many bare processes do the same encodings again and nothing else: no search, no decoding, no crops, no
files. Printed: encodings per target and the rates that were reached, time of both runs, and the ratio of their
throughputs; each codec's share of the time; the largest resident memory of a worker.

About 10 minutes on two cores. A small run: --first 2 --codecs jpeg webp.
"""

import argparse
import json
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections import Counter, defaultdict
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # run by path: imports begin at the checkout's root, not in this file's folder
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from distortions import distort
from distortions.catalogue import configured
from distortions.protocol import Codec, RateSetting, Setting
from study.images import Pixels, fingerprint
from study.photographs import find, read
from study.settings import Codec as CodecSettings
from study.settings import Photographs, Rates, StudySettings, write_settings

CODECS = ("jpeg", "jpeg2000", "webp", "avif", "heic", "jpegxl", "jpegxr", "bpg")
RATES = (0.25, 0.4, 0.6, 0.9, 1.3, 2.0)


@dataclass(frozen=True)
class Watched:
    """A codec that writes down each of its encodings."""

    codec: Codec
    log: str
    """A folder; each process has a file in it."""

    @property
    def name(self) -> str:
        """The codec's."""
        return self.codec.name

    @property
    def library(self) -> str:
        """The codec's."""
        return self.codec.library

    @property
    def rate(self) -> RateSetting:
        """The codec's."""
        return self.codec.rate

    @property
    def settings(self) -> dict[str, Setting]:
        """The codec's."""
        return self.codec.settings

    def at(self, value: float) -> "Watched":
        """The same codec with its rate setting at `value`."""
        return Watched(self.codec.at(value), self.log)

    def encode(self, image: Pixels) -> bytes:
        """What the codec gives."""
        began = time.perf_counter()
        data = self.codec.encode(image)
        self._write("encode", fingerprint(image), time.perf_counter() - began)
        return data

    def decode(self, data: bytes) -> Pixels:
        """What the codec gives."""
        began = time.perf_counter()
        image = self.codec.decode(data)
        self._write("decode", "", time.perf_counter() - began)
        return image

    def _write(self, what: str, image: str, seconds: float) -> None:
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        line = [what, self.name, image, self.settings[self.rate.name], seconds, memory]
        with Path(self.log, str(os.getpid())).open("a") as file:
            file.write(json.dumps(line) + "\n")


def main() -> None:
    """Run both and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photographs", type=Path)
    parser.add_argument("--first", type=int, default=24, help="photographs of the folder (%(default)s)")
    parser.add_argument("--codecs", nargs="+", default=CODECS)
    parser.add_argument("--rates", nargs="+", type=float, default=RATES, help="bits per pixel")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    names = find(options.photographs)[0][: options.first]
    print(f"load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as place:
        log, study, photographs = (Path(place, name) for name in ("log", "study", "photographs"))
        for folder in (log, study, photographs):
            folder.mkdir()
        for name in names:
            (photographs / Path(name).name).symlink_to((options.photographs / name).absolute())
        settings = StudySettings(
            name="speed",
            photographs=Photographs(folder=str(photographs)),
            rates=Rates(bits_per_pixel=list(options.rates)),
            codecs=[CodecSettings(name=name) for name in options.codecs],
        )
        write_settings(settings, study / "study.toml")
        bare = configured(settings.codecs, str(study / "study.toml"))
        watched = {title: Watched(codec, str(log)) for title, codec in bare.items() if not hasattr(codec, "levels")}
        distort.configured = lambda *_: watched  # type: ignore[assignment]
        began = time.perf_counter()
        distort.main([str(study), "--workers", str(options.workers)])
        whole = time.perf_counter() - began
        lines = [json.loads(line) for path in log.iterdir() for line in path.read_text().splitlines()]
        record = json.loads((study / "distort.json").read_text())
        stimuli = _targets(study)
        encodings = [line for line in lines if line[0] == "encode"]
        seconds, again = bare_seconds(encodings, photographs, bare, options.workers)
    targets = len(names) * len(options.codecs) * len(options.rates)
    off = [abs(rate / target - 1) for _, target, rate in stimuli]
    print(
        f"\n{len(names)} photographs x {len(options.codecs)} codecs x {len(options.rates)} rates = {targets:,} targets,"
        f" {len(stimuli):,} reached, {len(record['unreachable']):,} not; {len(encodings):,} encodings,"
        f" {len(encodings) / targets:.2f} a target, {len(lines) - len(encodings):,} decodings"
    )
    print(
        f"rates: {sum(share <= 0.01 for share in off) / len(off):.1%} within 1 % of their target; largest, and within"
        " 1 %, by codec: "
        + ", ".join(
            f"{codec} {max(shares):.1%} {sum(s <= 0.01 for s in shares) / len(shares):.0%}"
            for codec, shares in _by_codec(stimuli).items()
        )
    )
    print(f"eyetune distort, {options.workers} workers: {whole:.1f} s; bare encoders, as many: {seconds:.1f} s")
    print(f"throughput: {seconds / whole:.3f} of the bare encoders'; load {os.getloadavg()[0]:.1f}")
    spent: defaultdict[tuple[str, str], float] = defaultdict(float)
    counts = Counter(line[1] for line in encodings)
    for what, name, _, _, took, _ in lines:
        spent[name, what] += took
    for name in bare:
        per_target = counts[name] / len(names) / len(options.rates)
        print(
            f"  {name:<10} {per_target:5.2f} encodings a target, {spent[name, 'encode']:7.1f} s encoding"
            f" ({again[name]:.1f} bare), {spent[name, 'decode']:6.1f} s decoding"
        )
    print(f"largest resident memory of a worker: {max(line[5] for line in lines):.0f} MiB")


def bare_seconds(
    encodings: list[Any], photographs: Path, bare: dict[str, Any], workers: int
) -> tuple[float, dict[str, float]]:
    """How long `workers` processes take for nothing but the encodings, and each codec's part of it in CPU seconds."""
    work = [(bare[name], value, image) for _, name, image, value, _, _ in encodings]
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, spawn, initializer=_load, initargs=(str(photographs),)) as pool:
        list(pool.map(_ready, range(workers * 4)))
        began = time.perf_counter()
        took = list(pool.map(_encode, work))
        whole = time.perf_counter() - began
    each: defaultdict[str, float] = defaultdict(float)
    for (_, name, *_), seconds in zip(encodings, took, strict=True):
        each[name] += seconds
    return whole, each


IMAGES: dict[str, Pixels] = {}
"""Of a bare process, by fingerprint."""


def _load(photographs: str) -> None:
    images = [read(Path(photographs, name)) for name in find(Path(photographs))[0]]
    IMAGES.update((fingerprint(image), image) for image in images)


def _ready(_: int) -> None:
    time.sleep(0.5)


def _encode(work: tuple[Codec, float, str]) -> float:
    codec, value, image = work
    began = time.perf_counter()
    codec.at(value).encode(IMAGES[image])
    return time.perf_counter() - began


def _targets(study: Path) -> list[tuple[str, float, float]]:
    from study.folder import Study

    table = Study(study).stimuli.dropna(subset="target_bits_per_pixel")
    return list(zip(table["codec"], table["target_bits_per_pixel"], table["bits_per_pixel"], strict=True))


def _by_codec(stimuli: list[tuple[str, float, float]]) -> dict[str, list[float]]:
    shares: dict[str, list[float]] = {}
    for codec, target, rate in stimuli:
        shares.setdefault(codec, []).append(abs(rate / target - 1))
    return shares


if __name__ == "__main__":
    main()
