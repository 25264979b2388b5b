"""`eyetune serve DIR`: the blind A/B page, on SQLite. Ctrl-C ends it; every acknowledged vote is stored."""

import argparse
import errno
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import waitress
from flask import Flask

from study.errors import InputError
from study.folder import Study
from study.votes import connect
from webapp.app import REQUEST_BYTES, create_app

THREADS = 8
# Browsers keep up to six open for two minutes, and whoever comes beyond the limit waits for them. Systems commonly
# allow a process 1,024 files.
CONNECTIONS = 900


def main(argv: list[str] | None = None) -> int | None:
    """Serve a study until Ctrl-C."""
    parser = argparse.ArgumentParser(prog="eyetune serve", description=__doc__)
    parser.add_argument("study", metavar="DIR", type=Path, help="the study's folder")
    parser.add_argument(
        "--host", default="127.0.0.1", help="the address to listen on; 0.0.0.0 for every network (%(default)s)"
    )
    parser.add_argument(
        "--port", type=int, default=8000, help="the port to listen on; 0 for any free one (%(default)s)"
    )
    options = parser.parse_args(argv)

    study = Study(options.study)
    app = create_app(study)
    server, port = make_server(app, options.host, options.port)
    with connect(study.votes_path) as store:  # kept open: else every request would be the last one to close the store
        human, simulated = store.execute(
            "SELECT count(*) FILTER (WHERE simulator IS NULL), count(simulator) FROM votes"
            " JOIN trials ON trials.id = votes.trial JOIN observers ON observers.id = trials.observer"
        ).fetchone()
        print(f"{study.root}: {human:,} human votes and {simulated:,} simulated votes so far")
        host = f"[{options.host}]" if ":" in options.host else options.host
        print(f"http://{host}:{port}/ is open to observers; Ctrl-C ends it", flush=True)
        server.run()
    raise KeyboardInterrupt  # waitress keeps the one that ended it to itself


@contextmanager
def serving(app: Flask, study: Study) -> Iterator[str]:
    """The address of a server for `app` on a free loopback port, in a thread, for as long as the block runs."""
    server, port = make_server(app, "127.0.0.1", 0)
    thread = threading.Thread(target=server.run, daemon=True)
    with connect(study.votes_path):
        thread.start()
        try:
            yield f"http://127.0.0.1:{port}/"
        finally:
            server.task_dispatcher.shutdown()  # first, for whoever still answers uses what close() takes away
            with suppress(OSError):  # woken by an answer, the server may have closed before the waking byte is written
                server.trigger.pull_trigger(
                    server.close
                )  # in the server's own thread; it ends with the last connection
            thread.join(5)


def make_server(app: Flask, host: str, port: int) -> tuple[Any, int]:
    """A waitress server that listens, and its port. Raises InputError where it cannot."""
    if not 0 <= port <= 65535:
        raise InputError(f"--port {port}: must be from 0 to 65535")
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family, backlog=1024)
    except (socket.gaierror, UnicodeError):  # no such name, or no name at all
        raise InputError(f"--host {host}: no such host") from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise InputError(f"port {port} of {host} is in use; choose another one with --port") from None
        raise InputError(f"cannot listen on port {port} of {host}: {error.strerror or error}") from None
    server = waitress.create_server(
        app,
        sockets=[listener],
        threads=THREADS,
        ident=None,
        max_request_body_size=REQUEST_BYTES,
        connection_limit=CONNECTIONS,
        asyncore_use_poll=True,  # select() ends at file 1,024
    )
    return server, listener.getsockname()[1]
