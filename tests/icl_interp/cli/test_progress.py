"""Progress and errors on standard error: a bar on a terminal, plain lines elsewhere, nothing under --quiet."""

import io
import re
import sys

import pytest

from icl_interp.cli.errors import one_line_errors
from icl_interp.cli.progress import progress


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


def test_ctrl_c_is_no_error(capsys):
    with pytest.raises(SystemExit) as stop, one_line_errors():
        raise KeyboardInterrupt
    assert (stop.value.code, capsys.readouterr().err) == (130, "stopped\n")


def test_a_bug_keeps_its_traceback():
    with pytest.raises(RuntimeError, match="a bug"), one_line_errors():
        raise RuntimeError("a bug")
