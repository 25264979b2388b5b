"""Who is at the door: personal links, the cookie that they leave, and the token that every form carries.

A link is the worker's id, signed. It works until it is revoked, in as many browsers as the worker likes; there is no
password. The cookie is signed too, and of no use to scripts or other sites.
"""

import hmac
import secrets

from flask import Blueprint, abort, g, render_template, request, session
from werkzeug.wrappers import Response

from mturk.server.panel import go, panel, spend, wrong_link
from mturk.server.state import State
from study.tokens import sign, unsign

doors = Blueprint("doors", __name__)


def invitation(key: str, worker_id: str) -> str:
    """The path of a worker's personal link."""
    return f"enter/{sign(key, 'invitation', worker_id)}"


def worker_named(state: State, worker_id: object) -> dict[str, str] | None:
    """The worker's id and name; None for nobody, and for one who was revoked."""
    with state.transaction() as connection:
        row = connection.execute(
            "SELECT id, name FROM workers WHERE id = ? AND revoked_at IS NULL", [str(worker_id)]
        ).fetchone()
    return {"worker_id": row["id"], "name": row["name"]} if row else None


def known_worker() -> dict[str, str] | None:
    """The worker whose cookie came with this request."""
    if "worker" not in g:
        g.worker = worker_named(panel().state, session["worker"]) if "worker" in session else None
    found: dict[str, str] | None = g.worker
    return found


def me() -> str:
    """The id of the worker who is signed in, on pages that let nobody else in."""
    worker = known_worker()
    assert worker, "check_worker let nobody in"
    return worker["worker_id"]


def csrf() -> str:
    """The token that the forms of this visitor carry."""
    if "csrf" not in session:
        session["csrf"] = secrets.token_urlsafe(24)
    token: str = session["csrf"]
    return token


def check_csrf() -> None:
    """Answer 403 to a form that does not come from a page of this site shown to this visitor."""
    shown = session.get("csrf", "")
    if not shown or not hmac.compare_digest(request.form.get("csrf", "").encode(), shown.encode()):
        abort(403, "This form is out of date, or does not come from this site. Load the page again and repeat it.")


def check_worker() -> Response | tuple[str, int] | None:
    """For whoever is not signed in: the page that says how. Counts the requests of everybody else."""
    worker = known_worker()
    if worker is None:
        return render_template("welcome.html"), 403
    spend(panel().workers, worker["worker_id"])
    if request.method == "POST":
        check_csrf()
    return None


@doors.get("/enter/<token>")
def enter(token: str) -> Response | str:
    """Sign in, unless somebody else is: a link in a stranger's message would let work go to the wrong account."""
    invited = _invited(token)
    worker = known_worker()
    if worker and worker != invited:
        return render_template("change.html", invited=invited, token=token)
    _remember(invited)
    return go("")


@doors.post("/enter/<token>")
def change(token: str) -> Response:
    """Sign in as another worker, on purpose."""
    invited = _invited(token)
    check_csrf()
    _remember(invited)
    return go("")


@doors.post("/sign-out")
def sign_out() -> Response:
    """Forget the worker in this browser."""
    check_csrf()
    session.clear()
    return go("")


def _invited(token: str) -> dict[str, str]:
    invited = worker_named(panel().state, unsign(panel().key, "invitation", token))
    if invited is None:
        wrong_link("This personal link is not valid, or no longer. Ask whoever invited you for a new one.")
    return invited


def _remember(worker: dict[str, str]) -> None:
    session.clear()
    session.permanent = True
    session["worker"] = worker["worker_id"]
    g.worker = worker
