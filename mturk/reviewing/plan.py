"""The plan of a review: for each submitted piece of work whether it is paid and whether its votes are used, and why.

Two levels, as in P.910's crowd tests: pay, and pay and use. A plan is proposed by rules, edited by a person and carried
out as it then stands. Rejecting is never proposed.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from mturk.reviewing import sheet
from study.errors import InputError
from study.fees import cents, dollars
from study.folder import Study

Pay = Literal["yes", "wait", "reject"]
Use = Literal["yes", "no"]

COLUMNS = [
    "assignment", "worker", "observer", "hit", "submitted_at", "auto_approval_at", "votes", "sentinels_right",
    "sentinels", "repeats_consistent", "repeats", "left_share", "left_p", "median_seconds", "agreement_with_others",
    "pay", "use", "reason", "bonus_usd", "message",
]  # fmt: skip
DECIDING = ["assignment", "worker", "pay", "use", "reason", "bonus_usd", "message"]  # what is read back
LONGEST_MESSAGE = 1024  # characters; MTurk's for RequesterFeedback
IMPOSSIBLE_SECONDS = 0.3  # half the answers faster than a choice between two lights takes (Hick, 1952): nobody looked


@dataclass(frozen=True)
class Work:
    """One submitted assignment, or one session of another recruiter."""

    task: str
    """Assignment id, Prolific's submission id, or personal code."""
    person: str
    place: str
    """HIT or Prolific study; empty for a link."""
    observer: str | None
    """Whose votes these are."""
    submitted_at: str
    auto_approval_at: str
    problem: str
    """Why no votes are to be had, or why a person must look; empty where all is well."""
    doubt: str = ""
    """Why it is paid but not used, beyond what the votes say: a rehearsal, took part before."""


@dataclass(frozen=True)
class Proposal:
    """What a plan says of one piece of work."""

    pay: Pay
    use: Use
    reason: str


@dataclass(frozen=True)
class Row:
    """One row of a plan that was read back."""

    line: int
    assignment: str
    worker: str
    pay: Pay
    use: Use
    reason: str
    bonus_cents: int
    message: str


def plan_path(study: Study, market: str) -> Path:
    """Where the plan of a market (or of another recruiter's channel) is, where no other path is given."""
    return study.root / f"review-{market}.csv"


def propose(work: Work, quality: dict[str, Any] | None) -> Proposal:
    """What to do with `work`, whose observer did as `quality` says (a row of `observer_table`; None without votes)."""
    if work.problem or work.observer is None:
        return Proposal("wait", "no", work.problem or "no session fits")
    if quality is None:
        return Proposal("wait", "no", "no vote of a person")
    reasons = [quality["reason"], work.doubt]
    if quality["median_seconds"] < IMPOSSIBLE_SECONDS:
        reasons.append(f"half the answers within {quality['median_seconds']:.2f} s")
    said = "; ".join(filter(None, reasons))
    return Proposal("yes", "no" if said else "yes", said)


def plan_row(work: Work, quality: dict[str, Any] | None, proposal: Proposal) -> dict[str, Any]:
    """The row of the plan's CSV; all text in it is text for a spreadsheet too."""
    known = quality or {}
    row: dict[str, Any] = {
        "assignment": sheet.as_text(work.task),
        "worker": sheet.as_text(work.person),
        "observer": sheet.as_text(work.observer or ""),
        "hit": sheet.as_text(work.place),
        "submitted_at": work.submitted_at,
        "auto_approval_at": work.auto_approval_at,
        "left_share": _number(known.get("left_share"), 3),
        "left_p": _number(known.get("side_p"), 6),
        "median_seconds": _number(known.get("median_seconds"), 2),
        "agreement_with_others": _number(known.get("agreement_with_others"), 3),
        "pay": proposal.pay,
        "use": proposal.use,
        "reason": sheet.as_text(proposal.reason),
        "bonus_usd": "0.00",
        "message": "",
    }
    for name in ("votes", "sentinels_right", "sentinels", "repeats_consistent", "repeats"):
        row[name] = known.get(name, "")
    return row


