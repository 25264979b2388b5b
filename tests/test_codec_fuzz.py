"""Whatever bytes an .eyt file has: it is refused in one line, or it is the image that was compressed."""

import json
import os
import subprocess
import sys
from pathlib import Path

COUNT = os.environ.get("EYETUNE_FUZZ", "500")  # make fuzz: 20,000
SEED = os.environ.get("EYETUNE_FUZZ_SEED", "1")


def test_damaged_files_are_refused_within_bounds_of_memory_and_time():
    """In a process that ends where an image takes long, or 256 MiB more; a crash of it is a failure too."""
    script = Path(__file__).parent / "fuzz_codec.py"
    finished = subprocess.run([sys.executable, str(script), COUNT, SEED], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr[-2000:]
    outcomes = json.loads(finished.stdout)
    print(finished.stdout, finished.stderr)
    assert sum(outcomes.values()) >= 0.99 * int(COUNT)
    reached = " ".join(outcomes)
    for outcome in (
        "not an",
        "truncated",
        "bytes after its end",
        "its checksum",
        "the code goes on",
        "the range coder stopped",
        "decoded symbols are not those",
        "implausible size",
        "rate position",
        "another codec",
        "the image",
        "made to deceive",
    ):
        assert outcome in reached
