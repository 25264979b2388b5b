"""The worker site in a real Chromium: the whole way, what a question cannot do from its frame, a test, a phone."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from flask import Flask, request
from mturk_panel import FORM, Site, external, html, post, publish
from test_browser import DESK, PHONE, chromium  # noqa: F401

from mturk.questions.answers import fields
from mturk.server.invitations import invitation
from mturk.server.listening import serving
from mturk.server.worklife import add_worker

PAGE = """<!doctype html><title>Task</title><h1>Task</h1><form method="post">
<input type="hidden" name="assignmentId"><input name="answer" value="left"><button>Send</button></form><script>
const told = new URLSearchParams(location.search);
document.forms[0].assignmentId.value = told.get("assignmentId");
document.forms[0].action = told.get("turkSubmitTo") + "/mturk/externalSubmit";
document.querySelector("button").disabled = told.get("assignmentId") === "ASSIGNMENT_ID_NOT_AVAILABLE";
localStorage.setItem("seen", "1");
</script>"""

# Everything that a hostile question might try, each with its outcome as text.
HOSTILE = """<ol id="done"></ol><iframe id="inner"></iframe><script>
const tries = {
  cookie: () => document.cookie,
  storage: () => localStorage.length,
  parent: () => parent.document.title,
  top: () => { if (top !== self) top.location = "about:blank"; return "moved"; },
  script: () => parent.eval("1"),
};
const say = (name, text) => {
  const item = document.createElement("li");
  item.textContent = `${name}: ${text}`;
  document.getElementById("done").append(item);
};
(async () => {
  for (const [name, attempt] of Object.entries(tries)) {
    try { say(name, `got ${attempt()}`); } catch (error) { say(name, error.name); }
  }
  for (const path of ["/", "/earnings", "/messages"]) {
    try { say(path, `got ${(await (await fetch(path, { credentials: "include" })).text()).length}`); }
    catch (error) { say(path, error.name); }
  }
  await fetch("/sign-out", { method: "POST", mode: "no-cors", credentials: "include" }).catch(() => {});
  document.getElementById("inner").src = "/earnings";
  await new Promise((resolve) => document.getElementById("inner").addEventListener("load", resolve));
  say("origin", origin);
  say("end", "");
})();
</script>"""

SCHEMAS = "http://mechanicalturk.amazonaws.com/AWSMechanicalTurkDataSchemas"

TEST = f"""<QuestionForm xmlns="{SCHEMAS}/2017-11-06/QuestionForm.xsd"><Overview><Title>Colour vision</Title>
<FormattedContent><![CDATA[<p>Look <b>closely</b>.</p><script>parent.x=1</script>]]></FormattedContent></Overview>
<Question><QuestionIdentifier>n</QuestionIdentifier><DisplayName>One</DisplayName><IsRequired>true</IsRequired>
<QuestionContent><Text>Which number?</Text></QuestionContent><AnswerSpecification><SelectionAnswer>
<StyleSuggestion>radiobutton</StyleSuggestion><Selections>
<Selection><SelectionIdentifier>s12</SelectionIdentifier><Text>12</Text></Selection>
<Selection><SelectionIdentifier>s70</SelectionIdentifier><Text>70</Text></Selection>
</Selections></SelectionAnswer></AnswerSpecification></Question>
<Question><QuestionIdentifier>why</QuestionIdentifier><QuestionContent><Text>Remarks &lt;i&gt;</Text></QuestionContent>
<AnswerSpecification><FreeTextAnswer><NumberOfLinesSuggestion>3</NumberOfLinesSuggestion></FreeTextAnswer>
</AnswerSpecification></Question></QuestionForm>"""

KEY = f"""<AnswerKey xmlns="{SCHEMAS}/2005-10-01/AnswerKey.xsd">
<Question><QuestionIdentifier>n</QuestionIdentifier><AnswerOption><SelectionIdentifier>s12</SelectionIdentifier>
<AnswerScore>85</AnswerScore></AnswerOption></Question></AnswerKey>"""


@pytest.fixture
def task() -> Iterator[str]:
    """The address of a requester's page on a server of its own."""
    app = Flask("task")
    app.add_url_rule("/task", view_func=lambda: PAGE if "assignmentId" in request.args else ("no", 400))
    with serving(app) as url:
        yield f"{url}task?study=1"


@pytest.fixture
def visit(chromium, tmp_path) -> Iterator[Callable]:  # noqa: F811
    """`visit(viewport)`: (site, page) with a worker signed in by the personal link. No script may fail."""
    with ExitStack() as stack:

        def visit(viewport: dict = DESK, **options) -> tuple:
            site = Site(tmp_path / "panel")
            stack.callback(site.state.close)
            url = stack.enter_context(serving(site.app))
            context = chromium.new_context(viewport=viewport, **options)
            stack.callback(context.close)
            page = context.new_page()
            page.set_default_timeout(15_000)
            problems: list[str] = []
            page.on("pageerror", lambda error: problems.append(str(error)))
            page.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
            stack.callback(lambda: pytest.fail(problems[0]) if problems else None)
            page.problems = problems
            page.goto(url + invitation(site.key, add_worker(site.state, "Ada")))
            return site, page

        yield visit


