"""What MTurk says of assignments just before money moves, held against the plan and the vote store.

The key is (assignment, worker): MTurk hands the id of a returned assignment to somebody else, and paying by the id
alone has paid the wrong person before (psiTurk #190, #390).
"""

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mturk.requester.client import Refused, Requester
from mturk.requester.hits import NO_SUCH_HIT
from mturk.reviewing.plan import Row
from study.errors import InputError

STATUSES = ["Submitted", "Approved", "Rejected"]


def listed(requester: Requester, hits: Iterable[str]) -> dict[tuple[str, str], dict[str, Any]]:
    """Every assignment that was submitted for these HITs, as MTurk describes it, by (assignment, worker)."""
    found = {}
    for hit in hits:
        try:
            for remote in requester.pages(
                "ListAssignmentsForHIT", "Assignments", HITId=hit, AssignmentStatuses=STATUSES
            ):
                found[remote["AssignmentId"], remote["WorkerId"]] = remote
        except Refused as refusal:
            if refusal.code != NO_SUCH_HIT:
                raise
            raise InputError(
                f"HIT {hit} is not known at {requester.endpoint} (deleted there, or another account's); work of it can"
                " no longer be paid through the API: take its rows out of the plan. Nothing was sent"
            ) from None
    return found


def check(plan: Path, row: Row, stored: sqlite3.Row, remote: dict[tuple[str, str], dict[str, Any]]) -> str:
    """The assignment's status at MTurk, where it is the plan's worker's, of the same HIT, and payable as planned.

    Submitted, or Approved where MTurk has approved it since; else as the store has it. Raises InputError.
    """
    where = f"{plan}, line {row.line}: assignment {row.assignment}"
    found = remote.get((row.assignment, row.worker))
    if found is None:
        others = [worker for assignment, worker in remote if assignment == row.assignment]
        said = f"MTurk says that {others[0]} submitted it" if others else "MTurk lists no such assignment in this HIT"
        raise InputError(
            f"{where} is worker {row.worker}'s by the plan, but {said}; collect again and make a new plan. Nothing was"
            " sent"
        )
    if found.get("HITId", stored["hit"]) != stored["hit"]:
        raise InputError(
            f"{where} is of HIT {stored['hit']} by the store and of {found['HITId']} by MTurk; collect again. Nothing"
            " was sent"
        )
    status = str(found["AssignmentStatus"])
    if row.pay == "reject" and status == "Approved":
        raise InputError(
            f"{where} is approved and paid already, which cannot be undone; write pay = yes. Nothing was sent"
        )
    if row.pay == "yes" and status == "Rejected" and stored["status"] != "Rejected":
        raise InputError(
            f"{where} was rejected elsewhere since it was collected; collect again, then pay = yes reverses that."
            " Nothing was sent"
        )
    return status
