"""The Requester API over HTTP: JSON 1.1, as boto3, awscli and other clients speak it.

Any access key id is a requester of its own. Signatures are checked for their form only, for there is no secret to
check them with: who reaches the port may use it, so it listens on this machine alone.
"""

import json
import re
import sqlite3
import sys
import uuid
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from flask import Flask, Response, request

from mturk import service_model
from mturk.server import (
    assignments,
    hit_states,
    hit_types,
    hits,
    life,
    money,
    notifications,
    qualification_types,
    qualifications,
    workers,
)
from mturk.server.caller import Caller
from mturk.server.refusals import RequestError
from mturk.server.state import State
from study.fees import dollars

TARGET = "MTurkRequesterServiceV20170117"
CONTENT_TYPE = "application/x-amz-json-1.1"
REQUEST_BYTES = 1024 * 1024
LOOPBACK = ("127.0.0.1", "localhost", "::1")

_CREDENTIAL = r"[A-Za-z0-9_./+=-]{1,128}/[0-9]{8}/[a-z0-9-]{1,40}/mturk-requester/aws4_request"
_AUTHORIZATION = re.compile(
    rf"AWS4-HMAC-SHA256 +Credential=(?P<credential>{_CREDENTIAL}), *SignedHeaders=(?P<headers>[a-z0-9;-]+),"
    r" *Signature=[0-9a-f]{64}"
)


def get_account_balance(caller: Caller, _: dict[str, Any]) -> dict[str, Any]:
    """GetAccountBalance."""
    available, held = money.balances(caller.connection, caller.requester)
    return {"AvailableBalance": dollars(available), "OnHoldBalance": dollars(held)}


OPERATIONS: dict[str, Callable[[Caller, dict[str, Any]], dict[str, Any]]] = {
    "AcceptQualificationRequest": qualifications.accept_qualification_request,
    "ApproveAssignment": assignments.approve_assignment,
    "AssociateQualificationWithWorker": qualifications.associate_qualification,
    "CreateAdditionalAssignmentsForHIT": hits.create_additional_assignments,
    "CreateHIT": hits.create_hit,
    "CreateHITType": hit_types.create_hit_type,
    "CreateHITWithHITType": hits.create_hit_with_hit_type,
    "CreateQualificationType": qualification_types.create_qualification_type,
    "CreateWorkerBlock": workers.create_worker_block,
    "DeleteHIT": hit_states.delete_hit,
    "DeleteQualificationType": qualification_types.delete_qualification_type,
    "DeleteWorkerBlock": workers.delete_worker_block,
    "DisassociateQualificationFromWorker": qualifications.disassociate_qualification,
    "GetAccountBalance": get_account_balance,
    "GetAssignment": assignments.get_assignment,
    "GetFileUploadURL": assignments.get_file_upload_url,
    "GetHIT": hits.get_hit,
    "GetQualificationScore": qualifications.get_qualification_score,
    "GetQualificationType": qualification_types.get_qualification_type,
    "ListAssignmentsForHIT": assignments.list_assignments_for_hit,
    "ListBonusPayments": assignments.list_bonus_payments,
    "ListHITs": hits.list_hits,
    "ListHITsForQualificationType": hits.list_hits_for_qualification_type,
    "ListQualificationRequests": qualifications.list_qualification_requests,
    "ListQualificationTypes": qualification_types.list_qualification_types,
    "ListReviewPolicyResultsForHIT": hits.list_review_policy_results,
    "ListReviewableHITs": hits.list_reviewable_hits,
    "ListWorkerBlocks": workers.list_worker_blocks,
    "ListWorkersWithQualificationType": qualifications.list_workers_with_qualification_type,
    "NotifyWorkers": workers.notify_workers,
    "RejectAssignment": assignments.reject_assignment,
    "RejectQualificationRequest": qualifications.reject_qualification_request,
    "SendBonus": assignments.send_bonus,
    "SendTestEventNotification": notifications.send_test_event_notification,
    "UpdateExpirationForHIT": hit_states.update_expiration,
    "UpdateHITReviewStatus": hit_states.update_review_status,
    "UpdateHITTypeOfHIT": hit_states.update_hit_type_of_hit,
    "UpdateNotificationSettings": notifications.update_notification_settings,
    "UpdateQualificationType": qualification_types.update_qualification_type,
}


class _Rejected(Exception):
    """A request that is refused before any operation sees it, with the name and words of AWS's front door."""

    def __init__(self, kind: str, message: str, status: int = 400):
        super().__init__(message)
        self.kind, self.message, self.status = kind, message, status


