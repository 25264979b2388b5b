"""CSV that people edit: safe to open in a spreadsheet, and read again however the spreadsheet saved it."""

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from study.errors import InputError
from study.files import write_bytes

# What a spreadsheet takes for a formula, or for a number or date, which it would show and save in another form.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "'")
NUMBER = re.compile(r"[0-9][0-9.,/:eE+-]*")
DELIMITERS = (",", ";", "\t")


def as_text(value: str) -> str:
    """The cell that holds `value` as text: behind an apostrophe where a spreadsheet would make something else of it."""
    value = value.strip()
    return f"'{value}" if value.startswith(FORMULA) or NUMBER.fullmatch(value) else value


def of_text(cell: str) -> str:
    """The value that `as_text` made the cell of; spaces around it are dropped, which typing leaves behind."""
    return cell.strip().removeprefix("'")


def shown(value: str, most: int = 60) -> str:
    """Somebody else's text for a message: letters, digits and a few signs, which no program takes for its own."""
    kept = re.sub(r"[^\w .:/-]", "?", value, flags=re.ASCII)
    return kept if len(kept) <= most else f"{kept[: most - 3]}..."


def write(path: Path, columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    """Write the rows as CSV: commas, CRLF as RFC 4180 has it, and the mark by which Excel knows UTF-8."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(rows)
    write_bytes(path, text.getvalue().encode("utf-8-sig"))


def read(path: Path, columns: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """The rows that are not blank, each with its line (from 1): the cells of `columns`, as they stand.

    Commas, semicolons or tabs between cells; UTF-8, UTF-16 or Windows' code page; columns in any order, others beside
    them. Raises InputError where one of `columns` is missing or a row does not fit the header.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path} is missing") from None
    text = _decode(data)
    if "\0" in text:
        raise InputError(f"{path}: not a text file; save it as CSV")
    rows: list[tuple[int, list[str]]] = []
    for delimiter in DELIMITERS:
        rows = _rows(path, text, delimiter)
        if rows and set(columns) <= {_name(cell) for cell in rows[0][1]}:
            break
    else:
        rows = max((_rows(path, text, delimiter) for delimiter in DELIMITERS), key=lambda r: len(r[0][1]) if r else 0)
        names = {_name(cell) for cell in rows[0][1]} if rows else set()
        absent = next(name for name in columns if name not in names)
        raise InputError(f"{path}: no column {absent!r} in the first line; the columns must be {', '.join(columns)}")
    (_, header), *rest = rows
    names_in_order = [_name(cell) for cell in header]
    twice = next((name for name in columns if names_in_order.count(name) > 1), None)
    if twice:
        raise InputError(f"{path}: column {twice!r} stands twice; delete one")
    found = []
    for line, cells in rest:
        if any(cell.strip() for cell in cells[len(header) :]):
            raise InputError(
                f"{path}, line {line}: more cells than the first line names; a text with {delimiter!r} in it needs"
                " quotation marks around it"
            )
        values = dict(zip(names_in_order, cells, strict=False))
        found.append((line, {name: values.get(name, "") for name in columns}))
    return found


def _name(cell: str) -> str:
    return cell.strip().lower()


def _decode(data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", errors="replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")  # Excel's plain "CSV" on Windows


def _rows(path: Path, text: str, delimiter: str) -> list[tuple[int, list[str]]]:
    """Each row that is not blank with the line that it begins at; Excel's own `sep=;` is none."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    rows: list[tuple[int, list[str]]] = []
    line = 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells) and not (not rows and cells[0].lower().startswith("sep=")):
                rows.append((line, cells))
            line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{path}, line {line}: {error}; save it as CSV again") from None
    return rows
