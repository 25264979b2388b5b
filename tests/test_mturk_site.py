"""The worker site over HTTP: links, tokens, forms, races, limits, what is refused and what is escaped."""

import re
import socket
import sqlite3
import threading
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from html import unescape
from http.client import HTTPConnection
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mturk_panel import FORM, Site, accept, external, frame_of, generous, html, post, publish, submit_address

from mturk.questions.answers import fields
from mturk.server import worklife
from mturk.server.invitations import invitation
from mturk.server.listening import serving
from mturk.server.rates import KEYS, Rate
from mturk.server.worker_site import Limits, create_site
from mturk.server.worklife import revoke_worker
from study.errors import InputError
from study.tokens import sign

PAGE = "https://study.example/page?study=7&name=a%26b#x"
HOSTILE = "\"'><script>alert(1)</script>&amp;\u202e{{ 7 * 7 }}"


@pytest.fixture
def site(tmp_path) -> Site:
    site = Site(tmp_path / "panel")
    yield site
    site.state.close()


def send(site: Site, path: str, **fields: object):
    """Submit from inside the iframe: without any cookie."""
    return site.app.test_client().post(path, data=fields)


def page_fields(answer) -> list[tuple[str, str]]:
    """The hidden fields of the form in a page."""
    found = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', answer.text)
    return [(unescape(name), unescape(value)) for name, value in found]


def statuses(site: Site) -> list[str]:
    return [row[0] for row in site.rows("SELECT status FROM assignments ORDER BY serial")]


def test_a_personal_link_signs_in_until_it_is_revoked(site):
    """The cookie is for this site alone; a revoked worker's link, cookie and open work are worth nothing."""
    hit = publish(site.state, external(PAGE))
    worker, client = site.worker()
    assignment = accept(client, hit)
    path = submit_address(client, assignment)
    answer = site.app.test_client().get(f"/{invitation(site.key, worker)}")
    assert answer.status_code == 303 and answer.headers["Location"] == "../"
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "SameSite=Lax" in cookie and "Secure" not in cookie and "Path=/;" in cookie
    assert client.get("/").status_code == 200
    revoke_worker(site.state, worker)
    assert client.get("/").status_code == 403 and "personal link" in client.get("/").text
    assert client.get(f"/{invitation(site.key, worker)}").status_code == 404
    assert send(site, path, assignmentId=assignment, a="1").status_code == 404 and statuses(site) == ["accepted"]


@pytest.mark.parametrize("path", ["/", "/earnings", "/messages", "/qualifications", "/hits/X", "/work/X"])
def test_nobody_sees_a_page_without_a_link(site, path):
    publish(site.state, external(PAGE))
    answer = site.app.test_client().get(path)
    assert answer.status_code == 403 and "Compare images" not in answer.text


def test_a_forged_link_is_no_link(site):
    """Neither another key's signature, nor one made for another purpose, nor somebody who never was."""
    worker, _ = site.worker()
    client = site.app.test_client()
    tokens = [
        sign("another key" * 4, "invitation", worker),
        sign(site.key, "submission", worker),
        sign(site.key, "invitation", "A0000000000000"),
        sign(site.key, "invitation", {"worker": worker}),
        invitation(site.key, worker)[6:-1],
        "x",
    ]
    for token in tokens:
        assert client.get(f"/enter/{token}").status_code == 404
    assert client.get("/").status_code == 403


def test_somebody_elses_link_asks_before_it_changes_the_worker(site):
    """A link in a stranger's message must not let work go to the stranger's account."""
    _, ada = site.worker("Ada")
    other, _ = site.worker("Bob")
    page = ada.get(f"/{invitation(site.key, other)}")
    assert "You are signed in as Ada" in page.text and "Ada" in ada.get("/").text
    assert ada.post(f"/{invitation(site.key, other)}").status_code == 403
    assert post(ada, f"/{invitation(site.key, other)}").status_code == 303
    assert "Bob" in ada.get("/").text


def test_every_form_needs_its_token(site):
    """Without one, with another visitor's, or with a wrong one nothing changes."""
    hit = publish(site.state, external(PAGE), places=3)
    _, ada = site.worker("Ada")
    _, bob = site.worker("Bob")
    for data in ({}, {"csrf": ""}, {"csrf": "-"}, {"csrf": "None"}):  # no page was shown yet, so no token is right
        assert ada.post(f"/hits/{hit}/accept", data=data).status_code == 403
    theirs = re.search(r'name="csrf" value="([^"]+)"', bob.get("/").text)[1]
    assignment = accept(ada, hit)
    for path in (f"/hits/{hit}/accept", f"/work/{assignment}/return", "/sign-out", "/qualifications/X/request"):
        for data in ({}, {"csrf": ""}, {"csrf": "-"}, {"csrf": theirs}):
            assert ada.post(path, data=data).status_code == 403
    assert statuses(site) == ["accepted"] and ada.get("/").status_code == 200
    assert post(ada, "/sign-out").status_code == 303 and ada.get("/").status_code == 403


