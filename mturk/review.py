"""`eyetune mturk review DIR`: a plan for the submitted work, as a CSV to read and edit before it is carried out.

Nothing is sent and nothing is spent. Columns to edit: pay (yes, wait, reject), use (yes, no), reason, bonus_usd
(dollars) and message (the worker reads it; needed to reject). `eyetune mturk pay` and `eyetune mturk bonus` carry it
out. Work is proposed to be paid wherever a finished session fits; its votes are left out for failed sentinels, one side
only, half the answers within 0.3 s, rehearsals in the sandbox, and people who took part before. Rejecting is never
proposed.
"""

import argparse
import shlex
import sqlite3
from pathlib import Path

from mturk.requester.client import add_market_options, command, market_of
from mturk.requester.money import counted
from mturk.reviewing import sheet
from mturk.reviewing.evidence import assignment_work, decided, marks, observer_quality
from mturk.reviewing.plan import COLUMNS, Pay, Proposal, plan_path, plan_row, propose, summary
from study.errors import InputError
from study.folder import Study
from study.votes import connect


def main(argv: list[str] | None = None) -> int | None:
    """Write the plan and say what it would cost."""
    parser = argparse.ArgumentParser(
        prog="eyetune mturk review", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", metavar="DIR", type=Path, help="the study's folder")
    parser.add_argument("--out", type=Path, metavar="FILE", help="where to (default: DIR/review-MARKET.csv)")
    parser.add_argument("--all", action="store_true", help="also work that was reviewed, to change what is used of it")
    parser.add_argument("--force", action="store_true", help="replace a plan that exists, and what was edited in it")
    add_market_options(parser)
    options = parser.parse_args(argv)

    study, market = Study(options.study), market_of(options)
    out = options.out or plan_path(study, market)
    if out.exists() and not options.force:
        raise InputError(f"{out} exists, perhaps edited; name another --out, or replace it with --force")
    fetch = f"fetch them with: {command('collect', study, options)}"
    if not study.votes_path.exists():
        raise InputError(f"{study.root} has no assignments yet; {fetch}")
    with connect(study.votes_path) as store:
        work = assignment_work(store, market, study.settings.recruiting.sessions_per_person)
        before, left_out = decided(store, market), marks(store)
    if not work:
        raise InputError(f"{study.root} has no assignments in the market {market}; {fetch}")
    quality = observer_quality(study)
    rows, costs = [], []
    for item, stored in work:
        known = quality.get(item.observer or "")
        proposal = propose(item, known)
        if stored["status"] == "Submitted":
            costs.append((proposal, stored["reward_cents"], stored["fee_cents"]))
        elif options.all:
            proposal = _as_reviewed(stored, proposal, left_out, (item.task, item.person) in before)
        else:
            continue
        rows.append(plan_row(item, known, proposal))
    if not rows:
        print(f"all {len(work):,} assignments are reviewed ({market}); nothing written. --all lists them again")
        return 0
    sheet.write(out, COLUMNS, rows)
    print(f"{out} written: {counted(len(rows), 'assignment')} ({market})")
    print("\n".join(summary(costs)))
    ends = [row["auto_approval_at"] for _, row in work if row["status"] == "Submitted" and row["auto_approval_at"]]
    if ends:
        print(f"MTurk approves and pays by itself what is not reviewed, the first at {min(ends)}")
    given = f" --plan {shlex.quote(str(out))}" if options.out else ""
    print(f"read and edit it, then: {command('pay', study, options)}{given}")
    return 0


def _as_reviewed(stored: sqlite3.Row, proposal: Proposal, left_out: dict[str, str], by_plan: bool) -> Proposal:
    """What stands for reviewed work: a plan's decision where there was one; else MTurk approved it, nobody looked."""
    pay: Pay = "reject" if stored["status"] == "Rejected" else "yes"
    if stored["observer"] in left_out:
        return Proposal(pay, "no", left_out[stored["observer"]])
    if by_plan and stored["status"] == "Approved" and stored["observer"]:
        return Proposal(pay, "yes", "")
    return Proposal(pay, proposal.use if pay == "yes" else "no", proposal.reason)
