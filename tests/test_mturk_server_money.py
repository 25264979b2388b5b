"""The books of the local MTurk add up to the cent, whatever happens."""

from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from local_market import DAY, HIT, Clock, running_market

from mturk.server import money, work_done, worklife
from mturk.server.api import carry_out
from mturk.server.refusals import RequestError
from mturk.server.state import open_state
from mturk.server.worklife import Refusal

MASTERS = [{"QualificationTypeId": "2F1QJWKUDD8XADTFD2Q0G6UTO95ALH", "Comparator": "Exists"}]


@pytest.mark.parametrize(
    ("reward", "places", "requirements", "held"),
    [
        ("0.05", 10, [], "0.70"),  # the rows of MTurk's price page: 0.02 each
        ("0.13", 1, [], "0.16"),
        ("0.01", 1, [], "0.02"),
        ("0.00", 1, [], "0.01"),
        ("1.00", 9, [], "10.80"),
        ("1.00", 10, [], "14.00"),
        ("1.00", 10, MASTERS, "14.50"),
    ],
)
def test_a_hit_holds_what_it_will_cost(tmp_path, reward, places, requirements, held):
    with running_market(tmp_path) as market:
        market.hit(Reward=reward, MaxAssignments=places, QualificationRequirements=requirements)
        assert market.balance()[1] == held


def test_what_is_not_there_cannot_be_promised(tmp_path):
    with running_market(tmp_path, 360) as market:
        hit = market.hit(MaxAssignments=2)
        more = {"HITId": hit, "NumberOfAdditionalAssignments": 2}
        market.refused("InsufficientFunds", "create_additional_assignments_for_hit", **more)
        assert market.shown(hit)["MaxAssignments"] == 2
        market.refused("InsufficientFunds", "create_hit", **(HIT | {"Reward": "1.01"}))
        assert len(market.client.list_hits()["HITs"]) == 1
        market.client.create_additional_assignments_for_hit(HITId=hit, NumberOfAdditionalAssignments=1)
        assert market.balance() == ("0.00", "3.60")
        worker = market.worker()
        assignment = market.submitted(hit, worker)
        bonus = {"WorkerId": worker, "AssignmentId": assignment, "BonusAmount": "0.01", "Reason": "thanks"}
        market.refused("InsufficientFunds", "send_bonus", **bonus)
        market.client.reject_assignment(AssignmentId=assignment, RequesterFeedback="no")
        market.client.send_bonus(**bonus)
        message = market.refused(
            "InsufficientFunds", "approve_assignment", AssignmentId=assignment, OverrideRejection=True
        )
        assert "insufficient funds" in message
        assert market.balance() == ("1.18", "2.40")


def test_each_access_key_is_an_account(tmp_path):
    with running_market(tmp_path, 500) as market:
        market.hit()
        assert market.connect("AKIAOTHER").get_account_balance()["AvailableBalance"] == "5.00"
        assert market.balance() == ("3.80", "1.20")


def test_books_that_were_tampered_with_are_found_out(tmp_path):
    with running_market(tmp_path) as market:
        market.submitted(market.hit(MaxAssignments=3), market.worker())
        for change in [
            "UPDATE requesters SET available_cents = available_cents + 1",
            "UPDATE requesters SET held_cents = held_cents + 1",
            "UPDATE hits SET places = places + 1",
            "UPDATE assignments SET status = 'approved'",
            "DELETE FROM journal WHERE kind = 'hold'",
        ]:
            with suppress(ZeroDivisionError), market.state.transaction() as connection:
                connection.execute(change)
                assert money.discrepancies(connection), change
                raise ZeroDivisionError  # undo it


STEPS = st.lists(st.tuples(st.integers(0, 10), st.integers(0, 3), st.integers(0, 5)), max_size=60)


@settings(max_examples=40, deadline=None)
@given(STEPS)
def test_the_books_add_up_after_any_steps(steps):
    """Random requests and deeds of workers, most of them sensible, some refused, while time passes."""
    with TemporaryDirectory() as folder:
        state = open_state(Path(folder) / "panel.sqlite", clock := Clock(), 3000)
        try:
            # What reaches the disk when is another test's matter.
            state._connection.execute("PRAGMA synchronous = OFF")
            workers = [worklife.add_worker(state, name) for name in ("Ann", "Bob", "Cyd", "Dan")]
            hits: list[str] = []
            for step, who, number in steps:
                with suppress(RequestError, Refusal):
                    take(state, clock, workers[who], hits, step, number)
                with state.transaction() as connection:
                    assert money.discrepancies(connection) == []
        finally:
            state.close()


def take(state, clock, worker, hits, step, number):
    """One step; `number` chooses its details."""

    def call(operation, **parameters):
        return carry_out(state, "AKIATEST", operation, parameters, "request")

    if step == 0 or not hits:
        places, reward = (number, "0.13") if number else (10, "0.05")
        hits.append(call("CreateHIT", **(HIT | {"MaxAssignments": places, "Reward": reward}))["HIT"]["HITId"])
        return
    hit = hits[number % len(hits)]
    mine = [work for work in work_done.assignments_of(state, worker)]
    assignment = mine[number % len(mine)]["assignment_id"] if mine else None
    if step == 1:
        worklife.accept(state, worker, hit)
    elif step == 2 and assignment:
        worklife.submit(state, worker, assignment, [("a", "1")])
    elif step == 3 and assignment:
        worklife.return_assignment(state, worker, assignment)
    elif step == 4 and assignment:
        call("ApproveAssignment", AssignmentId=assignment, OverrideRejection=number % 2 == 0)
    elif step == 5 and assignment:
        call("RejectAssignment", AssignmentId=assignment, RequesterFeedback="no")
    elif step == 6 and assignment:
        call("SendBonus", AssignmentId=assignment, WorkerId=worker, BonusAmount=f"0.{number}7", Reason="thanks")
    elif step == 7:
        call("CreateAdditionalAssignmentsForHIT", HITId=hit, NumberOfAdditionalAssignments=number + 1)
    elif step == 8:
        later = clock().timestamp() + (number - 2) * DAY
        call("UpdateExpirationForHIT", HITId=hit, ExpireAt=later)
    elif step == 9:
        clock.forward([600, 3600, DAY, 3 * DAY, 40 * DAY, 130 * DAY][number])
    elif number < 3:
        call("DeleteHIT", HITId=hit)
    else:
        other = call("CreateHITType", **{name: HIT[name] for name in TYPE} | {"Reward": f"0.{number}1"})
        call("UpdateHITTypeOfHIT", HITId=hit, HITTypeId=other["HITTypeId"])


TYPE = ("Title", "Description", "AssignmentDurationInSeconds", "AutoApprovalDelayInSeconds")
