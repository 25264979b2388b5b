"""`eyetune distort` spread wide: one result on any executor and from any address, and nothing left behind."""

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import fsspec
import pytest
from conftest import photograph
from moto.server import ThreadedMotoServer
from PIL import Image
from test_distortions_distort import CLI, new

from distortions.distort import main
from study.errors import InputError
from study.folder import Study
from study.new import main as make_new
from study.sources import fetched


def made(root: Path) -> dict[str, bytes]:
    """Tables and images; the settings name folders that differ."""
    files = [path for path in root.rglob("*") if path.is_file() and path.name != "study.toml"]
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def files() -> dict[str, bytes]:
    """Three photographs, one of 16 bits a sample; a hidden one and a study's are to be passed over."""
    found = {}
    for name in ("0.png", "more/1.png", "2.PNG", ".hidden/3.png", "study/4.png"):
        file = io.BytesIO()
        Image.fromarray(photograph(len(found), 80)).save(file, "PNG")
        found[name] = file.getvalue()
    return found | {"notes.txt": b"not a photograph", "study/study.toml": b"", "text.png": b"not one either"}


@pytest.fixture
def photographs(tmp_path):
    folder = tmp_path / "photographs"
    for name, data in files().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture
def expected(tmp_path, photographs):
    """What one worker makes of the photographs in a folder."""
    root = new(tmp_path / "expected", photographs)
    main([str(root), "--workers", "1"])
    return made(root)


def test_a_dask_cluster_makes_what_one_worker_makes(tmp_path, photographs, expected):
    """One that the command starts, and one that is there already."""
    pytest.importorskip("distributed")
    root = new(tmp_path / "dask", photographs)
    distorted(root, "--workers", "2", "--executor", "dask")
    assert made(root) == expected

    other = new(tmp_path / "other", photographs)
    code = "from distributed import LocalCluster as L; c = L(n_workers=1, threads_per_worker=1, dashboard_address=None)"
    code += "; print(c.scheduler_address, flush=True); input(); c.close()"
    cluster = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert cluster.stdin and cluster.stdout
    try:
        distorted(other, "--executor", cluster.stdout.readline().strip())
    finally:
        cluster.communicate("\n", timeout=60)
    assert made(other) == expected


def distorted(root: Path, *options: str) -> None:
    command = [*CLI, "distort", str(root), *options]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert finished.returncode == 0, finished.stderr


def test_an_executor_that_is_none_and_one_that_is_not_installed(tmp_path, photographs, monkeypatch):
    root = new(tmp_path / "study", photographs)
    with pytest.raises(InputError, match="--executor threads: must be processes, dask or an address"):
        main([str(root), "--executor", "threads"])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'eyetune\[dask\]'"):
        main([str(root), "--executor", "dask"])


def test_photographs_in_memory_and_by_a_file_address(tmp_path, photographs, expected):
    memory = fsspec.filesystem("memory")
    for name, data in files().items():
        memory.pipe(f"/photographs/{name}", data)
    try:
        root = new(tmp_path / "memory", "memory://photographs")
        main([str(root), "--workers", "1"])
        assert made(root) == expected
    finally:
        memory.rm("/photographs", recursive=True)
    root = new(tmp_path / "file", f"file://{photographs}")
    main([str(root), "--workers", "1"])
    assert made(root) == expected


def test_photographs_in_s3(tmp_path, expected, monkeypatch):
    """Two workers, each of which fetches its own from a real S3 server on this machine."""
    pytest.importorskip("s3fs")
    import boto3

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    for name, value in (
        ("AWS_ACCESS_KEY_ID", "key"), ("AWS_SECRET_ACCESS_KEY", "secret"), ("AWS_DEFAULT_REGION", "us-east-1"),
        ("AWS_ENDPOINT_URL", address),
    ):  # fmt: skip
        monkeypatch.setenv(name, value)
    try:
        client = boto3.client("s3")
        client.create_bucket(Bucket="bucket")
        for name, data in files().items():
            client.put_object(Bucket="bucket", Key=f"some/{name}", Body=data)
        client.close()
        root = new(tmp_path / "s3", "s3://bucket/some")
        distorted(root, "--workers", "2")
        assert made(root) == expected
    finally:
        server.stop()
        server._server.server_close()


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("nothing-known://x", "Protocol not known"),
        ("memory://absent", "memory://absent.*(cannot be listed|no photographs)"),
        ("ftp://me:hush@127.0.0.1/x", "has a password in its address"),
    ],
)
def test_an_address_that_cannot_be_read_is_named(tmp_path, folder, message):
    root = new(tmp_path / "study", folder)
    with pytest.raises(InputError, match=message) as error:
        main([str(root), "--workers", "1"])
    assert "\n" not in str(error.value) and "hush" not in str(error.value)


def test_an_absent_package_is_named(tmp_path, monkeypatch):
    """Every name that fsspec has for S3, as where s3fs is not installed."""
    monkeypatch.setitem(sys.modules, "s3fs", None)
    root = new(tmp_path / "study", "s3://bucket/some")
    with pytest.raises(InputError, match="s3fs"):
        main([str(root), "--workers", "1"])


def test_a_photograph_that_goes_stops_the_run_and_is_not_passed_over():
    """The network may be at fault: left out, it would change the study's design."""
    with pytest.raises(InputError, match="memory://absent: a.png cannot be read .*run the same command again"):
        fetched("memory://absent", "a.png")


def test_new_takes_an_address_as_it_is(tmp_path):
    make_new([str(tmp_path / "study"), "--images", "s3://bucket/some"])
    assert Study(tmp_path / "study").settings.photographs.folder == "s3://bucket/some"


@pytest.mark.parametrize(
    ("how", "executor"), [(signal.SIGINT, "processes"), (signal.SIGKILL, "processes"), (signal.SIGINT, "dask")]
)
def test_no_program_and_no_folder_of_it_outlive_an_interrupted_run(tmp_path, photographs, how, executor):
    """Two workers wait for an encoder that sleeps: Ctrl-C, and a parent that is killed. Dask's leave the folder."""
    if executor == "dask":
        pytest.importorskip("distributed")
    started, temporary = tmp_path / "started", tmp_path / "temporary"
    started.mkdir()
    temporary.mkdir()
    sleeper = f"import os, time; open({str(started)!r} + '/' + str(os.getpid()), 'w').close(); time.sleep(100)"
    settings = {
        "encode": [sys.executable, "-c", sleeper, "{input}", "{output}", "{quality}"],
        "decode": [sys.executable, "{input}", "{output}"],
        "version": [sys.executable, "--version"],
        "worst": 1,
        "best": 9,
    }
    root = new(tmp_path / "study", photographs, codecs=[{"name": "program", "settings": settings}, {"name": "jpeg"}])
    process = subprocess.Popen(
        [*CLI, "distort", str(root), "--workers", "2", "--executor", executor],
        stderr=subprocess.DEVNULL, start_new_session=True,
        env=os.environ | {"TMPDIR": str(temporary)},
    )  # fmt: skip
    wait_until(lambda: len(list(started.iterdir())) == 2)
    programs = [int(path.name) for path in started.iterdir()]
    assert all(alive(program) for program in programs) and len(list(temporary.glob("eyetune-*"))) == 2
    if how == signal.SIGINT:
        os.killpg(process.pid, how)
    else:
        os.kill(process.pid, how)
    process.wait(20)
    wait_until(lambda: not any(alive(program) for program in programs))
    if executor == "processes":
        wait_until(lambda: not list(temporary.glob("eyetune-*")))


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until(true) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)
