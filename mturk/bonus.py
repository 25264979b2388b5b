"""`eyetune mturk bonus DIR`: pay the bonuses of the plan, each exactly once per label.

Amounts are the plan's bonus_usd, in dollars without MTurk's fee; the worker reads the plan's message. Count and dollars
are shown first; with --live the amount must be typed. A run that was ended anywhere is continued by the same command.
The study's spending cap cannot be passed.
"""

import argparse
from contextlib import closing
from pathlib import Path

from mturk.requester.client import add_market_options, open_market
from mturk.requester.lock import paying
from mturk.reviewing.bonuses import pay_bonuses
from mturk.reviewing.plan import plan_path
from study.errors import InputError
from study.folder import Study


def main(argv: list[str] | None = None) -> int | None:
    """Pay the bonuses."""
    parser = argparse.ArgumentParser(
        prog="eyetune mturk bonus", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", metavar="DIR", type=Path, help="the study's folder")
    parser.add_argument("--plan", type=Path, metavar="FILE", help="the plan (default: DIR/review-MARKET.csv)")
    parser.add_argument(
        "--label", default="1", help="names the occasion: a worker gets one bonus a label and assignment (%(default)s)"
    )
    parser.add_argument("--reason", default="", help="what workers read whose row has no message")
    add_market_options(parser)
    options = parser.parse_args(argv)
    if not options.label.strip():
        raise InputError("--label must not be empty")

    study = Study(options.study)
    with paying(study), closing(open_market(options)) as requester:
        plan = options.plan or plan_path(study, requester.market)
        pay_bonuses(study, requester, plan, options.label.strip(), options.reason.strip())
    return 0
