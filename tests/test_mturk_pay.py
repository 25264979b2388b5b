"""Plans are carried out at a real local MTurk: each approval and rejection once, for whom it is meant, to the cent."""

import io

import pytest
from requester_lab import HITS, SESSION, Lab

from mturk import pay
from mturk.requester import client, ledger
from mturk.requester.lock import paying
from mturk.server.listening import serving
from study.errors import InputError
from study.votes import connect


@pytest.fixture
def lab(make_study, tmp_path, monkeypatch):
    monkeypatch.setattr(client, "FIRST_PAUSE", 0.001)
    lab = Lab(make_study(session=SESSION, hits=HITS), tmp_path / "panel")
    with serving(lab.watched) as endpoint:
        yield lab.open(endpoint)
        lab.close()


def test_a_plan_is_carried_out_once_and_both_books_agree(lab, capsys):
    good, careless = lab.work("good"), lab.work("careless", sentinels_right=False)
    forged = lab.work("forged", proof="forged")
    lab.collect()
    plan = lab.plan()
    assert (lab.account(), lab.balance()) == ((0, 9 * 120), (0, 9 * 120))
    lab.pay(plan)
    assert lab.statuses() == {good: "approved", careless: "approved", forged: "submitted"}
    assert lab.stored() == {good: "Approved", careless: "Approved", forged: "Submitted"}
    assert lab.account() == lab.balance() == (240, 7 * 120)
    assert lab.rejected() == {"good": None, "careless": "review: 0 of 2 sentinels right", "forged": None}
    said = capsys.readouterr().out
    assert "2 assignments to approve: $2.00 and $0.40 of fees" in said
    assert "2 approved now, 0 that MTurk had approved before, 0 rejected\n1 wait for a person" in said
    lab.pay(plan)
    assert lab.watched.calls["ApproveAssignment"] == 2
    assert lab.account() == lab.balance() == (240, 7 * 120)


def test_a_person_may_reject_with_a_message_and_take_it_back(lab):
    name = lab.work("one")
    lab.collect()
    lab.pay(
        lab.plan({name[0]: {"pay": "reject", "use": "no", "reason": "empty", "message": "All answers were empty."}})
    )
    assert lab.statuses()[name] == "rejected" and lab.stored()[name] == "Rejected"
    assert lab.account() == lab.balance() == (0, 8 * 120)
    assert lab.rejected() == {"one": "review: empty"}
    plan = lab.plan({name[0]: {"pay": "yes", "use": "yes", "reason": ""}})
    lab.pay(plan)
    lab.pay(plan)
    assert lab.statuses()[name] == "approved"
    assert lab.account() == lab.balance() == (120, 8 * 120)
    assert lab.rejected() == {"one": None}
    with pytest.raises(InputError, match="approved and paid already, which cannot be undone"):
        lab.pay(lab.plan({name[0]: {"pay": "reject", "use": "no", "message": "no"}}))


def test_taking_a_rejection_back_cannot_pass_the_cap(lab):
    name = lab.work("one")
    lab.collect()
    lab.pay(lab.plan({name[0]: {"pay": "reject", "use": "no", "message": "no"}}))
    lab.set_cap("10.00")  # 8 places for $9.60 are promised
    plan = lab.plan({name[0]: {"pay": "yes", "use": "no"}})
    with pytest.raises(InputError, match=r"\$10\.80, above its cap of \$10\.00"):
        lab.pay(plan)
    assert lab.statuses()[name] == "rejected"


def test_what_mturk_approved_by_itself_is_noticed_and_not_paid_again(lab, capsys):
    from datetime import timedelta

    names = [lab.work("one"), lab.work("two")]
    lab.collect()
    plan = lab.plan()
    lab.late = timedelta(hours=73)
    lab.pay(plan)
    assert "0 approved now, 2 that MTurk had approved before" in capsys.readouterr().out
    assert lab.watched.calls["ApproveAssignment"] == 0
    assert {lab.stored()[name] for name in names} == {"Approved"}
    assert lab.account() == lab.balance() == (240, 7 * 120)


