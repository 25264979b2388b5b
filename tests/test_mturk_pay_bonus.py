"""A bonus is paid once per label, whatever the server, the network and the plan's owner do meanwhile."""

import os
import shutil
from datetime import timedelta

import pytest
from requester_lab import HITS, SESSION, Lab
from submitted_work import add_session
from test_mturk_exactly_once import Faulty

from mturk import block, notify
from mturk.requester import client, ledger
from mturk.server.api import create_api
from mturk.server.listening import serving
from mturk.server.work_done import messages_of
from mturk.server.worklife import accept, add_worker, available_hits, submit
from study.errors import InputError
from study.tokens import sign
from study.votes import connect, transaction

BONUSES = int(os.environ.get("EYETUNE_FAULTS", "60"))  # `make faults` takes 1,000


@pytest.fixture
def lab(make_study, tmp_path, monkeypatch):
    monkeypatch.setattr(client, "FIRST_PAUSE", 0.001)
    lab = Lab(make_study(session=SESSION, hits=HITS), tmp_path / "panel")
    with serving(lab.watched) as endpoint:
        yield lab.open(endpoint)
        lab.close()


@pytest.fixture
def one(lab):
    """The only assignment, approved: $1.20 are paid, $9.60 promised."""
    name = lab.work("one")
    lab.collect()
    lab.pay(lab.plan())
    return name


def give(lab, name, amount, message="well done"):
    return lab.plan({name[0]: {"bonus_usd": amount, "message": message}})


def test_a_bonus_is_paid_once_a_label_and_both_books_agree(lab, one, capsys):
    plan = give(lab, one, "0.53")
    lab.bonus(plan)
    lab.bonus(plan)
    assert lab.bonuses() == [(*one, 53, "well done")]
    assert lab.account() == lab.balance() == (120 + 53 + 11, 8 * 120)  # 20 % of 53 cents, rounded half up
    said = capsys.readouterr().out
    assert "1 bonus (label '1'): $0.53 and $0.11 of fees" in said
    assert "all 1 bonuses of the plan are paid (label '1'); another --label pays again" in said
    lab.bonus(give(lab, one, "0.53"), label="2")
    assert lab.bonuses() == 2 * [(*one, 53, "well done")]


def test_another_amount_under_the_same_label_is_refused_with_what_the_ledger_has(lab, one):
    lab.bonus(give(lab, one, "0.50"))
    with pytest.raises(
        InputError, match=rf"\$0\.60 here, but \$0\.50 are paid for assignment {one[0]} under the label"
    ):
        lab.bonus(give(lab, one, "0.60"))
    assert len(lab.bonuses()) == 1


def test_the_cap_cannot_be_passed_and_then_nothing_is_sent(lab, one):
    other = lab.work("two")
    lab.collect()
    lab.set_cap("12.00")  # $10.80 are paid or promised: $1.20 are left
    plan = lab.plan({one[0]: {"bonus_usd": "0.50"}, other[0]: {"bonus_usd": "0.51"}})
    with pytest.raises(InputError, match=r"\$12\.01, above its cap of \$12\.00; nothing was sent"):
        lab.bonus(plan)
    assert lab.bonuses() == [] and lab.account() == (120, 8 * 120)
    lab.bonus(lab.plan({one[0]: {"bonus_usd": "0.50"}, other[0]: {"bonus_usd": "0.50"}}))
    assert lab.account() == lab.balance() == (120 + 120, 8 * 120)


def test_a_reason_is_needed(lab, one):
    plan = give(lab, one, "0.50", message="")
    with pytest.raises(InputError, match="line 2: a bonus needs a reason"):
        lab.bonus(plan, reason="")
    lab.bonus(plan, reason="for your care")
    assert lab.bonuses()[0][3] == "for your care"


def test_work_that_waits_gets_no_bonus(lab):
    name = lab.work("one")
    lab.collect()
    with pytest.raises(InputError, match="waits .pay = wait. and has a bonus"):
        lab.bonus(lab.plan({name[0]: {"pay": "wait", "bonus_usd": "0.10"}}))


@pytest.mark.parametrize("hours", [0, 30])
def test_a_bonus_whose_answer_was_lost_is_not_sent_again(lab, one, monkeypatch, hours):
    """After 24 hours MTurk has forgotten the token, and would pay again."""
    plan = give(lab, one, "0.50")
    lab.watched.lose = {"SendBonus"}
    monkeypatch.setattr(client, "TRIES", 1)
    with pytest.raises(client.Unanswered):
        lab.bonus(plan)
    assert lab.account() == (120, 8 * 120 + 60)  # on its way
    lab.watched.lose = set()
    lab.late += timedelta(hours=hours)
    lab.bonus(plan)
    assert lab.bonuses() == [(*one, 50, "well done")]
    assert lab.watched.calls["SendBonus"] == 1
    assert lab.account() == lab.balance() == (180, 8 * 120)


