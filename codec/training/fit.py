"""Train a codec: one step for every mix of distortions, one rate or many, with and without a discriminator.

    L = bits per pixel + lambda * D          or, with a target rate,  weight * bits per pixel + D

D is the weighted sum of `losses.Distortion`, and of the discriminator's opinion where there is one. With several
lambdas every image of a batch has a level of its own. Bits are those of latents with noise, what is decoded are rounded
latents (`codec.entropy.coders`). What happens in step s depends on the seed, s, the progress and the state alone, so a
run of a given number of steps goes on bit for bit from `Fit.state`; one of given minutes goes on as it would.
"""

import math
import time
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from codec.layers.discriminators import PatchDiscriminator, discriminator_loss, generator_loss
from codec.model import Codec, Output
from codec.training.crops import Crops, load
from codec.training.losses import Distortion
from codec.training.processes import Alone
from codec.training.target_rate import TargetRate
from study.errors import InputError

if TYPE_CHECKING:
    from accelerate import Accelerator

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
WARM_UP = 0.02  # of the training, in which the learning rate rises to its full value
LAST_RATE = 0.01  # of the learning rate, where the cosine ends
MILESTONE = 0.1  # by which the learning rate is multiplied at a milestone
CLIP = 1.0  # the largest norm of a gradient: CompressAI's


@dataclass(frozen=True)
class Recipe:
    """How to train."""

    lambdas: tuple[float, ...]
    """One, or one a level, fewest bits first; not used with a target rate."""
    steps: int | None = None
    """Budget; None: `minutes`."""
    minutes: float | None = None
    """Budget of time, validation included."""
    learning_rate: float = 5e-4
    milestones: tuple[float, ...] = ()
    """Shares of the training after which the learning rate is a tenth; none: it falls along a cosine."""
    precision: str = "fp32"
    """Of the transforms, a key of PRECISIONS."""
    ema: float = 0.999
    """How much of the averaged weights stays in a step; 0: no average."""
    gan: float = 0.0
    """Weight of the discriminator's opinion in D."""
    target: TargetRate | None = None
    seed: int = 1