@pytest.mark.parametrize(
    "name", ["%00", "..%2f..", "'--", "%ff%fe", "x" * 3000, "%F0%9F%8E%A8", "%0d%0aSet-Cookie:a=b"]
)
def test_odd_addresses_end_in_a_page(site, name):
    _, client = site.worker()
    for path in ("hits/{}", "work/{}", "work/{}/state", "qualifications/{}/test", "q/{}", "t/{}", "enter/{}", "{}"):
        answer = client.get("/" + path.format(name))
        assert answer.status_code in (200, 303, 404, 409) and "a=b" not in answer.headers.get("Set-Cookie", "")
    for path in ("hits/{}/accept", "work/{}/return", "qualifications/{}/request", "qualifications/{}/begin"):
        assert post(client, "/" + path.format(name)).status_code in (404, 405, 409)


def test_get_changes_nothing(site):
    hit = publish(site.state, external(PAGE))
    _, client = site.worker()
    for path in (f"/hits/{hit}/accept", "/work/X/return", "/sign-out", "/w/preview/mturk/externalSubmit"):
        assert client.get(path).status_code == 405
    assert statuses(site) == [] and client.get("/").status_code == 200


def test_an_external_page_is_told_what_mturk_tells_it(site):
    """Its own query stays; a preview says neither who looks nor where to submit."""
    hit = publish(site.state, external(PAGE, 700))
    worker, client = site.worker()
    preview = frame_of(client.get(f"/hits/{hit}"))
    own = {"study": ["7"], "name": ["a&b"]}
    assert preview.startswith("https://study.example/page?study=7&name=a%26b&assignmentId=")
    told = parse_qs(urlsplit(preview).query)
    assert told == own | {"assignmentId": ["ASSIGNMENT_ID_NOT_AVAILABLE"], "hitId": [hit]}
    assert urlsplit(preview).fragment == "x"
    assignment = accept(client, hit)
    page = client.get(f"/work/{assignment}")
    assert 'height="700"' in page.text
    told = parse_qs(urlsplit(frame_of(page)).query)
    to = told.pop("turkSubmitTo")[0]
    assert told == own | {"assignmentId": [assignment], "hitId": [hit], "workerId": [worker]}
    assert re.fullmatch(r"http://localhost/w/[A-Za-z0-9_.-]+", to)


def test_a_submission_is_stored_with_all_its_fields(site):
    """All but assignmentId as it was sent, without a cookie. The page then says what became of it."""
    hit = publish(site.state, external(PAGE))
    _, client = site.worker()
    assignment = accept(client, hit)
    assert client.get(f"/work/{assignment}/state").json == {"open": True}
    answer = send(
        site, submit_address(client, assignment), assignmentId=assignment, votes='[{"a": "<&>"}]', name="Zoë\r\n"
    )
    assert answer.status_code == 200 and "Your work was submitted" in answer.text
    [(stored,)] = site.rows("SELECT answer FROM assignments")
    assert '[{"a": "&lt;&amp;&gt;"}]' in stored and "Zoë" in stored and assignment not in stored
    assert client.get(f"/work/{assignment}/state").json == {"open": False}
    assert "Submitted. Thank you!" in client.get(f"/work/{assignment}").text
    assert "Waiting for approval" in client.get("/earnings").text


TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Cn"]), max_size=40)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(TEXT.filter(lambda name: name not in ("", "assignmentId")), TEXT), min_size=1, max_size=8))
def test_what_is_collected_is_what_was_sent(site, sent):
    """Any text, through the form, SQLite and XML, read again by the publisher's own reader; same names joined by |."""
    hit = publish(site.state, external(PAGE))
    _, client = site.worker()
    assignment = accept(client, hit)
    body = urlencode([("assignmentId", assignment), *sent])
    kind = "application/x-www-form-urlencoded"
    path = submit_address(client, assignment)
    assert site.app.test_client().post(path, data=body, content_type=kind).status_code == 200
    [(answer,)] = site.rows("SELECT answer FROM assignments WHERE hit = ?", hit)
    expected: dict[str, list[str]] = {}
    for name, value in sent:
        expected.setdefault(name, []).append(value)
    assert fields(answer) == {name: "|".join(values) for name, values in expected.items()}


