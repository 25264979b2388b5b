"""Qualifications at the local MTurk: comparing, granting, asking, tests, and what MTurk itself knows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from local_market import DAY, HIT, SCHEMAS, running_market

from mturk.server import applications, work_done, worklife
from mturk.server.grading import grade
from mturk.server.refusals import RequestError
from mturk.server.requirements import SYSTEM_TYPES, meets
from mturk.server.worklife import Refusal

LOCALE = "00000000000000000071"
TYPE = {"Name": "Sharp eyes", "Description": "Sees small errors", "QualificationTypeStatus": "Active"}


def form(*questions):
    """A test with questions that are answered by selection."""
    inner = "".join(
        f"<Question><QuestionIdentifier>{name}</QuestionIdentifier><IsRequired>true</IsRequired>"
        f"<QuestionContent><Text>{name}?</Text></QuestionContent><AnswerSpecification><SelectionAnswer>"
        "<StyleSuggestion>radiobutton</StyleSuggestion><Selections>"
        + "".join(
            f"<Selection><SelectionIdentifier>{choice}</SelectionIdentifier><Text>{choice}</Text></Selection>"
            for choice in "abc"
        )
        + "</Selections></SelectionAnswer></AnswerSpecification></Question>"
        for name in questions
    )
    return f'<QuestionForm xmlns="{SCHEMAS}2005-10-01/QuestionForm.xsd">{inner}</QuestionForm>'


def key(scores, mapping="", default=None):
    """An AnswerKey: {question: {"a": 10, "bc": 5}}, where "bc" is both of b and c."""
    inner = ""
    for name, options in scores.items():
        inner += f"<Question><QuestionIdentifier>{name}</QuestionIdentifier>"
        for right, score in options.items():
            selections = "".join(f"<SelectionIdentifier>{letter}</SelectionIdentifier>" for letter in right)
            inner += f"<AnswerOption>{selections}<AnswerScore>{score}</AnswerScore></AnswerOption>"
        inner += f"<DefaultScore>{default}</DefaultScore>" if default is not None else ""
        inner += "</Question>"
    return f'<AnswerKey xmlns="{SCHEMAS}2005-10-01/AnswerKey.xsd">{inner}{mapping}</AnswerKey>'


def mapped(inner):
    return f"<QualificationValueMapping>{inner}</QualificationValueMapping>"


@pytest.fixture
def market(tmp_path):
    with running_market(tmp_path) as market:
        yield market


def qualification(market, **changes):
    return market.client.create_qualification_type(**(TYPE | changes))["QualificationType"]["QualificationTypeId"]


@given(st.integers(-5, 5), st.integers(-5, 5))
def test_integers_are_compared_as_pythons(value, bound):
    for comparator, right in {
        "LessThan": value < bound,
        "LessThanOrEqualTo": value <= bound,
        "GreaterThan": value > bound,
        "GreaterThanOrEqualTo": value >= bound,
        "EqualTo": value == bound,
        "NotEqualTo": value != bound,
        "In": value in (bound, 3),
        "NotIn": value not in (bound, 3),
    }.items():
        bounds = [bound, 3] if comparator in ("In", "NotIn") else [bound]
        requirement = {"QualificationTypeId": "3A", "Comparator": comparator, "IntegerValues": bounds}
        assert meets(requirement, value) == right
        assert not meets(requirement, None)


def test_places_are_compared_by_country_and_state():
    def fits(comparator, places, value):
        values = [dict(zip(("Country", "Subdivision"), place.split("-"), strict=False)) for place in places]
        return meets({"QualificationTypeId": LOCALE, "Comparator": comparator, "LocaleValues": values}, value)

    assert fits("EqualTo", ["US"], "US") and fits("EqualTo", ["US"], "US-NY") and fits("EqualTo", ["US-NY"], "US-NY")
    assert not fits("EqualTo", ["US-NY"], "US") and not fits("EqualTo", ["US-NY"], "US-CA")
    assert fits("In", ["DE", "US-NY"], "US-NY") and not fits("In", ["DE", "US-NY"], "FR")
    assert fits("NotEqualTo", ["US"], "DE") and not fits("NotEqualTo", ["US"], "US-NY")
    assert fits("NotIn", ["US", "DE"], "FR") and not fits("NotIn", ["US", "DE"], None)


@pytest.mark.parametrize(
    "requirement",
    [
        {"Comparator": "EqualTo"},
        {"Comparator": "EqualTo", "IntegerValues": []},
        {"Comparator": "EqualTo", "IntegerValues": [1, 2]},
        {"Comparator": "Exists", "IntegerValues": [1]},
        {"Comparator": "In", "LocaleValues": [{"Country": "US"}]},
        {"QualificationTypeId": LOCALE, "Comparator": "EqualTo", "IntegerValues": [1]},
        {"QualificationTypeId": LOCALE, "Comparator": "GreaterThan", "LocaleValues": [{"Country": "US"}]},
        {
            "QualificationTypeId": LOCALE,
            "Comparator": "EqualTo",
            "LocaleValues": [{"Country": c} for c in ("US", "DE")],
        },
    ],
)
def test_requirements_that_fit_nothing(market, requirement):
    requirement = {"QualificationTypeId": "000000000000000000L0"} | requirement
    market.refused(
        "InvalidQualificationRequirement", "create_hit", **(HIT | {"QualificationRequirements": [requirement]})
    )


def test_more_requirements_that_are_refused(market):
    properties = {name: HIT[name] for name in ("Title", "Description", "Reward", "AssignmentDurationInSeconds")}
    rate, inactive = "000000000000000000L0", qualification(market, QualificationTypeStatus="Inactive")

    def refused(code, **requirement):
        requirement = {"QualificationTypeId": LOCALE, "Comparator": "Exists"} | requirement
        market.refused(code, "create_hit_type", **properties, QualificationRequirements=[requirement])

    refused("QualificationTypeDoesNotExist", QualificationTypeId="3NONE")
    refused("InvalidQualificationTypeState", QualificationTypeId=inactive)
    refused("InvalidParameterCombination", RequiredToPreview=True, ActionsGuarded="Accept")
    refused("AWS.InvalidEnumeratedParameter", ActionsGuarded="Preview")
    refused("AWS.InvalidEnumeratedParameter", Comparator="Equals")
    refused("AWS.ParameterOutOfRange", Comparator="In", LocaleValues=[{"Country": "USA"}])
    refused("AWS.ParameterOutOfRange", Comparator="In", LocaleValues=[{"Country": "US"}] * 31)
    refused("AWS.ParameterOutOfRange", QualificationTypeId=rate, Comparator="In", IntegerValues=[1] * 16)
    refused("AWS.MissingParameters", LocaleValues=[{}])


def test_what_guards_what(market):
    """Accepting, previewing, being found at all."""
    worker, kind = market.worker(), qualification(market)
    for guard, found, seen in [
        ({}, True, True),
        ({"ActionsGuarded": "Accept"}, True, True),
        ({"RequiredToPreview": False}, True, True),
        ({"RequiredToPreview": True}, True, False),
        ({"ActionsGuarded": "PreviewAndAccept"}, True, False),
        ({"ActionsGuarded": "DiscoverPreviewAndAccept"}, False, False),
    ]:
        requirement = {"QualificationTypeId": kind, "Comparator": "GreaterThan", "IntegerValues": [79]} | guard
        hit = market.hit(QualificationRequirements=[requirement])
        listed = {row["hit_id"]: row for row in worklife.available_hits(market.state, worker)}
        assert (hit in listed) == found
        if found:
            assert not listed[hit]["qualified"] and listed[hit]["missing"] == ["Sharp eyes is greater than 79"]
        if seen:
            assert worklife.preview(market.state, worker, hit)["url"]
        else:
            with pytest.raises(Refusal, match="Sharp eyes"):
                worklife.preview(market.state, worker, hit)
        with pytest.raises(Refusal, match="Sharp eyes is greater than 79"):
            worklife.accept(market.state, worker, hit)
    market.client.associate_qualification_with_worker(QualificationTypeId=kind, WorkerId=worker, IntegerValue=80)
    listed = worklife.available_hits(market.state, worker)
    assert len(listed) == 6 and all(row["qualified"] and not row["missing"] for row in listed)
    assert worklife.accept(market.state, worker, hit)


def test_what_mturk_itself_knows(market):
    worker = market.worker()

    def qualifies(type_id, comparator, **values):
        requirement = {"QualificationTypeId": type_id, "Comparator": comparator} | values
        hit = market.hit(QualificationRequirements=[requirement])
        rows = worklife.available_hits(market.state, worker)
        return next(row["qualified"] for row in rows if row["hit_id"] == hit)

    rate, approved, adult = "000000000000000000L0", "00000000000000000040", "00000000000000000060"
    masters = "2F1QJWKUDD8XADTFD2Q0G6UTO95ALH"
    us = {"LocaleValues": [{"Country": "US"}]}
    assert not qualifies(LOCALE, "EqualTo", **us) and not qualifies(masters, "Exists")
    assert not qualifies(adult, "EqualTo", IntegerValues=[1]) and qualifies(adult, "DoesNotExist")
    known = {"country": "US", "subdivision": "NY", "adult": True, "masters": True, "approved_before": 41}
    worklife.describe_worker(market.state, worker, known)
    assert qualifies(LOCALE, "EqualTo", **us) and qualifies(masters, "Exists")
    assert qualifies(adult, "EqualTo", IntegerValues=[1])
    assert not qualifies(approved, "GreaterThan", IntegerValues=[41])
    first, second = (market.submitted(market.hit(), worker) for _ in range(2))
    market.client.approve_assignment(AssignmentId=first)
    assert qualifies(approved, "GreaterThan", IntegerValues=[41])
    market.client.reject_assignment(AssignmentId=second, RequesterFeedback="no")
    assert qualifies(rate, "EqualTo", IntegerValues=[100])  # of fewer than a hundred assignments nothing is said
    worklife.describe_worker(market.state, worker, {"approval_percent": 95})
    assert qualifies(rate, "EqualTo", IntegerValues=[95])
    with pytest.raises(Refusal, match="no such worker"):
        worklife.describe_worker(market.state, "ANOBODY", {"adult": True})


def test_the_approval_rate_counts_from_a_hundred_assignments_on(market):
    worker, hits = market.worker(), [market.hit(Reward="0.01") for _ in range(100)]
    made = [market.submitted(hit, worker) for hit in hits[:99]]
    for assignment in made[:40]:
        market.client.approve_assignment(AssignmentId=assignment)
    market.client.reject_assignment(AssignmentId=made[40], RequesterFeedback="no")
    requirement = {"QualificationTypeId": "000000000000000000L0", "Comparator": "EqualTo", "IntegerValues": [97]}
    hit = market.hit(QualificationRequirements=[requirement])
    with pytest.raises(Refusal, match="Worker_PercentAssignmentsApproved is 97"):
        worklife.accept(market.state, worker, hit)
    market.submitted(hits[99], worker)
    assert worklife.accept(market.state, worker, hit)  # 40 of 41


def test_types_are_made_changed_found_and_deleted(market):
    made = market.client.create_qualification_type(**TYPE, Keywords="image, eyes")["QualificationType"]
    kind = made["QualificationTypeId"]
    assert made["IsRequestable"] is True and made["AutoGranted"] is False and "Test" not in made
    assert market.client.get_qualification_type(QualificationTypeId=kind)["QualificationType"] == made
    message = market.refused("QualificationTypeAlreadyExists", "create_qualification_type", **TYPE)
    assert "already created" in message
    stranger = market.connect("AKIAOTHER")
    stranger.create_qualification_type(**TYPE)  # names are unique for a requester
    changed = market.client.update_qualification_type(
        QualificationTypeId=kind, Description="New", RetryDelayInSeconds=60, AutoGranted=True, AutoGrantedValue=7
    )["QualificationType"]
    assert (changed["Description"], changed["AutoGrantedValue"], changed["Keywords"]) == ("New", 7, "image, eyes")
    for operation, more in [
        ("update_qualification_type", {"Description": "x"}),
        ("delete_qualification_type", {}),
        ("get_qualification_score", {"WorkerId": "AXYZ"}),
        ("list_workers_with_qualification_type", {}),
        ("associate_qualification_with_worker", {"WorkerId": "AXYZ"}),
    ]:
        with pytest.raises(stranger.exceptions.RequestError, match="QualificationTypeDoesNotExist"):
            getattr(stranger, operation)(QualificationTypeId=kind, **more)
    hit = market.hit(QualificationRequirements=[{"QualificationTypeId": kind, "Comparator": "Exists"}])
    market.hit()
    found = market.client.list_hits_for_qualification_type(QualificationTypeId=kind)
    assert [row["HITId"] for row in found["HITs"]] == [hit]
    hit_type = market.shown(hit)["HITTypeId"]
    market.client.delete_qualification_type(QualificationTypeId=kind)
    market.refused("QualificationTypeDoesNotExist", "get_qualification_type", QualificationTypeId=kind)
    more = {"HITTypeId": hit_type, "LifetimeInSeconds": 60, "Question": HIT["Question"]}
    market.refused("QualificationTypeDoesNotExist", "create_hit_with_hit_type", **more)
    qualification(market)  # the name is free again
    assert worklife.available_hits(market.state, market.worker())[0]["missing"] == ["Sharp eyes has been granted"]


def test_types_are_searched_in_pages(market):
    made = [qualification(market, Name=f"Eyes {number}") for number in range(3)]
    own = market.client.list_qualification_types(MustBeRequestable=True, MustBeOwnedByCaller=True, Query="eyes")
    assert [kind["QualificationTypeId"] for kind in own["QualificationTypes"]] == made[::-1]
    pages = market.client.get_paginator("list_qualification_types").paginate(
        MustBeRequestable=False, PaginationConfig={"PageSize": 2}
    )
    everything = [kind["QualificationTypeId"] for page in pages for kind in page["QualificationTypes"]]
    assert everything == made[::-1] + list(SYSTEM_TYPES)
    for type_id in SYSTEM_TYPES:
        shown = market.client.get_qualification_type(QualificationTypeId=type_id)["QualificationType"]
        assert shown["QualificationTypeId"] == type_id and shown["IsRequestable"] is False
    found = market.client.list_qualification_types(MustBeRequestable=False, Query="locale")["QualificationTypes"]
    assert [kind["QualificationTypeId"] for kind in found] == [LOCALE]


def test_granting_and_revoking(market):
    worker, kind = market.worker(), qualification(market)
    ask = {"QualificationTypeId": kind, "WorkerId": worker}
    market.refused("QualificationDoesNotExist", "get_qualification_score", **ask)
    market.client.associate_qualification_with_worker(**ask, IntegerValue=5, SendNotification=False)
    assert work_done.messages_of(market.state, worker) == []
    assert market.client.get_qualification_score(**ask)["Qualification"] == {
        "QualificationTypeId": kind,
        "WorkerId": worker,
        "GrantTime": market.clock.time,
        "IntegerValue": 5,
        "Status": "Granted",
    }
    market.client.disassociate_qualification_from_worker(**ask, Reason="test over")
    assert work_done.messages_of(market.state, worker)[0]["text"] == "Sharp eyes: test over"
    assert "Granted" in market.refused("InvalidQualificationState", "get_qualification_score", **ask)
    market.refused("InvalidQualificationState", "disassociate_qualification_from_worker", **ask)
    listed = {
        status: market.client.list_workers_with_qualification_type(QualificationTypeId=kind, Status=status)
        for status in ("Granted", "Revoked")
    }
    assert [listed[status]["NumResults"] for status in ("Granted", "Revoked")] == [0, 1]
    market.refused("WorkerDoesNotExist", "associate_qualification_with_worker", **(ask | {"WorkerId": "ANOBODY"}))


def test_asking_is_decided_by_the_requester(market):
    worker, kind = market.worker(), qualification(market, RetryDelayInSeconds=60)
    assert applications.requestable_qualifications(market.state, worker)[0]["type_id"] == kind
    assert applications.request_qualification(market.state, worker, kind) == "pending"
    assert applications.requestable_qualifications(market.state, worker) == []
    with pytest.raises(Refusal, match="not decided"):
        applications.request_qualification(market.state, worker, kind)
    (asked,) = market.client.list_qualification_requests()["QualificationRequests"]
    assert (asked["WorkerId"], asked["QualificationTypeId"], asked["SubmitTime"]) == (worker, kind, market.clock.time)
    with pytest.raises(market.connect("AKIAOTHER").exceptions.RequestError, match="RequestDoesNotExist"):
        market.connect("AKIAOTHER").accept_qualification_request(QualificationRequestId=asked["QualificationRequestId"])
    market.client.reject_qualification_request(QualificationRequestId=asked["QualificationRequestId"], Reason="not yet")
    assert work_done.messages_of(market.state, worker)[0]["text"] == "not yet"
    market.refused(
        "InvalidQualificationRequestState",
        "accept_qualification_request",
        QualificationRequestId=asked["QualificationRequestId"],
    )
    with pytest.raises(Refusal, match="again from 2026-03-01 12:01 UTC"):
        applications.request_qualification(market.state, worker, kind)
    market.clock.forward(60)
    applications.request_qualification(market.state, worker, kind)
    (asked,) = market.client.list_qualification_requests(QualificationTypeId=kind)["QualificationRequests"]
    market.client.accept_qualification_request(QualificationRequestId=asked["QualificationRequestId"], IntegerValue=9)
    (mine,) = applications.qualifications_of(market.state, worker)
    assert (mine["name"], mine["value"], mine["status"]) == ("Sharp eyes", 9, "Granted")
    market.clock.forward(DAY)
    with pytest.raises(Refusal, match="granted this"):
        applications.request_qualification(market.state, worker, kind)


def test_what_is_granted_by_itself(market):
    worker, kind = market.worker(), qualification(market, AutoGranted=True, AutoGrantedValue=3)
    assert applications.request_qualification(market.state, worker, kind) == "granted"
    score = market.client.get_qualification_score(QualificationTypeId=kind, WorkerId=worker)
    assert score["Qualification"]["IntegerValue"] == 3
    assert market.client.list_qualification_requests()["NumResults"] == 0


def test_a_test_is_graded_by_its_key(market):
    worker = market.worker()
    kind = qualification(
        market,
        Test=form("one", "two"),
        AnswerKey=key({"one": {"a": 10, "b": 5}, "two": {"bc": 10}}),
        TestDurationInSeconds=60,
        RetryDelayInSeconds=0,
    )
    with pytest.raises(Refusal, match="Begin"):
        applications.request_qualification(market.state, worker, kind, {"one": ["a"]})
    begun = applications.begin_test(market.state, worker, kind)
    assert [(q.identifier, q.text, [c for c, _ in q.choices]) for q in begun["questions"]] == [
        ("one", "one?", ["a", "b", "c"]),
        ("two", "two?", ["a", "b", "c"]),
    ]
    market.clock.forward(30)
    assert applications.begin_test(market.state, worker, kind)["deadline"] == begun["deadline"]
    given = {"one": ["a"], "two": ["c", "b"]}
    assert applications.request_qualification(market.state, worker, kind, given) == "granted"
    ask = {"QualificationTypeId": kind, "WorkerId": worker}
    assert market.client.get_qualification_score(**ask)["Qualification"]["IntegerValue"] == 20
    applications.begin_test(market.state, worker, kind)
    applications.request_qualification(market.state, worker, kind, {"one": ["b"], "two": ["b"]})
    assert market.client.get_qualification_score(**ask)["Qualification"]["IntegerValue"] == 5


def test_a_test_is_taken_in_time_and_once(market):
    worker = market.worker()
    kind = qualification(market, Test=form("one"), TestDurationInSeconds=60)
    applications.begin_test(market.state, worker, kind)
    market.clock.forward(61)
    with pytest.raises(Refusal, match="time for this test is over"):
        applications.request_qualification(market.state, worker, kind, {"one": ["a"]})
    with pytest.raises(Refusal, match="only once"):
        applications.begin_test(market.state, worker, kind)
    other = market.worker("Bob")
    applications.begin_test(market.state, other, kind)
    market.clock.forward(60)
    assert applications.request_qualification(market.state, other, kind, {"one": ["a"]}) == "pending"
    (asked,) = market.client.list_qualification_requests()["QualificationRequests"]
    assert asked["Test"] == form("one") and "<FreeText>a</FreeText>" in asked["Answer"]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"Test": form("one")}, "InvalidParameterCombination"),
        ({"Test": form("one"), "TestDurationInSeconds": 0}, "InvalidParameterCombination"),
        ({"Test": form("one"), "TestDurationInSeconds": 60, "AutoGranted": True}, "InvalidParameterCombination"),
        ({"AnswerKey": key({"one": {"a": 1}})}, "InvalidParameterCombination"),
        ({"Test": "<a/>", "TestDurationInSeconds": 60}, "XMLParseError"),
        ({"Test": form(), "TestDurationInSeconds": 60}, "XMLParseError"),
        (
            {"Test": form("one"), "TestDurationInSeconds": 60, "AnswerKey": key({"two": {"a": 1}})},
            "XMLParseError",
        ),
        (
            {"Test": form("one"), "TestDurationInSeconds": 60, "AnswerKey": key({"one": {"a": "many"}})},
            "XMLParseError",
        ),
        ({"Test": form("one" * 30_000), "TestDurationInSeconds": 60}, "XMLParseError"),
        ({"Name": " "}, "AWS.MissingParameters"),
        ({"Name": "n" * 201}, "AWS.ParameterOutOfRange"),
        ({"Description": "d" * 2001}, "AWS.ParameterOutOfRange"),
        ({"RetryDelayInSeconds": -1}, "AWS.ParameterOutOfRange"),
        ({"QualificationTypeStatus": "Busy"}, "AWS.InvalidEnumeratedParameter"),
    ],
)
def test_types_that_are_refused(market, changes, code):
    market.refused(code, "create_qualification_type", **(TYPE | changes))


def test_scores_are_mapped_as_mturk_documents():
    scores = {"one": {"a": 10}, "two": {"b": 10}, "three": {"c": 10}}
    both = {"one": ["a"], "two": ["b"], "three": ["a"]}
    percent = mapped("<PercentageMapping><MaximumSummedScore>30</MaximumSummedScore></PercentageMapping>")
    assert grade(key(scores), both) == 20
    assert grade(key(scores, percent), both) == 67
    scale = mapped("<ScaleMapping><SummedScoreMultiplier>1.5</SummedScoreMultiplier></ScaleMapping>")
    assert grade(key(scores, scale), both) == 30
    ranges = "".join(
        f"<SummedScoreRange><InclusiveLowerBound>{low}</InclusiveLowerBound><InclusiveUpperBound>{high}"
        f"</InclusiveUpperBound><QualificationValue>{value}</QualificationValue></SummedScoreRange>"
        for low, high, value in [(10, 19, 1), (20, 30, 2)]
    )
    by_range = mapped(
        f"<RangeMapping>{ranges}<OutOfRangeQualificationValue>-1</OutOfRangeQualificationValue></RangeMapping>"
    )
    assert [grade(key(scores, by_range), answers) for answers in ({}, {"one": ["a"]}, both)] == [-1, 1, 2]
    assert grade(key(scores, default=-5), {"one": ["a"], "two": ["a", "b"]}) == 0
    steep = scale.replace("1.5", "999999999")  # 64 bits do not hold it either
    for score, value in [(999_999_999, 2**31 - 1), (-999_999_999, -(2**31))]:
        asked = {f"q{number}": {"a": score} for number in range(20)}
        assert grade(key(asked, steep), {name: ["a"] for name in asked}) == value
    percents = [percent.replace("30", number) for number in ("0", "nan", "1e9", "9" * 10)]
    for wrong in [mapped(""), *percents, scale.replace("1.5", "inf")]:
        with pytest.raises(RequestError) as error:
            grade(key(scores, wrong), both)
        assert error.value.code == "AWS.MechanicalTurk.XMLParseError"
    # 100 x 0.29 is 29, which binary fractions miss
    assert grade(key({"one": {"a": 100}}, scale.replace("1.5", "0.29")), both) == 29
