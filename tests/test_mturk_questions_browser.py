"""The form without a server in a real Chromium: in MTurk's sandboxed frame, images from S3, submitted as a HIT."""

import io
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, quote
from urllib.request import urlopen
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from test_browser import DESK, LEFT, PHONE, RIGHT, chromium, next_one, progress  # noqa: F401
from test_mturk_questions_sessions import HITS, SHORT, planned, s3  # noqa: F401

from mturk.questions.answers import answers_xml, fields
from mturk.questions.form import NAMESPACE, html_question, session_html
from mturk.questions.sessions import publish_session, store_form_votes
from study.images import fingerprint
from study.votes import connect, now

FOREIGN = "allow-scripts allow-forms"  # as the local server has it: the frame has no origin, so no storage
SAME = "allow-scripts allow-forms allow-same-origin"  # as MTurk has it


class Market(ThreadingHTTPServer):
    """A page with the question in a frame, and what receives its submission."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.html = self.frame = ""
        self.submitted: list[tuple[str, list[tuple[str, str]]]] = []


class Answering(BaseHTTPRequestHandler):
    server: Market

    def do_GET(self) -> None:
        self._answer(self.server.html if self.path.startswith("/q") else self.server.frame)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.submitted.append((self.path, parse_qsl(body, keep_blank_values=True)))
        self._answer("<p id=over>Submitted</p>")

    def _answer(self, text: str) -> None:
        data = text.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def opened(chromium, s3, make_study) -> Iterator[Callable]:  # noqa: F811
    """`opened(sandbox, assignment, ...)`: (study, observer, market, frame) with the form's first page on display."""
    with ExitStack() as stack:

        def open_form(
            sandbox: str = FOREIGN,
            assignment: str = "3ASSIGNMENT",
            viewport: dict = DESK,
            ratio: float = 1,
            **sections: dict,
        ) -> tuple:
            study = make_study(hits=HITS, **sections)
            observer, _ = planned(study)
            xml = html_question(session_html(study, publish_session(study, observer), observer), 0)
            market = stack.enter_context(Market())
            thread = threading.Thread(target=market.serve_forever, args=(0.05,))
            thread.start()
            stack.callback(thread.join)
            stack.callback(market.shutdown)
            url = f"http://127.0.0.1:{market.server_port}"
            market.html = ElementTree.fromstring(xml).findtext(f"{{{NAMESPACE}}}HTMLContent") or ""
            submit_to = quote(f"{url}/w/token", safe="")
            address = f"/q?assignmentId={assignment}&hitId=3HIT&turkSubmitTo={submit_to}"
            size = "position:fixed;inset:0;width:100%;height:100%;border:0"
            market.frame = f'<iframe id="question" sandbox="{sandbox}" style="{size}" src="{address}"></iframe>'
            context = chromium.new_context(viewport=viewport, device_scale_factor=ratio)
            stack.callback(context.close)
            page = context.new_page()
            page.set_default_timeout(15_000)
            problems: list[str] = []
            page.on("pageerror", lambda error: problems.append(str(error)))
            stack.callback(lambda: pytest.fail(problems[0]) if problems else None)
            page.goto(url)
            frame = page.wait_for_selector("#question").content_frame()
            frame.wait_for_selector("#consent:visible")
            return study, observer, market, frame

        yield open_form


def stored(study, observer: str, market: Market):
    """The judgments of what was submitted, by way of MTurk's XML."""
    ((path, submitted),) = market.submitted
    assert path == "/w/token/mturk/externalSubmit"
    assert [name for name, _ in submitted] == ["assignmentId", "eyetune", "votes"]
    answer = fields(answers_xml(submitted[1:]))
    assert submitted[0][1] == "3ASSIGNMENT" and answer["eyetune"] == observer
    with connect(study.votes_path) as store:
        store_form_votes(store, observer, answer["votes"], now())
    return study.all_judgments().sort_values("position")


def shown_in(frame, role: str) -> str:
    """What the image on display in this role is known by."""
    with urlopen(frame.get_attribute(f"[data-role={role}] img", "src"), timeout=30) as response:
        return fingerprint(np.array(Image.open(io.BytesIO(response.read()))))


