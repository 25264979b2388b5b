"""Which stimuli are compared: test triplets, sentinels, practice and repeats."""

import itertools
import json
import random
from collections import Counter
from collections.abc import Iterable, Sequence

from study.files import sha256
from study.records import Kind, Stimulus, Triplet, target_psnr
from study.settings import Triplets

OBVIOUS_PSNR = 27.0
"""dB; a crop at its codec's poorest setting is an obvious loser to the reference itself only below this.

Blocks and smears are plain there: on BSDS500 JPEG's floor lies at 19 to 24 dB, WebP's and AVIF's at 20 to 31.
"""


def crop_triplets(stimuli: Sequence[Stimulus], settings: Triplets, seed: int, same_quality: int = 0) -> list[Triplet]:
    """The comparisons of one crop, whose reference and distorted stimuli are given.

    Of different codecs at one rate, a random choice; of one codec at different rates, neighbours on the ladder of
    rates first, those made for a PSNR among them by their bits. Of different codecs at one PSNR, `same_quality` pairs
    at most. Synthetic distortions have levels in place of rates, and are compared with one another only. Never of two
    stimuli with equal pixels. Which is a and which b is by chance.
    """
    reference = next(stimulus for stimulus in stimuli if stimulus.codec == "reference")
    distorted = [stimulus for stimulus in stimuli if stimulus.codec != "reference"]
    pairs = [pair for pair in itertools.combinations(distorted, 2) if pair[0].sha256 != pair[1].sha256]
    chance = random.Random(f"{seed} pairs {reference.id}")
    chance.shuffle(pairs)
    equal = [(a, b) for a, b in pairs if a.codec != b.codec and _step(a) == _step(b)]
    across_codecs = [(a, b) for a, b in equal if target_psnr(a.settings) is None]
    across_quality = [(a, b) for a, b in equal if target_psnr(a.settings) is not None]
    across_rates = [(a, b) for a, b in pairs if a.codec == b.codec]
    ladder = sorted({_step(stimulus) for stimulus in distorted})
    place = {step: index for index, step in enumerate(ladder)}
    by_bits = sorted(distorted, key=lambda stimulus: (stimulus.codec, stimulus.bits or 0, stimulus.id))
    rank = {stimulus.id: index for index, stimulus in enumerate(by_bits)}

    def apart(pair: tuple[Stimulus, Stimulus]) -> int:
        one, other = map(_step, pair)
        if one[0] == other[0]:
            return abs(place[one] - place[other])
        return abs(rank[pair[0].id] - rank[pair[1].id])  # a rate and a PSNR of one codec: its bits are in order

    across_rates.sort(key=apart)
    return [
        _triplet(reference, a, b, "test", comparison, seed)
        for comparison, chosen in (
            ("codecs", across_codecs[: settings.across_codecs]),
            ("rates", across_rates[: settings.across_rates]),
            ("psnr", across_quality[:same_quality]),
        )
        for a, b in chosen
    ]


def obvious_triplets(
    references: dict[str, Stimulus], floors: Iterable[tuple[Stimulus, float]], settings: Triplets, seed: int
) -> list[Triplet]:
    """Sentinels and practice: a reference against the same crop at a codec's poorest setting.

    `floors` are those crops with their PSNR in dB; `references` has the reference's stimulus by `crop_of`. They are
    spread over codecs and photographs; practice uses others than the sentinels while there are any. Fewer than asked
    for where too few floors are obviously poor.
    """
    poor = {stimulus.id: (stimulus, quality) for stimulus, quality in floors if quality < OBVIOUS_PSNR}
    order = sorted(poor, key=lambda name: (_chance(seed, name), name))
    used: Counter[tuple[str, str]] = Counter()

    def rank(name: str) -> tuple[int, ...]:
        stimulus = poor[name][0]
        return used["stimulus", name], used["photograph", stimulus.source], used["codec", stimulus.codec]

    def take(count: int, kind: Kind) -> list[Triplet]:
        left = list(order)
        taken: list[Triplet] = []
        while left and len(taken) < count:
            name = min(left, key=rank)
            left.remove(name)
            stimulus = poor[name][0]
            used.update((("stimulus", name), ("photograph", stimulus.source), ("codec", stimulus.codec)))
            reference = references[crop_of(stimulus)]
            taken.append(_triplet(reference, reference, stimulus, kind, "obvious", seed, reference.id))
        return taken

    return take(settings.sentinels, "sentinel") + take(settings.practice, "training")


def repeat_triplets(tests: Sequence[Triplet], count: int, seed: int) -> list[Triplet]:
    """Copies of `count` of the test triplets, chosen by chance, with the same a and b."""
    chosen = sorted(tests, key=lambda test: (_chance(seed, test.id), test.id))[:count]
    return [
        Triplet(
            id=sha256(f"repeat {test.id}".encode())[:16],
            reference=test.reference,
            a=test.a,
            b=test.b,
            kind="repeat",
            comparison=test.comparison,
            expected=None,
            repeat_of=test.id,
        )
        for test in chosen
    ]


def crop_of(stimulus: Stimulus) -> str:
    """What the stimuli of one crop have in common."""
    return f"{stimulus.source} {stimulus.crop_x} {stimulus.crop_y}"


def _triplet(
    reference: Stimulus, a: Stimulus, b: Stimulus, kind: Kind, comparison: str, seed: int, expected: str | None = None
) -> Triplet:
    first, second = sorted((a.id, b.id))
    meaning = f"{kind} {comparison} {reference.id} {first} {second}"
    if int(_chance(seed, meaning), 16) % 2:
        first, second = second, first
    return Triplet(sha256(meaning.encode())[:16], reference.id, first, second, kind, comparison, expected, None)


def _chance(seed: int, what: str) -> str:
    """A number that the seed and `what` alone decide, so that other photographs change nothing."""
    return sha256(f"{seed} {what}".encode())


def _step(stimulus: Stimulus) -> tuple[int, float]:
    """Where on the ladder of rates, or on the others of levels and of PSNR, a distorted stimulus stands."""
    if stimulus.target_bits_per_pixel is not None:
        return 0, stimulus.target_bits_per_pixel
    quality = target_psnr(stimulus.settings)
    if quality is not None:
        return 2, quality
    return 1, float(json.loads(stimulus.settings).get("level", 0))
