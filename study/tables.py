"""Parquet tables whose columns are a record's fields."""

import types
import typing
from collections.abc import Iterable
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from study.errors import InputError
from study.files import replacing

Record = TypeVar("Record")
_ARROW = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}


def schema(record: type) -> pa.Schema:
    """The Arrow schema of a record class: one column a field, nullable where the field may be None."""
    columns = []
    for name, hint in typing.get_type_hints(record).items():
        options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
        kind = next(option for option in options if option is not type(None))
        columns.append(pa.field(name, _ARROW[kind], nullable=type(None) in options))
    return pa.schema(columns)


def frame(records: Iterable[Any], record: type) -> pd.DataFrame:
    """A data frame of `records` with the columns of `record`, also when there are none."""
    return pd.DataFrame([asdict(r) for r in records], columns=[field.name for field in fields(record)])


def records(table: pd.DataFrame, record: type[Record]) -> list[Record]:
    """The rows of `table` as records; a missing value is None."""
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    return [record(**{str(name): value for name, value in row.items()}) for row in rows]


def write(table: pd.DataFrame, path: Path, record: type) -> None:
    """Write `table` to `path` as Parquet with exactly the columns of `record`."""
    arrow = pa.Table.from_pandas(table, schema=schema(record), preserve_index=False)
    with replacing(path) as aside:
        pq.write_table(arrow.replace_schema_metadata(None), aside)


def read(path: Path, record: type) -> pd.DataFrame:
    """The table at `path` as a data frame; missing values are None (text) or NaN (numbers).

    A column whose field has a default may be absent, as in files from before there was one. Raises InputError where the
    file is missing, damaged, or lacks another column.
    """
    wanted = schema(record)
    try:
        arrow = pq.read_table(path)
    except FileNotFoundError:
        raise InputError(f"{path} is missing") from None
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: not a readable Parquet file ({str(error).splitlines()[0]})") from None
    for field in fields(record):
        if field.default is not MISSING and field.name not in arrow.column_names:
            column = pa.array([field.default] * len(arrow), wanted.field(field.name).type)
            arrow = arrow.append_column(wanted.field(field.name), column)
    absent = [name for name in wanted.names if name not in arrow.column_names]
    if absent:
        raise InputError(f"{path}: no column {', '.join(absent)}; was it written by another version of eyetune?")
    try:
        arrow = arrow.select(wanted.names).cast(wanted)
    except (pa.ArrowException, ValueError) as error:
        raise InputError(f"{path}: {str(error).splitlines()[0]}") from None
    table = arrow.to_pandas()
    for name in (column.name for column in wanted if pa.types.is_string(column.type)):
        table[name] = table[name].astype(object).where(table[name].notna(), None)
    return table
