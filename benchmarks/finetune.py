"""Time a training step of trunk and heads against the package lpips's own trainer, in one run, by turns.

    python benchmarks/finetune.py                                           alex, 50 triplets of 64 pixels
    python benchmarks/finetune.py --backbone vgg --batch 8 --repeats 5
    python benchmarks/finetune.py --device cuda --precision bf16 --compile --batch 256
    python benchmarks/finetune.py --batch 4 --repeats 2                     a small run, seconds

lpips: `lpips.Trainer` with pnet_tune, its rank network, Adam and clamp, from images that are tensors already. Ours: the
step of `eyetune train --mode tune`, from uint8 pixels in memory, augmentation included, with the same rank loss. Both
begin with random trunks, as in scratch; what a step costs does not depend on the weights. Target: 1.5 times faster.
"""

import sys
from pathlib import Path

if __name__ == "__main__":  # run by path: imports begin at the checkout's root, not in this file's folder
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import argparse
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
import torch

from metric.data.judgments import COMPARISONS, Data
from metric.network.backbones import LAYOUTS, Backbone
from metric.network.model import PerceptualMetric
from metric.network.torchvision_import import import_torchvision
from metric.training.ballots import ballots_of
from metric.training.deep import PRECISIONS, DeepFit, DeepRecipe
from metric.training.deep_folds import processes
from metric.training.loading import Triplets
from metric.training.losses import make_loss


def main() -> None:
    """Print both medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", choices=tuple(LAYOUTS), default="alex", help="trunk (%(default)s)")
    parser.add_argument("--batch", type=int, default=50, help="triplets a step (%(default)s)")
    parser.add_argument("--size", type=int, default=64, help="pixels a side (%(default)s)")
    parser.add_argument("--repeats", type=int, default=15, help="steps of each, by turns, after two (%(default)s)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of torch (%(default)s)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="for both (%(default)s)")
    parser.add_argument("--precision", choices=tuple(PRECISIONS), default="no", help="ours only (%(default)s)")
    parser.add_argument("--compile", action="store_true", help="ours only")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    steps = {"lpips": _lpips_step(options), "eyetune": _our_step(options)}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for repeat in range(options.repeats + 2):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if options.device == "cuda":
                torch.cuda.synchronize()
            if repeat >= 2:  # the first ones choose algorithms and fill caches
                seconds[name].append(time.perf_counter() - start)
    ratios = [first / second for first, second in zip(*seconds.values(), strict=True)]
    low, high = np.quantile(ratios, (0.1, 0.9))
    print(
        f"{options.backbone}, {options.batch} triplets of {options.size} px, {options.device},"
        f" {options.threads} threads, load {os.getloadavg()[0]:.1f}"
    )
    print(f"  ours: precision {options.precision}, compiled: {options.compile}")
    for name, times in seconds.items():
        print(f"  {name:8} {1000 * statistics.median(times):8.1f} ms a step")
    print(
        f"  {statistics.median(ratios):.2f} times faster"
        f" (median of {len(ratios)} steps by turns; 80 % of them {low:.2f} to {high:.2f})"
    )


def _lpips_step(options: argparse.Namespace) -> Callable[[], object]:
    warnings.simplefilter("ignore")  # torchvision's, about arguments that lpips gives
    import_torchvision()
    import lpips

    trainer = lpips.Trainer()
    trainer.initialize(
        model="lpips", net=options.backbone, pnet_rand=True, pnet_tune=True, is_train=True,
        use_gpu=options.device == "cuda",
    )  # fmt: skip
    images = torch.rand(3, options.batch, 3, options.size, options.size) * 2 - 1
    judge = torch.rand(options.batch, 1, 1, 1).round()

    def step() -> None:
        trainer.set_input({"ref": images[0], "p0": images[1], "p1": images[2], "judge": judge})
        trainer.optimize_parameters()

    return step


def _our_step(options: argparse.Namespace) -> Callable[[], object]:
    random = np.random.default_rng(1)
    shape = (options.size, options.size, 3)
    images = {f"{k}{i}": random.integers(0, 256, shape).astype(np.uint8) for i in range(options.batch) for k in "rab"}
    rows = [
        (str(i), str(i), f"r{i}", f"a{i}", f"b{i}", float(i % 2), 1.0, "", "", "", 0, 0) for i in range(options.batch)
    ]
    table = pd.DataFrame(rows, columns=COMPARISONS)
    data = Data("noise", Path(tempfile.gettempdir()), "", "simulated", images.__getitem__, table)
    backbone = Backbone(options.backbone)
    metric = PerceptualMetric(backbone, [torch.full((channels,), 0.05) for channels in backbone.channels])
    recipe = DeepRecipe(
        10**6, batch=options.batch, loss="rank", evaluations=1, precision=options.precision, compile=options.compile
    )
    ballots = ballots_of(data)
    fit = DeepFit(
        metric, make_loss("rank", 1, ballots, torch.Generator().manual_seed(1)),
        Triplets(data, table, 1, None, quiet=True), ballots, list(range(options.batch)), [], recipe,
        processes(cpu=options.device == "cpu"),
    )  # fmt: skip
    return partial(fit.run, 1)


if __name__ == "__main__":
    main()
