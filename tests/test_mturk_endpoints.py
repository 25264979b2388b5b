"""What answers at an endpoint but is not MTurk, which addresses are taken, and what is not sent twice."""

import json
from collections import Counter

import pytest

import eyetune
from mturk.requester import client
from mturk.server.listening import serving
from study.errors import InputError
from study.votes import connect


def web_page(status: str, kind: str, body: bytes, calls: Counter | None = None):
    """A web server that gives this answer to everything."""

    def application(environ, start_response):
        environ["wsgi.input"].read()
        if calls is not None:
            calls[environ["HTTP_X_AMZ_TARGET"].partition(".")[2]] += 1
        start_response(status, [("Content-Type", kind), ("Content-Length", str(len(body)))])
        return [body]

    return application


@pytest.mark.parametrize(
    ("status", "kind", "body"),
    [
        ("200 OK", "text/html; charset=utf-8", b"<html>sign in to the network</html>"),
        ("302 Found", "text/html", b"<html>moved</html>"),
        ("404 Not Found", "text/html", b"<html>not here</html>"),
        ("200 OK", "application/json", b"{}"),
        ("400 Bad Request", "application/json", b'{"Message": "no"}'),
    ],
)
def test_another_web_servers_answer_is_no_word_of_mturks(make_study, status, kind, body):
    """A page with status 200 would else be an approval; one with 404 a refusal, after which a HIT is made anew."""
    study = make_study(hits={"sessions": 2, "url": "http://127.0.0.1:1/"})
    with serving(web_page(status, kind, body)) as endpoint:
        for verb in (["status"], ["publish", "--unchecked"], ["collect"]):
            with pytest.raises(InputError, match=f"does not speak MTurk's API: it answered .*{kind.partition(';')[0]}"):
                eyetune.main(["mturk", verb[0], str(study.root), *verb[1:], "--endpoint", endpoint])
        requester = client.Requester("local", endpoint)
        with pytest.raises(client.Unanswered, match=rf"ApproveAssignment with .* \(HTTP {status[:3]}\); check"):
            requester.call("ApproveAssignment", AssignmentId="A1")
        requester.close()


@pytest.mark.parametrize(
    ("endpoint", "said"),
    [
        ("http://:THATISSECRET@127.0.0.1:1", "no name or password"),
        ("http://lab:THATISSECRET@127.0.0.1:1", "no name or password"),
        ("http://127.0.0.1:1/?a=b", "must look like"),
        ("127.0.0.1:8002", "must look like"),
        ("https://mturk-requester.us-east-1.amazonaws.com/", "chosen by --sandbox and --live"),
        ("https://MTURK-requester-sandbox.us-east-1.amazonaws.com", "chosen by --sandbox and --live"),
    ],
)
@pytest.mark.parametrize("market", [[], ["--live"]])
def test_addresses_that_hold_a_password_or_mix_the_markets_are_refused(make_study, endpoint, said, market):
    study = make_study()
    with pytest.raises(InputError, match=said) as error:
        eyetune.main(["mturk", "status", str(study.root), "--endpoint", endpoint, *market])
    assert "THATISSECRET" not in str(error.value)


def test_a_message_whose_answer_is_lost_is_not_sent_again_but_a_throttled_one_is(make_study, monkeypatch):
    monkeypatch.setattr(client, "FIRST_PAUSE", 0.001)
    study, calls = make_study(), Counter()
    command = ["mturk", "notify", str(study.root), "--worker", "A1B2C3D4E5F6G7", "--subject", "s", "--message", "m"]
    broken = json.dumps({"__type": "ServiceFault"}).encode()
    with serving(web_page("500 Internal Server Error", "application/x-amz-json-1.1", broken, calls)) as endpoint:
        with pytest.raises(InputError, match="whether it was carried out is not known, and the same command would do"):
            eyetune.main([*command, "--endpoint", endpoint])
    assert calls["NotifyWorkers"] == 1
    throttled = json.dumps({"__type": "ThrottlingException"}).encode()
    with serving(web_page("400 Bad Request", "application/x-amz-json-1.1", throttled, calls)) as endpoint:
        with pytest.raises(InputError, match=f"in {client.TRIES} tries"):
            eyetune.main([*command, "--endpoint", endpoint])
    assert calls["NotifyWorkers"] == 1 + client.TRIES


def test_without_a_standard_input_nothing_is_confirmed(make_study, monkeypatch):
    """Python gives None where a command is started with its standard input closed."""
    study = make_study(hits={"sessions": 2, "url": "http://127.0.0.1:1/"})
    monkeypatch.setattr("sys.stdin", None)
    command = ["mturk", "publish", str(study.root), "--unchecked", "--live", "--endpoint", "http://127.0.0.1:1"]
    with pytest.raises(InputError, match="not confirmed: nothing was sent and nothing was spent"):
        eyetune.main(command)
    with connect(study.votes_path) as store:
        assert store.execute("SELECT count(*) FROM ledger").fetchone()[0] == 0


def test_the_command_that_is_named_next_is_of_the_same_market():
    from argparse import Namespace
    from pathlib import Path

    def said(**options):
        study = Namespace(root=Path("my study"))
        return client.command(
            "review", study, Namespace(**{"live": False, "sandbox": False, "endpoint": None} | options)
        )

    assert said() == "eyetune mturk review 'my study'"
    assert said(live=True) == "eyetune mturk review 'my study' --live"
    assert said(sandbox=True) == "eyetune mturk review 'my study' --sandbox"
    assert said(live=True, endpoint="http://x") == "eyetune mturk review 'my study' --live --endpoint http://x"
