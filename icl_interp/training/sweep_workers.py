"""Where the runs of a sweep are trained: joblib's processes on this machine, or the workers of a Dask scheduler."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import joblib
import torch

from icl_interp.parallel import worker_died, workers_or_scheduler
from icl_interp.training.run import train
from icl_interp.training.sweep_table import FAILED, FINISHED, run_row
from icl_interp.training.train_config import TrainConfig

__all__ = ["run_all", "train_one_run"]

ATTEMPTS = 3
"""How often runs whose worker died are given to others."""
RESUME_SECONDS = 30.0
"""Wall time between two states of a run in a sweep (ours)."""

Job = tuple[TrainConfig, Path]


def train_one_run(index: int, config: TrainConfig, folder: str) -> tuple[int, dict[str, Any]]:
    """Train one run to its end, whatever there is of it already; what a worker executes.

    Args:
        index: Given back, so that results may come in any order.
        config: The run.
        folder: Its place.

    Returns:
        The index, and the columns of its row: status, step, loss, seconds, error.
    """
    torch.set_num_threads(1)
    try:
        result = train(config, out=folder, resume=True, resume_seconds=RESUME_SECONDS)
    except Exception as error:
        # Any reason: one run that fails must not stop the others, and the table tells which did.
        return index, run_row(FAILED, error=f"{type(error).__name__}: {' '.join(str(error).split())}")
    last, manifest = result.history[-1], json.loads((Path(folder) / "manifest.json").read_text())
    return index, run_row(FINISHED, step=last.step, loss=last.loss, seconds=manifest["seconds"])


def run_all(
    jobs: Sequence[Job], *, workers: int = 1, scheduler: str | None = None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Train all runs.

    Args:
        jobs: Config and folder of each.
        workers: Processes on this machine, where no scheduler is named.
        scheduler: Address of a Dask scheduler.

    Yields:
        Index and row of each run, as they end.

    Raises:
        ValueError: If dask is asked for and not installed, or the scheduler does not answer.
    """
    open_jobs = dict(enumerate(jobs))
    for _ in range(ATTEMPTS):
        try:
            with workers_or_scheduler(workers, scheduler):
                parallel = joblib.Parallel(return_as="generator_unordered", batch_size=1, pre_dispatch="all")
                tasks = (
                    joblib.delayed(train_one_run)(index, config, str(folder))
                    for index, (config, folder) in list(open_jobs.items())
                )
                for index, row in parallel(tasks):
                    del open_jobs[index]
                    yield index, row
        except Exception as error:
            if not worker_died(error):
                raise
            continue
        if not open_jobs:
            return
    for index in list(open_jobs):
        yield index, run_row(FAILED, error=f"its worker died {ATTEMPTS} times, perhaps for want of memory")
