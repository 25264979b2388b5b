"""Whom a recruiter sends: one session each, resumed by whatever task, and an end that only stored votes bring about."""

import json
import re
import threading
from http.client import HTTPConnection
from urllib.parse import urlencode, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joining import FORM, ticket, ticket_body

from study.errors import InputError
from study.folder import Study
from study.recruits import PERSONAL_CODES, completion_code, personal_code, read_arrival, typed_code
from study.tokens import secret_key, sign, unsign
from study.votes import connect
from webapp.app import create_app
from webapp.serve import serving

KEY = "0123456789abcdef" * 4
TIME = "2026-05-01T12:00:00.000Z"
LOCAL = "http://127.0.0.1:8003/w/WyJBIl0.c2ln-na_ture"
LIVE = "https://www.mturk.com"
SANDBOX = "https://workersandbox.mturk.com"
HEXES = ("5f" * 12, "6a" * 12, "7b" * 12)


def mturk(worker: str = "AWORKER1", assignment: str = "ASSIGNMENT1", submit_to: str = LOCAL, hit: str = "HIT1") -> dict:
    return {"assignmentId": assignment, "hitId": hit, "workerId": worker, "turkSubmitTo": submit_to}


def prolific(person: str = HEXES[0], session: str = HEXES[2]) -> dict:
    return {"PROLIFIC_PID": person, "STUDY_ID": HEXES[1], "SESSION_ID": session}


PREVIEW = {"assignmentId": "ASSIGNMENT_ID_NOT_AVAILABLE", "hitId": "HIT1"}


@pytest.fixture
def study(make_study) -> Study:
    return make_study()


@pytest.fixture
def client(study):
    return create_app(study).test_client()


def rows(study: Study, columns: str = "channel, market, person, task, place, observer IS NOT NULL, outcome") -> list:
    with connect(study.votes_path) as store:
        return [tuple(row) for row in store.execute(f"SELECT {columns} FROM recruits ORDER BY rowid")]


def observers(study: Study) -> int:
    with connect(study.votes_path) as store:
        return store.execute("SELECT count(*) FROM observers").fetchone()[0]


def begin(client, study: Study, query: dict) -> str:
    """The address of the session, by the consent page's form where there is one."""
    first = client.get("/", query_string=query)
    if first.status_code == 303:
        return f"/{first.headers['Location']}"
    assert "I agree" in first.text, first.text
    action = re.search(r'action="([^"]*)"', first.text)[1].replace("&amp;", "&")
    answer = client.post(f"/{action}", data=ticket(study))
    assert answer.status_code == 303, answer.text
    return f"/{answer.headers['Location']}"


def part(address: str, name: str) -> str:
    """The address of `next`, `vote` or `end` of a session."""
    path, _, query = address.partition("?")
    return f"{path}/{name}?{query}"


def vote(client, address: str, trial: dict, side: str = "left"):
    sent = {"trial": trial["id"], "side": side, "protocol": "flip", "flips": 0, "zoom": 1}
    sent |= dict.fromkeys(("shown_at", "loaded_at", "answered_at"), TIME)
    sent |= dict.fromkeys(("screen_width", "screen_height", "pixel_ratio"))
    return client.post(part(address, "vote"), json=sent)


def answer(client, address: str, most: int = 1000) -> int:
    """Answer up to so many trials; the practice rightly."""
    given = 0
    while given < most and (trials := client.get(part(address, "next")).json["trials"]):
        assert vote(client, address, trials[0], right_side(client, trials[0])).status_code == 200
        given += 1
    return given


def right_side(client, trial: dict, wrong: bool = False) -> str:
    known = client.application.extensions["material"]
    with connect(known.study.votes_path) as store:
        row = store.execute("SELECT * FROM trials WHERE id = ?", [trial["id"]]).fetchone()
    triplet = known.triplets[row["triplet"]]
    a_is_right = triplet.expected in (None, triplet.a)
    return "left" if ((row["left_is"] == "a") == a_is_right) != wrong else "right"


def done_token(text: str) -> str:
    return re.search(r'name="eyetune" value="([^"]*)"', text)[1]


