"""`eyetune mturk status DIR`: HITs, submissions and money, as MTurk and ledger say. Changes nothing there."""

import argparse
from contextlib import closing
from pathlib import Path

from mturk.requester import ledger
from mturk.requester.client import Refused, add_market_options, open_market
from mturk.requester.hits import all_hits
from mturk.requester.money import counted
from study.fees import dollars
from study.folder import Study
from study.votes import connect


def main(argv: list[str] | None = None) -> int | None:
    """Print one line a HIT, and the account."""
    parser = argparse.ArgumentParser(prog="eyetune mturk status", description=__doc__)
    parser.add_argument("study", metavar="DIR", type=Path, help="the study's folder")
    add_market_options(parser)
    options = parser.parse_args(argv)

    study = Study(options.study)
    with closing(open_market(options)) as requester, connect(study.votes_path) as store:
        hits = all_hits(store, requester.market)
        row = "{:<32}{:<14}{:>8}{:>8}{:>10}{:>8}  {}"
        if hits:
            print(row.format("HIT", "state", "places", "open", "at work", "done", "expires"))
        for hit in hits:
            try:
                remote = requester.call("GetHIT", HITId=hit["id"])["HIT"]
            except Refused as refusal:
                print(f"{hit['id']:<32}{refusal}")
                continue
            numbers = [remote.get(f"NumberOfAssignments{kind}", 0) for kind in ("Available", "Pending")]
            done = remote["MaxAssignments"] - sum(numbers)
            print(
                row.format(
                    hit["id"], remote["HITStatus"], remote["MaxAssignments"], *numbers, done, hit["expires_at"][:16]
                )
            )
        balance = requester.call("GetAccountBalance")["AvailableBalance"]
        account = ledger.account(store, requester.market)
        entries = ledger.entries(store, requester.market)
    open_calls = sum(entry["outcome"] is None for entry in entries)
    cap = study.settings.hits.spending_cap_cents
    print(f"{requester.market}: {counted(len(hits), 'HIT')} for {sum(hit['places'] for hit in hits):,} of"
          f" {study.settings.hits.sessions:,} sessions")  # fmt: skip
    print(f"paid ${dollars(account.paid)}, promised ${dollars(account.promised)}, cap ${dollars(cap)};"
          f" the account has ${balance}")  # fmt: skip
    if open_calls:
        print(f"interrupted: {counted(open_calls, 'call')}; give the same command again to finish what it began")
    return 0
