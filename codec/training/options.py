"""The options of `eyetune codec train`, checked."""

import argparse
import math
from pathlib import Path

from study.errors import InputError

PRECISIONS = ("fp32", "bf16", "fp16")
LPIPS = ("alex", "vgg", "squeeze")
LAMBDAS = (0.013,)
RATE_WEIGHTS = (1.0, 0.0625)  # HiFiC's at 0.30 bits per pixel; the other targets' are 2 (0.14) and 0.5 (0.45)


def parse(argv: list[str] | None, description: str | None) -> argparse.Namespace:
    """The options. Raises InputError."""
    options = _parser(description).parse_args(argv)
    _check(options)
    if not (options.mse or options.mae or options.ms_ssim or options.lpips or options.vgg or options.metric):
        options.mse = 1.0
    return options


def _parser(description: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="eyetune codec train", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photographs", type=Path, metavar="PHOTOS", help="a folder of photographs, with those below it")
    parser.add_argument(
        "--out", type=Path, metavar="DIR",
        help="the run's folder (default: runs/codec-NUMBER-SYSTEM; the same command goes on with an unfinished one)",
    )  # fmt: skip
    model = parser.add_argument_group("codec")
    model.add_argument("--system", metavar="NAME", help="see eyetune codec list (default: mbt2018-mean)")
    model.add_argument(
        "--channels", type=int, nargs=2, metavar=("N", "M"), help="of the transforms, of the latent (default: 128 192)"
    )
    model.add_argument("--context", metavar="NAME", help="none, masked, checkerboard or slices (default: the system's)")
    model.add_argument(
        "--start", type=Path, metavar="FILE", help="begin with the weights of this codec; what it is, need not be said"
    )
    rate = parser.add_argument_group("rate", "loss: bits per pixel + LAMBDA * distortion, or, with a target rate,"
                                     " weight * bits per pixel + distortion")  # fmt: skip
    rate.add_argument(
        "--lambda", dest="lambdas", type=float, nargs="+", metavar="LAMBDA",
        help="several: one codec for all rates between, with a gain level for each (default: 0.013)",
    )  # fmt: skip
    rate.add_argument(
        "--target-bpp",
        type=float,
        metavar="BPP",
        help="train for this many bits per pixel, as HiFiC; in place of --lambda",
    )
    rate.add_argument(
        "--rate-weights", type=float, nargs=2, metavar=("ABOVE", "BELOW"),
        help=f"weight of the rate above the target and below it (default: {RATE_WEIGHTS[0]:g} {RATE_WEIGHTS[1]:g})",
    )  # fmt: skip
    terms = parser.add_argument_group("distortion", "a sum of terms with weights W (default: --mse 1)")
    terms.add_argument(
        "--mse", type=float, metavar="W", help="mean squared error on the scale of 0..255; the rest: 0..1"
    )
    terms.add_argument("--mae", type=float, metavar="W", help="mean absolute error")
    terms.add_argument("--ms-ssim", type=float, metavar="W", help="1 - MS-SSIM; crops of 161 pixels or more")
    terms.add_argument("--lpips", action="append", default=[], metavar="NET:W", help="alex, vgg or squeeze")
    terms.add_argument("--vgg", type=float, metavar="W", help="squared differences of VGG16 features")
    terms.add_argument(
        "--metric", action="append", default=[], metavar="FILE:W", help="a metric that eyetune export wrote"
    )
    terms.add_argument(
        "--gan", type=float, metavar="W", help="-log D of HiFiC's patch discriminator, which sees the latent too"
    )
    training = parser.add_argument_group("training")
    budget = training.add_mutually_exclusive_group()
    budget.add_argument("--steps", type=int, help="optimiser steps (default: 100,000)")
    budget.add_argument("--minutes", type=float, help="train for this long; the last validation comes on top")
    training.add_argument("--batch", type=int, default=8, help="crops a step, over all processes (%(default)s)")
    training.add_argument("--crop", type=int, default=256, metavar="PIXELS", help="side of a crop (%(default)s)")
    training.add_argument(
        "--downscale", type=float, default=1.0, metavar="LOW",
        help="scale each photograph by a random factor from LOW to 1 first, as HiFiC (0.75); 1: not (%(default)s)",
    )  # fmt: skip
    training.add_argument("--learning-rate", type=float, default=5e-4, metavar="RATE", help="Adam's (%(default)s)")
    training.add_argument(
        "--milestones", type=float, nargs="+", default=[], metavar="SHARE",
        help="shares of the training after which the learning rate is a tenth (default: a cosine to a hundredth)",
    )  # fmt: skip
    training.add_argument(
        "--precision", choices=PRECISIONS, default="fp32",
        help="of the transforms; latents, GDN and distortions are always float32 (%(default)s)",
    )  # fmt: skip
    training.add_argument("--compile", action="store_true", help="torch.compile: slow to begin, faster steps")
    training.add_argument(
        "--ema",
        type=float,
        default=0.999,
        metavar="DECAY",
        help="of the averaged weights, the codec; 0: none (%(default)s)",
    )
    training.add_argument("--seed", type=int, default=1, help="of weights, crops, noise (%(default)s)")
    held = parser.add_argument_group("validation", "on whole photographs, at every level")
    which = held.add_mutually_exclusive_group()
    which.add_argument("--held-out", type=int, default=8, metavar="N", help="of PHOTOS, at most a fifth (%(default)s)")
    which.add_argument("--validation", type=Path, metavar="FOLDER", help="other photographs")
    held.add_argument(
        "--validations",
        type=int,
        default=10,
        metavar="N",
        help="how often, evenly; with --minutes fewer where they would take a tenth of the time (%(default)s)",
    )
    held.add_argument(
        "--tensorboard", action="store_true", help="log, with images, to tensorboard/ in the run's folder"
    )
    written = parser.add_argument_group("codec.safetensors")
    written.add_argument("--half", action="store_true", help="weights in float16")
    written.add_argument("--notice", metavar="TEXT", help="kept in the file: a licence, where the photographs are from")
    return parser


def _check(options: argparse.Namespace) -> None:
    target = options.target_bpp
    for name, fits, allowed in (
        ("channels", options.channels is None or min(options.channels) >= 1, "1 or more"),
        ("lambda", options.lambdas is None or all(0 < x < math.inf for x in options.lambdas), "more than 0"),
        ("target-bpp", target is None or 0 < target < math.inf, "more than 0"),
        ("rate-weights", options.rate_weights is None or all(0 < x < math.inf for x in options.rate_weights),
         "more than 0"),
        *((name, _weight(getattr(options, name.replace("-", "_"))), "more than 0")
          for name in ("mse", "mae", "ms-ssim", "vgg", "gan")),
        ("steps", options.steps is None or options.steps >= 1, "1 or more"),
        ("minutes", options.minutes is None or 0 < options.minutes < math.inf, "more than 0"),
        ("batch", options.batch >= 1, "1 or more"),
        ("crop", options.crop >= 1, "1 or more"),
        ("downscale", 0 < options.downscale <= 1, "more than 0, at most 1"),
        ("learning-rate", 0 < options.learning_rate < math.inf, "more than 0"),
        ("milestones", all(0 < x < 1 for x in options.milestones), "between 0 and 1"),
        ("ema", 0 <= options.ema < 1, "from 0 to less than 1"),
        ("seed", 0 <= options.seed < 2**63, "0 or more"),
        ("held-out", options.held_out >= 0, "0 or more"),
        ("validations", options.validations >= 1, "1 or more"),
    ):  # fmt: skip
        if not fits:
            value = options.lambdas if name == "lambda" else getattr(options, name.replace("-", "_"))
            value = " ".join(map(str, value)) if isinstance(value, list) else value
            raise InputError(f"--{name} {value}: must be {allowed}")
    if options.lambdas and sorted(set(options.lambdas)) != options.lambdas:
        raise InputError(
            f"--lambda {' '.join(map(str, options.lambdas))}: from the smallest (fewest bits) to the largest"
        )
    if target and options.lambdas:
        raise InputError("--target-bpp takes the place of --lambda; leave one out")
    if options.rate_weights and not target:
        raise InputError("--rate-weights is of --target-bpp; without it there is one weight, --lambda")
    for name, texts in (("lpips", options.lpips), ("metric", options.metric)):
        for text in texts:
            weighted(name, text)
    for text in options.lpips:
        net = weighted("lpips", text)[0]
        if net not in LPIPS:
            raise InputError(f"--lpips {text}: no such network; there are: {', '.join(LPIPS)}")


def weighted(option: str, text: str) -> tuple[str, float]:
    """What stands before and after the last colon of `--option text`. Raises InputError."""
    name, _, weight = text.rpartition(":")
    try:
        value = float(weight)
    except ValueError:
        value = 0.0
    if not (name and _weight(value)):
        example = "alex:1" if option == "lpips" else "my-study.safetensors:1"
        raise InputError(f"--{option} {text}: a weight, more than 0, stands after a colon, as in --{option} {example}")
    return name, value


def _weight(value: float | None) -> bool:
    return value is None or 0 < value < math.inf
