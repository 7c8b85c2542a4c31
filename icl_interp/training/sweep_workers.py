"""Where the runs of a sweep are trained: joblib's processes on this machine, or the workers of a Dask scheduler."""

import multiprocessing
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import joblib
import torch

from icl_interp.parallel import worker_died, workers_or_scheduler
from icl_interp.runs import RunBusyError, read_manifest
from icl_interp.training.run import TrainResult, train
from icl_interp.training.sessions import OtherCircumstancesWarning
from icl_interp.training.stopping import stop_when_asked
from icl_interp.training.sweep_table import FAILED, FINISHED, failed_row, run_row
from icl_interp.training.train_config import TrainConfig
from icl_interp.training.worker_stops import time_to_write

__all__ = ["run_all", "train_one_run"]

_stopped = False

ATTEMPTS = 3
"""How often runs whose worker died are given to others."""
RESUME_SECONDS = 30.0
"""Wall time between two states of a run in a sweep (ours)."""

Job = tuple[TrainConfig, Path]


def train_one_run(
    index: int, config: TrainConfig, folder: str, *, wait: bool = True, stop_file: str | None = None
) -> tuple[int, dict[str, Any] | None]:
    """Train one run to its end, whatever there is of it already; what a worker executes.

    Args:
        index: Given back, so that results may come in any order.
        config: The run.
        folder: Its place.
        wait: Whether a run that another process is training is waited for.
        stop_file: Asks this worker to stop, with the state of its run written, by being there.

    Returns:
        The index, and the columns of its row: status, step, loss, seconds, error. None instead of these where another
        process is training the run and shall not be waited for.

    Raises:
        KeyboardInterrupt: If Ctrl-C or `stop_file` reached this worker, now or in an earlier run.
    """
    global _stopped
    torch.set_num_threads(1)
    if _stopped or (stop_file is not None and Path(stop_file).exists()):
        raise KeyboardInterrupt
    started = time.monotonic()
    try:
        result = _train_when_free(config, folder, wait=wait, stop_file=stop_file)
    except RunBusyError:
        return index, None
    except KeyboardInterrupt:
        # A worker that was stopped begins nothing else before it is ended; this process may start another sweep.
        _stopped = multiprocessing.parent_process() is not None
        raise
    except Exception as error:
        # Any reason: one run that fails must not stop the others, and the table tells which did.
        return index, failed_row(Path(folder), error, seconds=time.monotonic() - started)
    last, manifest = result.history[-1], read_manifest(folder)
    return index, run_row(FINISHED, step=last.step, loss=last.loss, seconds=manifest.get("seconds"))


def _train_when_free(config: TrainConfig, folder: str, *, wait: bool, stop_file: str | None) -> TrainResult:
    options: dict[str, Any] = {} if stop_file is None else {"on_step": stop_when_asked(stop_file)}
    while True:
        try:
            with warnings.catch_warnings():
                # The manifest tells it; nobody looks at what single workers print.
                warnings.simplefilter("ignore", OtherCircumstancesWarning)
                return train(config, out=folder, resume=True, resume_seconds=RESUME_SECONDS, **options)
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
    on_stop: Callable[[int], None] | None = None,
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Train all runs.

    Those that other processes are training are left for the end and then waited for.

    Args:
        jobs: Config and folder of each.
        workers: Processes on this machine, where no scheduler is named.
        scheduler: Address of a Dask scheduler.
        on_wait: Called with the number of runs that are waited for, if there are any, when all others have ended.
        on_stop: Called with the number of runs whose states are waited for, after Ctrl-C or SIGTERM.

    Yields:
        Index and row of each run, as they end.

    Raises:
        ValueError: If dask is asked for and not installed, or the scheduler does not answer.
        KeyboardInterrupt: After Ctrl-C or SIGTERM, with the number of the signal, when the workers of this machine
            have written the states of their runs.
    """
    several = scheduler is None and workers > 1
    with tempfile.TemporaryDirectory(prefix="icl-sweep-") as notices:
        stop_file = Path(notices) / "stop" if several else None
        with time_to_write([folder for _, folder in jobs], stop_file, on_stop or _nobody):
            yield from _run_all(jobs, workers, scheduler, stop_file, on_wait or _nobody)


def _nobody(count: int) -> None:
    pass


def _run_all(
    jobs: Sequence[Job], workers: int, scheduler: str | None, stop_file: Path | None, on_wait: Callable[[int], None]
) -> Iterator[tuple[int, dict[str, Any]]]:
    open_jobs, deaths, wait = dict(enumerate(jobs)), 0, False
    while open_jobs and deaths < ATTEMPTS:
        try:
            with workers_or_scheduler(workers, scheduler):
                for index, row in _each_once(open_jobs, wait=wait, stop_file=stop_file):
                    if row is not None:
                        del open_jobs[index]
                        yield index, row
        except Exception as error:
            if not worker_died(error):
                raise
            deaths += 1
        else:
            if open_jobs and not wait:
                on_wait(len(open_jobs))
            wait = True
    for index in open_jobs:
        yield index, run_row(FAILED, error=f"its worker died {ATTEMPTS} times, perhaps for want of memory")


def _each_once(
    jobs: Mapping[int, Job], *, wait: bool, stop_file: Path | None
) -> Iterator[tuple[int, dict[str, Any] | None]]:
    parallel = joblib.Parallel(return_as="generator_unordered", batch_size=1, pre_dispatch="all")
    options = {"wait": wait, "stop_file": None if stop_file is None else str(stop_file)}
    tasks = [
        joblib.delayed(train_one_run)(index, config, str(folder), **options)
        for index, (config, folder) in jobs.items()
    ]  # fmt: skip
    results: Iterator[tuple[int, dict[str, Any] | None]] = parallel(tasks)
    return results