def create_api(state: State) -> Flask:
    """The API on `state`."""
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = REQUEST_BYTES
    service_model.model()  # read now, not in the first request

    @app.post("/")
    def call() -> Response:
        request_id = str(uuid.uuid4())
        try:
            requester, operation, parameters = _read()
            return _answer(carry_out(state, requester, operation, parameters, request_id), 200, request_id)
        except RequestError as error:
            body = {"__type": "RequestError", "Message": error.message, "TurkErrorCode": error.code}
            return _answer(body, 400, request_id)
        except _Rejected as error:
            return _answer({"__type": error.kind, "message": error.message}, error.status, request_id)
        except (OSError, sqlite3.OperationalError) as error:
            print(f"eyetune mturk serve: {error}; the request was not carried out", file=sys.stderr)
            message = "The server cannot store anything at the moment (its disk may be full)."
            code = "AWS.MechanicalTurk.ServiceUnavailable"
            return _answer({"__type": "ServiceFault", "Message": message, "TurkErrorCode": code}, 500, request_id)

    return app


def carry_out(
    state: State, requester: str, operation: str, parameters: dict[str, Any], request_id: str
) -> dict[str, Any]:
    """The answer of one operation, wholly carried out or not at all. Raises RequestError where it is refused."""
    parameters = _without_nulls(parameters)
    problems = service_model.problems(operation, parameters)
    if problems:
        raise RequestError(_code(problems[0]), f"{operation}: {problems[0]}")
    with state.transaction() as connection:
        now = life.advance(connection, state.now())
        money.open_account(connection, requester, state.opening_cents, now)
        caller = Caller(connection, requester, now, request_id)
        return OPERATIONS[operation](caller, parameters)


def _read() -> tuple[str, str, dict[str, Any]]:
    """The requester, the operation and its parameters in the HTTP request. Raises _Rejected."""
    if not _is_loopback(request.host):  # a web page that made its own name point here
        raise _Rejected("AccessDeniedException", "This server is for its own machine: use 127.0.0.1.", 403)
    if "Origin" in request.headers or request.mimetype != CONTENT_TYPE:  # what browsers send for pages
        raise _Rejected("AccessDeniedException", f"This server is for programs, which send {CONTENT_TYPE}.", 403)
    service, _, operation = request.headers.get("X-Amz-Target", "").partition(".")
    if service != TARGET or operation not in OPERATIONS:
        raise _Rejected("UnknownOperationException", f"There is no operation {service}.{operation} here.")
    authorization = request.headers.get("Authorization", "")
    if not authorization:
        raise _Rejected("MissingAuthenticationTokenException", "Missing Authentication Token")
    form = _AUTHORIZATION.fullmatch(authorization)
    if form is None or "host" not in form["headers"].split(";"):
        raise _Rejected(
            "IncompleteSignatureException", "Authorization is no signature of version 4 for mturk-requester."
        )
    if not re.fullmatch(r"[0-9]{8}T[0-9]{6}Z", request.headers.get("X-Amz-Date", "")):
        raise _Rejected("IncompleteSignatureException", "X-Amz-Date is missing or no time like 20260101T000000Z.")
    try:
        parameters = json.loads(request.get_data() or b"{}")
        json.dumps(parameters, ensure_ascii=False).encode()  # half a surrogate pair is no text
    except (ValueError, RecursionError):
        parameters = None
    if not isinstance(parameters, dict):
        raise _Rejected("SerializationException", "The body is no JSON object.")
    return form["credential"].split("/")[0], operation, parameters


def _is_loopback(host: str) -> bool:
    try:
        return urlsplit(f"//{host}").hostname in LOOPBACK
    except ValueError:
        return False


def _answer(body: dict[str, Any], status: int, request_id: str) -> Response:
    response = Response(json.dumps(body), status, content_type=CONTENT_TYPE)
    response.headers["x-amzn-RequestId"] = request_id
    return response


def _without_nulls(parameters: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if value is not None}


def _code(problem: str) -> str:
    """The code for what is wrong with a parameter, as the service model puts it."""
    if problem.endswith("is missing"):
        return "AWS.MissingParameters"
    if "must be one of" in problem:
        return "AWS.InvalidEnumeratedParameter"
    if re.search(r"must be from|at most|must have|larger than|too large", problem):
        return "AWS.ParameterOutOfRange"
    return "AWS.InvalidParameterValue"