def test_an_approval_whose_answer_was_lost_is_settled_by_what_mturk_says(lab, monkeypatch):
    name = lab.work("one")
    lab.collect()
    plan = lab.plan()
    lab.watched.lose = {"ApproveAssignment"}
    monkeypatch.setattr(client, "TRIES", 1)
    with pytest.raises(client.Unanswered, match="the same command goes on"):
        lab.pay(plan)
    with connect(lab.study.votes_path) as store:
        assert len(ledger.unsettled(store, "local", "approve")) == 1
    lab.watched.lose = set()
    lab.pay(plan)
    assert lab.watched.calls["ApproveAssignment"] == 1
    assert lab.stored()[name] == "Approved"
    assert lab.account() == lab.balance() == (120, 8 * 120)
    with connect(lab.study.votes_path) as store:
        (entry,) = ledger.entries(store, "local", "approve")
        assert (entry["outcome"], entry["reward_cents"], entry["fee_cents"]) == ("done", 100, 20)


def test_an_approval_that_is_repeated_after_a_lost_answer_is_done_not_refused(lab):
    """Within one call: the first try approves, its answer is lost, the second is refused for the state."""
    name = lab.work("one")
    lab.collect()
    plan = lab.plan()
    lab.watched.lose = {"ApproveAssignment"}
    answers = iter([True])
    api = lab.watched.api

    def once(environ, start_response):
        answer = api(environ, start_response)
        if environ["HTTP_X_AMZ_TARGET"].endswith("ApproveAssignment") and not next(answers, False):
            lab.watched.lose = set()
        return answer

    lab.watched.api = once
    lab.pay(plan)
    assert lab.watched.calls["ApproveAssignment"] == 2
    assert lab.stored()[name] == "Approved"
    assert lab.account() == lab.balance() == (120, 8 * 120)


def test_a_refused_approval_is_settled_as_such_keeps_none_waiting_and_is_tried_again(lab):
    names = [lab.work("one"), lab.work("two")]
    lab.collect()
    plan = lab.plan()
    lab.watched.refuse = {"ApproveAssignment"}
    with pytest.raises(InputError, match="refused: 2 payments, see above; all others are made"):
        lab.pay(plan)
    assert lab.watched.calls["ApproveAssignment"] == 2
    assert lab.account() == (0, 9 * 120)
    with connect(lab.study.votes_path) as store:  # an open entry would be called interrupted for ever
        assert [row["outcome"] for row in ledger.entries(store, "local", "approve")] == ["refused", "refused"]
    lab.watched.refuse = set()
    lab.pay(plan)
    assert {lab.statuses()[name] for name in names} == {"approved"}
    assert lab.account() == lab.balance() == (240, 7 * 120)


def test_nobody_else_is_paid_where_mturk_gave_the_assignments_id_to_another_worker(lab):
    """psiTurk #190, #390: the store knows the worker who returned the assignment, MTurk the one who then took it."""
    assignment, worker = lab.work("one")
    lab.collect()
    with connect(lab.study.votes_path) as store:
        store.execute("UPDATE assignments SET worker = 'A1RETURNED'")
    plan = lab.plan()
    with pytest.raises(InputError) as error:
        lab.pay(plan)
    assert f"line 2: assignment {assignment} is worker A1RETURNED's by the plan, but MTurk says that {worker}" in str(
        error.value
    )
    assert lab.watched.calls["ApproveAssignment"] == 0
    assert lab.rejected() == {"one": None}


