"""The qualification of those who have taken part: MTurk does not offer them the study's HITs again."""

import sqlite3

from mturk.requester.client import Refused, Requester
from mturk.requester.ledger import token
from study.folder import Study
from study.tokens import secret_key

FINISHED = """
SELECT person FROM recruits WHERE channel = 'mturk' AND market = ? AND outcome = 'finished'
GROUP BY person HAVING count(DISTINCT observer) >= ? ORDER BY person
"""


def took_part_type(requester: Requester, study: Study) -> str | None:
    """The id of the study's qualification type, made where it is not there yet.

    None in the sandbox, where a requester tries the study out again and again as one worker.
    """
    if requester.market == "sandbox":
        return None
    name = f"Took part in an image comparison ({token(secret_key(study), requester.market, 'create', 'type')[:8]})"
    found = _find(requester, name)
    if found is None:
        try:
            answer = requester.call(
                "CreateQualificationType",
                Name=name,
                Description="Given to those who took part in a comparison of images, which everybody does once.",
                QualificationTypeStatus="Active",
            )
            return str(answer["QualificationType"]["QualificationTypeId"])
        except Refused:  # an earlier call of ours got through after all
            found = _find(requester, name)
            if found is None:
                raise
    return found


def grant(store: sqlite3.Connection, requester: Requester, study: Study) -> list[str]:
    """Give the qualification to who has had all the sessions that one person may have; returns who could not get it."""
    identity = took_part_type(requester, study)
    if identity is None:
        return []
    rows = store.execute(FINISHED, [requester.market, study.settings.recruiting.sessions_per_person])
    people = [row["person"] for row in rows]
    if not people:
        return []
    listing = requester.pages("ListWorkersWithQualificationType", "Qualifications", QualificationTypeId=identity)
    have = {found["WorkerId"] for found in listing}
    problems = []
    for person in people:
        if person in have:
            continue
        try:
            requester.call(
                "AssociateQualificationWithWorker",
                QualificationTypeId=identity,
                WorkerId=person,
                IntegerValue=1,
                SendNotification=False,
            )
        except Refused as refusal:  # an account that is closed, say
            problems.append(f"worker {person} may be offered the study again: {refusal}")
    return problems


def _find(requester: Requester, name: str) -> str | None:
    listing = requester.pages(
        "ListQualificationTypes", "QualificationTypes", Query=name, MustBeRequestable=False, MustBeOwnedByCaller=True
    )
    return next((str(found["QualificationTypeId"]) for found in listing if found["Name"] == name), None)
