"""Observers who join by the page."""

import json
import secrets
from datetime import timedelta
from typing import Any

from study.schedule import need_votes
from study.sessions import new_session, shown
from study.votes import connect
from webapp.material import Material


def is_complete(material: Material) -> bool:
    """Whether no comparison needs a person's vote any more; a vote that is still awaited is needed."""
    with connect(material.study.votes_path) as connection:
        counts = shown(connection, simulated=False, given_up_after=timedelta(0))
    return not need_votes(list(material.triplets.values()), material.study.settings.session, counts)


def join(
    material: Material, observer: str | None, simulator: dict[str, Any] | None, recruiter: dict[str, str]
) -> str | None:
    """The id of an observer who has trials now; None where no comparison needs votes.

    One transaction: whoever joins at the same time is counted before or after. `observer` is the id that the join form
    proposes; a form sent twice joins once. A simulated observer's session follows from its description.
    """
    identity = observer or secrets.token_hex(8)
    model = None if simulator is None else json.dumps(simulator, sort_keys=True)
    triplets, session = list(material.triplets.values()), material.study.settings.session
    with connect(material.study.votes_path) as connection:
        connection.execute("BEGIN IMMEDIATE")
        if connection.execute("SELECT 1 FROM observers WHERE id = ?", [identity]).fetchone():
            return identity
        if not new_session(connection, triplets, session, identity, model, recruiter):
            return None
        connection.execute("COMMIT")
    return identity
