"""How fast are heads trained, against the trainer of the package lpips, and are they as good?

    python benchmarks/heads.py --photographs ../shared/data/photos/bsds500

Triplets of 64-pixel patches (JPEG, WebP, blur, noise), two SIMULATED votes each by --simulator through a noisy logistic
observer. Both train AlexNet's linear heads by LPIPS's recipe: rank loss, Adam at 1e-4, batches of 50, dropout, ten
epochs of which the rate falls in the last four, from the same first heads. lpips gets its batches as tensors in memory
(its own loader reads files), eyetune decodes nothing either; its time has the fingerprint of the trunk, the features,
which are computed once, and the cache file in it.

Epochs of the two alternate; eyetune's whole run is repeated between them, and medians are given. 2AFC is on triplets of
other photographs, with the heads put into one network. A small run: --triplets 200 --epochs 2 --held-out 100.
"""

import argparse
import dataclasses
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # run by path: imports begin at the checkout's root, not in this file's folder
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from benchmarks import patches
from metric.measures import measure
from metric.network.torchvision_import import import_torchvision
from metric.network.weights import load_backbone
from metric.pairs import over_references, pairs_of, rows_of
from metric.training.ballots import ballots_of
from metric.training.fit import LPIPS, Fit, Judged, Recipe, Votes
from metric.training.pooled import pooled_differences

DECAYING = 4  # of ten epochs
SLOPE, LAPSE = 4.0, 0.05  # of the simulated observers, on log distances


def main() -> None:
    """Train with both, print the times, their ratio and 2AFC."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=Path, required=True, help="a folder with train/ and test/")
    parser.add_argument("--triplets", type=int, default=2000, help="to train on (%(default)s)")
    parser.add_argument("--held-out", type=int, default=1000, help="to test on (%(default)s)")
    parser.add_argument("--epochs", type=int, default=10, help="(%(default)s)")
    parser.add_argument(
        "--simulator", default="lpips-vgg", help="the metric that votes are simulated from (%(default)s)"
    )
    parser.add_argument("--threads", type=int, default=2, help="of torch (%(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        learn, test = (
            _judged(options.photographs / part, count, Path(folder) / part, options.simulator, options.seed, votes)
            for part, count, votes in (("train", options.triplets, 2), ("test", options.held_out, 5))
        )
        print(f"load before {os.getloadavg()[0]:.1f}; {options.triplets:,} triplets, {options.epochs} epochs, batch 50")
        peer = Peer(*learn)
        first = peer.heads().clamp(min=0)
        epochs: dict[str, list[float]] = {"lpips": [], "eyetune": []}
        wholes: list[float] = []
        for epoch in range(options.epochs):
            epochs["lpips"].append(_timed(partial(peer.epoch, epoch, options.epochs)))
            if epoch in (0, options.epochs // 2, options.epochs - 1):
                began = time.perf_counter()
                ours = Fit(_features(learn[0], Path(folder) / f"run{epoch}"), first, _recipe(options))
                each = [_timed(partial(ours.run, -(-options.triplets // 50))) for _ in range(options.epochs)]
                wholes.append(time.perf_counter() - began)
                epochs["eyetune"] += each[1:]
        print(f"load after {os.getloadavg()[0]:.1f}")
        _compare("whole run", sum(epochs["lpips"]), float(np.median(wholes)))
        later = (float(np.median(times)) for times in (epochs["lpips"][1:], epochs["eyetune"]))
        _compare("an epoch after the first", *later)
        held = _features(test[0], Path(folder) / "held")
        found = {"lpips": peer.heads(), "eyetune": ours.chosen[-1], "first heads": first}
        scores = "   ".join(f"{name} {100 * _two_afc(held, heads):.2f}" for name, heads in found.items())
        print(f"held-out 2AFC, %:  {scores}")
        moved = torch.stack([peer.heads() - first, ours.chosen[-1] - first])
        print(f"correlation of what the two trainings changed in the heads: {float(torch.corrcoef(moved)[0, 1]):.3f}")


class Peer:
    """`lpips.Trainer`, fed from memory."""

    def __init__(self, data: Any, distances: Any) -> None:
        import_torchvision()
        warnings.simplefilter("ignore")
        import lpips

        self.trainer = lpips.Trainer()
        # pnet_rand spares the download; the trunk's weights are put in by hand and stay frozen
        self.trainer.initialize(model="lpips", net="alex", use_gpu=False, is_train=True, lr=1e-4, pnet_rand=True)
        trunk = self.trainer.net.net.state_dict()
        given = list(load_backbone("alex").state_dict().values())
        assert [value.shape for value in trunk.values()] == [value.shape for value in given]
        self.trainer.net.net.load_state_dict(dict(zip(trunk, given, strict=True)))
        table = data.comparisons
        stack = {side: np.stack([data.image(key) for key in table[side]]) for side in ("reference", "a", "b")}
        tensors = [torch.from_numpy(stack[side]).permute(0, 3, 1, 2).float() / 127.5 - 1 for side in stack]
        self.tensors = [tensor.contiguous() for tensor in tensors]
        self.judge = torch.tensor((table["prefer_b"] / table["votes"]).to_numpy(), dtype=torch.float32)

    def epoch(self, number: int, epochs: int) -> None:
        """As PerceptualSimilarity's train.py goes through an epoch."""
        for batch in torch.randperm(len(self.judge)).split(50):
            names = ("ref", "p0", "p1")
            self.trainer.set_input(
                {name: tensor[batch] for name, tensor in zip(names, self.tensors, strict=True)}
                | {"judge": self.judge[batch].view(-1, 1, 1, 1)}
            )
            self.trainer.optimize_parameters()
        if number + 1 >= epochs - DECAYING:
            self.trainer.update_learning_rate(DECAYING + 1)

    def heads(self) -> Tensor:
        """`(C,)`, all taps in a row."""
        return torch.cat([lin.model[-1].weight.detach().flatten() for lin in self.trainer.net.lins]).clone()


