"""The way in and out of the page in a real Chromium, in a frame like MTurk's where there is one."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlencode

import pytest
import test_browser
from test_browser import DESK, LEFT

from study.recruits import completion_code, personal_code
from study.tokens import secret_key, unsign
from study.votes import connect
from webapp.app import create_app
from webapp.serve import serving

chromium = test_browser.chromium

SHORT = {"trials": 2, "sentinels": 0, "repeats": 0, "practice": 1}
PROLIFIC = {"PROLIFIC_PID": "5f" * 12, "STUDY_ID": "6a" * 12, "SESSION_ID": "7b" * 12}
FRAME = (
    '<!doctype html><iframe width="1240" height="780" sandbox="allow-scripts allow-forms allow-same-origin" src="{}">'
)


class Recruiter(ThreadingHTTPServer):
    """A site that frames the page given to `/frame?...` and keeps what is submitted below `/w/`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.submitted: list[tuple[str, dict[str, str]]] = []

    @property
    def address(self) -> str:
        """Another site than the page's 127.0.0.1, so that the frame is a third party's."""
        return f"http://localhost:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Recruiter

    def do_GET(self) -> None:
        framed = dict(parse_qsl(self.path.partition("?")[2])).get("src")
        self._answer(FRAME.format(framed.replace("&", "&amp;")) if framed else "<h1>Submitted</h1>")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.submitted.append((self.path, dict(parse_qsl(body))))
        self.send_response(303)
        self.send_header("Location", "/submitted")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _answer(self, text: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *values: object) -> None:
        pass


@pytest.fixture
def recruiter() -> Iterator[Recruiter]:
    with Recruiter() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def opened(chromium, make_study) -> Iterator[Callable]:
    """`opened(viewport, **sections)`: (study, address of the page, browser page that has no storage)."""
    with ExitStack() as stack:

        def opened(viewport: dict = DESK, **sections) -> tuple:
            study = make_study(session=SHORT, **sections)
            url = stack.enter_context(serving(create_app(study), study))
            context = chromium.new_context(viewport=viewport)
            stack.callback(context.close)
            forbid = "{get() { throw new DOMException('none here', 'SecurityError'); }}"
            for storage in ("localStorage", "sessionStorage"):
                context.add_init_script(f"Object.defineProperty(window, '{storage}', {forbid})")
            page = context.new_page()
            page.set_default_timeout(15_000)
            problems: list[str] = []
            page.on("pageerror", lambda error: problems.append(str(error)))
            page.on("console", lambda said: problems.append(said.text) if "Security Policy" in said.text else None)
            stack.callback(lambda: pytest.fail(problems[0]) if problems else None)
            return study, url, page

        yield opened


def choose(study, place, right: bool = True) -> None:
    """Answer the practice trial on display."""
    place.locator(LEFT).wait_for()
    with connect(study.votes_path) as store:
        row = store.execute("SELECT * FROM trials WHERE kind = 'training' ORDER BY rowid DESC").fetchone()
    triplet = study.triplets.set_index("id").loc[row["triplet"]]
    on_the_left = (row["left_is"] == "a") == (triplet["expected"] == triplet["a"])
    place.locator(f"#choose-{'left' if on_the_left == right else 'right'}").click()
    place.locator("#continue").click()


def vote(place, which: str) -> None:
    place.locator("#progress", has_text=which).wait_for()
    place.locator(LEFT).click()


def through(study, place) -> None:
    """From the instructions to the last vote."""
    place.locator("#start").click()
    choose(study, place)
    vote(place, "1 of 2")
    vote(place, "2 of 2")


