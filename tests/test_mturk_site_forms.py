"""Qualification tests: what of a QuestionForm is shown, what is taken for its answers, and when."""

from datetime import UTC, datetime, timedelta

import pytest
from mturk_panel import Site, frame_of, post

from mturk.server.question_form import Content, answers_of, read_form
from study.tokens import sign

SCHEMAS = "http://mechanicalturk.amazonaws.com/AWSMechanicalTurkDataSchemas"


def form(inside: str) -> str:
    return f'<QuestionForm xmlns="{SCHEMAS}/2005-10-01/QuestionForm.xsd">{inside}</QuestionForm>'


def question(name: str, answer: str, more: str = "") -> str:
    return (
        f"<Question><QuestionIdentifier>{name}</QuestionIdentifier>{more}<QuestionContent><Text>{name}?</Text>"
        f"</QuestionContent><AnswerSpecification>{answer}</AnswerSpecification></Question>"
    )


def selection(style: str = "", most: int = 1) -> str:
    suggestion = f"<StyleSuggestion>{style}</StyleSuggestion>" if style else ""
    return (
        f"<SelectionAnswer><MaxSelectionCount>{most}</MaxSelectionCount>{suggestion}<Selections>"
        "<Selection><SelectionIdentifier>y</SelectionIdentifier><Text>Yes</Text></Selection>"
        "<Selection><SelectionIdentifier>n</SelectionIdentifier><Text>No</Text></Selection></Selections></SelectionAnswer>"
    )


def test_every_kind_of_content_is_read():
    """Titles, texts, lists, images and HTML; what needs a plug-in, and addresses that are none of the web, are not."""
    picture = "<Binary><MimeType><Type>image</Type></MimeType><DataURL>{}</DataURL><AltText>A & B</AltText></Binary>"
    [overview] = read_form(
        form(
            "<Overview><Title>T</Title><Text> a &lt; b </Text><List><ListItem>1</ListItem><ListItem>2</ListItem></List>"
            f"{picture.format('https://img.example/1.png')}{picture.format('javascript:alert(1)')}".replace(
                "&", "&amp;"
            ).replace("&amp;lt;", "&lt;")
            + "<FormattedContent><![CDATA[<b>x</b>]]></FormattedContent><Application><Flash/></Application></Overview>"
        )
    )
    assert overview.name == "" and overview.content == [
        Content("title", "T"),
        Content("text", "a < b"),
        Content("list", items=["1", "2"]),
        Content("image", "A & B", ["https://img.example/1.png"]),
        Content("html", "<b>x</b>"),
    ]


@pytest.mark.parametrize(
    "answer, control",
    [
        (selection(), "radio"),
        (selection("radiobutton"), "radio"),
        (selection("dropdown"), "select"),
        (selection("list"), "radio"),
        (selection("checkbox"), "checkbox"),
        (selection(most=2), "checkbox"),
        ("<FreeTextAnswer/>", "text"),
    ],
)
def test_each_answer_has_its_control(answer, control):
    [found] = read_form(form(question("q", answer)))
    assert found.control == control
    assert [name for name, _ in found.selections] == ([] if control == "text" else ["y", "n"])


def test_a_free_text_keeps_its_bounds():
    constraints = '<Constraints><Length minLength="2" maxLength="40"/></Constraints>'
    lines = "<NumberOfLinesSuggestion>3</NumberOfLinesSuggestion>"
    text = f"<FreeTextAnswer>{constraints}<DefaultText>d</DefaultText>{lines}</FreeTextAnswer>"
    [found] = read_form(form(question("q", text, "<DisplayName>D</DisplayName><IsRequired>true</IsRequired>")))
    assert (found.length, found.default, found.lines, found.label, found.required) == (40, "d", 3, "D", True)


def test_answers_are_of_the_tests_own_questions():
    xml = form(question("one", selection(most=2)) + question("two", "<FreeTextAnswer/>"))
    fields = [("one", "y"), ("two", ""), ("three", "x"), ("one", "n"), ("assignmentId", "3X")]
    assert answers_of(xml, fields) == {"one": ["y", "n"]}


@pytest.fixture
def site(tmp_path) -> Site:
    site = Site(tmp_path / "panel")
    yield site
    site.state.close()


def add_type(site: Site, test: str | None, retry_s: int | None = None) -> None:
    with site.state.transaction() as connection:
        connection.execute("INSERT INTO requesters VALUES ('lab', 'A0000000000LAB', 0, 0, 0)")
        connection.execute(
            "INSERT INTO qualification_types (id, requester, name, description, status, retry_delay_s, test,"
            " test_duration_s, auto_granted, auto_granted_value, created_at)"
            " VALUES ('3TYPE', 'lab', 'Eyes', 'd', 'Active', ?, ?, ?, ?, 7, 0)",
            [retry_s, test, 60 if test else None, 0 if test else 1],
        )


def test_a_qualification_without_a_test_is_asked_for_once(site):
    add_type(site, None)
    _, client = site.worker()
    assert post(client, "/qualifications/3TYPE/request").status_code == 303
    page = client.get("/qualifications").text
    assert "You have the qualification now" in page and "score 7" in page and "Ask for it" not in page
    assert post(client, "/qualifications/3TYPE/request").status_code == 409
    assert post(client, "/qualifications/3NONE/request").status_code == 409


def test_a_test_is_begun_by_its_button_alone_and_handed_in_once(site):
    """Its page, opened without having begun, sends back. The frame's address is signed for the worker."""
    add_type(site, form(question("q", "<FreeTextAnswer/>")))
    worker, client = site.worker()
    _, other = site.worker("Bob")
    assert client.get("/qualifications/3TYPE/test").status_code == 303
    assert site.rows("SELECT count(*) FROM qualification_requests") == [(0,)]
    assert client.post("/qualifications/3TYPE/begin").status_code == 403
    assert post(client, "/qualifications/3TYPE/begin").status_code == 303
    address = frame_of(client.get("/qualifications/3TYPE/test")).removeprefix("../..")
    shown = other.get(address)
    assert shown.headers["Content-Security-Policy"].startswith("sandbox allow-forms allow-popups; default-src 'none'")
    nobody = site.app.test_client()
    for token in ("x", sign("another key" * 4, "question", {"worker": worker, "type": "3TYPE"})):
        assert nobody.post(f"/t/{token}", data={"q": "1"}).status_code == 404
    assert nobody.post(address, data={"q": "<seven> & \x01"}).status_code == 200
    assert client.get("/qualifications/3TYPE/test/state").json == {"open": False}
    assert nobody.post(address, data={"q": "8"}).status_code == 409
    assert "Requested" in client.get("/qualifications").text
    [(status, answer)] = site.rows("SELECT status, answer FROM qualification_requests")
    assert status == "pending" and "&lt;seven&gt; &amp;" in answer


def test_a_late_test_is_refused_and_not_begun_again_by_looking(site):
    now = datetime(2026, 5, 1, 12, tzinfo=UTC)
    site.state.clock = lambda: now
    add_type(site, form(question("q", "<FreeTextAnswer/>")), retry_s=0)
    _, client = site.worker()
    post(client, "/qualifications/3TYPE/begin")
    address = frame_of(client.get("/qualifications/3TYPE/test")).removeprefix("../..")
    now += timedelta(seconds=60)
    assert client.get("/qualifications/3TYPE/test").status_code == 303
    assert site.app.test_client().get(address).status_code == 409
    assert site.app.test_client().post(address, data={"q": "1"}).status_code == 409
    assert site.rows("SELECT status FROM qualification_requests") == [("begun",)]
