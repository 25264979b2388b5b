"""`eyetune mturk expire DIR`: offer the study's HITs to nobody any more. Who has accepted one may still finish it."""

import argparse
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from mturk.requester.client import add_market_options, command, open_market
from mturk.requester.expiry import offer_until
from mturk.requester.hits import all_hits
from mturk.requester.lock import paying
from mturk.requester.money import counted
from study.errors import InputError
from study.folder import Study
from study.tokens import secret_key
from study.votes import connect


def main(argv: list[str] | None = None) -> int | None:
    """Expire all open HITs, or those named."""
    parser = argparse.ArgumentParser(prog="eyetune mturk expire", description=__doc__)
    parser.add_argument("study", metavar="DIR", type=Path, help="the study's folder")
    parser.add_argument("--hit", nargs="+", metavar="ID", help="only these (default: all that are open)")
    add_market_options(parser)
    options = parser.parse_args(argv)

    study = Study(options.study)
    with paying(study), closing(open_market(options)) as requester, connect(study.votes_path) as store:
        hits = {hit["id"]: hit for hit in all_hits(store, requester.market)}
        unknown = [identity for identity in options.hit or [] if identity not in hits]
        if unknown:
            raise InputError(f"--hit {unknown[0]}: not one of this study's HITs ({requester.market})")
        chosen = [hits[identity] for identity in dict.fromkeys(options.hit or [])]
        chosen = chosen or [hit for hit in hits.values() if hit["status"] == "open"]
        over = datetime(2005, 11, 2, tzinfo=UTC)  # before MTurk began: at once
        expired = offer_until(store, requester, chosen, over, secret_key(study))
    print(f"{counted(expired, 'HIT')} expired ({requester.market})")
    print(f"what is still submitted: {command('collect', study, options)}")
    return 0
