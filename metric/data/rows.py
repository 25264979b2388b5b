"""Rows from any number of files as one `Data`: images found, photographs told apart, votes counted."""

from pathlib import Path

import pandas as pd

from metric.data import counts as data_counts
from metric.data.images import check_present, contents, identities, read_pixels
from metric.data.judgments import ANSWERS, COMPARISONS, LADDERS, RATINGS, SAME_DIFFERENT, Data
from metric.data.table import IMAGES, Rows
from metric.data.voters import choose
from study.errors import InputError, UnavailableError
from study.folder import Voters
from study.images import Pixels


def gather(rows: list[Rows], name: str, folder: Path, voters: Voters, split: str | None) -> Data:
    """One Data of all `rows`, called `name`, whose results go to `folder`.

    Raises InputError where an image is missing, a photograph is in both splits, or both splits are there and none was
    chosen, and as `data_voters.choose` and `data_counts`.
    """
    metrics = {kind: _metrics(of_kind) for kind in IMAGES if (of_kind := [r for r in rows if r.kind == kind])}
    found = identities(
        pd.unique(pd.concat([r.table[column] for r in rows if r.images for column in IMAGES[r.kind]] or [pd.Series()]))
    )
    for part in rows:
        if part.images and not part.metrics:
            check_present(part.table, IMAGES[part.kind], found)
    _name_sources(rows, found)
    tables = {
        kind: pd.concat([r.table for r in rows if r.kind == kind], ignore_index=True) for kind in metrics
    }  # fmt: skip
    tables, sentence, who, simulators = choose(_of_split(tables, split, name), voters, name)

    comparisons, answers = pd.DataFrame(columns=COMPARISONS), pd.DataFrame(columns=ANSWERS)
    distances: dict[str, pd.DataFrame] = {}
    if "comparisons" in tables:
        comparisons, answers, distances = data_counts.comparisons(tables["comparisons"], metrics["comparisons"], found)
    of_pairs = {kind: table for kind, table in tables.items() if kind != "comparisons"}
    known = [*metrics.get("comparisons", []), *{metric for kind in of_pairs for metric in metrics[kind]}]

    def image(key: str) -> Pixels:
        if key in found:
            return read_pixels(key)
        came = f"the distances of {', '.join(known)} came with the data" if known else "there is no such file"
        raise UnavailableError(f"{key}: no image to compute a distance from; {came}")

    def counted(kind: str, columns: list[str]) -> pd.DataFrame:
        if kind not in tables:
            return pd.DataFrame(columns=columns)
        count = {"same_different": data_counts.same_different, "ratings": data_counts.ratings}[kind]
        return count(tables[kind], found)

    return Data(
        name=name,
        folder=folder,
        whose=sentence,
        voters=who,
        image=image,
        comparisons=comparisons,
        answers=answers,
        reliability=data_counts.reliability(answers),
        same_different=counted("same_different", SAME_DIFFERENT),
        ratings=counted("ratings", RATINGS),
        ladders=data_counts.ladders(tables["ladders"]) if "ladders" in tables else pd.DataFrame(columns=LADDERS),
        distances=distances,
        pair_distances=data_counts.pair_distances(
            list(of_pairs.values()), sorted({metric for kind in of_pairs for metric in metrics[kind]})
        ),
        simulators=frozenset(simulators),
        identity=lambda key: found.get(key, key),
    )


def _metrics(rows: list[Rows]) -> list[str]:
    """The metrics whose distances came with all of `rows`. Raises InputError where some lack one."""
    for other in rows[1:]:
        for more, fewer in ((rows[0], other), (other, rows[0])):
            absent = [name for name in more.metrics if name not in fewer.metrics]
            if absent:
                raise InputError(
                    f"{_file(fewer)}: no distances of {', '.join(absent)}, which {_file(more)} has; score them apart"
                )
    return rows[0].metrics


def _file(rows: Rows) -> str:
    return str(rows.table["place"].iloc[0]).rsplit(": ", 1)[0]


def _name_sources(rows: list[Rows], found: dict[str, str]) -> None:
    """Fill the empty sources: as the same photograph is called elsewhere, else by its content, else by its name."""
    unnamed = [r.table.loc[r.table["source"] == "", "reference"] for r in rows]
    references = pd.unique(pd.concat(unnamed))
    names = contents([key for key in references if key in found])
    named = pd.concat([r.table.loc[r.table["source"] != "", ["reference", "source"]] for r in rows])
    told = dict(zip(named["reference"], named["source"], strict=True))
    known = {
        digest: told[key] for key, digest in contents([key for key in told if key in found] if names else []).items()
    }
    names = {key: known.get(digest, digest) for key, digest in names.items()}
    for part, keys in zip(rows, unnamed, strict=True):
        part.table.loc[keys.index, "source"] = keys.map(lambda key: names.get(key, key))


def _of_split(tables: dict[str, pd.DataFrame], split: str | None, name: str) -> dict[str, pd.DataFrame]:
    everything = pd.concat([table[["place", "reference", "source", "split"]] for table in tables.values()])
    told = everything[everything["split"] != ""]
    both = told.groupby("source")["split"].transform("nunique") > 1
    if both.any():
        of_photograph = told[told["source"] == told.loc[both, "source"].iloc[0]].drop_duplicates("split")
        first, second = (f"{row.place} ({row.split})" for row in of_photograph.itertuples())
        raise InputError(
            f"photograph {of_photograph['reference'].iloc[0]} is in both splits: {first} and {second};"
            " keep each photograph in one"
        )
    if split is None:
        check_one_split(set(told["split"]), name)
        return tables
    if len(told) < len(everything):
        place = everything.loc[everything["split"] == "", "place"].iloc[0]
        raise InputError(f"{place}: no split is named here, but --split {split} was asked for; add a column split")
    kept = {kind: table[table["split"] == split] for kind, table in tables.items()}
    kept = {kind: table.reset_index(drop=True) for kind, table in kept.items() if len(table)}
    if not kept:
        raise InputError(f"{name}: nothing in split {split}; there is {' and '.join(sorted(set(told['split'])))}")
    return kept


def check_one_split(splits: set[str], name: str) -> None:
    """Raise InputError where there are two splits: to use both as one would mix what was meant to be held out."""
    if len(splits) > 1:
        raise InputError(f"{name}: holds both train and test; choose: --split train or --split test")
