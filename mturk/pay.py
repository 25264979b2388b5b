"""`eyetune mturk pay DIR`: carry out the plan of `eyetune mturk review`: approve, reject, mark whose votes are used.

Before anything is sent, each assignment is looked up at MTurk by its id and its worker. Count and dollars are shown;
with --live the amount must be typed. A run that was ended anywhere is continued by the same command; nothing is paid
twice. The plan may be edited and carried out again: what changes then is which votes are used, and a rejection may be
reversed (within 30 days).
"""

import argparse
from contextlib import closing
from pathlib import Path

from mturk.requester.client import add_market_options, open_market
from mturk.requester.lock import paying
from mturk.reviewing.approvals import pay_plan
from mturk.reviewing.plan import plan_path
from study.folder import Study


def main(argv: list[str] | None = None) -> int | None:
    """Carry the plan out."""
    parser = argparse.ArgumentParser(
        prog="eyetune mturk pay", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", metavar="DIR", type=Path, help="the study's folder")
    parser.add_argument("--plan", type=Path, metavar="FILE", help="the plan (default: DIR/review-MARKET.csv)")
    add_market_options(parser)
    options = parser.parse_args(argv)

    study = Study(options.study)
    with paying(study), closing(open_market(options)) as requester:
        pay_plan(study, requester, options.plan or plan_path(study, requester.market))
    return 0
