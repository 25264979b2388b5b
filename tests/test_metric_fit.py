"""The fit is LPIPS's recipe on pooled features: the same loss, the same noise, folds apart, resumed bit for bit."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from metric.measures import lpips
from metric.training.ballots import counted
from metric.training.fit import (
    DECAY,
    LPIPS,
    STATE,
    UNIFORM,
    Fit,
    Judged,
    Recipe,
    Votes,
    held_out_distances,
    random_bytes,
)
from metric.training.pooled import pool
from study.errors import InputError


def random_votes(triplets=60, channels=8, folds=3, seed=0, flip=None, **options) -> Votes:
    """Votes for the pair with less in channel 0, one or two each; those of fold `flip` are turned round."""
    generator = torch.Generator().manual_seed(seed)
    pooled = torch.rand(2 * triplets, 2, channels, generator=generator)
    a, b = torch.arange(2 * triplets).chunk(2)
    fold = torch.arange(triplets) % folds
    count = 1 + torch.arange(triplets) % 2
    for_b = ((pooled[a, 0, 0] > pooled[b, 0, 0]) ^ (fold == flip if flip is not None else False)).float()
    return Votes(pooled, Judged(a, b, counted(for_b.numpy() * count.numpy(), count.numpy()), fold), folds, **options)


def judging(pooled: torch.Tensor) -> Votes:
    """One vote on each pair of rows of `pooled`, which is held out."""
    rows = torch.arange(len(pooled))
    return Votes(pooled, Judged(rows, rows, counted(rows * 0, rows * 0 + 1), rows * 0), 1)


def test_pooled_features_are_the_distance():
    """d = w . pooled, to float precision, so nothing is lost by not keeping the images."""
    metric = lpips("alex")
    x, y = torch.rand(2, 2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    pooled = pool(metric.features(x), metric.features(y))
    assert torch.allclose(pooled[:, 0] @ torch.cat(list(metric.heads)), metric(x, y), rtol=1e-5)


def test_dropout_noise_has_the_moments_of_dropout_on_the_maps():
    """20,000 real dropouts of the squared differences of a 4 x 4 map, against mean and scale."""
    torch.manual_seed(0)
    f0, f1 = torch.rand(2, 1, 3, 4, 4)
    pooled = pool([f0], [f1])[0]
    dropped = functional.dropout(((f0 - f1) ** 2).expand(20_000, -1, -1, -1), 0.5).mean(dim=(2, 3))
    assert torch.allclose(dropped.mean(dim=0), pooled[0], rtol=0.02)
    assert torch.allclose(dropped.std(dim=0), pooled[1], rtol=0.03)  # p / (1 - p) = 1


def test_the_trainer_draws_dropout_of_those_moments():
    """Distances of 20,000 draws of one triplet, against dropout on the maps of a 4 x 4 difference."""
    torch.manual_seed(0)
    f0, f1 = torch.rand(2, 1, 8, 4, 4)
    pooled = pool([f0], [f1])
    heads = torch.rand(8)
    dropped = functional.dropout(((f0 - f1) ** 2).expand(20_000, -1, -1, -1), 0.5).mean(dim=(2, 3)) @ heads
    drawn = (
        Fit(judging(pooled), heads, Recipe(1, dropout=0.5, factors=False))
        ._distances(torch.zeros(20_000, dtype=torch.int64))
        .detach()[0]
    )
    assert drawn.mean().item() == pytest.approx(dropped.mean().item(), rel=0.01)
    assert drawn.std().item() == pytest.approx(dropped.std().item(), rel=0.03)


def test_noise_is_uniform_and_uncorrelated():
    noise = random_bytes((1000, 801), torch.Generator().manual_seed(1))
    assert noise.mean().item() == pytest.approx(0, abs=0.3)
    assert noise.std().item() == pytest.approx(UNIFORM, rel=0.01)
    assert abs(torch.corrcoef(noise[:, :16].T) - torch.eye(16)).max() < 0.15


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")  # of the package lpips
def test_rank_network_and_loss_are_the_package_s():
    """With the same weights, the same loss and the same gradients as BCERankingLoss, in every fold."""
    from metric.network.torchvision_import import import_torchvision

    import_torchvision()
    import lpips as peer

    votes = random_votes(triplets=12, folds=2)
    fit = Fit(votes, torch.rand(8), Recipe(1, **LPIPS | {"dropout": 0.0}))
    rank = fit.losses[0].rank
    loss = peer.BCERankingLoss()
    layers = [layer for layer in loss.net.model if hasattr(layer, "weight")]
    with torch.no_grad():
        for layer, weight, bias in zip(layers, rank.weights, rank.biases, strict=True):
            layer.weight.copy_(weight[-1].T[:, :, None, None])
            layer.bias.copy_(bias[-1].flatten())
    heads = fit.heads.detach()[-1].clone().requires_grad_()
    given = votes.comparisons
    d0, d1 = ((votes.pooled[side, 0] @ heads).view(-1, 1, 1, 1) for side in (given.first, given.second))
    expected = loss(d0, d1, given.ballots.share().view(-1, 1, 1, 1) * 2 - 1)
    expected.backward()
    mine = fit._loss(torch.arange(12))
    mine.sum().backward()
    assert mine[-1].item() == pytest.approx(expected.item(), rel=1e-5)
    assert torch.allclose(fit.weights.grad[-1], heads.grad, rtol=1e-4, atol=1e-7)
    assert torch.allclose(rank.weights[0].grad[-1], layers[0].weight.grad[:, :, 0, 0].T, rtol=1e-4, atol=1e-7)


def test_recipe_is_the_published_one():
    """LPIPS's: Adam at 1e-4 with betas (.5, .999), batches of 50, dropout .5."""
    fit = Fit(random_votes(), torch.full((8,), 0.1), Recipe(1, **LPIPS))
    for group in fit.optimiser.param_groups:
        assert (group["lr"], group["betas"], group["weight_decay"], group["rate"]) == (1e-4, (0.5, 0.999), 0, 1)
    assert (fit.recipe.batch, fit.recipe.dropout) == (50, 0.5)


