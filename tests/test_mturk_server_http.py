"""The local MTurk as an HTTP service: its front door, every operation, and what is left of it after kill -9."""

import http.client
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from tempfile import TemporaryDirectory

import boto3
import pytest
from botocore.config import Config
from botocore.validate import ParamValidator
from hypothesis import given, settings
from hypothesis import strategies as st
from local_market import HIT, HOUR, Clock, external, running_market

from mturk import service_model
from mturk.server import applications, money, worklife
from mturk.server.api import OPERATIONS, carry_out
from mturk.server.refusals import RequestError
from mturk.server.state import State, open_state
from study.errors import InputError

AUTHORIZATION = (
    "AWS4-HMAC-SHA256 Credential=AKIATEST/20260301/us-east-1/mturk-requester/aws4_request,"
    f" SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature={'0f' * 32}"
)
HEADERS = {
    "X-Amz-Target": "MTurkRequesterServiceV20170117.GetAccountBalance",
    "X-Amz-Date": "20260301T120000Z",
    "Content-Type": "application/x-amz-json-1.1",
    "Authorization": AUTHORIZATION,
}


@pytest.fixture(scope="module")
def market(tmp_path_factory):
    with running_market(tmp_path_factory.mktemp("http")) as market:
        yield market


def send(market, changes=(), body="{}", method="POST", path=""):
    """Status and JSON of an answer; a header that changes to None is left out."""
    headers = {name: value for name, value in (HEADERS | dict(changes)).items() if value is not None}
    request = urllib.request.Request(f"{market.url}{path}", body.encode(), headers, method=method)
    try:
        with urllib.request.urlopen(request) as response:
            assert response.headers["x-amzn-RequestId"]
            assert response.headers["Content-Type"] == "application/x-amz-json-1.1"
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            text = error.read().decode()
            return error.code, json.loads(text) if text.startswith("{") else text


def test_every_operation_of_botocores_model_is_there():
    assert set(OPERATIONS) == set(service_model.model().operation_names)
    assert len(OPERATIONS) == 39


@pytest.mark.parametrize("operation", sorted(OPERATIONS))
def test_every_operation_refuses_what_its_model_has_not(market, operation):
    target = {"X-Amz-Target": f"MTurkRequesterServiceV20170117.{operation}"}
    status, answer = send(market, target, '{"Surprise": 1}')
    assert (status, answer["__type"]) == (400, "RequestError")
    assert answer["TurkErrorCode"] in ("AWS.InvalidParameterValue", "AWS.MissingParameters")
    assert answer["Message"].startswith(f"{operation}: ")


def test_a_request_in_due_form(market):
    assert send(market)[1] == {"AvailableBalance": "10000.00", "OnHoldBalance": "0.00"}
    assert send(market, body="")[0] == 200


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"Authorization": None}, "MissingAuthenticationTokenException"),
        ({"Authorization": "Basic abc"}, "IncompleteSignatureException"),
        ({"Authorization": AUTHORIZATION.replace("mturk-requester", "s3")}, "IncompleteSignatureException"),
        ({"Authorization": AUTHORIZATION.replace("0f0f", "")}, "IncompleteSignatureException"),
        ({"Authorization": AUTHORIZATION.replace("host;", "")}, "IncompleteSignatureException"),
        ({"Authorization": AUTHORIZATION.replace("AKIATEST", "")}, "IncompleteSignatureException"),
        ({"Authorization": AUTHORIZATION.replace("AWS4-HMAC-SHA256", "AWS")}, "IncompleteSignatureException"),
        ({"X-Amz-Date": None}, "IncompleteSignatureException"),
        ({"X-Amz-Date": "today"}, "IncompleteSignatureException"),
        ({"X-Amz-Target": None}, "UnknownOperationException"),
        ({"X-Amz-Target": "MTurkRequesterServiceV20170117.MakeCoffee"}, "UnknownOperationException"),
        ({"X-Amz-Target": "MTurkRequesterServiceV20140817.GetAccountBalance"}, "UnknownOperationException"),
        ({"Host": "evil.example"}, "AccessDeniedException"),
        ({"Host": "127.0.0.1.evil.example:8002"}, "AccessDeniedException"),
        ({"Content-Type": "text/plain"}, "AccessDeniedException"),
        ({"Content-Type": "text/plain; application/x-amz-json-1.1"}, "AccessDeniedException"),
        ({"Origin": "null"}, "AccessDeniedException"),
        ({"Origin": "http://127.0.0.1:8003"}, "AccessDeniedException"),
    ],
)
def test_the_front_door(market, changes, kind):
    status, answer = send(market, changes)
    assert answer["__type"] == kind and status == (403 if kind == "AccessDeniedException" else 400)
    assert "AKIATEST" not in str(answer)