class Fit:
    """A training that can stop after any step and go on from `state()`."""

    def __init__(
        self,
        codec: Codec,
        distortion: Distortion,
        crops: Crops,
        recipe: Recipe,
        together: "Alone | Accelerator",
        discriminator: PatchDiscriminator | None = None,
    ) -> None:
        """`discriminator`: where `recipe.gan` is above 0."""
        self.distortion, self.crops, self.recipe, self.together = distortion, crops, recipe, together
        self.step = 0
        self.skipped = 0  # of these, in fp16, because gradients overflowed
        self.seconds = 0.0  # of training so far
        self.codec = codec.to(together.device).train()
        if together.device.type == "cuda":  # on a CPU it makes no difference
            self.codec.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.averaged = deepcopy(self.codec).requires_grad_(False)
        self.discriminator = discriminator
        self.optimiser = _adam(self.codec, recipe.learning_rate)
        self.parallel = together.prepare_model(self.codec)
        if discriminator is not None:
            self.discriminator = discriminator.to(together.device).train()
            self.opponent = _adam(self.discriminator, recipe.learning_rate)
            self.parallel_discriminator = together.prepare_model(self.discriminator)
        self.scaler = torch.amp.GradScaler(together.device.type, enabled=recipe.precision == "fp16")
        self.lambdas = torch.tensor(recipe.lambdas, device=together.device)
        self._batches: Iterator[Tensor] | None = None
        self._resumed = time.monotonic()

    @property
    def progress(self) -> float:
        """The share of the budget that is used, from 0 to 1."""
        if self.recipe.steps is not None:
            return min(1.0, self.step / self.recipe.steps)
        assert self.recipe.minutes is not None
        return min(1.0, self.seconds / (60 * self.recipe.minutes))

    def start_clock(self) -> None:
        """Count time from now on, after that of former runs."""
        self._resumed = time.monotonic() - self.seconds

    def read_clock(self, stop: bool = False) -> bool:
        """Bring `seconds` up to date, the first process's in all; returns whether one of them said `stop`."""
        now = time.monotonic() - self._resumed
        if self.together.num_processes == 1:
            self.seconds = now
            return stop
        first = self.together.is_main_process
        said = torch.tensor([now if first else 0.0, float(stop)], device=self.together.device)
        self.seconds, stopped = self.together.reduce(said).tolist()
        return stopped > 0

    def learning_rate(self) -> float:
        """The learning rate at the progress of now."""
        progress, rate = self.progress, self.recipe.learning_rate
        if progress < WARM_UP:
            return rate * max(progress / WARM_UP, LAST_RATE)
        if self.recipe.milestones:
            return rate * MILESTONE ** sum(progress >= milestone for milestone in self.recipe.milestones)
        fall = (progress - WARM_UP) / (1 - WARM_UP)
        return rate * (LAST_RATE + (1 - LAST_RATE) * (1 + math.cos(math.pi * fall)) / 2)

    def take_step(self) -> dict[str, Tensor]:
        """One step of the codec, and one of its discriminator; returns what was measured, numbers on the device.

        `loss`, `bits_per_pixel`, every term of D not yet weighted, and with a discriminator `gan` and `discriminator`.
        """
        x, level = self._next_batch()
        for optimiser in self._optimisers():
            for group in optimiser.param_groups:
                group["lr"] = self.learning_rate()
        device = self.together.device.type
        with torch.autocast(device, PRECISIONS[self.recipe.precision], enabled=self.recipe.precision != "fp32"):
            output: Output = self.parallel(x, level.float())
        measured = self._codec_step(x, level, output)
        if self.discriminator is not None:
            measured["discriminator"] = self._discriminator_step(x, output)
        scale = self.scaler.get_scale()
        self.scaler.update()
        self.skipped += self.scaler.get_scale() < scale
        self._average()
        self.step += 1
        return measured

    def _codec_step(self, x: Tensor, level: Tensor, output: Output) -> dict[str, Tensor]:
        pixels = x.shape[2] * x.shape[3]
        bits_per_pixel = torch.stack(list(output.bits.values())).sum(dim=0) / pixels
        terms = self.distortion.compare(self.distortion.prepare(x), output.x_hat)
        distortion = self.distortion.total(terms)
        if self.discriminator is not None:
            self.discriminator.requires_grad_(False)
            condition = None if self.discriminator.condition is None else output.y_hat
            terms["gan"] = generator_loss(self.discriminator(output.x_hat.float(), condition))
            distortion = distortion + self.recipe.gan * terms["gan"]
            self.discriminator.requires_grad_(True)
        if self.recipe.target is None:
            loss = bits_per_pixel + self.lambdas[level] * distortion
        else:
            loss = self._bit_weight(output, pixels) * bits_per_pixel + distortion
        self._descend(self.optimiser, loss.mean(), self.codec)
        measured = {"loss": loss, "bits_per_pixel": bits_per_pixel} | terms
        return {name: value.detach().mean() for name, value in measured.items()}

    def _bit_weight(self, output: Output, pixels: int) -> float:
        """HiFiC's weight of the rate, by what the rounded symbols of all processes cost."""
        assert self.recipe.target is not None
        bits = torch.stack(list(output.rounded_bits.values())).sum(dim=0).mean() / pixels
        mean = float(self.together.reduce(bits.detach().clone())) / self.together.num_processes
        return self.recipe.target.weight(mean, self.progress)

    def _discriminator_step(self, x: Tensor, output: Output) -> Tensor:
        """Teach the discriminator on the same images, original and decoded; one pass, so that processes can share."""
        images = torch.cat([x, output.x_hat.detach().float()])
        y_hat = None
        if self.discriminator is not None and self.discriminator.condition is not None:
            y_hat = output.y_hat.detach().repeat(2, 1, 1, 1)
        real, decoded = self.parallel_discriminator(images, y_hat).chunk(2)
        loss = discriminator_loss(real, decoded).mean()
        assert self.discriminator is not None
        self._descend(self.opponent, loss, self.discriminator)
        return loss.detach()

    def _descend(self, optimiser: torch.optim.Optimizer, loss: Tensor, module: nn.Module) -> None:
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(optimiser)
        nn.utils.clip_grad_norm_(module.parameters(), CLIP)
        self.scaler.step(optimiser)  # not where fp16 gradients overflowed; then the scale is halved
        optimiser.zero_grad()

    @torch.no_grad()
    def _average(self) -> None:
        """Move the averaged weights; early in a training, when there is little to average, faster."""
        decay = min(self.recipe.ema, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(list(self.averaged.parameters()), list(self.codec.parameters()), 1 - decay)

    def _optimisers(self) -> list[torch.optim.Optimizer]:
        return [self.optimiser] if self.discriminator is None else [self.optimiser, self.opponent]

    def _next_batch(self) -> tuple[Tensor, Tensor]:
        """Crops `(n, 3, side, side)` in [0, 1] and their levels `(n,)`; all random numbers of the step are set."""
        together = self.together
        mine = slice(together.process_index, None, together.num_processes)
        if self._batches is None:
            self._batches = load(self.crops, self.step, mine)
        seeds = np.random.SeedSequence([self.recipe.seed, self.step, together.process_index]).generate_state(1, "u8")
        torch.manual_seed(int(seeds[0]))
        first = int(np.random.default_rng([self.recipe.seed, self.step]).integers(len(self.recipe.lambdas)))
        levels = (torch.arange(self.crops.batch)[mine] + first) % len(self.recipe.lambdas)  # evenly, in every batch
        images = next(self._batches).to(together.device, non_blocking=True)
        return images.permute(0, 3, 1, 2).float() / 255, levels.to(together.device)

    def check(self, measured: dict[str, float]) -> None:
        """Raise InputError where what was measured, or a weight, is no longer a finite number."""
        wrong = [name for name, value in measured.items() if not math.isfinite(value)]
        if not wrong and not math.isfinite(float(nn.utils.get_total_norm(self.codec.parameters()))):
            wrong = ["a weight"]
        if wrong:
            raise InputError(
                f"step {self.step:,}: {wrong[0]} is not a finite number; try a smaller --learning-rate"
                + (", or --precision bf16" if self.recipe.precision == "fp16" else "")
            )

    def chosen(self) -> Codec:
        """The averaged codec in eval mode, its tables up to date."""
        self.averaged.train()
        return self.averaged.eval()

    def state(self) -> dict[str, Any]:
        """Everything that the rest of the training depends on: tensors and plain values."""
        return {
            "step": self.step,
            "skipped": self.skipped,
            "seconds": self.seconds,
            "codec": self.codec.state_dict(),
            "averaged": self.averaged.state_dict(),
            "discriminator": None if self.discriminator is None else self.discriminator.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in self._optimisers()],
            "scaler": self.scaler.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to where `state()` was taken."""
        self.step, self.skipped, self.seconds = state["step"], state["skipped"], state["seconds"]
        self.codec.load_state_dict(state["codec"])
        self.averaged.load_state_dict(state["averaged"])
        if self.discriminator is not None:
            self.discriminator.load_state_dict(state["discriminator"])
        for optimiser, former in zip(self._optimisers(), state["optimisers"], strict=True):
            optimiser.load_state_dict(former)
        self.scaler.load_state_dict(state["scaler"])
        self._batches = None


def _adam(module: nn.Module, learning_rate: float) -> torch.optim.Adam:
    return torch.optim.Adam(module.parameters(), learning_rate, fused=True)
