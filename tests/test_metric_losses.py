"""The losses: known values, a numpy twin, gradients everywhere, votes by their number, observers by trust."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import spearmanr

from analysis.dawid_skene import reliabilities
from analysis.psychometric import Preference
from metric.data.judgments import ANSWERS, COMPARISONS, Data
from metric.training.ballots import Ballots, attention_of, ballots_of, counted
from metric.training.fit import Fit, Judged, Recipe, Votes
from metric.training.losses import BinomialLoss, DetectionLoss, make_loss
from study.errors import InputError


def random_ballots(questions=12, seed=0) -> Ballots:
    random = np.random.default_rng(seed)
    votes = random.integers(1, 10, questions)
    return counted(random.binomial(votes, 0.4), votes)


def random_distances(fits=3, questions=12, seed=1) -> torch.Tensor:
    return torch.rand(2, fits, questions, generator=torch.Generator().manual_seed(seed))


def judged(prefer_b, votes, **tables) -> Data:
    rows = pd.DataFrame({"id": [f"t{k}" for k in range(len(votes))], "prefer_b": prefer_b, "votes": votes})
    return Data("study", Path("."), "", "human", lambda key: None, rows.reindex(columns=COMPARISONS), **tables)


def test_binomial_loss_is_the_likelihood_of_the_numpy_link():
    """The same number as `analysis.psychometric.Preference` gives for each power, an own one a fit."""
    ballots, (a, b) = random_ballots(), random_distances()
    loss = BinomialLoss(3, ballots).eval()
    with torch.no_grad():
        loss.centre.copy_(torch.tensor([0.3, 0.5, 0.6]))
        loss.spread.copy_(torch.tensor([0.1, 0.3, 0.2]))
        loss.power.copy_(torch.tensor([-0.7, 1.0, 2.0]))  # 2 and 0 are where the transform is a logarithm
        loss.log_slope.copy_(torch.tensor([0.1, 0.7, 1.2]))
        loss.lapse_logit.copy_(torch.tensor([-1.0, 0.0, 1.0]))
    found, slope = loss(a, b, ballots).detach(), loss.log_slope.detach().exp()
    k, n = (ballots.prefer_b * ballots.count).double().numpy()[:, 0], ballots.count.double().numpy()[:, 0]
    for fit in range(3):
        parameters = [float(part[fit]) for part in (loss.centre, loss.spread, loss.power.detach(), slope)]
        lapse = 1e-4 + (0.49 - 1e-4) / (1 + np.exp(-float(loss.lapse_logit[fit].detach())))
        p = Preference(*parameters, lapse, 0.0, 0.0).probability(a[fit].numpy(), b[fit].numpy())
        assert found[fit].item() == pytest.approx(-(k * np.log(p) + (n - k) * np.log1p(-p)).sum() / n.sum(), rel=1e-5)


def test_a_comparison_weighs_as_many_votes_as_it_has():
    """Defect 8 of lpips 0.1.4, votes as a mean: one row of 9 votes pulls as nine rows of 1, and nine times as far."""
    (a, b), alone = random_distances(1, 2), torch.tensor([[1.0, 0.0]])
    gradients = {}
    for name, votes in (("nine", [9, 1]), ("one", [1, 1])):
        ballots = counted(np.array(votes), np.array(votes))
        loss = BinomialLoss(1, ballots)
        d = a.clone().requires_grad_()
        (loss(d, b, ballots, alone) * loss.votes).backward()
        gradients[name] = d.grad[0, 0].item()
    assert gradients["nine"] == pytest.approx(9 * gradients["one"], rel=1e-4)
    nine = counted(np.ones(9), np.ones(9))
    loss = BinomialLoss(1, nine).eval()
    same = loss(a[:, :1].expand(1, 9), b[:, :1].expand(1, 9), nine).item() * 9
    ballots = counted(np.array([9.0]), np.array([9.0]))
    once = BinomialLoss(1, ballots).eval()(a[:, :1], b[:, :1], ballots).item() * 9
    assert same == pytest.approx(once, rel=1e-5)


@pytest.mark.parametrize("name", ["binomial", "rank"])
@pytest.mark.parametrize("distances", [(0.0, 0.0), (0.0, 3.0), (0.4, 0.4), (1e6, 0.0), (1e-30, 0.0)])
def test_gradients_are_finite_everywhere(name, distances):
    """Identical images, equal distances, enormous ones, and observers who toss coins."""
    ballots = Ballots(
        *(torch.tensor(x) for x in ([[1.0, 0.0], [0.5, 1.0]], [[9.0, 1.0], [1.0, 0.0]], [[1.0, 0.0]] * 2))
    )
    loss = make_loss(name, 2, ballots, torch.Generator().manual_seed(1))
    if name == "binomial":
        with torch.no_grad():
            loss.power.copy_(torch.tensor([2.0, -3.0]))
    a, b = (torch.full((2, 2), d, requires_grad=True) for d in distances)
    value = loss(a, b, ballots)
    value.sum().backward()
    assert torch.isfinite(value).all()
    assert all(torch.isfinite(x.grad).all() for x in (a, b, *loss.parameters()))


def test_a_fit_learns_only_from_its_comparisons():
    ballots, (a, b) = random_ballots(), random_distances()
    learns = (torch.arange(12)[None] % 3 != torch.arange(3)[:, None]).float()
    for name in ("binomial", "rank"):
        loss = make_loss(name, 3, ballots, torch.Generator().manual_seed(1))
        d = a.clone().requires_grad_()
        loss(d, b, ballots, learns).sum().backward()
        assert ((d.grad != 0) == (learns > 0)).all()
        assert torch.isfinite(loss(a, b, ballots, torch.zeros_like(learns))).all()


def test_not_sure_is_half_a_vote_for_each():
    """5.5 of 10 votes: the loss is the mean of those of 5 and of 6 votes."""
    a, b = random_distances(1, 1)
    values = []
    for chose in (5.0, 5.5, 6.0):
        ballots = counted(np.array([chose]), np.array([10.0]))
        values.append(BinomialLoss(1, ballots)(a, b, ballots).item())
    assert values[1] == pytest.approx((values[0] + values[2]) / 2, rel=1e-6)


def test_start_is_the_best_link_of_these_distances():
    """After `start`, the loss is within 1 % of the best that 800 steps of Adam find from there."""
    random = np.random.default_rng(0)
    a, b = random.gamma(2, 0.05, (2, 1, 800))
    votes = np.full(800, 4)
    p = 0.03 + 0.94 / (1 + np.exp(-4 * (np.log(a[0]) - np.log(b[0]))))
    ballots = counted(random.binomial(votes, p), votes)
    a, b = (torch.tensor(d, dtype=torch.float32) for d in (a, b))
    loss = BinomialLoss(1, ballots)
    before = loss(a, b, ballots).item()
    loss.start(a, b, ballots)
    started = loss(a, b, ballots).item()
    optimiser = torch.optim.Adam(loss.parameters(), lr=0.02)
    for _ in range(800):
        optimiser.zero_grad()
        best = loss(a, b, ballots)
        best.sum().backward()
        optimiser.step()
    assert best.item() <= started < 1.01 * best.item() < before


def test_attention_pulls_an_observer_to_one_half():
    """p_c = 1/2 + c (p - 1/2), and one who tosses coins says nothing."""
    ballots, (a, b) = random_ballots(), random_distances()
    loss = BinomialLoss(3, ballots)
    typical = loss.probabilities(a, b, torch.ones(12, 1))[0]
    half = loss.probabilities(a, b, torch.full((12, 1), 0.5))[0]
    coin = loss.probabilities(a, b, torch.zeros(12, 1))[0]
    assert torch.allclose(half - 0.5, (typical - 0.5) / 2, atol=1e-6)
    assert torch.allclose(coin, torch.full_like(coin, 0.5))


def test_detection_loss_learns_the_threshold():
    """Answers simulated with a threshold of .2 are fitted with it, to 5 %."""
    random = np.random.default_rng(0)
    d = random.gamma(2, 0.1, 2000)
    p = 0.02 + 0.96 / (1 + (0.2 / d) ** 5)
    ballots = counted(random.binomial(5, p), np.full(2000, 5))
    distance = torch.tensor(d, dtype=torch.float32)[None]
    loss = DetectionLoss(1, ballots)
    loss.start(distance, distance, ballots)
    optimiser = torch.optim.Adam(loss.parameters(), lr=0.05)
    for _ in range(300):
        optimiser.zero_grad()
        loss(distance, distance, ballots).sum().backward()
        optimiser.step()
    assert loss.measured()["jnd"] == pytest.approx(0.2, rel=0.05)
    assert loss.measured()["jnd_slope"] == pytest.approx(5, rel=0.15)
    zero = torch.zeros(1, 2000, requires_grad=True)
    loss(zero, zero, ballots).sum().backward()
    assert torch.isfinite(zero.grad).all()


def test_alike_observers_are_all_trusted():
    """Reliabilities that differ only by chance (20 votes each) give attention 1; coin tossers among them get less."""
    random = np.random.default_rng(0)
    votes = pd.Series(np.repeat([f"o{k}" for k in range(60)], 20))
    alike = pd.Series(random.binomial(20, 0.85, 60) / 20, index=[f"o{k}" for k in range(60)])
    assert attention_of(alike, votes).mean() > 0.97
    mixed = alike.copy()
    mixed.iloc[:20] = random.binomial(20, 0.5, 20) / 20
    attention = attention_of(mixed, votes)
    assert attention.iloc[:20].mean() < 0.4
    assert attention.reindex(mixed.index[20:]).mean() > 0.9


def test_ballots_by_hand():
    """Answers of equally attentive observers share a column; without answers the counts stand."""
    answers = pd.DataFrame(
        [("t0", "good", 1.0), ("t0", "fine", 0.5), ("t0", "coin", 0.0), ("elsewhere", "good", 1.0)], columns=ANSWERS
    )
    data = judged([1.5, 2.0], [3, 4], answers=answers, reliability=pd.Series({"good": 0.9, "fine": 0.9, "coin": 0.5}))
    many = pd.concat([answers, *[answers.assign(comparison=f"x{k}") for k in range(200)]])
    ballots = ballots_of(replace(data, answers=many))
    assert ballots.count.tolist() == [[1, 2], [4, 0]]
    assert ballots.prefer_b.tolist() == [[0, 0.75], [0.5, 0]]
    assert ballots.attention.tolist() == [[0, 1], [1, 1]]
    plain = ballots_of(data, reliability=False)
    assert plain.prefer_b.flatten().tolist() == [0.5, 0.5]
    assert plain.share().tolist() == [0.5, 0.5]


@pytest.mark.parametrize(("prefer_b", "votes"), [(np.nan, 3), (4, 3), (-1, 3), (0, 0), (1, np.nan)])
def test_impossible_votes_are_named(prefer_b, votes):
    with pytest.raises(InputError, match="study: comparison t1: prefer_b .* of votes .*; expected 1 vote or more"):
        ballots_of(judged([1, prefer_b], [2, votes]))


def simulated(seed: int, comparisons: int = 400, channels: int = 40):
    """Pooled features, hidden heads on three of the channels, and the distances of comparisons by them."""
    random = np.random.default_rng(seed)
    pooled = torch.tensor(random.gamma(0.5, 1, (2 * comparisons, 2, channels)), dtype=torch.float32)
    hidden = np.zeros(channels)
    hidden[random.choice(channels, 3, replace=False)] = random.lognormal(0, 0.5, 3)
    distance = pooled[:, 0].double().numpy() @ hidden
    return random, pooled, distance


def recovered(pooled: torch.Tensor, distance: np.ndarray, ballots: Ballots, **recipe) -> float:
    """Spearman's correlation with the hidden distances, on pairs that nothing was asked about."""
    asked = len(ballots)
    rows = torch.arange(asked)
    fit = Fit(Votes(pooled, Judged(rows, rows + asked, ballots, rows % 3), 3), torch.full((pooled.shape[2],), 0.05),
              Recipe(400, 0.03, 50, **recipe))  # fmt: skip
    fit.run(400)
    found = (pooled[2 * asked :, 0] @ fit.chosen[-1]).numpy()
    return float(spearmanr(found, distance[2 * asked :]).statistic)


