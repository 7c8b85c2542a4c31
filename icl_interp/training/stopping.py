"""Ctrl-C and SIGTERM: the step in progress is finished, the state is written, then the run stops.

Runs in other processes, such as the workers of a sweep, are asked by a file.
"""

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

LOOK_SECONDS = 0.2  # between two looks for the file that asks a run to stop (our choice)


class RunStoppedError(KeyboardInterrupt):
    """A run was asked to stop and left a state to resume from."""

    def __init__(self, step: int, path: str, number: int) -> None:
        super().__init__(f"stopped after step {step}; go on with icl-train --resume --out {path}")
        self.step = step
        self.path = path
        self.number = number

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.step, self.path, self.number)  # a worker hands it back


@contextmanager
def stop_requests() -> Iterator[Callable[[], int | None]]:
    """Collect requests to stop instead of ending at once, in the main thread; a second Ctrl-C ends at once."""
    came: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  # the signature of handlers
        if came and number == signal.SIGINT:
            raise KeyboardInterrupt
        came.append(number)

    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.signal(number, remember) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: came[0] if came else None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def looks_for(file: str | Path) -> Callable[[], bool]:
    """Make a cheap question after every step: is there a file yet?"""
    path, looked, there = Path(file), -math.inf, False

    def look() -> bool:
        nonlocal looked, there
        now = time.monotonic()
        if now - looked >= LOOK_SECONDS:
            looked, there = now, path.exists()
        return there

    return look


def stop_when_asked(file: str | Path) -> Callable[[object], None]:
    """Let another process stop a run as a signal would: between two steps, with its state written."""
    asked = looks_for(file)

    def stop(record: object) -> None:  # noqa: ARG001  # any step
        if asked():
            signal.raise_signal(signal.SIGTERM)

    return stop
