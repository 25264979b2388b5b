"""What `collect` makes of submissions: the page's, a form's, forged ones, and HITs that are extended and end."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

import eyetune
from mturk.requester import ledger
from mturk.requester.client import Refused, Requester
from mturk.server import worklife
from mturk.server.api import create_api
from mturk.server.listening import serving
from mturk.server.state import open_state
from study.errors import InputError
from study.sessions import trials_of
from study.tokens import secret_key, sign
from study.votes import connect, now

TIME = "2026-11-21T12:00:00.000Z"
VOTE = {"side": "left", "protocol": "side-by-side", "flips": 0, "zoom": 1, "screen_width": 1280, "screen_height": 800}
VOTE |= {"pixel_ratio": 1.0, "shown_at": TIME, "loaded_at": TIME, "answered_at": TIME}


class Market:
    """A local MTurk in this process, with a clock that can be moved."""

    def __init__(self, folder) -> None:
        self.late = timedelta(0)
        self.state = open_state(folder / "panel.sqlite", lambda: datetime.now(UTC) + self.late)
        self.endpoint = ""

    def run(self, study, verb: str, *options: str) -> int | None:
        return eyetune.main(["mturk", verb, str(study.root), "--endpoint", self.endpoint, *options])

    def hits(self) -> list[dict]:
        requester = Requester("local", self.endpoint)
        try:
            return list(requester.pages("ListHITs", "HITs"))
        finally:
            requester.close()


@pytest.fixture
def market(tmp_path) -> Iterator[Market]:
    found = Market(tmp_path)
    with serving(create_api(found.state)) as endpoint:
        found.endpoint = endpoint
        yield found
    found.state.close()


def page_study(make_study, name="study", **hits):
    return make_study(name, hits={"sessions": 3, "url": "http://127.0.0.1:1/", "reward_usd": "0.50", **hits})


def finish(study, worker: str, assignment: str, hit: str) -> str:
    """A finished session of the voting page for this assignment; returns its proof."""
    observer = f"{len(worker):02d}{assignment[-14:].lower()}"
    with connect(study.votes_path) as store:
        store.execute("INSERT INTO observers (id, joined_at) VALUES (?, ?)", [observer, now()])
        store.execute(
            "INSERT INTO recruits (channel, market, person, task, place, observer, arrived_at, outcome, ended_at)"
            " VALUES ('mturk', 'local', ?, ?, ?, ?, ?, 'finished', ?)",
            [worker, assignment, hit, observer, now(), now()],
        )
    return sign(secret_key(study), "done", observer)


def assignments(study) -> list[tuple]:
    with connect(study.votes_path) as store:
        return [tuple(row) for row in store.execute("SELECT worker, status, observer, problem FROM assignments")]


def test_a_submission_belongs_to_the_session_of_its_worker_and_assignment_alone(make_study, market, capsys):
    """An honest one, one without a session, and one that brings the proof of somebody else's."""
    study = page_study(make_study)
    market.run(study, "publish", "--unchecked")
    hit = market.hits()[0]["HITId"]
    workers = [worklife.add_worker(market.state, name) for name in ("Ana", "Ben", "Cleo")]
    taken = [worklife.accept(market.state, worker, hit) for worker in workers]
    proof = finish(study, workers[0], taken[0], hit)
    finish(study, workers[2], taken[2], hit)
    worklife.submit(market.state, workers[0], taken[0], [("eyetune", proof)])
    worklife.submit(market.state, workers[1], taken[1], [("eyetune", proof)])
    worklife.submit(market.state, workers[2], taken[2], [("eyetune", proof)])
    capsys.readouterr()
    market.run(study, "collect")
    said = capsys.readouterr().out
    found = {worker: (observer, problem) for worker, _, observer, problem in assignments(study)}
    assert found[workers[0]][0] and found[workers[0]][1] is None
    assert found[workers[1]] == (None, "nobody with this worker and assignment id opened the voting page")
    assert found[workers[2]] == (None, "the proof that was submitted is of somebody else's session")
    assert f"assignment {taken[2]} of {workers[2]}: the proof" in said and "3 to review" in said


