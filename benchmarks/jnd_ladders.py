"""Are the JND ladders of KonJND-1k's quiz put in order by a metric that eyetune trained?

    EYETUNE_BACKBONES=../shared/data/backbones python benchmarks/jnd_ladders.py \
        --photographs ../shared/data/photos/bsds500/train --ladders ../shared/data/jnd_ladders/konjnd

A metric is trained from nothing but photographs, with eyetune's own verbs: distort, simulate (observers who vote as
LPIPS-VGG sees; they are SIMULATED), train, export. It is then scored on 4 photographs that it has never seen, two under
20 qualities of JPEG and two under 13 of BPG, a codec that its votes knew nothing of. Kendall's tau-b is within each
ladder. That a higher index is a better image is checked by PSNR.

Second question: did people find the same distance just noticeable in all four? The study accepted a range of settings
as the threshold. Each photograph's threshold is foretold by the mean log distance at the middle of the others' ranges.

A small run: --count 4 --observers 6 --steps 500. Minutes; what is done already in --work is kept.
"""

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

if __name__ == "__main__":  # run by path: imports begin at the checkout's root, not in this file's folder
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import numpy as np
import pandas as pd
import torch
from scipy.stats import kendalltau

import eyetune
from metric.data.sources import open_data
from metric.score import score_pairs, title_of
from metric.training import runs
from study.folder import Study

CODECS = ("jpeg", "webp", "jpeg2000")
BASELINES = ("psnr", "lpips-alex", "lpips-vgg")


def main() -> None:
    """Train, score, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=Path, required=True, help="a folder; the first --count by name are taken")
    parser.add_argument("--ladders", type=Path, required=True, help="KonJND's images and ladder.csv")
    parser.add_argument("--work", type=Path, help="where the study is made (default: a new folder)")
    parser.add_argument("--count", type=int, default=10, help="photographs (%(default)s)")
    parser.add_argument("--observers", type=int, default=30, help="simulated (%(default)s)")
    parser.add_argument("--simulator", default="lpips-vgg", help="the metric that they vote by (%(default)s)")
    parser.add_argument("--steps", type=int, default=5000, help="of training (%(default)s)")
    parser.add_argument("--force", action="store_true", help="score again where distances are kept")
    options = parser.parse_args()
    torch.set_num_threads(min(2, torch.get_num_threads()))
    work = options.work or Path(tempfile.mkdtemp(prefix="eyetune-ladders-"))
    exported = trained(work, options)

    table = ladder_table(options.ladders)
    path = work / "ladders.csv"
    table[["ladder", "source", "reference", "distorted", "level"]].to_csv(path, index=False)
    data = open_data(path, out=work / "scored")
    names = [*BASELINES, str(exported)]
    titles = {name: title_of(data, name) for name in names}
    distances = score_pairs(data, titles, options.force)["ladders"]
    check_sign(table, distances["psnr"])
    print(
        f"\nload {os.getloadavg()[0]:.1f}; the votes behind {titles[str(exported)]} are SIMULATED ({options.simulator})"
    )
    print("\nKendall's tau-b of distance and level\n" + taus(table, distances).to_string(float_format="%.3f"))
    print("\ndistance at the middle of the accepted range of thresholds, and whether the other three's foretell it")
    print(thresholds(table, distances).to_string(float_format=lambda value: f"{value:.4g}"))


def trained(work: Path, options: argparse.Namespace) -> Path:
    """The file of a metric trained on simulated votes about the photographs; what is done already is kept."""
    root = work / "study"
    if not (root / "study.toml").exists():
        chosen = sorted(path for path in options.photographs.iterdir() if path.suffix.lower() in (".jpg", ".png"))
        photographs = work / "photographs"
        photographs.mkdir(parents=True, exist_ok=True)
        for path in chosen[: options.count]:
            shutil.copyfile(path, photographs / path.name)
        verb("new", root, "--images", photographs, "--codecs", *CODECS)
    verb("distort", root)
    verb("simulate", root, "--observers", options.observers, "--metric", options.simulator)
    newest = runs.newest_run(Study(root).runs_folder)
    if newest is None:
        verb("train", root, "--steps", options.steps, "--voters", "simulated")
        newest = runs.newest_run(Study(root).runs_folder)
    assert newest
    if not list((newest / "export").glob("*.md")):
        verb("export", root, "--formats", "safetensors")
    return next((newest / "export").glob("*.safetensors"))


def verb(name: str, *arguments: object) -> None:
    """Run one eyetune command; its failure ends the script."""
    words = [name, *map(str, arguments)]
    print("$ eyetune", *words, flush=True)
    if eyetune.main(words):
        sys.exit(f"eyetune {name} failed")


def ladder_table(folder: Path) -> pd.DataFrame:
    """The steps with absolute paths: ladder, source, reference, distorted, level, low, high (the accepted levels)."""
    table = pd.read_csv(folder / "ladder.csv")
    return pd.DataFrame({
        "ladder": table["source"].str.removesuffix(".png") + " " + table["codec"],
        "source": table["source"],
        "reference": [str(folder.resolve() / name) for name in table["source"]],
        "distorted": [str(folder.resolve() / name) for name in table["file"]],
        "level": table["file_index"],
        # The slider runs against the file index: 101 - slider.
        "low": 101 - table["accepted_slider_max"],
        "high": 101 - table["accepted_slider_min"],
    })  # fmt: skip


def check_sign(table: pd.DataFrame, minus_psnr: np.ndarray) -> None:
    """That PSNR rises with the level throughout; else the levels say nothing and the script ends."""
    for name, steps in table.assign(psnr=-minus_psnr).groupby("ladder"):
        psnr = steps.sort_values("level")["psnr"].to_numpy()
        print(
            f"{name}: PSNR {psnr[0]:.1f} to {psnr[-1]:.1f} dB, {int((np.diff(psnr) > 0).sum())} of {len(psnr) - 1} up"
        )
        if psnr[0] >= psnr[-1]:
            sys.exit(f"{name}: a higher index is not a better image")


def taus(table: pd.DataFrame, distances: dict[str, np.ndarray]) -> pd.DataFrame:
    """Kendall's tau-b, a row a metric, a column a ladder, and the mean and the least."""
    rows = {}
    for name, d in distances.items():
        parts = table.assign(d=d).groupby("ladder")
        rows[name] = {ladder: -kendalltau(part["d"], part["level"]).statistic for ladder, part in parts}
    found = pd.DataFrame(rows).T
    return found.assign(mean=found.mean(axis=1), least=found.min(axis=1))


