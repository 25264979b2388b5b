"""Notifications: what a HIT type's specification asks to be told, in the JSON that MTurk sends to SQS and SNS.

Nothing is sent from here; who wants to see the messages reads the table.
"""

import json
import sqlite3

from mturk.server.state import moment, new_id

EVENT_DOCUMENT = "2014-08-15"  # EventDocVersion


def announce(connection: sqlite3.Connection, event: str, hit: str, at: int, assignment: str = "") -> None:
    """Write the event down where the HIT's type has an active specification that lists it."""
    row = connection.execute(
        "SELECT hits.requester, hits.type, notification FROM hits JOIN hit_types ON hit_types.id = hits.type"
        " WHERE hits.id = ? AND notifying",
        (hit,),
    ).fetchone()
    if row is None:
        return
    specification = json.loads(row["notification"])
    if event in specification["EventTypes"]:
        details = {"HITId": hit, "HITTypeId": row["type"]} | ({"AssignmentId": assignment} if assignment else {})
        put(connection, row["requester"], specification, event, details, at)


def put(
    connection: sqlite3.Connection,
    requester: str,
    specification: dict[str, object],
    event: str,
    details: dict[str, str],
    at: int,
) -> None:
    """Write one message to the outbox."""
    customer = connection.execute("SELECT id FROM requesters WHERE key = ?", (requester,)).fetchone()[0]
    when = moment(at).strftime("%Y-%m-%dT%H:%M:%SZ")
    body = {
        "EventDocId": new_id().lower(),
        "EventDocVersion": EVENT_DOCUMENT,
        "CustomerId": customer,
        "Events": [{"EventType": event, "EventTimestamp": when, **details}],
    }
    connection.execute(
        "INSERT INTO outbox (requester, event, transport, destination, body, at) VALUES (?, ?, ?, ?, ?, ?)",
        (requester, event, specification["Transport"], specification["Destination"], json.dumps(body), at),
    )
