"""Fit a perceptual metric to votes: `eyetune train DATA`, or `python metric/train.py DATA`.

The smallest run, seconds on a CPU:   python metric/train.py DATA --steps 200 --folds 2
Several processes:                    torchrun --nproc-per-node 8 -- metric/train.py DATA --mode tune
A run once more:                      python metric/train.py --repeat DATA/runs/001-alex

--mode linear trains LPIPS's linear heads on pooled features of a frozen trunk; tune trains the trunk too, scratch both
from random weights. Distances of held-out photographs are by weights that never saw them (cross-validation by source
photograph, or --validation); those are what is reported.
"""

import sys
from pathlib import Path

if __name__ == "__main__":  # run by path: imports begin at the checkout's root, not in this file's folder
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import argparse
import dataclasses
import os
from collections.abc import Callable
from contextlib import ExitStack
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor

from metric.data.judgments import Data
from metric.data.sources import Split, open_data, open_from
from metric.judging import judged
from metric.network.backbones import LAYOUTS, SHIFT_TOLERANT, Backbone, Trunk
from metric.network.model import PerceptualMetric
from metric.network.weights import fingerprint, load_backbone, load_lpips_heads
from metric.score import baselines, photographs, score, to_score
from metric.training import heads, repeat, runs
from metric.training.ballots import ballots_of
from metric.training.calibrate import calibrate
from metric.training.deep import he_initialise
from metric.training.deep_folds import processes
from metric.training.deep_folds import train as train_deeply
from metric.training.fit import Fit
from metric.training.options import command_of, deep_recipe, parse, recipe
from metric.training.splits import folds_of, joined
from study.command import run
from study.errors import InputError, UnavailableError

UNIFORM = 0.05  # about the mean of LPIPS's own heads
FIRST = "RANK"  # torchrun's variable: the process of number 0 writes and prints


@dataclasses.dataclass(frozen=True)
class Task:
    """What is to be trained, on what."""

    options: argparse.Namespace
    data: Data
    """All that is learned from or held out."""
    tested: Data
    """What is reported: `data`, or the validation data."""
    fold: dict[str, int]
    """Of each photograph; -1: never held out."""
    backbone: Trunk
    start: str
    """Heads to start from: lpips, uniform, or auto: whichever of these makes the votes likelier."""
    settings: dict[str, Any]
    """What run.json keeps; runs with equal settings resume."""
    runs_folder: Path


def main(argv: list[str] | None = None) -> int | None:
    """Train, and report the held-out 2AFC score beside other metrics and the human ceiling."""
    options = parse(argv, __doc__)
    task = _task(options)
    if options.repeat:
        repeat.check(options.repeat, task.settings)
    trained = (_linear if options.mode == "linear" else _deep)(task)
    if trained is None:  # one of torchrun's other processes
        return 0
    folder, weights, held_out = trained
    calibration, missing = calibrate(
        task.data, held_out.comparisons, {name: d.numpy() for name, d in held_out.pairs.items()}
    )
    rows = _report(task, held_out)
    for sentence in missing:
        print(f"  {sentence}")
    runs.finish(folder, weights, held_out.comparisons, calibration, judged.frame(rows, task.tested))
    if options.repeat:
        print(repeat.compare(options.repeat, folder))
    print(f"{folder}: weights, held-out distances, scores.csv; hand the metric out with: eyetune export {folder}")
    return 0


