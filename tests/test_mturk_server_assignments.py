"""Assignments at the local MTurk: from accepting to paying, and what is refused on the way."""

import pytest
from local_market import DAY, HOUR, running_market

from mturk.questions.answers import fields
from mturk.server import work_done, worklife
from mturk.server.worklife import Refusal


@pytest.fixture
def market(tmp_path):
    with running_market(tmp_path) as market:
        yield market


def listed(market, hit, *statuses):
    return market.client.list_assignments_for_hit(HITId=hit, AssignmentStatuses=list(statuses))["Assignments"]


def test_a_whole_life(market):
    hit, worker = market.hit(MaxAssignments=2), market.worker()
    start = market.clock.time
    assignment = worklife.accept(market.state, worker, hit)
    found = worklife.open_assignment(market.state, worker, assignment)
    assert (found["kind"], found["url"]) == ("external", "https://example.org/study?a=1&b=2")
    assert (found["deadline"] - start).total_seconds() == HOUR
    assert worklife.available_hits(market.state, worker)[0]["assignment_id"] == assignment
    assert market.client.list_assignments_for_hit(HITId=hit)["NumResults"] == 0
    market.refused("InvalidAssignmentState", "get_assignment", AssignmentId=assignment)
    market.clock.forward(60)
    answer = [("assignmentId", assignment), ("eyetune", "a&<b>"), ("box", "1"), ("box", "2"), ("odd", "\x00\ud800é")]
    worklife.submit(market.state, worker, assignment, answer)
    assert worklife.available_hits(market.state, worker) == []
    (shown,) = listed(market, hit)
    assert fields(shown["Answer"]) == {"eyetune": "a&<b>", "box": "1|2", "odd": "\ufffd\ufffdé"}
    assert (shown["AssignmentId"], shown["WorkerId"], shown["HITId"]) == (assignment, worker, hit)
    assert (shown["AcceptTime"], shown["AssignmentStatus"]) == (start, "Submitted")
    assert (shown["SubmitTime"] - start).total_seconds() == 60
    assert (shown["AutoApprovalTime"] - shown["SubmitTime"]).total_seconds() == 3 * DAY
    assert "ApprovalTime" not in shown and "RequesterFeedback" not in shown
    market.client.approve_assignment(AssignmentId=assignment, RequesterFeedback="thanks")
    market.client.send_bonus(WorkerId=worker, AssignmentId=assignment, BonusAmount="0.13", Reason="good work")
    got = market.client.get_assignment(AssignmentId=assignment)
    assert (got["Assignment"]["AssignmentStatus"], got["Assignment"]["RequesterFeedback"]) == ("Approved", "thanks")
    assert got["HIT"] == market.shown(hit)
    assert market.balance() == ("9997.44", "1.20")  # 2 x 1.20 held, one of it paid; a bonus of 0.13 and 0.03
    (mine,) = work_done.assignments_of(market.state, worker)
    assert (mine["status"], mine["feedback"], mine["bonuses"][0]["bonus_cents"]) == ("approved", "thanks", 13)
    assert work_done.earnings(market.state, worker) == {"rewards": 100, "bonuses": 13, "waiting": 0}


