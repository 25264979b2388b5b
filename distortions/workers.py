"""Work spread over processes that end when their parent does."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from distortions.cluster import done_by_dask
from study.errors import InputError

T = TypeVar("T")
R = TypeVar("R")


def done(
    work: Callable[[T], R], units: Sequence[T], workers: int, executor: str = "processes"
) -> Generator[tuple[T, R], None, None]:
    """Do `work` on every unit and give each back with what came of it once it is done, in any order.

    One worker is this process itself. An exception of the work, Ctrl-C too, stops all of it at once: units in the
    making are dropped. Raises InputError where memory ran out, or the system killed a worker.

    `executor`: "processes", or what `distortions.cluster.done_by_dask` takes.
    """
    try:
        yield from _done(work, units, workers, executor)
    except MemoryError:
        raise InputError(
            "memory ran out; what was finished is kept: run the same command again, with fewer --workers, or with"
            " smaller photographs"
        ) from None


def _done(
    work: Callable[[T], R], units: Sequence[T], workers: int, executor: str
) -> Generator[tuple[T, R], None, None]:
    if executor != "processes":
        yield from done_by_dask(work, units, workers, executor)
        return
    if workers == 1 or len(units) < 2:
        for unit in units:
            yield unit, work(unit)
        return
    pool = ProcessPoolExecutor(min(workers, len(units)), multiprocessing.get_context("spawn"), _start)
    try:
        futures = {pool.submit(work, unit): unit for unit in units}
        for future in as_completed(futures):
            yield futures.pop(future), future.result()
    except BrokenProcessPool:
        raise InputError(
            "a worker process was killed, perhaps because memory ran out; what was finished is kept: run the same"
            " command again, with fewer --workers"
        ) from None
    except BaseException:
        for process in (pool._processes or {}).values():  # Python 3.14's terminate_workers(), before there was one
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _start() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_follow_parent, daemon=True).start()


def _follow_parent() -> None:
    """End this process when its parent was killed: its queue alone would keep it waiting for ever.

    By the signal that a parent would send, so that a program of this process ends with it.
    """
    parent = multiprocessing.parent_process()
    if parent:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
