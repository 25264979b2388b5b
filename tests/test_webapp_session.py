"""A session over HTTP: joining, resuming, voting once, and what happens when answers cannot be stored."""

import json
import resource
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from joining import FORM, ticket, ticket_body

from study import tables
from study.errors import InputError
from study.folder import Study
from study.records import Judgment
from study.tokens import secret_key, sign
from study.votes import connect
from webapp.app import create_app
from webapp.serve import make_server, serving
from webapp.votes import main as export

ROOT = Path(__file__).parents[1]
TIME = "2026-05-01T12:00:00.000Z"


def vote_on(trial: str, side: str = "left", **changes: object) -> dict:
    vote = {"trial": trial, "side": side, "protocol": "flip", "shown_at": TIME, "loaded_at": TIME, "answered_at": TIME}
    vote |= {"flips": 3, "zoom": 2, "screen_width": 1280, "screen_height": 800, "pixel_ratio": 1.25}
    return vote | changes


def join(client, query: str = "", **form: str) -> str:
    """The address of a new session."""
    form.setdefault("ticket", client.get("/").text.split('name="ticket" value="')[1].split('"')[0])
    answer = client.post(f"/join{query}", data=form)
    assert answer.status_code == 303, answer.text
    return f"/{answer.headers['Location']}"


def answer_all(client, address: str, side: str = "left") -> int:
    votes = 0
    while trials := client.get(f"{address}/next").json["trials"]:
        assert client.post(f"{address}/vote", json=vote_on(trials[0]["id"], side)).status_code == 200
        votes += 1
    return votes


@pytest.fixture
def study(make_study) -> Study:
    return make_study()


@pytest.fixture
def client(study):
    return create_app(study).test_client()


def query(study: Study, statement: str) -> list:
    with connect(study.votes_path) as store:
        return [tuple(row) for row in store.execute(statement)]


def test_a_whole_session_is_stored_without_a_cookie(client, study):
    """Consent, join, instructions, practice, trials, thanks; every answer is a judgment that says what was chosen."""
    assert "I agree" in client.get("/?source=poster&room=W%261").text
    address = join(client, "?source=poster&room=W%261")
    page = client.get(address)
    assert page.status_code == 200 and "Set-Cookie" not in page.headers
    assert answer_all(client, address) == 8  # 1 for practice, 5 tests, 1 sentinel, 1 repeat
    assert query(study, "SELECT recruiter, simulator FROM observers") == [('{"room": "W&1", "source": "poster"}', None)]
    votes = study.all_judgments()
    assert list(votes["position"]) == list(range(8))
    assert not votes["simulated"].any() and votes["chosen"].isin(study.stimuli["id"]).all()
    row = votes.iloc[0]
    assert (row["protocol"], row["flips"], row["zoom"], row["pixel_ratio"]) == ("flip", 3, 2.0, 1.25)
    assert row["shown_at"] == TIME


def test_a_reload_resumes_at_the_next_unanswered_trial(client):
    address = join(client)
    first = client.get(f"{address}/next").json
    assert not first["started"] and client.get(f"{address}/next").json == first
    client.post(f"{address}/vote", json=vote_on(first["trials"][0]["id"]))
    again = client.get(f"{address}/next").json
    assert again["started"] and again["trials"][0] == first["trials"][1]


def test_a_second_submission_changes_nothing_and_is_acknowledged_the_same_way(client, study):
    address = join(client)
    trial = client.get(f"{address}/next").json["trials"][0]
    answers = [client.post(f"{address}/vote", json=vote_on(trial["id"], side)) for side in ("left", "right", "left")]
    assert {(a.status_code, a.text) for a in answers} == {(200, answers[0].text)}
    assert query(study, "SELECT side FROM votes") == [("left",)]


def test_practice_says_whether_the_answer_was_right_and_trials_do_not(client, study):
    address = join(client)
    practice, test = client.get(f"{address}/next").json["trials"]
    assert practice["practice"] and not test["practice"]
    [(triplet, left_is)] = query(study, "SELECT triplet, left_is FROM trials WHERE position = 0")
    row = study.triplets.set_index("id").loc[triplet]
    right_side = "left" if (row["expected"] == row["a"]) == (left_is == "a") else "right"
    assert client.post(f"{address}/vote", json=vote_on(practice["id"], right_side)).json["correct"] is True
    assert client.post(f"{address}/vote", json=vote_on(test["id"])).json == {"stored": True}


