"""How many votes does active choice save, and does it harm where there is nothing to save?

    python benchmarks/active_choice.py

20 items with Bradley-Terry scores at random places of a range, 8 or 2 logits from the worst to the best. Votes are
SIMULATED, in sessions of 19. The random design goes through all 190 pairs in random order, again and again. Active
choice is the voting page's server's (`study.design.chosen`), each session one spanning tree: balanced until there are
about 10 votes an item, then the most informative. Scores are the report's: Bradley-Terry, with the penalty ALPHA where
votes are one-sided.

Printed for each range: active choice's share of the random design's votes at the same mean width of the 95 % intervals
(mean over seeds, 95 % t-interval, worst seed); the share of intervals that hold the true score, and the error of the
scores (root of the mean square, in logits), each after the same number of votes; and, at the last number, the mean
width of the report's own intervals (observers resampled; an observer is a session) after all of the random design's
votes and after the active choice's share of 75 % or 105 % of them. "With the true scores known"
is what the same rule would need if it went by the true scores from the first vote on.

Then widths that were predicted from the true scores, against the spread of scores over simulated studies.

About 20 s on one thread. A small run: --seeds 3 --studies 100.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import NamedTuple

if __name__ == "__main__":  # run by path: imports begin at the checkout's root, not in this file's folder
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from random import Random

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import t

from analysis.bradley_terry import fit, is_one_sided, linked_groups
from study.design.chosen import Comparisons, Tally, believed_scores, next_pairs
from study.design.information import posterior
from study.design.scores import ALPHA, newton_scores, wins_matrix
from study.design.widths import INTERVAL, predicted_widths

ITEMS = 20
PAIRS = np.stack(np.triu_indices(ITEMS, 1), axis=1)
SESSION = ITEMS - 1
AFTER = (190, 380, 760)  # votes of the random design: each pair once, twice, four times
RANGES = {8: 0.75, 2: 1.05}  # logits, and the share of the random design's votes that is allowed


class Run(NamedTuple):
    """One simulated study, measured after each session: `(S,)` each."""

    votes: NDArray
    width: NDArray
    """Mean over items, logits."""
    covered: NDArray
    """Share of the items whose interval holds the true score."""
    error: NDArray
    """Root of the mean square, logits."""
    winners: NDArray
    losers: NDArray


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20, help="simulated studies of each kind (%(default)s)")
    parser.add_argument("--first-seed", type=int, default=1000, help="below 100: used to settle on PILOT (%(default)s)")
    parser.add_argument("--studies", type=int, default=1000, help="for predicted widths (%(default)s)")
    options = parser.parse_args()
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    print(f"load {os.getloadavg()[0]:.1f}")
    for logits, share in RANGES.items():
        runs = [[simulate(logits, seed, active) for active in (False, True)] for seed in seeds]
        knowing = [simulate(logits, seed, True, knows=True) for seed in seeds]
        print(f"{ITEMS} items over {logits} logits, {options.seeds} seeds")
        for votes in AFTER:
            shares = np.array([share_of_votes(random, active, votes) for random, active in runs])
            least = np.array(
                [share_of_votes(random, known, votes) for (random, _), known in zip(runs, knowing, strict=True)]
            )
            place = votes // SESSION - 1
            means = [np.mean([[r.width[place], r.covered[place], r.error[place]] for r in kind], axis=0)
                     for kind in zip(*runs, strict=True)]  # fmt: skip
            print(
                f"  {votes} votes: active choice needs {interval(shares)}, worst {shares.max():.3f};"
                f" with the true scores known {interval(least)}; "
                + "; ".join(
                    f"{name}: width {width:.2f}, covered {covered:.1%}, error {error:.2f}"
                    for name, (width, covered, error) in zip(("random", "active"), means, strict=True)
                ),
                flush=True,
            )
        most, fewer = AFTER[-1], int(share * AFTER[-1]) // SESSION * SESSION
        widths = np.array([[report_width(random, most), report_width(active, fewer)] for random, active in runs])
        print(
            f"  the report's own intervals: random, {most} votes: {widths[:, 0].mean():.3f}; active,"
            f" {fewer} votes: {widths[:, 1].mean():.3f}; ratio of the two {interval(widths[:, 1] / widths[:, 0])}"
        )
    print(f"widths: predicted over simulated, mean over items, {options.studies} studies")
    for logits in RANGES:
        for each in (2, 4, 8):
            ratio, spread = prediction(logits, each, options.studies, seed=1)
            print(f"  {logits} logits, {each} votes on each of 190 pairs: {ratio:.3f} (items {spread})", flush=True)
    print(f"load {os.getloadavg()[0]:.1f}")


def simulate(logits: float, seed: int, active: bool, votes: int = max(AFTER) * 5 // 4, knows: bool = False) -> Run:
    """A study of at least `votes` votes on items whose true scores the seed decides, the same for both designs.

    Active choice that `knows` goes by the true scores, and needs no pilot.
    """
    random = np.random.default_rng([seed, 0])
    true = true_scores(logits, seed)
    winners, losers, rows = np.zeros(0, dtype=int), np.zeros(0, dtype=int), []
    ties, queue = Random(seed), np.zeros((0, 2), dtype=int)
    while len(winners) < votes:
        if len(queue) < SESSION:
            wins = wins_matrix(winners, losers, ITEMS)
            scores = true if knows else believed_scores(wins)
            queue = np.concatenate([queue, choose(wins, scores, ties) if active else random.permutation(PAIRS)])
        shown, queue = queue[:SESSION], queue[SESSION:]
        first, second = shown.T
        won = random.random(len(shown)) < expit(true[first] - true[second])
        winners = np.concatenate([winners, np.where(won, first, second)])
        losers = np.concatenate([losers, np.where(won, second, first)])
        scores, widths = report_scores(wins_matrix(winners, losers, ITEMS))
        away = scores - true
        rows.append((len(winners), widths.mean(), (np.abs(away) < widths / 2).mean(), np.sqrt((away**2).mean())))
    return Run(*np.array(rows).T, winners, losers)


def choose(wins: NDArray, scores: NDArray, random: Random) -> NDArray:
    """`(19, 2)` the pairs of the next session, as the voting page's server chooses them."""
    table = Comparisons([str(item) for item in range(ITEMS)], PAIRS, np.zeros(ITEMS, dtype=int), {})
    seen = Tally(table, wins, np.zeros((ITEMS, ITEMS)), scores)
    return PAIRS[next_pairs(seen, [SESSION] * len(PAIRS), SESSION, random)]


