"""`eyetune export DIR`: a trained metric as files for others, each checked against the live metric, and its card."""

import argparse
import copy
import functools
import json
import math
import os
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from metric.exporting import card as cards
from metric.exporting import exported, lpips_state, portable
from metric.network.backbones import LAYOUTS, SHIFT_TOLERANT, Backbone, Trunk
from metric.network.model import PerceptualMetric, heads_of
from metric.network.weights import fingerprint, load_backbone, read_state
from metric.training import runs
from study.errors import InputError, UnavailableError
from study.files import write_bytes, write_text

ENDINGS = {"safetensors": ".safetensors", "lpips": "-lpips.pth", "torch-export": ".pt2", "onnx": ".onnx"}
"""The formats, and how each file's name ends."""
TOLERANCES = {"safetensors": (0.0, 0.0), "lpips": (1e-4, 0.0), "torch-export": (1e-6, 1e-4), "onnx": (1e-6, 1e-4)}
"""How far a file's distance may be from the live metric's d: first + second * d. lpips has its epsilon elsewhere."""


@dataclass(frozen=True)
class Made:
    """A format's file, before it is written."""

    data: bytes
    distances: Callable[[Tensor, Tensor], Tensor]
    """What the file gives for a reference and a distorted image, by the program that it is for."""
    smallest: int
    """Pixels of the shortest side that it takes."""


def main(argv: list[str] | None = None) -> int | None:
    """Write the newest run's metric, or a given run's."""
    parser = argparse.ArgumentParser(prog="eyetune export", description=__doc__)
    parser.add_argument("folder", metavar="DIR", type=Path, help="a study (its newest finished run) or a run's folder")
    parser.add_argument("--out", type=Path, help="folder to write to (default: export/ in the run's folder)")
    parser.add_argument(
        "--formats", nargs="+", choices=tuple(ENDINGS), metavar="FORMAT",
        help=f"of {', '.join(ENDINGS)} (default: all that can be made here)",
    )  # fmt: skip
    parser.add_argument("--backbone-weights", type=Path, metavar="FILE", help="as given to eyetune train")
    parser.add_argument("--force", action="store_true", help="replace the export that is there, as a whole")
    options = parser.parse_args(argv)

    run_folder = _run_folder(options.folder)
    record = runs.read_settings(run_folder)
    metric = read_run(run_folder, options.backbone_weights)
    scores = runs.read_scores(run_folder)
    name = f"{record['settings']['data']}-{run_folder.name}".replace("/", "_").replace(" ", "-")
    card = {
        "name": name,
        "votes": record["settings"]["whose_votes"],
        "voters": record["settings"].get("trained_on", scores["voters"].iloc[0]),
        "start": record.get("training", {}).get("start", record["settings"].get("start")),
        "settings": record["settings"] | {"backbone": _without_folder(record["settings"]["backbone"])},
        "versions": record["versions"],
        "commit": record["commit"],
        "scores": _rows(scores),
        "robustness": _robustness(run_folder / "robustness.csv"),
    }
    written = write(metric, options.out or run_folder / "export", card, options.formats, options.force)
    for path in written:
        print(path)
    if written[0].suffix == ".safetensors":
        print(f'use it: metric.load("{written[0]}"), or eyetune score OTHER_STUDY --metrics {written[0]}')
    return 0


def write(
    metric: PerceptualMetric, out: Path, card: Mapping[str, Any], formats: Collection[str] | None = None,
    force: bool = False,
) -> list[Path]:  # fmt: skip
    """The files written to the folder `out`: `metric` in each of `formats` (see ENDINGS) and, last, the model card.

    `card`: plain values, `name` among them. `formats` None: all that can be made here; a line says why the others
    cannot. All files are checked before one is written. Raises InputError; also for an export that is there already,
    which `force` replaces as a whole.
    """
    unknown = set(formats or ()) - set(ENDINGS)
    if unknown:
        raise InputError(f"unknown format {unknown.pop()!r}; there are: {', '.join(ENDINGS)}")
    paths = {kind: out / f"{card['name']}{ending}" for kind, ending in ENDINGS.items()}
    card_path = out / f"{card['name']}.md"
    if card_path.exists() and not force:  # without it an export is unfinished
        raise InputError(f"{card_path} is there already; replace this export with --force")
    _check_folder(out)
    metric = copy.deepcopy(metric).cpu().float().eval().requires_grad_(False)
    description = exported.describe_metric(metric, card)
    made = _make(metric, description, formats)
    for kind, file in made.items():
        write_bytes(paths[kind], file.data)
    for kind in paths.keys() - made.keys():
        paths[kind].unlink(missing_ok=True)  # of the export that this one replaces: it may be another metric
    names = {kind: paths[kind].name for kind in made}
    write_text(card_path, cards.markdown(description, names, {kind: file.smallest for kind, file in made.items()}))
    return [*(paths[kind] for kind in made), card_path]


