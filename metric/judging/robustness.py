"""How a metric behaves where no vote is needed to know what is right: identity, symmetry, ladders, shift, resize.

A metric to be trusted as a loss is 0 for identical images and nowhere negative, ranks the steps of one codec, and does
not change its mind because an image has moved by a pixel, which no observer sees (Ghildyal and Liu 2022,
"Shift-tolerant perceptual similarity metric", section 3), or because all images were scaled alike.
"""

from collections.abc import Mapping
from contextlib import suppress

import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr
from torch import Tensor
from torch.nn.functional import interpolate
from tqdm import tqdm

from analysis.agreement import Floats
from analysis.correlation import ladder_tau
from metric.data.judgments import Data
from metric.measures import Measure
from metric.pairs import load_images
from study.errors import InputError, UnavailableError

SHIFTS = (1, 2, 3, 4)
SCALES = (0.5, 1.5)
WINDOW = 192  # pixels: shifts and scales are tested in the middle of the images, which takes half as long
COUNT = 32  # comparisons, two pairs of images each
COLUMNS = ["metric", "test", "value", "meaning"]
MEANINGS = {
    "identity": "largest |d(x, x)|; 0 is right",
    "least": "smallest distance that was seen; none should be below 0",
    "symmetry": "largest |d(x, y) - d(y, x)|, in typical distances",
    "steps": "share of a ladder's steps that are in order",
    "tau": "Kendall's tau-b of distance and level, mean over ladders",
    **{f"shift {k}": f"how far the distance moves when the image moves by {k} px, in typical ones" for k in SHIFTS},
    **{f"flips {k}": f"share of comparisons decided otherwise when both images move by {k} px" for k in SHIFTS},
    **{f"scale {s:g}": f"Spearman's correlation of distances at {s:g} times the size with those at full size"
       for s in SCALES},
}  # fmt: skip
SHOWN = (
    ("identity", "least", "symmetry", "steps", "tau"),
    ("shift 1", "shift 4", "flips 1", "flips 4", "scale 0.5", "scale 1.5"),
)  # what a terminal shows


def robustness(
    data: Data, found: Measure, on_ladders: Floats | None = None, count: int = COUNT, seed: int = 1
) -> pd.DataFrame:
    """A row for each test that could be made of the metric: metric, test, value, meaning.

    Tests need `count` comparisons of `data`, drawn by `seed` evenly over photographs; a typical distance is the median
    of their distances. `on_ladders`: the metric's distances of `data.ladders`, row for row. A test for which the images
    are too small is left out. Raises InputError where there is nothing to test with.
    """
    values: dict[str, float] = {}
    chosen = sample(data, count, seed)
    if chosen.empty and on_ladders is None:
        raise InputError(f"{data.name}: no comparisons and no ladders to test robustness with")
    if len(chosen):
        values |= _of_comparisons(data, found, chosen, seed)
    if on_ladders is not None and len(data.ladders):
        values |= of_ladders(data.ladders, on_ladders)
    rows = [(found.name, test, values[test], MEANINGS[test]) for test in MEANINGS if test in values]
    return pd.DataFrame(rows, columns=COLUMNS)


def sample(data: Data, count: int, seed: int) -> pd.DataFrame:
    """`count` comparisons (fewer where there are fewer), drawn evenly over references."""
    table = data.comparisons if data.to_score is None else data.to_score
    table = table.sample(frac=1, random_state=seed)
    turn = table.groupby("reference").cumcount()
    return table.assign(turn=turn).sort_values("turn", kind="stable").head(count)[["id", "reference", "a", "b"]]


def of_ladders(ladders: pd.DataFrame, distance: Floats) -> dict[str, float]:
    """steps: the share of neighbouring steps in which the better image is nearer (ties half); tau: `ladder_tau`."""
    table = ladders.assign(distance=distance).sort_values(["ladder", "level"])
    change = table.groupby("ladder")["distance"].diff()
    risen = table.groupby("ladder")["level"].diff() > 0
    steps = np.sign(change[risen].to_numpy(float))
    names = ladders["ladder"]
    tau = ladder_tau(distance, -ladders["level"].astype(float), names, names)[1].value
    return {"steps": float((1 - steps).mean() / 2) if steps.size else np.nan, "tau": tau}


