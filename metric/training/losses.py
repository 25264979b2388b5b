"""Losses of votes, given the distances of a and b from their reference; F fits at once, or one.

`RankLoss` is LPIPS's: binary cross-entropy of the mean vote against a small network of both distances.

`BinomialLoss` is the likelihood of the counted votes through a calibrated psychometric function:

    P(b) = lapse / 2 + (1 - lapse) sigmoid(slope (g(d_a) - g(d_b))),   g: see `analysis.psychometric`

so a comparison with 9 votes weighs nine times as much as one with 1, and a few careless answers do not outweigh all
others (Wichmann and Hill 2001). `DetectionLoss` is that of same/different answers. Their parameters are learned along.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from analysis.psychometric import LAPSE_PRIOR, LAPSES, POWERS, SLOPE_PRIOR, fit_preference
from metric.network.preference import yeo_johnson
from metric.training.ballots import Ballots

LOSSES = ("binomial", "rank")
HIDDEN = 32
FLOOR = 1e-3  # of a distance in units of the threshold: keeps the logarithm's slope finite at 0
STEADY = (-1.0, 3.0)  # powers from which a training may start; distances will change
LEAST_SLOPE = 0.1  # of a start: where the first distances say nothing of the votes, training must still move
ENOUGH = 5000  # comparisons that give a start


class Loss(nn.Module):
    """Mean loss `(F,)` of F fits, each learning from the comparisons that its row of `learns` marks."""

    rate: float = 1.0
    """The loss's own parameters learn this many times as fast as the heads."""
    votes: float = 1.0
    """Mean number of votes on a question of the training data; the loss is a mean per vote."""

    def forward(self, distance_a: Tensor, distance_b: Tensor, ballots: Ballots, learns: Tensor | None = None) -> Tensor:
        """Loss `(F,)`, never NaN for finite distances >= 0, of distances `(F, B)` and B ballots.

        `learns`: `(F, B)` of 0 and 1, or None for all ones; a row of zeros gives the loss 0.
        """
        raise NotImplementedError

    def start(self, distance_a: Tensor, distance_b: Tensor, ballots: Ballots, learns: Tensor | None = None) -> None:
        """Set the loss's own parameters to a useful start for these untrained distances `(F, B)`."""

    @torch.no_grad()
    def measured(self) -> dict[str, float]:
        """The parameters of the last fit that a person would want to see, by name."""
        return {}