def test_a_bonus_that_never_arrived_is_sent_with_the_reason_of_the_first_time(lab, one, monkeypatch):
    """Written into the ledger, and killed before the call: an equal bonus of another label is not taken for it."""
    lab.bonus(give(lab, one, "0.50"), label="first")
    call = lab.requester.call

    def killed(operation, **parameters):
        if operation == "SendBonus":
            raise KeyboardInterrupt
        return call(operation, **parameters)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(lab.requester, "call", killed)
        lab.bonus(give(lab, one, "0.50"), label="second")
    assert lab.account() == (180, 8 * 120 + 60)
    lab.bonus(give(lab, one, "0.50", message="another"), label="second")
    assert lab.bonuses() == 2 * [(*one, 50, "well done")]
    assert lab.account() == lab.balance() == (240, 8 * 120)


@pytest.mark.parametrize("hours", [0, 30])
def test_a_ledger_from_before_the_bonus_does_not_pay_it_again(lab, one, tmp_path, hours):
    """A copy or a backup of votes.sqlite: after 24 hours MTurk has forgotten the token, and would pay again."""
    plan = give(lab, one, "0.50")
    backup = shutil.copy(lab.study.votes_path, tmp_path)
    lab.bonus(plan)
    shutil.copy(backup, lab.study.votes_path)
    assert lab.account() == (120, 8 * 120)
    lab.late += timedelta(hours=hours)
    lab.bonus(plan)
    assert lab.bonuses() == [(*one, 50, "well done")]
    assert lab.account() == lab.balance() == (180, 8 * 120)


def test_a_bonus_on_its_way_keeps_its_amount(lab, one, monkeypatch):
    lab.watched.lose = {"SendBonus"}
    monkeypatch.setattr(client, "TRIES", 1)
    with pytest.raises(client.Unanswered):
        lab.bonus(give(lab, one, "0.50"))
    with pytest.raises(InputError, match=r"\$0\.70 here, but \$0\.50 are on its way"):
        lab.bonus(give(lab, one, "0.70"))


def test_a_repeat_within_the_call_is_known_by_its_token_and_settled_as_paid(lab, one):
    api, done = lab.watched.api, []

    def once(environ, start_response):
        answer = list(api(environ, start_response))
        if environ["HTTP_X_AMZ_TARGET"].endswith("SendBonus") and not done:
            done.append(True)
            raise RuntimeError("the answer is lost")
        return answer

    lab.watched.api = once
    lab.bonus(give(lab, one, "0.50"))
    assert lab.watched.calls["SendBonus"] == 2
    assert lab.bonuses() == [(*one, 50, "well done")]
    assert lab.account() == lab.balance() == (180, 8 * 120)


def test_a_refused_bonus_frees_its_money_keeps_none_waiting_and_may_be_changed(lab, one):
    other = lab.work("two")
    lab.collect()
    edits = {one[0]: {"bonus_usd": "0.50"}, other[0]: {"bonus_usd": "0.50"}}
    lab.watched.refuse = {"SendBonus"}
    with pytest.raises(InputError, match="refused: 2 payments"):
        lab.bonus(lab.plan(edits))
    assert lab.account() == (120, 8 * 120)
    lab.watched.refuse = set()
    edits[other[0]] = {"bonus_usd": "0.40"}
    lab.bonus(lab.plan(edits))
    assert [bonus[2] for bonus in lab.bonuses()] == [50, 40]
    assert lab.account() == lab.balance() == (120 + 60 + 48, 8 * 120)
    with connect(lab.study.votes_path) as store:
        assert [entry["outcome"] for entry in ledger.entries(store, "local", "bonus")] == ["done", "done"]


def test_an_empty_account_stops_at_once(lab, one):
    other = lab.work("two")
    lab.collect()
    with lab.state.transaction() as connection:
        connection.execute("UPDATE requesters SET available_cents = 59")
    plan = lab.plan({one[0]: {"bonus_usd": "0.50"}, other[0]: {"bonus_usd": "0.01"}})
    with pytest.raises(client.Refused) as error:
        lab.bonus(plan)
    assert error.value.code == "AWS.MechanicalTurk.InsufficientFunds"
    assert lab.watched.calls["SendBonus"] == 1 and lab.bonuses() == []