@pytest.mark.parametrize("body", ["{", "[]", "1", '"a"', "null", '{"a": "\\ud800"}', "[" * 100_000, "\xff"])
def test_bodies_that_are_no_request(market, body):
    assert send(market, body=body)[1]["__type"] == "SerializationException"


def test_other_addresses_and_methods(market):
    assert send(market, path="other")[0] == 404
    assert send(market, method="PUT")[0] == 405


def test_web_pages_are_not_let_in(market):
    """A browser asks before it sends such headers for a page, and is not told that it may."""
    ask = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    with urllib.request.urlopen(urllib.request.Request(market.url, headers=ask, method="OPTIONS")) as response:
        assert not [name for name in response.headers if name.lower().startswith("access-control")]


def test_a_body_that_is_too_long(market):
    connection = http.client.HTTPConnection(market.url.split("/")[2])
    try:
        connection.putrequest("POST", "/")
        for name, value in (HEADERS | {"Content-Length": str(2**20 + 1)}).items():
            connection.putheader(name, value)
        connection.endheaders()  # refused for what it announces, before any of it is sent
        with connection.getresponse() as response:
            assert response.status == 413
    finally:
        connection.close()


FITTING = {  # by member; the ids stand for those of the scene
    "HITId": "KNOWNHIT",
    "HITTypeId": "KNOWNTYPE",
    "AssignmentId": "KNOWNASSIGNMENT",
    "WorkerId": "KNOWNWORKER",
    "WorkerIds": "KNOWNWORKER",
    "QualificationTypeId": "KNOWNQUALIFICATION",
    "QualificationRequestId": "KNOWNREQUEST",
    "Question": external(),
    "Reward": "1.00",
    "BonusAmount": "0.50",
    "Country": "US",
    "Subdivision": "NY",
    "Destination": "arn:aws:sns:us-east-1:1:topic",
    "Version": "2006-05-05",
}
RARE = {"NextToken", "HITLayoutId", "HITLayoutParameters", "AssignmentReviewPolicy", "HITReviewPolicy"}


def values(shape, name=""):
    """Parameters of a shape: mostly of the right kind, not always within its bounds."""
    kind = shape.type_name
    if kind == "structure":
        inner = {member: values(shape.members[member], member) for member in shape.members}
        required = {member: inner[member] for member in shape.required_members}
        others = {member: strategy for member, strategy in inner.items() if member not in required}
        usual = {member: strategy for member, strategy in others.items() if member not in RARE}
        return st.one_of(
            st.fixed_dictionaries(required),
            st.fixed_dictionaries(required, optional=usual),
            st.fixed_dictionaries(required, optional=others),
        )
    if kind == "list":
        return st.lists(values(shape.member, name), max_size=2)
    if kind == "boolean":
        return st.booleans()
    if kind == "timestamp":
        return st.one_of(st.integers(1_700_000_000, 1_800_000_000), st.floats(), st.text(max_size=5))
    if kind in ("integer", "long"):
        return st.one_of(st.integers(30, 100), st.integers(30, 100), st.integers(0, 3000), st.integers())
    if shape.enum:
        return st.sampled_from(shape.enum)
    fitting = st.just(FITTING[name]) if name in FITTING else st.text(min_size=1, max_size=20)
    return st.one_of(fitting, fitting, fitting, st.sampled_from(sorted(FITTING.values())), st.text(max_size=20))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whatever_is_asked_is_answered_or_refused(data):
    """No request ends in a fault, every answer fits botocore's model, and the books add up."""
    with TemporaryDirectory() as folder:
        state = open_state(Path(folder) / "panel.sqlite", Clock())
        try:
            ask(state, scene(state), data)
            with state.transaction() as connection:
                assert money.discrepancies(connection) == []
        finally:
            state.close()


def ask(state, names, data):
    """A few operations with parameters that hypothesis draws."""
    for operation in data.draw(st.lists(st.sampled_from(sorted(OPERATIONS)), min_size=3, max_size=8)):
        model = service_model.model().operation_model(operation)
        text = json.dumps(data.draw(values(model.input_shape)))
        for name, identity in names.items():
            text = text.replace(name, identity)
        try:
            answer = carry_out(state, "AKIATEST", operation, json.loads(text), "request")
        except RequestError as error:
            assert error.code.startswith("AWS.") and error.message
        else:
            report = ParamValidator().validate(answer, model.output_shape)
            assert not report.has_errors(), report.generate_report()


