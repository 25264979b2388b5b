"""Exit statuses and one-line errors that every verb shares."""

import errno
import subprocess
import sys

import pytest

import eyetune
from study.command import run
from study.errors import InputError


def raising(error):
    def main(argv=None):
        raise error

    return main


def test_bad_input_is_one_line_and_status_2(capsys):
    assert run(raising(InputError("study.toml: no"))) == 2
    assert capsys.readouterr().err == "eyetune: study.toml: no\n"


def test_interrupt_is_130(capsys):
    assert run(raising(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_one_line_and_status_2(number, capsys):
    assert run(raising(OSError(number, "No space left on device", "somewhere"))) == 2
    assert "the disk is full (somewhere)" in capsys.readouterr().err


def test_a_name_that_the_disk_does_not_take_is_one_line_and_status_2(tmp_path, capsys):
    assert run(lambda argv: (tmp_path / ("a" * 300)).write_text("")) == 2
    assert "name too long; name another path" in capsys.readouterr().err


def test_a_bug_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        run(raising(ZeroDivisionError()))


def test_unknown_verb_names_those_that_exist(capsys):
    assert run(eyetune.main, ["distrot"]) == 2
    assert "unknown verb 'distrot'; there are: demo, new, distort" in capsys.readouterr().err


def test_a_reader_that_leaves_early_is_no_error():
    command = f"{sys.executable} -m eyetune --help | head -1"
    finished = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, check=False
    )
    assert (finished.returncode, finished.stderr) == (0, "")


@pytest.mark.parametrize("verb", [verb for verb in eyetune.VERBS if verb not in ("new", "demo")])
def test_every_verb_refuses_a_folder_that_is_no_study(verb, tmp_path, capsys):
    before = [verb, *{"recruit": ["status"]}.get(verb, [])]
    arguments = {"simulate": ["--observers", "1"]}.get(verb, [])
    assert run(eyetune.main, [*before, str(tmp_path), *arguments]) == 2
    assert "is not a study folder" in capsys.readouterr().err
    assert run(eyetune.main, [*before, str(tmp_path / "absent"), *arguments]) == 2
    assert "no such folder" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []  # nothing left behind
