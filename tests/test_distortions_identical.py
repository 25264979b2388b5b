"""Four photographs by eight codecs at two rates come out the same, however the work is done."""

import os
import signal
import subprocess
import time

import pytest
from conftest import photograph
from PIL import Image
from test_distortions_distort import CLI, new
from test_distortions_scale import made

from study.folder import Study

CODECS = {  # with the settings that make them quick
    "jpeg": {}, "jpeg2000": {}, "webp": {"method": 2}, "avif": {"speed": 9}, "heic": {"preset": "veryfast"},
    "jpegxl": {"effort": 3}, "jpegxr": {}, "bpg": {"preset": "fast"},
}  # fmt: skip


def test_one_worker_two_an_interrupted_run_and_a_dask_cluster_make_the_same(tmp_path):
    """Tables, images and distort.json, byte for byte. Ctrl-C comes when the first photograph is done."""
    for package in ("av", "pillow_heif", "imagecodecs", "distributed"):
        pytest.importorskip(package)
    folder = tmp_path / "photographs"
    folder.mkdir()
    for k in range(4):
        Image.fromarray(photograph(k, 96)).save(folder / f"{k}.png")
    codecs = [{"name": name, "settings": settings} for name, settings in CODECS.items()]
    rates = {"bits_per_pixel": [1.0, 2.0], "tolerance": 0.2}
    names = ("one", "two", "interrupted", "dask")
    roots = [new(tmp_path / name, folder, codecs=codecs, rates=rates) for name in names]

    def run(place: int, *options: str) -> None:
        finished = subprocess.run([*CLI, "distort", str(roots[place]), *options], capture_output=True, text=True)
        assert finished.returncode == 0, finished.stderr

    run(0, "--workers", "1")
    run(1, "--workers", "2")
    stopped = subprocess.Popen(
        [*CLI, "distort", str(roots[2]), "--workers", "2"], stderr=subprocess.DEVNULL, start_new_session=True
    )
    until = time.monotonic() + 60
    while not (parts := list(roots[2].glob(".distort/*/*.json"))) and time.monotonic() < until:
        time.sleep(0.01)
    os.killpg(stopped.pid, signal.SIGINT)
    assert stopped.wait(30) == 130 and 0 < len(parts) < 4 and not (roots[2] / "stimuli.parquet").exists()
    run(2, "--workers", "1")
    run(3, "--workers", "2", "--executor", "dask")

    expected = made(roots[0])
    assert all(made(root) == expected for root in roots[1:])
    stimuli = Study(roots[0]).stimuli
    reached = stimuli.dropna(subset="target_bits_per_pixel").groupby("codec")["target_bits_per_pixel"]
    assert (reached.nunique() == 2).sum() == len(CODECS) and stimuli["source"].nunique() == 4
