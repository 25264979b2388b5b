"""The options of `eyetune train`, and those of a run that is repeated."""

import argparse
import math
from pathlib import Path
from typing import Any

from metric.data.sources import add_options
from metric.training import runs
from metric.training.deep import PRECISIONS, DeepRecipe
from metric.training.fit import Recipe
from metric.training.losses import LOSSES
from study.errors import InputError

MODES = ("linear", "tune", "scratch")
STARTS = ("auto", "lpips", "uniform")
ONLY_DEEP = ("trunk_learning_rate", "crop", "augment", "precision", "compile", "cross_validate")
RATE = 1e-4  # LPIPS's
PLACES = ("data", "validation", "out")
"""Options that name files: kept as absolute paths."""


def parse(argv: list[str] | None, description: str | None) -> argparse.Namespace:
    """The options, checked; those of the run that --repeat names are taken from its run.json. Raises InputError."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--repeat", type=Path)
    known, rest = first.parse_known_args(argv)
    parser = _parser(description)
    if known.repeat is None:
        options = parser.parse_args(argv)
    else:
        command = runs.read_settings(known.repeat).get("command") or {}
        if not {"data", "mode", "steps"} <= set(command):
            raise InputError(f"{known.repeat}: its run.json does not say how it was made, so it cannot be repeated")
        again = argparse.ArgumentParser(
            prog="eyetune train", usage="eyetune train --repeat RUN [DATA ...] [--out DIR]", allow_abbrev=False,
            description="All other options are those of the run.",
        )  # fmt: skip
        again.add_argument("data", nargs="*", help="where it lies now (default: where it lay)")
        again.add_argument("--out", metavar="DIR", help="where results go (default: as in the run)")
        given = again.parse_args(rest)
        data = given.data or [str(path) for path in command["data"]]
        former = vars(parser.parse_args(data)) | command  # an older run knows fewer options
        options = argparse.Namespace(**(former | {"data": data, "repeat": known.repeat}))
        options.out = given.out or command["out"]
        options.backbone_weights = Path(command["backbone_weights"]) if command["backbone_weights"] else None
    _check(options)
    return options


def command_of(options: argparse.Namespace) -> dict[str, Any]:
    """The options as plain values, files by their absolute paths, for run.json."""
    command = {key: value for key, value in vars(options).items() if key != "repeat"}
    for key in PLACES:
        value = command[key]
        command[key] = (
            [str(Path(p).resolve()) for p in value] if isinstance(value, list) else value and _absolute(value)
        )
    command["backbone_weights"] = options.backbone_weights and _absolute(options.backbone_weights)
    if ".py:" in options.backbone:
        file, function = options.backbone.rsplit(":", 1)
        command["backbone"] = f"{_absolute(file)}:{function}"
    return command


def recipe(options: argparse.Namespace) -> Recipe:
    """How to train the heads: with `--loss rank` as LPIPS does it."""
    return Recipe(**_common(options), factors=options.loss == "binomial")


def deep_recipe(options: argparse.Namespace) -> DeepRecipe:
    """How to train the trunk too."""
    rate = options.trunk_learning_rate
    if rate is None:
        rate = RATE if options.mode == "scratch" else RATE / 10
    deep = {name: getattr(options, name) for name in ("crop", "augment", "precision", "compile")}
    return DeepRecipe(**_common(options), trunk_learning_rate=rate, **deep)


def _common(options: argparse.Namespace) -> dict[str, Any]:
    names = ("steps", "learning_rate", "batch", "dropout", "seed", "loss", "accumulate", "patience")
    common = {name: getattr(options, name) for name in names}
    ours = options.mode == "linear" and options.loss == "binomial"
    if common["learning_rate"] is None:
        common["learning_rate"] = 1e-2 if ours else RATE
    if common["patience"] is None:
        common["patience"] = 10 if options.mode != "linear" else 20 if ours else 0
    if common["dropout"] is None:
        common["dropout"] = 0.0 if ours else 0.5
    return common


def _parser(description: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="eyetune train", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    data = add_options(parser)
    data.add_argument(
        "--validation", nargs="+", metavar="DATA",
        help="hold these photographs out, which must not be in DATA, instead of cross-validating; they also choose the"
        " best step. DATA again, with --split train, means its other half",
    )  # fmt: skip
    data.add_argument("--folds", type=int, default=5, help="cross-validation folds, by source photograph (%(default)s)")
    data.add_argument(
        "--reliability", choices=("use", "ignore"), default="use",
        help="trust each observer as far as he or she agrees with the others, where observers are known (%(default)s)",
    )  # fmt: skip
    model = parser.add_argument_group("model")
    model.add_argument(
        "--mode", choices=MODES, default="linear",
        help="train the heads only, the trunk too, or both from random weights (%(default)s)",
    )  # fmt: skip
    model.add_argument(
        "--backbone", default="alex", metavar="NAME",
        help="trunk: alex, vgg, squeeze, alex-st, vgg-st, timm:MODEL or FILE.py:FUNCTION (%(default)s)",
    )  # fmt: skip
    model.add_argument("--backbone-weights", type=Path, metavar="FILE", help="state dict of it (default: look for one)")
    model.add_argument(
        "--start", choices=STARTS, default="auto",
        help="heads to start from: LPIPS's published ones, where there are any, or uniform ones; auto: those by which"
        " the votes are likelier (with --loss rank and tune: LPIPS's) (%(default)s)",
    )  # fmt: skip
    training = parser.add_argument_group("training")
    training.add_argument(
        "--loss", choices=LOSSES, default="binomial",
        help="likelihood of the counted votes, or LPIPS's rank network on their mean, with its recipe (%(default)s)",
    )  # fmt: skip
    training.add_argument("--steps", type=int, default=10_000, help="optimiser steps at most (%(default)s)")
    training.add_argument(
        "--learning-rate", type=float, metavar="RATE",
        help="Adam's, of the heads (default: 0.01, a factor a step; with --loss rank, tune and scratch: 0.0001)",
    )  # fmt: skip
    training.add_argument("--batch", type=int, default=50, help="comparisons at once (%(default)s)")
    training.add_argument("--accumulate", type=int, default=1, metavar="N", help="batches a step (%(default)s)")
    training.add_argument(
        "--dropout", type=float, metavar="SHARE",
        help="of the difference maps, 0 to <1 (default: 0; with --loss rank, tune and scratch: 0.5)",
    )  # fmt: skip
    training.add_argument(
        "--patience", type=int, metavar="N",
        help="stop after N evaluations without a better likelihood of held-out votes, and take the best step (which,"
        " like --start auto, is chosen on held-out photographs); 0: all steps, and the last weights (default: 20 of 100"
        " evaluations in all; with --loss rank 0; tune and scratch: 10 of 20)",
    )  # fmt: skip
    training.add_argument("--seed", type=int, default=1, help="of folds, batches, dropout (%(default)s)")
    training.add_argument("--tensorboard", action="store_true", help="log to tensorboard/ in the run's folder")
    training.add_argument(
        "--repeat", type=Path, metavar="RUN",
        help="do this run once more, as its run.json says, and say whether the weights are the same; DATA only where a"
        " study has moved (tables and BAPPS folders must be where they were); no other option but --out",
    )  # fmt: skip
    deep = parser.add_argument_group("with --mode tune or scratch")
    deep.add_argument(
        "--trunk-learning-rate", type=float, metavar="RATE",
        help="Adam's, of the trunk (default: a tenth of --learning-rate; scratch: the same)",
    )  # fmt: skip
    deep.add_argument(
        "--crop", type=int, metavar="PIXELS", help="train on random squares of this side (default: whole)"
    )
    deep.add_argument("--no-augment", dest="augment", action="store_false", help="no flips, no exchange of a and b")
    deep.add_argument(
        "--precision", choices=tuple(PRECISIONS), default="no", help="of the trunk; no: float32 (%(default)s)"
    )
    deep.add_argument("--compile", action="store_true", help="torch.compile: slow to begin, faster steps")
    deep.add_argument(
        "--cross-validate", action="store_true",
        help="train once a fold, and once more on all votes (default: hold out the first fold only)",
    )  # fmt: skip
    return parser


def _check(options: argparse.Namespace) -> None:
    for name, fits, allowed in (
        ("steps", options.steps >= 1, "1 or more"),
        ("batch", options.batch >= 1, "1 or more"),
        ("accumulate", options.accumulate >= 1, "1 or more"),
        ("patience", options.patience is None or options.patience >= 0, "0 or more"),
        ("dropout", options.dropout is None or 0 <= options.dropout < 1, "from 0 to less than 1"),
        ("learning-rate", options.learning_rate is None or 0 < options.learning_rate < math.inf, "more than 0"),
        (
            "trunk-learning-rate",
            options.trunk_learning_rate is None or 0 < options.trunk_learning_rate < math.inf,
            "more than 0",
        ),
        ("crop", options.crop is None or options.crop >= 1, "1 or more"),
        ("seed", 0 <= options.seed < 2**63, "0 or more"),
    ):
        if not fits:
            raise InputError(f"--{name} {getattr(options, name.replace('-', '_'))}: must be {allowed}")
    if options.cross_validate and options.validation:
        raise InputError("--cross-validate makes its own folds; leave it or --validation out")
    given = [
        name for name, unset in zip(ONLY_DEEP, (None, None, True, "no", False, False), strict=True)
        if getattr(options, name) != unset
    ]  # fmt: skip
    if options.mode == "linear" and given:
        raise InputError(f"--{given[0].replace('_', '-')} is of --mode tune and scratch; --mode linear trains no trunk")


def _absolute(path: Any) -> str:
    return str(Path(path).resolve())
