"""Other people's MTurk clients work with the local server as they are: awscli, and capo-mturk from PyPI."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from capo_mturk import Credentials, MTurkClient
from capo_mturk.errors.request_error import RequestError
from local_market import HIT, HOUR, external, running_market

from mturk.questions.answers import fields
from mturk.server import work_done


@pytest.fixture
def market(tmp_path):
    with running_market(tmp_path) as market:
        yield market


def test_awscli_leads_a_hit_through_its_life(market, tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")} | {
        "AWS_ACCESS_KEY_ID": "AKIATEST",
        "AWS_SECRET_ACCESS_KEY": "nothing",
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
        "AWS_MAX_ATTEMPTS": "1",
    }

    def aws(*words, fails=False):
        command = [Path(sys.executable).with_name("aws"), "mturk", *words]
        command += ["--endpoint-url", market.url, "--region", "us-east-1", "--output", "json"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if fails:
            assert done.returncode != 0
            return done.stderr
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if done.stdout.strip() else None

    words = ["--title", HIT["Title"], "--description", HIT["Description"], "--reward", "1.00"]
    words += ["--assignment-duration-in-seconds", str(HOUR), "--lifetime-in-seconds", str(HOUR)]
    words += ["--max-assignments", "2", "--question", external(), "--unique-request-token", "once"]
    hit = aws("create-hit", *words)["HIT"]["HITId"]
    again = aws("create-hit", *words, fails=True)
    assert f'The HIT with ID "{hit}" already exists' in again and "(RequestError)" in again
    worker = market.worker()
    assignment = market.submitted(hit, worker, "é & <b>")
    (shown,) = aws("list-assignments-for-hit", "--hit-id", hit)["Assignments"]
    assert (shown["AssignmentId"], fields(shown["Answer"])) == (assignment, {"answer": "é & <b>"})
    aws("approve-assignment", "--assignment-id", assignment)
    words = ["--worker-id", worker, "--assignment-id", assignment, "--bonus-amount", "0.50", "--reason", "thanks"]
    aws("send-bonus", *words)
    aws("update-expiration-for-hit", "--hit-id", hit, "--expire-at", "0")
    aws("delete-hit", "--hit-id", hit)
    assert aws("get-account-balance") == {"AvailableBalance": "9998.20", "OnHoldBalance": "0.00"}
    assert work_done.earnings(market.state, worker) == {"rewards": 100, "bonuses": 50, "waiting": 0}


def test_capo_mturk_leads_a_hit_through_its_life(market):
    credentials = Credentials(access_key="AKIATEST", secret_key="nothing")
    with MTurkClient(region="us-east-1", endpoint=market.url, credentials=credentials, retry_max_attempts=1) as client:
        hit = client.create_hit(
            HOUR,
            HOUR,
            "1.00",
            HIT["Title"],
            HIT["Description"],
            max_assignments=2,
            question=external(),
            unique_request_token="once",
            qualification_requirements=[
                {"qualification_type_id": "000000000000000000L0", "comparator": "GreaterThan", "integer_values": [90]}
            ],
        )["hit"]["hit_id"]
        worker = market.worker()
        assignment = market.submitted(hit, worker)
        (shown,) = client.list_assignments_for_hit(hit)["assignments"]
        assert (shown["assignment_id"], shown["worker_id"]) == (assignment, worker)
        assert (shown["submit_time"], fields(shown["answer"])) == (market.clock.time, {"answer": "yes"})
        client.approve_assignment(assignment, requester_feedback="thanks")
        with pytest.raises(RequestError) as error:
            client.approve_assignment(assignment)
        assert error.value.data["turk_error_code"] == "AWS.MechanicalTurk.InvalidAssignmentState"
        client.send_bonus(worker, "0.50", assignment, "thanks", unique_request_token="bonus")
        with pytest.raises(RequestError, match="already been processed"):
            client.send_bonus(worker, "0.50", assignment, "thanks", unique_request_token="bonus")
        client.update_expiration_for_hit(hit, market.clock.time)
        assert client.get_hit(hit)["hit"]["hit_status"] == "Reviewable"
        client.delete_hit(hit)
        assert client.get_account_balance()["available_balance"] == "9998.20"
        assert work_done.earnings(market.state, worker) == {"rewards": 100, "bonuses": 50, "waiting": 0}