def observer_of(study: Study, address: str) -> str:
    return unsign(secret_key(study), "observer", address.removeprefix("/o/").partition("?")[0])


# What an address says


def test_the_three_recruiters_are_known_by_their_parameters():
    """MTurk in its three markets, Prolific, a code however it is typed; other parameters are nobody's."""
    for submit_to, market in [(LOCAL, "local"), (SANDBOX, "sandbox"), (LIVE, "live"), (f"{LIVE}/", "live")]:
        arrival = read_arrival(mturk(submit_to=submit_to), KEY)
        assert (arrival.channel, arrival.market, arrival.person) == ("mturk", market, "AWORKER1")
        assert (arrival.task, arrival.place) == ("ASSIGNMENT1", "HIT1")
        assert arrival.submit_to == submit_to.rstrip("/") and not arrival.preview
    arrival = read_arrival(prolific(), KEY)
    assert (arrival.channel, arrival.person, arrival.place, arrival.task) == ("prolific", *HEXES)
    assert read_arrival(prolific(HEXES[0].upper()), KEY) == arrival
    assert read_arrival(PREVIEW, KEY).preview and read_arrival(PREVIEW | {"turkSubmitTo": "x"}, KEY).preview
    assert read_arrival({name: f"{{{{%{name}%}}}}" for name in prolific()}, KEY).preview
    assert read_arrival({}, KEY) is None and read_arrival({"source": "poster"}, KEY) is None


@given(st.integers(0, PERSONAL_CODES - 1))
def test_a_personal_code_is_read_as_people_type_it(number):
    """Small letters, spaces for hyphens, O for 0, I and L for 1."""
    code = personal_code(KEY, number)
    assert re.fullmatch(r"([0-9A-HJKMNP-TV-Z]{4}-){3}[0-9A-HJKMNP-TV-Z]{4}", code)
    typed = " " + code.lower().replace("-", " ").replace("0", "o").replace("1", "l") + " "
    arrival = read_arrival({"code": typed}, KEY)
    assert arrival.person == arrival.task == code == typed_code(typed)


def test_codes_are_the_keys_own_and_all_different():
    codes = {personal_code(KEY, number) for number in range(2000)}
    assert len(codes) == 2000 and not codes & {personal_code(KEY[::-1], number) for number in range(2000)}
    assert len({code[5:] for code in codes}) == 2000
    assert completion_code(KEY, "a" * 16) != completion_code(KEY, "b" * 16) != completion_code(KEY[::-1], "b" * 16)
    for number in (-1, PERSONAL_CODES):
        with pytest.raises(InputError, match="personal code"):
            personal_code(KEY, number)


CODE = personal_code(KEY, 7)
HOSTILE = [
    {"code": ""}, {"code": CODE[:-1]}, {"code": CODE + "0"}, {"code": personal_code(KEY[::-1], 7)},
    {"code": "0008" + CODE[4:]}, {"code": "\u0660" * 16}, {"code": "x" * 3000}, {"code": "ſſſſ" * 4},
    {"assignmentId": "A1"}, {"workerId": "A1"}, {"turkSubmitTo": LIVE}, mturk(worker=""), mturk(worker="BWORKER"),
    mturk(worker="A"), mturk(worker="Aworker"), mturk(worker="A1\n"), mturk(worker="A" * 65), mturk(assignment="a-1"),
    mturk(assignment="' OR 1=1 --"), mturk(assignment="<script>"), mturk(hit="../x"), mturk(hit="\u0391"),
    {"PROLIFIC_PID": HEXES[0]}, prolific("5f" * 11), prolific("5g" * 12), prolific(session="x"),
    mturk() | prolific(), mturk() | {"code": CODE}, PREVIEW | {"code": CODE},
]  # fmt: skip
SUBMIT_TO = [
    "", "https://evil.example", "https://www.mturk.com.evil.example", "https://www.mturk.com@evil.example",
    "http://www.mturk.com", "https://WWW.mturk.com", "//www.mturk.com", "https://www.mturk.com/x", "javascript:1",
    "https://evil.example/x/w/", "https://evil.example?/w/a", "https://a@b/w/a", "http://h/w/", "http://h/w/a;b",
    "http://h/w/a b", "http://h/w/a,b", "http://h/w/a'b", 'http://h/w/a"b', "http://h/w/a#b", "http://h/w/a?b",
    "http://h/w/a/../b", "http://h/w/a%2f", "http://h:99999999/w/a", "http://h\n/w/a", "http://h/w/a\n",
    "ftp://h/w/a", "http://[::1]:8003/w/a", " http://h/w/a",
]  # fmt: skip


