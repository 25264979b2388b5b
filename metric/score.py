"""`eyetune score DATA`: what metrics say of each triplet, and how often the votes agree with them."""

import argparse
from pathlib import Path

import pandas as pd

from metric import exported, judged, runs
from metric.data import Data
from metric.data_open import add_options, open_from
from metric.measures import MEASURES, Measure, measure
from metric.pairs import over_references, pairs_of, rows_of
from study import tables
from study.errors import UnavailableError
from study.files import write_text
from study.folder import read_scores
from study.records import Score

SCORES = "scores.parquet"
BASELINES = ("psnr", "ms-ssim", "lpips-alex", "lpips-vgg", "lpips-squeeze")


def main(argv: list[str] | None = None) -> int | None:
    """Score the data's comparisons."""
    parser = argparse.ArgumentParser(prog="eyetune score", description=__doc__)
    add_options(parser)
    parser.add_argument(
        "--metrics",
        nargs="+",
        metavar="NAME",
        help=f"from {', '.join(MEASURES)}, or files that eyetune export wrote (default: those that can be computed here"
        f" of {', '.join(BASELINES)})",
    )
    parser.add_argument("--force", action="store_true", help="compute again what scores.parquet already has")
    options = parser.parse_args(argv)

    data = open_from(options, unvoted=True)
    if options.metrics:
        scores = dict(score(data, name, options.force) for name in options.metrics)
    else:
        scores, missing = baselines(data)
        for name, reason in missing.items():
            print(f"{name}: not computed: {reason}")
    print(f"{data.folder / SCORES}: {', '.join(scores)} of {len(to_score(data)):,} comparisons")
    if data.comparisons.empty:
        print("no votes yet, so nothing says which metric is right")
        return 0
    rows = judged.table(data, scores, _trained_here(data, options.metrics or []))
    photographs = data.comparisons["source"].nunique()
    print(f"{data.whose}; {len(data.comparisons):,} comparisons of {photographs} photographs; {judged.INTERVALS}")
    print(judged.text(rows))
    path = data.folder / "report" / "metrics.csv"
    write_text(path, judged.frame(rows, data).to_csv(index=False))
    print(f"the same table: {path}")
    return 0


def _trained_here(data: Data, names: list[str]) -> dict[str, str]:
    """A note for each exported metric that learned from these very comparisons."""
    digest = runs.digest(to_score(data))
    paths = [Path(name) for name in names if name.endswith(".safetensors")]
    cards = {exported.name_of(path): exported.describe(path)["card"] for path in paths}
    note = "trained on these very comparisons: NOT held out"
    return {name: note for name, card in cards.items() if card["settings"]["comparisons_sha256"] == digest}


def to_score(data: Data) -> pd.DataFrame:
    """id, reference, a, b of the comparisons that metrics give distances for."""
    return data.comparisons[["id", "reference", "a", "b"]] if data.to_score is None else data.to_score


def score(data: Data, name: str, again: bool = False) -> tuple[str, pd.DataFrame]:
    """The metric's name in tables, and its distances (columns distance_a, distance_b) indexed by comparison.

    Read from scores.parquet where every comparison is there, else computed and stored. Raises InputError.
    """
    if name in data.distances:
        return name, data.distances[name]
    path = data.folder / SCORES
    known = read_scores(path)
    found = measure(name) if name not in MEASURES and name not in set(known["metric"]) else None
    title = found.name if found else name
    mine = known[known["metric"] == title].set_index("triplet")
    if again or not set(to_score(data)["id"]) <= set(mine.index):
        mine = _compute(data, found or measure(name))
        others = known[known["metric"] != title]
        stored = mine.reset_index().assign(metric=title)
        merged = pd.concat([others, stored], ignore_index=True) if len(others) else stored
        tables.write(merged[["triplet", "metric", "distance_a", "distance_b"]], path, Score)
    return title, mine[["distance_a", "distance_b"]]


def baselines(data: Data) -> tuple[dict[str, pd.DataFrame], dict[str, str]]:
    """The distances of each of BASELINES that can be had here, and of the others why they cannot."""
    scores, missing = {}, {}
    for name in BASELINES:
        try:
            scores[name] = score(data, name)[1]
        except UnavailableError as error:
            missing[name] = str(error)
    return scores, missing


def _compute(data: Data, found: Measure) -> pd.DataFrame:
    comparisons = to_score(data)
    pairs = pairs_of(comparisons)
    distances = over_references(data, pairs, found.prepare, found.compare, found.name).double().numpy()
    columns = {f"distance_{side}": distances[rows_of(pairs, comparisons, side)] for side in ("a", "b")}
    return pd.DataFrame({"triplet": comparisons["id"].to_numpy(), **columns}).set_index("triplet")
