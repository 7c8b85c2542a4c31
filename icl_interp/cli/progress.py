"""Progress with an estimate on a terminal, plain lines elsewhere, nothing under --quiet."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

__all__ = ["Tick", "progress"]

PLAIN_SECONDS = 10.0
"""Seconds between two plain lines."""
SURE = 0.05
"""Share of the work that must be done before its speed is taken as a forecast: the first units pay for the start."""


class Tick(Protocol):
    """What a long computation calls: so much more is done."""

    def __call__(self, done: int, note: str = "") -> None:
        """Report progress.

        Args:
            done: Units since the last call.
            note: A few words on what is going on.
        """
        ...


@contextmanager
def progress(what: str, total: int, *, quiet: bool = False) -> Iterator[Tick]:
    """Show how far a computation is, on standard error.

    Args:
        what: Its name.
        total: Units in all.
        quiet: Show nothing.

    Yields:
        A function to call with the units done since the last call.
    """
    if quiet:
        yield _silent
    elif sys.stderr.isatty():
        with _rich_bar(what, total) as tick:
            yield tick
    else:
        yield _PlainLines(what, total)


def _silent(done: int, note: str = "") -> None:
    pass


@contextmanager
def _rich_bar(what: str, total: int) -> Iterator[Tick]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total, note="")
        yield lambda done, note="": bar.update(task, advance=done, note=note)


class _PlainLines:
    def __init__(self, what: str, total: int) -> None:
        self.what, self.total, self.done = what, total, 0
        self.started = self.last = time.monotonic()

    def __call__(self, done: int, note: str = "") -> None:
        self.done += done
        now = time.monotonic()
        if now - self.last < PLAIN_SECONDS:
            return
        self.last = now
        share = self.done / self.total
        estimate = f", about {(now - self.started) * (1 - share) / share:.0f} s left" if share >= SURE else ""
        print(f"{self.what}: {100 * share:.0f} %{estimate} {note}".rstrip(), file=sys.stderr)  # noqa: T201
