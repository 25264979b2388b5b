"""The worker site of a local MTurk as a Flask application.

browser --personal link--> cookie --> pages (worker_pages.py): HITs, work, earnings, messages, qualifications
                                        | a sandboxed iframe without our origin
                                        v
                                      question (frames.py) --POST--> /w/<signed worker and assignment>
"""

import sqlite3
import sys
from dataclasses import dataclass
from datetime import timedelta

from flask import Flask, Response, current_app, g, render_template, request
from werkzeug.exceptions import HTTPException
from werkzeug.middleware.proxy_fix import ProxyFix

from mturk.server.frames import frames, said
from mturk.server.invitations import csrf, doors, known_worker
from mturk.server.listening import REQUEST_BYTES
from mturk.server.panel import HOST, Panel, check_host, panel, spend, up
from mturk.server.qualification_pages import qualification_pages
from mturk.server.rates import Rate
from mturk.server.state import State
from mturk.server.wording import FILTERS
from mturk.server.worker_pages import pages
from mturk.server.worklife import Refusal
from study.errors import InputError

HEADERS = {
    "Referrer-Policy": "no-referrer",  # a personal link is the key to an account
    "X-Content-Type-Options": "nosniff",
}
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self';"
    " base-uri 'none'; frame-ancestors 'none'; frame-src 'self' http: https:"  # a question may be anywhere
)
SIGNED_IN_FOR = timedelta(days=30)  # without a visit; the personal link signs in again


@dataclass(frozen=True)
class Limits:
    """How often people may ask: at once, and a second. A class behind one router shares an address."""

    worker: tuple[float, float] = (60, 2)
    address: tuple[float, float] = (600, 20)
    wrong_links: tuple[float, float] = (20, 0.1)  # wrong personal links and forged addresses from one network address


def create_site(state: State, key: str, public_url: str | None = None, limits: Limits | None = None) -> Flask:
    """The site for the workers of `state`; `key` signs its links.

    `public_url` is where browsers find it when a proxy stands in front (which must set X-Forwarded-For); else the
    address that they asked for. Raises InputError where it is no address.
    """
    limits = limits or Limits()
    app = Flask(__name__)
    base = check_public_url(public_url) if public_url else None
    if base:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_proto=0, x_host=0)  # type: ignore[method-assign]
    app.config.update(
        SECRET_KEY=key,
        MAX_CONTENT_LENGTH=REQUEST_BYTES,
        MAX_FORM_MEMORY_SIZE=REQUEST_BYTES,
        SESSION_COOKIE_NAME="panel",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_SECURE=bool(base and base.startswith("https:")),
        PERMANENT_SESSION_LIFETIME=SIGNED_IN_FOR,
    )
    app.extensions["panel"] = Panel(
        state, key, base, Rate(*limits.worker), Rate(*limits.address), Rate(*limits.wrong_links)
    )
    app.before_request(_check_address)
    app.register_blueprint(doors)
    app.register_blueprint(pages)
    app.register_blueprint(qualification_pages)
    app.register_blueprint(frames)
    app.register_error_handler(Refusal, _refused)
    app.register_error_handler(HTTPException, _explain)
    app.register_error_handler(sqlite3.OperationalError, _not_stored)
    app.register_error_handler(OSError, _not_stored)
    app.after_request(_add_headers)
    app.context_processor(lambda: {"up": up(), "csrf": csrf, "worker": known_worker()})
    app.jinja_env.filters.update(FILTERS)
    return app


def check_public_url(url: str, option: str = "--public-url") -> str:
    """The address without a slash at its end. Raises InputError where browsers cannot open it, or it has a path."""
    base = url.rstrip("/")
    scheme, _, host = base.partition("://")
    if scheme not in ("http", "https") or "/" not in host and not HOST.fullmatch(host):
        raise InputError(f"{option} {url}: must be an address like https://panel.example")
    if not HOST.fullmatch(host):  # pages send answers to addresses that begin with /w/ only
        raise InputError(f"{option} {url}: the site needs a host name of its own, without a path")
    return base


def _check_address() -> None:
    """Refuse whoever asks too often, or for a host that could not stand in an address."""
    check_host()
    if request.endpoint != "static":
        spend(panel().addresses, request.remote_addr or "")


def _add_headers(response: Response) -> Response:
    response.headers.update(HEADERS)
    if "Content-Security-Policy" not in response.headers:
        response.headers["Content-Security-Policy"] = PAGE_POLICY
        response.headers["X-Frame-Options"] = "DENY"
    if request.endpoint != "static":
        response.headers["Cache-Control"] = "no-store"
    return response


def _refused(refusal: Refusal) -> tuple[Response | str, int]:
    return _say("This is not possible", str(refusal), 409)


def _explain(error: HTTPException) -> tuple[Response | str, int] | Response:
    code = error.code or 500
    if code < 400:
        return Response(error.get_response().get_data(), code)
    headings = {
        403: "This is not allowed",
        404: "There is no such page",
        413: "This is too much at once",
        429: "Please wait a moment",
        500: "Something went wrong on the server",
    }
    answer = _say(headings.get(code, "This did not work"), error.description or error.name, code)
    retry = getattr(error, "retry_after", None)
    if retry:
        answer[0].headers["Retry-After"] = str(retry)
    return answer


def _not_stored(error: sqlite3.OperationalError | OSError) -> tuple[Response | str, int]:
    """What is said when the state could not be written: nothing of the request was kept, trying again is safe."""
    if isinstance(error, OSError) and isinstance(error.__cause__, sqlite3.OperationalError):
        status, text = 507, "The server cannot store anything at the moment (its disk may be full). Nothing was kept."
    elif isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
        status, text = 503, "The server is busy. Nothing was kept."
    else:
        raise error
    print(f"eyetune mturk serve: {request.method} {request.endpoint}: {error}; nothing was kept", file=sys.stderr)
    return _say("Please try again later", text, status)


def _say(heading: str, text: str, status: int) -> tuple[Response, int]:
    """A page, or inside a question's frame what fits there."""
    passing = status == 429 or status >= 500
    if passing:
        g.worker = None  # the state is not asked who this is: it may be what does not answer
    if request.blueprint == "frames":
        return said(heading, text, again=passing), status
    return current_app.make_response(render_template("message.html", heading=heading, text=[text])), status
