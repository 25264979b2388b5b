"""Are hidden heads found again from votes, and does it help to know how many votes there were?

    python benchmarks/recovery.py --photographs ../shared/data/photos/bsds500/test

Observers vote as a metric sees whose heads are hidden: a few channels of AlexNet's 1152, chosen at random such that
uniform heads put held-out distances in another order (Spearman's correlation of at most .90; against LPIPS's own heads
uniform ones reach .987, which proves nothing). Their answers are noisy, with lapses. Votes are SIMULATED.

First part: 20,000 votes, four on each comparison; training starts from uniform heads. What share of the gap between
uniform heads' correlation and 1 is closed, on photographs that no training saw?

Second part: the counts are uneven, one or two votes on most comparisons and 20 to 50 on the others. The binomial
likelihood against the same with all counts made equal (the mean vote), against LPIPS's rank loss of the mean vote, each
with the same votes, steps, heads by factors and early stopping, and against LPIPS's whole recipe; paired over seeds
(other hidden heads, comparisons and votes), 95 % t-interval.

Third part: three of 60 observers answer each comparison, and none or a third of the 60 toss coins. Does it help to
trust each observer by his or her reliability, as eyetune estimates it from the same answers? Paired in the same way.

The recipe was chosen on photographs of BSDS500's train/ with other seeds. A small run: --references 200 --seeds 2
--steps 500.
"""

import argparse
import os
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

if __name__ == "__main__":  # run by path: imports begin at the checkout's root, not in this file's folder
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr, t
from torch import Tensor

from analysis.dawid_skene import reliabilities
from benchmarks import patches
from metric.data.judgments import COMPARISONS, Data
from metric.network.weights import load_backbone
from metric.training.ballots import Ballots, ballots_of, counted
from metric.training.fit import LPIPS, Fit, Judged, Recipe, Votes
from metric.training.pooled import pooled_differences

UNIFORM = 0.05
CHANNELS = 8  # that the hidden heads look at
HARDEST = 0.90  # correlation of uniform heads, at most
SLOPE, LAPSE = 3.0, 0.04  # of the observers, on log distances
VERSIONS = 8  # distorted images of a reference
HELD_OUT = 0.2  # of the photographs
FOLDS = 3
MEAN_VOTE = "binomial of the mean vote"
OBSERVERS, EACH = 60, 3  # in the third part: how many there are, and how many of them answer a comparison


@dataclass
class World:
    """Features of pairs of images, and which photograph and reference each belongs to."""

    pooled: Tensor
    source: NDArray
    reference: NDArray


@dataclass
class Judgments:
    """Votes that hidden heads gave."""

    distance: NDArray
    """Of each pair, by the hidden heads."""
    held_out: NDArray
    """Of each pair: whether its photograph is kept from training."""
    comparisons: NDArray
    """`(T, 2)` pairs a and b, of photographs to train on."""
    votes: NDArray
    prefer_b: NDArray


