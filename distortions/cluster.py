"""Work spread over a Dask cluster, of this machine or of many."""

import importlib.util
import logging
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import CancelledError, as_completed
from typing import TypeVar

from study.errors import InputError

T = TypeVar("T")
R = TypeVar("R")

CONNECT_SECONDS = 20


def check(executor: str) -> None:
    """Raise InputError where `executor` is none that work can be given to: processes, dask, or an address."""
    if executor == "processes":
        return
    if executor != "dask" and "://" not in executor:
        raise InputError(f"--executor {executor}: must be processes, dask or an address such as tcp://10.0.0.5:8786")
    if importlib.util.find_spec("distributed") is None:
        raise InputError(f"--executor {executor}: Dask is not installed; install it with: pip install 'eyetune[dask]'")


def done_by_dask(
    work: Callable[[T], R], units: Sequence[T], workers: int, executor: str
) -> Generator[tuple[T, R], None, None]:
    """Do `work` on every unit and give each back with what came of it once it is done, in any order.

    `executor`: "dask" for a cluster of `workers` processes on this machine, or the address of a scheduler. Raises
    InputError where no scheduler answers, where workers were killed or the scheduler has gone, and where they have no
    eyetune.
    """
    from distributed import Client, KilledWorker, LocalCluster

    if not units:
        return
    if executor != "dask":
        logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # what it would print is said below
        try:
            client = Client(executor, timeout=CONNECT_SECONDS)
        except (OSError, ValueError) as error:
            raise InputError(f"--executor {executor}: no Dask scheduler answers there ({error})") from None
    else:
        cluster = LocalCluster(
            n_workers=min(workers, len(units)),
            threads_per_worker=1,  # encoders have one thread each
            dashboard_address=None,
            scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},  # else 8787, which a second command finds taken
            silence_logs=logging.CRITICAL,
        )
        client = Client(cluster)
    try:
        # Results are files, so nothing but the units' paths and settings is sent.
        pool = client.get_executor(pure=False)
        futures = {pool.submit(work, unit): unit for unit in units}
        try:
            for future in as_completed(futures):
                yield futures.pop(future), future.result()
        finally:
            pool.shutdown(wait=False)  # cancels what is left
    except (KilledWorker, CancelledError) as error:
        raise InputError(
            f"--executor {executor}: the cluster lost the work ({type(error).__name__}), perhaps because memory ran"
            " out; what was finished is kept: run the same command again"
        ) from None
    except (ModuleNotFoundError, RuntimeError) as error:  # of a worker, of the scheduler
        if isinstance(error, RuntimeError) and "deserialization" not in str(error):
            raise
        raise InputError(
            f"--executor {executor}: the cluster cannot import what it is sent; install this eyetune, with its extras,"
            " where its scheduler and workers run"
        ) from None
    finally:
        client.close()
        if executor == "dask":
            cluster.close()