def statuses(site: Site) -> list[str]:
    return [row[0] for row in site.rows("SELECT status FROM assignments ORDER BY serial")]


def test_the_whole_way_of_a_worker(visit, task):
    """Preview (nothing can be sent), accept, return, accept again, reload, submit; the page moves on by itself."""
    site, page = visit()
    publish(site.state, external(task), places=3, title="A task")
    page.reload()
    page.get_by_role("link", name="A task").click()
    assert page.frame_locator("#question").get_by_role("button", name="Send").is_disabled()
    page.get_by_role("button", name="Accept and work").click()
    page.get_by_role("button", name="Return").click()
    page.wait_for_selector("text=You returned the HIT")
    page.get_by_role("button", name="Accept and work").click()
    page.wait_for_selector("#left")
    page.reload()
    frame = page.frame_locator("#question")
    frame.locator("[name=answer]").fill("Zoë <&>")
    assert page.text_content("#left") in ("10:00", "09:59", "09:58", "09:57", "09:56")
    frame.get_by_role("button", name="Send").dblclick()
    page.wait_for_selector("text=Submitted. Thank you!")
    assert statuses(site) == ["returned", "submitted"]
    [(answer,)] = site.rows("SELECT answer FROM assignments WHERE status = 'submitted'")
    assert "Zoë &lt;&amp;&gt;" in answer
    page.go_back()
    page.wait_for_selector("text=Submitted. Thank you!")
    page.get_by_role("link", name="My work").first.click()
    page.wait_for_selector("text=Waiting for approval")
    assert page.get_by_role("row").filter(has_text="Returned").count() == 1
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_selector("text=personal link")
    page.problems[:] = [text for text in page.problems if "403" not in text]  # a page that says sign in answers 403


def test_without_scripts_the_site_still_works(visit):
    """The question's own form, and the site's pages; only the clock stands still."""
    site, page = visit(java_script_enabled=False)
    form = (
        "<form method='post' action='https://www.mturk.com/mturk/externalSubmit'>"
        "<input name='assignmentId'><input name='answer' value='1'><button>Send</button></form>"
    )
    publish(site.state, html(form), title="By hand")
    page.reload()
    page.get_by_role("button", name="Accept and work").click()
    frame = page.frame_locator("#question")
    frame.locator("[name=assignmentId]").fill(page.url.rsplit("/", 1)[1])
    frame.get_by_role("button", name="Send").click()
    frame.get_by_text("Your work was submitted").wait_for()
    page.reload()
    page.wait_for_selector("text=Submitted. Thank you!")
    assert statuses(site) == ["submitted"]


def test_a_question_cannot_touch_the_site(visit):
    """Strangers' HTML gets no cookie, storage, page or frame of the site, and cannot move or sign out its worker."""
    site, page = visit()
    hit = publish(site.state, html(HOSTILE), title="Hostile")
    for address in (f"hits/{hit}", None):
        if address:
            page.goto(page.url + address)
        else:
            page.get_by_role("button", name="Accept and work").click()
        frame = page.frame_locator("#question")
        frame.get_by_text("end:").wait_for()
        said = frame.locator("#done li").all_text_contents()
        assert said[:5] == [f"{name}: SecurityError" for name in ("cookie", "storage", "parent", "top", "script")]
        assert said[5:8] == ["/: TypeError", "/earnings: TypeError", "/messages: TypeError"]
        assert said[8] == "origin: null"
        inner = page.frames[-1]
        assert "My work" not in inner.content()
    opened = page.context.new_page()  # the question itself, opened outside of the iframe, is in its own origin too
    opened.goto(page.locator("#question").evaluate("frame => frame.src"))
    opened.get_by_text("end:").wait_for()
    assert opened.locator("#done li").first.text_content() == "cookie: SecurityError"
    page.goto(page.url)
    page.wait_for_selector("text=Ada")
    assert statuses(site) == ["accepted"]
    page.problems.clear()  # what the hostile page was denied


def test_an_answer_inside_the_frame_can_do_nothing(visit, task):
    """What our own submit address answers runs no script and has no origin, whatever was sent to it."""
    site, page = visit()
    publish(site.state, external(task))
    page.reload()
    page.get_by_role("button", name="Accept and work").click()
    page.route("**/state", lambda route: route.fulfill(json={"open": True}))  # so that the page stays
    frame = page.frame_locator("#question")
    frame.get_by_role("button", name="Send").click()
    frame.get_by_text("Your work was submitted").wait_for()
    assert page.frames[-1].evaluate("origin") == "null"
    box = frame.get_by_role("main").bounding_box()
    assert box["width"] < 700  # its style arrived


