"""The fit is LPIPS's recipe on pooled features: the same loss, the same noise, folds apart, resumed bit for bit."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from metric.fit import DECAY, Fit, Recipe, Votes, held_out_distances
from metric.measures import lpips
from metric.pooled import pool


def random_votes(triplets=60, channels=8, folds=3, seed=0) -> Votes:
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.rand(2, triplets, 2, channels, generator=generator)
    return Votes(a, b, (a[:, 0, 0] > b[:, 0, 0]).float(), torch.arange(triplets) % folds, folds)


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
    votes = Votes(pooled, pooled, torch.ones(1), torch.zeros(1, dtype=torch.int64), 1)
    heads = torch.rand(8)
    dropped = functional.dropout(((f0 - f1) ** 2).expand(20_000, -1, -1, -1), 0.5).mean(dim=(2, 3)) @ heads
    drawn = Fit(votes, heads, Recipe(1))._distances(pooled.expand(20_000, -1, -1)).detach()[0]
    assert drawn.mean().item() == pytest.approx(dropped.mean().item(), rel=0.01)
    assert drawn.std().item() == pytest.approx(dropped.std().item(), rel=0.03)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")  # of the package lpips
def test_rank_network_and_loss_are_the_package_s():
    """With the same weights, the same loss and the same gradients as BCERankingLoss, in every fold."""
    from metric.torchvision_import import import_torchvision

    import_torchvision()
    import lpips as peer

    votes = random_votes(triplets=12, folds=2)
    fit = Fit(votes, torch.rand(8), Recipe(1, dropout=0.0))
    loss = peer.BCERankingLoss()
    layers = [layer for layer in loss.net.model if hasattr(layer, "weight")]
    with torch.no_grad():
        for layer, weight, bias in zip(layers, fit.rank.weights, fit.rank.biases, strict=True):
            layer.weight.copy_(weight[-1].T[:, :, None, None])
            layer.bias.copy_(bias[-1].flatten())
    heads = fit.heads.detach()[-1].clone().requires_grad_()
    d0, d1 = ((p[:, 0] @ heads).view(-1, 1, 1, 1) for p in (votes.pooled_a, votes.pooled_b))
    expected = loss(d0, d1, votes.share_b.view(-1, 1, 1, 1) * 2 - 1)
    expected.backward()
    mine = fit._loss(torch.arange(12))
    mine.sum().backward()
    assert mine[-1].item() == pytest.approx(expected.item(), rel=1e-5)
    assert torch.allclose(fit.heads.grad[-1], heads.grad, rtol=1e-4, atol=1e-7)
    assert torch.allclose(fit.rank.weights[0].grad[-1], layers[0].weight.grad[:, :, 0, 0].T, rtol=1e-4, atol=1e-7)


def test_recipe_is_the_published_one():
    """Adam at 1e-4 with betas (.5, .999), batches of 50, dropout .5."""
    fit = Fit(random_votes(), torch.full((8,), 0.1), Recipe(1))
    (group,) = fit.optimiser.param_groups
    assert (group["lr"], group["betas"], group["weight_decay"]) == (1e-4, (0.5, 0.999), 0)
    assert (fit.recipe.batch, fit.recipe.dropout) == (50, 0.5)


def test_a_fold_does_not_learn_from_its_own_triplets():
    """Other votes on a fold's triplets leave its heads as they were, and change those of the fit on all."""
    votes = random_votes()
    changed = torch.where(votes.fold == 1, 1 - votes.share_b, votes.share_b)
    other = Votes(votes.pooled_a, votes.pooled_b, changed, votes.fold, votes.folds)
    fits = [Fit(v, torch.full((8,), 0.1), Recipe(50, learning_rate=0.01, batch=20)) for v in (votes, other)]
    for fit in fits:
        fit.run(50)
    assert torch.equal(fits[0].heads[1], fits[1].heads[1])
    assert not torch.equal(fits[0].heads[3], fits[1].heads[3])


def test_lockstep_equals_a_fit_of_its_own():
    """The last row, trained beside three folds, is what training on all votes alone gives."""
    votes = random_votes()
    alone = Votes(votes.pooled_a, votes.pooled_b, votes.share_b, torch.full_like(votes.fold, 5), 0)
    together, single = (Fit(v, torch.full((8,), 0.1), Recipe(60, 0.01, 20)) for v in (votes, alone))
    together.run(60)
    single.run(60)
    assert torch.allclose(together.heads[-1], single.heads[0], atol=1e-5)


def test_heads_stay_non_negative_and_find_the_channel_that_decides():
    votes = random_votes(triplets=400)
    fit = Fit(votes, torch.full((8,), 0.1), Recipe(1500, 0.01, 50, dropout=0.0))
    fit.run(1500)
    heads = fit.heads.detach()[-1]
    assert heads.min() >= 0
    assert heads.argmax() == 0
    assert heads[0] > 3 * heads[1:].max()


def test_resume_is_bit_identical(tmp_path):
    votes, recipe = random_votes(), Recipe(90, 0.01, 20)
    whole = Fit(votes, torch.full((8,), 0.1), recipe)
    whole.run(90)
    first = Fit(votes, torch.full((8,), 0.1), recipe)
    first.run(37)
    torch.save(first.state(), tmp_path / "state.pt")
    second = Fit(votes, torch.full((8,), 0.1), recipe)
    second.restore(torch.load(tmp_path / "state.pt", weights_only=True))
    second.run(53)
    assert second.step == 90
    assert torch.equal(whole.heads, second.heads)
    assert all(torch.equal(p, q) for p, q in zip(whole.rank.parameters(), second.rank.parameters(), strict=True))


def test_learning_rate_is_the_recipe_s():
    """Ten epochs: six at the full rate, then .8, .6, .4, .2 of it."""
    fit = Fit(random_votes(), torch.full((8,), 0.1), Recipe(100, 1e-3, 20))
    rates = []
    for _ in range(100):
        fit.run(1)
        rates.append(fit.optimiser.param_groups[0]["lr"] / 1e-3)
    assert np.allclose(rates, np.repeat(DECAY, 10))


def test_held_out_distances_come_from_the_fold_s_heads():
    votes = random_votes(triplets=6)
    fit = Fit(votes, torch.zeros(8), Recipe(1))
    with torch.no_grad():
        fit.heads[:, 0] = torch.tensor([1.0, 2.0, 3.0, 4.0])
    a, _ = held_out_distances(fit)
    assert torch.allclose(a, votes.pooled_a[:, 0, 0] * (votes.fold + 1))
