"""A small study to test stages with, made without the stages before them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from study import tables
from study.folder import Study
from study.records import Stimulus, Triplet
from study.settings import parse_settings, write_settings

RATES = (0.25, 0.5, 1.0)
CODECS = ("jpeg", "webp")


def photograph(seed: int, size: int) -> np.ndarray:
    """A smooth coloured `(size, size, 3)` uint8 picture with some texture; another seed, another picture."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:size, 0:size] / size
    waves = [np.sin(2 * np.pi * (a * x + b * y) + c) for a, b, c in random.uniform(0, 6, (9, 3))]
    picture = np.stack([sum(waves[3 * k : 3 * k + 3]) for k in range(3)], axis=-1) * 30 + 128
    return np.clip(picture + random.normal(0, 6, picture.shape), 0, 255).astype(np.uint8)


def small_study(root: Path, photographs: int = 3, size: int = 64, **sections: dict) -> Study:
    """A study of noisy stimuli: less noise at higher rates, and webp with less than jpeg.

    Each photograph: 3 test triplets across codecs and 4 across rates; in the study: 2 sentinels, 2 repeats, 2 practice.
    """
    root.mkdir(parents=True, exist_ok=True)
    session = {"trials": 5, "sentinels": 1, "repeats": 1, "practice": 1, "votes_per_triplet": 3}
    values = {"name": "small", "codecs": [{"name": c} for c in CODECS], "session": session, **sections}
    write_settings(parse_settings(values, "small_study"), root / "study.toml")
    study = Study(root)
    stimuli: list[Stimulus] = []
    triplets: list[Triplet] = []

    def add(source: str, codec: str, rate: float | None, pixels: np.ndarray) -> str:
        identity = f"{len(stimuli):016x}"
        digest = study.add_image(pixels)
        bits = None if rate is None else round(rate * size * size)
        stimuli.append(Stimulus(identity, digest, source, 0, 0, size, size, codec, '{"quality": 1}', rate, bits, rate))
        return identity

    def compare(reference: str, a: str, b: str, kind: str, comparison: str, expected=None, repeat_of=None) -> None:
        triplets.append(Triplet(f"{len(triplets):016x}", reference, a, b, kind, comparison, expected, repeat_of))

    for index in range(photographs):
        random = np.random.default_rng(index)
        source, original = f"photo{index}.png", photograph(index, size)
        reference = add(source, "reference", None, original)
        made = {
            (codec, rate): add(
                source,
                codec,
                rate,
                np.clip(original + random.normal(0, (14 - 4 * k) / rate**0.5, original.shape), 0, 255).astype(np.uint8),
            )
            for k, codec in enumerate(CODECS)
            for rate in RATES
        }
        for rate in RATES:
            compare(reference, made["jpeg", rate], made["webp", rate], "test", "codecs")
        for codec in CODECS:
            for low, high in zip(RATES, RATES[1:], strict=False):
                compare(reference, made[codec, high], made[codec, low], "test", "rates")
        if index < 2:
            worst = made["jpeg", RATES[0]]
            compare(reference, reference, worst, "sentinel", "obvious", expected=reference)
            compare(reference, worst, reference, "training", "obvious", expected=reference)
            first = triplets[-9]
            compare(reference, first.a, first.b, "repeat", first.comparison, repeat_of=first.id)
    tables.write(tables.frame(stimuli, Stimulus), study.stimuli_path, Stimulus)
    tables.write(tables.frame(triplets, Triplet), study.triplets_path, Triplet)
    return Study(root)


@pytest.fixture
def make_study(tmp_path: Path) -> Callable[..., Study]:
    """`make_study(**options)`: a small study in a temporary folder."""
    return lambda name="study", **options: small_study(tmp_path / name, **options)


@pytest.fixture(scope="module")
def s3_server() -> Iterator[str]:
    """The address of a real S3 server on this machine."""
    from moto.server import ThreadedMotoServer  # half a second, which few tests need

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()
    server._server.server_close()