def _compare(what: str, peer: float, ours: float) -> None:
    print(f"{what}, s:  lpips {peer:.2f}   eyetune {ours:.4f}   ratio {peer / ours:.0f}")


def _recipe(options: argparse.Namespace) -> Recipe:
    return Recipe(-(-options.triplets // 50) * options.epochs, seed=options.seed, **LPIPS)


def _judged(folder: Path, count: int, results: Path, simulator: str, seed: int, votes: int) -> tuple[Any, pd.DataFrame]:
    """Data on `count` triplets with simulated votes."""
    made = patches.make(folder, count, 2, seed)
    names = made.table["distorted"].to_numpy().reshape(-1, 2)
    first = made.table.iloc[::2].reset_index(drop=True)
    table = first.assign(id=[f"t{k}" for k in range(count)], a=names[:, 0], b=names[:, 1])
    data = patches.data_of(made, table, results)
    pairs, judge = pairs_of(data.comparisons), measure(simulator)
    distances = over_references(data, pairs, judge.prepare, judge.compare, f"votes by {simulator}").double().numpy()
    a, b = (np.log(distances[rows_of(pairs, data.comparisons, side)] + 1e-6) for side in ("a", "b"))
    chance = LAPSE / 2 + (1 - LAPSE) / (1 + np.exp(-SLOPE * (a - b)))
    chose = np.random.default_rng(seed).binomial(votes, chance).astype(float)
    return dataclasses.replace(data, comparisons=data.comparisons.assign(prefer_b=chose, votes=float(votes))), pairs


def _features(data: Any, folder: Path) -> Votes:
    data = dataclasses.replace(data, folder=folder)  # an empty cache
    pairs = pairs_of(data.comparisons)
    pooled = pooled_differences(data, pairs, load_backbone("alex"))
    a, b = (torch.from_numpy(rows_of(pairs, data.comparisons, side)) for side in ("a", "b"))
    fold = torch.full((len(a),), -1)
    return Votes(pooled, Judged(a, b, ballots_of(data), fold), 1, split=True)


def _two_afc(votes: Votes, heads: Tensor) -> float:
    distances = votes.pooled[:, 0] @ heads
    a, b = distances[votes.comparisons.first], distances[votes.comparisons.second]
    share = votes.comparisons.ballots.share()
    return float(torch.where(a > b, share, torch.where(a < b, 1 - share, 0.5)).mean())


def _timed(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