def test_a_whole_session_in_a_frame_without_an_origin(opened):
    """By mouse and by keyboard; the judgments name the very images that were clicked, whose pixels were on display."""
    study, observer, market, frame = opened()
    page = frame.page
    assert frame.evaluate("origin") == "null"
    frame.click("#agree")
    frame.wait_for_selector("#start:visible")
    assert "keep this page open" in frame.text_content("#instructions")
    page.keyboard.press("Enter")  # the start button has the focus
    frame.wait_for_selector(LEFT)
    assert progress(frame) == "Practice 1 of 1"
    chosen, sides = [shown_in(frame, "left")], ["left"]
    frame.click(LEFT)
    frame.wait_for_selector("#feedback:visible")
    verdict = frame.text_content("#verdict")
    page.keyboard.press("Enter")
    ways = [LEFT, RIGHT, "[data-role=right] img", "[data-role=left] img", "ArrowRight", "ArrowLeft", "ArrowRight"]
    for n, way in enumerate(ways):
        frame.wait_for_selector(LEFT)
        assert progress(frame) == f"{n + 1} of 7"
        sides.append("left" if "eft" in way else "right")
        chosen.append(shown_in(frame, sides[-1]))
        assert frame.locator("#stage img:visible").count() == 3
        if way.startswith("Arrow"):
            page.keyboard.press(way)
        else:
            frame.click(way)
        if n < 6:
            next_one(frame, f"{n + 1} of 7")
    frame.wait_for_selector("#over")
    votes = stored(study, observer, market)
    known = {stimulus.id: fingerprint(study.image(stimulus.sha256)) for stimulus in study.stimuli.itertuples()}
    assert list(votes["side"]) == sides and [known[stimulus] for stimulus in votes["chosen"]] == chosen
    assert set(votes["protocol"]) == {"side-by-side"} and set(votes["screen_width"]) == {1280}
    assert (votes["shown_at"] <= votes["loaded_at"]).all() and (votes["loaded_at"] <= votes["answered_at"]).all()
    practice = study.triplets.set_index("id").loc[votes.iloc[0]["triplet"]]
    assert verdict.startswith("✓" if votes.iloc[0]["chosen"] == practice.expected else "✗")
    assert page.context.cookies() == []


def test_a_reload_goes_on_where_it_stopped_where_a_frame_may_store(opened):
    """As in MTurk's frame; another assignment of the same browser begins anew."""
    study, observer, market, frame = opened(SAME)
    frame.click("#agree")
    frame.click("#start")
    frame.click(LEFT)
    frame.wait_for_selector("#feedback:visible")
    page = frame.page
    for n in range(7):
        if n in (0, 1, 4):
            page.reload()
            frame = page.wait_for_selector("#question").content_frame()
        frame.wait_for_selector(LEFT)
        assert progress(frame) == f"{n + 1} of 7" and frame.is_hidden("#consent")
        if n == 3:
            market.frame = market.frame.replace("3ASSIGNMENT", "3ANOTHER")
            page.reload()
            frame = page.wait_for_selector("#question").content_frame()
            frame.wait_for_selector("#agree:visible")
            market.frame = market.frame.replace("3ANOTHER", "3ASSIGNMENT")
            page.reload()
            frame = page.wait_for_selector("#question").content_frame()
            frame.wait_for_selector(LEFT)
        frame.click(RIGHT)
        if n < 6:
            next_one(frame, f"{n + 1} of 7")
    frame.wait_for_selector("#over")
    assert list(stored(study, observer, market)["side"]) == ["left", *["right"] * 7]


@pytest.mark.parametrize("ratio", [1, 2.625])
def test_a_phone_flips_by_touch_and_one_image_pixel_is_one_device_pixel(opened, ratio):
    """In a frame with an origin: in one without, which is another process, a pixel ratio cannot be emulated."""
    study, observer, market, frame = opened(SAME, viewport=PHONE, ratio=ratio, session=SHORT)
    frame.click("#agree")
    frame.click("#start")
    frame.wait_for_selector("[data-view=left]:enabled")
    box = frame.locator("[data-role=reference] img").bounding_box()
    assert (box["width"] * ratio, box["height"] * ratio) == pytest.approx((64, 64), abs=0.05)
    assert frame.locator("#stage img:visible").count() == 1
    frame.click("[data-view=left]")
    frame.click(".frame:visible")
    frame.click(RIGHT)
    frame.wait_for_selector("#over")
    (vote,) = stored(study, observer, market).itertuples()
    assert (vote.side, vote.protocol, vote.flips, vote.pixel_ratio) == ("right", "flip", 2, ratio)