def read_run(folder: Path, backbone_weights: Path | None = None) -> PerceptualMetric:
    """The metric that a finished run trained, with its calibration where it has one. Raises InputError.

    A run whose trunk was trained too (settings["mode"] is not linear) has all weights in metric.safetensors; of the
    others heads.safetensors has the heads, and the trunk is looked up (`backbone_weights` or `load_backbone`).
    """
    settings = runs.read_settings(folder)["settings"]
    if settings.get("mode", "linear") == "linear":
        backbone = load_backbone(settings["backbone"], backbone_weights)
        _check_trunk(folder, settings, backbone)
        if fingerprint(backbone.state_dict()) != settings["backbone_sha256"]:
            raise InputError(f"{folder}: trained on other {backbone.name} weights; give them: --backbone-weights")
        metric = PerceptualMetric(backbone, runs.read_heads(folder))
    else:
        path = folder / "metric.safetensors"
        state = read_state(path)
        name = settings["backbone"]
        backbone = Backbone(name) if name in LAYOUTS | SHIFT_TOLERANT else load_backbone(name, backbone_weights)
        _check_trunk(folder, settings, backbone)
        try:
            metric = PerceptualMetric(backbone, heads_of(state))
            metric.load_state_dict(state)
        except (KeyError, RuntimeError, ValueError) as error:
            raise InputError(f"{path}: not the weights of this run ({str(error).splitlines()[0]})") from None
    metric.calibration = _calibration(folder / "calibration.json")
    return metric


def _check_trunk(folder: Path, settings: Mapping[str, Any], backbone: Trunk) -> None:
    """A trunk in a file has its code's hash in its name: other code gives other distances with the same weights."""
    known = settings.get("trunk", backbone.name)
    if known != backbone.name:
        raise InputError(f"{folder}: trained on the trunk {known}; {settings['backbone']} is now {backbone.name}")


def _without_folder(backbone: str) -> str:
    """`path/to/file.py:function` without the path, which is nobody else's business; other names as they are."""
    return Path(backbone).name if ".py:" in backbone else backbone


def _calibration(path: Path) -> dict[str, Any] | None:
    """The plain values in calibration.json; None where the run was not calibrated."""
    try:
        calibration = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise InputError(f"{path}: not readable ({error}); train again") from None
    if isinstance(calibration, dict) and _is_plain(calibration):
        return calibration
    raise InputError(f"{path}: expected an object of numbers and texts; train again")


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(part) for key, part in value.items())
    return isinstance(value, str | int | None) or (isinstance(value, float) and math.isfinite(value))


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The table's rows as plain values; what is missing is an empty text."""
    return table.astype(object).where(table.notna(), "").to_dict("records")


def _robustness(path: Path) -> list[dict[str, Any]]:
    try:
        return _rows(pd.read_csv(path)) if path.exists() else []
    except ValueError as error:
        raise InputError(f"{path}: not readable ({error}); score again") from None


def _run_folder(folder: Path) -> Path:
    if (folder / "run.json").exists():
        if not runs.is_finished(folder):
            raise InputError(f"{folder}: the run is not finished; run its eyetune train again to go on with it")
        return folder
    newest = runs.newest_run(folder / "runs")
    if newest is None:
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder")
        if not (folder / "study.toml").exists() and not (folder / "runs").is_dir():
            raise InputError(f"{folder} is not a study folder, a run's, or one with runs in it")
        raise InputError(f"{folder} has no finished run; train one with: eyetune train {folder}")
    return newest


