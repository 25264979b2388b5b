"""`eyetune mturk extend DIR`: more places in published HITs, or more time. Each place is added exactly once."""

import argparse
import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from mturk.requester import ledger
from mturk.requester.client import Refused, Requester, add_market_options, open_market
from mturk.requester.expiry import offer_until
from mturk.requester.hits import all_hits
from mturk.requester.lock import paying
from mturk.requester.money import confirm, counted
from mturk.requester.submissions import Collected, refresh_hit
from study.errors import InputError
from study.fees import LARGE, SMALL_BATCH
from study.folder import Study
from study.tokens import secret_key
from study.votes import connect, now, transaction

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
    if options.sessions is not None and options.sessions < 1:
        raise InputError(f"--sessions {options.sessions}: must be 1 or more")
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
    if not all_hits(store, market):
        raise InputError(
            f"there is no HIT to extend ({market}); set hits.sessions and run: eyetune mturk publish {study.root}"
        )
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
    entries = [] if sessions is None else _plan(study, store, market, sessions, reopening=bool(hours))
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
        lines.append(f"offered again though over or full: {counted(len(reopened), 'HIT')}")
    if interrupted:
        lines.append(f"{sum(entry['count'] for entry in interrupted):,} places whose adding was interrupted")
    if entries:
        lines.append(
            f"{counted(sum(entry.count for entry in entries), 'more place')} in {counted(len(entries), 'HIT')}"
        )
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
        offer_until(store, requester, all_hits(store, market), until, secret_key(study))
    hits = {hit["id"]: hit for hit in all_hits(store, market, deleted=True)}
    for entry in ledger.unsettled(store, market, "extend"):
        _add(store, requester, entry)
        refresh_hit(store, requester, hits[entry["subject"]], secret_key(study), Collected())
    places = sum(hit["places"] for hit in all_hits(store, market))
    print(f"{places:,} places are published ({market})")


def _plan(study: Study, store: sqlite3.Connection, market: str, sessions: int, reopening: bool) -> list[ledger.Entry]:
    """Ledger entries for the places that are missing, in HITs that can take them: whose time is not over."""
    pending: dict[str, int] = {}
    for entry in ledger.unsettled(store, market, "extend"):
        pending[entry["subject"]] = pending.get(entry["subject"], 0) + entry["count"]
    hits = [
        hit for hit in all_hits(store, market) if hit["question"] == "page" and (reopening or hit["expires_at"] > now())
    ]
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
            f"--sessions {sessions}: {missing} too many for the published HITs (those with fewer than ten places end at"
            " nine, forms at one; to what has expired places are added with --hours only); set hits.sessions ="
            f" {sessions} and run: eyetune mturk publish {study.root}"
        )
    return entries


def _add(store: sqlite3.Connection, requester: Requester, entry: sqlite3.Row) -> None:
    """Add the entry's places, unless MTurk has added them already, and settle the entry."""
    request = json.loads(entry["request"])
    wanted = request["before"] + entry["count"]

    def places() -> int:
        return int(requester.call("GetHIT", HITId=entry["subject"])["HIT"]["MaxAssignments"])

    if places() < wanted:
        try:
            requester.call("CreateAdditionalAssignmentsForHIT", **request["parameters"])
        except Refused as refusal:
            if places() < wanted:
                ledger.settle(store, entry["token"], "refused", {"code": refusal.code, "message": refusal.message})
                raise

    def record(connection: sqlite3.Connection) -> None:
        connection.execute(
            "UPDATE hits SET places = places + ?, status = 'open' WHERE market = ? AND id = ?",
            [entry["count"], entry["market"], entry["subject"]],
        )

    ledger.settle(store, entry["token"], "done", {"MaxAssignments": wanted}, record)


def _open(store: sqlite3.Connection, hits: list[sqlite3.Row]) -> None:
    for hit in hits:
        store.execute("UPDATE hits SET status = 'open' WHERE market = ? AND id = ?", [hit["market"], hit["id"]])
