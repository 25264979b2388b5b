"""Fit the heads to votes: LPIPS's recipe on pooled features, every cross-validation fold in one run.

All folds, and the final heads on all votes, are trained in lockstep as one more dimension F: the same batches and the
same dropout noise, with a fold's held-out triplets left out of its loss. Adam works number by number, so no fold
learns from another.

Recipe (richzhang/PerceptualSimilarity): binary cross-entropy of the mean vote against a small network of both
distances, trained jointly; Adam, betas (.5, .999), batch 50; weights clamped to >= 0 after each step; dropout .5 on the
difference; the learning rate is constant for six tenths of the training, then .8, .6, .4 and .2 of it for a tenth each.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

HIDDEN = 32
DECAY = (1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.8, 0.6, 0.4, 0.2)
"""Share of the learning rate in each tenth of the training."""


STATE = ("step", "heads", "rank", "optimiser", "generator", "order")
"""What `Fit.state` holds."""


@dataclass(frozen=True)
class Recipe:
    """How to train. The published recipe is 30,000 steps (10 epochs of 151,400 triplets)."""

    steps: int
    learning_rate: float = 1e-4
    batch: int = 50
    dropout: float = 0.5
    seed: int = 1


@dataclass(frozen=True)
class Votes:
    """The training data: row i of each tensor is triplet i."""

    pooled_a: Tensor
    """`(T, 2, C)` of `pooled.pooled_differences` for (reference, a)."""
    pooled_b: Tensor
    share_b: Tensor
    """`(T,)`: the share of votes for b."""
    fold: Tensor
    """`(T,)` int64: in which fold a triplet is held out."""
    folds: int


class Rank(nn.Module):
    """LPIPS's rank network, one for each of F folds: `[d0, d1, d0-d1, d0/(d1+.1), d1/(d0+.1)]` to a logit for b."""

    def __init__(self, folds: int, generator: torch.Generator) -> None:
        super().__init__()
        sizes = [(5, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, 1)]
        bounds = [inputs**-0.5 for inputs, _ in sizes]  # torch's own initialisation of a 1x1 convolution
        self.weights = nn.ParameterList(
            nn.Parameter(((torch.rand(size, generator=generator) * 2 - 1) * bound).repeat(folds, 1, 1))
            for size, bound in zip(sizes, bounds, strict=True)
        )
        self.biases = nn.ParameterList(
            nn.Parameter(((torch.rand(1, size[1], generator=generator) * 2 - 1) * bound).repeat(folds, 1, 1))
            for size, bound in zip(sizes, bounds, strict=True)
        )

    def forward(self, distance_a: Tensor, distance_b: Tensor) -> Tensor:
        """Logits `(F, B)` that b is chosen, of distances `(F, B)`."""
        ratios = [distance_a / (distance_b + 0.1), distance_b / (distance_a + 0.1)]
        x = torch.stack([distance_a, distance_b, distance_a - distance_b, *ratios], dim=-1)
        for index, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = torch.baddbmm(bias, x, weight)
            x = functional.leaky_relu(x, 0.2) if index < 2 else x
        return x[..., 0]


class Fit:
    """A training run that can stop after any step and go on bit for bit from `state()`."""

    def __init__(self, votes: Votes, initial_heads: Tensor, recipe: Recipe) -> None:
        """`initial_heads`: `(C,)`, all taps in a row."""
        self.votes = votes
        self.recipe = recipe
        self.step = 0
        self.generator = torch.Generator().manual_seed(recipe.seed)
        self.heads = nn.Parameter(initial_heads.repeat(votes.folds + 1, 1))  # (F, C); the last row holds nothing out
        self.rank = Rank(votes.folds + 1, self.generator)
        parameters = [self.heads, *self.rank.parameters()]
        self.optimiser = torch.optim.Adam(parameters, lr=recipe.learning_rate, betas=(0.5, 0.999), foreach=True)
        rows = torch.arange(votes.folds + 1)[:, None]
        self.learns = (votes.fold[None, :] != rows).float()  # (F, T)

    def run(self, steps: int) -> float:
        """Train `steps` more steps; returns the mean loss of the fit on all votes over them."""
        losses = []
        for batch in self._batches(steps):
            rate = self.recipe.learning_rate * DECAY[self.step * len(DECAY) // self.recipe.steps]
            for group in self.optimiser.param_groups:
                group["lr"] = rate
            loss = self._loss(batch)
            self.optimiser.zero_grad()
            loss.sum().backward()
            self.optimiser.step()
            with torch.no_grad():
                self.heads.clamp_(min=0)
            self.step += 1
            losses.append(loss.detach()[-1])
        return float(torch.stack(losses).mean()) if losses else float("nan")

    def state(self) -> dict[str, Any]:
        """Everything that the rest of the run depends on: tensors and plain values."""
        return {
            "step": self.step,
            "heads": self.heads.detach().clone(),
            "rank": self.rank.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "generator": self.generator.get_state(),
            "order": self._order,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to where `state()` was taken."""
        self.step = state["step"]
        with torch.no_grad():
            self.heads.copy_(state["heads"])
        self.rank.load_state_dict(state["rank"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.generator.set_state(state["generator"])
        self._order = state["order"]

    _order: Tensor = torch.empty(0, dtype=torch.int64)

    def _batches(self, steps: int) -> Iterator[Tensor]:
        """Batches of triplet numbers; every epoch is a new order of all of them."""
        for _ in range(min(steps, self.recipe.steps - self.step)):
            if not len(self._order):
                self._order = torch.randperm(len(self.votes.share_b), generator=self.generator)
            batch, self._order = self._order[: self.recipe.batch], self._order[self.recipe.batch :]
            yield batch

    def _loss(self, batch: Tensor) -> Tensor:
        """The loss `(F,)` of each fold."""
        distance_a = self._distances(self.votes.pooled_a[batch])
        distance_b = self._distances(self.votes.pooled_b[batch])
        share = self.votes.share_b[batch].expand_as(distance_a)
        loss = functional.binary_cross_entropy_with_logits(self.rank(distance_a, distance_b), share, reduction="none")
        learns = self.learns[:, batch]
        return (loss * learns).sum(dim=1) / learns.sum(dim=1).clamp(min=1)

    def _distances(self, pooled: Tensor) -> Tensor:
        """Distances `(F, B)` of pooled `(B, 2, C)`, with dropout's noise matched in mean and variance."""
        mean, scale = pooled.unbind(dim=1)
        odds = self.recipe.dropout / (1 - self.recipe.dropout)
        noise = torch.randn(mean.shape, generator=self.generator) * odds**0.5
        return (self.heads @ (mean + scale * noise).T).clamp(min=0)


def held_out_distances(fit: Fit) -> tuple[Tensor, Tensor]:
    """Distances `(T,)` to a and to b, of each triplet by the heads that did not learn from its fold."""
    heads = fit.heads.detach()[fit.votes.fold]  # (T, C)
    return ((heads * fit.votes.pooled_a[:, 0]).sum(dim=1), (heads * fit.votes.pooled_b[:, 0]).sum(dim=1))
