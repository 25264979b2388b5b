"""Stimuli at an address: made, gone on with, shown, learnt from and handed out as from the study's own folder."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin

import arrow_stores
import boto3
import fsspec
import pytest
from conftest import photograph
from fsspec.registry import _registry
from joining import FORM, ticket_body
from PIL import Image
from test_distortions_distort import CLI, contents, new
from test_metric_training import FEW, voted
from test_simulate import score_mse
from test_webapp_blindness import whole_session

from distortions.distort import main
from metric.train import main as train
from mturk.questions.sessions import plan_form_session, publish_session
from study.bapps import export_bapps
from study.command import run
from study.errors import InputError
from study.files import sha256
from study.folder import Study
from study.image_store import AddressImages, FolderImages, image_store
from study.settings import parse_settings
from study.sources import pixels
from webapp.app import create_app
from webapp.simulate import main as simulate

PNG = b"these are the bytes of an image"


@pytest.fixture
def photographs(tmp_path) -> Path:
    folder = tmp_path / "photographs"
    folder.mkdir()
    for k in range(3):
        Image.fromarray(photograph(k, 80)).save(folder / f"{k}.png")
    return folder


@pytest.fixture
def expected(tmp_path, photographs) -> Path:
    """The study as one worker makes it in a folder."""
    root = new(tmp_path / "expected", photographs)
    main([str(root), "--workers", "1"])
    return root


@pytest.fixture
def memory() -> Iterator[str]:
    yield "memory://study/images"
    files = fsspec.filesystem("memory")
    files.store.clear()
    files.pseudo_dirs[:] = [""]


@pytest.fixture
def stores(monkeypatch) -> None:
    """The protocols of `arrow_stores`, in this process."""
    for protocol, store in arrow_stores.STORES.items():
        monkeypatch.setitem(_registry, protocol, store)


@pytest.fixture
def s3(s3_server, tmp_path, monkeypatch, stores):
    """A client of an S3 that this process and new ones know, with an empty bucket named as `tmp_path` is."""
    monkeypatch.setenv("PYTHONPATH", arrow_stores.installed(tmp_path / "packages"))
    for name, value in (
        ("AWS_ACCESS_KEY_ID", "key"), ("AWS_SECRET_ACCESS_KEY", "secret"), ("AWS_DEFAULT_REGION", "us-east-1"),
        ("AWS_ENDPOINT_URL", s3_server),
    ):  # fmt: skip
        monkeypatch.setenv(name, value)
    arrow_stores.S3.clear_instance_cache()
    client = boto3.client("s3")
    client.create_bucket(Bucket=tmp_path.name)
    yield client
    client.close()


def objects(client, bucket: str) -> dict[str, bytes]:
    """What is in the bucket, by key; folders' own markers are none."""
    keys = [found["Key"] for found in client.list_objects_v2(Bucket=bucket).get("Contents", [])]
    return {key: client.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys if not key.endswith("/")}


def tables(root: Path) -> dict[str, bytes]:
    """All of a study's files but its settings and images."""
    return {name: data for name, data in contents(root).items() if name.endswith((".parquet", ".json"))}


