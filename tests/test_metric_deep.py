"""Training the trunk: what is learned, what stays as it was, the same step however it is split, exact resume."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import photograph
from threadpoolctl import threadpool_limits
from torch import nn
from torch.nn import functional

from metric.data.judgments import COMPARISONS, Data
from metric.network.backbones import Backbone, Trunk
from metric.network.model import PerceptualMetric
from metric.training.augmentation import augment
from metric.training.ballots import ballots_of
from metric.training.deep import DeepFit, DeepRecipe, Learner, he_initialise, swap
from metric.training.deep_folds import processes, train
from metric.training.dropped_distance import dropped_distance
from metric.training.loading import Order, Part, Triplets, load
from metric.training.losses import make_loss
from study.errors import InputError

SIZE = 32
RECIPE = DeepRecipe(12, learning_rate=1e-3, trunk_learning_rate=3e-3, batch=8, evaluations=3)


class Tiny(Trunk):
    """Two convolutions with a BatchNorm between them."""

    name, channels, smallest = "tiny", (8, 8), 8

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8)
        self.second = nn.Conv2d(8, 8, 3, stride=2)
        he_initialise(self, seed)

    def forward(self, images):
        first = functional.relu(self.norm(self.first(images - 0.5)))
        return [first, functional.relu(self.second(first))]


def tiny_metric(seed=0) -> PerceptualMetric:
    return PerceptualMetric(Tiny(seed), [torch.full((8,), 0.1)] * 2)


def red_data(tmp_path: Path, photographs=5, each=8, size=SIZE) -> Data:
    """Comparisons of noisy images, of which 5 voters prefer that with less noise in red; green and blue are a decoy."""
    images, rows = {}, []
    for p in range(photographs):
        random = np.random.default_rng(100 + p)
        original = photograph(p, size)
        images[f"r{p}"] = original
        for k in range(each):
            red = random.uniform(2, 40, 2)
            for side, r in zip("ab", red, strict=True):
                noise = random.normal(size=original.shape) * [r, *random.uniform(2, 40, 2)]
                images[f"{side}{p}.{k}"] = np.clip(original + noise, 0, 255).astype(np.uint8)
            prefer = 5.0 if red[1] < red[0] else 0.0
            rows.append((f"{p}.{k}", f"photo{p}", f"r{p}", f"a{p}.{k}", f"b{p}.{k}", prefer, 5.0, "test", "", "", 0, 0))
    table = pd.DataFrame(rows, columns=COMPARISONS)
    return Data("red", tmp_path, "simulated votes", "simulated", images.__getitem__, table)


def folds(data: Data) -> list[int]:
    return [int(source.removeprefix("photo")) % 5 for source in data.comparisons["source"]]


def make_fit(data: Data, recipe=RECIPE, metric=None, held=0, dtype=torch.float32) -> DeepFit:
    ballots, fold = ballots_of(data), folds(data)
    learn = [row for row, number in enumerate(fold) if number != held]
    loss = make_loss(recipe.loss, 1, ballots.rows(torch.tensor(learn)), torch.Generator().manual_seed(1))
    triplets = Triplets(data, data.comparisons, recipe.seed, recipe.crop, quiet=True)
    rows = [row for row in range(len(fold)) if row not in set(learn)]
    return DeepFit(metric or tiny_metric(), loss, triplets, ballots, learn, rows, recipe, processes(cpu=True))


def run_all(fit: DeepFit) -> DeepFit:
    while not fit.finished:
        fit.run(fit.recipe.steps)
    return fit


def two_afc(data: Data, held_out: pd.DataFrame) -> float:
    share = (data.comparisons.set_index("id")["prefer_b"] / 5).loc[held_out.index]
    return float((share == (held_out["distance_b"] < held_out["distance_a"])).mean())


def same(first: dict, second: dict) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


@pytest.fixture(autouse=True)
def one_thread():
    """Threads cost more than they bring on images this small."""
    with threadpool_limits(1):
        yield


def test_training_fits_votes_on_photographs_that_it_never_saw(tmp_path):
    """From a random trunk that cannot tell red noise from other noise, held-out 2AFC rises by 10 points and more."""
    data = red_data(tmp_path, each=60)
    recipe = replace(RECIPE, steps=150, batch=20, evaluations=5)
    outcome = train(data, folds(data), ballots_of(data), tiny_metric, recipe, tmp_path, processes(cpu=True))
    untrained = make_fit(data).distances(list(range(60))).numpy()
    start = outcome.held_out.assign(distance_a=untrained[:, 0], distance_b=untrained[:, 1])
    assert len(start) == 60 and set(outcome.held_out["fold"]) == {0}
    assert two_afc(data, start) < 0.8
    assert two_afc(data, outcome.held_out) > two_afc(data, start) + 0.1
    assert outcome.facts["best_steps"][0] > 0
    assert "without fold 0 of 5" in outcome.facts["exported"]


def test_held_out_distances_are_those_of_the_metric_that_is_handed_out(tmp_path):
    """Also with BatchNorm: both come from the best step, in evaluation mode."""
    data = red_data(tmp_path)
    outcome = train(data, folds(data), ballots_of(data), tiny_metric, RECIPE, tmp_path, processes(cpu=True))
    metric = tiny_metric(seed=5)
    metric.load_state_dict(outcome.metric)
    metric.requires_grad_(False).eval()
    row = data.comparisons.set_index("id").loc["0.3"]
    images = [torch.tensor(data.image(row[k])).permute(2, 0, 1)[None] / 255 for k in ("reference", "a", "b")]
    expected = outcome.held_out.loc["0.3"]
    assert float(metric(images[0], images[1])) == pytest.approx(expected["distance_a"], rel=1e-5)
    assert float(metric(images[0], images[2])) == pytest.approx(expected["distance_b"], rel=1e-5)


def test_distances_are_the_metric_s_and_dropout_keeps_their_mean():
    metric = PerceptualMetric(Backbone("squeeze"), [torch.rand(c) for c in Backbone("squeeze").channels])
    data = torch.randint(0, 256, (3, 2, 40, 48, 3), dtype=torch.uint8)
    reference, a, b = data.permute(0, 1, 4, 2, 3) / 255
    learner = Learner(metric, nn.Module(), 0.5, "no").eval()
    with torch.no_grad():
        found = learner.distances(data)
        assert torch.allclose(found[0], metric(reference, a), rtol=1e-4)
        assert torch.allclose(found[1], metric(reference, b), rtol=1e-4)
        learner.train()
        dropped = torch.stack([learner.distances(data)[0] for _ in range(60)])
    assert torch.allclose(dropped.mean(dim=0), found[0], rtol=0.02)
    assert (dropped.std(dim=0) > 1e-4 * found[0]).all()


def test_the_fused_distance_and_its_gradients_are_those_of_single_operations():
    """In float64, without dropout and with the mask that was drawn; also at a zero feature and at equal images."""
    features = torch.randn(6, 5, 3, 4, dtype=torch.float64)
    features[2, :, 1, 1] = 0
    features[3] = features[1]
    head = torch.rand(5, dtype=torch.float64)
    inputs = [features.requires_grad_(), head.requires_grad_()]
    weights = torch.rand(2, 2, dtype=torch.float64)
    for dropout in (0.0, 0.5):
        torch.manual_seed(3)
        found = dropped_distance(*inputs, dropout)
        torch.manual_seed(3)
        numbers = torch.empty(4 * 12 * 5 // 8, dtype=torch.int64).random_(-(2**63), None).view(torch.uint8)
        keep = (numbers >= 256 * dropout).view(4, 12, 5).double()
        unit = features * torch.rsqrt((features**2).sum(dim=1, keepdim=True) + 1e-10)
        reference, *sides = unit.permute(0, 2, 3, 1).flatten(1, 2).chunk(3)
        squared = torch.cat([(side - reference) ** 2 for side in sides]) * keep / (1 - dropout)
        expected = (squared.mean(dim=1) @ head).view(2, 2)
        assert torch.allclose(found, expected, rtol=1e-10)
        gradients = [torch.autograd.grad((d * weights).sum(), inputs) for d in (found, expected)]
        for mine, theirs in zip(*gradients, strict=True):
            assert mine.isfinite().all()
            assert torch.allclose(mine, theirs, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("dropout", [0.5, 0.1])
def test_the_fused_distance_has_the_moments_of_dropout(dropout):
    features, head = torch.rand(3, 4, 3, 3).repeat_interleave(4000, dim=0), torch.rand(4)
    reference, a, _ = (features * torch.rsqrt((features**2).sum(dim=1, keepdim=True))).chunk(3)
    expected = functional.dropout((a - reference) ** 2, dropout).mean(dim=(2, 3)) @ head
    found = dropped_distance(features, head, dropout)[0]
    assert found.mean().item() == pytest.approx(expected.mean().item(), rel=0.02)
    assert found.std().item() == pytest.approx(expected.std().item(), rel=0.05)


def test_a_compiler_s_graph_is_the_same_without_dropout(tmp_path):
    """Compiled code takes single operations in place of the fused distance: same loss, same gradients."""
    fit = make_fit(red_data(tmp_path, each=2), replace(RECIPE, dropout=0.0))
    images, ballots = fit.triplets[Part((0, 1, 2))].images, fit.ballots.rows(torch.arange(3))
    results = []
    for learner in (fit.learner.eval(), torch.compile(fit.learner.eval(), backend="eager", fullgraph=True)):
        loss = learner(images, ballots)
        results.append((loss, *torch.autograd.grad(loss, list(fit.learner.metric.parameters()))))
    for plain, compiled in zip(*results, strict=True):
        assert torch.allclose(plain, compiled, rtol=1e-4, atol=1e-6)


def test_three_images_go_through_the_trunk_together_and_need_no_gradient(tmp_path):
    """Defect 6 of lpips: the reference twice, and gradients of all images."""
    fit = make_fit(red_data(tmp_path))
    seen = []
    hook = fit.learner.metric.backbone.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    fit.run(1)
    hook.remove()
    assert [tuple(images.shape) for images in seen] == [(3 * 8, 3, SIZE, SIZE)]
    assert not seen[0].requires_grad
    assert seen[0].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("name", ["squeeze", "tiny"])
def test_only_heads_are_clamped(tmp_path, name):
    """Defect 4 of lpips: its clamp zeroes SqueezeNet's own 1x1 convolutions, and crashes on a BatchNorm."""
    backbone = Backbone("squeeze") if name == "squeeze" else Tiny()
    metric = PerceptualMetric(backbone, [torch.full((c,), 1e-4) for c in backbone.channels])
    fit = make_fit(red_data(tmp_path, each=2), metric=metric)
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    fit.run(2)
    assert all((head >= 0).all() for head in metric.heads)
    assert any((head == 0).any() for head in metric.heads)
    weights = [p for p in backbone.parameters() if p.dim() == 4]
    assert all(0.3 < (weight < 0).float().mean() < 0.7 for weight in weights)
    changed = [key for key, value in backbone.state_dict().items() if not torch.equal(value, before[key])]
    assert set(changed) == set(before)


