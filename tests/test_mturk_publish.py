"""Publishing where two ledgers could create a HIT, or a refusal hides one that was created."""

import json
import shutil
from datetime import UTC, datetime, timedelta

import pytest

from mturk.publish import publish
from mturk.requester import client, ledger
from mturk.server.api import create_api
from mturk.server.listening import serving
from mturk.server.state import open_state
from study.errors import InputError
from study.folder import Study
from study.votes import connect

HITS = {"sessions": 2, "batch": 1, "url": "http://127.0.0.1:1/"}


class Market:
    """A local MTurk whose clock can be moved, and which can lose an answer of CreateHIT and refuse the next calls."""

    def __init__(self, folder) -> None:
        self.late = timedelta(0)
        self.state = open_state(folder / "panel.sqlite", lambda: datetime.now(UTC) + self.late)
        self.api = create_api(self.state)
        self.lose = 0
        self.refuse: set[str] = set()

    def __call__(self, environ, start_response):
        operation = environ["HTTP_X_AMZ_TARGET"].partition(".")[2]
        if operation in self.refuse:
            environ["wsgi.input"].read()
            body = json.dumps({"__type": "ExpiredTokenException", "Message": "the credentials have expired"}).encode()
            headers = [("Content-Type", "application/x-amz-json-1.1"), ("Content-Length", str(len(body)))]
            start_response("400 Bad Request", headers)
            return [body]
        answer = list(self.api(environ, start_response))
        if operation == "CreateHIT" and self.lose:
            self.lose -= 1
            self.refuse = {"CreateHIT", "ListHITs"}
            raise RuntimeError("the answer is lost")
        return answer


@pytest.fixture
def market(tmp_path, monkeypatch):
    monkeypatch.setattr(client, "FIRST_PAUSE", 0.001)
    found = Market(tmp_path)
    with serving(found) as endpoint:
        found.requester = client.Requester("local", endpoint)
        yield found
        found.requester.close()
    found.state.close()


def tokens(market) -> list[str]:
    return sorted(hit["RequesterAnnotation"] for hit in market.requester.pages("ListHITs", "HITs"))


def test_a_hit_whose_answer_was_lost_is_not_made_again_though_the_next_try_is_refused(make_study, market):
    """The first try creates it, its answer is lost, and the second meets credentials that have expired."""
    study = make_study(hits=HITS)
    market.lose = 1
    with pytest.raises(InputError, match="credentials have expired"):
        publish(study, market.requester, check_page=False)
    with connect(study.votes_path) as store:
        assert [row["outcome"] for row in ledger.entries(store, "local")] == [None]
    market.refuse = set()
    publish(study, market.requester, check_page=False)
    with connect(study.votes_path) as store:
        assert tokens(market) == sorted(row["token"] for row in ledger.entries(store, "local"))
        assert ledger.account(store, "local") == ledger.Account(paid=0, promised=240)


@pytest.mark.parametrize("hours", [0, 30])
def test_a_copy_of_a_study_publishes_nothing_again(make_study, market, tmp_path, hours):
    """Also after 24 hours, when MTurk has forgotten the tokens; an older backup is such a copy."""
    study = make_study(hits=HITS)
    shutil.copytree(study.root, tmp_path / "copy")
    key = study.root / "secret.key"
    publish(study, market.requester, check_page=False)
    shutil.copy(key, tmp_path / "copy")
    market.late = timedelta(hours=hours)
    with pytest.raises(InputError, match="is a copy, or an older backup, .* go on in the folder that published it"):
        publish(Study(tmp_path / "copy"), market.requester, check_page=False)
    assert len(tokens(market)) == 2
    with connect(tmp_path / "copy" / "votes.sqlite") as store:
        assert ledger.account(store, "local").committed == 0
