"""`eyetune analyze DIR`: the votes of a study as a report, tables and figures in DIR/report.

Prints whose votes they are and what they say. Votes are only read; running it again replaces the report.
"""

import argparse
from pathlib import Path

import pandas as pd

from analysis.agreement import Estimate
from analysis.report import number, p_value, percent, write_report
from analysis.results import Results, results
from study.errors import InputError
from study.folder import VOTERS, Study


def main(argv: list[str] | None = None) -> int | None:
    """Analyze the votes of a study."""
    parser = argparse.ArgumentParser(
        prog="eyetune analyze", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", metavar="DIR", type=Path, help="a study folder with votes")
    parser.add_argument(
        "--voters", choices=VOTERS, default="auto",
        help="whose votes; auto: the human ones where there are any, else the simulated ones (%(default)s)",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=1, help="of the resampling behind the intervals (%(default)s)")
    options = parser.parse_args(argv)
    if options.seed < 0:
        raise InputError(f"--seed {options.seed}: expected a whole number from 0")

    study = Study(options.study)
    found = results(study, options.voters, options.seed)
    command = ["eyetune", "analyze", str(options.study), "--voters", options.voters, "--seed", str(options.seed)]
    path = write_report(study, found, command)
    print("\n".join(short_summary(found)))
    print(f"report:       {path}")
    return 0


def short_summary(found: Results) -> list[str]:
    """The lines printed at the end."""
    counts = found.counts
    lines = [
        f"votes:        {found.sentence}",
        f"observers:    {counts['observers']:,}, of whom {counts['observers_excluded']:,} left out; "
        f"{counts['votes_test_used']:,} of {counts['votes_test']:,} test votes used",
        f"sentinels:    {interval(found.sentinels, 'right')}",
        f"repeats:      {interval(found.repeats, 'consistent')}",
        f"left side:    {interval(found.left, f'votes, p {p_value(found.left_p)}')}",
        f"agreement:    {interval(found.ceilings['agreement'], 'triplets: two observers give the same answer')}",
    ]
    equal = "rates" if found.preferences["target_bits_per_pixel"].notna().any() else "levels"  # of distortions alone
    for table, what in ((found.codecs, f"at equal {equal}"), (found.conditions, "of all conditions")):
        lines += best(table, what)
    return lines


def best(table: pd.DataFrame, what: str) -> list[str]:
    """A line on the highest score; none where the scores do not compare."""
    if table.empty or table["group"].nunique() > 1:
        return []
    top = table.loc[table["score"].idxmax()]
    ends = f" [{number(top['low'])}, {number(top['high'])}]" if top["low"] == top["low"] else ""
    return [f"best:         {top['condition']} {what}, score {number(top['score'])}{ends}"]


def interval(estimate: Estimate, what: str) -> str:
    """`74.2 % [70.1 %, 77.9 %] of 480 what`, or `none`."""
    if not estimate.n:
        return "none"
    ends = f" [{percent(estimate.low)}, {percent(estimate.high)}]" if estimate.low == estimate.low else ""
    return f"{percent(estimate.value)}{ends} of {estimate.n:,} {what}"


if __name__ == "__main__":
    import sys

    from study.command import run

    sys.exit(run(main))
