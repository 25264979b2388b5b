"""`eyetune mturk serve` and `invite` as commands: what they print, how they end, and that a kill loses nothing."""

import json
import re
import signal
import socket
import subprocess
import sys
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import boto3
import pytest
from mturk_panel import external, frame_of

from mturk.invite import main as invite
from mturk.requester.hits import requirements
from mturk.serve import main as serve
from mturk.server.folder import open_panel
from mturk.server.requirements import ADULT, HITS_APPROVED, LOCALE, MASTERS_SANDBOX, unmet
from study.errors import InputError
from study.recruiting_settings import Hits, Workers

ROOT = Path(__file__).parents[1]
CODE = "import sys; from study.command import run; from mturk.serve import main; sys.exit(run(main))"


class Serving:
    """`eyetune mturk serve` as a process of its own, on free ports."""

    def __init__(self, panel: Path, *options: str):
        command = [sys.executable, "-c", CODE, str(panel), "--port", "0", "--api-port", "0", *options]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        self.said = []
        while not self.said or "Ctrl-C" not in self.said[-1]:
            line = self.process.stdout.readline()
            if not line:
                self.process.wait()
                raise AssertionError(self.process.communicate())
            self.said.append(line)
        text = "".join(self.said)
        self.api = re.search(r"--endpoint-url (\S+)", text)[1]
        self.site = re.search(r"Workers: (\S+)/ ", text)[1]

    def end(self, how: int) -> tuple[int, str]:
        """The exit status, and what it said on stderr."""
        self.process.send_signal(how)
        _, said = self.process.communicate(timeout=20)
        return self.process.returncode, said


@pytest.fixture
def start(tmp_path):
    running = []

    def start(*options: str) -> Serving:
        running.append(Serving(tmp_path / "panel", *options))
        return running[-1]

    yield start
    for serving in running:
        if serving.process.poll() is None:
            serving.end(signal.SIGKILL)


class Browser:
    """A worker's browser, without the window: a cookie, pages and forms."""

    def __init__(self, site: str):
        self.site, self.cookie = site, ""

    def ask(self, path: str, fields: dict[str, str] | None = None):
        connection = HTTPConnection(urlsplit(self.site).netloc, timeout=20)
        headers = {"Cookie": self.cookie, "Content-Type": "application/x-www-form-urlencoded"}
        body = None if fields is None else urlencode(fields)
        connection.request("GET" if body is None else "POST", path, body, headers)
        answer = connection.getresponse()
        answer.text = answer.read().decode()
        if answer.headers["Set-Cookie"]:
            self.cookie = answer.headers["Set-Cookie"].split(";")[0]
        connection.close()
        return answer


def requester(serving: Serving):
    return boto3.client(
        "mturk",
        region_name="us-east-1",
        endpoint_url=serving.api,
        aws_access_key_id="lab",
        aws_secret_access_key="any",
    )


def link(panel: Path, name: str, capsys) -> str:
    """The path of a new personal link."""
    assert invite([str(panel), "--worker", name]) == 0
    return urlsplit(capsys.readouterr().out.split(": ")[-1].strip()).path


def test_a_submission_that_was_acknowledged_outlives_a_kill(start, tmp_path, capsys):
    """From boto3 to boto3 across two servers; a link and an open page of the first one work with the second."""
    first = start()
    client = requester(first)
    assert client.get_account_balance()["AvailableBalance"] == "10000.00"
    hit = client.create_hit(
        Title="Compare",
        Description="Look",
        Reward="1.00",
        MaxAssignments=2,
        LifetimeInSeconds=3600,
        AssignmentDurationInSeconds=600,
        Question=external("https://study.example/"),
    )["HIT"]["HITId"]
    client.close()
    browser = Browser(first.site)
    assert browser.ask(link(tmp_path / "panel", "Ada", capsys)).status == 303
    token = re.search(r'name="csrf" value="([^"]+)"', browser.ask("/").text)[1]
    assignment = browser.ask(f"/hits/{hit}/accept", {"csrf": token}).headers["Location"].rsplit("/", 1)[1]
    to = parse_qs(urlsplit(frame_of(browser.ask(f"/work/{assignment}"))).query)["turkSubmitTo"][0]
    assert to.startswith(f"{first.site}/w/")
    path = f"{urlsplit(to).path}/mturk/externalSubmit"
    assert browser.ask(path, {"assignmentId": assignment, "eyetune": "proof"}).status == 200
    assert first.end(signal.SIGKILL)[0] == -signal.SIGKILL

    second = start()
    browser.site = second.site
    assert "Submitted" in browser.ask(f"/work/{assignment}").text
    assert browser.ask(path, {"assignmentId": assignment, "eyetune": "again"}).status == 409
    client = requester(second)
    [found] = client.list_assignments_for_hit(HITId=hit)["Assignments"]
    client.close()
    assert found["AssignmentStatus"] == "Submitted" and "proof" in found["Answer"] and "again" not in found["Answer"]