def test_a_join_form_sent_twice_joins_once(client, study):
    ticket = client.get("/").text.split('name="ticket" value="')[1].split('"')[0]
    assert join(client, ticket=ticket) == join(client, ticket=ticket)
    assert query(study, "SELECT count(*) FROM observers") == [(1,)]


def test_other_observers_trials_and_forged_addresses_do_not_exist(client, study):
    mine, other = join(client), join(client)
    trial = client.get(f"{other}/next").json["trials"][0]["id"]
    assert client.post(f"{mine}/vote", json=vote_on(trial)).status_code == 404
    assert client.post(f"{mine}/vote", json=vote_on("nothing")).status_code == 404
    start = mine.rindex(".") + 1  # of the signature; its last character has bits that say nothing
    forged = f"{mine[:start]}{'a' if mine[start] != 'a' else 'b'}{mine[start + 1 :]}"
    assert client.get(f"{forged}/next").status_code == 404
    assert client.get(f"/o/{sign(secret_key(study), 'join', '0' * 16)}").status_code == 404
    assert client.get("/i/" + "0" * 32).status_code == 404
    assert query(study, "SELECT count(*) FROM votes") == [(0,)]


@pytest.mark.parametrize(
    "change",
    [
        {"side": "middle"}, {"protocol": "x"}, {"shown_at": "yesterday"}, {"shown_at": "2026-05-01T12:00:00"},
        {"flips": -1}, {"flips": "3"}, {"zoom": 0}, {"zoom": 1e9}, {"screen_width": 0}, {"pixel_ratio": -1},
        {"trial": 5}, {"trial": "x" * 100}, {"extra": 1}, {"answered_at": None},
    ],
)  # fmt: skip
def test_a_bad_vote_is_refused_by_the_name_of_what_is_bad(client, study, change):
    address = join(client)
    trial = client.get(f"{address}/next").json["trials"][0]["id"]
    answer = client.post(f"{address}/vote", json=vote_on(trial) | change)
    assert answer.status_code == 400 and next(iter(change)) in answer.json["error"]
    assert query(study, "SELECT count(*) FROM votes") == [(0,)]


def test_what_is_no_vote_at_all_is_refused(client, study):
    address = join(client)
    for body in (b"", b"[]", b"{", b'"x"', b'{"zoom": NaN}', b"\xff"):
        assert client.post(f"{address}/vote", data=body).status_code == 400
    assert client.post(f"{address}/vote", data=b"x" * 100_000).status_code == 413
    assert client.get("/?" + "x" * 5000).status_code == 400
    assert client.post("/join?" + "x" * 5000, data=ticket(study)).status_code == 400


def test_the_study_completes_and_says_so(make_study):
    """7 test triplets, 3 votes each in sessions of 5: 5 sessions, then there is nothing left and newcomers are told."""
    study = make_study(photographs=1)
    client = create_app(study).test_client()
    sessions = 0
    while (location := client.post("/join", data=ticket(study)).headers["Location"]) != "complete":
        answer_all(client, f"/{location}")
        sessions += 1
    assert sessions == 5
    votes = study.all_judgments().merge(study.triplets, left_on="triplet", right_on="id")
    assert set(Counter(votes[votes["kind"] == "test"]["triplet"]).values()) == {3}
    assert client.get("/").headers["Location"] == "complete"
    assert "complete" in client.get("/complete").text


def test_trials_given_up_are_asked_again(client, study):
    """Who joined and went away keeps others waiting for two hours, and may still come back."""
    addresses = []
    while (location := client.post("/join", data=ticket(study)).headers["Location"]) != "complete":
        addresses.append(f"/{location}")
    with connect(study.votes_path) as store:
        store.execute("UPDATE observers SET joined_at = '2026-01-01T00:00:00.000Z'")
    assert answer_all(client, join(client)) == 8
    assert answer_all(client, addresses[0]) == 8


def test_places_that_are_taken_are_not_said_to_be_answered(client, study):
    """Sessions that nobody has answered yet fill the study, but do not complete it."""
    while client.post("/join", data=ticket(study)).headers["Location"] != "complete":
        pass
    assert client.get("/").status_code == 200
    assert "All places are taken at the moment" in client.get("/complete").text


def test_nobody_joins_without_the_consent_page(client, study):
    for form in ({}, {"ticket": "x"}, {"ticket": sign("another key", "join", "0" * 16)}):
        assert client.post("/join", data=form).status_code == 403
    assert query(study, "SELECT count(*) FROM observers") == [(0,)]


def test_an_address_whose_store_is_gone_is_not_thanked(client, study):
    address = join(client)
    for path in study.root.glob("votes.sqlite*"):
        path.unlink()
    assert client.get(address).status_code == 404
    assert client.get(f"{address}/next").status_code == 404