@pytest.mark.parametrize("loss", ["binomial", "rank"])
def test_a_fold_does_not_learn_from_its_own_triplets(loss):
    """Other votes on a fold's triplets leave its heads as they were, and change those of the fit on all."""
    recipe = Recipe(50, 0.01, batch=20, loss=loss, patience=0)
    fits = [Fit(votes, torch.full((8,), 0.1), recipe) for votes in (random_votes(), random_votes(flip=1))]
    for fit in fits:
        fit.run(50)
    assert torch.equal(fits[0].heads[1], fits[1].heads[1])
    assert not torch.equal(fits[0].heads[3], fits[1].heads[3])


@pytest.mark.parametrize("loss", ["binomial", "rank"])
def test_lockstep_equals_a_fit_of_its_own(loss):
    """The last row, trained beside three folds, is what training on all votes alone gives."""
    votes = random_votes()
    given = votes.comparisons
    alone = Votes(votes.pooled, Judged(given.first, given.second, given.ballots, given.fold * 0 - 1), 1, split=True)
    recipe = Recipe(60, 0.01, 20, loss=loss, patience=0)
    together = Fit(votes, torch.full((8,), 0.1), recipe)
    together.run(60)
    alone.comparisons.fold[0] = 0  # a split must hold something out ...
    single = Fit(alone, torch.full((8,), 0.1), recipe)
    single.learns[0].fill_(1)  # ... which is learned from all the same
    for name, value in single.losses[0].state_dict().items():
        value.copy_(Fit(votes, torch.full((8,), 0.1), recipe).losses[0].state_dict()[name][-1:])
    single.run(60)
    assert torch.allclose(together.heads[-1], single.heads[0], atol=1e-5)


@pytest.mark.parametrize("factors", [True, False])
def test_heads_stay_non_negative_and_find_the_channel_that_decides(factors):
    fit = Fit(random_votes(triplets=400), torch.full((8,), 0.1), Recipe(1500, 0.01, 50, factors=factors))
    fit.run(1500)
    heads = fit.chosen[-1]
    assert heads.min() >= 0
    assert heads.argmax() == 0
    assert heads[0] > 3 * heads[1:].max()


@pytest.mark.parametrize("loss", ["binomial", "rank"])
def test_resume_is_bit_identical(tmp_path, loss):
    """Defect 5 of lpips 0.1.4, no resume: heads, loss, optimiser, order, noise and early stopping all go on."""
    votes, recipe = random_votes(), Recipe(200, 0.02, 20, dropout=0.5, loss=loss, patience=9)
    whole, first, second = (Fit(votes, torch.full((8,), 0.1), recipe) for _ in range(3))
    whole.run(200)
    first.run(37)
    torch.save(first.state(), tmp_path / "state.pt")
    second.restore(torch.load(tmp_path / "state.pt", weights_only=True))
    second.run(200)
    assert set(first.state()) == set(STATE)
    assert (second.step, second.history, second.best["step"]) == (whole.step, whole.history, whole.best["step"])
    assert torch.equal(whole.heads, second.heads)
    assert torch.equal(whole.chosen, second.chosen)
    for mine, other in zip(whole.losses[0].parameters(), second.losses[0].parameters(), strict=True):
        assert torch.equal(mine, other)