def test_what_workers_are_told_cannot_be_done(market):
    hit, ann, bob = market.hit(), market.worker("Ann"), market.worker("Bob")
    assignment = worklife.accept(market.state, ann, hit)
    submit = [("assignmentId", assignment), ("a", "1")]

    def refuse(words, do, *arguments):
        with pytest.raises(Refusal, match=words):
            do(market.state, *arguments)

    refuse("already accepted", worklife.accept, ann, hit)
    refuse("no more places", worklife.accept, bob, hit)
    refuse("no more places", worklife.preview, bob, hit)
    refuse("no such assignment", worklife.open_assignment, bob, assignment)
    refuse("no such assignment", worklife.submit, bob, assignment, submit)
    refuse("no such assignment", worklife.return_assignment, bob, assignment)
    refuse("no such HIT", worklife.accept, bob, "3NONE")
    refuse("no answer", worklife.submit, ann, assignment, submit[:1])
    refuse("longer than", worklife.submit, ann, assignment, [("a", "x" * worklife.ANSWER_BYTES)])
    worklife.submit(market.state, ann, assignment, submit)
    for do, *more in [(worklife.submit, submit), (worklife.return_assignment,), (worklife.open_assignment,)]:
        refuse("already submitted", do, ann, assignment, *more)
    refuse("already submitted", worklife.accept, ann, hit)
    assert len(listed(market, hit)) == 1
    refuse("not a worker", worklife.accept, "ANOBODY", hit)
    worklife.revoke_worker(market.state, ann)
    refuse("any more", worklife.available_hits, ann)
    refuse("no such worker", worklife.revoke_worker, "ANOBODY")
    market.clock.forward(2 * DAY)
    refuse("expired", worklife.accept, bob, hit)


def test_a_returned_id_goes_to_the_next_worker(market):
    """So what relies on assignment ids alone pays the wrong person, here as on MTurk (psiTurk #190)."""
    hit, ann, bob = market.hit(MaxAssignments=2), market.worker("Ann"), market.worker("Bob")
    assignment = worklife.accept(market.state, ann, hit)
    worklife.return_assignment(market.state, ann, assignment)
    assert market.submitted(hit, bob) == assignment
    with pytest.raises(Refusal, match="returned"):
        worklife.submit(market.state, ann, assignment, [("a", "1")])
    assert [shown["WorkerId"] for shown in listed(market, hit)] == [bob]
    market.refused(
        "AWS.InvalidParameterValue",
        "send_bonus",
        WorkerId=ann,
        AssignmentId=assignment,
        BonusAmount="1",
        Reason="whose?",
    )
    assert market.submitted(hit, ann) != assignment


def test_what_is_late_is_abandoned(market):
    hit, worker = market.hit(), market.worker()
    assignment = worklife.accept(market.state, worker, hit)
    market.clock.forward(HOUR - 1)
    assert worklife.open_assignment(market.state, worker, assignment)
    market.clock.forward(1)
    with pytest.raises(Refusal, match="time .* over"):
        worklife.submit(market.state, worker, assignment, [("a", "1")])
    assert market.shown(hit)["NumberOfAssignmentsAvailable"] == 1
    assert work_done.assignments_of(market.state, worker)[0]["status"] == "abandoned"
    assert worklife.accept(market.state, worker, hit) == assignment


def test_what_is_returned_after_expiry_frees_its_money(market):
    hit, worker = market.hit(LifetimeInSeconds=60), market.worker()
    assignment = worklife.accept(market.state, worker, hit)
    market.clock.forward(60)
    assert market.shown(hit)["HITStatus"] == "Unassignable" and market.balance() == ("9998.80", "1.20")
    worklife.submit(market.state, worker, assignment, [("a", "1")])  # in time, though the HIT has expired
    other = market.hit(LifetimeInSeconds=60)
    assignment = worklife.accept(market.state, worker, other)
    market.clock.forward(60)
    worklife.return_assignment(market.state, worker, assignment)
    assert market.shown(other)["HITStatus"] == "Reviewable" and market.balance() == ("9998.80", "1.20")


def test_unreviewed_work_is_approved_in_time(market):
    hit, worker = market.hit(), market.worker()
    assignment = market.submitted(hit, worker)
    market.clock.forward(3 * DAY - 1)
    assert listed(market, hit, "Approved") == []
    market.clock.forward(100)
    (shown,) = listed(market, hit, "Approved")
    assert shown["ApprovalTime"] == shown["AutoApprovalTime"]
    market.refused("InvalidAssignmentState", "reject_assignment", AssignmentId=assignment, RequesterFeedback="late")
    assert work_done.earnings(market.state, worker)["rewards"] == 100


