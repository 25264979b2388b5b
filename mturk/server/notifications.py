"""Which events of a HIT type a requester wants to be told."""

import json
from typing import Any

from mturk.server import hit_types, outbox
from mturk.server.caller import Caller
from mturk.server.refusals import RequestError
from mturk.server.state import new_id

VERSION = "2006-05-05"


def update_notification_settings(caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    """UpdateNotificationSettings."""
    hit_type = hit_types.find(caller, request["HITTypeId"])
    specification, active = request.get("Notification"), request.get("Active")
    if specification is None and active is None:
        raise RequestError("AWS.MissingParameters", "Either the Notification or the Active parameter must be given.")
    if specification is None and hit_type["notification"] is None:
        raise RequestError("AWS.MissingParameters", "This HIT type has no notification specification yet.")
    if specification is not None:
        _check(specification)
        if "Ping" in specification["EventTypes"]:
            raise RequestError("AWS.InvalidParameterValue", "Ping is for SendTestEventNotification only.")
    caller.connection.execute(
        "UPDATE hit_types SET notification = coalesce(?, notification), notifying = ? WHERE id = ?",
        (
            None if specification is None else json.dumps(specification),
            active if active is not None else True,
            hit_type["id"],
        ),
    )
    return {}


def send_test_event_notification(caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    """SendTestEventNotification: the event is written to the outbox, whatever the specification lists."""
    specification, event = request["Notification"], request["TestEventType"]
    _check(specification)
    details = {} if event == "Ping" else {"HITId": new_id(), "HITTypeId": new_id()}
    if event.startswith("Assignment"):
        details["AssignmentId"] = new_id()
    outbox.put(caller.connection, caller.requester, specification, event, details, caller.now)
    return {}


def _check(specification: dict[str, Any]) -> None:
    """Raise RequestError for a destination that cannot be one of the transport's, and for an unknown version."""
    version = specification["Version"]
    if version not in (VERSION, "2014-08-15"):
        raise RequestError("AWS.InvalidParameterValue", f"Version {version!r} is not {VERSION}.")
    if not specification["EventTypes"]:
        raise RequestError("AWS.MissingParameters", "EventTypes is empty.")
    begins = {"Email": "", "SQS": "https://", "SNS": "arn:aws:sns:"}[specification["Transport"]]
    destination = specification["Destination"]
    if not destination.startswith(begins) or (not begins and "@" not in destination):
        raise RequestError(
            "InvalidTransportEndpoint", f"{destination!r} is no destination for {specification['Transport']}."
        )
