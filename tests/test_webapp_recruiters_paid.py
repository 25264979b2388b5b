"""What the page gives out and what `collect` takes: one session pays for one assignment."""

import test_mturk_collect
from test_mturk_collect import assignments
from test_webapp_recruiters import answer, begin, done_token, mturk, observer_of, part, rows

from mturk.server import worklife
from webapp.app import create_app

market = test_mturk_collect.market


def test_two_hits_that_share_a_session_are_paid_as_one(make_study, market):
    """A worker accepts two HITs, votes once, and submits the one proof with both by hand."""
    study = make_study(hits={"sessions": 2, "batch": 1, "url": "http://127.0.0.1:1/", "reward_usd": "0.50"})
    market.run(study, "publish", "--unchecked")
    hits = [hit["HITId"] for hit in market.hits()]
    assert len(hits) == 2
    worker = worklife.add_worker(market.state, "Ana")
    taken = [worklife.accept(market.state, worker, hit) for hit in hits]
    client = create_app(study).test_client()
    tasks = [mturk(worker, assignment, hit=hit) for assignment, hit in zip(taken, hits, strict=True)]
    first, second = (begin(client, study, task) for task in tasks)
    answer(client, second)
    proof = done_token(client.get(part(second, "end")).text)
    assert "return this HIT" in client.get(part(first, "end")).text
    for assignment in taken:
        worklife.submit(market.state, worker, assignment, [("eyetune", proof)])
    market.run(study, "collect")
    found = {observer: problem for _, _, observer, problem in assignments(study)}
    assert set(found) == {None, observer_of(study, first)} and found[observer_of(study, first)] is None
    assert "belongs to another one" in found[None]
    assert [outcome for (outcome,) in rows(study, "outcome")] == ["again", "finished"]
