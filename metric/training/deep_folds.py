"""Train trunk and heads with one fold of photographs held out, or with each in turn and then once more on all.

Held-out photographs say when to stop and how good the metric is. With one fold, what was trained without it is what is
handed out. With all folds (as many trainings), the metric is trained once more on everything, for as many steps as were
best on average.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from metric.data.judgments import Data
from metric.network.model import PerceptualMetric
from metric.training import runs
from metric.training.ballots import Ballots
from metric.training.deep import DeepFit, DeepRecipe
from metric.training.loading import Triplets
from metric.training.losses import make_loss
from study.errors import InputError, UnavailableError

if TYPE_CHECKING:
    from accelerate import Accelerator

CHUNK = 10  # steps between two looks at the loss
PATIENCE = 120  # seconds of training that an interruption may cost, at most
STATE = ("stage", "done", "fit")
"""What a checkpoint holds: which training is at work, what the finished ones gave, and where this one stands."""


@dataclass(frozen=True)
class Outcome:
    """What training gave."""

    metric: dict[str, Tensor]
    """The state of the metric that is handed out."""
    held_out: pd.DataFrame
    """distance_a, distance_b, fold of the held-out comparisons, by their index `triplet`."""
    facts: dict[str, Any]
    """Plain values: `exported` (a sentence: which training the metric comes from), best_steps and held_out_losses of
    the trainings that held a fold out, skipped_steps (fp16), loss_parameters."""


def processes(cpu: bool = False) -> "Accelerator":
    """The processes that train together: those that torchrun started, or this one alone."""
    try:
        from accelerate import Accelerator
    except ImportError:
        raise UnavailableError(
            "training the trunk needs the package accelerate: pip install 'eyetune[train]'"
        ) from None
    return Accelerator(cpu=cpu or not torch.accelerator.is_available())  # on a CPU it joins processes only if told so


def train(
    data: Data,
    fold: list[int],
    ballots: Ballots,
    start: Callable[[], PerceptualMetric],
    recipe: DeepRecipe,
    folder: Path,
    accelerator: "Accelerator",
    cross_validate: bool = False,
    resumed: bool = False,
    log: Callable[[str, float, int], None] = lambda name, value, step: None,
) -> Outcome:
    """Train what `start` gives on `data.comparisons`, whose folds and ballots stand in their order.

    Photographs of fold -1 are never held out. Goes on from the checkpoint in `folder` where `resumed`. `log` is told of
    the training and held-out loss. Raises InputError for images that do not fit, for a fold without comparisons, and
    where numbers are no longer finite.
    """
    empty = set(range(max(fold) + 1 if cross_validate else 1)) - set(fold)
    if empty or len(set(fold)) < 2:
        raise InputError(
            f"{data.name}: no comparisons in fold {min(empty, default=1)}; try fewer --folds, or another --seed"
        )
    main = accelerator.is_main_process
    triplets = Triplets(data, data.comparisons, recipe.seed, recipe.crop, quiet=not main)
    stages: list[int | None] = [*range(max(fold) + 1), None] if cross_validate else [0]
    state = runs.read_checkpoint(folder, STATE) if resumed else None
    done: list[dict[str, Any]] = state["done"] if state else []
    for stage in range(len(done), len(stages)):
        held = stages[stage]
        learn = [row for row, number in enumerate(fold) if number != held]
        rows = [row for row, number in enumerate(fold) if number == held]
        generator = torch.Generator().manual_seed(recipe.seed)
        steps = None if held is not None else round(sum(d["step"] for d in done) / len(done))
        fit = DeepFit(
            start(),
            make_loss(recipe.loss, 1, ballots.rows(torch.tensor(learn)), generator),
            triplets, ballots, learn, rows, recipe, accelerator,
        )  # fmt: skip
        if state and state["stage"] == stage and state["fit"]:
            fit.restore(state["fit"])
        if main and fit.step:
            print(f"{folder}: going on from step {fit.step:,}")
        title = "training" if len(stages) == 1 else f"training {stage + 1} of {len(stages)}"
        _run(fit, steps, stage, done, folder, title, log)
        fit.restore_best()
        distances = fit.distances(rows) if rows else torch.zeros(0, 2)
        done.append({
            "step": fit.best["step"] if rows else fit.step, "loss": fit.best["loss"], "history": fit.history,
            "skipped": fit.skipped, "rows": rows, "distances": distances,
        })  # fmt: skip
        if main and stage + 1 < len(stages):
            runs.write_checkpoint(folder, {"stage": stage + 1, "done": done, "fit": None})
    return _outcome(fit, done, data, fold, cross_validate)


def _run(
    fit: DeepFit,
    steps: int | None,
    stage: int,
    done: list[dict[str, Any]],
    folder: Path,
    title: str,
    log: Callable[[str, float, int], None],
) -> None:
    """Train to the end: to `steps`, or until held-out votes say stop."""
    end = fit.recipe.steps if steps is None else steps
    main = fit.accelerator.is_main_process
    if not fit.step:
        fit.evaluate()  # training may not beat the start
    saved = time.monotonic()
    with tqdm(total=end, initial=fit.step, desc=title, unit="step", disable=not main) as progress:
        while fit.step < end and not fit.finished:
            before, evaluated = fit.step, len(fit.history)
            loss = fit.run(min(CHUNK, end - fit.step))
            if main:
                log(f"{title}/loss", loss, fit.step)
            progress.update(fit.step - before)
            shown = {"loss": f"{loss:.4f}"}
            if fit.history:
                shown["held_out"] = f"{fit.history[-1][1]:.4f}"
            progress.set_postfix(shown)
            news = len(fit.history) > evaluated
            if news and main:
                log(f"{title}/held_out_loss", fit.history[-1][1], fit.step)
            if main and (news or time.monotonic() - saved > PATIENCE):
                runs.write_checkpoint(folder, {"stage": stage, "done": done, "fit": fit.state()})
                saved = time.monotonic()


def _outcome(fit: DeepFit, done: list[dict[str, Any]], data: Data, fold: list[int], cross_validate: bool) -> Outcome:
    rows = [row for result in done for row in result["rows"]]
    distances = torch.cat([result["distances"] for result in done]).double().numpy()
    held_out = pd.DataFrame(
        {"distance_a": distances[:, 0], "distance_b": distances[:, 1], "fold": [fold[row] for row in rows]},
        index=pd.Index(data.comparisons["id"].iloc[rows], name="triplet"),
    )
    folds = [result for result in done if result["rows"]]
    if cross_validate:
        exported = (
            f"trained on all comparisons for {fit.step:,} steps, the mean of the best of {len(folds)} trainings that"
            " each held one fold of photographs out; the held-out scores are of those"
        )
    else:
        without = f"fold 0 of {max(fold) + 1}" if max(fold) else "the validation data"
        step = f"whose votes also chose the best step, {fit.best['step']:,}" if fit.recipe.patience else "to the end"
        exported = f"trained without {without}, the held-out photographs, {step}"
    state = {key: value.detach().cpu().contiguous() for key, value in fit.learner.metric.state_dict().items()}
    facts = {
        "exported": exported,
        "best_steps": [result["step"] for result in folds],
        "held_out_losses": [result["loss"] for result in folds],
        "skipped_steps": sum(result["skipped"] for result in done),
        "loss_parameters": fit.learner.loss.measured(),
    }
    return Outcome(state, held_out, facts)
