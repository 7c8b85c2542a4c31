"""icl-train --sweep: every combination of a grid, with a table at the end."""

from collections.abc import Sequence
from pathlib import Path

import typer

from icl_interp.cli.progress import progress
from icl_interp.cli.train_job import notes
from icl_interp.errors import InputError
from icl_interp.training.sweep import SweepStoppedError, expand_grid, load_grid, sweep
from icl_interp.training.sweep_table import ParquetWarning

__all__ = ["sweep_runs"]


def sweep_runs(
    config: str | None,
    grid: Path,
    out: Path,
    *,
    settings: Sequence[str],
    workers: int,
    scheduler: str | None,
    quiet: bool,
) -> None:
    """Train all combinations, show how many are done, and list those that failed.

    Args:
        config: A file or preset.
        grid: The file with lists of values.
        out: The sweep's folder.
        settings: Of --set, for all runs.
        workers: Processes on this machine.
        scheduler: A Dask scheduler instead.
        quiet: Say nothing but which runs failed.

    Raises:
        InputError: If there is no config, or as `expand_grid` and `sweep`.
        SystemExit: With code 1 if a run failed, 130 after Ctrl-C and 143 after SIGTERM, when the table is written.
    """
    if config is None:
        raise InputError("--sweep needs a config file or a preset, whose settings it varies; name one.")
    if (out / "config.yaml").is_file():
        raise InputError(f"a sweep needs a folder for many runs, {out} holds a single one; choose another --out.")
    runs = expand_grid(config, load_grid(grid), out, settings, grid_name=str(grid))

    def waits(count: int) -> None:
        if not quiet:
            typer.echo(f"note: waiting for {count} of the runs, which other processes are training", err=True)

    def stops(count: int) -> None:
        if not quiet:
            typer.echo(f"stopping: waiting for {count} run{'s' * (count > 1)} to write their state", err=True)

    try:
        with notes(ParquetWarning, quiet=quiet), progress("sweep", len(runs), quiet=quiet) as tick:
            result = sweep(
                runs, out, workers=workers, scheduler=scheduler, on_wait=waits, on_stop=stops,
                on_run=lambda run, status: tick(1, f"{run}: {status}"),
            )  # fmt: skip
    except SweepStoppedError as stop:
        typer.echo(str(stop), err=True)
        raise SystemExit(128 + stop.number) from None
    for index, row in result.failed.iterrows():
        typer.echo(f"failed: {runs[int(str(index))].place} ({row['run']}): {row['error']}", err=True)
    if not quiet:
        typer.echo(f"{result.path}: {len(runs) - len(result.failed)} of {len(runs)} runs finished")
    if len(result.failed):
        raise SystemExit(1)
