"""A table from a file with the names of its columns made equal, and its columns read with a reason where they are bad.

Every reason names the file, the row and the value. Rows are counted as a spreadsheet shows them: the header is row 1.
"""

import gzip
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from analysis.agreement import Floats
from study.bapps import WHOLE
from study.errors import InputError

SUFFIXES = (".csv", ".csv.gz", ".parquet")
SYNONYMS = {  # BAPPS's, CLIC's and the field's names for ours
    "ref": "reference", "o": "reference", "p0": "a", "p1": "b", "t": "choice", "judge": "share_b",
    "prefer_p1": "prefer_b", "mos": "rating",
}  # fmt: skip
TRUE, FALSE = ("true", "1", "1.0", "yes"), ("false", "0", "0.0", "no")


def is_table(path: Path) -> bool:
    """Whether the file's name is that of a table which `read_columns` reads."""
    return path.name.lower().endswith(SUFFIXES)


def stem(path: Path) -> str:
    """The file's name without the ending that says what it is."""
    ending = next(suffix for suffix in SUFFIXES if path.name.lower().endswith(suffix))
    return path.name[: -len(ending)]


def read_columns(path: Path) -> pd.DataFrame:
    """The table at `path`, its columns lower-cased and called as in docs/data.md, its index the row in the file.

    Values of CSV files are text. Raises InputError where the file is not readable, holds no rows, or has two columns of
    one name.
    """
    try:
        table = _parquet(path) if path.name.lower().endswith(".parquet") else _csv(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except pd.errors.EmptyDataError:
        raise InputError(f"{path} is empty; its first row names the columns, see docs/data.md") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text ({error}); save it as UTF-8") from None
    except (pd.errors.ParserError, pa.ArrowException, gzip.BadGzipFile, zlib.error, EOFError, OSError) as error:
        raise InputError(f"{path}: not a readable table ({str(error).splitlines()[0]})") from None
    names = [str(name).strip().lower() for name in table.columns]
    names = [SYNONYMS[name] if name in SYNONYMS and SYNONYMS[name] not in names else name for name in names]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise InputError(f"{path}: two columns are called {twice!r}, or mean it; leave one out")
    table.columns = pd.Index(names, dtype=object)
    if table.empty:
        raise InputError(f"{path}: no rows below the header")
    return table


def text(table: pd.DataFrame, column: str) -> pd.Series:
    """A column as stripped text, "" where nothing stands, or where there is no such column."""
    if column not in table:
        return pd.Series("", index=table.index, dtype=object)
    values = table[column].astype(object)
    return values.where(values.notna(), "").map(str).str.strip().astype(object)


def numbers(path: Path, table: pd.DataFrame, column: str, optional: bool = False) -> Floats:
    """A column of finite numbers; where `optional`, NaN for what is left empty. Raises InputError."""
    if column not in table and optional:
        return np.full(len(table), np.nan)
    numeric = pd.api.types.is_numeric_dtype(table[column]) and not optional
    source = table[column] if numeric else text(table, column)
    values = pd.to_numeric(source, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    empty = (text(table, column) == "").to_numpy() if optional else False
    check(path, table, column, np.isfinite(values) | empty, "is not a finite number")
    return values


def check(path: Path, table: pd.DataFrame, column: str, fits: np.ndarray, reason: str) -> None:
    """Raise InputError for the first row where `fits` is false: file, row, the value of `column`, `reason`."""
    wrong = np.flatnonzero(~np.asarray(fits))
    if wrong.size:
        value = text(table.iloc[[wrong[0]]], column).iloc[0]
        raise InputError(f"{path}: row {table.index[wrong[0]]}: {column} {value or 'is empty: it'} {reason}")


def counts(path: Path, table: pd.DataFrame, votes_each: int | None) -> Floats:
    """How many votes each row stands for: its column votes, else `votes_each`. Raises InputError."""
    if "votes" not in table:
        if votes_each is None:
            raise InputError(f"{path}: no column votes; add one, or say how many each row has, as in --votes-each 5")
        return np.full(len(table), float(votes_each))
    votes = numbers(path, table, "votes")
    check(path, table, "votes", (votes >= 1) & (votes == np.round(votes)), "is not a whole number of 1 or more")
    return votes


def counted(path: Path, table: pd.DataFrame, column: str, votes: Floats) -> Floats:
    """How many of `votes` gave the answer that `column` counts; a "not sure" counts one half. Raises InputError."""
    values = numbers(path, table, column)
    check(path, table, column, values >= 0, "is negative")
    check(path, table, column, 2 * values == np.round(2 * values), 'is not a count: only a "not sure" counts one half')
    over = np.flatnonzero(values > votes)
    if over.size:
        row, value, most = table.index[over[0]], values[over[0]], votes[over[0]]
        raise InputError(f"{path}: row {row}: {column} {value:g} is more than its votes {most:g}")
    return values


def from_shares(path: Path, table: pd.DataFrame, column: str, votes: Floats) -> Floats:
    """How many of `votes` the share in `column` is. Raises InputError where it is no whole number of them."""
    shares = numbers(path, table, column)
    check(path, table, column, (shares >= 0) & (shares <= 1), "is not a share from 0 to 1")
    whole = np.round(shares * votes)
    wrong = np.flatnonzero(np.abs(shares * votes - whole) > WHOLE)
    if wrong.size:
        row, share, count = table.index[wrong[0]], shares[wrong[0]], votes[wrong[0]]
        raise InputError(
            f"{path}: row {row}: {column} {share:g} of {count:g} votes is not a whole number of them;"
            " correct the column votes, or --votes-each"
        )
    return whole


def words(path: Path, table: pd.DataFrame, column: str, meaning: Mapping[str, float | str | bool]) -> np.ndarray:
    """A column of words, in any case, as what they mean. Raises InputError for one that `meaning` does not have."""
    found = text(table, column).str.lower()
    check(path, table, column, found.isin(list(meaning)).to_numpy(), f"is none of: {', '.join(meaning)}")
    return found.map(meaning).to_numpy()


def filled(path: Path, table: pd.DataFrame, column: str) -> pd.Series:
    """A column of text in which no value is empty. Raises InputError."""
    values = text(table, column)
    check(path, table, column, (values != "").to_numpy(), "must be named")
    return values


def _csv(path: Path) -> pd.DataFrame:
    # The header is read as a row like the others: pandas would take the first column of rows that are longer than the
    # header for row names, and would rename a column that stands twice.
    table = pd.read_csv(
        path, header=None, dtype=str, keep_default_na=False, encoding="utf-8-sig", skip_blank_lines=False
    )
    table = table.fillna("")
    table.index = pd.RangeIndex(1, len(table) + 1)
    header, rows = table.iloc[0], table.iloc[1:]
    rows = rows[(rows != "").any(axis=1)]  # a blank line, at the end as a rule
    return rows.set_axis(header.to_list(), axis=1)


def _parquet(path: Path) -> pd.DataFrame:
    table = pd.read_parquet(path)
    return table.set_axis(pd.RangeIndex(1, len(table) + 1), axis=0)