def chance(distance: np.ndarray, asked: int) -> np.ndarray:
    return 0.02 + 0.96 / (1 + np.exp(-2 * (np.log(distance[:asked]) - np.log(distance[asked : 2 * asked]))))


def test_hidden_heads_are_recovered():
    """Uniform heads correlate below .9 with the hidden ones; votes close nine tenths of what is missing to 1."""
    random, pooled, distance = simulated(0, 800)
    votes = np.full(600, 5)
    ballots = counted(random.binomial(votes, chance(distance, 600)), votes)
    uniform = spearmanr(pooled[1200:, 0].sum(dim=1), distance[1200:]).statistic
    found = recovered(pooled, distance, ballots)
    assert uniform < 0.9
    assert (found - uniform) / (1 - uniform) > 0.9


def test_reliability_helps_against_coin_tossers_and_costs_nothing():
    """Three of 30 observers answer each comparison; a third of the 30 toss coins, or none."""
    gains = {}
    for coins in (0, 10):
        gains[coins] = []
        for seed in range(3):
            random, pooled, distance = simulated(seed)
            who = np.argsort(random.random((300, 30)), axis=1)[:, :3]
            chose = random.random((300, 3)) < np.where(who < coins, 0.5, chance(distance, 300)[:, None])
            names = np.repeat([f"t{k}" for k in range(300)], 3)
            answers = pd.DataFrame({"comparison": names, "observer": who.ravel(), "prefer_b": chose.ravel() * 1.0})
            reliable = pd.Series(reliabilities(who.ravel(), np.repeat(np.arange(300), 3), chose.ravel()))
            data = judged(chose.sum(axis=1), np.full(300, 3), answers=answers, reliability=reliable)
            found = [recovered(pooled, distance, ballots_of(data, use)) for use in (True, False)]
            gains[coins].append(found[0] - found[1])
    assert np.mean(gains[10]) > 0.01
    assert abs(np.mean(gains[0])) < 0.005


def test_where_most_toss_coins_all_count_the_same():
    who = pd.Series(list("aabbcc"))
    assert attention_of(pd.Series({"a": 0.5, "b": 0.5, "c": 0.5}), who).tolist() == [1, 1, 1]
