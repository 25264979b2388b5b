"""Requesters' dealings with workers: blocks and messages."""

import sqlite3
from typing import Any

from mturk.server.caller import Caller
from mturk.server.lists import page
from mturk.server.refusals import RequestError


def create_worker_block(caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    """CreateWorkerBlock."""
    check_worker(caller.connection, request["WorkerId"])
    caller.connection.execute(
        "INSERT OR REPLACE INTO blocks (requester, worker, reason) VALUES (?, ?, ?)",
        (caller.requester, request["WorkerId"], request["Reason"]),
    )
    return {}


def delete_worker_block(caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    """DeleteWorkerBlock; nothing happens where there is none."""
    check_worker(caller.connection, request["WorkerId"])
    caller.connection.execute(
        "DELETE FROM blocks WHERE requester = ? AND worker = ?", (caller.requester, request["WorkerId"])
    )
    return {}


def list_worker_blocks(caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    """ListWorkerBlocks."""
    rows, answer = page(
        caller.connection,
        "ListWorkerBlocks",
        request,
        "SELECT rowid AS serial, * FROM blocks WHERE requester = ?",
        [caller.requester],
        "rowid",
    )
    return answer | {"WorkerBlocks": [{"WorkerId": row["worker"], "Reason": row["reason"]} for row in rows]}


def notify_workers(caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    """NotifyWorkers: workers whose work the requester has reviewed find the message on the worker site."""
    for name in ("Subject", "MessageText", "WorkerIds"):
        if not request[name]:
            raise RequestError("AWS.MissingParameters", f"{name} is empty.")
    failures = []
    for worker in dict.fromkeys(request["WorkerIds"]):
        known = caller.connection.execute(
            "SELECT 1 FROM assignments a JOIN hits ON hits.id = a.hit WHERE worker = ? AND requester = ?"
            " AND a.status IN ('approved', 'rejected') LIMIT 1",
            (worker, caller.requester),
        ).fetchone()
        if known:
            message(caller, worker, request["Subject"], request["MessageText"])
        else:
            failures.append(
                {
                    "NotifyWorkersFailureCode": "HardFailure",
                    "NotifyWorkersFailureMessage": "You have not approved or rejected work of this worker.",
                    "WorkerId": worker,
                }
            )
    return {"NotifyWorkersFailureStatuses": failures}


def message(caller: Caller, worker: str, subject: str, text: str) -> None:
    """Leave a message for a worker."""
    caller.connection.execute(
        "INSERT INTO messages (requester, worker, subject, text, at) VALUES (?, ?, ?, ?, ?)",
        (caller.requester, worker, subject, text, caller.now),
    )


def check_worker(connection: sqlite3.Connection, worker: str) -> None:
    """Raise RequestError where there is no worker of that id."""
    if connection.execute("SELECT 1 FROM workers WHERE id = ?", (worker,)).fetchone() is None:
        raise RequestError("WorkerDoesNotExist", f"WorkerId is invalid. Worker {worker} does not exist.")
