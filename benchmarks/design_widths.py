"""What each design of pairs buys: predicted widths of 95 % intervals for the same votes.

    python benchmarks/design_widths.py

Codecs at rates, the true scores known: those of codecs are normal, each doubling of the rate adds RISE. All crops get
the same number of pairs, and all designs the same number of votes. Widths are in natural log-odds, from the Fisher
information (`study.design.widths`), means over SEEDS draws of the codecs.
"""

import itertools
import sys
from pathlib import Path

if __name__ == "__main__":  # run by path: imports begin at the checkout's root, not in this file's folder
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import numpy as np

from study.design.conditions import condition_of
from study.design.crops import pairs_of_crops, pairs_of_each_crop
from study.design.designs import codecs_and_rates, ladder, random_pairs, same_rate, stratified
from study.design.information import information_matrix
from study.design.widths import INTERVAL, pair_counts, predicted_widths
from study.records import Stimulus

STUDIES = ((4, 4, 24), (8, 6, 60))  # codecs, rates, pairs a crop
CROPS, VOTES = 20, 5  # VOTES on each pair
SPREAD, RISE = 0.7, 1.2  # log-odds: standard deviation of codecs, and a doubling of the rate
NOISE = 0.5  # log-odds, of the metric that foretells the scores
SEEDS = 5


def main() -> None:
    """Print a table for each study."""
    for codecs, rates, pairs in STUDIES:
        widths = np.mean([widths_of(codecs, rates, pairs, seed) for seed in range(SEEDS)], axis=0)
        print(
            f"{codecs} codecs at {rates} rates, {pairs} pairs of each of {CROPS} crops, {pairs * CROPS * VOTES:,} votes"
        )
        print(f"{'':18}  {'all scores':>10}  {'codecs at a rate':>16}  {'rates of a codec':>16}")
        for name, (scores, at_rate, of_codec) in zip(designs({}, 0), widths, strict=True):
            print(f"{name:18}  {scores:>10.2f}  {at_rate:>16.2f}  {of_codec:>16.2f}")


def designs(distances: dict[str, float], pairs: int) -> dict:
    """By name; codecs-and-rates with two thirds of its pairs across codecs, as its defaults have."""
    return {
        "same-rate": same_rate, "ladder": ladder, "random": random_pairs, "stratified": stratified(distances),
        "codecs-and-rates": codecs_and_rates(pairs * 2 // 3, pairs // 3, 0),
    }  # fmt: skip


def widths_of(codecs: int, rates: int, pairs: int, seed: int) -> np.ndarray:
    """`(designs, 3)` mean widths: of scores, of differences of codecs at one rate, of rates of one codec."""
    random = np.random.default_rng(seed)
    crops = [stimuli(f"p{k}", codecs, rates) for k in range(CROPS)]
    conditions = sorted({condition_of(s): s for s in crops[0][1:]}.items())
    taste = random.normal(0, SPREAD, codecs)
    scores = np.array([taste[int(s.codec)] + RISE * np.log2(s.target_bits_per_pixel) for _, s in conditions])
    known = dict(zip([name for name, _ in conditions], scores, strict=True))
    distances = {s.id: random.normal(-known[condition_of(s)], NOISE) for crop in crops for s in crop[1:]}
    found = []
    for name, design in designs(distances, pairs).items():
        choose = pairs_of_each_crop if name == "codecs-and-rates" else pairs_of_crops
        chosen = choose(crops, design, pairs, seed)
        counts = pair_counts(
            [(condition_of(a), condition_of(b)) for crop in chosen for a, b in crop], [name for name, _ in conditions]
        )
        votes = counts * pairs * CROPS * VOTES / (counts.sum() / 2)
        inverse = np.linalg.pinv(information_matrix(votes, scores))
        apart: dict[str, list[float]] = {"rate": [], "codec": []}
        for (i, (_, a)), (j, (_, b)) in itertools.combinations(enumerate(conditions), 2):
            width = INTERVAL * np.sqrt(inverse[i, i] + inverse[j, j] - 2 * inverse[i, j])
            if a.codec == b.codec:
                apart["codec"].append(width)
            elif a.target_bits_per_pixel == b.target_bits_per_pixel:
                apart["rate"].append(width)
        found.append([np.mean(predicted_widths(votes, scores)), np.mean(apart["rate"]), np.mean(apart["codec"])])
    return np.array(found)


def stimuli(source: str, codecs: int, rates: int) -> list[Stimulus]:
    """A crop's reference, and each codec at rates that double."""
    made = [
        Stimulus(f"{source} reference", f"{source} reference", source, 0, 0, 64, 64, "reference", "{}", *[None] * 3)
    ]
    for codec, step in itertools.product(range(codecs), range(rates)):
        name, rate = f"{source} {codec} {step}", 0.125 * 2**step
        made.append(Stimulus(name, name, source, 0, 0, 64, 64, str(codec), "{}", rate, step + 1, rate))
    return made


if __name__ == "__main__":
    main()