def test_a_preview_shows_consent_and_nothing_to_begin_with(opened):
    assignment = "ASSIGNMENT_ID_NOT_AVAILABLE"
    _, _, market, frame = opened(assignment=assignment, session=SHORT)
    assert "You will compare" in frame.text_content("#consent")
    assert "Accept the HIT to begin" in frame.text_content("#preview") and frame.is_visible("#preview")
    assert frame.locator("button:visible").count() == 0
    market.frame = market.frame.replace(f"assignmentId={assignment}&", "")
    frame.page.reload()  # without any parameter it is a preview too
    frame = frame.page.wait_for_selector("#question").content_frame()
    frame.wait_for_selector("#preview:visible")
    assert market.submitted == []


def test_answers_go_to_mturk_or_a_local_server_and_to_nobody_else(opened):
    """The address may come from anybody: what it names must not get the answers for the asking."""
    actions = {
        "": "https://www.mturk.com/mturk/externalSubmit",
        "https://workersandbox.mturk.com": "https://workersandbox.mturk.com/mturk/externalSubmit",
        "https://www.mturk.com/": "https://www.mturk.com/mturk/externalSubmit",
        "https://lab.example/w/abc/": "https://lab.example/w/abc/mturk/externalSubmit",
        "https://www.mturk.com.evil.example/": None,
        "https://www.mturk.com@evil.example/": None,
        "https://evil.example/?/w/": None,
        "javascript:alert(1)//w/": None,
        "//evil.example/w/": None,
    }
    _, _, market, frame = opened(session=SHORT)
    page = frame.page
    sent: list[str] = []

    def take(route) -> None:
        sent.append(route.request.url)
        route.fulfill(body="<p id=over>Submitted</p>", content_type="text/html")

    page.route(re.compile("^https:"), take)
    for n, (submit_to, action) in enumerate(actions.items()):
        address = f"assignmentId=3ASSIGNMENT{n}&turkSubmitTo={quote(submit_to, safe='')}"
        page.goto(f"http://127.0.0.1:{market.server_port}/q?{address}")
        page.click("#agree")
        page.click("#start")
        page.click(LEFT)
        page.wait_for_selector("#over" if action else "#not-sent:visible")
        if action is None:
            assert "not opened by MTurk" in page.text_content("#not-sent")
            assert page.locator("button:visible").count() == 0
        assert sent == ([action] if action else [])
        sent.clear()
    assert market.submitted == []


def test_a_list_of_trials_that_does_not_come_can_be_asked_for_again(opened):
    """No address of a browser can begin a session without it; images that fail can be asked for as on the page."""
    study, observer, market, frame = opened(session=SHORT)
    page = frame.page
    page.route("**/sessions/*", lambda route: route.abort())
    page.reload()
    frame = page.wait_for_selector("#question").content_frame()
    frame.wait_for_selector("#no-trials:visible")
    frame.click("#agree")
    assert frame.is_hidden("#instructions")
    page.unroute("**/sessions/*")
    page.route("**/*.png*", lambda route: route.abort())
    frame.click("#load")
    frame.click("#start")
    frame.wait_for_selector("#trouble:visible")
    page.unroute("**/*.png*")
    frame.click("#retry")
    frame.click(LEFT)
    frame.wait_for_selector("#over")
    assert len(stored(study, observer, market)) == 1


def test_what_cannot_be_sent_offline_is_kept_and_sent_later(opened):
    study, observer, market, frame = opened(session=SHORT)
    frame.click("#agree")
    frame.click("#start")
    frame.wait_for_selector(LEFT)
    frame.page.context.set_offline(True)
    frame.click(LEFT)
    frame.wait_for_selector("#not-sent:visible")
    assert "no connection" in frame.text_content("#not-sent") and market.submitted == []
    frame.page.context.set_offline(False)
    frame.click("#answers button")
    frame.wait_for_selector("#over")
    assert len(stored(study, observer, market)) == 1