def test_a_hit_in_a_sandboxed_frame_from_preview_to_submission(opened, recruiter):
    """Preview, accept, half of the votes, a reload without cookies, the rest; it submits itself once."""
    study, url, page = opened()
    hit = {"hitId": "HIT1", "turkSubmitTo": f"{recruiter.address}/w/token.of-worker"}

    def show(**more: str) -> None:
        page.goto(f"{recruiter.address}/frame?{urlencode({'src': f'{url}?{urlencode(hit | more)}'})}")

    frame = page.frame_locator("iframe")
    show(assignmentId="ASSIGNMENT_ID_NOT_AVAILABLE")
    assert "Accept the HIT to begin" in frame.locator(".notice").inner_text()
    accepted = {"assignmentId": "ASSIGNMENT1", "workerId": "AWORKER1"}
    show(**accepted)
    frame.get_by_role("button", name="I agree").click()
    frame.locator("#start").click()
    choose(study, frame)
    vote(frame, "1 of 2")
    frame.locator("#progress", has_text="2 of 2").wait_for()
    page.context.clear_cookies()
    show(**accepted)
    vote(frame, "2 of 2")
    frame.get_by_text("is being submitted").wait_for()
    assert recruiter.submitted == []
    frame.get_by_role("heading", name="Submitted").wait_for()  # nobody pressed the button
    [(path, fields)] = recruiter.submitted
    assert path == "/w/token.of-worker/mturk/externalSubmit"
    observer = unsign(secret_key(study), "done", fields.pop("eyetune"))
    assert fields == {"assignmentId": "ASSIGNMENT1"}
    with connect(study.votes_path) as store:
        assert [tuple(row) for row in store.execute("SELECT observer, outcome FROM recruits")] == [
            (observer, "finished")
        ]
    assert page.context.cookies() == []
    show(**accepted)  # a reload shows it again; a double click submits once
    frame.get_by_role("button", name="Submit the HIT").dblclick()
    frame.get_by_role("heading", name="Submitted").wait_for()
    assert len(recruiter.submitted) == 2
    show(assignmentId="ASSIGNMENT2", workerId="AWORKER1")
    frame.get_by_text("return this HIT").wait_for()


def test_prolific_is_returned_to_with_its_code(opened):
    study, url, page = opened(recruiting={"prolific_completed": "C0DE1", "practice_right": 1})
    page.route("https://app.prolific.com/**", lambda route: route.fulfill(body="Prolific", content_type="text/plain"))
    page.goto(f"{url}?{urlencode(PROLIFIC)}")
    page.get_by_role("button", name="I agree").click()
    through(study, page)
    assert page.get_by_role("link", name="Go back to Prolific").get_attribute("href").endswith("?cc=C0DE1")
    page.wait_for_url("https://app.prolific.com/submissions/complete?cc=C0DE1")
    page.goto(f"{url}?{urlencode(PROLIFIC)}")
    page.get_by_role("link", name="Go back to Prolific").click()
    page.wait_for_url("https://app.prolific.com/**")


def test_who_is_screened_out_reads_why_and_has_the_recruiters_button(opened):
    study, url, page = opened(recruiting={"prolific_screened_out": "OUT1", "practice_right": 1})
    page.goto(f"{url}?{urlencode(PROLIFIC)}")
    page.get_by_role("button", name="I agree").click()
    page.locator("#start").click()
    choose(study, page, right=False)
    page.get_by_role("heading", name="The study ends here").wait_for()
    assert page.get_by_role("link", name="Go back to Prolific").get_attribute("href").endswith("?cc=OUT1")
    assert page.locator("script").count() == 0  # nothing leaves by itself
    page.go_back()
    page.get_by_role("heading", name="The study ends here").wait_for()
    assert len(study.all_judgments()) == 1


def test_a_small_window_is_asked_to_grow_and_then_it_goes_on(opened):
    """Not an end: the instructions come as soon as there is room; so it is when a session goes on."""
    study, url, page = opened({"width": 900, "height": 500}, recruiting={"smallest_window": [1000, 600]})
    page.goto(url)
    page.get_by_role("button", name="I agree").click()
    page.locator("#small").wait_for()
    assert "1000 × 600" in page.text_content("#small") and page.is_hidden("#instructions")
    assert page.text_content("#window-now") == "900 × 500"
    page.set_viewport_size({"width": 1000, "height": 590})
    page.locator("#window-now", has_text="1000 × 590").wait_for()
    page.set_viewport_size({"width": 1000, "height": 600})
    page.locator("#start").click()
    assert page.is_hidden("#small")
    choose(study, page)
    page.set_viewport_size({"width": 900, "height": 600})
    assert page.is_hidden("#small")
    page.reload()
    page.locator("#small").wait_for()
    page.set_viewport_size(DESK)
    vote(page, "1 of 2")
    vote(page, "2 of 2")
    page.locator("#thanks").wait_for()


def test_a_typed_code_lets_in_and_the_end_shows_one_that_proves_it(opened):
    study, url, page = opened(recruiting={"open_link": False})
    page.goto(url)
    page.get_by_label("Your personal code").fill(personal_code(secret_key(study), 12).lower().replace("-", " "))
    page.keyboard.press("Enter")
    page.get_by_role("button", name="I agree").click()
    through(study, page)
    code = page.locator("p.code")
    code.wait_for()
    with connect(study.votes_path) as store:
        observer = store.execute("SELECT observer FROM recruits WHERE outcome = 'finished'").fetchone()[0]
    assert code.text_content() == completion_code(secret_key(study), observer)