def scene(state):
    """Something of everything, and the ids of it."""

    def call(operation, **parameters):
        return carry_out(state, "AKIATEST", operation, parameters, "request")

    state._connection.execute("PRAGMA synchronous = OFF")  # what reaches the disk when is another test's matter
    worker = worklife.add_worker(state, "Ann")
    hit = call("CreateHIT", **HIT, MaxAssignments=10)["HIT"]
    assignment = worklife.accept(state, worker, hit["HITId"])
    worklife.submit(state, worker, assignment, [("a", "1")])
    kind = {"Name": "n", "Description": "d", "QualificationTypeStatus": "Active", "RetryDelayInSeconds": 0}
    kind = call("CreateQualificationType", **kind)["QualificationType"]["QualificationTypeId"]
    applications.request_qualification(state, worker, kind)
    request = call("ListQualificationRequests")["QualificationRequests"][0]["QualificationRequestId"]
    return {
        "KNOWNHIT": hit["HITId"],
        "KNOWNTYPE": hit["HITTypeId"],
        "KNOWNASSIGNMENT": assignment,
        "KNOWNWORKER": worker,
        "KNOWNQUALIFICATION": kind,
        "KNOWNREQUEST": request,
    }


SERVER = """
import sys, time
from pathlib import Path
from mturk.server.api import create_api
from mturk.server.listening import serving
from mturk.server.state import open_state
with serving(create_api(open_state(Path(sys.argv[1])))) as url:
    print(url, flush=True)
    time.sleep(600)
"""


def test_nothing_that_was_acknowledged_is_lost_to_kill_9(tmp_path):
    path = tmp_path / "panel.sqlite"
    made = []
    for run in range(2):
        server = subprocess.Popen([sys.executable, "-c", SERVER, str(path)], stdout=subprocess.PIPE, text=True)
        with server:
            url = server.stdout.readline().strip()
            client = boto3.client(
                "mturk",
                endpoint_url=url,
                region_name="us-east-1",
                aws_access_key_id="AKIATEST",
                aws_secret_access_key="nothing",
                config=Config(retries={"total_max_attempts": 1}),
            )
            made += [client.create_hit(**HIT, UniqueRequestToken=f"{run}-{n}")["HIT"]["HITId"] for n in range(5)]
            os.kill(server.pid, signal.SIGKILL)
            client.close()
    state = open_state(path)
    try:
        assert sorted(row["hit_id"] for row in worklife.available_hits(state, worklife.add_worker(state, "Ann"))) == (
            sorted(made)
        )
        with state.transaction() as connection:
            assert money.discrepancies(connection) == []
            assert money.balances(connection, "AKIATEST") == (1_000_000 - 10 * 120, 10 * 120)
    finally:
        state.close()


def test_a_step_that_fails_half_way_leaves_nothing(tmp_path):
    state: State = open_state(tmp_path / "panel.sqlite")
    try:
        with pytest.raises(ZeroDivisionError), state.transaction() as connection:
            connection.execute("INSERT INTO workers (id, name, added_at) VALUES ('A1', 'Ann', 0)")
            raise ZeroDivisionError
        assert worklife.workers(state) == []
    finally:
        state.close()


def test_a_name_has_one_worker_until_it_is_revoked(tmp_path):
    state = open_state(tmp_path / "panel.sqlite")
    try:
        ann = worklife.add_worker(state, "Ann")
        assert worklife.add_worker(state, "Ann") == ann and len(ann) == 14 and ann.startswith("A")
        worklife.revoke_worker(state, ann)
        again = worklife.add_worker(state, "Ann")
        assert again != ann
        assert [(w["worker_id"], w["revoked_at"] is None) for w in worklife.workers(state)] == [
            (ann, False),
            (again, True),
        ]
    finally:
        state.close()


def test_files_that_are_no_state(tmp_path):
    (tmp_path / "text").write_text("not a database, but long enough to be looked at by SQLite as one" * 20)
    with pytest.raises(InputError, match="no state of a local MTurk"):
        open_state(tmp_path / "text")
    state = open_state(tmp_path / "new")
    with state.transaction() as connection:
        connection.execute("PRAGMA user_version = 99")
    state.close()
    with pytest.raises(InputError, match="format 99"):
        open_state(tmp_path / "new")


def test_many_callers_at_once_get_one_place_each(tmp_path):
    """Thirty workers reach for ten places from eight threads: ten have one, nobody has two."""
    from concurrent.futures import ThreadPoolExecutor

    with running_market(tmp_path) as market:
        hit = market.hit(MaxAssignments=10, AssignmentDurationInSeconds=HOUR)
        workers = [market.worker(f"W{n}") for n in range(30)]

        def reach(worker):
            try:
                return worklife.accept(market.state, worker, hit)
            except worklife.Refusal:
                return None

        with ThreadPoolExecutor(8) as pool:
            got = [assignment for assignment in pool.map(reach, workers) if assignment]
        assert len(got) == len(set(got)) == 10
        assert market.shown(hit)["HITStatus"] == "Unassignable"
