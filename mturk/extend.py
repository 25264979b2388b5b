"""`eyetune mturk extend DIR`: more places in published HITs, or more time. Each place is added exactly once."""

import argparse
import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from mturk.requester import ledger
from mturk.requester.client import Refused, Requester, add_market_options, open_market
from mturk.requester.hits import all_hits
from mturk.requester.lock import paying
from mturk.requester.money import confirm
from mturk.requester.submissions import record_state
from study.errors import InputError
from study.fees import LARGE, SMALL_BATCH
from study.folder import Study
from study.tokens import secret_key
from study.votes import connect, transaction

LONGEST = 31_536_000  # seconds that a HIT may live


def main(argv: list[str] | None = None) -> int | None:
    """Extend the study's HITs."""
    parser = argparse.ArgumentParser(
        prog="eyetune mturk extend",
        description=f"{__doc__} A HIT with fewer than ten places cannot grow beyond nine.",
    )
    parser.add_argument("study", metavar="DIR", type=Path, help="the study's folder")
    parser.add_argument("--sessions", type=int, metavar="TOTAL", help="places in all, those published included")
    parser.add_argument("--hours", type=int, metavar="N", help="offer all HITs for so many hours from now")
    add_market_options(parser)
    options = parser.parse_args(argv)
    if options.sessions is None and options.hours is None:
        raise InputError("say --sessions TOTAL, --hours N, or both")
    if options.hours is not None and not 1 <= options.hours <= LONGEST // 3600:
        raise InputError(f"--hours {options.hours}: must be from 1 to {LONGEST // 3600}")

    study = Study(options.study)
    with paying(study), closing(open_market(options)) as requester, connect(study.votes_path) as store:
        extend(study, store, requester, options.sessions, options.hours)
    return 0


def extend(
    study: Study, store: sqlite3.Connection, requester: Requester, sessions: int | None, hours: int | None
) -> None:
    """Add places until there are `sessions`, and offer the HITs for `hours` from now."""
    market, cap = requester.market, study.settings.hits.spending_cap_cents
    if (
        hours
        and not study.settings.hits.images_url
        and any(hit["question"] == "form" for hit in all_hits(store, market))
    ):
        raise InputError(
            "--hours: the signed addresses in published forms end when their HITs were to end; expire these HITs and"
            " publish again, or set hits.images_url before publishing forms that are to be extended"
        )
    interrupted = ledger.unsettled(store, market, "extend")
    entries = [] if sessions is None else _plan(study, store, market, sessions)
    # HITs that are over would take workers again: their unfilled places become a promise.
    reopened = [hit for hit in all_hits(store, market) if hours and hit["status"] == "expired"]
    cents = sum(entry["reward_cents"] + entry["fee_cents"] for entry in interrupted)
    cents += sum(entry.reward_cents + entry.fee_cents for entry in entries)
    before = ledger.account(store, market).promised
    lines = []
    if reopened:
        store.execute("BEGIN IMMEDIATE")
        _open(store, reopened)
        cents += ledger.account(store, market).promised - before
        store.execute("ROLLBACK")
        lines.append(f"{len(reopened):,} HITs that are over are offered again")
    if interrupted:
        lines.append(f"{sum(entry['count'] for entry in interrupted):,} places whose adding was interrupted")
    if entries:
        lines.append(f"{sum(entry.count for entry in entries):,} more places in {len(entries):,} HITs")
    if hours:
        lines.append(f"all HITs are offered for {hours:,} hours from now")
    if not lines:
        print(f"there are {sessions:,} places or more already ({market})")
        return
    confirm(market, cents, lines)

    with transaction(store):
        _open(store, reopened)
        ledger.write(store, entries, cap)
        ledger.check_cap(store, market, cap)
    if hours:
        until = datetime.now(UTC) + timedelta(hours=hours)
        for hit in all_hits(store, market):
            requester.call("UpdateExpirationForHIT", HITId=hit["id"], ExpireAt=until)
            record_state(store, market, requester.call("GetHIT", HITId=hit["id"])["HIT"])
    for entry in ledger.unsettled(store, market, "extend"):
        _add(store, requester, entry)
    places = sum(hit["places"] for hit in all_hits(store, market))
    print(f"{places:,} places are published ({market})")


def _plan(study: Study, store: sqlite3.Connection, market: str, sessions: int) -> list[ledger.Entry]:
    """Ledger entries for the places that are missing, in HITs that can take them."""
    pending: dict[str, int] = {}
    for entry in ledger.unsettled(store, market, "extend"):
        pending[entry["subject"]] = pending.get(entry["subject"], 0) + entry["count"]
    hits = [hit for hit in all_hits(store, market) if hit["question"] == "page"]
    missing = sessions - sum(hit["places"] for hit in all_hits(store, market)) - sum(pending.values())
    entries = []
    for hit in hits:
        places = hit["places"] + pending.get(hit["id"], 0)
        room = missing if places >= LARGE else SMALL_BATCH - places
        count = min(missing, room)
        if count <= 0:
            continue
        name = ledger.token(secret_key(study), market, "extend", hit["id"], places)
        request = {"HITId": hit["id"], "NumberOfAdditionalAssignments": count, "UniqueRequestToken": name}
        rewards, fees = count * hit["reward_cents"], count * hit["fee_cents"]
        detail = {"parameters": request, "before": places}
        entries.append(ledger.Entry(name, market, "extend", hit["id"], "", count, rewards, fees, detail))
        missing -= count
    if missing > 0:
        raise InputError(
            f"--sessions {sessions}: {missing} places do not fit into the published HITs (those with fewer than ten"
            f" places end at nine, forms at one); set hits.sessions = {sessions} and run: eyetune mturk publish"
        )
    return entries


def _add(store: sqlite3.Connection, requester: Requester, entry: sqlite3.Row) -> None:
    """Add the entry's places, unless MTurk has added them already, and settle the entry."""
    request = json.loads(entry["request"])
    remote = requester.call("GetHIT", HITId=entry["subject"])["HIT"]
    if remote["MaxAssignments"] < request["before"] + entry["count"]:
        try:
            requester.call("CreateAdditionalAssignmentsForHIT", **request["parameters"])
        except Refused as refusal:
            remote = requester.call("GetHIT", HITId=entry["subject"])["HIT"]
            if remote["MaxAssignments"] < request["before"] + entry["count"]:
                ledger.settle(store, entry["token"], "refused", {"code": refusal.code, "message": refusal.message})
                raise
        remote = requester.call("GetHIT", HITId=entry["subject"])["HIT"]

    def record(connection: sqlite3.Connection) -> None:
        connection.execute(
            "UPDATE hits SET places = places + ? WHERE market = ? AND id = ?",
            [entry["count"], entry["market"], entry["subject"]],
        )
        record_state(connection, entry["market"], remote)

    ledger.settle(store, entry["token"], "done", {"MaxAssignments": remote["MaxAssignments"]}, record)


def _open(store: sqlite3.Connection, hits: list[sqlite3.Row]) -> None:
    for hit in hits:
        store.execute("UPDATE hits SET status = 'open' WHERE market = ? AND id = ?", [hit["market"], hit["id"]])
