"""Approve and reject as a plan says, each exactly once, and mark whose votes are used.

ApproveAssignment has no token of its own. What an interrupted run left open is settled by the status that MTurk tells;
an assignment that is approved twice is paid once, and MTurk says so.
"""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mturk.requester import ledger
from mturk.requester.client import Refused, Requester
from mturk.requester.money import confirm, counted
from mturk.requester.submissions import record_approved
from mturk.reviewing.evidence import assignments_of, mark_use, owners
from mturk.reviewing.plan import Row, read_plan
from mturk.reviewing.reconcile import check, listed
from mturk.reviewing.refusals import each, report
from study.errors import InputError
from study.fees import dollars
from study.folder import Study
from study.tokens import secret_key
from study.votes import connect, transaction


@dataclass(frozen=True)
class Call:
    """One ApproveAssignment or RejectAssignment that is to be made."""

    row: Row
    stored: sqlite3.Row
    action: Literal["approve", "reject"]
    override: bool
    """Whether it approves what was rejected."""

    @property
    def cents(self) -> int:
        """Reward and fee."""
        return self.stored["reward_cents"] + self.stored["fee_cents"] if self.action == "approve" else 0


def pay_plan(study: Study, requester: Requester, plan: Path) -> None:
    """Carry the plan out as far as it is not yet. Raises InputError, before anything is sent, where it does not fit."""
    key, market = secret_key(study), requester.market
    with connect(study.votes_path) as store:
        known = assignments_of(store, market)
        rows = read_plan(plan, known)
        sessions = {name: observer for observer, name in owners(known).items()}
        for row in rows:
            if row.use == "yes" and (row.assignment, row.worker) not in sessions:
                raise InputError(
                    f"{plan}, line {row.line}: no session of its own fits assignment {row.assignment}, so there are no"
                    " votes to use; write use = no"
                )
        open_rows = [row for row in rows if not _settled(store, key, market, row)]
        hits = dict.fromkeys(known[row.assignment, row.worker]["hit"] for row in open_rows)
        remote = listed(requester, hits)
        calls: list[Call] = []
        found: list[tuple[Row, str]] = []
        for row in open_rows:
            stored = known[row.assignment, row.worker]
            status = check(plan, row, stored, remote)
            action: Literal["approve", "reject"] = "approve" if row.pay == "yes" else "reject"
            if status == {"approve": "Approved", "reject": "Rejected"}[action]:
                found.append((row, status))
            else:
                calls.append(Call(row, stored, action, override=status == "Rejected"))
        _check_overrides(store, study, market, calls)
        approvals, rejections = ([call for call in calls if call.action == a] for a in ("approve", "reject"))
        if calls:
            confirm(market, sum(call.cents for call in calls), _lines(approvals, rejections))
        changed = _mark(store, rows, sessions)
        for row, status in found:
            _record_found(store, key, known[row.assignment, row.worker], row, status)
        refusals = each(calls, "paying", lambda call: _carry_out(store, requester, key, call))
        paid = ledger.account(store, market).paid
    already = sum(status == "Approved" for _, status in found)
    refused = {id(call) for call, _ in refusals}
    approved, rejected = (sum(id(call) not in refused for call in part) for part in (approvals, rejections))
    print(f"{approved:,} approved now, {already:,} that MTurk had approved before, {rejected:,} rejected")
    waiting = sum(row.pay == "wait" for row in rows)
    if waiting:
        print(f"{waiting:,} wait for a person to decide")
    used = sum(row.use == "yes" for row in rows)
    print(f"votes of {used:,} used, of {len(rows) - used:,} left out ({changed:,} changed)")
    print(f"paid so far ({market}, with fees and bonuses): ${dollars(paid)}")
    report(refusals, lambda call: f"{plan}, line {call.row.line}")


def _settled(store: sqlite3.Connection, key: str, market: str, row: Row) -> bool:
    """Whether nothing is to be done for the row but marking: it waits, or the ledger has it as done."""
    if row.pay == "wait":
        return True
    done = {
        action
        for action, outcome in store.execute(
            "SELECT action, outcome FROM ledger WHERE token IN (?, ?)",
            [ledger.token(key, market, action, row.assignment, row.worker) for action in ("approve", "reject")],
        )
        if outcome == "done"
    }
    # What was approved stays so; a rejection may be followed by an approval, which then counts.
    return "approve" in done if row.pay == "yes" else "reject" in done and "approve" not in done


