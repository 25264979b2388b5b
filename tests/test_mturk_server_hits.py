"""HITs at the local MTurk: what is taken, what is refused, and how they live."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
from local_market import DAY, HIT, HOUR, SCHEMAS, START, external, html, running_market

import mturk.questions
from mturk.server import worklife

YEAR = 365 * DAY


@pytest.fixture
def market(tmp_path):
    with running_market(tmp_path) as market:
        yield market


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One market for tests of single requests."""
    with running_market(tmp_path_factory.mktemp("shared"), 10**9) as market:
        yield market


def test_a_new_hit_is_what_was_asked_for(market):
    hit = market.client.create_hit(
        **HIT,
        Keywords="image, quality",
        MaxAssignments=9,
        RequesterAnnotation="batch 1",
        UniqueRequestToken="one",
        QualificationRequirements=[
            {"QualificationTypeId": "00000000000000000071", "Comparator": "In", "LocaleValues": [{"Country": "US"}]}
        ],
    )["HIT"]
    assert hit == market.shown(hit["HITId"])
    asked = {name: value for name, value in HIT.items() if name != "LifetimeInSeconds"}
    assert asked.items() <= {name: value for name, value in hit.items() if name in asked}.items()
    assert hit["Expiration"] == START + timedelta(days=1) and hit["CreationTime"] == START
    assert hit["HITStatus"] == "Assignable" and hit["HITReviewStatus"] == "NotReviewed"
    assert (hit["MaxAssignments"], hit["RequesterAnnotation"], hit["Keywords"]) == (9, "batch 1", "image, quality")
    assert hit["QualificationRequirements"][0]["LocaleValues"] == [{"Country": "US"}]
    counts = [hit[f"NumberOfAssignments{kind}"] for kind in ("Available", "Pending", "Completed")]
    assert counts == [9, 0, 0]


def test_defaults_are_one_assignment_and_approval_after_thirty_days(market):
    hit = market.shown(market.hit(AutoApprovalDelayInSeconds=None))
    assert (hit["MaxAssignments"], hit["AutoApprovalDelayInSeconds"]) == (1, 30 * DAY)
    assert "Keywords" not in hit and "RequesterAnnotation" not in hit


def test_the_same_properties_are_the_same_type_and_group(market):
    first, again = market.shown(market.hit()), market.shown(market.hit(Question=html(), MaxAssignments=3))
    other = market.shown(market.hit(Reward="1.01"))
    assert first["HITTypeId"] == again["HITTypeId"] != other["HITTypeId"]
    assert first["HITGroupId"] == again["HITGroupId"] != other["HITGroupId"]
    properties = {name: HIT[name] for name in HIT if name not in ("LifetimeInSeconds", "Question")}
    assert market.client.create_hit_type(**properties)["HITTypeId"] == first["HITTypeId"]
    # "1" and "1.00" are the same reward
    assert market.client.create_hit_type(**(properties | {"Reward": "1"}))["HITTypeId"] == first["HITTypeId"]
    made = market.client.create_hit_with_hit_type(
        HITTypeId=first["HITTypeId"], LifetimeInSeconds=HOUR, Question=external()
    )["HIT"]
    assert (made["Title"], made["HITGroupId"]) == (HIT["Title"], first["HITGroupId"])
    stranger = market.connect("AKIAOTHER").create_hit_type(**properties)["HITTypeId"]
    assert stranger != first["HITTypeId"]
    market.refused(
        "HITTypeDoesNotExist",
        "create_hit_with_hit_type",
        HITTypeId=stranger,
        LifetimeInSeconds=HOUR,
        Question=external(),
    )


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("LifetimeInSeconds", [30, YEAR], [29, YEAR + 1]),
        ("AssignmentDurationInSeconds", [30, YEAR], [29, YEAR + 1]),
        ("AutoApprovalDelayInSeconds", [0, 30 * DAY], [-1, 30 * DAY + 1]),
        ("MaxAssignments", [1, 100], [0, -1]),
        ("Title", ["t", "t" * 128], ["t" * 129]),
        ("Description", ["d", "d" * 2000], ["d" * 2001]),
        ("Keywords", ["", "k" * 1000], ["k" * 1001]),
        ("RequesterAnnotation", ["", "a" * 255], ["a" * 256]),
        ("UniqueRequestToken", ["u", "u" * 64], ["", "u" * 65]),
        ("Reward", ["0.01", "5", "5.", "5.5"], ["10000.01", "9" * 30]),
    ],
)
def test_bounds(shared, name, good, bad):
    for value in good:
        shared.hit(**{name: value})
    for value in bad:
        shared.refused("AWS.ParameterOutOfRange", "create_hit", **(HIT | {name: value}))