def test_no_delay_approves_at_once(market):
    hit = market.hit(AutoApprovalDelayInSeconds=0)
    market.submitted(hit, market.worker())
    assert len(listed(market, hit, "Approved")) == 1


def test_a_rejection_can_be_overridden_for_30_days(market):
    hit, ann, bob = market.hit(MaxAssignments=2), market.worker("Ann"), market.worker("Bob")
    first, second = market.submitted(hit, ann), market.submitted(hit, bob)
    for assignment in (first, second):
        market.client.reject_assignment(AssignmentId=assignment, RequesterFeedback="why")
    assert market.balance() == ("10000.00", "0.00")
    message = market.refused("InvalidAssignmentState", "approve_assignment", AssignmentId=first)
    assert "'Rejected'" in message
    market.refused("InvalidAssignmentState", "reject_assignment", AssignmentId=first, RequesterFeedback="again")
    market.clock.forward(30 * DAY)
    market.client.approve_assignment(AssignmentId=first, OverrideRejection=True)
    assert market.balance() == ("9998.80", "0.00")
    market.refused("InvalidAssignmentState", "approve_assignment", AssignmentId=first, OverrideRejection=True)
    market.clock.forward(1)
    market.refused("InvalidAssignmentState", "approve_assignment", AssignmentId=second, OverrideRejection=True)
    market.client.delete_hit(HITId=hit)
    market.refused("InvalidHITState", "approve_assignment", AssignmentId=second, OverrideRejection=True)


def test_a_bonus_is_paid_once_a_token(market):
    hit, worker = market.hit(), market.worker()
    assignment = worklife.accept(market.state, worker, hit)
    bonus = {"WorkerId": worker, "AssignmentId": assignment, "BonusAmount": "2.50", "Reason": "extra"}
    market.refused("InvalidAssignmentState", "send_bonus", **bonus)
    worklife.submit(market.state, worker, assignment, [("a", "1")])
    market.client.send_bonus(**bonus, UniqueRequestToken="b")
    assert '"b" has already been processed' in market.refused(
        "DuplicateRequest", "send_bonus", **bonus, UniqueRequestToken="b"
    )
    market.client.send_bonus(**bonus)
    market.client.send_bonus(**bonus)  # without a token every call pays
    payments = market.client.list_bonus_payments(HITId=hit, MaxResults=2)
    rest = market.client.list_bonus_payments(HITId=hit, NextToken=payments["NextToken"])
    assert (payments["NumResults"], rest["NumResults"]) == (2, 1)
    assert rest["BonusPayments"][0] == {
        "WorkerId": worker,
        "BonusAmount": "2.50",
        "AssignmentId": assignment,
        "Reason": "extra",
        "GrantTime": market.clock.time,
    }
    assert market.client.list_bonus_payments(AssignmentId=assignment)["NumResults"] == 3
    market.refused("AWS.RestrictedParameterValueCombination", "list_bonus_payments")
    market.refused("AWS.MissingParameters", "send_bonus", **(bonus | {"Reason": " "}))
    market.refused("AWS.ParameterOutOfRange", "send_bonus", **(bonus | {"BonusAmount": "0"}))
    market.refused("InsufficientFunds", "send_bonus", **(bonus | {"BonusAmount": "9999.00"}))
    market.refused("AssignmentDoesNotExist", "send_bonus", **(bonus | {"AssignmentId": "3NONE"}))