def test_a_thousand_approvals_and_bonuses_are_paid_once_each_whatever_the_server_does(
    make_study, tmp_path, monkeypatch
):
    """Every second call is throttled, every seventh fails, some are done and answered late or with an error.

    60 here; 1,000 with EYETUNE_FAULTS=1000.
    """
    monkeypatch.setattr(client, "FIRST_PAUSE", 0.001)
    hits = HITS | {"sessions": BONUSES, "spending_cap_usd": f"{2 * BONUSES:.2f}", "reward_usd": "0.10"}
    lab = Lab(make_study(session=SESSION, hits=hits), tmp_path / "panel")
    with serving(lab.watched) as endpoint:
        lab.open(endpoint)
        _submit_all(lab)
        lab.collect()
    wanted = {name: 10 + number % 90 for number, name in enumerate(lab.statuses())}
    plan = lab.plan(
        {name[0]: {"pay": "yes", "use": "no", "bonus_usd": f"0.{amount}"} for name, amount in wanted.items()}
    )
    faulty = Faulty(create_api(lab.state), late=0.8)
    with serving(faulty) as endpoint:
        lab.requester.close()
        lab.requester = client.Requester("local", endpoint, answer_wait=0.4)
        runs = _until_done(lab.bonus, plan), _until_done(lab.pay, plan)
    with serving(create_api(lab.state)) as endpoint:
        lab.requester.close()
        lab.requester = client.Requester("local", endpoint)
        balance = lab.balance()
    assert sorted(lab.bonuses()) == sorted((*name, amount, "thanks") for name, amount in wanted.items())
    assert set(lab.statuses().values()) == {"approved"} == {status.lower() for status in lab.stored().values()}
    paid = sum(amount + (20 * amount + 50) // 100 for amount in wanted.values())
    assert lab.account() == balance == (paid + BONUSES * (10 + 2), 0)  # 2 cents of fees: HITs of nine
    with connect(lab.study.votes_path) as store:
        for action in ("approve", "bonus"):
            entries = ledger.entries(store, "local", action)
            assert len(entries) == BONUSES and {entry["outcome"] for entry in entries} == {"done"}
    assert faulty.calls["SendBonus"] > 1.9 * BONUSES < faulty.calls["ApproveAssignment"]
    print(f"{BONUSES} bonuses and approvals, {runs} runs, ${paid / 100} of bonuses; calls: {dict(faulty.calls)}")
    lab.close()


def _until_done(command, plan):
    """How often the command was given: a call may run out of tries, then the same command is given again."""
    for runs in range(1, 50):
        try:
            command(plan)
            return runs
        except client.Unanswered:
            continue
    raise AssertionError("50 runs were not enough")


def _submit_all(lab):
    """BONUSES workers submit; one session for all, for only the money matters here."""
    add_session(lab.study, "all")
    proof = sign(lab.key, "done", "all")
    for number in range(BONUSES):
        worker = add_worker(lab.state, f"w{number}")
        hit = available_hits(lab.state, worker)[0]["hit_id"]
        assignment = accept(lab.state, worker, hit)
        with connect(lab.study.votes_path) as store, transaction(store):
            store.execute(
                "INSERT INTO recruits VALUES ('mturk', 'local', ?, ?, ?, 'all', '', 'finished', '')",
                [worker, assignment, hit],
            )
        submit(lab.state, worker, assignment, [("eyetune", proof)])


def test_messages_reach_whom_mturk_allows_and_the_others_are_named(lab, one, capsys):
    name = lab.work("two")
    lab.collect()
    arguments = [str(lab.study.root), "--endpoint", lab.requester.endpoint, "--subject", "Hello", "--message", "You!"]
    assert notify.main([*arguments, "--all"]) == 0
    said = capsys.readouterr().out
    assert "to 2 workers (local): Hello" in said and "1 of 2 workers reached" in said
    assert f"{name[1]}: not reached (" in said
    assert notify.main([*arguments, "--all-paid"]) == 0
    assert "1 of 1 workers reached" in capsys.readouterr().out
    assert len([m for m in messages_of(lab.state, one[1]) if "You!" in str(m)]) == 2
    with pytest.raises(InputError, match="--worker 'Bob' is no worker id"):
        notify.main([*arguments, "--worker", "Bob"])
    with pytest.raises(InputError, match="--subject has 201 characters"):
        notify.main([*arguments[:4], "x" * 201, "--message", "y", "--all"])


def test_two_hundred_workers_are_three_calls(lab):
    workers = [f"A{number:013d}" for number in range(201)]
    arguments = [str(lab.study.root), "--endpoint", lab.requester.endpoint, "--subject", "a", "--message", "b"]
    assert notify.main([*arguments, "--worker", *workers, workers[0]]) == 0
    assert lab.watched.calls["NotifyWorkers"] == 3


def test_a_blocked_worker_finds_no_hit_until_the_block_is_lifted(lab, one, capsys):
    arguments = [str(lab.study.root), "--endpoint", lab.requester.endpoint, "--worker", one[1], "--reason", "robot"]
    blocks = lambda: [b["WorkerId"] for b in lab.requester.pages("ListWorkerBlocks", "WorkerBlocks")]  # noqa: E731
    assert block.main(arguments) == 0 and block.main(arguments) == 0
    assert blocks() == [one[1]]
    assert block.main([*arguments, "--lift"]) == 0 and block.main([*arguments, "--lift"]) == 0
    assert blocks() == []
    assert "blocked (local)" in capsys.readouterr().out
