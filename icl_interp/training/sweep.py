"""A grid of settings as independent runs that resume by the hash of their config, summarised in one table."""

import itertools
import signal
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import yaml

from icl_interp.errors import InputError
from icl_interp.files import refuse_foreign, write_atomically
from icl_interp.jobs import WorkersDiedError, run, stop_signals
from icl_interp.runs.folder import RunBusyError, is_busy, read_manifest, read_metrics
from icl_interp.settings import read_yaml
from icl_interp.training.configs import load_config
from icl_interp.training.resume import OtherCircumstancesWarning, run_folders
from icl_interp.training.run import TrainResult, train
from icl_interp.training.stopping import stop_when_asked
from icl_interp.training.train_config import TrainConfig

FINISHED, FAILED, BEGUN, NOT_BEGUN = "finished", "failed", "begun", "not begun"  # the last two in a stopped sweep
_RESUME_SECONDS = 30.0  # wall time between two states of a run in a worker (our choice)


class ParquetWarning(UserWarning):
    """The table of a sweep could not be written as parquet; the CSV holds the same."""


def run_row(
    status: str, *, step: int | None = None, loss: float | None = None, seconds: float | None = None, error: str = ""
) -> dict[str, Any]:
    return {"status": status, "step": step, "loss": loss, "seconds": seconds, "error": error}


def row_on_disk(folder: Path) -> dict[str, Any]:
    """Tell from its folder how far a run is that nobody reported on."""
    try:
        manifest, metrics = read_manifest(folder), read_metrics(folder)
    except (OSError, ValueError) as error:
        return run_row(BEGUN, error=" ".join(str(error).split()))
    if not manifest:
        return run_row(NOT_BEGUN)
    last = metrics[-1] if metrics else {"step": 0}
    status = FINISHED if manifest["finished"] else BEGUN
    return run_row(status, step=last["step"], loss=last.get("loss"), seconds=manifest.get("seconds"))


def failed_row(folder: Path, error: Exception, *, seconds: float) -> dict[str, Any]:
    reached = row_on_disk(folder)
    clauses = " ".join(str(error).split()).split("; ")
    kept = [clause for clause in clauses if "--out" not in clause] or clauses
    text = f"{type(error).__name__}: {'; '.join(kept).rstrip('.')}."
    return {**reached, "status": FAILED, "seconds": round(seconds, 1), "error": text}


def check_table_places(out: Path) -> None:
    """Refuse a folder that holds something else under the names of the table."""
    columns = ["run", *run_row(NOT_BEGUN)]

    def is_csv(path: Path) -> bool:
        return path.read_bytes().partition(b"\n")[0].strip().endswith(",".join(columns).encode())

    def is_parquet(path: Path) -> bool:
        content = path.read_bytes()
        return content.startswith(b"PAR1") and all(name.encode() in content for name in columns)

    refuse_foreign(out / "sweep.csv", is_csv, what="the table of a sweep")
    refuse_foreign(out / "sweep.parquet", is_parquet, what="the table of a sweep")


def write_table(table: pd.DataFrame, out: Path) -> Path:
    """Write the table, completely or not at all."""
    text, parquet = table.to_csv(index=False), out / "sweep.parquet"
    path = write_atomically(out / "sweep.csv", lambda file: file.write(text.encode()))
    try:
        write_atomically(parquet, lambda file: _of_one_kind(table).to_parquet(file, index=False))
    except ImportError:  # of pyarrow; the CSV holds the same
        pass
    except (OSError, TypeError, ValueError, LookupError, NotImplementedError) as error:  # all of pyarrow's are these
        parquet.unlink(missing_ok=True)  # an older table beside the new one would contradict it
        reason = " ".join(str(error).split()).rstrip(".")
        warnings.warn(f"{parquet} could not be written ({reason}); {path} holds it all.", ParquetWarning, stacklevel=2)
    return path


def _of_one_kind(table: pd.DataFrame) -> pd.DataFrame:
    # Parquet's columns have one kind each.
    stored = table.copy()
    for name in table:
        if len({type(value) for value in table[name].dropna()}) > 1:
            stored[name] = [value if value is None else str(value) for value in table[name]]
    return stored


Job = tuple[TrainConfig, Path]


def train_one_run(job: Job, stop_file: Path | None = None, *, wait: bool = True) -> dict[str, Any] | None:
    """Train one run to its end, whatever there is of it already; None if it is busy and not waited for."""
    torch.set_num_threads(1)
    config, folder = job
    started = time.monotonic()
    try:
        while True:
            try:
                last = train_in_worker(config, folder, stop_file).history[-1]
                break
            except RunBusyError as busy:
                if not wait:
                    return None
                busy.wait()
    except Exception as error:
        # Any reason: one run that fails must not stop the others, and the table tells which did.
        return failed_row(folder, error, seconds=time.monotonic() - started)
    return run_row(FINISHED, step=last.step, loss=last.loss, seconds=read_manifest(folder).get("seconds"))


def train_in_worker(config: TrainConfig, folder: Path, stop_file: Path | None, *, device: str = "cpu") -> TrainResult:
    """Go on with a run until it ends or a file asks it to stop."""
    asked = None if stop_file is None else stop_when_asked(stop_file)
    with warnings.catch_warnings():
        # The manifest tells it; nobody looks at what single workers print.
        warnings.simplefilter("ignore", OtherCircumstancesWarning)
        return train(config, out=folder, resume=True, device=device, resume_seconds=_RESUME_SECONDS, on_step=asked)


def run_all(
    jobs: Sequence[Job],
    *,
    workers: int = 1,
    scheduler: str | None = None,
    on_wait: Callable[[int], None] | None = None,
    on_stop: Callable[[int], None] | None = None,
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Train all runs; those that other processes are training are left for the end and then waited for."""
    how = {"workers": workers, "scheduler": scheduler, "on_stop": on_stop or (lambda _: None)}
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
            if on_wait is not None:
                on_wait(len(busy))
            indices = busy


def _rows(jobs: Sequence[Job], *, wait: bool, **how: Any) -> Iterator[tuple[int, dict[str, Any] | None]]:
    try:
        yield from run(jobs, partial(train_one_run, wait=wait), writing=lambda job: is_busy(job[1]), **how)
    except WorkersDiedError as died:
        problem = f"its worker died {died.attempts} times, perhaps for want of memory"
        for index in died.left:
            yield index, run_row(FAILED, error=problem)


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
    """One row per run: values of the grid, folder, status, last loss, seconds, error. The status is "finished" or
    "failed"; in a sweep that was stopped also "begun" or "not begun"."""
    path: Path
    """The table as CSV; as parquet beside it where pyarrow is installed."""

    @property
    def failed(self) -> pd.DataFrame:
        return self.table[self.table["status"] == FAILED]

    def __repr__(self) -> str:
        return f"SweepResult({len(self.table)} runs, {len(self.failed)} failed, {self.path})"


class SweepStoppedError(KeyboardInterrupt):
    """A sweep was asked to stop; its runs keep what they have written and can be resumed."""

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
    """Train the runs that are not finished, each in its own process with one thread; one that fails stops no other."""
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
    known = [rows[index] if index in rows else row_on_disk(run.folder) for index, run in enumerate(runs)]
    table = pd.DataFrame([
        {**dict(zip(run.values, map(_cell, run.values.values()), strict=True)), "run": run.folder.name, **row}
        for run, row in zip(runs, known, strict=True)
    ])
    return SweepResult(table=table, path=write_table(table, out))


def _cell(value: Any) -> Any:
    return value if isinstance(value, int | float | str | None) else str(value)
