"""Which photographs are learned from and which are held out: folds, or a second data set. Never split by triplet."""

from dataclasses import replace

import pandas as pd
import torch

from metric.data.judgments import Data
from metric.data.sources import check_splits
from study.errors import InputError
from study.images import Pixels

TABLES = ("comparisons", "same_different", "ratings")


def photographs_of(data: Data) -> set[str]:
    """The names of all photographs that something was asked about."""
    return {str(name) for table in TABLES for name in getattr(data, table)["source"]}


def images_of(data: Data) -> set[str]:
    """The keys of all images that something was asked about."""
    tables = [getattr(data, table) for table in TABLES]
    columns = ("reference", "a", "b", "distorted")
    return {str(key) for table in tables for column in columns if column in table for key in table[column]}


def folds_of(data: Data, folds: int, seed: int) -> dict[str, int]:
    """The fold of each photograph: in random order, dealt out one after another. Raises InputError."""
    photographs = sorted(photographs_of(data))
    if len(photographs) < 2 or folds < 2:
        raise InputError(
            f"{data.folder}: cross-validation by photograph needs 2 or more folds and votes on 2 or more photographs;"
            f" there are {folds} and {len(photographs)}"
        )
    order = torch.randperm(len(photographs), generator=torch.Generator().manual_seed(seed)).tolist()
    return {photographs[index]: place % min(folds, len(photographs)) for place, index in enumerate(order)}


def joined(training: Data, validation: Data) -> tuple[Data, dict[str, int]]:
    """Both data sets as one, and the fold of each photograph: 0 those of `validation`, -1 (in none) the others.

    Raises InputError where a photograph is in both: by its name, or pixel for pixel.
    """
    names = [photographs_of(data) for data in (training, validation)]
    for name in sorted(names[0] & names[1]):
        raise InputError(
            f"photograph {name} is in the training data {training.name} and in the validation data {validation.name};"
            " keep each photograph in one"
        )
    check_splits(training, validation)
    theirs = images_of(validation)

    def of(key: str) -> Data:
        return validation if key in theirs else training

    def image(key: str) -> Pixels:
        return of(key).image(key)

    both = replace(
        training,
        image=image,
        where=lambda key: of(key).where(key),
        identity=lambda key: of(key).identity(key),
        to_score=None,
        reliability=pd.concat([part for part in (training.reliability, validation.reliability) if len(part)])
        if len(training.reliability) + len(validation.reliability)
        else training.reliability,
        **{table: _stacked(training, validation, table) for table in (*TABLES, "answers")},
    )
    repeated = both.comparisons["id"][both.comparisons["id"].duplicated()]
    if len(repeated):
        raise InputError(f"comparison {repeated.iloc[0]} is in the training and in the validation data")
    return both, dict.fromkeys(names[0], -1) | dict.fromkeys(names[1], 0)


def _stacked(training: Data, validation: Data, table: str) -> pd.DataFrame:
    parts = [part for part in (getattr(training, table), getattr(validation, table)) if len(part)]
    return pd.concat(parts, ignore_index=True) if parts else getattr(training, table)
