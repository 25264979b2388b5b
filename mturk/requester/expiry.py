"""Until when HITs are offered to workers."""

import sqlite3
from collections.abc import Iterable
from datetime import datetime

from mturk.requester.client import Refused, Requester
from mturk.requester.hits import NO_SUCH_HIT
from mturk.requester.submissions import Collected, refresh_hit

GONE = {NO_SUCH_HIT, "AWS.MechanicalTurk.InvalidHITState"}  # the second of HITs that were deleted there


def offer_until(
    store: sqlite3.Connection, requester: Requester, hits: Iterable[sqlite3.Row], until: datetime, key: str
) -> int:
    """How many of the HITs are now offered until then; those that MTurk does not know or has deleted are printed.

    What was submitted for them is collected along: a HIT that is over promises what was collected, no more.
    """
    known = 0
    for hit in hits:
        try:
            requester.call("UpdateExpirationForHIT", HITId=hit["id"], ExpireAt=until)
        except Refused as refusal:
            if refusal.code not in GONE:
                raise
            print(f"{hit['id']}: {refusal}")
        else:
            known += 1
        refresh_hit(store, requester, hit, key, Collected())
    return known
