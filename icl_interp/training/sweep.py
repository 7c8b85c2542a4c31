"""A grid of settings as independent runs that resume by the hash of their config, summarised in one table."""

import itertools
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from icl_interp.errors import InputError
from icl_interp.settings import read_yaml
from icl_interp.training.configs import load_config
from icl_interp.training.resume import run_folders
from icl_interp.training.sweep_workers import (
    BEGUN,
    FAILED,
    FINISHED,
    NOT_BEGUN,
    check_table_places,
    row_on_disk,
    run_all,
    summary_table,
    write_table,
)
from icl_interp.training.train_config import TrainConfig


@dataclass(frozen=True, slots=True)
class SweepRun:
    """One point of a grid."""

    config: TrainConfig
    values: dict[str, Any]  # where it stands on the grid, by setting
    folder: Path  # named by the hash of the config; an older version may have named it otherwise

    @property
    def place(self) -> str:
        """The values in words: "seed=0, lr=0.1"."""
        return _in_words(self.values)

    def __repr__(self) -> str:
        return f"SweepRun({self.place})"


@dataclass(frozen=True, eq=False)
class SweepResult:
    """How all runs of a sweep ended."""

    table: pd.DataFrame
    """A row a run: values of the grid, folder, status, last loss, seconds, error. The status is "finished" or "failed";
    in a sweep that was stopped also "begun" or "not begun"."""
    path: Path
    """The table as CSV; as parquet beside it where pyarrow is installed."""

    @property
    def failed(self) -> pd.DataFrame:
        """The rows of runs that failed."""
        return self.table[self.table["status"] == FAILED]

    def __repr__(self) -> str:
        return f"SweepResult({len(self.table)} runs, {len(self.failed)} failed, {self.path})"


class SweepStoppedError(KeyboardInterrupt):
    """A sweep was asked to stop; what its runs have written stays, and they can be gone on with."""

    def __init__(self, result: SweepResult, *, at_scheduler: bool = False, number: int = signal.SIGINT) -> None:
        counts = result.table["status"].value_counts()
        others = [f"{counts[status]} {status}" for status in (FAILED, BEGUN, NOT_BEGUN) if status in counts]
        waits = " (the scheduler's workers finish what they have begun, and the next start waits for that)"
        there = waits if at_scheduler else ""
        done = f"{counts.get(FINISHED, 0)} of {len(result.table)} runs finished"
        super().__init__(
            f"stopped: {', '.join([done, *others])}{there}; {result.path} says which, and the same command goes on."
        )
        self.result = result
        self.number = number


def load_grid(path: str | Path) -> dict[str, list[Any]]:
    """Read a grid from a file."""
    grid = read_yaml(path)
    if not isinstance(grid, dict) or not grid or not all(isinstance(v, list) and v for v in grid.values()):
        raise InputError(f"{path} needs a mapping of settings to lists of values, such as 'seed: [0, 1]'.")
    return {str(name): values for name, values in grid.items()}


def expand_grid(
    source: str,
    grid: Mapping[str, Sequence[Any]],
    out: str | Path,
    settings: Sequence[str] = (),
    *,
    grid_name: str = "the grid",
) -> list[SweepRun]:
    """List the runs of a grid."""
    points: list[tuple[TrainConfig, dict[str, Any]]] = []
    for combination in itertools.product(*grid.values()):
        values = dict(zip(grid, combination, strict=True))
        chosen = [f"{name}={yaml.safe_dump(value, default_flow_style=True)}" for name, value in values.items()]
        try:
            config = load_config(source, [*settings, *(text.removesuffix("\n...\n") for text in chosen)])
        except ValueError as error:
            load_config(source, settings)  # is wrong by itself, which is then said
            problem = str(error).removeprefix(f"{source}: ")
            raise InputError(f"{grid_name}, at {_in_words(values)}: {problem}") from error
        points.append((config, _as_understood(values, config)))
    folders = run_folders(out, [config for config, _ in points])
    runs = [SweepRun(config, values, folder) for (config, values), folder in zip(points, folders, strict=True)]
    if len({run.folder for run in runs}) < len(runs):
        raise InputError("a sweep needs combinations that differ, got some twice; take repeated values out.")
    return runs


def _in_words(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items())


def _as_understood(values: Mapping[str, Any], config: TrainConfig) -> dict[str, Any]:
    # YAML 1.1 reads 1e-3 as text; the config knows that it is a number.
    checked = config.model_dump(mode="json")
    return {name: _scalar(checked, name.split("."), value) for name, value in values.items()}


def _scalar(checked: Any, path: Sequence[str], otherwise: Any) -> Any:
    for part in path:
        if not isinstance(checked, Mapping) or part not in checked:
            return otherwise
        checked = checked[part]
    return checked if isinstance(checked, int | float | str | None) else otherwise


def sweep(
    runs: Sequence[SweepRun],
    out: str | Path,
    *,
    workers: int = 1,
    scheduler: str | None = None,
    on_run: Callable[[SweepRun, str], None] | None = None,
    on_wait: Callable[[int], None] | None = None,
    on_stop: Callable[[int], None] | None = None,
) -> SweepResult:
    """Train all runs, each in a process of its own with one thread.

    Finished runs are not trained again and interrupted ones go on from their newest state. A run that fails or a worker
    that dies does not stop the others. A run that somebody else is training comes last, and is waited for.
    """
    check_table_places(Path(out))
    Path(out).mkdir(parents=True, exist_ok=True)
    rows: dict[int, dict[str, Any]] = {}
    try:
        jobs = [(run.config, run.folder) for run in runs]
        for index, row in run_all(jobs, workers=workers, scheduler=scheduler, on_wait=on_wait, on_stop=on_stop):
            rows[index] = row
            if on_run is not None:
                on_run(runs[index], row["status"])
    except KeyboardInterrupt as stop:
        result, number = _summary(runs, rows, Path(out)), getattr(stop, "number", signal.SIGINT)
        raise SweepStoppedError(result, at_scheduler=scheduler is not None, number=number) from None
    return _summary(runs, rows, Path(out))


def _summary(runs: Sequence[SweepRun], rows: Mapping[int, dict[str, Any]], out: Path) -> SweepResult:
    table = summary_table(
        (run.values, run.folder, rows[index] if index in rows else row_on_disk(run.folder))
        for index, run in enumerate(runs)
    )
    return SweepResult(table=table, path=write_table(table, out))