def test_who_finished_and_never_submitted_is_named(make_study, market, capsys):
    """Their votes are there and nothing would be paid for them, unless somebody is told."""
    study = page_study(make_study)
    market.run(study, "publish", "--unchecked")
    hit = market.hits()[0]["HITId"]
    ana, ben = (worklife.add_worker(market.state, name) for name in ("Ana", "Ben"))
    taken = [worklife.accept(market.state, worker, hit) for worker in (ana, ben)]
    proofs = [finish(study, worker, assignment, hit) for worker, assignment in zip((ana, ben), taken, strict=True)]
    worklife.submit(market.state, ana, taken[0], [("eyetune", proofs[0])])
    capsys.readouterr()
    market.run(study, "collect")
    said = capsys.readouterr().out
    assert f"worker {ben} finished at" in said and f"assignment {taken[1]} was not submitted" in said
    assert ana not in said


def test_who_took_part_is_not_offered_the_studys_hits_again(make_study, market):
    study = page_study(make_study, batch=1)
    market.run(study, "publish", "--unchecked")
    ana, ben = (worklife.add_worker(market.state, name) for name in ("Ana", "Ben"))
    hit = worklife.available_hits(market.state, ana)[0]["hit_id"]
    assignment = worklife.accept(market.state, ana, hit)
    proof = finish(study, ana, assignment, hit)
    worklife.submit(market.state, ana, assignment, [("eyetune", proof)])
    market.run(study, "collect")
    assert not [hit for hit in worklife.available_hits(market.state, ana) if hit["qualified"]]
    assert len([hit for hit in worklife.available_hits(market.state, ben) if hit["qualified"]]) == 2


def test_a_worker_whom_mturk_does_not_know_any_more_keeps_nobody_from_the_qualification(make_study, market, capsys):
    study = page_study(make_study, batch=1)
    market.run(study, "publish", "--unchecked")
    finish(study, "A0GONE0GONE0", "T0", "H0")  # first in the order of their ids
    ana = worklife.add_worker(market.state, "Ana")
    hit = worklife.available_hits(market.state, ana)[0]["hit_id"]
    assignment = worklife.accept(market.state, ana, hit)
    worklife.submit(market.state, ana, assignment, [("eyetune", finish(study, ana, assignment, hit))])
    market.run(study, "collect")
    said = capsys.readouterr().out
    assert "worker A0GONE0GONE0 may be offered the study again: MTurk refuses Associate" in said
    assert "1 submitted, 1 of them new" in said
    assert not [hit for hit in worklife.available_hits(market.state, ana) if hit["qualified"]]


def test_a_forms_answers_become_the_same_judgments(make_study, market, tmp_path):
    """One HIT a session; its trials are answered on the left, which is a or b as the plan has it."""
    (tmp_path / "web").mkdir()
    form = {"question": "form", "sessions": 2, "upload": str(tmp_path / "web"), "images_url": "http://127.0.0.1:1/w/"}
    study = page_study(make_study, **form)
    market.run(study, "publish")
    hits = market.hits()
    assert len(hits) == 2 and all("HTMLQuestion" in hit["Question"] for hit in hits)
    assert len(list((tmp_path / "web" / "sessions").iterdir())) == 2
    with connect(study.votes_path) as store:
        plans = {row["id"]: row["observer"] for row in store.execute("SELECT id, observer FROM hits")}
        trials = {hit: trials_of(store, observer) for hit, observer in plans.items()}
    ana, ben = (worklife.add_worker(market.state, name) for name in ("Ana", "Ben"))
    first, second = plans
    for worker, hit, answered in ((ana, first, trials[first]), (ben, second, trials[second][:-1])):
        assignment = worklife.accept(market.state, worker, hit)
        votes = [VOTE | {"trial": trial["id"]} for trial in answered]
        fields = [("eyetune", plans[hit]), ("votes", json.dumps(votes))]
        worklife.submit(market.state, worker, assignment, fields)
    market.run(study, "collect")
    market.run(study, "collect")
    found = {worker: problem for worker, _, _, problem in assignments(study)}
    assert found == {ana: None, ben: "1 of the form's trials are not answered"}
    judgments, sentence = study.judgments()
    assert len(judgments) == len(trials[first]) + len(trials[second]) - 1 and "human" in sentence
    sides = {trial["id"]: trial["left_is"] for trial in [*trials[first], *trials[second]]}
    triplets = study.triplets.set_index("id")
    for vote in judgments.itertuples():
        assert vote.side == "left" and vote.chosen == triplets.loc[vote.triplet, sides[vote.id]]


