"""`eyetune recruit VERB DIR`: other ways in than Mechanical Turk: personal links, and Prolific.

Nothing is sent anywhere: Prolific's own pages do that, and this command prints and writes what they need. Who took
part, by whichever way, and what they were paid stands in the same vote store and ledger.
"""

import argparse
import importlib
from contextlib import nullcontext
from pathlib import Path

from mturk.requester.lock import paying
from study.errors import InputError
from study.folder import Study

MODULES = {  # verb: whose `run(study, options)` does it
    "links": "mturk.recruiting.links",
    "prolific": "mturk.recruiting.guide",
    "status": "mturk.recruiting.arrivals",
    "collect": "mturk.recruiting.submissions",
    "review": "mturk.recruiting.proposal",
    "paid": "mturk.recruiting.payments",
}


def main(argv: list[str] | None = None) -> int | None:
    """Do what the sub-verb says."""
    parser = argparse.ArgumentParser(
        prog="eyetune recruit", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", metavar="VERB")

    links = verbs.add_parser("links", help="print personal links, one a person; the same ones every time")
    links.add_argument("--people", type=int, metavar="N", required=True, help="how many; a larger N adds links")
    prolific = verbs.add_parser("prolific", help="what to fill into Prolific's form, with the study's own numbers")
    for verb in (links, prolific):
        verb.add_argument("--url", required=True, help="the voting page's public address")
    verbs.add_parser("status", help="who came, finished, was screened out or sent away")
    collect = verbs.add_parser("collect", help="read Prolific's export, and hold it against who came")
    collect.add_argument(
        "--submissions", type=Path, metavar="FILE", required=True, help="the CSV of Download all data on Prolific"
    )
    review = verbs.add_parser("review", help="write a plan: whom to pay, whose votes to use")
    review.add_argument("--out", type=Path, metavar="FILE", help="where to (default: DIR/review-CHANNEL.csv)")
    review.add_argument("--force", action="store_true", help="replace a plan that exists, and what was edited in it")
    paid = verbs.add_parser(
        "paid", help="record what was paid outside, mark whose votes are used, write Prolific's lists"
    )
    paid.add_argument("--plan", type=Path, metavar="FILE", help="the plan (default: DIR/review-CHANNEL.csv)")
    paid.add_argument("--label", default="1", help="names the occasion of the bonuses; one a label (%(default)s)")
    for verb in (review, paid):
        verb.add_argument("--channel", choices=["prolific", "link"], required=True, help="by which way they came")
    for verb in verbs.choices.values():
        verb.add_argument("study", metavar="DIR", type=Path, help="the study's folder")
    options = parser.parse_args(argv)
    if options.verb is None:
        raise InputError(f"say what to do: eyetune recruit {{{','.join(MODULES)}}} DIR")

    study = Study(options.study)
    with paying(study) if options.verb == "paid" else nullcontext():
        importlib.import_module(MODULES[options.verb]).run(study, options)
    return 0
