"""What work that fails in a worker becomes: one line, or the error itself, whoever does the work."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from distortions.bpg.bits import FormatError
from distortions.protocol import CodecError
from distortions.workers import done
from study.errors import InputError, UnavailableError

UNITS = [0, 1, 2, 3]
MANNERS = [(1, "processes"), (2, "processes"), (2, "dask")]


def _fail(unit: int) -> int:
    if unit == 2:
        raise InputError("a.png: too small; use another")
    return unit


def _codec_fails(unit: int) -> int:
    raise (CodecError, FormatError, UnavailableError)[unit % 3](f"because of {unit}")


def _too_large(unit: int) -> int:
    if unit == 2:
        raise MemoryError
    return unit


def _killed(unit: int) -> int:
    if unit == 2:
        os.kill(os.getpid(), signal.SIGKILL)  # as Linux does where memory runs out
    time.sleep(0.1)
    return unit


def _same(unit: int) -> int:
    return unit


def _begun(mark: str) -> None:
    Path(mark).touch()
    time.sleep(60)


def finished(work, workers, executor):
    if executor == "dask":
        pytest.importorskip("distributed")
    return sorted(result for _, result in done(work, UNITS, workers, executor))


@pytest.mark.parametrize(("workers", "executor"), MANNERS)
def test_errors_come_back_as_they_were_raised(workers, executor):
    with pytest.raises(InputError, match=r"^a\.png: too small; use another$"):
        finished(_fail, workers, executor)
    with pytest.raises((CodecError, FormatError, UnavailableError), match=r"^because of [0-3]$"):
        finished(_codec_fails, workers, executor)


@pytest.mark.parametrize(("workers", "executor"), MANNERS)
def test_memory_that_runs_out_is_said_in_one_line(workers, executor):
    with pytest.raises(InputError, match="^memory ran out; .*fewer --workers.*$"):
        finished(_too_large, workers, executor)


@pytest.mark.parametrize(("workers", "executor"), MANNERS[1:])
def test_a_worker_that_is_killed_again_and_again_is_said_in_one_line(workers, executor):
    with pytest.raises(InputError, match=r"^.*(killed|KilledWorker).*memory ran out; .*$"):
        finished(_killed, workers, executor)


def test_a_port_that_another_cluster_has_is_not_asked_for():
    """8787 is Dask's for its pages, which nobody looks at here: a second command would warn that it is taken."""
    with socket.socket() as taken:
        with suppress(OSError):  # it is taken already
            taken.bind(("127.0.0.1", 8787))
            taken.listen()
        assert finished(_same, 2, "dask") == UNITS


@contextmanager
def cluster(*path: str):
    """A Dask cluster of one worker in a process of its own: its number, and its scheduler's address."""
    pytest.importorskip("distributed")
    code = "from distributed import LocalCluster as L; c = L(n_workers=1, threads_per_worker=1, dashboard_address=None)"
    code += "; print(c.scheduler_address, flush=True); input()"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        text=True, start_new_session=True, cwd="/", env=os.environ | {"PYTHONPATH": os.pathsep.join(path)},
    )  # fmt: skip
    assert process.stdin and process.stdout
    try:
        yield process.pid, process.stdout.readline().strip()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.stdin.close()
        process.stdout.close()
        process.wait()


def test_a_scheduler_that_goes_is_said_in_one_line(tmp_path, capfd):
    """Without the logs of Dask's client, which are 36 lines."""
    here, mark = Path(__file__).parent, tmp_path / "begun"

    def end() -> None:
        while not mark.exists():
            time.sleep(0.05)
        os.killpg(number, signal.SIGKILL)

    with cluster(str(here), str(here.parent)) as (number, address):
        killer = threading.Thread(target=end, daemon=True)
        killer.start()
        with pytest.raises(InputError, match="^--executor tcp://.*: the cluster lost the work"):
            list(done(_begun, [str(mark)], 1, address))
        killer.join()
    assert "Traceback" not in capfd.readouterr().err


def test_a_cluster_without_our_modules_is_told_of():
    with (
        cluster() as (_, address),
        pytest.raises(InputError, match="^--executor tcp://.*: the cluster cannot import .*install this eyetune"),
    ):
        finished(_fail, 1, address)