def main() -> None:
    """Print each seed's correlations, and the answers to both questions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=Path, required=True, help="a folder")
    parser.add_argument("--references", type=int, default=1000, help="patches (%(default)s)")
    parser.add_argument("--votes", type=int, default=20_000, help="in the first part (%(default)s)")
    parser.add_argument("--seeds", type=int, default=8, help="repetitions (%(default)s)")
    parser.add_argument("--first-seed", type=int, default=1, help="the first of them (%(default)s)")
    parser.add_argument("--steps", type=int, default=3000, help="of training (%(default)s)")
    options = parser.parse_args()
    world = make_world(options.photographs, options.references)
    seeds = range(options.first_seed, options.first_seed + options.seeds)

    print(f"load {os.getloadavg()[0]:.1f}\n{options.votes:,} votes, four a comparison: SROCC on held-out photographs")
    shares = []
    for seed in seeds:
        judged = judge(world, seed, options.votes, uneven=False)
        uniform, found = (correlation(world, judged, heads) for heads in
                          (_uniform(world), train(world, judged, Recipe(options.steps, seed=seed))))  # fmt: skip
        shares.append((found - uniform) / (1 - uniform))
        print(
            f"  seed {seed}: uniform {uniform:.4f}   trained {found:.4f}   of the gap closed {shares[-1]:.1%}",
            flush=True,
        )
    print(f"  of the gap closed: median {np.median(shares):.1%}, least {min(shares):.1%}")

    print(f"uneven counts, about {options.votes // 2:,} votes: SROCC on held-out photographs")
    recipes = {
        "binomial": {},
        MEAN_VOTE: {},
        "rank loss": {"loss": "rank"},
        "LPIPS's recipe": LPIPS | {"learning_rate": 1e-3},  # at 1e-4 it hardly moves in so few steps
    }
    found_by: dict[str, list[float]] = {name: [] for name in recipes}
    for seed in seeds:
        judged = judge(world, seed, options.votes // 2, uneven=True)
        for name, values in recipes.items():
            alike = counted(judged.prefer_b / judged.votes, np.ones(len(judged.votes))) if name == MEAN_VOTE else None
            heads = train(world, judged, Recipe(**{"steps": options.steps, "seed": seed} | values), alike)
            found_by[name].append(correlation(world, judged, heads))
        print(
            f"  seed {seed}: " + "   ".join(f"{name} {values[-1]:.4f}" for name, values in found_by.items()), flush=True
        )
    for name in list(recipes)[1:]:
        print(f"  binomial minus {name}: {interval(np.subtract(found_by['binomial'], found_by[name]))}")
    for coins in (0.0, 1 / 3):
        print(f"{options.votes // 4:,} votes of {OBSERVERS} observers, of whom {coins:.0%} toss coins")
        gains = []
        for seed in seeds:
            asked, answers = observed(world, seed, options.votes // 4, coins)
            found = [correlation(world, asked, train(world, asked, Recipe(options.steps, seed=seed), ballots))
                     for ballots in (trusted(asked, answers, use) for use in (True, False))]  # fmt: skip
            gains.append(found[0] - found[1])
            print(f"  seed {seed}: reliability used {found[0]:.4f}   ignored {found[1]:.4f}", flush=True)
        print(f"  used minus ignored: {interval(np.array(gains))}")
    print(f"load {os.getloadavg()[0]:.1f}")


def make_world(folder: Path, references: int) -> World:
    """Patches of the photographs in `folder`, distorted, and their features."""
    made = patches.make(folder, references, VERSIONS, seed=1)
    with tempfile.TemporaryDirectory() as results:
        data = patches.data_of(made, pd.DataFrame(columns=["id"]), Path(results))
        pooled = pooled_differences(data, made.table[["reference", "distorted"]], load_backbone("alex"))
    return World(pooled, made.table["source"].to_numpy(), made.table["reference"].to_numpy())


def judge(world: World, seed: int, votes: int, uneven: bool) -> Judgments:
    """About `votes` votes from hidden heads that the seed chooses."""
    random = np.random.default_rng(seed)
    names = np.unique(world.source)
    held_out = np.isin(world.source, random.permutation(names)[: round(len(names) * HELD_OUT)])
    means = world.pooled[:, 0].double().numpy()
    distance = _hidden(means, random)
    pairs = [(i, j) for rows in pd.Series(range(len(means))).groupby(world.reference).indices.values()
             if not held_out[rows[0]] for k, i in enumerate(rows) for j in rows[k + 1 :]]  # fmt: skip
    chosen = np.array(pairs)[random.permutation(len(pairs))]
    counts = random.choice([1, 2], len(pairs)) if uneven else np.full(len(pairs), 4)
    if uneven:
        many = random.random(len(pairs)) < 0.1
        counts = np.where(many, random.integers(20, 51, len(pairs)), counts)
    enough = int(np.searchsorted(np.cumsum(counts), votes)) + 1
    comparisons, counts = chosen[:enough], counts[:enough]
    turned = random.random(len(comparisons)) < 0.5
    comparisons = np.where(turned[:, None], comparisons[:, ::-1], comparisons)
    chosen_b = random.binomial(counts, chances(distance[comparisons]))
    return Judgments(distance, held_out, comparisons, counts, chosen_b)


def chances(distances: NDArray) -> NDArray:
    """`(T,)` that an observer chooses b, of distances `(T, 2)`."""
    a, b = np.log(distances + 1e-4).T
    return LAPSE / 2 + (1 - LAPSE) / (1 + np.exp(-SLOPE * (a - b)))


def observed(world: World, seed: int, votes: int, coins: float) -> tuple[Judgments, pd.DataFrame]:
    """The same with three answers a comparison, of OBSERVERS of whom a share tosses coins; and each answer."""
    judged = judge(world, seed, votes * 4 // EACH, uneven=False)  # four votes a comparison there, of which none is used
    random = np.random.default_rng([seed, 1])
    count = len(judged.comparisons)
    who = np.argsort(random.random((count, OBSERVERS)), axis=1)[:, :EACH]
    honest = random.random((count, EACH)) < chances(judged.distance[judged.comparisons])[:, None]
    chose = np.where(who < round(coins * OBSERVERS), random.random((count, EACH)) < 0.5, honest)
    names = np.repeat([f"t{k}" for k in range(count)], EACH)
    answers = pd.DataFrame({"comparison": names, "observer": who.ravel(), "prefer_b": chose.ravel().astype(float)})
    return replace(judged, votes=np.full(count, EACH), prefer_b=chose.sum(axis=1)), answers


def trusted(judged: Judgments, answers: pd.DataFrame, use: bool) -> Ballots:
    """The ballots with each observer's attention, estimated from the answers, or with all observers alike."""
    names, what = np.unique(answers["comparison"], return_inverse=True)
    who = answers["observer"].to_numpy()
    reliability = pd.Series(reliabilities(who, what, answers["prefer_b"].to_numpy() == 1), index=np.unique(who))
    table = pd.DataFrame({"id": [f"t{k}" for k in range(len(judged.votes))]})
    table = table.assign(prefer_b=judged.prefer_b, votes=judged.votes).reindex(columns=COMPARISONS)
    data = Data("observers", Path(), "", "simulated", lambda key: None, table, answers, reliability)  # type: ignore
    return ballots_of(data, use)