def true_scores(logits: float, seed: int) -> NDArray:
    """`(20,)` centred, `logits` from the least to the largest."""
    places = np.random.default_rng([seed, 1]).random(ITEMS)
    scores = logits * (places - places.min()) / np.ptp(places)
    return scores - scores.mean()


def report_scores(wins: NDArray) -> tuple[NDArray, NDArray]:
    """Scores as the report fits them, and the widths of their 95 % intervals by the information of the votes."""
    if linked_groups(wins)[0] > 1 or is_one_sided(wins):
        scores = newton_scores(wins[None], np.array([ALPHA]))[0]
        return scores, INTERVAL * np.sqrt(np.diag(posterior(wins, scores, ALPHA).covariance))
    scores = newton_scores(wins[None], np.zeros(1))[0]
    return scores, predicted_widths(wins + wins.T, scores)


def share_of_votes(random: Run, active: Run, votes: int) -> float:
    """Active choice's votes over the random design's `votes` where its mean width first is as small.

    Between sessions the width is taken to fall evenly.
    """
    width = random.width[votes // SESSION - 1]
    enough = np.flatnonzero(active.width <= width)
    if not len(enough):
        return np.inf
    last = int(enough[0])
    before, after = active.width[last - 1 : last + 1]
    return float((active.votes[last] - SESSION * (width - after) / (before - after)) / votes)


def report_width(run: Run, votes: int) -> float:
    """The mean width of the intervals that `analysis.bradley_terry.fit` gives after the first `votes` votes."""
    observers = np.arange(votes) // SESSION
    scores = fit(run.winners[:votes], run.losers[:votes], observers, ITEMS, replicates=200)
    return float(np.mean(scores.high - scores.low))


def prediction(logits: float, each: int, studies: int, seed: int) -> tuple[float, str]:
    """Predicted widths over simulated ones (1.96 standard deviations to both sides), and the range over items."""
    true = true_scores(logits, seed)
    votes = np.full((ITEMS, ITEMS), each) * (1 - np.eye(ITEMS))
    random = np.random.default_rng(seed)
    chance = expit(true[:, None] - true[None, :])
    upper = np.triu(random.binomial(each, chance, (studies, ITEMS, ITEMS)), 1)
    wins = (upper + np.triu(each - upper, 1).transpose(0, 2, 1)).astype(float)
    kept = wins[[not is_one_sided(matrix) for matrix in wins]]
    scores = newton_scores(kept, np.zeros(len(kept)))
    ratio = predicted_widths(votes, true) / (INTERVAL * scores.std(axis=0, ddof=1))
    return float(ratio.mean()), f"{ratio.min():.3f} to {ratio.max():.3f}; {studies - len(kept)} one-sided left out"


def interval(values: NDArray) -> str:
    """The mean with its 95 % interval by Student's t."""
    half = t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
    return f"{values.mean():.3f} ({values.mean() - half:.3f} to {values.mean() + half:.3f})"


if __name__ == "__main__":
    main()
