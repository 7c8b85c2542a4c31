"""Where the runs of a sweep are trained: joblib's processes on this machine, or the workers of a Dask scheduler."""

import json
import multiprocessing
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import joblib
import torch

from icl_interp.parallel import worker_died, workers_or_scheduler
from icl_interp.runs import RunBusyError, is_busy
from icl_interp.training.run import TrainResult, train
from icl_interp.training.sessions import OtherCircumstancesWarning
from icl_interp.training.sweep_table import FAILED, FINISHED, run_row
from icl_interp.training.train_config import TrainConfig

__all__ = ["run_all", "train_one_run"]

_stopped = False

ATTEMPTS = 3
"""How often runs whose worker died are given to others."""
RESUME_SECONDS = 30.0
"""Wall time between two states of a run in a sweep (ours)."""

WRITE_SECONDS = 30.0
"""Wall time that workers have to finish a step and write their states after Ctrl-C (ours)."""

Job = tuple[TrainConfig, Path]


def train_one_run(
    index: int, config: TrainConfig, folder: str, *, wait: bool = True
) -> tuple[int, dict[str, Any] | None]:
    """Train one run to its end, whatever there is of it already; what a worker executes.

    Args:
        index: Given back, so that results may come in any order.
        config: The run.
        folder: Its place.
        wait: Whether a run that another process is training is waited for.

    Returns:
        The index, and the columns of its row: status, step, loss, seconds, error. None instead of these where another
        process is training the run and shall not be waited for.

    Raises:
        KeyboardInterrupt: If Ctrl-C reached this worker, now or in an earlier run.
    """
    global _stopped
    torch.set_num_threads(1)
    if _stopped:
        raise KeyboardInterrupt
    try:
        result = _train_when_free(config, folder, wait=wait)
    except RunBusyError:
        return index, None
    except KeyboardInterrupt:
        # A worker that was stopped begins nothing else before it is ended; this process may start another sweep.
        _stopped = multiprocessing.parent_process() is not None
        raise
    except Exception as error:
        # Any reason: one run that fails must not stop the others, and the table tells which did.
        return index, run_row(FAILED, error=f"{type(error).__name__}: {' '.join(str(error).split())}")
    last, manifest = result.history[-1], json.loads((Path(folder) / "manifest.json").read_text())
    return index, run_row(FINISHED, step=last.step, loss=last.loss, seconds=manifest["seconds"])


def _train_when_free(config: TrainConfig, folder: str, *, wait: bool) -> TrainResult:
    while True:
        try:
            with warnings.catch_warnings():
                # The manifest tells it; nobody looks at what single workers print.
                warnings.simplefilter("ignore", OtherCircumstancesWarning)
                return train(config, out=folder, resume=True, resume_seconds=RESUME_SECONDS)
        except RunBusyError as busy:
            if not wait:
                raise
            busy.wait()


def run_all(
    jobs: Sequence[Job],
    *,
    workers: int = 1,
    scheduler: str | None = None,
    on_wait: Callable[[int], None] | None = None,
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Train all runs.

    Those that other processes are training are left for the end and then waited for.

    Args:
        jobs: Config and folder of each.
        workers: Processes on this machine, where no scheduler is named.
        scheduler: Address of a Dask scheduler.
        on_wait: Called with the number of runs that are waited for, if there are any, when all others have ended.

    Yields:
        Index and row of each run, as they end.

    Raises:
        ValueError: If dask is asked for and not installed, or the scheduler does not answer.
    """
    open_jobs, deaths, wait = dict(enumerate(jobs)), 0, False
    while open_jobs and deaths < ATTEMPTS:
        try:
            folders = [folder for _, folder in open_jobs.values()]
            several = scheduler is None and workers > 1
            with workers_or_scheduler(workers, scheduler), _time_to_write(folders if several else []):
                for index, row in _each_once(open_jobs, wait=wait):
                    if row is not None:
                        del open_jobs[index]
                        yield index, row
        except Exception as error:
            if not worker_died(error):
                raise
            deaths += 1
        else:
            if open_jobs and not wait and on_wait is not None:
                on_wait(len(open_jobs))
            wait = True
    for index in open_jobs:
        yield index, run_row(FAILED, error=f"its worker died {ATTEMPTS} times, perhaps for want of memory")


def _each_once(jobs: Mapping[int, Job], *, wait: bool) -> Iterator[tuple[int, dict[str, Any] | None]]:
    parallel = joblib.Parallel(return_as="generator_unordered", batch_size=1, pre_dispatch="all")
    tasks = [
        joblib.delayed(train_one_run)(index, config, str(folder), wait=wait)
        for index, (config, folder) in jobs.items()
    ]  # fmt: skip
    results: Iterator[tuple[int, dict[str, Any] | None]] = parallel(tasks)
    return results


@contextmanager
def _time_to_write(folders: Sequence[Path]) -> Iterator[None]:
    """Let Ctrl-C, which a terminal sends to the workers as well, wait until they have written their states.

    Otherwise joblib ends them in the middle. A second Ctrl-C does not wait.
    """
    handled = bool(folders) and threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGINT)

    def wait(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  # the signature of handlers
        signal.signal(signal.SIGINT, before)
        give_up = time.monotonic() + WRITE_SECONDS
        busy = [folder for folder in folders if is_busy(folder)]
        while time.monotonic() < give_up and any(is_busy(folder) for folder in busy):
            time.sleep(0.05)
        raise KeyboardInterrupt

    if handled:
        signal.signal(signal.SIGINT, wait)
    try:
        yield
    finally:
        if handled:
            signal.signal(signal.SIGINT, before)