def test_nothing_is_done_where_one_row_is_wrong(lab):
    first, second = lab.work("one"), lab.work("two", sentinels_right=False)
    lab.collect()
    plan = lab.plan({second[0]: {"pay": "maybe"}})
    with pytest.raises(InputError, match="line 3: pay = 'maybe'"):
        lab.pay(plan)
    plan = lab.plan({second[0]: {"worker": first[1]}})
    with pytest.raises(InputError, match=f"line 3: worker '{first[1]}' did not submit assignment {second[0]}"):
        lab.pay(plan)
    forged = lab.work("three", proof="forged")
    lab.collect()
    with pytest.raises(InputError, match=f"no session of its own fits assignment {forged[0]}"):
        lab.pay(lab.plan({forged[0]: {"pay": "yes", "use": "yes"}}))
    assert lab.watched.calls["ApproveAssignment"] == 0
    assert set(lab.rejected().values()) == {None}


def test_a_hit_that_the_account_does_not_have_is_named(lab, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "SOMEBODYELSE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    lab.work("one")
    lab.collect()
    plan = lab.plan()
    own, lab.requester = lab.requester, client.Requester("live", lab.requester.endpoint)
    lab.requester.market = "local"
    with pytest.raises(InputError, match="is not known at http.* Nothing was sent"):
        lab.pay(plan)
    own.close()
    assert lab.watched.calls["ApproveAssignment"] == 0


def test_a_second_assignment_with_the_same_session_decides_nothing_of_its_votes(lab):
    """A worker who accepted two HITs answers one session for both."""
    first, second = lab.work("one"), lab.work("two")
    lab.collect()
    with connect(lab.study.votes_path) as store:
        store.execute("UPDATE assignments SET observer = 'one'")
    lab.pay(lab.plan())
    assert lab.statuses() == {first: "approved", second: "submitted"}
    assert lab.rejected()["one"] is None
    with pytest.raises(InputError, match="no session of its own fits"):
        lab.pay(lab.plan({second[0]: {"pay": "yes", "use": "yes"}}))


def test_a_later_plan_changes_what_is_used(lab):
    name = lab.work("one", sentinels_right=False)
    lab.collect()
    lab.pay(lab.plan())
    assert lab.rejected() == {"one": "review: 0 of 2 sentinels right"}
    lab.pay(lab.plan({name[0]: {"use": "yes"}}))
    assert lab.rejected() == {"one": None}
    assert lab.watched.calls["ApproveAssignment"] == 1
    with connect(lab.study.votes_path) as store:
        store.execute("UPDATE votes SET rejected = 'for another reason'")
    lab.pay(lab.plan({name[0]: {"use": "yes"}}))
    assert lab.rejected() == {"one": "for another reason"}  # not a review's to clear


@pytest.mark.parametrize("typed", ["", "1.20", "2.4", "yes", "2.40"])
def test_real_money_needs_the_amount_typed(make_study, tmp_path, monkeypatch, capsys, typed):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "LIVEKEY")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-very-secret-key")
    lab = Lab(make_study(session=SESSION, hits=HITS), tmp_path / "panel", "live")
    with serving(lab.watched) as endpoint:
        monkeypatch.setattr("sys.stdin", io.StringIO("10.80\n"))
        lab.open(endpoint)
        lab.work("one"), lab.work("two")
        lab.collect()
        arguments = [str(lab.study.root), "--plan", str(lab.plan()), "--live", "--endpoint", endpoint]
        monkeypatch.setattr("sys.stdin", io.StringIO(typed and f"{typed}\n"))
        if typed == "2.40":
            assert pay.main(arguments) == 0
            assert lab.account() == lab.balance() == (240, 7 * 120)
        else:
            with pytest.raises(InputError, match="not confirmed"):
                pay.main(arguments)
            assert lab.watched.calls["ApproveAssignment"] == 0
            assert set(lab.statuses().values()) == {"submitted"}
        said = capsys.readouterr()
        assert "Type 2.40 to go on: " in said.out
        assert "a-very-secret-key" not in said.out + said.err
        lab.close()


def test_two_paying_commands_do_not_run_at_once(lab):
    with paying(lab.study), pytest.raises(InputError, match="another command spends this study's money"):
        pay.main([str(lab.study.root), "--endpoint", lab.requester.endpoint])