def test_a_large_request_is_refused_before_it_is_stored(study):
    with serving(create_app(study), study) as url:
        connection = HTTPConnection(urlsplit(url).netloc, timeout=60)
        connection.putrequest("POST", "/join")
        connection.putheader("Content-Length", str(10**9))
        connection.endheaders()
        assert connection.getresponse().status == 413
        connection.close()


def test_idle_and_slow_connections_leave_room_for_others(study):
    """Sixty browsers keep six each; one of them has sent half a vote."""
    with serving(create_app(study), study) as url, ExitStack() as stack:
        place = urlsplit(url)
        for _ in range(360):
            idle = stack.enter_context(socket.create_connection((place.hostname, place.port)))
        idle.sendall(b"POST /o/x/vote HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf")
        connection = HTTPConnection(place.netloc, timeout=60)
        connection.request("GET", "/")
        assert connection.getresponse().status == 200
        connection.close()


def test_a_study_with_bad_settings_is_not_served(study):
    study.settings_path.write_text(study.settings_path.read_text() + "\n[pagee]\n")
    with pytest.raises(InputError, match="unknown key pagee"):
        Study(study.root)


def test_serving_an_imported_study_keeps_its_votes(study, make_study):
    """judgments.parquet of an import stays part of the votes when a store stands beside it."""
    client = create_app(study).test_client()
    answer_all(client, join(client))
    other = make_study("other")
    tables.write(study.all_judgments(), other.judgments_path, Judgment)
    client = create_app(other).test_client()
    answer_all(client, join(client))
    export([str(other.root)])
    assert len(other.all_judgments()) == 16
    assert len(tables.read(other.judgments_path, Judgment)) == 16
    assert len(other.all_judgments()) == 16


def test_simulated_votes_leave_the_study_as_open_to_people_as_before(make_study):
    """A simulated observer needs the key's signature, is marked, and is counted apart."""
    study = make_study(photographs=1)
    client = create_app(study).test_client()
    assert client.post("/join", data={"simulator": '{"metric": "x"}'}).status_code == 403
    assert client.post("/join", data={"simulator": sign("another key", "simulator", {})}).status_code == 403
    claim = sign(secret_key(study), "simulator", {"metric": "x"})
    while (location := client.post("/join", data={"simulator": claim}).headers["Location"]) != "complete":
        answer_all(client, f"/{location}")
    votes = study.all_judgments()
    assert votes["simulated"].all() and set(votes["simulator"]) == {'{"metric": "x"}'}
    assert answer_all(client, join(client)) == 8


def test_the_page_texts_are_escaped_paragraphs(make_study):
    study = make_study(page={"consent": "First <b>.\n\nSecond & last.", "title": "<i>"})
    text = create_app(study).test_client().get("/").text
    assert "<p>First &lt;b&gt;.</p>" in text and "<p>Second &amp; last.</p>" in text and "<i>" not in text


def test_the_key_is_the_studys_own_and_private(make_study):
    keys = [secret_key(make_study(name)) for name in ("one", "two")]
    assert keys[0] != keys[1] and len(keys[0]) == 64
    study = make_study("three")
    assert secret_key(study) == secret_key(study)
    assert (study.root / "secret.key").stat().st_mode & 0o777 == 0o600
    (study.root / "secret.key").write_text("")
    with pytest.raises(InputError, match="secret.key"):
        create_app(study)


