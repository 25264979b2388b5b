"""Train the heads of a frozen trunk: pooled features once, then every fold and the final heads in lockstep."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from metric.data.judgments import Data
from metric.network.backbones import Trunk
from metric.pairs import pairs_of, rows_of
from metric.training import runs
from metric.training.ballots import Ballots, ballots_of, check_votes, counted
from metric.training.fit import STATE, Fit, Judged, Votes, held_out_distances
from metric.training.pooled import pooled_differences
from metric.training.rating_pairs import rated_comparisons
from study.errors import InputError

SAVES = 20  # checkpoints in a run, and lines in TensorBoard
SECONDS = 10.0  # of training between two looks at the loss, at most

Log = Callable[[str, float, int], None]


@dataclass(frozen=True)
class HeldOut:
    """Distances by heads that never saw the photograph."""

    comparisons: pd.DataFrame
    """distance_a, distance_b, fold, by the index `triplet`."""
    pairs: dict[str, Tensor]
    """Of same_different and ratings, where there are any, row for row; NaN where all heads learned from it."""


@dataclass(frozen=True)
class Asked:
    """What is learned from, and what is reported of it once it was held out."""

    votes: Votes
    comparisons: Judged
    """Of `data.comparisons`, row for row."""
    pairs: dict[str, Judged]
    """Of same_different and ratings, where there are any, row for row."""


def asked(data: Data, fold: dict[str, int], backbone: Trunk, reliability: bool) -> Asked:
    """All that training the heads needs of `data`; `fold` of each photograph as `splits` gives it.

    Ratings are learned from as comparisons (see `rating_pairs`), same/different answers as what they are. Raises
    InputError where there is nothing to train on.
    """
    rated = rated_comparisons(data.ratings) if len(data.ratings) else data.comparisons.iloc[:0]
    tables = [table for table in (data.comparisons, rated) if len(table)]
    if not tables:
        raise InputError(f"{data.name}: no comparisons or ratings to train on")
    singles = {name: getattr(data, name) for name in ("same_different", "ratings") if len(getattr(data, name))}
    sides = [pairs_of(table) for table in tables] + [table[["reference", "distorted"]] for table in singles.values()]
    pairs = pd.concat(sides).drop_duplicates().sort_values(["reference", "distorted"]).reset_index(drop=True)
    pooled = pooled_differences(data, pairs, backbone)

    def judged(table: pd.DataFrame, first: str, second: str, ballots: Ballots) -> Judged:
        one, two = (torch.from_numpy(rows_of(pairs, table, side)) for side in (first, second))
        folds = torch.tensor([fold[str(source)] for source in table["source"]], dtype=torch.int64)
        return Judged(one, two, ballots, folds)

    ballots = [ballots_of(data, reliability)] if len(data.comparisons) else []
    ballots += [counted(rated["prefer_b"], rated["votes"])] if len(rated) else []
    together = judged(pd.concat(tables), "a", "b", stacked(ballots))
    found = {}
    if "same_different" in singles:
        table = singles["same_different"]
        check_votes(table, "different", data.name)
        found["same_different"] = judged(table, "distorted", "distorted", counted(table["different"], table["votes"]))
    if "ratings" in singles:
        table = singles["ratings"]
        nothing = pd.Series(0.0, table.index)
        found["ratings"] = judged(table, "distorted", "distorted", counted(nothing, nothing + 1))
    split = min(fold.values()) < 0
    votes = Votes(pooled, together, max(fold.values()) + 1, found.get("same_different"), split)
    count = len(data.comparisons)
    only = Judged(
        together.first[:count],
        together.second[:count],
        together.ballots.rows(torch.arange(count)),
        together.fold[:count],
    )
    return Asked(votes, only, found)


def stacked(parts: list[Ballots]) -> Ballots:
    """Ballots one below the other, filled up to one width."""
    width = max(part.count.shape[1] for part in parts)

    def filled(x: Tensor, value: float) -> Tensor:
        return torch.nn.functional.pad(x, (0, width - x.shape[1]), value=value)

    return Ballots(
        torch.cat([filled(part.prefer_b, 0) for part in parts]),
        torch.cat([filled(part.count, 0) for part in parts]),
        torch.cat([filled(part.attention, 1) for part in parts]),
    )


def run(fit: Fit, folder: Path, resumed: bool, log: Log) -> None:
    """Train to the end, with a progress bar, from the checkpoint in `folder` where `resumed`."""
    if resumed:
        state = runs.read_checkpoint(folder, STATE)
        if state:
            fit.restore(state)
        print(f"{folder}: going on from step {fit.step:,}")
    total = fit.recipe.steps
    save = max(1, total // SAVES)
    chunk = max(1, total // 200)
    saved = time.monotonic()
    with tqdm(total=total, initial=fit.step, desc="training", unit="step") as progress:
        while not fit.finished:
            before, looked = fit.step, len(fit.history)
            loss = fit.run(min(chunk, save - fit.step % save))
            progress.update(fit.step - before)
            progress.set_postfix(loss=f"{loss:.4f}", held_out=f"{fit.best['loss']:.4f} at {fit.best['step']:,}")
            log("loss", loss, fit.step)
            for step, value in fit.history[looked:]:
                log("held_out_loss", value, step)
            for name, value in fit.measured().items():
                log(name, value, fit.step)
            if fit.step % save == 0 or fit.finished or time.monotonic() - saved > SECONDS:
                runs.write_checkpoint(folder, fit.state())
                saved = time.monotonic()


def held_out(fit: Fit, data: Data, asked: Asked) -> HeldOut:
    """The distances of everything that was held out once."""
    sides = held_out_distances(fit, asked.comparisons)
    columns = {f"distance_{name}": side.double().numpy() for name, side in zip("ab", sides, strict=True)}
    index = pd.Index(data.comparisons["id"], name="triplet")
    table = pd.DataFrame({**columns, "fold": asked.comparisons.fold.numpy()}, index=index)
    pairs = {name: held_out_distances(fit, judged)[0].double() for name, judged in asked.pairs.items()}
    return HeldOut(table[table["fold"] >= 0], pairs)


def states(fit: Fit, channels: tuple[int, ...]) -> dict[str, Tensor]:
    """The chosen heads, a tap at a time, and those of each fold."""
    chosen = fit.chosen
    heads = {f"heads.{k}": part.clone() for k, part in enumerate(chosen[-1].split(list(channels)))}
    folds = {f"fold{k}": part.clone() for k, part in enumerate(chosen[:-1])}
    return heads | folds
