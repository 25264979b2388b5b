"""`eyetune mturk block DIR --worker ID --reason TEXT`: keep workers off all HITs of the account, or let them in again.

A block counts against a worker at MTurk. None is needed to keep those who took part from coming again, nor to leave
votes out (eyetune mturk review does). Workers do not see the reason. Doing it twice changes nothing.
"""

import argparse
import re
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from mturk.requester.client import add_market_options, open_market
from study.errors import InputError
from study.folder import Study

WORKER = re.compile("A[A-Z0-9]{1,63}")


def main(argv: list[str] | None = None) -> int | None:
    """Block the workers, or lift their blocks."""
    parser = argparse.ArgumentParser(
        prog="eyetune mturk block", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", metavar="DIR", type=Path, help="the study's folder")
    parser.add_argument("--worker", metavar="ID", nargs="+", required=True, help="whom")
    parser.add_argument("--reason", metavar="TEXT", required=True, help="why, for the account's own list")
    parser.add_argument("--lift", action="store_true", help="lift the blocks")
    add_market_options(parser)
    options = parser.parse_args(argv)
    Study(options.study)  # like every verb: a folder that is none is told first
    workers = checked_workers(options.worker)
    if not options.reason.strip():
        raise InputError("--reason must not be empty")

    with closing(open_market(options)) as requester:
        for worker in workers:
            operation = "DeleteWorkerBlock" if options.lift else "CreateWorkerBlock"
            requester.call(operation, WorkerId=worker, Reason=options.reason.strip())
            print(f"{worker}: {'block lifted' if options.lift else 'blocked'} ({requester.market})")
    return 0


def checked_workers(workers: Sequence[str]) -> list[str]:
    """The worker ids, each once. Raises InputError for what is none."""
    for worker in workers:
        if not WORKER.fullmatch(worker):
            raise InputError(f"--worker {worker!r} is no worker id like A1B2C3D4E5F6G7")
    return list(dict.fromkeys(workers))