def images(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def eyetune(*arguments: str | Path) -> None:
    """Run the command in a process of its own."""
    finished = subprocess.run([*CLI, *map(str, arguments)], capture_output=True, text=True, timeout=120)
    assert finished.returncode == 0, finished.stderr


def test_a_study_in_s3_is_made_again_where_images_have_gone_and_is_shown(tmp_path, photographs, expected, s3, capsys):
    """Through real HTTP; other objects are left alone."""
    bucket = tmp_path.name
    root = new(tmp_path / "study", photographs, stimuli=f"s3://{bucket}/my/study")
    main([str(root), "--workers", "1"])
    kept = {f"my/study/{name}": data for name, data in images(expected / "stimuli").items()}
    assert objects(s3, bucket) == kept and tables(root) == tables(expected) and not (root / "stimuli").exists()
    capsys.readouterr()
    main([str(root)])
    assert "made already" in capsys.readouterr().out

    others = {"my/study/notes.txt": b"notes", "my/study/holiday.png": b"a photograph"}
    for name, data in others.items():
        s3.put_object(Bucket=bucket, Key=name, Body=data)
    gone = sorted(Study(root).stimuli["sha256"].unique())[::4]
    for digest in gone:
        s3.delete_object(Bucket=bucket, Key=f"my/study/{digest}.png")
    with pytest.raises(InputError, match=f"s3://{bucket}/my/study/.*.png is missing"):
        _ = Study(root).stimuli
    main([str(root), "--workers", "1"])
    assert f"{len(gone)} missing images were made again" in capsys.readouterr().out
    assert objects(s3, bucket) == kept | others

    simulate([str(score_mse(Study(root)).root), "--metric", "mse", "--observers", "1"])
    assert "SIMULATED votes" in capsys.readouterr().out


def test_force_removes_the_former_images_alone(tmp_path, photographs, expected, memory):
    root = new(tmp_path / "study", photographs, stimuli=memory)
    main([str(root), "--workers", "1"])
    files = fsspec.filesystem("memory")
    files.pipe_file("/study/images/holiday.png", PNG)
    new(root, photographs, stimuli=memory, seed=2)
    main([str(root), "--workers", "1", "--force"])
    fresh = new(tmp_path / "fresh", photographs, seed=2)
    main([str(fresh), "--workers", "1"])
    digests = [Study(each).images.digests() for each in (root, fresh, expected)]
    assert digests[0] == digests[1] != digests[2]
    assert files.cat_file("/study/images/holiday.png") == PNG


def test_a_dask_cluster_writes_to_s3(tmp_path, photographs, expected, s3):
    pytest.importorskip("distributed")
    root = new(tmp_path / "study", photographs, stimuli=f"s3://{tmp_path.name}/dask")
    eyetune("distort", root, "--workers", "2", "--executor", "dask")
    assert objects(s3, tmp_path.name) == {f"dask/{name}": data for name, data in images(expected / "stimuli").items()}
    assert tables(root) == tables(expected)


@pytest.mark.parametrize("protocol", ["s3", "disk"])
def test_an_image_is_whole_or_not_there_whenever_a_run_is_killed(tmp_path, photographs, expected, s3, protocol):
    """Two workers, killed as soon as there is an image, then two others; the result is as if nothing had been."""
    address = f"s3://{tmp_path.name}/killed" if protocol == "s3" else f"disk://{tmp_path}/images"
    root = new(tmp_path / "study", photographs, stimuli=address)
    command = [*CLI, "distort", str(root), "--workers", "2"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)

    def there() -> dict[str, bytes]:
        if protocol == "s3":
            return {name.removeprefix("killed/"): data for name, data in objects(s3, tmp_path.name).items()}
        return images(tmp_path / "images") if (tmp_path / "images").exists() else {}

    deadline = time.monotonic() + 60
    while not there():
        assert process.poll() is None and time.monotonic() < deadline
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    found = there()
    assert found and all(name == f"{sha256(data)}.png" for name, data in found.items() if name.endswith(".png"))
    eyetune("distort", root, "--workers", "2")
    assert there() == images(expected / "stimuli") and tables(root) == tables(expected)


def test_a_write_that_breaks_off_leaves_no_image(tmp_path, stores):
    """And what it left is swept; where objects appear whole, nothing is written aside."""
    digest = sha256(PNG)
    with pytest.raises(InputError, match="cannot be written .OSError: the line broke off"):
        AddressImages(f"half://{tmp_path}/a").add(digest, PNG)
    [left] = (tmp_path / "a").iterdir()
    assert left.name.startswith(f".{digest}.png.") and left.read_bytes() == PNG[: len(PNG) // 2]
    store = AddressImages(f"disk://{tmp_path}/a")
    assert store.digests() == set()
    store.sweep()
    assert not list((tmp_path / "a").iterdir())
    store.add(digest, PNG)
    assert images(tmp_path / "a") == {f"{digest}.png": PNG}


def test_an_image_is_added_twice_where_a_move_does_not_replace(tmp_path, stores):
    store = AddressImages(f"keeping://{tmp_path}/a")
    for _ in range(2):
        store.add(sha256(PNG), PNG)
    assert images(tmp_path / "a") == {f"{sha256(PNG)}.png": PNG}


def every_store(tmp_path: Path, memory: str) -> list:
    """One asynchronous, as s3fs and gcsfs are, among them."""
    addresses = ["stimuli", f"file://{tmp_path}/b", memory, f"disk://{tmp_path}/c", "async_wrapper::memory://d"]
    return [image_store(address, tmp_path) for address in addresses]


def test_stores_are_alike(tmp_path, memory, stores):
    """Added, listed, read, removed; files of other names are none of theirs."""
    found = every_store(tmp_path, memory)
    assert [type(store) for store in found] == [FolderImages] * 2 + [AddressImages] * 3
    for store in found:
        assert store.digests() == set()
        store.remove([])
        digests = [sha256(bytes([k])) for k in range(3)]
        for k, digest in enumerate(digests):
            store.add(digest, bytes([k]))
        assert store.digests() == set(digests) and store.read(digests[1]) == b"\x01"
        store.remove(digests[1:])
        store.sweep()
        assert store.digests() == {digests[0]}
        with pytest.raises(FileNotFoundError):
            store.read(digests[1])
    assert (tmp_path / "stimuli" / f"{digests[0]}.png").exists() and (tmp_path / "b" / f"{digests[0]}.png").exists()


def test_the_page_the_forms_and_the_metric_read_an_address(make_study, memory, tmp_path):
    """As from a folder, and no observer's browser is told of the address."""
    hits = {"question": "form", "upload": "public", "images_url": "http://127.0.0.1/public"}
    study, local = make_study(stimuli=memory, hits=hits, photographs=2), make_study("local", photographs=2)
    assert study.images.digests() == local.images.digests() and not (study.root / "stimuli").exists()
    study.check_images()
    _, responses, texts, shown = whole_session(study)
    assert {status for status, _, _ in responses} == {200}
    publish_session(study, plan_form_session(study))
    shown += [path.read_bytes() for path in (study.root / "public").rglob("*.*")]
    seen = "".join([*texts, *(repr(headers) for _, headers, _ in responses)]).encode() + b"".join(shown)
    assert len(shown) > 20 and b"memory" not in seen and b"study/images" not in seen
    (study.root / "votes.sqlite").unlink()
    assert simulate([str(score_mse(study).root), "--metric", "mse", "--observers", "2"]) == 0
    (study.root / "votes.sqlite").unlink()
    assert train([str(voted(study).root), *FEW]) == 0
    exported = []
    for each in (study, voted(local)):
        export_bapps(each, tmp_path / "bapps" / each.root.name)
        exported.append(contents(tmp_path / "bapps" / each.root.name))
    assert exported[0] == exported[1]


def test_an_image_that_goes_while_the_page_is_shown_is_an_error_without_the_address(make_study, memory):
    study = make_study(stimuli=memory)
    client = create_app(study).test_client()
    address = "/" + client.post("/join", data=ticket_body(study), headers=FORM).headers["Location"]
    [trial] = client.get(f"{address}/next").json["trials"][:1]
    image = urljoin(address, trial["left"])
    assert client.get(image).status_code == 200
    study.images.remove(study.images.digests())
    answer = client.get(image)
    assert answer.status_code == 500
    assert b"memory" not in answer.data + repr(answer.headers).encode()


def test_an_altered_and_a_missing_image_at_an_address_are_named(make_study, memory):
    study = make_study(stimuli=memory)
    first, second = study.stimuli["sha256"].iloc[:2]
    fsspec.filesystem("memory").pipe_file(f"/study/images/{first}.png", PNG)
    with pytest.raises(InputError, match=f"{memory}/{first}.png was altered"):
        study.check_images()
    study.images.remove([second])
    with pytest.raises(InputError, match=f"{memory}/{second}.png is missing; make it again"):
        study.image(second)
    with pytest.raises(InputError, match=f"{memory}/{second}.png is missing .stimulus"):
        _ = Study(study.root).stimuli


def test_the_images_can_be_moved(tmp_path, photographs, expected, memory, capsys):
    """The record does not name their place, so a study goes on where they were copied to."""
    record = (expected / "distort.json").read_bytes()
    assert b"stimuli" not in record
    fsspec.filesystem("memory").put(f"{expected}/stimuli", "/study/images", recursive=True)
    shutil.rmtree(expected / "stimuli")
    new(expected, photographs, stimuli=memory)
    main([str(expected), "--workers", "1"])
    assert "made already" in capsys.readouterr().out and (expected / "distort.json").read_bytes() == record
    Study(expected).check_images()


def test_a_study_without_the_key_keeps_its_images_below_it(tmp_path, photographs):
    root = new(tmp_path / "study", photographs)
    lines = (root / "study.toml").read_text().splitlines()
    assert 'stimuli = "stimuli"' in lines
    (root / "study.toml").write_text("\n".join(line for line in lines if not line.startswith("stimuli")))
    assert Study(root).images == FolderImages(root / "stimuli")


@pytest.mark.parametrize(
    "stimuli",
    ["", ".", "..", "../images", "/images", ".distort", "images/../..", "~/images", "s3:/bucket/images", "a\0b"],
)
def test_a_path_that_is_not_below_the_study_is_refused(stimuli):
    with pytest.raises(InputError, match="stimuli = .*must be a folder below the study"):
        parse_settings({"name": "x", "stimuli": stimuli}, "study.toml")


@pytest.mark.parametrize("stimuli", ["://images", "file://images", "file://./images", "local://images"])
def test_an_address_that_depends_on_where_a_command_is_run_is_refused(stimuli):
    """It would be another folder from elsewhere, where the study's images are missing."""
    with pytest.raises(InputError, match="stimuli = .*must be a whole address; .*file:///data/images"):
        parse_settings({"name": "x", "stimuli": stimuli}, "study.toml")


@pytest.mark.parametrize("stimuli", ["votes.sqlite", "stimuli.parquet", "study.toml/images"])
def test_a_folder_in_the_place_of_a_file_of_the_study_is_refused(stimuli):
    with pytest.raises(InputError, match="stimuli = .*the study has a file of that name; name another folder"):
        parse_settings({"name": "x", "stimuli": stimuli}, "study.toml")


@pytest.mark.parametrize(
    ("stimuli", "message"),
    [
        ("s3://key:hush@bucket/x", "stimuli has a password in its address"),
        ("simplecache::s3://key:hush@bucket/x", "stimuli has a password in its address"),
        ("nothing-known://x", "stimuli = 'nothing-known://x': .*Protocol not known"),
        ("s3://bucket/x", "stimuli = 's3://bucket/x': ImportError: .*s3fs"),
        ("ftp://127.0.0.1:1/x", "stimuli = 'ftp://127.0.0.1:1/x': cannot be reached .*refused"),
    ],
)
def test_an_address_that_cannot_be_used_is_one_line(tmp_path, photographs, monkeypatch, capsys, stimuli, message):
    monkeypatch.setitem(sys.modules, "s3fs", None)  # as where it is not installed
    root = new(tmp_path / "study", photographs, stimuli=stimuli)
    assert run(main, [str(root), "--workers", "1"]) == 2
    [line] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("eyetune:")]
    assert "hush" not in line
    with pytest.raises(InputError, match=message):
        raise InputError(line)


@pytest.mark.parametrize("endpoint", [None, "http://127.0.0.1:1"])
def test_a_bucket_that_is_not_there_and_a_server_that_does_not_answer(
    tmp_path, photographs, s3, monkeypatch, capsys, endpoint
):
    root = new(tmp_path / "study", photographs, stimuli="s3://absent/x")
    if endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    assert run(main, [str(root), "--workers", "1"]) == 2
    [line] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("eyetune:")]
    assert "eyetune: stimuli = 's3://absent/x': cannot be listed" in line and "credentials" in line


