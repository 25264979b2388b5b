"""Run a training to its end: progress and time left, validation, log, TensorBoard, checkpoints, Ctrl-C."""

import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from codec.checkpoint import round_to_half
from codec.model import Codec
from codec.training import runs
from codec.training.crops import Photograph
from codec.training.fit import Fit
from codec.training.processes import same_everywhere
from codec.training.validation import Validation, validate
from metric.training.runs import read_checkpoint, write_checkpoint
from study.errors import InputError

LOOK = 10  # steps between two looks at what was measured: reading waits for the device
LINES = 100  # of training in log.csv, at most about
PATIENCE = 120  # seconds of training that a lost machine may cost, at most
SHOWN = 4  # photographs in TensorBoard
SHARE = 0.1  # of a budget of time that validations may take, at most; those that do not fit are left out
STATE = ("fit", "rows", "validations")
"""What a checkpoint holds: the training, log.csv's rows, and how many validations there were."""

Writer = Any
"""TensorBoard's SummaryWriter, or None."""


class Training:
    """A `Fit` that goes to its end in `folder`; `validations` in all, evenly, the last at the end."""

    def __init__(
        self,
        fit: Fit,
        held_out: Sequence[Photograph],
        folder: Path,
        validations: int,
        half: bool = False,
        writer: Writer = None,
    ) -> None:
        """`half`: the codec's file will be in float16."""
        self.fit, self.held_out, self.folder, self.validations, self.writer = fit, held_out, folder, validations, writer
        self.half = half
        self.rows: list[dict[str, Any]] = []
        self.done = 0  # validations so far
        self.validating = 0.0  # seconds of this process's validations
        self.interrupted = False
        self.main = fit.together.is_main_process

    def run(self) -> None:
        """Train from the checkpoint, where there is one, to the end; log.csv is written then.

        Raises KeyboardInterrupt, with a checkpoint written, after Ctrl-C: once the step at hand is done.
        """
        state = read_checkpoint(self.folder, STATE)
        if state:
            self._restore(state)
        saved, logged = time.monotonic(), self.fit.progress
        measured: list[dict[str, Tensor]] = []
        fit = self.fit
        fit.start_clock()
        with self._ctrl_c(), self._bar() as bar:
            while True:
                stop = fit.read_clock(self.interrupted)
                due = int(fit.progress * self.validations)
                if not stop and self.done < due and self._affordable():
                    began = time.monotonic()
                    stop = not self._validate(due)
                    self.validating += time.monotonic() - began
                    self._save()
                    saved = time.monotonic()
                    self._show(bar, {})
                if stop:
                    self._save()
                    raise KeyboardInterrupt
                if fit.progress >= 1:
                    if measured:
                        self._log(means(measured))
                        self._save()
                    return
                measured.append(fit.take_step())
                if fit.step % LOOK == 0 or fit.step == fit.recipe.steps:
                    self._look(measured[-LOOK:], bar)
                if fit.progress - logged >= 1 / LINES or fit.step == fit.recipe.steps:
                    self._log(means(measured))
                    measured, logged = [], fit.progress
                if time.monotonic() - saved > PATIENCE:
                    self._save()
                    saved = time.monotonic()

    def _affordable(self) -> bool:
        """Whether there is time for a validation; the last always takes place."""
        fit = self.fit
        if fit.recipe.steps is not None or fit.progress >= 1:
            return True
        share = self.validating <= SHARE * fit.seconds
        return bool(same_everywhere(share, fit.together))

    def _look(self, measured: list[dict[str, Tensor]], bar: tqdm) -> None:
        """Show what the last steps measured; stop where it is no number."""
        values = means(measured)
        self.fit.check(values)
        self._show(bar, values)

    def _log(self, values: dict[str, float]) -> None:
        values = {"learning_rate": self.fit.learning_rate()} | values
        self.rows.append(self._row("training", "") | values)
        if self.writer:
            for name, value in values.items():
                self.writer.add_scalar(f"training/{name}", value, self.fit.step)

    def _validate(self, due: int) -> bool:
        """Measure the codec on the held-out photographs, number `due`; False where Ctrl-C came between."""
        fit = self.fit
        fit.check({})
        if self.held_out:
            alone = fit.together.num_processes == 1

            def look() -> None:
                if self.interrupted and alone:  # several processes must measure as many
                    raise _Interrupted

            shown = SHOWN if self.writer else 0
            try:
                result = validate(self.codec(), self.held_out, fit.distortion, fit.together, shown, look)
            except _Interrupted:
                return False
            self._log_validation(result)
        self.done = due
        return True

    def codec(self) -> Codec:
        """What the codec's file would hold now: a copy in float16's precision, or the averaged codec itself.

        Raises InputError where a weight is too large for float16.
        """
        codec = self.fit.chosen()
        if self.half:
            codec = deepcopy(codec)
            round_to_half(codec)
        return codec

    def _log_validation(self, result: Validation) -> None:
        for level, values in enumerate(result.levels):
            self.rows.append(self._row("validation", level) | values)
            if self.writer:
                for name, value in values.items():
                    self.writer.add_scalar(f"validation/level {level}/{name}", value, self.fit.step)
        if self.writer:
            for number, image in enumerate(result.decoded):
                self.writer.add_image(f"original, then level by level/{number}", image, self.fit.step)

    def last_validation(self) -> list[dict[str, Any]]:
        """The rows of the last validation, one a level."""
        rows = [row for row in self.rows if row["set"] == "validation"]
        return [row for row in rows if row["step"] == rows[-1]["step"]]

    def _row(self, data: str, level: int | str) -> dict[str, Any]:
        return {"step": self.fit.step, "seconds": round(self.fit.seconds, 1), "set": data, "level": level}

    def _save(self) -> None:
        """Write the checkpoint, unless numbers have gone wrong since the last: a run must be able to go on from it."""
        self.fit.check({})
        if self.main:
            fit = self.fit.state()
            write_checkpoint(self.folder, {"fit": fit, "rows": self.rows, "validations": self.done})
            runs.write_log(self.folder, self.rows)

    def _restore(self, state: dict[str, Any]) -> None:
        try:
            self.fit.restore(state["fit"])
        except (KeyError, RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())[:100]
            raise InputError(
                f"{self.folder}/checkpoint.pt does not fit ({reason}); delete it, and the run begins anew"
            ) from None
        self.rows, self.done = state["rows"], state["validations"]
        if self.main and self.fit.step:
            print(f"{self.folder}: going on from step {self.fit.step:,}")

    @contextmanager
    def _bar(self) -> Iterator[tqdm]:
        """The progress bar: of steps, or of seconds where time is the budget."""
        recipe = self.fit.recipe
        if recipe.steps is not None:
            total, unit, done = recipe.steps, "step", self.fit.step
        else:
            total, unit, done = round(60 * (recipe.minutes or 0)), "s", round(self.fit.seconds)
        with tqdm(total=total, initial=done, unit=unit, desc="training", disable=not self.main) as bar:
            yield bar

    def _show(self, bar: tqdm, values: dict[str, float]) -> None:
        done = self.fit.step if self.fit.recipe.steps is not None else round(self.fit.seconds)
        bar.update(min(done, int(bar.total or 0)) - bar.n)
        shown = {"loss": f"{values['loss']:.3f}", "bpp": f"{values['bits_per_pixel']:.3f}"} if values else {}
        if self.fit.recipe.steps is None:
            shown["step"] = f"{self.fit.step:,}"
        if any(row["set"] == "validation" for row in self.rows):
            last = self.last_validation()
            row = last[len(last) // 2]
            shown["held_out"] = f"{row['psnr']:.2f} dB at {row['bits_per_pixel']:.3f}"
        bar.set_postfix(shown)

    @contextmanager
    def _ctrl_c(self) -> Iterator[None]:
        """The first Ctrl-C (or SIGTERM) within lets the step at hand end; a second one stops at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def heard(number: int, frame: object) -> None:
            self.interrupted = True
            signal.signal(number, former[signal.Signals(number)])

        former = {number: signal.signal(number, heard) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)


class _Interrupted(Exception):
    """Ctrl-C came during a validation."""


def means(measured: Sequence[dict[str, Tensor]]) -> dict[str, float]:
    """The mean of each number over several steps."""
    if not measured:
        return {}
    stacked = torch.stack([torch.stack(list(values.values())) for values in measured])
    return dict(zip(measured[0], stacked.float().mean(dim=0).tolist(), strict=True))