def test_ctrl_c_ends_both_listeners_with_one_line(start, tmp_path):
    serving = start("--balance", "12.50")
    assert "eyetune mturk invite" in "".join(serving.said) and "$12.50" in "".join(serving.said)
    client = requester(serving)
    assert client.get_account_balance()["AvailableBalance"] == "12.50"
    client.close()
    status, said = serving.end(signal.SIGINT)
    assert status == 130 and said.count("\n") == 1 and "interrupted" in said
    for address in (serving.api, serving.site):
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", urlsplit(address).port)) != 0


def test_what_cannot_be_served_is_said_in_one_line(tmp_path):
    panel = str(tmp_path / "panel")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for options, words in [
            (["--port", port], f"port {port} of 127.0.0.1 is in use; choose another one with --port"),
            (["--port", "0", "--api-port", port], f"port {port} of 127.0.0.1 is in use; .* --api-port"),
            (["--port", "65536"], "--port 65536: must be from 0 to 65535"),
            (["--api-port", "-1"], "--api-port -1: must be from 0 to 65535"),
            (["--host", "no.such.host.invalid"], "--host no.such.host.invalid: no such host"),
            (["--balance", "1.234"], "--balance: '1.234' is no amount"),
            (["--public-url", "lab.example"], "--public-url lab.example: must be an address"),
        ]:
            with pytest.raises(InputError, match=words):
                serve([panel, "--api-port", "0", *options])
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    for folder, words in [("other", "not a panel"), ("other/notes.txt", "is a file")]:
        with pytest.raises(InputError, match=words):
            serve([str(tmp_path / folder)])
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["notes.txt"]


def test_the_api_listens_on_this_machine_only(start):
    """Wherever the worker site listens."""
    serving = start("--host", "0.0.0.0")
    assert serving.api.startswith("http://127.0.0.1:") and "THIS-MACHINE" in serving.site
    assert "unencrypted" in "".join(serving.said)
    port = urlsplit(serving.api).port
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.2", port)) != 0  # loopback too, but not the address that it listens on
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.2", urlsplit(serving.site).port)) == 0


def test_an_invitation_is_the_same_until_it_is_revoked(tmp_path, capsys):
    """And a name invited again after that is somebody new: the old link stays dead."""
    panel = str(tmp_path / "panel")

    def said(*options: str) -> list[str]:
        invite([panel, *options])
        return capsys.readouterr().out.splitlines()

    both = said("--worker", "Ada", "Bob B", "--url", "https://lab.example/")
    assert len(both) == 2 and both[0].startswith("Ada: https://lab.example/enter/")
    assert said("--worker", "Bob B", "Ada", "--url", "https://lab.example") == both[::-1]
    assert said("--revoke", "Ada") == ["Ada: the link works no more"]
    listed = said("--list")
    assert listed[0].endswith("Ada: revoked") and both[1].split("/")[-1] in listed[1]
    again = said("--worker", "Ada")[0]
    assert again.split("/")[-1] != both[0].split("/")[-1]
    key = tmp_path / "panel" / "secret.key"
    assert key.stat().st_mode & 0o777 == 0o600


def test_those_invited_meet_what_a_study_asks_of_workers(tmp_path):
    """Each requirement of [hits.workers] is met by what its option says, and by nobody before."""
    panel = tmp_path / "panel"
    hits = Hits(workers=Workers(countries=["DE", "US-NY"], approved_hits=100, adult=True, masters=True))
    asked = json.dumps(requirements(hits, "local", None))

    def lacking(*options: str) -> list[str]:
        invite([str(panel), "--worker", "Ada", *options])
        state, _ = open_panel(panel)
        with closing(state), state.transaction() as connection:
            (worker,) = connection.execute("SELECT id FROM workers").fetchone()
            return [requirement["QualificationTypeId"] for requirement in unmet(connection, asked, worker)]

    assert len(lacking()) == 4
    assert lacking("--country", "US-NY") == [HITS_APPROVED, ADULT, MASTERS_SANDBOX]
    assert lacking("--approved-hits", "100", "--adult") == [MASTERS_SANDBOX]
    assert lacking("--masters") == []
    assert lacking("--no-adult", "--country", "US-CA", "--approved-hits", "99") == [HITS_APPROVED, LOCALE, ADULT]


@pytest.mark.parametrize(
    "options, words",
    [
        ([], "name who is invited"),
        (["--worker", " "], "printable"),
        (["--worker", "a\nb"], "printable"),
        (["--worker", "x" * 101], "1 to 100"),
        (["--worker", "Ada", "--url", "lab.example"], "--url lab.example: must be an address"),
        (["--revoke", "Zoe", "--worker", "Ada"], "--revoke Zoe: nobody"),
        (["--list"], "no panel there"),
        (["--worker", "Ada", "--country", "us"], "--country us: must be like US"),
        (["--worker", "Ada", "--approved-hits", "-1"], "--approved-hits -1: must be from 0"),
        (["--country", "US", "--list"], "name with --worker"),
    ],
)
def test_invitations_that_cannot_be_made_are_said(tmp_path, options, words):
    with pytest.raises(InputError, match=words):
        invite([str(tmp_path / "panel"), *options])
