"""HTTP servers for the two halves of a local MTurk: a socket that listens, and an app behind it."""

import errno
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import waitress
from flask import Flask

from study.errors import InputError

THREADS = 8
# Of each server. Browsers keep up to six open for two minutes, and whoever comes beyond the limit waits for them.
# Systems commonly allow a process 1,024 files.
CONNECTIONS = 450
REQUEST_BYTES = 1024 * 1024  # a submission has a few thousand


def make_server(app: Flask, host: str, port: int, option: str = "--port") -> tuple[Any, int]:
    """A waitress server that listens, and its port. Raises InputError, naming `option`, where it cannot."""
    if not 0 <= port <= 65535:
        raise InputError(f"{option} {port}: must be from 0 to 65535")
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family, backlog=256)
    except (socket.gaierror, UnicodeError):
        raise InputError(f"--host {host}: no such host") from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise InputError(f"port {port} of {host} is in use; choose another one with {option}") from None
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


def close(server: Any) -> None:
    """Free the port of a server that does not run."""
    server.task_dispatcher.shutdown()
    server.close()


@contextmanager
def running(server: Any) -> Iterator[None]:
    """The server answers, in a thread, for as long as the block runs; its port is free afterwards."""
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.task_dispatcher.shutdown()  # first, for whoever still answers uses what close() takes away
        with suppress(OSError):  # woken by an answer, the server may have closed before the waking byte is written
            server.trigger.pull_trigger(lambda: _end(server))  # in the server's own thread
        thread.join(5)


def _end(server: Any) -> None:
    server.close()
    for channel in list(server.active_channels.values()):  # browsers keep theirs open for minutes
        channel.handle_close()


@contextmanager
def serving(app: Flask) -> Iterator[str]:
    """The address of a server for `app` on a free loopback port for as long as the block runs."""
    server, port = make_server(app, "127.0.0.1", 0)
    with running(server):
        yield f"http://127.0.0.1:{port}/"
