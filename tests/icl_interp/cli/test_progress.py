"""Progress and errors on standard error: a bar on a terminal, plain lines elsewhere, nothing under --quiet."""

import io
import re
import signal
import sys

import pytest
import torch

from icl_interp.cli.errors import one_line_errors
from icl_interp.cli.progress import progress
from icl_interp.jobs import StopSignalError


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_quiet_says_nothing(capsys):
    with progress("probing", 10, quiet=True) as tick:
        tick(10, "this model")
    assert capsys.readouterr() == ("", "")


def test_short_work_needs_no_lines(capsys):
    with progress("probing", 10) as tick:
        tick(5)
        tick(5, "this model")
    assert capsys.readouterr() == ("", "")


def test_long_work_gives_plain_lines_with_an_estimate(capsys, monkeypatch):
    clock = iter([0.0, 4.0, 20.0, 25.0, 40.0])
    monkeypatch.setattr("icl_interp.cli.progress.time.monotonic", lambda: next(clock))
    with progress("probing", 100) as tick:
        tick(10)  # after 4 s
        tick(15, "this model")  # after 20 s: a quarter is done, so three times as long is left
        tick(25)  # 5 s after the last line
        tick(50)  # after 40 s
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == ["probing: 25 %, about 60 s left this model", "probing: 100 %, about 0 s left"]


def test_there_is_no_estimate_before_a_twentieth_is_done(capsys, monkeypatch):
    clock = iter([0.0, 20.0, 40.0, 60.0])
    monkeypatch.setattr("icl_interp.cli.progress.time.monotonic", lambda: next(clock))
    with progress("probing", 1000) as tick:
        tick(3, "this model")  # the first units pay for the start
        tick(46)
        tick(1)
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["probing: 0 % this model", "probing: 5 %", "probing: 5 %, about 1140 s left"]


def test_a_terminal_gets_a_bar(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with progress("probing", 10) as tick:
        tick(4)
        tick(6, "this model")
    assert "probing" in terminal.getvalue()


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("wrong\n  in two lines"), "error: wrong in two lines\n"),
        (OSError("disk full"), "error: disk full\n"),
        (FloatingPointError("the loss was nan"), "error: the loss was nan\n"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), "error: 'utf-8' codec can't decode"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
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


def test_a_bug_keeps_its_traceback():
    with pytest.raises(RuntimeError, match="a bug"), one_line_errors():
        raise RuntimeError("a bug")
