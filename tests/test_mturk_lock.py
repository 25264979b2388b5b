"""One command at a time spends a study's money."""

import subprocess
import sys

import pytest

from mturk.requester.lock import paying
from study.errors import InputError

HOLD = """
import sys, time
from mturk.requester.lock import paying
from study.folder import Study
with paying(Study(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_command_is_refused_and_a_killed_one_frees_the_lock(make_study):
    study = make_study()
    with subprocess.Popen([sys.executable, "-c", HOLD, str(study.root)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(InputError, match=f"another command .* \\(process {other.pid}\\)"), paying(study):
            pass
        other.kill()
    with paying(study):
        with pytest.raises(InputError, match="another command"), paying(study):
            pass
    with paying(study):  # the file is still there, its lock is not
        assert (study.root / "paying.lock").exists()