def without_norm() -> PerceptualMetric:
    """In float64; BatchNorm would see other batches where one is split."""
    trunk = Tiny()
    trunk.norm = nn.Identity()
    return PerceptualMetric(trunk, [torch.full((8,), 0.1)] * 2).double()


@pytest.mark.parametrize("accumulate", [2, 5])
def test_accumulated_batches_are_one_large_batch(tmp_path, accumulate):
    data = red_data(tmp_path)
    recipe = replace(RECIPE, dropout=0.0, steps=6)
    states = [
        make_fit(data, replace(recipe, batch=20 // parts, accumulate=parts), without_norm())
        for parts in (1, accumulate)
    ]
    losses = [fit.run(2) for fit in states]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    first, second = (fit.learner.metric.state_dict() for fit in states)
    assert all(torch.allclose(first[key], second[key], rtol=1e-6, atol=1e-9) for key in first)


def test_learning_rates_decay_as_the_recipe_says(tmp_path):
    """The trunk's own rate, the heads', and the loss's, all down to a fifth of it in the last tenth."""
    fit = make_fit(red_data(tmp_path, each=2), replace(RECIPE, steps=10, evaluations=1, patience=0))
    start = fit.rates
    assert start == [3e-3, 1e-3, 1e-3 * fit.learner.loss.rate]
    fit.run(6)
    assert [group["lr"] for group in fit.optimiser.param_groups] == start
    fit.run(4)
    assert [group["lr"] for group in fit.optimiser.param_groups] == pytest.approx([0.2 * rate for rate in start])
    assert {group["betas"] for group in fit.optimiser.param_groups} == {(0.5, 0.999)}


def test_training_stops_early_and_keeps_the_best_weights(tmp_path):
    """With a rate that only does harm, the start is what is handed out, after `patience` evaluations."""
    data = red_data(tmp_path)
    recipe = replace(RECIPE, steps=40, evaluations=40, patience=3, trunk_learning_rate=3.0, learning_rate=1e-9)
    outcome = train(data, folds(data), ballots_of(data), tiny_metric, recipe, tmp_path, processes(cpu=True))
    assert outcome.facts["best_steps"] == [0]
    assert same(outcome.metric, tiny_metric().state_dict())
    without = train(data, folds(data), ballots_of(data), tiny_metric, replace(recipe, patience=0, steps=5), tmp_path,
                    processes(cpu=True))  # fmt: skip
    assert without.facts["best_steps"] == [5]
    assert not same(without.metric, outcome.metric)


def interrupted_train(tmp_path, at: int, **options):
    """`train` in its own folder, stopped at the `at`-th loss it tells of and begun again; 0: not stopped."""
    data = red_data(tmp_path)
    folder = tmp_path / str(at)
    told = []

    def log(name, value, step):
        told.append((name, step))
        if len(told) == at:
            raise KeyboardInterrupt

    arguments = (data, folds(data), ballots_of(data), tiny_metric, RECIPE, folder, processes(cpu=True))
    if at:
        with pytest.raises(KeyboardInterrupt):
            train(*arguments, log=log, **options)
    return train(*arguments, resumed=at > 0, log=log, **options), told


def test_an_interrupted_run_goes_on_bit_for_bit(tmp_path):
    """Trunk, BatchNorm, heads, loss, held-out distances and what is reported, stopped in the middle of an epoch."""
    whole, _ = interrupted_train(tmp_path, 0)
    resumed, told = interrupted_train(tmp_path, 5)
    assert told[4:6] == [("training/loss", 12), ("training/loss", 12)]  # from step 8, an evaluation
    assert same(whole.metric, resumed.metric)
    assert whole.held_out.equals(resumed.held_out)
    assert whole.facts == resumed.facts


def test_cross_validation_holds_every_photograph_out_and_trains_once_more_on_all(tmp_path):
    """Also when interrupted in the third of six trainings."""
    whole, told = interrupted_train(tmp_path, 0, cross_validate=True)
    assert {name.split("/")[0] for name, _ in told} == {f"training {k} of 6" for k in range(1, 7)}
    assert sorted(whole.held_out.index) == sorted(red_data(tmp_path).comparisons["id"])
    mean = round(np.mean(whole.facts["best_steps"]))
    assert [step for name, step in told if name == "training 6 of 6/loss"][-1] == mean
    assert f"on all comparisons for {mean} steps" in whole.facts["exported"]
    data = red_data(tmp_path)
    alone = train(data, [(k + 3) % 5 for k in folds(data)], ballots_of(data), tiny_metric, RECIPE, tmp_path,
                  processes(cpu=True))  # fmt: skip
    assert whole.held_out[whole.held_out["fold"] == 2][["distance_a", "distance_b"]].equals(
        alone.held_out[["distance_a", "distance_b"]]
    )
    resumed, _ = interrupted_train(tmp_path, 15, cross_validate=True)
    assert same(whole.metric, resumed.metric)
    assert whole.held_out.equals(resumed.held_out)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_stays_finite_and_close(tmp_path, precision):
    """Losses within 2 % of float32's; every weight finite. Also where two images of a triplet are the same."""
    data = red_data(tmp_path)
    data.comparisons.loc[3, "a"] = data.comparisons.loc[3, "reference"]
    losses = {}
    for name in ("no", precision):
        fit = make_fit(data, replace(RECIPE, precision=name, dropout=0.0))
        losses[name] = fit.run(4)
        assert all(p.isfinite().all() and p.dtype == torch.float32 for p in fit.learner.parameters())
    assert losses[precision] == pytest.approx(losses["no"], rel=0.02)
    assert losses[precision] != losses["no"]


def test_steps_that_overflow_in_float16_are_skipped_and_counted(tmp_path):
    fit = make_fit(red_data(tmp_path), replace(RECIPE, precision="fp16", steps=60))
    fit.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)
    before = [p.detach().clone() for p in fit.learner.parameters()]
    fit.run(1)
    assert fit.skipped == 1
    assert all(torch.equal(p, q) for p, q in zip(before, fit.learner.parameters(), strict=True))
    while fit.skipped == fit.step < 60:
        fit.run(1)
    assert not torch.equal(before[0], next(fit.learner.parameters()))


@pytest.mark.parametrize("broken", ["trunk", "rate"])
def test_what_is_not_finite_is_an_error_and_never_saved(tmp_path, broken):
    def start():
        metric = tiny_metric()
        if broken == "trunk":
            metric.backbone.second.bias.data[0] = math.nan
        return metric

    data = red_data(tmp_path)
    recipe = replace(RECIPE, trunk_learning_rate=3e38) if broken == "rate" else RECIPE
    with pytest.raises(InputError, match="is not a finite number|are not finite numbers"):
        train(data, folds(data), ballots_of(data), start, recipe, tmp_path, processes(cpu=True))
    assert not list(tmp_path.iterdir())


def test_images_of_other_size_are_named(tmp_path):
    data = red_data(tmp_path, each=2)
    data.image = lambda key: red_data(tmp_path, each=2, size=40 if key == "b3.1" else SIZE).image(key)
    with pytest.raises(InputError, match=r"comparison 3.1: b3.1 has 40 x 40 pixels, but its reference r3 has 32 x 32"):
        make_fit(data)
    with pytest.raises(InputError, match=r"--crop 33: larger than r0 with 32 x 32 pixels; at most 32"):
        make_fit(red_data(tmp_path), replace(RECIPE, crop=33))


def test_augmentation_shows_eight_views_and_the_same_for_all_images():
    image = np.arange(27, dtype=np.uint8).reshape(3, 3, 3)
    views = set()
    for seed in range(100):
        first, second = augment([image, image + 100], None, np.random.default_rng(seed))
        assert np.array_equal(first + 100, second)
        views.add(first.tobytes())
    square = {
        np.rot90(turned, k).tobytes() for turned in (image, image.swapaxes(0, 1)) for k in range(4)
    }  # the symmetries of the square
    assert views == square


def test_crops_come_from_everywhere_and_oblong_images_keep_their_shape():
    image = np.arange(20 * 30 * 3, dtype=np.uint32).astype(np.uint8).reshape(20, 30, 3)
    image[:, :, 0] = np.arange(20)[:, None]
    image[:, :, 1] = np.arange(30)
    corners = set()
    for seed in range(400):
        generator = np.random.default_rng(seed)
        (piece,) = augment([image], 18, generator)
        assert piece.shape == (18, 18, 3)
        corners.add((piece[:, :, 0].min(), piece[:, :, 1].min()))
        assert augment([image], None, generator)[0].shape == (20, 30, 3)
    assert corners == {(top, left) for top in range(3) for left in range(13)}


def test_a_and_b_trade_places_with_their_votes(tmp_path):
    data = red_data(tmp_path)
    triplets = Triplets(data, data.comparisons, 1, None, quiet=True)
    ballots = ballots_of(data)
    plain = triplets[Part(tuple(range(40)))]
    part, images, swapped = triplets[Part(tuple(range(40)), epoch=3)]
    assert 5 < swapped.sum() < 35
    swapped_ballots = swap(ballots, swapped)
    for row in range(40):
        sums = [int(picture.long().sum()) for picture in images[:, row]]
        expected = [int(picture.long().sum()) for picture in plain.images[:, row]]
        assert sums == (expected[:1] + expected[:0:-1] if swapped[row] else expected)
        share = ballots.share()[row]
        assert swapped_ballots.share()[row] == (1 - share if swapped[row] else share)
    assert torch.equal(triplets[Part((7,), epoch=3)].images[:, 0], images[:, 7])  # whatever else is in the batch
    assert not torch.equal(triplets[Part((7,), epoch=4)].images[:, 0], images[:, 7]) or part.epoch != 3


def mixed_sizes(tmp_path) -> Data:
    small, large = red_data(tmp_path), red_data(tmp_path, size=40)
    large_photographs = ("1", "3")
    data = red_data(tmp_path)
    data.image = lambda key: (large if key[1] in large_photographs else small).image(key)
    return data


def test_an_epoch_takes_every_triplet_once_in_batches_of_one_size(tmp_path):
    data = mixed_sizes(tmp_path)
    triplets = Triplets(data, data.comparisons, 1, None, quiet=True)
    order = Order(triplets, tuple(range(40)), 7)
    assert order.steps_per_epoch() == 4 + 3  # of 24 small and 16 large ones
    epochs = [order.epoch(number) for number in (0, 1)]
    for batches in epochs:
        assert sorted(row for batch in batches for row in batch) == list(range(40))
        assert all(len({triplets.sizes[row] for row in batch}) == 1 for batch in batches)
    assert epochs[0] != epochs[1]
    cropped = Order(Triplets(data, data.comparisons, 1, 24, quiet=True), tuple(range(40)), 7)
    assert cropped.steps_per_epoch() == 6
    fit = make_fit(data, replace(RECIPE, batch=7))
    fit.run(4)
    assert fit.distances(list(range(40))).isfinite().all()


@pytest.mark.parametrize("shares", [1, 4])
def test_parts_begin_anywhere_and_make_up_each_batch(tmp_path, shares):
    """Processes and accumulation split a batch without changing it; too small a batch fills places with share 0."""
    data = red_data(tmp_path)
    order = Order(Triplets(data, data.comparisons, 1, None, quiet=True), tuple(range(40)), 13)
    parts = list(order.parts(0, 10, shares, slice(None)))
    assert list(order.parts(6, 10, shares, slice(None))) == parts[6 * shares :]
    if shares > 1:
        processes = [list(order.parts(0, 10, shares, slice(rank, None, 2))) for rank in (0, 1)]
        assert [part for pair in zip(*processes, strict=True) for part in pair] == parts
    batches = [batch for epoch in range(3) for batch in order.epoch(epoch)]
    for step in range(10):
        mine = parts[step * shares : (step + 1) * shares]
        assert sum(part.share for part in mine) == pytest.approx(1)
        assert sorted(row for part in mine if part.share for row in part.rows) == sorted(batches[step])
    assert {part.share for part in parts if len(part.rows) == 1} <= {0.0, 1.0}  # of 40 = 3 x 13 + 1


def test_worker_processes_load_the_same_batches(tmp_path, monkeypatch):
    """Where images do not fit into memory they are read ahead, and nothing else changes."""
    data = red_data(tmp_path)
    in_memory = Triplets(data, data.comparisons, 1, 24, quiet=True)
    monkeypatch.setattr("metric.training.loading.MEMORY", 0)
    read_again = Triplets(data, data.comparisons, 1, 24, quiet=True)
    assert in_memory.kept and not read_again.kept
    batches = [
        list(load(triplets, Order(triplets, tuple(range(40)), 8).parts(0, 4, 1, slice(None))))
        for triplets in (in_memory, read_again)
    ]
    assert len(batches[0]) == 4
    for first, second in zip(*batches, strict=True):
        assert first.part == second.part
        assert torch.equal(first.images, second.images) and torch.equal(first.swapped, second.swapped)


def test_scratch_starts_from_he_s_normal_weights_of_the_seed():
    """Variance 2 / fan_in, zero biases; the same for a seed."""
    trunks = [Backbone("alex") for _ in range(3)]
    for trunk, seed in zip(trunks, (1, 1, 2), strict=True):
        he_initialise(trunk, seed)
    states = [trunk.state_dict() for trunk in trunks]
    assert same(states[0], states[1]) and not same(states[0], states[2])
    weight, bias = states[0]["features.3.weight"], states[0]["features.3.bias"]
    assert float(weight.var()) == pytest.approx(2 / (64 * 25), rel=0.02)
    assert not bias.any()
