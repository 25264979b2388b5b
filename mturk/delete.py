"""`eyetune mturk delete DIR`: remove the HITs that are over and wholly reviewed from MTurk. Votes and ledger stay."""

import argparse
from contextlib import closing
from pathlib import Path

from mturk.requester.client import Refused, add_market_options, command, open_market
from mturk.requester.hits import all_hits
from mturk.requester.lock import paying
from mturk.requester.submissions import refresh
from study.folder import Study
from study.tokens import secret_key
from study.votes import connect


def main(argv: list[str] | None = None) -> int | None:
    """Delete what can be deleted, and say why the others cannot."""
    parser = argparse.ArgumentParser(prog="eyetune mturk delete", description=__doc__)
    parser.add_argument("study", metavar="DIR", type=Path, help="the study's folder")
    add_market_options(parser)
    options = parser.parse_args(argv)

    study = Study(options.study)
    deleted = 0
    with paying(study), closing(open_market(options)) as requester, connect(study.votes_path) as store:
        refresh(store, requester, secret_key(study))  # what was never collected would be lost with the HIT
        hits = all_hits(store, requester.market)
        for hit in hits:
            if hit["status"] == "open":
                print(f"{hit['id']}: still offered to workers; first: {command('expire', study, options)}")
                continue
            try:
                requester.call("DeleteHIT", HITId=hit["id"])
            except Refused as refusal:
                print(f"{hit['id']}: {refusal}")
                continue
            store.execute(
                "UPDATE hits SET status = 'deleted' WHERE market = ? AND id = ?", [requester.market, hit["id"]]
            )
            deleted += 1
    print(f"{deleted:,} of {len(hits):,} HITs deleted ({requester.market})")
    return 0