def test_a_second_submission_changes_nothing(site):
    hit = publish(site.state, external(PAGE))
    _, client = site.worker()
    assignment = accept(client, hit)
    path = submit_address(client, assignment)
    assert send(site, path, assignmentId=assignment, a="first").status_code == 200
    before = site.rows("SELECT * FROM assignments")
    again = send(site, path, assignmentId=assignment, a="second")
    assert again.status_code == 409 and "already submitted" in again.text
    assert site.rows("SELECT * FROM assignments") == before


def test_two_submissions_at_once_are_one(site):
    hit = publish(site.state, external(PAGE))
    _, client = site.worker()
    assignment = accept(client, hit)
    path = submit_address(client, assignment)
    codes = together(lambda n: send(site, path, assignmentId=assignment, a=str(n)).status_code, 8)
    assert sorted(codes) == [200] + 7 * [409] and statuses(site) == ["submitted"]


def together(do, times: int) -> list:
    """What `do(0)`, `do(1)` ... answer that begin at the same moment."""
    barrier, results = threading.Barrier(times), [None] * times

    def run(n: int) -> None:
        barrier.wait()
        results[n] = do(n)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(times)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_of_workers_who_race_for_the_last_place_one_gets_it(site):
    hit = publish(site.state, external(PAGE), places=2)
    clients = [site.worker(f"W{n}")[1] for n in range(6)]
    codes = together(lambda n: post(clients[n], f"/hits/{hit}/accept").status_code, 6)
    assert sorted(codes) == [303] * 2 + [409] * 4 and statuses(site) == ["accepted"] * 2


def test_forged_and_borrowed_submissions_are_refused(site):
    """A token of another key or purpose, of a preview, of somebody else's assignment, of one that was returned."""
    hit = publish(site.state, external(PAGE), places=2)
    ada, client = site.worker("Ada")
    bob, other = site.worker("Bob")
    assignment, theirs = accept(client, hit), accept(other, hit)
    forged = [
        sign("another key" * 4, "submission", {"worker": ada, "assignment": assignment}),
        sign(site.key, "question", {"worker": ada, "assignment": assignment}),
        sign(site.key, "submission", assignment),
        sign(site.key, "submission", {"worker": ada}),
        sign(site.key, "submission", {"worker": "A0000000000000", "assignment": assignment}),
        "x",
    ]
    for token in forged:
        assert send(site, f"/w/{token}/mturk/externalSubmit", assignmentId=assignment, a="1").status_code == 404
    crossed = sign(site.key, "submission", {"worker": bob, "assignment": assignment})
    assert send(site, f"/w/{crossed}/mturk/externalSubmit", assignmentId=assignment, a="1").status_code == 409
    assert send(site, submit_address(other, theirs), assignmentId=assignment, a="1").status_code == 400
    assert send(site, "/w/preview/mturk/externalSubmit", assignmentId=assignment, a="1").status_code == 403
    assert statuses(site) == ["accepted", "accepted"]
    path = submit_address(client, assignment)
    assert post(client, f"/work/{assignment}/return").status_code == 303
    assert send(site, path, assignmentId=assignment, a="1").status_code == 409
    assert statuses(site) == ["returned", "accepted"]


def test_an_assignment_handed_on_is_the_new_workers_alone(site):
    """MTurk gives a returned assignment's id to the next worker: the first one's address must not submit it."""
    hit = publish(site.state, external(PAGE))
    _, ada = site.worker("Ada")
    _, bob = site.worker("Bob")
    assignment = accept(ada, hit)
    old = submit_address(ada, assignment)
    post(ada, f"/work/{assignment}/return")
    assert accept(bob, hit) == assignment
    assert send(site, old, assignmentId=assignment, a="1").status_code == 409
    assert ada.get(f"/work/{assignment}").status_code == 200 and "returned" in ada.get(f"/work/{assignment}").text
    assert post(ada, f"/work/{assignment}/return").status_code == 409
    assert statuses(site) == ["returned", "accepted"]


def test_other_peoples_assignments_are_not_shown(site):
    hit = publish(site.state, external(PAGE))
    _, ada = site.worker("Ada")
    _, bob = site.worker("Bob")
    assignment = accept(ada, hit)
    assert bob.get(f"/work/{assignment}").status_code == 409
    assert bob.get(f"/work/{assignment}/state").json == {"open": False}
    assert post(bob, f"/work/{assignment}/return").status_code == 409
    assert statuses(site) == ["accepted"] and "Compare images" not in bob.get("/earnings").text


