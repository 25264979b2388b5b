"""A local MTurk for tests: the real `eyetune mturk serve` in a process of its own, or its API in this one."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]


class Panel(NamedTuple):
    """A running local MTurk."""

    folder: Path
    api: str
    """The API's address."""
    site: str
    """The worker site's address, with a slash at its end."""


@contextmanager
def panel(folder: Path, *options: str) -> Iterator[Panel]:
    """`eyetune mturk serve FOLDER` on free ports, for as long as the block runs."""
    command = [
        sys.executable,
        "-m",
        "eyetune",
        "mturk",
        "serve",
        str(folder),
        "--port",
        "0",
        "--api-port",
        "0",
        *options,
    ]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            said = []
            for line in process.stdout:
                said.append(line)
                if "Ctrl-C" in line:
                    break
            found = [
                re.search(rf"{who}: (http://127\.0\.0\.1:\d+)", "".join(said)) for who in ("Requesters", "Workers")
            ]
            api, site = (match[1] for match in found if match)
            yield Panel(folder, api, f"{site}/")
        finally:
            process.terminate()
            process.wait(20)
