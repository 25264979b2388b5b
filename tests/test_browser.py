"""The voting page in a real Chromium: by keyboard, by mouse, reloaded, on a phone, pixel by pixel, with faults."""

import io
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from study.folder import Study
from study.images import encode_png
from study.votes import connect
from webapp.app import create_app
from webapp.serve import serving

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
DESK = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}
LEFT, RIGHT = "#choose-left:enabled", "#choose-right:enabled"


def missing(what: str) -> None:
    """Skip by name; a failure where EYETUNE_REQUIRE_BROWSER is set."""
    if os.environ.get("EYETUNE_REQUIRE_BROWSER"):
        pytest.fail(f"EYETUNE_REQUIRE_BROWSER is set, but {what}")
    pytest.skip(what)


@pytest.fixture(scope="module")
def chromium() -> Iterator:
    if not CHROMIUM.exists():
        missing(f"{CHROMIUM} is missing; get it with: apt-get install chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("playwright is missing; get it with: pip install playwright")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium, make_study) -> Iterator[Callable]:
    """`visit(viewport, ratio, **sections)`: (study, page) with a new session's instructions on display."""
    with ExitStack() as stack:

        def visit(viewport: dict = DESK, ratio: float = 1, **sections) -> tuple:
            study = make_study(**sections)
            url = stack.enter_context(serving(create_app(study), study))
            context = chromium.new_context(viewport=viewport, device_scale_factor=ratio)
            stack.callback(context.close)
            page = context.new_page()
            page.set_default_timeout(15_000)
            problems: list[str] = []
            page.on("pageerror", lambda error: problems.append(str(error)))
            stack.callback(lambda: pytest.fail(problems[0]) if problems else None)
            page.goto(f"{url}?source=test")
            page.get_by_role("button", name="I agree").click()
            page.wait_for_selector("#start")
            return study, page

        yield visit


def votes_of(study: Study):
    return study.all_judgments().sort_values("position")


def progress(page) -> str:
    return page.text_content("#progress")


def next_one(page, before: str) -> None:
    """Wait for what comes after the trial that showed `before`."""
    page.wait_for_function(
        "b => document.getElementById('progress').textContent !== b || !document.getElementById('thanks').hidden",
        arg=before,
    )


def test_a_whole_session_by_keyboard(visit):
    """Practice with feedback, then right and left by arrow keys; a key held down answers once."""
    study, page = visit()
    page.keyboard.press("Enter")  # the start button has the focus
    page.wait_for_selector(LEFT)
    assert progress(page) == "Practice 1 of 1"
    page.keyboard.press("ArrowLeft")
    page.wait_for_selector("#feedback:visible")
    assert page.text_content("#verdict").startswith(("✓", "✗"))
    page.keyboard.press("Enter")
    shown = []
    for key in ("ArrowRight", "ArrowLeft") * 3 + ("ArrowRight",):
        page.wait_for_selector(LEFT)
        shown.append(progress(page))
        page.keyboard.down(key)
        page.keyboard.down(key)  # repeats while it is held
        next_one(page, shown[-1])
        page.keyboard.down(key)
        page.keyboard.up(key)
    page.wait_for_selector("#thanks:visible")
    assert "Thank you" in page.text_content("#thanks")
    assert shown == [f"{n} of 7" for n in range(1, 8)]
    votes = votes_of(study)
    assert list(votes["side"]) == ["left", *("right", "left") * 3, "right"]
    assert set(votes["protocol"]) == {"side-by-side"} and set(votes["zoom"]) == {1.0}
    assert set(votes["screen_width"]) == {1280} and set(votes["pixel_ratio"]) == {1.0}
    assert (votes["shown_at"] <= votes["loaded_at"]).all() and (votes["loaded_at"] <= votes["answered_at"]).all()
    page.reload()
    page.wait_for_selector("#thanks:visible")


def test_a_whole_session_by_mouse(visit):
    """By buttons and by the images themselves; a double click answers once."""
    study, page = visit()
    page.click("#start")
    page.click(LEFT)
    page.click("#continue")
    for n, target in enumerate([LEFT, RIGHT, "[data-role=right] img", "[data-role=left] img", RIGHT, LEFT, RIGHT]):
        page.wait_for_selector(LEFT)
        before = progress(page)
        assert before == f"{n + 1} of 7"
        page.click(target, click_count=2 if n < 2 else 1)
        next_one(page, before)
    page.wait_for_selector("#thanks:visible")
    sides = ["left", "left", "right", "right", "left", "right", "left", "right"]
    assert list(votes_of(study)["side"]) == sides


def test_a_reload_in_the_middle_goes_on_where_it_stopped(visit):
    study, page = visit()
    page.click("#start")
    page.click(LEFT)
    page.wait_for_selector("#feedback:visible")
    for answered in (0, 1):
        page.reload()
        page.wait_for_selector(LEFT)
        assert progress(page) == f"{answered + 1} of 7"
        page.keyboard.press("ArrowRight")
        next_one(page, f"{answered + 1} of 7")
    assert len(votes_of(study)) == 3


def test_flip_needs_a_look_at_all_three(visit):
    """Choosing opens after both images and the reference were in view; keys, holding space, buttons, flips counted."""
    study, page = visit(page={"protocol": "flip"})
    page.click("#start")
    page.wait_for_selector("[data-view=left]:enabled")

    def in_view() -> str:
        return page.get_attribute("figure.in-view", "data-role")

    assert page.locator("#stage img:visible").count() == 1 and in_view() == "reference"
    page.keyboard.press("1")
    assert in_view() == "left"
    page.wait_for_timeout(400)
    page.keyboard.press("ArrowLeft")
    assert page.is_disabled("#choose-left") and "before you choose" in page.text_content("#hint")
    page.keyboard.press("2")
    assert in_view() == "right"
    page.wait_for_selector(LEFT)
    page.keyboard.down(" ")
    assert in_view() == "reference"
    page.keyboard.up(" ")
    assert in_view() == "right"
    page.keyboard.press("ArrowLeft")
    page.wait_for_selector("#feedback:visible")
    page.keyboard.press("Enter")
    page.click("[data-view=right]:enabled")
    page.click("[data-view=left]")
    page.click("[data-view=reference]")
    page.click(RIGHT)
    next_one(page, "1 of 7")
    votes = votes_of(study)
    assert list(votes["side"]) == ["left", "right"] and list(votes["flips"]) == [4, 3]
    assert set(votes["protocol"]) == {"flip"}


def test_a_phone_is_shown_the_flip_protocol_and_says_so(visit):
    """A study of side-by-side trials in a window too narrow for it; nothing is wider than the window."""
    study, page = visit(PHONE, 3, session={"trials": 2, "sentinels": 0, "repeats": 0, "practice": 1})
    page.click("#start")
    for n in range(3):
        page.click("[data-view=left]:enabled")
        page.click(".frame:visible")  # a tap changes between the two images
        before = progress(page)
        page.click(LEFT)
        if n == 0:
            page.click("#continue")
        next_one(page, before)
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    page.wait_for_selector("#thanks:visible")
    assert set(votes_of(study)["protocol"]) == {"flip"}


@pytest.mark.parametrize("ratio", [1, 1.5, 2, 2.625])
def test_one_image_pixel_is_exactly_zoom_device_pixels(visit, ratio):
    """Boxes times the pixel ratio are the natural size times the zoom; on the screen stand the image's own pixels."""
    study, page = visit(ratio=ratio)
    page.click("#start")
    page.wait_for_selector(LEFT)
    trial = page.evaluate("fetch(location.pathname + '/next').then(r => r.json())")["trials"][0]
    data = page.request.get(page.url.rsplit("/", 1)[0] + f"/{trial['left']}").body()
    pixels = np.array(Image.open(io.BytesIO(data)))
    for zoom in (1, 2, 3):
        for role in ("left", "reference", "right"):
            box = page.locator(f"[data-role={role}] img").bounding_box()
            assert (box["width"] * ratio, box["height"] * ratio) == pytest.approx((64 * zoom, 64 * zoom), abs=0.05)
        shot = np.array(Image.open(io.BytesIO(page.screenshot())).convert("RGB"))
        box = page.locator("[data-role=left] img").bounding_box()
        x, y, side = round(box["x"] * ratio), round(box["y"] * ratio), 64 * zoom
        enlarged = pixels.repeat(zoom, axis=0).repeat(zoom, axis=1)
        near = [(y + dy, x + dx) for dy in range(-2, 3) for dx in range(-2, 3)]  # a box may begin between pixels
        assert any(np.array_equal(shot[v : v + side, u : u + side], enlarged) for v, u in near)
        page.keyboard.press("+")
    assert page.text_content("#zoom-now") == "4×"


def test_enlarged_images_scroll_together(visit):
    """64 pixels at zoom 8 in a small window: the frames show the same part, and the vote says the zoom."""
    study, page = visit({"width": 700, "height": 560})
    page.click("#start")
    page.wait_for_selector(LEFT)
    for _ in range(9):
        page.keyboard.press("+")
    assert "Scroll" in page.text_content("#hint")
    page.evaluate("document.querySelector('[data-role=left] .frame').scrollTo(120, 90)")
    page.wait_for_function("() => document.querySelector('[data-role=right] .frame').scrollTop === 90")
    assert page.evaluate("document.querySelector('[data-role=reference] .frame').scrollLeft") == 120
    page.keyboard.press("ArrowLeft")
    page.wait_for_selector("#feedback:visible")
    assert list(votes_of(study)["zoom"]) == [8.0]


def test_images_that_do_not_come_can_be_asked_for_again(visit):
    """While one of three is missing none is shown and nothing can be chosen; the retry shows all."""
    study, page = visit()
    page.reload()
    page.route("**/i/*", lambda route: route.abort())
    page.click("#start")
    page.reload()
    page.click("#start")
    page.wait_for_selector("#trouble:visible")
    assert "did not load" in page.text_content("#trouble-text")
    page.keyboard.press("ArrowLeft")
    assert page.locator("#stage img").count() == 0 and page.is_disabled("#choose-left")
    page.unroute("**/i/*")
    page.click("#retry")
    page.wait_for_selector(LEFT)
    assert page.locator("#stage img:visible").count() == 3 and page.is_hidden("#trouble")
    assert len(votes_of(study)) == 0


def test_images_that_hang_are_given_up_after_a_bounded_wait(visit):
    _, page = visit()
    page.clock.install()
    held: list = []
    page.route("**/i/*", lambda route: held.append(route))  # not answered
    page.reload()
    page.click("#start")
    page.wait_for_selector("#loading:visible")
    page.clock.run_for(29_000)
    assert page.is_hidden("#trouble")
    page.clock.run_for(2_000)
    page.wait_for_selector("#trouble:visible")
    for route in held:
        route.abort()


def test_a_damaged_image_is_not_shown(visit):
    """An image of another size than the trial says, as a proxy that recompresses might send."""
    _, page = visit()

    small = encode_png(np.zeros((32, 32, 3), dtype=np.uint8))
    page.route("**/i/*", lambda route: route.fulfill(body=small, content_type="image/png"))
    page.reload()
    page.click("#start")
    page.wait_for_selector("#trouble:visible")
    assert page.locator("#stage img").count() == 0


def test_a_vote_is_sent_again_until_it_is_stored(visit):
    """A lost answer, a full disk: the page says so and goes on only when the vote is acknowledged."""
    study, page = visit()
    page.click("#start")
    tries = []

    def fail_twice(route) -> None:
        tries.append(route.request.post_data_json["trial"])
        if len(tries) == 1:
            route.abort()
        elif len(tries) == 2:
            route.fulfill(status=507, json={"error": "The server cannot store answers at the moment."})
        else:
            route.continue_()

    page.route("**/vote", fail_twice)
    page.click(LEFT)
    page.wait_for_selector("#trouble:visible")
    assert "not stored yet" in page.text_content("#trouble-text")
    assert page.is_disabled("#choose-right")
    page.click("#retry")
    page.wait_for_function("() => document.getElementById('trouble-text').textContent.includes('cannot store')")
    page.click("#retry")
    page.wait_for_selector("#feedback:visible")
    assert page.is_hidden("#trouble") and len(set(tries)) == 1 and len(tries) == 3
    assert len(votes_of(study)) == 1


def test_the_page_asks_nothing_of_other_hosts_and_keeps_no_cookie(visit):
    study, page = visit()
    hosts = set()
    page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    page.reload()
    page.click("#start")
    page.wait_for_selector(LEFT)
    assert hosts == {urlsplit(page.url).netloc}
    assert page.context.cookies() == [] and page.evaluate("document.referrer") == ""
    with connect(study.votes_path) as store:
        assert store.execute("SELECT recruiter FROM observers").fetchone()[0] == '{"source": "test"}'
