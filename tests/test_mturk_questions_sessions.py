"""A form's session: planned, its images published to S3 (a real HTTP server) or a folder, its votes stored."""

import functools
import io
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from urllib.error import HTTPError
from urllib.parse import parse_qs, urlsplit
from urllib.request import urlopen
from xml.etree import ElementTree

import boto3
import numpy as np
import pytest
from botocore.config import Config
from PIL import Image

from mturk.questions import places
from mturk.questions.form import NAMESPACE, html_question, session_html
from mturk.questions.sessions import plan_form_session, publish_session, store_form_votes
from study.errors import InputError
from study.sessions import shown, trials_of
from study.votes import connect

KEY, SECRET = "AKIAFORTHETEST000000", "a-secret-that-nobody-may-see"
SHORT = {"trials": 1, "sentinels": 0, "repeats": 0, "practice": 0}
VARYING = {"date", "last-modified", "x-amz-request-id", "x-amzn-requestid"}
VARYING |= {"etag", "x-amz-checksum-crc32", "x-amz-content-sha256"}  # of the whole file, so of its random padding too
HITS = {"question": "form", "upload": "s3://panel/study/one", "lifetime_hours": 24, "duration_minutes": 60}
VOTE = {
    "protocol": "flip", "shown_at": "2026-05-01T12:00:00Z", "loaded_at": "2026-05-01T12:00:01.5Z",
    "answered_at": "2026-05-01T14:00:02+02:00", "flips": 3, "zoom": 2, "screen_width": 900, "screen_height": None,
    "pixel_ratio": 1.5,
}  # fmt: skip


