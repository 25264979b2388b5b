"""`eyetune score DATA...`: what metrics say of each comparison, and how well that is what people answered."""

import argparse
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.agreement import Floats
from metric.data.judgments import Data
from metric.data.sources import add_options, open_from
from metric.exporting import exported
from metric.judging import breakdown, judged, paired_tests, robustness
from metric.judging import report as score_report
from metric.judging.distances import distances_of
from metric.measures import MEASURES, measure
from metric.pairs import pairs_of, rows_of
from metric.training import runs
from study import tables
from study.errors import InputError, UnavailableError
from study.files import sha256, write_text
from study.folder import read_scores
from study.records import Score

SCORES = "scores.parquet"
BASELINES = ("psnr", "ssim", "ms-ssim", "lpips-alex", "lpips-vgg", "lpips-squeeze", "dists")
SLOW = ("dists",)  # in a report that nobody asked for it: VGG16 again, with its poolings at full size
MANY = 2000  # photographs that an exported file lists
OF_PAIRS = ("same_different", "ratings", "ladders")


def main(argv: list[str] | None = None) -> int | None:
    """Judge metrics by what people answered."""
    options = _parser().parse_args(argv)
    if options.robustness is not None and options.robustness < 2:
        raise InputError(f"--robustness {options.robustness}: must be 2 or more comparisons")
    data = open_from(options, unvoted=True)
    names = list(dict.fromkeys([*(options.metrics or []), *(options.baselines or [])]))
    titles = {name: title_of(data, name) for name in names}  # a wrong name is said before the work begins
    if names:
        scores = dict(score(data, name, options.force) for name in names if not _of_pairs_only(data, name))
    else:
        scores, missing = defaults(data, options.force)
        _print_missing(missing)
        titles = {name: name for name in [*scores, *data.pair_distances]}
    if not titles:
        raise InputError(f"{data.name}: no metric could be computed; name others with --metrics")
    stored = [title for title in scores if title not in data.distances]
    if stored and len(to_score(data)):
        print(f"{data.folder / SCORES}: {', '.join(stored)} of {len(to_score(data)):,} comparisons")
    if data.to_score is not None and data.comparisons.empty:
        print("no votes yet, so nothing says which metric is right")
        return 0

    pairs = score_pairs(data, titles, options.force)
    notes = _trained_here(data, names)
    predicted = judged.chances(data, scores)
    rows = judged.table(data, scores, notes, pairs, predicted)
    print(_what(data))
    print(judged.text(rows))
    slices = {way: breakdown.breakdown(data, scores, way) for way in breakdown.WAYS}
    for way in dict.fromkeys(options.by or ["part"]):
        if len(slices[way]):
            print(f"\n{breakdown.text(slices[way], way, rows)}")
        elif options.by:
            print(f"\nby {way}: the data do not tell two or more apart")
    tested = [titles[name] for name in options.metrics or [] if name.endswith(".safetensors")]
    against = [titles[name] for name in options.baselines or []] or [row.name for row in rows]
    best = [row.name for row in rows if row.name in scores][:1]
    against = [name for name in against if name in scores]
    differences = paired_tests.paired_tests(data, scores, tested or best, against, best=not tested)
    if len(differences):
        print(
            f"\npaired differences of 2AFC; p of the sign-flip test over photographs\n{paired_tests.text(differences)}"
        )
    behaviour = pd.DataFrame(columns=robustness.COLUMNS)
    if options.robustness:
        behaviour = _robustness(data, titles, pairs, options.robustness)
        print(f"\nrobustness\n{robustness.text(behaviour)}")
    path = score_report.write(data, rows, slices, differences, behaviour, pairs, predicted)
    print(f"\nthe same as a page, tables and figures: {path}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="eyetune score", description=__doc__)
    add_options(parser)
    parser.add_argument(
        "--metrics",
        nargs="+",
        metavar="NAME",
        help=f"from {', '.join(MEASURES)}, distances that came with the data, or files that eyetune export wrote"
        f" (default: what came with the data, and what can be computed here of {', '.join(BASELINES)})",
    )
    parser.add_argument(
        "--baselines",
        nargs="+",
        metavar="NAME",
        help="metrics that each exported file of --metrics, else the best, is tested against (default: all others)",
    )
    parser.add_argument(
        "--by", nargs="+", choices=breakdown.WAYS, help="what to print 2AFC by (default: part; all are written)"
    )
    parser.add_argument(
        "--robustness",
        nargs="?",
        type=int,
        const=robustness.COUNT,
        metavar="N",
        help="also test identity, symmetry, ladders, shift and resize on N comparisons (%(const)s if not given)",
    )
    parser.add_argument("--force", action="store_true", help="compute again what is kept of earlier runs")
    return parser


def to_score(data: Data) -> pd.DataFrame:
    """id, reference, a, b of the comparisons that metrics give distances for."""
    return data.comparisons[["id", "reference", "a", "b"]] if data.to_score is None else data.to_score


def title_of(data: Data, name: str) -> str:
    """The metric's name in tables. Raises InputError where there is no such metric."""
    given = {*MEASURES, *data.distances, *data.pair_distances}
    if name in given or name in set(read_scores(data.folder / SCORES)["metric"]):
        return name
    if name.endswith(".safetensors"):
        return exported.name_of(Path(name))
    raise InputError(
        f"unknown metric {name!r}; there are: {', '.join(sorted(given))}, and files that eyetune export wrote"
    )


def score(data: Data, name: str, again: bool = False) -> tuple[str, pd.DataFrame]:
    """The metric's name in tables, and its distances (columns distance_a, distance_b) indexed by comparison.

    Those that came with the data, or are in scores.parquet for every comparison; else computed and stored. Raises
    InputError.
    """
    title = title_of(data, name)
    if title in data.distances:
        return title, data.distances[title]
    path = data.folder / SCORES
    comparisons = to_score(data)
    known = read_scores(path)
    mine = known[known["metric"] == title].set_index("triplet")
    if comparisons.empty:
        return title, pd.DataFrame(columns=["distance_a", "distance_b"])
    if again or not set(comparisons["id"]) <= set(mine.index):
        pairs = pairs_of(comparisons)
        distances = distances_of(data, title, lambda: measure(name), pairs, again)
        columns = {f"distance_{side}": distances[rows_of(pairs, comparisons, side)] for side in ("a", "b")}
        mine = pd.DataFrame({"triplet": comparisons["id"].to_numpy(), **columns}).set_index("triplet")
        others = known[known["metric"] != title]
        stored = mine.reset_index().assign(metric=title)
        merged = pd.concat([others, stored], ignore_index=True) if len(others) else stored
        tables.write(merged[["triplet", "metric", "distance_a", "distance_b"]], path, Score)
    return title, mine[["distance_a", "distance_b"]]


def _of_pairs_only(data: Data, name: str) -> bool:
    """Whether its distances came with pairs of images, and none can be had of the comparisons that there are."""
    return name in data.pair_distances and name not in {*data.distances, *MEASURES} and len(to_score(data)) > 0


def score_pairs(data: Data, titles: dict[str, str], again: bool = False) -> dict[str, dict[str, Floats]]:
    """Of `same_different`, `ratings` and `ladders`, where there are any, each metric's distances, row for row.

    `titles`: names in tables by name. A metric that cannot be computed of them is left out.
    """
    found: dict[str, dict[str, Floats]] = {}
    for kind in OF_PAIRS:
        table = getattr(data, kind)
        if table.empty:
            continue
        pairs = table[["reference", "distorted"]]
        for name, title in titles.items():
            try:
                found.setdefault(kind, {})[title] = _of_pairs(data, name, title, pairs, again)
            except UnavailableError as error:
                print(f"{title}: not computed for {kind.replace('_', '/')}: {error}")
    return found


def _of_pairs(data: Data, name: str, title: str, pairs: pd.DataFrame, again: bool) -> Floats:
    index = pd.MultiIndex.from_frame(pairs)
    if title in data.pair_distances:
        came = data.pair_distances[title].reindex(index).to_numpy(float)
        if np.isfinite(came).all():
            return came
    if name not in MEASURES and not name.endswith(".safetensors"):
        raise UnavailableError("its distances came with the comparisons only")
    return distances_of(data, title, lambda: measure(name), pairs, again)


def baselines(data: Data, quick: bool = True) -> tuple[dict[str, pd.DataFrame], dict[str, str]]:
    """The distances of each of BASELINES that can be had here, and of the others why they cannot.

    `quick` leaves out those of SLOW that are not known yet.
    """
    return _scored(data, [name for name in BASELINES if name not in data.distances], quick=quick)


def defaults(data: Data, again: bool = False) -> tuple[dict[str, pd.DataFrame], dict[str, str]]:
    """What is scored when nothing is named: the metrics that came with the data, and BASELINES."""
    names = [*data.distances, *data.pair_distances]
    came = {name: score(data, name)[1] for name in names if not _of_pairs_only(data, name)}
    keys = [*to_score(data)["reference"], *(key for kind in OF_PAIRS for key in getattr(data, kind)["reference"])]
    try:
        data.image(keys[0])
    except UnavailableError as error:
        return came, {} if names else dict.fromkeys(BASELINES, str(error))
    found, missing = _scored(data, [name for name in BASELINES if name not in names], again)
    return came | found, missing


def _scored(
    data: Data, names: Iterable[str], again: bool = False, quick: bool = False
) -> tuple[dict[str, pd.DataFrame], dict[str, str]]:
    scores, missing = {}, {}
    for name in names:
        if quick and name in SLOW and name not in set(read_scores(data.folder / SCORES)["metric"]):
            missing[name] = f"it is the slowest of them; eyetune score computes it (--metrics {name})"
            continue
        try:
            scores[name] = score(data, name, again)[1]
        except UnavailableError as error:
            missing[name] = str(error)
    return scores, missing


def _print_missing(missing: dict[str, str]) -> None:
    for reason in dict.fromkeys(missing.values()):
        print(f"{', '.join(name for name in missing if missing[name] == reason)}: not computed: {reason}")


def photographs(data: Data) -> list[str]:
    """8 hexadecimal digits made from each compared photograph's name; none where there are more than MANY.

    An exported metric carries them, so that `eyetune score` can say which photographs it has learned from.
    """
    names = sorted(map(str, data.comparisons["source"].unique()))
    return [sha256(name.encode())[:8] for name in names] if len(names) <= MANY else []


def _trained_here(data: Data, names: Iterable[str]) -> dict[str, str]:
    """A note for each exported metric that learned from these comparisons, these photographs, or simulated votes."""
    digest, here = runs.digest(to_score(data)), set(photographs(data))
    notes = {}
    for path in (Path(name) for name in names if name.endswith(".safetensors")):
        card = exported.describe(path)["card"]
        settings = card.get("settings", {})
        said = {
            "simulated": ["it learned from SIMULATED votes"],
            "mixed": ["some votes that it learned from are SIMULATED"],
        }
        about = said.get(card.get("voters", "unknown"), [])
        seen = len(here & set(settings.get("photographs", [])))
        if settings.get("comparisons_sha256") == digest:
            about.append("trained on these very comparisons: NOT held out")
        elif seen:
            about.append(
                f"it learned from photographs with the names of {seen} of these {len(here)}; if they are the same, this"
                " flatters it"
            )
        if about:
            notes[exported.name_of(path)] = "; ".join(about)
    return notes


def _what(data: Data) -> str:
    """What there is to judge by, in a sentence."""
    parts = [data.whose]
    if len(data.comparisons):
        parts.append(f"{len(data.comparisons):,} comparisons of {data.comparisons['source'].nunique():,} photographs")
    parts += [f"{len(data.same_different):,} same/different pairs"] if len(data.same_different) else []
    parts += [f"{len(data.ratings):,} ratings"] if len(data.ratings) else []
    parts += [f"{data.ladders['ladder'].nunique():,} ladders"] if len(data.ladders) else []
    return "; ".join([*parts, judged.INTERVALS])


def _robustness(data: Data, titles: dict[str, str], pairs: judged.PairDistances, count: int) -> pd.DataFrame:
    """`robustness.robustness` of every metric that can be computed; kept in its run too, for the model card."""
    found = []
    for name, title in titles.items():
        if name not in MEASURES and not name.endswith(".safetensors"):
            continue
        try:
            table = robustness.robustness(data, measure(name), pairs.get("ladders", {}).get(title), count)
        except UnavailableError as error:
            print(f"{title}: robustness not tested: {error}")
            continue
        found.append(table)
        run = Path(name).resolve().parent.parent  # of RUN/export/NAME.safetensors
        if name.endswith(".safetensors") and (run / "run.json").exists():
            write_text(run / "robustness.csv", table.drop(columns="metric").to_csv(index=False, float_format="%.4g"))
    if not found:
        raise UnavailableError(f"{data.name}: --robustness needs images, and metrics that can be computed of them")
    return pd.concat(found, ignore_index=True)
