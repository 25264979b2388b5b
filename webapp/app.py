"""The voting page as a Flask application."""

import sqlite3
import sys

from flask import Flask, Response, jsonify, render_template, request
from werkzeug.exceptions import HTTPException

from study.folder import Study
from study.votes import connect
from webapp.api import api
from webapp.endings import POLICY, endings
from webapp.material import attach, read_material
from webapp.pages import pages

REQUEST_BYTES = 64 * 1024  # a vote has a few hundred

# No frame-ancestors: recruiters show the page in a frame of theirs.
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",  # the address of a session is the key to it
    "X-Content-Type-Options": "nosniff",
}


def create_app(study: Study) -> Flask:
    """The application that shows `study`. Raises InputError where the study cannot be shown as it is."""
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = REQUEST_BYTES
    app.json.compact = True  # type: ignore[attr-defined]
    attach(app, read_material(study))
    with connect(study.votes_path):
        pass  # a store that cannot be opened is an error now, not at the first vote
    app.register_blueprint(pages)
    app.register_blueprint(endings)
    app.register_blueprint(api)
    app.register_error_handler(HTTPException, _explain)
    app.register_error_handler(sqlite3.OperationalError, _not_stored)
    app.register_error_handler(OSError, _not_stored)
    app.after_request(_add_headers)
    app.context_processor(lambda: {"page": study.settings.page})
    return app


def _add_headers(response: Response) -> Response:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)  # a page that hands in to a recruiter has a policy of its own
    if request.endpoint != "static":
        response.headers["Cache-Control"] = "no-store"
    return response


def _explain(error: HTTPException) -> tuple[str, int]:
    code = error.code or 500
    headings = {404: "There is no such page", 403: "This is not allowed", 500: "Something went wrong on the server"}
    heading = headings.get(code, "This did not work")
    return render_template("message.html", heading=heading, text=[error.description or error.name]), code


def _not_stored(error: sqlite3.OperationalError | OSError) -> tuple[Response | str, int]:
    """What is said when the store could not be written: nothing of the request was kept, trying again is safe."""
    if isinstance(error, OSError) and isinstance(error.__cause__, sqlite3.OperationalError):
        status, text = 507, "The server cannot store answers at the moment (its disk may be full)."
    elif isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
        status, text = 503, "The server is busy."
    else:
        raise error
    print(f"eyetune serve: {request.method} {request.endpoint}: {error}; nothing was acknowledged", file=sys.stderr)
    if request.blueprint == "api":
        return jsonify(error=text), status
    return render_template("message.html", heading="Please try again later", text=[text]), status
