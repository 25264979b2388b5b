"""`eyetune mturk invite PANEL --worker NAME`: personal links to the worker site of a local MTurk.

A link signs in without a password, so hand each one to its worker only. Asked again for the same name it is the same.
A name that was revoked and is invited again is a new worker, with a new link.

HITs may ask for what MTurk knows of its workers ([hits.workers] of study.toml). Here nothing is known but what you say.
"""

import argparse
import re
from contextlib import closing
from pathlib import Path
from typing import Any

from study.errors import InputError

NAME_LENGTH = 100


def main(argv: list[str] | None = None) -> int | None:
    """Add workers and print their links; revoke or list them."""
    parser = argparse.ArgumentParser(prog="eyetune mturk invite", description=__doc__)
    parser.add_argument("panel", metavar="PANEL", type=Path, help="the panel's folder; made if absent")
    parser.add_argument("--worker", metavar="NAME", nargs="+", default=[], help="who is invited; only you see names")
    parser.add_argument("--country", metavar="PLACE", help="where those invited live: US, or with a state US-NY")
    parser.add_argument("--approved-hits", metavar="N", type=int, help="HITs of theirs approved before they came here")
    parser.add_argument("--adult", action=argparse.BooleanOptionalAction, help="whether they agreed to adult content")
    parser.add_argument("--masters", action=argparse.BooleanOptionalAction, help="whether they are Masters")
    parser.add_argument("--revoke", metavar="NAME", nargs="+", default=[], help="whose link shall end")
    parser.add_argument("--list", action="store_true", help="print every worker and link")
    parser.add_argument(
        "--url", default="http://127.0.0.1:8003", help="where workers find the site, without a path (%(default)s)"
    )
    options = parser.parse_args(argv)
    if not (options.worker or options.revoke or options.list):
        raise InputError("name who is invited with --worker, or use --revoke or --list")
    for name in options.worker:
        if not (name.strip() and name.isprintable() and len(name) <= NAME_LENGTH):
            raise InputError(f"--worker {name!r}: a name has 1 to {NAME_LENGTH} printable characters")
    known_of_them = _known_of_them(options)
    if known_of_them and not options.worker:
        raise InputError("name with --worker of whom this is known")

    from mturk.server.folder import open_panel
    from mturk.server.invitations import invitation
    from mturk.server.worker_site import check_public_url
    from mturk.server.worklife import add_worker, describe_worker, revoke_worker, workers

    base = check_public_url(options.url, "--url")
    state, key = open_panel(options.panel, make=bool(options.worker))
    with closing(state):
        known = {worker["name"]: worker for worker in workers(state)}
        for name in options.revoke:
            if name not in known:
                raise InputError(f"--revoke {name}: nobody of this panel has that name; see --list")
        for name in options.revoke:
            revoke_worker(state, known[name]["worker_id"])
            print(f"{name}: the link works no more")
        for name in options.worker:
            worker_id = add_worker(state, name)
            describe_worker(state, worker_id, known_of_them)
            print(f"{name}: {base}/{invitation(key, worker_id)}")
        if options.list:
            for worker in workers(state):
                link = "revoked" if worker["revoked_at"] else f"{base}/{invitation(key, worker['worker_id'])}"
                print(f"{worker['worker_id']}  {worker['name']}: {link}")
    return 0


def _known_of_them(options: argparse.Namespace) -> dict[str, Any]:
    """What the options say of those invited, as `describe_worker` takes it."""
    known: dict[str, Any] = {"adult": options.adult, "masters": options.masters}
    if options.country is not None:
        if not re.fullmatch(r"[A-Z]{2}(-[A-Z]{2})?", options.country):
            raise InputError(f"--country {options.country}: must be like US, or US-NY with a state")
        country, _, state = options.country.partition("-")
        known |= {"country": country, "subdivision": state}
    if options.approved_hits is not None:
        if not 0 <= options.approved_hits <= 10**9:
            raise InputError(f"--approved-hits {options.approved_hits}: must be from 0 to 1,000,000,000")
        known["approved_before"] = options.approved_hits
    return {name: value for name, value in known.items() if value is not None}
