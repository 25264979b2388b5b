"""One command at a time spends a study's money: a lock file that the system frees when its holder ends, however."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from study.errors import InputError
from study.folder import Study


@contextmanager
def paying(study: Study) -> Iterator[None]:
    """Hold the study's lock for the block. Raises InputError where another command holds it.

    The file stays: were it removed, two commands could hold locks on two files of that name.
    """
    path = study.root / "paying.lock"
    with path.open("a+", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read(20).strip()
            raise InputError(
                f"{path}: another command spends this study's money just now (process {holder or 'unknown'}); wait"
                " until it has ended, then run this one again"
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