def train(world: World, judged: Judgments, recipe: Recipe, ballots: Ballots | None = None) -> Tensor:
    """The heads that are found from uniform ones; cross-validation within the training photographs stops it."""
    names = np.unique(world.source)
    fold = np.random.default_rng(0).integers(FOLDS, size=len(names))
    first, second = (torch.from_numpy(np.ascontiguousarray(side)) for side in judged.comparisons.T)
    of = torch.from_numpy(fold[np.searchsorted(names, world.source[judged.comparisons[:, 0]])])
    asked = Judged(first, second, ballots or counted(judged.prefer_b, judged.votes), of)
    fit = Fit(Votes(world.pooled, asked, FOLDS), _uniform(world), recipe)
    fit.run(recipe.steps)
    return fit.chosen[-1]


def correlation(world: World, judged: Judgments, heads: Tensor) -> float:
    """Spearman's, of the distances by `heads` and by the hidden ones on held-out photographs."""
    distance = (world.pooled[:, 0] @ heads).numpy()
    return float(spearmanr(distance[judged.held_out], judged.distance[judged.held_out]).statistic)


def interval(differences: NDArray) -> str:
    """The mean with its 95 % interval by Student's t, and how many are above 0."""
    n = len(differences)
    mean = differences.mean()
    half = t.ppf(0.975, n - 1) * differences.std(ddof=1) / n**0.5 if n > 1 else np.nan
    return f"{mean:+.4f} ({mean - half:+.4f} to {mean + half:+.4f}), {(differences > 0).sum()} of {n} above 0"


def _hidden(means: NDArray, random: np.random.Generator) -> NDArray:
    """Distances by heads on CHANNELS random channels of about equal say, drawn until uniform heads do badly."""
    while True:
        channels = random.choice(means.shape[1], CHANNELS, replace=False)
        distance = means[:, channels] @ (
            random.lognormal(0, 1, CHANNELS) / np.maximum(means[:, channels].mean(0), 1e-6)
        )
        if spearmanr(means.sum(axis=1), distance).statistic <= HARDEST:
            return distance / distance.mean()


def _uniform(world: World) -> Tensor:
    return torch.full((world.pooled.shape[2],), UNIFORM)


if __name__ == "__main__":
    main()