def test_a_late_submission_is_refused(site):
    """At the deadline the place is free again; the page says so."""
    now = datetime(2026, 5, 1, 12, tzinfo=UTC)
    site.state.clock = lambda: now
    hit = publish(site.state, external(PAGE), duration_s=60)
    _, client = site.worker()
    assignment = accept(client, hit)
    path = submit_address(client, assignment)
    now += timedelta(seconds=59)
    assert 'data-seconds="1"' in client.get(f"/work/{assignment}").text
    now += timedelta(seconds=1)
    answer = send(site, path, assignmentId=assignment, a="1")
    assert answer.status_code == 409 and "time" in answer.text
    assert "The time is up" in client.get(f"/work/{assignment}").text and statuses(site) == ["abandoned"]


@pytest.mark.parametrize(
    "form, code",
    [
        ({}, 400),
        ({"a": "1"}, 400),
        ({"assignmentId": "ASSIGNMENT_ID_NOT_AVAILABLE", "a": "1"}, 400),
        ({"assignmentId": "MINE"}, 400),
        ({"assignmentId": ["MINE", "OTHER"], "a": "1"}, 400),
        ({"assignmentId": "MINE", "a": "x" * 1_100_000}, 413),
    ],
)
def test_a_submission_that_mturk_would_refuse_is_refused(site, form, code):
    hit = publish(site.state, external(PAGE))
    _, client = site.worker()
    assignment = accept(client, hit)
    path = submit_address(client, assignment)
    data = {
        name: [assignment if v == "MINE" else v for v in ([value] if isinstance(value, str) else value)]
        for name, value in form.items()
    }
    answer = site.app.test_client().post(path, data=data)
    assert answer.status_code == code and statuses(site) == ["accepted"]
    assert answer.headers["Content-Security-Policy"].startswith("sandbox;")


def test_strangers_html_is_served_in_an_origin_of_its_own(site):
    """Sandboxed by header and by iframe, with its parameters in its address, and submitting to this server."""
    both = FORM + FORM.replace("www", "workersandbox")
    hit = publish(site.state, html(f"{both}<a href='https://www.mturk.com/mturk/other'>"))
    worker, client = site.worker()
    assignment = accept(client, hit)
    page = client.get(f"/work/{assignment}")
    assert "allow-same-origin" not in page.text and 'sandbox="allow-scripts' in page.text
    address = frame_of(page)
    assert {"assignmentId", "hitId", "workerId", "turkSubmitTo"} == set(parse_qs(urlsplit(address).query))
    shown = site.app.test_client().get(address.removeprefix(".."))
    policy = shown.headers["Content-Security-Policy"]
    assert policy.startswith("sandbox ") and "allow-same-origin" not in policy and "top-navigation" not in policy
    assert "https://www.mturk.com/mturk/other" in shown.text
    assert shown.text.count("mturk.com/mturk/externalSubmit") == 0
    assert shown.text.count(f"action='http://localhost{submit_address(client, assignment)}'") == 2


def test_a_question_is_shown_to_its_worker_only(site):
    hit = publish(site.state, html(FORM), places=2)
    worker, client = site.worker()
    nobody = site.app.test_client()
    for about in (
        {"worker": "A0000000000000", "hit": hit, "assignment": None},
        {"worker": worker, "hit": hit},
        [worker, hit],
        hit,
    ):
        assert nobody.get(f"/q/{sign(site.key, 'question', about)}").status_code == 404
    unowned = sign(site.key, "question", {"worker": worker, "hit": hit, "assignment": "3" * 30})
    assert nobody.get(f"/q/{unowned}").status_code == 409
    preview = frame_of(client.get(f"/hits/{hit}")).removeprefix("..")
    assert "w/preview/mturk/externalSubmit" in nobody.get(preview).text
    revoke_worker(site.state, worker)
    assert nobody.get(preview).status_code == 404


