"""What icl-train does once its arguments are read: one training run, or a sweep over a grid of settings."""

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import typer

from icl_interp.cli.shared import progress
from icl_interp.errors import InputError
from icl_interp.tasks.own import try_out
from icl_interp.tasks.registry import code_of
from icl_interp.training.configs import load_config
from icl_interp.training.evaluation import Evaluator
from icl_interp.training.loop import StepRecord
from icl_interp.training.resume import OtherCircumstancesWarning
from icl_interp.training.run import train
from icl_interp.training.stopping import RunStoppedError
from icl_interp.training.sweep import ParquetWarning, SweepStoppedError, expand_grid, load_grid, sweep
from icl_interp.training.train_config import TrainConfig

_RATE_SECONDS = 2.0
"""Wall time over which steps per second are counted."""


def train_one(
    config: str | None,
    out: Path,
    *,
    settings: Sequence[str],
    resume: bool,
    log_to: Sequence[str],
    device: str,
    threads: int,
    quiet: bool,
) -> None:
    """Train, show how far it is, and say where the checkpoint is."""
    torch.set_num_threads(threads)
    resolved = _config_of(config, out, settings, resume=resume)
    try_out(resolved.task)
    if resolved.warmup > resolved.steps and not resume and not quiet:
        typer.echo(
            f"note: a warm-up of {resolved.warmup} steps is longer than the run of {resolved.steps}, so lr never "
            f"reaches {resolved.lr:g}; set warmup as well.",
            err=True,
        )
    evaluator = Evaluator(resolved)
    shown = progress("training", resolved.steps, quiet=quiet)
    try:
        with code_of(resolved.task), notes(OtherCircumstancesWarning, quiet=quiet), shown as tick:
            note = LiveNote(resolved, evaluator, tick)
            result = train(
                resolved, out=out, resume=resume, device=device, log_to=log_to, on_step=note, evaluator=evaluator
            )
    except RunStoppedError as stop:
        typer.echo(str(stop), err=True)
        raise SystemExit(128 + stop.number) from None
    if not quiet:
        typer.echo(f"{result.checkpoint}: loss {result.history[-1].loss:.4g} after {resolved.steps} steps")


@contextmanager
def notes(kind: type[Warning], *, quiet: bool) -> Iterator[None]:
    """Say warnings of one kind in a sentence for people, where Python would show a line of code with it."""
    with warnings.catch_warnings():
        shown = warnings.showwarning
        warnings.simplefilter("ignore" if quiet else "always", kind)

        def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if issubclass(category, kind):
                typer.echo(f"note: {message}", err=True)
            else:
                shown(message, category, *where, **more)

        warnings.showwarning = show  # the rest is handed on as it comes
        yield


def _config_of(config: str | None, out: Path, settings: Sequence[str], *, resume: bool) -> TrainConfig:
    """Read the config that a command line names."""
    if config is not None:
        return load_config(config, settings)
    stored = out / "config.yaml"
    if not resume or not stored.is_file():
        raise InputError(
            f"icl-train needs a config file or a preset, got none, and no run to --resume in {out}; name one."
        )
    return load_config(str(stored), settings)


class LiveNote:
    """Loss, excess over the Bayes predictor and speed, beside the progress."""

    def __init__(self, config: TrainConfig, evaluator: Evaluator, tick: Callable[..., None]) -> None:
        self._config, self._evaluator, self._tick = config, evaluator, tick
        self._started: tuple[float, int] | None = None
        self._shown = 0
        self._rate = ""

    def __call__(self, record: StepRecord) -> None:
        """Show a step."""
        now = time.monotonic()
        if self._started is None:
            self._started, self._shown = (now, record.step), record.step - 1
            self._tick(self._shown)  # what was done before this session
        since, first = self._started
        if now - since >= _RATE_SECONDS:
            self._rate, self._started = f", {(record.step - first) / (now - since):.3g} steps/s", (now, record.step)
        self._tick(record.step - self._shown, f"loss {record.loss:.3f}{self._excess(record)}{self._rate}")
        self._shown = record.step

    def _excess(self, record: StepRecord) -> str:
        # The references take seconds: only where an evaluation has asked them anyway.
        if self._config.eval_every is None or record.step < self._config.eval_every:
            return ""
        best = self._evaluator.best_loss(record.step)
        return "" if best is None else f", {record.loss - best:+.3f} over Bayes"


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
    """Train all combinations, show how many are done, and list those that failed."""
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
