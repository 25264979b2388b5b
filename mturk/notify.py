"""`eyetune mturk notify DIR --subject TEXT --message TEXT`: write to workers of the study, by MTurk's e-mail.

MTurk reaches those only whose work the account has approved or rejected before; who could not be reached is listed.
With --live their number must be typed first. A message has no token: given again, the command sends it again.
"""

import argparse
from contextlib import closing
from pathlib import Path

from mturk.block import checked_workers
from mturk.requester.client import add_market_options, open_market
from mturk.requester.money import ask, counted
from study.errors import InputError
from study.folder import Study
from study.votes import connect

MOST = 100  # workers a call
LONGEST_SUBJECT, LONGEST_MESSAGE = 200, 4096  # characters


def main(argv: list[str] | None = None) -> int | None:
    """Send the message, and say who was not reached."""
    parser = argparse.ArgumentParser(
        prog="eyetune mturk notify", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", metavar="DIR", type=Path, help="the study's folder")
    whom = parser.add_mutually_exclusive_group(required=True)
    whom.add_argument("--worker", metavar="ID", nargs="+", help="these")
    whom.add_argument("--all-paid", action="store_true", help="everybody whose work was approved")
    whom.add_argument("--all", action="store_true", help="everybody who submitted work")
    parser.add_argument("--subject", required=True, help=f"at most {LONGEST_SUBJECT} characters")
    parser.add_argument("--message", required=True, help=f"at most {LONGEST_MESSAGE:,} characters")
    add_market_options(parser)
    options = parser.parse_args(argv)
    for name, text, most in (
        ("--subject", options.subject, LONGEST_SUBJECT),
        ("--message", options.message, LONGEST_MESSAGE),
    ):
        if not text.strip() or len(text) > most:
            raise InputError(f"{name} has {len(text):,} characters; it must have 1 to {most:,}")

    study = Study(options.study)
    with closing(open_market(options)) as requester:
        if options.worker:
            workers = checked_workers(options.worker)
        else:
            workers = _workers(study, requester.market, paid_only=options.all_paid)
        if not workers:
            print(f"nobody to write to ({requester.market})")
            return 0
        print(f"to {counted(len(workers), 'worker')} ({requester.market}): {options.subject}")
        if requester.market == "live":
            ask(str(len(workers)), "nothing was sent")
        failures = []
        for start in range(0, len(workers), MOST):
            answer = requester.call(
                "NotifyWorkers",
                Subject=options.subject,
                MessageText=options.message,
                WorkerIds=workers[start : start + MOST],
            )
            failures += answer.get("NotifyWorkersFailureStatuses", [])
    for failure in failures:
        code, message = failure.get("NotifyWorkersFailureCode", ""), failure.get("NotifyWorkersFailureMessage", "")
        print(f"{failure.get('WorkerId', '?')}: not reached ({code}: {message})")
    print(f"{len(workers) - len(failures):,} of {len(workers):,} workers reached")
    return 0


def _workers(study: Study, market: str, paid_only: bool) -> list[str]:
    if not study.votes_path.exists():
        return []
    with connect(study.votes_path) as store:
        rows = store.execute(
            "SELECT DISTINCT worker FROM assignments WHERE market = ? AND (NOT ? OR status = 'Approved')"
            " ORDER BY worker",
            [market, paid_only],
        )
        return [worker for (worker,) in rows]
