"""Fit the heads to votes on pooled features: every cross-validation fold in one run.

All folds, and the final heads on all votes, are trained in lockstep as one more dimension F: the same batches and the
same dropout noise, with a fold's held-out comparisons left out of its loss. Adam works number by number, so no fold
learns from another. Every now and then the loss of the held-out votes is measured, and the heads of all fits come from
the step at which it was least: one number that is chosen on held-out photographs.

LPIPS's recipe (richzhang/PerceptualSimilarity), which `--loss rank` asks for: Adam, betas (.5, .999), batch 50; weights
clamped to >= 0 after each step; dropout .5 on the difference; the learning rate is constant for six tenths of the
training, then .8, .6, .4 and .2 of it for a tenth each. Ours differs in the loss, in that heads change by factors, and
in that nothing is dropped out: noise in each channel makes many small heads cheaper than the few that decide.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from metric.torch_threads import one_thread
from metric.training.ballots import Ballots
from metric.training.losses import DetectionLoss, Loss, make_loss
from study.errors import InputError

DECAY = (1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.8, 0.6, 0.4, 0.2)
"""Share of the learning rate in each tenth of the training."""
BETAS = (0.5, 0.999)
EVALUATIONS = 100  # of the held-out votes in a run, at most
UNIFORM = ((256**2 - 1) / 12) ** 0.5  # standard deviation of a random byte

LEAST = 0.1  # of the mean head: where heads that are to grow by factors begin if they are smaller, 0 for instance

STATE = ("step", "stalled", "history", "best", "weights", "losses", "optimiser", "generator", "order")
"""What `Fit.state` holds."""


@dataclass(frozen=True)
class Recipe:
    """How to train; LPIPS (below) has its authors' way."""

    steps: int
    learning_rate: float = 1e-2
    batch: int = 50
    dropout: float = 0.0
    seed: int = 1
    loss: str = "binomial"
    factors: bool = True
    """Learn the logarithms of the heads: a step changes each by a factor. Channels of small features, whose heads must
    be large, are found as fast as others, and few of many channels from few votes (Kivinen and Warmuth 1997)."""
    accumulate: int = 1
    """Batches a step."""
    patience: int = 20
    """Evaluations without a better held-out loss after which training stops; 0: all steps, and the last heads."""


LPIPS: dict[str, Any] = {"loss": "rank", "learning_rate": 1e-4, "dropout": 0.5, "factors": False, "patience": 0}
"""What differs in LPIPS's recipe, which also has 30,000 steps: 10 epochs of 151,400 triplets."""


@dataclass(frozen=True)
class Judged:
    """Q questions about pairs of images, what was answered, and in which fold each is held out."""

    first: Tensor
    """`(Q,)` the row in the pooled features of (reference, a)."""
    second: Tensor
    """The same of (reference, b); where only one pair was judged, that one again."""
    ballots: Ballots
    fold: Tensor
    """`(Q,)` int64; -1: in none."""

    def __len__(self) -> int:
        return len(self.first)


@dataclass(frozen=True)
class Votes:
    """The training data."""

    pooled: Tensor
    """`(P, 2, C)` of `pooled.pooled_differences`: one row a pair of images."""
    comparisons: Judged
    folds: int
    detections: Judged | None = None
    """Same/different answers, `prefer_b` being the share that saw a difference."""
    split: bool = False
    """Fold 0 is for testing only: one fit, which never learns from it; else a further fit learns from all folds."""