def read_plan(path: Path, known: dict[tuple[str, str], Any]) -> list[Row]:
    """The rows of the plan at `path`, each of a (assignment, worker) that is in `known`.

    Raises InputError, with the line, for anything that is not as a plan has it.
    """
    if not path.exists():
        raise InputError(f"{path} is missing; make a plan with eyetune mturk review, or name one with --plan")
    rows = [_row(path, line, cells) for line, cells in sheet.read(path, DECIDING)]
    workers: dict[str, set[str]] = {}
    for assignment, worker in known:
        workers.setdefault(assignment, set()).add(worker)
    seen: dict[tuple[str, str], int] = {}
    for row in rows:
        where, name = f"{path}, line {row.line}", (row.assignment, row.worker)
        if row.assignment not in workers:
            raise InputError(
                f"{where}: assignment {sheet.shown(row.assignment)!r} is not known in this market; was it collected,"
                " and is this the market's plan?"
            )
        if name not in known:
            theirs = " or ".join(sorted(workers[row.assignment]))
            raise InputError(
                f"{where}: worker {sheet.shown(row.worker)!r} did not submit assignment {row.assignment}, {theirs} did;"
                " restore the row from a new plan"
            )
        if name in seen:
            raise InputError(f"{where}: assignment {row.assignment} stands in line {seen[name]} already; delete one")
        seen[name] = row.line
    return rows


def _row(path: Path, line: int, cells: dict[str, str]) -> Row:
    where = f"{path}, line {line}"
    text = {name: sheet.of_text(cell) for name, cell in cells.items()}
    pay, use = (_choice(where, text, name, choices) for name, choices in (("pay", Pay), ("use", Use)))
    bonus = _bonus_cents(where, text["bonus_usd"])
    if pay == "reject" and not text["message"]:
        raise InputError(f"{where}: pay = reject needs a message; the worker reads there why")
    if pay == "reject" and use == "yes":
        raise InputError(f"{where}: work that is rejected is not used; write use = no, or pay = yes")
    if len(text["message"]) > LONGEST_MESSAGE:
        raise InputError(f"{where}: a message of {len(text['message']):,} characters; at most {LONGEST_MESSAGE:,}")
    return Row(line, text["assignment"], text["worker"], pay, use, text["reason"], bonus, text["message"])


def _choice(where: str, text: dict[str, str], name: str, choices: Any) -> Any:
    value = text[name].lower()
    if value not in get_args(choices):
        raise InputError(f"{where}: {name} = {sheet.shown(text[name])!r}; expected {', '.join(get_args(choices))}")
    return value


def _bonus_cents(where: str, text: str) -> int:
    """Whole cents of `0.50`, `$0.50`, `.5` or a decimal comma, as spreadsheets write them; 0 for an empty cell."""
    amount = text.removeprefix("$").strip().replace(",", ".") or "0"
    try:
        return cents(f"0{amount}" if amount.startswith(".") else amount)
    except ValueError:
        raise InputError(f"{where}: bonus_usd = {sheet.shown(text)!r}; expected dollars like 0.50") from None


def _number(value: float | None, digits: int) -> str:
    return "" if value is None or value != value else f"{value:.{digits}f}"


def summary(proposals: Iterable[tuple[Proposal, int, int]]) -> list[str]:
    """What a plan would cost; of each piece of work its proposal, reward and fee (cents)."""
    listed = list(proposals)
    paid = [(reward, fee) for proposal, reward, fee in listed if proposal.pay == "yes"]
    reward, fee = sum(reward for reward, _ in paid), sum(fee for _, fee in paid)
    waiting = sum(proposal.pay == "wait" for proposal, _, _ in listed)
    used = sum(proposal.use == "yes" for proposal, _, _ in listed)
    lines = [
        f"to pay:  {len(paid):,} of {len(listed):,}: ${dollars(reward)} and ${dollars(fee)} of fees,"
        f" ${dollars(reward + fee)} in all",
        f"to use:  {used:,}",
    ]
    if waiting:
        lines.append(f"to look at: {waiting:,} (pay = wait: nothing is paid until a person writes yes)")
    return lines