def thresholds(table: pd.DataFrame, distances: dict[str, np.ndarray]) -> pd.DataFrame:
    """Per metric: the distance at each ladder's accepted middle; their largest ratio; how many are foretold.

    Distances are interpolated between steps, on a log scale (PSNR as the root of the squared error). A ladder is
    foretold where the level at the others' mean log distance lies in its accepted range.
    """
    rows = {}
    for name, d in distances.items():
        log = d * np.log(10) / 20 if name == "psnr" else np.log(d)
        curves = {ladder: part.sort_values("level") for ladder, part in table.assign(log=log).groupby("ladder")}
        middle = {
            ladder: float(np.interp((part["low"].iloc[0] + part["high"].iloc[0]) / 2, part["level"], part["log"]))
            for ladder, part in curves.items()
        }
        foretold = 0
        for ladder, part in curves.items():
            other = np.mean([value for key, value in middle.items() if key != ladder])
            # Distances fall with the level; where a metric errs on that the order is forced for the look-up.
            falling = np.minimum.accumulate(part["log"].to_numpy())
            level = float(np.interp(-other, -falling, part["level"]))
            foretold += int(part["low"].iloc[0] <= level <= part["high"].iloc[0])
        values = np.exp([*middle.values()])
        rows[name] = dict(zip(middle, values, strict=True)) | {
            "largest ratio": values.max() / values.min(), "foretold": f"{foretold} of {len(middle)}",
        }  # fmt: skip
    return pd.DataFrame(rows).T


if __name__ == "__main__":
    main()