def test_assignments_are_listed_by_status_and_page(market):
    hit = market.hit(MaxAssignments=9)
    made = [market.submitted(hit, market.worker(f"W{n}")) for n in range(6)]
    market.client.approve_assignment(AssignmentId=made[0])
    market.client.reject_assignment(AssignmentId=made[1], RequesterFeedback="no")
    assert [shown["AssignmentId"] for shown in listed(market, hit, "Submitted")] == made[:1:-1]
    assert {shown["AssignmentId"] for shown in listed(market, hit, "Approved", "Rejected")} == set(made[:2])
    pages = market.client.get_paginator("list_assignments_for_hit").paginate(
        HITId=hit, PaginationConfig={"PageSize": 4}
    )
    assert [shown["AssignmentId"] for page in pages for shown in page["Assignments"]] == made[::-1]
    market.refused(
        "AWS.InvalidEnumeratedParameter", "list_assignments_for_hit", HITId=hit, AssignmentStatuses=["Accepted"]
    )


def test_assignments_are_their_requesters_own(market):
    hit = market.hit()
    assignment = market.submitted(hit, market.worker())
    stranger = market.connect("AKIAOTHER")
    for operation, more in [
        ("get_assignment", {}),
        ("approve_assignment", {}),
        ("reject_assignment", {"RequesterFeedback": "x"}),
        ("list_bonus_payments", {}),
        ("get_file_upload_url", {"QuestionIdentifier": "q"}),
    ]:
        with pytest.raises(stranger.exceptions.RequestError, match="AssignmentDoesNotExist"):
            getattr(stranger, operation)(AssignmentId=assignment, **more)
    market.refused("OperationNotSupported", "get_file_upload_url", AssignmentId=assignment, QuestionIdentifier="q")


def test_blocked_workers_find_nothing_of_the_requester(market):
    hit, worker = market.hit(), market.worker()
    market.client.create_worker_block(WorkerId=worker, Reason="careless")
    assert market.client.list_worker_blocks()["WorkerBlocks"] == [{"WorkerId": worker, "Reason": "careless"}]
    assert worklife.available_hits(market.state, worker) == []
    with pytest.raises(Refusal, match="does not let you"):
        worklife.accept(market.state, worker, hit)
    other = market.connect("AKIAOTHER").list_worker_blocks()
    assert (other["NumResults"], other["WorkerBlocks"]) == (0, [])
    market.client.delete_worker_block(WorkerId=worker)
    market.client.delete_worker_block(WorkerId=worker)
    assert worklife.accept(market.state, worker, hit)
    assert "WorkerId is invalid" in market.refused("WorkerDoesNotExist", "delete_worker_block", WorkerId="AXYZ")
    market.refused("AWS.InvalidParameterValue", "create_worker_block", WorkerId="BXYZ", Reason="not an id")


def test_messages_reach_workers_whose_work_was_reviewed(market):
    hit = market.hit(MaxAssignments=2)
    known, waiting, stranger = (market.worker(name) for name in ("Ann", "Bob", "Cyd"))
    market.client.approve_assignment(AssignmentId=market.submitted(hit, known))
    market.submitted(hit, waiting)
    letter = {"Subject": "s" * 200, "MessageText": "m" * 4096}
    answer = market.client.notify_workers(**letter, WorkerIds=[known, waiting, stranger, "ANOBODY"])
    failed = {
        status["WorkerId"]: status["NotifyWorkersFailureCode"] for status in answer["NotifyWorkersFailureStatuses"]
    }
    assert failed == {waiting: "HardFailure", stranger: "HardFailure", "ANOBODY": "HardFailure"}
    (message,) = work_done.messages_of(market.state, known)
    assert (message["subject"], message["text"], message["at"]) == (*letter.values(), market.clock.time)
    assert "AKIATEST" not in str(message)
    market.client.notify_workers(**letter, WorkerIds=[known] * 100)
    assert len(work_done.messages_of(market.state, known)) == 2
    for change in (
        {"WorkerIds": [known] * 101},
        {"Subject": "s" * 201},
        {"MessageText": "m" * 4097},
    ):
        market.refused("AWS.ParameterOutOfRange", "notify_workers", **({"WorkerIds": [known]} | letter | change))
    market.refused("AWS.MissingParameters", "notify_workers", **letter, WorkerIds=[])