def _check_overrides(store: sqlite3.Connection, study: Study, market: str, calls: list[Call]) -> None:
    """Raise InputError where reversed rejections pass the cap: their money was not promised any more."""
    more = sum(call.cents for call in calls if call.override)
    committed, cap = ledger.account(store, market).committed, study.settings.hits.spending_cap_cents
    if more and committed + more > cap:
        raise InputError(
            f"paying what was rejected would bring the study to ${dollars(committed + more)}, above its cap of"
            f" ${dollars(cap)}; nothing was sent. Raise hits.spending_cap_usd in study.toml if that is meant"
        )


def _lines(approvals: list[Call], rejections: list[Call]) -> list[str]:
    reward = sum(call.stored["reward_cents"] for call in approvals)
    fee = sum(call.stored["fee_cents"] for call in approvals)
    lines = []
    if approvals:
        lines.append(
            f"{counted(len(approvals), 'assignment')} to approve: ${dollars(reward)} and ${dollars(fee)} of fees"
        )
    overridden = sum(call.override for call in approvals)
    if overridden:
        lines.append(f"{overridden:,} of them were rejected before")
    if rejections:
        lines.append(f"{counted(len(rejections), 'assignment')} to reject, unpaid")
    return lines


def _mark(store: sqlite3.Connection, rows: list[Row], sessions: dict[tuple[str, str], str]) -> int:
    """Mark the votes of every row as the plan has it; returns of how many that changed anything."""
    changed = 0
    with transaction(store):
        for row in rows:
            observer = sessions.get((row.assignment, row.worker))
            if observer is not None:
                changed += mark_use(store, observer, row.use == "yes", row.reason)
    return changed


def _carry_out(store: sqlite3.Connection, requester: Requester, key: str, call: Call) -> None:
    """Write the entry, make the call, settle the entry."""
    row, market = call.row, requester.market
    parameters: dict[str, Any] = {"AssignmentId": row.assignment}
    if row.message:
        parameters["RequesterFeedback"] = row.message
    if call.override:
        parameters["OverrideRejection"] = True
    entry = _entry(key, market, call.action, row, call.stored, parameters)
    with transaction(store):
        ledger.write(store, [entry], cap_cents=None)  # promised since the HIT was made
    wanted = "Approved" if call.action == "approve" else "Rejected"
    try:
        answer = requester.call("ApproveAssignment" if call.action == "approve" else "RejectAssignment", **parameters)
    except Refused as refusal:
        # Perhaps an earlier try got through, or MTurk approved it just now.
        now = listed(requester, [call.stored["hit"]]).get((row.assignment, row.worker), {})
        if now.get("AssignmentStatus") != wanted:
            ledger.settle(store, entry.token, "refused", {"code": refusal.code, "message": refusal.message})
            raise
        answer = {"reported": wanted}
    answer.pop("ResponseMetadata", None)
    ledger.settle(store, entry.token, "done", answer, _set_status(market, row, wanted))


def _entry(
    key: str,
    market: str,
    action: Literal["approve", "reject"],
    row: Row,
    stored: sqlite3.Row,
    parameters: dict[str, Any],
) -> ledger.Entry:
    approve = action == "approve"
    return ledger.Entry(
        token=ledger.token(key, market, action, row.assignment, row.worker),
        market=market,
        action=action,
        subject=row.assignment,
        person=row.worker,
        count=1,
        reward_cents=stored["reward_cents"] if approve else 0,
        fee_cents=stored["fee_cents"] if approve else 0,
        request={"parameters": parameters, "use": row.use},
    )


def _record_found(store: sqlite3.Connection, key: str, stored: sqlite3.Row, row: Row, status: str) -> None:
    """Enter what MTurk has done already: our own call whose answer got lost, or its own approval."""
    market = stored["market"]
    rejection = _entry(key, market, "reject", row, stored, {})
    with transaction(store):
        if status == "Approved":
            record_approved(store, stored, row.assignment, row.worker, key)
        else:
            ledger.write(store, [rejection], cap_cents=None)
        _set_status(market, row, status)(store)
    if status == "Rejected":
        ledger.settle(store, rejection.token, "done", {"reported": status})


def _set_status(market: str, row: Row, status: str) -> Callable[[sqlite3.Connection], None]:
    def record(connection: sqlite3.Connection) -> None:
        connection.execute(
            "UPDATE assignments SET status = ? WHERE market = ? AND id = ? AND worker = ?",
            [status, market, row.assignment, row.worker],
        )

    return record