@contextmanager
def listening(handler: type) -> Iterator[ThreadingHTTPServer]:
    """An HTTP server of this machine's while the block runs."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def s3(s3_server, monkeypatch, tmp_path) -> Iterator:
    """A client of an S3 with one private bucket, which boto3 in this process finds by itself."""
    for name in ("AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    client = boto3.client("s3", region_name="eu-central-1", config=Config(retries={"total_max_attempts": 1}))
    client.create_bucket(Bucket="panel", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    yield client
    for item in client.list_objects_v2(Bucket="panel").get("Contents", []):
        client.delete_object(Bucket="panel", Key=item["Key"])
    client.delete_bucket(Bucket="panel")
    client.close()


def get(url: str) -> tuple[bytes, dict[str, str]]:
    with urlopen(url, timeout=30) as response:
        return response.read(), {name.lower(): value for name, value in response.headers.items()}


def listed(script: bytes) -> list[dict]:
    return json.loads(script.decode("ascii").removeprefix("globalThis.eyetuneTrials = ").removesuffix(";\n"))


def planned(study) -> tuple[str, list[dict]]:
    observer = plan_form_session(study)
    with connect(study.votes_path) as store:
        return observer, [dict(row) for row in trials_of(store, observer)]


def votes_json(trials: list[dict], **changes) -> str:
    sides = ("left", "right")
    return json.dumps([VOTE | {"trial": t["id"], "side": sides[n % 2]} | changes for n, t in enumerate(trials)])


def test_a_session_is_planned_as_the_page_plans_it(make_study):
    """Practice first, then tests with their sentinel and repeat; each triplet is held to votes_per_triplet."""
    study = make_study()
    _, trials = planned(study)
    kinds = [trial["kind"] for trial in trials]
    assert kinds[0] == "training" and sorted(kinds[1:]) == ["repeat", "sentinel"] + ["test"] * 5
    for _ in range(11):  # 21 test triplets at 3 votes, 5 a session: 12.6 sessions
        planned(study)
    planned(study)
    with pytest.raises(InputError, match="no comparison needs another session"):
        plan_form_session(study)
    with connect(study.votes_path) as store:
        assert store.execute("SELECT count(*) FROM observers").fetchone()[0] == 13
        counts = shown(store, simulated=False)
    tests = study.triplets[study.triplets["kind"] == "test"]["id"]
    assert [sum(counts[t]) for t in tests] == [3] * 21


def test_a_forms_trials_are_awaited_while_its_hit_is_open(make_study):
    """After two hours a page's observer has left, but a HIT may wait for its worker for days."""
    study = make_study()
    observer, trials = planned(study)
    days_ago = (datetime.now(UTC) - timedelta(days=5)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    with connect(study.votes_path) as store:
        store.execute("UPDATE observers SET joined_at = ?", [days_ago])
        assert shown(store, simulated=False) == {}
        store.execute(
            "INSERT INTO ledger (token, channel, market, action, subject, person, count, reward_cents, fee_cents,"
            " request, written_at) VALUES ('t', 'mturk', 'local', 'create', '0', '', 1, 100, 20, '{}', ?)",
            [days_ago],
        )
        store.execute(
            "INSERT INTO hits VALUES ('local', 'H', 't', 'form', ?, 100, 20, 1, ?, '2099-01-01', 'open')",
            [observer, days_ago],
        )
        assert sum(map(sum, shown(store, simulated=False).values())) == len(trials)
        assert shown(store, simulated=False, given_up_after=timedelta(0)) == {}
        store.execute("UPDATE hits SET status = 'expired'")
        assert shown(store, simulated=False) == {}


def test_images_on_s3_are_the_trials_and_tell_nothing_else(make_study, s3):
    """Through signed addresses: the right pixels in each role, one length, equal headers; the list names no kind."""
    study = make_study(hits=HITS)
    observer, trials = planned(study)
    address = publish_session(study, observer)
    script, headers = get(address)
    assert headers["content-type"] == "text/javascript" and headers["cache-control"] == "no-cache"
    told = listed(script)
    assert [trial["id"] for trial in told] == [trial["id"] for trial in trials]
    keys = {"id", "practice", "position", "total", "question", "protocol", "zoom", "width", "height"}
    keys |= {"reference", "left", "right"}
    triplets, stimuli = (table.set_index("id") for table in (study.triplets, study.stimuli))
    seen = set()
    for trial, told_trial in zip(trials, told, strict=True):
        triplet = triplets.loc[trial["triplet"]]
        practice = trial["kind"] == "training"
        assert set(told_trial) == keys | ({"correct"} if practice else set())
        other = "b" if trial["left_is"] == "a" else "a"
        roles = {"reference": triplet.reference, "left": triplet[trial["left_is"]], "right": triplet[other]}
        for role, stimulus in roles.items():
            data, headers = get(told_trial[role])
            assert np.array_equal(np.array(Image.open(io.BytesIO(data))), study.image(stimuli.sha256[stimulus]))
            seen.add((len(data), *sorted(pair for pair in headers.items() if pair[0] not in VARYING)))
        if practice:
            assert roles[told_trial["correct"]] == triplet.expected
    assert len(seen) == 1
    headers = dict(next(iter(seen))[1:])
    assert headers["content-type"] == "image/png" and "immutable" in headers["cache-control"]
    names = [urlsplit(t[role]).path.rsplit("/", 1)[1] for t in told for role in ("reference", "left", "right")]
    assert len(set(names)) == 3 * len(trials) and all(re.fullmatch("[0-9a-f]{32}[.]png", name) for name in names)
    page = session_html(study, address, observer)
    words = ["jpeg", "webp", "codec", "sentinel", "repeat_of", "training", "expected", "triplet", "left_is", "obvious"]
    words += [*triplets.index, *stimuli.index, *stimuli.sha256, "photo0", SECRET]
    for text in (script.decode(), page):
        assert [word for word in words if word in text] == []


def test_signed_addresses_hold_as_long_as_the_hits_and_carry_no_secret(make_study, s3):
    """A day of lifetime, an hour to work, an hour to publish; for the bucket's own region, though none was set."""
    study = make_study(hits=HITS, session=SHORT)
    observer, _ = planned(study)
    address = publish_session(study, observer)
    for url in (address, listed(get(address)[0])[0]["left"]):
        query = parse_qs(urlsplit(url).query)
        assert query["X-Amz-Expires"] == [str((24 + 1 + 1) * 3600)]
        assert query["X-Amz-Credential"][0].startswith(KEY) and "/eu-central-1/s3/" in query["X-Amz-Credential"][0]
        assert SECRET not in url


def test_published_again_only_what_is_missing_is_written(make_study, s3):
    """Rewritten images would have other random padding; the address of the session stays."""
    study = make_study(hits=HITS)
    observer, trials = planned(study)
    first = publish_session(study, observer)

    def contents() -> dict[str, str]:
        return {item["Key"]: item["ETag"] for item in s3.list_objects_v2(Bucket="panel")["Contents"]}

    before = contents()
    assert len(before) == 3 * len(trials) + 1 and all(key.startswith("study/one/") for key in before)
    gone, half = (f"study/one/{trial['left_key']}.png" for trial in trials[:2])
    s3.delete_object(Bucket="panel", Key=gone)
    s3.put_object(Bucket="panel", Key=half, Body=b"half")
    second = publish_session(study, observer)
    after = contents()
    assert urlsplit(first).path == urlsplit(second).path
    changed = {key for key in before if after[key] != before[key] and key.endswith(".png")}
    assert set(after) == set(before) and changed == {gone, half}


def test_with_images_url_addresses_are_plain(make_study, s3):
    study = make_study(hits=HITS | {"images_url": "https://images.example/one/", "lifetime_hours": 8760}, session=SHORT)
    observer, trials = planned(study)
    address = publish_session(study, observer)
    assert re.fullmatch(r"https://images\.example/one/sessions/[0-9a-f]{32}\.js", address)
    body = s3.get_object(Bucket="panel", Key="study/one/" + address.split("/one/")[1])["Body"].read()
    assert listed(body)[0]["left"] == f"https://images.example/one/{trials[0]['left_key']}.png"
    owner = s3.get_bucket_acl(Bucket="panel")["Owner"]["ID"]
    for key in (f"study/one/{trials[0]['left_key']}.png", "study/one/" + address.split("/one/")[1]):
        grants = s3.get_object_acl(Bucket="panel", Key=key)["Grants"]
        assert [grant["Grantee"].get("ID") for grant in grants] == [owner]  # nothing was made public


@pytest.mark.parametrize(
    ("lifetime", "duration", "way"),
    [(167, 60, "lifetime_hours to 166 or less"), (1, 167 * 60, "duration_minutes lower"), (8760, 30, "166 or less")],
)
def test_signed_addresses_that_would_end_before_the_hits_are_refused(make_study, s3, lifetime, duration, way):
    study = make_study(hits=HITS | {"lifetime_hours": lifetime, "duration_minutes": duration}, session=SHORT)
    with pytest.raises(InputError, match=f"seven days at most.*{way}, or set hits.images_url"):
        publish_session(study, plan_form_session(study))


def test_seven_days_are_just_allowed(make_study, s3):
    study = make_study(hits=HITS | {"lifetime_hours": 166, "duration_minutes": 60}, session=SHORT)
    address = publish_session(study, plan_form_session(study))
    assert parse_qs(urlsplit(address).query)["X-Amz-Expires"] == ["604800"]
    assert get(address)


def test_temporary_credentials_cannot_sign(make_study, s3, monkeypatch):
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    study = make_study(hits=HITS, session=SHORT)
    with pytest.raises(InputError, match="temporary"):
        publish_session(study, plan_form_session(study))
    study = make_study("other", hits=HITS | {"images_url": "https://images.example"}, session=SHORT)
    assert publish_session(study, plan_form_session(study))  # who does not sign may have them


@pytest.mark.parametrize(
    ("hits", "said"),
    [
        ({"upload": ""}, "hits.upload is needed"),
        ({"upload": "images"}, "hits.images_url is needed"),
        ({"upload": "s3://"}, "not like s3://bucket/prefix"),
        ({"upload": "s3://UPPER/x"}, "not like s3://bucket/prefix"),
        ({"upload": "s3://panel/a b"}, "not like s3://bucket/prefix"),
        ({"upload": "s3://elsewhere"}, "there is no such bucket"),
        ({"images_url": "http://images.example/"}, "https:// only"),
        ({"images_url": "https://images.example/?v=1"}, "no '[?]...'"),
    ],
)
def test_places_that_cannot_be_used_are_named(make_study, s3, hits, said):
    study = make_study(hits=HITS | hits, session=SHORT)
    with pytest.raises(InputError, match=said) as refusal:
        publish_session(study, plan_form_session(study))
    assert "\n" not in str(refusal.value) and SECRET not in str(refusal.value)


def test_missing_credentials_and_unknown_observers_are_said(make_study, s3, monkeypatch):
    study = make_study(hits=HITS, session=SHORT)
    for ask in (lambda: publish_session(study, "nobody"), lambda: session_html(study, "https://x.example/", "nobody")):
        with pytest.raises(InputError, match="observer nobody has no trials"):
            ask()
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(InputError, match="no AWS credentials found"):
        publish_session(study, plan_form_session(study))


@pytest.mark.parametrize(("status", "tries", "said"), [(503, 2, "503|ServiceUnavailable"), (403, 1, "access denied")])
def test_refusals_are_tried_again_a_bounded_number_of_times(make_study, s3, monkeypatch, status, tries, said):
    """The bucket can be asked for; each image that is written answers with an error. No answer of S3 is quoted."""
    asked = []

    class Failing(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_response(404 if self.path.endswith(".png") else 200)
            self.end_headers()

        def do_PUT(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            asked.append(self.path)
            code = {503: "ServiceUnavailable", 403: "403"}[status]
            body = f"<Error><Code>{code}</Code><Message>{SECRET} {KEY}</Message></Error>".encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    monkeypatch.setattr(places, "TRIES", 2)  # the pauses between five take seconds
    study = make_study(hits=HITS, session=SHORT)
    observer = plan_form_session(study)
    with listening(Failing) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{server.server_port}")
        with pytest.raises(InputError, match=f"s3://panel: PutObject was refused: ({said})") as refusal:
            publish_session(study, observer)
    assert SECRET not in str(refusal.value) and KEY not in str(refusal.value)
    assert {asked.count(path) for path in asked} <= set(range(1, tries + 1)) and asked.count(asked[0]) == tries
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{server.server_port}")  # now closed
    with pytest.raises(InputError, match="got no answer"):
        publish_session(study, observer)


def test_a_folder_that_a_web_server_shows(make_study, tmp_path):
    """Relative to the study; the files are whole, and what is there stays."""
    served = tmp_path / "study" / "public"
    served.mkdir(parents=True)

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with listening(functools.partial(Quiet, directory=served)) as server:
        url = f"http://127.0.0.1:{server.server_port}"
        study = make_study(hits=HITS | {"upload": "public/forms", "images_url": f"{url}/forms"})
        observer, trials = planned(study)
        told = listed(get(publish_session(study, observer))[0])
        lengths = {len(get(trial[role])[0]) for trial in told for role in ("reference", "left", "right")}
        assert len(lengths) == 1
        with pytest.raises(HTTPError):
            get(f"{url}/forms/{'0' * 32}.png")
    one = served / "forms" / f"{trials[0]['left_key']}.png"
    before = one.read_bytes()
    publish_session(study, observer)
    assert one.read_bytes() == before
    assert len(list(served.rglob("*.*"))) == 3 * len(trials) + 1


def test_an_altered_image_is_not_published(make_study, s3):
    study = make_study(hits=HITS, session=SHORT)
    observer = plan_form_session(study)
    for path in (study.root / "stimuli").glob("*.png"):
        path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(InputError, match="was altered"):
        publish_session(study, observer)


def test_the_page_is_far_below_mturks_limit_and_its_texts_are_only_text(make_study, s3):
    """Signed addresses do not count but one; hostile texts stand as they are, and none begins an element."""
    hostile = "<script>alert('1')</script> ]]> & \" ' 😀 \u202e <!-- &lt;"
    texts = dict.fromkeys(["title", "question", "consent", "instructions", "thanks"], hostile)
    study = make_study(hits=HITS, page=texts, session=SHORT)
    observer, _ = planned(study)
    html = session_html(study, publish_session(study, observer), observer)
    xml = html_question(html, 0)
    assert len(xml.encode()) < 45_000
    assert ElementTree.fromstring(xml).findtext(f"{{{NAMESPACE}}}HTMLContent") == html
    assert html.count("<script") == 1 and html.count("<!--") == 0
    assert (
        html.count("&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt; ]]&gt; &amp;") == 6
    )  # the title three times, the question not
    study = make_study("long", session=SHORT, page={"consent": "long " * 10_000})
    with pytest.raises(InputError, match="shorten the texts"):
        html_question(session_html(study, "https://x.example/s.js", plan_form_session(study)), 0)


def test_votes_of_a_form_are_the_votes_of_the_page(make_study):
    """The same columns, times in UTC; sent again nothing changes."""
    study = make_study()
    observer, trials = planned(study)
    with connect(study.votes_path) as store:
        assert store_form_votes(store, observer, votes_json(trials), "2026-05-02T00:00:00.000Z") == len(trials)
        assert store_form_votes(store, observer, votes_json(trials), "2026-05-03T00:00:00.000Z") == 0
    votes = study.all_judgments().sort_values("position")
    assert list(votes["id"]) == [trial["id"] for trial in trials]
    triplets = study.triplets.set_index("id")
    for n, (trial, vote) in enumerate(zip(trials, votes.itertuples(), strict=True)):
        side = ("left", "right")[n % 2]
        stimulus = trial["left_is"] if side == "left" else "ab".replace(trial["left_is"], "")
        assert (vote.side, vote.chosen) == (side, triplets.loc[trial["triplet"], stimulus])
    vote = votes.iloc[0]
    assert vote["answered_at"] == "2026-05-01T12:00:02.000Z" and vote["received_at"] == "2026-05-02T00:00:00.000Z"
    assert (vote["zoom"], vote["flips"], vote["pixel_ratio"], vote["screen_width"]) == (2, 3, 1.5, 900)
    assert not vote["simulated"] and vote["rejected"] is None


def test_a_vote_that_is_no_vote_of_this_session_stores_nothing(make_study):
    study = make_study()
    observer, trials = planned(study)
    _, others = planned(study)
    good = json.loads(votes_json(trials))
    bad = {
        "not one of this session": [*good, good[0] | {"trial": others[0]["id"]}],
        "answered twice": [*good, good[0]],
        r"votes\[0\].side": [good[0] | {"side": "middle"}],
        r"votes\[1\].zoom": [good[0], good[1] | {"zoom": 0}],
        r"votes\[0\].flips": [good[0] | {"flips": "3"}],
        r"votes\[0\].chosen": [good[0] | {"chosen": "a"}],
        r"votes\[0\].answered_at": [good[0] | {"answered_at": "2026-05-01T12:00:00"}],
        r"votes\[0\].pixel_ratio": [{k: v for k, v in good[0].items() if k != "pixel_ratio"}],
        "votes: ": {"votes": good},
    }
    with connect(study.votes_path) as store:
        for said, votes in bad.items():
            with pytest.raises(InputError, match=f"^the form's answers: .*{said}") as refusal:
                store_form_votes(store, observer, json.dumps(votes), "2026-05-02T00:00:00.000Z")
            assert "\n" not in str(refusal.value)
        for text in ("", "[", "null", "\ud800", '[{"zoom": NaN}]', "[" * 100_000):
            with pytest.raises(InputError, match="^the form's answers: "):
                store_form_votes(store, observer, text, "2026-05-02T00:00:00.000Z")
        assert not store.in_transaction
    assert study.all_judgments().empty


def test_a_second_worker_on_the_same_session_is_told_from_the_first_sent_again(make_study):
    """One session has one set of answers: another's do not mix with them. A caller's transaction stays the caller's."""
    study = make_study()
    observer, trials = planned(study)
    with connect(study.votes_path) as store:
        store.execute("BEGIN IMMEDIATE")
        assert store_form_votes(store, observer, votes_json(trials[:3]), "2026-05-02T00:00:00.000Z") == 3
        assert store.in_transaction
        store.execute("ROLLBACK")
        assert store_form_votes(store, observer, votes_json(trials[:3]), "2026-05-02T00:00:00.000Z") == 3
        with pytest.raises(InputError, match="other answers already"):
            store_form_votes(store, observer, votes_json(trials, side="left"), "2026-05-02T00:00:00.000Z")
    assert len(study.all_judgments()) == 3