class Rank(nn.Module):
    """LPIPS's rank network, one for each of F fits: `[d0, d1, d0-d1, d0/(d1+.1), d1/(d0+.1)]` to a logit for b."""

    def __init__(self, fits: int, generator: torch.Generator) -> None:
        super().__init__()
        sizes = [(5, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, 1)]
        bounds = [inputs**-0.5 for inputs, _ in sizes]  # torch's own initialisation of a 1x1 convolution
        self.weights = nn.ParameterList(
            nn.Parameter(((torch.rand(size, generator=generator) * 2 - 1) * bound).repeat(fits, 1, 1))
            for size, bound in zip(sizes, bounds, strict=True)
        )
        self.biases = nn.ParameterList(
            nn.Parameter(((torch.rand(1, size[1], generator=generator) * 2 - 1) * bound).repeat(fits, 1, 1))
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


class RankLoss(Loss):
    """LPIPS's loss (Zhang et al. 2018): of the mean vote, however many there were; a mean over comparisons."""

    def __init__(self, fits: int, ballots: Ballots, generator: torch.Generator) -> None:
        super().__init__()
        self.votes = float(ballots.count.sum()) / len(ballots)
        self.rank = Rank(fits, generator)

    def forward(self, distance_a: Tensor, distance_b: Tensor, ballots: Ballots, learns: Tensor | None = None) -> Tensor:
        """Binary cross-entropy `(F,)`; see `Loss.forward`."""
        share = ballots.share().expand_as(distance_a)
        loss = functional.binary_cross_entropy_with_logits(self.rank(distance_a, distance_b), share, reduction="none")
        return loss.mean(dim=1) if learns is None else (loss * learns).sum(dim=1) / learns.sum(dim=1).clamp(min=1)


class BinomialLoss(Loss):
    """Minus the log-likelihood of the votes, in nats a vote, through the link of `analysis.psychometric`.

    The loss of a batch is divided by the mean count of the data's comparisons rather than by the batch's own, which
    would bias the gradient where counts are uneven.
    """

    rate = 30.0
    centre: Tensor
    spread: Tensor

    def __init__(self, fits: int, ballots: Ballots) -> None:
        """`ballots`: of all the training data; they give the mean count of votes and the weight of the priors."""
        super().__init__()
        self.total = float(ballots.count.sum())
        self.votes = self.total / len(ballots)
        self.log_slope = nn.Parameter(torch.zeros(fits))
        self.power = nn.Parameter(torch.ones(fits))
        self.lapse_logit = nn.Parameter(torch.full((fits,), _logit(0.02)))
        self.register_buffer("centre", torch.zeros(fits))
        self.register_buffer("spread", torch.ones(fits))

    def forward(self, distance_a: Tensor, distance_b: Tensor, ballots: Ballots, learns: Tensor | None = None) -> Tensor:
        """Negative log-likelihood a vote `(F,)`; see `Loss.forward`."""
        p, q = self.probabilities(distance_a, distance_b, ballots.attention)  # (F, B, M)
        for_b = ballots.count * ballots.prefer_b
        loss = -(for_b * p.log() + (ballots.count - for_b) * q.log()).sum(dim=2) / self.votes  # (F, B)
        mean = loss.mean(dim=1) if learns is None else (loss * learns).sum(dim=1) / learns.sum(dim=1).clamp(min=1)
        return mean + self._priors() if self.training else mean

    def probabilities(self, distance_a: Tensor, distance_b: Tensor, attention: Tensor) -> tuple[Tensor, Tensor]:
        """Chances `(F, B, M)`, never 0, that an observer of `attention` `(B, M)` chooses b, and that one chooses a."""
        g_a, g_b = self._transformed(torch.stack([distance_a, distance_b]))
        evidence = (self.log_slope.exp()[:, None] * (g_a - g_b))[..., None]
        lapse = 1 - attention * (1 - _lapse(self.lapse_logit)[:, None, None])
        return lapse / 2 + (1 - lapse) * evidence.sigmoid(), lapse / 2 + (1 - lapse) * (-evidence).sigmoid()

    @torch.no_grad()
    def start(self, distance_a: Tensor, distance_b: Tensor, ballots: Ballots, learns: Tensor | None = None) -> None:
        """Take the link that `analysis.psychometric.fit_preference` fits to these distances, each fit its own."""
        votes = ballots.count.sum(dim=1).double()
        chose = ballots.share().double() * votes
        for fit in range(len(distance_a)):
            here = torch.ones_like(votes, dtype=torch.bool) if learns is None else learns[fit] > 0
            if not here.any():
                continue
            index = here.nonzero()[:, 0]
            index = index[:: -(-len(index) // ENOUGH)]
            a, b = (d[fit, index].double().cpu().numpy() for d in (distance_a, distance_b))
            link = fit_preference(a, b, *(part[index].cpu().numpy() for part in (chose, votes)))
            self.centre[fit], self.spread[fit] = link.centre, link.spread
            self.power[fit] = min(max(link.power, STEADY[0]), STEADY[1])
            self.log_slope[fit] = math.log(max(link.slope, LEAST_SLOPE))
            self.lapse_logit[fit] = _logit(min(max(link.lapse, 0.01), 0.2))

    @torch.no_grad()
    def measured(self) -> dict[str, float]:
        """lapse, slope and power of the last fit."""
        return {
            "lapse": float(_lapse(self.lapse_logit[-1])),
            "slope": float(self.log_slope[-1].exp()),
            "power": float(self.power[-1]),
        }

    def _transformed(self, distance: Tensor) -> Tensor:
        """Yeo and Johnson's transform of distances `(..., F, B)`, with a finite slope everywhere."""
        z = (distance - self.centre[:, None]) / self.spread[:, None]
        return yeo_johnson(z, self.power.clamp(*POWERS)[:, None])

    def _priors(self) -> Tensor:
        """Minus the log prior density `(F,)` of slope and lapse, without constants, shared by all votes."""
        slope = torch.log1p((self.log_slope.exp() / SLOPE_PRIOR) ** 2)
        return (slope - (LAPSE_PRIOR - 1) * torch.log1p(-_lapse(self.lapse_logit))) / self.total


class DetectionLoss(Loss):
    """Minus the log-likelihood of same/different answers, in nats an answer.

    P(different) = lapse / 2 + (1 - lapse) sigmoid(slope (log d - log threshold)), one half at the threshold, 1 JND.
    """

    rate = 30.0

    def __init__(self, fits: int, ballots: Ballots) -> None:
        """`ballots`: of all same/different answers, the share that saw a difference as `prefer_b`."""
        super().__init__()
        self.votes = float(ballots.count.sum()) / max(len(ballots), 1)
        self.total = float(ballots.count.sum())
        self.log_threshold = nn.Parameter(torch.zeros(fits))
        self.log_slope = nn.Parameter(torch.zeros(fits))
        self.lapse_logit = nn.Parameter(torch.full((fits,), _logit(0.04)))

    def forward(self, distance_a: Tensor, distance_b: Tensor, ballots: Ballots, learns: Tensor | None = None) -> Tensor:
        """Negative log-likelihood an answer `(F,)` of the first distances `(F, B)`; the second ones are not read."""
        threshold = self.log_threshold.exp()[:, None]
        # log(x + FLOOR): finite, with a finite slope, for identical images
        evidence = self.log_slope.exp()[:, None] * torch.log(distance_a / threshold + FLOOR)
        lapse = _lapse(self.lapse_logit)[:, None]
        p, q = (lapse / 2 + (1 - lapse) * side.sigmoid() for side in (evidence, -evidence))
        share, count = ballots.share(), ballots.count.sum(dim=1)
        loss = -count * (share * p.log() + (1 - share) * q.log()) / self.votes
        mean = loss.mean(dim=1) if learns is None else (loss * learns).sum(dim=1) / learns.sum(dim=1).clamp(min=1)
        return mean - (LAPSE_PRIOR - 1) * torch.log1p(-lapse[:, 0]) / self.total if self.training else mean

    @torch.no_grad()
    def start(self, distance_a: Tensor, distance_b: Tensor, ballots: Ballots, learns: Tensor | None = None) -> None:
        """Put the threshold at the median distance of the pairs that a fit learns from."""
        chosen = torch.ones_like(distance_a) if learns is None else learns
        median = torch.where(chosen > 0, distance_a, torch.nan).nanmedian(dim=1).values
        self.log_threshold.copy_(median.clamp(min=1e-12).log().nan_to_num(0.0))

    @torch.no_grad()
    def measured(self) -> dict[str, float]:
        """The threshold (the distance of 1 JND), slope and lapse of the last fit."""
        return {
            "jnd": float(self.log_threshold[-1].exp()),
            "jnd_slope": float(self.log_slope[-1].exp()),
            "jnd_lapse": float(_lapse(self.lapse_logit[-1])),
        }


def make_loss(name: str, fits: int, ballots: Ballots, generator: torch.Generator) -> Loss:
    """The loss called `name` (LOSSES), of `fits` fits of these training ballots."""
    return RankLoss(fits, ballots, generator) if name == "rank" else BinomialLoss(fits, ballots)


def _lapse(logit: Tensor) -> Tensor:
    return LAPSES[0] + (LAPSES[1] - LAPSES[0]) * logit.sigmoid()


def _logit(lapse: float) -> float:
    share = (lapse - LAPSES[0]) / (LAPSES[1] - LAPSES[0])
    return math.log(share / (1 - share))
