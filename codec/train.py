"""Train a learned codec on a folder of photographs: `eyetune codec train PHOTOS`, or `python codec/train.py PHOTOS`.

The smallest run, a minute on a CPU:
    python codec/train.py PHOTOS --channels 16 24 --crop 128 --minutes 1
One codec for all rates:
    python codec/train.py PHOTOS --lambda 0.0018 0.0035 0.0067 0.013 0.025 0.0483
For the eye, from that start (weights in terms of mean squared error, here 500 for a distance):
    python codec/train.py PHOTOS --start runs/codec-001-mbt2018-mean/codec.safetensors --metric metric.safetensors:500
As HiFiC, for 0.3 bits per pixel:
    python codec/train.py PHOTOS --target-bpp 0.3 --mse 0.00234 --lpips alex:1 --gan 0.15
Several processes:
    torchrun --nproc-per-node 8 -- codec/train.py PHOTOS
(without the -- torchrun takes --start for an option of its own)

The same command goes on where it was interrupted. What comes out is codec.safetensors in the run's folder.
"""

import sys
from pathlib import Path

if __name__ == "__main__":  # run by path: imports begin at the checkout's root, not in this file's folder
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import argparse
import dataclasses
from typing import TYPE_CHECKING, Any

import torch

from codec.checkpoint import fingerprint, load_codec, save_codec
from codec.layers.discriminators import PatchDiscriminator
from codec.model import Codec
from codec.systems import SYSTEMS, Config, build
from codec.training import losses, runs
from codec.training.crops import Crops, Photograph, digest, read_photographs, split
from codec.training.fit import Fit, Recipe
from codec.training.loop import Training
from codec.training.losses import Distortion
from codec.training.options import LAMBDAS, RATE_WEIGHTS, parse, weighted
from codec.training.processes import Alone, processes, same_everywhere
from codec.training.target_rate import TargetRate
from codec.training.validation import size_of
from study.command import run
from study.errors import InputError, UnavailableError

if TYPE_CHECKING:
    from accelerate import Accelerator

STEPS = 100_000


def main(argv: list[str] | None = None) -> int | None:
    """Train to the end of the budget, write the codec, and report what it does to held-out photographs."""
    options = parse(argv, __doc__)
    together = processes()
    check_batch(options.batch, together.num_processes)
    try:
        _train(options, together)
    finally:
        together.end_training()
    return 0


def check_batch(batch: int, count: int) -> None:
    """Raises InputError unless `count` processes have equally many crops each: their gradients count the same."""
    if batch % count:
        raise InputError(f"--batch {batch}: must be a multiple of {count}, the processes that share it")


def _train(options: argparse.Namespace, together: "Alone | Accelerator") -> None:
    torch.manual_seed(options.seed)
    codec = _codec(options)
    discriminator = PatchDiscriminator(_config(codec).channels[1]) if options.gan else None
    distortion = _distortion(options, together.device)
    learned_from, held_out = _photographs(options, together.is_main_process)
    _check_sizes(options, codec, distortion, held_out, together.device)
    recipe = _recipe(options, codec)
    settings = _settings(options, codec, recipe, distortion, learned_from, held_out, together)
    folder = same_everywhere(runs.open_run(options.out, settings) if together.is_main_process else None, together)
    if runs.is_finished(folder):
        print(f"{folder}: this run is finished; for another, name another --out")
        return
    if together.is_main_process:
        print(f"{folder}: {_about(codec, learned_from, held_out)}")
    crops = Crops(tuple(learned_from), options.crop, options.batch, options.seed, options.downscale)
    if options.compile:
        codec.g_a.compile()
        codec.g_s.compile()
    fit = Fit(codec, distortion, crops, recipe, together, discriminator)
    training = Training(fit, held_out, folder, options.validations, options.half, _writer(options, folder, together))
    training.run()
    if together.is_main_process:
        rows = training.last_validation() if held_out else []
        done = {"steps_done": fit.step, "seconds": round(fit.seconds), "validation": rows}
        record = settings | {"half": options.half} | done
        save_codec(training.codec().cpu(), folder / runs.CODEC, record, options.half)
        for row in rows:
            values = "  ".join(f"{k} {v:.4g}" for k, v in row.items() if k not in ("step", "seconds", "set", "level"))
            print(f"  level {row['level']}: {values}")
        print(f"{folder / runs.CODEC}: {fit.step:,} steps in {fit.seconds / 60:.1f} minutes")


def _codec(options: argparse.Namespace) -> Codec:
    """What is to be trained: random weights of the seed, or those of --start. Raises InputError."""
    start = load_codec(options.start) if options.start else None
    former = _config(start) if start else Config("mbt2018-mean")
    system = options.system or former.system
    if system not in SYSTEMS:
        raise InputError(f"--system {system}: no such system; there are: {', '.join(SYSTEMS)}")
    same = system == former.system
    config = Config(
        system,
        tuple(options.channels or former.channels),
        options.context or (former.context if same else SYSTEMS[system].contexts[0]),
        _lambdas(options, former.lambdas if start else LAMBDAS),
        former.scales if same else "log",
    )
    try:
        codec = build(config)
    except ValueError as error:
        raise InputError(str(error)) from None
    if start:
        _fill(codec, start, options.start)
    return codec


def _config(codec: Codec) -> Config:
    assert isinstance(codec.config, Config)
    return codec.config