@pytest.mark.parametrize("query", [*HOSTILE, *(mturk(submit_to=address) for address in SUBMIT_TO)])
def test_what_cannot_be_genuine_is_refused_before_anything_is_stored(query, make_study):
    """A page with status 400 that says what is wrong, its values escaped; on joining as well."""
    with pytest.raises(InputError) as problem:
        read_arrival(query, KEY)
    assert len(str(problem.value).splitlines()) == 1 and len(str(problem.value)) < 300


def test_hostile_addresses_get_a_page_that_is_not_theirs(client, study):
    for query in [*HOSTILE, *(mturk(submit_to=address) for address in SUBMIT_TO)]:
        for answered in (
            client.get("/", query_string=query),
            client.post(f"/join?{urlencode(query)}", data=ticket(study)),
            client.get("/complete", query_string=query),
        ):
            assert answered.status_code == 400 and "Please" in answered.text
            assert "<script>" not in answered.text and "evil.example" not in str(answered.headers)
    assert rows(study) == [] and observers(study) == 0


# One session a person


def test_the_same_task_goes_on_with_its_session_from_anywhere(client, study):
    """A reload, another browser without cookies, and the same after the end: one observer, one row."""
    address = begin(client, study, mturk())
    answer(client, address, 3)
    other = create_app(study).test_client()
    assert begin(other, study, mturk()) == address
    assert other.get(part(address, "next")).json["trials"][0]["position"] == 3
    answer(other, address)
    assert begin(client, study, mturk()) == address
    assert observers(study) == 1
    assert rows(study) == [("mturk", "local", "AWORKER1", "ASSIGNMENT1", "HIT1", 1, "finished")]
    [(arrived, ended)] = rows(study, "arrived_at, ended_at")
    assert arrived < ended


def test_a_person_who_returned_the_hit_goes_on_with_another_task(client, study):
    """The session is the same, the new task is bound to it, and the task that ends it is the one that is finished."""
    first = begin(client, study, mturk())
    answer(client, first, 3)
    second = begin(client, study, mturk(assignment="ASSIGNMENT2", hit="HIT2"))
    assert observer_of(study, first) == observer_of(study, second) and first != second
    answer(client, second)
    assert 'value="ASSIGNMENT2"' in client.get(part(second, "end")).text
    assert rows(study, "task, outcome") == [("ASSIGNMENT1", None), ("ASSIGNMENT2", "finished")]
    # Whoever held both tasks hands in one.
    text = client.get(part(first, "end")).text
    assert "You took part already" in text and "return this HIT" in text and "eyetune" not in text
    assert rows(study, "task, outcome") == [("ASSIGNMENT1", "again"), ("ASSIGNMENT2", "finished")]
    assert done_token(client.get(part(second, "end")).text)


def test_a_returned_assignment_that_another_worker_gets_is_a_new_person(client, study):
    """MTurk issues the id again: neither sees, resumes or ends the other's session."""
    first = begin(client, study, mturk("AONE"))
    answer(client, first, 3)
    second = begin(client, study, mturk("ATWO"))
    assert observer_of(study, first) != observer_of(study, second)
    assert client.get(part(second, "next")).json["started"] is False
    answer(client, second)
    assert rows(study, "person, task, outcome") == [("AONE", "ASSIGNMENT1", None), ("ATWO", "ASSIGNMENT1", "finished")]
    assert answer(client, first) == 5
    tokens = [done_token(client.get(part(address, "end")).text) for address in (first, second)]
    assert [unsign(secret_key(study), "done", token) for token in tokens] == [
        observer_of(study, address) for address in (first, second)
    ]