def text(table: pd.DataFrame) -> str:
    """The table for a terminal: a metric a line, in two blocks, and below what the columns mean."""
    names = list(dict.fromkeys(table["metric"]))
    values = table.set_index(["metric", "test"])["value"]
    width = max(map(len, names))
    lines = []
    for shown in SHOWN:
        tests = [test for test in shown if test in set(table["test"])]
        if tests:
            lines.append("  " + " " * width + "".join(f"  {test:>9}" for test in tests))
        for name in names if tests else []:
            cells = (f"{values[name, test]:.3g}" if (name, test) in values.index else "-" for test in tests)
            lines.append(f"  {name:<{width}}" + "".join(f"  {cell:>9}" for cell in cells))
    meant = [test for shown in SHOWN for test in shown if not test.endswith(("4", "1.5"))]
    return "\n".join([*lines, *(f"  {test}: {MEANINGS[test]}" for test in meant if test in set(table["test"]))])


def _of_comparisons(data: Data, found: Measure, chosen: pd.DataFrame, seed: int) -> dict[str, float]:
    random = np.random.default_rng(seed)
    kept: dict[str, list[Floats]] = {}
    with torch.inference_mode():
        for row in tqdm(chosen.itertuples(), total=len(chosen), desc=f"{found.name} robustness", unit="comparison"):
            reference, a, b = load_images(data, [str(row.reference), str(row.a), str(row.b)]).split(1)
            turned = bool(random.integers(2))  # moved along x, or along y
            for test, values in _of_one(found, reference, torch.cat([a, b]), turned).items():
                kept.setdefault(test, []).append(values)
    stacked = {test: np.stack(values) for test, values in kept.items() if len(values) == len(chosen)}
    return _summary(stacked)


def _of_one(found: Measure, reference: Tensor, images: Tensor, turned: bool) -> dict[str, Floats]:
    """Distances of one comparison's images `(2, 3, H, W)`, by test; those of `moved` and scaled ones in a window."""
    values = {
        "plain": _distances(found, reference, images),
        "identity": _distances(found, reference, reference),  # alone: in a batch other kernels may round otherwise
        "back": _distances(found, images[:1], reference),
    }
    height, width = (min(side - 2 * max(SHIFTS), WINDOW) for side in reference.shape[2:])
    top, left = ((side - inner) // 2 for side, inner in zip(reference.shape[2:], (height, width), strict=True))

    def window(of: Tensor, shift: int = 0) -> Tensor:
        y, x = (top + shift, left) if turned else (top, left + shift)
        return of[:, :, y : y + height, x : x + width]

    with suppress(UnavailableError):  # too small for this metric
        moved = torch.cat([window(images, shift) for shift in (0, *SHIFTS)])
        values["moved"] = _distances(found, window(reference), moved).reshape(-1, 2)
    for scale in SCALES:
        with suppress(UnavailableError):
            scaled = (_scaled(window(part), scale) for part in (reference, images))
            values[f"scale {scale:g}"] = _distances(found, *scaled)
    return values


def _distances(found: Measure, reference: Tensor, distorted: Tensor) -> Floats:
    return found.compare(found.prepare(reference), distorted).double().cpu().numpy()


def _scaled(images: Tensor, scale: float) -> Tensor:
    size = [round(scale * side) for side in images.shape[2:]]
    return interpolate(images, size, mode="bilinear", antialias=True).clamp(0, 1)


def _summary(kept: Mapping[str, Floats]) -> dict[str, float]:
    plain = kept["plain"]
    typical = float(np.median(np.abs(plain))) or 1.0
    values = {
        "identity": float(np.abs(kept["identity"]).max()),
        "least": float(min(part.min() for part in kept.values())),
        "symmetry": float(np.abs(plain[:, :1] - kept["back"]).max()) / typical,
    }
    if "moved" in kept:
        moved = kept["moved"]  # (comparisons, 1 + shifts, 2)
        preferred = np.sign(moved[:, :, 0] - moved[:, :, 1])
        for k, shift in enumerate(SHIFTS, start=1):
            values[f"shift {shift}"] = float(np.median(np.abs(moved[:, k] - moved[:, 0]))) / typical
            values[f"flips {shift}"] = float((preferred[:, k] * preferred[:, 0] < 0).mean())
    for scale in SCALES:
        test = f"scale {scale:g}"
        if test in kept and "moved" in kept and np.ptp(kept["moved"][:, 0]) and np.ptp(kept[test]):
            values[test] = float(spearmanr(kept["moved"][:, 0].ravel(), kept[test].ravel()).statistic)
    return values
