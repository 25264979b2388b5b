"""The form that a browser sends to join a session, without the page before it."""

import secrets
from urllib.parse import urlencode

from study.folder import Study
from study.tokens import secret_key, sign

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def ticket(study: Study) -> dict[str, str]:
    """The fields of the consent form."""
    return {"ticket": sign(secret_key(study), "join", secrets.token_hex(8))}


def ticket_body(study: Study) -> str:
    """The same, encoded."""
    return urlencode(ticket(study))