@pytest.mark.parametrize(
    ("first", "second", "says"),
    [
        (mturk(), mturk(assignment="ASSIGNMENT2"), "return this HIT"),
        (mturk(submit_to=LIVE), mturk(assignment="ASSIGNMENT2", submit_to=LIVE), "return this HIT"),
        (prolific(), prolific(session="8c" * 12), "return your submission"),
    ],
)
def test_who_took_part_is_told_what_to_do_and_that_is_recorded(client, study, first, second, says):
    answer(client, begin(client, study, first))
    for _ in range(2):
        page = client.get("/", query_string=second)
        assert page.status_code == 200 and "You took part already" in page.text and says in page.text
        assert "please write to" in page.text  # whose first task was never handed in is not paid by returning this one
    assert rows(study, "observer IS NULL, outcome, ended_at IS NULL") == [(0, "finished", 0), (1, "again", 0)]
    joined = client.post(f"/join?{urlencode(second)}", data=ticket(study))  # past the page
    assert "You took part already" in client.get("/" + joined.headers["Location"].removeprefix("./")).text
    assert observers(study) == 1


def test_as_many_sessions_as_the_study_allows(make_study):
    study = make_study(recruiting={"sessions_per_person": 2})
    client = create_app(study).test_client()
    for n in (1, 2):
        answer(client, begin(client, study, mturk(assignment=f"TASK{n}")))
    assert "You took part already" in client.get("/", query_string=mturk(assignment="TASK3")).text
    assert rows(study, "task, outcome") == [("TASK1", "finished"), ("TASK2", "finished"), ("TASK3", "again")]
    code = {"code": personal_code(secret_key(study), 1)}
    first, second = (begin(client, study, code) for _ in range(2))
    assert first == second  # it is not finished
    answer(client, first)
    second = begin(client, study, code)
    assert second != first
    answer(client, second)
    assert begin(client, study, code) == second
    for address in (first, second):
        page = client.get(part(address, "end")).text
        assert completion_code(secret_key(study), observer_of(study, address)) in page
    assert rows(study, "observer, outcome")[3:] == [
        (observer_of(study, address), "finished") for address in (first, second)
    ]


def test_the_sandbox_and_another_market_do_not_count(client, study):
    """A requester tests alone in the sandbox; who did is nobody's earlier participant on the live market."""
    for n in range(3):
        answer(client, begin(client, study, mturk(assignment=f"TASK{n}", submit_to=SANDBOX)))
    answer(client, begin(client, study, mturk(submit_to=LIVE)))
    assert observers(study) == 4 and {outcome for (outcome,) in rows(study, "outcome")} == {"finished"}


def test_a_link_shared_with_a_second_device_is_one_session(client, study):
    code = {"code": personal_code(secret_key(study), 3)}
    address = begin(client, study, code)
    typed = {"code": code["code"].lower().replace("-", "")}
    other = begin(create_app(study).test_client(), study, typed)
    assert observer_of(study, address) == observer_of(study, other)
    answer(client, address, 4)
    answer(client, other)
    proof = completion_code(secret_key(study), observer_of(study, address))
    assert all(proof in client.get(part(each, "end")).text for each in (address, other))
    assert rows(study) == [("link", "", code["code"], code["code"], "", 1, "finished")]


