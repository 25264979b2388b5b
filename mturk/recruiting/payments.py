"""Record what was paid outside Mechanical Turk, each payment once, and write the lists that Prolific pays by.

The lists are written just before the records are committed: each record has its list, a run that was ended anywhere is
continued by the same command, and no list is written again once its payments are recorded.
"""

import argparse
import re
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from mturk.recruiting.proposal import Channel, channel_work
from mturk.requester import ledger
from mturk.requester.money import counted
from mturk.reviewing.evidence import mark_use
from mturk.reviewing.plan import Row, plan_path, read_plan
from study.errors import InputError
from study.fees import cents, dollars
from study.files import write_text
from study.folder import Study
from study.tokens import secret_key
from study.votes import connect, transaction

IDS = re.compile("[0-9A-Za-z]{1,64}")  # Prolific's; anything else would break the lists' lines


def run(study: Study, options: argparse.Namespace) -> None:
    """Record the plan's payments and bonuses, mark whose votes are used, write the lists."""
    channel: Channel = options.channel
    plan, label = options.plan or plan_path(study, channel), options.label.strip()
    if not label:
        raise InputError("--label must not be empty")
    if not study.votes_path.exists():
        raise InputError(f"{study.root} has no votes yet; nobody came")
    with connect(study.votes_path) as store:
        known = channel_work(study, store, channel)
        rows = read_plan(plan, known)
        for row in rows:
            work = known[row.assignment, row.worker]
            if row.use == "yes" and work.observer is None:
                raise InputError(f"{plan}, line {row.line}: no session fits, so no votes can be used; write use = no")
            if channel == "prolific" and not (IDS.fullmatch(row.worker) and IDS.fullmatch(row.assignment)):
                raise InputError(f"{plan}, line {row.line}: not an id of Prolific")
        new = [
            entry
            for row in rows
            for entry in _entries(study, channel, row, label)
            if not _recorded(store, plan, row, entry)
        ]
        with transaction(store):
            batch = 1 + max(_batches(store, channel), default=0)
            ledger.write(store, [_numbered(entry, batch) for entry in new], cap_cents=None)
            for entry in new:
                store.execute(
                    "UPDATE ledger SET outcome = 'done', settled_at = written_at, answer = '{}' WHERE token = ?",
                    [entry.token],
                )
            for row in rows:
                observer = known[row.assignment, row.worker].observer
                if observer is not None:
                    mark_use(store, observer, row.use == "yes", row.reason)
            lists = _write_lists(study, new, batch) if channel == "prolific" else []
        paid = [entry for entry in new if entry.action == "approve"]
        bonuses = [entry for entry in new if entry.action == "bonus"]
        (total,) = store.execute(
            "SELECT coalesce(sum(reward_cents), 0) FROM ledger WHERE channel = ?", [channel]
        ).fetchone()
    print(
        f"recorded: {counted(len(paid), 'payment')} of ${dollars(sum(entry.reward_cents for entry in paid))},"
        f" {len(bonuses):,} bonuses of ${dollars(sum(entry.reward_cents for entry in bonuses))},"
        f" {counted(sum(entry.action == 'reject' for entry in new), 'rejection')}"
    )
    print(f"votes of {sum(row.use == 'yes' for row in rows):,} used; paid by {channel} so far: ${dollars(total)}")
    for path in lists:
        print(f"{path} written: paste it on Prolific, once")


def _entries(study: Study, channel: Channel, row: Row, label: str) -> list[ledger.Entry]:
    """What the row says was paid: the session, the bonus."""
    key = secret_key(study)
    found: list[ledger.Entry] = []

    def add(action: Literal["approve", "reject", "bonus"], amount: int, *parts: str) -> None:
        name = ledger.token(key, channel, action, row.assignment, row.worker, *parts)
        request = {"message": row.message}
        found.append(ledger.Entry(name, "", action, row.assignment, row.worker, 1, amount, 0, request, channel))

    if row.pay == "yes":
        add("approve", cents(study.settings.recruiting.reward_usd))
    elif row.pay == "reject":
        add("reject", 0)
    if row.bonus_cents:
        if row.pay == "wait":
            raise InputError(
                f"line {row.line} of the plan: {row.assignment} waits (pay = wait) and has a bonus; decide on the one,"
                " or write the other as 0"
            )
        add("bonus", row.bonus_cents, label)
    return found


def _recorded(store: sqlite3.Connection, plan: Path, row: Row, entry: ledger.Entry) -> bool:
    """Whether the ledger has the payment. Raises InputError where it has another amount, or the contrary."""
    before = store.execute("SELECT * FROM ledger WHERE token = ?", [entry.token]).fetchone()
    where = f"{plan}, line {row.line}"
    if before is not None and entry.action == "bonus" and before["reward_cents"] != entry.reward_cents:
        raise InputError(
            f"{where}: the bonus is ${dollars(entry.reward_cents)} here, but ${dollars(before['reward_cents'])} are"
            " recorded under this label; write that amount, or record another bonus under another --label"
        )
    contrary = {"approve": "reject", "reject": "approve"}.get(entry.action)
    if (
        contrary
        and store.execute(
            "SELECT 1 FROM ledger WHERE channel = ? AND action = ? AND subject = ? AND person = ?",
            [entry.channel, contrary, entry.subject, entry.person],
        ).fetchone()
    ):
        said = "rejected" if contrary == "reject" else "paid"
        raise InputError(f"{where}: {row.assignment} is recorded as {said}; write pay as it is recorded")
    return before is not None


def _numbered(entry: ledger.Entry, batch: int) -> ledger.Entry:
    request: dict[str, Any] = entry.request | {"batch": batch}
    return replace(entry, request=request)


def _batches(store: sqlite3.Connection, channel: Channel) -> list[int]:
    rows = store.execute("SELECT DISTINCT json_extract(request, '$.batch') FROM ledger WHERE channel = ?", [channel])
    return [number for (number,) in rows if number is not None]


def _write_lists(study: Study, entries: list[ledger.Entry], batch: int) -> list[Path]:
    """Prolific's lists of these payments: who is approved, and who gets which bonus; the files that were written.

    What a run that was killed before its COMMIT left under this number is replaced or removed.
    """
    lines = {
        "approve": [entry.person for entry in entries if entry.action == "approve"],
        "bonus": [f"{entry.person},{dollars(entry.reward_cents)}" for entry in entries if entry.action == "bonus"],
    }
    written = []
    for what, texts in lines.items():
        path = study.root / f"prolific-{what}-{batch}.{'txt' if what == 'approve' else 'csv'}"
        if texts:
            write_text(path, "".join(f"{text}\n" for text in texts))
            written.append(path)
        else:
            path.unlink(missing_ok=True)
    return written