def test_a_place_that_workers_do_not_share_is_named(tmp_path, photographs, memory):
    """Each process has a memory of its own."""
    root = new(tmp_path / "study", photographs, stimuli=memory)
    with pytest.raises(InputError, match="made and is missing; stimuli must be one place for all workers"):
        main([str(root), "--workers", "2"])


def test_stimuli_among_the_photographs_are_refused(tmp_path, photographs, memory):
    """There they would be found as photographs by the next run. A study among photographs is passed over."""
    for folder, stimuli in (
        ("memory://study", memory), (memory, memory), (photographs, f"file://{photographs}/more"),
        (tmp_path / "study" / "stimuli", "stimuli"),
    ):  # fmt: skip
        root = new(tmp_path / "study", folder, stimuli=stimuli)
        (root / "stimuli").mkdir(exist_ok=True)
        with pytest.raises(InputError, match="is in photographs.folder; .*name another place"):
            main([str(root), "--workers", "1"])
    inside = new(photographs / "study", photographs)
    for _ in range(2):
        assert main([str(inside), "--workers", "1"]) == 0


def test_a_photograph_that_changes_during_a_run_is_refused(memory):
    """Its record would have the hash of the former."""
    fsspec.filesystem("memory").pipe_file("/photographs/a.png", PNG)
    with pytest.raises(InputError, match="memory://photographs: a.png was changed since the run began"):
        pixels("memory://photographs", "a.png", sha256(b"another"))
