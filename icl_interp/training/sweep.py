"""The product of values as independent runs, which resume by the hash of their config."""

import contextlib
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from icl_interp.atomic import write_atomically
from icl_interp.training.config import load_config
from icl_interp.training.resume import config_hash
from icl_interp.training.sweep_workers import run_all
from icl_interp.training.train_config import TrainConfig

__all__ = ["SweepResult", "SweepRun", "expand_grid", "load_grid", "sweep"]

HASH_LENGTH = 12
"""Hexadecimal digits of a config's hash that name its folder: 48 bits for at most thousands of runs."""


@dataclass(frozen=True, slots=True)
class SweepRun:
    """One point of a grid."""

    config: TrainConfig
    """What is trained."""
    values: dict[str, Any]
    """Where it stands on the grid, by setting."""
    folder: Path
    """Its run folder, named by the hash of the config."""

    def __repr__(self) -> str:
        return f"SweepRun({', '.join(f'{name}={value}' for name, value in self.values.items())})"


@dataclass(frozen=True, eq=False)
class SweepResult:
    """How all runs of a sweep ended."""

    table: pd.DataFrame
    """A row a run: values of the grid, folder, status ("finished" or "failed"), last loss, seconds, error."""
    path: Path
    """The table as CSV; as parquet beside it where pyarrow is installed."""

    @property
    def failed(self) -> pd.DataFrame:
        """The rows of runs that failed."""
        return self.table[self.table["status"] != "finished"]

    def __repr__(self) -> str:
        return f"SweepResult({len(self.table)} runs, {len(self.failed)} failed, {self.path})"


def load_grid(path: str | Path) -> dict[str, list[Any]]:
    """Read a grid from a file.

    Args:
        path: YAML: a mapping of settings, as --set takes them, to lists of values.

    Returns:
        Values by setting, in the file's order.

    Raises:
        ValueError: If there is no such file, or it is no such mapping.
    """
    try:
        grid = yaml.safe_load(Path(path).read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ValueError(f"--sweep needs a YAML file, got {path} ({' '.join(str(error).split())}).") from error
    if not isinstance(grid, dict) or not grid or not all(isinstance(v, list) and v for v in grid.values()):
        raise ValueError(f"{path} needs a mapping of settings to lists of values, such as 'seed: [0, 1]'.")
    return {str(name): values for name, values in grid.items()}


def expand_grid(
    source: str, grid: Mapping[str, Sequence[Any]], out: str | Path, settings: Sequence[str] = ()
) -> list[SweepRun]:
    """List the runs of a grid.

    Args:
        source: A config file or preset.
        grid: Values by setting.
        out: The folder of the sweep; each run gets one inside.
        settings: Of --set, for all runs.

    Returns:
        One run for each combination; the last setting changes fastest.

    Raises:
        ValueError: If a combination is no config, or two are the same.

    Example:
        >>> [run.values for run in expand_grid("demo", {"seed": [0, 1], "lr": [0.1]}, "sweep")]
        [{'seed': 0, 'lr': 0.1}, {'seed': 1, 'lr': 0.1}]
    """
    runs = []
    for combination in itertools.product(*grid.values()):
        values = dict(zip(grid, combination, strict=True))
        chosen = [f"{name}={yaml.safe_dump(value, default_flow_style=True)}" for name, value in values.items()]
        config = load_config(source, [*settings, *(text.removesuffix("\n...\n") for text in chosen)])
        runs.append(SweepRun(config, values, Path(out) / config_hash(config)[:HASH_LENGTH]))
    if len({run.folder for run in runs}) < len(runs):
        raise ValueError("a sweep needs combinations that differ, got some twice; take repeated values out.")
    return runs


def sweep(
    runs: Sequence[SweepRun],
    out: str | Path,
    *,
    workers: int = 1,
    scheduler: str | None = None,
    on_run: Callable[[SweepRun, str], None] | None = None,
) -> SweepResult:
    """Train all runs, each in a process of its own with one thread.

    Finished runs are not trained again and interrupted ones go on from their newest state. A run that fails does not
    stop the others; nor does a worker that dies: its runs are given to another.

    Args:
        runs: From `expand_grid`.
        out: Where the table goes.
        workers: Processes on this machine.
        scheduler: A Dask scheduler, "tcp://host:port", whose workers see `out` under the same path; None stays here.
        on_run: Called when a run has ended, with its status.

    Returns:
        The table, which is on the disk as well.

    Raises:
        ValueError: If a scheduler is named and dask is not installed, or it does not answer.
    """
    Path(out).mkdir(parents=True, exist_ok=True)
    rows: dict[int, dict[str, Any]] = {}
    for index, row in run_all([(run.config, run.folder) for run in runs], workers=workers, scheduler=scheduler):
        rows[index] = row
        if on_run is not None:
            on_run(runs[index], row["status"])
    table = pd.DataFrame([
        {**{k: _cell(v) for k, v in run.values.items()}, "run": run.folder.name, **rows[index]}
        for index, run in enumerate(runs)
    ])
    return SweepResult(table=table, path=_write(table, Path(out)))


def _cell(value: Any) -> Any:
    return value if isinstance(value, int | float | str | None) else str(value)


def _write(table: pd.DataFrame, out: Path) -> Path:
    text = table.to_csv(index=False)
    with contextlib.suppress(ImportError):  # of pyarrow; the CSV holds the same
        write_atomically(out / "sweep.parquet", lambda file: table.to_parquet(file, index=False))
    return write_atomically(out / "sweep.csv", lambda file: file.write(text.encode()))
