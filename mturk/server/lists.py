"""Pages of a listing. A page goes on after the last row of the one before, so nothing is shown twice or left out."""

import base64
import json
import sqlite3
from typing import Any

from mturk.server.refusals import RequestError

PAGE = 10  # MaxResults where none is given


def page(
    connection: sqlite3.Connection, operation: str, request: dict[str, Any], query: str, values: list[Any], serial: str
) -> tuple[list[sqlite3.Row], dict[str, Any]]:
    """The rows of a page, newest first, and NumResults and NextToken for the answer.

    `query` ends with a condition, `serial` is its column of row numbers, which every row has under the name `serial`.
    """
    most = request.get("MaxResults", PAGE)
    if "NextToken" in request:
        query, values = f"{query} AND {serial} < ?", [*values, _read(operation, request["NextToken"])]
    rows = connection.execute(f"{query} ORDER BY {serial} DESC LIMIT ?", [*values, most + 1]).fetchall()
    more, rows = len(rows) > most, rows[:most]
    token = {"NextToken": _write(operation, rows[-1]["serial"])} if more else {}
    return rows, {"NumResults": len(rows)} | token


def cut(
    operation: str, request: dict[str, Any], items: list[tuple[int, dict[str, Any]]]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """A page as `page` gives it, of items that are in hand: (serial, item), by falling serial."""
    most = request.get("MaxResults", PAGE)
    if "NextToken" in request:
        after = _read(operation, request["NextToken"])
        items = [(serial, item) for serial, item in items if serial < after]
    token = {"NextToken": _write(operation, items[most - 1][0])} if len(items) > most else {}
    found = [item for _, item in items[:most]]
    return found, {"NumResults": len(found)} | token


def _write(operation: str, serial: int) -> str:
    return base64.urlsafe_b64encode(json.dumps([operation, serial]).encode()).decode()


def _read(operation: str, token: str) -> int:
    try:
        of, serial = json.loads(base64.urlsafe_b64decode(token))
    except (ValueError, TypeError):
        of, serial = None, None
    if of != operation or type(serial) is not int or abs(serial) >= 1 << 62:
        raise RequestError("AWS.InvalidParameterValue", f"NextToken {token!r} is none that {operation} gave.")
    return serial
