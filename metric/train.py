"""Fit a perceptual metric to a study's votes: `eyetune train DIR`, or `python metric/train.py DIR`.

The smallest run, seconds on a CPU:   python metric/train.py DIR --steps 200 --folds 2

Only LPIPS's linear heads are trained, on pooled features of a frozen trunk. Every triplet's distances are also computed
by heads that never saw its photograph (cross-validation by source photograph); those are what is reported.
"""

import sys
from pathlib import Path

if __name__ == "__main__":  # run by path: imports begin at the checkout's root, not in this file's folder
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import argparse
import dataclasses
import math

import pandas as pd
import torch
from tqdm import tqdm

from metric import judged, runs
from metric.backbones import LAYOUTS, Trunk
from metric.data import Data
from metric.data_open import add_options, open_from
from metric.fit import Fit, Recipe, Votes, held_out_distances
from metric.pairs import pairs_of, rows_of
from metric.pooled import pooled_differences
from metric.score import baselines, score, to_score
from metric.weights import fingerprint, load_backbone, load_lpips_heads
from study.command import run
from study.errors import InputError

SAVES = 20  # checkpoints in a run


def main(argv: list[str] | None = None) -> int | None:
    """Train, and report the held-out 2AFC score beside other metrics and the human ceiling."""
    options = _parser().parse_args(argv)
    _check(options)
    data = open_from(options)
    comparisons = data.comparisons
    fold = _folds(data, options.folds, options.seed)
    backbone = load_backbone(options.backbone, options.backbone_weights)
    print(f"{data.whose}; {len(comparisons):,} comparisons of {comparisons['source'].nunique()} photographs")

    recipe = Recipe(options.steps, options.learning_rate, options.batch, options.dropout, options.seed)
    settings = {
        "data": data.name,
        "backbone": options.backbone,
        "backbone_sha256": fingerprint(backbone.state_dict()),
        "start": options.start,
        "recipe": dataclasses.asdict(recipe),
        "folds": max(fold) + 1,
        "voters": options.voters,
        "whose_votes": data.whose,
        "votes_sha256": runs.digest(comparisons),
        "comparisons_sha256": runs.digest(to_score(data)),
    }
    folder, resumed = runs.open_run(data.folder / "runs", settings)
    pairs = pairs_of(comparisons)
    pooled = pooled_differences(data, pairs, backbone)
    fit = Fit(_votes(data, fold, pairs, pooled), _start(options.start, backbone), recipe)
    if resumed:
        state = runs.read_checkpoint(folder)
        if state:
            fit.restore(state)
        print(f"{folder}: going on from step {fit.step:,}")
    _train(fit, folder)

    distance_a, distance_b = held_out_distances(fit)
    held_out = pd.DataFrame(
        {"distance_a": distance_a.numpy(), "distance_b": distance_b.numpy(), "fold": fold},
        index=pd.Index(comparisons["id"], name="triplet"),
    )
    rows = _report(data, held_out, f"lpips-{options.backbone}")
    runs.finish(folder, fit, held_out, judged.frame(rows, data), backbone.channels)
    print(f"{folder}: heads, held-out distances, scores.csv; hand the metric out with: eyetune export {data.folder}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="eyetune train", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    data = add_options(parser)
    data.add_argument("--folds", type=int, default=5, help="cross-validation folds, by source photograph (%(default)s)")
    model = parser.add_argument_group("model")
    model.add_argument("--backbone", choices=tuple(LAYOUTS), default="alex", help="ImageNet trunk (%(default)s)")
    model.add_argument(
        "--backbone-weights", type=Path, metavar="FILE", help="torchvision state dict of it (default: look for one)"
    )
    model.add_argument(
        "--start", choices=("lpips", "uniform"), default="lpips", help="heads to start from (%(default)s: v0.1)"
    )
    training = parser.add_argument_group("training")
    training.add_argument("--steps", type=int, default=10_000, help="optimiser steps; LPIPS took 30,000 (%(default)s)")
    training.add_argument("--learning-rate", type=float, default=1e-4, help="Adam's, at the start (%(default)s)")
    training.add_argument("--batch", type=int, default=50, help="triplets a step (%(default)s)")
    training.add_argument("--dropout", type=float, default=0.5, help="of the difference maps, 0 to <1 (%(default)s)")
    training.add_argument("--seed", type=int, default=1, help="of folds, batches, dropout (%(default)s)")
    return parser


def _check(options: argparse.Namespace) -> None:
    for name, fits, allowed in (
        ("steps", options.steps >= 1, "1 or more"),
        ("batch", options.batch >= 1, "1 or more"),
        ("dropout", 0 <= options.dropout < 1, "from 0 to less than 1"),
        ("learning-rate", 0 < options.learning_rate < math.inf, "more than 0"),
        ("seed", 0 <= options.seed < 2**63, "0 or more"),
    ):
        if not fits:
            raise InputError(f"--{name} {getattr(options, name.replace('-', '_'))}: must be {allowed}")


def _folds(data: Data, folds: int, seed: int) -> list[int]:
    """The fold of each comparison: whole photographs, in random order, dealt out one after another."""
    photographs = sorted(data.comparisons["source"].unique())
    if len(photographs) < 2 or folds < 2:
        raise InputError(
            f"{data.folder}: cross-validation by photograph needs 2 or more folds and votes on 2 or more photographs;"
            f" there are {folds} and {len(photographs)}"
        )
    order = torch.randperm(len(photographs), generator=torch.Generator().manual_seed(seed)).tolist()
    fold = {photographs[index]: place % min(folds, len(photographs)) for place, index in enumerate(order)}
    return [fold[name] for name in data.comparisons["source"]]


def _start(start: str, backbone: Trunk) -> torch.Tensor:
    if start == "lpips":
        return torch.cat(load_lpips_heads(backbone.name))
    return torch.full((sum(backbone.channels),), 0.05)  # about the mean of LPIPS's own


def _votes(data: Data, fold: list[int], pairs: pd.DataFrame, pooled: torch.Tensor) -> Votes:
    voted = data.comparisons
    share = torch.tensor((voted["prefer_b"] / voted["votes"]).to_numpy(), dtype=torch.float32)
    a, b = (pooled[torch.from_numpy(rows_of(pairs, voted, side))] for side in ("a", "b"))
    return Votes(a, b, share, torch.tensor(fold), max(fold) + 1)


def _train(fit: Fit, folder: Path) -> None:
    total = fit.recipe.steps
    with tqdm(total=total, initial=fit.step, desc="training", unit="step") as progress:
        while fit.step < total:
            before = fit.step
            loss = fit.run(max(1, total // SAVES))
            runs.write_checkpoint(folder, fit.state())
            progress.set_postfix(loss=f"{loss:.4f}")
            progress.update(fit.step - before)


def _report(data: Data, held_out: pd.DataFrame, untrained: str) -> list[judged.Row]:
    scores, missing = baselines(data)
    for name in sorted(data.simulators - set(scores)):
        try:
            scores[name] = score(data, name)[1]
        except InputError as error:  # an import may name a metric that is not here
            missing[name] = str(error)
    title = "trained (held out)"
    rows = judged.table(data, {title: held_out, **scores}, {title: "heads that never saw the photograph"})
    print(f"held-out scores; {judged.INTERVALS}")
    print(judged.text(rows))
    if untrained in scores:
        gain = judged.difference(data, held_out, scores[untrained])
        interval = f"{100 * gain.low:+.1f} to {100 * gain.high:+.1f}"
        print(f"  trained minus {untrained}, on the same comparisons: {100 * gain.value:+.1f} points ({interval})")
    for name, reason in missing.items():
        print(f"  {name}: not computed: {reason}")
    return rows


if __name__ == "__main__":
    sys.exit(run(main))