def test_work_that_was_not_kept_is_sent_again(visit):
    """The frame keeps what the page sent; the page itself, and what its script had collected, are gone."""
    site, page = visit()
    publish(site.state, html(FORM))
    page.reload()
    page.get_by_role("button", name="Accept and work").click()
    frame = page.frame_locator("#question")
    answer = 'left "> <b>' + "x" * 50_000
    frame.locator("input[name=answer]").fill(answer)
    pages = site.rows("PRAGMA page_count")[0][0]
    site.rows(f"PRAGMA max_page_count = {pages}")  # stands for a full disk
    frame.get_by_role("button", name="Send").click()
    frame.get_by_text("Nothing was kept").wait_for()
    assert statuses(site) == ["accepted"]
    site.rows(f"PRAGMA max_page_count = {pages + 1000}")
    frame.get_by_role("button", name="Send again").click()
    page.get_by_role("heading", name="Submitted. Thank you!").wait_for()
    assert fields(site.rows("SELECT answer FROM assignments")[0][0])["answer"] == answer
    page.problems[:] = [text for text in page.problems if "507" not in text]


def test_a_qualification_test_is_taken_in_its_frame(visit):
    """Begun, answered, graded by its key; its texts are shown, its scripts do not run."""
    site, page = visit()
    with site.state.transaction() as connection:
        connection.execute("INSERT INTO requesters VALUES ('lab', 'A0000000000LAB', 0, 0, 0)")
        connection.execute(
            "INSERT INTO qualification_types (id, requester, name, description, status, test, answer_key,"
            " test_duration_s, auto_granted, auto_granted_value, created_at)"
            " VALUES ('3COLOUR', 'lab', 'Colours', 'See colours', 'Active', ?, ?, 600, 0, 1, 0)",
            [TEST, KEY],
        )
    page.get_by_role("link", name="Qualifications").click()
    page.get_by_role("button", name="Begin the test").click()
    frame = page.frame_locator("#question")
    frame.get_by_text("Remarks <i>").wait_for()
    frame.get_by_role("button", name="Submit the test").click()  # the required answer is missing
    frame.get_by_label("12").check()
    frame.locator("textarea").fill("none & nothing")
    frame.get_by_role("button", name="Submit the test").click()
    page.wait_for_selector("text=score 85")
    assert site.rows("SELECT value FROM qualifications") == [(85,)]
    assert page.evaluate("window.x") is None
    page.problems[:] = [text for text in page.problems if "script" not in text]  # the test's own was blocked


def test_time_running_out_is_said(visit, task):
    site, page = visit()
    publish(site.state, external(task), duration_s=30, title="Short")
    page.reload()
    page.clock.install()
    page.get_by_role("button", name="Accept and work").click()
    page.wait_for_selector("#clock.late")
    clock = site.state.clock
    site.state.clock = lambda: clock().replace(year=clock().year + 1)
    page.clock.run_for(31_000)
    page.wait_for_selector("text=The time is up")
    assert statuses(site) == ["abandoned"]


def test_a_server_that_is_away_and_a_lost_sign_in_are_said(visit, task):
    """And what to do then: the frame's own error would not go away, and the work would not be submitted."""
    site, page = visit()
    publish(site.state, external(task))
    page.reload()
    page.get_by_role("button", name="Accept and work").click()
    page.wait_for_selector("#left")

    def look() -> None:
        page.evaluate("document.getElementById('question').dispatchEvent(new Event('load'))")

    page.route("**/state", lambda route: route.abort())
    look()
    page.get_by_text("The server does not answer").wait_for()
    page.unroute("**/state")
    look()
    page.get_by_text("The server is back. If the question shows an error").wait_for()
    page.reload()
    assert page.locator("#alarm").is_hidden()
    page.context.clear_cookies()
    look()
    page.get_by_text("You are signed out").wait_for()
    page.frame_locator("#question").get_by_role("button", name="Send").click()  # goes by its own token
    page.frame_locator("#question").get_by_text("Your work was submitted").wait_for()
    assert statuses(site) == ["submitted"]
    page.problems[:] = [text for text in page.problems if "403" not in text and "ERR_FAILED" not in text]


@pytest.mark.parametrize("width", [PHONE["width"], 320])  # 320: also what WCAG 1.4.10 asks for
def test_a_phone_shows_everything_in_its_width(visit, task, width):
    site, page = visit(PHONE | {"width": width})
    long = "w" * 120
    hit = publish(site.state, external(task), places=2, title=long, description=long, keywords=long)
    paths = ["", f"hits/{hit}", "earnings", "qualifications", "messages"]
    base = page.url
    client = site.app.test_client()
    client.get("/" + invitation(site.key, add_worker(site.state, "Ada")))
    paths.append(post(client, f"/hits/{hit}/accept").headers["Location"].removeprefix("../../"))
    for path in paths:
        page.goto(base + path)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        for control in page.locator("button:visible, .button:visible, nav a:visible").all():
            assert control.bounding_box()["height"] >= 40
