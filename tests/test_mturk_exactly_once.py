"""A paying command that is killed, throttled, or answered too late pays once: HITs, places, approvals, bonuses."""

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import boto3
import pytest
from mturk_servers import panel

from mturk.publish import publish
from mturk.requester import client, ledger
from mturk.server.api import create_api
from mturk.server.listening import serving
from mturk.server.state import open_state
from study.errors import InputError
from study.votes import connect

TESTS = Path(__file__).resolve().parent
HITS = int(os.environ.get("EYETUNE_FAULTS", "60"))  # `make faults` takes 1,000
STRIDE = os.environ.get("EYETUNE_STRIDE", "9")  # of the points at which a command is killed; `make faults` takes all


@pytest.mark.parametrize("scenario", ["publish", "extend", "pay", "bonus"])
def test_a_command_that_is_killed_before_any_effect_is_continued_by_the_same_command(scenario, tmp_path):
    with panel(tmp_path / "panel") as running:
        command = [
            sys.executable,
            str(TESTS / "kill_walk.py"),
            scenario,
            running.api,
            str(running.folder),
            str(tmp_path),
        ]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        walked = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert walked.returncode == 0, walked.stderr
    last = walked.stdout.splitlines()[-1]
    print(scenario, last)
    assert json.loads(last)["points"] > 30


class Faulty:
    """A WSGI application in front of the API that throttles, fails, and answers late after having done the work."""

    def __init__(self, api, late: float) -> None:
        self.api, self.late = api, late
        self.calls: Counter[str] = Counter()
        self.lock = threading.Lock()

    def __call__(self, environ, start_response):
        operation = environ.get("HTTP_X_AMZ_TARGET", "").partition(".")[2]
        with self.lock:
            self.calls[operation] += 1
            number = self.calls[operation]
        if number % 2 == 0:
            return self._error(environ, start_response, "400 Bad Request", "ThrottlingException")
        if number % 7 == 0:
            return self._error(environ, start_response, "500 Internal Server Error", "ServiceFault")
        answer = list(self.api(environ, start_response))
        if number % 31 == 0:
            time.sleep(self.late)  # the work is done, but nobody waits for the answer any more
        if number % 11 == 0:  # the work is done, and the answer is lost
            return self._error(environ, start_response, "500 Internal Server Error", "ServiceFault", again=True)
        return answer

    def _error(self, environ, start_response, status, code, again=False):
        environ["wsgi.input"].read()
        body = json.dumps({"__type": code, "Message": code}).encode()
        headers = [("Content-Type", "application/x-amz-json-1.1"), ("Content-Length", str(len(body)))]
        try:
            start_response(status, headers)
        except AssertionError:  # waitress: an answer has begun
            start_response(status, headers, (RuntimeError, RuntimeError(code), None))
        return [body]


def test_every_hit_is_created_once_whatever_the_server_does(make_study, tmp_path, monkeypatch):
    """Every second call is throttled, every seventh fails, every eleventh is done and answered with an error."""
    monkeypatch.setattr(client, "FIRST_PAUSE", 0.001)
    study = make_study(hits={"sessions": HITS, "batch": 1, "url": "http://127.0.0.1:1/", "spending_cap_usd": "1200.00"})
    state = open_state(tmp_path / "panel.sqlite")
    faulty = Faulty(create_api(state), late=1.5)
    with serving(faulty) as endpoint:
        requester = client.Requester("local", endpoint, answer_wait=1.0)
        for _ in range(20):  # a call may run out of tries; then the same command is given again
            try:
                publish(study, requester, check_page=False)
                break
            except client.Unanswered:
                continue
        requester.close()
    assert faulty.calls["CreateHIT"] > 1.9 * HITS
    with serving(create_api(state)) as endpoint:
        keys = {"aws_access_key_id": "EYETUNE", "aws_secret_access_key": "x"}
        own = boto3.client("mturk", region_name="us-east-1", endpoint_url=endpoint, **keys)
        pages = own.get_paginator("list_hits").paginate()
        tokens = [hit["RequesterAnnotation"] for page in pages for hit in page["HITs"]]
        balance = own.get_account_balance()
        own.close()
    state.close()
    assert len(tokens) == HITS == len(set(tokens))
    with connect(study.votes_path) as store:
        assert ledger.account(store, "local") == ledger.Account(paid=0, promised=HITS * 120)
        assert {row["token"] for row in ledger.entries(store, "local")} == set(tokens)
    assert float(balance["OnHoldBalance"]) == HITS * 1.2


def test_a_hit_whose_token_has_expired_is_found_by_its_annotation(make_study, tmp_path, monkeypatch):
    """Created, the answer lost, and the command given again more than a day later, when MTurk forgot the token."""
    from datetime import UTC, datetime, timedelta

    monkeypatch.setattr(client, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(client, "TRIES", 1)
    late = timedelta(0)
    state = open_state(tmp_path / "panel.sqlite", lambda: datetime.now(UTC) + late)
    study = make_study(hits={"sessions": 2, "url": "http://127.0.0.1:1/", "lifetime_hours": 200})

    def lost(api):
        def application(environ, start_response):
            answer = list(api(environ, start_response))
            if environ["HTTP_X_AMZ_TARGET"].endswith(".CreateHIT"):
                time.sleep(1.5)
            return answer

        return application

    with serving(lost(create_api(state))) as endpoint:
        requester = client.Requester("local", endpoint, answer_wait=1.0)
        with pytest.raises(client.Unanswered, match="the same command goes on"):
            publish(study, requester, check_page=False)
        requester.close()
    late = timedelta(hours=30)
    with serving(create_api(state)) as endpoint:
        requester = client.Requester("local", endpoint)
        publish(study, requester, check_page=False)
        publish(study, requester, check_page=False)
        listed = list(requester.pages("ListHITs", "HITs"))
        requester.close()
    state.close()
    assert len(listed) == 1 and listed[0]["MaxAssignments"] == 2


def test_two_paying_commands_at_once_are_one_too_many(make_study):
    from mturk.publish import main
    from mturk.requester.lock import paying

    study = make_study()
    with paying(study), pytest.raises(InputError, match="another command spends this study's money just now"):
        main([str(study.root)])
