"""Ctrl-C and SIGTERM: the step in progress is finished, the state is written, then the run stops."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["RunStoppedError", "stop_requests"]


class RunStoppedError(KeyboardInterrupt):
    """A run was asked to stop and left a state to resume from.

    Args:
        step: The last step taken.
        path: The run's folder, for people.
        number: Of the signal.
    """

    def __init__(self, step: int, path: str, number: int) -> None:
        super().__init__(f"stopped after step {step}; go on with icl-train --resume --out {path}")
        self.step = step
        self.number = number


@contextmanager
def stop_requests() -> Iterator[Callable[[], int | None]]:
    """Collect requests to stop instead of dying at once; a second Ctrl-C is as brutal as ever.

    Only the main thread of a process can do this; elsewhere signals keep their meaning.

    Yields:
        A function that gives the number of the signal that came, or None.
    """
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