def _task(options: argparse.Namespace) -> Task:
    data = open_from(options)
    backbone = _trunk(options)
    start = options.start
    if start == "auto" and (options.backbone not in LAYOUTS | SHIFT_TOLERANT or options.mode == "scratch"):
        start = "uniform"
    elif start == "auto" and (options.mode != "linear" or options.loss == "rank"):
        start = "lpips"
    everything = tested = data
    if options.validation:
        tested = _validation(options, data)
        everything, fold = joined(data, tested)
    else:
        fold = folds_of(data, options.folds, options.seed)
    if _is_first():
        count = data.comparisons["source"].nunique()
        print(f"{data.whose}; {len(data.comparisons):,} comparisons of {count:,} photographs")
        if options.validation:
            print(f"validation: {tested.whose}; {len(tested.comparisons):,} comparisons")
    settings = {
        "data": data.name,
        "mode": options.mode,
        "backbone": options.backbone,
        "trunk": backbone.name,
        "backbone_sha256": fingerprint(backbone.state_dict()),
        "start": start,
        "recipe": dataclasses.asdict((recipe if options.mode == "linear" else deep_recipe)(options)),
        "folds": max(fold.values()) + 1,
        "cross_validate": options.cross_validate,
        "validation": tested.name if options.validation else None,
        "reliability": options.reliability,
        "voters": options.voters,
        "whose_votes": data.whose,
        "trained_on": data.voters,
        "validation_votes": tested.whose if options.validation else None,
        **repeat.digests(everything),
        "comparisons_sha256": runs.digest(to_score(data)),
        "photographs": photographs(data),
    }
    if options.mode != "linear":  # they decide which random numbers a part of a batch gets
        settings |= {"processes": int(os.environ.get("WORLD_SIZE", "1")), "device": _device()}
    return Task(options, everything, tested, fold, backbone, start, settings, data.folder / "runs")


def _validation(options: argparse.Namespace, data: Data) -> Data:
    same = {Path(path).resolve() for path in options.validation} <= {Path(path).resolve() for path in options.data}
    split: Split | None = "test" if same and options.split == "train" else None
    return open_data(options.validation, options.voters, options.votes_each, split, data.folder)


def _linear(task: Task) -> tuple[Path, dict[str, dict[str, Tensor]], heads.HeldOut] | None:
    """The run's folder, the tensors of each file to write, and held-out distances."""
    options, first = task.options, _is_first()
    opened = _open(task) if first else None
    asked = heads.asked(task.data, task.fold, task.backbone, options.reliability == "use")
    if opened is None:
        return None
    folder, resumed = opened
    starts = ("lpips", "uniform") if task.start == "auto" else (task.start,)
    fits = {start: Fit(asked.votes, torch.cat(_heads(task, start)), recipe(options)) for start in starts}
    start, fit = min(fits.items(), key=lambda item: item[1].best["loss"])
    if len(starts) > 1:
        print(f"starting from {start} heads: the votes are likelier by them ({' or '.join(starts)})")
    with ExitStack() as stack:
        heads.run(fit, folder, resumed, _log(options, folder, stack))
    best = fit.best["step"] if fit.recipe.patience else fit.step
    if fit.recipe.patience:
        print(f"held-out votes chose step {best:,} of {fit.step:,}")
    runs.add_facts(folder, {"start": start, "best_step": best, "loss_parameters": fit.measured()})
    weights = {"heads.safetensors": heads.states(fit, task.backbone.channels)}
    return folder, weights, heads.held_out(fit, task.data, asked)


def _deep(task: Task) -> tuple[Path, dict[str, dict[str, Tensor]], heads.HeldOut] | None:
    """The same where the trunk is trained too."""
    options, accelerator = task.options, processes()
    comparisons = task.data.comparisons
    unused = [kind.replace("_", "/") for kind in ("same_different", "ratings") if len(getattr(task.data, kind))]
    if unused and accelerator.is_main_process:
        print(f"--mode {options.mode} learns from comparisons only: {' and '.join(unused)} are left out, also for JND")
    if comparisons.empty:
        raise InputError(f"{task.data.name}: no comparisons to train on")
    opened: list[Any] = [_open(task) if accelerator.is_main_process else None]
    if accelerator.num_processes > 1:
        torch.distributed.broadcast_object_list(opened)
    folder, resumed = opened[0]

    def start() -> PerceptualMetric:
        return PerceptualMetric(deepcopy(task.backbone), _heads(task, task.start))

    with ExitStack() as stack:
        log = _log(options, folder, stack) if accelerator.is_main_process else _nowhere
        outcome = train_deeply(
            task.data, [task.fold[str(source)] for source in comparisons["source"]],
            ballots_of(task.data, options.reliability == "use"), start, deep_recipe(options), folder, accelerator,
            options.cross_validate, resumed, log,
        )  # fmt: skip
    first = accelerator.is_main_process  # who is first is forgotten at the end
    accelerator.end_training()
    if not first:
        return None
    print(outcome.facts["exported"])
    runs.add_facts(folder, outcome.facts)
    return folder, {"metric.safetensors": outcome.metric}, heads.HeldOut(outcome.held_out, {})


