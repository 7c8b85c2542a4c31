"""Ctrl-C and SIGTERM where several processes train: those that have a state get time to write it."""

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from icl_interp.runs import is_busy
from icl_interp.training.stopping import StopSignalError

__all__ = ["WRITE_SECONDS", "time_to_write"]

WRITE_SECONDS = 30.0
"""Wall time that workers have to finish a step and write their states after Ctrl-C or SIGTERM (ours)."""


@contextmanager
def time_to_write(folders: Sequence[Path], stop_file: Path | None, on_stop: Callable[[int], None]) -> Iterator[None]:
    """Answer Ctrl-C and SIGTERM by a KeyboardInterrupt, when the workers of this machine have written their states.

    Otherwise joblib ends them in the middle, or they outlive this process. The workers are asked by a file, since a
    signal that comes between two runs would kill one, and joblib then the others. A second Ctrl-C does not wait.

    Args:
        folders: Of the runs.
        stop_file: What workers look for; None where there are none.
        on_stop: Called with the number of runs whose states are waited for.

    Yields:
        Nothing.

    Raises:
        StopSignalError: After one of the two signals.
    """
    handled = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)} if handled else {}

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  # the signature of handlers
        signal.signal(signal.SIGINT, before[signal.SIGINT])
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # often sent again; who is in a hurry has Ctrl-C
        if stop_file is not None:
            stop_file.touch()
            _wait_for_states(folders, on_stop)
        raise StopSignalError(number)

    try:
        for number in before:
            signal.signal(number, stop)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait_for_states(folders: Sequence[Path], on_stop: Callable[[int], None]) -> None:
    give_up = time.monotonic() + WRITE_SECONDS
    busy = [folder for folder in folders if is_busy(folder)]
    if busy:
        on_stop(len(busy))
    while time.monotonic() < give_up and any(is_busy(folder) for folder in busy):
        time.sleep(0.05)
