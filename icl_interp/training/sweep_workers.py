"""One run of a sweep as a job, and all of them: those that other processes are training come last."""

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from icl_interp.jobs import WorkersDiedError, run, stop_signals
from icl_interp.runs.folder import RunBusyError, is_busy, read_manifest
from icl_interp.training.resume import OtherCircumstancesWarning
from icl_interp.training.run import TrainResult, train
from icl_interp.training.stopping import stop_when_asked
from icl_interp.training.sweep_table import FAILED, FINISHED, failed_row, run_row
from icl_interp.training.train_config import TrainConfig

RESUME_SECONDS = 30.0
"""Wall time between two states of a run in a sweep (ours)."""

Job = tuple[TrainConfig, Path]


def train_one_run(job: Job, stop_file: Path | None = None, *, wait: bool = True) -> dict[str, Any] | None:
    """Train one run to its end, whatever there is of it already."""
    torch.set_num_threads(1)
    config, folder = job
    started = time.monotonic()
    try:
        result = _train_when_free(config, folder, wait=wait, stop_file=stop_file)
    except RunBusyError:
        return None
    except Exception as error:
        # Any reason: one run that fails must not stop the others, and the table tells which did.
        return failed_row(folder, error, seconds=time.monotonic() - started)
    last, manifest = result.history[-1], read_manifest(folder)
    return run_row(FINISHED, step=last.step, loss=last.loss, seconds=manifest.get("seconds"))


def _train_when_free(config: TrainConfig, folder: Path, *, wait: bool, stop_file: Path | None) -> TrainResult:
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
    """
    how = {"workers": workers, "scheduler": scheduler, "on_stop": on_stop or _nobody}
    indices = list(range(len(jobs)))
    with stop_signals():  # between the two rounds as well
        for wait in (False, True):
            busy = []
            for number, row in _rows([jobs[index] for index in indices], wait=wait, **how):
                if row is None:
                    busy.append(indices[number])
                else:
                    yield indices[number], row
            if not busy:
                return
            (on_wait or _nobody)(len(busy))
            indices = busy


def _nobody(count: int) -> None:
    pass


def _rows(jobs: Sequence[Job], *, wait: bool, **how: Any) -> Iterator[tuple[int, dict[str, Any] | None]]:
    try:
        yield from run(jobs, partial(train_one_run, wait=wait), writing=_is_writing, **how)
    except WorkersDiedError as died:
        problem = f"its worker died {died.attempts} times, perhaps for want of memory"
        for index in died.left:
            yield index, run_row(FAILED, error=problem)


def _is_writing(job: Job) -> bool:
    return is_busy(job[1])
