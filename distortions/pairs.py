"""Which stimuli are compared: test triplets, sentinels, practice and repeats."""

from collections import Counter
from collections.abc import Iterable, Sequence

from study.design.conditions import comparison_of
from study.design.crops import pairs_of_crops, pairs_of_each_crop
from study.design.designs import Design
from study.files import sha256
from study.records import Kind, Stimulus, Triplet
from study.settings import Triplets

OBVIOUS_PSNR = 27.0
"""dB; a crop at its codec's poorest setting is an obvious loser to the reference itself only below this.

Blocks and smears are plain there: on BSDS500 JPEG's floor lies at 19 to 24 dB, WebP's and AVIF's at 20 to 31.
"""

ALONE = ("codecs-and-rates", "jnd")
"""Designs whose `triplets.pairs` does not say how many pairs a crop gets, so that crops are never planned together."""


def crop_triplets(crops: Sequence[Sequence[Stimulus]], settings: Triplets, design: Design, seed: int) -> list[Triplet]:
    """The test comparisons of all crops, of each of which the reference and the distorted stimuli are given.

    `design` is `design_of(settings)`. It plans each crop by itself, so that other photographs change nothing about it;
    but some together, in their order, where one would get too few pairs to link its stimuli. Which stimulus of a pair
    is a and which is b is by chance.
    """
    references = [next(stimulus for stimulus in stimuli if stimulus.codec == "reference") for stimuli in crops]
    choose = pairs_of_each_crop if settings.design in ALONE else pairs_of_crops
    pairs = choose(crops, design, settings.pairs, seed)
    return [
        _triplet(reference, a, b, "test", comparison_of(a, b), seed)
        for reference, chosen in zip(references, pairs, strict=True)
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
