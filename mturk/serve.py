"""`eyetune mturk serve PANEL`: a local MTurk, with its Requester API and a site for its workers. Ctrl-C ends it.

The API answers on this machine only; a requester elsewhere comes through a tunnel (ssh -L 8002:127.0.0.1:8002 HOST).
"""

import argparse
import shlex
from contextlib import ExitStack, closing
from pathlib import Path

from study.errors import InputError
from study.fees import cents, dollars

LOOPBACK = "127.0.0.1"
API_PORT = 8002
SITE_PORT = 8003


def main(argv: list[str] | None = None) -> int | None:
    """Serve a panel until Ctrl-C."""
    parser = argparse.ArgumentParser(prog="eyetune mturk serve", description=__doc__)
    parser.add_argument("panel", metavar="PANEL", type=Path, help="the folder of its state; made if absent")
    parser.add_argument(
        "--host", default=LOOPBACK, help="where the worker site listens; 0.0.0.0 for every network (%(default)s)"
    )
    parser.add_argument(
        "--port", type=int, default=SITE_PORT, help="the worker site's port; 0 for any free one (%(default)s)"
    )
    parser.add_argument(
        "--api-port",
        type=int,
        default=API_PORT,
        help="the API's port on this machine; 0 for any free one (%(default)s)",
    )
    parser.add_argument(
        "--public-url",
        metavar="URL",
        help="where workers find the site, without a path, when a proxy with HTTPS stands in front of it; it must"
        " set X-Forwarded-For, for each network address has its own limit of requests",
    )
    parser.add_argument(
        "--balance",
        metavar="DOLLARS",
        default="10000.00",
        help="play money that each new requester starts with (%(default)s)",
    )
    options = parser.parse_args(argv)
    try:
        opening = cents(options.balance)
    except ValueError as error:
        raise InputError(f"--balance: {error}") from None

    from mturk.server.api import create_api
    from mturk.server.folder import open_panel
    from mturk.server.listening import close, make_server, running
    from mturk.server.worker_site import check_public_url, create_site
    from mturk.server.worklife import workers

    if options.public_url:
        check_public_url(options.public_url)
    with ExitStack() as stack:
        state, key = open_panel(options.panel, opening)
        stack.enter_context(closing(state))
        api, api_port = make_server(create_api(state), LOOPBACK, options.api_port, "--api-port")
        unused = stack.enter_context(ExitStack())
        unused.callback(close, api)
        site, port = make_server(create_site(state, key, options.public_url), options.host, options.port)
        unused.pop_all()
        stack.enter_context(running(api))
        invited = sum(worker["revoked_at"] is None for worker in workers(state))
        print(_directions(options, invited, api_port, port), flush=True)
        site.run()
    raise KeyboardInterrupt  # waitress keeps the one that ended it to itself


def _directions(options: argparse.Namespace, invited: int, api_port: int, port: int) -> str:
    host = f"[{options.host}]" if ":" in options.host else options.host
    site = options.public_url.rstrip("/") if options.public_url else f"http://{host}:{port}"
    endpoint = f"http://{LOOPBACK}:{api_port}"
    reached = site if host not in ("0.0.0.0", "[::]") else f"http://THIS-MACHINE:{port}"
    lines = [
        f"{options.panel}: a local MTurk with {invited} worker{'' if invited == 1 else 's'}",
        f"Requesters: {endpoint} (this machine only). Any access key is an account with"
        f" ${dollars(cents(options.balance))} of play money. Try:",
        "  AWS_ACCESS_KEY_ID=lab AWS_SECRET_ACCESS_KEY=lab aws mturk get-account-balance"
        f" --region us-east-1 --endpoint-url {endpoint}",
        f"Workers: {reached}/ Invite them with:",
        f"  eyetune mturk invite {shlex.quote(str(options.panel))} --url {reached} --worker NAME",
    ]
    if not site.startswith("https:") and not _only_here(options.host):
        lines.append("Personal links travel unencrypted: outside a network you trust, use a proxy and --public-url.")
    lines.append("Ctrl-C ends it; everything that was acknowledged is stored.")
    return "\n".join(lines)


def _only_here(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")
