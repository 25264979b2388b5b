"""Pay a plan's bonuses, each once per label.

SendBonus knows a token again for 24 hours. Each bonus is therefore looked up first in what MTurk says it has paid, and
sent only where it is not there: an interrupted run may have paid it, or a copy of the study's folder.
"""

import json
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mturk.requester import ledger
from mturk.requester.client import Refused, Requester
from mturk.requester.money import confirm
from mturk.reviewing.evidence import assignments_of
from mturk.reviewing.plan import Row, read_plan
from mturk.reviewing.reconcile import check, listed
from mturk.reviewing.refusals import each, report
from study.errors import InputError
from study.fees import bonus_fee_cents, cents, dollars
from study.folder import Study
from study.tokens import secret_key
from study.votes import connect, transaction


@dataclass(frozen=True)
class Bonus:
    """One bonus that is to be paid, and the ledger's entry of an earlier run for it."""

    row: Row
    entry: ledger.Entry
    before: sqlite3.Row | None

    @property
    def cents(self) -> int:
        """Bonus and fee."""
        return self.entry.reward_cents + self.entry.fee_cents


def pay_bonuses(study: Study, requester: Requester, plan: Path, label: str, reason: str) -> None:
    """Pay what the plan has as bonuses and is not paid yet under this label.

    `reason` is told to workers whose row has no message. Raises InputError, before anything is sent, where the plan
    does not fit, or where the spending cap would be passed.
    """
    market = requester.market
    with connect(study.votes_path) as store:
        known = assignments_of(store, market)
        rows = [row for row in read_plan(plan, known) if row.bonus_cents]
        bonuses = [_bonus(store, secret_key(study), market, plan, row, label, reason) for row in rows]
        due = [bonus for bonus in bonuses if bonus.before is None or bonus.before["outcome"] != "done"]
        remote = listed(requester, dict.fromkeys(known[b.row.assignment, b.row.worker]["hit"] for b in due))
        for bonus in due:
            stored = known[bonus.row.assignment, bonus.row.worker]
            status = check(plan, bonus.row, stored, remote)
            if bonus.row.pay == "wait" and status == "Submitted":
                raise InputError(
                    f"{plan}, line {bonus.row.line}: assignment {bonus.row.assignment} waits (pay = wait) and has a"
                    " bonus; decide on the one, or write the other as 0. Nothing was sent"
                )
        if not due:
            print(f"all {len(bonuses):,} bonuses of the plan are paid (label {label!r}); another --label pays again")
            return
        _check_cap(store, study, market, due)
        total = sum(bonus.entry.reward_cents for bonus in due)
        fees = sum(bonus.entry.fee_cents for bonus in due)
        lines = [f"{_bonuses(len(due))} (label {label!r}): ${dollars(total)} and ${dollars(fees)} of fees"]
        if len(due) < len(bonuses):
            lines.append(f"{len(bonuses) - len(due):,} of the plan are paid already")
        confirm(market, total + fees, lines)
        cap = study.settings.hits.spending_cap_cents
        refusals = each(due, "paying", lambda bonus: _pay(store, requester, bonus, cap))
        paid = ledger.account(store, market).paid
    print(f"{_bonuses(len(due) - len(refusals))} paid; paid so far ({market}, with fees and rewards): ${dollars(paid)}")
    report(refusals, lambda bonus: f"{plan}, line {bonus.row.line}")


def _bonus(store: sqlite3.Connection, key: str, market: str, plan: Path, row: Row, label: str, reason: str) -> Bonus:
    where = f"{plan}, line {row.line}"
    name = ledger.token(key, market, "bonus", row.assignment, row.worker, label)
    said = row.message or reason
    before = store.execute("SELECT * FROM ledger WHERE token = ?", [name]).fetchone()
    if before is not None and before["outcome"] != "refused":
        if before["reward_cents"] != row.bonus_cents:
            state = "paid" if before["outcome"] == "done" else "on its way"
            raise InputError(
                f"{where}: the bonus is ${dollars(row.bonus_cents)} here, but ${dollars(before['reward_cents'])} are"
                f" {state} for assignment {row.assignment} under the label {label!r}; write that amount, or pay another"
                " bonus under another --label. Nothing was sent"
            )
        parameters: dict[str, Any] = json.loads(before["request"])  # as it was sent: the reason too
    else:
        if not said:
            raise InputError(f"{where}: a bonus needs a reason; write it as the message, or for all with --reason")
        parameters = {
            "WorkerId": row.worker,
            "AssignmentId": row.assignment,
            "BonusAmount": dollars(row.bonus_cents),
            "Reason": said,
            "UniqueRequestToken": name,
        }
    entry = ledger.Entry(
        token=name,
        market=market,
        action="bonus",
        subject=row.assignment,
        person=row.worker,
        count=1,
        reward_cents=row.bonus_cents,
        fee_cents=bonus_fee_cents(row.bonus_cents),
        request=parameters,
    )
    return Bonus(row, entry, before)


def _bonuses(number: int) -> str:
    return "1 bonus" if number == 1 else f"{number:,} bonuses"


def _check_cap(store: sqlite3.Connection, study: Study, market: str, due: list[Bonus]) -> None:
    """Raise InputError where all that is due would pass the cap; what is on its way counts already."""
    more = sum(bonus.cents for bonus in due if bonus.before is None or bonus.before["outcome"] == "refused")
    committed, cap = ledger.account(store, market).committed, study.settings.hits.spending_cap_cents
    if committed + more > cap:
        raise InputError(
            f"these bonuses would bring the study to ${dollars(committed + more)}, above its cap of ${dollars(cap)};"
            " nothing was sent. Raise hits.spending_cap_usd in study.toml if that is meant"
        )


def _pay(store: sqlite3.Connection, requester: Requester, bonus: Bonus, cap_cents: int) -> None:
    """Write the entry, send the bonus where MTurk has not paid it, settle the entry."""
    entry = bonus.entry
    if bonus.before is None or bonus.before["outcome"] == "refused":
        with transaction(store):
            ledger.write(store, [entry], cap_cents)
    if _was_paid(store, requester, entry):
        ledger.settle(store, entry.token, "done", {"reported": "paid"})
        return
    try:
        answer = requester.call("SendBonus", **entry.request)
    except Refused as refusal:
        # Perhaps because the token is known: an earlier try got through whose answer was lost.
        if not _was_paid(store, requester, entry):
            ledger.settle(store, entry.token, "refused", {"code": refusal.code, "message": refusal.message})
            raise
        answer = {"reported": "paid"}
    answer.pop("ResponseMetadata", None)
    ledger.settle(store, entry.token, "done", answer)


def _was_paid(store: sqlite3.Connection, requester: Requester, entry: ledger.Entry) -> bool:
    """Whether MTurk lists more such payments than the ledger has as done: this one is the other."""
    wanted = (entry.person, entry.reward_cents, entry.request["Reason"])
    listing = requester.pages("ListBonusPayments", "BonusPayments", AssignmentId=entry.subject)
    paid = sum((p["WorkerId"], cents(p["BonusAmount"]), p.get("Reason", "")) == wanted for p in listing)
    rows = store.execute(
        "SELECT reward_cents, request FROM ledger WHERE channel = 'mturk' AND market = ? AND action = 'bonus'"
        " AND subject = ? AND person = ? AND outcome = 'done'",
        [entry.market, entry.subject, entry.person],
    )
    done = sum((entry.person, row["reward_cents"], json.loads(row["request"])["Reason"]) == wanted for row in rows)
    return paid > done
