"""Run a verb's `main` with the exit statuses that every eyetune command shares."""

import errno
import os
import sys
from collections.abc import Callable

from study.errors import InputError


def run(main: Callable[[list[str] | None], int | None], argv: list[str] | None = None) -> int:
    """Exit status of `main(argv)`: 0 done, 2 bad input or a full disk (one line), 130 Ctrl-C."""
    try:
        status = main(argv) or 0
        sys.stdout.flush()
        return status
    except InputError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        print("eyetune: interrupted; what was finished is kept, the same command goes on from there", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader (head, less) has gone: point stdout at nothing so that the interpreter's exit stays silent.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        named = error.filename2 or error.filename  # of a rename the target: the source is a temporary name
        # Pillow and SQLite may hand on a disk error as the cause of their own.
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            where = f" ({named})" if named else ""
            return _fail(f"the disk is full{where}; free some space and run the same command again")
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS) and named:
            return _fail(f"{named}: {error.strerror}; check the permissions of the folder")
        if error.errno in (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG) and named:
            return _fail(f"{named}: {error.strerror}; name another path")
        if error.errno == errno.EIO:
            return _fail(f"the disk refuses to read or write (full, or failing): {named or error}")
        raise


def _fail(message: str) -> int:
    print(f"eyetune: {message}", file=sys.stderr)
    return 2
