"""The metric as a loss beside the package lpips: seconds for forward and backward to the distorted images.

    python benchmarks/loss.py                                   CPU, 2 threads, 8 images of 256 px, alex vgg squeeze
    python benchmarks/loss.py --networks alex --size 64 --batch 2 --repetitions 3      the smallest run, seconds
    python benchmarks/loss.py --compile                         also torch.compile of both (needs a C++ compiler)
    python benchmarks/loss.py --device cuda --autocast bfloat16 --compile              on a GPU

The rows take their steps by turns, so that other work on the machine meets all alike. A ratio is the median, over the
repetitions, of the package's time by this row's, and then that of the fastest times. The peer is
`lpips.LPIPS(net=...)(reference, distorted).mean().backward()`: as people use it, and with all its parameters frozen.
squeeze needs its ImageNet trunk (EYETUNE_BACKBONES, or a network).
"""

import sys
from pathlib import Path

if __name__ == "__main__":  # run by path: imports begin at the checkout's root, not in this file's folder
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import argparse
import contextlib
import os
import statistics
import time
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from metric.measures import lpips
from metric.network.torchvision_import import import_torchvision
from metric.network.weights import load_backbone
from study.command import run

Step = Callable[[], Tensor]


def main(argv: list[str] | None = None) -> None:
    """Print a table for each network."""
    options = _options(argv)
    torch.set_num_threads(options.threads)
    print(f"torch {torch.__version__}, {options.device}, {options.threads} threads, batch {options.batch}, "
          f"{options.size} px, autocast {options.autocast or 'off'}")  # fmt: skip
    for network in options.networks:
        print(f"load {os.getloadavg()[0]:.1f}")
        _table(network, _times(_steps(network, options), options))


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=("alex", "vgg", "squeeze"), default=["alex", "vgg", "squeeze"])
    parser.add_argument("--size", type=int, default=256, help="pixels a side (%(default)s)")
    parser.add_argument("--batch", type=int, default=8, help="images (%(default)s)")
    parser.add_argument("--repetitions", type=int, default=15, help="of every row, in turn (%(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (%(default)s)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, ... (%(default)s)")
    parser.add_argument("--autocast", choices=("bfloat16", "float16"), help="mixed precision, for all rows")
    parser.add_argument("--compile", action="store_true", help="add rows with torch.compile")
    return parser.parse_args(argv)


def _steps(network: str, options: argparse.Namespace) -> dict[str, Step]:
    """Each row's name, and what gives its gradient."""
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(options.batch, 3, options.size, options.size, generator=generator)
    y = (x + 0.1 * torch.randn(x.shape, generator=generator)).clamp(0, 1).to(options.device).requires_grad_()
    x = x.to(options.device)
    ours, theirs, frozen = (m.to(options.device) for m in (lpips(network), package(network), package(network)))
    frozen.requires_grad_(False)
    features = ours.reference(x)

    def step(distance: nn.Module, reference: object, **how: bool) -> Step:
        def gradient() -> Tensor:
            y.grad = None
            context = contextlib.nullcontext()
            if options.autocast:
                context = torch.autocast(torch.device(options.device).type, getattr(torch, options.autocast))
            with context:
                loss = distance(reference, y, **how).mean()
            loss.backward()
            assert y.grad is not None
            return y.grad

        return gradient

    steps = {
        "lpips": step(theirs, x, normalize=True),
        "lpips, frozen": step(frozen, x, normalize=True),
        "eyetune": step(ours, x),
        "eyetune, known reference": step(ours, features),
    }
    if options.compile:
        steps["lpips, compiled"] = step(torch.compile(frozen), x, normalize=True)
        steps["eyetune, compiled"] = step(torch.compile(ours), x)
        steps["eyetune, known reference, compiled"] = step(torch.compile(ours), features)
    return steps


def package(network: str) -> nn.Module:
    """The package's LPIPS with the same trunk; it would download one."""
    import_torchvision()
    with warnings.catch_warnings(), torch.random.fork_rng():
        warnings.simplefilter("ignore")
        import lpips as peer

        model = peer.LPIPS(net=network, pnet_rand=True, verbose=False)
    state = load_backbone(network).state_dict()
    model.net.load_state_dict({key: state[f"features.{key.split('.', 1)[1]}"] for key in model.net.state_dict()})
    return model


def _times(steps: dict[str, Step], options: argparse.Namespace) -> dict[str, list[float]]:
    """Seconds of every repetition, after two steps to warm up, of which the gradients are compared."""
    expected = steps["lpips"]().clone()
    for name, step in steps.items():
        step()
        # A feature within rounding of 0 is on one side of a ReLU here and on the other there, and its pixels differ.
        other = float(((step() - expected).abs() > 1e-3 * expected.abs().max()).float().mean())
        if not options.autocast and other > 0.02:
            raise SystemExit(f"{name}: {100 * other:.1f} % of its gradient is another; nothing to compare")
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(options.repetitions):
        for name, step in steps.items():
            _wait(options.device)
            start = time.perf_counter()
            step()
            _wait(options.device)
            times[name].append(time.perf_counter() - start)
    return times


def _wait(device: str) -> None:
    if torch.device(device).type != "cpu":
        torch.accelerator.synchronize()


def _table(network: str, times: dict[str, list[float]]) -> None:
    print(f"{network:36} median ms  fastest ms  times faster (median, fastest)  against frozen")
    for name, mine in times.items():
        ratios = []
        for peer in ("lpips", "lpips, frozen"):
            ratios.append(statistics.median(a / b for a, b in zip(times[peer], mine, strict=True)))
            ratios.append(min(times[peer]) / min(mine))
        print(
            f"  {name:34} {1e3 * statistics.median(mine):9.0f}  {1e3 * min(mine):10.0f}"
            f"  {ratios[0]:12.2f} {ratios[1]:6.2f}             {ratios[2]:6.2f} {ratios[3]:6.2f}"
        )


if __name__ == "__main__":
    raise SystemExit(run(main))
