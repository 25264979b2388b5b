"""What MTurk's documentation allows in a request: types, patterns, enumerations, minima and maxima, and its limits.

Shapes come from botocore's own model of the service. boto3 checks types and required members only, so this is asked
before a call is made, and by the local server of every request that comes.
"""

import json
import re
from functools import cache
from typing import Any

from study.errors import InputError

HOUR, DAY, YEAR = 3600, 86_400, 31_536_000  # seconds

LENGTHS = {  # characters, by member (MTurk's API reference)
    "Title": 128,
    "Description": 2000,
    "Keywords": 1000,
    "RequesterAnnotation": 255,
    "RequesterFeedback": 1024,
    "Subject": 200,
    "MessageText": 4096,
}
RANGES = {
    "LifetimeInSeconds": (30, YEAR),
    "AssignmentDurationInSeconds": (30, YEAR),
    "AutoApprovalDelayInSeconds": (0, 30 * DAY),
    "MaxAssignments": (1, 1_000_000_000),
    "NumberOfAdditionalAssignments": (1, 1_000_000_000),
}
QUESTION_BYTES = 65_535
MOST = {"QualificationRequirements": 10, "WorkerIds": 100, "IntegerValues": 15, "LocaleValues": 30}


def check(operation: str, parameters: dict[str, Any]) -> None:
    """Raise InputError for the first parameter that MTurk would not take."""
    found = problems(operation, parameters)
    if found:
        raise InputError(f"{operation}: {found[0]}")


def problems(operation: str, parameters: dict[str, Any]) -> list[str]:
    """What is wrong with a request, each in words that name the member and what is allowed; empty where nothing is."""
    shape = model().operation_model(operation).input_shape
    return _structure(shape, parameters, "") if shape else []


@cache
def model() -> Any:
    """botocore's model of the service (`botocore.model.ServiceModel`); no credentials are needed."""
    import botocore.session

    return botocore.session.get_session().get_service_model("mturk")


def _structure(shape: Any, value: Any, where: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{where or 'the request'} must be a structure"]
    found = [f"{_join(where, name)} is missing" for name in shape.required_members if value.get(name) is None]
    for name, inner in value.items():
        if name not in shape.members:
            found.append(f"{_join(where, name)} is no member; there are: {', '.join(shape.members)}")
        elif inner is not None:
            found += _value(shape.members[name], inner, _join(where, name)) or _limits(name, inner, _join(where, name))
    return found


def _value(shape: Any, value: Any, where: str) -> list[str]:
    kind = shape.type_name
    if kind == "structure":
        return _structure(shape, value, where)
    if kind == "list":
        if not isinstance(value, list | tuple):
            return [f"{where} must be a list"]
        return [p for index, item in enumerate(value) for p in _value(shape.member, item, f"{where}[{index}]")]
    if kind == "string":
        return _string(shape, value, where)
    if kind in ("integer", "long"):
        if isinstance(value, bool) or not isinstance(value, int):
            return [f"{where} must be a whole number"]
        low, high = shape.metadata.get("min"), shape.metadata.get("max")
        if (low is not None and value < low) or (high is not None and value > high):
            return [f"{where} = {value}: must be from {low} to {high}"]
        bound = 2**31 if kind == "integer" else 2**63
        return [] if -bound <= value < bound else [f"{where} = {value}: is too large"]
    if kind == "boolean":
        return [] if isinstance(value, bool) else [f"{where} must be true or false"]
    return []  # timestamps: botocore and the server parse them


def _string(shape: Any, value: Any, where: str) -> list[str]:
    if not isinstance(value, str):
        return [f"{where} must be a text"]
    shown = json.dumps(value[:60], ensure_ascii=True)
    if shape.enum and value not in shape.enum:
        return [f"{where} = {shown}: must be one of {', '.join(shape.enum)}"]
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    if (low is not None and len(value) < low) or (high is not None and len(value) > high):
        return [f"{where} = {shown}: must have {low} to {high} characters"]
    pattern = shape.metadata.get("pattern")
    if pattern and not re.fullmatch(pattern, value):
        return [f"{where} = {shown}: must match {pattern}"]
    return []


def _limits(name: str, value: Any, where: str) -> list[str]:
    if name in LENGTHS and len(value) > LENGTHS[name]:
        return [f"{where}: has {len(value):,} characters, at most {LENGTHS[name]:,} are allowed"]
    if name in RANGES and not RANGES[name][0] <= value <= RANGES[name][1]:
        return [f"{where} = {value}: must be from {RANGES[name][0]} to {RANGES[name][1]:,}"]
    if name in MOST and len(value) > MOST[name]:
        return [f"{where}: has {len(value)} items, at most {MOST[name]} are allowed"]
    if name == "Question" and len(value.encode("utf-8", "surrogatepass")) > QUESTION_BYTES:
        return [f"{where}: is larger than {QUESTION_BYTES:,} bytes"]
    return []


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name