class Fit:
    """A training run that can stop after any step and go on bit for bit from `state()`."""

    @one_thread()
    def __init__(self, votes: Votes, initial_heads: Tensor, recipe: Recipe) -> None:
        """`initial_heads`: `(C,)`, all taps in a row. The last fit is the one that is handed out."""
        self.votes, self.recipe = votes, recipe
        self.step = self.stalled = 0
        self.history: list[tuple[int, float]] = []  # step and held-out loss
        self.generator = torch.Generator().manual_seed(recipe.seed)
        fits = 1 if votes.split else votes.folds + 1
        start = initial_heads
        if recipe.factors:
            start = start.clamp(min=max(LEAST * float(start.mean()), 1e-9)).log()
        self.weights = nn.Parameter(start.repeat(fits, 1))  # (F, C)
        self.parts = [votes.comparisons, *([votes.detections] if votes.detections else [])]
        self.losses: list[Loss] = [make_loss(recipe.loss, fits, votes.comparisons.ballots, self.generator)]
        if votes.detections:
            self.losses.append(DetectionLoss(fits, votes.detections.ballots))
        rows = torch.arange(fits)[:, None]
        self.held = [part.fold[None, :] == rows for part in self.parts]  # (F, Q)
        self.learns = [(~held).float() for held in self.held]
        means = (votes.pooled[:, 0] @ initial_heads).expand(fits, -1)
        for part, loss, learns in zip(self.parts, self.losses, self.learns, strict=True):
            loss.start(means[:, part.first], means[:, part.second], part.ballots, learns)
        groups: list[dict[str, Any]] = [{"params": [self.weights], "rate": 1.0}]
        groups += [
            {"params": list(loss.parameters()), "rate": 1.0 if recipe.factors else loss.rate} for loss in self.losses
        ]
        self.optimiser = torch.optim.Adam(groups, lr=recipe.learning_rate, betas=BETAS, fused=True)
        self.every = max(1, recipe.steps // EVALUATIONS)
        self.best: dict[str, Any] = {"step": 0, "loss": math.inf, "heads": initial_heads.repeat(fits, 1)}
        self._order = torch.empty(0, dtype=torch.int64)
        self.evaluate()

    @property
    def heads(self) -> Tensor:
        """The heads `(F, C)` of now."""
        return self.weights.exp() if self.recipe.factors else self.weights

    @property
    def finished(self) -> bool:
        """Whether all steps are done, or the held-out votes' likelihood has stopped to rise."""
        patience = self.recipe.patience
        return self.step >= self.recipe.steps or 0 < patience <= self.stalled

    @property
    def chosen(self) -> Tensor:
        """The heads `(F, C)` of the best evaluation so far; with patience 0, or nothing held out, those of now."""
        return self.best["heads"] if self.recipe.patience and self.history else self.heads.detach()

    @one_thread()
    def run(self, steps: int) -> float:
        """Train up to `steps` more steps; returns the mean loss of the last fit over them.

        Raises InputError where the loss or a weight is no longer a finite number.
        """
        losses: list[Tensor] = []
        while len(losses) < steps and not self.finished:
            losses.append(self._step())
            if self.step % self.every == 0 or self.step == self.recipe.steps:
                self._check(losses)
                self.evaluate()
        self._check(losses)
        return float(torch.stack(losses).mean()) if losses else math.nan

    def _step(self) -> Tensor:
        """One optimiser step; returns the last fit's loss."""
        self._set_rate()
        total = torch.zeros(())
        self.optimiser.zero_grad()
        for batch in self._batches(self.recipe.accumulate):
            loss = self._loss(batch) / self.recipe.accumulate
            loss.sum().backward()
            total = total + loss.detach()[-1]
        self.optimiser.step()
        with torch.no_grad():
            if not self.recipe.factors:
                self.weights.clamp_(min=0)
        self.step += 1
        return total

    @one_thread()
    @torch.no_grad()
    def evaluate(self) -> None:
        """Measure the held-out votes' loss, and keep the heads where it is the least so far."""
        if not any(held.any() for held in self.held):
            return
        means = self.heads @ self.votes.pooled[:, 0].T  # (F, P)
        total, questions = 0.0, 0
        for part, loss, held in zip(self.parts, self.losses, self.held, strict=True):
            each = loss.eval()(means[:, part.first], means[:, part.second], part.ballots, held.float())
            loss.train()
            total += float((each * held.sum(dim=1)).sum())
            questions += int(held.sum())
        value = total / questions
        self.history.append((self.step, value))
        self.stalled += 1
        if value < self.best["loss"]:
            self.stalled = 0
            self.best = {"step": self.step, "loss": value, "heads": self.heads.detach().clone()}

    def measured(self) -> dict[str, float]:
        """What the last fit's loss has learned: lapse, slope, ... by name."""
        return {name: value for loss in self.losses for name, value in loss.measured().items()}

    def state(self) -> dict[str, Any]:
        """Everything that the rest of the run depends on: tensors and plain values."""
        return {
            "step": self.step,
            "stalled": self.stalled,
            "history": list(self.history),
            "best": dict(self.best),
            "weights": self.weights.detach().clone(),
            "losses": [loss.state_dict() for loss in self.losses],
            "optimiser": self.optimiser.state_dict(),
            "generator": self.generator.get_state(),
            "order": self._order,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to where `state()` was taken."""
        self.step, self.stalled, self.best = state["step"], state["stalled"], dict(state["best"])
        self.history = [(step, loss) for step, loss in state["history"]]
        with torch.no_grad():
            self.weights.copy_(state["weights"])
        for loss, kept in zip(self.losses, state["losses"], strict=True):
            loss.load_state_dict(kept)
        self.optimiser.load_state_dict(state["optimiser"])
        self.generator.set_state(state["generator"])
        self._order = state["order"]

    def _set_rate(self) -> None:
        rate = self.recipe.learning_rate * DECAY[self.step * len(DECAY) // self.recipe.steps]
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["rate"]

    def _batches(self, count: int) -> Iterator[Tensor]:
        """Batches of question numbers, of all parts together; every epoch is a new order of all of them."""
        for _ in range(count):
            if not len(self._order):
                self._order = torch.randperm(sum(map(len, self.parts)), generator=self.generator)
            batch, self._order = self._order[: self.recipe.batch], self._order[self.recipe.batch :]
            yield batch

    def _loss(self, batch: Tensor) -> Tensor:
        """The loss `(F,)` of each fit: the mean over the batch's votes."""
        if len(self.parts) == 1:
            return self._loss_of(0, batch)
        comparisons = len(self.votes.comparisons)
        shares = [batch[batch < comparisons], batch[batch >= comparisons] - comparisons]
        weights = [loss.votes * len(share) for loss, share in zip(self.losses, shares, strict=True)]
        parts = [self._loss_of(k, share) * weights[k] for k, share in enumerate(shares) if len(share)]
        return torch.stack(parts).sum(dim=0) / sum(weights)

    def _loss_of(self, which: int, index: Tensor) -> Tensor:
        part, learns = self.parts[which], self.learns[which].index_select(1, index)
        rows = torch.cat([part.first.index_select(0, index), part.second.index_select(0, index)])
        return self.losses[which](*self._distances(rows).chunk(2, dim=1), part.ballots.rows(index), learns)

    def _distances(self, rows: Tensor) -> Tensor:
        """Distances `(F, B)` of pooled rows `(B,)`, with dropout's noise matched in mean and variance."""
        mean, scale = self.votes.pooled.index_select(0, rows).unbind(dim=1)
        if not self.recipe.dropout:
            return self.heads @ mean.T
        odds = self.recipe.dropout / (1 - self.recipe.dropout)
        noise = random_bytes(mean.shape, self.generator) * (odds**0.5 / UNIFORM)
        return (self.heads @ torch.addcmul(mean, scale, noise).T).clamp(min=0)

    def _check(self, losses: list[Tensor]) -> None:
        weights = [self.weights, *(weight for loss in self.losses for weight in loss.parameters())]
        finite = all(bool(weight.isfinite().all()) for weight in weights)
        if not finite or (losses and not torch.stack(losses).isfinite().all()):
            raise InputError(
                f"by step {self.step:,} the loss or a weight is not a finite number;"
                f" try a --learning-rate smaller than {self.recipe.learning_rate:g}"
            )


def random_bytes(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Noise of mean 0 and standard deviation UNIFORM; summed over a thousand channels it is as normal as any.

    Eight numbers come from 64 random bits, seven times faster than normal ones.
    """
    count = math.prod(shape)
    bits = torch.randint(-(2**63), 2**63 - 1, (-(-count // 8),), generator=generator)
    return bits.view(torch.int8)[:count].view(shape).float().add_(0.5)


def held_out_distances(fit: Fit, judged: Judged) -> tuple[Tensor, Tensor]:
    """Distances `(Q,)` of both pairs of each question by the heads that did not learn from it; NaN where all did.

    A fold's heads and slope are free together, so each fold's distances are brought to the scale of the final heads:
    the same median over all pairs. What is calibrated on them then holds for the final heads.
    """
    medians = (fit.chosen @ fit.votes.pooled[:, 0].T).median(dim=1).values  # (F,)
    scale = torch.where(medians > 0, medians[-1] / medians, 1.0)
    heads = (fit.chosen * scale[:, None])[judged.fold.clamp(min=0)]  # (Q, C)
    never = torch.where(judged.fold < 0, torch.nan, 0.0)
    first, second = ((heads * fit.votes.pooled[side, 0]).sum(dim=1) + never for side in (judged.first, judged.second))
    return first, second
