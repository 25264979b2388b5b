"""Real data beside the project, for tests that use it where it is."""

import os
from pathlib import Path

import pytest

ROOT = Path(os.environ.get("EYETUNE_SHARED", Path(__file__).resolve().parent.parent.parent / "shared")) / "data"


def shared(name: str) -> Path:
    """The shared file or folder `name`; skips the test, saying so, where it is absent."""
    path = ROOT / name
    if not path.exists():
        pytest.skip(f"no real data: {name} (set EYETUNE_SHARED to the folder whose data/ has it)")
    return path