def _trunk(options: argparse.Namespace) -> Trunk:
    """The trunk to start from: with its weights, or random ones of the seed, for which none are looked for."""
    ours = options.backbone in LAYOUTS | SHIFT_TOLERANT
    if options.mode != "scratch":
        return load_backbone(options.backbone, options.backbone_weights)
    backbone = Backbone(options.backbone) if ours else load_backbone(options.backbone, options.backbone_weights)
    he_initialise(backbone, options.seed)
    return backbone


def _heads(task: Task, start: str) -> list[Tensor]:
    if start == "lpips":
        return load_lpips_heads(task.options.backbone)
    return [torch.full((channels,), UNIFORM) for channels in task.backbone.channels]


def _open(task: Task) -> tuple[Path, bool]:
    return runs.open_run(task.runs_folder, task.settings, command_of(task.options))


def _device() -> str:
    return torch.accelerator.current_accelerator().type if torch.accelerator.is_available() else "cpu"  # type: ignore[union-attr]


def _is_first() -> bool:
    return int(os.environ.get(FIRST, "0")) == 0


def _log(options: argparse.Namespace, folder: Path, stack: ExitStack) -> Callable[[str, float, int], None]:
    """Where losses go: TensorBoard, if that was asked for."""
    if not options.tensorboard:
        return _nowhere
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UnavailableError("--tensorboard needs the package tensorboard: pip install 'eyetune[train]'") from None
    writer = SummaryWriter(str(folder / "tensorboard"))
    stack.callback(writer.close)
    return writer.add_scalar


def _nowhere(name: str, value: float, step: int) -> None:
    """Logs nothing."""


def _held_out_only(task: Task, held_out: heads.HeldOut) -> tuple[Data, judged.PairDistances]:
    """What was held out of what was asked for, and the distances of its single pairs."""
    ids = held_out.comparisons.index
    tables = {"comparisons": task.data.comparisons[task.data.comparisons["id"].isin(ids)].reset_index(drop=True)}
    pairs = {}
    for kind, distances in held_out.pairs.items():
        known = distances.isfinite().numpy()
        tables[kind] = getattr(task.data, kind)[known].reset_index(drop=True)
        pairs[kind] = {"trained (held out)": distances.numpy()[known]}
    return dataclasses.replace(task.tested, image=task.data.image, **tables), pairs


def _report(task: Task, held_out: heads.HeldOut) -> list[judged.Row]:
    """Print the held-out scores beside those of other metrics on the same comparisons; returns the table."""
    data, pairs = _held_out_only(task, held_out)
    scores, missing = baselines(data)
    for name in sorted(data.simulators - set(scores)):
        try:
            scores[name] = score(data, name)[1]
        except InputError as error:  # an import may name a metric that is not here
            missing[name] = str(error)
    title = "trained (held out)"
    notes = {title: "weights that never saw the photograph"}
    rows = judged.table(data, {title: held_out.comparisons, **scores}, notes, pairs)
    print(f"held-out scores; {judged.INTERVALS}")
    print(judged.text(rows))
    untrained = f"lpips-{task.options.backbone}"
    if untrained in scores and len(data.comparisons):
        gain = judged.difference(data, held_out.comparisons, scores[untrained])
        interval = f"{100 * gain.low:+.1f} to {100 * gain.high:+.1f}" if gain.low == gain.low else "one photograph"
        print(f"  trained minus {untrained}, on the same comparisons: {100 * gain.value:+.1f} points ({interval})")
    for name, reason in missing.items():
        print(f"  {name}: not computed: {reason}")
    return rows


if __name__ == "__main__":
    sys.exit(run(main))