@pytest.mark.parametrize("choice", ["fewest", "active"])
def test_concurrent_joins_keep_sides_balanced_exactly(make_study, choice):
    """24 observers join from 8 connections at once; for no triplet do the sides differ by more than one."""
    size = {"trials": 7, "sentinels": 1, "repeats": 1, "practice": 1, "votes_per_triplet": 8}
    study = make_study(session={**size, "choice": choice})
    statuses = []

    def come(url: str) -> None:
        connection = HTTPConnection(urlsplit(url).netloc, timeout=60)
        for _ in range(3):
            connection.request("POST", "/join", ticket_body(study), FORM)
            response = connection.getresponse()
            response.read()
            statuses.append((response.status, response.getheader("Location", "")[:2]))
        connection.close()

    with serving(create_app(study), study) as url:
        threads = [threading.Thread(target=come, args=(url,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert statuses == [(303, "o/")] * 24
    sides = query(study, "SELECT sum(left_is = 'a'), sum(left_is = 'b'), kind, count(*) FROM trials GROUP BY triplet")
    assert all(abs(a - b) <= 1 for a, b, _, _ in sides)
    assert {n for _, _, kind, n in sides if kind == "test"} == {8}


class Server:
    """`eyetune serve` as a process of its own."""

    def __init__(self, study: Study, **options) -> None:
        command = [sys.executable, "-m", "eyetune", "serve", str(study.root), "--port", "0"]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
        )
        assert self.process.stdout
        self.first_line = self.process.stdout.readline()
        line = self.process.stdout.readline()
        assert line.startswith("http://"), self.process.communicate()
        self.connection = HTTPConnection(urlsplit(line.split()[0]).netloc, timeout=60)

    def ask(self, method: str, path: str, value: object = None, form: str | None = None) -> tuple[int, str, str]:
        self.connection.request(method, path, form if value is None else json.dumps(value), FORM if form else {})
        response = self.connection.getresponse()
        return response.status, response.getheader("Location", ""), response.read().decode()

    def end(self, how: signal.Signals) -> tuple[int, str]:
        self.connection.close()
        self.process.send_signal(how)
        _, errors = self.process.communicate(timeout=30)
        return self.process.returncode, errors


def test_kill_between_votes_loses_nothing_that_was_acknowledged(study):
    """kill -9 after three votes: three votes, the same session goes on, and Ctrl-C then ends with 130."""
    server = Server(study)
    assert "0 human votes and 0 simulated" in server.first_line
    address = "/" + server.ask("POST", "/join", form=ticket_body(study))[1]
    for _ in range(3):
        trial = json.loads(server.ask("GET", f"{address}/next")[2])["trials"][0]["id"]
        assert server.ask("POST", f"{address}/vote", vote_on(trial))[0] == 200
    assert server.end(signal.SIGKILL)[0] == -signal.SIGKILL
    assert query(study, "SELECT count(*) FROM votes") == [(3,)]

    server = Server(study)
    assert "3 human votes" in server.first_line
    trials = json.loads(server.ask("GET", f"{address}/next")[2])["trials"]
    assert trials[0]["position"] == 3
    status, errors = server.end(signal.SIGINT)
    assert status == 130 and len(errors.splitlines()) == 1


def test_a_vote_that_cannot_be_stored_is_not_acknowledged(study):
    """No file may grow any more: 507, the server goes on, and what it had acknowledged is there."""
    limit = 400_000  # bytes; the store's write-ahead log reaches it after some votes

    def forbid_growth() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    server = Server(study, preexec_fn=forbid_growth)
    acknowledged, refused = 0, None
    while refused is None:
        status, location, text = server.ask("POST", "/join", form=ticket_body(study))
        if status == 507:
            refused = text
            break
        address = f"/{location}"
        while trials := json.loads(server.ask("GET", f"{address}/next")[2])["trials"]:
            status, _, text = server.ask("POST", f"{address}/vote", vote_on(trials[0]["id"]))
            if status == 507:
                refused = text
                break
            assert status == 200
            acknowledged += 1
    assert "cannot store" in refused
    assert server.ask("GET", "/complete")[0] == 200
    server.end(signal.SIGKILL)
    assert query(study, "SELECT count(*) FROM votes") == [(acknowledged,)]


def test_a_study_that_cannot_be_shown_is_refused(make_study):
    study = make_study("altered")
    Path(study.images.place(study.stimuli["sha256"][0])).write_bytes(b"another image")
    with pytest.raises(InputError, match="was altered"):
        create_app(study)
    study = make_study("empty")
    study.triplets_path.unlink()
    with pytest.raises(InputError, match="no triplets yet"):
        create_app(Study(study.root))
    study = make_study("store")
    study.votes_path.write_bytes(b"not a database, but long enough to be looked at" * 100)
    with pytest.raises(InputError, match="not a readable vote store"):
        create_app(study)


def test_a_port_that_cannot_be_had_is_one_line(client, study):
    app = client.application
    with serving(app, study) as url:
        with pytest.raises(InputError, match="is in use; choose another"):
            make_server(app, "127.0.0.1", urlsplit(url).port)
    with pytest.raises(InputError, match="from 0 to 65535"):
        make_server(app, "127.0.0.1", 70000)
    for host in ("no.such.host.invalid", f"{64 * 'x'}.invalid"):  # a part of a name has 63 characters at most
        with pytest.raises(InputError, match="no such host"):
            make_server(app, host, 0)


def test_sqlite_errors_of_other_kinds_are_not_hidden(client, study):
    with connect(study.votes_path) as store:
        store.execute("DROP TABLE votes")
    client.application.testing = True
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        client.get("/")
