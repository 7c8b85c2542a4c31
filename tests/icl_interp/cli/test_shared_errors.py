"""How a command ends: one sentence and the code that says whose fault it was."""

import errno
import os
import pickle
import re
import signal
import subprocess
import sys

import pytest
import torch

from icl_interp import InputError
from icl_interp.cli.shared import one_line_errors
from icl_interp.errors import CheckpointError, DivergedError, InputTypeError, UserCodeError, users_code
from icl_interp.jobs import StopSignalError
from icl_interp.measure.development.record import MeasurementError
from icl_interp.runs.folder import RunBusyError
from icl_interp.training.ensemble import EnsembleDivergedError
from probes.learning_coefficient import NonFiniteLossError


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (InputError("wrong\n  in two lines"), "error: wrong in two lines\n"),
        (InputTypeError("a list"), "error: a list\n"),
        (OSError("disk full"), "error: disk full\n"),
        (
            OSError(errno.EACCES, "Permission denied", "a/place"),
            "error: a/place cannot be used (Permission denied); check the place and its permissions.\n",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device", "a/place"),
            "error: a/place cannot be used (No space left on device); make room there.\n",
        ),
        (DivergedError("the loss was nan"), "error: the loss was nan\n"),
        (EnsembleDivergedError("the loss was nan", {}, {}), "error: the loss was nan\n"),
        (CheckpointError("no checkpoint"), "error: no checkpoint\n"),
        (MeasurementError("nan"), "error: nan\n"),
        (NonFiniteLossError("nan"), "error: nan\n"),
        (RunBusyError("run"), "error: a run has one writer"),
    ],
    ids=repr,
)
def test_bad_input_is_one_line_and_exit_code_2(capsys, error, line):
    with pytest.raises(SystemExit) as stop, one_line_errors():
        raise error
    assert stop.value.code == 2
    err = capsys.readouterr().err
    assert err.startswith(line)
    assert re.fullmatch(r"[^\n]+\n", err)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate\n 20 GiB. " + "More. " * 99),
            "CUDA out of memory",
        ),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate"), "DefaultCPUAllocator: "),
        (MemoryError(), "MemoryError"),
    ],
    ids=["device", "cpu", "python"],
)
def test_short_memory_is_one_line_with_advice(capsys, error, reason):
    with pytest.raises(SystemExit) as stop, one_line_errors(to_save_memory="lower --prompts"):
        raise error
    err = capsys.readouterr().err
    assert stop.value.code == 2
    assert re.fullmatch(rf"error: this needs more memory than there is \({reason}[^\n]*\); lower --prompts\.\n", err)
    assert len(err) < 300


def test_memory_that_torch_cannot_find_on_the_cpu_is_told_by_its_text(capsys):
    with pytest.raises(SystemExit), one_line_errors():
        torch.empty(2**55)
    assert "more memory than there is" in capsys.readouterr().err


@pytest.mark.parametrize(("stop", "code"), [(KeyboardInterrupt(), 130), (StopSignalError(signal.SIGTERM), 143)])
def test_a_stop_is_no_error(capsys, stop, code):
    with pytest.raises(SystemExit) as ended, one_line_errors():
        raise stop
    assert (ended.value.code, capsys.readouterr().err) == (code, "stopped\n")


@pytest.mark.parametrize(
    "error",
    [ValueError("a bug"), TypeError("a bug"), KeyError("a bug"), RuntimeError("a bug"), FloatingPointError("a bug"),
     AssertionError("a bug"), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "a bug")],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_a_fault_of_ours_is_in_a_file(capsys, tmp_path, monkeypatch, error):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(SystemExit) as stop, one_line_errors():
        raise error
    (file,) = tmp_path.iterdir()
    name = type(error).__name__
    sentence = f"error: this is a fault of icl-interp and not of your input ({name}); {file} holds the traceback, "
    assert stop.value.code == 1
    assert capsys.readouterr().err == f"{sentence}please report it with that file.\n"
    text = file.read_text(encoding="utf-8")
    assert re.search(rf'test_shared_errors.py".*raise error.*{name}: .*a bug', text, re.DOTALL)


def test_a_fault_of_ours_is_told_where_no_file_can_be_written(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    with pytest.raises(SystemExit) as stop, one_line_errors():
        raise KeyError("a bug")
    err = capsys.readouterr().err
    assert stop.value.code == 1
    assert err.startswith("Traceback")
    assert err.endswith("(KeyError); please report it with the lines above.\n")


def _theirs():
    return [][3]


def test_an_error_in_the_users_code_shows_their_lines_and_not_ours(capsys):
    with pytest.raises(SystemExit) as stop, one_line_errors(), users_code("--model mine.py:load"):
        _theirs()
    *lines, last = capsys.readouterr().err.splitlines()
    assert stop.value.code == 2
    assert last == "error: --model mine.py:load is your own code, and it raised IndexError: list index out of range."
    assert sum("test_shared_errors.py" in line for line in lines) == 1
    assert any("in _theirs" in line for line in lines)


def test_code_of_the_users_that_misuses_this_package_is_theirs_and_nested_once():
    with pytest.raises(UserCodeError, match=r"^inner is your own code, and it raised InputError: wrong.$") as caught:  # noqa: SIM117
        with users_code("outer"), users_code("inner"):
            raise InputError("wrong.")
    assert isinstance(caught.value.__cause__, InputError)


def test_an_error_in_the_users_code_comes_back_from_workers():
    with pytest.raises(UserCodeError) as caught, users_code("mine"):
        _theirs()
    copied = pickle.loads(pickle.dumps(caught.value))
    assert (str(copied), copied.traceback) == (str(caught.value), caught.value.traceback)


LINES = """
import sys, time
from icl_interp.cli.shared import one_line_errors
with one_line_errors():
    for number in range(20000):
        print(number, flush=True, file=sys.{stream})
"""


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_reader_that_has_seen_enough_is_no_error(stream, tmp_path):
    with (tmp_path / "other").open("w+b") as other:
        pipes = {"stdout": other, "stderr": other, stream: subprocess.PIPE}
        child = subprocess.Popen([sys.executable, "-c", LINES.format(stream=stream)], **pipes)
        reader = getattr(child, stream)
        assert reader.readline() == b"0\n"
        reader.close()
        assert child.wait(timeout=60) == 141
        other.seek(0)
        assert other.read() == b""


def test_a_pipe_of_somebody_elses_is_an_error():
    code = "from icl_interp.cli.shared import *\nwith one_line_errors():\n    raise BrokenPipeError('worker')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, "error: worker\n")


def test_a_locale_without_the_letters_of_a_sentence_is_no_error():
    plain = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
    code = "from icl_interp.cli.shared import one_line_errors\nwith one_line_errors():\n    print('R\\u00b2')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=plain)
    assert (done.returncode, done.stdout, done.stderr) == (0, "R?\n", "")
