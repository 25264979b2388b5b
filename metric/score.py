"""`eyetune score DIR`: what metrics say of each triplet, and how often the votes agree with them."""

import argparse
from pathlib import Path

import pandas as pd

from metric import exported, judged, runs
from metric.measures import MEASURES, Measure, measure
from metric.pooled import over_references, pairs_of
from study import tables
from study.errors import UnavailableError
from study.files import write_text
from study.folder import VOTERS, Study
from study.records import Score

BASELINES = ("psnr", "ms-ssim", "lpips-alex", "lpips-vgg", "lpips-squeeze")


def main(argv: list[str] | None = None) -> int | None:
    """Score the study's triplets."""
    parser = argparse.ArgumentParser(prog="eyetune score", description=__doc__)
    parser.add_argument("study", metavar="DIR", help="a study folder")
    parser.add_argument(
        "--metrics",
        nargs="+",
        metavar="NAME",
        help=f"from {', '.join(MEASURES)}, or files that eyetune export wrote (default: those that can be computed here"
        f" of {', '.join(BASELINES)})",
    )
    parser.add_argument("--voters", choices=VOTERS, default="auto", help="whose votes (%(default)s)")
    parser.add_argument("--force", action="store_true", help="compute again what scores.parquet already has")
    options = parser.parse_args(argv)

    study = Study(options.study)
    if options.metrics:
        scores = {name: score for name in options.metrics for name, score in [score_study(study, name, options.force)]}
    else:
        scores, missing = baselines(study)
        for name, reason in missing.items():
            print(f"{name}: not computed: {reason}")
    print(f"{study.scores_path}: {', '.join(scores)} of {len(study.triplets):,} triplets")
    if not study.has_votes():
        print("no votes yet, so nothing says which metric is right")
        return 0
    judgments, whose = judged.attentive_judgments(study, options.voters)
    voted = judged.voted_triplets(study, judgments)
    rows = judged.table(judgments, voted, scores, _trained_here(study, options.metrics or []))
    print(f"{whose}; {len(voted):,} test triplets of {voted['source'].nunique()} photographs; {judged.INTERVALS}")
    print(judged.text(rows))
    path = study.report_folder / "metrics.csv"
    write_text(path, judged.frame(rows, judgments).to_csv(index=False))
    print(f"the same table: {path}")
    return 0


def _trained_here(study: Study, names: list[str]) -> dict[str, str]:
    """A note for each exported metric that learned from this very study."""
    digest = runs.digest(study.triplets)
    paths = [Path(name) for name in names if name.endswith(".safetensors")]
    cards = {exported.name_of(path): exported.describe(path)["card"] for path in paths}
    note = "trained on votes of this very study: NOT held out"
    return {name: note for name, card in cards.items() if card["settings"]["triplets_sha256"] == digest}


def score_study(study: Study, name: str, again: bool = False) -> tuple[str, pd.DataFrame]:
    """The metric's name in tables, and its distances (columns distance_a, distance_b) indexed by triplet.

    Read from scores.parquet where every triplet is there, else computed and stored. Raises InputError.
    """
    known = study.scores()
    found = measure(name) if name not in MEASURES and name not in set(known["metric"]) else None
    title = found.name if found else name
    mine = known[known["metric"] == title].set_index("triplet")
    if again or not set(study.triplets["id"]) <= set(mine.index):
        mine = _compute(study, found or measure(name))
        others = known[known["metric"] != title]
        stored = mine.reset_index().assign(metric=title)
        merged = pd.concat([others, stored], ignore_index=True) if len(others) else stored
        tables.write(merged[["triplet", "metric", "distance_a", "distance_b"]], study.scores_path, Score)
    return title, mine[["distance_a", "distance_b"]]


def baselines(study: Study) -> tuple[dict[str, pd.DataFrame], dict[str, str]]:
    """The distances of each of BASELINES that can be had here, and of the others why they cannot."""
    scores, missing = {}, {}
    for name in BASELINES:
        try:
            scores[name] = score_study(study, name)[1]
        except UnavailableError as error:
            missing[name] = str(error)
    return scores, missing


def _compute(study: Study, found: Measure) -> pd.DataFrame:
    pairs = pairs_of(study, study.triplets)
    distances = over_references(study, pairs, found.prepare, found.compare, found.name)
    return by_triplet(study, study.triplets, pairs.assign(distance=distances.double().numpy()))


def by_triplet(study: Study, triplets: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """Distances indexed by triplet, of distances by pair."""
    digests = study.stimuli.set_index("id")["sha256"]
    distance = pairs.set_index(["reference", "distorted"])["distance"]
    columns = {"triplet": triplets["id"].to_numpy()}
    for side in ("a", "b"):
        keys = pd.MultiIndex.from_arrays([digests[triplets["reference"]], digests[triplets[side]]])
        columns[f"distance_{side}"] = distance.reindex(keys).to_numpy()
    return pd.DataFrame(columns).set_index("triplet")