def test_titles_and_names_are_text(site):
    """What requesters and whoever invites write appears as it was written, on every page."""
    hit = publish(site.state, external(PAGE), places=2, title=HOSTILE, description=HOSTILE, keywords=HOSTILE)
    worker, client = site.worker(HOSTILE)
    pages = [client.get("/"), client.get(f"/hits/{hit}")]
    assignment = accept(client, hit)
    pages.append(client.get(f"/work/{assignment}"))
    send(site, submit_address(client, assignment), assignmentId=assignment, a="1")
    with site.state.transaction() as connection:
        connection.execute("UPDATE assignments SET status = 'rejected', feedback = ?", [HOSTILE])
        connection.execute(
            "INSERT INTO bonuses (requester, hit, assignment, worker, bonus_cents, reason, at)"
            " VALUES ('lab', ?, ?, ?, 125, ?, 0)",
            [hit, assignment, worker, HOSTILE],
        )
        connection.execute(
            "INSERT INTO messages (requester, worker, subject, text, at) VALUES ('lab', ?, ?, ?, 0)",
            [worker, HOSTILE, HOSTILE],
        )
    pages += [client.get(f"/work/{assignment}"), client.get("/earnings"), client.get("/messages")]
    pages.append(client.get("/no/such/<script>alert(1)</script>"))
    for page in pages:
        assert "<script>alert" not in page.text and "{{ 7 * 7 }}" in page.text  # the name stands on every page
        assert "&lt;script&gt;alert(1)&lt;/script&gt;&amp;amp;" in page.text
    assert "$1.25" in pages[4].text


def test_headers_of_pages(site):
    """Its own pages are framed by nobody, run their own scripts alone, tell nobody their address, and are not kept."""
    hit = publish(site.state, external(PAGE))
    _, client = site.worker()
    for path in ("/", f"/hits/{hit}", "/earnings", "/nothing"):
        headers = client.get(path).headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
        assert headers["X-Frame-Options"] == "DENY" and headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cache-Control"] == "no-store" and headers["X-Content-Type-Options"] == "nosniff"
        assert "style=" not in client.get(path).text and not re.search(
            r"<script(?! type=\"module\" src=)", client.get(path).text
        )


@pytest.mark.parametrize("host", ["a b", "evil.example/x", 'x"y', "a@b", "[::1", "x:99999999", "é"])
def test_a_host_header_that_is_no_host_is_refused(site, host):
    _, client = site.worker()
    assert client.get("/", headers={"Host": host}).status_code == 400


def test_behind_a_proxy_addresses_and_cookie_are_the_public_ones(tmp_path):
    """And the proxy's word is taken for who asks, so that all do not share one limit."""
    site = Site(tmp_path / "panel", Limits(**generous() | {"address": (3, 0.001)}), public_url="https://lab.example/")
    hit = publish(site.state, external(PAGE))
    worker, _ = site.worker()
    client = site.app.test_client()
    seen = {"X-Forwarded-For": "192.0.2.1, 192.0.2.7"}
    answer = client.get(f"/{invitation(site.key, worker)}", base_url="https://localhost", headers=seen)
    assert "Secure" in answer.headers["Set-Cookie"] and answer.headers["Location"] == "../"
    assignment = worklife.accept(site.state, worker, hit)
    page = client.get(f"/work/{assignment}", base_url="https://localhost", headers=seen)
    to = parse_qs(urlsplit(frame_of(page)).query)["turkSubmitTo"][0]
    assert to.startswith("https://lab.example/w/")
    codes = [client.get("/", headers={"X-Forwarded-For": f"192.0.2.{n}"}).status_code for n in (7, 7, 8, 8)]
    assert codes == [200, 429, 200, 200]
    site.state.close()


@pytest.mark.parametrize("url", ["lab.example", "ftp://lab.example", "https://", "https://u@lab.example", "https://l/?q",
                                 "https://l/#f", "https://lab.example/panel", "https://lab.example/'"])  # fmt: skip
def test_a_public_url_that_is_none_is_said(site, url):
    with pytest.raises(InputError, match="--public-url"):
        create_site(site.state, site.key, url)


