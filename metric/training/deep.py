"""Train the trunk together with its heads, from ImageNet's weights or from random ones.

The recipe is LPIPS's (richzhang/PerceptualSimilarity, modes `tune` and `scratch`): Adam, betas (.5, .999), dropout on
the difference maps, a learning rate that decays over the last four tenths, heads clamped to >= 0 after each step.
Unlike there, the three images of a triplet go through the trunk in one forward pass and no gradient of the images is
computed; only the heads are clamped; normalisation, distances and loss are float32 whatever the trunk's precision.

What happens in step s depends on the seed, s and the state alone, so a run goes on bit for bit from `DeepFit.state`.
"""

import math
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from metric.network.backbones import Trunk
from metric.network.checks import check_size
from metric.network.model import PerceptualMetric
from metric.training.ballots import Ballots
from metric.training.dropped_distance import dropped_distance
from metric.training.fit import DECAY
from metric.training.loading import Batch, Order, Triplets, load, whole
from metric.training.losses import Loss
from study.errors import InputError

if TYPE_CHECKING:
    from accelerate import Accelerator

PRECISIONS = {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
PIXELS = 3 * 8 * 256 * 256  # of the images that are measured together without a graph
STARTERS = 2000  # comparisons from whose distances the loss takes its start


@dataclass(frozen=True)
class DeepRecipe:
    """How to train."""

    steps: int
    learning_rate: float = 1e-4
    trunk_learning_rate: float = 1e-5
    """Small beside the heads', so that few votes do not undo what ImageNet taught; LPIPS takes 1e-4 for both."""
    batch: int = 50
    """Triplets that go through the trunk at once, in all processes together."""
    dropout: float = 0.5
    seed: int = 1
    loss: str = "binomial"
    accumulate: int = 1
    """Batches a step."""
    patience: int = 10
    """Evaluations without a better held-out loss after which training stops; 0: all steps, and the last weights."""
    evaluations: int = 20
    """Of the held-out votes in a run, at most."""
    crop: int | None = None
    """Side in pixels of the random piece of each triplet to train on; None: whole images."""
    augment: bool = True
    precision: str = "no"
    """Of the trunk: a key of PRECISIONS."""
    compile: bool = False


class Learner(nn.Module):
    """The metric, and the loss through which it learns from votes."""

    def __init__(self, metric: PerceptualMetric, loss: Loss, dropout: float, precision: str) -> None:
        super().__init__()
        self.metric, self.loss, self.dropout, self.precision = metric, loss, dropout, precision

    def forward(self, images: Tensor, ballots: Ballots) -> Tensor:
        """The mean loss, a number, of triplets `(3, n, H, W, 3)` uint8."""
        distance_a, distance_b = self.distances(images)
        return self.loss(distance_a[None], distance_b[None], ballots)[0]

    def distances(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Distances `(n,)` of a and of b from the reference, of triplets `(3, n, H, W, 3)` uint8."""
        # uint8 pixels lie with their channels last, as the trunk likes them: a permutation, no copy.
        pixels = images.flatten(0, 1).permute(0, 3, 1, 2).to(self.metric.heads[0].dtype) / 255
        check_size(pixels, self.metric.backbone.smallest)
        with torch.autocast(images.device.type, PRECISIONS[self.precision], enabled=self.precision != "no"):
            maps = self.metric.backbone(pixels)
        with torch.autocast(images.device.type, enabled=False):
            dropout = self.dropout if self.training else 0.0
            taps = [
                dropped_distance(features.to(head.dtype), head, dropout)
                for head, features in zip(self.metric.heads, maps, strict=True)
            ]
        distance_a, distance_b = torch.stack(taps).sum(dim=0)
        return distance_a, distance_b


def he_initialise(trunk: Trunk, seed: int) -> None:
    """Random weights in every convolution and linear layer, for ReLU (He et al. 2015); norms begin anew.

    Parameters that a module of the trunk's own holds directly stay as they are.
    """
    generator = torch.Generator().manual_seed(seed)
    for module in trunk.modules():
        if isinstance(module, nn.modules.conv._ConvNd | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.modules.batchnorm._NormBase | nn.LayerNorm | nn.GroupNorm):
            module.reset_parameters()


class DeepFit:
    """A training run that can stop after any step and go on bit for bit from `state()`.

    Every `every` steps the loss of the held-out votes is measured; the weights with the least are kept.
    """

    def __init__(
        self,
        metric: PerceptualMetric,
        loss: Loss,
        triplets: Triplets,
        ballots: Ballots,
        learn: list[int],
        held_out: list[int],
        recipe: DeepRecipe,
        accelerator: "Accelerator",
    ) -> None:
        """`learn` and `held_out`: rows of `triplets` and `ballots`; without held-out ones nothing stops early."""
        self.triplets, self.ballots, self.held_out, self.recipe = triplets, ballots, held_out, recipe
        self.accelerator = accelerator
        self.order = Order(triplets, tuple(learn), recipe.batch * recipe.accumulate, recipe.augment)
        self.every = max(1, recipe.steps // recipe.evaluations)
        self.step = 0
        self.skipped = 0  # of these, in fp16, because gradients overflowed
        self.stalled = 0  # evaluations since the best
        self.history: list[tuple[int, float]] = []  # step and held-out loss
        self.best: dict[str, Any] = {"step": 0, "loss": math.inf, "learner": None}
        metric.requires_grad_(True)
        metric.to(accelerator.device)
        for weight in metric.backbone.parameters():
            if weight.dim() == 4:
                weight.data = weight.data.contiguous(memory_format=torch.channels_last)
        self.learner = Learner(metric, loss, recipe.dropout, recipe.precision)
        some = learn[:: -(-len(learn) // STARTERS)]
        distance_a, distance_b = self.distances(some).T[:, None]
        loss.start(distance_a, distance_b, ballots.rows(torch.tensor(some)))
        loss.to(accelerator.device)
        rate = recipe.learning_rate
        self.rates = [recipe.trunk_learning_rate, rate, rate * loss.rate]
        groups = [metric.backbone.parameters(), metric.heads.parameters(), loss.parameters()]
        self.optimiser = torch.optim.Adam([{"params": list(g)} for g in groups], betas=(0.5, 0.999), fused=True)
        self.scaler = torch.amp.GradScaler(accelerator.device.type, enabled=recipe.precision == "fp16")
        if recipe.compile:
            self.learner.compile()
        self.parallel = accelerator.prepare_model(self.learner)
        self._batches: Iterator[Batch] | None = None

    @property
    def finished(self) -> bool:
        """Whether all steps are done, or the held-out votes' likelihood has stopped to rise."""
        patience = self.recipe.patience
        return self.step >= self.recipe.steps or 0 < patience <= self.stalled

    def run(self, steps: int) -> float:
        """Train up to `steps` more steps, to the next evaluation at most; returns their mean loss.

        Raises InputError where the loss or a weight is no longer a finite number.
        """
        steps = max(0, min(steps, self.recipe.steps - self.step, self.every - self.step % self.every))
        before = self.step
        total = torch.zeros((), device=self.accelerator.device)
        for _ in range(steps):
            total += self._step()
        loss = float(self.accelerator.reduce(total)) / max(steps, 1)
        if not math.isfinite(loss + float(nn.utils.get_total_norm(self.learner.parameters()))):
            raise InputError(
                f"steps {before} to {self.step}: the loss or a weight is not a finite number ({loss:.3g});"
                " try a smaller --trunk-learning-rate, or --precision bf16 in place of fp16"
            )
        if steps and (self.step % self.every == 0 or self.step == self.recipe.steps):
            self.evaluate()
        return loss

    def _step(self) -> Tensor:
        """One optimiser step; returns this process's share of its mean loss."""
        self.learner.train()
        decay = DECAY[self.step * len(DECAY) // self.recipe.steps]
        for group, rate in zip(self.optimiser.param_groups, self.rates, strict=True):
            group["lr"] = rate * decay
        total = torch.zeros((), device=self.accelerator.device)
        for k in range(self.recipe.accumulate):
            if k + 1 < self.recipe.accumulate:
                with self.accelerator.no_sync(self.parallel):  # gradients are averaged once a step
                    total += self._backward()
            else:
                total += self._backward()
        scale = self.scaler.get_scale()
        self.scaler.step(self.optimiser)  # not where fp16 gradients overflowed; then the scale is halved
        self.scaler.update()
        self.skipped += self.scaler.get_scale() < scale
        self.optimiser.zero_grad()
        with torch.no_grad():
            for head in self.learner.metric.heads:
                head.clamp_(min=0)
        self.step += 1
        return total

    def _backward(self) -> Tensor:
        """Add the gradient of the next part of a step; returns the part's share of the step's mean loss."""
        part, images, swapped = self._next_batch()
        device = self.accelerator.device
        # All random numbers of a part, a custom trunk's own too, come from here.
        seed = np.random.SeedSequence([self.recipe.seed, part.place]).generate_state(1, np.uint64)
        torch.manual_seed(int(seed[0]))
        ballots = swap(self.ballots.rows(torch.tensor(part.rows)), swapped)
        ballots = Ballots(*(x.to(device) for x in (ballots.prefer_b, ballots.count, ballots.attention)))
        loss = part.share * self.parallel(images.to(device, non_blocking=True), ballots)
        # Processes' gradients are averaged, and what is wanted is their sum.
        self.scaler.scale(loss * self.accelerator.num_processes).backward()
        return loss.detach()

    def _next_batch(self) -> Batch:
        if self._batches is None:
            processes = self.accelerator.num_processes
            mine = slice(self.accelerator.process_index, None, processes)
            parts = self.order.parts(self.step, self.recipe.steps, processes * self.recipe.accumulate, mine)
            self._batches = load(self.triplets, parts, processes)
        return next(self._batches)

    def evaluate(self) -> None:
        """Measure the loss of the held-out votes and keep the weights where it is the least so far."""
        if not self.held_out:
            return
        distance_a, distance_b = self.distances(self.held_out).T[:, None]
        loss = deepcopy(self.learner.loss).cpu().eval()
        with torch.no_grad():
            value = float(loss(distance_a, distance_b, self.ballots.rows(torch.tensor(self.held_out))))
        self.history.append((self.step, value))
        self.stalled += 1
        if value < self.best["loss"] or not self.recipe.patience:
            self.stalled = 0
            self.best = {"step": self.step, "loss": value, "learner": cpu_copy(self.learner)}

    def distances(self, rows: list[int]) -> Tensor:
        """`(len(rows), 2)`: distances to a and to b by the weights of now, computed by all processes together."""
        place = {row: index for index, row in enumerate(rows)}
        result = torch.zeros(len(rows), 2, device=self.accelerator.device)
        accelerator = self.accelerator
        parts = list(whole(self.triplets, rows, PIXELS))[accelerator.process_index :: accelerator.num_processes]
        self._share_buffers()
        self.learner.eval()
        with torch.inference_mode():
            for part, images, _ in load(self.triplets, iter(parts), accelerator.num_processes):
                index = torch.tensor([place[row] for row in part.rows], device=result.device)
                result[index] = torch.stack(self.learner.distances(images.to(result.device)), dim=1).float()
        result = accelerator.reduce(result).cpu()
        wrong = (~result.isfinite().all(dim=1)).nonzero()
        if len(wrong):
            name = self.triplets.names[rows[int(wrong[0])]]
            raise InputError(f"comparison {name}: its distances are not finite numbers; look at the trunk's weights")
        return result

    def _share_buffers(self) -> None:
        """BatchNorm's statistics differ between processes: take the first one's, which are also what is saved."""
        if self.accelerator.num_processes > 1:
            for buffer in self.learner.buffers():
                torch.distributed.broadcast(buffer, 0)

    def restore_best(self) -> None:
        """Go back to the weights of the best evaluation."""
        if self.best["learner"] is not None:
            self.learner.load_state_dict(self.best["learner"])

    def state(self) -> dict[str, Any]:
        """Everything that the rest of the run depends on: tensors and plain values."""
        return {
            "step": self.step,
            "skipped": self.skipped,
            "stalled": self.stalled,
            "history": list(self.history),
            "best": self.best,
            "learner": cpu_copy(self.learner),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to where `state()` was taken."""
        self.step, self.skipped, self.stalled = state["step"], state["skipped"], state["stalled"]
        self.best = state["best"]
        self.history = [tuple(entry) for entry in state["history"]]
        self.learner.load_state_dict(state["learner"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.scaler.load_state_dict(state["scaler"])
        self._batches = None


def swap(ballots: Ballots, swapped: Tensor) -> Ballots:
    """The ballots of triplets whose a and b have traded places where `swapped` `(B,)`."""
    prefer_b = torch.where(swapped[:, None], 1 - ballots.prefer_b, ballots.prefer_b)
    return Ballots(prefer_b, ballots.count, ballots.attention)


def cpu_copy(module: nn.Module) -> dict[str, Tensor]:
    """The module's state as tensors of its own, on the CPU."""
    return {key: value.detach().cpu().clone() for key, value in module.state_dict().items()}
