"""What the views of the worker site share: the state, the key, the site's own addresses, and the rates."""

import math
import re
from dataclasses import dataclass
from datetime import datetime
from typing import NoReturn

from flask import abort, current_app, redirect, request
from werkzeug.exceptions import TooManyRequests
from werkzeug.wrappers import Response

from mturk.server.rates import Rate
from mturk.server.state import State

HOST = re.compile(r"([A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?")


@dataclass(frozen=True)
class Panel:
    """A site's constants."""

    state: State
    key: str
    base: str | None  # where browsers find the site, without a slash at the end; None: where they asked
    workers: Rate
    addresses: Rate
    wrong_links: Rate


def panel() -> Panel:
    """Of the application that answers."""
    found: Panel = current_app.extensions["panel"]
    return found


def up() -> str:
    """From the page that was asked for to the site's first page. Relative, so it also works below a proxy's prefix."""
    return "../" * (request.path.count("/") - 1) or "./"


def go(path: str) -> Response:
    """Send the browser to a page of the site."""
    return redirect(up() + path, 303)


def absolute(path: str) -> str:
    """The whole address of a path of the site, for who is not on one of its pages."""
    return f"{panel().base or request.host_url.rstrip('/')}/{path}"


def seconds_until(moment: datetime) -> int:
    """By the state's clock; 0 where it has passed."""
    return max(0, math.ceil((moment - panel().state.clock()).total_seconds()))


def check_host() -> None:
    """Refuse a request whose Host header could not stand in an address."""
    if not HOST.fullmatch(request.host):
        abort(400, "This server has no such address.")


def spend(rate: Rate, key: str) -> None:
    """Count a request of `key`; 429 where there were too many."""
    wait = rate.wait(key)
    if wait:
        seconds = "one second" if wait == 1 else f"{wait} seconds"
        raise TooManyRequests(f"There were too many requests in a short time. Go on in {seconds}.", retry_after=wait)


def wrong_link(text: str) -> NoReturn:
    """Answer 404 to an address that nobody was given. Guessing at them is counted."""
    spend(panel().wrong_links, request.remote_addr or "")
    abort(404, text)
