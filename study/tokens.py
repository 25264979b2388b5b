"""A study's secret key, and what it signs: observers' addresses, join forms, personal codes, simulators' claims.

A local MTurk's key is the same, and signs its workers' links and the addresses that work is shown at and sent to.
"""

import os
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from itsdangerous import BadData, URLSafeSerializer

from study.errors import InputError
from study.folder import Study

Purpose = Literal[
    "observer", "join", "simulator", "code", "done",
    "invitation", "question", "submission",
]  # fmt: skip


def secret_key(study: Study) -> str:
    """The key of this study, made when it is first asked for; readable by the owner alone."""
    return key_of_folder(study.root)


def key_of_folder(folder: Path) -> str:
    """The key in `folder`, which exists; made when it is first asked for."""
    path = folder / "secret.key"
    if not path.exists():
        handle, aside = tempfile.mkstemp(dir=folder, prefix=".secret.key.")  # mkstemp's mode is 0600
        try:
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.write(secrets.token_hex(32))
                file.flush()
                os.fsync(file.fileno())
            with suppress(FileExistsError):  # of two servers that start together, the first one's key stands
                os.link(aside, path)
        finally:
            os.unlink(aside)
    return _read(path)


def sign(key: str, purpose: Purpose, value: Any) -> str:
    """`value` (JSON) and its signature, fit for an address. A signature is good for one purpose."""
    signed = URLSafeSerializer(key, salt=purpose).dumps(value)
    return signed if isinstance(signed, str) else signed.decode("ascii")


def unsign(key: str, purpose: Purpose, token: str) -> Any | None:
    """What was signed, or None where `token` was not made with this key for this purpose."""
    try:
        return URLSafeSerializer(key, salt=purpose).loads(token)
    except BadData:
        return None


def _read(path: Path) -> str:
    key = path.read_text(encoding="ascii", errors="replace").strip()
    if len(key) < 32:
        raise InputError(f"{path}: not a key; delete it and start again (the addresses of open sessions then end)")
    return key