def test_hits_are_extended_to_nine_places_and_no_further(make_study, market, capsys):
    study = page_study(make_study, spending_cap_usd="5.40")
    market.run(study, "publish", "--unchecked")
    market.run(study, "extend", "--sessions", "9")
    assert [hit["MaxAssignments"] for hit in market.hits()] == [9]
    market.run(study, "extend", "--sessions", "9")
    assert [hit["MaxAssignments"] for hit in market.hits()] == [9]
    with pytest.raises(InputError, match="1 too many for the published HITs"):
        market.run(study, "extend", "--sessions", "10")
    with connect(study.votes_path) as store:
        assert ledger.account(store, "local").committed == 540


def test_the_cap_holds_for_extending_and_for_offering_hits_again(make_study, market):
    study = page_study(make_study, spending_cap_usd="2.40")
    market.run(study, "publish", "--unchecked")  # 1.80
    with pytest.raises(InputError, match=r"to \$3\.00, above its cap of \$2\.40; nothing was sent"):
        market.run(study, "extend", "--sessions", "5")
    assert [hit["MaxAssignments"] for hit in market.hits()] == [3]
    market.run(study, "expire")
    with connect(study.votes_path) as store:
        assert ledger.account(store, "local").committed == 0
    market.run(study, "extend", "--hours", "24")
    assert [hit["HITStatus"] for hit in market.hits()] == ["Assignable"]
    with connect(study.votes_path) as store:
        assert ledger.account(store, "local").committed == 180


def test_work_that_was_submitted_stays_promised_when_its_hit_expires(make_study, market):
    """Two of three places are filled and not collected yet; MTurk will pay them, so the cap must count them."""
    study = page_study(make_study, spending_cap_usd="2.40", question="page")  # 1.80 for three
    market.run(study, "publish", "--unchecked")
    hit = market.hits()[0]["HITId"]
    for name in ("Ana", "Ben"):
        worker = worklife.add_worker(market.state, name)
        worklife.submit(market.state, worker, worklife.accept(market.state, worker, hit), [("eyetune", "x")])
    market.run(study, "expire")
    with connect(study.votes_path) as store:
        assert ledger.account(store, "local") == ledger.Account(paid=0, promised=120)
    text = study.settings_path.read_text()
    study.settings_path.write_text(text.replace("sessions = 3\n", "sessions = 6\n", 1))
    with pytest.raises(InputError, match=r"\$1.20 are spent or promised already, and \$1.80 more would pass the cap"):
        market.run(study, "publish", "--unchecked")


def test_hits_that_mturk_does_not_know_are_named_and_keep_no_other_from_expiring(make_study, market, capsys):
    study = page_study(make_study, batch=1)
    market.run(study, "publish", "--unchecked")
    lost = market.hits()[0]["HITId"]
    with connect(study.votes_path) as store:
        store.execute("UPDATE hits SET id = 'UNKNOWNTOMTURK' WHERE id = ?", [lost])
    market.run(study, "expire")
    said = capsys.readouterr().out
    assert "UNKNOWNTOMTURK: MTurk refuses UpdateExpirationForHIT" in said and "2 HITs expired" in said
    assert sorted(hit["HITStatus"] for hit in market.hits()) == ["Assignable", "Reviewable", "Reviewable"]
    market.run(study, "extend", "--hours", "5")
    assert [hit["HITStatus"] for hit in market.hits()] == ["Assignable"] * 3
    market.run(study, "expire")
    deleted = next(hit["HITId"] for hit in market.hits() if hit["HITStatus"] == "Reviewable")
    requester = Requester("local", market.endpoint)
    requester.call("DeleteHIT", HITId=deleted)  # by another client
    requester.close()
    capsys.readouterr()
    market.run(study, "extend", "--hours", "5")
    assert f"{deleted}: MTurk refuses UpdateExpirationForHIT" in capsys.readouterr().out
    with connect(study.votes_path) as store:
        assert store.execute("SELECT status FROM hits WHERE id = ?", [deleted]).fetchone()[0] == "deleted"


def test_places_are_added_to_an_expired_hit_only_with_more_time(make_study, market):
    """Nobody would be offered them, and they would count as published."""
    study = page_study(make_study)
    market.run(study, "publish", "--unchecked")
    market.run(study, "expire")
    with pytest.raises(InputError, match="to what has expired places are added with --hours only"):
        market.run(study, "extend", "--sessions", "5")
    market.run(study, "extend", "--sessions", "5", "--hours", "2")
    assert [(hit["MaxAssignments"], hit["HITStatus"]) for hit in market.hits()] == [(5, "Assignable")]
    with connect(study.votes_path) as store:
        assert ledger.account(store, "local") == ledger.Account(paid=0, promised=300)


