"""One run of an analysis before anything is measured."""

from collections.abc import Mapping
from dataclasses import dataclass

from icl_interp.checkpoints.record import Checkpoint
from icl_interp.measure.development_cache import RecordStore
from icl_interp.measure.development_files import RunFiles
from icl_interp.tasks.base import Task
from icl_interp.tasks.linear_regression import LinearRegression
from icl_interp.tasks.task_pool import TaskPool
from probes._reprs import short_repr

__all__ = ["PlannedRun", "run_names"]


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """A run, its newest checkpoint, and where its records go."""

    files: RunFiles
    """Its checkpoints up to the newest that can be read."""
    checkpoint: Checkpoint
    """The newest that can be read, which says what is in distribution."""
    store: RecordStore
    """Of its records."""
    unreadable: Mapping[int, str]
    """Why each newer checkpoint cannot be read, by step."""

    __repr__ = short_repr


def run_names(runs: list[PlannedRun]) -> list[str]:
    """Name runs so that they are told apart: by the pool's size where there are pools, then by seed, then by folder.

    Args:
        runs: Of one analysis.

    Returns:
        One name each, all different.
    """
    pools = any(isinstance(run.checkpoint.task, TaskPool) for run in runs)
    names = [_size(run.checkpoint.task) if pools and len(runs) > 1 else None for run in runs]
    named = [name or run.files.folder.resolve().name or "run" for name, run in zip(names, runs, strict=True)]
    if len(set(named)) < len(named):
        seeds = [run.files.seed for run in runs]
        named = [n if seed is None else f"{n}, seed {seed}" for n, seed in zip(named, seeds, strict=True)]
    if len(set(named)) < len(named):
        named = [f"{n} ({number})" for number, n in enumerate(named, start=1)]
    return named


def _size(task: Task) -> str | None:
    if isinstance(task, TaskPool):
        return f"M = {task.n_tasks}"
    return "M = ∞" if isinstance(task, LinearRegression) else None
