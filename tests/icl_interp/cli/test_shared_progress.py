"""Progress and errors on standard error: a bar on a terminal, plain lines elsewhere, nothing under --quiet."""

import io
import sys

from icl_interp.cli.shared import progress


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
    monkeypatch.setattr("icl_interp.cli.shared.time.monotonic", lambda: next(clock))
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
    monkeypatch.setattr("icl_interp.cli.shared.time.monotonic", lambda: next(clock))
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
