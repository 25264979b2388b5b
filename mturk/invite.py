"""`eyetune mturk invite PANEL --worker NAME`: personal links to the worker site of a local MTurk.

A link signs in without a password, so hand each one to its worker only. Asked again for the same name it is the same.
A name that was revoked and is invited again is a new worker, with a new link.
"""

import argparse
from contextlib import closing
from pathlib import Path

from study.errors import InputError

NAME_LENGTH = 100


def main(argv: list[str] | None = None) -> int | None:
    """Add workers and print their links; revoke or list them."""
    parser = argparse.ArgumentParser(prog="eyetune mturk invite", description=__doc__)
    parser.add_argument("panel", metavar="PANEL", type=Path, help="the panel's folder; made if absent")
    parser.add_argument("--worker", metavar="NAME", nargs="+", default=[], help="who is invited; only you see names")
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

    from mturk.server.folder import open_panel
    from mturk.server.invitations import invitation
    from mturk.server.worker_site import check_public_url
    from mturk.server.worklife import add_worker, revoke_worker, workers

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
            print(f"{name}: {base}/{invitation(key, add_worker(state, name))}")
        if options.list:
            for worker in workers(state):
                link = "revoked" if worker["revoked_at"] else f"{base}/{invitation(key, worker['worker_id'])}"
                print(f"{worker['worker_id']}  {worker['name']}: {link}")
    return 0