@pytest.mark.parametrize("options", [["--sessions", "0"], ["--sessions", "-3"], ["--hours", "0"]])
def test_extending_to_nothing_or_where_nothing_is_published_is_refused(make_study, market, options):
    study = page_study(make_study)
    with pytest.raises(InputError, match="must be"):
        market.run(study, "extend", *options)
    with pytest.raises(InputError, match="there is no HIT to extend"):
        market.run(study, "extend", "--hours", "3")


def test_what_mturk_approved_by_itself_stands_in_the_ledger_as_paid(make_study, market):
    study = page_study(make_study, auto_approval_hours=1)
    market.run(study, "publish", "--unchecked")
    hit = market.hits()[0]["HITId"]
    ana = worklife.add_worker(market.state, "Ana")
    worklife.submit(market.state, ana, worklife.accept(market.state, ana, hit), [("eyetune", "x")])
    market.run(study, "collect")
    market.late = timedelta(hours=2)
    market.run(study, "collect")
    market.run(study, "collect")
    with connect(study.votes_path) as store:
        assert ledger.account(store, "local") == ledger.Account(paid=60, promised=120)
        (entry,) = ledger.entries(store, "local", "approve")
    assert entry["answer"] == '{"reported": "Approved"}' and entry["person"] == ana


def test_only_hits_that_are_over_and_reviewed_are_deleted(make_study, market, capsys):
    study = page_study(make_study)
    market.run(study, "publish", "--unchecked")
    capsys.readouterr()
    market.run(study, "delete")
    assert "still offered to workers" in capsys.readouterr().out
    market.run(study, "expire")
    market.run(study, "delete")
    assert "1 of 1 HITs deleted" in capsys.readouterr().out and market.hits() == []
    market.run(study, "publish", "--unchecked")
    assert "all 3 sessions are published" in capsys.readouterr().out


def test_errors_of_the_server_and_of_a_server_that_is_not_there_are_one_line(make_study, market, capsys):
    study = page_study(make_study, reward_usd="900.00", sessions=9, spending_cap_usd="99999.00")
    market.run(study, "publish", "--unchecked")
    study = page_study(make_study, name="second", reward_usd="900.00", sessions=9, spending_cap_usd="99999.00")
    with pytest.raises(Refused, match="MTurk refuses CreateHIT") as refusal:
        market.run(study, "publish", "--unchecked")
    assert refusal.value.code == "AWS.MechanicalTurk.InsufficientFunds" and "\n" not in str(refusal.value)
    with connect(study.votes_path) as store:
        assert ledger.account(store, "local").committed == 0
    with pytest.raises(
        InputError, match="no MTurk server answers at http://127.0.0.1:1; start one: eyetune mturk serve"
    ):
        eyetune.main(["mturk", "publish", str(study.root), "--unchecked", "--endpoint", "http://127.0.0.1:1"])
    with pytest.raises(InputError, match="hits.url = 'http://127.0.0.1:1/' does not answer"):
        market.run(study, "publish")
    with pytest.raises(InputError, match="--endpoint ftp://x: must look like"):
        eyetune.main(["mturk", "status", str(study.root), "--endpoint", "ftp://x"])
    with pytest.raises(InputError, match="--hit X: not one of this study's HITs"):
        market.run(study, "expire", "--hit", "X")


def test_live_without_a_yes_and_without_credentials_spends_nothing(make_study, market, monkeypatch, capsys):
    """And no credential appears in what is printed, nor in any file of the study."""
    import io

    study = page_study(make_study)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(study.root / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(study.root / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.stdin", io.StringIO("1.80\n"))
    with pytest.raises(InputError, match="no AWS credentials: set AWS_ACCESS_KEY_ID"):
        market.run(study, "publish", "--unchecked", "--live")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDTHATISSECRET")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "KEYTHATISSECRET")
    monkeypatch.setattr("sys.stdin", io.StringIO("yes\n"))
    with pytest.raises(InputError, match="not confirmed: nothing was sent"):
        market.run(study, "publish", "--unchecked", "--live")
    monkeypatch.setattr("sys.stdin", io.StringIO("1.80\n"))
    market.run(study, "publish", "--unchecked", "--live")
    market.run(study, "status", "--live")
    printed = capsys.readouterr()
    stored = b"".join(path.read_bytes() for path in study.root.rglob("*") if path.is_file())
    for secret in ("AKIDTHATISSECRET", "KEYTHATISSECRET"):
        assert secret not in printed.out + printed.err and secret.encode() not in stored
    assert "total with fees: $1.80, of real money" in printed.out and "paid $0.00, promised $1.80" in printed.out