def test_learning_rate_is_the_recipe_s():
    """Ten epochs: six at the full rate, then .8, .6, .4, .2 of it."""
    fit = Fit(random_votes(), torch.full((8,), 0.1), Recipe(100, 1e-3, 20, patience=0))
    rates = []
    for _ in range(100):
        fit.run(1)
        rates.append(fit.optimiser.param_groups[0]["lr"] / 1e-3)
    assert np.allclose(rates, np.repeat(DECAY, 10))


def test_held_out_distances_come_from_the_fold_s_heads():
    """On the scale of the final heads: with the same median over all pairs."""
    votes = random_votes(triplets=6)
    fit = Fit(votes, torch.full((8,), 0.1), Recipe(1, factors=False, patience=0))
    with torch.no_grad():
        fit.weights.copy_(torch.diag(torch.tensor([1.0, 2.0, 3.0, 4.0, 0, 0, 0, 0]))[:4])
    a, _ = held_out_distances(fit, votes.comparisons)
    fold = votes.comparisons.fold
    medians = votes.pooled[:, 0].median(dim=0).values  # the final heads are 4 times channel 3
    expected = votes.pooled[votes.comparisons.first, 0, fold] * (4 * medians[3] / medians[fold])
    assert torch.allclose(a, expected)


def test_held_out_votes_choose_the_heads():
    """Votes of one fold contradict the others': training stops early, at the heads of the best evaluation."""
    votes = random_votes(triplets=200, flip=0)
    fit = Fit(votes, torch.full((8,), 0.1), Recipe(4000, 0.05, 50, patience=5))
    fit.run(4000)
    steps, losses = zip(*fit.history, strict=True)
    assert fit.finished and fit.step < 4000
    assert fit.best["step"] == steps[int(np.argmin(losses))]
    assert steps[-1] - fit.best["step"] == 5 * fit.every
    assert torch.equal(fit.chosen, fit.best["heads"])
    again = Fit(votes, torch.full((8,), 0.1), Recipe(4000, 0.05, 50, patience=5))
    again.run(fit.best["step"])
    assert torch.equal(again.chosen, fit.chosen)


def test_an_explicit_split_tests_on_photographs_that_nothing_learned_from():
    """One fit; other votes on fold 0 change nothing but when it stops."""
    heads = []
    for flip in (None, 0):
        votes = random_votes(folds=2, flip=flip, split=True)
        fit = Fit(votes, torch.full((8,), 0.1), Recipe(40, 0.01, 20, patience=0))
        fit.run(40)
        assert fit.heads.shape == (1, 8)
        heads.append(fit.heads.detach())
    assert torch.equal(*heads)


def test_accumulated_batches_are_one_large_batch():
    votes = random_votes()
    large, small = (
        Fit(votes, torch.full((8,), 0.1), Recipe(1, 0.01, batch, dropout=0.0, accumulate=parts, patience=0))
        for batch, parts in ((60, 1), (20, 3))
    )
    large.run(1)
    small.run(1)
    for part in ("heads", "losses"):
        a, b = (fit.heads[-1:] if part == "heads" else fit.losses[0].power[-1:] for fit in (large, small))
        assert torch.allclose(a, b, atol=1e-6)


def test_same_different_answers_train_too():
    """Without a single vote that tells, seen differences alone find the channel, and the distance of 1 JND."""
    random = np.random.default_rng(0)
    pooled = torch.rand(600, 2, 4, generator=torch.Generator().manual_seed(0))
    rows, fold = torch.arange(600), torch.arange(600) % 2
    seen = random.binomial(5, 1 / (1 + np.exp(-12 * (pooled[:, 0, 0].double().numpy() - 0.5))))
    silent = Judged(rows[:2], rows[2:4], counted(np.ones(2), np.full(2, 2)), fold[:2])
    detections = Judged(rows, rows, counted(seen, np.full(600, 5)), fold)
    fit = Fit(Votes(pooled, silent, 2, detections), torch.full((4,), 0.2), Recipe(1000, 0.01))
    fit.run(1000)
    heads = fit.chosen[-1]
    assert heads[0] > 3 * heads[1:].max()
    middle = (0.5 * heads[0] + 0.5 * heads[1:].sum()).item()
    assert fit.measured()["jnd"] == pytest.approx(middle, rel=0.2)


@pytest.mark.parametrize("loss", ["binomial", "rank"])
def test_a_loss_that_is_no_number_stops_with_one_line(loss):
    fit = Fit(random_votes(), torch.full((8,), 0.1), Recipe(100, 1e30, loss=loss, patience=0))
    with pytest.raises(InputError, match="by step .* not a finite number; try a --learning-rate smaller than 1e.30"):
        fit.run(100)
