"""A local MTurk for the tests of its worker site, with HITs as the Requester API leaves them."""

import json
import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from xml.sax.saxutils import escape

from flask.testing import FlaskClient

from mturk.server.folder import open_panel
from mturk.server.invitations import invitation
from mturk.server.money import hold, open_account
from mturk.server.questions import EXTERNAL, HTML
from mturk.server.state import State, new_id
from mturk.server.worker_site import Limits, create_site
from mturk.server.worklife import add_worker

FORM = (
    "<form method='post' action='https://www.mturk.com/mturk/externalSubmit'>"
    "<input type='hidden' name='assignmentId'><input name='answer'><button>Send</button></form>"
    "<script>document.forms[0].assignmentId.value = new URLSearchParams(location.search).get('assignmentId')</script>"
)


def external(url: str, height: int = 0) -> str:
    return (
        f'<ExternalQuestion xmlns="{EXTERNAL}"><ExternalURL>{escape(url)}</ExternalURL>'
        f"<FrameHeight>{height}</FrameHeight></ExternalQuestion>"
    )


def html(content: str, height: int = 400) -> str:
    content = content.replace("]]>", "]]]]><![CDATA[>")
    return (
        f'<HTMLQuestion xmlns="{HTML}"><HTMLContent><![CDATA[{content}]]></HTMLContent>'
        f"<FrameHeight>{height}</FrameHeight></HTMLQuestion>"
    )


def publish(state: State, question: str, places: int = 1, **changes) -> str:
    """A new HIT's id. `changes`: of its title, description, keywords, reward_cents, duration_s, requirements."""
    values = {
        "title": "Compare images",
        "description": "Look at two versions of a photograph.",
        "keywords": "image, quality",
        "reward_cents": 50,
        "duration_s": 600,
        "requirements": [],
    } | changes
    now, hit = state.now(), new_id()
    properties = json.dumps(values)
    with state.transaction() as connection:
        open_account(connection, "lab", state.opening_cents, now)
        connection.execute(
            "INSERT INTO hit_types (id, requester, group_id, properties, title, description, keywords, reward_cents,"
            " duration_s, auto_approval_s, requirements) VALUES (?, 'lab', ?, ?, ?, ?, ?, ?, ?, 259200, ?)"
            " ON CONFLICT (requester, properties) DO NOTHING",
            [new_id(), new_id(), properties, *list(values.values())[:5], json.dumps(values["requirements"])],
        )
        kind = connection.execute("SELECT id FROM hit_types WHERE properties = ?", [properties]).fetchone()["id"]
        reward = values["reward_cents"]
        connection.execute(
            "INSERT INTO hits (id, requester, type, question, max_assignments, places, reward_cents, fee_cents,"
            " created_at, expires_at) VALUES (?, 'lab', ?, ?, ?, ?, ?, 10, ?, ?)",
            [hit, kind, question, places, places, reward, now, now + 7 * 24 * 3600 * 1000],
        )
        hold(connection, now, "lab", places * (reward + 10), hit)
    return hit


class Site:
    """A panel in a folder, its site, and clients of it."""

    def __init__(self, folder: Path, limits: Limits | None = None, **options):
        self.state, self.key = open_panel(folder)
        self.app = create_site(self.state, self.key, limits=limits or Limits(**generous()), **options)

    def worker(self, name: str = "Ada") -> tuple[str, FlaskClient]:
        """A new worker's id, and a browser in which this worker is signed in."""
        worker_id = add_worker(self.state, name)
        client = self.app.test_client()
        assert client.get(f"/{invitation(self.key, worker_id)}").status_code == 303
        return worker_id, client

    def rows(self, statement: str, *values: object) -> list[tuple]:
        with self.state.transaction() as connection:
            return [tuple(row) for row in connection.execute(statement, values)]


def generous() -> dict[str, tuple[float, float]]:
    return {name: (10_000, 1000) for name in ("worker", "address", "wrong_links")}


def post(client: FlaskClient, path: str, **fields: str):
    """Send a form of the site as its pages do."""
    token = re.search(r'name="csrf" value="([^"]+)"', client.get("/messages").text)
    assert token, "signed out"
    return client.post(path, data={"csrf": token[1], **fields})


def accept(client: FlaskClient, hit: str) -> str:
    """The id of the assignment that the worker now has."""
    answer = post(client, f"/hits/{hit}/accept")
    assert answer.status_code == 303, answer.text
    return answer.headers["Location"].rsplit("/", 1)[1]


def frame_of(page) -> str:
    """The address in a page's iframe."""
    found = re.search(r'<iframe[^>]* src="([^"]+)"', page.text)
    assert found, page.text
    return found[1].replace("&amp;", "&")


def submit_address(client: FlaskClient, assignment: str) -> str:
    """The path that the question of an assignment submits to."""
    to = parse_qs(urlsplit(frame_of(client.get(f"/work/{assignment}"))).query)["turkSubmitTo"][0]
    return f"{urlsplit(to).path}/mturk/externalSubmit"