@pytest.mark.parametrize("query", [mturk(), prolific(), "code"])
def test_twenty_pages_that_join_at_once_are_one_session(study, query):
    """From eight connections with tickets of their own; and twenty persons at once are twenty sessions."""
    query = {"code": personal_code(secret_key(study), 1)} if query == "code" else query
    found = []

    def come(url: str) -> None:
        connection = HTTPConnection(urlsplit(url).netloc, timeout=60)
        for _ in range(3):
            connection.request("POST", f"/join?{urlencode(query)}", ticket_body(study), FORM)
            response = connection.getresponse()
            response.read()
            found.append((response.status, response.getheader("Location")))
        connection.close()

    with serving(create_app(study), study) as url:
        threads = [threading.Thread(target=come, args=(url,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(found) == 24 and len(set(found)) == 1 and found[0][0] == 303
    assert observers(study) == 1 and len(rows(study)) == 1


def test_tasks_of_one_person_that_join_at_once_share_a_session_and_one_is_finished(study):
    """Eight HITs accepted at once, all ended at once: one session, one proof."""
    app = create_app(study)
    addresses, ends = [], []

    def come(url: str, n: int) -> None:
        connection = HTTPConnection(urlsplit(url).netloc, timeout=60)
        query = urlencode(mturk(assignment=f"TASK{n}"))
        connection.request("POST", f"/join?{query}", ticket_body(study), FORM)
        response = connection.getresponse()
        response.read()
        addresses.append(f"/{response.getheader('Location')}")
        connection.close()

    def leave(url: str, address: str) -> None:
        connection = HTTPConnection(urlsplit(url).netloc, timeout=60)
        connection.request("GET", part(address, "end"))
        ends.append(connection.getresponse().read().decode())
        connection.close()

    def at_once(work, arguments: list) -> None:
        threads = [threading.Thread(target=work, args=(url, argument)) for argument in arguments]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    with serving(app, study) as url:
        at_once(come, list(range(8)))
        answer(app.test_client(), addresses[0])
        at_once(leave, addresses)
    assert observers(study) == 1 and len({observer_of(study, address) for address in addresses}) == 1
    assert sum('name="eyetune"' in text for text in ends) == 1
    assert sorted(outcome for (outcome,) in rows(study, "outcome")) == ["again"] * 7 + ["finished"]


# Before it begins


def test_a_preview_shows_what_is_asked_and_takes_no_place(client, study):
    page = client.get("/", query_string=PREVIEW)
    assert page.status_code == 200 and "Accept the HIT to begin" in page.text
    settings = study.settings.page
    assert settings.consent.split(",")[0] in page.text and settings.instructions.split(".")[0] in page.text
    assert "about 7 such comparisons" in page.text and "<form" not in page.text
    unfilled = {name: f"{{{{%{name}%}}}}" for name in prolific()}
    assert "This is a preview" in client.get("/", query_string=unfilled).text
    for query in (PREVIEW, unfilled):
        assert client.post(f"/join?{urlencode(query)}", data=ticket(study)).status_code == 403
    assert rows(study) == [] and observers(study) == 0


def test_without_an_open_link_only_the_invited_come_in(make_study):
    """The bare address asks for a code; recruiters, codes and simulated observers pass."""
    study = make_study(recruiting={"open_link": False})
    client = create_app(study).test_client()
    page = client.get("/")
    assert page.status_code == 403 and "Your personal code" in page.text and "ticket" not in page.text
    assert client.get("/?source=x").status_code == 403
    mistyped = client.get("/?code=0000-1111")
    assert (
        mistyped.status_code == 400
        and "0000-1111&#39; is not one" in mistyped.text
        and "Your personal code" in mistyped.text
    )
    assert client.post("/join", data=ticket(study)).status_code == 403
    assert observers(study) == 0
    code = personal_code(secret_key(study), 0)
    for query in (mturk(), prolific(), {"code": code}):
        begin(client, study, query)
    claim = sign(secret_key(study), "simulator", {"metric": "x"})
    assert client.post("/join", data={"simulator": claim}).status_code == 303
    assert observers(study) == 4


def test_who_was_sent_is_told_what_is_kept_and_the_submission_address_is_not(client, study):
    assert "worker ID is" in re.sub(r"\s+", " ", client.get("/", query_string=mturk()).text)
    begin(client, study, mturk())
    with connect(study.votes_path) as store:
        kept = json.loads(store.execute("SELECT recruiter FROM observers").fetchone()[0])
    assert kept == {name: value for name, value in mturk().items() if name != "turkSubmitTo"}


def test_a_full_study_sends_each_back_by_their_way(make_study):
    """Prolific by its code, others by a sentence; recorded; and who comes when a place is free again begins."""
    study = make_study(photographs=1, recruiting={"prolific_full": "FULL1"})
    client = create_app(study).test_client()
    while client.post("/join", data=ticket(study)).headers["Location"] != "complete":
        pass
    for query, says in ((mturk(), "return this HIT"), (prolific(), "submissions/complete?cc=FULL1")):
        joined = client.post(f"/join?{urlencode(query)}", data=ticket(study))
        page = client.get(f"/{joined.headers['Location']}")
        assert "All places are taken" in page.text and says in page.text
    assert rows(study, "channel, observer, outcome") == [("mturk", None, "full"), ("prolific", None, "full")]
    with connect(study.votes_path) as store:
        store.execute("UPDATE observers SET joined_at = '2026-01-01T00:00:00.000Z'")
    answer(client, begin(client, study, mturk()))
    assert rows(study, "channel, outcome") == [("mturk", "finished"), ("prolific", "full")]


def test_a_complete_study_says_so_and_its_participants_still_find_their_end(make_study):
    study = make_study(photographs=1)
    client = create_app(study).test_client()
    sent = 0
    while client.get("/", query_string=mturk(f"A{sent}")).status_code == 200:
        answer(client, begin(client, study, mturk(f"A{sent}")))
        sent += 1
    assert sent == 5
    page = client.get("/" + client.get("/", query_string=mturk("A9")).headers["Location"])
    assert "This study is complete" in page.text and "return this HIT" in page.text
    assert rows(study, "person, outcome")[-1] == ("A9", "full")
    assert done_token(client.get(part(begin(client, study, mturk("A2")), "end")).text)


# At the end


def test_nothing_is_handed_in_before_every_vote_is_stored(client, study):
    """The end of a session that is not over leads back to it; its done-token appears with the last vote."""
    address = begin(client, study, mturk())
    for votes in range(8):
        assert not client.get(part(address, "next")).json["end"]
        early = client.get(part(address, "end"))
        assert early.status_code == 303 and "eyetune" not in early.text, votes
        back = client.get(early.headers["Location"].replace("../", "/o/"))
        assert back.status_code == 200
        assert rows(study, "outcome") == [(None,)]
        answer(client, address, 1)
    assert client.get(part(address, "next")).json == {"started": True, "trials": [], "end": True}
    page = client.get(part(address, "end"))
    assert unsign(secret_key(study), "done", done_token(page.text)) == observer_of(study, address)
    assert page.text == client.get(part(address, "end")).text
    assert f'action="{LOCAL}/mturk/externalSubmit"' in page.text and 'value="ASSIGNMENT1"' in page.text


@pytest.mark.parametrize(
    ("submit_to", "allowed"),
    [
        (LOCAL, f"{LOCAL}/mturk/externalSubmit"),
        (SANDBOX, f"{SANDBOX}/mturk/externalSubmit"),
        (LIVE, f"{LIVE}/mturk/externalSubmit https://worker.mturk.com"),
    ],
)
def test_only_the_last_page_may_send_a_form_elsewhere_and_only_there(client, study, submit_to, allowed):
    address = begin(client, study, mturk(submit_to=submit_to))
    plain = "default-src 'self'; form-action 'self'"
    assert client.get(address).headers["Content-Security-Policy"] == plain
    answer(client, address)
    response = client.get(part(address, "end"))
    assert response.headers["Content-Security-Policy"] == f"{plain} {allowed}"
    assert response.headers["Referrer-Policy"] == "no-referrer" and response.headers["Cache-Control"] == "no-store"
    assert "Set-Cookie" not in response.headers and "X-Frame-Options" not in response.headers


def test_a_session_ends_for_its_own_person_alone(client, study):
    """Another worker's parameters, another assignment, no parameters, a forged or a done-token: no proof."""
    address = begin(client, study, mturk())
    answer(client, address)
    path = address.partition("?")[0]
    others = [mturk("AOTHER"), mturk(assignment="OTHER"), mturk(submit_to=LIVE), prolific(), PREVIEW]
    for query in (*others, {"code": personal_code(secret_key(study), 1)}):
        for where in (path, f"{path}/end"):
            assert client.get(where, query_string=query).status_code == 404
    assert client.get(f"{path}/end", query_string=mturk(submit_to="https://evil.example/")).status_code == 400
    bare = client.get(f"{path}/end")
    assert bare.status_code == 200 and "open the study again" in bare.text and "eyetune" not in bare.text
    done = done_token(client.get(part(address, "end")).text)
    forged = [done, sign(KEY, "observer", observer_of(study, address)), "x", f"{done}x"]
    for token in forged:
        assert client.get(f"/o/{token}/end", query_string=mturk()).status_code == 404
    assert unsign(secret_key(study), "observer", done) is None and unsign(KEY, "done", done) is None


def test_a_ticket_used_twice_does_not_hand_one_persons_session_to_another(client, study):
    form = ticket(study)
    first = client.post(f"/join?{urlencode(mturk('AONE'))}", data=form).headers["Location"]
    second = client.post(f"/join?{urlencode(mturk('ATWO'))}", data=form).headers["Location"]
    third = client.post("/join", data=form).headers["Location"]
    assert len({observer_of(study, f"/{address}") for address in (first, second, third)}) == 3


def test_prolific_is_told_by_its_completion_code(make_study):
    study = make_study("with", recruiting={"prolific_completed": "C0DE-1"})
    client = create_app(study).test_client()
    address = begin(client, study, prolific())
    answer(client, address)
    page = client.get(part(address, "end")).text
    assert 'href="https://app.prolific.com/submissions/complete?cc=C0DE-1"' in page and "<form" not in page
    study = make_study("without")
    client = create_app(study).test_client()
    address = begin(client, study, prolific())
    answer(client, address)
    page = client.get(part(address, "end")).text
    assert 'href="https' not in page and "without a code" in page


@pytest.mark.parametrize(
    ("query", "says"),
    [
        (mturk(), "return this HIT"),
        (prolific(), "submissions/complete?cc=OUT1"),
        ("code", "The study ends here"),
        ({}, "The study ends here"),
    ],
)
def test_a_failed_practice_ends_the_session_by_the_recruiters_way(make_study, query, says):
    """No further vote is taken, no proof is given, places are free again, and a new task does not begin anew."""
    study = make_study(recruiting={"practice_right": 1, "prolific_screened_out": "OUT1", "prolific_completed": "DONE1"})
    query = {"code": personal_code(secret_key(study), 1)} if query == "code" else query
    client = create_app(study).test_client()
    address = begin(client, study, query)
    practice, test = client.get(part(address, "next")).json["trials"]
    told = vote(client, address, practice, right_side(client, practice, wrong=True))
    assert told.json == {"stored": True, "correct": False}
    assert vote(client, address, practice, "left").json == told.json  # sent again
    assert client.get(part(address, "next")).json == {"started": True, "trials": [], "end": True}
    assert vote(client, address, test).status_code == 403
    for _ in range(2):
        page = client.get(part(address, "end"))
        assert page.status_code == 200 and says in page.text and "The study ends here" in page.text
        assert "eyetune" not in page.text and "DONE1" not in page.text
    if query:
        assert rows(study, "outcome, ended_at IS NULL") == [("screened out", 0)]
        assert begin(client, study, query) == address
    if "assignmentId" in query:
        assert "You took part already" in client.get("/", query_string=mturk(assignment="NEW")).text


def test_a_passed_practice_goes_on(make_study):
    """Simulated observers are never screened out."""
    study = make_study(recruiting={"practice_right": 1})
    client = create_app(study).test_client()
    assert answer(client, begin(client, study, mturk())) == 8
    claim = sign(secret_key(study), "simulator", {"metric": "x"})
    address = "/" + client.post("/join", data={"simulator": claim}).headers["Location"]
    trial = client.get(f"{address}/next").json["trials"][0]
    assert vote(client, address, trial, right_side(client, trial, wrong=True)).status_code == 200
    assert answer(client, address) == 7


def test_a_study_that_nobody_could_pass_is_not_served(make_study):
    with pytest.raises(InputError, match="practice_right = 2: a session has 1 practice"):
        create_app(make_study(recruiting={"practice_right": 2}))


def test_an_unrecruited_session_ends_on_its_own_page(client, study):
    address = begin(client, study, {})
    answer(client, address)
    assert client.get(part(address, "next")).json["end"] is False
    assert client.get(part(address, "end")).headers["Location"] == f"../{address.split('/')[-1]}"
    assert rows(study) == []