def test_a_question_has_at_most_65535_bytes(shared):
    room = 65_535 - len(html("").encode())
    shared.hit(Question=html("x" * room))
    shared.hit(Question=html("é" * (room // 2)))
    shared.refused("AWS.ParameterOutOfRange", "create_hit", **(HIT | {"Question": html("x" * (room + 1))}))
    shared.refused("AWS.ParameterOutOfRange", "create_hit", **(HIT | {"Question": html("é" * (room // 2 + 1))}))


def test_at_most_ten_requirements(shared):
    requirement = {
        "QualificationTypeId": "000000000000000000L0",
        "Comparator": "GreaterThan",
        "IntegerValues": [90],
    }
    shared.hit(QualificationRequirements=[requirement] * 10)
    shared.refused("AWS.ParameterOutOfRange", "create_hit", **(HIT | {"QualificationRequirements": [requirement] * 11}))


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"Title": None}, "AWS.MissingParameters"),
        ({"Title": "  "}, "AWS.MissingParameters"),
        ({"Question": None}, "AWS.MissingParameters"),
        ({"Reward": "$1"}, "AWS.InvalidParameterValue"),
        ({"Reward": "1.001"}, "AWS.InvalidParameterValue"),
        ({"Reward": "-1"}, "AWS.InvalidParameterValue"),
        ({"Reward": "١"}, "AWS.InvalidParameterValue"),
        ({"Reward": 1}, "AWS.InvalidParameterValue"),
        ({"MaxAssignments": "3"}, "AWS.InvalidParameterValue"),
        ({"MaxAssignments": 2.5}, "AWS.InvalidParameterValue"),
        ({"MaxAssignments": True}, "AWS.InvalidParameterValue"),
        ({"MaxAssignments": 2**40}, "AWS.ParameterOutOfRange"),
        ({"Surprise": 1}, "AWS.InvalidParameterValue"),
        ({"Question": None, "HITLayoutId": "3ABC"}, "HITLayoutDoesNotExist"),
        ({"HITLayoutParameters": [{"Name": "a", "Value": "b"}]}, "AWS.MissingParameters"),
        ({"HITReviewPolicy": {"PolicyName": "SimplePlurality/2011-09-01"}}, "OperationNotSupported"),
        ({"AssignmentReviewPolicy": {"PolicyName": "ScoreMyKnownAnswers/2011-09-01"}}, "OperationNotSupported"),
    ],
)
def test_what_a_request_must_be(shared, changes, code):
    parameters = {name: value for name, value in (HIT | changes).items() if value is not None}
    body = json.dumps(parameters)
    assert post(shared, "CreateHIT", body)["TurkErrorCode"].endswith(code)


def post(market, operation, body):
    """A request as it stands, past everything that boto3 would do to it."""
    import urllib.error
    import urllib.request

    headers = {
        "X-Amz-Target": f"MTurkRequesterServiceV20170117.{operation}",
        "X-Amz-Date": "20260301T120000Z",
        "Content-Type": "application/x-amz-json-1.1",
        "Authorization": "AWS4-HMAC-SHA256 Credential=AKIATEST/20260301/us-east-1/mturk-requester/aws4_request,"
        f" SignedHeaders=host;x-amz-date, Signature={'0' * 64}",
    }
    request = urllib.request.Request(market.url, body.encode(), headers)
    try:
        with urllib.request.urlopen(request) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            assert error.code == 400
            return json.load(error)


LAUGHS = '<!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]>'
STEAL = '<!DOCTYPE l [<!ENTITY a SYSTEM "file:///etc/passwd">]>'


@pytest.mark.parametrize(
    "question",
    [
        "",
        "not XML",
        external() + "<more/>",
        external().replace("2006-07-14", "2006-07-15"),
        external().replace("ExternalQuestion", "InternalQuestion"),
        external("http://example.org/"),
        external("http://127.0.0.1.example.org/"),
        external("https://"),
        external("https://[::1"),
        external("https://example.org:99999/"),
        external("https://example.org/a b"),
        external("javascript:alert(1)"),
        external("ftp://example.org/"),
        external(height=-1),
        external().replace("<FrameHeight>0</FrameHeight>", ""),
        external().replace("<FrameHeight>0</FrameHeight>", "<FrameHeight>all</FrameHeight>"),
        external().replace("<FrameHeight>", "<Other/><FrameHeight>"),
        html("   "),
        html().replace("<p>", "]]><p>").replace("</p>", "</p><![CDATA["),
        LAUGHS + external("https://example.org/").replace("example", "&b;"),
        STEAL + external("https://example.org/").replace("example", "&a;"),
        "<a>" * 5000 + "</a>" * 5000,
    ],
)
def test_questions_that_are_no_questions_are_refused(shared, question):
    message = shared.refused("XMLParseError", "create_hit", **(HIT | {"Question": question}))
    assert "root:" not in message


def test_questions_that_are(market):
    worker = market.worker()
    for url in ["https://example.org/?q=%20&r=é#x", "http://127.0.0.1:8000/", "http://localhost/", "http://[::1]:1/"]:
        hit = market.hit(Question='<?xml version="1.0" encoding="UTF-16"?>\n<!-- a comment -->' + external(url, 600))
        seen = worklife.preview(market.state, worker, hit)
        assert (seen["kind"], seen["url"], seen["frame_height"]) == ("external", url, 600)
    hit = market.hit(Question=html("<b>é & ]] ></b>"))
    seen = worklife.preview(market.state, worker, hit)
    assert (seen["kind"], seen["html"], seen["frame_height"]) == ("html", "<b>é & ]] ></b>", 400)


def test_question_forms_are_refused_by_name(shared):
    form = f'<QuestionForm xmlns="{SCHEMAS}2005-10-01/QuestionForm.xsd"/>'
    assert "QuestionForm" in shared.refused("OperationNotSupported", "create_hit", **(HIT | {"Question": form}))


def test_a_token_makes_one_hit_within_24_hours(market):
    first = market.hit(UniqueRequestToken="t")
    for operation, parameters in [
        ("create_hit", HIT | {"UniqueRequestToken": "t"}),
        (
            "create_hit_with_hit_type",
            {
                "HITTypeId": market.shown(first)["HITTypeId"],
                "LifetimeInSeconds": 60,
                "Question": external(),
                "UniqueRequestToken": "t",
            },
        ),
    ]:
        assert f'"{first}"' in market.refused("HitAlreadyExists", operation, **parameters)
    market.connect("AKIAOTHER").create_hit(**HIT, UniqueRequestToken="t")  # another requester's is another token
    market.clock.forward(DAY - 1)
    market.refused("HitAlreadyExists", "create_hit", **HIT, UniqueRequestToken="t")
    market.clock.forward(1)
    assert market.hit(UniqueRequestToken="t") != first


def test_a_refused_request_does_not_use_up_its_token(market):
    market.refused(
        "InsufficientFunds", "create_hit", **(HIT | {"Reward": "9999"}), UniqueRequestToken="t", MaxAssignments=9
    )
    market.hit(UniqueRequestToken="t")


def test_extension_stays_on_its_side_of_ten(market):
    def extend(hit, more):
        return market.client.create_additional_assignments_for_hit(HITId=hit, NumberOfAdditionalAssignments=more)

    small, large = market.hit(MaxAssignments=8), market.hit(MaxAssignments=10)
    extend(small, 1)
    assert market.shown(small)["NumberOfAssignmentsAvailable"] == 9
    market.refused(
        "InvalidMaximumAssignmentsIncrease",
        "create_additional_assignments_for_hit",
        HITId=small,
        NumberOfAdditionalAssignments=1,
    )
    extend(large, 90)
    assert market.shown(large)["MaxAssignments"] == 100
    market.refused(
        "AWS.ParameterOutOfRange", "create_additional_assignments_for_hit", HITId=large, NumberOfAdditionalAssignments=0
    )
    # 9 x 1.20 at the small fee, 100 x 1.40 at the large one
    assert market.balance() == ("9849.20", "150.80")


def test_an_extension_token_extends_once(market):
    hit = market.hit(MaxAssignments=2)
    request = {"HITId": hit, "NumberOfAdditionalAssignments": 3, "UniqueRequestToken": "more"}
    answer = market.client.create_additional_assignments_for_hit(**request)
    message = market.refused("DuplicateRequest", "create_additional_assignments_for_hit", **request)
    assert '"more" has already been processed' in message and answer["ResponseMetadata"]["RequestId"] in message
    assert market.shown(hit)["MaxAssignments"] == 5
    market.clock.forward(DAY)
    market.client.create_additional_assignments_for_hit(**request)


def test_status_follows_the_assignments(market):
    hit, ann, bob = market.hit(MaxAssignments=2), market.worker("Ann"), market.worker("Bob")

    def seen():
        found = market.shown(hit)
        return found["HITStatus"], *(found[f"NumberOfAssignments{k}"] for k in ("Available", "Pending", "Completed"))

    assert seen() == ("Assignable", 2, 0, 0)
    first = worklife.accept(market.state, ann, hit)
    assert seen() == ("Assignable", 1, 1, 0)
    second = worklife.accept(market.state, bob, hit)
    assert seen() == ("Unassignable", 0, 2, 0)
    worklife.submit(market.state, ann, first, [("a", "1")])
    assert seen() == ("Unassignable", 0, 1, 0)
    worklife.submit(market.state, bob, second, [("a", "1")])
    assert seen() == ("Reviewable", 0, 0, 0)
    market.client.update_hit_review_status(HITId=hit)
    assert seen()[0] == "Reviewing"
    market.refused("InvalidHITState", "update_hit_review_status", HITId=hit)
    assert [h["HITId"] for h in market.client.list_reviewable_hits(Status="Reviewing")["HITs"]] == [hit]
    assert market.client.list_reviewable_hits()["HITs"] == []
    market.client.update_hit_review_status(HITId=hit, Revert=True)
    market.refused("InvalidHITState", "update_hit_review_status", HITId=hit, Revert=True)
    market.client.approve_assignment(AssignmentId=first)
    assert seen() == ("Reviewable", 0, 0, 1)
    assert "2 " not in market.refused("InvalidHITState", "delete_hit", HITId=hit)
    market.client.reject_assignment(AssignmentId=second, RequesterFeedback="no")
    assert seen() == ("Reviewable", 0, 0, 2)
    market.client.delete_hit(HITId=hit)
    assert seen()[0] == "Disposed"
    assert market.client.list_hits()["HITs"] == []
    market.refused("InvalidHITState", "delete_hit", HITId=hit)


def test_only_reviewable_hits_are_deleted(market):
    hit = market.hit()
    message = market.refused("InvalidHITState", "delete_hit", HITId=hit)
    assert "'Assignable'" in message
    worklife.accept(market.state, market.worker(), hit)
    assert "'Unassignable'" in market.refused("InvalidHITState", "delete_hit", HITId=hit)
    market.client.update_expiration_for_hit(HITId=hit, ExpireAt=0)
    assert "'Unassignable'" in market.refused("InvalidHITState", "delete_hit", HITId=hit)
    market.clock.forward(HOUR)
    market.client.delete_hit(HITId=hit)


def test_expiration_releases_and_a_later_one_holds_again(market):
    hit = market.hit(MaxAssignments=3)
    market.submitted(hit, market.worker())
    assert market.balance() == ("9996.40", "3.60")
    market.clock.forward(DAY - 1)
    assert market.shown(hit)["HITStatus"] == "Assignable"
    market.clock.forward(1)
    assert market.shown(hit)["HITStatus"] == "Reviewable"
    assert market.shown(hit)["NumberOfAssignmentsAvailable"] == 0
    assert market.balance() == ("9998.80", "1.20")
    market.client.create_additional_assignments_for_hit(HITId=hit, NumberOfAdditionalAssignments=2)
    assert market.shown(hit)["HITStatus"] == "Reviewable"
    market.client.update_expiration_for_hit(HITId=hit, ExpireAt=market.clock.time + timedelta(hours=1))
    found = market.shown(hit)
    assert (found["HITStatus"], found["NumberOfAssignmentsAvailable"]) == ("Assignable", 4)
    assert found["Expiration"] == market.clock.time + timedelta(hours=1)
    assert market.balance() == ("9994.00", "6.00")
    market.client.update_expiration_for_hit(HITId=hit, ExpireAt=market.clock.time)
    assert market.balance() == ("9998.80", "1.20")
    market.refused(
        "InvalidExpirationIncrement",
        "update_expiration_for_hit",
        HITId=hit,
        ExpireAt=market.clock.time + timedelta(days=366),
    )


@pytest.mark.parametrize("time", ['"soon"', '"2026-03-01T12:00:00"', "true", "NaN", "1e300", "[]", "-1"])
def test_times_that_are_none(shared, time):
    answer = post(shared, "UpdateExpirationForHIT", f'{{"HITId": "{shared.hit()}", "ExpireAt": {time}}}')
    assert answer["TurkErrorCode"] == "AWS.InvalidParameterValue"


def test_disposed_of_120_days_after_it_became_reviewable(market):
    hit = market.hit()
    market.clock.forward(DAY + 120 * DAY - 1)
    assert market.shown(hit)["HITStatus"] == "Reviewable"
    market.clock.forward(1)
    assert market.shown(hit)["HITStatus"] == "Disposed"
    market.refused("InvalidHITState", "update_expiration_for_hit", HITId=hit, ExpireAt=market.clock.time)


def test_another_type_for_a_hit_moves_its_money(market):
    hit, other = market.hit(MaxAssignments=2), market.hit(Reward="2.00", Title="Other")
    kind = market.shown(other)["HITTypeId"]
    worker = market.worker()
    assignment = worklife.accept(market.state, worker, hit)
    market.refused("InvalidHITState", "update_hit_type_of_hit", HITId=hit, HITTypeId=kind)
    worklife.return_assignment(market.state, worker, assignment)
    market.client.update_hit_type_of_hit(HITId=hit, HITTypeId=kind)
    assert (market.shown(hit)["Title"], market.shown(hit)["Reward"]) == ("Other", "2.00")
    assert market.balance() == ("9992.80", "7.20")


def test_lists_come_in_pages_and_show_ones_own_only(market):
    made = [market.hit(RequesterAnnotation=str(n)) for n in range(7)]
    market.connect("AKIAOTHER").create_hit(**HIT)
    pages = list(market.client.get_paginator("list_hits").paginate(PaginationConfig={"PageSize": 3}))
    assert [page["NumResults"] for page in pages] == [3, 3, 1]
    assert [hit["HITId"] for page in pages for hit in page["HITs"]] == made[::-1]
    first = market.client.list_hits(MaxResults=3)
    newer = market.hit()  # a page goes on where the one before ended, whatever was added
    second = market.client.list_hits(MaxResults=100, NextToken=first["NextToken"])
    assert [hit["HITId"] for hit in second["HITs"]] == made[:4][::-1] and "NextToken" not in second
    assert newer not in str(second)
    for token in ["nonsense", first["NextToken"][:-4]]:
        market.refused("AWS.InvalidParameterValue", "list_hits", NextToken=token)
    market.refused("AWS.InvalidParameterValue", "list_reviewable_hits", NextToken=first["NextToken"])
    for most in (0, 101):
        market.refused("AWS.ParameterOutOfRange", "list_hits", MaxResults=most)
    assert market.client.list_hits(MaxResults=1)["NumResults"] == 1


def test_nobody_else_sees_or_changes_a_hit(market):
    stranger, hit = market.connect("AKIAOTHER"), market.hit()
    for operation, more in [
        ("get_hit", {}),
        ("delete_hit", {}),
        ("list_assignments_for_hit", {}),
        ("update_expiration_for_hit", {"ExpireAt": START}),
        ("create_additional_assignments_for_hit", {"NumberOfAdditionalAssignments": 1}),
        ("list_review_policy_results_for_hit", {}),
        ("list_bonus_payments", {}),
    ]:
        with pytest.raises(stranger.exceptions.RequestError, match="AWS.MechanicalTurk.HITDoesNotExist"):
            getattr(stranger, operation)(HITId=hit, **more)
    assert market.client.list_review_policy_results_for_hit(HITId=hit)["HITId"] == hit


def test_events_are_written_in_mturks_form(market):
    hit = market.hit(MaxAssignments=2)
    kind = market.shown(hit)["HITTypeId"]
    specification = {
        "Destination": "https://sqs.us-east-1.amazonaws.com/1/q",
        "Transport": "SQS",
        "Version": "2006-05-05",
        "EventTypes": ["AssignmentAccepted", "AssignmentSubmitted", "HITExpired", "HITReviewable"],
    }
    market.refused("AWS.MissingParameters", "update_notification_settings", HITTypeId=kind, Active=True)
    market.refused("AWS.MissingParameters", "update_notification_settings", HITTypeId=kind)
    ping = specification | {"EventTypes": ["Ping"]}
    market.refused("AWS.InvalidParameterValue", "update_notification_settings", HITTypeId=kind, Notification=ping)
    wrong = specification | {"Destination": "q"}
    market.refused("InvalidTransportEndpoint", "update_notification_settings", HITTypeId=kind, Notification=wrong)
    market.client.update_notification_settings(HITTypeId=kind, Notification=specification, Active=True)
    assignment = market.submitted(hit, market.worker())
    market.client.update_notification_settings(HITTypeId=kind, Active=False)
    market.submitted(hit, market.worker("Bob"))
    market.client.update_notification_settings(HITTypeId=kind, Active=True)
    market.clock.forward(2 * DAY)
    market.client.send_test_event_notification(Notification=specification, TestEventType="Ping")
    with market.state.transaction() as connection:
        rows = connection.execute("SELECT * FROM outbox ORDER BY serial").fetchall()
    assert [row["event"] for row in rows] == ["AssignmentAccepted", "AssignmentSubmitted", "HITExpired", "Ping"]
    message = json.loads(rows[1]["body"])
    assert message["EventDocVersion"] == "2014-08-15" and message["CustomerId"].startswith("A")
    assert message["Events"] == [
        {
            "EventType": "AssignmentSubmitted",
            "EventTimestamp": "2026-03-01T12:00:00Z",
            "HITId": hit,
            "HITTypeId": kind,
            "AssignmentId": assignment,
        }
    ]
    # what happened in between bears its own time, not that of the request that found it out
    assert json.loads(rows[2]["body"])["Events"][0]["EventTimestamp"] == "2026-03-02T12:00:00Z"


def test_questions_are_taken_and_refused_as_by_mturks_schemas(shared):
    """Another reader of the same schemas agrees on what a question is made of."""
    xmlschema = pytest.importorskip("xmlschema")
    folder = Path(mturk.questions.__file__).parent / "schemas"
    for whole, name, content in [
        (external("https://example.org/"), "ExternalQuestion", "ExternalURL"),
        (html("x"), "HTMLQuestion", "HTMLContent"),
    ]:
        schema = xmlschema.XMLSchema(str(folder / f"{name}.xsd"))
        height = whole[whole.index("<FrameHeight>") : whole.index(f"</{name}>")]
        for question in [
            whole,
            whole.replace(height, ""),
            whole.replace(height, height * 2),
            whole.replace(height, "<FrameHeight/>"),
            whole.replace(height, "<FrameHeight>x</FrameHeight>"),
            whole.replace(height, "<FrameHeight> 7 </FrameHeight>"),
            whole.replace(height, f"{height}text"),
            whole.replace(height, height + "<More/>"),
            whole.replace(content, "Content"),
            whole.replace(f"<{content}>", f"<{content}><b/>"),
            whole.replace("<FrameHeight>", '<FrameHeight xmlns="">'),
        ]:
            parameters = HIT | {"Question": question}
            try:
                shared.client.create_hit(**parameters)
                taken = True
            except shared.client.exceptions.RequestError:
                taken = False
            assert taken == schema.is_valid(question), question