def _check_folder(out: Path) -> None:
    """Before the work: that `out` can be written to."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: a file, not a folder; name another folder with --out")
    out.mkdir(parents=True, exist_ok=True)
    if not os.access(out, os.W_OK):
        raise InputError(f"{out}: cannot be written to; name another folder with --out")


def _make(metric: PerceptualMetric, description: Mapping[str, Any], formats: Collection[str] | None) -> dict[str, Made]:
    program = functools.cache(lambda: portable.program(metric))  # for two formats

    def safetensors() -> Made:
        data = exported.to_bytes(metric, description)
        return Made(data, _loaded(data, metric, description["built_in"]), metric.backbone.smallest)

    def lpips() -> Made:
        data = lpips_state.to_bytes(metric, description["card"].get("voters"))
        return Made(data, lpips_state.distances(data, metric), metric.backbone.smallest)

    def torch_export() -> Made:
        data = portable.to_torch_export(program(), description)
        distances = portable.torch_export_distances(data)
        return Made(data, distances, portable.smallest_side(distances, metric))

    def onnx() -> Made:
        portable.check_onnx()
        data = portable.to_onnx(program(), description)
        return Made(data, portable.onnx_distances(data), metric.backbone.smallest)

    makers = {"safetensors": safetensors, "lpips": lpips, "torch-export": torch_export, "onnx": onnx}
    cases = _cases(metric)
    made = {}
    for kind in tqdm([kind for kind in ENDINGS if formats is None or kind in formats], desc="export", unit="file"):
        try:
            file = makers[kind]()
        except UnavailableError as error:
            if formats is not None:
                raise InputError(f"{kind}: {error}") from None
            tqdm.write(f"{kind}: not written: {error}")
            continue
        _check(kind, file, cases)
        made[kind] = file
    return made


def _loaded(data: bytes, metric: PerceptualMetric, built_in: bool) -> PerceptualMetric:
    """What `metric.load` makes of the file; a trunk of the user's gets all its weights from there."""
    backbone = None if built_in else copy.deepcopy(metric.backbone)
    for value in [] if backbone is None else backbone.state_dict().values():
        value.zero_()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "metric.safetensors"
        path.write_bytes(data)
        return exported.load(path, backbone)


def _cases(metric: PerceptualMetric) -> list[tuple[Tensor, Tensor, Tensor]]:
    """References, distorted images and the live metric's distances, of several sizes and numbers of images."""
    side, patches = metric.backbone.smallest, portable.SIDE * -(-metric.backbone.smallest // portable.SIDE)
    random = torch.Generator().manual_seed(1)
    cases = []
    for n, height, width in ((1, patches, patches), (1, side, side), (2, max(64, side), max(64, side)),
                             (3, 2 * side + 1, side + 18), (1, side + 150, 2 * side + 257)):  # fmt: skip
        reference = torch.rand(n, 3, height, width, generator=random)
        near = (reference + 0.03 * torch.randn(reference.shape, generator=random)).clamp(0, 1)
        others = (torch.rand(reference.shape, generator=random), reference) if n == 2 else ()
        for distorted in (near, *others):
            try:
                with torch.inference_mode():
                    cases.append((reference, distorted, metric(reference, distorted)))
            except InputError:
                if height == patches:
                    raise
                # else a trunk of the user's, which may take some sizes only
    return cases


def _check(kind: str, made: Made, cases: Sequence[tuple[Tensor, Tensor, Tensor]]) -> None:
    """Raise InputError unless the file gives the live metric's distances."""
    absolute, relative = TOLERANCES[kind]
    for reference, distorted, live in cases:
        height, width = reference.shape[2:]
        if min(height, width) < made.smallest:
            continue
        try:
            with torch.inference_mode():
                given = made.distances(reference, distorted)
        except Exception as error:  # of torch, onnxruntime, lpips: they have none in common
            reason = " ".join(str(error).split())[:200]
            raise InputError(
                f"{kind}: the file cannot be run on images of {width} x {height} pixels ({reason}); nothing was"
                " written; leave this format out with --formats"
            ) from None
        if given.shape != live.shape or not bool(((given - live).abs() <= absolute + relative * live).all()):
            raise InputError(
                f"{kind}: the file gives {given.flatten().tolist()} for images of {width} x {height} pixels, the"
                f" metric {live.tolist()}; nothing was written; leave this format out with --formats"
            )