def test_too_many_requests_of_a_worker_or_an_address_answer_429(tmp_path):
    """And say when to come again. A worker's limit holds across browsers and inside the iframe; others go on."""
    site = Site(tmp_path / "panel", Limits(**generous() | {"worker": (3, 0.001)}))
    hit = publish(site.state, external(PAGE), places=5)
    worker, client = site.worker()
    _, other = site.worker("Bob")
    codes = [client.get("/").status_code for _ in range(4)]
    assert codes == [200, 200, 200, 429]
    answer = client.get("/")
    assert 0 < int(answer.headers["Retry-After"]) <= 1000 and "too many requests" in answer.text
    token = sign(site.key, "submission", {"worker": worker, "assignment": hit})
    answer = send(site, f"/w/{token}/mturk/externalSubmit", assignmentId=hit, a=HOSTILE)
    assert answer.status_code == 429 and page_fields(answer) == [("assignmentId", hit), ("a", HOSTILE)]
    assert "sandbox allow-forms;" in answer.headers["Content-Security-Policy"] and "<script" not in answer.text
    answer = send(site, f"/w/{token}/mturk/externalSubmit", assignmentId=hit, a="x" * 2**21)
    assert answer.status_code == 429 and page_fields(answer) == []  # would be refused as too long besides
    assert other.get("/").status_code == 200
    site.state.close()

    site = Site(tmp_path / "second", Limits(**generous() | {"address": (5, 0.001), "wrong_links": (2, 0.001)}))
    client = site.app.test_client()
    assert [client.get("/enter/x").status_code for _ in range(3)] == [404, 404, 429]
    assert [client.get("/").status_code for _ in range(3)] == [403, 403, 429]
    with client.get("/static/style.css") as style:
        assert style.status_code == 200
    assert client.get("/", environ_base={"REMOTE_ADDR": "192.0.2.7"}).status_code == 403
    site.state.close()


def test_a_rate_fills_again():
    """Three at once, then one every two seconds, worked by hand."""
    now = 0.0
    rate = Rate(3, 0.5, lambda: now)
    assert [rate.wait("a") for _ in range(4)] == [0, 0, 0, 2]
    assert rate.wait("b") == 0
    now = 1.0
    assert rate.wait("a") == 1
    now = 2.0
    assert [rate.wait("a"), rate.wait("a")] == [0, 2]
    now = 1000.0
    assert [rate.wait("a") for _ in range(4)] == [0, 0, 0, 2]


def test_a_flood_of_addresses_does_not_free_who_is_waiting():
    now = 0.0
    rate = Rate(2, 0.001, lambda: now)
    assert [rate.wait("busy") for _ in range(3)] == [0, 0, 1000]
    for n in range(3 * KEYS):
        assert rate.wait(f"visitor {n}") == 0
    assert rate.wait("busy") > 0 and len(rate._buckets) <= KEYS


def test_a_hit_that_one_does_not_qualify_for_says_why_and_is_not_accepted(site):
    us = {"QualificationTypeId": "00000000000000000071", "Comparator": "EqualTo", "LocaleValues": [{"Country": "US"}]}
    hit = publish(site.state, external(PAGE), requirements=[us])
    _, client = site.worker()
    page = client.get("/")
    assert "You do not qualify" in page.text and "US" in page.text and f"{hit}/accept" not in page.text
    assert "/accept" not in client.get(f"/hits/{hit}").text
    assert post(client, f"/hits/{hit}/accept").status_code == 409 and statuses(site) == []


def test_a_full_disk_is_said_and_nothing_is_half_done(site):
    """SQLite's own limit on the file's size stands for the disk."""
    hit = publish(site.state, external(PAGE), places=2)
    _, client = site.worker()
    assignment = accept(client, hit)
    path = submit_address(client, assignment)
    pages = site.rows("PRAGMA page_count")[0][0]
    site.rows(f"PRAGMA max_page_count = {pages}")
    answer = send(site, path, assignmentId=assignment, a="x" * 100_000)
    assert answer.status_code == 507 and "disk" in answer.text and statuses(site) == ["accepted"]
    assert page_fields(answer) == [("assignmentId", assignment), ("a", "x" * 100_000)]  # to send again
    site.rows(f"PRAGMA max_page_count = {pages + 1000}")
    assert send(site, path, assignmentId=assignment, a="x" * 100_000).status_code == 200


def test_idle_and_slow_connections_leave_room_for_others(site):
    """Sixty browsers keep six each; one of them has sent half a submission."""
    with serving(site.app) as url, ExitStack() as stack:
        place = urlsplit(url)
        for _ in range(360):
            idle = stack.enter_context(socket.create_connection((place.hostname, place.port)))
        idle.sendall(b"POST /w/x/mturk/externalSubmit HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf")
        connection = HTTPConnection(place.netloc, timeout=60)
        connection.request("GET", "/static/icon.svg")
        assert connection.getresponse().status == 200
        connection.close()


def test_a_busy_state_is_said(site):
    """Another process holds the file for longer than this one waits."""
    _, client = site.worker()
    site.state._connection.execute("PRAGMA busy_timeout = 1")
    other = sqlite3.connect(site.state.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        assert client.get("/").status_code == 503
    finally:
        other.execute("ROLLBACK")
        other.close()
    assert client.get("/").status_code == 200