def _lambdas(options: argparse.Namespace, default: tuple[float, ...]) -> tuple[float, ...]:
    if not options.target_bpp:
        return tuple(options.lambdas or default or LAMBDAS)
    if len(default) > 1:
        raise InputError(
            f"--target-bpp: the codec in {options.start} has several rates; a target is for one of one rate"
        )
    return (1.0,)


def _fill(codec: Codec, start: Codec, path: Path) -> None:
    """Give `codec` the weights of `start`; gain levels begin anew where there are others."""
    theirs, ours = start.state_dict(), codec.state_dict()
    levels = {name for name in theirs.keys() | ours.keys() if name.startswith("rate.")}
    config = _config(start)
    if {k: v.shape for k, v in theirs.items() if k not in levels} != {
        k: v.shape for k, v in ours.items() if k not in levels
    }:
        raise InputError(
            f"--start {path}: it is {config.system} with channels {' '.join(map(str, config.channels))}"
            f" and context {config.context}; leave --system, --channels and --context out, or give it these"
        )
    same = {k: v for k, v in theirs.items() if k in ours and v.shape == ours[k].shape}
    codec.load_state_dict(same, strict=False)


def _distortion(options: argparse.Namespace, device: Any) -> Distortion:
    terms = []
    if options.mse:
        terms.append(losses.mse_term(options.mse))
    if options.mae:
        terms.append(losses.mae_term(options.mae))
    if options.ms_ssim:
        terms.append(losses.ms_ssim_term(options.ms_ssim))
    terms += [losses.lpips_term(*weighted("lpips", text), device) for text in options.lpips]
    if options.vgg:
        terms.append(losses.vgg_term(options.vgg, device))
    for text in options.metric:
        file, weight = weighted("metric", text)
        terms.append(losses.metric_term(Path(file), weight, device))
    return losses.Distortion(terms)


def _photographs(options: argparse.Namespace, main: bool) -> tuple[list[Photograph], list[Photograph]]:
    """Those to learn from and those that are held out; those that are left out are named."""
    photographs, left_out = read_photographs(options.photographs, options.crop, quiet=not main)
    held_out: list[Photograph] = []
    if options.validation:
        held_out, others = read_photographs(options.validation, 1, quiet=not main)
        twice = {photograph.digest for photograph in held_out} & {photograph.digest for photograph in photographs}
        if twice:
            names = [photograph.name for photograph in held_out if photograph.digest in twice]
            raise InputError(
                f"--validation {options.validation}: {names[0]} is in {options.photographs} too; take it out"
            )
        left_out += others
    else:
        photographs, held_out = split(photographs, options.held_out, options.seed)
    for line in left_out if main else []:
        print(f"left out: {line}", file=sys.stderr)
    return photographs, held_out


def _check_sizes(
    options: argparse.Namespace, codec: Codec, distortion: Distortion, held_out: list[Photograph], device: Any
) -> None:
    if options.crop % codec.stride:
        raise InputError(f"--crop {options.crop}: must be a multiple of {codec.stride}")
    distortion.check(options.crop, options.crop, "crops", device)
    for size, photograph in {size_of(photograph): photograph for photograph in held_out}.items():
        distortion.check(*size, f"the held-out photograph {photograph.name}", device)


def _recipe(options: argparse.Namespace, codec: Codec) -> Recipe:
    target = None
    if options.target_bpp:
        target = TargetRate(options.target_bpp, *(options.rate_weights or RATE_WEIGHTS))
    return Recipe(
        lambdas=_config(codec).lambdas,
        steps=options.steps or (None if options.minutes else STEPS),
        minutes=options.minutes,
        learning_rate=options.learning_rate,
        milestones=tuple(options.milestones),
        precision=options.precision,
        ema=options.ema,
        gan=options.gan or 0.0,
        target=target,
        seed=options.seed,
    )


def _settings(
    options: argparse.Namespace,
    codec: Codec,
    recipe: Recipe,
    distortion: Distortion,
    learned_from: list[Photograph],
    held_out: list[Photograph],
    together: "Alone | Accelerator",
) -> dict[str, Any]:
    """What run.json keeps: all that decides how the weights come out, so not --half, which one may think better of."""
    return {
        **dataclasses.asdict(_config(codec)),
        "start": fingerprint(codec) if options.start else None,
        "distortion": distortion.weights,
        "metrics": [losses.metric_identity(Path(weighted("metric", text)[0])) for text in options.metric],
        "recipe": dataclasses.asdict(recipe),
        **{name: getattr(options, name) for name in ("crop", "batch", "downscale", "compile", "validations")},
        "photographs": len(learned_from),
        "photographs_sha256": digest(learned_from),
        "held_out": len(held_out),
        "held_out_sha256": digest(held_out),
        "notice": options.notice,
        "processes": together.num_processes,
        "device": together.device.type,
    }


def _about(codec: Codec, learned_from: list[Photograph], held_out: list[Photograph]) -> str:
    config, parameters = _config(codec), sum(p.numel() for p in codec.parameters())
    size = f"N {config.channels[0]}, M {config.channels[1]}, {parameters / 1e6:.2f} million parameters"
    return f"{config.system}, {size}; {len(learned_from):,} photographs, {len(held_out):,} held out"


def _writer(options: argparse.Namespace, folder: Path, together: "Alone | Accelerator") -> Any:
    """TensorBoard's, if that was asked for."""
    if not (options.tensorboard and together.is_main_process):
        return None
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UnavailableError("--tensorboard needs the package tensorboard: pip install 'eyetune[train]'") from None
    return SummaryWriter(str(folder / "tensorboard"))


if __name__ == "__main__":
    sys.exit(run(main))
